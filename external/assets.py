"""What comes from outside: code, networks and pictures, with their licences.

One table; manifests, source.json and the README take it from here.
"""

import importlib.metadata
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Asset:
    name: str
    used_by: str  # the part of the program that needs it
    licence: str  # in a word
    origin: str  # where it comes from


ASSETS = (
    Asset("MTCNN code and weights", "mtcnn", "MIT", "Python package mtcnn"),
    Asset("MediaPipe Face Mesh networks", "face_mesh", "Apache-2.0", "Python package mediapipe (models inside its wheel)"),
    Asset("Face template", "face_mesh", "MIT", "this project, data/face_template.obj"),
    Asset("Photo astronaut.png (Eileen Collins)", "sample_photos", "public domain (NASA)", "Python package scikit-image"),
    Asset(
        "Photo grace_hopper.jpg (Grace Hopper)", "sample_photos", "public domain (US Navy)", "Python package matplotlib"
    ),
    Asset("VGG16 ImageNet weights", "vgg16", "BSD-3-Clause", "torchvision, vgg16-397923af.pth"),
)
_PACKAGES = {"mtcnn": "mtcnn", "face_mesh": "mediapipe", "vgg16": "torchvision"}


def used_by(*parts):
    """The assets of these parts as dicts: name, used_by, licence, origin, and the package's version where one brings it."""
    found = []
    for asset in ASSETS:
        if asset.used_by in parts:
            entry = asdict(asset)
            if asset.used_by in _PACKAGES and "package" in asset.origin:
                try:
                    entry["version"] = importlib.metadata.version(_PACKAGES[asset.used_by])
                except importlib.metadata.PackageNotFoundError:
                    entry["version"] = None
            found.append(entry)
    return found
