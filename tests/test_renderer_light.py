"""Spherical harmonics and the fit of light to surface colours."""

import numpy as np

from renderer.light import ODD_IN_X, fit_light, spherical_harmonics


def directions(count, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def test_the_harmonics_are_orthogonal_on_the_sphere():
    basis = spherical_harmonics(directions(200_000))
    gram = basis.T @ basis / len(basis)
    size = np.sqrt(np.diag(gram))
    np.testing.assert_allclose(gram / np.outer(size, size), np.eye(9), atol=0.01)


def test_odd_terms_change_sign_with_x_and_no_others():
    normals = directions(50)
    there, here = spherical_harmonics(normals * (-1, 1, 1)), spherical_harmonics(normals)
    signs = np.ones(9)
    signs[list(ODD_IN_X)] = -1
    np.testing.assert_allclose(there, here * signs, atol=1e-12)


def test_the_light_is_found_again_in_spite_of_a_beard():
    normals = directions(3000)
    light = np.random.default_rng(1).normal(size=(9, 3)) * 0.2
    colours = spherical_harmonics(normals) @ light
    np.testing.assert_allclose(fit_light(spherical_harmonics(normals), colours, 0.0), light, atol=1e-9)
    spoiled = colours.copy()
    spoiled[::6] -= 1.5
    found = fit_light(spherical_harmonics(normals), spoiled, 0.0, rounds=12)
    plain = fit_light(spherical_harmonics(normals), spoiled, 0.0, rounds=1)
    assert np.abs(found - light).max() < 0.25 * np.abs(plain - light).max()


def test_the_ridge_shrinks_all_but_the_mean():
    normals = directions(500)
    colours = spherical_harmonics(normals) @ np.full((9, 3), 0.3)
    loose, tight = (fit_light(spherical_harmonics(normals), colours, ridge, rounds=1) for ridge in (0.0, 100.0))
    assert np.abs(tight[1:]).max() < 0.01 and np.abs(loose[1:]).min() > 0.29
    np.testing.assert_allclose(tight[0], colours.mean(0), atol=0.02)
