"""An autoencoder that decodes on a target: one line in a diffusers script."""

import inspect
import threading
import warnings
import weakref
from collections.abc import Iterator

from diffusers.models.autoencoders.vae import DecoderOutput
from torch import Tensor, nn

from ttvideo.basics.errors import Failed, Refused
from ttvideo.decoders.strategy import decoder_for
from ttvideo.decoders.stream import Stream
from ttvideo.media.latents import check_latents
from ttvideo.media.parameters import AUTO, STRATEGIES
from ttvideo.probing.probe import TIMEOUT_SECONDS
from ttvideo.targets.target import resolve

TAKEN = (
    "temb",
    "causal",
    "generator",
    "num_frames",
    "return_dict",
)  # by some family's decode, beside latents


def on(
    vae: nn.Module,
    target: str = "auto",
    *,
    strategy: str = AUTO,
    frames_per_step: int | None = None,
    evaluate: bool = False,
    timeout: float = TIMEOUT_SECONDS,
) -> nn.Module:
    """The same autoencoder, but its `decode` is a target's: `pipe.vae = on(pipe.vae, "p150-ttsim")`.

    `vae` is one of diffusers' that `for_tiles` knows. What is returned is of its class and shares its
    weights and its encoder: a pipeline does with it what it did before. `decode(z [B, C, T, H, W])`, with
    the timestep where there is one, gives the frames [B, 3, T', H', W'] that the autoencoder gives, in its
    data type, in one tensor on the host. The clips of a batch are decoded one by one, each in steps of
    `frames_per_step` latent frames, by default as its family does; a line shows how long the
    rest takes. `timeout` is in seconds a step.

    `strategy` is "tiles" (`for_tiles`), "native" (TT-NN's own ops, in bf16) or "auto": native for an
    autoencoder in bf16 that has it, where TT-NN executes programs. A target without results decodes on the
    host instead and says so, or with `evaluate` runs the compiled programs there.

    The worker starts with the first clip and serves those after it. It ends with `close()`, with
    `with on(vae, target) as vae:`, with the returned autoencoder, or with the process. Raises `Refused` at
    once for an autoencoder that `for_tiles` refuses and a target that isn't there; `decode` raises `Failed`,
    which holds the verdict, for a step that breaks.
    """
    if not hasattr(vae, "decode"):
        raise Refused("on", type(vae).__name__, "an autoencoder, as a pipeline has it: pipe.vae")
    vae = stock(vae)
    made = like(vae, type(type(vae).__name__, (OnTarget, type(vae)), {"__module__": type(vae).__module__}))
    made.decoding = Decoding(target, strategy, frames_per_step, evaluate, timeout)
    made.decoding.decoder_of(made)
    return made


class OnTarget:
    """What an autoencoder on a target does otherwise than its class, which comes after this one."""

    def decode(self, *others, **keywords) -> DecoderOutput | tuple[Tensor]:
        """As the autoencoder's own, of the same arguments; images, [B, C, H, W], are clips of one frame, or
        of `num_frames` where it's told."""
        given = inspect.signature(super().decode).bind(*others, **keywords)
        given.apply_defaults()
        (_, z), *others = given.arguments.items()
        given = dict(others)
        if unknown := given.keys() - TAKEN:
            raise Refused("decode", f"keywords {sorted(unknown)}", f"some of {', '.join(TAKEN)}")
        if given.get("causal") not in (None, getattr(self.decoder, "is_causal", None)):
            got = f"causal={given['causal']}"
            raise Refused("decode", got, f"vae.decoder.is_causal = {given['causal']}, set before")
        count = given.get("num_frames", 1)
        if z.dim() == 4 and (count < 1 or len(z) % count):
            raise Refused("num_frames", count, f"a part of the {len(z)} frames")
        clips = z.unflatten(0, (-1, count)).transpose(1, 2) if z.dim() == 4 else z
        frames = self.decoding.decode(self, clips, given.get("temb"))
        frames = frames.transpose(1, 2).flatten(0, 1) if z.dim() == 4 else frames
        return DecoderOutput(sample=frames) if given["return_dict"] else (frames,)

    def enable_tiling(self, *_, **__) -> None:
        self.decoding.say("enable_tiling: left off; steps hold little memory, and frames stay whole")

    def enable_slicing(self) -> None:
        self.decoding.say("enable_slicing: left off; the clips of a batch are decoded one by one")

    def extra_repr(self) -> str:
        return f"decodes on {self.decoding.target.name}"

    def close(self) -> None:
        """End the worker; another `decode` starts one again."""
        self.decoding.close()

    def __enter__(self):
        self.decoding.open(self)
        return self

    def __exit__(self, *_) -> None:
        self.close()


class Decoding:
    """Where and how an autoencoder decodes, and the stream that does, until the autoencoder changes."""

    def __init__(
        self, target: str, strategy: str, frames_per_step: int | None, evaluate: bool, timeout: float
    ):
        if strategy not in STRATEGIES:
            raise Refused("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
        self.target, self.strategy, self.said = resolve(target), strategy, set()
        self.target.plugin()
        if not (self.target.outputs_are_real or evaluate):
            self.say(f"target {self.target.name!r} has no results: frames are decoded on the host", 4)
            self.target, self.strategy = resolve("cpu"), AUTO
        self.frames_per_step, self.evaluate, self.timeout = frames_per_step, evaluate, timeout
        self.made_of = self.decoder = self.stream = None

    def say(self, what: str, level: int = 3) -> None:
        """Once; `level` is how many calls away the script's own line is."""
        if what not in self.said:
            self.said.add(what)
            warnings.warn(what, stacklevel=level)

    def decoder_of(self, vae: nn.Module) -> nn.Module:
        """The decoder of the autoencoder as it is now."""
        now = fingerprint(vae)
        if now != self.made_of:
            self.close()
            self.decoder, self.made_of = decoder_for(stock(vae), self.target, self.strategy), now
        return self.decoder

    def open(self, vae: nn.Module) -> Stream:
        decoder = self.decoder_of(vae)
        if self.stream is None:
            self.stream = Stream(decoder, self.target.name, evaluate=self.evaluate)
            self.ended = weakref.finalize(self, self.stream.session.close)
            # When the process ends, before the thread does that started the worker, and the worker with it.
            threading._register_atexit(self.ended)
        return self.stream

    def close(self) -> None:
        if self.stream is not None:
            self.ended()
            self.stream = None

    def decode(self, vae: nn.Module, z_bcthw: Tensor, temb: Tensor | None) -> Tensor:
        """The clips' frames [B, 3, T', H', W'] in the autoencoder's type. Raises `Refused` and `Failed`."""
        decoder = self.decoder_of(vae)
        dtype = next(decoder.parameters()).dtype
        z_bcthw = check_latents(z_bcthw.detach().to("cpu", dtype), decoder.latent_channels)
        each = [{}] * len(z_bcthw)
        if temb is not None and getattr(decoder, "embedder", None) is not None:
            temb = temb.detach().to("cpu", dtype).flatten().expand(len(z_bcthw))
            each = [{"temb": one} for one in temb.split(1)]
        parts = []
        for number, (z_cthw, more) in enumerate(zip(z_bcthw, each), start=1):
            title = "decoding" if len(z_bcthw) == 1 else f"decoding clip {number} of {len(z_bcthw)}"
            parts += (frames.to(vae.dtype) for frames in self.clip(vae, z_cthw[None], title, **more))
        return joined(parts, len(z_bcthw))

    def clip(self, vae: nn.Module, z_bcthw: Tensor, title: str, **each) -> Iterator[Tensor]:
        stream = self.open(vae)
        chunks = z_bcthw.split(stream.decoder.steps(z_bcthw.shape[2], self.frames_per_step), dim=2)
        well = False
        try:
            for step in stream.steps(chunks, title=title, timeout=self.timeout, **each):
                if not step.verdict.passed or step.frames is None:
                    raise Failed(step.verdict)
                yield step.frames
            well = True
        finally:  # a worker that was interrupted is of no use any more
            None if well else self.close()


def joined(parts: list[Tensor], clips: int) -> Tensor:
    """Clips' frames in order, [1, 3, t, H, W] each -> [B, 3, T, H, W]; each goes once it is copied."""
    frames, at = sum(part.shape[2] for part in parts) // clips, 0
    _, channels, _, *size = parts[0].shape
    out = parts[0].new_empty(clips, channels, frames, *size)
    while parts:
        part = parts.pop(0)[0]
        clip, begin = divmod(at, frames)
        out[clip, :, begin : begin + part.shape[1]] = part
        at += part.shape[1]
    return out


def like(vae: nn.Module, kind: type) -> nn.Module:
    """An autoencoder of another class, with the same modules, weights and settings."""
    made = kind.__new__(kind)
    vars(made).update({name: value for name, value in vars(vae).items() if name != "decoding"})
    return made


def stock(vae: nn.Module) -> nn.Module:
    """The autoencoder, where it's one that `on` gave, as diffusers has it."""
    return like(vae, type(vae).__bases__[1]) if isinstance(vae, OnTarget) else vae


def fingerprint(vae: nn.Module) -> list[tuple]:
    """What differs once weights or settings of an autoencoder were changed, in place or not."""
    settings = [
        (name, key, value if isinstance(value, (bool, int, float, str, tuple)) else id(value))
        for name, module in vae.named_modules()
        for key, value in vars(module).items()
        if not key.startswith("_") and key != "decoding"
    ]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in vae.modules()]
    tensors = (*vae.parameters(), *vae.buffers())
    return [*settings, *hooks, *((t.data_ptr(), t.dtype, t.is_inference() or t._version) for t in tensors)]
