"""Pictures say what they show, in the notebook and in the HTML."""

import nbformat
from bs4 import BeautifulSoup
from nbclient import NotebookClient

from lib.pictures import to_html

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
