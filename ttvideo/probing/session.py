"""What serves a module on a target, whichever it is: called as often as needed, each time with a verdict."""

import contextlib
import dataclasses

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from ttvideo.basics.errors import Refused
from ttvideo.probing.trace import Place, handed_on
from ttvideo.probing.verdict import EVALUATED, Verdict
from ttvideo.programs.evaluate import evaluate as run_on_host
from ttvideo.targets.target import Target


class Session(contextlib.AbstractContextManager):
    """A module on a target, until it is closed; `ttvideo.probing.probe.open_session` says which serves which.

    A kind of it has `run(inputs, keywords, name, timeout) -> Verdict`, `arguments(inputs, keywords)`, all
    tensors that the program may take by their names there, and `state_there()`. One that is `stateful` serves
    a module that takes a keyword `state` and returns `(result, state)`: the state, a dict of tensors, stays
    there.
    """

    evaluated_by = EVALUATED
    shared: str | None = None  # the name under which programs have weights in common

    def __init__(self, target: Target, stateful: bool):
        self.target, self.stateful = target, stateful
        self.on_host: dict[str, torch.Tensor] | None = None  # the state, after a call that was evaluated

    def call(
        self, inputs: tuple, *, state=None, keywords=None, evaluate=False, name: str = "", timeout=None
    ) -> Verdict:
        """Trace, compile and, where the lane can, run the module; a failure is in the verdict.

        `keywords` are the module's own, tensors or not. `state` is its keyword of that name; None for none,
        or for the one that the call before left, unless `keywords` has a `state` of None: that begins anew.
        With `evaluate`, outputs and state are those of the program, run on the host. `timeout` is in seconds.
        """
        keywords = dict(keywords or {}) | ({} if state is None else {"state": state})
        before, self.on_host = self.on_host, None
        verdict = self.run(tuple(inputs), keywords, name, timeout)
        if evaluate and verdict.has_program and not verdict.cut and (verdict.passed or not self.stateful):
            if before is not None:
                keywords.setdefault("state", before)
            return self.evaluated(verdict, tuple(inputs), keywords)
        return verdict

    def evaluated(self, verdict: Verdict, inputs: tuple, keywords: dict) -> Verdict:
        results = run_on_host(verdict.program, self.arguments(inputs, keywords))
        if len(results) != len(places := places_in(verdict.results)):
            raise Refused("evaluate", f"{len(results)} results", f"the {len(places)} outputs of the module")
        outputs = self.outputs(verdict.results, results, keywords.get("state"))
        if self.stateful:
            outputs, self.on_host = outputs
        return dataclasses.replace(verdict, outputs=outputs, outputs_from=self.evaluated_by)

    def outputs(self, structure, results, old: dict[str, torch.Tensor] | None):
        """The results in the outputs' structure; what is handed on of an `old` state is that one's."""
        found = tree_map_only(Place, lambda place: self.output(place, results[place]), structure)
        return (found[0], handed_on(found[1], old)) if old else found

    def output(self, place: int, result: torch.Tensor) -> torch.Tensor:
        """A result as the module gives it."""
        return result

    def state(self) -> dict[str, torch.Tensor]:
        """The state, copied to the host. Raises `Refused` where kernels don't run: it would mean nothing."""
        return self.state_there() if self.on_host is None else self.on_host

    def close(self) -> None:
        """End what it started."""

    def __exit__(self, *_) -> None:
        self.close()


def places_in(structure) -> set[Place]:
    return {leaf for leaf in tree_leaves(structure) if isinstance(leaf, Place)}
