"""Take every Conv3d out of a model: a new model that computes the same without one, and a report."""

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d
from torch import nn
from torch.nn.utils import parametrize

from ttvideo.basics.errors import Refused
from ttvideo.decompositions import DECOMPOSITIONS, Form
from ttvideo.decompositions.by_hand import calls_conv3d
from ttvideo.decompositions.carried import ConvCache
from ttvideo.decompositions.haar import without_conv3d
from ttvideo.decompositions.instance import copied, own_behaviour, replaced_methods
from ttvideo.decompositions.known import convolution, form_of, is_known, kind_of
from ttvideo.decompositions.lookup import look_no_more
from ttvideo.decompositions.separable import Separable, exact_rank
from ttvideo.decompositions.transposed import Transposed

STRATEGIES = ("auto", *DECOMPOSITIONS)


@dataclass(frozen=True)
class Row:
    """One Conv3d: its decomposition, or why it was left (that is then None)."""

    name: str
    kind: str
    form: str
    decomposition: str | None
    why: str


@dataclass(repr=False)
class Report:
    """What was done, in the model's order. `n` counts the replaced, `left` lists the rest."""

    rows: list[Row] = field(default_factory=list)

    @property
    def n(self) -> int:
        return sum(row.decomposition is not None for row in self.rows)

    @property
    def left(self) -> list[Row]:
        return [row for row in self.rows if row.decomposition is None]

    def __str__(self) -> str:
        lines = [f"{self.n} of {len(self.rows)} Conv3d replaced"]
        return "\n".join(
            lines
            + [f"{r.name}: {r.kind} {r.form} -> {r.decomposition or 'left'} ({r.why})" for r in self.rows]
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = ("name", "kind", "form", "decomposition", "why")
        head = "".join(f"<th>{c}</th>" for c in columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(str(getattr(r, c) or '–'))}</td>" for c in columns) + "</tr>"
            for r in self.rows
        )
        caption = f"{self.n} of {len(self.rows)} Conv3d replaced"
        return (
            f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )


def choose(form: Form) -> str:
    """The rule of `strategy="auto"`: exactness first, then the cost of the compiled program.

    All ways are exact, so cost decides, and the first that applies is taken:
    1. linear: a pointwise kernel is one matrix multiplication;
    2. sum: a kernel flat in time is one Conv2d, with nothing to add;
    3. unrolled: stride equal to kernel in time, so each frame is read once;
    4. sum: padding that repeats frames, so that each is met once and its result repeated;
    5. stacked: all else, as one Conv2d, rounded once.

    Read off p150 programs in bf16, DRAM moved and its peak (estimates; `python -m findings decompositions`):
    of Mochi's causal 3×3×3 the sum moves about what stacked does, at a lower peak; of the encoder's
    (2,2,2)/(2,2,2) unrolled moves less than both. `ttvideo.decompositions.measure` measures any.
    """
    if DECOMPOSITIONS["linear"].why_not(form) is None:
        return "linear"
    if form.kernel[0] == 1:
        return "sum"
    if DECOMPOSITIONS["unrolled"].why_not(form) is None:
        return "unrolled"
    return "sum" if form.repeats_frames else "stacked"


def decompose(
    model: nn.Module, strategy: str = "auto", only: str | Callable[[str, nn.Module], bool] | None = None
) -> tuple[nn.Module, Report]:
    """A copy of `model` with its Conv3d replaced by exact equals, and the report; `model` is unchanged.

    Handles `nn.Conv3d`, `nn.ConvTranspose3d`, and diffusers' own convolutions with their paddings and their
    caches (see `ttvideo.decompositions.known`), each replaced by a module with its attributes; weights that
    are cast at each call stand in the copy as they are computed with. Left and reported are an unknown
    subclass with a forward of its own; a convolution that is parametrized, hooked, or has another forward
    than its class; all under a module whose forward was replaced; and a module that calls `F.conv3d` itself.
    `strategy` is "auto" (see `choose`) or the name of one decomposition, which then goes wherever the form
    allows. `only` limits it to a name, with everything under it ("up_blocks.0"), or to where `only(name,
    module)` is true. Dtype, device, training mode and `requires_grad` stay.

    Raises `Refused` for an unknown strategy, and where nothing at all was replaced.
    """
    if strategy not in STRATEGIES:
        raise Refused("strategy", repr(strategy), f"one of {', '.join(STRATEGIES)}")
    wanted = (
        only
        if callable(only)
        else lambda name, _: only is None or name == only or name.startswith(f"{only}.")
    )
    report = Report()

    def replace(module: nn.Module, name: str, obstacle: str | None) -> nn.Module:
        if not wanted(name, module):
            return module
        if obstacle:
            new, row = module, Row(name, type(module).__name__, "", None, obstacle)
        else:
            new, row = _replace(module, name, strategy)
        report.rows.append(row)
        return new

    model = _with_replaced(model, replace)
    if report.n == 0:
        reasons = "; ".join(sorted({row.why for row in report.left})) or "no Conv3d matched"
        raise Refused("decompose", f"nothing to replace ({reasons})", f"a Conv3d that '{strategy}' can take")
    look_no_more(model)
    return model, report


def separate(model: nn.Module, rank: int | float) -> tuple[nn.Module, int]:
    """Not exact: a copy of `model` with every causal Conv3d made separable (see
    `ttvideo.decompositions.separable`).

    `rank` is the number of channels between the two, limited to what is exact; a float is a share of that
    (1.0 is exact). Returns the copy and how many it replaced: those with extent in time and in space.
    Raises `Refused` if there are none.
    """
    replaced = []

    def replace(module: nn.Module, name: str, obstacle: str | None) -> nn.Module:
        if obstacle or not isinstance(module, CogVideoXCausalConv3d):
            return module
        form, weight, bias = form_of(module), module.conv.weight, module.conv.bias
        if form.kernel[0] == 1 or form.kernel[1:] == (1, 1):
            return module
        most = exact_rank(weight.shape)
        channels = max(1, round(rank * most)) if isinstance(rank, float) else rank
        replaced.append(name)
        return ConvCache(Separable(weight, bias, form, min(channels, most)), module).train(module.training)

    model = _with_replaced(model, replace)
    if not replaced:
        raise Refused(
            "separate", "no causal Conv3d with extent in time and space", "a Mochi or CogVideoX model"
        )
    return model, len(replaced)


def _with_replaced(model: nn.Module, replace: Callable[[nn.Module, str, str | None], nn.Module]) -> nn.Module:
    """A copy of `model` with what convolves in 3D given to `replace(module, name, obstacle)`, once, in order.

    The obstacle is why it must be left where it stands, None where only itself can tell.
    """
    done: dict[int, nn.Module] = {}

    def visit(module: nn.Module, name: str, obstacle: str | None) -> nn.Module:
        if id(module) in done:  # one module under two names stays one
            return done[id(module)]
        new = module
        if is_known(module) or isinstance(module, nn.ConvTranspose3d) or without_conv3d(module):
            new = replace(module, name, obstacle)
        else:
            if by_hand := calls_conv3d(module):
                replace(module, name, f"{by_hand} calls conv3d itself")
            if "forward" in replaced_methods(module):
                obstacle = f"the forward of {name or type(module).__name__}, which holds it, was replaced"
            for child_name, child in list(module._modules.items()):  # named_children() hides a second name
                if child is not None:
                    full_name = f"{name}.{child_name}" if name else child_name
                    module._modules[child_name] = visit(child, full_name, obstacle)
        done[id(module)] = new
        return new

    return visit(copied(model), "", None)


def _replace(module: nn.Module, name: str, strategy: str) -> tuple[nn.Module, Row]:
    kind = type(module).__name__
    if obstacle := _obstacle(module):
        return module, Row(name, kind, "", None, obstacle)
    if isinstance(module, nn.ConvTranspose3d):
        return _replace_transposed(module, name, strategy)
    if wavelets := without_conv3d(module):
        return wavelets.train(module.training), Row(
            name, kind, "2×2×2 wavelets", "haar", "there is no other way"
        )
    conv, form = convolution(module), form_of(module)
    decomposition = choose(form) if strategy == "auto" else strategy
    reason = DECOMPOSITIONS[decomposition].why_not(form)
    if reason:
        return module, Row(name, kind, str(form), None, f"'{decomposition}' needs {reason}")
    new = DECOMPOSITIONS[decomposition](conv.weight, conv.bias, form)
    _keep_flags(new, conv)
    _keep_attributes(new, conv)
    if carries := kind_of(module).carries:
        new = carries(new, module)
    _keep_attributes(new, module)
    return new.train(module.training), Row(
        name, kind, str(form), decomposition, "chosen" if strategy == "auto" else "asked for"
    )


def _replace_transposed(conv: nn.ConvTranspose3d, name: str, strategy: str) -> tuple[nn.Module, Row]:
    new, kind = Transposed.of(conv), type(conv).__name__
    if strategy != "auto":
        return conv, Row(
            name, kind, str(new.form), None, f"'{strategy}' is no way for a transposed convolution"
        )
    _keep_flags(new, conv)
    _keep_attributes(new, conv)
    return new.train(conv.training), Row(name, kind, str(new.form), new.name, "chosen")


def _keep_flags(new: nn.Module, conv: nn.Module) -> None:
    for name, parameter in new.named_parameters():
        parameter.requires_grad_((conv.bias if name.endswith("bias") else conv.weight).requires_grad)


def _keep_attributes(new: nn.Module, stock: nn.Module) -> None:
    """Sizes and settings, for those who read them where the convolution stood."""
    for name, value in vars(stock).items():
        if (
            isinstance(value, (int, float, str, tuple))
            and not name.startswith("_")
            and not hasattr(new, name)
        ):
            setattr(new, name, value)


def _obstacle(module: nn.Module) -> str | None:
    """Why this module may not be taken for what its class is known to compute, else None."""
    kind = type(module)
    transposed = kind.forward is nn.ConvTranspose3d.forward
    if not (transposed or without_conv3d(module) or kind_of(module)):
        return f"{kind.__name__} has a forward of its own"
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
        return "its weight is not initialised"
    for part in module.modules():
        if parametrize.is_parametrized(part):
            return "its weight is parametrized"
        if reason := own_behaviour(part):
            return reason
    return None
