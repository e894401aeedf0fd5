"""CogVideoX's decoder for tiles."""

from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.attention import pointwise
from ttvideo.decoders.causal import FIRST, CausalConv, FrameConv, check_conv
from ttvideo.decoders.clip_decoder import ClipDecoder, Memory, frames_of, split, video_of
from ttvideo.decoders.residual import ResidualBlock
from ttvideo.decoders.rows import keep_row_major, nearest
from ttvideo.decoders.spatial_norm import Condition, SpatialNormSilu

CHUNK = 2  # latent frames that are normalised together, unless the autoencoder says otherwise


def in_chunks(chunk_size: int, latent_frames: int, frames_per_step: int | None = None) -> list[int]:
    """Cut a clip: [first, n, n, …], by default of a chunk, and what is odd in the first.

    Raises `Refused` for a step of another number than so many chunks.
    """
    size = chunk_size if frames_per_step is None else frames_per_step
    split(latent_frames, size)
    if size % chunk_size:
        raise Refused("frames_per_step", size, f"a multiple of {chunk_size}, what is normalised together")
    odd = latent_frames % chunk_size if latent_frames >= chunk_size else 0
    first, *others = split(latent_frames - odd, size)
    return [first + odd, *others]


class CogVideoXTileDecoder(ClipDecoder):
    """A `CogVideoXDecoder3D` (diffusers), driven as its autoencoder drives it, exactly.

    [B, 16, T, H, W] -> [B, 3, 4 T, 8 H, 8 W], 3 frames fewer where a clip begins with an odd number of latent
    frames. Its norms take the statistics of all frames that are decoded together: two latent frames, which is
    what the autoencoder decodes at a time (`chunk`, its `num_latent_frames_batch_size`), and three where a
    clip of an odd number begins. That, not the whole clip normalised as one, is what the pipeline gives. So a
    step is a multiple of two latent frames, and the first one also takes up what is odd; the state is
    constant: convolutions are causal, with the first frame repeated before the clip.

    Copies the weights and changes nothing in the decoder. Raises `Refused` for another architecture.
    """

    follows = ("num_latent_frames_batch_size",)

    def __init__(self, decoder: nn.Module, post_quant: nn.Module | None = None, chunk: int = CHUNK):
        super().__init__()
        if not isinstance(chunk, int) or chunk < 1:
            raise Refused("num_latent_frames_batch_size", repr(chunk), "a whole number of at least 1")
        self.chunk_size = chunk
        self.post_quant = pointwise(post_quant)
        self.latent_channels = decoder.conv_in.conv.in_channels
        self.conv_in = causal("conv_in", 1, decoder.conv_in)
        scale, blocks = (
            1,
            [Residual(f"mid_block.resnets.{i}", 1, r) for i, r in enumerate(decoder.mid_block.resnets)],
        )
        for i, block in enumerate(decoder.up_blocks):
            name = f"up_blocks.{i}"
            blocks += [
                Residual(f"{name}.resnets.{j}", scale, resnet) for j, resnet in enumerate(block.resnets)
            ]
            if block.upsamplers is not None:
                blocks.append(Upsample(scale, block.upsamplers[0]))
                scale *= 2
        self.blocks, self.scale = nn.ModuleList(blocks), scale
        self.norm_out = norm_silu(scale, decoder.norm_out)
        self.conv_out = causal("conv_out", scale, decoder.conv_out)

    def steps(self, latent_frames: int, frames_per_step: int | None = None) -> list[int]:
        return in_chunks(self.chunk_size, latent_frames, frames_per_step)

    def check(self, z_bcthw: Tensor, state=None, ends: bool = True) -> None:
        super().check(z_bcthw, state, ends)
        if state is not None and z_bcthw.shape[2] % self.chunk_size:
            need = (
                f"a multiple of {self.chunk_size}, normalised together; what is odd belongs to the first step"
            )
            raise Refused("latent frames of a step", z_bcthw.shape[2], need)

    def clip(self, z_cthw: Tensor, memory: Memory) -> Tensor:
        frames, video = frames_of(z_cthw), []
        first = len(frames) % self.chunk_size + self.chunk_size
        while frames:
            chunk, frames = frames[:first], frames[first:]
            video += self.chunk(chunk, memory)
            memory, first = memory.next(), self.chunk_size
        return video_of(video, memory.at(self.scale))

    def chunk(self, frames: list[Tensor], memory: Memory) -> list[Tensor]:
        frames = self.quantised(frames)
        condition = Condition(frames, memory.size)
        frames = self.conv_in(frames, memory)
        for block in self.blocks:
            frames = block(frames, condition, memory)
        return self.conv_out(self.norm_out(frames, condition), memory)


class Residual(ResidualBlock):
    """A `CogVideoXResnetBlock3D` on frames."""

    def __init__(self, name: str, scale: int, stock: nn.Module):
        shortcut = getattr(stock, "conv_shortcut", None)
        if not isinstance(shortcut, (nn.Conv3d, type(None))):
            raise Refused(f"{name}.conv_shortcut", type(shortcut).__name__, "a pointwise one, or none")
        super().__init__(
            [norm_silu(scale, norm) for norm in (stock.norm1, stock.norm2)],
            [causal(f"{name}.{half}", scale, getattr(stock, half)) for half in ("conv1", "conv2")],
            pointwise(shortcut),
        )


class Upsample(nn.Module):
    """A `CogVideoXUpsample3D`: twice the height and width; with `compress_time` twice the frames, but one for
    the first of an odd number. A frame that stands twice is upsampled once."""

    def __init__(self, scale: int, stock: nn.Module):
        super().__init__()
        self.scale, self.doubles = scale, stock.compress_time
        self.conv = FrameConv(stock.conv.weight, stock.conv.bias)

    def forward(self, frames: list[Tensor], condition: Condition, memory: Memory) -> list[Tensor]:
        size, to = memory.at(self.scale), memory.at(2 * self.scale)
        frames = [keep_row_major(nearest(frame, size)[None, None]) for frame in frames]
        frames = [self.conv(frame, to).flatten(0, -2) for frame in frames]
        if not self.doubles:
            return frames
        single = len(frames) % 2
        return [*frames[:single], *(frame for frame in frames[single:] for _ in range(2))]


def norm_silu(scale: int, stock: nn.Module) -> SpatialNormSilu:
    """A `CogVideoXSpatialNorm3D` and SiLU."""
    return SpatialNormSilu(scale, stock.norm_layer, stock.conv_y.conv, stock.conv_b.conv)


def causal(name: str, scale: int, stock: nn.Module) -> CausalConv:
    """A `CogVideoXCausalConv3d` that keeps its past ("constant" or "first": whatever isn't "replicate")."""
    conv = stock.conv
    if stock.pad_mode == "replicate":
        raise Refused(f"convolution {name}", stock.pad_mode, "not replicate")
    check_conv(name, conv, (0, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2))
    return CausalConv(name, scale, conv.weight, conv.bias, before=FIRST)
