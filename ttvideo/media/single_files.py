"""Weights in one file, of any family: whose they are, by a config.json beside or by their names.

Names of the original layouts become diffusers' where diffusers has a map for them (Wan's, LTX's and LTX-2's).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import diffusers
import torch
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from ttvideo.basics.errors import Refused, first_line

PICKLED = (".pth", ".pt", ".ckpt", ".bin")
# Of no use to a decoder: a file without them has no encoder.
ENCODER = ("encoder.", "quant_conv.")
LTX = "AutoencoderKLLTXVideo"
# A name that one family's weights alone have, diffusers' or the original, with or without what stands before
# a decoder's.
MARKS = {
    "block_in.resnets.0.conv1.conv.weight": "AutoencoderKLMochi",
    "blocks.0.0.weight": "AutoencoderKLMochi",
    "middle.0.residual.0.gamma": "AutoencoderKLWan",
    "mid_block.attentions.0.to_qkv.weight": "AutoencoderKLWan",
    "mid_block.resnets.0.norm1.conv_y.conv.weight": "AutoencoderKLCogVideoX",
    "mid_block.attentions.0.proj_out.weight": "AutoencoderKLHunyuanVideo15",
    "mid_block.attentions.0.group_norm.weight": "AutoencoderKLHunyuanVideo",
    "mid_block.resnets.0.conv1.conv.weight": LTX,
    "up_blocks.0.res_blocks.0.conv1.conv.weight": LTX,
}
ORIGINAL = ("decoder.middle.0.residual.0.gamma", "per_channel_statistics.mean-of-means")


def refuse_pickled(path: Path) -> None:
    """Raise `Refused` for pickled weights, which may run code when read, with the line that converts them."""
    if path.suffix in PICKLED:
        line = (
            "import torch, safetensors.torch as s; "
            f"w = torch.load('{path}', map_location='cpu', weights_only=True); w = w.get('state_dict', w); "
            f"s.save_file({{k: v.clone() for k, v in w.items()}}, '{path.with_suffix('.safetensors')}')"
        )
        raise Refused("model", f"{path.name}, pickled weights", f'safetensors: python -c "{line}"')


def family_of(path: Path) -> str | None:
    """The class of diffusers whose weights a .safetensors file holds; None if nothing tells.

    Raises `Refused` for a file that isn't there, or is no such file.
    """
    if not path.is_file():
        raise Refused("model", f"no file {str(path)!r}", "a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
    except Exception as error:
        raise Refused("model", f"{str(path)!r} ({first_line(error)})", "a safetensors file") from error
    if config := config_beside(path):
        return config.get("_class_name")
    return next(
        (kind for mark, kind in MARKS.items() if names & {mark, f"decoder.{mark}", f"vae.decoder.{mark}"}),
        None,
    )


def config_beside(path: Path) -> dict:
    config = path.with_name("config.json")
    return json.loads(config.read_text()) if config.is_file() else {}


def from_single_file(path: Path, kind: str, configs: Iterable[Mapping]) -> nn.Module:
    """The autoencoder of a file of a known class, in float32: by the config beside, or the first that fits.

    Raises `Refused` where the weights aren't all, and the only ones, that it has; only the encoder's may be
    missing.
    """
    weights, beside = load_file(path), config_beside(path)
    if any(name.endswith(ORIGINAL) for name in weights):
        weights = SINGLE_FILE_LOADABLE_CLASSES[kind]["checkpoint_mapping_fn"](weights)
    wrong = "nothing to compare them with"
    for config in [beside] if beside else configs:
        with torch.device("meta"):
            vae = getattr(diffusers, kind).from_config(dict(config))
        shapes = {name: tensor.shape for name, tensor in vae.state_dict().items()}
        wrong = next(unlike(weights, shapes), None)
        if wrong is None:
            vae = getattr(diffusers, kind).from_config(dict(config))
            if not any(name.startswith("encoder.") for name in weights):
                vae.encoder = None
            vae.load_state_dict({name: w.float() for name, w in weights.items()}, strict=False)
            return vae
    need = "those that its config.json describes" if beside else "its config.json beside it"
    raise Refused("model", f"{path.name}, weights of an {kind}: {wrong}", need)


def unlike(weights: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> Iterable[str]:
    """What of the weights isn't as a model has it."""
    yield from (f"no {name}" for name in shapes if name not in weights and not name.startswith(ENCODER))
    for name, weight in weights.items():
        if name not in shapes:
            yield f"{name} is no name of its"
        elif weight.shape != shapes[name]:
            yield f"{name} is {list(weight.shape)}, not {list(shapes[name])}"
