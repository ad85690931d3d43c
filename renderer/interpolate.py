"""Interpolates vertex (or texture coordinate) attributes to the pixels of a rasterisation."""

import numpy as np

from renderer.rasterize import Fragments


def interpolate(attributes: np.ndarray, faces: np.ndarray, fragments: Fragments) -> np.ndarray:
    """Interpolates attributes [V, C] over faces [F, 3] (indices into V) to [H, W, C]; 0 in pixels without a face.

    The result has the attributes' floating-point type. Raises ValueError when the shapes do not match.
    """
    attributes, faces = np.asarray(attributes), np.asarray(faces)
    if attributes.ndim != 2 or attributes.dtype.kind != "f":
        raise ValueError(f"attributes are {attributes.dtype} of shape {attributes.shape}; floats [V, C] are needed")
    covered = fragments.face_ids >= 0
    ids = fragments.face_ids[covered]
    if len(ids) and ids.max() >= len(faces):
        given = f"the fragments refer to face {ids.max()}, but there are {len(faces)} faces"
        raise ValueError(f"{given}; pass the faces that were rasterised")
    corners = faces[ids]
    weights = fragments.barycentrics[covered].astype(attributes.dtype, copy=False)
    result = np.zeros((*covered.shape, attributes.shape[1]), dtype=attributes.dtype)
    result[covered] = sum(attributes[corners[:, corner]] * weights[:, corner, None] for corner in range(3))
    return result
