"""Files other programs open: OBJ with MTL, and GLB. The head is upright, y up, facing +z; units as in the reconstruction.

The light is in the texture: the GLB's material is unlit (KHR_materials_unlit), the OBJ's, whose format has no such word,
plain diffuse without gloss.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from pipeline.runs.files import write_bytes, write_text
from renderer.mesh import Mesh, joined_corners, save_mesh, vertex_normals

ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963  # what glTF calls data of vertices and indices


def head_mesh(mesh: Mesh, head_to_camera: np.ndarray, outward: float = 1.0) -> Mesh:
    """The mesh [camera space] in the head frame: x to the person's left, y up, z out of the face.

    head_to_camera: [4, 4], rigid. outward: -1 turns the faces over: programs that draw only front faces would show
    nothing of a mesh wound inwards.
    """
    rotation, translation = head_to_camera[:3, :3], head_to_camera[:3, 3]
    order = [0, 1, 2] if outward > 0 else [0, 2, 1]
    vertices = (mesh.vertices - translation) @ rotation
    return Mesh(vertices, mesh.faces[:, order], mesh.uvs, mesh.uv_faces[:, order])


def write_obj(folder: Path, mesh: Mesh, name: str) -> None:
    """NAME.obj, NAME.mtl and NAME_texture.png, which is the folder's texture.png. mesh: in the head frame."""
    texture_name = f"{name}_texture.png"
    try:
        os.link(folder / "texture.png", folder / texture_name)
    except OSError:  # a file system without hard links
        shutil.copyfile(folder / "texture.png", folder / texture_name)
    material = f"newmtl {name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nNs 0\nd 1\nillum 1\nmap_Kd {texture_name}\n"
    write_text(folder / f"{name}.mtl", material)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    save_mesh(mesh, folder / f"{name}.obj", material_file=f"{name}.mtl", material=name, normals=normals)


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
