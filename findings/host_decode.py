"""The streamed decoder on the host beside diffusers' own, with its options: seconds and memory. Stores JSON.

    python -m findings host_decode [--sizes 60x106] [--latent-frames 1,2,3] [--dtypes bfloat16,float32]
                                   [--cases streamed,plain,framewise,tiling] [--rounds 1] [--out FILE]

Full-size random weights, random latents. Each case decodes in a process of its own, in turns, so that a peak is its
own; the peak counts from the start of decoding, weights included. CPU seconds beside seconds, for busy machines. Cases
already in --out are kept.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from lib.stored import RESULTS, store
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.stream import decode_on_host
from ttvideo.media.models import load_vae

CASES = ("streamed", "plain", "framewise", "tiling", "tiling framewise")


def one(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> dict:
    """Decode in this process: seconds, CPU seconds, peak bytes; None for a case that memory doesn't hold."""
    vae = load_vae("random")
    vae.encoder = None
    vae = vae.to(dtype)
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    if name == "streamed":
        decoder = HostDecoder(vae.decoder)
        vae.decoder = None
    elif "tiling" in name:
        vae.enable_tiling()
    vae.use_framewise_decoding = "framewise" in name
    Path("/proc/self/clear_refs").write_text("5")  # the peak, from here on
    started = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        if name == "streamed":
            frames = sum(frames.shape[2] for frames in decode_on_host(decoder, z))
        else:
            frames = vae.decode(z).sample.shape[2]
    row = {"seconds": time.perf_counter() - started[0], "cpu_seconds": time.process_time() - started[1]}
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return row | {"peak_bytes": 1024 * int(peak.split()[1]), "frames": frames}


def measured(name: str, shape: tuple[int, ...], dtype: str) -> dict:
    command = [sys.executable, "-m", "findings", "host_decode", "--child", json.dumps([name, shape, dtype])]
    child = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    return json.loads(child.stdout) if child.returncode == 0 else {"failed": f"exit status {child.returncode}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="60x106", help="latent height x width, several with commas")
    parser.add_argument("--latent-frames", default="1,2,3")
    parser.add_argument("--dtypes", default="bfloat16,float32")
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "host_decode.json")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, shape, dtype = json.loads(options.child)
        print(json.dumps(one(name, tuple(shape), getattr(torch, dtype))))
        return
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    for frames in map(int, options.latent_frames.split(",")):
        for size in options.sizes.split(","):
            for dtype in options.dtypes.split(","):
                shape = (1, 12, frames, *map(int, size.split("x")))
                runs = {name: [] for name in options.cases.split(",")}
                for name in [*runs] * options.rounds:
                    runs[name].append(measured(name, shape, dtype))
                    print(name, shape, dtype, runs[name][-1], file=sys.stderr, flush=True)
                for name, found in runs.items():
                    key = {"case": name, "shape": list(shape), "dtype": dtype}
                    rows = [row for row in rows if {k: row[k] for k in key} != key] + [key | median(found)]
                host = {"cores": os.cpu_count(), "memory_bytes": psutil.virtual_memory().total}
                store("host_decode", {**host, "rows": rows}, options.out)


def median(found: list[dict]) -> dict:
    failed = [run for run in found if "failed" in run]
    return failed[0] if failed else {key: statistics.median(run[key] for run in found) for key in found[0]}


if __name__ == "__main__":
    main()
