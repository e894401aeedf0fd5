"""The child process of probes: one PJRT client for one target, and one module at a time.

    python -m ttvideo.probing.worker FOLDER EVENTS_FD

FOLDER holds `job.pt`, and what each call is given, the first of a module with the module; each line on
standard input asks for one; each event is a line of JSON on EVENTS_FD. Everything the compiler prints goes to
standard error, which the parent keeps. A client can't be reconfigured and a failing program can end its
process: hence one of its own.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from ttvideo.basics.child import save, take
from ttvideo.basics.errors import Refused
from ttvideo.probing.compile_options import compile_elsewhere, taken_by_torch_xla
from ttvideo.probing.trace import (
    Place,
    arguments_by_name,
    handed_on,
    mark,
    named,
    plain_attributes,
    registered,
    tensors,
    to_device,
    traced_call,
)
from ttvideo.targets import runtime_files
from ttvideo.targets.target import CARD, HOST, RUN, RUNTIME_FILES, STABLEHLO, TRACE, XLA, resolve

PR_SET_PDEATHSIG = 1
STACK_BYTES = 128 << 20  # Linux leaves as much room for a process's first thread, whatever its limit was
PLAIN = (torch.Tensor, type(None), bool, int, float, str)


class Client:
    def __init__(self, folder: Path, events):
        self.folder, self.events = folder, events
        job = take(folder / "job.pt")
        self.target, self.options = resolve(job["target"]), job["options"]
        self.device = torch.device(self.target.name) if self.target.lane == HOST else self.open_device()
        self.modules = 0
        self.graphs: dict[str, tuple] = {}  # by hash: of which module, and the names of its arguments

    def tell(self, **event) -> None:
        self.events.write(json.dumps(event) + "\n")
        self.events.flush()

    def open_device(self) -> torch.device:
        import torch_xla

        if self.target.needs_plugin:
            register(self.target.plugin())
        if self.options and taken_by_torch_xla(self.options):
            self.options = {}
        return torch_xla.device()

    def serve(self, module: torch.nn.Module, method: str, stateful: bool, result) -> None:
        """This module from now on; the one before is let go first."""
        self.module = self.state = None
        self.module, self.stateful, self.result = module.eval().to(self.device), stateful, result
        self.own = {id(tensor) for tensor in registered(module).values()}
        for attributes, key, path in plain_attributes(module):
            attributes[key] = named(self.brought, attributes[key], path)
        if method != "forward":
            module.forward = getattr(module, method)
        self.modules += 1
        self.before = compiled_programs(self.target)

    def brought(self, tensor: torch.Tensor, name: str) -> torch.Tensor:
        """What `Module.to` leaves where it is: tensors that aren't registered."""
        if id(tensor) in self.own:
            return tensor
        tensor = tensor.to(self.device)
        return mark(tensor, "parameter", name) if self.target.needs_plugin else tensor

    def call(self, number: int) -> None:
        given = take(self.folder / f"call-{number}.pt")
        if "module" in given:
            self.serve(given["module"], given["method"], given["stateful"], given["result"])
        inputs, keywords = to_device((given["inputs"], given["keywords"]), self.device)
        if self.state is not None:
            keywords.setdefault("state", self.state)
        outputs = (self.eager if self.target.lane == HOST else self.traced)(number, inputs, keywords)
        if outputs is not None:
            outputs = self.without_state(outputs, keywords.get("state"))
            if self.target.outputs_are_real:
                save(to_device(outputs, torch.device("cpu")), self.folder / f"outputs-{number}.pt")
        compiled = compiled_programs(self.target)
        self.tell(event="done", compiled=None if compiled is None else compiled - self.before)

    def without_state(self, outputs, old):
        """Of a module that returns `(result, state)` all, or where the state stays here the result."""
        if not self.stateful and not old:
            return outputs
        result, new = outputs
        new = handed_on(new, old)
        if self.stateful:
            self.state = new
        return result if self.stateful else (result, new)

    def eager(self, number: int, inputs: tuple, keywords: dict):
        with torch.no_grad():
            return self.timed(RUN, lambda: self.chosen(self.module(*inputs, **keywords)))

    def chosen(self, outputs):
        return outputs if self.result is None else outputs[self.result]

    def traced(self, number: int, inputs: tuple, keywords: dict):
        """The outputs, run where the lane can; None where another process compiles. Raises `Stale`."""
        import torch_xla
        import torch_xla.core.xla_model as xm

        outputs = self.timed(TRACE, lambda: self.trace(inputs, keywords))
        save(placed(outputs), self.folder / f"results-{number}.pt")
        graph = torch_xla._XLAC._get_graph_hash(tensors(outputs)).hex()
        # The client gives again what it compiled of this graph; names and places are those of that time.
        names = self.modules, (*arguments_by_name(inputs), *arguments_by_name(keywords))
        if self.graphs.setdefault(graph, names) != names:
            raise Stale
        self.tell(event="graph", hash=graph)
        if self.target.lane == XLA:
            stablehlo = self.timed(STABLEHLO, lambda: xm.get_stablehlo(tensors(outputs)))
            save(stablehlo, self.folder / f"stablehlo-{number}.pt")
        if self.options:
            stablehlo = xm.get_stablehlo_bytecode(
                tensors(outputs)
            )  # its text has locations that MLIR can't read
            self.timed(RUN, lambda: compile_elsewhere(stablehlo, self.options, self.folder / "elsewhere"))
            return None
        # Compiles, then runs; the stages in between are read off the compiler's log. The outputs alone: a
        # sync of all live tensors would also return the base of an output that is a view.
        self.timed(RUN, lambda: torch_xla._XLAC._xla_sync_multi(tensors(outputs), [], wait=True))
        return outputs

    def trace(self, inputs: tuple, keywords: dict):
        """Raises `Refused` for outputs that hold no tensor, or something else than tensors."""

        def on_cut(place: str) -> None:
            self.tell(event="cut", place=place)

        outputs = self.chosen(traced_call(self.module, inputs, keywords, self.target.needs_plugin, on_cut))
        if other := [type(leaf).__name__ for leaf in tree_leaves(outputs) if not isinstance(leaf, PLAIN)]:
            raise Refused("outputs", f"a {other[0]}", "tensors, in tuples, named tuples, lists or dicts")
        if not tensors(outputs):
            raise Refused("outputs", repr(outputs)[:100], "a tensor at least")
        return outputs

    def timed(self, stage: str, work):
        self.tell(event="start", stage=stage)
        begin = time.monotonic()
        out = work()
        self.tell(event="end", stage=stage, seconds=time.monotonic() - begin)
        return out

    def save_state(self) -> None:
        save(to_device(self.state, torch.device("cpu")), self.folder / "state.pt")
        self.tell(event="done")


class Stale(Exception):
    """The client has a program of the same graph, of another module or with other names."""


def placed(outputs):
    """The outputs' structure, with each tensor's place among the program's results; the same one has one."""
    import torch_xla

    places: dict[int, Place] = {}
    return tree_map_only(
        torch.Tensor,
        lambda tensor: places.setdefault(torch_xla._XLAC._xla_get_tensor_id(tensor), Place(len(places))),
        outputs,
    )


def register(plugin) -> None:
    import torch_xla
    import torch_xla.runtime as xr
    from torch_xla.experimental import plugins

    if plugin.distribution == "pjrt-plugin-tt":
        from torch_plugin_tt import TTPlugin  # sets up the wheel's own runtime folders

        device_plugin = TTPlugin()
    else:

        class PyPIPlugin(plugins.DevicePlugin):
            def library_path(self) -> str:
                return str(plugin.library)

        runtime_files.load(plugin.library, RUNTIME_FILES)
        device_plugin = PyPIPlugin()
        torch_xla._XLAC._set_xla_all_numbers_special_scalars(True)
    plugins.register_plugin("TT", device_plugin)
    xr.set_device_type("TT")


def compiled_programs(target) -> int | None:
    """How many programs the client compiled so far, by torch_xla's own counter."""
    if target.lane == HOST:
        return None
    from torch_xla.debug import metrics

    return metrics.counter_value("UncachedCompile") or 0


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def deepen_stack() -> None:
    """The usual 8 MB overflow once HunyuanVideo-1.5's decoder is compiled for a whole clip: something there
    is recursive."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    deep = STACK_BYTES if most == resource.RLIM_INFINITY else min(STACK_BYTES, most)
    resource.setrlimit(resource.RLIMIT_STACK, (deep, most))


def main() -> None:
    die_with_parent()
    deepen_stack()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    folder, events = Path(sys.argv[1]), os.fdopen(int(sys.argv[2]), "w")
    client = None
    try:
        client = Client(folder, events)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                client.call(request["number"]) if request["do"] == "call" else client.save_state()
            except Stale:
                client.tell(event="done", stale=True)
    except BaseException as error:
        events.write(
            json.dumps({"event": "error", "type": type(error).__name__, "message": str(error)}) + "\n"
        )
        events.flush()
    # The client's shutdown can abort after a failed program, and everything worth keeping is on disk.
    # A card must be closed properly all the same.
    if client is None or client.target.lane != CARD:
        os._exit(0)


if __name__ == "__main__":
    main()
