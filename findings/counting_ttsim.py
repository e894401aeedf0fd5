"""Build a ttsim that counts what kernels read from DRAM and write to it. Needs g++ and Python; takes 10 s.

    git clone https://github.com/tenstorrent/ttsim
    python findings/counting_ttsim.py ttsim built [--fast]
    make sim TTSIM=built

The checkout itself is left as it is: a copy of it gets a header of counters and a call of it where a core's NoC
request reaches another tile (`noc_cmd_ctrl` in src/tile.cpp), the one place that all of a kernel's reads and writes
pass; what the host transfers doesn't pass it. With --fast matrix products are not computed: the counts are the same, a
convolution is simulated 2.5 times as fast, and outputs are garbage.
Tried with v1.10.0, where Blackhole's SFPGT is also let read the constant registers: kernels of sigmoid and the like,
as the plugin's RISC-V compiler builds them, need it.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = """#pragma once
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <sys/mman.h>
// In the file that TTSIM_DRAM_COUNT names: how many requests of each size, in bytes, first reads, then writes.
static inline void count_dram(bool is_dram, unsigned kind, unsigned bytes) {
    constexpr unsigned SIZES = 16385;
    static uint64_t *counts;
    static bool looked;
    if (!looked) {
        looked = true;
        if (const char *name = getenv("TTSIM_DRAM_COUNT")) {
            int fd = open(name, O_RDWR);
            if (fd < 0) abort();
            void *p = mmap(nullptr, 2 * SIZES * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (p == MAP_FAILED) abort();
            counts = (uint64_t *)p;
        }
    }
    if (is_dram && counts) counts[kind * SIZES + bytes]++;
}
"""
READ = "tile_rd_bytes(src_coordinate, src_addr, &p_tile->sram[dst_addr], noc_at_len_be);"
WRITE = "tile_wr_bytes(dst_coordinate, dst_addr, &p_tile->sram[src_addr], noc_at_len_be);"
# In a file, from a text on, every "old" becomes "new"; how often it must be there.
CHANGES = (
    ("tile.cpp", "", '#include "sim.h"', '#include "dram_count.h"\n#include "sim.h"', 1),
    ("tile.cpp", "", READ, f"count_dram(src_tile_type == 'D', 0, noc_at_len_be); {READ}", 1),
    ("tile.cpp", "", WRITE, f"count_dram(dst_tile_type == 'D', 1, noc_at_len_be); {WRITE}", 2),
    ("tensix.cpp", "TENSIX_EXECUTE_SFPGT() {", "lreg_dest < 8", "lreg_dest < (instr_mod1 == 1 ? 16 : 8)", 1),
)
NO_PRODUCTS = (
    "tensix.cpp", "uint32_t src_b[N_ROWS][16], src_a[ROW_SIZE][16];", "if (is_int8) {",
    "if (true) {} else if (is_int8) {", 1,
)  # fmt: skip
LIBRARIES = {"libttsim_bh.so": "src/_out/release_bh/libttsim.so", "libttsim_wh.so": "src/_out/release_wh/libttsim.so"}


def build(checkout: Path, out: Path, fast: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "ttsim"
        shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns("_out", ".git"))
        (copy / "src" / "dram_count.h").write_text(HEADER)
        for change in (*CHANGES, *([NO_PRODUCTS] if fast else [])):
            apply(copy / "src", *change)
        subprocess.run(["./make.py", *LIBRARIES.values()], cwd=copy, check=True, stdout=subprocess.DEVNULL)
        out.mkdir(parents=True, exist_ok=True)
        for name, built in LIBRARIES.items():
            shutil.copyfile(copy / built, out / name)
    (out / "README.md").write_text(f"# ttsim v1.10.0 with a count of DRAM transfers{', without products' * fast}\n")


def apply(sources: Path, name: str, after: str, old: str, new: str, times: int) -> None:
    """Up to the next function where `after` is one's beginning."""
    text = (sources / name).read_text()
    begin = text.index(after)
    end = text.find("\n}\n", begin) if after else len(text)
    part = text[begin:end]
    if part.count(old) != times:
        sys.exit(f"{name}: {old!r} stands there {part.count(old)} times, not {times}: another version of ttsim?")
    (sources / name).write_text(text[:begin] + part.replace(old, new) + text[end:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--fast", action="store_true")
    options = parser.parse_args()
    build(options.checkout, options.out, options.fast)
