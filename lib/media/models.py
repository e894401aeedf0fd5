"""The models that the notebooks decode with: shipped, seeded, or the user's own."""

from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi

from lib.basics.errors import Refused
from lib.basics.finite import check_finite

DEMO = Path(__file__).with_name("weights") / "demo"
# The architecture of Mochi's decoder with the fewest channels that its 32-group norms allow.
SMALL = {
    "encoder_block_out_channels": (32, 32, 32, 32),
    "decoder_block_out_channels": (32, 32, 64, 64),
    "layers_per_block": (1, 1, 1, 1, 1),
}
NAMES = "'demo', 'random', 'small', a local folder or a hub id of an AutoencoderKLMochi"


def load_vae(model: str = "demo", seed: int = 0) -> AutoencoderKLMochi:
    """An `AutoencoderKLMochi` in float32, in eval mode.

    'demo' is trained and ships with the project, 'random' has full size (362.5 M parameters in the decoder)
    and 'small' few channels, both with seeded weights; anything else is a folder or hub id (safetensors only).
    Raises `Refused` for a model that can't be found, isn't Mochi's, or holds NaN or Inf.
    """
    if model in ("random", "small"):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return AutoencoderKLMochi(**(SMALL if model == "small" else {})).eval()
    return _pretrained(str(DEMO) if model == "demo" else model)


def _pretrained(model: str) -> AutoencoderKLMochi:
    folder = Path(model)
    local = folder.is_dir()
    # A whole pipeline (genmo/mochi-1-preview) keeps its VAE in a folder of its own.
    subfolder = None if local and (folder / "config.json").is_file() else "vae"
    try:
        config = AutoencoderKLMochi.load_config(model, subfolder=subfolder, local_files_only=local)
    except Exception as error:
        raise Refused("model", f"{model!r} ({first_line(error)})", NAMES) from error
    if config.get("_class_name") != "AutoencoderKLMochi":
        raise Refused("model", f"{model!r}, a {config.get('_class_name')}", "an AutoencoderKLMochi")
    try:
        vae = AutoencoderKLMochi.from_pretrained(
            model, subfolder=subfolder, use_safetensors=True, local_files_only=local, low_cpu_mem_usage=False
        )
    except Exception as error:
        raise Refused("model", f"{model!r} ({first_line(error)})", "weights as safetensors") from error
    check_finite("weights", vae.state_dict())
    return vae.eval()


def first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
