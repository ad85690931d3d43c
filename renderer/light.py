"""Diffuse light as a function of the surface normal."""

import numpy as np

# Columns of `spherical_harmonics` that change sign when the normal is mirrored in x.
ODD_IN_X = (3, 4, 7)


def spherical_harmonics(normals):
    """The nine real spherical harmonics up to second order, without their constant factors.

    normals: [..., 3] unit. Returns [..., 9]: 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2. Diffuse shading of a convex
    body under any distant light is within 1 % a linear combination of them (Ramamoorthi and Hanrahan 2001).
    """
    x, y, z = np.moveaxis(np.asarray(normals), -1, 0)
    return np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)
