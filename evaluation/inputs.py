"""The faces that are evaluated: reconstruction folders, and photos, which are reconstructed first."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.layout import RECONSTRUCTION_CONFIG, RECONSTRUCTIONS
from evaluation.options import EvaluationArguments
from pipeline.reconstruction.images import PhotoError
from pipeline.reconstruction.photos import Subject, find_photos, is_reconstruction, resolve_inputs
from pipeline.runs.files import write_text
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import to_yaml
from pipeline.settings.schema import Config

ROOT = Path(__file__).resolve().parents[1]


def find_and_reconstruct(arguments: EvaluationArguments) -> list[Subject]:
    """The faces of all inputs; photos are reconstructed into OUT/reconstructions, with the first config.

    Raises PhotoError, and ConfigError where the configs disagree on how faces are read or reconstructed.
    """
    inputs = [path for given in arguments.inputs for path in _expanded(given)]
    photos = [path for path in inputs if not is_reconstruction(path)]
    needs_photos = bool(photos) or not inputs
    if photos:
        find_photos(photos)  # reports a wrong path before a process is started
    shared = ("limits", "assets", "detect", "reconstruct") if needs_photos else ("limits",)
    _require_agreement(arguments.configs, shared)
    if needs_photos and not arguments.dry_run:
        reconstruct(photos, arguments.out, arguments.first)
    return resolve_inputs(inputs, arguments.out / RECONSTRUCTIONS)


def reconstruct(photos: Sequence[str], out: Path, config: Config) -> None:
    """Reconstruct photos into out/reconstructions, in a process of its own, as TensorFlow and torch disturb each other.

    Raises PhotoError.
    """
    write_text(out / RECONSTRUCTION_CONFIG, to_yaml(config))
    command = [sys.executable, "-P", "-m", "pipeline.reconstruction", *photos]
    command += ["-o", str(out / RECONSTRUCTIONS), "-c", str(out / RECONSTRUCTION_CONFIG)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": ""}
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(command, env={**os.environ, **quiet, "PYTHONPATH": path}, check=False)
    if done.returncode not in (0, 1):
        raise PhotoError("the photos could not be reconstructed: see the line above")


def _require_agreement(configs: Mapping[str, Config], keys: Sequence[str]) -> None:
    """Raises ConfigError where configs differ in these settings or groups: all are compared on the same faces."""
    first, *others = ((name, _settings(config, keys)) for name, config in configs.items())
    for name, settings in others:
        for key, value in settings.items():
            if value != first[1].get(key, value):
                raise ConfigError(
                    f"the configs {first[0]} and {name} have {key}={first[1][key]} and {key}={value}, but all are "
                    f"compared on the same faces: give {key}=VALUE for all, or evaluate them in separate runs"
                )


def _settings(config: Config, keys: Sequence[str]) -> dict[str, object]:
    """{dotted key: value} of these settings and groups."""
    found = {}
    for key, value in config.model_dump(include=set(keys)).items():
        found |= {f"{key}.{name}": each for name, each in value.items()} if isinstance(value, dict) else {key: value}
    if config.reconstruct.model_colours:
        found["texture_size"] = config.texture_size  # the face model's colours are drawn at this size
    return found


def _expanded(given: str) -> list[str]:
    """A folder of results of ./run.sh stands for the reconstructions in it."""
    path = Path(given)
    if path.is_dir() and not is_reconstruction(path):
        found = sorted(place for place in path.glob("*/reconstruction") if is_reconstruction(place))
        found = found or [place for place in [path / "reconstruction"] if is_reconstruction(place)]
        return [str(place) for place in found] or [given]
    return [given]
