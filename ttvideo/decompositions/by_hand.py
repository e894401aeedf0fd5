"""Which modules call `F.conv3d` themselves, and hold no `nn.Conv3d` for it? Read off their methods' code.

No replacement can be put in such a place; the report names it, or it would first show in the compiler's
refusal.
"""

from types import CodeType, FunctionType

from torch import nn

from ttvideo.decompositions.haar import WAVELETS

CALLS = {"conv3d", "conv_transpose3d"}


def calls_conv3d(module: nn.Module) -> str | None:
    """The method, or the function that one calls, whose code names conv3d; None where there is none."""
    kinds = [
        kind
        for kind in type(module).__mro__
        if not kind.__module__.startswith("torch.") and kind is not object
    ]
    if type(module) in WAVELETS:  # known: they call it in one of two settings
        return None
    methods = {name: method for kind in reversed(kinds) for name, method in vars(kind).items()} | vars(module)
    seen: set[FunctionType] = set()
    for method in methods.values():
        function = getattr(method, "__func__", method)
        if isinstance(function, FunctionType) and (found := naming(function, seen)):
            return found
    return None


def naming(function: FunctionType, seen: set[FunctionType]) -> str | None:
    """The function, or one of its module's that it calls, that names conv3d."""
    if function in seen or function.__module__.split(".")[0] == "torch":
        return None
    seen.add(function)
    names = names_in(function.__code__)
    if names & CALLS:
        return function.__name__
    others = (function.__globals__.get(name) for name in names)
    return next(filter(None, (naming(f, seen) for f in others if isinstance(f, FunctionType))), None)


def names_in(code: CodeType) -> set[str]:
    """Globals and attributes that the code reads, those of functions within it too."""
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(names_in, inner))
