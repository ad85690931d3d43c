"""Triangle meshes with texture coordinates, their normals, and OBJ files."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

UV_SLACK = 1e-3  # how far UVs may lie outside 0..1


class MeshError(ValueError):
    """An invalid mesh or mesh file."""


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh with separate faces for texture coordinates, as in OBJ.

    vertices [V, 3] float64, camera space. faces [F, 3] int32, into vertices. uvs [T, 2] float64, u to the right and
    v up, 0..1. uv_faces [F, 3] int32, into uvs: corner k of face f has texture coordinate uvs[uv_faces[f, k]].
    Arrays of other number types are converted. Raises MeshError naming the first bad value.
    """

    vertices: np.ndarray
    faces: np.ndarray
    uvs: np.ndarray
    uv_faces: np.ndarray

    def __post_init__(self) -> None:
        if np.size(self.uvs) == 0 or np.size(self.uv_faces) == 0:
            raise MeshError("the mesh has no texture coordinates; unwrap it (OBJ: 'vt' lines and 'f v/vt ...')")
        for name, columns in (("vertices", 3), ("uvs", 2)):
            object.__setattr__(self, name, checked_positions(getattr(self, name), name, columns))
        for name, into in (("faces", "vertices"), ("uv_faces", "uvs")):
            indices = checked_indices(getattr(self, name), name, into, len(getattr(self, into)))
            object.__setattr__(self, name, indices)
        if len(self.faces) != len(self.uv_faces):
            raise MeshError(f"there are {len(self.faces)} faces but {len(self.uv_faces)} uv_faces; one each is needed")
        outside = np.flatnonzero((self.uvs < -UV_SLACK).any(1) | (self.uvs > 1 + UV_SLACK).any(1))
        if len(outside):
            first = outside[0]
            raise MeshError(f"uvs[{first}] is {self.uvs[first].tolist()}; 0..1 is needed (one texture, no tiles)")


def checked_positions(values: Any, name: str, columns: int) -> np.ndarray:
    """The values as float64 [N, columns]. Raises MeshError naming the first bad value."""
    try:
        array = np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise MeshError(f"{name} are not numbers; [N, {columns}] is needed") from None
    if array.ndim != 2 or array.shape[1] != columns or len(array) == 0:
        raise MeshError(f"{name} have shape {array.shape}; [N, {columns}] with N > 0 is needed")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise MeshError(f"{name}[{bad[0]}] is {array[bad[0]].tolist()}; finite numbers are needed")
    return array


def checked_indices(values: Any, name: str, into: str, count: int) -> np.ndarray:
    """The values as int32 [F, 3], all in 0..count - 1. Raises MeshError naming the first bad value."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != 2 or array.shape[1] != 3:
        raise MeshError(f"{name} are {array.dtype} of shape {array.shape}; integers [F, 3] are needed")
    bad = np.flatnonzero(((array < 0) | (array >= count)).any(axis=1))
    if len(bad):
        raise MeshError(f"{name}[{bad[0]}] is {array[bad[0]].tolist()}; indices 0..{count - 1} into {into} are needed")
    return np.ascontiguousarray(array, dtype=np.int32)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals [F, 3] of faces [F, 3] by their winding; length is twice the face's area (0 for a degenerate face)."""
    first, second, third = (vertices[faces[:, corner]] for corner in range(3))
    return np.cross(second - first, third - first)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3] of vertices [V, 3]: the area-weighted mean of the adjacent faces' normals.

    0 where no face of positive area is adjacent or where the normals cancel.
    """
    weighted = face_normals(vertices, faces)
    corners = faces.ravel()
    sums = [np.bincount(corners, np.repeat(column, 3), minlength=len(vertices)) for column in weighted.T]
    return normalised(np.stack(sums, axis=1))


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Vectors [..., 3] scaled to unit length; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def joined_corners(mesh: Mesh) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives the mesh one index per corner, as graphics cards and glTF need it; a vertex with several UVs is split.

    Returns vertex ids [N] and uv ids [N] of the new vertices, and faces [F, 3] int32 into them.
    """
    corners = np.stack([mesh.faces.reshape(-1), mesh.uv_faces.reshape(-1)], axis=1)
    pairs, corner_ids = np.unique(corners, axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], corner_ids.reshape(-1, 3).astype(np.int32)


def load_mesh(path: str | Path) -> Mesh:
    """Reads the `v`, `vt` and `f` lines of an OBJ file and ignores all others.

    Polygons become triangle fans; negative (relative) indices are supported. Raises MeshError naming the file and the
    invalid line, if one is.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").replace("\\\n", " ").split("\n")
    except OSError as error:
        raise MeshError(f"{path}: cannot be read ({error.strerror})") from None
    vertices, uvs, faces, uv_faces = [], [], [], []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            if words[0] == "v":
                x, y, z = words[1:4]
                vertices.append((float(x), float(y), float(z)))
            elif words[0] == "vt":
                u, v = words[1:3]
                uvs.append((float(u), float(v)))
            elif words[0] == "f":
                (vertex, uv), *others = (_corner(word, len(vertices), len(uvs)) for word in words[1:])
                if len(others) < 2:
                    raise ValueError
                for second, third in pairwise(others):
                    faces.append((vertex, second[0], third[0]))
                    uv_faces.append((uv, second[1], third[1]))
        except LookupError:
            what = f"'{line.strip()}' has no texture coordinates; f v/vt ... is needed"
            raise MeshError(f"{path}: line {number}: {what}") from None
        except ValueError:
            raise MeshError(f"{path}: line {number}: '{line.strip()[:60]}' is not a valid '{words[0]}' line") from None
    if not faces:
        raise MeshError(f"{path}: holds no faces; an OBJ file with v, vt and f lines is needed")
    try:
        return Mesh(np.array(vertices), np.array(faces), np.array(uvs), np.array(uv_faces))
    except MeshError as error:
        raise MeshError(f"{path}: {error}") from None


def _corner(word: str, vertex_count: int, uv_count: int) -> tuple[int, int]:
    """0-based (vertex, uv) of an OBJ corner `v/vt` or `v/vt/vn`.

    Raises LookupError when it has no texture coordinate, ValueError when it is malformed.
    """
    parts = word.split("/")
    if len(parts) < 2 or not parts[1]:
        int(parts[0])
        raise LookupError
    vertex, uv = int(parts[0]), int(parts[1])
    if vertex == 0 or uv == 0:
        raise ValueError
    return (vertex - 1 if vertex > 0 else vertex_count + vertex), (uv - 1 if uv > 0 else uv_count + uv)


def save_mesh(
    mesh: Mesh, path: str | Path, material_file: str = "", material: str = "", normals: np.ndarray | None = None
) -> None:
    """Writes an OBJ file that load_mesh reads back exactly.

    material_file: name of the .mtl file in the same folder (`mtllib`). material: name of the object and of its material
    in that file (`o`, `usemtl`). normals: [V, 3], one for each vertex.
    """
    lines = [f"mtllib {material_file}"] if material_file else []
    lines += [f"o {material}"] if material else []
    lines += [f"v {x!r} {y!r} {z!r}" for x, y, z in mesh.vertices.tolist()]
    lines += [f"vt {u!r} {v!r}" for u, v in mesh.uvs.tolist()]
    lines += [f"vn {x:.6f} {y:.6f} {z:.6f}" for x, y, z in normals.tolist()] if normals is not None else []
    lines += [f"usemtl {material}"] if material else []
    indices = [mesh.faces, mesh.uv_faces] + ([mesh.faces] if normals is not None else [])
    corners = np.stack(indices, axis=2).reshape(len(mesh.faces), -1) + 1
    corner = "/".join(["{}"] * len(indices))
    line = f"f {corner} {corner} {corner}"
    lines += [line.format(*face) for face in corners.tolist()]
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
