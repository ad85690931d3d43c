"""rig.npz of a reconstruction folder: the head at rest, what its expressions move, and its parts and eyes.

docs/contract.md defines the file. The head system writes it; the texture's parts, the GLB and the report come from it.
"""

import io
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, get_type_hints

import numpy as np

from external.errors import UserError
from pipeline.reconstruction.images import LIMITS
from pipeline.runs.files import write_bytes
from pipeline.settings.schema import LimitSettings
from renderer.mesh import Mesh

RIG_VERSION = 1
EYES = ("left", "right")  # the person's own
LONGEST_NAME = 100  # characters
AGREEMENT = 0.02  # of the mesh's diagonal: how far a vertex of mesh.obj may be from where the rig puts it
UNIT_LENGTH = 1e-3  # how far a direction's length may be from 1

# What is raised for archives and arrays that are damaged, encrypted, of another version or no archives at all.
_ARCHIVE_ERRORS = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)

# {dtype of an array: (kinds of dtype that are taken for it, their name)}
_KINDS = {"float32": ("f", "floating-point numbers"), "int32": ("iu", "integers"), "str": ("U", "a Unicode array")}


class RigError(UserError):
    """A rig, or the file of one, that cannot be used; one line that names the array."""


@dataclass(frozen=True)
class Rig:
    """V vertices, K morph targets, P parts, E eyes. Positions in the head frame (x to the person's left, y up, z out of
    the face, origin as head_to_camera has it), in the mesh's unit of length.

    Each array is annotated with its dtype, of _KINDS, and its shape. Number types are converted to these. Raises
    RigError naming the first array that is not as described.
    """

    neutral: Annotated[np.ndarray, "float32", "V3"]  # mesh.obj's vertices, in its order; at rest, facing +z
    target_names: Annotated[np.ndarray, "str", "K"]  # each once
    target_offsets: Annotated[np.ndarray, "float32", "KV3"]  # what a target of weight 1 adds to `neutral`
    weights: Annotated[np.ndarray, "float32", "K"]  # 0..1: the expression in the photo
    part_names: Annotated[np.ndarray, "str", "P"]  # each once, at least one
    vertex_parts: Annotated[np.ndarray, "int32", "V"]  # which part a vertex belongs to, 0..P-1
    eye_names: Annotated[np.ndarray, "str", "E"]  # of EYES, each at most once
    eye_parts: Annotated[np.ndarray, "int32", "E"]  # which part is this eyeball, 0..P-1
    eye_centres: Annotated[np.ndarray, "float32", "E3"]  # the point that the eyeball turns about, at rest
    eye_radii: Annotated[np.ndarray, "float32", "E"]  # above 0
    eye_directions: Annotated[np.ndarray, "float32", "E3"]  # length 1: where the eye looks in the photo; at rest +z

    def __post_init__(self):
        sizes: dict[str, int] = {}
        for name, (dtype, _) in _ARRAYS.items():
            array = np.asarray(getattr(self, name))
            _require_form(name, array.dtype, array.shape, sizes)
            if dtype == "float32" and not np.isfinite(array).all():
                place = np.argwhere(~np.isfinite(array))[0]
                raise RigError(f"{name}{place.tolist()} is {array[tuple(place)]}; finite numbers are needed")
            object.__setattr__(self, name, np.ascontiguousarray(array, dtype=dtype))
        for name in ("target_names", "part_names", "eye_names"):
            _require_names(name, getattr(self, name))
        _require(~np.isin(self.eye_names, EYES), "eye_names", self.eye_names, "left or right, as the person has them,")
        _require((self.weights < 0) | (self.weights > 1), "weights", self.weights, "0..1")
        parts = f"0..{len(self.part_names) - 1} into part_names"
        for name, array in (("vertex_parts", self.vertex_parts), ("eye_parts", self.eye_parts)):
            _require((array < 0) | (array >= len(self.part_names)), name, array, parts)
        _require(self.eye_radii <= 0, "eye_radii", self.eye_radii, "above 0")
        lengths = np.linalg.norm(self.eye_directions, axis=1)
        _require(np.abs(lengths - 1) > UNIT_LENGTH, "eye_directions", self.eye_directions, "a direction of length 1")

    def posed(self) -> np.ndarray:
        """Vertices [V, 3] float32 with the photo's expression, head frame; the eyeballs as they are at rest."""
        return self.neutral + np.tensordot(self.weights, self.target_offsets, axes=1)

    def check(self, mesh: Mesh, head_to_camera: np.ndarray) -> None:
        """Raises RigError where this is not the rig of a mesh [camera space] with a pose [4, 4]."""
        if len(self.neutral) != len(mesh.vertices):
            needed = f"{len(mesh.vertices)} are needed, those of mesh.obj"
            raise RigError(f"neutral has {len(self.neutral)} vertices; {needed}")
        mixed = np.ptp(self.vertex_parts[mesh.faces], axis=1) > 0
        if mixed.any():
            raise RigError(
                f"vertex_parts divides face {np.flatnonzero(mixed)[0]} of mesh.obj; all corners of a face belong to one part"
            )
        vertices = (mesh.vertices - head_to_camera[:3, 3]) @ head_to_camera[:3, :3]
        distances = np.linalg.norm(self.posed() - vertices, axis=1)
        distances[np.isin(self.vertex_parts, self.eye_parts)] = 0  # turned to where they look
        worst, diagonal = distances.argmax(), np.linalg.norm(np.ptp(vertices, axis=0))
        if distances[worst] > AGREEMENT * diagonal:
            raise RigError(
                f"neutral and weights put vertex {worst} {distances[worst]:.3g} from where mesh.obj has it; at most "
                f"{AGREEMENT * diagonal:.3g} is allowed: head frame and unit of length must be those of the mesh"
            )


_ARRAYS = {name: hint.__metadata__ for name, hint in get_type_hints(Rig, include_extras=True).items()}
_IN_FILE = {"version": ("int32", ""), **_ARRAYS}


def save_rig(rig: Rig, path: str | Path) -> None:
    """Write rig.npz; the same rig gives the same bytes. Raises RunFolderError."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, version=np.int32(RIG_VERSION), **{name: getattr(rig, name) for name in _ARRAYS})
    write_bytes(path, buffer.getvalue())


def load_rig(
    path: str | Path, limits: LimitSettings = LIMITS, mesh: Mesh | None = None, head_to_camera: np.ndarray | None = None
) -> Rig:
    """Read rig.npz; with a mesh and its pose, check it against them. Other arrays than the contract's are passed over.

    Sizes and types are checked before any array is read; nothing is unpickled. Raises RigError naming the file.
    """
    path = Path(path)
    try:
        rig = Rig(**_read_arrays(path, limits.mesh_megabytes))
        if mesh is not None:
            rig.check(mesh, head_to_camera)
        return rig
    except RigError as error:
        raise RigError(f"{path}: {error}") from error


def _read_arrays(path: Path, maximum_megabytes: float) -> dict[str, np.ndarray]:
    """{name: array} of an archive, without its version. Raises RigError."""
    sizes: dict[str, int] = {}
    arrays, megabytes = {}, 0.0
    with _refused("is not a readable .npz archive"):
        archive = zipfile.ZipFile(path)
    with archive:
        for name in _IN_FILE:
            if f"{name}.npy" not in archive.NameToInfo:
                raise RigError(f"has no array {name}; needed are {', '.join(_IN_FILE)}")
            with _refused(f"{name} is damaged"), archive.open(f"{name}.npy") as file:
                shape, dtype = _header(name, file)
            _require_form(name, dtype, shape, sizes)
            megabytes += math.prod(shape) * dtype.itemsize / 1e6
        if megabytes > maximum_megabytes:
            advice = f"give limits.mesh_megabytes={megabytes + 1:.0f}"
            raise RigError(f"holds {megabytes:.0f} MB of arrays, allowed are {maximum_megabytes:g}: {advice}")
        for name in _IN_FILE:
            with _refused(f"{name} is damaged"), archive.open(f"{name}.npy") as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    version = arrays.pop("version")
    if version != RIG_VERSION:
        raise RigError(f"version is {version}; this program reads version {RIG_VERSION}")
    return arrays


@contextmanager
def _refused(why: str) -> Iterator[None]:
    """Raises RigError for what an archive or array raises that is damaged."""
    try:
        yield
    except _ARCHIVE_ERRORS as error:
        raise RigError(f"{why}: {error}") from error


def _header(name: str, file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and dtype of an array in the .npy format. Raises RigError."""
    with _refused(f"{name} is not an array of NumPy's format 1.0 or 2.0"):
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, dtype = read[np.lib.format.read_magic(file)](file)
    if dtype.hasobject:
        raise RigError(f"{name} holds pickled objects, which are not read; {_needed(name)} needed")
    return shape, dtype


def _require_form(name: str, dtype: np.dtype, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Raises RigError for an array of another kind or shape than its own. sizes: of V, K, P and E, as far as known."""
    dtype_needed, letters = _IN_FILE[name]
    wanted = [3 if letter == "3" else sizes.get(letter) for letter in letters]
    fits = len(shape) == len(wanted) and all(size in (None, given) for size, given in zip(wanted, shape, strict=True))
    if dtype.kind not in _KINDS[dtype_needed][0] or not fits or min(shape, default=0) < 0:
        raise RigError(f"{name} is {dtype} {list(shape)}; {_needed(name, sizes)} needed")
    sizes.update({letter: size for letter, size in zip(letters, shape, strict=True) if letter != "3"})
    if 0 in (sizes.get("V"), sizes.get("P")):
        raise RigError(f"{name} is empty; at least one {'vertex' if letters[0] == 'V' else 'part'} is needed")


def _needed(name: str, sizes: dict[str, int] | None = None) -> str:
    dtype, letters = _IN_FILE[name]
    shape = ", ".join(str((sizes or {}).get(letter, letter)) for letter in letters)
    return f"{_KINDS[dtype][1]} [{shape}] {'is' if dtype == 'str' else 'are'}"


def _require_names(name: str, names: np.ndarray) -> None:
    """Raises RigError for names that occur twice, are empty, too long or cannot be printed."""
    bad = [not 0 < len(text) <= LONGEST_NAME or not text.isprintable() for text in names.tolist()]
    _require(np.array(bad, bool), name, names, f"a printable name of 1 to {LONGEST_NAME} characters")
    values, counts = np.unique(names, return_counts=True)
    if (counts > 1).any():
        raise RigError(f"{name} has {str(values[counts > 1][0])!r} {counts.max()} times; each name may occur once")


def _require(bad: np.ndarray, name: str, values: np.ndarray, needed: str) -> None:
    """Raises RigError for the first row where `bad` [N] is true."""
    if bad.any():
        index = np.flatnonzero(bad)[0]
        raise RigError(f"{name}[{index}] is {values[index].tolist()!r}; {needed} is needed")
