"""What stands in a convolution's place where more than a tensor goes in or out: one class for each such
contract.

Each takes the way that does the convolving and the module that stood there, copies what the forward needs,
and keeps the stock contract to the frame: the same arguments, the same caches, the same attributes for those
who set them.
"""

import math

import torch
from torch import Tensor, nn

from ttvideo.decompositions.decomposition import Decomposition
from ttvideo.decompositions.padding import pad

TIME = 2  # the axis of [B, C, T, H, W]


class Carrier(nn.Module):
    """The way's weight and bias are also the stand-in's."""

    def __getattr__(self, name: str):
        return getattr(self.decomposition, name) if name in ("weight", "bias") else super().__getattr__(name)


class ConvCache(Carrier):
    """CogVideoX and Mochi: (x, conv_cache) -> (y, new cache).

    With "replicate" there is no cache, whatever is passed; with "constant" it takes the place of the repeated
    first frame, and the padded input's last kt - 1 frames come back (for kt = 1 all of them: `[-0:]`, as it
    stands there).
    """

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition = decomposition
        self.replicate = stock.pad_mode == "replicate"

    def forward(self, inputs: Tensor, conv_cache: Tensor | None = None):
        if self.replicate:
            return self.decomposition(inputs), None
        kt = self.decomposition.form.kernel[0]
        if kt > 1:
            past = [inputs[:, :, :1]] * (kt - 1) if conv_cache is None else [conv_cache]
            inputs = torch.cat([*past, inputs], dim=TIME)
        return self.decomposition(inputs), inputs[:, :, -kt + 1 :].clone()


class ZeroPast(Carrier):
    """Wan and QwenImage: (x, cache_x) -> y. Zeros before the clip, of which the cache takes as many as it
    has."""

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.before = decomposition, stock._padding[4]

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        zeros = self.before
        if cache_x is not None and zeros:
            x = torch.cat([cache_x.to(x.device), x], dim=TIME)
            zeros -= cache_x.shape[TIME]
        return self.decomposition(pad(x, TIME, zeros, 0, "zeros") if zeros > 0 else x[:, :, -zeros:])


class OnCall(Carrier):
    """LTX-2: (x, causal) -> y. Whether frames are repeated before the clip alone is said at each call."""

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.reach = decomposition, stock.kernel_size[0] - 1

    def forward(self, hidden_states: Tensor, causal: bool = True) -> Tensor:
        before, after = (self.reach, 0) if causal else (self.reach // 2,) * 2
        return self.decomposition(pad(hidden_states, TIME, before, after, "replicate"))


class WriteTo(Carrier):
    """KVAE: (x, write_to) -> y, written there if it is given."""

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.out_channels = decomposition, stock.out_channels

    def forward(self, input: Tensor, write_to: Tensor | None = None) -> Tensor:
        if write_to is None:
            return self.decomposition(input)
        write_to[...] = self.decomposition(input)
        return write_to


class PaddingCache(Carrier):
    """Kandinsky's super-resolution: (x, cache) -> y; `cache["padding"]` is read and written, padded in space.

    The stock forward runs the convolution twice, over the seam and over the rest: one run over both is the
    same.
    """

    mode = "zeros"

    @staticmethod
    def make_cache() -> dict:
        return {"padding": None}

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.before = decomposition, stock.time_pad
        self.height, self.width = stock.height_pad, stock.width_pad

    def forward(self, x: Tensor, cache: dict) -> Tensor:
        x = pad(pad(x, 3, self.height, self.height, self.mode), 4, self.width, self.width, self.mode)
        past = cache["padding"]
        past = x[:, :, :1].expand(-1, -1, self.before, -1, -1) if past is None else past
        cache["padding"] = self.kept(past, x)
        return self.decomposition(torch.cat([past, x], dim=TIME))

    def first_kept(self, past: Tensor, x: Tensor) -> int:
        """Where in `x` the first window of the next segment begins; below 0 it begins in `past`."""
        kt, stride = self.decomposition.form.kernel[0], self.decomposition.form.stride[0]
        skipped = -past.shape[TIME] % stride
        return skipped + stride * math.trunc((x.shape[TIME] - skipped - kt) / stride) + stride

    def kept(self, past: Tensor, x: Tensor) -> Tensor:
        first = self.first_kept(past, x)
        return torch.cat([past[:, :, first:], x], dim=TIME) if first < 0 else x[:, :, first:].clone()


class ReplicatedPaddingCache(PaddingCache):
    """KVAE: the same with replicate padding, and a segment shorter than the kernel keeps less."""

    mode = "replicate"

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__(decomposition, stock)
        # Its forward hands (h, h, w, w) to F.pad, which reads it as (w, w, h, h).
        self.height, self.width = self.width, self.height

    def kept(self, past: Tensor, x: Tensor) -> Tensor:
        return x[:, :, self.first_kept(past, x) :].clone()


class PreviousFeatures(Carrier):
    """EasyAnimate (Magvit): x -> y, the last frames kept in `prev_features` until `_clear_conv_cache` is
    called."""

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.reach, self.t_stride = decomposition, stock.temporal_padding, stock.t_stride
        self.prev_features = stock.prev_features

    def _clear_conv_cache(self) -> None:
        self.prev_features = None

    def forward(self, x: Tensor) -> Tensor:
        if self.prev_features is None:
            x = pad(x, TIME, self.reach, 0, "replicate")
        else:
            past = self.prev_features[:, :, -(self.reach - 1) :] if self.t_stride == 2 else self.prev_features
            x = torch.cat([past, x], dim=TIME)
        self.prev_features = x[:, :, -self.reach :].clone()
        return self.decomposition(x)


class Past(Carrier):
    """VidTok: x -> y. The autoencoder sets `is_first_chunk`, `causal_cache` and `cache_offset` by their
    names."""

    def __init__(self, decomposition: Decomposition, stock: nn.Module):
        super().__init__()
        self.decomposition, self.before = decomposition, stock.time_pad
        self.is_first_chunk, self.causal_cache = stock.is_first_chunk, stock.causal_cache
        self.cache_offset = stock.cache_offset

    def forward(self, x: Tensor) -> Tensor:
        if self.is_first_chunk:
            x = pad(x, TIME, self.before, 0, "replicate")
        elif self.before:
            x = torch.cat([self.causal_cache[:, :, -self.before :], x], dim=TIME)
        self.causal_cache = (x[:, :, : -self.cache_offset] if self.cache_offset else x).clone()
        return self.decomposition(x)
