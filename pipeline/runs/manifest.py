"""manifest.json and summary.csv of OUT: the run's settings and software, and the outcome of every photo."""

import csv
import importlib.metadata
import io
import itertools
import platform
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import OnErrorOmit, TypeAdapter, with_config
from typing_extensions import TypedDict  # typing's own has no `total` that pydantic can read before Python 3.12

from pipeline.runs.files import read_json, write_json, write_text
from pipeline.runs.machine import processors
from pipeline.settings.command_line import Arguments
from pipeline.settings.loading import to_yaml

MANIFEST_VERSION = 1
STAGES = ("reconstruction", "refinement")
STATUSES = ("done", "failed", "skipped")
_REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"


class _StageEntry(TypedDict):
    status: str
    message: str
    seconds: float


class _PhotoEntry(TypedDict):
    stages: dict[str, _StageEntry]


class _AssetEntry(TypedDict):
    name: str


@with_config(strict=True, extra="allow")
class Manifest(TypedDict, total=False):
    """The entries of manifest.json that a later run reads. What has another form is left out, as users may edit it."""

    photos: OnErrorOmit[dict[str, OnErrorOmit[_PhotoEntry]]]
    assets: OnErrorOmit[list[OnErrorOmit[_AssetEntry]]]
    device: OnErrorOmit[dict]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a photo in a stage. Raises ValueError for an unknown status."""

    name: str
    status: str  # one of STATUSES
    line: str  # for the terminal, without the name
    message: str = ""  # for the manifest: reason of a failure
    seconds: float = 0.0
    faces: tuple[str, ...] = ()  # names of its faces; (): one, named like the photo

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, allowed are {', '.join(STATUSES)}")


@dataclass(frozen=True)
class Plan:
    """The work of a stage."""

    names: Sequence[str]  # of all photos and faces
    known: Sequence[Outcome]  # of photos that need no work
    todo: Sequence[str]  # the other photos, each as "from -> to"
    headline: str  # for the terminal
    device: str
    assets: Sequence[Mapping]  # what the stage uses: each with name, licence and further entries
    at_once: int = 1  # photos processed in parallel
    seconds_each: float | None = None  # estimate for a photo; None: unknown
    notes: Mapping[str, str] = field(default_factory=dict)  # further entries of the manifest


def record_outcomes(
    out: Path, stage: str, arguments: Arguments, plan: Plan, outcomes: Iterable[Outcome]
) -> Iterator[Outcome]:
    """Yields the plan's known outcomes, then `outcomes`; writes each to manifest.json before yielding it.

    First writes config.yaml and the run's entries of the manifest, and drops photos that are neither in OUT nor part of
    the plan; entries of the other stage are kept. At the end writes summary.csv: for each photo its status and the
    numbers of its metrics.json. stage: one of STAGES. Raises RunFolderError.
    """
    if stage not in STAGES:
        raise ValueError(f"stage is {stage!r}, allowed are {', '.join(STAGES)}")
    former = read_manifest(out)
    assets = {entry["name"]: dict(entry) for entry in [*former["assets"], *plan.assets]}
    planned = set(plan.names)
    photos = {name: entry for name, entry in former["photos"].items() if name in planned or (out / name).is_dir()}
    manifest = {
        "version": MANIFEST_VERSION,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "config": arguments.config_name,
        "seed": arguments.config.seed,
        "command": arguments.command,
        "device": {**former["device"], stage: plan.device},
        "software": software_versions(),
        "assets": list(assets.values()),
        "non_commercial_because_of": [name for name, entry in assets.items() if entry.get("non_commercial")],
        "photos": photos,
        **plan.notes,
    }
    write_text(out / "config.yaml", to_yaml(arguments.config))
    # The known outcomes are written together: writing the manifest for each of thousands would take minutes.
    for batch in itertools.chain([plan.known], ([outcome] for outcome in outcomes)):
        for outcome in batch:
            names = outcome.faces or (outcome.name,)
            photos |= {name: _entry(photos.get(name), stage, outcome, outcome.seconds / len(names)) for name in names}
        write_json(out / "manifest.json", manifest)
        yield from batch
    write_text(out / "summary.csv", _summary(out, plan.names, photos))


def read_manifest(out: Path) -> Manifest:
    """The usable entries of OUT's manifest.json; empty ones where it has none."""
    found = TypeAdapter(Manifest).validate_python(read_json(out / "manifest.json"))
    return {"photos": {}, "assets": [], "device": {}, **found}


def _entry(former: dict | None, stage: str, outcome: Outcome, seconds: float) -> dict:
    """A photo's entry: failed if a stage failed, skipped if all stages were skipped, else done."""
    # A new reconstruction invalidates the entry of the refinement.
    stages = {} if stage == STAGES[0] or former is None else former["stages"]
    stages = {**stages, stage: {"status": outcome.status, "message": outcome.message, "seconds": round(seconds, 2)}}
    found = {entry["status"] for entry in stages.values()}
    return {
        "status": "failed" if "failed" in found else "skipped" if found == {"skipped"} else "done",
        "message": "; ".join(entry["message"] for entry in stages.values() if entry["message"]),
        "seconds": round(sum(entry["seconds"] for entry in stages.values()), 2),
        "stages": stages,
    }


def _summary(out: Path, names: Sequence[str], photos: Mapping[str, Mapping]) -> str:
    """summary.csv as text. Nested numbers get dotted names (`seconds.refine`); lists and texts are omitted.

    Text that a spreadsheet would read as a formula (a photo may be named =1+1) gets a leading apostrophe.
    """
    cell = lambda text: f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
    rows = []
    for name in dict.fromkeys(names):
        outcome = {key: cell(photos.get(name, {}).get(key, "")) for key in ("status", "message")}
        rows.append({"photo": cell(name), **outcome, **dict(figures(read_json(out / name / "metrics.json")))})
    text = io.StringIO()
    columns = dict.fromkeys(["photo", "status", "message", *(key for row in rows for key in row)])
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def software_versions() -> dict:
    """Versions of Python, the platform and every package of requirements.txt (None: not installed)."""
    packages = {}
    for name in re.findall(r"^[A-Za-z0-9][A-Za-z0-9._-]*", _REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE):
        packages[name] = None
        with suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processors": processors(),
        "packages": packages,
    }


def figures(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, float]]:
    """(dotted key, number) of the numbers in a nested mapping; other values are omitted."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from figures(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value
