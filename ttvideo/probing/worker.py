"""The child process of a probe: one PJRT client, one module, any number of calls.

    python -m ttvideo.probing.worker FOLDER EVENTS_FD

FOLDER holds `job.pt`; each line on standard input asks for a call; each event is a line of JSON
on EVENTS_FD. Everything the compiler prints goes to standard error, which the parent keeps.
A client can't be reconfigured and a failing program can end its process: hence a process of its own.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import torch

from ttvideo.probing.compile_options import compile_elsewhere, taken_by_torch_xla
from ttvideo.probing.trace import arguments_by_name, handed_on, traced_call, weights_by_name
from ttvideo.targets import runtime_files
from ttvideo.targets.target import CARD, HOST, RUN, RUNTIME_FILES, STABLEHLO, TRACE, XLA, resolve

PR_SET_PDEATHSIG = 1
STACK_BYTES = 128 << 20  # Linux leaves as much room for a process's first thread, whatever its limit was


class Worker:
    def __init__(self, folder: Path, events):
        self.folder, self.events = folder, events
        job = load(folder / "job.pt")
        self.target = resolve(job["target"])
        self.module = job["module"].eval()
        self.stateful = job["stateful"]
        self.state = job["state"]
        self.options = job["options"]
        self.device = torch.device(self.target.name) if self.target.lane == HOST else self.open_device()
        self.module.to(self.device)
        self.state = to_device(self.state, self.device)
        self.tell(event="ready", device=str(self.device))

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

    def call(self, number: int, part: str, options: dict) -> None:
        module = self.module.get_submodule(part)
        inputs = to_device(load(self.folder / f"inputs-{number}.pt"), self.device)
        os.remove(self.folder / f"inputs-{number}.pt")
        if self.target.lane == HOST:
            outputs = self.timed(RUN, lambda: self.eager(module, inputs, options))
        else:
            outputs = self.traced(module, inputs, options)
        if self.stateful:
            outputs, new = outputs
            self.state = handed_on(new, self.state)
        if self.target.outputs_are_real:
            save(to_device(outputs, torch.device("cpu")), self.folder / f"outputs-{number}.pt")
        self.tell(event="done", compiled=compiled_programs(self.target))

    def arguments(self) -> dict:
        return {"state": self.state} if self.stateful else {}

    def eager(self, module, inputs, options):
        with torch.no_grad():
            return module(*inputs, **self.arguments(), **options)

    def traced(self, module, inputs, options):
        import torch_xla
        import torch_xla.core.xla_model as xm

        marked = self.target.needs_plugin

        def on_cut(place: str) -> None:
            self.tell(event="cut", place=place)

        outputs = self.timed(TRACE, lambda: traced_call(module, inputs, marked, on_cut, **self.arguments(), **options))
        self.save_result_order(outputs)
        self.tell_graph(module, inputs, outputs)
        if self.target.lane == XLA:
            stablehlo = self.timed(STABLEHLO, lambda: xm.get_stablehlo(tensors(outputs)))
            (self.folder / "stablehlo.mlir").write_text(stablehlo)
        if self.options:
            stablehlo = xm.get_stablehlo_bytecode(tensors(outputs))  # its text has locations that MLIR can't read
            self.timed(RUN, lambda: compile_elsewhere(stablehlo, self.options, self.folder / "elsewhere"))
            return None
        # Compiles, then runs; the stages in between are read off the compiler's log.
        # The outputs alone: a sync of all live tensors would also return the base of an output that is a view.
        self.timed(RUN, lambda: torch_xla._XLAC._xla_sync_multi(tensors(outputs), [], wait=True))
        return outputs

    def tell_graph(self, module, inputs, outputs) -> None:
        """The graph's hash, and its arguments' names in its order: one met before isn't compiled again."""
        import torch_xla

        named = weights_by_name(module) | arguments_by_name(inputs, "input")
        named |= arguments_by_name(self.arguments(), "input")
        names = {torch_xla._XLAC._xla_get_tensor_id(tensor): name for name, tensor in named.items()}
        found, _ = torch_xla._XLAC._get_tensors_xla_device_data_node(tensors(outputs))
        graph = torch_xla._XLAC._get_graph_hash(tensors(outputs)).hex()
        self.tell(event="graph", hash=graph, arguments=[names.get(identity) for identity in found])

    def save_result_order(self, outputs) -> None:
        """The outputs' structure, each tensor replaced by its place among the program's results."""
        import torch_xla

        ids = [torch_xla._XLAC._xla_get_tensor_id(tensor) for tensor in tensors(outputs)]
        place = {identity: place for place, identity in enumerate(dict.fromkeys(ids))}
        order = iter(ids)
        save(map_tensors(lambda _: torch.tensor(place[next(order)]), outputs), self.folder / "results.pt")

    def timed(self, stage: str, work):
        self.tell(event="start", stage=stage, time=time.time())
        out = work()
        self.tell(event="end", stage=stage, time=time.time())
        return out

    def save_state(self) -> None:
        save(to_device(self.state, torch.device("cpu")), self.folder / "state.pt")
        self.tell(event="done")


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


def map_tensors(function, value):
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, dict):
        return {key: map_tensors(function, item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(map_tensors(function, item) for item in value)
    return value


def to_device(value, device: torch.device):
    return map_tensors(lambda tensor: tensor.to(device), value)


def tensors(value) -> list[torch.Tensor]:
    found = []
    map_tensors(found.append, value)
    return found


def save(value, path: Path) -> None:
    torch.save(value, path, pickle_module=cloudpickle)


def load(path: Path):
    # Written by the parent process a moment ago; modules are not plain tensors.
    return torch.load(path, weights_only=False)


def die_with_parent() -> None:
    """Have the kernel end this process when its parent ends, however that happens (Linux)."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def deepen_stack() -> None:
    """The usual 8 MB overflow once HunyuanVideo-1.5's decoder is compiled for a whole clip: something there is recursive."""
    _, most = resource.getrlimit(resource.RLIMIT_STACK)
    deep = STACK_BYTES if most == resource.RLIM_INFINITY else min(STACK_BYTES, most)
    resource.setrlimit(resource.RLIMIT_STACK, (deep, most))


def main() -> None:
    die_with_parent()
    deepen_stack()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    folder, events = Path(sys.argv[1]), os.fdopen(int(sys.argv[2]), "w")
    worker = None
    try:
        worker = Worker(folder, events)
        for line in sys.stdin:
            request = json.loads(line)
            if request["do"] == "call":
                worker.call(request["number"], request["part"], request["options"])
            else:
                worker.save_state()
    except BaseException as error:
        events.write(json.dumps({"event": "error", "type": type(error).__name__, "message": str(error)}) + "\n")
        events.flush()
    # The client's shutdown can abort after a failed program, and everything worth keeping is on disk.
    # A card must be closed properly all the same.
    if worker is None or worker.target.lane != CARD:
        os._exit(0)


if __name__ == "__main__":
    main()
