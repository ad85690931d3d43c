"""What the files of OUT say of a run."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from pipeline.runs.files import RunFolderError
from pipeline.runs.manifest import figures
from pipeline.runs.run_folder import export_name

# Numbers in metrics.json that say where or how, not how good or how long.
_NO_FIGURES = ("losses.transfer", "losses.scale", "losses.step", "texture_size")


@dataclass(frozen=True)
class PhotoResults:
    name: str
    folder: Path  # of its results; may be missing where it failed
    status: str  # done, failed or skipped (finished by an earlier run)
    message: str
    seconds: float  # of all stages of the last run
    metrics: dict  # metrics.json; {} where there is none

    def figures(self):
        """{dotted key: number} of metrics.json, to six digits."""
        return {key: float(f"{value:.6g}") for key, value in figures(self.metrics) if key not in _NO_FIGURES}

    def file(self, name):
        """A file of the results, or None."""
        path = self.folder / name
        return path if path.is_file() else None

    def exported(self, ending: str) -> Path | None:
        """An export (.glb, .obj, .mtl, _texture.png), or None; of an older OUT the folder's first file of that kind."""
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


def collect(out):
    """A run's Experiment. Raises RunFolderError where there is none, or its manifest cannot be read."""
    out = Path(out)
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        entries = manifest["photos"].items()
        if not all(Path(name).name == name and isinstance(entry, dict) for name, entry in entries):
            raise ValueError("a photo in it has no name of a folder, or no entry")
    except FileNotFoundError:
        raise RunFolderError(f"{out} holds no run (no manifest.json): give a folder that ./run.sh wrote") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{out / 'manifest.json'} cannot be used ({error}): run ./run.sh into {out} again") from error
    photos = [
        PhotoResults(
            name,
            out / name,
            str(entry.get("status", "")),
            str(entry.get("message", "")),
            float(entry.get("seconds") or 0),
            _read_metrics(out / name / "metrics.json"),
        )
        for name, entry in entries
    ]
    text = _read_text(out / "config.yaml")
    return Experiment(out, out.resolve().name, manifest, settings_of(text), text, photos)


def settings_of(text):
    """{dotted key: value} of a config's YAML; {} of what is none."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return dict(_leaves(tree)) if isinstance(tree, dict) else {}


def _leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_metrics(path):
    try:
        # NaN, which JSON has not, would make the whole page unreadable to browsers.
        metrics = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except (OSError, ValueError):
        return {}
    return metrics if isinstance(metrics, dict) else {}


def _read_text(path):
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
