"""From a command line to tasks, and tasks done by several processes."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

from evaluation import perceptual
from evaluation.methods import Method, baseline_methods, defect_methods
from evaluation.views import Scoring, Task, run_view, set_up_process, suits_reprojection
from pipeline.reconstruction.folder import ReconstructionError
from pipeline.reconstruction.images import PhotoError
from pipeline.reconstruction.photos import find_photos, is_reconstruction, resolve_inputs
from pipeline.runs.jobs import Died, in_processes, threads_each

ROOT = Path(__file__).resolve().parents[1]


def find_and_reconstruct(arguments):
    """The faces (pipeline.texture.content.Face) of all inputs; photos are reconstructed into OUT/reconstructions.

    That runs as a process of its own: TensorFlow and torch disturb each other. Raises PhotoError.
    """
    inputs = [path for given in arguments.inputs for path in _expanded(given)]
    out = arguments.out / "reconstructions"
    config = next(iter(arguments.configs.values()))
    photos = [path for path in inputs if not is_reconstruction(path)]
    if photos:
        find_photos(photos)  # says what is wrong with a path before a process is started
    if (photos or not inputs) and not arguments.dry_run:
        out.mkdir(parents=True, exist_ok=True)
        words = [word for word in arguments.overrides if word.startswith(("detect.", "reconstruct."))]
        command = [sys.executable, "-P", "-m", "pipeline.reconstruction", *photos, "-o", str(out), *words]
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "GLOG_minloglevel": "3", "CUDA_VISIBLE_DEVICES": ""}
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        done = subprocess.run(command, env={**os.environ, **quiet, "PYTHONPATH": path}, check=False)
        if done.returncode not in (0, 1):
            raise PhotoError("the photos could not be reconstructed: see the line above")
    return resolve_inputs(inputs, out)


def make_methods(arguments):
    """All methods, baselines first."""
    first = next(iter(arguments.configs.values()))
    methods = baseline_methods(arguments.baselines, first)
    methods += [Method(name, "refine", config) for name, config in arguments.configs.items()]
    methods += [Method(name, "textures", first, str(folder)) for name, folder in arguments.textures.items()]
    return methods + (defect_methods(first) if arguments.defects else [])


def make_tasks(arguments, faces, methods):
    """Tasks, the lines to say about faces that are left out, and the number of failures among these."""
    first = next(iter(arguments.configs.values()))
    truth = arguments.truth
    scoring = Scoring(arguments.out.resolve(), arguments.size, first.seed, truth, arguments.arcface, arguments.lpips)
    tasks, lines, failures = [], [], 0
    for face in faces:
        try:
            suitable, yaw = (False, 0.0) if face.problem else suits_reprojection(face.folder)
        except ReconstructionError as error:
            suitable, face_problem = False, str(error)
        else:
            face_problem = face.problem
        if face_problem:
            failures += 1
            lines.append(f"{face.name}: {face_problem}")
            continue
        of_photo = [method for method in methods if not method.kind.startswith("defect_")]
        tasks.append(Task(face.name, face.photo_stem, face.folder, None, of_photo, scoring))
        if suitable:
            tasks += [Task(face.name, face.photo_stem, face.folder, angle, methods, scoring) for angle in arguments.yaws]
        elif arguments.yaws:
            lines.append(f"{face.name}: turned by {yaw:.0f} degrees, too far for the reprojection benchmark; its own view only")
    return tasks, lines, failures


def left_out(arguments):
    """Measures that cannot be had, one line each."""
    lines = [] if arguments.arcface else ["ArcFace: no weights given (--arcface FILE)"]
    lines += [] if arguments.lpips else ["LPIPS: no weights given (--lpips DIR)"]
    return lines + ([perceptual.missing(arguments.lpips)] if arguments.lpips and perceptual.missing(arguments.lpips) else [])


def run_all(tasks, jobs, progress):
    """Do all tasks; a line per task goes to the progress. Returns the number of problems."""
    jobs = min(jobs, len(tasks))
    ready = partial(_ready, threads_each(jobs))
    outcomes = zip(tasks, map(ready(), tasks), strict=True) if jobs == 1 else in_processes(ready, tasks, jobs)
    problems = 0
    for task, outcome in outcomes:
        line, count = (f"{task.photo} {task.view}: {outcome}", 1) if isinstance(outcome, Died) else outcome
        problems += count
        progress.photo_done(line)
    return problems


def _ready(threads):
    set_up_process(threads)
    return run_view


def _expanded(given):
    """A folder of results of ./run.sh stands for the reconstructions in it."""
    path = Path(given)
    if path.is_dir() and not is_reconstruction(path):
        found = sorted(place for place in path.glob("*/reconstruction") if is_reconstruction(place))
        if found:
            return [str(place) for place in found]
        if is_reconstruction(path / "reconstruction"):
            return [str(path / "reconstruction")]
    return [given]
