"""Take every Conv3d out of a model: a new model that computes the same without one, and a report."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from html import escape

import torch
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXSafeConv3d
from torch import nn
from torch.nn.utils import parametrize

from lib.basics.errors import Refused
from lib.ways import WAYS, Form
from lib.ways.separable import Separable, exact_rank
from lib.ways.transposed import Transposed

STRATEGIES = ("auto", *WAYS)

# Known to compute what nn.Conv3d computes. SafeConv3d only splits large clips along time.
PLAIN = (nn.Conv3d, CogVideoXSafeConv3d, nn.ConvTranspose3d, CogVideoXCausalConv3d)


@dataclass(frozen=True)
class Row:
    """One Conv3d: the way it went, or why it was left (`way` is then None)."""

    name: str
    kind: str
    form: str
    way: str | None
    why: str


@dataclass(repr=False)
class Report:
    """What was done, in the model's order. `n` counts the replaced, `left` lists the rest."""

    rows: list[Row] = field(default_factory=list)

    @property
    def n(self) -> int:
        return sum(row.way is not None for row in self.rows)

    @property
    def left(self) -> list[Row]:
        return [row for row in self.rows if row.way is None]

    def __str__(self) -> str:
        lines = [f"{self.n} of {len(self.rows)} Conv3d replaced"]
        return "\n".join(lines + [f"{r.name}: {r.kind} {r.form} -> {r.way or 'left'} ({r.why})" for r in self.rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ("name", "kind", "form", "way", "why")
        head = "".join(f"<th>{c}</th>" for c in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(str(getattr(r, c) or '–'))}</td>" for c in columns) + "</tr>"
            for r in self.rows
        )
        caption = f"{self.n} of {len(self.rows)} Conv3d replaced"
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class CausalConv(nn.Module):
    """Stands where diffusers' `CogVideoXCausalConv3d` stood: (x, conv_cache) -> (y, new cache).

    The cache is the stock one's, to the frame: with "replicate" there is none, whatever is passed;
    with "constant" it takes the place of the repeated first frame, and the padded input's last kt - 1
    frames come back (for kt = 1 all of them: `[-0:]`, as diffusers 0.42.1 has it).
    """

    def __init__(self, way: nn.Module, pad_mode: str):
        super().__init__()
        self.way = way
        self.replicate = pad_mode == "replicate"

    def forward(self, inputs: torch.Tensor, conv_cache: torch.Tensor | None = None):
        if self.replicate:
            return self.way(inputs), None
        kt = self.way.form.kernel[0]
        if kt > 1:
            past = [inputs[:, :, :1]] * (kt - 1) if conv_cache is None else [conv_cache]
            inputs = torch.cat([*past, inputs], dim=2)
        return self.way(inputs), inputs[:, :, -kt + 1 :].clone()


def choose(form: Form) -> str:
    """The rule of `strategy="auto"`: exactness first, then the cost of the compiled program.

    All ways are exact, so cost decides, and the first that applies is taken:
    1. linear: a pointwise kernel is one matrix multiplication;
    2. sum: a kernel flat in time is one Conv2d, with nothing to add;
    3. unrolled: stride equal to kernel in time, so each frame is read once;
    4. sum: padding that repeats frames, so that each is met once and its result repeated;
    5. stacked: all else, as one Conv2d, rounded once.

    Read off p150 programs in bf16, DRAM bytes moved (estimates): Mochi's 3×3×3 with 256 channels on
    [1, 256, 2, 240, 424]: sum 3.5 GB and a peak of 0.39 GB, stacked 5.1 and 0.78; the fewer frames, the more are
    repeated. On 12 frames of 60×106 the sum moves 14 % more than stacked, at 0.7 of its peak and 0.92 of its
    arithmetic. The encoder's (2,2,2)/(2,2,2) from 128 to 256 channels on [1, 128, 5, 60, 106]: unrolled 176 MB, sum
    189, stacked 192; but on 20×34 frames, mostly tile padding as planes, 34, 31 and 32, and on 6 frames, of which
    padding leaves one over, 209, 200 and 204. `lib/notebook/results/ways.json` has others; `lib.ways.measure` measures any.
    """
    if WAYS["linear"].why_not(form) is None:
        return "linear"
    if form.kernel[0] == 1:
        return "sum"
    if WAYS["unrolled"].why_not(form) is None:
        return "unrolled"
    return "sum" if form.repeats_frames else "stacked"


def causal_form(conv: CogVideoXCausalConv3d) -> Form:
    """The form of a `CogVideoXCausalConv3d`, without the past that `CausalConv` adds for "constant"."""
    form = Form.of(conv.conv)
    if conv.pad_mode != "replicate":
        return form
    w0, w1, h0, h1, t0, t1 = conv.time_causal_padding
    return Form(
        form.kernel, form.stride, ((t0, t1), (h0, h1), (w0, w1)), ("replicate",) * 3, form.dilation, form.groups
    )


def decompose(
    model: nn.Module, strategy: str = "auto", only: str | Callable[[str, nn.Module], bool] | None = None
) -> tuple[nn.Module, Report]:
    """A copy of `model` with its Conv3d replaced by exact equals, and the report; `model` is unchanged.

    Handles `nn.Conv3d`, `nn.ConvTranspose3d`, and diffusers' `CogVideoXCausalConv3d` with its padding and its
    `conv_cache`; a subclass with a forward of its own, or a parametrized or hooked one, is left and reported.
    `strategy` is "auto" (see `choose`) or the name of one way, which then goes wherever the form allows.
    `only` limits it to a name, with everything under it ("up_blocks.0"), or to where
    `only(name, module)` is true. Dtype, device, training mode and `requires_grad` stay.

    Raises `Refused` for an unknown strategy, and where nothing at all was replaced.
    """
    if strategy not in STRATEGIES:
        raise Refused("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
    wanted = only if callable(only) else lambda name, _: only is None or name == only or name.startswith(f"{only}.")
    report = Report()

    def replace(module: nn.Module, name: str) -> nn.Module:
        if not wanted(name, module):
            return module
        new, row = _replace(module, name, strategy)
        report.rows.append(row)
        return new

    model = _with_replaced(model, replace)
    if report.n == 0:
        reasons = "; ".join(sorted({row.why for row in report.left})) or "no Conv3d matched"
        raise Refused("decompose", f"nothing to replace ({reasons})", f"a Conv3d that '{strategy}' can take")
    return model, report


def separate(model: nn.Module, rank: int | float) -> tuple[nn.Module, int]:
    """Not exact: a copy of `model` with every causal Conv3d made separable (see `lib.ways.separable`).

    `rank` is the number of channels between the two, limited to what is exact; a float is a share of that
    (1.0 is exact). Returns the copy and how many it replaced: those with extent in time and in space.
    Raises `Refused` if there are none.
    """
    replaced = []

    def replace(module: nn.Module, name: str) -> nn.Module:
        if not isinstance(module, CogVideoXCausalConv3d):
            return module
        form, weight, bias = causal_form(module), module.conv.weight, module.conv.bias
        if form.kernel[0] == 1 or form.kernel[1:] == (1, 1):
            return module
        most = exact_rank(weight.shape)
        channels = max(1, round(rank * most)) if isinstance(rank, float) else rank
        replaced.append(name)
        return CausalConv(Separable(weight, bias, form, min(channels, most)), module.pad_mode).train(module.training)

    model = _with_replaced(model, replace)
    if not replaced:
        raise Refused("separate", "no causal Conv3d with extent in time and space", "a Mochi or CogVideoX model")
    return model, len(replaced)


def _with_replaced(model: nn.Module, replace: Callable[[nn.Module, str], nn.Module]) -> nn.Module:
    """A copy of `model` with each 3D convolution handed to `replace(module, name)`, once, in order."""
    done: dict[int, nn.Module] = {}

    def visit(module: nn.Module, name: str) -> nn.Module:
        if id(module) in done:  # one module under two names stays one
            return done[id(module)]
        new = module
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d, CogVideoXCausalConv3d)):
            new = replace(module, name)
        else:
            for child_name, child in list(module._modules.items()):  # named_children() hides a second name
                if child is not None:
                    module._modules[child_name] = visit(child, f"{name}.{child_name}" if name else child_name)
        done[id(module)] = new
        return new

    return visit(deepcopy(model), "")


def _replace(module: nn.Module, name: str, strategy: str) -> tuple[nn.Module, Row]:
    causal = isinstance(module, CogVideoXCausalConv3d)
    conv = module.conv if causal else module
    kind = type(module).__name__
    obstacle = _obstacle(conv) or (_obstacle(module) if causal else None)
    if obstacle:
        return module, Row(name, kind, "", None, obstacle)
    if isinstance(conv, nn.ConvTranspose3d):
        return _replace_transposed(conv, name, strategy)
    form = causal_form(module) if causal else Form.of(conv)
    way = choose(form) if strategy == "auto" else strategy
    reason = WAYS[way].why_not(form)
    if reason:
        return module, Row(name, kind, str(form), None, f"'{way}' needs {reason}")
    new = WAYS[way](conv.weight, conv.bias, form)
    _keep_flags(new, conv)
    new = CausalConv(new, module.pad_mode) if causal else new
    return new.train(module.training), Row(name, kind, str(form), way, "chosen" if strategy == "auto" else "asked for")


def _replace_transposed(conv: nn.ConvTranspose3d, name: str, strategy: str) -> tuple[nn.Module, Row]:
    new, kind = Transposed.of(conv), type(conv).__name__
    if strategy != "auto":
        return conv, Row(name, kind, str(new.form), None, f"'{strategy}' is no way for a transposed convolution")
    _keep_flags(new, conv)
    return new.train(conv.training), Row(name, kind, str(new.form), new.name, "chosen")


def _keep_flags(new: nn.Module, conv: nn.Module) -> None:
    for name, parameter in new.named_parameters():
        parameter.requires_grad_((conv.bias if name.endswith("bias") else conv.weight).requires_grad)


def _obstacle(module: nn.Module) -> str | None:
    """Why this module may not be taken for a plain Conv3d, else None."""
    if parametrize.is_parametrized(module):
        return "its weight is parametrized"
    if type(module).forward not in [kind.forward for kind in PLAIN]:
        return f"{type(module).__name__} has a forward of its own"
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        return "its weight is not initialised"
    if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return "it carries hooks"
    return None
