"""Meshes with known truth for the renderer's tests."""

import numpy as np

from renderer.mesh import Mesh


def grid_mesh(surface, rows, columns, border=0.05):
    """A sheet of rows x columns vertices; surface maps s, t in 0..1 (right, down) to positions [..., 3].

    Its texture coordinates leave a border free on every side.
    """
    t, s = np.meshgrid(np.linspace(0, 1, rows), np.linspace(0, 1, columns), indexing="ij")
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]))
    # Clockwise on the screen: with y down, cross products then point to the camera.
    faces = np.concatenate([np.stack([a, d, c], 1), np.stack([a, c, b], 1)])
    uvs = np.stack([border + (1 - 2 * border) * s.ravel(), 1 - border - (1 - 2 * border) * t.ravel()], axis=1)
    return Mesh(surface(s, t).reshape(-1, 3), faces, uvs, faces)


def plane(s, t, distance=4.0, width=2.0, height=2.0):
    """A plane that faces the camera."""
    return np.stack([(s - 0.5) * width, (t - 0.5) * height, np.full_like(s, distance)], axis=-1)


def dome(s, t):
    """A gently curved, slightly turned sheet, like a forehead."""
    x, y = (s - 0.5) * 2, (t - 0.5) * 2.4
    return np.stack([x, y, 5 + 0.25 * x**2 + 0.2 * y**2 + 0.15 * x], axis=-1)


def sphere(s, t, radius=1.0, distance=4.0):
    """A closed sphere: longitude 360 degrees from the back seam, latitude from pole to pole."""
    longitude, latitude = (2 * s - 1) * np.pi, (t - 0.5) * np.pi
    x, y, z = np.cos(latitude) * np.sin(longitude), np.sin(latitude), -np.cos(latitude) * np.cos(longitude)
    return np.stack([radius * x, radius * y, distance + radius * z], axis=-1)


def bump(s, t):
    """A cheek with a steep nose, turned by 35 degrees so that the nose hides a part of the cheek."""
    x, y = (s - 0.5) * 2, (t - 0.5) * 2
    z = 0.3 * x**2 - 0.9 * np.exp(-((x / 0.16) ** 2) - (y / 0.4) ** 2)
    turn = np.deg2rad(35)
    return np.stack([x * np.cos(turn) + z * np.sin(turn), y, 4 - x * np.sin(turn) + z * np.cos(turn)], axis=-1)


def two_sheets(front_vertices, front_faces, back):
    """A mesh of a front sheet (uvs in the texture's left half) before a back sheet `back` (right half)."""
    front_uvs = (front_vertices[:, :2] - front_vertices[:, :2].min(0)) / np.ptp(front_vertices[:, :2], axis=0)
    uvs = np.concatenate([front_uvs * [0.4, 0.9] + 0.05, back.uvs * [0.45, 0.9] + [0.52, 0.05]])
    faces = np.concatenate([front_faces, back.faces + len(front_vertices)])
    return Mesh(np.concatenate([front_vertices, back.vertices]), faces, uvs, faces)
