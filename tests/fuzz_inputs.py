"""Seeded mutation of valid inputs: photos, meshes, cameras and configs, through the real programs.

    python tests/fuzz_inputs.py [N] [--seed S]

N inputs (2000) are made from four kinds of valid ones by flipping, cutting, doubling and inserting bytes and by putting
extreme numbers in the place of numbers. Each goes through what reads it: photos through the reconstruction, meshes and
cameras through refine.py, configs through its command line. A find is: the interpreter ends, more than 20 s pass, an
exception leaves the program or is reported as its fault, the reason is not one line, a library writes to the terminal by
itself, an exit code other than 0, 1, 2, or a file is opened for writing outside OUT.
"""

import argparse
import contextlib
import io
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pipeline.runs.jobs import Died, in_processes

KINDS = ("photo", "mesh", "camera", "config")
LONGEST = 20  # seconds for an input
QUICK = [
    "texture_size=64", "refine.features=none", "refine.rendering_iterations=1", "output.preview_size=64", "device=cpu",
    "render.maximum_size=64", "reconstruct.subdivisions=0", "detect.try_turned=false", "jobs=1",
]  # fmt: skip
EXTREMES = ["0", "-0", "-1", "1e308", "-1e308", "1e-320", "nan", "NaN", "inf", "Infinity", "null", "true", "9" * 400, "0x10",
            "1e999", "2147483648", "-9223372036854775809", '"1"', "[]", "{}", "'", "1_0", "\u0661", "!!int x", "*a", "&a"]  # fmt: skip
NUMBER = re.compile(rb"-?\d+\.?\d*(?:[eE][-+]?\d+)?")
CONFIG = """# A config with every kind of value.
base: quick
seed: 3
texture_size: 64
device: cpu
content: ''
detect:
  face: largest
  minimum_confidence: 0.5
  try_turned: true
refine:
  features: none
  scales: [0.5, 1.0]
  iterations: 1
  learning_rate: 4e-3
render: {maximum_size: 64, silhouette_erosion: 0.01}
limits:
  photo_megapixels: 20
"""


@dataclass(frozen=True)
class Case:
    kind: str
    seed: int


# ---- inputs ----------------------------------------------------------------------------------------------------------


def mutated(data, rng, text):
    """Bytes with one to six changes. text: numbers may be replaced by extreme ones, lines cut, doubled and exchanged."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        kind = rng.choice(("flip", "cut", "double", "insert", "end", *(("number",) * 6 + ("line",) * 2 if text else ("head",) * 3)))
        if kind in ("flip", "head") and data:
            at = rng.randrange(min(len(data), 64) if kind == "head" else len(data))
            data[at] = rng.choice((data[at] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)))
        elif kind == "cut":
            del data[at : at + rng.choice((1, 4, 100, 5000))]
        elif kind == "double":
            piece = data[at : at + rng.choice((1, 16, 1000))]
            data[at:at] = piece * rng.choice((1, 3, 50))
        elif kind == "insert":
            data[at:at] = rng.choice((b"\0" * 9, b"\xff\xfe", b"[" * 20000, b"{a: " * 300, b"\n", b"../" * 9, rng.randbytes(40)))
        elif kind == "end" and rng.random() < 0.5:
            del data[at:]
        elif kind == "number":
            found = list(NUMBER.finditer(bytes(data)))
            if found:
                place = rng.choice(found)
                data[place.start() : place.end()] = rng.choice(EXTREMES).encode()
        elif kind == "line":
            lines = bytes(data).split(b"\n")
            first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
            lines[first], lines[second] = rng.choice(((lines[second], lines[first]), (b"", lines[second]), (lines[second],) * 2))
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def valid_photos():
    """(ending, bytes): one face in every format that is read, and in the odd kinds of each."""
    from PIL import Image

    from pipeline.reconstruction.photos import sample_photos

    face = Image.open(sample_photos()[0].path).convert("RGB").crop((96, 0, 352, 256)).resize((150, 140))
    kinds = (
        ("jpg", face, {}), ("jpg", face.convert("CMYK"), {}), ("jpg", face, {"progressive": True}), ("png", face, {}),
        ("png", face.quantize(64), {}), ("png", face.convert("LA"), {}), ("png", face.convert("I;16"), {}), ("webp", face, {}),
        ("webp", face.convert("RGBA"), {"lossless": True}), ("bmp", face, {}), ("tif", face, {}),
        ("tif", face, {"compression": "tiff_lzw"}), ("tif", face.convert("L"), {"compression": "jpeg"}),
    )  # fmt: skip
    photos = []
    for ending, image, options in kinds:
        buffer = io.BytesIO()
        image.save(buffer, format=Image.registered_extensions()[f".{ending}"], **options)
        photos.append((ending, buffer.getvalue()))
    return photos


# ---- one process -----------------------------------------------------------------------------------------------------


class Fuzzer:
    """Does cases in the process that made it, each in its own folder."""

    def __init__(self, place: Path):
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch._dynamo  # noqa: F401  before TensorFlow: Triton, loaded after it, crashes
        from synthetic_faces import albedo, head, photograph

        import refine
        from pipeline.reconstruction import program
        from pipeline.reconstruction.folder import save_reconstruction
        from pipeline.reconstruction.images import PhotoError
        from pipeline.runs.files import RunFolderError
        from pipeline.settings.errors import ConfigError

        self._place = place / str(os.getpid())
        self._place.mkdir()
        self._told = (ConfigError, PhotoError, RunFolderError)  # run_main prints these as a line
        self._reconstruct, self._refine, self._photos = program.main, refine.main, valid_photos()
        found = head(0, width=120, height=110, eye_distance=36.0, subdivisions=0)
        self._valid = self._place / "valid"
        self._valid.mkdir()
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(self._valid, found.mesh, found.camera, photograph(albedo(64), found), None, source)
        # What libraries write to the terminal around Python.
        self._terminal = open(self._place / "terminal", "w+b", buffering=0)  # noqa: SIM115  as long as the process lives
        os.dup2(self._terminal.fileno(), 2)
        # All that these libraries read or write once for themselves, so that it is not taken for the input's doing.
        for kind in KINDS:
            self._run(kind, self._place / f"first {kind}", None)
        self._allowed, self._outside = None, []
        sys.addaudithook(self._audit)

    def __call__(self, case: Case) -> str:
        """What was found; nothing where all is well."""
        signal.alarm(LONGEST)  # ends the process, and whoever waits for it is told
        folder = self._place / f"{case.kind}{case.seed}"
        self._allowed, self._outside = str(folder), []
        self._terminal.seek(0)
        self._terminal.truncate()
        try:
            found = self._run(case.kind, folder, random.Random(f"{case.kind} {case.seed}")) or "; ".join(self._outside)
            self._terminal.seek(0)
            written = self._terminal.read().decode(errors="replace")
            return found or (f"on the terminal: {written[:300]}" if written else "")
        finally:
            signal.alarm(0)
            self._allowed = None
            shutil.rmtree(folder, ignore_errors=True)

    def _run(self, kind, folder, rng):
        change = (lambda data, text: data) if rng is None else (lambda data, text: mutated(data, rng, text))
        folder.mkdir()
        given, out = folder / "in", folder / "out"
        main, words = self._refine, [*QUICK, "-o", str(out)]
        if kind == "photo":
            ending, data = rng.choice(self._photos) if rng else self._photos[0]
            given.mkdir()
            (given / f"x.{ending}").write_bytes(change(data, False))
            main, words = self._reconstruct, [str(given), *words]
        elif kind == "config":
            given.write_bytes(change(CONFIG.encode(), True))
            words = [str(self._valid), "-c", str(given), "-o", str(out), "--dry-run"]
        else:
            shutil.copytree(self._valid, given)
            name = "mesh.obj" if kind == "mesh" else rng.choice(("camera.json", "source.json")) if rng else "camera.json"
            (given / name).write_bytes(change((given / name).read_bytes(), True))
            words = [str(given), *words]
        before = sorted(folder.rglob("*")) if kind != "photo" else sorted(given.rglob("*"))
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = main(words)
            lines = [line for line in said.getvalue().splitlines() if ": failed: " in line]
            if code not in (0, 1, 2):
                return f"exit code {code}"
            if code == 1 and len(lines) != 1:
                return f"failed with {len(lines)} lines: {said.getvalue()[:300]!r}"
            if "unexpected" in said.getvalue():
                return next((line for line in lines), said.getvalue()[:300])
        except self._told as error:
            if "\n" in str(error):
                return f"more than one line: {error}"
        except Exception as error:  # noqa: BLE001  that is what is looked for
            place = error.__traceback__
            while place.tb_next:
                place = place.tb_next
            return f"{type(error).__name__} at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}: {str(error)[:200]}"
        gone = [path for path in before if not path.exists()]
        new = [path.name for path in folder.iterdir() if path.name not in ("in", "out")]
        return f"files gone or new beside OUT: {gone} {new}" if gone or new else ""

    def _audit(self, event, arguments):
        if self._allowed is None or event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink"):
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return
        for path in arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]:
            if isinstance(path, str | bytes | os.PathLike):
                full = os.path.realpath(os.fsdecode(path))
                known = ("/dev/", f"/proc/{os.getpid()}/clear_refs")  # the latter resets the process's peak of memory
                if not full.startswith((self._allowed + os.sep, *known)) and full != self._allowed:
                    self._outside.append(f"{event} of {full}")


# ---- all -------------------------------------------------------------------------------------------------------------


def fuzz(number, seed=0, jobs=2, kinds=KINDS):
    """Do `number` cases. Returns [(case, what was found)] and {kind: (cases, seconds of the slowest)}."""
    cases = [Case(kinds[index % len(kinds)], seed * 1_000_000 + index) for index in range(number)]
    finds, seen = [], {kind: 0 for kind in kinds}
    with tempfile.TemporaryDirectory() as place:
        for case, found in in_processes(partial(Fuzzer, Path(place).resolve()), cases, jobs):
            seen[case.kind] += 1
            if isinstance(found, Died):
                hung = f"longer than {LONGEST} s" if "SIGALRM" in found.how else str(found)
                finds.append((case, hung))
            elif found:
                finds.append((case, found))
    return finds, seen


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", nargs="?", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    started = time.monotonic()
    finds, seen = fuzz(given.number, given.seed, given.jobs, tuple(given.kind or KINDS))
    for case, found in finds:
        print(f"{case.kind} {case.seed}: {found}")
    print(f"{sum(seen.values())} inputs ({seen}), {len(finds)} finds, {time.monotonic() - started:.0f} s")
    return 1 if finds else 0


if __name__ == "__main__":
    raise SystemExit(main())
