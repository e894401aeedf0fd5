"""Read the modules that the plugin prints after each stage (`TTXLA_LOGGER_LEVEL=DEBUG`)."""

import re
from dataclasses import dataclass

from ttvideo.targets.target import STABLEHLO, TTIR, TTNN

MODULE = re.compile(
    r"\(\s*(?P<seconds>[\d.]+)s\)[^\n]*MLIR Module (?P<name>\w+):\n(?P<text>.*?)\n-+ END OF MLIR MODULE",
    re.DOTALL,
)
# The log's names of the modules that end a stage; the last TTNN module is the one that is run.
STAGE_OF = {"shlo": STABLEHLO, "ttir": TTIR, "ttnn": TTNN, "ttnn_runtime": TTNN}


@dataclass(frozen=True)
class Compiled:
    texts: dict[str, str]  # stage → module text
    seconds: dict[str, float]  # stage → seconds since the stage before


def read_log(log: str) -> Compiled:
    texts, ends, begin = {}, {}, None
    for match in MODULE.finditer(log):
        seconds, name = float(match["seconds"]), match["name"]
        begin = seconds if begin is None else begin
        if stage := STAGE_OF.get(name):
            texts[stage] = match["text"]
            ends[stage] = seconds
    durations, before = {}, begin
    for stage, end in ends.items():
        durations[stage] = round(end - before, 3)
        before = end
    return Compiled(texts, durations)


def without_modules(log: str) -> str:
    """The log with each module's name in place of its text, which can be millions of lines."""
    return MODULE.sub(lambda match: f"[module {match['name']}]", log)
