"""A progress line during long steps, which leaves nothing behind in a stored notebook."""

import contextlib
import os
import sys

from tqdm import tqdm

# `make run` names its own standard error here, so that a kernel's steps show in the terminal.
STREAM = "MOCHI_PROGRESS"


@contextlib.contextmanager
def progress(title: str, total: int | None = None):
    """Yields `show(text, step=0)`: the line `title · text`, with the time since the start."""
    with contextlib.ExitStack() as stack:
        stream = _stream(stack)
        if stream is None:
            yield lambda text, step=0: None
            return
        layout = "{desc} [{elapsed}]" if total is None else None
        bar = stack.enter_context(tqdm(total=total, file=stream, leave=False, bar_format=layout, dynamic_ncols=True))

        def show(text: str, step: int = 0) -> None:
            bar.set_description_str(f"{title} · {text}", refresh=False)
            bar.update(step)
            bar.refresh()

        show("start")
        yield show


def _stream(stack):
    if path := os.environ.get(STREAM):
        with contextlib.suppress(OSError):
            stream = stack.enter_context(open(path, "a"))
            return stream if stream.isatty() else None
    return sys.stderr if sys.stderr.isatty() else None
