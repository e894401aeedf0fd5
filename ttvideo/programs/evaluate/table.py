"""The table of op rules: name to function, with the attributes that the function heeds."""

from collections.abc import Callable
from dataclasses import dataclass

from ttvideo.basics.errors import Refused
from ttvideo.programs.program import Op

# These say where and how an op runs, not what it computes.
PLACEMENT = {
    "memory_config", "layout", "dtype", "output_dtype", "matmul_program_config", "conv2d_slice_config",
    "use_multicore", "operandSegmentSizes", "input_memory_config", "input_tensor_layout", "input_dtype",
}  # fmt: skip


FOLLOWED = (
    "hifi4",
    "hifi3",
    "hifi2",
)  # by a rule that leaves out what the multiplier does (`values.products`)
AS_EXACT = ("hifi4", "hifi3")  # by one that leaves nothing out, and is within its bound all the same


@dataclass(frozen=True)
class Rule:
    """`within` is how far the chip's kernel may be from it, in steps of the stored type at the tensor's
    largest value.

    1 is a rounding that falls the other way; where it is more, or 0, `because` says why. Measured on ttsim
    (ttvideo/ttnn/against_evaluator.py), held by tests/test_silicon_agrees.py. `fidelities` are those of the
    multiplier that it follows.
    """

    function: Callable
    attributes: frozenset[str]
    within: float = 1.0
    because: str = ""
    fidelities: tuple[str, ...] = ("hifi4",)

    def check(self, op: Op) -> None:
        """Raise `Refused` for an attribute that the rule doesn't heed and for arithmetic below float32."""
        unknown = set(op.attributes) - self.attributes - PLACEMENT - {"compute_config"}
        if unknown:
            raise Refused("evaluate", f"{op.name} with {sorted(unknown)}", f"only {sorted(self.attributes)}")
        config = op.attributes.get("compute_config", {})
        if config.get("math_fidelity", "hifi4") not in self.fidelities or not config.get(
            "fp32_dest_acc_en", True
        ):
            known = " or ".join(self.fidelities)
            raise Refused("evaluate", f"{op.name} with {config}", f"{known}, and float32 accumulation")
        if "fused_activation" in op.attributes.get("matmul_program_config", {}):
            raise Refused("evaluate", f"{op.name} with a fused activation in its program config", "none")


OPS: dict[str, Rule] = {}


def op(
    *names: str,
    heeds: str = "",
    within: float = 1.0,
    because: str = "",
    fidelities: tuple[str, ...] = ("hifi4",),
):
    """Register a function `(op, *operand tensors) -> tensor or tuple` for ttnn ops; `heeds` names attributes.

    `within`, `because` and `fidelities`: see `Rule`.
    """

    def register(function):
        for name in names:
            OPS[f"ttnn.{name}"] = Rule(function, frozenset(heeds.split()), within, because, fidelities)
        return function

    return register
