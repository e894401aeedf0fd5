"""Is an autoencoder what its class builds of its config? What decides on frames and is no weight is compared.

A rewrite reads weights, and settings where its family's file says so (`follows`). All else must be as it was
built: settings of the autoencoder and of the modules in it, their classes, methods and hooks. What differs is
refused by name.
"""

import re

import torch
from diffusers import ConfigMixin
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from ttvideo.basics.errors import Refused
from ttvideo.basics.finite import check_finite
from ttvideo.decompositions.instance import copied, is_cast, own_behaviour, replaced_methods

# `encode` alone reads these, and a parametrized weight is read as it is computed.
NOT_OF_DECODE = re.compile(r"(encoder|quant_conv)\b|.*\bparametrizations\b")
# `decode` doesn't, unless it cuts frames into tiles, which is refused; it slices a batch clip by clip, as
# for_tiles.
OF_NO_CONCERN = re.compile(
    r"tile_\w+|use_slicing|use_framewise_encoding|num_sample_frames_batch_size|gradient_\w+"
)
OF_ANY_MODULE = set(vars(nn.Module())) | {"forward", "_diffusers_hook"}


def as_computed(model: nn.Module) -> nn.Module:
    """The model, or a copy of one whose weights are cast at each call (`enable_layerwise_casting`) with those
    that it computes with. Raises `Refused` for weights that aren't finite; on the meta device there are none.
    """
    model = copied(model) if is_cast(model) else model
    if next(model.parameters()).device.type != "meta":
        check_finite(type(model).__name__, dict(model.named_parameters()))
    return model


def check_as_built(
    model: nn.Module, follows: tuple[str, ...] = (), padding_modes: tuple[str, ...] = ("zeros",)
) -> None:
    """Raise `Refused` where more decides on frames than weights, the config, and the settings in `follows`.

    Of a decoder alone, which has no config to be built of again, what is seen is its modules' own behaviour,
    and padding.
    """
    if getattr(model, "use_tiling", False):
        raise Refused("autoencoder", "use_tiling", "whole frames: vae.disable_tiling()")
    parts = {name: part for name, part in model.named_modules() if not NOT_OF_DECODE.match(name)}
    kind = type(model).__name__
    for name, part in parts.items():
        reason = own_behaviour(part)
        if part is model and isinstance(model, ConfigMixin):  # `decode` doesn't call the autoencoder itself
            replaced = [method for method in replaced_methods(model) if method != "forward"]
            reason = f"its {replaced[0]} was replaced" if replaced else None
        if reason:
            raise Refused(name or kind, reason, "what its class computes, and no more")
        if (mode := getattr(part, "padding_mode", "zeros")) not in padding_modes:
            raise Refused(
                f"{name}.padding_mode", repr(mode), f"{' or '.join(padding_modes)}, as {kind} is built"
            )
    if not isinstance(model, ConfigMixin):
        return
    with torch.device("meta"):
        built = dict(type(model).from_config(model.config).named_modules())
    for name, part in parts.items():
        for setting, got, need in differences(part, built.pop(name, None)):
            if setting not in follows and not OF_NO_CONCERN.fullmatch(setting):
                raise Refused(
                    f"{name}.{setting}".strip("."), got, f"{need}, as {kind} builds it of its config"
                )
    if missing := [name for name in built if not NOT_OF_DECODE.match(name)]:
        raise Refused(kind, f"no {missing[0]}", "what it builds of its config")


def differences(part: nn.Module, built: nn.Module | None) -> list[tuple[str, object, object]]:
    """What a module has and what it was built with, each with its name."""
    kinds = type_before_parametrizations(part), type(built)
    if kinds[0] is not kinds[1]:
        return [("", *(kind.__name__ for kind in kinds))]
    own, first = ({k: v for k, v in vars(m).items() if k not in OF_ANY_MODULE} for m in (part, built))
    return [(name, own.get(name), value) for name, value in first.items() if not alike(own.get(name), value)]


def alike(got: object, built: object) -> bool:
    if isinstance(got, torch.Tensor) or isinstance(built, torch.Tensor):
        return type(got) is type(built)  # on the meta device it has no values
    return got == built or type(got) is type(built) and hasattr(got, "__dict__") and vars(got) == vars(built)
