"""A native decoder on one of TT-NN's places: its steps run there one after another, its state stays there."""

import contextlib
import dataclasses

from torch import Tensor

from ttvideo.basics.errors import Refused
from ttvideo.decoders.native import PREFIX, NativeDecoder, Written
from ttvideo.probing.on_ttnn import failure
from ttvideo.probing.verdict import FAIL, MOCKED, PASS, UNREACHED, Verdict
from ttvideo.targets.target import KERNELS, ON_TTNN, RUN, TARGETS, Target
from ttvideo.ttnn.chip import Broke, Chip
from ttvideo.ttnn.places import made_of

EVALUATED = "evaluated (the native program, run on the host)"
SHARED = "native decoder"  # first steps and others hold the same weights, once


class NativeSession(contextlib.AbstractContextManager):
    """What `ttvideo.probing.session.Session` is to a module that is compiled. Raises `Refused` for a target without TT-NN."""

    def __init__(self, decoder: NativeDecoder, target: Target, state: dict[str, Tensor] | None = None):
        if not target.on_ttnn:
            names = ", ".join(name for name, known in TARGETS.items() if known.lane in ON_TTNN)
            raise Refused("native decoder", f"target {target.name!r}", f"one where TT-NN executes it: {names}")
        own = decoder.arithmetic.fidelity
        if target.fidelity not in (None, own):
            raise Refused("native decoder", f"{own} on target {target.name!r}", "the same fidelity, or a target without one")
        self.decoder, self.target, self.given = decoder, target, state
        self.kept: tuple[str, ...] = ()
        self.chip = Chip(target)

    def call(self, inputs: tuple[Tensor], name: str = "", timeout: float | None = None, **_) -> Verdict:
        """Decode a step, [1, 12, T, H, W]; a failure is in the verdict."""
        z = inputs[0].bfloat16()
        self.decoder.check(z, self.given)
        written = self.decoder.step(tuple(z.shape[2:]), self.given is None and not self.kept, self.target.board.name)
        verdict = Verdict(self.target.name, {KERNELS: PASS, RUN: PASS}, name, written=written.program)
        real = self.target.outputs_are_real
        try:
            ran = self.run(written, self.decoder.inputs(z, self.given), real, timeout, name)
        except Broke as broke:
            why = failure(broke, timeout)
            stages = {KERNELS: FAIL, RUN: UNREACHED} if why.stage == KERNELS else {KERNELS: PASS, RUN: FAIL}
            told = {"kind": why.kind, "message": why.message, "op": why.op, "location": why.location}
            return dataclasses.replace(verdict, stages=stages, **told)
        self.given, self.kept = None, written.results[1:]
        return dataclasses.replace(
            verdict,
            stages=verdict.stages if real else verdict.stages | {RUN: MOCKED},
            outputs=self.decoder.frames(ran.outputs[0]) if real else None,
            outputs_from=made_of(self.target) if real else None,
            seconds={RUN: round(ran.seconds, 3)},
            ran=ran,
        )

    def run(self, written: Written, inputs: dict[str, Tensor], real: bool, timeout: float | None, name: str):
        keep = {PREFIX + entry: place for place, entry in enumerate(written.results) if place}
        arguments = written.weights | inputs
        return self.chip.run(
            written.program, arguments, {0} if real else (), keep, None, timeout, name, shared=SHARED
        )  # fmt: skip

    def evaluated(self, verdict: Verdict, z_bcthw: Tensor, state: dict[str, Tensor] | None):
        """The verdict with the step's frames as the host evaluates its program; and the state after it."""
        frames, state = self.decoder.evaluate(z_bcthw.bfloat16(), state, self.target.board.name)
        return dataclasses.replace(verdict, outputs=frames, outputs_from=EVALUATED), state

    def state(self) -> dict[str, Tensor]:
        """The state, copied to the host. Raises `Refused` where kernels don't run: it would mean nothing."""
        if not self.target.outputs_are_real:
            raise Refused("state", f"a state on {self.target.name}, where kernels don't run", "a target with results")
        return {name: self.chip.kept(PREFIX + name, "bf16") for name in self.kept}

    def close(self) -> None:
        self.chip.close()

    def __exit__(self, *_) -> None:
        self.close()
