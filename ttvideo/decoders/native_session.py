"""A native decoder's programs for a target: written, not compiled; they run as any other's."""

from torch import Tensor

from ttvideo.basics.errors import Refused
from ttvideo.decoders.native_family import FRAMES
from ttvideo.probing.session import Session
from ttvideo.probing.trace import Place
from ttvideo.probing.verdict import Verdict
from ttvideo.programs.own import frames
from ttvideo.targets.target import Target


class NativePrograms(Session):
    """One for each kind of step, [1, C, T, H, W]. Raises `Refused` for a target of another fidelity."""

    evaluated_by = "evaluated (the native program, run on the host)"
    shared = "native decoder"  # first steps and others hold the same weights, once

    def __init__(self, decoder, target: Target, stateful: bool):
        super().__init__(target, stateful)
        own = decoder.arithmetic.fidelity
        if target.fidelity not in (None, own):
            got, need = f"{own} on target {target.name!r}", "the same fidelity, or a target without one"
            raise Refused("native decoder", got, need)
        self.decoder, self.written = decoder, None
        self.fresh = self.begins = True  # no step yet; and whether the last one began a clip

    def run(self, inputs: tuple, keywords: dict, name: str, timeout: float | None) -> Verdict:
        (z,), state, ends = inputs, keywords.get("state"), keywords.get("ends", True)
        self.decoder.check(z.bfloat16(), state, ends, keywords.get("temb"))
        self.begins = state is None and (self.fresh or "state" in keywords or not self.stateful)
        self.fresh, seen = False, None
        if not self.begins:
            left = self.written.state if state is None else {name: v.shape for name, v in state.items()}
            seen = self.decoder.family.seen(left, tuple(z.shape[3:]))
        self.written = self.decoder.step(tuple(z.shape[2:]), self.begins, self.target.board.name, seen, ends)
        kept = {entry: Place(place) for place, entry in enumerate(self.written.results)}
        video = kept.pop(FRAMES, None)
        video = self.decoder.no_frames(tuple(z.shape[3:])) if video is None else video
        return Verdict(self.target.name, {}, name, results=(video, kept), written=self.written.program)

    def arguments(self, inputs: tuple, keywords: dict) -> dict[str, Tensor]:
        return self.written.weights | self.decoder.inputs(
            inputs[0].bfloat16(), keywords.get("state"), self.begins, keywords.get("temb")
        )

    def output(self, place: int, result: Tensor) -> Tensor:
        """Frames as a video; a state stays as it is."""
        return frames.video(result) if self.written.results[place] == FRAMES else result
