"""A notebook's parameters, checked before anything long starts."""

import os
import types
from dataclasses import dataclass
from pathlib import Path

import torch

from lib.project import PROJECT
from ttvideo.basics.errors import Refused
from ttvideo.decompositions.decompose import STRATEGIES as DECOMPOSITIONS
from ttvideo.media.latents import DTYPES, HOST_DTYPES
from ttvideo.media.parameters import AUTO, PARAMETERS, STRATEGIES, flag, not_negative, number, one_of, text
from ttvideo.targets.target import Target, resolve

LATENT_CHANNELS = 12


def those(*names: str) -> dict:
    return {name: PARAMETERS[name].check for name in names}


def or_not_told(name: str):
    return lambda called, value: value == -1 or PARAMETERS[name].check(called, value)


SIZES = {**those("latent_frames", "latent_height", "latent_width"), "output_dir": text}
COMMON = {**those("target", "dtype", "seed"), **SIZES}
VIDEO = those("model", "variant", "latents", "latents_are", "keep", "fps")
NOTEBOOKS = {
    "01_repro": COMMON,
    "02_decompose": {**COMMON, "strategy": one_of(*DECOMPOSITIONS)},
    "03_full_decoder": {
        **COMMON,
        **VIDEO,
        **those("frames_per_step", "host", "host_dtype", "host_frames", "evaluated_frames"),
        "strategy": one_of(*STRATEGIES, *(name for name in DECOMPOSITIONS if name != AUTO)),
        "streaming": flag,
        "full_size": flag,
    },
    "04_video_vaes": {
        **COMMON,
        **VIDEO,
        **those("strategy"),
        "timestep": number,
        "dropped_latents": or_not_told("dropped_latents"),
        "evaluated_steps": not_negative,
    },
    "05_encoder_transformer": COMMON,
    "06_cost": SIZES,
    "08_fidelity": {**those("seed"), **SIZES},
    "07_native": {**those("target"), **SIZES},  # the shortest: what runs last runs alone
}
COMPILED = "p150-compile"  # for notebooks without a target, which compile for boards by their names
# What IPython itself puts into a notebook's namespace.
INTERACTIVE = {"In", "Out", "exit", "quit", "open"}


@dataclass(frozen=True)
class Parameters:
    notebook: str
    values: dict[str, object]

    def __getattr__(self, name: str):
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def torch_dtype(self) -> torch.dtype:
        return DTYPES[self.dtype]

    @property
    def torch_host_dtype(self) -> torch.dtype | None:
        """None for 'auto'."""
        return HOST_DTYPES.get(self.host_dtype)

    @property
    def keep_folder(self) -> Path | None:
        return PROJECT / self.keep if self.keep else None

    @property
    def lane(self) -> Target:
        return lane_of(self.values)

    @property
    def latent_shape(self) -> tuple[int, int, int, int, int]:
        """[B=1, C=12, T, H, W]"""
        return (1, LATENT_CHANNELS, self.latent_frames, self.latent_height, self.latent_width)

    @property
    def folder(self) -> Path:
        """`output_dir`; a relative one lies in the project, wherever the notebook is run from."""
        return PROJECT / self.output_dir

    def as_dict(self) -> dict:
        return dict(self.values)


def check_parameters(notebook: str, namespace: dict) -> Parameters:
    """The parameters that stand in a notebook's namespace, right after its parameters cell.

    papermill only warns of a name it doesn't know, and injects it all the same; here it is refused.
    Raises `Refused` for an unknown or missing name, an impossible value, a target that isn't there,
    an output_dir that can't be written.
    """
    given = {name: value for name, value in namespace.items() if is_parameter(name, value)}
    check_values(notebook, given)
    parameters = Parameters(notebook, given)
    parameters.lane.plugin()
    resolve(given.get("host", "cpu")).plugin()
    check_folder(parameters)
    return parameters


def check_values(notebook: str, given: dict[str, object]) -> None:
    """Raises `Refused` for an unknown or missing name, an impossible value, values that contradict each
    other."""
    checks = NOTEBOOKS[notebook]
    if unknown := sorted(set(given) - set(checks)):
        raise Refused("parameter", ", ".join(unknown), f"one of {', '.join(checks)}")
    if missing := sorted(set(checks) - set(given)):
        raise Refused("parameter", f"no {', '.join(missing)}", "all of the parameters cell")
    for name, check in checks.items():
        check(name, given[name])
    if given.get("streaming") and given["strategy"] not in STRATEGIES:
        need = f"strategy {', '.join(STRATEGIES)}, or streaming=False"
        raise Refused("streaming", f"strategy {given['strategy']!r}", need)


def lane_of(values: dict[str, object]) -> Target:
    """What a notebook with these values runs on."""
    return resolve(values.get("target", COMPILED))


def is_parameter(name: str, value) -> bool:
    code = isinstance(value, (types.ModuleType, type)) or callable(value)
    return not (name.startswith("_") or name in INTERACTIVE or code)


def check_folder(parameters: Parameters) -> None:
    try:
        parameters.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        got = f"{parameters.output_dir}: {error.strerror}"
        raise Refused("output_dir", got, "a folder that can be made") from error
    if not os.access(parameters.folder, os.W_OK):
        raise Refused("output_dir", f"{parameters.output_dir}: not writable", "a folder that can be written")
