"""Matrix products and convolutions, with the preparation of their weights."""

import torch
import torch.nn.functional as F

from ttvideo.basics.errors import Refused
from ttvideo.programs.evaluate.elementwise import activate
from ttvideo.programs.evaluate.table import FOLLOWED, op
from ttvideo.programs.evaluate.values import cut, products, wide

# What a convolution's config may say without changing what it computes.
CONV2D_PLACEMENT = {
    "weights_dtype", "deallocate_activation", "reallocate_halo_output", "act_block_h_override",
    "act_block_w_div", "reshard_if_not_optimal", "override_sharding_config", "shard_layout", "core_grid",
    "transpose_shards", "output_layout", "enable_act_double_buffer", "enable_weights_double_buffer",
    "enable_kernel_stride_folding", "config_tensors_in_dram",
}  # fmt: skip
CONV3D_PLACEMENT = {
    "weights_dtype", "t_out_block", "w_out_block", "h_out_block", "c_out_block", "c_in_block",
    "compute_with_storage_grid_size",
}  # fmt: skip
PADDING = {"zeros": "constant", "replicate": "replicate"}  # as TT-NN names it, and as torch does
UNIT = (
    "the matrix unit aligns eight products at a time with the largest, and keeps 12 bits of each, before "
    "it adds them"
)
PARTIAL = f"{UNIT}, and the partial sums between a convolution's blocks are stored in bf16"
SCORES = f"{UNIT}; and scores are rounded to bf16 before and after the exponential"
CONV = (
    "batch_size in_channels out_channels input_height input_width kernel_size stride padding dilation groups"
)


@op("matmul", "linear", heeds="transpose_a transpose_b activation", because=UNIT, fidelities=FOLLOWED)
def linear(op, a, b, *bias):
    x = op.attributes
    a, b = as_sources(a), as_sources(b)
    a = a.mT if x.get("transpose_a") else a
    b = b.mT if x.get("transpose_b") else b
    product = products(op, a, b, torch.matmul)
    if bias:
        product = product + wide(bias[0])
    return activate(product, {"op_type": x["activation"]}) if x.get("activation") else product


@op(
    "scaled_dot_product_attention", heeds="is_causal scale program_config", within=4, because=SCORES,
    fidelities=FOLLOWED,
)  # fmt: skip
def attention(op, q, k, v):
    """q, k, v [batch, heads, N, C] -> the same; each looks at all."""
    a = op.attributes
    if a["is_causal"] or set(a["program_config"]) != {"q_chunk_size", "k_chunk_size"}:
        raise Refused("evaluate", f"attention {a}", "one that isn't causal, with chunk sizes")
    scores = products(op, wide(q), wide(k).mT.contiguous(), torch.matmul) * a["scale"]
    return products(op, torch.softmax(scores, -1), wide(v), torch.matmul)


def as_sources(x: torch.Tensor) -> torch.Tensor:
    """As the matrix unit's source registers take it: float32 cut, not rounded, to TF32's 10 bits."""
    return cut(x, 13) if x.dtype == torch.float32 else wide(x)


@op("conv2d", heeds=f"{CONV} conv2d_config", within=4, because=PARTIAL, fidelities=FOLLOWED)
def conv2d(op, x, weight, *bias):
    """x [1, 1, N·H·W, C], weight [O, C/groups, kh, kw] or prepared, bias [1, 1, 1, O]: [1, 1, N·H'·W', O]."""
    a, config = op.attributes, op.attributes.get("conv2d_config", {})
    _known(op, config, CONV2D_PLACEMENT | {"activation"})
    out_in = (a["out_channels"], a["in_channels"] // a["groups"], *a["kernel_size"])
    if tuple(weight.shape) != out_in:
        weight = _restored2d(op, weight)
    x = (
        wide(x)
        .reshape(a["batch_size"], a["input_height"], a["input_width"], a["in_channels"])
        .permute(0, 3, 1, 2)
    )
    if len(a["padding"]) == 4:
        top, bottom, left, right = a["padding"]
    else:
        (top, left), (bottom, right) = a["padding"], a["padding"]
    x = F.pad(x, (left, right, top, bottom))
    flat = wide(bias[0]).flatten() if bias else None
    more = a["stride"], 0, a["dilation"], a["groups"]
    out = products(op, x, wide(weight), lambda x, w: F.conv2d(x, w, None, *more))
    out = out if flat is None else out.add_(flat[:, None, None])
    out = out.permute(0, 2, 3, 1).reshape(1, 1, -1, a["out_channels"])
    return activate(out, config["activation"]) if "activation" in config else out


@op(
    "conv1d",
    heeds="batch_size in_channels out_channels input_length kernel_size stride padding dilation groups "
    "conv2d_config",
    fidelities=FOLLOWED,
)
def conv1d(op, x, weight, *bias):
    """x [N, L, C], weight [O, C/groups, k], bias [1, 1, O] -> [1, 1, N·L', O]."""
    a = op.attributes
    _known(op, a.get("conv2d_config", {}), CONV2D_PLACEMENT)
    padding = a["padding"]
    before, after = padding if isinstance(padding, list) else (padding, padding)
    x = F.pad(wide(x).reshape(a["batch_size"], a["input_length"], a["in_channels"]).mT, (before, after))
    flat = wide(bias[0]).flatten() if bias else None
    more = a["stride"], 0, a["dilation"], a["groups"]
    out = products(op, x, wide(weight), lambda x, w: F.conv1d(x, w, None, *more))
    out = out if flat is None else out.add_(flat[:, None])
    return out.mT.reshape(1, 1, -1, a["out_channels"])


@op("conv3d", heeds=f"{CONV} input_depth padding_mode conv3d_config", because=UNIT, fidelities=FOLLOWED)
def conv3d(op, x, weight, *bias):
    """x [N, T, H, W, C], weight prepared, bias [1, O] -> [N, T', H', W', O]."""
    a, config = op.attributes, op.attributes.get("conv3d_config", {})
    _known(op, config, CONV3D_PLACEMENT)
    stated = (a["batch_size"], a["input_depth"], a["input_height"], a["input_width"], a["in_channels"])
    if tuple(x.shape) != stated:
        raise Refused("evaluate", f"conv3d of {tuple(x.shape)}", f"{stated}, which its attributes state")
    mode = PADDING.get(a.get("padding_mode", "zeros"))
    if mode is None:
        raise Refused("evaluate", f"conv3d padding mode {a['padding_mode']}", f"one of {sorted(PADDING)}")
    weight = _restored3d(op, wide(weight), config.get("c_in_block", 0))
    flat = wide(bias[0]).flatten()[: a["out_channels"]] if bias else None
    around = [pad for pad in reversed(a["padding"]) for _ in range(2)]
    x = F.pad(wide(x).permute(0, 4, 1, 2, 3), around, mode=mode)
    more = a["stride"], 0, a.get("dilation", 1), a["groups"]
    out = products(op, x, weight, lambda x, w: F.conv3d(x, w, None, *more))
    out = out if flat is None else out.add_(flat[:, None, None, None])
    return out.permute(0, 2, 3, 4, 1)


@op("prepare_conv3d_weights", heeds="groups c_in_block alignment", fidelities=FOLLOWED)
def prepare_conv3d_weights(op, weight):
    """[O, C, kt, kh, kw] -> [blocks · kt · kh · kw · c_in_block, O], C padded to `alignment`.

    tt-metal, ttnn/cpp/ttnn/operations/experimental/conv3d/prepare_conv3d_weights.cpp.
    """
    a = op.attributes
    if a["groups"] != 1:
        raise Refused("evaluate", f"prepare_conv3d_weights with {a['groups']} groups", "1 group")
    weight = weight.permute(2, 3, 4, 1, 0)
    weight = F.pad(weight, (0, 0, 0, -weight.shape[3] % a["alignment"]))
    *kernel, channels, out = weight.shape
    block = a["c_in_block"] or channels
    return weight.reshape(*kernel, channels // block, block, out).permute(3, 0, 1, 2, 4, 5).reshape(-1, out)


def _restored3d(op, weight: torch.Tensor, block: int) -> torch.Tensor:
    """Read the prepared weight as `ttnn.conv3d` does, by its own config: a mismatch shows in the numbers."""
    a = op.attributes
    rows, out = weight.shape
    taps = a["kernel_size"][0] * a["kernel_size"][1] * a["kernel_size"][2]
    channels = rows // taps
    block = block or channels
    weight = weight.reshape(channels // block, *a["kernel_size"], block, out).permute(5, 0, 4, 1, 2, 3)
    weight = weight.reshape(out, channels, *a["kernel_size"])
    if a["groups"] != 1:
        raise Refused("evaluate", f"conv3d with {a['groups']} groups", "1 group")
    return weight[: a["out_channels"], : a["in_channels"]]


@op("prepare_conv2d_weights", heeds=f"{CONV} weights_format has_bias conv2d_config", fidelities=FOLLOWED)
def prepare_conv2d_weights(op, weight):
    """[O, C, kh, kw] -> [1, 1, kh · kw · C, O], rows in the order that a window is read in.

    The layout for height-sharded and interleaved activations; any other shape that the program states for the
    result is refused (tt-metal, ttnn/cpp/ttnn/operations/conv/conv2d/prepare_conv2d_weights.cpp).
    """
    a = op.attributes
    if a["weights_format"] != "OIHW" or a["groups"] != 1:
        raise Refused("evaluate", f"weights {a['weights_format']} in {a['groups']} groups", "OIHW in 1 group")
    return weight.permute(2, 3, 1, 0).reshape(1, 1, -1, weight.shape[0])


@op("prepare_conv2d_bias", heeds=f"{CONV} conv2d_config", fidelities=FOLLOWED)
def prepare_conv2d_bias(op, bias):
    return bias.reshape(op.results[0].type.shape)


def _restored2d(op, weight: torch.Tensor) -> torch.Tensor:
    a = op.attributes
    stated = (1, 1, a["in_channels"] * a["kernel_size"][0] * a["kernel_size"][1], a["out_channels"])
    if tuple(weight.shape) != stated or a["groups"] != 1:
        raise Refused("evaluate", f"conv2d weight {tuple(weight.shape)}", f"OIHW, or {stated} in 1 group")
    return weight.reshape(*a["kernel_size"], a["in_channels"], a["out_channels"]).permute(3, 2, 0, 1)


def _known(op, config: dict, keys: set[str]) -> None:
    if unknown := set(config) - keys:
        raise Refused("evaluate", f"{op.name} configured with {sorted(unknown)}", f"only {sorted(keys)}")
