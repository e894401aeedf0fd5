"""What a simulated chip's kernels are built with otherwise than a card's: one named work-around for each
chip.

Each is for what ttsim v1.10.0 stops at (`UnsupportedFunctionality`), and changes what kernels are built of,
never the simulator: Wormhole's unpack to SrcA (docs/ttsim-wormhole.md), Blackhole's comparison with a
constant register (docs/ttsim-blackhole.md). Every verdict from there says so.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import own_name, share

Edits = dict[Path, Callable[[str], str]]  # of TT-NN's own files, by their paths in its package


@dataclass(frozen=True)
class Workaround:
    """`name` stands in its folders' names, `says` in verdicts; `edits` and `compiler`, of the RISC-V
    compiler's folder, are what differs."""

    name: str
    says: str
    edits: Edits = field(default_factory=dict)
    compiler: Callable[[Path], Path] = Path


HEADER = Path("tt_metal/tt-llk/tt_llk_wormhole_b0/common/inc/cunpack_common.h")
DUMMY = "    TT_UNPACR(SrcA, 0, 0, context_id, 0, 1"


def dropped(begin: str, text: str) -> str:
    """`text` without its one line that begins so. Raises `Refused` if there is another number of them."""
    lines = text.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(begin)]
    if len(lines) - len(kept) != 1:
        raise Refused("TT-NN's kernels", f"{len(lines) - len(kept)} lines {begin.strip()!r}", "exactly one")
    return "".join(kept)


ASSEMBLER = Path("compiler/riscv-tt-elf/bin/as")
# L9 is the constant +0.0; the comparison is of sign and magnitude, −0 under +0: of the other's sign bit
# alone.
BY_SIGN = r"""s/\bsfpgt\s+L9,\s*(L[0-9]+),\s*0,\s*1\b/sfpsetcc \1, 0, 0/I
s/\bsfple\s+L9,\s*(L[0-9]+),\s*0,\s*1\b/sfpsetcc \1, 0, 4/I"""
# The compiler hands it a temporary file of its own, as the last word.
IN_FRONT = f"""#!/bin/sh
for source; do :; done
case $source in
*.s) grep -qiE 'sfp(gt|le)\\s+L9,' "$source" && sed -E -i '{BY_SIGN}' "$source" ;;
esac
exec "$0-unchanged" "$@"
"""


def assembler_in_front(compiler: Path) -> Path:
    copy = compiler.with_name(f"{compiler.name}-by-sign")
    if not copy.is_dir():
        part = Path(f"{copy}.{own_name()}")
        try:
            # The compiler finds its assembler from where it lies itself, so links won't do.
            shutil.copytree(compiler, part, symlinks=True, copy_function=share)
            (part / ASSEMBLER).rename(part / f"{ASSEMBLER}-unchanged")
            (part / ASSEMBLER).write_text(IN_FRONT)
            (part / ASSEMBLER).chmod(0o755)
            part.rename(copy)
        except OSError:
            if not copy.is_dir():  # else another process was first
                raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return copy


WORKAROUNDS = {
    "wormhole_b0": Workaround(
        "without-dummy",
        "Wormhole's kernels are built without the unpack to SrcA that follows each unpack to dest, against "
        "a hardware bug (TEN-3868): it writes nothing that is read, and ttsim stops at it",
        edits={HEADER: partial(dropped, DUMMY)},
    ),
    "blackhole": Workaround(
        "by-sign",
        "Blackhole's kernels are assembled with comparisons with +0.0 (sfpgt, sfple of L9) written as "
        "sfpsetcc, which looks at the sign bit: the same bits, and ttsim stops at the other form",
        compiler=assembler_in_front,
    ),
}
