"""The record of what became of every photo: manifest.json, summary.csv, config.yaml."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from pipeline.runs import manifest
from pipeline.runs.files import write_json
from pipeline.runs.manifest import Manifest, Outcome, software_versions
from pipeline.runs.run_folder import RunFolder
from pipeline.settings.command_line import Arguments
from pipeline.settings.loading import load_config


class Recorder:
    """A manifest, with shorter calls."""

    def __init__(self, out: Path):
        self._manifest, self._out = Manifest(out), out
        self.write_summary = self._manifest.write_summary

    def start(self, stage: str, names: list[str], device: str = "cpu", assets=()) -> None:
        arguments = Arguments([], self._out, load_config(None, ["seed=1"]), "quick", False)
        self._manifest.start(stage, names, arguments, device, assets, {})

    def record(self, name: str, status: str, message: str = "", seconds: float = 0.0) -> None:
        self._manifest.record([Outcome(name, status, "", message, seconds)])


@contextmanager
def recorded(out: Path) -> Iterator[Recorder]:
    with RunFolder(out):
        yield Recorder(out)


def content_of(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_manifest_tells_what_became_of_every_photo(tmp_path):
    with recorded(tmp_path) as run:
        run.start("reconstruction", ["größe", "b", "c"], assets=[{"name": "MediaPipe", "licence": "Apache-2.0"}])
        run.record("größe", "done", seconds=1.5)
        assert content_of(tmp_path)["photos"]["größe"]["status"] == "done"
        run.record("b", "failed", message="no face was found")
        run.record("c", "skipped")
    with recorded(tmp_path) as run:
        run.start("refinement", ["größe", "c"], device="cuda", assets=[{"name": "VGG16", "licence": "BSD-3-Clause"}])
        run.record("größe", "done", seconds=2.25, message="patches")
        run.record("c", "skipped")
    found = content_of(tmp_path)
    assert found["photos"]["größe"]["seconds"] == 3.75 and found["photos"]["größe"]["message"] == "patches"
    assert set(found["photos"]["größe"]["stages"]) == {"reconstruction", "refinement"}
    assert found["photos"]["c"]["status"] == "skipped" and "b" not in found["photos"]
    assert found["device"] == {"reconstruction": "cpu", "refinement": "cuda"} and found["seed"] == 1
    assert [asset["name"] for asset in found["assets"]] == ["MediaPipe", "VGG16"]
    assert found["software"]["packages"]["numpy"] == np.__version__
    assert load_config(tmp_path / "config.yaml").seed == 1


def test_photo_has_failed_where_a_stage_has(tmp_path):
    with recorded(tmp_path) as run:
        run.start("reconstruction", ["a"])
        run.record("a", "failed", message="no face was found")
        run.start("refinement", ["a"])
        run.record("a", "skipped", message="not reconstructed")
        assert content_of(tmp_path)["photos"]["a"]["status"] == "failed"
        assert content_of(tmp_path)["photos"]["a"]["message"] == "no face was found; not reconstructed"
        run.start("reconstruction", ["a"])
        run.record("a", "done")
        assert content_of(tmp_path)["photos"]["a"]["status"] == "done"
        assert list(content_of(tmp_path)["photos"]["a"]["stages"]) == ["reconstruction"]


def test_photos_of_former_runs_stay_while_their_results_do(tmp_path):
    with recorded(tmp_path) as run:
        run.start("reconstruction", ["a", "b"])
        (tmp_path / "a").mkdir()
        run.record("a", "done")
        run.record("b", "failed")
        run.start("reconstruction", ["c"])
        assert list(content_of(tmp_path)["photos"]) == ["a"]


def test_damaged_manifest_is_begun_anew(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / "manifest.json").write_text('{"photos": ')
    with recorded(tmp_path) as run:
        run.start("refinement", ["a"])
        run.record("a", "done")
    assert content_of(tmp_path)["photos"]["a"]["status"] == "done"


@pytest.mark.parametrize(
    "text",
    ["[]", '{"photos": 3, "assets": {}, "device": []}', '{"photos": {"a": 1, "b": {"stages": {"refinement": {"status": 1}}}}}',
     '{"photos": {}, "assets": [1, {"licence": "none"}]}', "[" * 100_000],
    ids=lambda text: text[:20],
)  # fmt: skip
def test_a_manifest_of_another_form_is_begun_anew(tmp_path, text):
    (tmp_path / ".lock").touch()
    (tmp_path / "manifest.json").write_text(text)
    with recorded(tmp_path) as run:
        run.start("refinement", ["a", "b"])
        run.record("a", "done")
        run.record("b", "failed", message="no")
        run.write_summary()
    assert {name: entry["status"] for name, entry in content_of(tmp_path)["photos"].items()} == {"a": "done", "b": "failed"}


def test_wrong_use_is_named(tmp_path):
    with recorded(tmp_path) as run:
        with pytest.raises(RuntimeError, match="start comes before"):
            run.record("a", "done")
        with pytest.raises(ValueError, match="stage is 'refine', allowed are reconstruction, refinement"):
            run.start("refine", [])
        run.start("refinement", ["a"])
        with pytest.raises(ValueError, match="status is 'ok', allowed are done, failed, skipped"):
            run.record("a", "ok")


def test_summary_has_a_line_for_each_photo_of_the_run(tmp_path):
    with recorded(tmp_path) as run:
        run.start("refinement", ['a, "b"', "größe", "bad"])
        seconds = {"refine": 2, "render": 1.5}
        figures = {"fingerprint": "f", "psnr": 43.5, "seconds": seconds, "losses": [1, 2], "ok": True}
        for name, metrics in (('a, "b"', figures), ("größe", {"ssim": 0.98, "psnr": 40})):
            with RunFolder(tmp_path).replaced_results(name) as partial:
                write_json(partial / "metrics.json", metrics)
            run.record(name, "done")
        run.record("bad", "failed", message="no face, sorry")
        run.write_summary()
    with open(tmp_path / "summary.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["photo", "status", "message", "psnr", "seconds.refine", "seconds.render", "ssim"]
    assert [row["photo"] for row in rows] == ['a, "b"', "größe", "bad"]
    assert rows[0]["psnr"] == "43.5" and rows[0]["ssim"] == "" and rows[1]["ssim"] == "0.98"
    assert rows[2]["status"] == "failed" and rows[2]["message"] == "no face, sorry" and rows[2]["psnr"] == ""


def test_versions_of_packages_that_are_not_installed_are_null(tmp_path, monkeypatch):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# why\nno-such-package-here==1.0\nnumpy==1.26.4\n")
    monkeypatch.setattr(manifest, "_REQUIREMENTS", requirements)
    packages = software_versions()["packages"]
    assert packages == {"no-such-package-here": None, "numpy": np.__version__}
