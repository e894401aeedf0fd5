"""A verdict for others: on disk, stage by stage, and as the text of an issue for the compiler's tracker."""

import json
import platform
from importlib import metadata
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.targets.target import COMPILE, MOCK, ON_TTNN, resolve

REPORT = "ttnn-report"
REPRO_NAME = "repro.py"
REPRO = Path(__file__).with_name(REPRO_NAME)
NOT_FOR_OTHERS = (
    "TTXLA_LOGGER_LEVEL",
    "XLA_HLO_DEBUG",
    "XLA_STABLEHLO_COMPILE",
    "PJRT_DEVICE",
    "TT_METAL_CACHE",
)
STOOD_IN = {
    COMPILE: " (compile only: a described board, `TT_COMPILE_ONLY_SYSTEM_DESC`)",
    MOCK: " (a mocked board, `TT_METAL_MOCK_CLUSTER_DESC_PATH`)",
}
# A tracker takes 65,536 characters; what is longer goes with the issue as a file.
INLINE_CHARACTERS = 40_000


def save(verdict, folder: Path) -> Path:
    """Write stablehlo.mlir, ttir.mlir and ttnn.mlir as far as it got, log.txt, README.md, and what compiles
    it again.

    A report that the probe was asked for becomes the folder ttnn-report, which ttnn-visualizer opens.
    Raises `Refused` if the folder can't be written.
    """
    folder = Path(folder)
    texts = {
        "stablehlo.mlir": verdict.stablehlo,
        "ttir.mlir": verdict.ttir,
        "ttnn.mlir": verdict.ttnn,
        "log.txt": verdict.log,
    }
    texts = {name: text for name, text in texts.items() if text}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
        if verdict.stablehlo and verdict.plugin:
            write_repro(verdict.stablehlo, verdict.compiler_options, folder)
            (folder / "environment.json").write_text(
                json.dumps(environment(verdict, folder), indent=1) + "\n"
            )
        if verdict.report:
            (folder / REPORT).mkdir(exist_ok=True)
            for name, content in verdict.report.items():
                (folder / REPORT / name).write_bytes(content)
        (folder / "README.md").write_text(readme(verdict, texts))
    except OSError as error:
        raise Refused("folder", f"{folder}: {error.strerror}", "one that can be written") from error
    return folder


def write_repro(stablehlo: str | bytes, options: dict, folder: Path) -> None:
    """The module (text or bytecode), the script that compiles it, and the compiler's options if there are
    any."""
    (folder / "stablehlo.mlir").write_bytes(stablehlo if isinstance(stablehlo, bytes) else stablehlo.encode())
    (folder / REPRO_NAME).write_text(REPRO.read_text())
    if options:
        (folder / "options.json").write_text(
            json.dumps({name: as_text(value) for name, value in options.items()}) + "\n"
        )


def as_text(value: str | int | bool) -> str:
    """An option's value as the compiler reads it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def environment(verdict, folder: Path) -> dict[str, str]:
    """What describes or mocks the verdict's board, its files in `folder`."""
    target = resolve(verdict.target)
    if target.on_ttnn:
        target = target.compiler
    if target.lane not in (COMPILE, MOCK):
        return {}
    return {
        name: value.replace(str(folder), "{HERE}")
        for name, value in target.environment(folder).items()
        if name not in NOT_FOR_OTHERS
    }


def readme(verdict, texts: dict[str, str]) -> str:
    """Three lines."""
    files = ", ".join(texts) or "no text: the trace failed"
    then = []
    if verdict.stablehlo and verdict.plugin:
        then.append("`python repro.py` compiles it again; it needs jax and the plugin.")
    if verdict.report:
        then.append(f"`ttnn-visualizer --profiler-path {REPORT}` shows the run's ops and buffers.")
    title = " ".join(str(verdict).split())
    made = f"{verdict.plugin or 'no plugin'}, Python {platform.python_version()}; {files}."
    return f"# {title}\n{made}\n{' '.join(then)}\n"


def issue(verdict) -> str:
    """Markdown for the tracker: title, versions, message, location, and a script that shows it without this
    project.

    Raises `Refused` for a verdict that passed, was replayed, or failed before or after the plugin.
    """
    if verdict.passed or verdict.replayed or not verdict.stablehlo or resolve(verdict.target).lane in ON_TTNN:
        raise Refused("issue", str(verdict), "a module that Tenstorrent's plugin refused, with its StableHLO")
    versions = {name: metadata.version(name) for name in ("torch", "torch_xla", "jax", "jaxlib")}
    location = verdict.location or "not told"
    inline = len(verdict.stablehlo) <= INLINE_CHARACTERS
    program = f"```mlir\n{verdict.stablehlo}\n```" if inline else "attached: stablehlo.mlir"
    return f"""# {verdict.op or verdict.stage}: {verdict.message}

**Versions:** {verdict.plugin}; {", ".join(f"{name} {version}" for name, version in versions.items())}; \
Python {platform.python_version()}, {platform.system()} {platform.machine()}

**What happens:** `{verdict.kind}` in stage {verdict.stage}, target {verdict.target}\
{STOOD_IN.get(resolve(verdict.target).lane, "")}

```
{verdict.message}
```

**Location:** `{location}`

**To reproduce:** put both files into one folder and run `python repro.py`.

<details><summary>repro.py</summary>

```python
{REPRO.read_text()}```
</details>
<details><summary>stablehlo.mlir</summary>

{program}
</details>
"""
