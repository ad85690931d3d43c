"""Photos of faces to complete, sharp UV textures, on meshes that open in Blender.

Stage 2 of ./run.sh, usable alone: refines the reconstruction folders of OUT that belong to the photos given, or
reconstruction folders given themselves (mesh.obj, camera.json, photo.png).
"""

import os
import signal
import sys

# Before torch is loaded: threads that spin while they wait make a run three times slower on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback for Ctrl-C while modules are loaded

from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import to_yaml
from pipeline.progress import Progress, printable
from pipeline.run_folder import RunFolder


def main(argv=None):
    arguments = parse(argv, __doc__)
    config = arguments.config
    from pipeline import choices, inputs  # torch takes a second; wrong use should not wait for it
    from pipeline.costs import Forecast, memory_each, refinement_seconds
    from pipeline.processes import threads_each
    from pipeline.refiner import Refiner, Task
    from pipeline.requirements import require_assets

    require_assets(config, reconstructing=False, may_fetch=not arguments.dry_run)
    refiner = Refiner(arguments.out, config, arguments.command, config.threads)
    device, features, renderer = refiner.device, refiner.features, refiner.renderer
    faces = inputs.faces_meant(arguments)
    if arguments.dry_run:
        print(to_yaml(config), end="")
        print(f"refine: {len(faces)} faces on {device}, {features.why}, {renderer.why}")
        for face in faces:
            print(printable(f"  {face.folder} -> {arguments.out / face.name}"))
        return ALL_DONE

    from report.page import report_or_reason

    with RunFolder(arguments.out) as run, Progress("refine", len(faces)) as progress:
        run.start(
            "refinement",
            [face.name for face in faces],
            config_name=arguments.config_name,
            config_yaml=to_yaml(config),
            seed=config.seed,
            device=choices.device_name(device),
            assets=features.assets + renderer.assets + choices.evaluation_assets(config) + refiner.content.assets(),
            command=arguments.command,
        )
        run.manifest |= {"features": features.why, "renderer": renderer.why}
        progress.line(f"refine: {len(faces)} faces on {device}, {features.why}, {renderer.why}")
        failed = 0
        prepared = [(face, refiner.prepare(face)) for face in faces]
        run.record_skipped([face.name for face, found in prepared if getattr(found, "status", "") == "skipped"])
        for face, found in prepared:
            if isinstance(found, Task):
                continue
            if found.status == "failed":
                failed += 1
                run.record(face.name, "failed", message=found.message)
            progress.photo_done(f"{face.name}: {found.line}")
        tasks = [found for _, found in prepared if isinstance(found, Task)]
        jobs = choices.choose_jobs(config.jobs, device, len(tasks), memory_each(config, features.kind))
        forecast = Forecast(len(tasks), jobs, refinement_seconds(config, features.kind, device))
        progress.line(forecast.before())
        for task, outcome in refiner.all(tasks, jobs, config.threads or threads_each(jobs), progress.within):
            failed += outcome.status == "failed"
            run.record(task.face.name, outcome.status, message=outcome.message, seconds=outcome.seconds)
            progress.photo_done(f"{task.face.name}: {outcome.line}")
            progress.line(forecast.after(outcome.seconds))
        run.write_summary()
    print(report_or_reason(arguments.out))
    return SOME_FAILED if failed else ALL_DONE


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
