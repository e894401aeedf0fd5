"""Kandinsky's video decoders, KVAE's and that of Kandinsky 6, for tiles."""

from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import as_linear, pointwise
from ttvideo.decoders.causal import EDGES, FIRST, REFLECT, ZEROS, CausalConv, FrameConv, check_conv
from ttvideo.decoders.clip_decoder import ChunkedDecoder, ClipDecoder, Memory, frames_of, video_of
from ttvideo.decoders.residual import ChannelNorm, ResidualBlock
from ttvideo.decoders.spatial_norm import Condition, SpatialNormSilu
from ttvideo.decoders.upsample import AddedUpsample

Frames = list[Tensor]
SEGMENT = 16  # frames of video


class Layers(nn.Module):
    """What both have in common: the latents scale and shift each norm, and all convolutions look back.

    `norm(scale, stock)` makes what stands for a norm and SiLU, `padding` is that of space.
    """

    def __init__(self, decoder: nn.Module, norm, padding: str, single_once: bool):
        super().__init__()
        self.conv_in = causal("conv_in", 1, decoder.conv_in, padding)

        def residual(name: str, scale: int, stock: nn.Module) -> Residual:
            return Residual(name, scale, stock, norm, padding)

        blocks, scale = (
            [residual(f"mid.{half}", 1, getattr(decoder.mid, half)) for half in ("block_1", "block_2")],
            1,
        )
        for i, level in reversed(list(enumerate(decoder.up))):
            name = f"up.{i}"
            if len(getattr(level, "attn", ())):
                raise Refused(f"{name}.attn", f"{len(level.attn)} of them", "none")
            blocks += [residual(f"{name}.block.{j}", scale, block) for j, block in enumerate(level.block)]
            if hasattr(level, "upsample"):
                blocks.append(upsample(f"{name}.upsample", scale, level.upsample, padding, single_once))
                scale *= 2
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = norm(scale, decoder.norm_out)
        self.conv_out = causal("conv_out", scale, decoder.conv_out, padding)

    def forward(self, latents: Frames, memory: Memory) -> Frames:
        condition = Condition(latents, memory.size)
        frames = self.conv_in(latents, memory)
        for block in self.blocks:
            if isinstance(block, Residual):
                frames = block(frames, condition, memory)
            else:
                frames = block(frames, memory)
        return self.conv_out(self.norm_out(frames, condition), memory)


class Kandinsky6TileDecoder(ClipDecoder):
    """A `Kandinsky6SRDecoder3D` (diffusers), exactly: [B, 64, T, H, W] -> [B, 3, 4 T, 16 H, 16 W].

    The first step gives 3 frames fewer: the first latent frame of a clip is one frame of video. Streaming in
    steps of any length with a constant state: convolutions look back, with the first frame repeated before
    the clip, norms see a pixel.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    def __init__(self, decoder: nn.Module):
        super().__init__()
        self.latent_channels = decoder.conv_in.conv.in_channels
        self.layers = Layers(decoder, RowNormSilu, ZEROS, single_once=False)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        return video_of(self.layers(frames_of(z_cthw), memory), memory.at(self.layers.scale))


class KVAETileDecoder(ChunkedDecoder):
    """A `KVAECachedDecoder3D` (diffusers), driven as its autoencoder drives it, exactly.

    [B, 16, T, H, W] -> [B, 3, 4 T, 8 H, 8 W], the first step 3 frames fewer. Its norms take the statistics of
    all frames that are decoded together: of 17 frames of video first, then of 16. So a first step is of 5 + 4
    n latent frames, later ones of 4 n, and the last of any number; the state is constant. A last latent frame
    that comes alone is one frame of video, as the autoencoder has it.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    padding_modes = "zeros", "reflect"

    def __init__(self, decoder: nn.Module):
        super().__init__()
        times = 2 ** sum(
            level.upsample.temporal_compress for level in decoder.up if hasattr(level, "upsample")
        )
        self.first, self.together = 1 + SEGMENT // times, SEGMENT // times
        self.latent_channels = decoder.conv_in.conv.in_channels
        self.layers = Layers(decoder, ClipNormSilu, EDGES, single_once=True)
        self.scale = self.layers.scale

    def chunk(self, frames: Frames, memory: Memory) -> Frames:
        return self.layers(frames, memory)


class Residual(ResidualBlock):
    """A `KVAECachedResnetBlock3D` or `Kandinsky6SRResnetBlock3D` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module, norm, padding: str):
        if hasattr(stock, "conv_shortcut"):
            raise Refused(name, "conv_shortcut", "a pointwise one, or none")
        super().__init__(
            [norm(scale, getattr(stock, half)) for half in ("norm1", "norm2")],
            [causal(f"{name}.{half}", scale, getattr(stock, half), padding) for half in ("conv1", "conv2")],
            pointwise(getattr(stock, "nin_shortcut", None)),
        )


class RowNormSilu(nn.Module):
    """A `Kandinsky6SRSpatialNorm3D` and SiLU: an RMS norm of each pixel, scaled and shifted by the latents
    there."""

    def __init__(self, scale: int, stock: nn.Module):
        super().__init__()
        self.scale, self.norm = scale, ChannelNorm(stock.norm_layer)
        self.by, self.shift = as_linear(stock.conv_y), as_linear(stock.conv_b)

    def forward(self, frames: Frames, condition: Condition) -> Frames:
        zs = condition.at(self.scale, len(frames))
        return [F.silu(self.norm(x) * self.by(z) + self.shift(z)) for x, z in zip(frames, zs)]


class ClipNormSilu(SpatialNormSilu):
    """A `KVAECachedSpatialNorm3D` and SiLU, on the frames of a chunk."""

    def __init__(self, scale: int, stock: nn.Module):
        if stock.add_conv:
            raise Refused("norm", "add_conv", "latents as they are")
        super().__init__(scale, stock.norm_layer.norm_layer, stock.conv_y, stock.conv_b)


def upsample(name: str, scale: int, stock: nn.Module, padding: str, single_once: bool) -> AddedUpsample:
    """A `KVAECachedPXSUpsample` or `Kandinsky6SRUpsample`. Raises `Refused` for another one."""
    conv, modes = stock.spatial_conv, {"zeros": ZEROS, "reflect": REFLECT}
    if conv.kernel_size != (1, 3, 3):
        raise Refused(f"convolution {name}.spatial_conv", conv.kernel_size, "1 x 3 x 3")
    check_conv(f"{name}.spatial_conv", conv, (0, 1, 1), tuple(modes))
    time = getattr(stock, "temporal_conv", None)
    return AddedUpsample(
        scale,
        None if time is None else causal(f"{name}.temporal_conv", scale, time, padding),
        FrameConv(conv.weight[:, :, 0], conv.bias, modes[conv.padding_mode]),
        as_linear(stock.linear),
        single_once,
    )


def causal(name: str, scale: int, stock: nn.Module, padding: str) -> CausalConv:
    """A `KVAECachedCausalConv3d` or `Kandinsky6SRCausalConv3d` of stride 1. Raises `Refused` for another
    one."""
    conv = stock.conv
    check_conv(name, conv, (0, 0, 0))
    if stock.time_pad != conv.kernel_size[0] - 1:
        raise Refused(f"convolution {name}", f"time_pad {stock.time_pad}", "all but one of its taps")
    return CausalConv(name, scale, conv.weight, conv.bias, FIRST, padding)
