"""`record.json`: what a notebook was asked, with which versions, and what it found."""

import atexit
import contextlib
import json
import math
import os
from pathlib import Path

from lib.versions import versions
from ttvideo.basics.errors import Refused
from ttvideo.probing.on_plugin import warm_workers
from ttvideo.probing.verdict import Verdict


class Record:
    """Collects a notebook's verdicts and metrics; `write` puts them on disk whole or not at all.

    From the first record of a process on, workers stay for the next probe, until the process ends.
    """

    def __init__(self, parameters):
        warm = contextlib.ExitStack()
        warm.enter_context(warm_workers())
        atexit.register(warm.close)
        self.parameters = parameters
        self.verdicts: dict[tuple[str, str], Verdict] = {}
        self.metrics: dict[str, object] = {}

    def add(self, *verdicts: Verdict) -> Verdict:
        """Keep verdicts, the last of each name and target; returns the last one, for a cell to show."""
        for verdict in verdicts:
            self.verdicts[verdict.name, verdict.label] = verdict
        return verdicts[-1]

    def write(self) -> Path:
        """Write `output_dir/record.json`. Raises `Refused` if the folder can't be written."""
        content = {
            "notebook": self.parameters.notebook,
            "parameters": self.parameters.as_dict(),
            "versions": versions(),
            "verdicts": [verdict.record() for verdict in self.verdicts.values()],
            "metrics": finite({**self.metrics, "programs": self.programs()}),
        }
        path = self.parameters.folder / "record.json"
        part = path.with_name("record.json.part")
        try:
            part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
            os.replace(part, path)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            raise Refused(
                "output_dir", f"{self.parameters.output_dir}: {error.strerror}", "a folder with room"
            ) from error
        return path

    def programs(self) -> dict[str, dict]:
        """What each program that was compiled costs a run (see `ttvideo.programs.cost`), by module and
        target."""
        compiled = [verdict for verdict in self.verdicts.values() if verdict.ttnn]
        return {f"{verdict.name}, {verdict.target}": verdict.cost.record() for verdict in compiled}


def finite(value):
    """JSON has no infinity: equal tensors have a PSNR of inf, which is written as text."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
