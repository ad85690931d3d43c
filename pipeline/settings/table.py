"""The tables of settings in docs/settings.md. `python -m pipeline.settings.table` brings the page up to date."""

import re
from itertools import groupby
from pathlib import Path

from pipeline.settings.loading import settings_table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
HEADING = "## Every setting\n"  # all that follows it in the page is written by this module


def tables() -> str:
    """A Markdown table for each group of settings."""
    parts = []
    for group, members in groupby(settings_table(), key=lambda row: row[0].rpartition(".")[0]):
        rows = [f"| `{key}` | `{default}` | {_escaped(meaning)} |" for key, default, meaning in members]
        title = f"`{group}`" if group else "General"
        parts.append("\n".join([f"### {title}", "", "| key | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def current_page(page: str) -> str:
    """The page with its tables replaced by the current ones. Raises ValueError if the heading is missing."""
    prose, heading, _ = page.partition(HEADING)
    if not heading:
        raise ValueError(f"docs/settings.md needs the line {HEADING.strip()!r}; the tables follow it")
    return f"{prose}{heading}\n{tables()}"


def _escaped(text: str) -> str:
    """Text as it reads in a cell of a Markdown table."""
    return re.sub(r"([|<>*])", r"\\\1", text)


if __name__ == "__main__":
    PAGE.write_text(current_page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
