"""How far does a module get on a target? One call, one verdict."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from ttvideo.basics.errors import Refused
from ttvideo.probing.compile_options import Options
from ttvideo.probing.on_plugin import OnPlugin, warm_workers
from ttvideo.probing.on_ttnn import OnTTNN
from ttvideo.probing.session import Session
from ttvideo.probing.trace import tensors
from ttvideo.probing.verdict import Verdict
from ttvideo.targets.target import TARGETS, Target, resolve

TIMEOUT_SECONDS = 1800.0
AT_A_TIME = 2


def probe(
    module: nn.Module,
    inputs: tuple,
    target: str = "auto",
    name: str = "",
    timeout: float = TIMEOUT_SECONDS,
    evaluate: bool = False,
    *,
    state: dict[str, torch.Tensor] | None = None,
    result: int | str | None = None,
    compiler_options: Options | None = None,
    report: bool = False,
    **keywords,
) -> Verdict:
    """Trace `module` with its weights marked as parameters, compile it for `target` and, where that lane can,
    run it.

    It happens in a process of its own, so whatever the stack does (abort, hang, be killed) comes back as a
    `Verdict`. `module` is one, or a method of one. `inputs` are its positional arguments: tensors on the
    host, lists and dicts of them. `keywords` are the module's own, and so is `state`, a dict of tensors,
    where it takes one and returns `(result, state)`. `result` is the item of what it returns that is wanted,
    all by default. `timeout` is in seconds. With `evaluate`, the verdict's outputs are those of the compiled
    program, run on the host op by op: lane `evaluated`, whatever the target's own lane then did with the
    program. `compiler_options` are such as {"optimization_level": 1} (see `ttvideo.probing.compile_options`).
    With `report`, on targets where TT-NN executes the program, `verdict.save` writes what ttnn-visualizer
    opens, too: all ops, tensors and buffers of the run.

    Raises `Refused` before anything starts: unknown target, no plugin or card, inputs without a tensor, a
    keyword that the module doesn't take.
    """
    module, method, inputs = checked(module, inputs, keywords | ({} if state is None else {"state": state}))
    if state is not None and result is not None:
        raise Refused("probe", f"a state and result {result!r}", "all that a module with a state returns")
    how = {"method": method, "result": result, "compiler_options": compiler_options, "report": report}
    call = {"state": state, "keywords": keywords, "evaluate": evaluate, "timeout": timeout}
    with open_session(module, resolve(target), **how) as session:
        return session.call(inputs, name=name or type(module).__name__, **call)


def open_session(
    module: nn.Module,
    target: Target,
    *,
    stateful: bool = False,
    method: str = "forward",
    result: int | str | None = None,
    compiler_options: Options | None = None,
    report: bool = False,
) -> Session:
    """The session that serves a module on a target.

    A module that brings its own programs along has `programs(target, stateful)`, a session that makes them;
    TT-NN executes them. Raises `Refused` where a target can't do what is asked, isn't there, or has no room.
    """
    brought = hasattr(type(module), "programs")
    if (brought or report) and not target.on_ttnn:
        names = ", ".join(name for name, known in TARGETS.items() if known.on_ttnn)
        what = f"report of a {type(module).__name__}" if report else type(module).__name__
        raise Refused(what, f"target {target.name!r}", f"one where TT-NN executes the program: {names}")
    if brought:
        return OnTTNN(module.programs(target, stateful), target, report)
    served = target.compiler if target.on_ttnn else target
    session = OnPlugin(module, served, stateful, method, result, compiler_options)
    return OnTTNN(session, target, report) if target.on_ttnn else session


def probe_each(
    cases: Mapping[str, tuple],
    target: str = "auto",
    timeout: float = TIMEOUT_SECONDS,
    evaluate: bool = False,
    **how,
) -> dict[str, Verdict]:
    """Probe several modules, `{name: (module, inputs)}`, on one target; see `probe`, which takes `how`, too.

    A case has its keywords third where it has some: `(decoder, (z,), {"state": state, "ends": False})`. One
    process serves the cases, until one fails in it: the next gets a new one. A start takes 5 s, a small
    module 1 s.
    """
    cases = {name: (module, inputs, dict(*keywords)) for name, (module, inputs, *keywords) in cases.items()}
    for module, inputs, keywords in cases.values():
        checked(module, inputs, {})
    with warm_workers():
        return {
            name: probe(module, inputs, target, name, timeout, evaluate, **how, **keywords)
            for name, (module, inputs, keywords) in cases.items()
        }


def checked(module, inputs, keywords: dict) -> tuple[nn.Module, str, tuple]:
    """The module, its method's name, and `inputs` as a tuple. Raises `Refused` for what can't be probed."""
    method = "forward"
    if inspect.ismethod(module):
        module, method = module.__self__, module.__func__.__name__
    if not isinstance(module, nn.Module):
        raise Refused("module", type(module).__name__, "a torch.nn.Module, or a method of one")
    inputs = (inputs,) if isinstance(inputs, torch.Tensor) else inputs
    if not isinstance(inputs, (tuple, list)) or not tensors(inputs):
        raise Refused("inputs", repr(inputs)[:100], "a tuple with tensors")
    for position, given in enumerate(inputs):
        if empty := [tuple(tensor.shape) for tensor in tensors(given) if tensor.numel() == 0]:
            raise Refused(f"input {position}", f"shape {empty[0]}", "no dimension of 0")
    parameters = inspect.signature(getattr(module, method)).parameters
    any_other = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    if not any_other and (unknown := sorted(set(keywords) - set(parameters))):
        need = f"keywords of {type(module).__name__}.{method}: {', '.join(parameters)}"
        raise Refused("probe", f"keyword {unknown[0]!r}", need)
    return module, method, tuple(inputs)


def probe_all(module: nn.Module, inputs: tuple, targets: Iterable[str], name: str = "", **how):
    """The same module on several targets, two at a time: a list of verdicts in the order of `targets`."""
    return together(lambda target: probe(module, inputs, target, name, **how), targets)


def together(call: Callable, items: Iterable) -> list:
    """What a function that probes gives for each item, in their order, two of them at a time."""
    with warm_workers(), ThreadPoolExecutor(max_workers=AT_A_TIME) as pool:
        waiting = [pool.submit(call, item) for item in items]
        try:
            return [one.result() for one in waiting]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
