"""How far does a module get on a target? One call, one verdict."""

import contextlib
import dataclasses
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.probing.compile_options import Options
from ttvideo.probing.on_ttnn import open_session
from ttvideo.probing.trace import arguments_by_name, weights_by_name
from ttvideo.probing.verdict import EVALUATED, Verdict
from ttvideo.probing.worker import map_tensors, tensors
from ttvideo.programs.evaluate import evaluate as run_on_host
from ttvideo.targets.target import resolve

TIMEOUT_SECONDS = 1800.0
AT_A_TIME = 2


def probe(
    module: nn.Module,
    inputs: tuple[torch.Tensor, ...],
    target: str = "auto",
    name: str = "",
    timeout: float = TIMEOUT_SECONDS,
    evaluate: bool = False,
    options: Options | None = None,
    report: bool = False,
) -> Verdict:
    """Trace `module` with its weights marked as parameters, compile it for `target` and, where that lane can, run it.

    It happens in a process of its own, so whatever the stack does (abort, hang, be killed) comes back as a
    `Verdict`. `inputs` are the module's positional arguments, on the host; `timeout` is in seconds.
    With `evaluate`, the verdict's outputs are those of the compiled program, run on the host op by op: lane
    `evaluated`, whatever the target's own lane then did with the program. `options` are the compiler's, such as
    {"optimization_level": 1} (see `ttvideo.probing.compile_options`). With `report`, on targets where TT-NN executes the
    program, `verdict.save` writes what ttnn-visualizer opens, too: all ops, tensors and buffers of the run.

    Raises `Refused` before anything starts: unknown target, no plugin or card, inputs that aren't tensors.
    """
    name = name or type(module).__name__
    return probe_each({name: (module, inputs)}, target, timeout, evaluate, options, report)[name]


def probe_each(
    cases: Mapping[str, tuple[nn.Module, tuple[torch.Tensor, ...]]],
    target: str = "auto",
    timeout: float = TIMEOUT_SECONDS,
    evaluate: bool = False,
    options: Options | None = None,
    report: bool = False,
) -> dict[str, Verdict]:
    """Probe several modules, `{name: (module, inputs)}`, on one target; see `probe`.

    One process serves them, until one fails in it: the next gets a new one. A start takes 5 s, a small module 1 s.
    """
    target = resolve(target)
    cases = {name: (module, checked(module, inputs)) for name, (module, inputs) in cases.items()}
    modules = nn.ModuleList(module for module, _ in cases.values())
    verdicts: dict[str, Verdict] = {}
    with contextlib.ExitStack() as stack:
        session = None
        for index, (name, (module, inputs)) in enumerate(cases.items()):
            session = session or stack.enter_context(open_session(modules, target, options=options, report=report))
            verdict = session.call(inputs, name, timeout, part=str(index))
            if evaluate and verdict.ttnn and not verdict.cut:
                verdict = evaluated(verdict, module, arguments_by_name(inputs, "input"), session.result_order())
            verdicts[name] = verdict
            if not verdict.passed:
                stack.close()
                session = None
    return verdicts


def checked(module, inputs) -> tuple[torch.Tensor, ...]:
    """`inputs` as a tuple of tensors. Raises `Refused` for a module or inputs that can't be probed."""
    if not isinstance(module, nn.Module):
        raise Refused("module", type(module).__name__, "a torch.nn.Module")
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    if not inputs or not all(isinstance(item, torch.Tensor) for item in inputs):
        raise Refused("inputs", repr(inputs)[:100], "a tuple of tensors")
    for position, tensor in enumerate(inputs):
        if tensor.numel() == 0:
            raise Refused(f"input {position}", f"shape {tuple(tensor.shape)}", "no dimension of 0")
    return tuple(inputs)


def evaluated(verdict: Verdict, module: nn.Module, inputs: dict[str, torch.Tensor], order) -> Verdict:
    """`verdict` with the outputs of its compiled program, run on the host (see `ttvideo.programs.evaluate`).

    `inputs` are by argument name, `order` says which result of the program stands where in the outputs.
    """
    results = run_on_host(verdict.program, weights_by_name(module) | inputs)
    if len(results) != len({place.item() for place in tensors(order)}):
        raise Refused("evaluate", f"{len(results)} results", f"the {len(tensors(order))} outputs of the module")
    outputs = map_tensors(lambda place: results[place], order)
    return dataclasses.replace(verdict, outputs=outputs, outputs_from=EVALUATED)


def probe_all(module: nn.Module, inputs: tuple[torch.Tensor, ...], targets: Iterable[str], name: str = "", **how):
    """The same module on several targets, two at a time: a list of verdicts in the order of `targets`."""
    with ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
        waiting = [pool.submit(probe, module, inputs, target, name, **how) for target in targets]
        try:
            return [verdict.result() for verdict in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
