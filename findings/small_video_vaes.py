"""A small decoder of each video model, streamed on simulated chips by TT-NN's own kernels, against float64.

    python -m findings small_video_vaes [--models Wan 2.1;…] [--targets n150-ttsim,p150-ttsim] [--out FILE]

Minutes a model and chip. Rows of other models and chips that are in --out already stay there.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from findings.families import family_row
from lib.stored import RESULTS, store
from ttvideo.media.video_models import MODELS
from ttvideo.ttnn.places import ttnn_version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=";".join(MODELS), help="names, with ; between them")
    parser.add_argument("--targets", default="n150-ttsim,p150-ttsim")
    parser.add_argument("--out", type=Path, default=RESULTS / "small_video_vaes.json")
    options = parser.parse_args()
    for model in options.models.split(";"):
        for target in options.targets.split(","):
            started = time.perf_counter()
            row = family_row(model, target).as_dict()
            row["seconds"] = round(time.perf_counter() - started, 1)
            print(row, file=sys.stderr, flush=True)
            rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
            rows = [r for r in rows if (r["model"], r["target"]) != (model, target)]
            store("small_video_vaes", {"rows": [*rows, row]}, options.out, ttnn=ttnn_version())


if __name__ == "__main__":
    main()
