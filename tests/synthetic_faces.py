"""Heads with known truth: the face template, its colours and its light, seen by a known camera."""

import numpy as np

from external.face_mesh.reconstruction import reconstruct
from external.face_mesh.template import load_template
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_bytes
from renderer.light import spherical_harmonics
from renderer.render import render
from renderer.visibility import outward_sign, texel_geometry, unoccluded, visibility

SKIN = np.array([0.50, 0.37, 0.31])
BACKGROUND = (0.25, 0.35, 0.30)


def turn(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """Rotation [3, 3] from the head frame to camera axes; degrees. Positive yaw: the nose to the right in the image,
    positive pitch: upwards, positive roll: the head leans clockwise."""
    y, p, r = np.deg2rad([yaw, pitch, roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ np.diag([1.0, -1.0, -1.0]) @ about_y @ about_x


def landmarks(yaw=0.0, pitch=0.0, roll=0.0, eye_distance=90.0, centre=(150.0, 140.0)) -> np.ndarray:
    """Face Mesh points [468, 3], in pixels, of the template's shape."""
    points = load_template(0).shape @ turn(yaw, pitch, roll).T * eye_distance
    return points + [*centre, 0.0]


def head(yaw=0.0, width=300, height=280, subdivisions=1, **pose) -> Reconstruction:
    """Mesh and camera of the template's face in a photo of this size."""
    points = landmarks(yaw, **{"centre": (width / 2, height / 2), **pose})
    return reconstruct(points, width, height, subdivisions=subdivisions)


def texel_grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """u, v [size, size] of the texel centres."""
    centres = (np.arange(size) + 0.5) / size
    return np.meshgrid(centres, 1 - centres)


def albedo(size: int, contrast=0.25) -> np.ndarray:
    """Colours [size, size, 3] of a face, symmetric about u = 0.5: skin with broad variation, fine detail, lips, brows."""
    u, v = texel_grid(size)
    across = np.abs(u - 0.5)
    broad = 1 + contrast * (0.6 * np.cos(7 * v) + 0.5 * np.cos(9 * across + 2 * v))
    fine = 1 + 0.2 * contrast * np.sin(70 * across) * np.sin(60 * v)
    colours = SKIN * (broad * fine)[..., None] * 0.9
    for where, colour in (
        (((across - 0.2) / 0.09) ** 2 + ((v - 0.68) / 0.03) ** 2 < 1, (0.25, 0.3, 0.4)),
        ((np.abs(across - 0.2) < 0.09) & (np.abs(v - 0.79) < 0.02), (0.2, 0.14, 0.1)),
        ((across / 0.14) ** 2 + ((v - 0.31) / 0.05) ** 2 < 1, (0.65, 0.25, 0.25)),
    ):
        colours = np.where(where[..., None], colour, colours)
    return colours.astype(np.float32)


def head_normals(found: Reconstruction, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Outward normals [size, size, 3] in the head frame, and the mask [size, size] of the islands."""
    geometry = texel_geometry(found.mesh, size, size)
    sign = outward_sign(geometry, unoccluded(geometry, found.mesh, found.camera))
    return sign * geometry.normals @ found.head_to_camera[:3, :3], geometry.mask


def seen_head(yaw: float, size: int, subdivisions: int) -> tuple[Reconstruction, np.ndarray, np.ndarray, np.ndarray]:
    """A head in a photo of 420 x 400 px; how well it is seen [size, size], 0..1, the islands' mask, and head_normals."""
    found = head(yaw, subdivisions=subdivisions, width=420, height=400, eye_distance=130.0)
    normals, mask = head_normals(found, size)
    geometry = texel_geometry(found.mesh, size, size)
    return found, visibility(geometry, found.mesh, found.camera, 0.45, 0.25) * mask, mask, normals


def lit(colours: np.ndarray, normals: np.ndarray, odd=0.35) -> np.ndarray:
    """Colours under smooth light that is stronger on the person's left; log-linear in spherical harmonics."""
    weights = np.array([-0.05, 0.12, 0.08, odd, 0.05, -0.05, 0.02, 0.1 * odd, 0.03])
    tint = np.array([1.0, 0.95, 0.9])
    return np.clip(colours * np.exp((spherical_harmonics(normals) @ weights)[..., None] * tint), 0, 1).astype(np.float32)


def photograph(texture: np.ndarray, found: Reconstruction) -> np.ndarray:
    """The photo, uint8 [H, W, 3], of the textured face before a plain background."""
    return as_bytes(render(texture, found.mesh, found.camera, np.array(BACKGROUND))[0])
