"""Every family's own pipeline of diffusers, with its autoencoder on a target, against the stock one."""

import inspect
import runpy
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import diffusers
import psutil
import pytest
import torch
import torch_xla
from diffusers import guiders
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from torch._dynamo.utils import counters

from lib.project import PROJECT
from tests.needs import needs_ttsim
from ttvideo import Failed, Refused, compare, on
from ttvideo.basics.folders import FOLDER_PREFIX, places
from ttvideo.media.small_autoencoders import SMALL, SMALL_IMAGES

pytestmark = pytest.mark.usefixtures("clean_after")
ROUNDING = 1e-5  # of float32, in frames from 0 to 1
WIDE, TOKENS = 32, 3  # of the prompt's embedding
SIZES = dict(num_attention_heads=2, attention_head_dim=16, num_layers=1)
FLOW = diffusers.FlowMatchEulerDiscreteScheduler
FREE = dict(guidance_scale=1.0)  # without a negative prompt


def embedded(mask=None, wide=WIDE, end="", **call):
    """What a pipeline is called with: a prompt's embedding, its mask, and `call`."""
    given = {f"prompt_embeds{end}": torch.randn(1, TOKENS, wide, generator=torch.Generator().manual_seed(2))}
    return given | ({mask: torch.ones(1, TOKENS, dtype=torch.int64)} if mask else {}) | call


def mochi():
    transformer = diffusers.MochiTransformer3DModel(
        **SIZES, pooled_projection_dim=16, text_embed_dim=WIDE, time_embed_dim=4, max_sequence_length=TOKENS
    )
    call = embedded("prompt_attention_mask", height=16, width=16, num_frames=7, **FREE)
    return call | dict(prompt_attention_mask=torch.ones(1, TOKENS) > 0), dict(transformer=transformer)


def wan(channels=4):
    transformer = diffusers.WanTransformer3DModel(
        **SIZES, in_channels=channels, out_channels=channels, text_dim=WIDE, freq_dim=16, ffn_dim=16
    )
    call = embedded(height=32, width=32, num_frames=5, **FREE)
    return call, dict(transformer=transformer, scheduler=diffusers.UniPCMultistepScheduler())


def cogvideox():
    transformer = diffusers.CogVideoXTransformer3DModel(
        **SIZES, in_channels=4, out_channels=4, time_embed_dim=4, text_embed_dim=WIDE, sample_width=4,
        max_text_seq_length=TOKENS, sample_height=4, sample_frames=9, temporal_compression_ratio=2,
    )  # fmt: skip
    call = embedded(height=8, width=8, num_frames=5, **FREE)
    return call, dict(transformer=transformer, scheduler=diffusers.CogVideoXDDIMScheduler())


def hunyuan():
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        **SIZES, in_channels=4, out_channels=4, num_single_layers=1, num_refiner_layers=1, patch_size=1,
        text_embed_dim=WIDE, pooled_projection_dim=8, rope_axes_dim=(4, 4, 8),
    )  # fmt: skip
    call = embedded("prompt_attention_mask", height=16, width=16, num_frames=9)
    return call | dict(pooled_prompt_embeds=torch.ones(1, 8)), dict(transformer=transformer)


def hunyuan15():
    transformer = diffusers.HunyuanVideo15Transformer3DModel(
        **SIZES, in_channels=9, out_channels=4, num_refiner_layers=1, text_embed_dim=WIDE, image_embed_dim=8,
        text_embed_2_dim=16, rope_axes_dim=(4, 4, 8),
    )  # fmt: skip
    call = embedded("prompt_embeds_mask", height=8, width=8, num_frames=5)
    call |= embedded("prompt_embeds_mask_2", 16, "_2")
    return call, dict(transformer=transformer, guider=guiders.ClassifierFreeGuidance(**FREE))


def ltx():
    transformer = diffusers.LTXVideoTransformer3DModel(
        **SIZES, in_channels=8, out_channels=8, cross_attention_dim=WIDE, caption_channels=WIDE
    )
    call = embedded("prompt_attention_mask", height=32, width=32, num_frames=5, decode_timestep=0.05, **FREE)
    return call, dict(transformer=transformer)


def ltx2():
    """With the parts that make its sound."""
    transformer = diffusers.LTX2VideoTransformer3DModel(
        **SIZES, in_channels=8, out_channels=8, cross_attention_dim=WIDE, caption_channels=WIDE,
        audio_in_channels=4, audio_out_channels=4, audio_num_attention_heads=2, audio_attention_head_dim=8,
        audio_cross_attention_dim=16, rope_double_precision=False, rope_type="split",
    )  # fmt: skip
    audio_vae = diffusers.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, in_channels=2, resolution=32, latent_channels=2,
        norm_type="pixel", mid_block_add_attention=False, mel_bins=8,
    )  # fmt: skip
    sizes = SIZES | dict(num_learnable_registers=None)
    connectors = LTX2TextConnectors(
        caption_channels=WIDE, text_proj_in_factor=1, connector_rope_base_seq_len=32, rope_type="split",
        **{f"{kind}_connector_{key}": value for kind in ("video", "audio") for key, value in sizes.items()},
    )  # fmt: skip
    vocoder = LTX2Vocoder(
        in_channels=16, hidden_channels=8, upsample_kernel_sizes=[4], upsample_factors=[2],
        resnet_kernel_sizes=[3], resnet_dilations=[[1]],
    )  # fmt: skip
    unguided = {f"{what}_scale": scale for what, scale in dict(stg=0.0, modality=1.0).items()}
    unguided |= {f"audio_{what}": scale for what, scale in (FREE | unguided).items()} | FREE
    call = embedded("prompt_attention_mask", height=32, width=32, num_frames=9, **unguided)
    parts = dict(transformer=transformer, audio_vae=audio_vae, connectors=connectors, vocoder=vocoder)
    return call, parts


def qwen():
    transformer = diffusers.QwenImageTransformer2DModel(
        **SIZES, in_channels=16, out_channels=4, joint_attention_dim=WIDE, axes_dims_rope=(4, 4, 8)
    )
    call = embedded("prompt_embeds_mask", height=16, width=16, true_cfg_scale=1.0)
    return call, dict(transformer=transformer)


def stable_diffusion():
    unet = diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), cross_attention_dim=WIDE, norm_num_groups=4,
        attention_head_dim=4, sample_size=8,
    )  # fmt: skip
    call = embedded(height=16, width=16, **FREE)
    return call, dict(unet=unet, scheduler=diffusers.DDIMScheduler(clip_sample=False, steps_offset=1))


def flux():
    transformer = diffusers.FluxTransformer2DModel(
        **SIZES, in_channels=32, num_single_layers=1, joint_attention_dim=WIDE, pooled_projection_dim=8,
        axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    call = embedded(height=16, width=16, pooled_prompt_embeds=torch.ones(1, 8), **FREE)
    return call, dict(transformer=transformer)


# diffusers' class; the small autoencoder, and what it has beside; the other parts, and the call.
PIPELINES = {
    "Mochi": ("MochiPipeline", "Mochi", {}, mochi),
    "Wan 2.1": ("WanPipeline", "Wan 2.1", {}, wan),
    "Wan 2.2": ("WanPipeline", "Wan 2.2", {}, wan),
    "CogVideoX": ("CogVideoXPipeline", "CogVideoX", {}, cogvideox),
    "HunyuanVideo": ("HunyuanVideoPipeline", "HunyuanVideo", {}, hunyuan),
    "HunyuanVideo-1.5": ("HunyuanVideo15Pipeline", "HunyuanVideo-1.5", {}, hunyuan15),
    "LTX-Video": ("LTXPipeline", "LTX-Video", {}, ltx),
    "LTX-Video, of a timestep": ("LTXPipeline", "LTX-Video", dict(timestep_conditioning=True), ltx),
    "LTX-2": ("LTX2Pipeline", "LTX-2", {}, ltx2),
    "LTX-2, not causal": ("LTX2Pipeline", "LTX-2", dict(decoder_causal=False), ltx2),
    "QwenImage": ("QwenImagePipeline", "QwenImage", {}, qwen),
    "Stable Diffusion": ("StableDiffusionPipeline", "Stable Diffusion", {}, stable_diffusion),
    "FLUX": ("FluxPipeline", "FLUX", dict(shift_factor=0.1), flux),
}


class Pipe:
    """Of random parts; called, it gives frames [B, T, 3, H, W] in [0, 1], images' [B, 3, H, W]."""

    def __init__(self, name):
        kind, autoencoder, config, make = PIPELINES[name]
        kind = getattr(diffusers, kind)
        small = (SMALL | SMALL_IMAGES)[autoencoder]
        vae = replace(small, config=small.config | config).make().float()
        self.call, parts = make()
        needed = inspect.signature(kind).parameters.values()
        none = {part.name: None for part in needed if part.default is part.empty}
        self.pipe = kind(**(none | dict(scheduler=FLOW()) | parts | dict(vae=vae)))
        self.pipe.set_progress_bar_config(disable=True)

    def __call__(self, **more):
        seed = torch.Generator().manual_seed(0)
        call = dict(num_inference_steps=2, generator=seed, output_type="pt") | self.call | more
        return self.pipe(**call)[0]


@pytest.mark.parametrize("name", PIPELINES)
def test_frames_are_those_of_the_stock_autoencoder(name):
    run = Pipe(name)
    want = run()
    # With a comma, the same programs again, but for a tensor more, or a delay.
    run.pipe.vae = on(run.pipe.vae, "cpu" if "," in name else "xla-cpu")
    got = run()
    assert got.shape == want.shape and want.std() > 0.05
    assert compare(got, want).max_abs <= ROUNDING
    run.pipe.vae.close()


@pytest.mark.long
@needs_ttsim
@pytest.mark.parametrize("name, strategy", [("Wan 2.1", "tiles"), ("Mochi", "auto")])
def test_on_a_simulated_chip(name, strategy):
    """In bf16, by the compiler's programs or, as is the default there, in TT-NN's own ops."""
    run = Pipe(name)
    run.pipe.vae.to(torch.bfloat16).to(torch.float32)
    want = run()
    with on(run.pipe.vae.to(torch.bfloat16), "p150-ttsim", strategy=strategy) as run.pipe.vae:
        got = run()
    assert compare(got, want).pcc > 0.999


@pytest.fixture(scope="module")
def vae():
    return SMALL["Wan 2.1"].make().float()


@pytest.fixture(scope="module")
def z():
    return torch.randn(2, 4, 3, 3, 5, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_frames_that_come_as_images_are_a_clip():
    """As Stable Video Diffusion's pipeline gives them, some at a time."""
    vae = SMALL["Stable Video Diffusion"].make().float()
    z = torch.randn(6, vae.config.latent_channels, 4, 5, generator=torch.Generator().manual_seed(1))
    with on(vae, "cpu") as there:
        for frames in (3, 2):
            want = vae.decode(z, num_frames=frames).sample
            assert compare(there.decode(z, num_frames=frames).sample, want).max_abs <= ROUNDING
        with pytest.raises(Refused, match="num_frames: got 4"):
            there.decode(z, num_frames=4)


@torch.no_grad()
def test_clip_after_clip_through_one_worker(vae, z):
    """Each begins anew, whatever came before; batches, and both forms of what comes back."""
    want = vae.decode(z).sample
    with on(vae, "xla-cpu", frames_per_step=2) as there:
        stream = there.decoding.stream
        both = there.decode(z).sample
        (one,) = there.decode(z[:1], return_dict=False)
        assert there.decoding.stream is stream and stream.session.worker.calls >= 6
        assert compare(both, want).max_abs < ROUNDING and torch.equal(one, both[:1])
        image = vae.decode(z[:, :, :1]).sample[:, :, 0]
        assert compare(there.decode(z[:, :, 0]).sample, image).max_abs < ROUNDING
    assert there.decoding.stream is None


def test_is_the_autoencoder_otherwise(vae, z):
    there = on(on(vae, "xla-cpu"), "cpu")
    clip = torch.randn(1, 3, 5, 6, 10)
    with torch.no_grad():
        assert torch.equal(there.encode(clip).latent_dist.mode(), vae.encode(clip).latent_dist.mode())
    assert isinstance(there, type(vae)) and type(there).__name__ == type(vae).__name__
    assert there.config is vae.config and there.dtype == vae.dtype and there.device == vae.device
    assert there.post_quant_conv is vae.post_quant_conv
    assert there.state_dict().keys() == vae.state_dict().keys()
    assert "decodes on cpu" in repr(there) and there.to("cpu") is there
    with pytest.raises(TypeError):
        there.decode(z, temb=z)


@torch.no_grad()
def test_follows_what_is_changed(z):
    there = on(SMALL["Wan 2.1"].make().float(), "cpu")
    first = there.decode(z).sample
    there.post_quant_conv.bias += 0.5
    assert compare(there.decode(z).sample, first).max_abs > 1e-2
    there.to(torch.bfloat16)
    assert there.decode(z.bfloat16()).sample.dtype == torch.bfloat16
    there.use_tiling = True
    with pytest.raises(Refused, match="disable_tiling"):
        there.decode(z)


@torch.no_grad()
def test_says_once_what_it_leaves_off(vae, z):
    with pytest.warns(UserWarning, match="no results: frames are decoded on the host"):
        there = on(vae, "p150-compile")
    with pytest.warns(UserWarning) as said:
        for _ in range(2):
            there.enable_tiling(tile_sample_min_height=64)
            there.enable_slicing()
    assert [str(one.message).split(":")[0] for one in said] == ["enable_tiling", "enable_slicing"]
    assert {one.filename for one in said} == {__file__}
    assert compare(there.decode(z).sample, vae.decode(z).sample).max_abs < ROUNDING
    there.close()


@torch.no_grad()
def test_evaluates_if_asked(vae, z):
    """Compiled in bf16 for a p150, the program's frames from the host."""
    half = deepcopy(vae).bfloat16()
    with on(half, "p150-compile", evaluate=True) as there:
        got = there.decode(z[:1, :, :1].bfloat16()).sample
    want = half.float().decode(z[:1, :, :1]).sample
    found = compare(got, want)
    assert got.dtype == torch.bfloat16 and 1e-4 < found.max_abs and found.pcc > 0.999


@torch.no_grad()
def test_a_failed_step_is_an_exception_with_its_verdict(z):
    """And the next clip has a worker again."""
    there = on(SMALL["CogVideoX"].make().float(), "cpu")
    weight = there.decoder.conv_out.conv.weight
    weight *= 1e38
    weight *= 10  # a number of 1e39 isn't a float32
    with pytest.raises(Failed, match="activations overflow") as failed:
        there.decode(z)
    assert failed.value.verdict.kind == "not finite" and there.decoding.stream is None
    weight /= 10
    weight /= 1e38
    assert there.decode(z[:1]).sample.isfinite().all()
    there.close()


@pytest.mark.parametrize(
    "how, need",
    [
        (dict(target="p151"), "one of cpu"),
        (dict(target="ttnn"), "card"),
        (dict(strategy="best"), "one of auto, native, tiles"),
        (dict(strategy="native"), "where TT-NN executes"),
    ],
)
def test_refuses_at_once(how, need):
    """Before a pipeline has spent its hours on the latents."""
    vae = SMALL["Wan 2.1"].make()
    with pytest.raises(Refused, match=need):
        on(vae, **dict(target="cpu") | how)
    with pytest.raises(Refused, match="pipe.vae"):
        on(vae.decoder, "cpu")
    vae.enable_tiling()
    with pytest.raises(Refused, match="disable_tiling"):
        on(vae, "cpu")


@torch.no_grad()
def test_refuses_latents_and_arguments(vae, z):
    there = on(vae, "cpu")
    for wrong, need in ((z[:, :3], r"\[B, 4, T, H, W\]"), (z / 0, "NaN or Inf")):
        with pytest.raises(Refused, match=need):
            there.decode(wrong)
    assert there.decoding.stream is None
    there = on(SMALL["LTX-2"].make(), "cpu")
    with pytest.raises(Refused, match="is_causal = False, set before"):
        there.decode(torch.randn(1, 8, 1, 2, 2), causal=False)


@pytest.mark.long
@torch.no_grad()
def test_under_torch_compile(vae, z):
    """docs/torch_compile.py, by torch_xla's own backend: one graph a program, and two for any clip."""
    decoder = runpy.run_path(PROJECT / "docs" / "torch_compile.py")["Decoder"]
    counters["stats"].clear()
    got = decoder(vae, "openxla", torch_xla.device())(z[:1])
    assert counters["stats"]["unique_graphs"] == 2
    assert compare(got, vae.decode(z[:1]).sample).max_abs < ROUNDING


SCRIPT = """
import torch, ttvideo
from ttvideo.media.small_autoencoders import SMALL
vae = ttvideo.on(SMALL["Wan 2.1"].make(), "cpu")
vae.decode(torch.randn(1, 4, 1, 3, 5))
print(vae.decoding.stream.session.worker.child.process.pid)
"""


def test_the_worker_ends_with_the_process():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert not psutil.pid_exists(int(done.stdout)) and not done.stderr.strip()
    left = [folder for place in places() for folder in place.glob(f"{FOLDER_PREFIX}*")]
    assert all(psutil.pid_exists(int(folder.name.split("-")[1])) for folder in left)
