"""Photos of faces to complete, sharp UV textures, on meshes that open in Blender.

Stage 2 of ./run.sh, usable alone: refines the reconstruction folders of OUT that belong to the photos given, or
reconstruction folders given themselves (mesh.obj, camera.json, photo.png).
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

# Before torch is loaded: threads that spin while they wait make a run three times slower on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pipeline.settings.command_line import ALL_DONE, SOME_FAILED, Arguments, parse, run_main, user_errors

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded
    with user_errors():
        parse(sys.argv[1:], __doc__)  # wrong use is reported before torch is loaded, which takes seconds

from external.assets import Obtained, require
from pipeline.reconstruction.folder import Reconstruction, load_reconstruction
from pipeline.reconstruction.images import as_bytes
from pipeline.reconstruction.photos import resolve_inputs
from pipeline.runs.backends import Backends, choose_backends, schedule
from pipeline.runs.jobs import Died, choose_jobs, run_tasks, threads_each
from pipeline.runs.manifest import Outcome, Plan
from pipeline.runs.run_folder import RunFolder
from pipeline.runs.stage import failure, run_stage
from pipeline.texture import results
from pipeline.texture.comparison import PhotoComparison
from pipeline.texture.initial import complete_texture, read_content
from pipeline.texture.refined import refine
from pipeline.texture.sampled import fit_to_photo, unwrap_photo
from pipeline.texture.tasks import ContentImages, Task, plan_tasks
from report.page import report_or_reason


def main(argv: list[str] | None = None) -> int:
    """Refine every face that a command line names; returns the exit code."""
    arguments = parse(argv, __doc__)
    config, out = arguments.config, arguments.out
    given = config.refine.vgg16_weights, config.content
    obtained = require(config.refinement_needs, config.assets, *given, may_fetch=not arguments.dry_run)
    backends = choose_backends(config, obtained)
    subjects = resolve_inputs(arguments.photos, out)
    content = ContentImages(obtained.content)
    # What a killed run left is put back before anything is planned.
    with nullcontext() if arguments.dry_run else RunFolder(out):
        tasks, known = plan_tasks(subjects, content, config, backends.kinds, out)
        jobs = choose_jobs(config.jobs, len(tasks), backends.memory_each, backends.device.type == "cuda")
        plan = Plan(
            names=[subject.name for subject in subjects],
            known=known,
            todo=[f"{task.reconstruction} -> {out / task.name}" for task in tasks],
            headline=f"refine: {len(subjects)} faces on {backends}",
            device=backends.device_name,
            assets=backends.assets + content.assets,
            at_once=jobs,
            seconds_each=backends.seconds_each,
            notes=backends.notes,
        )
        failed = run_stage("refinement", arguments, plan, partial(refine_all, arguments, obtained, tasks, jobs))
    if not arguments.dry_run:
        print(report_or_reason(out))
    return SOME_FAILED if failed else ALL_DONE


def refine_all(
    arguments: Arguments, obtained: Obtained, tasks: list[Task], jobs: int, progress: Callable[[float, str], None]
) -> Iterator[Outcome]:
    """Refine faces, `jobs` at once in processes of their own; their outcomes as they are known."""
    threads = arguments.config.threads or threads_each(jobs)
    for task, outcome in run_tasks(partial(Refiner, arguments, obtained, threads), tasks, jobs, progress):
        yield failure(task.name, outcome) if isinstance(outcome, Died) else outcome


class Refiner:
    """Refines single faces into OUT: in the main process, which holds OUT's lock, or in workers."""

    def __init__(self, arguments: Arguments, obtained: Obtained, threads: int):
        self._arguments, self._run = arguments, RunFolder(arguments.out)
        self._backends = choose_backends(arguments.config, obtained, threads)

    def __call__(self, task: Task, progress: Callable[[float, str], None] | None = None) -> Outcome:
        """Refine one face. A failure is an outcome, unless it would fail every face: then it is raised."""
        started = time.perf_counter()
        try:
            reconstruction = load_reconstruction(task.reconstruction, self._arguments.config.limits)
            with self._run.replaced_results(task.name) as folder:
                metrics = refine_photo(folder, reconstruction, task, self._arguments, self._backends, progress)
        except Exception as error:  # noqa: BLE001  whatever it is, the other faces go on
            return failure(task.name, error, time.perf_counter() - started)
        seconds = time.perf_counter() - started
        line = f"{results.summary(metrics)}, {seconds:.1f} s -> {self._run.results(task.name)}"
        return Outcome(task.name, "done", line, seconds=seconds)


def refine_photo(
    folder: Path,
    reconstruction: Reconstruction,
    task: Task,
    arguments: Arguments,
    backends: Backends,
    progress: Callable[[float, str], None] | None = None,
) -> dict:
    """All results of one face, written into an empty folder. progress(share, text). Returns the metrics.

    Raises UserError for what the user can change.
    """
    config = arguments.config
    log = results.WorkLog(folder, config, progress)
    with log.part("unwrap_and_complete", 0.0):
        comparison = PhotoComparison(reconstruction, config.render, backends.device, backends.renderer.kind)
        sampled = unwrap_photo(reconstruction, config)
        sampled = fit_to_photo(sampled, comparison, config, log.steps("fit", 0.05, 0.25))
        content = read_content(task.content, reconstruction, config.limits)
        initial = complete_texture(sampled, reconstruction, content, config)
    with log.part("refine", 0.3):
        features = backends.features.extractor
        settings = schedule(config, backends.features.kind, has_content=content is not None)
        refined = refine(initial, sampled, comparison, features, settings, config.seed, log.steps("refine", 0.3, 0.5))
    with log.part("write", 0.8):
        texture = results.write_textures(folder, sampled, initial, refined)
        head = results.export_head(folder, task.name, reconstruction, texture, sampled.outward)
        if config.output.makehuman:
            notes = results.write_makehuman(folder, reconstruction.mesh, texture)
            refined = replace(refined, notes=[*refined.notes, *notes])
        results.write_labels(task.reconstruction, arguments.out, reconstruction, sampled.labels)
    with log.part("measure", 0.9):
        scores, overlay = results.measure(reconstruction, sampled.visibility, texture, config.assets)
        preview = results.write_pictures(folder, reconstruction, overlay, texture, head, config.output.preview_size)
    log.images(as_bytes(initial.texture), texture, preview)
    about = {"fingerprint": task.fingerprint, "features": backends.features.kind, "command": arguments.command}
    return results.write_metrics(folder, scores, sampled, initial, refined, config, log, about)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
