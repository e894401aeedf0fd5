"""What went wrong, read off what the compiler and the runtime said."""

import re
import signal
from dataclasses import dataclass

from ttvideo.targets.target import KERNELS, RUN, TRACE

# A failure's kind → how the stack words it (named groups: op, location) and, if the compiler is done
# by then, the stage that it ends. The first match wins, so the more telling patterns come first.
KINDS = (
    # ttsim, docs/sim_error_handling.md: what it doesn't model, or won't, ends the process; the op itself may
    # be right.
    (
        "simulator stop",
        RUN,
        r"(?<=ERROR: )(?:[A-Z][a-z]+Functionality|[A-Z][A-Za-z]+(?:Behavior|Used|Failure|Specification)): "
        r"[^\n]*",
    ),
    ("descriptor mismatch", None, r"system desc schema mismatch[^\n]*"),
    ("op not linked", KERNELS, r"ttnn(?:::| )(?P<op>\w+) is not linked in this libtt build"),
    (
        "op validation",
        None,
        r"OperationValidationAndFallback: Operation (?P<op>[\w.]+) failed validation[^\n]*",
    ),
    (
        "legalisation",
        None,
        r"""(?:loc\("(?P<location>[^"]*)"[^\n]*\): )?error: """
        r"failed to legalize operation '(?P<op>[\w.]+)'[^\n]*",
    ),
    ("DRAM out of memory", RUN, r"Out of Memory: Not enough space to allocate \d+ B DRAM buffer[^\n]*"),
    (
        "L1 out of memory",
        KERNELS,
        r"Out of Memory: Not enough space to allocate \d+ B L1(?:_SMALL)? buffer[^\n]*",
    ),
    (
        "L1 out of memory",
        KERNELS,
        r"Statically allocated (?:circular|dataflow) buffers[^\n]*(?:clash with|grow to)[^\n]*",
    ),
    ("kernel build", KERNELS, r"(?m:^)[^\n]*(?:Failed to generate binaries|build failed)[^\n]*"),
    ("disk full", None, r"(?m:^)[^\n]*No space left on device[^\n]*"),
    (
        "compiler error",
        None,
        r"""(?:loc\("(?P<location>[^"]*)"[^\n]*\): )?error: (?:'(?P<op>[\w.]+)' op )?[^\n]*""",
    ),
    ("runtime check", KERNELS, r"TT_(?:FATAL|THROW)[^\n]*(?:\n(?:info:)?\s*[^\n]+)?"),
)
ROUTINE = re.compile(r"INFO\||\| info +\||MLIR MODULE|^\s|^Aborted")
BACKTRACE = re.compile(r"^\s*(?:Location: |backtrace:|\d+\. |---? |#\d+ ).*$", re.MULTILINE)


@dataclass(frozen=True)
class Failure:
    kind: str
    message: str
    op: str | None = None
    location: str | None = None
    stage: str | None = None  # the stage that it ends once compiled; else the first that wasn't reached

    def told(self) -> dict[str, str | None]:
        """As a verdict has it."""
        return {"kind": self.kind, "message": self.message, "op": self.op, "location": self.location}


def classify(log: str, exception: str = "") -> Failure:
    """The failure that `log` (all that the worker printed) and `exception` tell of, tracebacks cut away."""
    for kind, stage, pattern in KINDS:
        for text in (exception, log):
            if match := re.search(pattern, text):
                groups = match.groupdict()
                return Failure(
                    kind, clean(match.group()), ttnn_name(groups.get("op")), groups.get("location"), stage
                )
    return Failure("error", clean(exception) or "no message", stage=RUN)


def died(returncode: int, log: str) -> Failure:
    """The failure of a worker that ended without a word, its last lines standing for the message."""
    told = classify(log)
    if told.kind not in ("error", "compiler error"):
        return told
    how = signal.Signals(-returncode).name if returncode < 0 else f"exit status {returncode}"
    last = [line for line in clean(log).splitlines() if line.strip() and not ROUTINE.search(line)][-1:]
    return Failure("crash", f"the worker ended with {how}" + "".join(f": {line[:300]}" for line in last))


def graph_cut(places: list[str]) -> Failure:
    """The failure of a trace that went on with a value that was never computed."""
    message = f"{cut_into(places)}; what was read there was never computed"
    return Failure("graph cut", message, location=places[0], stage=TRACE)


def cut_into(places: list[str]) -> str:
    programs = len(places) + 1
    return (
        f"the trace reads a value back to the host, which cuts the graph into {programs} programs: "
        f"{', '.join(places)}"
    )


def timed_out(seconds: float) -> Failure:
    return Failure("time-out", f"stopped after {seconds:g} s")


def too_large(used: int) -> Failure:
    return Failure("memory", f"ended at {used / 1e9:.1f} GB of this machine's memory")


def clean(text: str) -> str:
    text = BACKTRACE.sub("", text)
    text = re.sub(r"^(?:Exception:\s*)?\{?|\}?\s*$", "", text.strip())
    return re.sub(r"\n\s*\n+", "\n", text).strip()


def ttnn_name(op: str | None) -> str | None:
    """`PrepareConv3dWeightsOp` and `conv3d` as the dialect spells them: `ttnn.prepare_conv3d_weights`."""
    if op is None or "." in op:
        return op
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op.removesuffix("Op")).lower()
    return f"ttnn.{snake}"
