"""What `auto` stands for on this machine: the device and the features. An explicit choice never falls back."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from external.assets import used_by
from pipeline.config import ConfigError
from style_transfer.features import PatchFeatures, VGG16Hypercolumns

VGG16_FILE = "vgg16-397923af.pth"
VGG16_ORIGIN = f"https://download.pytorch.org/models/{VGG16_FILE}"


@dataclass(frozen=True)
class Features:
    kind: str  # vgg16, patches or none
    why: str  # for the log and the manifest
    extractor: Callable  # makes the style_transfer extractor, or None
    assets: list[dict]


def choose_device(setting):
    """torch.device of `device: auto | cpu | cuda`. Raises ConfigError where CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if setting == "cuda" and not available:
        raise ConfigError("device is cuda, but torch finds no CUDA GPU: give device=auto or device=cpu")
    return torch.device("cuda" if setting != "cpu" and available else "cpu")


def device_name(device):
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def set_threads(threads):
    """threads: of torch's CPU work; 0 leaves torch's own number."""
    if threads:
        torch.set_num_threads(threads)


def choose_features(settings, device):
    """The features of `refine.features`. auto never downloads. Returns Features; raises ConfigError."""
    path = vgg16_path(settings.vgg16_weights)
    kind = settings.features
    if kind == "auto":
        if device.type == "cuda" and path.is_file():
            kind, why = "vgg16", f"features: vgg16 (auto: weights at {path} and a GPU are there)"
        else:
            missing = "no GPU" if path.is_file() else "no VGG16 weights" if device.type == "cuda" else "no GPU, no VGG16 weights"
            kind, why = "patches", f"features: patches (auto: {missing})"
    else:
        why = f"features: {kind}"
    if kind == "none":
        return Features(kind, why, lambda: None, [])
    if kind == "patches":
        return Features(kind, why, PatchFeatures, [])
    if not path.is_file():
        raise ConfigError(
            f"refine.features is vgg16, but {path} is missing: download {VGG16_ORIGIN} to it, "
            "or give refine.vgg16_weights=FILE, or refine.features=patches"
        )

    @cache  # one network for all photos
    def extractor():
        try:
            return VGG16Hypercolumns(path).to(device)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    return Features(kind, why, extractor, used_by("vgg16"))


def vgg16_path(given=""):
    """Where the VGG16 weights are looked for: the given file, else where torchvision puts them."""
    if given:
        return Path(given).expanduser()
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return Path(home).expanduser() / "hub" / "checkpoints" / VGG16_FILE
