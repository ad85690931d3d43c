"""The command line of evaluate.py."""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.runs.machine import processors
from pipeline.settings.command_line import Parser, split_overrides
from pipeline.settings.errors import ConfigError
from pipeline.settings.loading import config_name, describe, load_config
from pipeline.settings.schema import Config

DEFAULT_SIZE, QUICK_SIZE = 512, 256  # of a face mask's texture
HEAD_SCALE = 2  # a head's texture has about the texels on the face that a face mask's of half its size has
DEFAULT_YAWS, QUICK_YAWS = "-65,-45,45,65", "-45,65"
BASELINES = ("nearest_fill", "mirror_fill", "completion", "completion_rendering", "published")
DEFAULT_BASELINE = "completion_rendering"  # that differences are taken to
DEFECT_PREFIX = "defect_"  # of methods that plant one
OCCLUDER_KINDS = ("fringe", "hat", "glasses", "sunglasses", "hand", "microphone")
MOST_DRAWS = 100
LARGEST_YAW = 90.0
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_TAKEN = ("truth", "known", "picture")

EXPLANATION = """Scores of textures, above all on skin the photo does not show, in one command.

From each near-frontal photo the texture of what it surely shows is the truth. Rendered from the side, it is a photo
with known geometry and known truth: every config and baseline completes that picture alone and is compared with it.
Also scored: the photo's own view, complete UV textures where there are any (--truth), and other programs' textures.

Inputs are photos, folders of photos, reconstruction folders, or a folder of results of ./run.sh."""


@dataclass(frozen=True)
class EvaluationArguments:
    inputs: list[str]  # empty: the sample photos
    out: Path
    configs: dict[str, Config]  # by the method's name, in order, at the size of the evaluation unless own_size
    baselines: list[str]
    textures: dict[str, Path]
    baseline: str  # that differences are taken to
    yaws: list[float]
    size: int
    truth: str
    jobs: int
    defects: bool
    occluders: bool  # score masks instead of views
    kinds: list[str]  # of what is drawn
    draws: int  # of each kind over each photo
    arcface: str  # file of weights, or ""
    lpips: str  # file of weights or its folder, or ""
    dry_run: bool

    @property
    def first(self) -> Config:
        """The config that decides on what all methods share."""
        return next(iter(self.configs.values()))


def parse(argv: Sequence[str]) -> EvaluationArguments:
    """EvaluationArguments from a command line. Leaves for --help and wrong use (exit code 2). Raises ConfigError."""
    parser = Parser(
        prog="evaluate.py",
        description=EXPLANATION,
        usage="%(prog)s [PHOTO | FOLDER]... [-o OUT] [-c CONFIG]... [key=value ...]",
        epilog="settings (key=default, given as key=value for all configs):\n" + describe(),
    )
    add = parser.add_argument
    add("inputs", nargs="*", metavar="PHOTO | FOLDER", help="without any, two sample faces")
    add("-o", "--out", metavar="OUT", help="folder of the results (default: outputs/evaluation, with --quick -quick)")
    add("-c", "--config", metavar="CONFIG", action="append", help="YAML file or name; repeatable (default: default)")
    add("--variant", metavar="'NAME key=value ...'", action="append", default=[],
        help="the first config with changes, under a name; repeatable")  # fmt: skip
    add("--textures", metavar="NAME=DIR", action="append", default=[],
        help="finished textures: DIR/<photo>_yaw+45.png for OUT/views/<photo>/yaw+45/picture, <photo>.png")  # fmt: skip
    add("--truth", metavar="DIR", default="", help="complete UV textures, matched with the photos by file stem")
    add("--baselines", metavar="NAME,...", help=f"of {', '.join(BASELINES)}; none with ''")
    add("--baseline", metavar="NAME", help=f"what differences are taken to (default: {DEFAULT_BASELINE})")
    add("--yaws", metavar="DEGREES,...",
        help=f"of the pictures; --yaws={DEFAULT_YAWS} is the default; none with --yaws=")  # fmt: skip
    add("--size", type=int, metavar="TEXELS", help="of truth, textures and pictures (default: "
        f"{HEAD_SCALE * DEFAULT_SIZE} where reconstruct.system makes heads, else {DEFAULT_SIZE})")  # fmt: skip
    add("--own-size", action="store_true",
        help="configs keep their own texture_size; results are resampled for scoring")  # fmt: skip
    add("--quick", action="store_true", help="half of the default size, two yaws, without the published choices")
    add("--defects", action="store_true", help="also plant defects; exit code 1 where no measure sees one")
    add("--occluders", action="store_true",
        help="instead: draw things over the photos, and score what is masked and completed")  # fmt: skip
    add("--kinds", metavar="KIND,...", default=",".join(OCCLUDER_KINDS), help="of --occluders (default: %(default)s)")
    add("--draws", type=int, metavar="N", default=1, help="of each kind over each photo (default: 1)")
    add("--arcface", metavar="FILE", default="", help="ArcFace weights (backbone.pth) for a second identity score")
    add("--lpips", metavar="FILE", default="",
        help="AlexNet's weights, alexnet-owt-7be5be79.pth, or their folder, for LPIPS")  # fmt: skip
    add("--jobs", type=int, metavar="N", help="processes at once (default: jobs=N, else one for each processor)")
    add("--dry-run", action="store_true", help="print what would be done, and stop")
    given = parser.parse_intermixed_args(argv)

    paths, overrides = split_overrides(given.inputs)
    configs = _configs(given.config or ["default"], given.variant, overrides)
    makes_heads = next(iter(configs.values())).reconstruct.system in ("auto", "head")
    size = (QUICK_SIZE if given.quick else DEFAULT_SIZE) * (HEAD_SCALE if makes_heads else 1)
    size = size if given.size is None else given.size
    if not 64 <= size <= 8192:
        raise ConfigError(f"--size is {size}, allowed is 64 to 8192")
    if not given.own_size:
        configs = {name: config.changed(texture_size=size) for name, config in configs.items()}
    baselines = _baselines(given.baselines, BASELINES[:-1] if given.quick else BASELINES)
    textures = [_texture_folder(text) for text in given.textures]
    if given.defects and "completion" not in baselines:
        raise ConfigError("--defects are planted in the completion: add completion to --baselines")
    names = [*baselines, *configs, *(name for name, _ in textures)]
    for name in names:
        if names.count(name) > 1 or name in _TAKEN or name.startswith(DEFECT_PREFIX):
            raise ConfigError(f"the name {name} is given to two methods or taken: give another")
    yaws = _yaws((QUICK_YAWS if given.quick else DEFAULT_YAWS) if given.yaws is None else given.yaws)
    baseline = given.baseline or (DEFAULT_BASELINE if DEFAULT_BASELINE in names else names[0])
    if baseline not in names:
        raise ConfigError(f"--baseline is {baseline}, which is not compared: allowed are {', '.join(names)}")
    if given.truth and not Path(given.truth).is_dir():
        raise ConfigError(f"--truth is {given.truth}, which is no folder")
    for option, path in (("--arcface", given.arcface), ("--lpips", given.lpips)):
        if path and not Path(path).exists():
            raise ConfigError(f"{option} is {path}, which does not exist")
    kinds = [kind.strip() for kind in given.kinds.split(",") if kind.strip()]
    for kind in kinds or [""]:
        if kind not in OCCLUDER_KINDS:
            raise ConfigError(f"--kinds holds {kind!r}, allowed are {', '.join(OCCLUDER_KINDS)}")
    if not 1 <= given.draws <= MOST_DRAWS:
        raise ConfigError(f"--draws is {given.draws}, allowed is 1 to {MOST_DRAWS}")
    if given.occluders and given.defects:
        raise ConfigError("--occluders and --defects score different things: give one of them")
    jobs = given.jobs if given.jobs is not None else next(iter(configs.values())).jobs or processors()
    if jobs < 1:
        raise ConfigError(f"--jobs is {jobs}, allowed is 1 or more")
    return EvaluationArguments(
        paths,
        Path(given.out) if given.out else Path("outputs") / ("evaluation-quick" if given.quick else "evaluation"),
        configs, baselines, dict(textures), baseline, yaws, size, given.truth, jobs, given.defects,
        given.occluders, list(dict.fromkeys(kinds)), given.draws, given.arcface, given.lpips, given.dry_run,
    )  # fmt: skip


def _configs(names: Sequence[str], variants: Sequence[str], overrides: Sequence[str]) -> dict[str, Config]:
    configs = {}
    for given in names:
        name = config_name(given)
        if name in configs:
            raise ConfigError(f"two configs are called {name}: rename one of the files")
        configs[_checked(name)] = load_config(given, overrides)
    for text in variants:
        try:
            name, *changes = shlex.split(text)
        except ValueError:
            name, changes = "", []
        if not name or not changes:
            raise ConfigError(f"--variant is {text!r}, needed is a name and changes: 'no_style refine.style_weight=0'")
        if name in configs:
            raise ConfigError(f"--variant: the name {name} is given twice")
        configs[_checked(name)] = load_config(names[0], [*overrides, *changes])
    return configs


def _baselines(text: str | None, default: Sequence[str]) -> list[str]:
    if text is None:
        return list(default)
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in BASELINES:
            raise ConfigError(f"--baselines: there is no {name}, allowed are {', '.join(BASELINES)}")
    return names


def _texture_folder(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    if not separator or not Path(folder).is_dir():
        raise ConfigError(f"--textures is {text!r}, needed is NAME=DIR with a folder of images")
    return _checked(name), Path(folder)


def _yaws(text: str) -> list[float]:
    yaws = []
    for part in filter(None, text.split(",")):
        try:
            yaw = float(part)
        except ValueError:
            yaw = math.nan
        if not abs(yaw) <= LARGEST_YAW or yaw == 0:
            allowed = f"degrees from -{LARGEST_YAW:g} to {LARGEST_YAW:g}, not 0"
            raise ConfigError(f"--yaws holds {part!r}, allowed are {allowed}")
        yaws.append(yaw)
    return list(dict.fromkeys(yaws))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} cannot name a method: use letters, digits, _ . + -")
    return name
