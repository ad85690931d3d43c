"""One run over many small photos: measures whether memory and seconds per photo stay constant.

    python tests/benchmarks/bench_many.py [N] [--photos FOLDER] [--jobs N]

Makes N photos (500) from the sample photos, or those of FOLDER, by resizing, mirroring and changing the brightness.
Runs both stages over all of them, in small size and with few steps. Reads memory and processor time of all processes of
the run from /proc every second. Prints for each tenth of the run the seconds per photo, the processor seconds per photo
(more reliable on a busy machine) and the memory at its end.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from PIL import Image, ImageOps

from pipeline.reconstruction.photos import Photo, find_photos, sample_photos

QUICK = [
    "texture_size=128", "refine.iterations=2", "refine.rendering_iterations=4", "render.maximum_size=256", "device=cpu",
    "output.preview_size=64", "refine.features=patches", "refine.style_samples=100", "reconstruct.subdivisions=1",
]  # fmt: skip
PARTS = 10


def make_photos(folder: Path, number: int, sources: Sequence[Photo]) -> None:
    """Writes `number` variations of the source photos."""
    rng = random.Random(0)
    images = [Image.open(photo.path).convert("RGB") for photo in sources]
    for image in images:
        image.thumbnail((400, 400))
    for index in range(number):
        image = images[index % len(images)]
        side = rng.uniform(0.7, 1.0)
        changed = image.resize((round(image.width * side), round(image.height * side)))
        changed = ImageOps.mirror(changed) if rng.random() < 0.5 else changed
        gain = rng.uniform(0.8, 1.1)
        changed.point(lambda value, gain=gain: min(value * gain, 255)).save(
            folder / f"photo{index:05d}.jpg", quality=92
        )


def usage(process: int) -> tuple[float, int]:
    """Processor seconds and memory in bytes (proportional set size) of a process and its children. process: its id."""
    pids, seconds, size = [process], 0.0, 0
    for pid in pids:
        try:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        except OSError:
            continue  # the process has ended
        size += 1024 * next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        seconds += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return seconds, size


def run_measured(command: list[str], environment: dict[str, str]) -> tuple[list[tuple[float, float, int]], int, int]:
    """Runs a command. Returns (seconds, processor seconds, bytes) for every finished photo, failures and exit code."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    latest, ended = [(0.0, 0)], threading.Event()

    def watch() -> None:
        while not ended.wait(1):
            latest[0] = usage(process.pid)

    threading.Thread(target=watch, daemon=True).start()
    points, failures = [], 0
    for line in process.stdout:
        if line.startswith("["):
            points.append((time.monotonic(), *latest[0]))
            failures += ": failed" in line
        else:
            print(line, end="", flush=True)
    ended.set()
    return points, failures, process.wait()


def table(stage: str, points: list[tuple[float, float, int]], failures: int, started: float) -> None:
    """Prints the table of a stage. points: of run_measured."""
    print(f"{stage}: {len(points)} photos, {failures} failed, {points[-1][0] - started:.0f} s in total, "
          f"{points[0][0] - started:.0f} s for the first one with loading the libraries")  # fmt: skip
    print(f"{'photos':>14} {'s per photo':>12} {'processor s':>12} {'memory, GB':>11}")
    before, used = points[0][:2]
    for part in range(PARTS):
        first, last = max(part * len(points) // PARTS, 1), (part + 1) * len(points) // PARTS
        if last > first:
            now, processor, size = points[last - 1]
            each, own = (now - before) / (last - first), (processor - used) / (last - first)
            print(f"{first + 1:>6} - {last:>5} {each:>12.2f} {own:>12.2f} {size / 1e9:>11.2f}", flush=True)
            before, used = now, processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", type=int, default=500, metavar="N")
    parser.add_argument("--photos", metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=0)
    given = parser.parse_args()
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as place:
        photos, out = Path(place) / "photos", Path(place) / "out"
        photos.mkdir()
        make_photos(photos, given.number, find_photos([given.photos]) if given.photos else sample_photos())
        words = [str(photos), "-o", str(out), *QUICK, f"jobs={given.jobs}"]
        for stage in (["-m", "pipeline.reconstruction"], ["refine.py"]):
            started = time.monotonic()
            points, failures, code = run_measured([sys.executable, "-P", *stage, *words], {**os.environ, **quiet})
            table(stage[-1], points, failures, started)
            if code not in (0, 1):
                raise SystemExit(f"{stage[-1]} ended with code {code}")
        entries = json.loads((out / "manifest.json").read_text())["photos"].values()
        print(f"manifest: {sum(entry['status'] == 'done' for entry in entries)} of {len(entries)} photos done")


if __name__ == "__main__":
    main()
