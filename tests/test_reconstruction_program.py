"""The stage around the reconstruction systems: what it holds at once, and whose fault a failure is."""

import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
from synthetic_faces import head

from external.geometry import FaceGeometryError
from pipeline.reconstruction import program, systems
from pipeline.runs.files import write_image
from pipeline.settings.schema import Config

WIDTH, HEIGHT = 300, 280


class Stub:
    """A system that takes 16 photos at once and notes how many pixels it is handed."""

    name, parts, symmetric, metres_per_unit, parse, batch = "stub", (), True, 1.0, None, 16
    handed: ClassVar[list[int]] = []

    def __init__(self, config: Config):
        pass

    def make(self, found):
        self.handed.append(sum(photo.pixels.shape[0] * photo.pixels.shape[1] for photo in found))
        return [[systems.Made(replace(head(), mask=None), Stub)] for _ in found]


@pytest.fixture
def photos(tmp_path):
    """Makes photos with detections beside them, of these sizes (height, width); returns their folder."""

    def make(*sizes):
        (tmp_path / "photos" / "detections").mkdir(parents=True)
        points = "\n".join(f"{x} {y}" for x, y in ((110, 120), (190, 120), (150, 160), (120, 200), (180, 200)))
        for number, (height, width) in enumerate(sizes):
            write_image(tmp_path / "photos" / f"{number}.png", np.full((height, width, 3), 120, np.uint8))
            (tmp_path / "photos" / "detections" / f"{number}.txt").write_text(points)
        return tmp_path / "photos"

    return make


@pytest.fixture
def stub(monkeypatch):
    """The stub in place of face_mesh, which stands for auto where the head model is missing."""
    monkeypatch.setattr(Stub, "handed", [])
    monkeypatch.setitem(program.SYSTEMS, "face_mesh", Stub)
    monkeypatch.setattr(systems, "missing_files", lambda *_: ["anny_head.npz"])
    return Stub


def status_of(out):
    return {name: entry["status"] for name, entry in json.loads((out / "manifest.json").read_text())["photos"].items()}


def test_few_pixels_are_held_at_once(photos, stub, tmp_path, monkeypatch):
    """However many photos a system takes: at most BATCH_PIXELS, and the photo that exceeds them."""
    one = WIDTH * HEIGHT
    monkeypatch.setattr(program, "BATCH_PIXELS", 3.5 * one)
    folder = photos(*[(HEIGHT, WIDTH)] * 9, (4 * HEIGHT, WIDTH))
    assert program.main([str(folder), "-o", str(tmp_path / "out")]) == 0
    assert stub.handed == [4 * one, 4 * one, 5 * one]
    assert list(status_of(tmp_path / "out").values()) == ["done"] * 10


def test_without_the_head_model_auto_makes_faces_and_says_so(photos, stub, tmp_path, capsys):
    folder, out = str(photos((HEIGHT, WIDTH))), str(tmp_path / "out")
    assert program.main([folder, "-o", out]) == 0
    said = capsys.readouterr().out
    assert "by stub; faces instead of heads: the head model is missing (" in said
    assert "-m external.assets setup" in said
    # The same results as with face_mesh by name, so that they are not made again.
    assert program.main([folder, "-o", out, "reconstruct.system=face_mesh"]) == 0
    assert status_of(tmp_path / "out") == {"0": "skipped"}
    assert "faces instead" not in capsys.readouterr().out


def test_small_photos_fill_a_batch(photos, stub, tmp_path):
    assert program.main([str(photos(*[(HEIGHT, WIDTH)] * 18)), "-o", str(tmp_path / "out")]) == 0
    assert stub.handed == [16 * WIDTH * HEIGHT, 2 * WIDTH * HEIGHT]
    assert 16 * 1024**2 < program.BATCH_PIXELS < 100e6  # portraits come in whole batches; 0.3 GB of large photos at most


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FaceGeometryError("the face lies outside the photo"), "failed: the face lies outside the photo"),
        (ValueError("operands could not be broadcast together"), "unexpected ValueError at tests/test_reconstruction_program.py"),
    ],
    ids=["face", "bug"],
)
def test_a_bug_is_not_the_faces_fault(photos, tmp_path, monkeypatch, capsys, error, said):
    def reconstruct(*arguments):
        raise error

    monkeypatch.setattr("external.face_mesh.reconstruction.reconstruct", reconstruct)
    monkeypatch.setattr(systems, "missing_files", lambda *_: ["anny_head.npz"])
    monkeypatch.setattr(systems.FaceMesh, "parse", lambda self, pixels, face: np.zeros((468, 3)))
    assert program.main([str(photos((HEIGHT, WIDTH))), "-o", str(tmp_path / "out")]) == 1
    assert said in capsys.readouterr().out
