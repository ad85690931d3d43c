"""Estimates from one photo how the light on a point of a face differs from the light on its mirror point."""

import cv2
import numpy as np
import torch

from renderer.light import ODD_IN_X, spherical_harmonics

TEMPLATE_DENSITY = 2.5 / 512  # texels per mm of the face template's layout, relative to the texture's side
GRID_STEP = 5.12  # mm between the points at which colours are compared
# Standard deviations, natural log units.
ALBEDO_SPREAD = 0.12  # lips, cheeks, brows against the rest
ALBEDO_REACH = 8.0  # mm, correlation length of the albedo
EVEN_SPREAD = 0.4  # of light that is equal on both halves
MEAN_SPREAD = 0.8  # of the constant
NOISE = 0.1  # of deviations from light and symmetric albedo
ROUNDS = 4  # of reweighting
# Brightness, red against blue, green against both. Light varies over a face far more in brightness than in colour.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [-1 / 3, 2 / 3, -1 / 3]])
COLOUR_SPREAD = (1.0, 0.4, 0.2)  # of each opponent channel, relative to `spread`


def light_difference(
    colours: np.ndarray,  # [H, W, 3] float, natural logs
    seen: np.ndarray,  # [H, W] bool
    mask: np.ndarray,  # [H, W] bool
    normals: np.ndarray,  # [H, W, 3] float, unit
    spread: float,
    texels_per_mm: float | None = None,
) -> np.ndarray:  # [H, W, 3] float32, natural log units
    """Log light at each texel minus log light at its mirror texel.

    colours: logs of smooth colours; used where seen. seen: texels that the photo certainly shows. mask: texels inside
    the islands. normals: in the head frame, of a texture symmetric about u = 0.5. spread: expected standard deviation
    of each odd harmonic of the log brightness. texels_per_mm: on the head; None: see `texture_density`.

    Model: log colour = symmetric albedo + light + noise, each with a Gaussian prior. The albedo is a Matern field over
    the texture, equal on both halves; the light is a sum of second-order spherical harmonics of the normal. The three
    harmonics that are odd in x are estimated by generalised least squares (as in universal kriging), with Cauchy
    reweighting against outliers such as hair. Pairs of mirror points that are both seen therefore contribute by their
    difference, and the correlated texels of a red cheek or a dark brow together count about as one observation.
    0 where nothing is seen.
    """
    height, width = mask.shape
    longer = max(height, width)
    grid = max(round(longer / (texels_per_mm or texture_density(mask.shape)) / GRID_STEP), 1)
    shape = [max(round(grid * side / longer), 1) for side in (height, width)]
    area = lambda image: cv2.resize(np.ascontiguousarray(image, np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    shares = area(seen)
    chosen = shares > 0.5
    if not chosen.any():
        return np.zeros((height, width, 3), np.float32)
    observed = area(np.where(seen[..., None], colours, 0))[chosen] / shares[chosen][:, None]
    directions = area(np.where(mask[..., None], normals, 0))[chosen]
    directions /= np.maximum(np.linalg.norm(directions, axis=-1, keepdims=True), 1e-6)
    odd = list(ODD_IN_X)
    basis = spherical_harmonics(directions.astype(np.float64))
    even = np.delete(basis, odd, axis=1) * ([MEAN_SPREAD] + [EVEN_SPREAD] * (basis.shape[1] - len(odd) - 1))
    points = np.argwhere(chosen) * GRID_STEP
    mirrored = points * (1, -1) + (0, (shape[1] - 1) * GRID_STEP)
    albedo = ALBEDO_SPREAD**2 * (_matern(points, points) + _matern(points, mirrored))
    coefficients = _odd_light(basis[:, odd], observed.astype(np.float64) @ OPPONENT.T, albedo + even @ even.T, spread)
    light = (spherical_harmonics(normals)[..., odd] @ coefficients) @ np.linalg.inv(OPPONENT).T
    return np.where(mask[..., None], light - light[:, ::-1], 0).astype(np.float32)


def texture_density(shape: tuple[int, ...]) -> float:
    """Texels per mm of the face template in a texture of height and width `shape`; assumed where nothing is known."""
    return max(shape) * TEMPLATE_DENSITY


def _matern(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Matern 3/2 correlations [N, M] between points [N, 2] and [M, 2], mm."""
    distances = np.sqrt(3) / ALBEDO_REACH * np.linalg.norm(points[:, None] - others, axis=-1)
    return (1 + distances) * np.exp(-distances)


def _odd_light(odd: np.ndarray, observed: np.ndarray, covariance: np.ndarray, spread: float) -> np.ndarray:
    """Coefficients [3, 3] (harmonic by opponent channel) of the odd harmonics [N, 3] in the observed colours [N, 3].

    covariance: [N, N] float64 of albedo and even light.
    """
    # torch rather than NumPy: its threads do not spin while they wait, which would slow down other processes.
    centred = observed - np.median(observed, axis=0)
    odd, observed, covariance = (torch.from_numpy(array) for array in (odd, centred, covariance))
    scales = spread * torch.tensor(COLOUR_SPREAD, dtype=torch.float64)
    weights = torch.ones(len(odd), dtype=torch.float64)
    for _ in range(ROUNDS):
        noise = NOISE**2 / weights
        factor = torch.linalg.cholesky(covariance + torch.diag(noise))
        solved = torch.cholesky_solve(torch.hstack([odd, observed]), factor)
        solved_odd, solved_observed = solved[:, :3], solved[:, 3:]
        precisions = odd.T @ solved_odd + torch.eye(3, dtype=torch.float64) / scales[:, None, None] ** 2
        light = torch.linalg.solve(precisions, (odd.T @ solved_observed).T).T
        residual = (noise[:, None] * (solved_observed - solved_odd @ light)).abs().sum(1)
        weights = 1 / (1 + (residual / residual.median().mul(2).clamp_min(1e-6)) ** 2)
    return light.numpy().round(6)  # removes the last bits, which depend on the number of threads
