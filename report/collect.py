"""Reads a run from the files of OUT."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.runs.files import RunFolderError
from pipeline.runs.manifest import figures
from pipeline.runs.run_folder import export_name

# Numbers in metrics.json that say where or how, not how good or how long.
_NO_FIGURES = ("losses.transfer", "losses.scale", "losses.step", "texture_size")


@dataclass(frozen=True)
class PhotoResults:
    name: str
    folder: Path  # results; may not exist for a failed photo
    status: str  # done, failed or skipped (done by an earlier run)
    message: str
    seconds: float  # of all stages of the last run
    metrics: dict  # metrics.json; {} without one

    def figures(self) -> dict[str, float]:
        """{dotted key: number} of metrics.json, rounded to six digits."""
        return {key: float(f"{value:.6g}") for key, value in figures(self.metrics) if key not in _NO_FIGURES}

    def file(self, name: str) -> Path | None:
        """The path of a results file, or None if it does not exist."""
        path = self.folder / name
        return path if path.is_file() else None

    def exported(self, ending: str) -> Path | None:
        """An export (.glb, .obj, .mtl, _texture.png), or None; in an older OUT the first file of that kind."""
        former = sorted(self.folder.glob(f"*{ending}"))
        return self.file(f"{export_name(self.name)}{ending}") or next(iter(former), None)


@dataclass(frozen=True)
class Experiment:
    path: Path  # OUT
    name: str
    manifest: dict
    settings: dict  # {dotted key: value} of config.yaml
    settings_text: str
    photos: list[PhotoResults]


def collect(out: str | Path) -> Experiment:
    """Reads the run in OUT. Raises RunFolderError where there is no run or its manifest cannot be read."""
    out = Path(out)
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        entries = manifest["photos"].items()
        if not all(Path(name).name == name and isinstance(entry, dict) for name, entry in entries):
            raise ValueError("the name of a photo is not a folder name, or its entry is not an object")
        photos = [_results(out / name, entry) for name, entry in entries]
    except FileNotFoundError:
        raise RunFolderError(f"{out} contains no run (no manifest.json): give an output folder of ./run.sh") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{out / 'manifest.json'} is not valid ({error}): rerun ./run.sh with -o {out}") from error
    text = _read_text(out / "config.yaml")
    return Experiment(out, out.resolve().name, manifest, settings_of(text), text, photos)


def settings_of(text: str) -> dict[str, Any]:
    """{dotted key: value} of a config's YAML; {} for other text."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return dict(_leaves(tree)) if isinstance(tree, dict) else {}


def _leaves(tree: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _results(folder: Path, entry: Mapping) -> PhotoResults:
    """A photo's results, with its entry in the manifest."""
    try:
        # NaN is not valid JSON: browsers could not parse the page's data.
        metrics = json.loads(_read_text(folder / "metrics.json"), parse_constant=lambda _: None)
    except ValueError:
        metrics = {}
    metrics = metrics if isinstance(metrics, dict) else {}
    status, message, seconds = str(entry.get("status", "")), str(entry.get("message", "")), entry.get("seconds") or 0
    return PhotoResults(folder.name, folder, status, message, float(seconds), metrics)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
