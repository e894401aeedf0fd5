"""Every 3D convolution class that `decompose` knows, one a line: what it pads, and what it carries between
calls.

torch's own, and all of diffusers 0.42.1's autoencoders. A new class is a line in `KNOWN`; one that pads in no
way seen before also a function here, one that carries something new also a class in
`ttvideo.decompositions.carried`. A class that computes none by itself, but holds an `nn.Conv3d` in `conv`,
need not be known: the inner one is replaced where it stands.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from diffusers.models.autoencoders.autoencoder_kandinsky6_sr import (
    Kandinsky6SRCausalConv3d,
    Kandinsky6SRSafeConv3d,
)
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXSafeConv3d
from diffusers.models.autoencoders.autoencoder_kl_cosmos import CosmosCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_hunyuanimage_refiner import HunyuanImageRefinerCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_hunyuanvideo15 import HunyuanVideo15CausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_kvae_video import (
    KVAECachedCausalConv3d,
    KVAECausalConv3d,
    KVAESafeConv3d,
)
from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_magvit import EasyAnimateCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_minimax_h3 import MiniMaxH3VideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from diffusers.models.autoencoders.autoencoder_vidtok import VidTokCausalConv3d
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.carried import (
    ConvCache,
    OnCall,
    PaddingCache,
    Past,
    PreviousFeatures,
    ReplicatedPaddingCache,
    WriteTo,
    ZeroPast,
)
from ttvideo.decompositions.form import Form

# What is padded before the convolution: for t, h and w the (before, after) and the mode.
Pads = tuple[tuple[tuple[int, int], str], ...]
NOTHING: Pads = (((0, 0), "zeros"),) * 3


@dataclass(frozen=True)
class Known:
    """`pads(module)` is what the class's forward pads; `carries` stands in its place, where the way alone
    would not do."""

    pads: Callable[[nn.Module], Pads] = lambda module: NOTHING
    carries: type[nn.Module] | None = None


def pad_argument(numbers, mode: str) -> Pads:
    """The argument of an `F.pad`, its last dimension first: (w, w, h, h) or (w, w, h, h, t, t)."""
    numbers = [*numbers, 0, 0][:6]
    mode = "zeros" if mode == "constant" else mode
    return tuple((tuple(numbers[i : i + 2]), mode) for i in (4, 2, 0))


def first_frame(before: int, after: int = 0, space: Pads = NOTHING) -> Pads:
    """Frames at the ends repeated, and in space what `space` says."""
    return (((before, after), "replicate"), *space[1:])


def cogvideox(module: CogVideoXCausalConv3d) -> Pads:
    replicate = module.pad_mode == "replicate"  # else `ConvCache` puts the past before it
    return pad_argument(module.time_causal_padding, "replicate") if replicate else NOTHING


def ltx(module: LTXVideoCausalConv3d) -> Pads:
    kt = module.kernel_size[0]
    return first_frame(kt - 1) if module.is_causal else first_frame((kt - 1) // 2, (kt - 1) // 2)


def kvae(module: KVAECausalConv3d) -> Pads:
    h, w = module.height_pad, module.width_pad
    return pad_argument((w, w, h, h, module.time_pad, 0), "replicate")


def minimax(module: MiniMaxH3VideoCausalConv3d) -> Pads:
    space = pad_argument((module.spatial_padding,) * 4, module.spatial_padding_mode)
    return (((module.temporal_padding, 0), "zeros"), *space[1:])


KNOWN = {
    nn.Conv3d: Known(),
    CogVideoXSafeConv3d: Known(),  # the safe ones only split large clips along time
    Kandinsky6SRSafeConv3d: Known(),
    KVAESafeConv3d: Known(carries=WriteTo),
    HunyuanVideoCausalConv3d: Known(lambda m: pad_argument(m.time_causal_padding, m.pad_mode)),
    HunyuanVideo15CausalConv3d: Known(lambda m: pad_argument(m.time_causal_padding, m.pad_mode)),
    HunyuanImageRefinerCausalConv3d: Known(lambda m: pad_argument(m.time_causal_padding, m.pad_mode)),
    CosmosCausalConv3d: Known(
        lambda m: first_frame(m.temporal_pad, space=pad_argument(m.spatial_pad, m.pad_mode))
    ),
    KVAECausalConv3d: Known(kvae),
    LTXVideoCausalConv3d: Known(ltx),
    LTX2VideoCausalConv3d: Known(carries=OnCall),
    MiniMaxH3VideoCausalConv3d: Known(minimax),
    CogVideoXCausalConv3d: Known(cogvideox, ConvCache),
    WanCausalConv3d: Known(lambda m: pad_argument(m._padding[:4], "zeros"), ZeroPast),
    QwenImageCausalConv3d: Known(lambda m: pad_argument(m._padding[:4], "zeros"), ZeroPast),
    EasyAnimateCausalConv3d: Known(carries=PreviousFeatures),
    VidTokCausalConv3d: Known(lambda m: pad_argument(m.spatial_padding, m.pad_mode), Past),
    Kandinsky6SRCausalConv3d: Known(carries=PaddingCache),
    KVAECachedCausalConv3d: Known(carries=ReplicatedPaddingCache),
}


def kind_of(module: nn.Module) -> Known | None:
    """What is known of the module's class, or of the one whose forward it inherits; else None."""
    bases = [base for base in type(module).__mro__ if base in KNOWN]
    if not bases or type(module).forward is not bases[0].forward:
        return None
    inner = convolution(module)
    return KNOWN[bases[0]] if type(inner)._conv_forward is nn.Conv3d._conv_forward else None


def is_known(module: nn.Module) -> bool:
    """Is it of a class in `KNOWN`, or of a subclass, whatever that does?"""
    return isinstance(module, tuple(KNOWN))


def convolution(module: nn.Module) -> nn.Conv3d:
    """The `nn.Conv3d` that has the weights: the module itself, or the one that it wraps."""
    return module if isinstance(module, nn.Conv3d) else module.conv


def form_of(module: nn.Module) -> Form:
    """The whole form of a convolution whose class is known, without what its `carries` puts before it.

    Raises `Refused` where the class pads and its `nn.Conv3d` pads the same axis in another way.
    """
    form, known = Form.of(convolution(module)), kind_of(module)
    padding, modes = list(form.padding), list(form.modes)
    for axis, (pair, mode) in enumerate(known.pads(module)):
        if not any(pair):
            continue
        if any(padding[axis]) and {mode, modes[axis]} != {"zeros"}:
            got = f"{mode} before a Conv3d that pads {modes[axis]}"
            raise Refused(f"padding of a {type(module).__name__}", got, "one padding along each axis")
        padding[axis] = tuple(outer + inner for outer, inner in zip(pair, padding[axis]))
        modes[axis] = mode
    return replace(form, padding=tuple(padding), modes=tuple(modes))
