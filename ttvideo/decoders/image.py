"""The decoders of images, diffusers' `AutoencoderKL` and `AutoencoderTiny`, for tiles: a clip whose frames
don't see each other."""

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import FrameAttention, check_one_head, pointwise
from ttvideo.decoders.causal import FrameConv, check_conv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, State, frames_of, video_of
from ttvideo.decoders.group_norm import group_norm, group_norm_silu
from ttvideo.decoders.rows import keep_row_major, nearest

Size = tuple[int, int]
ELEMENTWISE = nn.ReLU, nn.SiLU, nn.GELU, nn.Mish


class ImageDecoder(ClipDecoder):
    """Takes images' latents, [B, C, H, W] -> [B, 3, s H, s W], or a clip of them, [B, C, T, H, W] -> [B, 3,
    T, s H, s W].

    Nothing is kept from frame to frame, so the state is an empty one and any steps do. A subclass implements
    `frame`.
    """

    scale: int

    def frame(self, z_nc: Tensor, size: Size) -> Tensor:
        """A frame's latents, [H * W, C] -> its pixels, [s H * s W, 3]."""
        raise NotImplementedError

    def check(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> None:
        super().check(as_clip(z_bcthw), state, ends)

    def forward(self, z_bcthw: Tensor, state: State | None = None, ends: bool = True) -> tuple[Tensor, State]:
        frames, state = super().forward(as_clip(z_bcthw), state, ends)
        return frames[:, :, 0] if z_bcthw.dim() == 4 else frames, state

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames = [self.frame(z_nc, memory.size) for z_nc in frames_of(z_cthw)]
        return video_of(frames, memory.at(self.scale))


class ImageTileDecoder(ImageDecoder):
    """A `Decoder` of diffusers' (of SD, SDXL, SD3, FLUX, FLUX.2), with its autoencoder's `post_quant_conv`,
    exactly.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None):
        super().__init__()
        check_norm("conv_norm_out", decoder.conv_norm_out, decoder.conv_act)
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.in_channels
        self.conv_in = frame_conv("conv_in", decoder.conv_in)
        self.blocks, self.scale = image_blocks(decoder, lambda *place: [spatial(*place)])
        self.norm_out = deepcopy(decoder.conv_norm_out)
        self.conv_out = frame_conv("conv_out", decoder.conv_out)

    def frame(self, z_nc: Tensor, size: Size) -> Tensor:
        x_nc = z_nc if self.post_quant is None else self.post_quant(z_nc)
        x_nc = self.conv_in(x_nc, size).flatten(0, -2)
        for block in self.blocks:
            x_nc, size = block(x_nc, size), enlarged(size, block)
        return self.conv_out(*group_norm_silu([x_nc], self.norm_out), size).flatten(0, -2)


class TinyTileDecoder(ImageDecoder):
    """A `DecoderTiny` of diffusers', exactly. Copies the weights. Raises `Refused` for another
    architecture."""

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.layers, self.scale = nn.ModuleList(), 1
        for i, layer in enumerate(decoder.layers):
            self.layers.append(tiny_layer(f"layers.{i}", layer))
            self.scale *= getattr(self.layers[-1], "by", 1)
        self.latent_channels = decoder.layers[0].in_channels

    def frame(self, z_nc: Tensor, size: Size) -> Tensor:
        x_nc = torch.tanh(z_nc / 3) * 3
        for layer in self.layers:
            x_nc, size = run(layer, x_nc, size), enlarged(size, layer)
        return x_nc * 2 - 1


class TinyBlock(nn.Module):
    """An `AutoencoderTinyBlock` on a frame [N, C]."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        self.layers = nn.ModuleList(
            tiny_layer(f"{name}.conv.{i}", layer) for i, layer in enumerate(stock.conv)
        )
        self.skip = pointwise(stock.skip)
        self.fuse = elementwise(f"{name}.fuse", stock.fuse)

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        rest = x_nc if self.skip is None else self.skip(x_nc)
        for layer in self.layers:
            x_nc = run(layer, x_nc, size)
        return self.fuse(x_nc + rest)


class Enlarge(nn.Module):
    """Each pixel of a frame [N, C] `by` x `by` times, and a convolution where there is one."""

    def __init__(self, by: int, conv: FrameConv | None = None):
        super().__init__()
        self.by, self.conv = by, conv

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        x_nc = nearest(x_nc, size, self.by)
        if self.conv is None:
            return x_nc
        return self.conv(keep_row_major(x_nc[None, None]), enlarged(size, self)).flatten(0, -2)


class Residual(nn.Module):
    """A `ResnetBlock2D` without a timestep, or a `HunyuanImageResnetBlock`, on a frame [N, C]."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        got = [getattr(stock, part, None) for part in ("time_emb_proj", "upsample", "downsample")]
        divisor = getattr(stock, "output_scale_factor", 1)
        if got != [None, None, None] or divisor != 1:
            need = "no timestep, no change of size, divided by 1"
            raise Refused(name, f"timestep, upsampling, downsampling {got}, divided by {divisor}", need)
        for norm in (stock.norm1, stock.norm2):
            check_norm(name, norm, stock.nonlinearity)
        self.norms = nn.ModuleList(deepcopy(norm) for norm in (stock.norm1, stock.norm2))
        self.convs = nn.ModuleList(
            frame_conv(f"{name}.{half}", getattr(stock, half)) for half in ("conv1", "conv2")
        )
        self.shortcut = pointwise(stock.conv_shortcut)

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        rest = x_nc if self.shortcut is None else self.shortcut(x_nc)
        for norm, conv in zip(self.norms, self.convs):
            x_nc = conv(*group_norm_silu([x_nc], norm), size).flatten(0, -2)
        return x_nc + rest


class FrameNorm(nn.Module):
    """A `GroupNorm` of a frame by itself, [N, C]."""

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.norm = deepcopy(norm)

    def forward(self, x_nc: Tensor) -> Tensor:
        return group_norm([x_nc], self.norm)[0]


class Attention(nn.Module):
    """An `Attention` of one head among the pixels of a frame [N, C]."""

    def __init__(self, name: str, stock: nn.Module):
        super().__init__()
        check_one_head(name, stock)
        qkv = stock.to_q, stock.to_k, stock.to_v
        self.attention = FrameAttention(FrameNorm(stock.group_norm), qkv, stock.to_out[0])

    def forward(self, x_nc: Tensor, size: Size) -> Tensor:
        return self.attention(x_nc)


def spatial(name: str, block: nn.Module, i: int) -> Residual:
    return Residual(f"{name}.resnets.{i}", block.resnets[i])


def image_blocks(
    decoder: nn.Module, residuals: Callable[[str, nn.Module, int], list[nn.Module]]
) -> tuple[nn.ModuleList, int]:
    """What stands between a decoder's first and last convolutions, in its order, and how many times it
    enlarges.

    `residuals(name, block, i)` gives what stands for a block's residual block of this number.
    """
    mid, blocks, scale = decoder.mid_block, [], 1
    for i in range(len(mid.resnets)):
        if i and i <= len(mid.attentions) and mid.attentions[i - 1] is not None:
            blocks.append(Attention(f"mid_block.attentions.{i - 1}", mid.attentions[i - 1]))
        blocks += residuals("mid_block", mid, i)
    for i, block in enumerate(decoder.up_blocks):
        name = f"up_blocks.{i}"
        if getattr(block, "attentions", None):
            raise Refused(name, type(block).__name__, "residual blocks and an upsampling")
        blocks += [part for j in range(len(block.resnets)) for part in residuals(name, block, j)]
        for j, upsample in enumerate(block.upsamplers or ()):
            if upsample.norm is not None or upsample.use_conv_transpose or not upsample.interpolate:
                raise Refused(f"{name}.upsamplers.{j}", upsample, "nearest, then a convolution")
            blocks.append(Enlarge(2, frame_conv(f"{name}.upsamplers.{j}", upsample.conv)))
            scale *= 2
    return nn.ModuleList(blocks), scale


def frame_conv(name: str, conv: nn.Conv2d) -> FrameConv:
    """A Conv2d that keeps the size, with zeros around. Raises `Refused` for another one."""
    if not isinstance(conv, nn.Conv2d):
        raise Refused(f"convolution {name}", type(conv).__name__, "a Conv2d")
    check_conv(name, conv, tuple(n // 2 for n in conv.kernel_size))
    return FrameConv(conv.weight, conv.bias)


def tiny_layer(name: str, layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        return frame_conv(name, layer)
    if isinstance(layer, nn.Upsample):
        if layer.mode != "nearest" or layer.scale_factor != int(layer.scale_factor):
            raise Refused(
                name, f"{layer.mode}, {layer.scale_factor} times", "nearest, a whole number of times"
            )
        return Enlarge(int(layer.scale_factor))
    return TinyBlock(name, layer) if hasattr(layer, "fuse") else elementwise(name, layer)


def elementwise(name: str, activation: nn.Module) -> nn.Module:
    if not isinstance(activation, ELEMENTWISE):
        need = f"one of {', '.join(kind.__name__ for kind in ELEMENTWISE)}"
        raise Refused(name, f"the activation {type(activation).__name__}", need)
    return deepcopy(activation)


def run(layer: nn.Module, x_nc: Tensor, size: Size) -> Tensor:
    return layer(x_nc) if isinstance(layer, ELEMENTWISE) else layer(x_nc, size).flatten(0, -2)


def enlarged(size: Size, block: nn.Module) -> Size:
    by = getattr(block, "by", 1)
    return size[0] * by, size[1] * by


def as_clip(z: Tensor) -> Tensor:
    """Images [B, C, H, W] as clips of one frame."""
    return z[:, :, None] if z.dim() == 4 else z


def check_norm(name: str, norm: nn.Module, activation: nn.Module) -> None:
    if not isinstance(norm, nn.GroupNorm) or not isinstance(activation, nn.SiLU):
        got = f"{type(norm).__name__} and {type(activation).__name__}"
        raise Refused(name, got, "GroupNorm and SiLU")
