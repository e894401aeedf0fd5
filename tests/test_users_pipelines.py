"""A user of another family has its pipeline's latents, by the family's rule, and weights in one file."""

from functools import partial

import imageio.v3 as imageio
import pytest
import torch
from diffusers import AutoencoderKLWan, FluxPipeline, LTXPipeline
from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers
from diffusers.pipelines.wan.pipeline_output import WanPipelineOutput
from safetensors.torch import load_file, save_file
from seeded import seeded

from ttvideo import Refused
from ttvideo.command import main
from ttvideo.media.frames import to_uint8
from ttvideo.media.given import DENORMALISED, ELSEWHERE, GIVEN, NORMALISED, given_by
from ttvideo.media.latents import denormalise, load_latents
from ttvideo.media.models import load_vae
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES
from ttvideo.media.video_models import ALL, load_autoencoder

randn = partial(seeded, dtype=torch.float32)


def saved(tmp_path, z, name="z.pt"):
    path = tmp_path / name
    if path.suffix == ".latent":
        save_file({"latent_tensor": z.contiguous(), "latent_format_version_0": torch.tensor([])}, path)
    else:
        torch.save(z, path)
    return str(path)


@pytest.fixture(scope="module")
def cogvideox():
    return load_autoencoder("cogvideox-demo")


@pytest.mark.parametrize("frames, dropped", [(13, None), (16, 0), (6, 1), (22, 1)])
def test_cogvideox_gives_frames_before_channels_and_may_give_one_more(cogvideox, tmp_path, frames, dropped):
    """16 frames of 16 channels too; what is decoded is what `pipeline_cogvideox.py` decodes."""
    p = randn(1, frames, 16, 4, 6)
    z = load_latents(saved(tmp_path, p), cogvideox, (), dropped=dropped)
    want = p[:, dropped or 0 :].permute(0, 2, 1, 3, 4) / cogvideox.config.scaling_factor
    assert torch.allclose(z, want, atol=1e-6)
    if frames % 2 == 0:
        with pytest.raises(Refused, match=f"{frames} latent frames.*--dropped-latents.*CogVideoX 1.5"):
            load_latents(saved(tmp_path, p), cogvideox, ())


def test_what_is_said_to_be_as_the_decoder_takes_it_has_its_axes(cogvideox, tmp_path):
    z = randn(1, 16, 13, 4, 6) / cogvideox.config.scaling_factor
    assert torch.equal(load_latents(saved(tmp_path, z), cogvideox, (), form=DENORMALISED), z)
    assert torch.equal(load_latents(saved(tmp_path, z, "z.latent"), cogvideox, ()), z)
    with pytest.raises(Refused, match="B, T, 16, H, W"):
        load_latents(saved(tmp_path, z), cogvideox, ())


@pytest.mark.parametrize("name", ["z.latent", "z.pt"])
def test_layers_of_an_image_are_no_clip(name, tmp_path):
    """As ComfyUI's EmptyQwenImageLayeredLatentImage has them, in the axes of a clip."""
    vae = SMALL["QwenImage"].make().float()
    z = randn(1, 4, 4, 4, 6) if name == "z.pt" else denormalise(randn(1, 4, 4, 4, 6), vae)
    path = saved(tmp_path, z, name)
    for form in ("auto", DENORMALISED):
        with pytest.raises(Refused, match="4 latent frames, need 1, an image"):
            load_latents(path, vae, (), form=form)
    assert load_latents(path, vae, (), dropped=3).shape == (1, 4, 1, 4, 6)


def test_axes_that_two_pipelines_give_alike_are_refused(tmp_path):
    """Kandinsky 5's pipeline has HunyuanVideo's autoencoder and gives the channels last."""
    vae = SMALL["HunyuanVideo"].make().float()
    z = randn(1, 4, 3, 5, 4)
    assert load_latents(saved(tmp_path, z[..., :3]), vae, ()).shape == (1, 4, 3, 5, 3)
    for name, form in (("z.pt", DENORMALISED), ("z.latent", "auto")):
        path = saved(tmp_path, denormalise(z, vae), name)
        assert torch.equal(load_latents(path, vae, (), form=form), denormalise(z, vae))
    with pytest.raises(Refused, match="Kandinsky 5.*need .*denormalised"):
        load_latents(saved(tmp_path, z), vae, ())
    with pytest.raises(Refused, match="B, 4, T, H, W"):
        load_latents(saved(tmp_path, z.permute(0, 2, 3, 4, 1)), vae, ())


def test_a_pipeline_that_does_otherwise_than_its_familys_is_contradicted(tmp_path):
    """Wan-Animate's gives what `vae.decode` takes; by Wan 2.1's published means and spreads."""
    vae = AutoencoderKLWan(base_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True])
    z = denormalise(randn(1, 16, 3, 4, 6), vae)
    with pytest.raises(Refused, match="got 'normalised'.*need 'denormalised'"):
        load_latents(saved(tmp_path, z), vae, ())
    assert torch.equal(load_latents(saved(tmp_path, z), vae, (), form=DENORMALISED, dropped=1), z[:, :, 1:])


def test_packed_latents_are_unpacked(tmp_path):
    vae, z, shape = SMALL["QwenImage"].make().float(), randn(1, 4, 4, 6), (1, 4, 1, 4, 6)
    # Tokens of 2 x 2 latents, the channels before them.
    packed = z.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
    want = denormalise(z[:, :, None], vae)
    assert torch.allclose(load_latents(saved(tmp_path, packed), vae, shape), want, atol=1e-6)
    with pytest.raises(Refused, match="tokens, packed.*latent_height"):
        load_latents(saved(tmp_path, packed), vae, (1, 4, 1, 6, 6))
    with pytest.raises(Refused, match="1, an image"):  # those in layers are decoded one by one
        load_latents(saved(tmp_path, packed.repeat(1, 2, 1)), vae, (1, 4, 2, 4, 6))


def test_the_form_is_the_familys(tmp_path):
    """LTX-2's pipeline gives denormalised latents, ComfyUI saves them normalised."""
    vae, z = SMALL["LTX-2"].make().float(), randn(1, 8, 3, 4, 6)
    vae.latents_mean, vae.latents_std = vae.latents_mean.float() + 1, vae.latents_std.float() * 2
    want = denormalise(z, vae)
    for given, name in ((want, "z.pt"), (z, "z.latent")):
        assert torch.allclose(load_latents(saved(tmp_path, given, name), vae, ()), want)


MEANS = "latents_mean", "latents_std"


def by_cosmos(p, vae):
    """As pipeline_cosmos_text2world.py has it, whose scheduler's sigma_data is 0.5."""
    mean, std = (torch.tensor(vae.config[name]).view(1, 4, -1, 1, 1)[:, :, : p.shape[2]] for name in MEANS)
    return p * std / 0.5 + mean


def by_ltx(p, vae):
    mean, std = (getattr(vae, name).view(1, -1, 1, 1, 1) for name in MEANS)
    z = LTXPipeline._unpack_latents(p, 3, 4, 6)
    return z * std / vae.config.scaling_factor + mean


def by_flux(p, vae):
    return FluxPipeline._unpack_latents(p, 8, 12, 2) / vae.config.scaling_factor + vae.config.shift_factor


def scaled(p, vae):
    return p / vae.config.scaling_factor


def by_means(p, vae, factor=1.0):
    """As pipeline_wan.py has it, and pipeline_glm_image.py, whose config's factor is the class's default."""
    shape = (1, -1, *[1] * (p.dim() - 2))
    mean, std = (torch.tensor(vae.config[name]).view(shape) for name in MEANS)
    return p * std / factor + mean


def by_means_and_factor(p, vae):
    """As pipeline_stable_diffusion_xl.py has it."""
    return by_means(p, vae, vae.config.scaling_factor)


COSMOS = dict(latents_mean=[0.1 * n for n in range(64)], latents_std=[1 + 0.1 * n for n in range(64)])
FLUX = dict(scaling_factor=0.4, shift_factor=0.3)
FOUR = dict(latents_mean=[-1.6, 1.9, -1.4, 2.5], latents_std=[3.1, 2.2, 4.8, 2.5])
HALF = FOUR | dict(scaling_factor=0.5)
# What a pipeline gives, what its source does with that before it decodes, and what its config has besides.
GIVEN_BY = {
    "Stable Diffusion": (randn(1, 4, 4, 6), scaled, {}),
    "Stable Diffusion, as GLM-Image": (randn(1, 4, 4, 6), by_means, FOUR),
    "Stable Diffusion, as Playground": (randn(1, 4, 4, 6), by_means_and_factor, HALF),
    "FLUX": (FluxPipeline._pack_latents(randn(1, 8, 4, 6), 1, 8, 4, 6), by_flux, FLUX),
    "HunyuanImage": (randn(1, 8, 4, 6), scaled, dict(scaling_factor=0.7)),
    "Tiny": (randn(1, 4, 4, 6), scaled, {}),
    "Stable Video Diffusion": (randn(1, 5, 4, 4, 6), lambda p, vae: scaled(p[0], vae), {}),
    "Wan 2.1": (randn(1, 4, 3, 4, 6), by_means, dict(latents_mean=[0.3] * 4)),
    "LTX-Video": (randn(1, 3 * 4 * 6, 8), by_ltx, {}),
    "QwenImage": (randn(1, 4, 1, 4, 6), by_means, {}),
    "HunyuanVideo-1.5": (randn(1, 4, 3, 4, 6), scaled, dict(scaling_factor=0.4)),
    "Cosmos": (0.5 * randn(1, 4, 3, 4, 6), by_cosmos, COSMOS),
    "EasyAnimate (Magvit)": (randn(1, 4, 3, 4, 6), scaled, {}),
}


def of_pipeline(name):
    """A small autoencoder, what its pipeline gives, and what that decodes, in its axes and in the
    decoder's."""
    given, decodes, config = GIVEN_BY[name]
    vae = (SMALL | SMALL_IMAGES)[name.split(",")[0]].make().float()
    vae.register_to_config(**config)
    if name == "LTX-Video":
        vae.latents_mean, vae.latents_std = randn(8), randn(8).abs() + 0.5
    z = decodes(given, vae)
    frames = z.transpose(0, 1)[None] if name == "Stable Video Diffusion" else z
    return vae, given, z, frames[:, :, None] if frames.dim() == 4 else frames


@pytest.mark.parametrize("name", GIVEN_BY)
def test_latents_are_as_the_familys_pipeline_decodes_them(name, tmp_path):
    vae, given, stock, want = of_pipeline(name)
    shape = (1, *want.shape[1:3], 4, 6)
    assert torch.allclose(load_latents(saved(tmp_path, given), vae, shape), want, atol=1e-5)
    assert torch.equal(load_latents(saved(tmp_path, stock), vae, (), form=DENORMALISED), want)
    unpacked = LTXPipeline._unpack_latents(given, 3, 4, 6) if name == "LTX-Video" else given
    theirs = unpacked if given_by(vae).comfyui == NORMALISED else stock
    comfyui = saved(tmp_path, theirs, "z.latent")
    if given_by(vae).comfyui is None:
        with pytest.raises(Refused, match="what its pipeline gives"):
            load_latents(comfyui, vae, ())
    else:
        assert torch.allclose(load_latents(comfyui, vae, ()), want, atol=1e-5)


@pytest.mark.parametrize("name, out", [("FLUX", "image.png"), ("Stable Video Diffusion", "video.mp4")])
@torch.no_grad()
def test_a_folder_and_a_pipelines_latents_are_decoded(name, out, tmp_path):
    vae, given, stock, _ = of_pipeline(name)
    vae.save_pretrained(tmp_path)
    call = ["decode", saved(tmp_path, given), *f"--model {tmp_path} --target cpu --dtype float32".split()]
    call += "--latent-frames 1 --latent-height 4 --latent-width 6".split()
    assert main([*call, "--out", str(tmp_path / out)]) == 0
    if out.endswith("png"):
        (want,) = to_uint8(vae.decode(stock).sample[:, :, None])
        assert abs(imageio.imread(tmp_path / out).astype(int) - want).max() <= 1
    else:
        assert len(imageio.imread(tmp_path / out, plugin="FFMPEG")) == len(stock)
        assert main([*call, "--out", str(tmp_path / "one.png")]) == 2


def test_more_frames_than_there_are_means_are_refused():
    vae, *_ = of_pipeline("Cosmos")
    with pytest.raises(Refused, match="17 latent frames.*16 at most"):
        denormalise(randn(1, 4, 17, 2, 2), vae)


@pytest.mark.parametrize(
    "name", ["FLUX.2", "HunyuanImage refiner", "Kandinsky 6 SR", "Allegro", "KVAE", "VidTok"]
)
def test_other_autoencoders_are_refused_with_what_takes_them(name, tmp_path):
    """With no weights beside: before they are read."""
    vae = (SMALL | SMALL_IMAGES)[name].make()
    vae.save_config(tmp_path)
    need = {"Allegro": r"for_tiles\(vae.decoder\)", "VidTok": "AutoencoderKLWan"}.get(name, r"ttvideo.on\(")
    for refuses in (lambda: load_autoencoder(str(tmp_path)), lambda: given_by(vae)):
        with pytest.raises(Refused, match=need):
            refuses()


def test_every_model_has_a_rule():
    assert {model.autoencoder for model in ALL.values()} <= GIVEN.keys() | ELSEWHERE.keys()


def test_a_saved_output_is_refused_in_one_sentence(tmp_path):
    path = saved(tmp_path, WanPipelineOutput(frames=randn(1, 16, 2, 4, 4)))
    with pytest.raises(Refused) as refused:
        load_latents(path, load_autoencoder("wan-demo"), ())
    need = "need its tensor alone: torch.save(output[0], 'z.pt')"
    assert str(refused.value) == f"latents: got a WanPipelineOutput in z.pt, {need}"


# Weights


def originals(weights):
    """The weights under Wan's own names, as `Wan2.1_VAE.pth` has them: diffusers' map, upside down."""
    resnet = [f"residual.{i}.{part}" for i in (2, 6) for part in ("weight", "bias")]
    resnet += ["residual.0.gamma", "residual.3.gamma"]
    level = [f"{part}.{p}" for part in ("shortcut", "resample.1", "time_conv") for p in ("weight", "bias")]
    attention = ["norm.gamma", *(f"{part}.{p}" for part in ("to_qkv", "proj") for p in ("weight", "bias"))]
    theirs = [f"conv{i}.{p}" for i in (1, 2) for p in ("weight", "bias")]
    for side, levels in (("encoder", "downsamples"), ("decoder", "upsamples")):
        theirs += [f"{side}.{part}" for part in ("conv1.weight", "conv1.bias")]
        theirs += [f"{side}.head.{part}" for part in ("0.gamma", "2.weight", "2.bias")]
        theirs += [f"{side}.{levels}.{i}.{part}" for i in range(16) for part in resnet + level]
        theirs += [f"{side}.middle.{i}.{part}" for i in (0, 2) for part in resnet]
        theirs += [f"{side}.middle.1.{part}" for part in attention]
    names = {name: next(iter(convert_wan_vae_to_diffusers({name: None}))) for name in theirs}
    found = {name: weights[new] for name, new in names.items() if new in weights}
    assert len(found) == len(weights), sorted(weights.keys() - set(names.values()))[:9]
    return found


SIZES = dict(base_dim=4, z_dim=4, dim_mult=[1, 2, 4, 4], num_res_blocks=2)


@pytest.mark.parametrize("layout", ["diffusers", "original", "decoder alone"])
def test_wans_weights_in_one_file(layout, tmp_path):
    torch.manual_seed(0)
    vae = AutoencoderKLWan(**SIZES, latents_mean=[0.1] * 4, latents_std=[2.0] * 4).eval()
    vae.save_config(tmp_path)
    weights = {name: w.clone() for name, w in vae.state_dict().items()}
    if layout == "original":
        weights = originals(weights)
    elif layout == "decoder alone":
        weights = {name: w for name, w in weights.items() if not name.startswith(("encoder.", "quant_conv."))}
    save_file(weights, tmp_path / "Wan2.1_VAE.safetensors")
    read = load_autoencoder(str(tmp_path / "Wan2.1_VAE.safetensors"))
    assert type(read) is type(vae) and (read.encoder is None) == (layout == "decoder alone")
    z = randn(1, 4, 2, 4, 4)
    with torch.no_grad():
        assert torch.equal(read.decode(z).sample, vae.decode(z).sample)
    with pytest.raises(Refused, match="weights of an AutoencoderKLWan, need those of an AutoencoderKLMochi"):
        load_vae(str(tmp_path / "Wan2.1_VAE.safetensors"))
    (tmp_path / "config.json").unlink()
    with pytest.raises(Refused, match="weights of an AutoencoderKLWan.*config.json beside it"):
        load_autoencoder(str(tmp_path / "Wan2.1_VAE.safetensors"))


def test_pickled_weights_are_refused_with_the_line_that_converts_them(tmp_path):
    path = tmp_path / "Wan2.1_VAE.pth"
    torch.save({"state_dict": {"a": torch.ones(2)}}, path)
    for load in (load_vae, load_autoencoder):
        with pytest.raises(Refused, match="pickled weights, need safetensors") as refused:
            load(str(path))
    exec(str(refused.value).split('python -c "')[1].rstrip('"'))
    assert load_file(path.with_suffix(".safetensors"))["a"].tolist() == [1, 1]
