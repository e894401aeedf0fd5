"""A progress line during long steps, which leaves nothing behind in a stored notebook."""

import contextlib
import os
import sys

from tqdm import tqdm

# `make run` names its own standard error here, so that a kernel's steps show in the terminal.
STREAM = "MOCHI_PROGRESS"
LINE = "MOCHI_PROGRESS_LINE"  # and here which line of the terminal, counted from its own


@contextlib.contextmanager
def progress(title: str, total: int | None = None):
    """Yields `show(text, step=0)`: the line `title · text`, with the time since the start."""
    with contextlib.ExitStack() as stack:
        stream = _stream(stack)
        if stream is None:
            yield lambda text, step=0: None
            return
        layout = "{desc} [{elapsed}]" if total is None else None
        line = int(os.environ.get(LINE, 0))
        bar = stack.enter_context(
            tqdm(total=total, file=stream, leave=False, bar_format=layout, dynamic_ncols=True, position=line)
        )

        def show(text: str, step: int = 0) -> None:
            bar.set_description_str(f"{title} · {text}", refresh=False)
            bar.update(step)
            bar.refresh()

        show("start")
        yield show


class Cell:
    """A stream that shows its last line under the running cell, and nothing once it is closed."""

    def __init__(self):
        from IPython.display import display

        self.shown = display({"text/plain": ""}, raw=True, display_id=True)

    def write(self, text: str) -> None:
        if line := text.strip():
            self.shown.update({"text/plain": line}, raw=True)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.shown.update({"text/plain": ""}, raw=True)


def _stream(stack):
    if path := os.environ.get(STREAM):
        with contextlib.suppress(OSError):
            stream = stack.enter_context(open(path, "a"))
            return stream if stream.isatty() else None
    if someone_is_there():
        return stack.enter_context(contextlib.closing(Cell()))
    return sys.stderr if sys.stderr.isatty() else None


def someone_is_there() -> bool:
    """Whether this is a notebook in front of a person: only then may the kernel ask for input.

    papermill, nbconvert and nbval execute with `allow_stdin=False`, and their outputs are compared and
    stored.
    """
    kernel = (
        getattr(sys.modules["IPython"].get_ipython(), "kernel", None) if "IPython" in sys.modules else None
    )
    return bool(getattr(kernel, "_allow_stdin", False))
