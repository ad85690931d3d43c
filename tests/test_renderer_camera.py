import json

import numpy as np
import pytest

from renderer.camera import Camera, CameraError, load_camera, save_camera

CAMERA = Camera(width=640, height=360, fx=700.5, fy=690.25, cx=310.1, cy=190.7)


def test_projection_follows_the_axes():
    points = np.array([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]])
    expected = [[310.1, 190.7], [310.1 + 350.25, 190.7], [310.1, 190.7 + 345.125]]
    np.testing.assert_allclose(CAMERA.project(points), expected)


def test_behind_is_nowhere():
    assert np.isnan(CAMERA.project(np.array([[0.1, 0.2, 0.0], [0.1, 0.2, -1.0]]))).all()
    with pytest.raises(CameraError, match=r"\(3,\)"):
        CAMERA.project(np.zeros(3))


def test_homogeneous_positions_agree():
    points = np.random.default_rng(0).normal(size=(20, 3)) + [0, 0, 5]
    homogeneous = CAMERA.homogeneous(points)
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], CAMERA.project(points))


def test_resizing_and_cropping_move_the_projections_alike():
    points = np.random.default_rng(1).normal(size=(20, 3)) + [0, 0, 5]
    seen = CAMERA.project(points)
    np.testing.assert_allclose(CAMERA.resized(320, 720).project(points), seen * [0.5, 2])
    np.testing.assert_allclose(CAMERA.cropped(-7, 30, 100, 50).project(points), seen - [-7, 30])
    assert (CAMERA.cropped(3, 4, 100, 50).width, CAMERA.cropped(3, 4, 100, 50).height) == (100, 50)


def test_file_round_trip_is_exact(tmp_path):
    save_camera(CAMERA, tmp_path / "camera.json")
    assert load_camera(tmp_path / "camera.json") == CAMERA
    assert set(json.loads((tmp_path / "camera.json").read_text())) == {"version", "width", "height", "fx", "fy", "cx", "cy"}


def test_integers_of_numpy_are_accepted():
    camera = Camera(np.int64(4), np.int32(3), np.float32(2), 2, 1, 1)
    assert type(camera.width) is int and type(camera.fx) is float


@pytest.mark.parametrize(
    ("key", "value"),
    [("width", 0), ("height", -3), ("width", 1.5), ("width", True), ("fx", 0), ("fy", -1), ("fx", float("nan")),
     ("cx", float("inf")), ("cy", "12"), ("cx", None)],
)  # fmt: skip
def test_bad_values_are_named(key, value, tmp_path):
    content = {"version": 1, "width": 4, "height": 3, "fx": 2.0, "fy": 2.0, "cx": 2.0, "cy": 1.5, key: value}
    path = tmp_path / "camera.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CameraError, match=f"camera {key} is") as raised:
        load_camera(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("key", ["version", "width", "height", "fx", "fy", "cx", "cy"])
def test_missing_keys_are_named(key, tmp_path):
    save_camera(CAMERA, tmp_path / "camera.json")
    content = json.loads((tmp_path / "camera.json").read_text())
    del content[key]
    (tmp_path / "camera.json").write_text(json.dumps(content))
    with pytest.raises(CameraError, match=f"'{key}' is missing"):
        load_camera(tmp_path / "camera.json")


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "3", '{"version": 2, "width": 1, "height": 1}', "\x00\xff"])
def test_other_files_are_refused_in_one_line(text, tmp_path):
    path = tmp_path / "camera.json"
    path.write_text(text)
    with pytest.raises(CameraError) as raised:
        load_camera(path)
    assert "\n" not in str(raised.value) and str(path) in str(raised.value)


def test_wrong_version_and_absent_file(tmp_path):
    path = tmp_path / "camera.json"
    with pytest.raises(CameraError, match="cannot be read"):
        load_camera(path)
    save_camera(CAMERA, path)
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(CameraError, match="version is 2"):
        load_camera(path)
