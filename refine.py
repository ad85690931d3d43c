"""Photos of faces to complete, sharp UV textures, on meshes that open in Blender.

Stage 2 of ./run.sh, usable alone: refines the reconstruction folders of OUT that belong to the photos given, or
reconstruction folders given themselves (mesh.obj, camera.json, photo.png).
"""

import os
import sys
import time

# Before torch is loaded: threads that spin while they wait make a run three times slower on a machine with other work.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pipeline.arguments import ALL_DONE, SOME_FAILED, parse, run_main
from pipeline.config import fingerprint, to_yaml
from pipeline.photos import PhotoError
from pipeline.progress import Progress
from pipeline.run_folder import RunFolder, is_finished, results_fingerprint


def main(argv=None):
    arguments = parse(argv, __doc__)
    config = arguments.config
    from pipeline import choices, inputs  # torch takes a second; wrong use should not wait for it
    from pipeline.requirements import require_assets

    require_assets(config, reconstructing=False, may_fetch=not arguments.dry_run)
    device = choices.choose_device(config.device)
    chosen = choices.choose_features(config.refine, device, config.assets)
    renderer = choices.choose_renderer(config.renderer, device)
    work = inputs.faces_meant(arguments)
    content = inputs.ContentImages(config.content)
    if arguments.dry_run:
        print(to_yaml(config), end="")
        print(f"refine: {len(work)} faces on {device}, {chosen.why}, {renderer.why}")
        for item in work:
            print(f"  {item.folder} -> {arguments.out / item.name}")
        return ALL_DONE

    from pipeline.reconstruction_folder import ReconstructionError, input_files, load_reconstruction
    from pipeline.refinement import VERSION, refine_photo
    from report.page import report_or_reason

    failed = 0
    choices.set_threads(config.threads)
    with RunFolder(arguments.out) as run, Progress("refine", len(work)) as progress:
        run.start(
            "refinement",
            [item.name for item in work],
            config_name=arguments.config_name,
            config_yaml=to_yaml(config),
            seed=config.seed,
            device=choices.device_name(device),
            assets=chosen.assets + renderer.assets + choices.evaluation_assets(config) + content.assets(),
            command=arguments.command,
        )
        run.manifest |= {"features": chosen.why, "renderer": renderer.why}
        progress.line(f"refine: {len(work)} faces on {device}, {chosen.why}, {renderer.why}")
        for item in work:
            started = time.perf_counter()
            try:
                if item.problem == inputs.NOT_RECONSTRUCTED:
                    failed += 1
                    run.record(item.name, "failed")
                    progress.photo_done(f"{item.name}: {item.problem}")
                    continue
                if item.problem:
                    raise inputs.InputError(item.problem)
                image, image_path = content.of(item.photo_stem)
                files = input_files(item.folder) + ([image_path] if image_path else [])
                mark = results_fingerprint(f"{fingerprint(config)} {chosen.kind} {renderer.kind}", files, VERSION)
                if is_finished(run.results(item.name), mark):
                    run.record(item.name, "skipped")
                    progress.photo_done(f"{item.name}: finished already with the same settings")
                    continue
                reconstruction = load_reconstruction(item.folder)
                with run.replaced_results(item.name) as folder:
                    metrics = refine_photo(
                        folder,
                        reconstruction,
                        config,
                        chosen.extractor(),
                        device,
                        renderer.kind,
                        reconstruction.content if image is None else image,
                        progress.within,
                        {
                            "fingerprint": mark,
                            "features": chosen.kind,
                            "command": arguments.command,
                            "settings": to_yaml(config),
                        },
                        name=item.name,
                    )
                seconds = time.perf_counter() - started
                run.record(item.name, "done", seconds=seconds)
                scores = metrics["rendering"]
                progress.photo_done(
                    f"{item.name}: rendering {_shown(scores['psnr'], '.1f')} dB, SSIM {_shown(scores['ssim'], '.4f')}, "
                    f"{seconds:.1f} s -> {run.results(item.name)}"
                )
            except (ReconstructionError, inputs.InputError, PhotoError, FloatingPointError) as error:
                failed += 1
                run.record(item.name, "failed", message=str(error), seconds=time.perf_counter() - started)
                progress.photo_done(f"{item.name}: failed: {error}")
        run.write_summary()
    print(report_or_reason(arguments.out))
    return SOME_FAILED if failed else ALL_DONE


def _shown(value, form):
    return "-" if value is None else format(value, form)


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
