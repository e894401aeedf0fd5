"""`ttvideo`: decode a clip without a notebook, for its video and the target's verdicts; choose a conv3d's
blocks.

    ttvideo decode LATENTS [--model MODEL] [--target TARGET] [--out VIDEO] [--keep DIR] …
    ttvideo blocks TxHxW C_IN C_OUT [--kernel 3x3x3] [--board p150] …
    ttvideo blocks --all MODEL [--json]

Exit codes: 0 all steps pass, 1 a step failed, 2 something given can't be used, 130 interrupted.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLMochi

from ttvideo.basics.compare import compare
from ttvideo.basics.errors import Refused
from ttvideo.decoders.budget import plan
from ttvideo.decoders.conv_sizes import block_rows, model_rows
from ttvideo.decoders.host import HostDecoder
from ttvideo.decoders.strategy import decoder_for
from ttvideo.decoders.stream import decode_on_host, stream_decode
from ttvideo.media.frames import video_file
from ttvideo.media.given import given_by
from ttvideo.media.latents import DTYPES, HOST_DTYPES, channels_of, colours_of, load_latents
from ttvideo.media.parameters import PARAMETERS
from ttvideo.media.video_models import MODELS, load_autoencoder
from ttvideo.programs.conv3d_blocks import Blocks, Size
from ttvideo.targets.boards import BOARDS, FIDELITIES
from ttvideo.targets.target import resolve

INTERRUPTED = 130
EXIT_CODES = "exit codes: 0 all steps pass, 1 a step failed, 2 something given can't be used, 130 interrupted"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="ttvideo", description="Video decoders on Tenstorrent chips.")
    commands = top.add_subparsers(dest="command", required=True)
    add_blocks(commands)
    decode = commands.add_parser(
        "decode",
        help="latents to video, step by step, in constant memory",
        description="Decode latents to a video. Where the target has results (cpu, cuda, xla-cpu, tt), the "
        "video is the target's; where it has none (compile only, mocked), it is that of the frames that the "
        "host decodes, which it does for Mochi alone.",
        epilog=EXIT_CODES,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    for name, parameter in PARAMETERS.items():
        decode.add_argument(flag(name), type=parameter.type, default=parameter.default, help=parameter.says)
    decode.add_argument(
        "--out", default=Path("video.mp4"), type=Path, help="the video, .mp4, or an image, .png"
    )
    return top


def add_blocks(commands) -> None:
    blocks = commands.add_parser(
        "blocks",
        help="the blocks in which ttnn.conv3d is expected to take the least time",
        description="The best blocks of a ttnn.conv3d of stride 1 on one chip: expected microseconds by a "
        "model fitted to published times, with its range and the roofline's least, bytes of L1 and of DRAM, "
        "and what binds.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = blocks.add_argument
    add("out", nargs="?", metavar="TxHxW", help="the output's frames, height and width")
    add("c_in", nargs="?", type=int, metavar="C_IN", help="input channels, a multiple of 32")
    add("c_out", nargs="?", type=int, metavar="C_OUT", help="output channels, a multiple of 32")
    add("--kernel", default="3x3x3", metavar="TxHxW")
    add("--padding", default="0x1x1", metavar="TxHxW", help="on each side")
    add("--board", default="p150", choices=BOARDS)
    add("--fidelity", default="hifi3", choices=FIDELITIES, help="the multiplier's passes")
    add("--best", default=3, type=int, help="how many")
    add(
        "--all",
        metavar="MODEL",
        help=f"each convolution of a steady step of {', '.join(MODELS)}, at its default size",
    )
    add("--json", action="store_true", help="rows instead of a table")


def blocks(options: argparse.Namespace) -> int:
    """What `ttvideo blocks` does. Raises `Refused`."""
    if options.all is None:
        kernel, padding = sizes("--kernel", options.kernel), sizes("--padding", options.padding, least=0)
        size = Size(sizes("TxHxW", options.out), options.c_in or 0, options.c_out or 0, kernel, padding)
        if min(size.c_in, size.c_out, *size.input, options.best) < 1:
            raise Refused("conv3d", f"{size}, best {options.best}", "sizes and channels of at least 1")
        rows = block_rows(size, options.board, options.fidelity, options.best)
    else:
        asked = re.sub(r"[^a-z0-9.]", "", options.all.lower())
        models = [
            m
            for name, m in MODELS.items()
            if asked and re.sub(r"[^a-z0-9.]", "", name.lower()).startswith(asked)
        ]
        if not models:
            raise Refused("model", repr(options.all), f"one of {', '.join(MODELS)}, or how some begin")
        rows = [
            {"model": m.name} | row for m in models for row in model_rows(m, options.board, options.fidelity)
        ]
    if options.json:
        print(json.dumps(rows, indent=1))
        return 0
    for row in rows:
        config = ", ".join(f"{name.capitalize()}={row[name]}" for name in Blocks(0, 0, 0, 0, 0).config())
        names = (
            f"{row.get('model', '')} {row['convolutions'][0]} ({len(row['convolutions'])})"
            if row["convolutions"]
            else ""
        )
        print(
            f"{names or 'conv3d'}: {'x'.join(map(str, row['out']))}, {row['c_in']} to {row['c_out']}: "
            f"{row['us']:,.0f} µs ({row['low_us']:,.0f} to {row['high_us']:,.0f}; least "
            f"{row['floor_us']:,.0f}), {row['binds']} binds, L1 {row['l1_bytes']:,} B, DRAM "
            f"{row['dram_bytes'] / 1e6:,.1f} MB\n    ttnn.Conv3dConfig({config})"
        )
    return 0


def sizes(name: str, text: str | None, least: int = 1) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text or "")
    if not found or min(map(int, found.groups())) < least:
        raise Refused(name, repr(text), f"three numbers of at least {least}, such as 3x120x212")
    return tuple(map(int, found.groups()))


def flag(name: str) -> str:
    return name if name == "latents" else f"--{name.replace('_', '-')}"


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    done = []
    try:
        return blocks(options) if options.command == "blocks" else decode(options, done)
    except Refused as refused:
        print(f"ttvideo: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = (
            "the same command goes on from there"
            if options.keep
            else "with --keep DIR a run can go on where it ended"
        )
        print(f"\nttvideo: interrupted after {len(done)} steps; {again}", file=sys.stderr)
        return INTERRUPTED


def decode(options: argparse.Namespace, done: list) -> int:
    """What `ttvideo decode` does; `done` gets the name of each step that is. Raises `Refused`."""
    for name, parameter in PARAMETERS.items():
        if (value := getattr(options, name)) is not None:
            parameter.check(flag(name), value)
    options.keep = Path(options.keep) if options.keep else None
    target = resolve(options.target)
    target.plugin()
    resolve(options.host).plugin()
    if not options.out.parent.is_dir() or options.out.suffix not in (".mp4", ".png"):
        need = "a name that ends in .mp4, of an image .png, in a folder that is there"
        raise Refused("out", str(options.out), need)
    vae = load_autoencoder(options.model, options.seed, options.variant)
    if (colours := colours_of(vae)) != 3:
        raise Refused("model", f"one whose frames have {colours} channels", "3: its video is written")
    shape = (1, channels_of(vae), options.latent_frames, options.latent_height, options.latent_width)
    z = load_latents(options.latents, vae, shape, options.seed, options.latents_are, options.dropped_latents)
    if len(z) > 1:
        raise Refused("latents", f"{len(z)} clips in one file", "one: its video is written")
    if options.out.suffix == ".png" and not (z.shape[2] == 1 and given_by(vae).still):
        raise Refused("out", str(options.out), "a name that ends in .mp4: more than one frame is written")
    real = target.outputs_are_real
    written = decoder_for(vae, target, options.strategy, DTYPES[options.dtype], eight_bits=real)
    written = at_timestep(written, options.timestep)
    if real or not isinstance(vae, AutoencoderKLMochi):
        return on_target(options, written, z, done)
    return on_host_and_target(options, vae.decoder, written, z, done)


def at_timestep(decoder, timestep: float | None):
    """The decoder with its timestep. Raises `Refused` where it wants one and has none, or the reverse."""
    wanted = getattr(decoder, "embedder", None) is not None
    if wanted != (timestep is not None):
        need = "a decode_timestep, such as 0.05" if wanted else "none: the decoder isn't conditioned on one"
        raise Refused("--timestep", timestep, need)
    if wanted:
        decoder.temb = torch.tensor([timestep], dtype=next(decoder.parameters()).dtype)
    return decoder


def on_target(options, decoder, z, done: list) -> int:
    dtype, frames = DTYPES[options.dtype], 0
    steps = stream_decode(decoder, z.to(dtype), options.target, options.frames_per_step, keep=options.keep)
    with video_file(options.out, options.fps) as write:
        for step in steps:
            print(step.verdict, flush=True)
            if not step.verdict.passed:
                return 1
            done.append(step.verdict.name)
            if step.frames is not None:
                write(step.frames)
                frames += step.frames.shape[2]
    print(
        f"{options.out}: {frames} frames of {options.target}"
        if frames
        else f"no video: {options.target} has no results"
    )
    return 0


def on_host_and_target(options, decoder, written, z, done: list) -> int:
    evaluates = options.evaluated_frames > 0
    steps = written.steps(z.shape[2], options.frames_per_step)
    what = plan(
        decoder,
        z.shape,
        options.host_frames,
        options.evaluated_frames,
        steps,
        evaluates,
        HOST_DTYPES.get(options.host_dtype),
        options.host,
    )
    print(what, flush=True)
    keep = {name: options.keep and options.keep / name for name in ("host", "target")}
    host = HostDecoder(decoder.to(what.dtype))
    reference, z_host = [], z[:, :, : what.host_frames]
    with video_file(options.out, options.fps) as write:
        for frames in decode_on_host(host, z_host, host=options.host, keep=keep["host"]):
            write(frames)
            done.append("host")
            if evaluates:
                reference.append(frames)
    print(
        f"{options.out}: {what.host_frames} of {what.latent_frames} latent frames, decoded on the host",
        flush=True,
    )
    dtype, passed, seen = DTYPES[options.dtype], True, 0
    host = None
    evaluate = what.evaluated_steps
    reference = torch.cat(reference, dim=2) if evaluate else None
    for step in stream_decode(
        written, z.to(dtype), options.target, options.frames_per_step, evaluate, keep["target"]
    ):
        print(step.verdict, flush=True)
        if step.frames is not None:
            close = compare(step.frames, reference[:, :, seen : seen + step.frames.shape[2]])
            seen += step.frames.shape[2]
            print(f"  evaluated on the host: PCC {close.pcc:.6f}, PSNR {close.psnr_db:.1f} dB", flush=True)
        passed &= step.verdict.passed
        done.append(step.verdict.name)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
