"""Scripts that make stored results again; `python -m findings` lists them."""
