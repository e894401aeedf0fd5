"""EasyAnimate's decoder (Magvit) for tiles."""

from copy import deepcopy

from torch import Tensor, nn
from torch.nn import functional as F

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import pointwise
from ttvideo.decoders.causal import FIRST, CausalConv, check_conv
from ttvideo.decoders.clip_decoder import ChunkedDecoder, Memory
from ttvideo.decoders.group_norm import clip_norm, group_norm
from ttvideo.decoders.image import check_norm
from ttvideo.decoders.residual import ResidualBlock
from ttvideo.decoders.rows import nearest

Frames = list[Tensor]


class MagvitTileDecoder(ChunkedDecoder):
    """An `EasyAnimateDecoder` (diffusers), driven as its autoencoder drives it, exactly.

    [B, 16, T, H, W] -> [B, 3, 4 T, 8 H, 8 W], the first step 3 frames fewer: the first latent frame of a clip
    is decoded by itself, to one frame of video. Where its norms aren't spatial they take the statistics of
    all frames that are decoded together: `together` latent frames, one as published, of which a step is a
    multiple, but for the first, which has one more, or is one. Streaming with a constant state: convolutions
    look back, with the first frame repeated before the clip.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    follows = ("num_latent_frames_batch_size",)

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None, together: int = 1):
        super().__init__()
        check_norm("conv_norm_out", decoder.conv_norm_out, decoder.conv_act)
        self.first, self.together = 1, together
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.in_channels
        self.conv_in = causal("conv_in", 1, decoder.conv_in)
        blocks = [Residual(f"mid_block.convs.{i}", 1, conv) for i, conv in enumerate(decoder.mid_block.convs)]
        scale = 1
        for i, block in enumerate(decoder.up_blocks):
            blocks += [
                Residual(f"up_blocks.{i}.convs.{j}", scale, conv) for j, conv in enumerate(block.convs)
            ]
            if block.upsampler is not None:
                blocks.append(Upsample(f"up_blocks.{i}.upsampler", scale, block.upsampler))
                scale *= 2
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = deepcopy(decoder.conv_norm_out)
        self.norms = group_norm if decoder.spatial_group_norm else clip_norm
        self.conv_out = causal("conv_out", scale, decoder.conv_out)

    def chunk(self, frames: Frames, memory: Memory) -> Frames:
        frames = self.quantised(frames)
        frames = self.conv_in(frames, memory)
        for block in self.blocks:
            frames = block(frames, memory)
        return self.conv_out([F.silu(frame) for frame in self.norms(frames, self.norm_out)], memory)


class Residual(ResidualBlock):
    """An `EasyAnimateResidualBlock3D` on the frames of a chunk."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        if stock.output_scale_factor != 1:
            raise Refused(name, f"divided by {stock.output_scale_factor}", "divided by 1")
        for norm in (stock.norm1, stock.norm2):
            check_norm(name, norm, stock.nonlinearity)
        super().__init__(
            [deepcopy(norm) for norm in (stock.norm1, stock.norm2)],
            [causal(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            pointwise(stock.shortcut),
        )
        self.norm = group_norm if stock.spatial_group_norm else clip_norm

    def normed(self, frames: Frames, norm: nn.GroupNorm) -> Frames:
        return [F.silu(frame) for frame in self.norm(frames, norm)]


class Upsample(nn.Module):
    """An `EasyAnimateUpsampler3D`: twice as high and wide, convolved, then twice the frames, but in a clip's
    first chunk.

    Where norms are spatial a frame stands twice; else each new one is a quarter of a neighbour in its chunk.
    """

    def __init__(self, name: str, scale: int, stock: nn.Module):
        super().__init__()
        self.scale, self.doubles, self.repeats = scale, stock.temporal_upsample, stock.spatial_group_norm
        self.conv = causal(f"{name}.conv", 2 * scale, stock.conv)

    def forward(self, frames: Frames, memory: Memory) -> Frames:
        size = memory.at(self.scale)
        frames = self.conv([nearest(frame, size) for frame in frames], memory)
        if not self.doubles or memory.starts:
            return frames
        if self.repeats or len(frames) == 1:
            return [frame for frame in frames for _ in range(2)]
        seen = [frames[0], *frames, frames[-1]]
        return [b * 0.75 + side * 0.25 for a, b, c in zip(seen, frames, seen[2:]) for side in (a, c)]


def causal(name: str, scale: int, stock: nn.Module) -> CausalConv:
    """An `EasyAnimateCausalConv3d` that gives as many frames as it takes."""
    check_conv(name, stock, (0, stock.kernel_size[1] // 2, stock.kernel_size[2] // 2))
    return CausalConv(name, scale, stock.weight, stock.bias, before=FIRST)
