"""Decode latents of any length in steps, on any target, in constant memory."""

import contextlib
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ttvideo.basics.errors import Refused
from ttvideo.basics.finite import check_finite
from ttvideo.basics.progress import progress
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.steps import load_state, save_state, seen_frames
from ttvideo.media.latents import DROPPED_FRAMES, check_latents
from ttvideo.probing.probe import TIMEOUT_SECONDS, open_session, probe
from ttvideo.probing.trace import to_device
from ttvideo.probing.verdict import FAIL, Verdict
from ttvideo.targets.target import resolve


@dataclass(frozen=True)
class Step:
    """`frames` [B, 3, t, H, W] on the host, None where the lane has no results; `number` counts from 0."""

    number: int
    frames: torch.Tensor | None
    verdict: Verdict


class Stream(contextlib.AbstractContextManager):
    """A streaming decoder on a target, its state kept there from step to step.

    `decoder` is what `for_tiles` gives, a `NativeDecoder`, or a `HostDecoder`. With `evaluate`, frames and
    state are those of the compiled programs, or of the native one's, run on the host: of all steps, or of the
    first few. Where `number` is 0, and no `state` was given, a clip begins: one stream decodes clip after
    clip.
    """

    def __init__(self, decoder, target: str = "auto", state=None, evaluate: bool | int = False):
        self.decoder, self.given, self.fresh = decoder, state, state is None
        self.evaluated_steps = math.inf if evaluate is True else evaluate
        self.number = 0
        self.session = open_session(decoder, resolve(target), stateful=True)

    def step(
        self, z_bcthw: torch.Tensor, ends: bool = False, timeout: float = TIMEOUT_SECONDS, **each
    ) -> Step:
        """Decode latent frames [B, C, T, H, W]; `ends` says that the clip does, with these.

        `each` is what else the decoder takes with each step: `temb`, a timestep.
        """
        number, self.number = self.number, self.number + 1
        given, self.given = self.given, None
        begins = self.fresh and number == 0
        verdict = self.session.call(
            (z_bcthw,), state=given, keywords=each | {"ends": ends} | ({"state": None} if begins else {}),
            evaluate=number < self.evaluated_steps, name=f"step {number}", timeout=timeout,
        )  # fmt: skip
        frames = verdict.outputs
        if frames is not None and begins:
            frames = frames[:, :, self.decoder.dropped_frames :]
        return Step(number, frames, verdict if frames is None else of_finite(verdict, frames))

    def steps(self, chunks, done: int = 0, title: str = "decoding", **how) -> Iterator[Step]:
        """A clip's steps, those of `chunks` from number `done` on; the last is the first that fails.

        A line shows how long the rest will take. `how` is as for `step`.
        """
        self.number = done
        with progress(title, total=len(chunks)) as show:
            show("start", done)
            for chunk in chunks[done:]:
                step = self.step(chunk, ends=self.number + 1 == len(chunks), **how)
                show(f"step {step.number}", 1)
                yield step
                if not step.verdict.passed:
                    return

    def state(self):
        """The state after the last step, on the host: to be saved, and given to another stream."""
        return self.session.state()

    def __exit__(self, *_) -> None:
        self.session.close()


def of_finite(verdict: Verdict, frames: torch.Tensor) -> Verdict:
    """The verdict, or a failed one where frames hold NaN or Inf: a video would be black, without a word."""
    wrong = int((~torch.isfinite(frames)).sum())
    if not wrong or not verdict.passed:
        return verdict
    message = f"NaN or Inf in {wrong:,} of the frames' {frames.numel():,} values: activations overflow"
    return replace(verdict, kind="not finite", message=message, stages=verdict.stages | {verdict.stage: FAIL})


def decode_on_host(
    decoder: HostDecoder,
    latents_bcthw: torch.Tensor,
    frames_per_step: int | None = None,
    host: str = "cpu",
    keep: Path | None = None,
) -> Iterator[torch.Tensor]:
    """Decode z [B, C, T, H, W] in this process, in the decoder's type: frames [B, 3, t, H, W] as they come,
    on the CPU.

    The pipeline's drop of the first frames is kept; `host` is 'cpu' or 'cuda'; `keep` is as for
    `stream_decode`. Raises `Refused` before anything starts: no CUDA, and what `stream_decode` refuses; and
    for frames that aren't finite.
    """
    resolve(host).plugin()
    dtype, device = decoder.conv_in.weight.dtype, torch.device(host)
    check_latents(latents_bcthw, decoder.latent_channels)
    pieces = latents_bcthw.split(decoder.steps(latents_bcthw.shape[2], frames_per_step), dim=2)
    kept = Kept(keep, decoder, pieces, host) if keep else None
    done = kept.steps() if kept else 0
    yield from (kept.step(number).frames for number in range(done))
    decoder = decoder.to(device)
    state = to_device(kept.state(), device) if 0 < done < len(pieces) else None
    with progress(f"decoding · {host}", total=len(pieces)) as show:
        show("start", done)
        for number in range(done, len(pieces)):
            frames, state = decoder(pieces[number].to(device, dtype), state, ends=number + 1 == len(pieces))
            frames = frames[:, :, 0 if number else decoder.dropped_frames :].cpu()
            check_finite(
                f"step {number}", {"its frames: activations overflow in these weights' type": frames}
            )
            if kept:
                kept.add(number, frames, state)
            show(f"step {number}", 1)
            yield frames


def stream_decode(
    decoder,
    latents_bcthw: torch.Tensor,
    target: str = "auto",
    frames_per_step: int | None = None,
    evaluate: bool | int = False,
    keep: Path | None = None,
) -> Iterator[Step]:
    """Decode z [B, C, T, H, W] in steps of `frames_per_step` latent frames; yields each `Step` as it comes.

    `decoder` is what `for_tiles` gives, or a `NativeDecoder`, which needs a target where TT-NN executes
    programs; its `steps` says how it cuts a clip, by default. Where its state is
    constant, the first step and the steady step are two compiled programs, and no more, whatever the length;
    a delay adds those of the clip's begin and its end, and a state that grows has a program for each step.
    Mochi's pipeline's drop of the first frames is kept. It ends at the first step that fails, or whose frames
    aren't finite: its verdict says why.

    With `keep`, frames and state are written to that folder after each step that has results, and a run that
    was interrupted goes on after its last such step. Raises `Refused` before anything starts: latents that
    aren't finite, of another rank or channel count, a folder with the steps of another clip, model, target or
    split.
    """
    check_latents(latents_bcthw, decoder.latent_channels)
    chunks = latents_bcthw.split(decoder.steps(latents_bcthw.shape[2], frames_per_step), dim=2)
    kept = Kept(keep, decoder, chunks, resolve(target).name) if keep else None
    done = kept.steps() if kept else 0
    for number in range(done):
        yield kept.step(number)
    if done == len(chunks):
        return
    state = kept.state() if done else None
    with Stream(decoder, target, state, evaluate) as stream:
        state = None
        for step in stream.steps(chunks, done):
            if kept and step.frames is not None and step.verdict.passed:
                kept.add(step.number, step.frames, stream.state())
            yield step


def decode_at_once(
    decoder, latents_bcthw: torch.Tensor, target: str = "auto", evaluate: bool = False
) -> Iterator[Step]:
    """The whole clip as one step of one program, for a decoder that keeps no state: `(frames, ...) =
    decoder(z)`."""
    verdict = probe(decoder, (latents_bcthw,), target, name="whole clip", evaluate=evaluate)
    frames = None if verdict.outputs is None else verdict.outputs[0][:, :, DROPPED_FRAMES:]
    yield Step(0, frames, replace(verdict, outputs=frames))


class Kept:
    """The folder of a run that can be interrupted: each step's frames, the state after the last, and of what
    clip, decoded by what, where: frames of two targets would make one video without a word."""

    def __init__(self, folder: Path, decoder, chunks: tuple[torch.Tensor, ...], target: str):
        self.folder, self.ends = folder, list(accumulate(chunk.shape[2] for chunk in chunks))
        self.saved = folder / "state.safetensors"
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / "clip.txt"
        clip = f"{fingerprint(decoder, chunks)}\non {target} {decoder.extra_repr()}".strip()
        if place.exists() and place.read_text() != clip:
            raise Refused(
                "kept steps",
                f"those of another clip, model or target in {folder}",
                "an empty folder, or the same again",
            )
        place.write_text(clip)

    def steps(self) -> int:
        """How many are done. Raises `Refused` if they are those of another split."""
        if not self.saved.is_file():
            return 0
        seen = seen_frames(self.saved)
        if seen not in self.ends:
            raise Refused(
                "kept steps",
                f"{seen} latent frames in {self.folder}",
                f"steps that end at one of {self.ends}",
            )
        return self.ends.index(seen) + 1

    def state(self):
        return load_state(self.saved)[0]

    def step(self, number: int) -> Step:
        verdict = Verdict(target="kept", stages={"run": "pass"}, name="kept")
        return Step(number, load_file(self.path(number))["frames"], verdict)

    def path(self, number: int) -> Path:
        return self.folder / f"frames-{number:05}.safetensors"

    def add(self, number: int, frames: torch.Tensor, state) -> None:
        """Frames first, then the state: an interruption in between repeats the step."""
        part = self.path(number).with_suffix(".part")
        save_file({"frames": frames.contiguous()}, part)
        part.replace(self.path(number))
        save_state(self.saved, state, self.ends[number])


def fingerprint(decoder, chunks: tuple[torch.Tensor, ...]) -> str:
    """Of a clip, its split's type, and the decoder's weights and timestep."""
    digest = hashlib.sha256()
    for tensor in (*chunks, *decoder.parameters(), *decoder.buffers()):
        digest.update(f"{tuple(tensor.shape[:2])} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
