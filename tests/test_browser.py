"""JupyterLab in a real browser, used as a person does: by its menus, looking at what cells show."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from playwright.sync_api import sync_playwright

from lib.project import PROJECT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium` brings one"),
]

START_SECONDS, RUN_SECONDS, INTERRUPT_SECONDS = 60, 1800, 60
# Else cells out of sight aren't in the page, and a question about news lies over it.
SETTINGS = {
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false"},
}
IDLE = re.compile(r"^Python 3.* \| Idle$")  # the status bar, of a notebook that has its kernel
CELL, PROMPT, OUTPUT = ".jp-Notebook .jp-CodeCell", ".jp-InputArea-prompt", ".jp-OutputArea-output"
BEGUN = f"{CELL} {PROMPT}:text-matches('[0-9*]')"
WAITING = f"{CELL}:has({PROMPT}:text-is('[*]:'))"  # the first of them is the one that runs
PROGRESS = re.compile(r"\S · \S.*\d\d:\d\d")  # as ttvideo.basics.progress writes it


@pytest.fixture
def lab(tmp_path):
    """A server of its own on copies of the notebooks, and a page; nothing of either stays."""
    for path in (PROJECT / "notebooks").glob("*.ipynb"):
        copy(path, tmp_path / "notebooks")
    (tmp_path / "config" / "labconfig").mkdir(parents=True)
    (tmp_path / "config" / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    variables = {
        f"JUPYTER_{name.upper()}_DIR": str(tmp_path / name) for name in ("config", "data", "runtime")
    }
    variables |= {"IPYTHONDIR": str(tmp_path / "ipython"), "PYTHONPATH": str(PROJECT)}
    options = ["--no-browser", "--allow-root", "--port=0", "--expose-app-in-browser"]
    with open(tmp_path / "log.txt", "w") as log:
        server = psutil.Popen(
            [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={tmp_path / 'notebooks'}"],
            env=os.environ | variables, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        with sync_playwright() as playwright, playwright.chromium.launch(executable_path=CHROMIUM) as browser:
            yield Lab(server, address(tmp_path / "runtime", server), browser.new_page())
    finally:
        # At once: a kernel that is asked to end starts workers until it does.
        for process in (server, *server.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        server.wait()


def copy(path, folder) -> None:
    """The notebook without its stored outputs."""
    notebook = nbformat.read(path, 4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    folder.mkdir(exist_ok=True)
    nbformat.write(notebook, folder / path.name)


def address(runtime, server) -> str:
    """Of a notebook, but for its name."""
    deadline = time.monotonic() + START_SECONDS
    while not (found := list(runtime.glob("jpserver-*.json"))):
        assert server.poll() is None and time.monotonic() < deadline, (runtime.parent / "log.txt").read_text()
        time.sleep(0.5)
    told = json.loads(found[0].read_text())
    return f"{told['url']}lab/tree/{{}}.ipynb?token={told['token']}"


class Lab:
    def __init__(self, server: psutil.Process, address: str, page):
        self.server, self.address, self.page = server, address, page

    def open(self, name: str) -> None:
        self.page.goto(self.address.format(name))
        self.page.get_by_text(IDLE).wait_for(timeout=1000 * START_SECONDS)

    def choose(self, menu: str, command: str) -> None:
        self.page.get_by_role("menubar").get_by_role("menuitem", name=menu, exact=True).click()
        self.page.locator(f".lm-Menu-item[data-command='{command}']").click()

    def run_all(self):
        """Yields the running cell's outputs, as they are shown, until no cell waits."""
        self.choose("Run", "runmenu:run-all")
        self.page.locator(BEGUN).first.wait_for()
        yield from self.outputs(RUN_SECONDS)

    def outputs(self, seconds: float):
        waiting, deadline = self.page.locator(WAITING), time.monotonic() + seconds
        while waiting.count():
            assert time.monotonic() < deadline, f"cells wait after {seconds} s: {waiting.all_inner_texts()}"
            yield waiting.first.locator(OUTPUT).all_inner_texts()
            self.page.wait_for_timeout(300)

    def cells(self) -> list:
        """The notebook's code cells, as they would be saved."""
        notebook = self.page.evaluate("jupyterapp.shell.currentWidget.model.toJSON()")
        return [cell for cell in nbformat.from_dict(notebook).cells if cell.cell_type == "code"]

    def errors(self) -> list[str]:
        outputs = [output for cell in self.cells() for output in cell.outputs]
        return [f"{output.ename}: {output.evalue}" for output in outputs if output.output_type == "error"]

    def children(self) -> list[psutil.Process]:
        """Of the kernel."""
        (kernel,) = (child for child in self.server.children() if "ipykernel_launcher" in child.cmdline())
        return kernel.children(recursive=True)


def shows_progress(outputs: list[str]) -> bool:
    return any(PROGRESS.search(text) for text in outputs)


@pytest.mark.parametrize("name", ["01_repro", "03_full_decoder"])  # nbval runs the others
def test_a_notebook_runs_and_says_where_it_is(lab, name):
    lab.open(name)
    seen = [outputs for outputs in lab.run_all() if shows_progress(outputs)]
    cells = lab.cells()
    assert not lab.errors() and [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert seen and not lab.children()


def test_an_interrupt_gives_the_kernel_back(lab):
    lab.open("01_repro")
    next(outputs for outputs in lab.run_all() if shows_progress(outputs))
    assert lab.children()
    lab.choose("Kernel", "kernelmenu:interrupt")
    list(lab.outputs(INTERRUPT_SECONDS))
    assert lab.errors() == ["KeyboardInterrupt: "] and not lab.children()
    executed = max(cell.execution_count or 0 for cell in lab.cells())
    lab.page.locator(CELL).first.click()
    lab.choose("Run", "runmenu:run")
    lab.page.locator(f"{CELL} {PROMPT}:text-is('[{executed + 1}]:')").wait_for()
