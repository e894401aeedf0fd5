"""Decode latents of any length in steps, on any target, in constant memory."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from lib.basics.errors import Refused
from lib.basics.progress import progress
from lib.decoders.steps import load_state, save_state, split
from lib.media.latents import FRAMES_PER_LATENT, check_latents
from lib.probing.on_ttnn import open_session
from lib.probing.probe import TIMEOUT_SECONDS, evaluated
from lib.probing.trace import arguments_by_name
from lib.probing.verdict import Verdict
from lib.targets.target import resolve

# MochiPipeline drops them: the first latent frame stands for one video frame, not for six.
DROPPED_FRAMES = FRAMES_PER_LATENT - 1


@dataclass(frozen=True)
class Step:
    """`frames` [B, 3, t, H, W] on the host, None where the lane has no results; `number` counts from 0."""

    number: int
    frames: torch.Tensor | None
    verdict: Verdict


class Stream(contextlib.AbstractContextManager):
    """A streaming decoder on a target, its state kept there from step to step.

    `decoder(z, state=None)` returns `(frames, state)`, as `lib.decoders.mochi.TileDecoder` does. With `evaluate`, frames
    and state are those of the compiled programs, run on the host.
    """

    def __init__(self, decoder, target: str = "auto", state=None, evaluate: bool = False):
        target = resolve(target)
        self.decoder, self.evaluate = decoder, evaluate and target.needs_plugin
        self.number = 0
        self.fresh = state is None
        self.host_state = state
        self.session = open_session(decoder, target, stateful=True, state=state)

    def step(self, z_bcthw: torch.Tensor, timeout: float = TIMEOUT_SECONDS) -> Step:
        number, self.number = self.number, self.number + 1
        verdict = self.session.call((z_bcthw,), f"step {number}", timeout)
        if self.evaluate and verdict.passed:
            verdict = self.evaluated(verdict, z_bcthw)
        frames = verdict.outputs
        if frames is not None and self.fresh and number == 0:
            frames = frames[:, :, DROPPED_FRAMES:]
        return Step(number, frames, verdict)

    def evaluated(self, verdict: Verdict, z_bcthw: torch.Tensor) -> Verdict:
        inputs = arguments_by_name((z_bcthw,), "input")
        if self.host_state is not None:
            inputs |= arguments_by_name(self.host_state, "input.state")
        verdict = evaluated(verdict, self.decoder, inputs, self.session.result_order())
        frames, self.host_state = verdict.outputs
        return replace(verdict, outputs=frames)

    def state(self):
        """The state after the last step, on the host: to be saved, and given to another stream."""
        return self.host_state if self.evaluate else self.session.state()

    def __exit__(self, *_) -> None:
        self.session.close()


def stream_decode(
    decoder,
    latents_bcthw: torch.Tensor,
    target: str = "auto",
    frames_per_step: int = 1,
    evaluate: bool = False,
    keep: Path | None = None,
) -> Iterator[Step]:
    """Decode z [B, C, T, H, W] in steps of `frames_per_step` latent frames; yields each `Step` as it comes.

    The first step and the steady step are two compiled programs, and no more, whatever the length. The pipeline's
    drop of the first frames is kept. It ends at the first step that fails: its verdict says why.

    With `keep`, frames and state are written to that folder after each step, and a run that was interrupted goes
    on after its last step. Raises `Refused` before anything starts: latents that aren't finite, of another rank or
    channel count.
    """
    channels = next(decoder.conv_in.parameters()).shape[1]
    check_latents(latents_bcthw, channels)
    chunks = latents_bcthw.split(split(latents_bcthw.shape[2], frames_per_step), dim=2)
    done, state = resume(keep, chunks) if keep else ([], None)
    yield from done
    with Stream(decoder, target, state, evaluate) as stream, progress("decoding", total=len(chunks)) as show:
        stream.number = len(done)
        for chunk in chunks[len(done) :]:
            step = stream.step(chunk)
            show(f"step {step.number}", 1)
            if keep and step.frames is not None:
                seen = sum(c.shape[2] for c in chunks[: step.number + 1])
                keep_step(keep, step, stream.state(), seen)
            yield step
            if not step.verdict.passed:
                return


def keep_step(folder: Path, step: Step, state, latent_frames: int) -> None:
    """Frames first, then the state: an interruption in between repeats the step."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"frames-{step.number:05}.safetensors"
    part = path.with_suffix(".part")
    save_file({"frames": step.frames.contiguous()}, part)
    part.replace(path)
    save_state(folder / "state.safetensors", state, latent_frames)


def resume(folder: Path, chunks: tuple[torch.Tensor, ...]) -> tuple[list[Step], object]:
    """The steps that `folder` holds, and the state after the last of them.

    Raises `Refused` if it holds the steps of another split.
    """
    if not (folder / "state.safetensors").is_file():
        return [], None
    state, seen = load_state(folder / "state.safetensors")
    ends = list(accumulate(chunk.shape[2] for chunk in chunks))
    if seen not in ends:
        raise Refused("kept steps", f"{seen} latent frames in {folder}", f"steps that end at one of {ends}")
    kept = Verdict(target="kept", stages={"run": "pass"}, name="kept")
    paths = [folder / f"frames-{number:05}.safetensors" for number in range(ends.index(seen) + 1)]
    return [Step(i, load_file(path)["frames"], kept) for i, path in enumerate(paths)], state
