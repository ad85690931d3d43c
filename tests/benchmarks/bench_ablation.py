"""What each setting does to skin that a photo does not show: every variant against the default, by evaluate.py.

    python tests/benchmarks/bench_ablation.py [PHOTO | FOLDER]... [-o OUT] [--size TEXELS] [--yaws=-45,65]
        [--only GROUP | VARIANT,...]

Writes OUT as evaluate.py does, and OUT/ablation.md: means of the default and paired differences to it. Rerunning
resumes an interrupted run.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import evaluate
from evaluation.measures import MEASURES
from evaluation.statistics import FEWEST, Estimate, verdict
from pipeline.runs.files import write_text
from pipeline.settings.command_line import run_main
from pipeline.settings.errors import ConfigError

SHOWN = (
    "unseen_psnr", "unseen_ssim", "unseen_ciede2000", "tint", "high_frequency_error", "patch_distance",
    "patch_distance_1", "seam", "opposite_identity", "seen_psnr", "seconds",
)  # fmt: skip

STYLE = "refine.features=patches"
# group: {name: settings}
VARIANTS = {
    "style": {
        "patches": STYLE,
        "patches_content_only": f"{STYLE} refine.style_weight=0",
        "patches_style_only": f"{STYLE} refine.content_weight=0",
        "patches_moments": f"{STYLE} refine.moment_weight=1",
        "patches_mirrored": f"{STYLE} refine.mirrored_style=true",
        "patches_from_all": f"{STYLE} refine.style_from_seen=false",
        "patches_region_all": f"{STYLE} refine.style_region=all",
        "patches_step_2e-3": f"{STYLE} refine.style_step=2e-3",
        "patches_step_4e-3": f"{STYLE} refine.style_step=4e-3",
        "patches_weight_4x": f"{STYLE} refine.style_weight=6.8",
        "patches_samples_2x": f"{STYLE} refine.style_samples=800 refine.result_samples=2048",
    },
    "schedule": {
        "patches_80_steps": f"{STYLE} refine.iterations=80",
        "patches_one_scale": f"{STYLE} refine.scales=[1.0]",
        "patches_three_scales": f"{STYLE} refine.scales=[0.25,0.5,1.0]",
        "patches_two_transfers": f"{STYLE} refine.transfers=2",
        "patches_constant_rate": f"{STYLE} refine.decay_learning_rate=false",
        "patches_pyramid": f"{STYLE} refine.parameters=pyramid",
        "last_steps_0": "refine.rendering_iterations=0",
        "last_steps_60": "refine.rendering_iterations=60",
        "last_step_2e-3": "refine.rendering_step=2e-3",
        "last_step_8e-3": "refine.rendering_step=8e-3",
        "silhouette_0": "render.silhouette_erosion=0",
        "silhouette_2_percent": "render.silhouette_erosion=0.02",
    },
    "fit": {
        "fit_0": "unwrap.fit_iterations=0",
        "fit_10": "unwrap.fit_iterations=10",
        "fit_60": "unwrap.fit_iterations=60",
        "cosines_low": "unwrap.full_cosine=0.35 unwrap.zero_cosine=0.15",
        "cosines_high": "unwrap.full_cosine=0.6 unwrap.zero_cosine=0.4",
        "erosion_0": "unwrap.erosion=0",
        "erosion_1": "unwrap.erosion=1",
    },
    # What style does to an initial texture that needs it: one without detail.
    "poor_content": {
        "smooth_fill": "completion.method=smooth",
        "smooth_fill_patches": f"completion.method=smooth {STYLE}",
        "smooth_fill_patches_4e-3": f"completion.method=smooth {STYLE} refine.style_step=4e-3",
    },
    "completion": {
        "not_relit": "completion.relight=false",
        "light_spread_0.1": "completion.light_spread=0.1",
        "light_spread_0.4": "completion.light_spread=0.4",
        "border_decay_8": "completion.border_decay=8",
        "border_decay_40": "completion.border_decay=40",
    },
}


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("-o", "--out", default="outputs/ablation")
    parser.add_argument("--size", default="256")
    parser.add_argument("--yaws", default="-45,65")
    every = {name: changes for group in VARIANTS.values() for name, changes in group.items()}
    parser.add_argument("--only", default=",".join(VARIANTS), help=f"groups ({', '.join(VARIANTS)}) or variants")
    given = parser.parse_args(argv)
    wanted = given.only.split(",")
    unknown = [name for name in wanted if name not in VARIANTS and name not in every]
    if unknown:
        raise ConfigError(f"--only names {unknown[0]}: allowed are {', '.join([*VARIANTS, *every])}")
    variants = {
        name: changes for each in wanted for name, changes in VARIANTS.get(each, {each: every.get(each)}).items()
    }
    arguments = [
        *given.inputs,
        "-o",
        given.out,
        "--size",
        given.size,
        f"--yaws={given.yaws}",
        "--baselines",
        "",
        "--baseline",
        "default",
    ]
    for name, changes in variants.items():
        arguments += ["--variant", f"{name} {changes}"]
    code = evaluate.main(arguments)
    summary = json.loads((Path(given.out) / "summary.json").read_text(encoding="utf-8"))
    write_text(Path(given.out) / "ablation.md", table(summary, variants))
    return code


def table(summary: dict, variants: dict[str, str]) -> str:
    """Markdown: the default's means, then each variant's difference, bold where better and italic where worse."""
    means = summary["reprojection"]["means"]["default"]
    shown = [measure for measure in SHOWN if measure in means]  # small pictures have no coarse patches
    arrows = {"higher": " ↑", "lower": " ↓", "": ""}
    titles = [MEASURES[measure].title + arrows[MEASURES[measure].better] for measure in shown]
    lines = ["| variant | settings | " + " | ".join(titles) + " |", "|---" * (len(shown) + 2) + "|"]
    lines.append("| default | | " + " | ".join(_number(measure, means[measure]["mean"]) for measure in shown) + " |")
    for name, changes in variants.items():
        found = summary["reprojection"]["differences"][name]
        cells = [_change(measure, Estimate(**found[measure])) for measure in shown]
        lines.append(f"| {name} | `{changes}` | " + " | ".join(cells) + " |")
    photos = means["unseen_psnr"]["count"]
    lines.append(
        f"\n{summary['views']} Means over {photos} photos, differences to the default paired by photo. Bold: better, "
        f"italic: worse, where the 95 % t interval is clear of 0 ({FEWEST} photos or more)."
    )
    return "\n".join(lines) + "\n"


def _number(measure: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.{MEASURES[measure].digits}f}"


def _change(measure: str, difference: Estimate) -> str:
    mark = {"better": "**", "worse": "*", "": ""}[verdict(measure, difference)]
    return f"{mark}{_number(measure, difference.mean, '+')}{mark}"


if __name__ == "__main__":
    run_main(lambda: main(sys.argv[1:]))
