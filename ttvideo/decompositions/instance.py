"""What one module does beside what its class does: hooks, a forward of its own, weights cast at each call.

A rewrite reads weights and knows classes. Where an instance computes something else, it is undone exactly, or
named.
"""

from copy import deepcopy
from inspect import isroutine

import torch
from diffusers.hooks import HookRegistry
from diffusers.hooks.layerwise_casting import LayerwiseCastingHook
from torch import nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def own_behaviour(module: nn.Module) -> str | None:
    """Why the module itself, apart from those in it, may do something else than its class, or None."""
    hooks = [hook for kind in HOOKS for hook in getattr(module, kind).values()]
    if hooks:
        names = {getattr(hook, "__name__", type(hook).__name__).strip("<>") for hook in hooks}
        return f"it carries hooks ({', '.join(sorted(names))})"
    if replaced := replaced_methods(module):
        return f"its {replaced[0]} was replaced"
    return None


def replaced_methods(module: nn.Module) -> list[str]:
    """The names of its class's methods in whose place the instance has something else."""
    methods = {name: getattr(type(module), name, None) for name in vars(module)}
    return [
        name
        for name, method in methods.items()
        if isroutine(method) and getattr(vars(module)[name], "__func__", None) is not method
    ]


def copied(model: nn.Module) -> nn.Module:
    """A copy, with weights that are cast at each call (`enable_layerwise_casting`) as they are computed with.

    Torch itself copies no tensor that was computed of others, as `torch.nn.utils.weight_norm` keeps: such are
    cloned.
    """
    kept = (value for module in model.modules() for value in vars(module).values())
    computed = {id(t): t.detach().clone() for t in kept if isinstance(t, torch.Tensor) and not t.is_leaf}
    new = deepcopy(model, computed)
    for stock, module in zip(model.modules(), new.modules(), strict=True):
        if (dtype := cast_to(stock)) is not None:
            del module.forward, module._diffusers_hook
            module.to(dtype)
    return new


def is_cast(model: nn.Module) -> bool:
    return any(cast_to(module) is not None for module in model.modules())


def cast_to(module: nn.Module) -> torch.dtype | None:
    """The type in which a module computes that stores its weights in another; None where that isn't all."""
    registry = vars(module).get("_diffusers_hook")
    hooks = list(registry.hooks.values()) if isinstance(registry, HookRegistry) else []
    if len(hooks) != 1 or not isinstance(hooks[0], LayerwiseCastingHook):
        return None
    forward = registry._fn_refs[0].forward
    return hooks[0].compute_dtype if getattr(forward, "__func__", None) is type(module).forward else None
