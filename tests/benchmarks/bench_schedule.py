"""Time and memory of the paper's schedule on one reconstruction.

    python tests/benchmarks/bench_schedule.py FOLDER [-c facerefiner] [key=value ...]

FOLDER is a reconstruction folder (outputs/<experiment>/<photo>/reconstruction). Prints the values of the table in
docs/benchmarks.md. A shortened run on a CPU estimates the time of the whole schedule:

    python tests/benchmarks/bench_schedule.py FOLDER refine.transfers=1 refine.iterations=2 refine.vgg16_weights=FILE
"""

import argparse
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import refine
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import load_config

PUBLISHED_STEPS = 1500


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("-c", "--config", default="facerefiner")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    given = parser.parse_intermixed_args(argv)
    try:
        schedule = load_config(given.config, given.overrides).refine
    except ConfigError as error:
        parser.error(str(error))
    steps = schedule.transfers * len(schedule.scales) * schedule.iterations + schedule.rendering_iterations
    gpu = torch.cuda.is_available()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        try:
            status = refine.main([given.folder, "-o", out, "-c", given.config, *given.overrides])
        except ConfigError as error:
            parser.error(str(error))
        if status:
            return status
        seconds = time.perf_counter() - started
        (results,) = Path(out).glob("*/metrics.json")
        metrics = json.loads(results.read_text(encoding="utf-8"))
        manifest = json.loads((Path(out) / "manifest.json").read_text(encoding="utf-8"))
    in_refinement = metrics["seconds"]["refine"]
    per_step = in_refinement / max(steps, 1)
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    rows = {
        "device": manifest["device"]["refinement"],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}",
        "features": manifest["features"],
        "renderer": manifest.get("renderer", "renderer: cpu"),
        "texture": f"{metrics['texture_size']} x {metrics['texture_size']}",
        "steps": f"{steps}",
        "seconds per step": f"{per_step:.4f} (including the preparation of the look-ups)",
        "seconds, refinement": f"{in_refinement:.1f}",
        "seconds, whole run": f"{seconds:.1f}",
        "peak memory": f"{resident:.2f} GiB",
        "peak GPU memory": f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if gpu else "-",
    }
    if steps < PUBLISHED_STEPS:
        rows[f"{PUBLISHED_STEPS} steps would take"] = f"about {per_step * PUBLISHED_STEPS / 60:.0f} min"
    for name, value in rows.items():
        print(f"{name:<24}{value}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
