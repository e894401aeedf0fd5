"""Runs programs through TT-NN on the simulated chip: the lane's process, in an environment of its own.

    python host.py FOLDER

lib/ttnn/lane.py puts programs.json and tensors.npz into FOLDER, and finds there results.jsonl, a line as each
program ends, and the outputs that it names. Never imported by the project, whose environment can't hold ttnn.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import ttnn

PR_SET_PDEATHSIG = 1
L1_SMALL_BYTES = 32768  # where a convolution keeps its table of addresses
DTYPES = {"bf16": ttnn.bfloat16, "f32": ttnn.float32, "si32": ttnn.int32, "u32": ttnn.uint32, "ui32": ttnn.uint32}
LAYOUTS = {"tile": ttnn.TILE_LAYOUT, "row_major": ttnn.ROW_MAJOR_LAYOUT}
OPS = {}


def op(*names):
    def register(function):
        for name in names:
            OPS[name] = function
        return function

    return register


class Host:
    """An open device, its exact arithmetic, and the cycles of its launches."""

    def __init__(self, launches: Path, l1_accumulation: bool):
        self.launches = launches
        self.device = ttnn.open_device(device_id=0, l1_small_size=L1_SMALL_BYTES)
        self.exact = ttnn.init_device_compute_kernel_config(
            self.device.arch(),
            math_fidelity=ttnn.MathFidelity.HiFi4,
            fp32_dest_acc_en=True,
            packer_l1_acc=l1_accumulation,  # the simulated packer has no L1 accumulation: wrong numbers
        )

    def cycles(self) -> list[int]:
        ttnn.synchronize_device(self.device)
        return [int(line) for line in self.launches.read_text().split()] if self.launches.exists() else []

    def place(self, array: np.ndarray, type: dict) -> ttnn.Tensor:
        tensor = ttnn.Tensor(array, DTYPES[type["dtype"]])
        tensor = ttnn.to_layout(tensor, LAYOUTS[type["layout"]])
        return tensor if type["memory"] == "system" else ttnn.to_device(tensor, self.device)

    def run(self, program: dict, tensors: dict) -> dict:
        """Its outputs, and for each op its launches' cycles and its seconds."""
        live = {name: self.place(tensors[source], type) for name, (source, type) in program["inputs"].items()}
        steps = []
        for step in program["steps"]:
            before, start = len(self.cycles()), time.perf_counter()
            if step["op"] not in OPS:
                raise NotImplementedError(f"ttnn.{step['op']}: no rule for it in lib/ttnn/host.py")
            results = OPS[step["op"]](self, step, *(live[name] for name in step["operands"]))
            results = results if isinstance(results, (list, tuple)) else [results]
            live.update(zip((result["name"] for result in step["results"]), results))
            steps.append({
                "op": step["op"],
                "cycles": self.cycles()[before:],
                "seconds": time.perf_counter() - start,
            })  # fmt: skip
        outputs = [np.array(live[name].cpu().to_list(), dtype=np.float32) for name in program["returns"]]
        return {"steps": steps, "outputs": outputs}


def stated(step: dict) -> tuple:
    type = step["results"][0]["type"]
    return DTYPES[type["dtype"]], LAYOUTS[type["layout"]], tuple(type["shape"])


@op("to_layout")
def to_layout(host, step, x):
    dtype, layout, _ = stated(step)
    return ttnn.to_layout(x, layout)


@op("typecast")
def typecast(host, step, x):
    return ttnn.typecast(x, stated(step)[0])


@op("reshape")
def reshape(host, step, x):
    return ttnn.reshape(x, stated(step)[2])


@op("permute")
def permute(host, step, x):
    return ttnn.permute(x, step["attributes"]["permutation"])


@op("slice_static")
def slice_static(host, step, x):
    a = step["attributes"]
    return ttnn.slice(x, a["begins"], a["ends"], a["step"])


@op("concat")
def concat(host, step, *parts):
    return ttnn.concat(list(parts), dim=step["attributes"]["dim"])


@op("repeat")
def repeat(host, step, x):
    return ttnn.repeat(x, [int(n) for n in str(step["attributes"]["repeat_dims"]).split("x")])


@op("rows_gather")
def rows_gather(host, step, x, index):
    """libtt's own op, which TT-NN hasn't: rows, or columns, by index. An embedding looks rows up too."""
    _, layout, shape = stated(step)
    (rows,) = step["attributes"]["sizes"]
    index = ttnn.typecast(ttnn.reshape(index, [1, index.shape[-1]]), ttnn.uint32)
    rest = x.logical_volume() // rows
    if step["attributes"]["column"]:
        table = ttnn.transpose(ttnn.reshape(x, [rest, rows]), 0, 1)
        found = ttnn.reshape(ttnn.embedding(index, table), [index.shape[-1], rest])
        return ttnn.to_layout(ttnn.reshape(ttnn.transpose(found, 0, 1), shape), layout)
    table = ttnn.reshape(x, [rows, rest])
    return ttnn.reshape(ttnn.embedding(index, table, layout=layout), shape)


@op("matmul", "linear")
def linear(host, step, a, b, *bias):
    x = step["attributes"]
    return ttnn.linear(
        a,
        b,
        bias=bias[0] if bias else None,
        transpose_a=x.get("transpose_a", False),
        transpose_b=x.get("transpose_b", False),
        activation=x.get("activation"),
        dtype=stated(step)[0],
        compute_kernel_config=host.exact,
    )


@op("conv2d")
def conv2d(host, step, x, weight, *bias):
    a = step["attributes"]
    same = ("batch_size", "in_channels", "out_channels", "input_height", "input_width", "kernel_size", "stride",
            "padding", "dilation", "groups")  # fmt: skip
    return ttnn.conv2d(
        input_tensor=x,
        weight_tensor=weight,
        bias_tensor=bias[0] if bias else None,
        device=host.device,
        dtype=stated(step)[0],
        compute_config=host.exact,
        **{name: a[name] for name in same},
    )


@op("conv3d")
def conv3d(host, step, x, weight, *bias):
    a = step["attributes"]
    blocks = a["conv3d_config"]
    config = ttnn.Conv3dConfig(
        weights_dtype=ttnn.bfloat16,
        output_layout=ttnn.ROW_MAJOR_LAYOUT,
        T_out_block=blocks["t_out_block"],
        H_out_block=blocks["h_out_block"],
        W_out_block=blocks["w_out_block"],
        C_out_block=blocks["c_out_block"],
        C_in_block=blocks["c_in_block"],
        compute_with_storage_grid_size=host.device.compute_with_storage_grid_size(),
    )
    return ttnn.experimental.conv3d(
        input_tensor=x,
        weight_tensor=weight,
        bias_tensor=bias[0] if bias else None,
        device=host.device,
        dtype=stated(step)[0],
        output_channels=a["out_channels"],
        kernel_size=a["kernel_size"],
        stride=a["stride"],
        padding=a["padding"],
        padding_mode=a["padding_mode"],
        groups=a["groups"],
        config=config,
        compute_kernel_config=host.exact,
    )


def fused(activations: list) -> list:
    return [getattr(ttnn.UnaryOpType, activation["op_type"].upper()) for activation in activations]


@op("add", "subtract", "multiply", "divide")
def binary(host, step, a, b):
    x = step["attributes"]
    return getattr(ttnn, step["op"])(
        a,
        b,
        dtype=stated(step)[0],
        activations=fused(x["activations"]),
        input_tensor_a_activations=fused(x["input_tensor_a_activations"]),
        input_tensor_b_activations=fused(x["input_tensor_b_activations"]),
    )


@op("sum", "mean")
def reduce(host, step, x):
    a = step["attributes"]
    return getattr(ttnn, step["op"])(x, dim=a["dim_arg"], keepdim=a["keep_dim"], compute_kernel_config=host.exact)


@op("where")
def where(host, step, condition, a, b):
    return ttnn.where(condition, a, b)


@op("pow_scalar")
def pow_scalar(host, step, x):
    return ttnn.pow(x, step["attributes"]["rhs"])


@op("clamp_scalar")
def clamp_scalar(host, step, x):
    return ttnn.clamp(x, step["attributes"]["min"], step["attributes"]["max"])


def save(output: np.ndarray, folder: Path, name: str) -> str:
    np.save(folder / f"{name}.npy", output)
    return f"{name}.npy"


def main(folder: Path) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    job = json.loads((folder / "programs.json").read_text())
    tensors = np.load(folder / "tensors.npz")
    host = Host(Path(os.environ["LAUNCHES"]), job["l1_accumulation"])
    for number, (name, program) in enumerate(job["programs"].items()):
        try:
            ran = host.run(program, tensors)
            ran["outputs"] = [save(output, folder, f"{number}-{i}") for i, output in enumerate(ran["outputs"])]
        except Exception as error:  # a program that TT-NN refuses says so; the others still run
            ran = {"error": f"{type(error).__name__}: {str(error).split('backtrace:')[0].strip()}"}
        with open(folder / "results.jsonl", "a") as results:
            results.write(json.dumps({"name": name, **ran}) + "\n")
    ttnn.close_device(host.device)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
