"""What a module's kernels ask of DRAM, counted as they run, beside what its program's cost says."""

from dataclasses import dataclass

from torch import Tensor, nn

from ttvideo.basics.errors import Failed, Refused
from ttvideo.probing.probe import checked, open_session
from ttvideo.programs.cost import op_cost
from ttvideo.programs.own import dram_counts
from ttvideo.programs.program import Op
from ttvideo.targets.boards import Chip as BoardChip
from ttvideo.targets.target import TARGETS, resolve
from ttvideo.ttnn.chip import Chip


@dataclass(frozen=True)
class Counted:
    """One op, and its place in the model: bytes that its kernels have read from DRAM and written to it, and
    those that its cost says of kernels."""

    op: str
    location: str
    read: int
    written: int
    cost_read: int
    cost_written: int


def counted(
    module: nn.Module,
    inputs: tuple,
    target: str,
    timeout: float | None = 1800,
    *,
    state: dict[str, Tensor] | None = None,
    **keywords,
) -> list[Counted]:
    """Every op of the program that the compiler makes of a module for the target's board, or that a native
    decoder brings along, in order; what prepares weights, once, isn't among them. `module`, `inputs`, `state`
    and `keywords` are `probe`'s.

    Bytes are the same in each fidelity, which isn't heeded. Raises `Refused` for what `probe` refuses, and a
    target where TT-NN's kernels don't run, before anything is compiled, `Failed` where the module doesn't
    compile, and `ttvideo.ttnn.Broke` where an op breaks.
    """
    place = resolve(target)
    if not (place.on_ttnn and place.outputs_are_real):
        there_are = (name for name, one in TARGETS.items() if one.on_ttnn and one.outputs_are_real)
        raise Refused("target", repr(target), f"one where TT-NN's kernels run: {', '.join(there_are)}")
    place.plugin()
    keywords |= {} if state is None else {"state": state}
    owner, method, inputs = checked(module, inputs, keywords)
    brought = hasattr(type(owner), "programs")
    made = owner.programs(place, False) if brought else open_session(owner, place.compiler, method=method)
    with made as session, Chip(place, counting=True) as chip:
        verdict = session.call(inputs, keywords=keywords, timeout=timeout)
        if not verdict.passed:
            raise Failed(verdict)
        program, ops = dram_counts.write(verdict.program)
        arguments = session.arguments(inputs, keywords)
        chip.run(program, arguments, fetch=(), timeout=timeout)  # prepares the weights
        moved = dram_counts.moved(chip.run(program, arguments, timeout=timeout).outputs)
    return [
        Counted(op.name, op.location, *bytes_moved, *by_cost(op, program.chip))
        for op, bytes_moved in zip(ops, moved, strict=True)
    ]


def by_cost(op: Op, chip: BoardChip) -> tuple[int, int]:
    """What an op's kernels read and write by `ttvideo.programs.cost`: without the weights that a convolution
    takes from the host, in every run."""
    cost = op_cost(op, chip)
    sent = sum(v.type.logical_bytes for v in op.operands if v.type and v.type.memory == "system")
    return cost.read, cost.written - sent
