"""Look at frames: contact sheets, differences, animations and video files."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as imageio
import matplotlib.pyplot as plt
import numpy
import torch
from imageio.v2 import get_writer
from safetensors.torch import load_file, save_file

from ttvideo.basics.errors import Refused


def to_uint8(video_bcthw: torch.Tensor) -> numpy.ndarray:
    """The first video of [B, 3, T, H, W] in [-1, 1] -> uint8 [T, H, W, 3]."""
    if video_bcthw.dim() != 5 or video_bcthw.shape[1] != 3:
        raise Refused("video", f"shape {tuple(video_bcthw.shape)}", "[B, 3, T, H, W]")
    scaled = (video_bcthw[0].detach().float().clamp(-1, 1) + 1) * 127.5
    return scaled.round().byte().permute(1, 2, 3, 0).numpy()


def contact_sheet(videos: dict[str, torch.Tensor], frames: int = 6, across: bool = False) -> plt.Figure:
    """One row a video [B, 3, T, H, W], evenly spaced frames in it; `across`, one column a video."""
    clips = {name: to_uint8(video) for name, video in videos.items()}
    count = len(next(iter(clips.values())))
    picked = numpy.linspace(0, count - 1, min(frames, count)).round().astype(int)
    shape = (len(picked), len(clips)) if across else (len(clips), len(picked))
    wide, tall = (1.25, 1.4) if across else (1.6, 1.75)
    size = wide * shape[1], tall * shape[0]
    figure, axes = plt.subplots(*shape, figsize=size, squeeze=False, layout="constrained")
    for place, (name, thwc) in enumerate(clips.items()):
        line = axes[:, place] if across else axes[place]
        for axis, frame in zip(line, picked):
            axis.imshow(thwc[frame], interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            if place == 0:
                (axis.set_ylabel if across else axis.set_title)(f"frame {frame}", fontsize=7)
        if across:
            line[0].set_title(name.replace(", ", ",\n"), fontsize=8)
        else:
            line[0].set_ylabel(name, fontsize=8)
    return figure


def difference(a_bcthw: torch.Tensor, b_bcthw: torch.Tensor, gain: float = 1.0) -> torch.Tensor:
    """|a - b| times `gain` as a picture: black where they agree, [B, 3, T, H, W] in [-1, 1]."""
    return ((a_bcthw.float() - b_bcthw.float()).abs() * gain).clamp(0, 2) - 1


def side_by_side(videos: dict[str, torch.Tensor]) -> torch.Tensor:
    """Videos of one size next to each other: [B, 3, T, H, W * n]."""
    return torch.cat([video.float() for video in videos.values()], dim=-1)


def write_animation(video_bcthw: torch.Tensor, path: Path, fps: int = 12, scale: int = 3) -> Path:
    """Write a GIF, enlarged by whole pixels."""
    thwc = to_uint8(video_bcthw).repeat(scale, axis=1).repeat(scale, axis=2)
    imageio.imwrite(path, thwc, extension=".gif", duration=1000 / fps, loop=0)
    return path


@contextlib.contextmanager
def video_file(path: Path, fps: int = 12) -> Iterator:
    """An MP4 (H.264) that is written while it is decoded: yields `write(video_bcthw)`, for each piece in
    turn; or a PNG, of the one frame that there is.

    What was written before an error is a video that plays.
    """
    how = {} if path.suffix == ".png" else {"fps": fps, "macro_block_size": 1}
    with contextlib.closing(get_writer(path, **how)) as file:  # its own exit skips errors

        def write(video_bcthw: torch.Tensor) -> None:
            for frame in to_uint8(video_bcthw):
                file.append_data(frame)

        yield write


def write_video(video_bcthw: torch.Tensor, path: Path, fps: int = 12) -> Path:
    """Write an MP4 (H.264)."""
    with video_file(path, fps) as write:
        write(video_bcthw)
    return path


class FrameFolder:
    """A clip's frames on disk, one a file, so that none has to stay in memory: added in order, read from
    anywhere."""

    def __init__(self, folder: Path):
        self.folder, self.count = folder, 0
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(self, video_bcthw: torch.Tensor) -> None:
        for frame in video_bcthw.split(1, dim=2):
            save_file({"frame": frame.contiguous()}, self.path(self.count))
            self.count += 1

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"

    def __len__(self) -> int:
        return self.count

    def read(self, first: int, last: int) -> torch.Tensor:
        """Frames `first` ... `last` - 1, as they were added: [B, 3, last - first, H, W]."""
        return torch.cat([load_file(self.path(number))["frame"] for number in range(first, last)], dim=2)
