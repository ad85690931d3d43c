"""refine.py from reconstruction folders to results: complete, repeatable, resumable, and clear about what goes wrong."""

import csv
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from stand_in_assets import write_vgg16
from synthetic_faces import albedo, head, head_normals, lit, photograph
from test_runs_manifest import record

import refine
from evaluation.prepared import prepare
from pipeline.reconstruction.folder import load_reconstruction, save_reconstruction
from pipeline.reconstruction.images import as_bytes
from pipeline.runs.files import write_image
from pipeline.settings.command_line import run_main
from pipeline.settings.loading import load_config
from pipeline.texture.provenance import LEGEND, OUTSIDE
from pipeline.texture.results import measure

ROOT = Path(refine.__file__).resolve().parent
SIZE = 128
QUICK = [
    f"texture_size={SIZE}", "refine.iterations=3", "refine.rendering_iterations=25", "refine.style_samples=100",
    "refine.result_samples=128", "refine.features=patches", "device=cpu", "output.preview_size=64",
]  # fmt: skip
PICTURES = ("sampled.png", "visibility.png", "initial.png", "texture.png", "provenance.png", "rendering.png", "preview.png")
RESULTS = {*PICTURES, "metrics.json"}


def results_of(name):
    """What a finished photo's folder holds."""
    return RESULTS | {f"{name}.obj", f"{name}.mtl", f"{name}.glb", f"{name}_texture.png"}



def synthetic_photo(yaw, size=256):
    """A lit head with fine detail, as a photo that is sharper than the texture; its reconstruction."""
    found = head(yaw, width=240, height=220)
    normals, _ = head_normals(found, size)
    rng = np.random.default_rng(7)
    texture = lit(albedo(size, 0.4) * (1 + 0.08 * rng.normal(size=(size, size, 1)).astype(np.float32)), normals, 0.15)
    return photograph(texture, found), found


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Two reconstruction folders, ann (turned) and bob (frontal)."""
    place = tmp_path_factory.mktemp("heads")
    for name, yaw in (("ann", 25), ("bob", 0)):
        photo, found = synthetic_photo(yaw)
        (place / name).mkdir()
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(place / name, found.mesh, found.camera, photo, None, source)
    return place


def run(out, *arguments):
    """Exit code of a run in this process."""
    return refine.main([*QUICK, *map(str, arguments), "-o", str(out)])  # of a key given twice the last counts


def program(capsys, *arguments):
    """(exit code, standard output, standard error) of refine.py as a program, in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run_main(lambda: refine.main([*map(str, arguments)]))
    return ended.value.code, *capsys.readouterr()


def status_of(out):
    photos = json.loads((out / "manifest.json").read_text())["photos"]
    return {name: entry["status"] for name, entry in photos.items()}


def message_of(out, name):
    return json.loads((out / "manifest.json").read_text())["photos"][name]["message"]


def result_bytes(folder):
    """Of every result that holds no times."""
    return {name: (folder / name).read_bytes() for name in results_of(folder.name) - {"metrics.json"}}


def everything_below(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


@pytest.fixture(scope="module")
def finished(heads, tmp_path_factory):
    """OUT of an undisturbed run over both heads."""
    out = tmp_path_factory.mktemp("finished") / "out"
    assert run(out, heads / "ann", heads / "bob") == 0
    return out


# ---- results ---------------------------------------------------------------------------------------------------------


def test_everything_is_written(finished):
    assert {path.name for path in finished.iterdir()} == {
        ".lock", "config.yaml", "manifest.json", "summary.csv", "report.html", "ann", "bob"
    }  # fmt: skip
    for name in ("ann", "bob"):
        assert {path.name for path in (finished / name).iterdir()} == results_of(name)
        sizes = {picture: Image.open(finished / name / picture).size for picture in PICTURES}
        assert sizes.pop("preview.png") == (5 * 64, 64) and sizes.pop("rendering.png") == (240, 220)
        assert set(sizes.values()) == {(SIZE, SIZE)}
    manifest = json.loads((finished / "manifest.json").read_text())
    assert manifest["seed"] == 0 and manifest["device"] == {"refinement": "cpu"} and manifest["features"] == "features: patches"
    assert status_of(finished) == {"ann": "done", "bob": "done"}
    assert manifest["software"]["packages"]["torch"]
    assert yaml.safe_load((finished / "config.yaml").read_text())["texture_size"] == SIZE
    rows = list(csv.DictReader((finished / "summary.csv").open()))
    assert [row["photo"] for row in rows] == ["ann", "bob"] and float(rows[0]["rendering.psnr"]) > 25


def test_metrics(finished):
    for name in ("ann", "bob"):
        metrics = json.loads((finished / name / "metrics.json").read_text())
        assert {"rendering", "texture_size", "shares", "losses", "loss_curve", "seconds", "notes",
                "fingerprint", "features"} <= set(metrics)  # fmt: skip
        assert set(metrics["rendering"]) == {"psnr", "ssim", "pixels"} and metrics["rendering"]["pixels"] > 2000
        assert {"unwrap_and_complete", "refine", "write", "measure", "all"} == set(metrics["seconds"])
        assert metrics["seconds"]["all"] > 0 and metrics.get("peak_memory_mb", metrics.get("process_peak_memory_mb")) > 50
        assert sum(metrics["shares"].values()) == pytest.approx(1, abs=1e-3)
        assert metrics["loss_curve"][-1] == metrics["losses"] and metrics["losses"]["rendering"] >= 0


def test_the_rendering_agrees_and_better_than_at_first(heads, finished):
    for name in ("ann", "bob"):
        metrics = json.loads((finished / name / "metrics.json").read_text())["rendering"]
        reconstruction = load_reconstruction(heads / name)
        prepared = prepare(reconstruction, load_config(None, [*QUICK, "unwrap.fit_iterations=0"]))
        visibility = prepared.sampled.visibility
        initial, _ = measure(reconstruction, visibility, as_bytes(prepared.initial.texture))
        assert metrics["psnr"] > 34 and metrics["ssim"] > 0.93
        assert metrics["psnr"] > initial["rendering"]["psnr"] + 0.5
        # What is reported is what the file holds.
        written = np.asarray(Image.open(finished / name / "texture.png"))
        again, _ = measure(reconstruction, visibility, written)
        assert again["rendering"]["psnr"] == pytest.approx(metrics["psnr"])


def test_textures_are_complete(finished):
    for name in ("ann", "bob"):
        texture = np.asarray(Image.open(finished / name / "texture.png")).astype(float)
        initial = np.asarray(Image.open(finished / name / "initial.png")).astype(float)
        visibility = np.asarray(Image.open(finished / name / "visibility.png"))
        assert texture.max(axis=-1).min() > 10  # no black, in the islands or beside them
        seen = visibility == 255
        assert 0.3 < seen.mean() < 0.8
        # Unseen texels take detail, no other colours.
        assert np.abs(texture.mean((0, 1)) - initial.mean((0, 1))).max() < 4


def test_provenance_says_where_colours_come_from(heads, finished):
    for name in ("ann", "bob"):
        metrics = json.loads((finished / name / "metrics.json").read_text())
        shares, settings = metrics["shares"], load_config(None, QUICK)
        assert set(shares) == {"observed", "mirrored", "synthesised"}
        picture = np.asarray(Image.open(finished / name / "provenance.png")).astype(float)
        mask = prepare(load_reconstruction(heads / name), settings).sampled.mask
        assert (picture[~mask] == OUTSIDE).all() and not (picture[mask] == OUTSIDE).all(axis=-1).any()
        visibility = np.asarray(Image.open(finished / name / "visibility.png"))
        assert (picture[mask & (visibility == 255)] == LEGEND["observed"][0]).all()
        # The picture's colours, taken apart again, are the shares.
        colours = np.array([LEGEND[key][0] for key in shares], dtype=float)
        parts = np.linalg.lstsq(np.vstack([colours.T, np.full(3, 255.0)]), np.hstack([picture[mask], np.full((mask.sum(), 1), 255.0)]).T, rcond=None)[0]
        np.testing.assert_allclose(parts.mean(axis=1), list(shares.values()), atol=0.01)
    # Turned to the side, more is mirrored.
    mirrored = [json.loads((finished / name / "metrics.json").read_text())["shares"]["mirrored"] for name in ("ann", "bob")]
    assert mirrored[0] > mirrored[1] + 0.05


def test_what_repeats_it_is_recorded(heads, finished):
    manifest = json.loads((finished / "manifest.json").read_text())
    metrics = json.loads((finished / "ann" / "metrics.json").read_text())
    words = shlex.split(metrics["command"])
    assert manifest["command"] == metrics["command"] and words[0] == "./run.sh"
    assert words[1:] == [*QUICK, str(heads / "ann"), str(heads / "bob"), "-o", str(finished)]
    assert yaml.safe_load(metrics["settings"]) == yaml.safe_load((finished / "config.yaml").read_text())


def test_tensorboard(heads, finished, tmp_path):
    """TensorBoard's own reader finds the curve and the pictures; the results are the same as without."""
    assert run(tmp_path / "out", heads / "ann", "log.tensorboard=true") == 0
    folder = tmp_path / "out" / "ann"
    assert result_bytes(folder) == result_bytes(finished / "ann")
    curve = json.loads((folder / "metrics.json").read_text())["loss_curve"]
    code = (
        "import json, sys, types\n"
        "sys.modules['tensorboard.compat.notf'] = types.ModuleType('notf')  # its own files, TensorFlow takes long\n"
        "from tensorboard.backend.event_processing.event_accumulator import EventAccumulator\n"
        "log = EventAccumulator(sys.argv[1], size_guidance={'images': 0}).Reload()\n"
        "scalars = {tag: [[e.step, e.value] for e in log.Scalars(tag)] for tag in log.Tags()['scalars']}\n"
        "images = {tag: [[e.step, e.width, e.height] for e in log.Images(tag)] for tag in log.Tags()['images']}\n"
        "print(json.dumps([scalars, images]))"
    )
    read = subprocess.run([sys.executable, "-c", code, str(folder / "tensorboard")], capture_output=True, text=True, check=True)
    scalars, images = json.loads(read.stdout.splitlines()[-1])
    for name in ("total", "rendering", "content", "style"):
        steps, values = zip(*scalars[f"loss/{name}"], strict=True)
        expected = [(entry["step"], entry[name]) for entry in curve if name in entry]
        assert list(steps) == [step for step, _ in expected]
        np.testing.assert_allclose(values, [value for _, value in expected], rtol=1e-6)
    last = curve[-1]["step"]
    assert images == {"initial": [[0, SIZE, SIZE]], "refined": [[last, SIZE, SIZE]], "preview": [[last, 5 * 64, 64]]}
    assert not (finished / "ann" / "tensorboard").exists()


def test_same_seed_same_bytes(heads, finished, tmp_path):
    assert run(tmp_path / "again", heads / "ann") == 0
    assert result_bytes(tmp_path / "again" / "ann") == result_bytes(finished / "ann")
    assert run(tmp_path / "other", heads / "ann", "seed=1") == 0
    assert result_bytes(tmp_path / "other" / "ann")["texture.png"] != result_bytes(finished / "ann")["texture.png"]


@pytest.mark.slow
def test_same_bytes_whatever_jobs_and_threads(heads, finished, tmp_path):
    assert run(tmp_path / "out", heads / "ann", heads / "bob", "jobs=2", "threads=3") == 0
    assert status_of(tmp_path / "out") == {"ann": "done", "bob": "done"}
    for name in ("ann", "bob"):
        assert result_bytes(tmp_path / "out" / name) == result_bytes(finished / name)
        of_one, of_two = (json.loads((out / name / "metrics.json").read_text()) for out in (finished, tmp_path / "out"))
        for key in of_one.keys() - {"seconds", "peak_memory_mb", "process_peak_memory_mb", "command", "settings"}:
            assert of_one[key] == of_two[key], key


@pytest.mark.slow
def test_same_bytes_of_vgg16_whatever_threads(heads, tmp_path):
    """Its gradients are sums into one place, which torch makes in any order unless told not to."""
    words = ["refine.features=vgg16", f"refine.vgg16_weights={write_vgg16(tmp_path / 'vgg16.pth')}", "texture_size=64",
             "refine.parameters=pyramid", "refine.pyramid_depth=2", "refine.moment_weight=1.0"]  # fmt: skip
    for threads in (1, 2, 5):
        assert run(tmp_path / f"{threads}", heads / "bob", *words, f"threads={threads}") == 0
    for threads in (2, 5):
        assert result_bytes(tmp_path / f"{threads}" / "bob") == result_bytes(tmp_path / "1" / "bob")


# ---- runs again ------------------------------------------------------------------------------------------------------


def test_a_rerun_skips_and_a_changed_setting_redoes(heads, tmp_path, capsys):
    quickest = ["refine.features=none", "texture_size=64", "refine.rendering_iterations=3"]
    out = tmp_path / "out"
    assert run(out, heads / "ann", *quickest) == 0
    before = {path: path.stat().st_mtime_ns for path in (out / "ann").iterdir()}
    capsys.readouterr()
    assert run(out, heads / "ann", *quickest) == 0
    assert "finished already with the same settings" in capsys.readouterr().out
    assert status_of(out) == {"ann": "skipped"}
    assert {path: path.stat().st_mtime_ns for path in (out / "ann").iterdir()} == before
    assert run(out, heads / "ann", *quickest, "threads=1") == 0  # no result depends on it
    assert status_of(out) == {"ann": "skipped"}
    for changed in (["completion.light_spread=0.1"], ["seed=3"]):
        assert run(out, heads / "ann", *quickest, *changed) == 0
        assert status_of(out) == {"ann": "done"}
        assert run(out, heads / "ann", *quickest, *changed) == 0
        assert status_of(out) == {"ann": "skipped"}


def test_changed_input_redoes(heads, tmp_path):
    quickest = ["refine.features=none", "texture_size=64", "refine.rendering_iterations=3"]
    folder, out = tmp_path / "ann", tmp_path / "out"
    folder.mkdir()
    for path in (heads / "ann").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    run(out, folder, *quickest)
    write_image(folder / "content.png", np.full((64, 64, 3), 99, np.uint8))
    run(out, folder, *quickest)
    assert status_of(out) == {"ann": "done"}
    metrics = json.loads((out / "ann" / "metrics.json").read_text())
    assert set(metrics["shares"]) == {"observed", "given"}
    (out / "ann" / "metrics.json").write_text("{")  # a disk's crash
    run(out, folder, *quickest)
    assert status_of(out) == {"ann": "done"}


@pytest.mark.parametrize("moment", ["at work", "writing"])
@pytest.mark.slow
def test_a_kill_leaves_nothing_half_done(heads, finished, tmp_path, moment):
    out = tmp_path / "out"
    command = [sys.executable, str(ROOT / "refine.py"), str(heads / "ann"), str(heads / "bob"), "-o", str(out), *QUICK]
    victim = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        pattern = ".bob.partial-*" if moment == "at work" else ".ann.partial-*/initial.png"
        limit = time.monotonic() + 120
        while not list(out.glob(pattern)):
            assert victim.poll() is None and time.monotonic() < limit
            time.sleep(0.002)
        if moment == "at work":
            time.sleep(np.random.default_rng(0).uniform(0, 1))
    finally:
        victim.send_signal(signal.SIGKILL)
        assert victim.wait() != 0 or moment == "at work"
    for name in ("ann", "bob"):
        # Whatever stands under a final name is whole.
        assert not (out / name).exists() or {path.name for path in (out / name).iterdir()} == results_of(name)
    if moment == "writing":
        assert not (out / "ann").exists() and list(out.glob(".ann.partial-*"))
    assert run(out, heads / "ann", heads / "bob") == 0
    assert everything_below(out) == everything_below(finished)
    for name in ("ann", "bob"):
        assert result_bytes(out / name) == result_bytes(finished / name)
    if moment == "at work":
        assert status_of(out)["ann"] == "skipped"  # it was finished before the kill


# ---- what goes wrong -------------------------------------------------------------------------------------------------


QUICKEST = ["refine.features=none", "texture_size=64", "refine.rendering_iterations=2"]


def test_one_bad_reconstruction_does_not_stop_the_others(heads, tmp_path, capsys):
    bad = tmp_path / "aaa"
    bad.mkdir()
    for path in (heads / "ann").iterdir():
        (bad / path.name).write_bytes(path.read_bytes()[:200] if path.name == "camera.json" else path.read_bytes())
    (bad / "camera.json").write_text("{}")
    away = tmp_path / "away"  # its camera looks past the mesh
    away.mkdir()
    for path in (heads / "ann").iterdir():
        (away / path.name).write_bytes(path.read_bytes())
    camera = json.loads((away / "camera.json").read_text())
    (away / "camera.json").write_text(json.dumps({**camera, "cx": 1e5}))
    assert run(tmp_path / "out", bad, heads / "bob", away, *QUICKEST) == 1
    assert status_of(tmp_path / "out") == {"aaa": "failed", "bob": "done", "away": "failed"}
    assert "camera.json: the key 'version' is missing" in message_of(tmp_path / "out", "aaa")
    assert "the photo shows no texel of the mesh" in message_of(tmp_path / "out", "away")
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5 and sum("failed: " in line for line in lines) == 2
    assert lines[-1] == f"report: {tmp_path / 'out' / 'report.html'}"
    assert {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()} == {"bob"}


def test_a_former_result_survives_a_failure(heads, tmp_path):
    folder = tmp_path / "ann"
    folder.mkdir()
    for path in (heads / "ann").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert run(tmp_path / "out", folder, *QUICKEST) == 0
    before = result_bytes(tmp_path / "out" / "ann")
    (folder / "mesh.obj").write_text("nothing")
    assert run(tmp_path / "out", folder, *QUICKEST) == 1
    assert result_bytes(tmp_path / "out" / "ann") == before and status_of(tmp_path / "out") == {"ann": "failed"}


def test_a_photo_that_the_first_stage_failed_on(tmp_path, capsys):
    write_image(tmp_path / "landscape.png", np.full((50, 60, 3), 100, np.uint8))
    write_image(tmp_path / "new.png", np.full((50, 60, 3), 100, np.uint8))
    out = tmp_path / "out"
    record(out, "reconstruction", ["landscape"], [("landscape", "failed", "no face was found")])
    assert run(out, tmp_path / "landscape.png", tmp_path / "new.png") == 1
    assert status_of(out) == {"landscape": "failed", "new": "failed"}
    printed = capsys.readouterr().out
    assert "landscape: not refined, its reconstruction failed" in printed
    assert message_of(out, "landscape") == "no face was found"
    assert "run python -m pipeline.reconstruction first" in printed


def test_two_inputs_of_one_name(heads, tmp_path, capsys):
    twin = tmp_path / "ann"
    twin.mkdir()
    for path in (heads / "ann").iterdir():
        (twin / path.name).write_bytes(path.read_bytes())
    code, _, errors = program(capsys, heads / "ann", twin, "-o", tmp_path / "out")
    assert code == 2 and "two inputs would write" in errors
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["refine.iteration=3"], "unknown key refine.iteration on the command line; did you mean refine.iterations?"),
        (["texture_size=huge"], "texture_size"),
        (["nowhere.jpg"], "nowhere.jpg does not exist"),
        (["-c", "quikc"], "did you mean quick?"),
        (["content=nowhere"], "content is 'nowhere', which does not exist"),
        (["--iterations", "3"], "--help shows how it is used"),
    ],
)
def test_wrong_use_is_one_line(heads, tmp_path, capsys, arguments, message):
    code, output, errors = program(capsys, heads / "ann", "-o", tmp_path / "out", *arguments)
    assert code == 2 and output == ""
    assert len(errors.strip().splitlines()) == 1 and message in errors
    assert "Traceback" not in errors and not (tmp_path / "out").exists()


def test_wrong_use_of_the_program_itself_is_reported_before_torch_is_loaded(tmp_path):
    """The one case in a process of its own: what stands before `main` in the file is run there only."""
    command = [sys.executable, "-X", "importtime", str(ROOT / "refine.py"), "refine.iteration=3"]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    lines = [line for line in finished.stderr.splitlines() if not line.startswith("import time:")]
    assert finished.returncode == 2 and len(lines) == 1 and "did you mean refine.iterations?" in lines[0]
    assert " torch\n" not in finished.stderr and "Traceback" not in finished.stderr


def test_vgg16_without_weights_says_where_to_get_them(heads, tmp_path, monkeypatch, capsys):
    for name, value in {"TORCH_HOME": str(tmp_path / "torch"), "HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}.items():
        monkeypatch.setenv(name, value)
    words = [heads / "ann", "-o", tmp_path / "out", "refine.features=vgg16", "refine.vgg16_weights=torchvision",
             f"assets={tmp_path / 'assets'}"]
    code, _, errors = program(capsys, *words)
    assert code == 2 and len(errors.strip().splitlines()) == 1
    assert "https://download.pytorch.org/models/vgg16-397923af.pth" in errors
    assert str(tmp_path / "assets" / "vgg16-397923af.pth") in errors and "cannot be downloaded" in errors
    assert not (tmp_path / "out").exists() and not (tmp_path / "torch").exists()


@pytest.mark.slow
def test_runs_where_mediapipe_and_tensorflow_are_not_installed(heads, tmp_path):
    """From reconstruction folders made elsewhere, in another environment."""
    script = (
        "import sys\n"
        "for name in ('mediapipe', 'tensorflow', 'keras', 'mtcnn', 'jax', 'dlib', 'h5py'):\n"
        "    sys.modules[name] = None\n"  # importing it raises ImportError
        "import refine\n"
        "raise SystemExit(refine.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", script, str(heads / "ann"), "-o", str(tmp_path / "out"), *QUICKEST]
    finished = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert finished.returncode == 0, finished.stderr
    assert status_of(tmp_path / "out") == {"ann": "done"} and (tmp_path / "out" / "report.html").is_file()


# ---- asking ----------------------------------------------------------------------------------------------------------


def test_dry_run_writes_nothing(heads, tmp_path, capsys):
    code, output, errors = program(capsys, heads / "ann", "-o", tmp_path / "out", "--dry-run", "texture_size=96")
    assert code == 0 and errors == "" and not (tmp_path / "out").exists()
    resolved = output[: output.index("refine: ")]
    assert yaml.safe_load(resolved)["texture_size"] == 96
    assert "1 faces on" in output and str(tmp_path / "out" / "ann") in output


def test_list_configs_and_help(capsys):
    code, output, _ = program(capsys, "--list-configs")
    assert code == 0 and {"default", "quick"} <= {line.split()[0] for line in output.splitlines()}
    code, output, _ = program(capsys, "--help")
    assert code == 0 and "refine.iterations=" in output and "texture_size=2048" in output


# ---- initial textures made elsewhere ---------------------------------------------------------------------------------


def test_a_content_image(heads, tmp_path):
    content = as_bytes(albedo(96, 0.0))
    write_image(tmp_path / "content.png", content)
    assert run(tmp_path / "out", heads / "ann", f"content={tmp_path / 'content.png'}", *QUICKEST) == 0
    metrics = json.loads((tmp_path / "out" / "ann" / "metrics.json").read_text())
    assert set(metrics["shares"]) == {"observed", "given"}
    initial = np.asarray(Image.open(tmp_path / "out" / "ann" / "initial.png")).astype(float)
    shrunk = np.asarray(Image.fromarray(content).resize((64, 64), Image.Resampling.BOX)).astype(float)
    assert np.abs(initial - shrunk)[20:50, 20:44].mean() < 4
    # Another image, another result.
    write_image(tmp_path / "content.png", 255 - content)
    assert run(tmp_path / "out", heads / "ann", f"content={tmp_path / 'content.png'}", *QUICKEST) == 0
    assert status_of(tmp_path / "out") == {"ann": "done"}


def test_a_content_folder(heads, tmp_path):
    (tmp_path / "contents").mkdir()
    write_image(tmp_path / "contents" / "ann.png", np.full((64, 64, 3), 120, np.uint8))
    out = tmp_path / "out"
    assert run(out, heads / "ann", heads / "bob", f"content={tmp_path / 'contents'}", *QUICKEST) == 1
    assert status_of(out) == {"ann": "done", "bob": "failed"}
    assert message_of(out, "bob") == f"the content folder {tmp_path / 'contents'} has no image named bob: add bob.png"


def test_the_papers_parameters_run_too(heads, tmp_path):
    """A pyramid with SGD and style everywhere, on the offline features."""
    paper = ["refine.parameters=pyramid", "refine.optimiser=sgd", "refine.style_region=all", "refine.pyramid_depth=4",
             "refine.moment_weight=1.0", "refine.decay_learning_rate=false", "refine.learning_rate=0.02"]  # fmt: skip
    assert run(tmp_path / "out", heads / "bob", *paper) == 0
    assert json.loads((tmp_path / "out" / "bob" / "metrics.json").read_text())["rendering"]["psnr"] > 25
