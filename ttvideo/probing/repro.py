"""Compile stablehlo.mlir, which lies beside this file, by Tenstorrent's plugin, and run it on zeros where it
can run.

It needs jax and the plugin alone. `environment.json`, if it is there, says which board is described or
mocked; on a machine with a card, delete it. `options.json`, if it is there, holds options for the compiler.
"""

import json
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["JAX_PLATFORMS"] = "tt"
if (HERE / "environment.json").exists():
    for name, value in json.loads((HERE / "environment.json").read_text()).items():
        os.environ[name] = value.replace("{HERE}", str(HERE))

import jax  # noqa: E402
import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
from jax._src.interpreters import mlir  # noqa: E402
from jax._src.lib import _jax, xla_client  # noqa: E402
from jaxlib.mlir import ir  # noqa: E402
from jaxlib.mlir.dialects import stablehlo  # noqa: E402

DTYPES = {
    "bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32, "f64": np.float64, "i1": np.bool_,
    "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64, "ui8": np.uint8, "ui32": np.uint32,
}  # fmt: skip

client = jax.devices()[0].client
with mlir.make_ir_context() as context:
    content = (HERE / "stablehlo.mlir").read_bytes()
    portable = content.startswith(b"ML\xefR")
    module = (
        stablehlo.deserialize_portable_artifact(context, content) if portable else ir.Module.parse(content)
    )
    main = next(
        op for op in module.body.operations if ir.StringAttr(op.attributes["sym_name"]).value == "main"
    )
    signature = ir.FunctionType(ir.TypeAttr(main.attributes["function_type"]).value)
    types = [ir.RankedTensorType(type_) for type_ in signature.inputs]
    zeros = [np.zeros(type_.shape, DTYPES[str(type_.element_type)]) for type_ in types]
    program = mlir.module_to_bytecode(module)
devices = _jax.DeviceList(tuple(client.local_devices()[:1]))
options = xla_client.CompileOptions()
if (HERE / "options.json").exists():
    options.env_option_overrides = list(json.loads((HERE / "options.json").read_text()).items())
compiled = client.compile_and_load(program, devices, options)
print("compiled")
if "TT_COMPILE_ONLY_SYSTEM_DESC" in os.environ:
    raise SystemExit  # a described board runs nothing
for result in compiled.execute([jax.device_put(value) for value in zeros]):
    print("ran:", result.dtype, result.shape)
