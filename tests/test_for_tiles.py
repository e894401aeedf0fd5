"""The decoders for tiles against diffusers' own: equal in float64, in any steps, and as compiled."""

from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLWan, AutoencoderTiny
from torch import nn

from ttvideo import Refused, compare, for_tiles
from ttvideo.decoders.hunyuan import Upsample, UpsampledResidual
from ttvideo.media.small_autoencoders import SMALL, WANS, Autoencoder, InFloat64, blocks
from ttvideo.probing.probe import probe

ROUNDING = 1e-11
SHALLOW = ("Wan 2.1", "QwenImage", "Wan 2.2", "CogVideoX", "HunyuanVideo-1.5")
MODELS = {name: SMALL[name] for name in SHALLOW}
# Channels halve while frames are upsampled, which only the full depth has.
MODELS["Wan 2.2, deep"] = Autoencoder(
    "AutoencoderKLWan",
    dict(
        base_dim=4, decoder_base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
        temperal_downsample=[False, True, True], is_residual=True, in_channels=12, out_channels=12, patch_size=2,
    ),
    (1, 3, 9, 32, 32),
    0,
)  # fmt: skip


def varied(name, **config):
    return replace(SMALL[name], config=SMALL[name].config | dict(latent_channels=4) | config)


# Other numbers of channels block by block, which shortcuts are for.
SHORTCUTS = dict(decoder_block_out_channels=(8, 16))
MODELS["LTX, causal"] = varied("LTX-Video", decoder_causal=True, **SHORTCUTS)
MODELS["LTX-2"] = varied("LTX-2")
DELAYED = {
    "LTX": varied("LTX-Video", **SHORTCUTS),
    "LTX, of a timestep": varied("LTX-Video", timestep_conditioning=True),
    "LTX-2, not causal": varied("LTX-2", decoder_causal=False),
    "LTX-2, each way up": varied("LTX-2", decoder_causal=False, upsample_type=("temporal", "spatial")),
}
CONDITIONED = {
    "LTX": DELAYED["LTX, of a timestep"],
    "LTX, causal": varied("LTX-Video", timestep_conditioning=True, decoder_causal=True),
    "LTX-2": varied("LTX-2", timestep_conditioning=True),
    "LTX-2, not causal": varied("LTX-2", timestep_conditioning=True, decoder_causal=False),
}
# Channels halve after an upsampling, and the first one is in space alone.
MODELS["HunyuanVideo"] = Autoencoder(
    "AutoencoderKLHunyuanVideo",
    blocks(
        "HunyuanVideoDownBlock3D HunyuanVideoUpBlock3D", 4,
        block_out_channels=(8, 16, 16, 16), latent_channels=4, layers_per_block=0, norm_num_groups=4,
    ),
    (1, 3, 9, 16, 16),
    0,
)  # fmt: skip
# Upsampled in space alone, too, to fewer channels.
MODELS["HunyuanVideo-1.5, deep"] = Autoencoder(
    "AutoencoderKLHunyuanVideo15",
    dict(
        block_out_channels=(8, 16, 16), latent_channels=4, layers_per_block=1,
        spatial_compression_ratio=4, temporal_compression_ratio=2,
    ),
    (1, 3, 5, 16, 16),
    0,
)  # fmt: skip
# Latent frames of steps: any; a multiple of two, but for the first; five, then multiples of three, but for the last.
SPLITS = {name: [(3, 2, 2), (5, 2), (3, 4)] for name in MODELS} | {
    "HunyuanVideo": [(5, 2), (5, 3, 3), (8, 3, 1)]
}


def latents(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(dtype)


def in_steps(decoder, z, splits, *timestep):
    """The frames of each step of a clip, and the states after each."""
    parts, states, pieces = [], [None], z.split(splits, 2)
    for number, piece in enumerate(pieces, start=1):
        frames, state = decoder(piece, states[-1], *timestep, ends=number == len(pieces))
        parts.append(frames)
        states.append(state)
    return parts, states[1:]


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_equals_the_autoencoder(name, frames):
    vae = MODELS[name].make()
    before = {key: value.clone() for key, value in vae.state_dict().items()}
    z = latents(2, 4, frames, 3, 5)
    vae.enable_slicing()  # HunyuanVideo-1.5's mask stops a batch of two
    with InFloat64():
        want = vae.decode(z).sample
    got, _ = for_tiles(vae)(z)
    assert got.shape == want.shape and compare(got, want).max_abs <= ROUNDING
    assert all(torch.equal(value, before[key]) for key, value in vae.state_dict().items())


@pytest.mark.parametrize("name, splits", [(name, splits) for name in MODELS for splits in SPLITS[name]])
@torch.no_grad()
def test_splits_change_nothing(name, splits):
    decoder, z = for_tiles(MODELS[name].make()), latents(1, 4, sum(splits), 3, 5)
    want, last = decoder(z)
    parts, states = in_steps(decoder, z, splits)
    frames = torch.cat(parts, 2)
    assert torch.equal(frames, want)
    assert states[-1].keys() == last.keys() and all(torch.equal(states[-1][key], last[key]) for key in last)
    shapes = {key: tuple(value.shape) for key, value in states[0].items()}
    grows = {"latents": splits[0]} if "HunyuanVideo-1.5" in name else {}
    assert shapes == decoder.state_shapes(1, 3, 5, **grows)


@pytest.mark.parametrize("name", ["Wan 2.1", "HunyuanVideo-1.5"])
@torch.no_grad()
def test_a_clip_in_single_frames(name):
    """Where nothing needs two latent frames at a time, one a step will do."""
    decoder, z = for_tiles(MODELS[name].make()), latents(1, 4, 4, 3, 5)
    assert torch.equal(torch.cat(in_steps(decoder, z, 1)[0], 2), decoder(z)[0])


def test_hunyuan_has_what_is_rewritten():
    kinds = [type(block) for block in for_tiles(MODELS["HunyuanVideo"].make()).blocks]
    assert kinds.count(UpsampledResidual) == 1 and kinds.count(Upsample) == 2


@torch.no_grad()
def test_hunyuan_in_other_stretches():
    """Longer ones, which fade over two latent frames; and none, as of the decoder alone."""
    vae = MODELS["HunyuanVideo"].make()
    vae.tile_sample_min_num_frames, vae.tile_sample_stride_num_frames = 24, 16
    for frames in (6, 7, 9, 10, 13):
        z = latents(1, 4, frames, 3, 5)
        assert compare(for_tiles(vae)(z)[0], vae.decode(z).sample).max_abs <= ROUNDING
    assert torch.equal(torch.cat(in_steps(for_tiles(vae), z, (7, 4, 2))[0], 2), for_tiles(vae)(z)[0])
    alone, z = vae.decoder(z), latents(1, 4, 13, 3, 5)
    assert compare(for_tiles(vae.decoder)(z)[0], alone).max_abs <= ROUNDING
    assert compare(for_tiles(vae)(z)[0], alone).max_abs > 1e-3  # the check would see one instead of the other


@torch.no_grad()
def test_a_lost_state_shows():
    """Planted fault: a step that begins anew, and one whose past is that of other frames."""
    for name, first in (("Wan 2.1", 1), ("CogVideoX", 3), ("HunyuanVideo", 5), ("HunyuanVideo-1.5", 2)):
        decoder, z = for_tiles(MODELS[name].make()), latents(1, 4, first + 2, 3, 5)
        want = decoder(z)[0]
        state = {key: value.flip(2) for key, value in decoder(z[:, :, :first], ends=False)[1].items()}
        rest = decoder(z[:, :, first:], state)[0]
        assert compare(rest, want[:, :, -rest.shape[2] :]).max_abs > 1e-3
        assert decoder(z[:, :, first:])[0].shape != rest.shape or name == "CogVideoX"


TIMESTEPS = torch.tensor([0.05, 0.3], dtype=torch.float64)


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", CONDITIONED)
@torch.no_grad()
def test_takes_a_timestep(name, frames):
    """One a clip; another one gives other frames."""
    vae = CONDITIONED[name].make()
    decoder, z = for_tiles(vae), latents(2, 4, frames, 3, 5)
    with InFloat64():
        want = vae.decode(z, TIMESTEPS).sample
        got, _ = decoder(z, temb=TIMESTEPS)
        other, _ = decoder(z, temb=TIMESTEPS.flip(0))
    assert got.shape == want.shape and compare(got, want).max_abs <= ROUNDING
    assert compare(other, want).max_abs > 1e-3


@pytest.mark.parametrize("frames", [1, 2, 5, 14])
@pytest.mark.parametrize("name", DELAYED)
@torch.no_grad()
def test_with_a_delay_too(name, frames):
    """What looks ahead equals the autoencoder, whole and in steps; frames come `delay` latent frames late."""
    vae = DELAYED[name].make()
    decoder, z = for_tiles(vae), latents(1, 4, frames, 3, 5)
    timestep = (TIMESTEPS[:1],) if decoder.embedder is not None else ()
    with InFloat64():
        want = vae.decode(z, *timestep).sample
        assert compare(decoder(z, None, *timestep)[0], want).max_abs <= ROUNDING
        for splits in (1, 3, [frames // 3, frames - frames // 3] if frames > 2 else frames):
            parts, states = in_steps(decoder, z, splits, *timestep)
            assert torch.equal(torch.cat(parts, 2), decoder(z, None, *timestep)[0])
            assert states[-1] == {}
            if splits == 1:
                assert all(part.shape[2] == 0 for part in parts[: decoder.delay][:-1])
                for count, state in enumerate(states[:-1], start=1):
                    shapes = {key: tuple(value.shape) for key, value in state.items()}
                    assert shapes == decoder.state_shapes(1, 3, 5, count)
    if frames > decoder.delay + 1:
        assert parts[0].shape[2] == 0 and decoder.state_shapes(1, 3, 5) == decoder.state_shapes(
            1, 3, 5, frames
        )


@torch.no_grad()
def test_a_wrong_end_shows():
    """Planted faults: a clip that was ended in the middle, one whose pending frames are others, one lost."""
    decoder, z = for_tiles(DELAYED["LTX"].make()), latents(1, 4, 14, 3, 5)
    want = decoder(z)[0]
    ended, state = decoder(z[:, :, :7])
    assert compare(ended, want[:, :, : ended.shape[2]]).max_abs > 1e-3
    with pytest.raises(Refused, match="its clip has ended"):
        decoder(z[:, :, 7:], state)
    _, state = decoder(z[:, :, :7], ends=False)
    assert compare(decoder(z[:, :, 7:], {k: v.flip(2) for k, v in state.items()})[0], want).max_abs > 1e-3
    for lost in state:
        with pytest.raises(Refused, match="state"):
            decoder(z[:, :, 7:], {key: value for key, value in state.items() if key != lost})


@torch.no_grad()
def test_the_oldest_frame_is_attended_to():
    """Planted fault: HunyuanVideo-1.5's state with a frame less of keys and values, as if attention had a window."""
    decoder, z = for_tiles(MODELS["HunyuanVideo-1.5"].make()), latents(1, 4, 4, 3, 5)
    _, state = decoder(z[:, :, :3])
    want = decoder(z[:, :, 3:], state)[0]
    grown = {key: value for key, value in state.items() if key.endswith(("keys", "values"))}
    assert {value.shape[2] for value in grown.values()} == {3 * 3 * 5}
    less = state | {key: value[:, :, 3 * 5 :] for key, value in grown.items()}
    assert compare(decoder(z[:, :, 3:], less)[0], want).max_abs > 1e-4
    with pytest.raises(Refused, match="values"):
        decoder(z[:, :, 3:], less | {key: value for key, value in grown.items() if key.endswith("values")})


@pytest.mark.long
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_compiled_and_evaluated(name):
    """The first step and the next, in bf16, as compiled for a p150, against float64."""
    vae = MODELS[name].make().bfloat16()
    size = 4 if name == "HunyuanVideo" else 8  # seventeen frames at a time
    z = latents(1, 4, 7 if name == "HunyuanVideo" else 5, size, size, dtype=torch.bfloat16)
    want = vae.double().decode(z.double()).sample
    decoder = for_tiles(vae.bfloat16())
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
    """A step while nothing comes, one while a clip begins, the steady one and the last, as compiled for a p150."""
    vae = DELAYED[name].make().bfloat16()
    decoder = for_tiles(vae)
    timestep = {"temb": TIMESTEPS[:1].bfloat16()} if decoder.embedder is not None else {}
    z = latents(1, 4, decoder.delay + 3, 4, 4, dtype=torch.bfloat16)
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
        pytest.param(lambda: AutoencoderTiny(), "one of MochiDecoder3D", id="an_autoencoder_unheard_of"),
        pytest.param(lambda: with_relu(AutoencoderKLWan(**WANS)), "SiLU", id="another_activation"),
    ],
)
def test_refuses_a_model(make, need):
    with pytest.raises(Refused, match=need):
        for_tiles(make())


def test_refuses_what_a_family_does_not_know():
    vae = AutoencoderKLCogVideoX(**SMALL["CogVideoX"].config)
    vae.decoder.conv_in.pad_mode = "replicate"
    with pytest.raises(Refused, match="not replicate"):
        for_tiles(vae)
    vae = AutoencoderKLWan(**WANS)
    vae.decoder.conv_in.stride = (1, 2, 2)
    with pytest.raises(Refused, match="stride 1"):
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
    + [(name, strided, "stride and dilation 1") for name in BOTH]
    + [(name, not_silu, "SiLU") for name in BOTH]
    + [
        ("HunyuanVideo", faded_twice, "half the first"),
        ("HunyuanVideo", enlarged_otherwise, "1 or 2 in time"),
        ("HunyuanVideo", of_two_heads, "1 head"),
        ("HunyuanVideo-1.5", repeated_otherwise, "as many outputs"),
    ],
)
def test_refuses_another_hunyuan(name, change, need):
    vae = MODELS[name].make()
    change(vae)
    with pytest.raises(Refused, match=need):
        for_tiles(vae)


@torch.no_grad()
def test_refuses_hunyuan_in_steps_of_another_length():
    decoder, z = for_tiles(MODELS["HunyuanVideo"].make()), latents(1, 4, 5, 3, 5)
    _, state = decoder(z, ends=False)
    for count, past, need in ((4, None, "5, or more"), (6, None, "multiple of 3"), (2, state, "3, or more")):
        with pytest.raises(Refused, match=need):
            decoder(latents(1, 4, count, 3, 5), past, ends=False)
    with pytest.raises(Refused, match="the 6 of this model"):
        decoder(z, decoder(z)[1])  # a clip that has ended
    decoder = for_tiles(MODELS["HunyuanVideo"].make().decoder)
    for past, ends in ((state, True), (None, False)):
        with pytest.raises(Refused, match="statistics of all its frames"):
            decoder(z, past, ends)


@torch.no_grad()
def test_refuses_latents_and_states():
    decoder = for_tiles(MODELS["CogVideoX"].make())
    z = latents(1, 4, 2, 3, 5)
    _, state = decoder(z)
    for wrong, past, need in (
        (z[0], None, r"\[B, 4, T, H, W\]"),
        (latents(1, 5, 2, 3, 5), None, r"\[B, 4, T, H, W\]"),
        (z.float(), None, "torch.float64"),
        (z[:, :, :1], state, "a multiple of 2"),
        (latents(1, 4, 2, 5, 3), state, "for latents of 5 x 3"),
        (z, {key: value.float() for key, value in state.items()}, "torch.float64"),
    ):
        with pytest.raises(Refused, match=need):
            decoder(wrong, past)


def another(change, name="LTX, causal", **config):
    """An autoencoder, and the change to its decoder that isn't known."""
    vae = replace(MODELS[name], config=MODELS[name].config | config).make()
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
            "groups 1",
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


@torch.no_grad()
def test_refuses_timesteps_and_latents_of_ltx():
    decoder = for_tiles(CONDITIONED["LTX"].make())
    z = latents(2, 4, 2, 3, 5)
    for wrong, timestep, need in (
        (z, None, r"\[2\], a timestep"),
        (z, TIMESTEPS[:1], r"\[2\], a timestep"),
        (z[:, :3], TIMESTEPS, r"\[B, 4, T, H, W\]"),
    ):
        with pytest.raises(Refused, match=need):
            decoder(wrong, None, timestep)
    with pytest.raises(Refused, match="2 x 2, for reflection"):
        for_tiles(MODELS["LTX-2"].make())(z[:, :, :, :1])
