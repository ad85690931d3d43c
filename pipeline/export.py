"""Files other programs open: OBJ with MTL, and GLB. The head is upright, y up, facing +z; units as in the reconstruction.

The material is plain diffuse without gloss: the light is in the texture.
"""

import numpy as np
import trimesh
from PIL import Image

from pipeline.run_folder import write_bytes, write_text
from renderer.mesh import Mesh, save_mesh, vertex_normals

MATERIAL = "face"


def head_mesh(mesh, head_to_camera, outward=1.0):
    """The mesh [camera space] in the head frame: x to the person's left, y up, z out of the face.

    outward: -1 turns the faces over: programs that draw only front faces would show nothing of a mesh wound inwards.
    """
    rotation, translation = head_to_camera[:3, :3], head_to_camera[:3, 3]
    order = [0, 1, 2] if outward > 0 else [0, 2, 1]
    vertices = (mesh.vertices - translation) @ rotation
    return Mesh(vertices, mesh.faces[:, order], mesh.uvs, mesh.uv_faces[:, order])


def write_obj(folder, mesh, texture_name):
    """mesh.obj and mesh.mtl. mesh: in the head frame. texture_name: file name of the texture, beside them."""
    material = (
        f"newmtl {MATERIAL}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nNs 0\nd 1\nillum 1\nmap_Kd {texture_name}\n"
    )
    write_text(folder / "mesh.mtl", material)
    save_mesh(mesh, folder / "mesh.obj", material_file="mesh.mtl", material=MATERIAL)


def write_glb(folder, mesh, texture):
    """mesh.glb with the texture inside. mesh: in the head frame. texture: uint8 [H, W, 3]."""
    # glTF has one index per corner: a vertex with several UVs, on a seam, becomes several.
    corners = np.stack([mesh.faces.reshape(-1), mesh.uv_faces.reshape(-1)], axis=1)
    pairs, corner_ids = np.unique(corners, axis=0, return_inverse=True)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    material = trimesh.visual.material.PBRMaterial(
        name=MATERIAL, baseColorTexture=Image.fromarray(texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    scene_mesh = trimesh.Trimesh(
        vertices=mesh.vertices[pairs[:, 0]],
        faces=corner_ids.reshape(-1, 3),
        vertex_normals=normals[pairs[:, 0]],
        visual=trimesh.visual.TextureVisuals(uv=mesh.uvs[pairs[:, 1]], material=material),
        process=False,
    )
    write_bytes(folder / "mesh.glb", scene_mesh.export(file_type="glb", include_normals=True))
