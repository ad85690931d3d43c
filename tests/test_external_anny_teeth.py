"""Teeth where the photo shows them, and lips that meet at rest."""

from functools import cache

import numpy as np
import pytest
from head_file import head_model, needs_head

from external.anny.points import LIPS, lip_edge, load_head_points
from external.anny.reconstruction import HeadFitter
from external.anny.teeth import closed_lips, find_teeth, lip_drop, opened, place_teeth, usual_lower, usual_place
from renderer.camera import Camera
from renderer.rasterize import rasterize

pytestmark = needs_head
COLOURS = {"mouth": (60, 15, 15), "tongue": (120, 50, 50), "upper_teeth": (220, 210, 190), "lower_teeth": (210, 200, 180)}
SIZE = (640, 600)
CAMERA = Camera(*SIZE, 1800.0, 1800.0, 320.0, 300.0)
DOWN = np.array([0.0, 1, 0])  # of a head that faces the camera


@cache
def fitter():
    return HeadFitter(head_model())


def photographed(expression, shift=0.0):
    """Vertices in camera space, the points and the photo of a head whose upper teeth lie `shift` m lower."""
    model = fitter().model
    head = model.evaluate(None, expression).astype(np.float64) * (1, -1, -1) + (0, -0.03, 1.0)
    drawn = head.copy()
    drawn[model.vertices_of("upper_teeth")] += shift * DOWN
    ids = rasterize((drawn, model.triangles), CAMERA).face_ids
    of_parts = np.array([COLOURS.get(name, (190, 130, 110)) for name in model.part_names], np.uint8)
    photo = np.where((ids >= 0)[..., None], of_parts[model.parts[ids]], 90).astype(np.uint8)
    places = load_head_points().at(head)
    red = np.linalg.norm(model.vertices[model.triangles].mean(1)[:, None] - model.vertices[lip_edge(model)], axis=2).min(1)
    lips = (ids >= 0) & (red < 0.006)[ids] & (model.parts[ids] == model.part_names.index("skin"))
    photo[lips] = (170, 80, 80)
    image = CAMERA.project(places)
    return head, np.column_stack([image, (places[:, 2] - 1) * 1800]), photo


@pytest.mark.parametrize("shift", [0.002, 0.0045])
def test_the_teeth_are_found_where_the_photo_shows_them(shift):
    head, points, photo = photographed({"jawOpen": 0.35, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}, shift)
    place = find_teeth(fitter().model, head, CAMERA, DOWN, photo, points)
    assert place.seen and place.upper == pytest.approx(shift, abs=0.0011)


@pytest.mark.parametrize("expression", [{}, {"jawOpen": 0.5}])
def test_teeth_that_no_photo_shows_lie_as_usual(expression):
    head, points, photo = photographed(expression)
    photo = np.where(photo.min(axis=2, keepdims=True) > 140, 20, photo)  # no teeth
    assert find_teeth(fitter().model, head, CAMERA, DOWN, photo, points) == usual_place()


def test_teeth_move_rigidly_and_the_lower_ones_lie_behind():
    model = fitter().model
    head = model.vertices.astype(np.float64)
    place_teeth(model, head, usual_place())
    for name in ("upper_teeth", "lower_teeth", "tongue"):
        moved = (head - model.vertices)[model.vertices_of(name)]
        assert np.ptp(moved, axis=0).max() < 1e-9
    upper, lower = (head[model.vertices_of(name)] for name in ("upper_teeth", "lower_teeth"))
    assert upper[:, 2].max() - lower[:, 2].max() > 0.002
    overbite = lower[np.abs(lower[:, 0]) < 0.005, 1].max() - upper[:, 1].min()
    assert overbite == pytest.approx(0.0025, abs=0.001) and usual_lower(0.005) > usual_lower(0.003)


def test_closed_lips_meet_and_the_rest_of_the_face_stays():
    model, field = fitter().model, fitter().field
    head = model.evaluate(None, {"jawOpen": 0.12, "mouthSmileLeft": 0.3}).astype(np.float64)
    offsets = closed_lips(field, head)
    upper, lower = (head + offsets)[field.lips[0]], (head + offsets)[field.lips[1]]
    corners = model.vertices[lip_edge(model), 0]
    ends = head[lip_edge(model)[[corners.argmin(), corners.argmax()]]]
    line = np.concatenate([ends[:1], lower, ends[1:]])
    assert np.linalg.norm(head[field.lips[0]] - head[field.lips[1]].mean(0), axis=1).min() > 0.001  # they were open
    for place in upper:  # on a segment of the lower lip's border
        first, step = line[:-1], np.diff(line, axis=0)
        along = np.clip(((place - first) * step).sum(1) / (step**2).sum(1), 0, 1)
        assert np.linalg.norm(first + along[:, None] * step - place, axis=1).min() < 5e-5
    away = np.linalg.norm(model.vertices[:, None] - model.vertices[lip_edge(model)], axis=2).min(axis=1) > 0.03
    skin = np.intersect1d(np.flatnonzero(away), model.vertices_of("skin"))
    assert np.linalg.norm(offsets[skin], axis=1).max() < 3e-4
    assert not offsets[model.vertices_of("upper_teeth", "lower_teeth", "tongue")].any()
    assert lip_drop(field, head + offsets) >= 0


def test_the_lips_of_an_open_mouth_close_at_rest_and_open_in_the_photo():
    _, points, photo = photographed({"jawOpen": 0.3, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5}, 0.004)
    fit = fitter().fit(points, SIZE, 1800.0, photo)
    upper, lower = fitter().field.lips
    gap = lambda vertices: np.linalg.norm(vertices[upper][:, None] - vertices[lower], axis=2).min(axis=1)
    middle = slice(8, 15)
    assert gap(fit.neutral)[middle].max() < 0.003  # the next vertex of the other lip
    assert gap(fit.vertices)[middle].min() > 0.004
    at = fit.camera.project(load_head_points().at(fit.vertices))
    inner = [point for half in LIPS for point in half[2:-2]]
    assert np.linalg.norm(at[inner] - points[inner, :2], axis=1).max() < 0.7


def test_how_far_lips_are_open():
    _, points, _ = photographed({"jawOpen": 0.4})
    assert opened(points, 1800.0) == 1
    upper, lower = (list(half) for half in LIPS)
    points[lower] = points[upper]
    assert opened(points, 1800.0) == 0
