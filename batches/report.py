"""What a sweep found: one table, as Parquet, CSV and a page that sorts and filters; pictures; what changed
since another."""

import base64
import io
import json
import os
from html import escape
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from itables import options as itables_options
from itables import to_html_datatable
from itables.javascript import generate_init_offline_itables_html
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from batches.grid import Run
from batches.run import PASS
from ttvideo.basics.errors import Refused
from ttvideo.probing.verdict import LOOK
from ttvideo.targets.target import TARGETS

KEY = ("notebook", "plugin", "verdict", "verdict target")  # with the parameters: what names a row
COMPARED = ("run", "reason", "status", "stage", "kind", "ops", "dram_bytes_moved", "peak_dram_bytes")
NOT_RUN = "not run"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em;max-width:1500px} img{max-width:100%} "
    "h2{margin-top:2em}"
)


def table(runs: list[Run], rows: dict[str, dict], folder: Path) -> pd.DataFrame:
    """One row a verdict, or a run that has none: parameters, versions, how the run ended, the verdict, its
    program's cost."""
    found = []
    for run in runs:
        ended = rows.get(run.name) or {"status": NOT_RUN, "reason": None, "seconds": None, "gb": None}
        about = {"notebook": run.notebook, "plugin": run.plugin}
        about |= {f"parameter {name}": value for name, value in run.parameters.items()}
        about |= {
            "run": ended["status"],
            "reason": ended["reason"],
            "seconds": ended["seconds"],
            "gb": ended["gb"],
        }
        path = folder / run.name / "record.json"
        record = (
            json.loads(path.read_text()) if path.exists() else {"verdicts": [], "metrics": {}, "versions": {}}
        )
        programs = record["metrics"].pop("programs", {})
        about |= {f"version {name}": value for name, value in record["versions"].items()}
        about |= {f"metric {name}": value for name, value in scalars(record["metrics"])}
        for verdict in record["verdicts"] or [{}]:
            named = {"verdict": verdict.get("name"), "verdict target": verdict.get("target")}
            what = {name: verdict.get(name) for name in ("status", "stage", "kind", "message")}
            found.append(
                about | named | what | programs.get(f"{named['verdict']}, {named['verdict target']}", {})
            )
    columns = list(dict.fromkeys(name for row in found for name in row))
    columns.sort(key=lambda name: name.startswith(("metric", "version")))  # at the end
    return pd.DataFrame(found, columns=columns)


def scalars(metrics: dict, prefix: str = ""):
    """Numbers, flags and texts, however deep they stand, by a name with dots."""
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from scalars(value, f"{prefix}{name}.")
        elif not isinstance(value, list) and value is not None:
            yield prefix + name, value


def read_table(path: Path) -> pd.DataFrame:
    """An earlier table. Raises `Refused` for a file that isn't one."""
    try:
        found = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise Refused("--compare", f"{path}: {error}", "records.parquet of a sweep") from error
    if missing := {*KEY, "run"} - set(found):
        raise Refused(
            "--compare", f"{path} without {', '.join(sorted(missing))}", "records.parquet of a sweep"
        )
    return found


def changes(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """One row a value that differs, of the rows that both tables have, and one a row that only one of them
    has."""
    names = [name for name in new if name in KEY or name.startswith("parameter ")]
    sides = [side.reindex(columns=list(dict.fromkeys([*names, *COMPARED]))) for side in (old, new)]
    if len(set(map(plugins, sides))) > 1 and all(len(plugins(side)) == 1 for side in sides):
        names.remove("plugin")  # one against another: the plugin is what is compared
    keyed = [
        dict(zip(map(tuple, side[names].astype(object).map(repr).values), side.to_dict("records")))
        for side in sides
    ]
    found = []
    for key in dict.fromkeys([*keyed[0], *keyed[1]]):
        before, after = (side.get(key) for side in keyed)
        where = {name: (after or before)[name] for name in names}
        if before is None or after is None:
            found.append(where | {"what": "row", "before": presence(before), "after": presence(after)})
            continue
        for name in COMPARED:
            if not same(before[name], after[name]):
                found.append(where | {"what": name, "before": before[name], "after": after[name]})
    changed = pd.DataFrame(found, columns=[*names, "what", "before", "after"])
    varying = [name for name in names if name in KEY or changed[name].map(repr).nunique() > 1]
    return changed[[*varying, "what", "before", "after"]]


def plugins(side: pd.DataFrame) -> tuple[str, ...]:
    return tuple(sorted(set(side["plugin"])))


def presence(row: dict | None) -> str:
    return "missing" if row is None else "there"


def same(a, b) -> bool:
    return (pd.isna(a) and pd.isna(b)) or a == b


def report(out: Path, found: pd.DataFrame, changed: pd.DataFrame | None) -> None:
    """Write records.parquet, records.csv and report.html."""
    plain = found.copy()
    for name in plain:  # a parameter may be text in one run and a number in another
        if plain[name].map(type).nunique() > 1 and plain[name].dtype == object:
            plain[name] = plain[name].map(lambda value: value if pd.isna(value) else str(value))
    for path, save in ((out / "records.parquet", plain.to_parquet), (out / "records.csv", plain.to_csv)):
        part = path.with_suffix(".part")
        save(part, index=False)
        os.replace(part, path)
    (out / "report.html").write_text(page(found, changed))


def page(found: pd.DataFrame, changed: pd.DataFrame | None) -> str:
    runs = found.drop_duplicates(["notebook", "plugin", *(n for n in found if n.startswith("parameter "))])
    ended = runs["run"].value_counts()
    parts = [
        "<!doctype html><meta charset=utf-8><title>Sweep</title>", f"<style>{STYLE}</style>",
        f"<h1>{len(runs)} runs: {', '.join(f'{count} {status}' for status, count in ended.items())}</h1>",
    ]  # fmt: skip
    if changed is not None:
        parts += ["<h2>What changed</h2>", datatable(changed) if len(changed) else "<p>Nothing.</p>"]
    if len(bad := runs[~runs["run"].isin([PASS])]):
        parts += [
            "<h2>Runs that did not pass</h2>",
            datatable(bad[["notebook", *varying(runs), "run", "reason"]]),
        ]
    if found["verdict"].notna().any():
        parts += [
            "<h2>Verdicts</h2>",
            picture(verdict_grid(found), "Verdict of each module in each run, a coloured cell each"),
        ]
    for axis, figure in costs_over_axes(found):
        parts += [
            f"<h2>Peak and traffic over {escape(axis)}</h2>",
            picture(figure, f"Peak DRAM and traffic over {axis}"),
        ]
    constant = {
        n: found[n].dropna().iloc[0]
        for n in found
        if found[n].map(repr).nunique() == 1 and found[n].notna().all()
    }
    parts += [
        "<h2>All records</h2>",
        datatable(found.drop(columns=[*constant, *(n for n in found if n.startswith("metric "))])),
    ]
    parts += [
        "<h2>The same in all</h2>",
        datatable(pd.DataFrame({"name": list(constant), "value": map(str, constant.values())})),
    ]
    return generate_init_offline_itables_html(itables_options.dt_bundle).join((parts[0], "".join(parts[1:])))


def varying(runs: pd.DataFrame) -> list[str]:
    """The parameters of which a notebook has several values; not those that differ from one notebook to
    another."""
    names = [name for name in runs if name == "plugin" or name.startswith("parameter ")]
    each = [runs[runs["notebook"] == notebook] for notebook in runs["notebook"].unique()]
    return [name for name in names if any(own[name].map(repr).nunique() > 1 for own in each)]


def label(values) -> str:
    """The values in a line, but those of parameters that the notebook doesn't have."""
    return " · ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values if not pd.isna(v))


def datatable(frame: pd.DataFrame) -> str:
    return to_html_datatable(
        frame.rename(columns=lambda name: name.removeprefix("parameter ")), connected=False, showIndex=False,
        column_filters="header", maxBytes=0, display_logo_when_loading=False, lengthMenu=[25, 100, 1000],
        classes="display compact",
    )  # fmt: skip


def picture(figure: Figure, alt: str) -> str:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return (
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}">'
    )


def verdict_grid(found: pd.DataFrame) -> Figure:
    """A row a module, a column a combination of what varies: passed, failed, or there was no verdict."""
    named = found.dropna(subset=["verdict"])
    across = varying(found)
    column = [label(values) for values in named[across].astype(object).to_numpy()]
    codes = named.assign(column=column, code=named["status"].map({"pass": 2, "fail": 1}))
    codes = codes.pivot_table(
        index=["notebook", "verdict"], columns="column", values="code", aggfunc="min", sort=False
    )
    height, width = max(2.0, 0.22 * len(codes) + 1.8), max(6.0, 0.3 * codes.shape[1] + 4)
    figure, axes = plt.subplots(figsize=(min(width, 24), min(height, 60)), layout="constrained")
    colours = ListedColormap(["#eaeef2", LOOK["fail"][1], LOOK["pass"][1]])
    axes.imshow(codes.fillna(0).to_numpy(), cmap=colours, vmin=0, vmax=2, aspect="auto")
    axes.set_xticks(range(codes.shape[1]), codes.columns, rotation=90, fontsize=7)
    axes.set_yticks(
        range(len(codes)), [f"{notebook[:2]} {name}" for notebook, name in codes.index], fontsize=7
    )
    axes.set_xticks([x - 0.5 for x in range(1, codes.shape[1])], minor=True)
    axes.set_yticks([y - 0.5 for y in range(1, len(codes))], minor=True)
    axes.grid(which="minor", color="white")
    axes.tick_params(which="both", length=0)
    axes.set_title(
        "green: pass, red: fail, grey: no such verdict "
        f"({', '.join(n.removeprefix('parameter ') for n in across)})"
    )
    plt.close(figure)
    return figure


def costs_over_axes(found: pd.DataFrame):
    """For each axis that the sweep has (frames, pixels): peak and traffic of a run's largest program, with
    the boards' DRAM."""
    if "peak_dram_bytes" not in found:
        return
    found = found.assign(
        **{"latent pixels": found["parameter latent_height"] * found["parameter latent_width"]}
    )
    found["latent frames"] = found["parameter latent_frames"]
    shapes = ("parameter latent_frames", "parameter latent_height", "parameter latent_width")
    others = ["notebook", *(name for name in varying(found) if name not in shapes)]
    for axis, other in (("latent frames", "latent pixels"), ("latent pixels", "latent frames")):
        if found[axis].nunique() < 2:
            continue
        yield (
            axis,
            cost_over(found.dropna(subset=["peak_dram_bytes"]), axis, list(dict.fromkeys([*others, other]))),
        )


def cost_over(found: pd.DataFrame, axis: str, lines: list[str]) -> Figure:
    figure, panels = plt.subplots(1, 2, figsize=(13, 4.6), layout="constrained")
    shown = [name for name in lines if found[name].map(repr).nunique() > 1]
    for axes, value, title in zip(
        panels, ("peak_dram_bytes", "dram_bytes_moved"), ("peak DRAM, GB", "DRAM traffic, GB")
    ):
        largest = found.groupby([*lines, axis], as_index=False, dropna=False)[value].max()
        for key, line in largest.groupby(shown, dropna=False) if shown else [((), largest)]:
            line = line.sort_values(axis)
            axes.plot(line[axis], line[value] / 1e9, marker="o", label=label(key))
        axes.set(xlabel=axis, ylabel=f"{title} (computed)", yscale="log")
        axes.spines[["top", "right"]].set_visible(False)
    names = {name.partition("@")[0] for name in found["verdict target"]}
    boards = {TARGETS[name].board for name in names if name in TARGETS and TARGETS[name].board}
    for board in sorted(boards, key=lambda board: board.name):
        panels[0].axhline(
            board.chip.dram_bytes / 1e9,
            color="#cf222e",
            linestyle="--",
            label=f"DRAM of a chip of the {board.name}",
        )
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=7, loc="outside right upper"
    )
    plt.close(figure)
    return figure
