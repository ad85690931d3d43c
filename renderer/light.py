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


def fit_light(basis, colours, ridge, rounds=4):
    """Light from surface colours: robust ridge regression of log colours on spherical harmonics.

    basis: [N, 9] of `spherical_harmonics`. colours: [N, 3], natural logs. ridge: penalty on all but the constant, in units
    of the mean square. rounds: of reweighting (Cauchy), so that what is not lit skin (brows, hair) does not count.
    Returns [9, 3] float64, to be multiplied by a basis.
    """
    basis, colours = np.asarray(basis, dtype=np.float64), np.asarray(colours, dtype=np.float64)
    penalty = ridge * len(basis) * np.diag([0.0] + [1.0] * (basis.shape[1] - 1))
    weights = np.ones(len(basis))
    for _ in range(rounds):
        weighted = basis * weights[:, None]
        light = np.linalg.solve(weighted.T @ basis + penalty, weighted.T @ colours)
        residual = np.abs(colours - basis @ light).sum(1)
        weights = 1 / (1 + (residual / max(2 * np.median(residual), 1e-6)) ** 2)
    return light
