"""A target is a name: where a module is to be compiled and, if it can be, run."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import CACHE
from ttvideo.targets.boards import BOARDS, FIDELITIES, WORMHOLE, Board
from ttvideo.targets.descriptors import cluster_descriptor, system_descriptor
from ttvideo.targets.plugins import Plugin, find_plugin

TRACE, STABLEHLO, TTIR, TTNN, KERNELS, RUN = STAGES = ("trace", "StableHLO", "TTIR", "TTNN", "kernels", "run")
CARDS = Path("/dev/tenstorrent")
PCI_DEVICES = Path("/sys/bus/pci/drivers/tenstorrent")  # the driver's; a folder for each card
PCI_BOARDS = {"0x401e": "n150", "0xb140": "p150"}  # github tenstorrent/tt-kmd, enumerate.h
WORMHOLE_FIDELITY = "hifi3"  # TT-NN's default since tt-metal PR #40089
ROOT = Path(__file__).resolve().parents[2]  # from which `import ttvideo` works
KERNEL_CACHE = CACHE / "tt-metal"
RUNTIME_FILES = CACHE / "runtime"

HOST, XLA, COMPILE, MOCK, CARD = "host", "xla", "compile only", "mocked chip", "card"
TTSIM, TTNN_MOCK, TTNN_CARD = ON_TTNN = ("simulated chip", "TT-NN, mocked board", "TT-NN, card")
LANE_STAGES = {
    HOST: (RUN,),
    XLA: (TRACE, STABLEHLO, RUN),
    COMPILE: (TRACE, STABLEHLO, TTIR, TTNN),
    MOCK: STAGES,
    CARD: STAGES,
    TTSIM: STAGES,
    TTNN_MOCK: STAGES,
    TTNN_CARD: STAGES,
}
LANE_NOTES = {
    HOST: "eager PyTorch on the host, or on its GPU",
    XLA: "torch_xla on the host's CPU",
    COMPILE: "Tenstorrent's compiler; nothing runs",
    MOCK: "Tenstorrent's compiler, runtime, allocators and kernel builds; the chip is mocked, kernels do "
    "not run",
    CARD: "everything is real",
    TTSIM: "Tenstorrent's compiler; TT-NN and its kernels op by op, on Tenstorrent's simulator of the chip",
    TTNN_MOCK: "Tenstorrent's compiler; TT-NN op by op, its allocators and kernel builds; kernels do not run",
    TTNN_CARD: "Tenstorrent's compiler; TT-NN and its kernels op by op, on a card",
}


@dataclass(frozen=True)
class Target:
    """`fidelity` is the matrix unit's that programs run in, None as they ask for; `name` then ends in it."""

    name: str
    lane: str
    board: Board | None = None
    fidelity: str | None = None

    @property
    def stages(self) -> tuple[str, ...]:
        return LANE_STAGES[self.lane]

    @property
    def outputs_are_real(self) -> bool:
        """False where nothing runs or kernels are mocked: what such a lane returns is not a result."""
        return self.lane in (HOST, XLA, CARD, TTSIM, TTNN_CARD)

    @property
    def simulated(self) -> bool:
        """Real results, slowly: minutes for what a card does in a moment."""
        return self.lane == TTSIM

    @property
    def needs_plugin(self) -> bool:
        return self.lane in (COMPILE, MOCK, CARD, *ON_TTNN)

    @property
    def on_ttnn(self) -> bool:
        """Whether the compiled program is executed by TT-NN, op by op, rather than by the plugin."""
        return self.lane in ON_TTNN

    @property
    def is_card(self) -> bool:
        return self.lane in (CARD, TTNN_CARD)

    @property
    def compiler(self) -> "Target":
        """The compile-only target for this target's board: where TT-NN's programs come from."""
        return Target(f"{self.board.name}-compile", COMPILE, self.board)

    def plugin(self) -> Plugin | None:
        """The plugin that serves this target. Raises `Refused` with what is missing and how to get it."""
        if self.is_card and not card_present():
            raise Refused(
                f"target {self.name!r}",
                f"no card under {CARDS}",
                "a Tenstorrent card with its driver (tt-kmd), or the target 'p150-mock', which needs none",
            )
        if self.name == "cuda" and not torch.cuda.is_available():
            got = f"PyTorch {torch.__version__} without a CUDA device"
            raise Refused("target 'cuda'", got, "an NVIDIA GPU and its driver, or the target 'cpu'")
        return find_plugin(card=self.lane == CARD) if self.needs_plugin else None

    def environment(self, folder: Path) -> dict[str, str]:
        """The environment of a worker process, with its descriptor written into `folder`."""
        if not self.needs_plugin:
            return {"PJRT_DEVICE": "CPU"} if self.lane == XLA else {}
        variables = {
            "XLA_STABLEHLO_COMPILE": "1",  # the plugin takes StableHLO, not HLO
            "XLA_HLO_DEBUG": "1",  # keeps the names that ttvideo.probing.trace gives to ops
            "TTXLA_LOGGER_LEVEL": "DEBUG",  # prints the module of every stage
            "TT_METAL_CACHE": str(KERNEL_CACHE),
            "PJRT_DEVICE": "TT",
        }
        if self.lane == COMPILE:
            path = folder / f"{self.board.name}.ttsys"
            path.write_bytes(system_descriptor(self.board, self.plugin().schema_hash))
            variables["TT_COMPILE_ONLY_SYSTEM_DESC"] = str(path)
        if self.lane == MOCK:
            path = folder / f"{self.board.name}.yaml"
            path.write_text(cluster_descriptor(self.board))
            variables["TT_METAL_MOCK_CLUSTER_DESC_PATH"] = str(path)
        return variables

    def __str__(self) -> str:
        served = f", served by {self.plugin()}" if self.needs_plugin else ""
        return f"{self.name}: {LANE_NOTES[self.lane]}{served}"


TARGETS = {
    target.name: target
    for target in (
        Target("cpu", HOST),
        Target("cuda", HOST),
        Target("xla-cpu", XLA),
        Target("n150-compile", COMPILE, BOARDS["n150"]),
        Target("n300-compile", COMPILE, BOARDS["n300"]),
        Target("p150-compile", COMPILE, BOARDS["p150"]),
        Target("p150-mock", MOCK, BOARDS["p150"]),
        Target("tt", CARD),
        Target("n150-ttsim", TTSIM, BOARDS["n150"]),
        Target("p150-ttsim", TTSIM, BOARDS["p150"]),
        Target("n150-ttnn", TTNN_MOCK, BOARDS["n150"]),
        Target("n300-ttnn", TTNN_MOCK, BOARDS["n300"]),
        Target("p150-ttnn", TTNN_MOCK, BOARDS["p150"]),
        Target("ttnn", TTNN_CARD),
    )
}
TARGET_NAMES = (*TARGETS, "auto")


def card_present() -> bool:
    return CARDS.is_dir() and any(CARDS.iterdir())


def resolve(name: str) -> Target:
    """The target called `name`; `auto` is a card if there is one, else the mocked p150.

    Where TT-NN executes programs, "n150-ttsim@hifi3" has them run in that fidelity of the matrix unit,
    whatever they ask for. On a Wormhole card it is HiFi3 unless another is named, as TT-NN itself has it:
    what the compiler asks for is wrong there (`ttvideo.programs.hazards`). Raises `Refused` for an unknown
    name or fidelity, and for one elsewhere.
    """
    name, at, fidelity = name.partition("@")
    if name == "auto":
        name = "tt" if card_present() else "p150-mock"
    if name not in TARGETS:
        raise Refused("target", repr(name), f"one of {', '.join(TARGET_NAMES)}")
    target = TARGETS[name]
    if target.lane == TTNN_CARD and card_present():
        target = replace(target, board=board_of_card())
        fidelity = fidelity or (WORMHOLE_FIDELITY if target.board.chip is WORMHOLE else "")
    if at and (fidelity not in FIDELITIES or not target.on_ttnn):
        where = ", ".join(name for name, known in TARGETS.items() if known.on_ttnn)
        raise Refused(
            "target", repr(f"{name}@{fidelity}"), f"one of {', '.join(FIDELITIES)} after one of {where}"
        )
    return replace(target, name=f"{name}@{fidelity}", fidelity=fidelity) if fidelity else target


def board_of_card() -> Board:
    """The board whose chip is the first card's, told by its PCI device id. Raises `Refused` for a chip
    without one.

    An n300 counts as an n150: a program that was compiled for one chip runs on one of its two.
    """
    ids = [path.read_text().strip() for path in sorted(PCI_DEVICES.glob("*/device"))]
    known = [BOARDS[PCI_BOARDS[id]] for id in ids if id in PCI_BOARDS]
    if not known:
        raise Refused("target 'ttnn'", f"PCI devices {ids or 'of no card'}", "a Wormhole or Blackhole card")
    return known[0]
