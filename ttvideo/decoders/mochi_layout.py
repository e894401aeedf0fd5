"""What a Mochi decoder is made of, in the order of its data: read by its forms for tiles, for the host and in
TT-NN's ops."""

from dataclasses import dataclass

from torch import nn

from ttvideo.basics.errors import Refused


@dataclass(frozen=True)
class Resnet:
    """A residual block: its name in the decoder, on frames `scale` times as high and wide as latents,
    `frames` a latent."""

    name: str
    scale: int
    frames: int
    stock: nn.Module

    @property
    def channels(self) -> int:
        return self.stock.conv1.conv.in_channels

    @property
    def halves(self) -> list[tuple[str, nn.GroupNorm, nn.Conv3d]]:
        """Each convolution's name, the norm before it, and itself."""
        pairs = ("conv1", self.stock.norm1, self.stock.conv1), ("conv2", self.stock.norm2, self.stock.conv2)
        return [(f"{self.name}.{half}", norm.norm_layer, conv.conv) for half, norm, conv in pairs]


@dataclass(frozen=True)
class Shuffle:
    """A projection and its depth to space, `times` frames and `by` times the height and width, of frames at
    `scale`."""

    name: str
    scale: int
    times: int
    by: int
    proj: nn.Linear


def mochi_layout(decoder: nn.Module) -> list[Resnet | Shuffle]:
    """Of a `MochiDecoder3D`, between `conv_in` and `proj_out`. Raises `Refused` for another module."""
    if not all(
        hasattr(decoder, part) for part in ("conv_in", "block_in", "up_blocks", "block_out", "proj_out")
    ):
        raise Refused("decoder", type(decoder).__name__, "a MochiDecoder3D")
    blocks = {"block_in": decoder.block_in}
    blocks |= {f"up_blocks.{i}": block for i, block in enumerate(decoder.up_blocks)}
    layout, scale, frames = [], 1, 1
    for name, block in (blocks | {"block_out": decoder.block_out}).items():
        layout += [
            Resnet(f"{name}.resnets.{i}", scale, frames, stock) for i, stock in enumerate(block.resnets)
        ]
        if hasattr(block, "proj"):
            layout.append(Shuffle(name, scale, block.temporal_expansion, block.spatial_expansion, block.proj))
            scale, frames = scale * block.spatial_expansion, frames * block.temporal_expansion
    return layout
