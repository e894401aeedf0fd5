"""Where this checkout lies: its notebooks, findings and outputs."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
