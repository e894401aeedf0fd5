"""Writes Mochi's decoder op after op into a TT-NN program: convolution, norm with SiLU, sum, pixel shuffle, as TT-NN has them.

A clip is [1, T, H, W, C], row-major. A convolution's weights are laid out in blocks of input channels, chosen for the board.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ttvideo.basics.errors import Refused
from ttvideo.decoders.mochi_layout import Resnet, Shuffle
from ttvideo.decoders.pixel_shuffle import rows_in_order
from ttvideo.programs.conv3d_blocks import Size
from ttvideo.programs.program import TILE, Argument, Op, Value
from ttvideo.programs.seconds.blocks import choose
from ttvideo.targets.boards import BOARDS, FIDELITIES
from ttvideo.ttnn.handmade import tensor

PAST = 2  # frames that a convolution keeps
CHUNK = 1024  # elements that the project's own kernels take at a time
PARTS = 16  # of a frame, for as many cores: with six frames, a step's at the last two sizes, 96
NO_ACTIVATIONS = {f"{which}activations": [] for which in ("input_tensor_a_", "input_tensor_b_")}


@dataclass(frozen=True)
class Arithmetic:
    """Of the convolutions and the project's own kernels: `fidelity` as `ttvideo.programs.fidelity` has it.

    HiFi3 is as close to float64 as HiFi4, in three passes of the multiplier for four, and a Wormhole's multiplier is wrong
    in HiFi4 (`ttvideo.programs.hazards`); what HiFi2 costs, 07 shows. Block floats are no switch: `ttnn.conv3d` takes weights in bf16 or float32, and rows, which bfloat8_b can't lie in.
    """

    fidelity: str = "hifi3"

    def __post_init__(self):
        if self.fidelity not in FIDELITIES:
            raise Refused("fidelity", repr(self.fidelity), f"one of {', '.join(FIDELITIES)}")

    def config(self) -> dict:
        return {
            "compute_config": {
                "math_fidelity": self.fidelity,
                "fp32_dest_acc_en": True,
                "packer_l1_acc": True,
            }
        }


def whole_channels(channels: int, least: int = 1) -> int:
    """As many or more, in whole tiles, at least so many."""
    return TILE * max(least, -(-channels // TILE))


def filled(rows: Tensor) -> Tensor:
    """Channels, the last dimension, that aren't a multiple of 32 filled up to one with zeros, at least 64: two blocks."""
    channels = rows.shape[-1]
    return nn.functional.pad(rows, (0, whole_channels(channels, 1 + (channels < TILE)) - channels))


def past(name: str, size: tuple[int, int]) -> str:
    """A convolution's entry in the state, of frames of this size."""
    return f"{name}.{size[0]}x{size[1]}.past"


class Writer:
    """Writes a program for one board, op after op, for a step of some latent frames.

    In what order a frame's numbers are added up doesn't depend on their count, so that steps give what one call gives.
    """

    def __init__(self, board: str, arithmetic: Arithmetic, latents: int = 1):
        if board not in BOARDS:
            raise Refused("board", board, f"one of {', '.join(BOARDS)}")
        self.board, self.chip, self.arithmetic, self.latents = board, BOARDS[board].chip, arithmetic, latents
        self.arguments: list[Argument] = []
        self.weights: dict[str, Tensor] = {}
        self.ops: list[Op] = []
        self.place = ""  # in the model, for what follows
        # By their names in the state: the frames before the step's, none where a clip begins, and those for the next.
        self.pasts: dict[str, Value] = {}
        self.kept: dict[str, Value] = {}

    def argument(self, name: str, shape: tuple[int, ...]) -> Value:
        return self.given(tensor(name, shape, layout="row_major"), name, "input")

    def weight(self, name: str, value: Tensor, layout: str = "tile") -> Value:
        self.weights[name] = value
        return self.given(tensor(name, tuple(value.shape), layout=layout), name, "parameter")

    def given(self, value: Value, name: str, kind: str) -> Value:
        self.arguments.append(Argument(value, name, kind))
        return value

    def op(self, name: str, operands: list[Value], *results: tuple, **attributes) -> list[Value]:
        """`results` are (shape, dtype) each, row-major."""
        made = [
            tensor(f"%{len(self.ops)}.{i}", *result, layout="row_major") for i, result in enumerate(results)
        ]
        self.ops.append(Op(f"ttnn.{name}", tuple(operands), tuple(made), attributes, self.place))
        return made

    def conv(
        self, x: Value, weight: Tensor, bias: Tensor, padding: int = 0, c_in: int | None = None
    ) -> Value:
        """A convolution of stride 1, [O, C, kt, kh, kw], that pads space by repeating its edges.

        In blocks of `c_in` input channels, or of as many as are best.
        """
        _, t, h, w, c = x.type.shape
        out_channels, _, *kernel = weight.shape
        out = (t - kernel[0] + 1, h, w)
        size = Size(out, c, out_channels, tuple(kernel), (0, padding, padding))
        blocks = choose(
            replace(size, out=(out[0] // self.latents, *out[1:])), self.board, self.arithmetic.fidelity
        )
        blocks = replace(blocks, c_in=c_in or blocks.c_in)
        rows = weight.permute(2, 3, 4, 1, 0).unflatten(3, (-1, blocks.c_in)).movedim(3, 0).flatten(0, 4)
        w_2d = self.weight(f"{self.place}.weight in blocks of {blocks.c_in}", rows)
        bias = self.weight(f"{self.place}.bias", bias[None])
        attributes = size.attributes(blocks) | self.arithmetic.config()
        return self.op("conv3d", [x, w_2d, bias], ((1, *out, out_channels), "bf16"), **attributes)[0]

    def pointwise(self, x: Value, weight: Tensor, bias: Tensor) -> Value:
        """A linear layer, [O, C], its outputs filled up to whole tiles."""
        more = -weight.shape[0] % TILE, x.type.shape[-1] - weight.shape[1]
        weight = nn.functional.pad(weight, (0, more[1], 0, more[0]))
        return self.conv(x, weight[:, :, None, None, None], nn.functional.pad(bias, (0, more[0])))

    def norm_silu(self, x: Value, norm: nn.GroupNorm, past: Value | None) -> tuple[Value, Value]:
        """silu(norm(x)) frame by frame, behind its past, and the last frames of that."""
        _, t, h, w, c = x.type.shape
        if c % TILE or c > CHUNK:
            raise Refused(f"{self.place}", f"{c} channels", f"a multiple of {TILE}, at most {CHUNK}")
        parts, arithmetic = min(PARTS, -(-h * w // (CHUNK // c))), self.arithmetic.config()
        (sums,) = self.op(
            "generic_op.frame_moments", [x], ((t * parts * 2, CHUNK), "f32"), parts=parts, **arithmetic
        )
        affine = self.weight(f"{self.place}.norm", torch.stack([norm.weight, norm.bias]), "row_major")
        groups = norm.num_groups
        pieces = next(p for p in range(8, 0, -1) if groups % p == 0 and (p == 1 or c % (16 * p) == 0))
        (affine,) = self.op(
            "generic_op.group_affine", [sums, affine], ((2 * t, c), "bf16"),
            rows=h * w, groups=groups, parts=parts, pieces=pieces, epsilon=norm.eps,
        )  # fmt: skip
        clip, kept = self.op(
            "generic_op.norm_silu", [x, affine] + ([past] if past else []),
            ((1, PAST + t, h, w, c), "bf16"), ((1, PAST, h, w, c), "bf16"), parts=parts, **arithmetic,
        )  # fmt: skip
        return clip, kept

    def parts(self, layout: list[Resnet | Shuffle], x: Value, ends: bool = False) -> Value:
        """One after the other; SiLU at the end of the last, a residual block, where the decoder `ends`."""
        for part in layout:
            last = ends and part is layout[-1]
            x = self.resnet(part, x, last) if isinstance(part, Resnet) else self.shuffle(part, x)
        return x

    def resnet(self, resnet: Resnet, x: Value, ends: bool = False) -> Value:
        """Two convolutions of normed clips, and x; SiLU of it where the decoder `ends`."""
        shortcut = x
        for name, norm, conv in resnet.halves:
            self.place, key = name, past(name, x.type.shape[2:4])
            clip, self.kept[key] = self.norm_silu(x, norm, self.pasts.get(key))
            x = self.conv(clip, conv.weight, conv.bias, padding=1)
        return self.add(x, shortcut, ("silu",) if ends else ())

    def shuffle(self, shuffle: Shuffle, x: Value) -> Value:
        """A projection and depth to space."""
        self.place = f"{shuffle.name}.proj"
        weight, bias = (
            rows_in_order(p, shuffle.times, shuffle.by) for p in (shuffle.proj.weight, shuffle.proj.bias)
        )
        return self.depth_to_space(self.pointwise(x, weight, bias), (shuffle.times, shuffle.by, shuffle.by))

    def add(self, a: Value, b: Value, activations: tuple[str, ...]) -> Value:
        fused = [{"op_type": name} for name in activations]
        return self.op("add", [a, b], (a.type.shape, "bf16"), activations=fused, **NO_ACTIVATIONS)[0]

    def depth_to_space(self, x: Value, expansion: tuple[int, int, int]) -> Value:
        _, *sizes, c = x.type.shape
        out = (1, *(size * by for size, by in zip(sizes, expansion, strict=True)), c // math.prod(expansion))
        return self.op("generic_op.depth_to_space", [x], (out, "bf16"), expansion=list(expansion))[0]
