"""MLIR's own parser, through jaxlib's Python bindings, ready for the texts that the compiler prints."""

from jaxlib.mlir import ir
from jaxlib.mlir._mlir_libs import _jax_mlir_ext
from jaxlib.mlir.dialects import stablehlo


def context() -> ir.Context:
    """Knows builtin, func and StableHLO; takes Tenstorrent's dialects, unregistered there, uninterpreted."""
    made = ir.Context()
    made.allow_unregistered_dialects = True
    registry = ir.DialectRegistry()
    _jax_mlir_ext.register_dialects(registry)
    made.append_dialect_registry(registry)
    stablehlo.register_dialect(made)
    made.load_all_available_dialects()
    return made
