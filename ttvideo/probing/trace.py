"""Trace a module on the XLA device so that the compiler sees what is a weight and where each op came from."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import astuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only, tree_map_with_path

from ttvideo.probing.aten import IN_OTHER_WORDS

HERE = os.path.dirname(__file__)
TORCH = os.path.dirname(torch.__file__)


class Place(int):
    """In the structure of a module's outputs, where a tensor stands among the program's results."""


def mark(tensor: torch.Tensor, kind: str, name: str) -> torch.Tensor:
    """Tell tt-mlir that `tensor` (on the XLA device, any shape) is a 'parameter', 'constant' or 'input'.

    Parameters are prepared once, in const-eval functions; unmarked weights are prepared in every run. The
    custom call is tt-xla's (python_package/tt_torch/custom_ops.py); the name stands on the program's
    argument.
    """
    from torch_xla.experimental.stablehlo_custom_call import stablehlo_custom_call

    # torch_xla's custom call goes wrong below rank 3 (tt-xla, same file).
    shape = tensor.shape
    marked = tensor.reshape((1,) * (3 - tensor.dim()) + tuple(shape)) if tensor.dim() < 3 else tensor
    attributes = {"ttcore.argument_type": kind, "ttir.name": name}
    marked = stablehlo_custom_call(
        [marked], "tt.mark_argument", [marked.shape], [marked.dtype], frontend_attributes=attributes
    )
    return marked.reshape(shape)


class Located(TorchDispatchMode):
    """Names every op after the module that issued it and the line of the model that called it, and notes
    cuts.

    In the form `Conv3d[conv_in]/forward(autoencoder_kl_mochi.py:623)/`, as tt-xla's own backend does
    (python_package/tt_torch/backend/metadata_propagation.py); the IR's `loc(...)` then says it.

    `on_cut` is told each place where the trace reads a value back to the host (`.item()`, `if x.sum() > 0`, a
    numpy array): there the graph ends, is compiled and run, and the trace goes on with what comes back.
    """

    def __init__(self, module: nn.Module, on_cut: Callable[[str], None]):
        super().__init__()
        self.module, self.on_cut = module, on_cut
        self.running: list[str] = []
        self.read_back = values_read_back()

    @contextlib.contextmanager
    def hooks(self):
        handles = []
        for name, module in self.module.named_modules():
            label = f"{type(module).__name__}[{name}]"
            handles.append(
                module.register_forward_pre_hook(lambda *_, label=label: self.running.append(label))
            )
            handles.append(
                module.register_forward_hook(lambda *_: self.running.pop() and None, always_call=True)
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        import torch_xla

        place = f"{self.running[-1] if self.running else 'input'}/{_calling_line()}"
        out = IN_OTHER_WORDS.get(function, function)(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and not any(
            isinstance(leaf, torch.Tensor) for leaf in tree_leaves(args)
        ):
            out = heeding_writes(out)
        if (read_back := values_read_back()) != self.read_back:
            self.on_cut(place)
            self.read_back = read_back
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, torch.Tensor) and tensor.device.type == "xla":
                torch_xla._XLAC._set_xla_custom_op_name_prefix(tensor, f"{place}/", 1)
        return out


def heeding_writes(made: torch.Tensor) -> torch.Tensor:
    """A new tensor (`torch.empty`) as torch_xla would have it: under a dispatch mode it forgets to.

    Without this a write to a part of it, `made[:, :2] = x`, is lost, and the program returns what was made.
    """
    return torch._to_functional_tensor(made) if made.device.type == "xla" else made


def values_read_back() -> int:
    """How many values came from the device so far, by torch_xla's own count.

    Its count of programs that ran (`ExecuteTime`) would tell too, but late: it is added when the plugin's own
    thread says so, which may be after the next trace began.
    """
    from torch_xla.debug import metrics

    return (metrics.metric_data("TransferFromDeviceTime") or (0,))[0]


def _calling_line() -> str:
    """`forward(file.py:line)` of the innermost frame that belongs to a model rather than to torch."""
    frame = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        library = file.startswith(TORCH) or file == __file__ or file.endswith(os.path.join(HERE, "worker.py"))
        if not library and not file.startswith("<"):
            return f"{frame.f_code.co_name}({os.path.basename(file)}:{frame.f_lineno})"
        frame = frame.f_back
    return "forward"


def traced_call(module: nn.Module, inputs: tuple, keywords: dict, marked: bool, on_cut: Callable):
    """Call `module` (on the XLA device), each op named after where it comes from.

    With `marked`, weights and inputs are marked under their names for tt-mlir; XLA's own CPU client doesn't
    know the mark. In a `state` that comes back, None stands for what is handed on as it came.
    """
    located = Located(module, on_cut)
    with torch.no_grad():
        weights = {}
        if marked:
            weights = {name: mark(tensor, "parameter", name) for name, tensor in registered(module).items()}
            inputs, keywords = (named(as_input, given, "input") for given in (inputs, keywords))
        with located.hooks(), located:
            outputs = torch.func.functional_call(module, weights, inputs, keywords)
    return without_unchanged(outputs, keywords["state"]) if keywords.get("state") else outputs


def as_input(tensor: torch.Tensor, name: str) -> torch.Tensor:
    return mark(tensor, "input", name)


def without_unchanged(outputs, state: dict):
    """`(result, state)` with None for entries that are the old state's: as results, each would be copied."""
    result, new = outputs
    return result, {name: None if value is state.get(name) else value for name, value in new.items()}


def handed_on(new, old):
    """A state with the old one's entries where `without_unchanged` left None."""
    return {name: old[name] if value is None else value for name, value in new.items()}


def registered(module: nn.Module) -> dict[str, torch.Tensor]:
    return dict((*module.named_parameters(), *module.named_buffers()))


def plain_attributes(module: nn.Module) -> Iterator[tuple[dict, str, str]]:
    """Where modules keep tensors unregistered, alone or in lists and dicts: attributes, a key, its path."""
    for place, owner in module.named_modules():
        for key, value in list(vars(owner).items()):
            if key not in ("_parameters", "_buffers", "_modules") and tensors(value):
                yield vars(owner), key, f"{place}.{key}" if place else key


def weights_by_name(module: nn.Module) -> dict[str, torch.Tensor]:
    """As the program's arguments are named: parameters, buffers, and tensors that are plain attributes."""
    found = registered(module)
    for attributes, key, path in plain_attributes(module):
        found |= arguments_by_name(attributes[key], path)
    return found


def arguments_by_name(value, name: str = "input") -> dict[str, torch.Tensor]:
    """The names that tracing gives to inputs and keywords: `input.0`, `input.state.conv1` …"""
    found = {}
    named(lambda tensor, path: found.setdefault(path, tensor), value, name)
    return found


def named(function: Callable[[torch.Tensor, str], object], value, name: str):
    """`value` with each tensor in its tuples, lists and dicts replaced by `function(tensor, path)`."""

    def one(keys, leaf):
        path = ".".join([name, *(str(astuple(key)[0]) for key in keys)])
        return function(leaf, path) if isinstance(leaf, torch.Tensor) else leaf

    return tree_map_with_path(one, value)


def tensors(value) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def to_device(value, device: torch.device):
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), value)
