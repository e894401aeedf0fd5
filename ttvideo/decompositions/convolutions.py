"""Every distinct Conv3d of Mochi's decoder and encoder, each on a clip that a 2-core machine can measure."""

from collections.abc import Callable
from dataclasses import dataclass

from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn


@dataclass(frozen=True)
class Convolution:
    """`make()` gives the module with random weights, `shape` its input, [B, C, T, H, W]."""

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int, int, int]


def causal(channels_in: int, channels_out: int, kernel, stride=1) -> Callable[[], nn.Module]:
    return lambda: CogVideoXCausalConv3d(channels_in, channels_out, kernel, stride, pad_mode="replicate")


def plain(channels: int, kernel, padding) -> Callable[[], nn.Module]:
    return lambda: nn.Conv3d(channels, channels, kernel, padding=padding)


# The decoder's shapes are those of latents [1, 12, 3, 8, 14] on their way up, with at most 6 frames.
CONVOLUTIONS = {
    "decoder conv_in 1×1×1, 12 to 768": Convolution(lambda: nn.Conv3d(12, 768, 1), (1, 12, 3, 30, 53)),
    "decoder 3×3×3, 768": Convolution(causal(768, 768, 3), (1, 768, 3, 8, 14)),
    "decoder 3×3×3, 512": Convolution(causal(512, 512, 3), (1, 512, 3, 15, 26)),
    "decoder 3×3×3, 256": Convolution(causal(256, 256, 3), (1, 256, 6, 30, 53)),
    "decoder 3×3×3, 128": Convolution(causal(128, 128, 3), (1, 128, 6, 60, 106)),
    "encoder 1×2×2, 64 to 128": Convolution(causal(64, 128, (1, 2, 2), (1, 2, 2)), (1, 64, 6, 60, 106)),
    "encoder 2×2×2, 128 to 256": Convolution(causal(128, 256, (2, 2, 2), (2, 2, 2)), (1, 128, 6, 60, 106)),
    "encoder 3×2×2, 256 to 384": Convolution(causal(256, 384, (3, 2, 2), (3, 2, 2)), (1, 256, 6, 30, 53)),
    "flat in time 1×3×3, 128": Convolution(plain(128, (1, 3, 3), (0, 1, 1)), (1, 128, 6, 60, 106)),
    "flat in space 3×1×1, 128": Convolution(plain(128, (3, 1, 1), (1, 0, 0)), (1, 128, 6, 60, 106)),
}
