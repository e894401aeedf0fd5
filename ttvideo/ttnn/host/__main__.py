"""TT-NN's process: one open device, and programs run on it op by op. In TT-NN's own environment, without the
project.

    python host FOLDER EVENTS_FD

Each line on standard input asks for a run (see ttvideo/ttnn/chip.py); each event is a line of JSON on
EVENTS_FD: a step about to be run, the run's end, or an error. FOLDER holds programs, arguments and results.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import ttnn
from ops import DTYPES, LAYOUTS, OPS, Step
from report import reported, reported_op

OWN = Path(__file__).parents[2] / "programs" / "own"  # ops of the project's own
PR_SET_PDEATHSIG = 1
L1_SMALL_BYTES = 32768  # where a convolution keeps its table of addresses
HELD = ("parameter", "constant")  # arguments that stay from run to run


class Host:
    def __init__(self, folder: Path, events):
        self.folder, self.events = folder, events
        self.programs: dict[int, Program] = {}
        self.kept: dict[str, ttnn.Tensor] = {}
        self.shared: dict[str, dict[str, ttnn.Tensor]] = {}  # weights that several programs hold
        self.saved = 0
        self.device = ttnn.open_device(device_id=0, l1_small_size=L1_SMALL_BYTES)

    def tell(self, **event) -> None:
        self.events.write(json.dumps(event) + "\n")
        self.events.flush()

    def answer(self, request: dict) -> None:
        if "kept" in request:
            self.tell(event="done", outputs={0: self.save(self.kept[request["kept"]])})
            return
        number = request["program"]
        if number not in self.programs:
            self.programs[number] = Program(self, number, request["shared"])
        program = self.programs[number]
        run = Run(self, program, request["watch"])
        with reported(self.folder / request["report"]) if request["report"] else contextlib.nullcontext():
            program.hold({name: self.load(file) for name, file in request["arguments"].items()})
            begin = time.perf_counter()
            inputs = program.inputs(self.kept)
            read = {name: place for place, name in enumerate(program.types)}
            staying = {
                name: inputs[read[name]] if name in read else self.kept[name] for name in request["stay"]
            }
            returned = run.function(program.main, inputs, main=True)
        outputs = {place: self.save(returned[place]) for place in request["fetch"]}
        self.kept = staying | {name: returned[place] for name, place in request["keep"].items()}
        self.tell(event="done", outputs=outputs, seconds=time.perf_counter() - begin, **run.report())

    def load(self, file: str) -> np.ndarray:
        """Arguments are on the host; bf16 comes as its bits."""
        path = self.folder / file
        array = np.load(path)
        path.unlink(missing_ok=True)
        return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array

    def save(self, tensor: ttnn.Tensor) -> str:
        file, self.saved = f"result-{self.saved}.npy", self.saved + 1
        integer = tensor.dtype not in (ttnn.bfloat16, ttnn.float32)
        values = np.array(tensor.cpu().to_list(), dtype=np.int64 if integer else np.float32)
        np.save(self.folder / file, values)
        return file

    def place(self, array: np.ndarray, type: dict) -> ttnn.Tensor:
        tensor = ttnn.to_layout(ttnn.Tensor(array, DTYPES[type["dtype"]]), LAYOUTS[type["layout"]])
        return tensor if type["memory"] == "system" else ttnn.to_device(tensor, self.device)

    def allocated(self, buffer: ttnn.BufferType) -> int:
        view = ttnn.get_memory_view(self.device, buffer)
        return view.total_bytes_allocated_per_bank * view.num_banks


class Program:
    """Its text, the weights that it was given, and what its const-eval functions made of them."""

    def __init__(self, host: Host, number: int, shared: str | None):
        self.host, self.number = host, number
        text = json.loads((host.folder / f"program-{number}.json").read_text())
        self.main, self.functions = text["main"], text["functions"]
        self.types = {name: (kind, type) for _, name, kind, type in self.functions[self.main]["arguments"]}
        self.held: dict[str, ttnn.Tensor] = {} if shared is None else host.shared.setdefault(shared, {})
        self.given: dict[str, ttnn.Tensor] = {}  # for one run, of which they take up memory from begin to end
        self.prepared: dict[str, list[ttnn.Tensor]] = {}

    def hold(self, arrays: dict[str, np.ndarray]) -> None:
        self.given = {}
        for name, array in arrays.items():
            kind, type = self.types[name]
            (self.held if kind in HELD else self.given)[name] = self.host.place(array, type)

    def inputs(self, kept: dict[str, ttnn.Tensor]) -> list[ttnn.Tensor]:
        """The main function's arguments in order; a kept result is brought into the stated layout, and given
        up."""
        found = self.held | self.given
        inputs = []
        for name, (_, type) in self.types.items():
            if name not in found and name not in kept:
                raise KeyError(f"no argument {name!r}, and none kept by that name")
            inputs.append(
                found[name] if name in found else ttnn.to_layout(kept.pop(name), LAYOUTS[type["layout"]])
            )
        return inputs

    def constant(self, key: str) -> np.ndarray:
        array = np.load(self.host.folder / f"constant-{self.number}-{key}.npy")
        return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


class Run:
    """One run: what happened on the way."""

    def __init__(self, host: Host, program: Program, watch: bool):
        self.host, self.device, self.program, self.watch = host, host.device, program, watch
        self.seconds: Counter = Counter()
        self.ops = self.peak_l1 = 0
        self.peak = {True: 0, False: 0}  # of DRAM: in the main function, in others
        self.notes: dict[str, dict[str, None]] = {"stand_ins": {}, "workarounds": {}}
        self.values: dict[str, str] = {}

    def report(self) -> dict:
        return {
            "ops": self.ops,
            "op_seconds": dict(self.seconds),
            "peak_dram_bytes": self.peak[True],
            "prepare_peak_dram_bytes": self.peak[False],
            "peak_l1_bytes": self.peak_l1,
            "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "values": self.values,
            **{kind: list(said) for kind, said in self.notes.items()},
        }

    def function(self, name: str, inputs: list[ttnn.Tensor], main: bool) -> list[ttnn.Tensor]:
        """What one function returns. A value is let go where the program says so; what is held elsewhere
        stays."""
        function = self.program.functions[name]
        live = dict(zip((value for value, *_ in function["arguments"]), inputs, strict=True))
        inputs.clear()
        for number, described in enumerate(function["steps"]):
            step = Step(self, described)
            if step.op == "ttnn.deallocate":
                live.pop(step.operands[0])
            elif step.op == "ttcore.load_cached":
                live.update(zip(step.results, self.prepare(step, live), strict=True))
                self.look(step, live, main)
            elif step.op != "ttnn.get_device":
                self.host.tell(event="step", op=step.op, location=step.location, number=number, main=main)
                live.update(
                    zip(step.results, self.step(step, [live[name] for name in step.operands]), strict=True)
                )
                self.peak[main] = max(self.peak[main], self.host.allocated(ttnn.BufferType.DRAM))
                self.peak_l1 = max(self.peak_l1, self.host.allocated(ttnn.BufferType.L1))
                self.look(step, live, main)
        return [live[name] for name in function["returns"]]

    def look(self, step: Step, live: dict, main: bool) -> None:
        if main and self.watch:
            self.values |= {result: self.host.save(live[result]) for result in step.results}

    def prepare(self, step: Step, live: dict) -> list[ttnn.Tensor]:
        """What a const-eval function made, once."""
        callee = step.attributes["callee"]
        if callee not in self.program.prepared:
            inputs = [live[name] for name in step.operands]
            self.program.prepared[callee] = self.function(callee, inputs, main=False)
        return self.program.prepared[callee]

    def step(self, step: Step, operands: list[ttnn.Tensor]) -> list[ttnn.Tensor]:
        if step.op not in OPS:
            raise NotImplementedError(f"{step.op}: no rule for it in ttvideo/ttnn/host/ops.py")
        begin = time.perf_counter()
        with reported_op(step, operands) as results:
            made = OPS[step.op](step, *operands)
            ttnn.synchronize_device(self.device)
            self.seconds[step.op] += time.perf_counter() - begin
            self.ops += 1
            made = made if isinstance(made, (list, tuple)) else [made]
            results += [step.checked(result, place) for place, result in enumerate(made)]
        return results


def load_own_ops() -> None:
    """They fill the table."""
    sys.path += [str(OWN / "launch"), str(OWN)]
    for file in sorted((OWN / "launch").glob("*.py")):
        importlib.import_module(file.stem)


def main(folder: Path, events) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this process
    try:
        load_own_ops()
        host = Host(folder, events)
        for line in sys.stdin:
            try:
                host.answer(json.loads(line))
            except Exception as error:  # what TT-NN refuses; the device is as good as before
                host.tell(event="error", type=type(error).__name__, message=str(error))
    except Exception as error:  # the device didn't open
        events.write(
            json.dumps({"event": "error", "type": type(error).__name__, "message": str(error)}) + "\n"
        )
        events.flush()
        raise
    ttnn.close_device(host.device)
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.fdopen(int(sys.argv[2]), "w"))
