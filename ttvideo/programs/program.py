"""Read a compiled TTNN module into a small typed structure.

The parser is MLIR's own, through jaxlib's Python bindings. The TTNN and TTCore dialects are not
registered there, so their ops and attributes arrive uninterpreted and are given Python values here.
Three forms have syntax of their own that an unregistered dialect can't have; they are put into
generic form first: `ttcore.device_module` (a wrapper), `ttcore.device` (a description of the
worker grid, dropped) and `ttcore.load_cached` (the call of a const-eval function).
"""

import math
import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache

from jaxlib.mlir import ir

from ttvideo.basics.errors import Refused
from ttvideo.programs.mlir import context
from ttvideo.targets.boards import BLACKHOLE, CHIPS, Chip

# Bytes of one element. A block-float tile shares an exponent byte among 16 elements.
ELEMENT_BYTES = {
    "f32": 4, "u32": 4, "ui32": 4, "si32": 4, "i32": 4, "bf16": 2, "f16": 2, "u16": 2, "u8": 1, "bool": 1,
    "i1": 1, "bfp_f8": 1088 / 1024, "bfp_bf8": 1088 / 1024, "bfp_f4": 576 / 1024, "bfp_bf4": 576 / 1024,
}  # fmt: skip
TILE = 32


@dataclass(frozen=True)
class TensorType:
    """A tensor as the program stores it.

    `shape` is the logical shape; `buffer` the stored one, rows by columns, in 32×32 tiles for
    `layout` "tile" and in elements for "row_major"; `memory` is "dram", "l1" or "system" (the host);
    `cores` is the number of buffers of that shape, 1 unless the tensor is sharded.
    """

    shape: tuple[int, ...]
    dtype: str
    layout: str = "row_major"
    memory: str = "system"
    buffer: tuple[int, ...] = ()
    cores: int = 1

    @property
    def logical_bytes(self) -> int:
        """Bytes of the elements alone."""
        return int(math.prod(self.shape) * ELEMENT_BYTES[self.dtype])

    @property
    def stored_bytes(self) -> int:
        """Bytes with tile padding, before a bank's page alignment (see `ttvideo.programs.cost.Sizes`)."""
        tile = TILE * TILE if self.layout == "tile" else 1
        return int(math.prod(self.buffer) * tile * ELEMENT_BYTES[self.dtype]) * self.cores


@dataclass(frozen=True, eq=False)
class Value:
    """One result or argument. Compared by identity; `type` is None for a device handle."""

    name: str
    type: TensorType | None

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Op:
    """One operation. `name` has its dialect ("ttnn.add"); `location` is the nearest source name or ""."""

    name: str
    operands: tuple[Value, ...]
    results: tuple[Value, ...]
    attributes: dict
    location: str


@dataclass(frozen=True, eq=False)
class Argument:
    """An argument of the program: `name` as marked on the module's parameter or input.

    `kind` is "parameter", "constant", "input" or "default" (unmarked).
    """

    value: Value
    name: str
    kind: str

    @property
    def type(self) -> TensorType:
        return self.value.type


@dataclass(frozen=True, eq=False)
class Function:
    """Ops in order, up to but without the `return`, whose operands are `returns`."""

    name: str
    arguments: tuple[Argument, ...]
    ops: tuple[Op, ...]
    returns: tuple[Value, ...]
    const_eval: bool


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled module: `main` is what each run executes, `functions` all by name; `chip` it was compiled
    for."""

    functions: dict[str, Function]
    main: Function
    chip: Chip
    text: str = field(repr=False)

    @property
    def arguments(self) -> tuple[Argument, ...]:
        return self.main.arguments


@lru_cache(maxsize=4)  # every step of a stream runs the same program
def read(text: str) -> Program:
    """Read the text of a TTNN module as the compiler prints it (stage `ttnn` or `ttnn_runtime`).

    1.2 MB take about half a second. Raises `Refused` if MLIR can't parse it, and if it holds no
    TTNN program.
    """
    if not text or "ttnn." not in text:
        raise Refused("read", "a text without a ttnn op" if text else "no text", "a TTNN module")
    with context(), ir.Location.unknown():
        try:
            module = ir.Module.parse(_generic(text))
        except ir.MLIRError as error:
            raise Refused(
                "read", str(error).strip().splitlines()[-1][:300], "a module that MLIR can parse"
            ) from None
        functions = {f.name: f for f in (_function(op) for op in _funcs(module.operation))}
    public = [f for f in functions.values() if not f.const_eval]
    if len(public) != 1:
        raise Refused("read", f"entry functions {[f.name for f in public]}", "exactly one")
    for op in public[0].ops:
        if op.name == "ttcore.load_cached" and op.attributes["callee"] not in functions:
            raise Refused("read", f"call of {op.attributes['callee']}", "a function of the module")
    return Program(functions, public[0], _chip(text), text)


def _generic(text: str) -> str:
    text = re.sub(r"^ *ttcore\.device @.*\n", "", text, flags=re.M)
    text = text.replace("ttcore.device_module {", "builtin.module {")
    # MLIR leaves an alias inside an uninterpreted attribute as it stands.
    for alias, meaning in re.findall(r"^#(\w+) = (#ttnn\.buffer_type<\w+>)$", text, flags=re.M):
        text = re.sub(rf"(?<![\w.])#{alias}\b(?! =)", meaning, text)
    # Properties of unregistered ops can't be asked for; attributes can.
    text = text.replace("}> {", ", ").replace(") <{", ") {").replace("}> :", "} :")
    return re.sub(
        r"\bttcore\.load_cached\((@[^,]+), \[(.*?)\]\)", r'"ttcore.load_cached"(\2) {callee = \1}', text
    )


def _chip(text: str) -> Chip:
    """That of the system descriptor in the text."""
    found = re.search(r"\barch = <(\w+)>", text)
    return CHIPS[found[1]] if found else BLACKHOLE


def _funcs(op):
    for region in op.regions:
        for block in region.blocks:
            for inner in block.operations:
                if inner.operation.name == "func.func":
                    yield inner.operation
                else:
                    yield from _funcs(inner.operation)


def _function(op) -> Function:
    attributes = op.attributes
    name = attributes["sym_name"].value
    if not op.regions[0].blocks:
        raise Refused("read", f"function {name} without a body", "functions with bodies")
    block = op.regions[0].blocks[0]
    values: dict = {}

    def known(value) -> Value:
        return values[value]

    def new(value, label: str) -> Value:
        made = Value(label, _type(value.type))
        values[value] = made
        return made

    marks = attributes["arg_attrs"] if "arg_attrs" in attributes else [{}] * len(block.arguments)
    arguments = []
    for i, (argument, mark) in enumerate(zip(block.arguments, marks, strict=True)):
        label = mark["ttir.name"].value if "ttir.name" in mark else f"arg{i}"
        kind = _parse(str(mark["ttcore.argument_type"])) if "ttcore.argument_type" in mark else "default"
        arguments.append(Argument(new(argument, f"%arg{i}"), label, kind))

    ops, returns, number = [], (), 0
    for inner in block.operations:
        inner = inner.operation
        operands = tuple(known(v) for v in inner.operands)
        if inner.name == "func.return":
            returns = operands
            continue
        results = inner.results
        labels = [f"%{number}" if len(results) == 1 else f"%{number}#{i}" for i in range(len(results))]
        number += bool(len(results))
        found = tuple(new(v, label) for v, label in zip(results, labels, strict=True))
        ops.append(Op(inner.name, operands, found, _attributes(inner), _location(inner.location)))
    const_eval = "const_eval" in name or (
        "tt.function_type" in attributes and attributes["tt.function_type"].value == "const_eval"
    )
    return Function(name, tuple(arguments), tuple(ops), returns, const_eval)


def _attributes(op) -> dict:
    return {name: _parse(str(value)) for name, value in op.attributes.items()}


def _location(location) -> str:
    found = re.search(r'"([^"]*)"', str(location))
    return found.group(1) if found else ""


def _type(mlir_type) -> TensorType | None:
    text = str(mlir_type)
    return _tensor_type(text) if text.startswith("tensor<") else None


@lru_cache(maxsize=4096)
def _tensor_type(text: str) -> TensorType:
    """From tensor<1x64x3xbf16, #ttnn.ttnn_layout<map, <1x1>, memref<2x1x!ttcore.tile<…>, #…<dram>>, …>>."""
    head = re.match(r"tensor<((?:\d+x)*)([\w.!<>]+?)[,>]", text)
    if not head:
        raise Refused("read", f"type {text[:200]}", "a tensor of static shape")
    shape = _sizes(head.group(1))
    layout = re.search(
        r"<(\d+(?:x\d+)*)[^<>]*>, memref<((?:\d+x)*)(?:!ttcore\.tile<(\d+)x(\d+), (\w+)>|(\w+)),"
        r" #ttnn\.buffer_type<(\w+)>>",
        text,
    )
    if not layout:
        if "ttnn_layout" in text:
            raise Refused("read", f"layout {text[:300]}", "a memref with a buffer type")
        return TensorType(shape, head.group(2), buffer=shape)
    grid, buffer, rows, columns, tile_type, row_type, memory = layout.groups()
    if rows and (rows, columns) != (str(TILE), str(TILE)):
        raise Refused("read", f"tile {rows}x{columns}", "32x32 tiles")
    dtype = tile_type or row_type
    if dtype not in ELEMENT_BYTES:
        raise Refused("read", f"data type {dtype}", f"one of {sorted(ELEMENT_BYTES)}")
    return TensorType(
        shape,
        dtype,
        "tile" if rows else "row_major",
        "system" if memory == "system_memory" else memory,
        _sizes(buffer),
        math.prod(_sizes(grid)),
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in text.split("x") if n)


# Attributes are read from their printed form, which treats builtin and dialect attributes alike;
# the bindings could only be asked about the builtin ones.
_NUMBER = re.compile(r"(-?(?:0x[0-9A-Fa-f]+|\d+(?:\.\d*)?(?:[eE][-+]?\d+)?))(?: : (\w+))?")
_KEY = re.compile(r"([A-Za-z_][\w.]*)\s*=\s*")
_BRACKETED = re.compile(r"(?:#\w+(?:\.[\w.]+)?)?<(.*)>", flags=re.S)


@lru_cache(maxsize=65536)
def _parse(text: str):
    """An attribute as bool, number, str, list or dict; a form without a rule stays the text that it is."""
    text = text.strip()
    if text in ("true", "false", "unit"):
        return text != "false"
    if text[:1] == '"' and text[-1:] == '"':
        return text[1:-1]
    if text.startswith("@"):
        return text[1:].strip('"')
    if text.startswith("[") and text.endswith("]"):
        return [_parse(part) for part in _split(text[1:-1])]
    if dense := re.fullmatch(r"array<\w+(?:: (.*))?>", text):
        return [_parse(part) for part in _split(dense.group(1) or "")]
    if dense := re.fullmatch(r"dense<(.*)> : tensor<(.*)>", text, flags=re.S):
        return {"dense": _parse(dense.group(1)), "type": dense.group(2)}
    if number := _NUMBER.fullmatch(text):
        return _number(*number.groups())
    if inner := _BRACKETED.fullmatch(text):
        parts = _split(inner.group(1))
        keys = [_KEY.match(part) for part in parts]
        if parts and all(keys):
            return {k.group(1): _parse(part[k.end() :]) for k, part in zip(keys, parts, strict=True)}
        return inner.group(1)
    return text


def _number(digits: str, kind: str | None) -> int | float:
    if "0x" in digits:
        bits = int(digits, 16)
        if kind in ("f32", "bf16"):  # infinities and NaNs are printed by their bits
            return struct.unpack("<f", struct.pack("<I", bits << 16 if kind == "bf16" else bits))[0]
        return bits
    return float(digits) if set(digits) & set(".eE") or (kind or "i")[0] in "fb" else int(digits)


def _split(text: str) -> list[str]:
    """Split at top-level commas."""
    parts, depth, start, quoted = [], 0, 0, False
    for i, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif c in "<[({":
            depth += 1
        elif c in ">])}" and not (c == ">" and text[i - 1] == "-"):
            depth -= 1
        elif c == "," and depth == 0:
            parts.append(text[start:i].strip())
            start = i + 1
    tail = text[start:].strip()
    return parts + [tail] if tail else parts
