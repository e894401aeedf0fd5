"""The models that are decoded with: shipped, seeded, or the user's own."""

import re
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLMochi
from safetensors.torch import load_file

from ttvideo.basics.errors import Refused, first_line
from ttvideo.basics.finite import check_finite
from ttvideo.media.given import instead
from ttvideo.media.single_files import ENCODER, family_of, refuse_pickled

WEIGHTS = Path(__file__).with_name("weights")
DEMO = WEIGHTS / "demo"
# The architecture of Mochi's decoder with the fewest channels that its 32-group norms allow.
SMALL = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "decoder_block_out_channels": (32, 32, 64, 64),
    "layers_per_block": (1, 1, 1, 1, 1),
}
SEEDED = ("random", "small")
MOCHI = "AutoencoderKLMochi"
NAMES = f"'demo', 'random', 'small', a local folder, a .safetensors file or a hub id of an {MOCHI}"
# Places in the original layout (genmo's decoder.safetensors), and diffusers' names for them.
ORIGINAL = {
    r"blocks\.0\.0\.": lambda m: "conv_in.",
    r"blocks\.0\.(\d+)\.": lambda m: f"block_in.resnets.{int(m[1]) - 1}.",
    r"blocks\.(\d+)\.blocks\.(\d+)\.": lambda m: f"up_blocks.{int(m[1]) - 1}.resnets.{m[2]}.",
    r"blocks\.(\d+)\.proj\.": lambda m: f"up_blocks.{int(m[1]) - 1}.proj.",
    r"blocks\.\d+\.(\d+)\.": lambda m: f"block_out.resnets.{m[1]}.",
    r"output_proj\.": lambda m: "proj_out.",
}
STACK = {"0": "norm1.norm_layer", "2": "conv1.conv", "3": "norm2.norm_layer", "5": "conv2.conv"}


def load_vae(model: str = "demo", seed: int = 0, variant: str = "") -> AutoencoderKLMochi:
    """An `AutoencoderKLMochi` in float32, in eval mode.

    'demo' is trained and ships with the project, 'random' has full size (362.5 M parameters in the decoder)
    and 'small' few channels, both with seeded weights. Anything else is a folder (the VAE's, or a whole
    pipeline's), a hub id, or one .safetensors file: in diffusers' layout, genmo's (decoder.safetensors) or
    ComfyUI's. Weights are safetensors, in one file or sharded, in any type; `variant` names those of a
    folder, such as 'bf16'. Raises `Refused` for a model that can't be found, isn't Mochi's, or holds NaN or
    Inf.
    """
    if model in SEEDED:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoencoderKLMochi(**(SMALL if model == "small" else {})).eval()
    refuse_pickled(Path(model))
    if Path(model).suffix == ".safetensors":
        vae = _single_file(Path(model))
    else:
        return pretrained(str(DEMO) if model == "demo" else model, variant, (MOCHI,), NAMES)
    check_finite("weights", vae.state_dict())
    return vae.eval()


def pretrained(model: str, variant: str, classes: tuple[str, ...], names: str) -> torch.nn.Module:
    """The autoencoder of a folder or a hub id, of one of diffusers' `classes`, in float32, in eval mode.

    Weights must be all there, and no others; only the encoder's may be missing, and then it has none.
    Raises `Refused`, which lists `names`, as `load_vae` does.
    """
    folder = Path(model)
    local = folder.is_dir()
    # A whole pipeline (genmo/mochi-1-preview) keeps its VAE in a folder of its own.
    subfolder = None if local and (folder / "config.json").is_file() else "vae"
    try:
        config = AutoencoderKLMochi.load_config(model, subfolder=subfolder, local_files_only=local)
    except Exception as error:
        raise Refused("model", f"{model!r} ({first_line(error)})", names) from error
    if config.get("_class_name") not in classes:
        kind = config.get("_class_name")
        raise Refused("model", f"{model!r}, a {kind}", instead(kind, classes))
    try:
        vae, found = getattr(diffusers, config["_class_name"]).from_pretrained(
            model,
            subfolder=subfolder,
            variant=variant or None,
            use_safetensors=True,
            local_files_only=local,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        there = variants(folder / (subfolder or "")) if local else []
        need = "weights as safetensors" + (f", variant one of {there}" if there else "")
        raise Refused("model", f"{model!r}, variant {variant!r} ({first_line(error)})", need) from error
    missing = [name for name in found["missing_keys"] if not name.startswith(ENCODER)]
    if wrong := [*missing, *found["unexpected_keys"]]:
        got = f"{model!r}, {'without' if missing else 'with'} {wrong[0]} and {len(wrong) - 1} more"
        raise Refused(
            "model", got, f"the weights of the {config['_class_name']} that its config.json describes"
        )
    if found["missing_keys"]:
        vae.encoder = None
    check_finite("weights", vae.state_dict())
    return vae.eval()


def variants(folder: Path) -> list[str]:
    """The variants that a folder has weights of; '' is the plain one."""
    names = {
        re.sub(r"-\d+-of-\d+", "", path.name) for path in folder.glob("diffusion_pytorch_model*.safetensors")
    }
    return sorted(
        name.removeprefix("diffusion_pytorch_model").removesuffix(".safetensors")[1:] for name in names
    )


def _single_file(path: Path) -> AutoencoderKLMochi:
    """The VAE of one file; of a file that holds a decoder alone, or in another layout than diffusers', with
    no encoder.

    The sizes are Mochi's own, or those of a config.json beside the file. (diffusers 0.42.1 has no
    `from_single_file` for this class.)
    """
    if (kind := family_of(path)) not in (MOCHI, None):
        raise Refused("model", f"{path.name}, weights of an {kind}", f"those of an {MOCHI}")
    weights = load_file(path)
    whole = any(name.startswith("decoder.") for name in weights)
    decoder = {
        name.removeprefix("decoder."): w
        for name, w in weights.items()
        if name.startswith("decoder.") or not whole
    }
    if original := "output_proj.weight" in decoder and "blocks.0.0.weight" in decoder:
        decoder = {diffusers_name(name): weight for name, weight in decoder.items()}
    if "conv_in.weight" not in decoder:
        raise Refused(
            "model",
            f"{path.name}, which holds {next(iter(weights), 'nothing')} …",
            "the weights of Mochi's decoder",
        )
    config = AutoencoderKLMochi.load_config(path.parent) if (path.parent / "config.json").is_file() else {}
    vae = (
        AutoencoderKLMochi.from_config(config)
        if config.get("_class_name") == "AutoencoderKLMochi"
        else AutoencoderKLMochi()
    )
    encoder = {name.removeprefix("encoder."): w for name, w in weights.items() if name.startswith("encoder.")}
    if original or not encoder:
        vae.encoder = None
    try:
        _fill(vae.decoder, decoder)
        if vae.encoder is not None:
            _fill(vae.encoder, encoder)
    except Exception as error:
        raise Refused(
            "model", f"{path.name} ({first_line(error)})", "weights of Mochi's sizes, or a config.json beside"
        ) from error
    return vae


def _fill(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> None:
    # The original layout has pointwise convolutions where diffusers has linear layers, of the same numbers.
    shapes = {name: tensor.shape for name, tensor in module.state_dict().items()}
    weights = {name: w.reshape(shapes[name]) if name in shapes else w for name, w in weights.items()}
    module.load_state_dict(weights)


def diffusers_name(name: str) -> str:
    """A decoder weight's name in the original layout -> in diffusers' (its
    scripts/convert_mochi_to_diffusers.py)."""
    for pattern, new in ORIGINAL.items():
        renamed, found = re.subn(f"^{pattern}", new, name)
        if found:
            return re.sub(r"stack\.(\d)", lambda m: STACK.get(m[1], m[0]), renamed)
    return name
