"""How the light on a place of a face differs from that on its mirror image, from one photo."""

import cv2
import numpy as np
import torch

from renderer.light import ODD_IN_X, spherical_harmonics

GRID = 40  # points along the texture's longer side
REFERENCE_TEXTURE = 512  # distances below are in texels of a texture this wide
ALBEDO_SPREAD = 0.12  # natural log units: lips, cheeks, brows against the rest
ALBEDO_REACH = 20.0
EVEN_SPREAD = 0.4  # of light that is the same on both halves
MEAN_SPREAD = 0.8  # of the constant
NOISE = 0.1  # what neither light nor a symmetric albedo is
ROUNDS = 4
# Brightness, red against blue, green against both. Light changes its brightness over a face far more than its colour.
OPPONENT = np.array([[1 / 3, 1 / 3, 1 / 3], [1 / 2, 0, -1 / 2], [-1 / 3, 2 / 3, -1 / 3]])
COLOUR_SPREAD = (1.0, 0.4, 0.2)


def light_difference(colours, seen, mask, normals, spread):
    """Log light at each texel less that at its mirror image, [H, W, 3] float32, natural log units.

    colours: natural logs [H, W, 3] of smooth colours where seen. seen, mask: [H, W] bool, texels the photo surely shows,
    and those inside the islands. normals: [H, W, 3] unit, head frame, of a texture symmetric about u = 0.5.
    spread: standard deviation expected of each odd harmonic of the log brightness.

    Log colour = symmetric albedo + light + noise, each a Gaussian prior: the albedo a Matern field over the texture, equal on
    both halves, the light second-order spherical harmonics of the normal. The three harmonics that are odd in x are
    estimated by generalised least squares (as in universal kriging), reweighted (Cauchy) against what is not lit skin. So
    pairs of places that are both seen count by what differs between them, and a red cheek or a dark brow, many texels of
    one opinion, counts about as one. Zero where nothing is seen.
    """
    height, width = mask.shape
    shape = [max(round(GRID * side / max(height, width)), 1) for side in (height, width)]
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
    places = np.argwhere(chosen) * (REFERENCE_TEXTURE / GRID)
    mirrored = places * (1, -1) + (0, (shape[1] - 1) * REFERENCE_TEXTURE / GRID)
    albedo = ALBEDO_SPREAD**2 * (_matern(places, places) + _matern(places, mirrored))
    light = _odd_light(basis[:, odd], observed.astype(np.float64) @ OPPONENT.T, albedo + even @ even.T, spread)
    here = (spherical_harmonics(normals)[..., odd] @ light) @ np.linalg.inv(OPPONENT).T
    return np.where(mask[..., None], here - here[:, ::-1], 0).astype(np.float32)


def _matern(places, others):
    """Correlations [N, M] of a field once differentiable (Matern 3/2) between points [N, 2] and [M, 2]."""
    distances = np.sqrt(3) / ALBEDO_REACH * np.linalg.norm(places[:, None] - others, axis=-1)
    return (1 + distances) * np.exp(-distances)


def _odd_light(odd, observed, covariance, spread):
    """Coefficients [3, 3], harmonic by opponent channel, of the harmonics odd [N, 3] in the colours observed [N, 3].

    covariance: [N, N] of all else but the noise.
    """
    # torch: its threads wait without spinning, where other processes refine other photos.
    odd, observed, covariance = (torch.from_numpy(array) for array in (odd, observed - np.median(observed, axis=0), covariance))
    scales = spread * torch.tensor(COLOUR_SPREAD, dtype=torch.float64)
    weights = torch.ones(len(odd), dtype=torch.float64)
    for _ in range(ROUNDS):
        noise = NOISE**2 / weights
        solved = torch.cholesky_solve(torch.hstack([odd, observed]), torch.linalg.cholesky(covariance + torch.diag(noise)))
        solved_odd, solved_observed = solved[:, :3], solved[:, 3:]
        precisions = odd.T @ solved_odd + torch.eye(3, dtype=torch.float64) / scales[:, None, None] ** 2
        light = torch.linalg.solve(precisions, (odd.T @ solved_observed).T).T
        residual = (noise[:, None] * (solved_observed - solved_odd @ light)).abs().sum(1)
        weights = 1 / (1 + (residual / residual.median().mul(2).clamp_min(1e-6)) ** 2)
    return light.numpy().round(6)  # the last bits depend on the number of threads; textures must not
