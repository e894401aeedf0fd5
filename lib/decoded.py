"""What a target makes of a clip, step by step: its frames on disk and in a video, and how close they are."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from ttvideo.basics.compare import RunningComparison
from ttvideo.decoders.stream import Step
from ttvideo.media.frames import FrameFolder, video_file


class Decoded:
    """Follows a run's steps. Frames go to `folder` and to its `frames.mp4` as they come; none is held.

    `frames` are those that the target's lane has, `compared` how close they are to the reference's, as far as
    it goes, `passed` and `steps` count the steps; `programs` is how many were compiled.
    """

    def __init__(self, folder: Path, reference: FrameFolder, fps: int):
        self.video, self.fps = folder / "frames.mp4", fps
        self.reference, self.frames = reference, FrameFolder(folder / "decoded")
        self.compared, self.least_psnr_db = RunningComparison(), float("inf")
        self.steps = self.passed = 0
        self.programs = None

    def follow(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps, one at a time."""
        self.video.unlink(missing_ok=True)
        with video_file(self.video, self.fps) as write:
            for step in steps:
                self.steps, self.passed = self.steps + 1, self.passed + step.verdict.passed
                self.programs = step.verdict.compiled_programs or self.programs
                if step.frames is not None:
                    self.compare(step)
                    self.frames.add(step.frames)
                    write(step.frames)
                yield step

    def compare(self, step: Step) -> None:
        first = len(self.frames)
        count = min(step.frames.shape[2], len(self.reference) - first)
        if count > 0:
            piece = self.compared.add(step.frames[:, :, :count], self.reference.read(first, first + count))
            self.least_psnr_db = min(self.least_psnr_db, piece.psnr_db)
