"""Weights and latents as users have them: every layout and type, written here and read back."""

import json
from copy import deepcopy

import numpy
import pytest
import torch
from safetensors.torch import save_file

from ttvideo import Refused
from ttvideo.media import clips
from ttvideo.media.latents import DENORMALISED, NORMALISED, denormalise, encode, load_latents, statistics
from ttvideo.media.models import load_vae

SHAPE = (1, 12, 2, 8, 8)


@pytest.fixture(scope="module")
def vae():
    return load_vae("small", seed=1)


def same_decoder(got, want, dtype=torch.float32):
    want = {name: tensor.to(dtype).float() for name, tensor in want.decoder.state_dict().items()}
    got = got.decoder.state_dict()
    return got.keys() == want.keys() and all(torch.equal(got[name], want[name]) for name in want)


@pytest.mark.parametrize("variant, dtype", [("", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("of_a_pipeline", ["", "vae"])
def test_folders(vae, tmp_path, variant, dtype, shards, of_a_pipeline):
    place, size = tmp_path / of_a_pipeline, sum(w.numel() for w in vae.parameters()) * dtype.itemsize
    most = 10**9 if shards == 1 else size // 2
    deepcopy(vae).to(dtype).save_pretrained(place, variant=variant or None, max_shard_size=most)
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
    decoder, last = vae.decoder, len(vae.decoder.up_blocks) + 1
    parts = {"blocks.0.0": decoder.conv_in, "output_proj": decoder.proj_out}
    resnets = {f"blocks.0.{i}": one for i, one in enumerate(decoder.block_in.resnets, start=1)}
    resnets |= {f"blocks.{last}.{i}": one for i, one in enumerate(decoder.block_out.resnets)}
    for n, block in enumerate(decoder.up_blocks, start=1):
        parts[f"blocks.{n}.proj"] = block.proj
        resnets |= {f"blocks.{n}.blocks.{i}": one for i, one in enumerate(block.resnets)}
    for place, resnet in resnets.items():
        parts |= {f"{place}.stack.{n}": resnet.get_submodule(half) for half, n in halves.items()}
    found = {}
    for name, module in parts.items():
        for kind, tensor in module.state_dict().items():
            pointwise = isinstance(module, torch.nn.Linear) and kind == "weight"
            tensor = tensor[:, :, None, None, None] if pointwise else tensor
            found[f"{name}.{kind}"] = tensor.contiguous()
    return found


ENCODER = {"encoder.layers.0.weight": torch.zeros(1)}


@pytest.mark.parametrize("layout", ["diffusers", "diffusers decoder", "genmo", "ComfyUI"])
def test_single_files(vae, tmp_path, layout):
    own = {name: tensor.contiguous() for name, tensor in vae.state_dict().items()}
    genmos = originals_names(vae)
    weights = {
        "diffusers": own,
        "diffusers decoder": {name: tensor for name, tensor in own.items() if name.startswith("decoder.")},
        "genmo": genmos,
        "ComfyUI": {f"decoder.{name}": tensor for name, tensor in genmos.items()} | ENCODER,
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
    for write_it, need in (
        (lambda: None, "no file"),
        (lambda: path.write_bytes(b"nothing"), "safetensors"),
        (lambda: save_file({"layers.0.weight": torch.zeros(1)}, path), "layers.0.weight.*Mochi's decoder"),
    ):
        write_it()
        with pytest.raises(Refused, match=need):
            load_vae(str(path))
    weights = {f"decoder.{name}": tensor for name, tensor in originals_names(vae).items()}
    del weights["decoder.blocks.1.proj.bias"]
    save_file(weights, path)
    with_config(tmp_path, vae)
    with pytest.raises(Refused, match="up_blocks.0.proj.bias"):
        load_vae(str(path))


# Latents

FORMS = DENORMALISED, NORMALISED


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
    config = vae.config
    mean, std = (torch.tensor(of).view(1, -1, 1, 1, 1) for of in (config.latents_mean, config.latents_std))
    return (z - mean) / std * config.scaling_factor


@pytest.mark.parametrize("suffix", [".pt", ".npy", ".safetensors", ".latent"])
@pytest.mark.parametrize("form", FORMS)
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
        for form, other, latents in ((*FORMS, z), (*FORMS[::-1], normalised(z, demo))):
            found = statistics(latents, demo)
            found.check(form, "z")
            refused += found.odds(other) < 1 / 1000
    assert refused > len(held_out)  # of twice as many


def test_a_large_clip_of_mochis_own_statistics_is_told_and_few_values_pass_either_way(vae):
    z = torch.randn((1, 12, 3, 60, 106), generator=torch.Generator().manual_seed(0))
    assert statistics(z, vae).odds(NORMALISED) > 1000
    assert statistics(denormalise(z, vae), vae).odds(DENORMALISED) > 1000
    for form in FORMS:
        statistics(z[..., :1, :2, :2], vae).check(form, "z")


@pytest.mark.parametrize("scale", [0.01, 127.5])
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
