"""Measures of textures: identities and values worked out by hand."""

import cv2
import numpy as np
import pytest
from skimage.color import rgb2lab

from evaluation import measures
from evaluation.reprojection import Regions
from pipeline.texture.scores import rendering_scores

HEIGHT, WIDTH = 120, 152


@pytest.fixture
def truth():
    noise = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
    image = 0.5 + 0.25 * cv2.GaussianBlur(noise, (0, 0), 1.5) + 0.3 * cv2.GaussianBlur(noise[::-1], (0, 0), 6)
    return np.clip(image, 0.1, 0.9)


@pytest.fixture
def right():
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[10:-10, 70:-12] = True
    return region


def regions(unseen):
    known = np.ones_like(unseen)
    return Regions(known, unseen, ~unseen, np.where(unseen, 0, 1).astype(np.float32))


def test_the_truth_itself_has_no_fault(truth, right):
    scores = measures.texture_scores(truth, truth, regions(right), seed=0)
    assert scores["unseen_psnr"] == scores["seen_psnr"] == measures.PERFECT_PSNR
    assert scores["unseen_ssim"] == pytest.approx(1) and scores["high_frequency_ratio"] == pytest.approx(1)
    nothing = ("unseen_ciede2000", "tint", "high_frequency_error", "patch_distance", "patch_distance_4", "seam")
    assert [scores[name] for name in nothing] == pytest.approx([0] * len(nothing), abs=1e-6)
    assert set(scores) < set(measures.MEASURES)


def test_psnr_by_hand(truth, right):
    spoilt = truth + np.where(right[..., None], 0.01, 0.5)
    assert measures.psnr(spoilt, truth, right) == pytest.approx(40)


def test_ciede2000_by_hand():
    """For greys CIEDE2000 is dL' / S_L, with S_L = 1 + 0.015 (L - 50)^2 / sqrt(20 + (L - 50)^2) at the mean L."""
    first, second = np.full((3, 5, 3), 0.4), np.full((3, 5, 3), 0.5)
    low, high = (rgb2lab(image)[0, 0, 0] for image in (first, second))
    middle = ((low + high) / 2 - 50) ** 2
    expected = (high - low) / (1 + 0.015 * middle / np.sqrt(20 + middle))
    region = np.ones((3, 5), bool)
    assert measures.ciede2000(first, second, region) == pytest.approx(expected, rel=1e-3)
    assert measures.ciede2000(second, first, region) == pytest.approx(expected, rel=1e-3)


def test_a_tint_is_of_the_mean(truth, right):
    shuffled = truth.copy()
    shuffled[right] = np.random.default_rng(0).permutation(truth[right])
    assert measures.tint(shuffled, truth, right) == pytest.approx(0, abs=1e-4)
    grey = np.full((3, 5, 3), 0.5)
    expected = np.linalg.norm(rgb2lab(grey + [0, 0.02, 0])[0, 0] - rgb2lab(grey)[0, 0])
    assert measures.tint(grey + [0, 0.02, 0], grey, np.ones((3, 5), bool)) == pytest.approx(expected)


def test_high_frequency_ratio_is_of_energies(truth, right):
    detail = np.where(np.indices((HEIGHT, WIDTH)).sum(0) % 2, 0.05, -0.05)[..., None].astype(np.float32)
    flat = np.full_like(truth, 0.5)
    assert measures.high_frequency_ratio(flat + 2 * detail, flat + detail, right, 0.5) == pytest.approx(4, rel=1e-3)
    assert measures.high_frequency_ratio(flat + detail + 0.2, flat + detail, right, 0.5) == pytest.approx(1, rel=1e-3)
    assert measures.high_frequency_ratio(cv2.GaussianBlur(truth, (0, 0), 1), truth, right, 0.5) < 0.7


def test_a_tint_of_the_region_is_no_detail(truth, right):
    """Its step is at the region's border, where the truth begins: neither frequencies nor fine bands see it."""
    tinted = truth + np.where(right[..., None], np.float32(0.1), 0)
    assert measures.high_frequency_ratio(tinted, truth, right, 0.5) == pytest.approx(1, abs=1e-4)
    fine, middle, low = measures.patch_distances(tinted, truth, right, seed=0)
    assert fine < 1e-3 and middle < 1e-3 and low > 10


def test_patch_distance_of_a_constant_shift(truth, right):
    """Each projection moves by shift * sum(direction); a constant has no middle or fine band."""
    found = measures.patch_distances(truth + np.float32(0.1), truth, np.ones_like(right), seed=3)
    directions = np.random.default_rng(0).normal(size=(measures.PATCH**2 * 3, 100000))
    directions /= np.linalg.norm(directions, axis=0)
    assert found[2] == pytest.approx(255 * 0.1 * np.abs(directions.sum(0)).mean(), rel=0.2)
    assert found[:2] == pytest.approx([0, 0], abs=1e-3)


def test_patch_distance_does_not_ask_where(truth):
    """The same patches in other places are no difference; other patches are."""
    everywhere = np.ones((HEIGHT, WIDTH), bool)
    rolled = measures.patch_distances(np.roll(truth, 40, axis=1), truth, everywhere, seed=0)
    blurred = measures.patch_distances(cv2.GaussianBlur(truth, (0, 0), 2), truth, everywhere, seed=0)
    assert rolled[0] < 0.2 * blurred[0] and rolled[1] < 0.5 * blurred[1]
    assert blurred == measures.patch_distances(cv2.GaussianBlur(truth, (0, 0), 2), truth, everywhere, seed=0)


def test_scales_too_small_for_patches_have_no_distance(truth):
    region = np.zeros((HEIGHT, WIDTH), bool)
    region[40:70, 40:70] = True
    assert measures.patch_distances(truth, truth, region, 0)[2] is None
    scores = measures.texture_scores(truth, truth, regions(region), 0)
    assert "patch_distance_1" in scores and "patch_distance_4" not in scores and "patch_distance" not in scores


def test_a_seam_is_measured_in_lab(right):
    truth = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
    tinted = truth + np.where(right[..., None], np.float32([0, 0.05, 0]), np.float32(0))
    step = np.linalg.norm(rgb2lab(tinted)[60, 100] - rgb2lab(truth)[60, 100])
    known = np.ones_like(right)
    assert measures.seam(tinted, truth, 1.0 - right, known, 0.25) == pytest.approx(step, rel=1e-3)
    # The truth's own step is none of the method's.
    assert measures.seam(tinted, tinted, 1.0 - right, known, 0.25) == pytest.approx(0, abs=1e-4)
    assert measures.seam(truth, tinted, 1.0 - right, known, 0.25) == pytest.approx(step, rel=1e-3)
    # A step elsewhere is no seam, nor is one where the truth is not known.
    assert measures.seam(tinted, truth, np.ones(right.shape), known, 0.25) is None
    assert measures.seam(tinted, truth, 1.0 - right, right, 0.25) is None


def test_a_gradual_border_is_watched_at_both_ends(truth):
    visibility = np.tile(np.clip((100 - np.arange(WIDTH)) / 60, 0, 1), (HEIGHT, 1)).astype(np.float32)
    known = np.ones((HEIGHT, WIDTH), bool)
    for column in (42, 70, 99):
        cracked = truth.copy()
        cracked[:, column:] += 0.05
        smooth = truth + 0.05 * (1 - visibility[..., None])
        assert measures.seam(cracked, truth, visibility, known, 0.25) > 3 * measures.seam(
            smooth, truth, visibility, known, 0.25
        )


def test_what_is_not_scored_does_not_count(truth, right):
    """Changes of seen texels leave the scores of unseen ones as they are."""
    fair, spoilt = truth.copy(), truth.copy()
    spoilt[:, :50] = 0
    first, second = (measures.texture_scores(image, truth, regions(right), 0) for image in (fair, spoilt))
    for name in first:
        if name.startswith(("unseen", "high", "patch")):
            assert first[name] == second[name]
    assert second["seen_psnr"] < 20


def test_ssim_of_a_part_is_that_of_the_whole(truth, right):
    """Cutting out the region's surroundings, for time, changes nothing."""
    noisy = np.clip(truth + 0.05 * np.random.default_rng(0).normal(size=truth.shape), 0, 1).astype(np.float32)
    whole = rendering_scores(noisy, truth, right)
    assert measures.image_scores(noisy, truth, right) == pytest.approx(whole)
