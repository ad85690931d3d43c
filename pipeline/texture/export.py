"""Files other programs open: OBJ with MTL, and GLB. The head is upright, y up, facing +z; lengths are in metres.

The light is in the texture: the GLB's material is unlit (KHR_materials_unlit), the OBJ's, whose format has no such word,
plain diffuse without gloss. With a rig the GLB holds the head at rest and morph targets, whose weights are the photo's.
"""

import json
import os
import shutil
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from PIL import Image

from pipeline.reconstruction.rig import Rig
from pipeline.runs.files import write_bytes, write_text
from renderer.mesh import Mesh, joined_corners, save_mesh, vertex_normals

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963  # what glTF calls data of vertices and indices
COMPONENT_TYPES = {"float32": 5126, "uint16": 5123, "uint32": 5125}  # glTF's numbers of them
GAZE = "photoGaze"  # the morph target that turns the eyeballs to where they look in the photo
LEAST_MOTION = 2e-6  # of the mesh's diagonal: what moves a vertex by less is not stored
LEAST_TURN = 1e-3  # the same for the change of a unit normal


def head_mesh(mesh: Mesh, head_to_camera: np.ndarray, outward: float = 1.0) -> Mesh:
    """The mesh [camera space] in the head frame: x to the person's left, y up, z out of the face.

    head_to_camera: [4, 4], rigid. outward: -1 turns the faces over: programs that draw only front faces would show
    nothing of a mesh wound inwards.
    """
    rotation, translation = head_to_camera[:3, :3], head_to_camera[:3, 3]
    order = [0, 1, 2] if outward > 0 else [0, 2, 1]
    vertices = (mesh.vertices - translation) @ rotation
    return Mesh(vertices, mesh.faces[:, order], mesh.uvs, mesh.uv_faces[:, order])


def in_metres(head: Mesh, rig: Rig | None, metres_per_unit: float) -> tuple[Mesh, Rig | None]:
    """A mesh and its rig with lengths in metres. metres_per_unit: of the reconstruction."""
    if metres_per_unit == 1:
        return head, rig
    mesh = replace(head, vertices=head.vertices * metres_per_unit)
    lengths = ("neutral", "target_offsets", "eye_centres", "eye_radii")
    return mesh, rig and replace(rig, **{name: getattr(rig, name) * np.float32(metres_per_unit) for name in lengths})


def write_obj(folder: Path, mesh: Mesh, name: str) -> None:
    """NAME.obj, NAME.mtl and NAME_texture.png, which is the folder's texture.png. mesh: in the head frame."""
    texture_name = f"{name}_texture.png"
    try:
        os.link(folder / "texture.png", folder / texture_name)
    except OSError:  # a file system without hard links
        shutil.copyfile(folder / "texture.png", folder / texture_name)
    material = f"newmtl {name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nNs 0\nd 1\nillum 1\nmap_Kd {texture_name}\n"
    write_text(folder / f"{name}.mtl", material)
    write_geometry(folder / f"{name}.obj", mesh, name)


def write_geometry(path: Path, mesh: Mesh, name: str) -> None:
    """An OBJ file with the material NAME of NAME.mtl, which `write_obj` wrote beside. mesh: in the head frame."""
    normals = vertex_normals(mesh.vertices, mesh.faces)
    save_mesh(mesh, path, material_file=f"{name}.mtl", material=name, normals=normals)


def write_glb(folder: Path, mesh: Mesh, texture: np.ndarray, name: str) -> None:
    """NAME.glb with the texture inside. mesh: in the head frame. texture: uint8 [H, W, 3]."""
    vertex_ids, uv_ids, faces = joined_corners(mesh)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    surface = {"baseColorTexture": Image.fromarray(texture), "metallicFactor": 0.0, "roughnessFactor": 1.0}
    material = trimesh.visual.material.PBRMaterial(name=name, **surface)
    visual = trimesh.visual.TextureVisuals(uv=mesh.uvs[uv_ids], material=material)
    vertices, normals = mesh.vertices[vertex_ids], normals[vertex_ids]
    head = trimesh.Trimesh(vertices, faces, vertex_normals=normals, visual=visual, process=False)
    scene = trimesh.Scene()
    scene.add_geometry(head, node_name=name, geom_name=name)

    def finish(tree: dict) -> None:
        # Viewers that know no unlit materials show the diffuse one.
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
        tree["materials"][0]["extensions"] = {"KHR_materials_unlit": {}}
        tree["images"][0]["name"] = name
        (primitive,) = tree["meshes"][0]["primitives"]
        views = {accessor: ARRAY_BUFFER for accessor in primitive["attributes"].values()}
        for accessor, target in {**views, primitive["indices"]: ELEMENT_ARRAY_BUFFER}.items():
            tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target

    data = trimesh.exchange.gltf.export_glb(scene, include_normals=True, tree_postprocessor=finish)
    write_bytes(folder / f"{name}.glb", data)


# ---- a head that moves -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MorphTargets:
    """K targets of V vertices. neutral + the sum of weights times offsets is the head as in the photo."""

    names: tuple[str, ...]  # [K]
    offsets: np.ndarray  # [K, V, 3] float32, head frame: what a target of weight 1 adds to the neutral
    weights: np.ndarray  # [K] float32: the photo's


def neutral_mesh(rig: Rig, head: Mesh) -> Mesh:
    """The rig's head at rest. head: the mesh of the photo, whose faces and texture coordinates it has."""
    return Mesh(rig.neutral, head.faces, head.uvs, head.uv_faces)


def morph_targets(rig: Rig, head: Mesh) -> MorphTargets:
    """The targets of the rig, and GAZE where the eyeballs look elsewhere than these turn them.

    Weights of eyeLook... targets cannot show the gaze: they also move the lids, which are already as in the photo, and
    turn the head model's eyeballs by 9 to 14 degrees only. Eyeballs turned in the neutral would look aside at rest.
    head: the mesh of the photo, in the head frame.
    """
    targets = MorphTargets(tuple(rig.target_names.tolist()), rig.target_offsets, rig.weights)
    turned = np.isin(rig.vertex_parts, rig.eye_parts)
    gaze = np.where(turned[:, None], head.vertices - rig.posed(), 0).astype(np.float32)
    if GAZE in targets.names or not _moving(gaze, LEAST_MOTION * _diagonal(head)).any():
        return targets
    offsets = np.concatenate([targets.offsets, gaze[None]])
    return MorphTargets((*targets.names, GAZE), offsets, np.append(targets.weights, np.float32(1)))


def write_rigged_glb(folder: Path, head: Mesh, rig: Rig, name: str) -> None:
    """NAME.glb of a head that moves; the folder's texture.png is inside.

    One mesh of one primitive, so that programs have all targets on one object: the head at rest and `morph_targets`,
    named in the mesh's extras.targetNames. The mesh's weights show the photo. head: the mesh of the photo, in the head
    frame.
    """
    vertex_ids, uv_ids, faces = joined_corners(head)
    neutral, targets = neutral_mesh(rig, head), morph_targets(rig, head)
    # Normals of the mesh before it is split along UV seams and between parts: light runs smoothly over them.
    _, first, place = np.unique(neutral.vertices, axis=0, return_index=True, return_inverse=True)
    whole = first[place.ravel()]
    normals = _normals(neutral.vertices, whole[head.faces], np.array([0.0, 0, 1]))
    index_type = np.uint16 if len(vertex_ids) < 2**16 else np.uint32

    file = _Glb()
    attributes = {
        "POSITION": file.array(neutral.vertices[vertex_ids].astype(np.float32), ARRAY_BUFFER, limits=True),
        "NORMAL": file.array(normals[whole[vertex_ids]].astype(np.float32), ARRAY_BUFFER),
        "TEXCOORD_0": file.array((head.uvs[uv_ids] * (1, -1) + (0, 1)).astype(np.float32), ARRAY_BUFFER),
    }
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": file.array(faces.astype(index_type).reshape(-1), ELEMENT_ARRAY_BUFFER),
        "material": 0,
    }
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if targets.names:
        least = LEAST_MOTION * _diagonal(head)
        primitive["targets"] = []
        for offsets in targets.offsets:
            turned = (_normals(neutral.vertices + offsets, whole[head.faces], normals) - normals)[whole]
            primitive["targets"].append(
                {
                    "POSITION": file.sparse(offsets[vertex_ids], least, index_type, limits=True),
                    "NORMAL": file.sparse(turned[vertex_ids], LEAST_TURN, index_type),
                }
            )
        mesh |= {"weights": targets.weights.tolist(), "extras": {"targetNames": list(targets.names)}}
    surface = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    material = {"name": name, "pbrMetallicRoughness": surface, "extensions": {"KHR_materials_unlit": {}}}
    image = {"name": name, "mimeType": "image/png", "bufferView": file.view((folder / "texture.png").read_bytes())}
    tree = {
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"name": name, "mesh": 0}],
        "meshes": [mesh],
        "materials": [material],
        "textures": [{"source": 0}],
        "images": [image],
    }
    write_bytes(folder / f"{name}.glb", file.written(tree))


def _diagonal(mesh: Mesh) -> float:
    return float(np.linalg.norm(np.ptp(mesh.vertices, axis=0)))


def _normals(vertices: np.ndarray, faces: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Unit normals [V, 3]; `otherwise` [3] or [V, 3] where a vertex has none: glTF takes no others."""
    normals = vertex_normals(vertices, faces)
    return np.where(normals.any(axis=1, keepdims=True), normals, otherwise)


def _moving(offsets: np.ndarray, least: float) -> np.ndarray:
    """Whether an offset [..., 3] is longer than `least`."""
    return np.linalg.norm(offsets, axis=-1) > least


class _Glb:
    """Accessors and buffer views of a GLB file and the data that they describe."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._views: list[dict] = []
        self._accessors: list[dict] = []

    def view(self, data: bytes, **words: int) -> int:
        """Adds data. Returns its buffer view."""
        self._views.append({"buffer": 0, "byteOffset": len(self._data), "byteLength": len(data), **words})
        self._data += data + bytes(-len(data) % 4)  # numbers lie at multiples of their size
        return len(self._views) - 1

    def array(self, values: np.ndarray, target: int, limits: bool = False) -> int:
        """Adds values [N] or [N, 2 or 3]; limits: with the minimum and maximum of each column. Returns the accessor."""
        return self._accessor(values, {"bufferView": self.view(values.tobytes(), target=target)}, limits)

    def sparse(self, offsets: np.ndarray, least: float, index_type: type, limits: bool = False) -> int:
        """Adds offsets [N, 3] of which only those longer than `least` are stored. Returns the accessor."""
        moving = np.flatnonzero(_moving(offsets, least))
        values = np.zeros(offsets.shape, np.float32)
        values[moving] = offsets[moving]
        if not len(moving):  # an accessor without data is 0
            return self._accessor(values, {}, limits)
        indices, number = moving.astype(index_type), COMPONENT_TYPES[np.dtype(index_type).name]
        sparse = {
            "count": len(moving),
            "indices": {"bufferView": self.view(indices.tobytes()), "componentType": number},
            "values": {"bufferView": self.view(values[moving].tobytes())},
        }
        return self._accessor(values, {"sparse": sparse}, limits)

    def _accessor(self, values: np.ndarray, words: dict, limits: bool) -> int:
        kind = "SCALAR" if values.ndim == 1 else f"VEC{values.shape[1]}"
        accessor = {"componentType": COMPONENT_TYPES[values.dtype.name], "count": len(values), "type": kind, **words}
        if limits:
            accessor |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def written(self, tree: dict) -> bytes:
        """The file. tree: glTF's JSON without asset, accessors, bufferViews and buffers."""
        tree = {"asset": {"version": "2.0", "generator": "FaceRefiner"}, **tree, "accessors": self._accessors}
        tree |= {"bufferViews": self._views, "buffers": [{"byteLength": len(self._data)}]}
        text = json.dumps(tree, separators=(",", ":"), allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = ((b"JSON", text), (b"BIN\0", self._data))
        body = b"".join(struct.pack("<I4s", len(data), kind) + data for kind, data in chunks)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
