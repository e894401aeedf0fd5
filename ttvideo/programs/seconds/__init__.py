"""Expected seconds of a compiled program on one chip, by a model fitted to published times of single ops.

`ttvideo.programs.cost` says what is moved and multiplied, and its roofline the least time for that; here is
what it takes on a card, with a range: nine in ten measured times of ops that the model wasn't fitted to lie
above `low_us`, nine in ten under `high_us`. What was measured on the other chip only is carried over by
clock, cores and bandwidth, and says so. `python -m findings seconds` fits and validates, and `card_seconds`
compares with times of one's own.
"""

import re
from collections import defaultdict
from dataclasses import asdict, dataclass

from ttvideo.programs.cost import DATA_MOVEMENT, FREE, LAUNCH_SECONDS
from ttvideo.programs.program import Op, Program
from ttvideo.programs.seconds.model import Fitted, coefficients, fitted, microseconds, parts, to_range
from ttvideo.programs.seconds.ops import COSTED_AS_PRODUCTS, works
from ttvideo.programs.seconds.work import Work
from ttvideo.targets.boards import Chip


@dataclass(frozen=True)
class OpSeconds:
    """`us` on the device, without the start of its `launches`. `binds` is the part that is longest.

    `parts` are microseconds of each resource; some overlap, so they add up to more. `floor_us` is the
    roofline's time.
    """

    name: str
    location: str
    us: float
    low_us: float
    high_us: float
    floor_us: float
    binds: str
    parts: dict[str, float]
    launches: int
    carried: bool


@dataclass(frozen=True)
class Seconds:
    """One run: every op's expected time in turn, for nothing overlaps, and `launches` starts of programs.

    `low` and `high` are sums too, as if all ops were off the same way. `by_kind` has [expected, low, high] of
    each op's name, `by_cause` the same time by what takes it (`cause`). `seconds` is in a trace; without one,
    starts take `untraced_start_seconds` for `traced_start_seconds`.
    """

    chip: str
    kernel_seconds: float
    low: float
    high: float
    floor: float
    by_kind: dict[str, tuple[float, float, float]]
    by_cause: dict[str, float]
    launches: int
    carried_share: float

    @property
    def traced_start_seconds(self) -> float:
        return self.launches * coefficients()["traced_start_us"] / 1e6

    @property
    def untraced_start_seconds(self) -> tuple[float, float]:
        """The least and the most, where the host starts each; a slow host adds to it."""
        return tuple(self.launches * each for each in LAUNCH_SECONDS)

    @property
    def seconds(self) -> float:
        return self.kernel_seconds + self.traced_start_seconds

    def as_dict(self) -> dict:
        starts = {name: getattr(self, name) for name in ("traced_start_seconds", "untraced_start_seconds")}
        return asdict(self) | {"seconds": self.seconds} | starts

    def record(self) -> dict:
        """What a stored finding keeps."""
        return {
            name: getattr(self, name)
            for name in ("seconds", "low", "high", "floor", "by_cause", "carried_share")
        }

    def __str__(self) -> str:
        by, unit = next(
            (by, unit)
            for by, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs"))
            if self.seconds * by >= 1 or by == 1e6
        )
        said = (f"{seconds * by:.3g}" for seconds in (self.seconds, self.low, self.high, self.floor))
        return "predicted for a card: {} {unit} ({} to {}; roofline {})".format(*said, unit=unit)


def expected(op: Op, chip: Chip, fidelity: str | None = None) -> OpSeconds:
    """An op's time on one chip, in the fidelity that it states, or another ("hifi2", "hifi3", …)."""
    cost, found = works(op, chip, fidelity)
    times = [expected_work(work) for work in found]
    each: dict[str, float] = defaultdict(float)
    for work, one in zip(found, times, strict=True):
        for name, us in parts(work, one.fitted).items():
            each[name] += us
    return OpSeconds(
        op.name,
        op.location,
        sum(one.us for one in times),
        sum(one.low_us for one in times),
        sum(one.high_us for one in times),
        max((work.floor_us for work in found), default=0.0),
        max(each, key=each.get) if each else "",
        dict(each),
        cost.launches,
        any(one.fitted.carries(work) for work, one in zip(found, times, strict=True)),
    )


@dataclass(frozen=True)
class WorkTime:
    us: float
    low_us: float
    high_us: float
    fitted: Fitted


def expected_work(work: Work) -> WorkTime:
    """A work's time with its range; the range doesn't go under the roofline."""
    by = fitted(work.kind, work.arch)
    us = microseconds(work, by)
    low, high = to_range(work, by, coefficients()["carried"][work.arch])
    return WorkTime(us, max(us * low, min(work.floor_us, us)), us * high, by)


def cause(one: OpSeconds) -> str:
    """What an op's time goes to: the resource that binds a product, else norms, copies, or elementwise."""
    if one.name in COSTED_AS_PRODUCTS:
        return one.binds
    if one.name in DATA_MOVEMENT:
        return "copies"
    return "norms" if re.search(r"norm|moments|affine", one.name) else "elementwise"


def expected_program(program: Program, fidelity: str | None = None) -> Seconds:
    """One run of the program's `main` on one chip of the kind that it is for; work done once per set of
    weights isn't in it."""
    ops = [expected(op, program.chip, fidelity) for op in program.main.ops if op.name not in FREE]
    by_kind: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    by_cause: dict[str, float] = defaultdict(float)
    for one in ops:
        by_cause[cause(one)] += one.us / 1e6
        for i, us in enumerate((one.us, one.low_us, one.high_us)):
            by_kind[one.name][i] += us / 1e6
    total, low, high = (sum(times[i] for times in by_kind.values()) for i in range(3))
    return Seconds(
        program.chip.arch,
        total,
        low,
        high,
        sum(one.floor_us for one in ops) / 1e6,
        {name: tuple(times) for name, times in sorted(by_kind.items(), key=lambda item: -item[1][0])},
        dict(sorted(by_cause.items(), key=lambda item: -item[1])),
        sum(one.launches for one in ops),
        sum(one.us for one in ops if one.carried) / 1e6 / total if total else 0.0,
    )
