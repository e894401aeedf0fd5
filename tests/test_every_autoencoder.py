"""`decompose` on every autoencoder of diffusers that has a 3D convolution: none left, the same numbers,
caches and all."""

import importlib
import inspect
import pkgutil
import re

import diffusers.models.autoencoders
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_hunyuan_video import HunyuanVideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_ltx2 import LTX2VideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_magvit import EasyAnimateCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_minimax_h3 import MiniMaxH3VideoCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from diffusers.models.autoencoders.autoencoder_vidtok import VidTokCausalConv3d
from seeded import far, seeded, without_conv3d
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decompose import decompose
from ttvideo.decompositions.haar import WAVELETS
from ttvideo.decompositions.known import KNOWN, convolution, is_known
from ttvideo.media.small_autoencoders import SMALL, InFloat64

pytestmark = pytest.mark.long

TOLERANCE = 1e-12  # float64 through some forty layers
FLOAT32 = 1e-6  # float32 inside of them


# Where the model itself goes through float32: Mochi's Fourier features; the norms of Kandinsky, LTX and
# MiniMax-H3, whose positions are in float32 too; the upsampling of QwenImage and Wan, and VidTok's
# interpolation.
IN_FLOAT32 = {
    "Mochi", "Kandinsky 6 SR", "LTX-Video", "MiniMax-H3", "QwenImage", "VidTok", "VidTok, not causal",
    "Wan 2.1", "Wan 2.2",
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_is_equal(name):
    """Twice in a row, so that a cache which isn't emptied shows; and in its own precision."""
    small = SMALL[name]
    stock, clip = small.make(), seeded(*small.clip)
    new, report = decompose(stock)
    assert without_conv3d(new) and not report.left and report.n == small.convolutions
    assert not without_conv3d(stock)
    for row in report.rows:
        assert_stands_in(stock.get_submodule(row.name), new.get_submodule(row.name))
    with InFloat64() as stocks:
        z = small.encode(stock, clip)
        frames = small.decode(stock, z)
    with InFloat64() as news:
        for _ in range(2):
            assert far(small.encode(new, clip), z) <= TOLERANCE
            assert far(small.decode(new, z), frames) <= TOLERANCE
    assert bool(stocks.casts) == bool(news.casts) == (name in IN_FLOAT32)
    if name in IN_FLOAT32:
        z = small.encode(stock, clip)
        assert far(small.encode(new, clip), z) <= FLOAT32
        assert far(small.decode(new, z), small.decode(stock, z)) <= FLOAT32


def assert_stands_in(stock, new):
    """With the attributes of the convolution, and its weight."""
    if is_known(stock):
        plain = {k: v for k, v in vars(stock).items() if isinstance(v, (int, str, tuple)) and k[0] != "_"}
        assert {k: getattr(new, k) for k in plain} == plain
        assert torch.equal(new.weight, convolution(stock).weight)


@pytest.mark.parametrize("name", SMALL)
def test_gradients_are_equal(name):
    """Of the clip, and of every convolution's weight: a way holds the same numbers in another order."""
    small = SMALL[name]
    stock = small.make()
    new, report = decompose(stock)
    gradients = []
    for vae in (stock, new):
        clip = seeded(*small.clip).requires_grad_()
        with InFloat64():
            frames = small.decode(vae, small.encode(vae, clip))
        (frames * torch.linspace(-1, 1, frames.numel(), dtype=torch.float64).view_as(frames)).sum().backward()
        gradients.append(clip.grad)
    assert far(*gradients) <= 1e-9
    for row in report.rows:
        if row.decomposition not in ("haar", "transposed"):
            assert_same_numbers(stock.get_submodule(row.name), new.get_submodule(row.name))


def assert_same_numbers(stock, new):
    def sizes(module):
        weights = (p for name, p in module.named_parameters() if "weight" in name)
        found = [weight.grad.flatten() for weight in weights if weight.grad is not None]
        return torch.cat(found).abs().sort().values if found else torch.zeros(1)

    want, got = sizes(stock), sizes(new)
    assert got.shape == want.shape and (got - want).abs().max() <= 1e-9 * want.abs().max().clamp(min=1e-300)


def modules():
    package = diffusers.models.autoencoders
    for found in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{found.name}")


def convolutions(classes):
    """Those that are a 3D convolution, or a module around one."""
    for kind in classes:
        around = issubclass(kind, nn.Module) and kind.__name__.endswith("Conv3d")
        inner = around and re.search(r"self\.conv = [\w.]*Conv3d\(", inspect.getsource(kind))
        if issubclass(kind, (nn.Conv3d, nn.ConvTranspose3d)) or inner:
            yield kind


def classes():
    for module in modules():
        of_its_own = (kind for kind in vars(module).values() if inspect.isclass(kind))
        yield from (kind for kind in of_its_own if kind.__module__ == module.__name__)


def test_every_class_is_in_the_table():
    here = set(convolutions(classes()))
    assert here and here <= set(KNOWN)
    assert {kind for kind in KNOWN if kind.__module__.startswith("diffusers")} == here


def test_every_autoencoder_is_tried():
    """By their sources: a functional convolution has no class."""
    has_one = re.compile(r"\b(nn|F)\.\w*[cC]onv\w*3d\(|Conv3d\(nn\.Conv3d\)")
    models = (kind for kind in classes() if issubclass(kind, diffusers.ModelMixin))
    found = {kind.__name__ for kind in models if has_one.search(inspect.getsource(inspect.getmodule(kind)))}
    borrowed = {"AutoencoderKLMochi"}  # its convolutions are CogVideoX's
    assert found | borrowed == {small.name for small in SMALL.values()}


def test_functional_convolutions_are_in_the_table():
    functional = {k for k in classes() if re.search(r"F\.conv\w*3d\(", inspect.getsource(k))}
    assert functional == {*WAVELETS, MiniMaxH3VideoCausalConv3d}


def test_a_class_unheard_of_is_seen_and_refused_by_name():
    class Unheard(nn.Conv3d):
        def forward(self, x):
            return super().forward(x) + 1

    class AroundCausalConv3d(WanCausalConv3d):
        def forward(self, x, cache_x=None):
            return -super().forward(x, cache_x)

    assert set(convolutions([Unheard, AroundCausalConv3d, nn.Linear])) == {Unheard, AroundCausalConv3d}
    for kind in (Unheard, AroundCausalConv3d):
        with pytest.raises(Refused, match=f"{kind.__name__} has a forward of its own"):
            decompose(kind(2, 2, 3))


CLASSES = {
    "hunyuan_zeros": (lambda: HunyuanVideoCausalConv3d(4, 6, 3, pad_mode="constant"), {}),
    "hunyuan_strided": (lambda: HunyuanVideoCausalConv3d(4, 6, 3, stride=2), {}),
    "ltx_centred": (lambda: LTXVideoCausalConv3d(4, 6, 3, is_causal=False), {}),
    "ltx_reflect_grouped": (lambda: LTXVideoCausalConv3d(4, 6, 3, groups=2, padding_mode="reflect"), {}),
    "ltx_dilated": (lambda: LTXVideoCausalConv3d(4, 6, (3, 1, 1), dilation=2), {}),
    "ltx2_causal": (lambda: LTX2VideoCausalConv3d(4, 6, 3), {"causal": True}),
    "ltx2_centred": (lambda: LTX2VideoCausalConv3d(4, 6, 3, stride=(2, 1, 1)), {"causal": False}),
    "minimax_reflect": (lambda: MiniMaxH3VideoCausalConv3d(4, 6, 3, 1, 1, 2), {}),
    "minimax_replicate": (lambda: MiniMaxH3VideoCausalConv3d(4, 6, 3, (1, 2, 2), 2, 0, "replicate"), {}),
    "wan": (lambda: WanCausalConv3d(4, 6, 3, padding=1), {}),
    "wan_one_frame_cached": (lambda: WanCausalConv3d(4, 6, 3, padding=1), {"cache_x": 1}),
    "wan_two_frames_cached": (lambda: WanCausalConv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)), {"cache_x": 2}),
    "wan_three_frames_cached": (lambda: WanCausalConv3d(4, 6, 3, padding=1), {"cache_x": 3}),
    "wan_cache_unheeded": (lambda: WanCausalConv3d(4, 6, 3, stride=(2, 1, 1)), {"cache_x": 1}),
    "qwen_two_frames_cached": (lambda: QwenImageCausalConv3d(4, 6, 3, padding=1), {"cache_x": 2}),
}


@pytest.mark.parametrize("case", CLASSES)
@torch.no_grad()
def test_class_by_itself(case):
    make, options = CLASSES[case]
    torch.manual_seed(0)
    stock = make().double()
    x = seeded(2, 4, 6, 6, 5)
    if "cache_x" in options:
        options = {"cache_x": seeded(2, 4, options["cache_x"], 6, 5, seed=1)}
    new, report = decompose(stock)
    assert far(new(x, **options), stock(x, **options)) <= TOLERANCE and without_conv3d(new)


CHUNKS = {
    "magvit": lambda: EasyAnimateCausalConv3d(4, 6, 3),
    "magvit_strided": lambda: EasyAnimateCausalConv3d(4, 6, 3, stride=(2, 1, 1)),
    "magvit_pointwise": lambda: EasyAnimateCausalConv3d(4, 6, 1, padding=0),
    "vidtok": lambda: VidTokCausalConv3d(4, 6, 3),
    "vidtok_pointwise": lambda: VidTokCausalConv3d(4, 6, 1),
    "vidtok_offset": lambda: VidTokCausalConv3d(4, 6, (3, 1, 1), pad_mode="replicate"),
}


@pytest.mark.parametrize("case", CHUNKS)
@torch.no_grad()
def test_chunks_with_what_is_carried_between(case):
    torch.manual_seed(0)
    stock = CHUNKS[case]().double()
    stock.cache_offset = 1 if "offset" in case else 0
    new, _ = decompose(stock)
    for frames in (5, 4, 3):
        x = seeded(1, 4, frames, 6, 5, seed=frames)
        assert far(new(x), stock(x)) <= TOLERANCE
        for module in (stock, new):
            module.is_first_chunk = False
        name = "causal_cache" if "vidtok" in case else "prev_features"
        assert torch.equal(getattr(new, name), getattr(stock, name))
