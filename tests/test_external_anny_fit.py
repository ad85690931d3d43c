"""The fit of the head model to Face Mesh points: synthetic heads with known parameters, and the sample photos."""

from functools import cache

import numpy as np
import pytest
from head_file import head_model, needs_head
from scipy.spatial.transform import Rotation

from external.anny.displacement import ordered
from external.anny.fit import BROWS, EAR_AXES, EAR_ENDS, NOSE_BASE, FitError, fit_points
from external.anny.head_layout import ear_area
from external.anny.points import LIDS, LIPS, lid_edges, load_head_points
from external.anny.reconstruction import HeadFitter, turn_from_ahead
from renderer.mesh import face_normals, normalised

pytestmark = needs_head
SIZE = (900, 1000)  # px


@cache
def fitter():
    return HeadFitter(head_model())


def photographed(yaw=0.0, pitch=0.0, identity=None, expression=None, focal=1800.0, distance=1.2, gaze=(0.0, 0.0, 1.0)):
    """Points [478, 3] as Face Mesh would find them of a head with known parameters, and the head's pose."""
    model, points = fitter().model, fitter().prepared.points
    turn = np.diag([1.0, -1, -1]) @ Rotation.from_euler("yx", [yaw, pitch], degrees=True).as_matrix()
    at = np.array([0.01, -0.02, distance])
    head = model.evaluate(identity, expression).astype(np.float64)
    places = points.at(head)
    irises = [c + np.array(gaze) * 0.0165 for c in model.eye_centres(head)[::-1]]
    places = np.concatenate([places, np.repeat(irises, 5, axis=0)])
    camera = places @ turn.T + at
    image = focal * camera[:, :2] / camera[:, 2:] + np.array(SIZE) / 2
    return np.column_stack([image, (camera[:, 2] - distance) * focal / distance]), turn


def degrees_between(first, second):
    return np.degrees(Rotation.from_matrix(first.T @ second).magnitude())


def test_points_lie_where_they_mean_symmetrically():
    model, points = fitter().model, load_head_points()
    at = points.at(model.vertices.astype(np.float64))
    assert (points.barycentrics >= 0).all() and np.allclose(points.barycentrics.sum(1), 1, atol=1e-6)
    assert np.allclose(at[points.mirror], at * (-1, 1, 1), atol=1e-6)
    middle = points.mirror == np.arange(468)
    assert np.abs(at[middle, 0]).max() == pytest.approx(0, abs=1e-9)
    for contour, edge in zip(LIDS, lid_edges(model), strict=True):
        inner = [k for half in contour for k in half[1:-2]]
        used = points.vertices[inner][points.barycentrics[inner] > 1e-6]
        assert np.isin(used, edge).mean() > 0.9  # all but the corner by the nose
        upper, lower = (at[list(half[1:-1]), 1] for half in contour)
        assert (upper > lower).all()
    upper, lower = (at[list(half[3:-3]), 1] for half in LIPS)
    assert (upper > lower).all()


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-25, 10), (0, -20)])
def test_a_known_head_is_recovered(yaw, pitch):
    truth = {"nose-scale-vert-decr-incr": 0.4, "mouth-scale-horiz-decr-incr": -0.4, "head-fat-decr-incr": 0.3}
    points, turn = photographed(yaw, pitch, truth, {"jawOpen": 0.4}, focal=1800)
    fit = fit_points(points, SIZE, fitter().prepared, focal=1800)
    assert degrees_between(fit.pose.rotation, turn) < 1.5
    assert fit.pose.focal == pytest.approx(1800)
    error = np.linalg.norm(fit.residuals, axis=1).mean() / fit.face_height
    assert error < 0.004
    expression = dict(zip(fitter().model.expression_names, fit.expression, strict=True))
    assert expression["jawOpen"] == pytest.approx(0.4, abs=0.15)
    assert expression["jawLeft"] == expression["mouthLeft"] == expression["jawForward"] == 0


def test_outliers_do_not_turn_the_head():
    points, turn = photographed(15, 5)
    chosen = np.random.default_rng(1).permutation(468)[:46]
    points[chosen, :2] += np.random.default_rng(2).normal(0, 40, (46, 2))
    fit = fit_points(points, SIZE, fitter().prepared)
    assert degrees_between(fit.pose.rotation, turn) < 1.5
    kept = np.setdiff1d(np.arange(468), chosen)
    assert np.linalg.norm(fit.residuals[kept], axis=1).mean() / fit.face_height < 0.004


def test_coefficients_stay_within_bounds():
    points, _ = photographed(10, 0, {"age-child-old": -1.0, "nose-volume-decr-incr": 1.0}, {"mouthSmileLeft": 1.0})
    fit, prepared = fit_points(points, SIZE, fitter().prepared), fitter().prepared
    values = np.concatenate([fit.identity, fit.expression])
    ears = [fitter().model.identity_names.index(name) for names in EAR_AXES for name in names]
    assert (np.abs(values[ears]) <= 1).all()  # they are not fitted but placed
    values[ears] = 0
    assert (values >= prepared.low).all() and (values <= prepared.high).all()


@pytest.mark.parametrize("identity", [{"nose-scale-vert-decr-incr": -0.6}, {"head-scale-vert-decr-incr": -0.8}])
def test_ears_reach_from_the_brows_to_the_nose(identity):
    fit, model = fit_points(photographed(10, 5, identity)[0], SIZE, fitter().prepared), fitter().model
    head = model.evaluate(fit.identity).astype(np.float64)
    heights = load_head_points().at(head)[:, 1]
    base, brows = heights[NOSE_BASE], heights[list(BROWS)].mean()
    ears = np.unique(model.triangles[ear_area(model)])
    wanted = base + np.array(EAR_ENDS) * (brows - base)
    for side in (1, -1):
        ear = ears[side * model.vertices[ears, 0] > 0]
        assert np.abs((head[ear, 1].max(), head[ear, 1].min()) - wanted).max() < 5e-4


def test_the_usual_depths_of_points_change_nothing():
    points, turn = photographed(15, -5, {"nose-scale-depth-decr-incr": 0.5}, focal=1800)
    points[:468, 2] += load_head_points().depths * 1800 / 1.2
    fit = fit_points(points, SIZE, fitter().prepared, focal=1800)
    camera = load_head_points().at(fitter().model.evaluate(fit.identity).astype(np.float64)) @ turn[2]
    behind = points[:468, 2] / fit.pose.scale - load_head_points().depths - camera
    assert np.std(behind[fit.visibility > 0.5]) < 0.0012
    assert np.std(behind[fit.visibility > 0.5] + load_head_points().depths[fit.visibility > 0.5]) > 0.0015


def test_visible_points_are_met_without_folds_and_the_rig_gives_the_mesh():
    rng = np.random.default_rng(3)
    points, _ = photographed(12, -4, {"head-fat-decr-incr": 0.4}, {"mouthSmileLeft": 0.5, "mouthSmileRight": 0.5})
    directions = rng.normal(0, 1, (468, 2))
    template = fitter().prepared.neutral
    near = np.exp(-((np.linalg.norm(template[:, None] - template, axis=-1) / 0.03) ** 2))
    points[:468, :2] += 3 * (near @ directions) / near.sum(1, keepdims=True) ** 0.5  # a smooth distortion
    head = fitter().fit(points, SIZE)
    seen = head.visibility > 0.5
    assert head.error[seen].max() < 0.5
    assert head.error[seen].mean() < 0.2 * head.error_before[seen].mean()

    model = fitter().model
    shown = model.evaluate(None, head.expression) - model.vertices + head.neutral + head.lips
    camera = shown @ head.head_to_camera[:3, :3].T + head.head_to_camera[:3, 3]
    still = np.setdiff1d(np.arange(len(camera)), model.vertices_of("eye_left", "eye_right"))
    assert np.abs(camera - head.vertices)[still].max() < 1e-6

    skin = fitter().field.skin[fitter().field.firm]
    plain = model.evaluate(head.identity, head.expression) @ head.head_to_camera[:3, :3].T + head.head_to_camera[:3, 3]
    before, after = (normalised(face_normals(v, skin)) for v in (plain, head.vertices))
    front = -(before * normalised(plain[skin].mean(1))).sum(1) > 0
    assert ((before * after).sum(1)[front] > 0).all()


def test_symmetric_points_give_a_symmetric_head():
    points, _ = photographed(0, 8, {"head-fat-decr-incr": 0.4}, {"jawOpen": 0.3})
    points[:, 0] -= 0.01 * 1800 / 1.2  # the head in the middle of the picture
    mirror = load_head_points().mirror
    points[:468] = (points[:468] + (points[:468] * (-1, 1, 1) + (SIZE[0], 0, 0))[mirror]) / 2
    points[:468, 1] += 2 * np.sin(np.linspace(0, 9, 468))[np.minimum(mirror, np.arange(468))]
    head = fitter().fit(points, SIZE)
    model = fitter().model
    assert np.abs(head.neutral[model.mirror] - head.neutral * (-1, 1, 1)).max() < 5e-4
    for one, other in enumerate(model.identity_mirror):
        sign = model.identity_mirror_sign[one]
        assert head.identity[one] == pytest.approx(sign * head.identity[other], abs=0.02)


def test_lids_close_where_those_of_the_photo_do():
    points, _ = photographed(5, 0, None, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})
    for upper, lower in LIDS:
        upper, lower = list(upper[1:-1]), list(lower[1:-1])
        points[upper, :2] = points[lower, :2] = (points[upper, :2] + points[lower, :2]) / 2
    head = fitter().fit(points, SIZE)
    assert head.expression["eyeBlinkLeft"] > 0.6 and head.expression["eyeBlinkRight"] > 0.6
    at = head.camera.project(load_head_points().at(head.vertices))
    for upper, lower in LIDS:
        gap = np.linalg.norm(at[list(upper[2:-2])] - at[list(lower[2:-2])], axis=1)
        assert np.median(gap) < 1.0


def test_contours_that_cross_are_closed():
    points, _ = photographed()
    crossed = points.copy()
    crossed[13, 1], crossed[14, 1] = points[14, 1] + 5, points[13, 1] - 5
    result = ordered(crossed[:468, :2], crossed)
    assert result[13, 1] == pytest.approx(result[14, 1], abs=0.2)
    assert np.allclose(np.delete(result, [13, 14], axis=0)[:10], points[:10, :2])


@pytest.mark.parametrize("gaze", [(0.0, 0.0, 1.0), (0.3, 0.1, 0.949), (-0.25, -0.2, 0.947)])
def test_eyes_look_where_the_irises_are(gaze):
    gaze = normalised(np.array(gaze))
    points, _ = photographed(10, 0, gaze=gaze)
    head = fitter().fit(points, SIZE)
    assert np.degrees(np.arccos(np.clip(head.eye_directions @ gaze, -1, 1))).max() < 6
    assert not any(name.startswith("eyeLook") for name in head.expression)
    turn = turn_from_ahead(head.eye_directions[0])
    assert np.allclose(turn @ (0, 0, 1), head.eye_directions[0]) and np.allclose(turn @ turn.T, np.eye(3))


def test_what_is_no_face_is_refused():
    points, _ = photographed()
    with pytest.raises(FitError, match="face's height"):
        scattered = points + np.random.default_rng(4).normal(0, 60, points.shape)
        fitter().fit(scattered, SIZE)
    with pytest.raises(FitError, match="not those of a face"):
        fitter().fit(np.zeros((468, 3)), SIZE)
    with pytest.raises(FitError, match="turned away"):
        fitter().fit(photographed(85, 0)[0], SIZE)


def test_the_sample_photo(sample_photo):
    from external.face_mesh.landmarks import find_landmarks
    from external.mtcnn import detect_faces
    from pipeline.reconstruction.images import read_photo

    pixels = read_photo(sample_photo)
    face = detect_faces(pixels)[0]
    points = find_landmarks(pixels, face.box, face.points, irises=True)
    assert points.shape == (478, 3)
    head = fitter().fit(points, pixels.shape[1::-1])
    assert head.error_before.mean() / head.face_height < 0.009
    assert head.error[head.visibility > 0.5].max() < 0.5
    assert np.isfinite(head.vertices).all() and (head.vertices[:, 2] > 0).all()
