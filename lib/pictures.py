"""Pictures with a description, for those who can't see them: in the notebook, in JupyterLab and in the HTML."""

from pathlib import Path

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure
from nbconvert import HTMLExporter

TEMPLATES = Path(__file__).with_name("templates")


def show(figure: Figure, alt: str) -> None:
    """Display a figure with `alt`, what it shows in a sentence, as its alternative text."""
    plt.close(figure)  # else the inline backend shows it once more
    display(figure, metadata={"image/png": {"alt": alt}})


def to_html(notebook: Path) -> str:
    """A notebook as one HTML page. nbconvert's own template has no place for the descriptions; ours adds it."""
    exporter = HTMLExporter(
        template_name="described",
        extra_template_basedirs=[str(TEMPLATES)],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    return exporter.from_filename(str(notebook))[0]
