"""Kills a run over three photos at random moments; a rerun must then give the results of an uninterrupted run.

    python tests/benchmarks/bench_kills.py [N] [--seed S] [--detections]

Each kill sends SIGKILL to all processes of the run, alternately with one and two jobs. After a kill, every file under
its final name must be complete. The rerun must keep finished photos, process the others, and give identical bytes.
--detections provides the faces' points, so that TensorFlow is not loaded and most kills hit the refinement.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image

from pipeline.reconstruction.photos import sample_photos
from pipeline.runs.run_folder import neutral_name, results_of

QUICK = [
    "texture_size=128", "refine.iterations=4", "refine.rendering_iterations=8", "render.maximum_size=256", "device=cpu",
    "output.preview_size=64", "refine.features=patches", "refine.style_samples=100",
]  # fmt: skip
# Eyes, nose and mouth corners of the astronaut's head, for runs without MTCNN.
POINTS = "108 100\n150 103\n129 127\n106 139\n148 141\n"
# Entries of metrics.json that differ between runs.
OF_THE_MACHINE = ("seconds", "peak_memory_mb", "process_peak_memory_mb", "command", "settings")


def make_photos(folder: Path, detections: bool) -> None:
    """Writes three small portraits. detections: also write their five points."""
    folder.mkdir()
    astronaut, hopper = (Image.open(photo.path).convert("RGB") for photo in sample_photos())
    face = astronaut.crop((96, 0, 352, 256))
    darker = face.point(lambda value: value * 0.7)
    third = face.resize((250, 240)) if detections else hopper.resize((340, 400))
    for name, image in (("ann", face), ("bob", darker), ("cyd", third)):
        image.save(folder / f"{name}.png")
    if detections:
        (folder / "detections").mkdir()
        for name in ("ann", "bob", "cyd"):
            (folder / "detections" / f"{name}.txt").write_text(POINTS)


def start(photos: Path, out: Path, jobs: int) -> subprocess.Popen[str]:
    """Starts both stages, as run.sh does, in a new process group."""
    words = [str(photos), "-o", str(out), *QUICK, f"jobs={jobs}"]
    stages = '"$PYTHON" -P -m pipeline.reconstruction "$@" && exec "$PYTHON" -P refine.py "$@"'
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        ["bash", "-c", stages, "run", *words],
        cwd=ROOT, env={**os.environ, **quiet, "PYTHON": sys.executable}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> None:
    """Waits for a run. Raises AssertionError if it failed."""
    output, _ = process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"a run ended with code {process.returncode}:\n{output}")


def contents(out: Path) -> dict[str, object]:
    """{file of OUT: content}, without times, memory, command, lock and report (it depends on the other files)."""
    found = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file() and path.name not in (".lock", "report.html")):
        name, data = str(path.relative_to(out)), path.read_bytes()
        if path.name == "metrics.json":
            data = {key: value for key, value in json.loads(data).items() if key not in OF_THE_MACHINE}
        elif path.name == "manifest.json":
            data = {photo: entry["status"] == "failed" for photo, entry in json.loads(data)["photos"].items()}
        elif name == "config.yaml":
            data = "\n".join(line for line in data.decode().splitlines() if not line.startswith("jobs:"))
        elif name == "summary.csv":
            data = [line.partition(",")[0] for line in data.decode().splitlines()]
        found[name] = data
    return found


def check_final_files(out: Path) -> dict[str, int]:
    """Checks after a kill that all files under final names are complete. Returns {finished photo: time written, ns}."""
    finished = {}
    if (out / "manifest.json").exists():
        json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for folder in (path for path in out.glob("[!.]*") if path.is_dir()):
        names = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"reconstruction"}
        reconstruction = folder / "reconstruction"
        rigged = (reconstruction / "rig.npz").exists()
        results = results_of(folder.name) | ({neutral_name(folder.name)} if rigged else set())
        assert names in (set(), results), f"{folder} contains {sorted(names)}"
        if reconstruction.exists():
            files = {"mesh.obj", "camera.json", "photo.png", "mask.png", "source.json"} | ({"rig.npz"} if rigged else set())
            found = {path.name for path in reconstruction.iterdir()} - {"witnesses.npz", "labels.png", "labels.json"}
            assert found == files, f"{reconstruction} is not complete"
        if names:
            finished[folder.name] = (folder / "texture.png").stat().st_mtime_ns
    return finished


def kills(
    place: Path,
    number: int,
    seed: int = 0,
    detections: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Kills and reruns `number` times in an empty folder. Returns {phase: number of kills}. Raises AssertionError."""
    rng, photos = random.Random(seed), place / "photos"
    make_photos(photos, detections)
    started = time.monotonic()
    finish(start(photos, place / "undisturbed", 1))
    whole = time.monotonic() - started
    expected = contents(place / "undisturbed")
    phases, done, attempt = {}, 0, 0
    while done < number:
        attempt += 1
        out, delay, jobs = place / f"out{attempt}", rng.uniform(0.3, whole), 1 + done % 2
        started = time.monotonic()
        victim = start(photos, out, jobs)
        try:
            victim.communicate(timeout=delay)
        except subprocess.TimeoutExpired:
            os.killpg(victim.pid, signal.SIGKILL)
            victim.communicate()
        else:  # the run finished before the kill
            whole = min(whole, time.monotonic() - started)
            continue
        done += 1
        finished = check_final_files(out) if out.exists() else {}
        phase = phase_of(out, finished)
        phases[phase] = phases.get(phase, 0) + 1
        finish(start(photos, out, jobs))
        for name, written in finished.items():
            assert (out / name / "texture.png").stat().st_mtime_ns == written, f"{name} was finished but made again"
        found = contents(out)
        different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        assert not different, f"kill {done} after {delay:.2f} s: these files differ: {different}"
        report(f"kill {done} of {number} after {delay:.1f} s, {phase}: the rerun gives the same files")
    return phases


def phase_of(out: Path, finished: dict[str, int]) -> str:
    """What the run was doing when it was killed."""
    if finished:
        return f"refining, {len(finished)} of 3 photos finished"
    reconstructed = len(list(out.glob("*/reconstruction")))
    if reconstructed == 3:
        return "refining or about to start, none finished"
    return f"reconstructing, {reconstructed} of 3 done" if (out / "manifest.json").exists() else "starting"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--detections", action="store_true")
    given = parser.parse_args()
    report = lambda line: print(line, flush=True)
    with tempfile.TemporaryDirectory() as place:
        phases = kills(Path(place), given.number, given.seed, given.detections, report)
    print(f"{given.number} kills, all reruns are byte-identical; killed while: {phases}")


if __name__ == "__main__":
    main()
