"""Progress and pictures say in a cell what they show: to a person, or in the HTML, and in nothing that is
compared."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from jupyter_client.manager import start_new_kernel
from nbclient import NotebookClient

from lib.pictures import to_html

CODE = """
from ttvideo.basics.progress import progress
with progress("a long step") as show:
    show("half way")
"""


@pytest.mark.parametrize("person", [True, False])
def test_a_cell_shows_progress_to_a_person_only(person):
    manager, client = start_new_kernel(kernel_name="python3")
    said = []
    try:
        client.execute_interactive(CODE, allow_stdin=person, output_hook=said.append, timeout=60)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    shown = [m["content"]["data"]["text/plain"] for m in said if "data" in m["content"]]
    assert not [m for m in said if m["msg_type"] in ("error", "stream")]
    assert bool(shown) == any("a long step · half way" in text for text in shown) == person
    assert not person or shown[-1] == ""


ALT = 'peak < 8 GB, as a "line"'
CELL = f"""
ALT = {ALT!r}
import matplotlib.pyplot as plt
from lib.pictures import show
figure, axis = plt.subplots(figsize=(1, 1))
show(figure, ALT)
"""


def test_a_picture_has_its_description_once(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    NotebookClient(notebook, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert output.metadata["image/png"]["alt"] == ALT
    nbformat.write(notebook, tmp_path / "one.ipynb")
    (image,) = BeautifulSoup(to_html(tmp_path / "one.ipynb"), "html.parser").find_all("img")
    assert image["alt"] == ALT
