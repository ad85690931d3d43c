"""Diffuse light as a function of the surface normal."""

import numpy as np

# Columns of `spherical_harmonics` that change sign when the normal is mirrored in x.
ODD_IN_X = (3, 4, 7)


def spherical_harmonics(normals: np.ndarray) -> np.ndarray:  # [..., 3] -> [..., 9]
    """The nine real spherical harmonics up to second order, without their constant factors.

    normals: [..., 3] float, unit vectors. Returns [..., 9]: 1, y, z, x, xy, yz, 3z^2 - 1, xz, x^2 - y^2. A linear
    combination of them gives the diffuse shading of a convex body under any distant light to within 1 %
    (Ramamoorthi and Hanrahan 2001).
    """
    x, y, z = np.moveaxis(np.asarray(normals), -1, 0)
    return np.stack([np.ones_like(x), y, z, x, x * y, y * z, 3 * z * z - 1, x * z, x * x - y * y], axis=-1)


def fit_light(basis: np.ndarray, colours: np.ndarray, ridge: float, rounds: int = 4) -> np.ndarray:
    """Estimates light from surface colours: robust ridge regression of log colours on spherical harmonics.

    basis: [N, 9] of `spherical_harmonics`. colours: [N, 3], natural logs. ridge: penalty on all coefficients but the
    constant, in units of the mean square. rounds: Cauchy reweighting rounds, which reject outliers (brows, hair).
    Returns coefficients [9, 3] float64; basis @ coefficients is the log light.
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
