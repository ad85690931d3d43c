"""What `auto` stands for on this machine: device, features and renderer. An explicit choice never falls back."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from external import assets
from external.assets import used_by
from external.vgg16 import read_vgg16
from pipeline.runs.forecast import memory_each, refinement_seconds
from pipeline.runs.jobs import FEWEST_THREADS
from pipeline.runs.preflight import require_assets
from pipeline.settings.errors import ConfigError
from pipeline.settings.schema import Config
from renderer import nvdiffrast_backend
from style_transfer.features import PatchFeatures, VGG16Hypercolumns

VGG16_ORIGIN = f"https://download.pytorch.org/models/{assets.VGG16}"


@dataclass(frozen=True)
class Features:
    kind: str  # vgg16, patches or none
    why: str  # for the log and the manifest
    extractor: Callable  # makes the style_transfer extractor, or None
    assets: list[dict]


@dataclass(frozen=True)
class Renderer:
    kind: str  # cpu or nvdiffrast: the `backend` of the renderer's functions
    why: str  # for the log and the manifest
    assets: list[dict]


@dataclass(frozen=True)
class Backends:
    """What a run works with."""

    device: torch.device
    features: Features
    renderer: Renderer
    assets: list[dict]  # what these and the measurements use, for the manifest

    @property
    def device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"

    @property
    def notes(self) -> dict[str, str]:
        """What the manifest says of the choices."""
        return {"features": self.features.why, "renderer": self.renderer.why}

    def __str__(self) -> str:
        return f"{self.device}, {self.features.why}, {self.renderer.why}"


def choose_backends(config: Config, threads: int = 0, may_fetch: bool = False) -> Backends:
    """Everything that `auto` stands for, and torch set up for it.

    threads: of torch's work on the CPU; 0 leaves its own number. may_fetch: VGG16's weights may be downloaded, once.
    Raises ConfigError for what the config asks for and is not there.
    """
    require_assets(config, reconstructing=False, may_fetch=may_fetch)
    device = choose_device(config.device)
    features = choose_features(config.refine, device, config.assets)
    renderer = choose_renderer(config.renderer, device)
    identity = assets.assets_folder(config.assets) / assets.IDENTITY_NETWORK
    set_up_torch(threads or config.threads, device)
    used = features.assets + renderer.assets + (used_by("arcface") if identity.is_file() else [])
    return Backends(device, features, renderer, used)


def choose_device(setting):
    """torch.device of `device: auto | cpu | cuda`. Raises ConfigError where CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise ConfigError("device is cuda, but torch finds no CUDA GPU: give device=auto or device=cpu")
    return torch.device("cuda" if setting != "cpu" and available else "cpu")


def choose_jobs(config: Config, backends: Backends, photos: int) -> int:
    """How many photos are refined at once, for `jobs: N`."""
    if config.jobs:
        return min(config.jobs, max(photos, 1))
    if backends.device.type == "cuda":
        return 1  # several networks would crowd each other out of its memory
    fitting = int(available_memory() / memory_each(config, backends.features.kind))
    # A process takes as long to start as a photo: each is to have two.
    return max(min(os.cpu_count() or 1, photos // 2, fitting), 1)


def seconds_each(config: Config, backends: Backends) -> float | None:
    """Seconds expected for a photo by one process on two cores; None on a GPU, of which nothing is known beforehand."""
    return refinement_seconds(config, backends.features.kind) if backends.device.type == "cpu" else None


def available_memory():
    """Bytes that processes can still take: the system's, or the container's where that allows less."""
    lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    try:
        limit, used = (Path("/sys/fs/cgroup", name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no container, or no limit
        return free


def set_up_torch(threads, device):
    """Once in every process. threads: of torch's CPU work (processes.threads_each says how many); 0 leaves its own.

    On a CPU, results are the same bytes whatever the number: sums into the same place are made in one order.
    """
    torch.set_num_threads(max(threads or torch.get_num_threads(), FEWEST_THREADS))
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False


def choose_renderer(setting, device):
    """The renderer of `renderer: auto | cpu | nvdiffrast`. Returns Renderer; raises ConfigError with what would install it."""
    kind, why = setting, f"renderer: {setting}"
    if setting == "auto":
        if device.type != "cuda":
            kind, why = "cpu", "renderer: cpu (auto: no GPU is used)"
        elif nvdiffrast_backend.is_available():
            kind, why = "nvdiffrast", "renderer: nvdiffrast (auto: it and a GPU are there; non-commercial use only)"
        else:
            kind, why = "cpu", "renderer: cpu (auto: nvdiffrast is not installed)"
    elif setting == "nvdiffrast":
        try:
            nvdiffrast_backend.load()
        except nvdiffrast_backend.RendererUnavailable as error:
            raise ConfigError(str(error)) from error
    return Renderer(kind, why, used_by("nvdiffrast") if kind == "nvdiffrast" else [])


def choose_features(settings, device, folder="data"):
    """The features of `refine.features`. auto never downloads. folder: the setting `assets`.

    Returns Features; raises ConfigError.
    """
    path = vgg16_path(settings.vgg16_weights, folder)
    kind = settings.features
    if kind == "auto":
        if device.type == "cuda" and path.is_file():
            kind, why = "vgg16", f"features: vgg16 (auto: weights at {path} and a GPU are there)"
        else:
            missing = "no GPU" if path.is_file() else "no VGG16 weights" if device.type == "cuda" else "no GPU, no VGG16 weights"
            kind, why = "none", f"features: none (auto: {missing})"
    else:
        why = f"features: {kind}"
    if settings.content_noise and kind != "vgg16":
        raise ConfigError(f"refine.content_noise is noise on layers of vgg16, but {why}: give refine.content_noise=false")
    if kind == "none":
        return Features(kind, why, lambda: None, [])
    if kind == "patches":
        return Features(kind, why, PatchFeatures, [])
    if not path.is_file():
        raise ConfigError(
            f"refine.features is vgg16, but {path} is missing{_and_torchvisions(path, settings)}: "
            f"python -m external.assets fetch vgg16, or download {VGG16_ORIGIN} to it, "
            "or give refine.vgg16_weights=FILE, or refine.features=patches"
        )

    @cache  # one network for all photos
    def extractor():
        try:
            return VGG16Hypercolumns(read_vgg16(path)).to(device)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    return Features(kind, why, extractor, used_by("vgg16"))


def vgg16_path(given="", folder="data"):
    """The VGG16 weights: the given file, else in the assets folder, else where torchvision keeps them."""
    return Path(given).expanduser() if given else assets.vgg16_path(assets.assets_folder(folder))


def _and_torchvisions(path, settings):
    return "" if settings.vgg16_weights else f" (and not in {assets.torchvision_folder()})"
