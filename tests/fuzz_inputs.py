"""Fuzzes photos, meshes, cameras and configs by seeded mutation of valid inputs, with the real programs.

    python tests/fuzz_inputs.py [N] [--seed S]

Makes N inputs (2000) from four kinds of valid ones by flipping, removing, repeating and inserting bytes and by
replacing numbers by extreme ones. The programs read each input: the reconstruction reads photos, refine.py reads meshes
and cameras, its command line reads configs. A finding is: the process dies, an input takes more than 20 s, an exception
leaves the program or is reported as a bug, the reason is not one line, a library writes to the terminal directly, the
exit code is not 0, 1 or 2, or a file outside OUT is opened for writing.
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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from pipeline.runs.jobs import Died, in_processes

KINDS = ("photo", "mesh", "camera", "config")
LONGEST = 20  # seconds for an input
CHANGING_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink")
QUICK = [
    "texture_size=64", "refine.features=none", "refine.rendering_iterations=1", "output.preview_size=64", "device=cpu",
    "render.maximum_size=64", "reconstruct.subdivisions=0", "detect.try_turned=false", "jobs=1",
]  # fmt: skip
EXTREMES = [
    "0", "-0", "-1", "1e308", "-1e308", "1e-320", "nan", "NaN", "inf", "Infinity", "null", "true", "9" * 400, "0x10",
    "1e999", "2147483648", "-9223372036854775809", '"1"', "[]", "{}", "'", "1_0", "\u0661", "!!int x", "*a", "&a",
]  # fmt: skip
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


def mutated(data: bytes, rng: random.Random, text: bool) -> bytes:
    """The bytes with one to six changes. text: also replaces numbers by extreme ones and removes or swaps lines."""
    data = bytearray(data)
    extra = ("number",) * 6 + ("line",) * 2 if text else ("head",) * 3
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        at = rng.randrange(len(data) + 1)
        kind = rng.choice(("flip", "cut", "double", "insert", "end", *extra))
        if kind in ("flip", "head") and data:
            at = rng.randrange(min(len(data), 64) if kind == "head" else len(data))
            data[at] = rng.choice((data[at] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)))
        elif kind == "cut":
            del data[at : at + rng.choice((1, 4, 100, 5000))]
        elif kind == "double":
            piece = data[at : at + rng.choice((1, 16, 1000))]
            data[at:at] = piece * rng.choice((1, 3, 50))
        elif kind == "insert":
            junk = (b"\0" * 9, b"\xff\xfe", b"[" * 20000, b"{a: " * 300, b"\n", b"../" * 9, rng.randbytes(40))
            data[at:at] = rng.choice(junk)
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
            changes = (lines[second], lines[first]), (b"", lines[second]), (lines[second],) * 2
            lines[first], lines[second] = rng.choice(changes)
            data = bytearray(b"\n".join(lines))
    return bytes(data)


def valid_photos() -> list[tuple[str, bytes]]:
    """(ending, bytes): one face in every supported format, including unusual variants."""
    from PIL import Image

    from pipeline.reconstruction.photos import sample_photos

    face = Image.open(sample_photos()[0].path).convert("RGB").crop((96, 0, 352, 256)).resize((150, 140))
    kinds = (
        ("jpg", face, {}), ("jpg", face.convert("CMYK"), {}), ("jpg", face, {"progressive": True}), ("png", face, {}),
        ("png", face.quantize(64), {}), ("png", face.convert("LA"), {}), ("png", face.convert("I;16"), {}),
        ("webp", face, {}), ("webp", face.convert("RGBA"), {"lossless": True}), ("bmp", face, {}), ("tif", face, {}),
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
    """Runs cases in the current process, each in its own folder."""

    def __init__(self, place: Path) -> None:
        os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3"}
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        import torch._dynamo  # noqa: F401  before TensorFlow: Triton crashes if it is loaded after it
        from synthetic_faces import albedo, head, photograph

        import refine
        from pipeline.reconstruction import program
        from pipeline.reconstruction.folder import save_reconstruction
        from pipeline.reconstruction.images import PhotoError
        from pipeline.runs.files import RunFolderError
        from pipeline.settings.errors import ConfigError

        self._place = place / str(os.getpid())
        self._place.mkdir()
        self._user_errors = (ConfigError, PhotoError, RunFolderError)  # run_main prints these as one line
        self._reconstruct, self._refine, self._photos = program.main, refine.main, valid_photos()
        found = head(0, width=120, height=110, eye_distance=36.0, subdivisions=0)
        self._valid = self._place / "valid"
        self._valid.mkdir()
        source = {"head_to_camera": found.head_to_camera.tolist(), "uv_symmetry": "u=0.5"}
        save_reconstruction(self._valid, found.mesh, found.camera, photograph(albedo(64), found), None, source)
        # Collects what libraries write directly to the terminal.
        self._terminal = open(self._place / "terminal", "w+b", buffering=0)  # noqa: SIM115  open until the process ends
        os.dup2(self._terminal.fileno(), 2)
        # Libraries read and write some files on first use; this must not count as caused by an input.
        for kind in KINDS:
            self._run(kind, self._place / f"first {kind}", None)
        self._allowed, self._outside = None, []
        sys.addaudithook(self._audit)

    def __call__(self, case: Case) -> str:
        """The finding; "" without one."""
        signal.alarm(LONGEST)  # kills the process, which the main process then reports
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

    def _run(self, kind: str, folder: Path, rng: random.Random | None) -> str:
        """Runs one input in a new folder; returns the finding or "". rng: None leaves the input valid."""
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
            name = (
                "mesh.obj" if kind == "mesh" else rng.choice(("camera.json", "source.json")) if rng else "camera.json"
            )
            (given / name).write_bytes(change((given / name).read_bytes(), True))
            words = [str(given), *words]
        before = sorted(folder.rglob("*")) if kind != "photo" else sorted(given.rglob("*"))
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                code = main(words)
            lines = [line for line in output.getvalue().splitlines() if ": failed: " in line]
            if code not in (0, 1, 2):
                return f"exit code {code}"
            if code == 1 and len(lines) != 1:
                return f"failed with {len(lines)} lines: {output.getvalue()[:300]!r}"
            if "unexpected" in output.getvalue():
                return next((line for line in lines), output.getvalue()[:300])
        except self._user_errors as error:
            if "\n" in str(error):
                return f"more than one line: {error}"
        except Exception as error:  # noqa: BLE001  this is a finding
            place = error.__traceback__
            while place.tb_next:
                place = place.tb_next
            return (
                f"{type(error).__name__} at {place.tb_frame.f_code.co_filename}:{place.tb_lineno}: {str(error)[:200]}"
            )
        gone = [path for path in before if not path.exists()]
        new = [path.name for path in folder.iterdir() if path.name not in ("in", "out")]
        return f"files removed or added outside OUT: {gone} {new}" if gone or new else ""

    def _audit(self, event: str, arguments: tuple) -> None:
        """Audit hook: records files that are opened for writing or changed outside the case's folder."""
        if self._allowed is None or event not in CHANGING_EVENTS:
            return
        writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & writing):
            return
        for path in arguments[:2] if event in ("os.rename", "os.link", "os.symlink") else arguments[:1]:
            if isinstance(path, str | bytes | os.PathLike):
                full = os.path.realpath(os.fsdecode(path))
                known = ("/dev/", f"/proc/{os.getpid()}/clear_refs")  # the latter resets the process's peak of memory
                if not full.startswith((self._allowed + os.sep, *known)) and full != self._allowed:
                    self._outside.append(f"{event} of {full}")


# ---- all -------------------------------------------------------------------------------------------------------------


def fuzz(
    number: int, seed: int = 0, jobs: int = 2, kinds: Sequence[str] = KINDS
) -> tuple[list[tuple[Case, str]], dict[str, int]]:
    """Runs `number` cases. Returns the findings, [(case, text)], and {kind: number of cases}."""
    cases = [Case(kinds[index % len(kinds)], seed * 1_000_000 + index) for index in range(number)]
    finds, seen = [], {kind: 0 for kind in kinds}
    with tempfile.TemporaryDirectory() as place:
        for case, found in in_processes(partial(Fuzzer, Path(place).resolve()), cases, jobs):
            seen[case.kind] += 1
            if isinstance(found, Died):
                hung = f"longer than {LONGEST} s" if "SIGALRM" in str(found) else str(found)
                finds.append((case, hung))
            elif found:
                finds.append((case, found))
    return finds, seen


def main() -> int:
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
    print(f"{sum(seen.values())} inputs ({seen}), {len(finds)} findings, {time.monotonic() - started:.0f} s")
    return 1 if finds else 0


if __name__ == "__main__":
    raise SystemExit(main())
