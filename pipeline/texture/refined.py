"""The refined texture I_X: the initial one, optimised so that it renders to the photo and has the style of what it shows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.texture.comparison import PhotoComparison, optimise
from pipeline.texture.initial import Initial
from pipeline.texture.sampled import Sampled
from renderer.dilate import dilate
from style_transfer.settings import RefineSettings


@dataclass(frozen=True)
class Refined:
    texture: np.ndarray  # I_X [H, W, 3] float32, 0..1, continued past the islands
    notes: list[str]  # what the optimisation reports, a line each


def refine(
    initial: Initial,
    sampled: Sampled,
    comparison: PhotoComparison,
    features: object | None,
    settings: RefineSettings,
    seed: int,
    steps: Callable | None = None,
) -> Refined:
    """I_X from I_C and I_S (FaceRefiner, section 3).

    features: extractor of `style_transfer.features`; None: rendering loss only. steps(done, total, losses): progress.
    Raises DivergedError.
    """
    texture, result = optimise(
        comparison, initial.texture, sampled.texture, sampled.visibility, sampled.mask, initial.goal, features, settings,
        seed, steps,
    )  # fmt: skip
    return Refined(dilate(texture, sampled.mask), result.notes)
