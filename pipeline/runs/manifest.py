"""manifest.json and summary.csv of OUT: what a run was, and what became of every photo."""

import csv
import importlib.metadata
import io
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs.files import read_json, write_json, write_text
from pipeline.settings.command_line import Arguments
from pipeline.settings.loading import to_yaml

MANIFEST_VERSION = 1
STAGES = ("reconstruction", "refinement")
STATUSES = ("done", "failed", "skipped")
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


@dataclass(frozen=True)
class Outcome:
    """What became of a photo in a stage."""

    name: str
    status: str  # one of STATUSES
    line: str  # for the terminal, without the name
    message: str = ""  # for the manifest: why it failed
    seconds: float = 0.0
    faces: tuple[str, ...] = ()  # names of its faces; (): the photo's own


class Manifest:
    """manifest.json, as the last run left it and as this one continues it. It is on disk when a method returns."""

    def __init__(self, out: Path):
        self.content = _sound_manifest(read_json(out / "manifest.json"))
        self._out, self._stage, self._names = out, "", []

    def start(
        self,
        stage: str,
        names: Sequence[str],
        arguments: Arguments,
        device: str,
        assets: Sequence[Mapping],
        notes: Mapping[str, str],
    ) -> None:
        """Write config.yaml and the head of the manifest, and forget photos that are neither here nor asked for.

        stage: one of STAGES. names: of all photos and faces of this run. assets: what the stage uses, each with `name`,
        `licence` and what else is known, added to those of the other stage. notes: further entries. Raises RunFolderError.
        """
        if stage not in STAGES:
            raise ValueError(f"stage is {stage!r}, allowed are {', '.join(STAGES)}")
        self._stage, self._names = stage, list(dict.fromkeys(names))
        asked_for, former = set(names), self.content
        assets = {entry["name"]: dict(entry) for entry in [*former["assets"], *assets]}
        photos = {
            name: entry for name, entry in former["photos"].items() if name in asked_for or (self._out / name).is_dir()
        }
        self.content = {
            "version": MANIFEST_VERSION,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": arguments.config_name,
            "seed": arguments.config.seed,
            "command": arguments.command,
            "device": {**former["device"], stage: device},
            "software": software_versions(),
            "assets": list(assets.values()),
            "non_commercial_because_of": [name for name, entry in assets.items() if entry.get("non_commercial")],
            "photos": photos,
            **notes,
        }
        write_text(self._out / "config.yaml", to_yaml(arguments.config))
        self._write()

    def record(self, outcomes: Sequence[Outcome]) -> None:
        """What became of photos in this stage; written once for all.

        A photo has failed where a stage has, was skipped where every stage was, and is done otherwise.
        """
        for outcome in outcomes:
            if outcome.status not in STATUSES:
                raise ValueError(f"status is {outcome.status!r}, allowed are {', '.join(STATUSES)}")
            if not self._stage:
                raise RuntimeError("Manifest.start comes before Manifest.record")
            names = outcome.faces or (outcome.name,)
            for name in names:
                self._note(name, outcome.status, outcome.message, outcome.seconds / len(names))
        if outcomes:
            self._write()

    def _note(self, name: str, status: str, message: str, seconds: float) -> None:
        # A new reconstruction makes what was known of the refinement out of date.
        former = {} if self._stage == STAGES[0] else self.content["photos"].get(name, {}).get("stages", {})
        stages = {**former, self._stage: {"status": status, "message": message, "seconds": round(seconds, 2)}}
        found = [stage["status"] for stage in stages.values()]
        overall = "failed" if "failed" in found else "skipped" if set(found) == {"skipped"} else "done"
        messages = [stage["message"] for stage in stages.values() if stage["message"]]
        self.content["photos"][name] = {
            "status": overall,
            "message": "; ".join(messages),
            "seconds": round(sum(stage["seconds"] for stage in stages.values()), 2),
            "stages": stages,
        }

    def write_summary(self) -> None:
        """summary.csv: a line for each photo of this run, its status and the figures of its metrics.json.

        Nested figures get dotted names (`seconds.refine`); lists and texts are left out. A text that a spreadsheet would
        take for a formula (a photo may be called =1+1) begins with an apostrophe. Raises RunFolderError.
        """
        photos = self.content["photos"]
        rows = []
        for name in self._names:
            entry = photos.get(name, {})
            metrics = dict(_figures(read_json(self._out / name / "metrics.json")))
            outcome = {key: _as_cell(entry.get(key, "")) for key in ("status", "message")}
            rows.append({"photo": _as_cell(name), **outcome, **metrics})
        columns = list(dict.fromkeys(["photo", "status", "message", *(key for row in rows for key in row)]))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self._out / "summary.csv", text.getvalue())

    def _write(self) -> None:
        write_json(self._out / "manifest.json", self.content)


def software_versions() -> dict:
    """Versions of Python, the platform and every package of requirements.txt (None: not installed)."""
    packages = {}
    for line in _REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if re.match(r"[A-Za-z0-9]", line):
            name = re.split(r"[^A-Za-z0-9._-]", line)[0]
            try:
                packages[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                packages[name] = None
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": os.cpu_count(),
        "packages": packages,
    }


def _sound_manifest(found: dict) -> dict:
    """The manifest as far as it is of the form that is written here: others may have changed the file."""
    photos, assets, device = (found.get(key) for key in ("photos", "assets", "device"))
    return {
        "photos": {name: entry for name, entry in photos.items() if _is_entry(entry)} if isinstance(photos, dict) else {},
        "assets": [
            entry for entry in (assets if isinstance(assets, list) else []) if isinstance(entry, dict) and isinstance(entry.get("name"), str)
        ],
        "device": device if isinstance(device, dict) else {},
    }


def _is_entry(entry: object) -> bool:
    """Whether it is what `record` writes of a photo."""
    types = {"status": str, "message": str, "seconds": int | float}
    return isinstance(entry, dict) and isinstance(entry.get("stages"), dict) and all(
        isinstance(stage, dict) and all(isinstance(stage.get(key), kind) for key, kind in types.items())
        for stage in entry["stages"].values()
    )


def _figures(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value


def _as_cell(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
