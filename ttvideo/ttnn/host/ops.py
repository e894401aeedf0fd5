"""How TT-NN executes each op of a compiled program: a function an op, as the compiler's own runtime calls it.

To add an op, write a function of the step and its operands, and decorate it with `op`. Where TT-NN lacks the
op and another one gives the same, the function says so with `step.stand_in`; where a setting is changed so
that it runs at all, with `step.workaround`.
"""

import math

import numpy as np
import ttnn

DTYPES = {
    "bf16": ttnn.bfloat16, "f32": ttnn.float32, "si32": ttnn.int32, "i32": ttnn.int32,
    "u32": ttnn.uint32, "ui32": ttnn.uint32, "u16": ttnn.uint16, "u8": ttnn.uint8,
    "bfp_f8": ttnn.bfloat8_b, "bfp_bf8": ttnn.bfloat8_b, "bfp_f4": ttnn.bfloat4_b, "bfp_bf4": ttnn.bfloat4_b,
}  # fmt: skip
LAYOUTS = {"tile": ttnn.TILE_LAYOUT, "row_major": ttnn.ROW_MAJOR_LAYOUT}
MEMORIES = {"dram": ttnn.DRAM_MEMORY_CONFIG, "l1": ttnn.L1_MEMORY_CONFIG, "system": None}
INDEX = {"dtype": "si32", "layout": "row_major", "memory": "dram"}
FIDELITIES = {"lofi": "LoFi", "hifi2": "HiFi2", "hifi3": "HiFi3", "hifi4": "HiFi4"}
OPS = {}


def op(*names):
    def register(function):
        for name in names:
            OPS[f"ttnn.{name}"] = function
        return function

    return register


class Step:
    """One op of the program; `dtype`, `layout`, `memory` and `shape` are as stated for its first result."""

    def __init__(self, run, described: dict):
        self.run, self.device = run, run.device
        self.op, self.location = described["op"], described["location"]
        self.operands, self.attributes = described["operands"], described["attributes"]
        self.results = [name for name, _ in described["results"]]
        self.types = [type for _, type in described["results"]]
        if self.types:
            first = self.types[0]
            self.dtype, self.layout = DTYPES[first["dtype"]], LAYOUTS[first["layout"]]
            self.memory, self.shape = MEMORIES[first["memory"]], first["shape"]

    @property
    def name(self) -> str:
        return self.op.removeprefix("ttnn.")

    def stand_in(self, sentence: str) -> None:
        self.run.notes["stand_ins"][sentence] = None

    def workaround(self, sentence: str) -> None:
        self.run.notes["workarounds"][sentence] = None

    def checked(self, result: ttnn.Tensor, place: int) -> ttnn.Tensor:
        """The result, in the stated layout. Its shape and data type must be the stated ones already."""
        type = self.types[place]
        got, stated = (list(result.shape), result.dtype), (list(type["shape"]), DTYPES[type["dtype"]])
        if got != stated:
            raise TypeError(f"{self.op}: TT-NN gives {got}, the program states {stated}")
        return (
            result
            if result.layout == LAYOUTS[type["layout"]]
            else ttnn.to_layout(result, LAYOUTS[type["layout"]])
        )

    @property
    def fidelity(self) -> ttnn.MathFidelity:
        stated = self.attributes.get("compute_config") or {}
        return getattr(ttnn.MathFidelity, FIDELITIES[stated.get("math_fidelity", "hifi4")])

    def compute_config(self):
        """The arithmetic that the program asks of the op; None, which is TT-NN's own default, where it
        doesn't."""
        stated = self.attributes.get("compute_config")
        if stated is None:
            return None
        names = ("math_approx_mode", "fp32_dest_acc_en", "packer_l1_acc", "dst_full_sync_en")
        return ttnn.init_device_compute_kernel_config(
            self.device.arch(),
            math_fidelity=self.fidelity,
            **{name: stated[name] for name in names if name in stated},
        )


# Movement


@op("to_layout")
def to_layout(step, x):
    return ttnn.to_layout(x, step.layout)


@op("to_device")
def to_device(step, x):
    return ttnn.to_device(x, step.device, memory_config=step.memory)


@op("from_device")
def from_device(step, x):
    return ttnn.from_device(x)


@op("to_memory_config")
def to_memory_config(step, x):
    return ttnn.to_memory_config(x, step.memory)


@op("typecast")
def typecast(step, x):
    return ttnn.typecast(x, step.dtype)


@op("assign")
def assign(step, x):
    return ttnn.assign(x, memory_config=step.memory)


@op("reshape")
def reshape(step, x):
    """TT-NN itself decides whether it is a view."""
    return ttnn.reshape(x, step.shape)


@op("permute")
def permute(step, x):
    return ttnn.permute(x, step.attributes["permutation"])


@op("transpose")
def transpose(step, x):
    return ttnn.transpose(x, step.attributes["dim0"], step.attributes["dim1"])


@op("slice_static")
def slice_static(step, x):
    a = step.attributes
    return ttnn.slice(x, a["begins"], a["ends"], a["step"])


@op("concat")
def concat(step, *parts):
    return ttnn.concat(list(parts), dim=step.attributes["dim"])


@op("pad")
def pad(step, x):
    flat = step.attributes["padding"]
    return ttnn.pad(
        x, [tuple(flat[i : i + 2]) for i in range(0, len(flat), 2)], value=step.attributes["value"]
    )


@op("repeat")
def repeat(step, x):
    return ttnn.repeat(x, sizes(step.attributes["repeat_dims"]))


@op("repeat_interleave")
def repeat_interleave(step, x):
    return ttnn.repeat_interleave(x, step.attributes["repeats"], dim=step.attributes["dim"])


@op("embedding")
def embedding(step, index, weight):
    return ttnn.embedding(ttnn.typecast(index, ttnn.uint32), weight, layout=step.layout)


@op("gather")
def gather(step, x, index):
    index = ttnn.typecast(ttnn.to_layout(index, x.layout), ttnn.uint32)
    return ttnn.gather(x, step.attributes["dim"], index=index)


@op("upsample")
def upsample(step, x):
    return ttnn.upsample(x, step.attributes["scale_factor"], mode=step.attributes.get("mode", "nearest"))


@op("rows_gather")
def rows_gather(step, x, index):
    """libtt's own op: rows, or columns, by index. An embedding looks rows up too, if one fits into L1."""
    axes, count = step.attributes["sizes"], index.shape[-1]
    rows = math.prod(axes)
    if len(axes) > 1:
        step.stand_in("ttnn.rows_gather along several axes: its index is made one on the host")
        index = step.run.host.place(along_one_axis(index, axes), INDEX)
    if rows == count == 1 and not step.attributes["column"]:
        step.stand_in("ttnn.rows_gather, an op of libtt's own: ttnn.clone for the only row that there is")
        return ttnn.reshape(ttnn.clone(ttnn.to_layout(x, step.layout)), step.shape)
    step.stand_in("ttnn.rows_gather, an op of libtt's own: ttnn.embedding")
    index = ttnn.typecast(ttnn.reshape(index, [1, count]), ttnn.uint32)
    rest = x.logical_volume() // rows
    if rows == count == 1:  # all of x: one row of it may be more than an embedding's L1 holds
        step.stand_in("ttnn.rows_gather of the only row: ttnn.assign")
        return ttnn.reshape(ttnn.assign(x, memory_config=step.memory), step.shape)
    if step.attributes["column"]:
        table = ttnn.transpose(ttnn.reshape(x, [rest, rows]), 0, 1)
        found = ttnn.reshape(ttnn.embedding(index, table), [count, rest])
        return ttnn.to_layout(ttnn.reshape(ttnn.transpose(found, 0, 1), step.shape), step.layout)
    return ttnn.reshape(ttnn.embedding(index, ttnn.reshape(x, [rows, rest]), layout=step.layout), step.shape)


def along_one_axis(index: ttnn.Tensor, axes: list[int]) -> np.ndarray:
    """[1, axes, n] -> [1, 1, n], each within bounds."""
    along = np.array(index.cpu().to_list(), dtype=np.int64).reshape(len(axes), -1)
    bound = [values.clip(0, size - 1) for values, size in zip(along, axes, strict=True)]
    return np.ravel_multi_index(bound, axes).reshape(1, 1, -1).astype(np.int32)


@op("rows_scatter")
def rows_scatter(step, x, index, rows):
    """libtt's own op: rows of x [1, rows, width] are overwritten by index. TT-NN scatters single elements."""
    step.stand_in("ttnn.rows_scatter, an op of libtt's own: ttnn.scatter, its index repeated along the row")
    width = x.shape[-1]
    index = ttnn.reshape(ttnn.typecast(index, ttnn.uint32), [1, index.shape[-1], 1])
    index = ttnn.repeat(ttnn.to_layout(index, ttnn.ROW_MAJOR_LAYOUT), [1, 1, width])
    return ttnn.scatter(x, 1, index, rows)


def sizes(text) -> list[int]:
    """`2x40x1` as the compiler prints a shape."""
    return [int(n) for n in str(text).split("x")] if str(text) else []


# Creation


@op("zeros", "ones", "full")
def filled(step):
    value = {"zeros": 0.0, "ones": 1.0}.get(step.name, step.attributes.get("fill_value"))
    return ttnn.full(step.shape, value, dtype=step.dtype, layout=step.layout, **step_place(step))


@op("empty")
def empty(step):
    return ttnn.empty(step.shape, step.dtype, step.layout, step.device, step.memory)


@op("arange")
def arange(step):
    a = step.attributes
    made = ttnn.arange(a["start"], a["end"], a["step"], dtype=step.dtype, **step_place(step))
    return ttnn.to_layout(ttnn.reshape(made, step.shape), step.layout)


@op("constant")
def constant(step):
    array = step.run.program.constant(step.attributes["value"]).reshape(step.shape)
    return step.run.host.place(array, step.types[0])


def step_place(step) -> dict:
    return {"device": step.device, "memory_config": step.memory} if step.memory is not None else {}


# Elementwise

UNARY = (
    "abs", "neg", "sign", "ceil", "floor", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal",
    "sin", "cos", "tanh", "erf", "sigmoid", "silu", "relu", "relu6", "gelu", "logical_not", "isfinite",
    "square",
)  # fmt: skip
BINARY = (
    "add", "subtract", "multiply", "divide", "eq", "ne", "ge", "gt", "le", "lt",
    "logical_and", "logical_or", "logical_xor",
)  # fmt: skip
BINARY_ALONE = {"maximum": "maximum", "minimum": "minimum", "pow_tensor": "pow", "remainder": "remainder"}


@op(*UNARY)
def unary(step, x):
    return getattr(ttnn, step.name)(x)


def fused(activations: list) -> list:
    return [getattr(ttnn.UnaryOpType, activation["op_type"].upper()) for activation in activations]


@op(*BINARY)
def binary(step, a, b):
    named = ("activations", "input_tensor_a_activations", "input_tensor_b_activations")
    activations = {name: fused(step.attributes.get(name, [])) for name in named}
    return getattr(ttnn, step.name)(a, b, dtype=step.dtype, **activations)


@op(*BINARY_ALONE)
def binary_alone(step, a, b):
    return getattr(ttnn, BINARY_ALONE[step.name])(a, b)


@op("pow_scalar")
def pow_scalar(step, x):
    return ttnn.pow(x, step.attributes["rhs"])


@op("clamp_scalar")
def clamp_scalar(step, x):
    return ttnn.clamp(x, step.attributes["min"], step.attributes["max"])


@op("where")
def where(step, condition, a, b):
    return ttnn.where(condition, a, b)


# Reduction and normalisation


@op("sum", "mean", "max", "min")
def reduce(step, x):
    a = step.attributes
    return getattr(ttnn, step.name)(
        x, dim=a.get("dim_arg") or None, keepdim=a["keep_dim"], compute_kernel_config=step.compute_config()
    )


@op("softmax")
def softmax(step, x):
    a = step.attributes
    stable = a.get("numericStable", False)
    return ttnn.softmax(x, a["dimension"], numeric_stable=stable, compute_kernel_config=step.compute_config())


@op("rms_norm")
def rms_norm(step, x, *affine):
    _, weight, bias = step.attributes["operandSegmentSizes"]
    return ttnn.rms_norm(
        x, epsilon=step.attributes["epsilon"], weight=affine[0] if weight else None,
        bias=affine[-1] if bias else None, compute_kernel_config=step.compute_config(),
    )  # fmt: skip


@op("batch_norm_training")
def batch_norm_training(step, x, weight, bias):
    """With a momentum of 1 what TT-NN keeps as running statistics is this batch's: variance over n - 1."""
    if step.attributes["operandSegmentSizes"] != [1, 0, 0, 1, 1] or step.attributes["momentum"] != 1:
        raise NotImplementedError(f"batch_norm_training {step.attributes}")
    mean, variance = (
        ttnn.full(
            type["shape"], value, dtype=DTYPES[type["dtype"]], layout=ttnn.TILE_LAYOUT, device=step.device
        )
        for type, value in zip(step.types[1:], (0.0, 1.0), strict=True)
    )
    normed = ttnn.batch_norm(
        x, running_mean=mean, running_var=variance, training=True, eps=step.attributes["epsilon"],
        momentum=1.0, weight=weight, bias=bias, compute_kernel_config=step.compute_config(),
    )  # fmt: skip
    count = x.logical_volume() // x.shape[1]
    return normed, mean, ttnn.multiply(variance, (count - 1) / count)


# Contraction


@op("matmul", "linear")
def linear(step, a, b, *bias):
    x = step.attributes
    config = x.get("matmul_program_config")
    return ttnn.linear(
        a,
        b,
        bias=bias[0] if bias else None,
        transpose_a=x.get("transpose_a", False),
        transpose_b=x.get("transpose_b", False),
        activation=x.get("activation"),
        dtype=step.dtype,
        compute_kernel_config=step.compute_config(),
        program_config=matmul_config(config) if config else None,
    )


@op("scaled_dot_product_attention")
def scaled_dot_product_attention(step, q, k, v):
    a = step.attributes
    config = ttnn.SDPAProgramConfig(
        compute_with_storage_grid_size=step.device.compute_with_storage_grid_size(),
        exp_approx_mode=False,
        **a["program_config"],
    )
    return ttnn.transformer.scaled_dot_product_attention(
        q, k, v, is_causal=a["is_causal"], scale=a["scale"], program_config=config,
        compute_kernel_config=step.compute_config(),
    )  # fmt: skip


def matmul_config(stated: dict):
    """The configurations that the compiler writes: multicast in one dimension of the grid, in both, or in
    none."""
    known = {"per_core_m": "per_core_M", "per_core_n": "per_core_N"}
    values = {known.get(name, name): value for name, value in stated.items() if name not in ("hop_cores",)}
    x, y = (int(n) for n in values.pop("compute_with_storage_grid_size").split(","))
    activation = values.pop("fused_activation", None)
    if "mcast_in0" not in values and "transpose_mcast" not in values:
        return ttnn.MatmulMultiCoreReuseProgramConfig(
            compute_with_storage_grid_size=ttnn.CoreCoord(x, y), **values
        )
    kind = (
        ttnn.MatmulMultiCoreReuseMultiCast1DProgramConfig
        if "mcast_in0" in values
        else ttnn.MatmulMultiCoreReuseMultiCastProgramConfig
    )
    return kind(
        compute_with_storage_grid_size=ttnn.CoreCoord(x, y),
        fused_activation=fused([activation])[0] if activation else None,
        **values,
    )


CONV = (
    "batch_size in_channels out_channels input_height input_width kernel_size stride padding dilation groups"
).split()
CONV1D = "batch_size in_channels out_channels input_length kernel_size stride padding dilation groups".split()


def conv2d_config(step):
    stated = dict(step.attributes.get("conv2d_config", {}))
    if activation := stated.pop("activation", None):
        stated["activation"] = ttnn.UnaryWithParam(fused([activation])[0])
    if dtype := stated.pop("weights_dtype", None):
        stated["weights_dtype"] = DTYPES[dtype]
    if layout := stated.pop("shard_layout", None):
        stated["shard_layout"] = getattr(ttnn.TensorMemoryLayout, layout.upper())
    return ttnn.Conv2dConfig(**stated)


@op("conv2d")
def conv2d(step, x, weight, *bias):
    return ttnn.conv2d(
        input_tensor=x,
        weight_tensor=weight,
        bias_tensor=bias[0] if bias else None,
        device=step.device,
        dtype=step.dtype,
        conv_config=conv2d_config(step),
        compute_config=step.compute_config(),
        **{name: step.attributes[name] for name in CONV},
    )


@op("conv1d")
def conv1d(step, x, weight, *bias):
    a = step.attributes
    return ttnn.conv1d(
        input_tensor=x, weight_tensor=weight, bias_tensor=bias[0] if bias else None, device=step.device,
        dtype=step.dtype, conv_config=conv2d_config(step), compute_config=step.compute_config(),
        **{name: a[name] for name in CONV1D},
    )  # fmt: skip


@op("prepare_conv2d_weights")
def prepare_conv2d_weights(step, weight):
    a = step.attributes
    return ttnn.prepare_conv_weights(
        weight_tensor=weight,
        weights_format=a["weights_format"],
        has_bias=a["has_bias"],
        device=step.device,
        **prepared(step, weight),
    )


@op("prepare_conv2d_bias")
def prepare_conv2d_bias(step, bias):
    return ttnn.prepare_conv_bias(bias_tensor=bias, device=step.device, **prepared(step, bias))


def prepared(step, like: ttnn.Tensor) -> dict:
    a, config = step.attributes, conv2d_config(step)
    config.weights_dtype = config.weights_dtype or like.dtype  # which TT-NN takes for given
    return {
        "input_memory_config": ttnn.DRAM_MEMORY_CONFIG,
        "input_layout": LAYOUTS[
            "tile" if "tile" in str(a.get("input_tensor_layout", "tile")) else "row_major"
        ],
        "input_dtype": DTYPES.get(a.get("input_dtype"), ttnn.bfloat16),
        "conv_config": config,
        "compute_config": step.compute_config(),
        **{name: a[name] for name in CONV},
    }


@op("prepare_conv3d_weights")
def prepare_conv3d_weights(step, weight):
    a = step.attributes
    return ttnn.experimental.prepare_conv3d_weights(
        weight_tensor=weight, groups=a["groups"], C_in_block=a["c_in_block"], alignment=a["alignment"],
        device=step.device,
    )  # fmt: skip


@op("conv3d")
def conv3d(step, x, weight, *bias):
    a = step.attributes
    blocks = a.get("conv3d_config", {})
    names = ("t_out_block", "h_out_block", "w_out_block", "c_out_block", "c_in_block")
    config = ttnn.Conv3dConfig(
        weights_dtype=DTYPES[blocks.get("weights_dtype", "bf16")],
        output_layout=step.layout,
        compute_with_storage_grid_size=step.device.compute_with_storage_grid_size(),
        **{name.capitalize(): blocks[name] for name in names if name in blocks},
    )
    return ttnn.experimental.conv3d(
        input_tensor=x,
        weight_tensor=weight,
        bias_tensor=bias[0] if bias else None,
        device=step.device,
        dtype=step.dtype,
        output_channels=a["out_channels"],
        kernel_size=a["kernel_size"],
        stride=a["stride"],
        padding=a["padding"],
        padding_mode=a["padding_mode"],
        dilation=a.get("dilation", [1, 1, 1]),
        groups=a["groups"],
        config=config,
        compute_kernel_config=step.compute_config(),
    )
