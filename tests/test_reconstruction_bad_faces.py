"""What becomes of faces that are cut, covered, blurred, turned over or drawn: a sane head, the face, or one line."""

import json
from functools import cache

import numpy as np
import pytest
from benchmarks.bad_photos import MAKERS, face_of
from benchmarks.bench_poses import Measures, rms_mm
from head_file import needs_head

from external.anny.points import load_head_points
from external.face_mesh.landmarks import find_landmarks
from external.mtcnn import detect_faces
from pipeline.reconstruction import program
from pipeline.reconstruction.folder import load_reconstruction
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos
from pipeline.runs.files import write_image

pytestmark = needs_head
# mm, root mean square between the faces at rest of the picture and of the unchanged photo
SANE, DOUBTFUL = 4.0, 5.0
HEADS = ("plain", "upside_down", "cut_mouth", "statue", "sunglasses")
OTHERS = ("cut_half", "hand", "motion_strong", "line_drawing")  # a head, or not


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of the results of all kinds, made of the sample photo, and the manifest."""
    place = tmp_path_factory.mktemp("bad")
    (place / "photos").mkdir()
    face = face_of(read_photo(sample_photos()[0].path))
    for kind in (*HEADS, *OTHERS):
        write_image(place / "photos" / f"{kind}.png", MAKERS[kind](*face))
    program.main([str(place / "photos"), "-o", str(place / "out"), "reconstruct.system=auto"])
    return place / "out", json.loads((place / "out" / "manifest.json").read_text(encoding="utf-8"))["photos"]


measures = cache(Measures)


def at_rest(out, kind):
    """The face at rest [N, 3], or None where it is no head."""
    rig = load_reconstruction(out / kind / "reconstruction").rig
    return None if rig is None else rig.neutral[measures().face]


@pytest.mark.parametrize("kind", HEADS)
def test_a_sane_head(run, kind):
    out, _ = run
    assert rms_mm(at_rest(out, "plain"), at_rest(out, kind)) < SANE


@pytest.mark.parametrize("kind", OTHERS)
def test_a_sane_head_or_its_reason(run, kind):
    out, messages = run
    entry = messages[kind]
    if entry["status"] == "failed":
        assert "face" in entry["message"] and "\n" not in entry["message"]
        return
    face = at_rest(out, kind)
    if face is None:
        assert "a face instead of a head: " in entry["message"]
    else:
        assert rms_mm(at_rest(out, "plain"), face) < DOUBTFUL


def test_the_mirrored_photo_has_the_mirrored_points(sample_photo):
    photo, mirror = read_photo(sample_photo), load_head_points().mirror
    face = detect_faces(photo)[0]
    points = find_landmarks(photo, face.box, face.points)
    again = find_landmarks(photo, face.box, face.points, mirror=mirror)
    height = np.linalg.norm(points[10] - points[152])
    assert 0 < np.linalg.norm(points - again, axis=1).mean() / height < 0.02
    # The mirrored photo seen in the mirror is the photo.
    left, top, width, height = face.box
    flipped = (photo.shape[1] - left - width, top, width, height)
    swapped = (face.points * (-1, 1) + (photo.shape[1], 0))[[1, 0, 2, 4, 3]]
    other = find_landmarks(np.ascontiguousarray(photo[:, ::-1]), flipped, swapped, mirror=mirror)
    assert np.abs((other * (-1, 1, 1) + (photo.shape[1], 0, 0))[mirror] - points).max() < 0.5
