"""MTCNN and Face Mesh themselves, on the sample photos that come with the packages; stage 1 as a whole."""

import json

import cv2
import numpy as np
import pytest
import torch._dynamo  # noqa: F401  Triton, loaded after TensorFlow, crashes: run.sh has two processes, the tests one

import refine
from external.face_mesh.landmarks import find_landmarks
from external.face_mesh.reconstruction import LEFT_EYE, RIGHT_EYE
from external.mtcnn import detect_faces
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos
from pipeline.reconstruction.program import main
from pipeline.runs.files import write_image


@pytest.fixture(scope="module")
def astronaut():
    return read_photo(sample_photos()[0].path)


@pytest.fixture(scope="module")
def hopper():
    return read_photo(sample_photos()[1].path)


@pytest.fixture(scope="module")
def group(astronaut, hopper):
    """Both on one canvas: the astronaut's smaller face at the left, off-centre. [640, 1100, 3]."""
    canvas = np.full((640, 1100, 3), 120, np.uint8)
    canvas[100:612, 10:522] = astronaut
    canvas[20:620, 560:1072] = hopper
    return canvas


def landmarks_of(photo):
    face = detect_faces(photo)[0]
    return face, find_landmarks(photo, face.box, face.points)


def reconstructed(folder, photo, *arguments, name="photo"):
    """Exit code and status of stage 1 on a picture."""
    write_image(folder / f"{name}.png", photo)
    code = main([str(folder / f"{name}.png"), "-o", str(folder / "out"), *arguments])
    return code, json.loads((folder / "out" / "manifest.json").read_text())["photos"]


def folders(out):
    return sorted(path.name for path in out.iterdir() if path.is_dir())


def same_place(points, others):
    """Largest distance of corresponding points, in units of the distance between the eyes."""
    eyes = np.linalg.norm(others[list(RIGHT_EYE)].mean(0) - others[list(LEFT_EYE)].mean(0))
    return np.linalg.norm(points[:, :2] - others[:, :2], axis=1).max() / eyes


def test_faces_and_landmarks_of_the_samples(astronaut, hopper):
    for photo in (astronaut, hopper):
        assert len(detect_faces(photo)) == 1
        face, landmarks = landmarks_of(photo)
        left, top, width, height = face.box
        assert 0.9 < face.confidence <= 1 and face.points.shape == (5, 2)
        inside = (face.points > [left, top]) & (face.points < [left + width, top + height])
        assert inside.all()
        assert face.points[0, 0] < face.points[2, 0] < face.points[1, 0]  # eye, nose, eye: left and right as in the image
        assert face.points[:2, 1].max() < face.points[2, 1] < face.points[3:, 1].min()
        assert landmarks.shape == (468, 3) and np.isfinite(landmarks).all()
        # The person's right eye is at the left of the image; the nose is nearer than the temples.
        assert landmarks[33, 0] < landmarks[1, 0] < landmarks[263, 0]
        assert landmarks[10, 1] < landmarks[1, 1] < landmarks[152, 1]
        assert landmarks[1, 2] < landmarks[[234, 454], 2].min()
        found = np.stack([landmarks[list(RIGHT_EYE), :2].mean(0), landmarks[list(LEFT_EYE), :2].mean(0), landmarks[1, :2]])
        assert np.abs(found - face.points[:3]).max() < 0.15 * width


def test_landmarks_follow_the_picture(astronaut):
    """The same face elsewhere in a picture of another shape has its points there: no scale or offset is mixed up."""
    _, before = landmarks_of(astronaut)
    wide = np.full((600, 1400, 3), 90, np.uint8)
    wide[60:572, 850:1362] = astronaut
    _, after = landmarks_of(wide)
    assert same_place(after - [850, 60, 0], before) < 0.06


def test_landmarks_scale_with_the_picture(astronaut):
    _, before = landmarks_of(astronaut)
    _, after = landmarks_of(cv2.resize(astronaut, None, fx=3.5, fy=3.5, interpolation=cv2.INTER_CUBIC))
    # A pixel centre at x goes to 3.5 x: centres are at +0.5 in both.
    assert same_place(after[:, :2] / 3.5, before[:, :2]) < 0.06
    spread = np.ptp(after[:, 2]) / np.ptp(before[:, 2])
    assert spread == pytest.approx(3.5, rel=0.15)


def test_a_mirrored_face_has_mirrored_points(hopper):
    """Catches landmarks off by a pixel sideways, which the eye does not see."""
    _, before = landmarks_of(hopper)
    _, after = landmarks_of(np.ascontiguousarray(hopper[:, ::-1]))
    mirrored = hopper.shape[1] - after[[33, 263, 61, 291, 1, 10, 152], 0]
    offset = mirrored - before[[263, 33, 291, 61, 1, 10, 152], 0]
    assert abs(np.median(offset)) < 0.03 * np.linalg.norm(before[33] - before[263])


def test_landmarks_of_another_place_are_not_taken(astronaut):
    face = detect_faces(astronaut)[0]
    assert find_landmarks(astronaut, (300.0, 300.0, 80.0, 100.0), face.points + [110, 230]) is None


def test_size_and_confidence_limits(astronaut):
    assert detect_faces(astronaut, minimum_size=200.0) == []
    assert detect_faces(astronaut, minimum_confidence=1.0) == []
    assert detect_faces(astronaut[:15, :300]) == []
    assert detect_faces(np.full((200, 300, 3), 128, np.uint8)) == []


def test_large_photos_are_searched_smaller(astronaut):
    large = np.full((1500, 3600, 3), 100, np.uint8)
    large[200:1224, 2400:3424] = cv2.resize(astronaut, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    (face,) = detect_faces(large)
    (small,) = detect_faces(astronaut)
    np.testing.assert_allclose(face.points, small.points * 2 + [2400, 200], atol=0.1 * small.box[2])


def test_a_small_face_off_centre(tmp_path, astronaut):
    """60 px from hair to chin, in a corner of a wide picture."""
    small = cv2.resize(astronaut, None, fx=0.55, fy=0.55, interpolation=cv2.INTER_AREA)
    canvas = np.full((400, 900, 3), 140, np.uint8)
    canvas[100 : 100 + small.shape[0], 610 : 610 + small.shape[1]] = small
    assert max(detect_faces(canvas)[0].box[2:]) < 65
    code, photos = reconstructed(tmp_path, canvas, "reconstruct.system=face_mesh")
    assert code == 0 and photos["photo"]["status"] == "done"
    found = load_reconstruction(tmp_path / "out" / "photo" / "reconstruction")
    left, top, width, height = found.source["photo"]["crop"]
    assert (found.photo == canvas[top : top + height, left : left + width]).all()  # pixel for pixel
    _, before = landmarks_of(astronaut)
    image = found.camera.project(found.mesh.vertices[:468]) + [left - 610, top - 100]
    assert same_place(image / 0.55, before[:, :2]) < 0.12


@pytest.mark.slow
def test_which_of_several_faces(tmp_path, group, hopper):
    largest, smaller = detect_faces(group)
    assert largest.points[0, 0] > 560 > smaller.points[0, 0]

    def crop_left(out, name):
        return load_reconstruction(out / name / "reconstruction").source["photo"]["crop"][0]

    for setting, beyond in (("largest", True), ("0", True), ("1", False)):
        folder = tmp_path / setting
        folder.mkdir()
        code, photos = reconstructed(folder, group, f"detect.face={setting}")
        assert code == 0 and list(photos) == ["photo"] and folders(folder / "out") == ["photo"]
        assert (crop_left(folder / "out", "photo") > 450) == beyond

    code, photos = reconstructed(tmp_path, group, "detect.face=all")
    assert code == 0 and set(photos) == {"photo", "photo-face2"}
    assert folders(tmp_path / "out") == ["photo", "photo-face2"]
    assert crop_left(tmp_path / "out", "photo") > 450 > crop_left(tmp_path / "out", "photo-face2")
    for name in ("photo", "photo-face2"):
        source = load_reconstruction(tmp_path / "out" / name / "reconstruction").source
        assert source["faces"] == ["photo", "photo-face2"]

    # Again: both are finished; with one missing both are made again.
    code, photos = reconstructed(tmp_path, group, "detect.face=all")
    assert code == 0 and {entry["status"] for entry in photos.values()} == {"skipped"}
    (tmp_path / "out" / "photo-face2" / "reconstruction" / "source.json").unlink()
    code, photos = reconstructed(tmp_path, group, "detect.face=all")
    assert code == 0 and {entry["status"] for entry in photos.values()} == {"done"}


def test_a_number_beyond_the_faces(tmp_path, hopper):
    code, photos = reconstructed(tmp_path, hopper, "detect.face=3")
    assert code == 1 and photos["photo"]["status"] == "failed"
    assert photos["photo"]["message"] == "detect.face is 3, but 1 faces were found; 0 is the largest, 1 the next"
    assert folders(tmp_path / "out") == []


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.slow
def test_turned_photos_are_found_upright(tmp_path, astronaut, hopper, turns):
    """In the turned photos MTCNN sees false faces too, which must not end the search."""
    for name, photo in (("astronaut", astronaut), ("hopper", hopper)):
        turned = np.ascontiguousarray(np.rot90(photo, turns))
        code, photos = reconstructed(tmp_path, turned, name=name)
        assert code == 0 and photos[name]["status"] == "done"
        found = load_reconstruction(tmp_path / "out" / name / "reconstruction")
        assert (turns + found.source["photo"]["quarter_turns"]) % 4 == 0
        assert found.head_to_camera[1, 1] < -0.9  # the head's up is the picture's up
    write_image(tmp_path / "astronaut.png", np.ascontiguousarray(np.rot90(astronaut, turns)))
    code = main([str(tmp_path / "astronaut.png"), "-o", str(tmp_path / "straight"), "detect.try_turned=false"])
    assert code == 1


def test_a_picture_without_a_face(tmp_path, hopper, capsys):
    gradient = np.linspace(0, 255, 300).astype(np.uint8)
    write_image(tmp_path / "gradient.png", np.broadcast_to(gradient[None, :, None], (200, 300, 3)).copy())
    write_image(tmp_path / "hopper.png", hopper)
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    names = ("gradient.png", "broken.jpg", "hopper.png")
    code = main([*(str(tmp_path / name) for name in names), "-o", str(tmp_path / "out")])
    assert code == 1
    photos = json.loads((tmp_path / "out" / "manifest.json").read_text())["photos"]
    assert {name: photos[name]["status"] for name in photos} == {"gradient": "failed", "broken": "failed", "hopper": "done"}
    assert photos["gradient"]["message"].startswith("no face was found: photos need a face of 40 px or more")
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 4 and sum("failed" in line for line in lines) == 2
    assert folders(tmp_path / "out") == ["hopper"]
    summary = (tmp_path / "out" / "summary.csv").read_text().splitlines()
    assert len(summary) == 4


def test_the_second_stage_reports_what_the_first_failed_on(tmp_path, capsys):
    code, _ = reconstructed(tmp_path, np.full((120, 160, 3), (90, 140, 80), np.uint8), name="meadow")
    assert code == 1
    assert refine.main([str(tmp_path / "meadow.png"), "-o", str(tmp_path / "out"), "device=cpu"]) == 1
    assert "meadow: not refined, its reconstruction failed" in capsys.readouterr().out
    photos = json.loads((tmp_path / "out" / "manifest.json").read_text())["photos"]
    assert photos["meadow"]["status"] == "failed" and photos["meadow"]["message"].startswith("no face was found")
    assert {stage["status"] for stage in photos["meadow"]["stages"].values()} == {"failed"}


@pytest.mark.slow
def test_reconstruction_folders_are_not_read_as_photos(tmp_path, hopper):
    """./run.sh hands its arguments to both stages; such a folder is the second one's business."""
    reconstructed(tmp_path, hopper)
    given = tmp_path / "out" / "photo" / "reconstruction"
    assert main([str(given), "-o", str(tmp_path / "other")]) == 0
    assert not (tmp_path / "other").exists() or folders(tmp_path / "other") == []
    write_image(tmp_path / "again.png", hopper)
    assert main([str(given), str(tmp_path / "again.png"), "-o", str(tmp_path / "other")]) == 0
    assert folders(tmp_path / "other") == ["again"]


@pytest.mark.slow
def test_a_new_crop_margin_makes_a_new_reconstruction(tmp_path, hopper):
    reconstructed(tmp_path, hopper)
    _, photos = reconstructed(tmp_path, hopper, "texture_size=64", "refine.iterations=3")
    assert photos["photo"]["status"] == "skipped"  # of no concern here
    before = load_reconstruction(tmp_path / "out" / "photo" / "reconstruction")
    _, photos = reconstructed(tmp_path, hopper, "reconstruct.crop_margin=0.2", "reconstruct.system=face_mesh", "reconstruct.subdivisions=0")
    assert photos["photo"]["status"] == "done"
    after = load_reconstruction(tmp_path / "out" / "photo" / "reconstruction")
    assert after.camera.width < before.camera.width and len(after.mesh.faces) == 898
    assert after.symmetric and after.mask is not None


def test_dry_run_writes_nothing(tmp_path, hopper, capsys):
    write_image(tmp_path / "hopper.png", hopper)
    assert main([str(tmp_path / "hopper.png"), "-o", str(tmp_path / "out"), "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()
    assert f"{tmp_path / 'out' / 'hopper' / 'reconstruction'}" in capsys.readouterr().out
