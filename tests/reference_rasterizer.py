"""A float64 reference rasteriser: casts one ray per pixel against every face. Slow, and written to be plainly right."""

import numpy as np


def cast_rays(vertices, faces, camera):
    """Depth [F, H, W] (inf = missed) and barycentrics [F, H, W, 3] of every face on every pixel's ray.

    The ray through pixel (i, j) is t ((j + .5 - cx) / fx, (i + .5 - cy) / fy, 1), t > 0; t is the depth. Solves
    [a - c, b - c, -ray] (alpha, beta, t) = -c for each face a, b, c by Cramer's rule.
    """
    x = (np.arange(camera.width) + 0.5 - camera.cx) / camera.fx
    y = (np.arange(camera.height) + 0.5 - camera.cy) / camera.fy
    rays = np.stack([*np.meshgrid(x, y), np.ones((camera.height, camera.width))], axis=-1)
    depth = np.full((len(faces), camera.height, camera.width), np.inf)
    barycentrics = np.zeros((*depth.shape, 3))
    for face, corners in enumerate(faces):
        a, b, c = np.asarray(vertices, dtype=np.float64)[corners]
        normal = np.cross(a - c, b - c)
        along = rays @ normal
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (c @ normal) / along
            relative = rays * t[..., None] - c
            squared = normal @ normal
            alpha = np.cross(relative, b - c) @ normal / squared
            beta = np.cross(a - c, relative) @ normal / squared
        weights = np.stack([alpha, beta, 1 - alpha - beta], axis=-1)
        hit = (t > 0) & np.isfinite(t) & np.isfinite(weights).all(axis=-1)
        barycentrics[face] = np.where(hit[..., None], weights, 0)
        depth[face] = np.where(hit & (weights >= 0).all(axis=-1), t, np.inf)
    return depth, barycentrics


def nearest_faces(vertices, faces, camera, margin=1e-7):
    """(face_ids, barycentrics, depth, certain): as the renderer's Fragments, and where [H, W] they are beyond doubt.

    A pixel is in doubt when a ray passes within `margin` (in barycentrics) of some face's edge or when the two nearest
    faces are closer to each other than float32 can tell.
    """
    depth, barycentrics = cast_rays(vertices, faces, camera)
    order = np.argsort(depth, axis=0, kind="stable")
    first = order[0]
    rows, columns = np.indices(first.shape)
    nearest = depth[first, rows, columns]
    hit = np.isfinite(nearest)
    certain = ~((np.abs(barycentrics) < margin).any(axis=-1) & (barycentrics != 0).any(axis=-1)).any(axis=0)
    if len(faces) > 1:
        second = depth[order[1], rows, columns]
        certain &= ~np.isfinite(second) | (second > nearest * (1 + 1e-6))
    face_ids = np.where(hit, first, -1)
    weights = np.where(hit[..., None], barycentrics[first, rows, columns], 0)
    return face_ids, weights, np.where(hit, nearest, np.inf), certain


def hidden_points(points, vertices, faces, clearance=1e-6):
    """Whether [N] the straight line from the camera at the origin to each point [N, 3] meets a face on its way.

    Moeller & Trumbore 1997, "Fast, minimum storage ray/triangle intersection", in float64; meetings within a share
    `clearance` of the point itself do not count.
    """
    a, b, c = (np.asarray(vertices, dtype=np.float64)[faces[:, corner]] for corner in range(3))
    along_b, along_c = b - a, c - a
    hidden = np.zeros(len(points), dtype=bool)
    for n, point in enumerate(np.asarray(points, dtype=np.float64)):
        across = np.cross(point, along_c)
        determinant = np.einsum("fc,fc->f", along_b, across)
        with np.errstate(divide="ignore", invalid="ignore"):
            beta = -np.einsum("fc,fc->f", a, across) / determinant
            turned = np.cross(-a, along_b)
            gamma = turned @ point / determinant
            t = np.einsum("fc,fc->f", along_c, turned) / determinant
            hidden[n] = ((beta >= 0) & (gamma >= 0) & (beta + gamma <= 1) & (t > 0) & (t < 1 - clearance)).any()
    return hidden
