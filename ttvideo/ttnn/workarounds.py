"""What a simulated chip's kernels are built with otherwise than a card's: one named work-around for each
chip.

Each is for what ttsim v1.10.0 stops at (`UnsupportedFunctionality`), and changes what kernels are built of,
never the simulator: Wormhole's unpack to SrcA (docs/ttsim-wormhole.md), Blackhole's comparison with a
constant register (docs/ttsim-blackhole.md). Every verdict from there says so.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ttvideo.basics.errors import Refused
from ttvideo.basics.folders import own_name, share, write

Links = dict[str, Path]


@dataclass(frozen=True)
class Workaround:
    """`name` stands in its folders' names, `says` in verdicts; `links` makes what differs and says where it
    lies."""

    name: str
    says: str
    links: Callable[[Path, Path, Path], Links]  # of a root, TT-NN's package and the RISC-V compiler


HEADER = Path("tt_metal/tt-llk/tt_llk_wormhole_b0/common/inc/cunpack_common.h")
DUMMY = "    TT_UNPACR(SrcA, 0, 0, context_id, 0, 1"


def header_without_dummy(root: Path, ttnn: Path, compiler: Path) -> Links:
    write(root / HEADER, dropped(DUMMY, (ttnn / HEADER).read_text()))
    return beside(HEADER, ttnn) | {"runtime/sfpi": compiler}


def beside(path: Path, original: Path) -> Links:
    """Links to all that lies on the way to `path`, but for itself, under its first folder."""
    way = {path, *path.parents}
    folders = [folder for folder in way if folder not in (path, Path("."))]
    return {
        str(folder / entry.name): entry
        for folder in folders
        for entry in (original / folder).iterdir()
        if folder / entry.name not in way
    }


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


def assembler_in_front(root: Path, ttnn: Path, compiler: Path) -> Links:
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
    return {"tt_metal": ttnn / "tt_metal", "runtime/sfpi": copy}


WORKAROUNDS = {
    "wormhole_b0": Workaround(
        "without-dummy",
        "Wormhole's kernels are built without the unpack to SrcA that follows each unpack to dest, against "
        "a hardware bug (TEN-3868): it writes nothing that is read, and ttsim stops at it",
        header_without_dummy,
    ),
    "blackhole": Workaround(
        "by-sign",
        "Blackhole's kernels are assembled with comparisons with +0.0 (sfpgt, sfple of L9) written as "
        "sfpsetcc, which looks at the sign bit: the same bits, and ttsim stops at the other form",
        assembler_in_front,
    ),
}
