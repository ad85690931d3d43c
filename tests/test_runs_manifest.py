"""The record of what became of every photo: manifest.json, summary.csv, config.yaml."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs import manifest
from pipeline.runs.files import write_json
from pipeline.runs.manifest import Outcome, Plan, record_outcomes, software_versions
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import Arguments
from pipeline.settings.loading import load_config


def record(out: Path, stage: str, names: list[str], outcomes=(), known=(), **plan) -> None:
    """A stage's outcomes, each (name, status, message, seconds), into OUT."""
    arguments = Arguments([], out, load_config(None, ["seed=1"]), "quick", False)
    as_outcomes = lambda given: [Outcome(name, status, "", *rest) for name, status, *rest in given]
    plan = Plan(names, as_outcomes(known), [], "", **{"device": "cpu", "assets": (), **plan})
    with RunFolder(out):
        for outcome in record_outcomes(out, stage, arguments, plan, as_outcomes(outcomes)):
            assert outcome.name in content_of(out)["photos"]


def content_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_manifest_tells_what_became_of_every_photo(tmp_path):
    mediapipe, vgg16 = {"name": "MediaPipe", "licence": "Apache-2.0"}, {"name": "VGG16", "licence": "BSD-3-Clause"}
    outcomes = [("größe", "done", "", 1.5), ("b", "failed", "no face was found")]
    record(tmp_path, "reconstruction", ["größe", "b", "c"], outcomes, [("c", "skipped")], assets=[mediapipe])
    assert content_of(tmp_path)["photos"]["b"]["status"] == "failed"
    outcomes = [("größe", "done", "patches", 2.25)]
    record(tmp_path, "refinement", ["größe", "c"], outcomes, [("c", "skipped")], assets=[vgg16], device="cuda")
    found = content_of(tmp_path)
    assert found["photos"]["größe"]["seconds"] == 3.75 and found["photos"]["größe"]["message"] == "patches"
    assert set(found["photos"]["größe"]["stages"]) == {"reconstruction", "refinement"}
    assert found["photos"]["c"]["status"] == "skipped" and "b" not in found["photos"]
    assert found["device"] == {"reconstruction": "cpu", "refinement": "cuda"} and found["seed"] == 1
    assert [asset["name"] for asset in found["assets"]] == ["MediaPipe", "VGG16"]
    assert found["software"]["packages"]["numpy"] == np.__version__
    assert load_config(tmp_path / "config.yaml").seed == 1


def test_a_photo_with_several_faces(tmp_path):
    arguments = Arguments([], tmp_path, load_config(), "default", False)
    outcome = Outcome("group", "done", "", seconds=3.0, faces=("group", "group-face2"))
    with RunFolder(tmp_path):
        list(record_outcomes(tmp_path, "reconstruction", arguments, Plan(["group"], [], [], "", "cpu", ()), [outcome]))
    photos = content_of(tmp_path)["photos"]
    assert {name: entry["seconds"] for name, entry in photos.items()} == {"group": 1.5, "group-face2": 1.5}


def test_photo_has_failed_where_a_stage_has(tmp_path):
    record(tmp_path, "reconstruction", ["a"], [("a", "failed", "no face was found")])
    record(tmp_path, "refinement", ["a"], [("a", "skipped", "not reconstructed")])
    assert content_of(tmp_path)["photos"]["a"]["status"] == "failed"
    assert content_of(tmp_path)["photos"]["a"]["message"] == "no face was found; not reconstructed"
    record(tmp_path, "reconstruction", ["a"], [("a", "done")])
    assert content_of(tmp_path)["photos"]["a"]["status"] == "done"
    assert list(content_of(tmp_path)["photos"]["a"]["stages"]) == ["reconstruction"]


def test_photos_of_former_runs_stay_while_their_results_do(tmp_path):
    (tmp_path / "a").mkdir()
    record(tmp_path, "reconstruction", ["a", "b"], [("a", "done"), ("b", "failed")])
    record(tmp_path, "reconstruction", ["c"])
    assert list(content_of(tmp_path)["photos"]) == ["a"]


def test_damaged_manifest_is_begun_anew(tmp_path):
    record(tmp_path, "refinement", ["a"])
    (tmp_path / "manifest.json").write_text('{"photos": ')
    record(tmp_path, "refinement", ["a"], [("a", "done")])
    assert content_of(tmp_path)["photos"]["a"]["status"] == "done"


@pytest.mark.parametrize(
    "text",
    ["[]", '{"photos": 3, "assets": {}, "device": []}', '{"photos": {"a": 1, "b": {"stages": {"refinement": {"status": 1}}}}}',
     '{"photos": {}, "assets": [1, {"licence": "none"}]}', "[" * 100_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_manifest_of_another_form_is_begun_anew(tmp_path, text):
    record(tmp_path, "refinement", [])
    (tmp_path / "manifest.json").write_text(text)
    record(tmp_path, "refinement", ["a", "b"], [("a", "done"), ("b", "failed", "no")])
    assert {name: entry["status"] for name, entry in content_of(tmp_path)["photos"].items()} == {"a": "done", "b": "failed"}


def test_wrong_use_is_named(tmp_path):
    with pytest.raises(ValueError, match="stage is 'refine', allowed are reconstruction, refinement"):
        record(tmp_path, "refine", [])
    with pytest.raises(ValueError, match="status is 'ok', allowed are done, failed, skipped"):
        record(tmp_path, "refinement", ["a"], [("a", "ok")])


def test_summary_has_a_line_for_each_photo_of_the_run(tmp_path):
    names, seconds = ['a, "b"', "größe", "bad"], {"refine": 2, "render": 1.5}
    metrics = {"fingerprint": "f", "psnr": 43.5, "seconds": seconds, "losses": [1, 2], "ok": True}
    for name, values in (('a, "b"', metrics), ("größe", {"ssim": 0.98, "psnr": 40})):
        (tmp_path / name).mkdir()
        write_json(tmp_path / name / "metrics.json", values)
    outcomes = [(name, "done") for name in names[:2]] + [("bad", "failed", "no face, sorry")]
    record(tmp_path, "refinement", names, outcomes)
    with open(tmp_path / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo", "status", "message", "psnr", "seconds.refine", "seconds.render", "ssim"]
    assert [row["photo"] for row in rows] == names
    assert rows[0]["psnr"] == "43.5" and rows[0]["ssim"] == "" and rows[1]["ssim"] == "0.98"
    assert rows[2]["status"] == "failed" and rows[2]["message"] == "no face, sorry" and rows[2]["psnr"] == ""


def test_versions_of_packages_that_are_not_installed_are_null(tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# why\nno-such-package-here==1.0\nnumpy==1.26.4\n")
    monkeypatch.setattr(manifest, "_REQUIREMENTS", requirements)
    packages = software_versions()["packages"]
    assert packages == {"no-such-package-here": None, "numpy": np.__version__}
