"""The reconstruction folder: what passes between a reconstruction and the refinement. A public, versioned contract.

docs/contract.md defines it: mesh.obj, camera.json and photo.png, and the optional content.png, mask.png, labels.png,
witnesses.npz, rig.npz and source.json.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from external.errors import UserError
from pipeline.reconstruction.images import LIMITS, PhotoError, read_photo, require_size
from pipeline.reconstruction.painted import LABELS, is_painted, read_labels
from pipeline.reconstruction.rig import Rig, RigError, load_rig, save_rig
from pipeline.reconstruction.witnesses import Witnesses, WitnessesError, load_witnesses, save_witnesses
from pipeline.runs.files import write_image, write_json
from pipeline.settings.schema import LimitSettings
from renderer.camera import Camera, CameraError, load_camera, save_camera
from renderer.mesh import Mesh, MeshError, load_mesh, save_mesh

SOURCE_VERSION = 2  # of the folder, in source.json; 1 has no rig.npz and is read as well
LARGEST_COORDINATE = 1e24  # of a vertex as the camera has it, in px times depth; the rasteriser takes less than 1e30
JSON_MEGABYTES = 4.0  # camera.json has 200 bytes, source.json a few thousand


class ReconstructionError(UserError):
    """A reconstruction folder that cannot be used; one line that names the file and what is wrong."""


@dataclass(frozen=True)
class Reconstruction:
    mesh: Mesh
    camera: Camera
    photo: np.ndarray  # uint8 [H, W, 3], RGB
    mask: np.ndarray | None  # uint8 [H, W]
    content: np.ndarray | None  # uint8 [h, w, 3]
    head_to_camera: np.ndarray  # [4, 4] rigid; x to the person's left, y up, z out of the face
    symmetric: bool  # the UV layout is symmetric about u = 0.5
    source: dict  # source.json, {} where there is none
    rig: Rig | None = None
    metres_per_unit: float = 1.0  # of the mesh's lengths
    witnesses: Witnesses | None = None
    painted: np.ndarray | None = None  # uint8 [H, W], labels.png where a person has painted it: `painted.NAMES`


def save_reconstruction(
    folder: str | Path,
    mesh: Mesh,
    camera: Camera,
    photo: np.ndarray,  # uint8 [H, W, 3]
    mask: np.ndarray | None = None,  # uint8 [H, W]
    source: Mapping | None = None,
    content: np.ndarray | None = None,  # uint8 [h, w, 3]
    rig: Rig | None = None,
    witnesses: Witnesses | None = None,
) -> None:
    """Write a reconstruction into an existing folder. source: of source.json, without its version. Raises RunFolderError."""
    folder = Path(folder)
    save_mesh(mesh, folder / "mesh.obj")
    save_camera(camera, folder / "camera.json")
    for name, image in (("photo.png", photo), ("mask.png", mask), ("content.png", content)):
        if image is not None:
            write_image(folder / name, image)
    if rig is not None:
        save_rig(rig, folder / "rig.npz")
    if witnesses is not None:
        save_witnesses(witnesses, folder / "witnesses.npz")
    if source is not None:
        write_json(folder / "source.json", {"version": SOURCE_VERSION, **source})


def load_reconstruction(folder: str | Path, limits: LimitSettings = LIMITS) -> Reconstruction:
    """Read and check a reconstruction folder. Raises ReconstructionError."""
    try:
        return _load(Path(folder), limits)
    except (MeshError, CameraError, PhotoError, RigError, WitnessesError) as error:
        raise ReconstructionError(str(error)) from error


def _load(folder: Path, limits: LimitSettings) -> Reconstruction:
    for name in ("mesh.obj", "camera.json", "photo.png"):
        if not (folder / name).is_file():
            raise ReconstructionError(f"{folder} has no {name}; a reconstruction needs mesh.obj, camera.json and photo.png")
    require_size(folder / "mesh.obj", limits.mesh_megabytes, "give limits.mesh_megabytes={}")
    for name in ("camera.json", "source.json"):
        require_size(folder / name, JSON_MEGABYTES, "it holds more than it should")
    mesh, camera = load_mesh(folder / "mesh.obj"), load_camera(folder / "camera.json")
    photo = read_photo(folder / "photo.png", limits)
    content = read_photo(folder / "content.png", limits) if (folder / "content.png").exists() else None
    mask = read_photo(folder / "mask.png", limits)[..., 0] if (folder / "mask.png").exists() else None
    painted = read_labels(folder / LABELS, limits) if is_painted(folder) else None
    witnesses = load_witnesses(folder / "witnesses.npz") if (folder / "witnesses.npz").is_file() else None
    expected = (camera.height, camera.width)
    for name, image in (("photo.png", photo), ("mask.png", mask), (LABELS, painted)):
        if image is not None and image.shape[:2] != expected:
            raise ReconstructionError(
                f"{folder / name} is {image.shape[1]} x {image.shape[0]} px, camera.json says {expected[1]} x {expected[0]}"
            )
    with np.errstate(over="ignore", invalid="ignore"):
        reach = np.abs(camera.homogeneous(mesh.vertices)).max()
    if not reach < LARGEST_COORDINATE:
        raise ReconstructionError(
            f"{folder / 'mesh.obj'}: a vertex reaches {reach:.3g} (px of camera.json times depth); "
            f"less than {LARGEST_COORDINATE:g} is needed"
        )
    source = _source(folder / "source.json")
    given = source.get("head_to_camera")
    pose = _frontal_pose(mesh) if given is None else _checked_pose(given, folder / "source.json")
    symmetric = given is not None and source.get("uv_symmetry") == "u=0.5"
    rig = None
    if (folder / "rig.npz").exists() and source.get("version", SOURCE_VERSION) > 1:
        if given is None:
            raise ReconstructionError(f"{folder / 'rig.npz'} needs head_to_camera in source.json, which says where its frame is")
        rig = load_rig(folder / "rig.npz", limits, mesh, pose)
    metres = _checked_unit(source.get("metres_per_unit", 1.0), folder / "source.json")
    return Reconstruction(mesh, camera, photo, mask, content, pose, symmetric, source, rig, metres, witnesses, painted)


def _source(path: Path) -> dict:
    """source.json; {} where there is none. Raises ReconstructionError."""
    if not path.is_file():
        return {}
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ReconstructionError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(source, dict) or source.get("version", SOURCE_VERSION) not in range(1, SOURCE_VERSION + 1):
        raise ReconstructionError(f"{path} must be a JSON object of version 1 or {SOURCE_VERSION}")
    return source


def _checked_pose(given: object, path: Path) -> np.ndarray:
    """head_to_camera [4, 4] float64 of source.json. Raises ReconstructionError."""
    try:
        pose = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):  # no numbers, ragged rows, an integer beyond all floats
        pose = np.zeros(0)
    rigid = (
        pose.shape == (4, 4)
        and np.isfinite(pose).all()
        and np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-4)
        and np.linalg.det(pose[:3, :3]) > 0
        and np.allclose(pose[3], [0, 0, 0, 1])
    )
    if not rigid:
        raise ReconstructionError(
            f"{path}: head_to_camera must be a rigid 4 x 4 matrix: rows of numbers, a rotation without mirroring, "
            "a translation, a last row 0 0 0 1"
        )
    return pose


def _checked_unit(given: object, path: Path) -> float:
    """metres_per_unit of source.json. Raises ReconstructionError."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 1e-9 <= given <= 1e9:
        needed = "a number above 0, such as 0.01 for centimetres, is needed"
        raise ReconstructionError(f"{path}: metres_per_unit is {given!r}; {needed}")
    return float(given)


def _frontal_pose(mesh: Mesh) -> np.ndarray:
    """[4, 4] where nothing is known of the head: the camera's axes with y up, at the middle of the mesh."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[:3, 3] = mesh.vertices.mean(0)
    return pose
