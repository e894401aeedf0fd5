"""The decoders for tiles: what is one family's own, what is refused, and as compiled (tests/test_streaming.py
has the rest)."""

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan, VQModel
from streamed import CONDITIONED, DELAYED, HUNYUAN, of
from torch import nn

from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.causal import ZEROS
from ttvideo.decoders.families import FAMILIES, NOT_YET
from ttvideo.decoders.hunyuan import Upsample, UpsampledResidual
from ttvideo.decoders.temporal import TimeConv
from ttvideo.media.small_autoencoders import SMALL, WANS
from ttvideo.probing.probe import probe

ROUNDING = 1e-11
COMPILED = ("Wan 2.1", "QwenImage", "Wan 2.2", "CogVideoX", "HunyuanVideo", "HunyuanVideo-1.5", "LTX-2")


def latents(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_hunyuan_has_what_is_rewritten():
    kinds = [type(block) for block in for_tiles(HUNYUAN.make()).blocks]
    assert kinds.count(UpsampledResidual) == 1 and kinds.count(Upsample) == 2


@pytest.mark.parametrize("name", ["LTX", "LTX-2, each way up"])
@torch.no_grad()
def test_frames_come_as_late_as_it_says(name):
    decoder, state = for_tiles(DELAYED[name].make()), None
    for number in range(decoder.delay + 2):
        frames, state = decoder(latents(1, 8, 1, 3, 5), state, ends=False)
        assert bool(frames.shape[2]) == (number >= decoder.delay)
    assert decoder.state_shapes(1, 3, 5) == decoder.state_shapes(1, 3, 5, number + 1)


@torch.no_grad()
def test_a_clip_that_has_ended_or_whose_end_was_not_said():
    decoder, z = for_tiles(DELAYED["LTX"].make()), latents(1, 8, 14, 3, 5)
    want = decoder(z)[0]
    ended, state = decoder(z[:, :, :7])
    assert compare(ended, want[:, :, : ended.shape[2]]).max_abs > 1e-3
    with pytest.raises(Refused, match="its clip has ended"):
        decoder(z[:, :, 7:], state)


@torch.no_grad()
def test_the_oldest_frame_is_attended_to():
    """Planted fault: HunyuanVideo-1.5's state with a frame less of keys and values, as if attention had a
    window."""
    decoder, z = for_tiles(SMALL["HunyuanVideo-1.5"].make()), latents(1, 4, 4, 3, 5)
    _, state = decoder(z[:, :, :3])
    want = decoder(z[:, :, 3:], state)[0]
    less = state | {k: v[:, :, 3 * 5 :] for k, v in state.items() if k.endswith(("keys", "values"))}
    assert compare(decoder(z[:, :, 3:], less)[0], want).max_abs > 1e-4


class OverTime(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.conv = TimeConv("conv", conv, ZEROS)

    def forward(self, x_tnc):
        return torch.stack(self.conv(list(x_tnc.unbind()), (4, 8)))


@torch.no_grad()
def test_a_convolution_over_time_compiles():
    """As a linear layer for each tap, one of them with a bias, it doesn't."""
    conv, x = nn.Conv3d(32, 32, (3, 1, 1), padding=(1, 0, 0)).bfloat16(), latents(3, 32, 32).bfloat16()
    verdict = probe(OverTime(conv), (x,), "n150-compile", evaluate=True)
    want = conv.double()(x.double().permute(2, 0, 1)[None, ..., None])[0, ..., 0].permute(1, 2, 0)
    assert verdict.passed and compare(verdict.outputs, want).pcc > 0.9999, verdict.message


@pytest.mark.long
@pytest.mark.parametrize("name", COMPILED)
@torch.no_grad()
def test_compiled_and_evaluated(name):
    """The first step and the next, in bf16, as compiled for a p150, against float64."""
    vae = (HUNYUAN if name == "HunyuanVideo" else SMALL[name]).make().bfloat16()
    size = 4 if name == "HunyuanVideo" else 8  # seventeen frames at a time
    decoder, frames = for_tiles(vae), 7 if name == "HunyuanVideo" else 5
    z = latents(1, decoder.latent_channels, frames, size, size, dtype=torch.bfloat16)
    want = vae.double().decode(z.double()).sample
    first = probe(decoder, (z[:, :, :-2],), "p150-compile", evaluate=True, ends=False)
    assert first.passed, first
    frames, state = first.outputs
    steady = probe(decoder, (z[:, :, -2:],), "p150-compile", evaluate=True, state=state)
    assert steady.passed, steady
    result = compare(torch.cat([frames, steady.outputs[0]], 2), want)
    print(f"{name}: PCC {result.pcc:.6f}, PSNR {result.psnr_db:.1f} dB")
    assert result.pcc >= 0.999


@pytest.mark.long
@pytest.mark.parametrize("name", ["LTX", "LTX, of a timestep"])
@torch.no_grad()
def test_compiled_and_evaluated_with_a_delay(name):
    """A step while nothing comes, one while a clip begins, the steady one and the last, as compiled for a
    p150."""
    vae = (DELAYED | CONDITIONED)[name].make().bfloat16()
    decoder = for_tiles(vae)
    timestep = {"temb": torch.tensor([0.05]).bfloat16()} if decoder.embedder is not None else {}
    z = latents(1, 8, decoder.delay + 3, 4, 4, dtype=torch.bfloat16)
    want = vae.double().decode(z.double(), *(t.double() for t in timestep.values())).sample
    parts, state = [], None
    for piece, ends in zip(z.split([2, decoder.delay - 1, 1, 1], 2), (False, False, False, True)):
        step = probe(decoder, (piece,), "p150-compile", evaluate=True, state=state, ends=ends, **timestep)
        assert step.passed, step
        frames, state = step.outputs
        parts.append(frames)
    assert parts[0].shape[2] == 0 and all(part.shape[2] for part in parts[1:]) and not state
    result = compare(torch.cat(parts, 2), want)
    print(f"{name}: PCC {result.pcc:.6f}, PSNR {result.psnr_db:.1f} dB")
    assert result.pcc >= 0.999


def with_relu(vae):
    vae.decoder.nonlinearity = nn.ReLU()
    return vae


@pytest.mark.parametrize(
    "make, need",
    [
        pytest.param(
            lambda: nn.Linear(3, 3), "MochiDecoder3D, AutoencoderKLMochi, WanDecoder3d", id="no_decoder"
        ),
        pytest.param(lambda: VQModel(), "one of MochiDecoder3D", id="an_autoencoder_unheard_of"),
        pytest.param(lambda: with_relu(AutoencoderKLWan(**WANS)), "SiLU", id="another_activation"),
    ],
)
def test_refuses_a_model(make, need):
    with pytest.raises(Refused, match=need):
        for_tiles(make())


def test_every_video_autoencoder_is_rewritten_or_says_what_that_would_take():
    known = {kind.__name__ for kind in FAMILIES}
    assert {small.name for small in SMALL.values()} <= known | set(NOT_YET) and not known & set(NOT_YET)
    for small in (small for small in SMALL.values() if small.name in NOT_YET):
        with pytest.raises(Refused, match=f"{small.name}.*(would be needed|vae.decoder)"):
            for_tiles(small.make())


def test_refuses_what_a_family_does_not_know():
    vae = AutoencoderKLCogVideoX(**SMALL["CogVideoX"].config)
    vae.decoder.conv_in.pad_mode = "replicate"
    with pytest.raises(Refused, match="not replicate"):
        for_tiles(vae)
    vae = AutoencoderKLWan(**WANS)
    vae.decoder.conv_in.stride = (1, 2, 2)
    with pytest.raises(Refused, match=r"stride \(1, 1, 1\)"):
        for_tiles(vae)


def spatially_tiled(vae):
    vae.enable_tiling()


def faded_twice(vae):
    vae.tile_sample_min_num_frames = 32


def padded_with_zeros(vae):
    vae.decoder.up_blocks[0].resnets[0].conv1.pad_mode = "constant"


def strided(vae):
    vae.decoder.conv_out.conv.stride = (1, 2, 2)


def not_silu(vae):
    vae.decoder.mid_block.resnets[0].nonlinearity = nn.ReLU()


def enlarged_otherwise(vae):
    vae.decoder.up_blocks[0].upsamplers[0].upsample_factor = (3, 2, 2)


def of_two_heads(vae):
    vae.decoder.mid_block.attentions[0].heads = 2


def repeated_otherwise(vae):
    vae.decoder.up_blocks[0].upsamplers[0].repeats = 3


BOTH = ("HunyuanVideo", "HunyuanVideo-1.5")


@pytest.mark.parametrize(
    "name, change, need",
    [(name, spatially_tiled, "disable_tiling") for name in BOTH]
    + [(name, padded_with_zeros, "got constant") for name in BOTH]
    + [(name, strided, r"stride \(1, 1, 1\)") for name in BOTH]
    + [(name, not_silu, "SiLU") for name in BOTH]
    + [
        ("HunyuanVideo", faded_twice, "half the first"),
        ("HunyuanVideo", enlarged_otherwise, "1 or 2 in time"),
        ("HunyuanVideo", of_two_heads, "1 head"),
        ("HunyuanVideo-1.5", repeated_otherwise, "as many outputs"),
    ],
)
def test_refuses_another_hunyuan(name, change, need):
    vae = (HUNYUAN if name == "HunyuanVideo" else SMALL[name]).make()
    change(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)


@torch.no_grad()
def test_refuses_hunyuan_in_steps_of_another_length():
    decoder, z = for_tiles(HUNYUAN.make()), latents(1, 4, 5, 3, 5)
    _, state = decoder(z, ends=False)
    for count, past, need in ((4, None, "5, or more"), (6, None, "multiple of 3"), (2, state, "3, or more")):
        with pytest.raises(Refused, match=need):
            decoder(latents(1, 4, count, 3, 5), past, ends=False)
    with pytest.raises(Refused, match="the 6 of this model"):
        decoder(z, decoder(z)[1])  # a clip that has ended


def another(change, name="LTX-Video", **config):
    """An autoencoder, and the change to its decoder that isn't known."""
    shortcuts = dict(decoder_causal=True, decoder_block_out_channels=(8, 16)) if name == "LTX-Video" else {}
    vae = of(name, **shortcuts | config)()
    change(vae.decoder)
    return vae


@pytest.mark.parametrize(
    "make, need",
    [
        pytest.param(
            lambda: another(lambda decoder: None, decoder_inject_noise=(True, False, False)),
            "drawn anew",
            id="noise_is_random",
        ),
        pytest.param(
            lambda: another(lambda decoder: setattr(decoder.conv_out, "is_causal", False)),
            "conv_in's",
            id="causal_in_part",
        ),
        pytest.param(
            lambda: another(lambda decoder: setattr(decoder, "patch_size_t", 2)),
            "1 frame",
            id="patches_in_time",
        ),
        pytest.param(
            lambda: another(lambda decoder: setattr(decoder.conv_in.conv, "stride", (1, 2, 2))),
            r"stride \(1, 1, 1\)",
            id="stride",
        ),
        pytest.param(
            lambda: another(lambda decoder: setattr(decoder.conv_in.conv, "padding_mode", "circular")),
            "zeros or reflect",
            id="padding",
        ),
        pytest.param(
            lambda: another(
                lambda decoder: setattr(decoder.up_blocks[0].upsamplers[0], "stride", (2, 2, 1)), "LTX-2"
            ),
            "alike",
            id="upsampled_by_more_one_way",
        ),
        pytest.param(
            lambda: another(lambda decoder: None, timestep_conditioning=True),
            "diffusers itself",
            id="timestep_unembedded",
        ),
        pytest.param(
            lambda: another(lambda decoder: setattr(decoder, "conv_act", nn.GELU())),
            "SiLU",
            id="another_activation",
        ),
    ],
)
def test_refuses_what_ltx_does_not_know(make, need):
    with pytest.raises(Refused, match=need):
        for_tiles(make())


def test_refuses_too_little_to_reflect():
    with pytest.raises(Refused, match="2 x 2, for reflection"):
        for_tiles(SMALL["LTX-2"].make())(latents(2, 8, 2, 3, 1))
