"""OUT of evaluate.py: whose it is."""

import os
from pathlib import Path

from pipeline.runs.files import RunFolderError, read_json, write_json

MARKER = "evaluation.json"
VIEWS, RECONSTRUCTIONS, RECONSTRUCTION_CONFIG = "views", "reconstructions", "reconstruction.yaml"
OWN_NAMES = (
    MARKER, "results.csv", "summary.json", "summary.md", "score_against_yaw.png", "quality_against_seconds.png",
    "contact_sheet.png", VIEWS, RECONSTRUCTIONS, RECONSTRUCTION_CONFIG,
)  # fmt: skip
_PROGRAM = "evaluate.py of FaceRefiner"


def require_own(out: Path) -> None:
    """Raises RunFolderError where a folder that evaluate.py has not marked holds something under a name it writes."""
    if read_json(out / MARKER).get("program") == _PROGRAM:
        return
    for name in OWN_NAMES:
        if os.path.lexists(out / name):
            raise RunFolderError(
                f"{out / name} is not from evaluate.py and would be lost: choose another folder with -o"
            )


def mark_own(out: Path) -> None:
    """Mark an existing folder as one of evaluate.py. Raises RunFolderError where it cannot be written."""
    write_json(out / MARKER, {"program": _PROGRAM})
