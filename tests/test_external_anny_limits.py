"""Limits of the head: uncertain points, cut faces, closed eyes, and heads that nobody has."""

from dataclasses import replace

import numpy as np
import pytest
from head_file import head_model, needs_head
from test_external_anny_fit import SIZE, degrees_between, fitter, photographed

from external.anny.fit import FitError, fit_points, least_blinks
from external.anny.limits import LARGEST_SPREAD, check_head, check_points, spread_of
from external.anny.points import LIDS, load_head_points

pytestmark = needs_head
CHEEK_LINE = 164  # between nose and mouth


def lid_gap(places):
    """Mean distance of the lids in the middle of the eyes; places: [468, 2 or 3]."""
    return np.mean([np.linalg.norm(places[list(u[3:6])] - places[list(l[3:6])], axis=1).mean() for u, l in LIDS])


def with_closed_eyes(points):
    for upper, lower in LIDS:
        upper, lower = list(upper[1:-1]), list(lower[1:-1])
        middle, half = (points[upper, :2] + points[lower, :2]) / 2, (points[upper, :2] - points[lower, :2]) / 2
        points[upper, :2], points[lower, :2] = middle + 0.1 * half, middle - 0.1 * half
    return points


def test_closed_eyes_are_an_expression_and_open_at_rest():
    shut = with_closed_eyes(photographed(5, 0)[0])
    assert least_blinks(shut) == pytest.approx([1, 1])
    assert least_blinks(photographed(5, 0)[0]) == pytest.approx([0, 0])
    head, points = fitter().fit(shut, SIZE), load_head_points()
    assert head.expression["eyeBlinkLeft"] > 0.95 and head.expression["eyeBlinkRight"] > 0.95
    gap = lid_gap(points.at(head.neutral))
    assert gap > 0.75 * lid_gap(points.at(fitter().model.vertices.astype(np.float64)))


def test_one_closed_eye_closes_no_other():
    shut = photographed(0, 0)[0]
    one = shut.copy()
    closed = with_closed_eyes(shut.copy())
    right = [k for half in LIDS[0] for k in half]
    one[right] = closed[right]
    expression = fit_points(one, SIZE, fitter().prepared).expression
    names = fitter().model.expression_names
    assert expression[names.index("eyeBlinkRight")] > 0.95 and expression[names.index("eyeBlinkLeft")] < 0.35


def test_points_outside_the_photo_do_not_pull():
    points, _ = photographed(10, 0)
    cut = (SIZE[0], int(points[CHEEK_LINE, 1]))
    moved = points.copy()
    outside = moved[:468, 1] > cut[1]
    moved[:468, :2][outside] += (25.0, 40.0)
    there, plain = fit_points(moved, cut, fitter().prepared), fit_points(points, cut, fitter().prepared)
    assert 0.1 < outside.mean() < 0.4
    assert degrees_between(there.pose.rotation, plain.pose.rotation) < 1.0
    assert np.abs(there.residuals - plain.residuals)[~outside].mean() < 0.004 * plain.face_height
    assert (there.visibility[outside] < 0.05).all()


def test_uncertain_points_and_cut_faces_are_refused():
    points, _ = photographed()
    assert spread_of(points, points) == 0
    shifted = points + (LARGEST_SPREAD * np.linalg.norm(points[10] - points[152]), 0, 0)
    assert spread_of(points, shifted) == pytest.approx(LARGEST_SPREAD)
    check_points(points, SIZE, 0.01)
    with pytest.raises(FitError, match=r"differ by 4\.0% .* mirrored photo; 3% is allowed"):
        check_points(points, SIZE, 0.04)
    with pytest.raises(FitError, match="of the face lies outside the photo"):
        check_points(points, (int(points[1, 0]) - 40, SIZE[1]), 0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda model, v: v * (1.35, 0.8, 1.0), "from the mean face"),
        (lambda model, v: v + np.where(v[:, :1] > 0, 0.012, 0.0) * (0, 1, 0), "from its mirror image"),
    ],
)
def test_heads_that_nobody_has_are_refused(change, said):
    head, points = fitter().fit(photographed()[0], SIZE), load_head_points()
    check_head(head, head_model(), points)
    with pytest.raises(FitError, match=said):
        check_head(replace(head, neutral=change(head_model(), head.neutral)), head_model(), points)


def test_too_much_expression_is_refused():
    head = fitter().fit(photographed()[0], SIZE)
    acting = dict.fromkeys(head_model().expression_names[:12], 0.9)
    with pytest.raises(FitError, match=r"sum up to 10\.8"):
        check_head(replace(head, expression=acting), head_model(), load_head_points())
