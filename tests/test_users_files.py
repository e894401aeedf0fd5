"""Weights and latents as users have them: every layout and type, written here and read back."""

import json

import numpy
import pytest
import torch
from diffusers import AutoencoderKLMochi
from safetensors.torch import load_file, save_file

from ttvideo import Refused
from ttvideo.media import clips
from ttvideo.media.latents import DENORMALISED, NORMALISED, denormalise, encode, load_latents, statistics
from ttvideo.media.models import SMALL, load_vae

SHAPE = (1, 12, 2, 8, 8)


@pytest.fixture(scope="module")
def vae():
    return load_vae("small", seed=1)


def same_decoder(got, want, dtype=torch.float32):
    want = {name: tensor.to(dtype).float() for name, tensor in want.decoder.state_dict().items()}
    got = got.decoder.state_dict()
    return got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize(
    "variant, dtype", [("", torch.float32), ("bf16", torch.bfloat16)], ids=["fp32", "bf16"]
)
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("whole_pipeline", [False, True], ids=["vae folder", "pipeline folder"])
def test_folders(vae, tmp_path, variant, dtype, shards, whole_pipeline):
    place = tmp_path / "vae" if whole_pipeline else tmp_path
    saved = AutoencoderKLMochi(**SMALL)
    saved.load_state_dict(vae.state_dict())
    size = sum(w.numel() for w in vae.parameters()) * dtype.itemsize
    saved.to(dtype).save_pretrained(
        place, variant=variant or None, max_shard_size=10**9 if shards == 1 else size // 2
    )
    assert (len(list(place.glob("*.safetensors"))) > 1) == (shards > 1)
    read = load_vae(str(tmp_path), variant=variant)
    assert same_decoder(read, vae, dtype) and read.decoder.conv_in.weight.dtype == torch.float32


def test_the_variants_that_are_there_are_named(vae, tmp_path):
    vae.save_pretrained(tmp_path, variant="bf16")
    with pytest.raises(Refused, match=r"variant ''.*\['bf16'\]"):
        load_vae(str(tmp_path))


def with_config(folder, vae):
    (folder / "config.json").write_text(json.dumps({**vae.config, "_class_name": "AutoencoderKLMochi"}))


def originals_names(vae) -> dict[str, torch.Tensor]:
    """The decoder as genmo's checkpoint names it, its pointwise layers as convolutions."""
    halves = {"norm1.norm_layer": 0, "conv1.conv": 2, "norm2.norm_layer": 3, "conv2.conv": 5}
    found, decoder = {}, vae.decoder
    parts = {"blocks.0.0": decoder.conv_in, "output_proj": decoder.proj_out}
    lists = {
        "blocks.0.{}": (decoder.block_in, 1),
        f"blocks.{len(decoder.up_blocks) + 1}.{{}}": (decoder.block_out, 0),
    }
    for i, block in enumerate(decoder.up_blocks):
        parts[f"blocks.{i + 1}.proj"] = block.proj
        lists[f"blocks.{i + 1}.blocks.{{}}"] = block, 0
    for place, (block, first) in lists.items():
        for i, resnet in enumerate(block.resnets):
            parts |= {
                f"{place.format(i + first)}.stack.{n}": resnet.get_submodule(half)
                for half, n in halves.items()
            }
    for name, module in parts.items():
        for kind, tensor in module.named_parameters():
            pointwise = isinstance(module, torch.nn.Linear) and kind == "weight"
            found[f"{name}.{kind}"] = (
                (tensor[:, :, None, None, None] if pointwise else tensor).detach().contiguous()
            )
    return found


@pytest.mark.parametrize("layout", ["diffusers", "diffusers decoder", "genmo", "ComfyUI"])
def test_single_files(vae, tmp_path, layout):
    own = {name: tensor.contiguous() for name, tensor in vae.state_dict().items()}
    weights = {
        "diffusers": own,
        "diffusers decoder": {name: tensor for name, tensor in own.items() if name.startswith("decoder.")},
        "genmo": originals_names(vae),
        "ComfyUI": {f"decoder.{name}": tensor for name, tensor in originals_names(vae).items()}
        | {"encoder.layers.0.weight": torch.zeros(1)},
    }[layout]
    save_file(weights, tmp_path / "mochi_vae.safetensors")
    with_config(tmp_path, vae)
    read = load_vae(str(tmp_path / "mochi_vae.safetensors"))
    assert same_decoder(read, vae)
    assert (read.encoder is not None) == (layout == "diffusers")
    if read.encoder is None:
        with pytest.raises(Refused, match="without encoder"):
            load_latents("clip", read, SHAPE)


def test_a_single_file_that_is_of_no_use(vae, tmp_path):
    path = tmp_path / "x.safetensors"
    with pytest.raises(Refused, match="no file"):
        load_vae(str(path))
    path.write_bytes(b"nothing")
    with pytest.raises(Refused, match="safetensors"):
        load_vae(str(path))
    save_file({"layers.0.weight": torch.zeros(1)}, path)
    with pytest.raises(Refused, match="layers.0.weight.*Mochi's decoder"):
        load_vae(str(path))
    weights = {f"decoder.{name}": tensor for name, tensor in originals_names(vae).items()}
    del weights["decoder.blocks.1.proj.bias"]
    save_file(weights, path)
    with_config(tmp_path, vae)
    with pytest.raises(Refused, match="up_blocks.0.proj.bias"):
        load_vae(str(path))


# Latents


def write(path, z):
    if path.suffix == ".npy":
        numpy.save(path, z.numpy())
    elif path.suffix == ".pt":
        torch.save(z, path)
    elif path.suffix == ".latent":  # as ComfyUI's SaveLatent does
        save_file({"latent_tensor": z.contiguous(), "latent_format_version_0": torch.tensor([])}, path)
    else:
        save_file({"latents": z.contiguous()}, path)
    return str(path)


def normalised(z, vae):
    mean, std = (
        torch.tensor(v).view(1, -1, 1, 1, 1) for v in (vae.config.latents_mean, vae.config.latents_std)
    )
    return (z - mean) / std * vae.config.scaling_factor


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors", ".latent"])
@pytest.mark.parametrize("form", [NORMALISED, DENORMALISED])
def test_latents_in_either_form(tmp_path, suffix, form):
    demo = load_vae("demo")
    z = load_latents("clip", demo, SHAPE)
    path = write(tmp_path / f"my{suffix}", normalised(z, demo) if form == NORMALISED else z)
    assert torch.allclose(load_latents(path, demo, SHAPE, form=form), z, atol=1e-5)
    usual = DENORMALISED if suffix == ".latent" else NORMALISED
    if form == usual:
        assert torch.allclose(load_latents(path, demo, SHAPE), z, atol=1e-5)
    else:
        with pytest.raises(Refused, match=f"latents_are: got '{usual}'.* from normalised.*need '{form}'"):
            load_latents(path, demo, SHAPE)


def test_bf16_latents_are_read_in_float32(vae, tmp_path):
    z = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).bfloat16()
    read = load_latents(write(tmp_path / "z.pt", z), vae, SHAPE)
    assert read.dtype == torch.float32 and torch.equal(read, denormalise(z.float(), vae))


@pytest.mark.parametrize("row", clips.HELD_OUT)
def test_statistics_never_contradict_what_is_so(row):
    """Held-out clips, encoded: often what isn't so is refused, and never what is."""
    demo, refused = load_vae("demo"), 0
    held_out = clips.held_out(row)
    for clip in held_out:
        with torch.no_grad():
            z = encode(clip, demo)
        for form, other, latents in (
            (DENORMALISED, NORMALISED, z),
            (NORMALISED, DENORMALISED, normalised(z, demo)),
        ):
            found = statistics(latents, demo)
            found.check(form, "z")
            refused += found.odds(other) < 1 / 1000
    assert refused > len(held_out)  # of twice as many


def test_a_large_clip_of_mochis_own_statistics_is_told(vae):
    z = torch.randn((1, 12, 3, 60, 106), generator=torch.Generator().manual_seed(0))
    assert (
        statistics(z, vae).odds(NORMALISED) > 1000
        and statistics(denormalise(z, vae), vae).odds(DENORMALISED) > 1000
    )


def test_what_few_values_cannot_tell_passes_either_way(vae):
    z = torch.randn((1, 12, 1, 2, 2), generator=torch.Generator().manual_seed(0))
    for form in (NORMALISED, DENORMALISED):
        statistics(z, vae).check(form, "z")


@pytest.mark.parametrize("scale", [0.01, 127.5], ids=["tiny", "pixels"])
def test_values_of_no_latents_are_refused(vae, tmp_path, scale):
    with pytest.raises(Refused, match="root mean square"):
        load_latents(write(tmp_path / "z.npy", scale * torch.randn(SHAPE)), vae, SHAPE)


def test_other_files_of_comfyui_and_several_tensors_are_refused(vae, tmp_path):
    save_file({"latent_tensor": torch.randn(SHAPE)}, tmp_path / "old.latent")
    with pytest.raises(Refused, match="latent_format_version_0"):
        load_latents(str(tmp_path / "old.latent"), vae, SHAPE)
    save_file({"a": torch.randn(SHAPE), "b": torch.randn(SHAPE)}, tmp_path / "two.safetensors")
    with pytest.raises(Refused, match="2 tensors"):
        load_latents(str(tmp_path / "two.safetensors"), vae, SHAPE)
    assert len(load_file(tmp_path / "two.safetensors")) == 2
