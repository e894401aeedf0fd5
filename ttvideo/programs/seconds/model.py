"""From terms to microseconds: one form for every kind of op, with fitted coefficients.

    us = (Σ over groups of (Σ coefficient · term) ^ p) ^ (1/p)  +  Σ coefficient · term  +  begin

The groups overlap (multiplier, reader, memory), the more perfectly the larger p; the rest follows one after
another. "products" and "dram" are times at peak, so their coefficients are at least 1, and no time can fall
under the roofline's.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ttvideo.programs.seconds.work import Work

COEFFICIENTS = Path(__file__).with_name("coefficients.json")
ONE_AT_LEAST = ("products", "dram")


@dataclass(frozen=True)
class Form:
    """`together`: groups of terms that overlap; `after`: terms that don't."""

    together: tuple[tuple[str, ...], ...]
    after: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*(name for group in self.together for name in group), *self.after)


BYTES = Form((("dram",), ("core", "tiles", "rows", "ragged", "broadcast", "hard")))
MATMUL = Form((("products", "partial"), ("dram",)), ("blocks",))
FORMS = {
    "conv3d": Form(
        (("products", "sums"), ("rows", "halo", "gathered"), ("dram",)),
        ("handshakes", "weights", "own_weights"),
    ),
    "matmul": MATMUL,
    "matmul_narrow": MATMUL,
    "conv2d": MATMUL,
    "attention": Form((("products", "scores", "chunks"), ("fetched",), ("dram",))),
    "elementwise": BYTES,
    "move": BYTES,
    "tilize": BYTES,
    "untilize": BYTES,
    "reshape": BYTES,
}
# What binds, in words.
NAMES = {
    "products": "multiplier",
    "partial": "multiplier",
    "rows": "reader",
    "halo": "reader",
    "gathered": "reader",
    "dram": "DRAM",
    "sums": "partial sums",
    "handshakes": "partial sums",
    "weights": "weights",
    "own_weights": "weights",
    "blocks": "blocks",
    "scores": "scores",
    "chunks": "scores",
    "fetched": "reader",
    "core": "cores",
    "tiles": "cores",
    "ragged": "cores",
    "broadcast": "cores",
    "hard": "vector unit",
    "begin": "begin",
}


@dataclass(frozen=True)
class Fitted:
    """Coefficients of one kind on one chip; `low` and `high` are the 10th and 90th percentile of measured
    over expected.

    `carried` are the terms whose coefficients were measured on the other chip alone; `unseen` those that no
    row has.
    """

    coefficients: dict[str, float]
    power: float
    begin_us: float
    low: float = 1.0
    high: float = 1.0
    carried: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()

    def carries(self, work: Work) -> bool:
        return any(work.terms[name] for name in self.carried)


def microseconds(work: Work, fitted: Fitted) -> float:
    form = FORMS[work.kind]
    groups = [sum(fitted.coefficients[name] * work.terms[name] for name in group) for group in form.together]
    most = max(groups)
    overlapped = (
        most * sum((group / most) ** fitted.power for group in groups) ** (1 / fitted.power) if most else 0.0
    )
    return (
        overlapped
        + sum(fitted.coefficients[name] * work.terms[name] for name in form.after)
        + fitted.begin_us
    )


def parts(work: Work, fitted: Fitted) -> dict[str, float]:
    """Microseconds of each resource, by its name; those that overlap add up to more than the whole."""
    found: dict[str, float] = {}
    for name in FORMS[work.kind].names:
        found[NAMES[name]] = found.get(NAMES[name], 0.0) + fitted.coefficients[name] * work.terms[name]
    return {name: us for name, us in (found | {NAMES["begin"]: fitted.begin_us}).items() if us}


@lru_cache(maxsize=1)
def coefficients() -> dict:
    return json.loads(COEFFICIENTS.read_text())


@lru_cache(maxsize=64)
def fitted(kind: str, arch: str) -> Fitted:
    """The kind's coefficients on the chip; from the other chip where it was measured on that alone."""
    return from_dict(coefficients()["kinds"], kind, arch)


def from_dict(kinds: dict, kind: str, arch: str) -> Fitted:
    one = kinds[kind].get(arch)
    if one is None:
        (one,) = kinds[kind].values()
        return Fitted(**one | {"carried": tuple(FORMS[kind].names), "unseen": ()})
    return Fitted(**one | {name: tuple(one[name]) for name in ("carried", "unseen")})


def to_range(work: Work, by: Fitted, wider: dict[str, float]) -> tuple[float, float]:
    """Of measured over expected, in the tenth and the ninetieth of a hundred; wider for what is carried
    over."""
    return (by.low * wider["low"], by.high * wider["high"]) if by.carries(work) else (by.low, by.high)
