"""The refined texture I_X: optimised to match the photo when rendered and to have the style of the sampled texture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.texture.comparison import PhotoComparison, optimise
from pipeline.texture.initial import Initial
from pipeline.texture.sampled import Sampled
from style_transfer.features import PatchFeatures, VGG16Hypercolumns
from style_transfer.settings import RefineSettings


@dataclass(frozen=True)
class Refined:
    texture: np.ndarray  # I_X [H, W, 3] float32, 0..1, extended beyond the islands
    notes: list[str]  # messages of the optimisation, one line each


def refine(
    initial: Initial,
    sampled: Sampled,
    comparison: PhotoComparison,
    features: VGG16Hypercolumns | PatchFeatures | None,
    settings: RefineSettings,
    seed: int,
    steps: Callable[[int, int, dict[str, float]], None] | None = None,
) -> Refined:
    """I_X from I_C and I_S (FaceRefiner, section 3).

    features: None: rendering loss only. steps(done, total, losses): progress. Raises DivergedError.
    """
    texture, result = optimise(
        comparison, initial.texture, sampled.texture, sampled.visibility, sampled.mask, initial.goal,
        features, settings, seed, steps,
    )  # fmt: skip
    if sampled.scalp is not None and "given" not in initial.provenance:
        made = sampled.scalp.hair * (1 - sampled.visibility)  # the style of skin would change it
        texture = texture + made[..., None] * (initial.texture - texture)
    if sampled.head is not None and "given" not in initial.provenance:
        texture = sampled.head.without_seam(texture, sampled.visibility)  # the style changes both sides of the seam
    return Refined(sampled.extended(texture), [*initial.notes, *result.notes])
