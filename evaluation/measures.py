"""Scores of one texture against the truth. Lengths are in texels of a 512 texture and grow with the texture.

In all of them image (or texture) and truth are [H, W, 3] float32, 0..1, region is [H, W] bool and not empty, and unit
is a texel of a 512 texture in texels of this one.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from skimage.color import deltaE_ciede2000, rgb2lab
from skimage.segmentation import find_boundaries

from evaluation.reprojection import Regions
from pipeline.texture.scores import rendering_scores

VERSION = "4"  # of what is computed here; raised when the same textures score differently
REFERENCE_TEXTURE = 512
PERFECT_PSNR = 100.0  # dB given to an image without error
FINE = 2.0  # sigma of the blur above which energy is high-frequency
STRIP = 2.0  # sigma of the strips to either side of a border, at least one texel
CONTOURS = (0.02, 0.5, 0.98)  # of visibility: where a fill may begin, and in between
PATCH = 7
BAND_REACHES = (4, 5, 2)  # texels of its level that a value of each band looks to either side
PATCHES = 4096
DIRECTIONS = 128
FEWEST_PATCHES = 64


@dataclass(frozen=True)
class Measure:
    title: str
    better: str  # higher, lower, or "" where neither is
    digits: int


OF_UNSEEN = {
    "unseen_psnr": Measure("PSNR (dB)", "higher", 2),
    "unseen_ssim": Measure("SSIM", "higher", 4),
    "unseen_ciede2000": Measure("CIEDE2000", "lower", 3),
    "tint": Measure("tint (CIELAB)", "lower", 3),
    "high_frequency_ratio": Measure("high-frequency energy / truth's", "", 3),
    "high_frequency_error": Measure("abs log2 of that ratio", "lower", 3),
    "patch_distance": Measure("patch distance", "lower", 3),
    "patch_distance_1": Measure("patch distance, fine", "lower", 3),
    "patch_distance_2": Measure("patch distance, middle", "lower", 3),
    "patch_distance_4": Measure("patch distance, coarse", "lower", 3),
    "seam": Measure("seam (CIELAB)", "lower", 3),
    "unseen_lpips": Measure("LPIPS", "lower", 4),
}


def _of_picture(name: str, title: str = "") -> dict[str, Measure]:
    """Measures of a rendering. name, title: what they and their titles begin with."""
    return {
        f"{name}_psnr": Measure(f"{title}PSNR (dB)", "higher", 2),
        f"{name}_ssim": Measure(f"{title}SSIM", "higher", 4),
        f"{name}_identity": Measure(f"{title}identity distance (dlib)", "lower", 4),
        f"{name}_arcface": Measure(f"{title}identity similarity (ArcFace)", "higher", 4),
        f"{name}_lpips": Measure(f"{title}LPIPS", "lower", 4),
    }


OF_OTHER_SIDES = {"seen_psnr": Measure("seen PSNR (dB)", "higher", 2)}
OF_OTHER_SIDES |= _of_picture("frontal", "frontal ") | _of_picture("opposite", "opposite side ")
# On the face that face mask and head share, in the layout and from the angles of the face mask: see evaluation/shared.py.
SHARED = "shared_"
OF_SHARED = {
    SHARED + name: replace(measure, title=f"shared {measure.title}")
    for name, measure in (OF_UNSEEN | {"seen_psnr": OF_OTHER_SIDES["seen_psnr"]} | _of_picture("opposite", "opposite side ")).items()
    if name != "unseen_lpips"
}
OF_UV = {"uv_psnr": Measure("UV PSNR (dB)", "higher", 2), "uv_ssim": Measure("UV SSIM", "higher", 4)}
OF_SHARED_PHOTO = {
    f"shared_photo_{name}": replace(measure, title=f"shared {measure.title}")
    for name, measure in (("psnr", Measure("PSNR (dB)", "higher", 2)), ("ssim", Measure("SSIM", "higher", 4)))
}
OF_PHOTO = _of_picture("photo") | OF_SHARED_PHOTO | OF_UV
MEASURES = OF_UNSEEN | OF_OTHER_SIDES | OF_SHARED | OF_PHOTO | {"seconds": Measure("seconds", "lower", 1)}


def texture_scores(texture: np.ndarray, truth: np.ndarray, regions: Regions, seed: int) -> dict[str, float]:
    """All scores of a texture against T*, by name in MEASURES; a measure that has nothing to measure is missing."""
    texture, truth = (np.asarray(image, np.float32) for image in (texture, truth))
    unit = truth.shape[0] / REFERENCE_TEXTURE
    scores = {"seam": seam(texture, truth, regions.visibility, regions.known, unit)}
    if regions.seen.any():
        scores["seen_psnr"] = psnr(texture, truth, regions.seen)
    if regions.unseen.any():
        # What lies beside the unseen texels must not count: there the truth stands in both.
        composed = np.where(regions.unseen[..., None], texture, truth)
        ratio = high_frequency_ratio(composed, truth, regions.unseen, unit)
        distances = patch_distances(composed, truth, regions.unseen, seed)
        scores |= {f"unseen_{name}": value for name, value in image_scores(composed, truth, regions.unseen).items()}
        scores |= {
            "unseen_ciede2000": ciede2000(texture, truth, regions.unseen),
            "tint": tint(texture, truth, regions.unseen),
            "high_frequency_ratio": ratio,
            "high_frequency_error": abs(float(np.log2(max(ratio, 1e-6)))),
            **{f"patch_distance_{2**level}": distance for level, distance in enumerate(distances)},
            "patch_distance": None if None in distances else float(np.mean(distances)),
        }
    return {name: value for name, value in scores.items() if value is not None}


def psnr(image: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over a region [H, W] bool; 100 where there is no error."""
    error = np.mean((image[region].astype(np.float64) - truth[region]) ** 2)
    return float(min(-10 * np.log10(max(error, 1e-12)), PERFECT_PSNR))


def image_scores(image: np.ndarray, truth: np.ndarray, region: np.ndarray) -> dict[str, float | None]:
    """PSNR and SSIM (`pipeline.texture.scores.rendering_scores`) over a region [H, W] bool that is not empty."""
    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    # Beyond the windows' reach nothing matters; SSIM is slow on large images.
    part = slice(max(rows[0] - 8, 0), rows[-1] + 9), slice(max(columns[0] - 8, 0), columns[-1] + 9)
    ssim = rendering_scores(image[part], truth[part], region[part])["ssim"]
    return {"psnr": psnr(image, truth, region), "ssim": ssim}


def ciede2000(image: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Mean colour difference CIEDE2000 (CIE 142-2001) over a region [H, W] bool; sRGB colours, white D65."""
    return float(deltaE_ciede2000(rgb2lab(image[region]), rgb2lab(truth[region])).mean())


def tint(image: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Length of the difference of the region's mean colours in CIELAB."""
    return float(np.linalg.norm(rgb2lab(image[region]).mean(0) - rgb2lab(truth[region]).mean(0)))


def high_frequency_ratio(image: np.ndarray, truth: np.ndarray, region: np.ndarray, unit: float) -> float:
    """Energy of the brightness above a Gaussian's frequencies, over the region, divided by the truth's. 1 is right.

    The Gaussian's mean is over the region alone: a step at its border, as a wrong tint makes one, is no fine detail.
    """
    inside = region.astype(np.float32)
    weights = cv2.GaussianBlur(inside, (0, 0), FINE * unit)[region]
    energies = []
    for picture in (image, truth):
        grey = picture.mean(-1)
        low = cv2.GaussianBlur(grey * inside, (0, 0), FINE * unit)[region] / weights
        energies.append(np.mean((grey[region] - low).astype(np.float64) ** 2))
    return float(energies[0] / max(energies[1], 1e-12))


def patch_distances(image: np.ndarray, truth: np.ndarray, region: np.ndarray, seed: int) -> list[float | None]:
    """Sliced Wasserstein distances between the region's 7 x 7 patches and the truth's at three scales, in 1/255.

    The scales are levels of a Laplacian pyramid: fine and middle band, and the low-pass rest (Karras et al. 2018,
    "Progressive Growing of GANs", section 5; there normalised per channel, which would hide a tint). At each one up to
    4096 patches, at the same places in both, are projected on 128 random directions; the distance is the mean of the
    absolute differences of the sorted projections. None for a scale with fewer than 64 patches.
    """
    generator = np.random.default_rng(seed)
    found = []
    levels = zip(_bands(image), _bands(truth), _places(region), strict=True)
    for level, (*bands, places) in enumerate(levels):
        rows, columns = np.nonzero(places)
        directions = generator.normal(size=(PATCH * PATCH * 3, DIRECTIONS))
        directions /= np.linalg.norm(directions, axis=0)
        if len(rows) < FEWEST_PATCHES >> level:
            found.append(None)
            continue
        chosen = generator.choice(len(rows), min(PATCHES, len(rows)), replace=False)
        projected = [np.sort(_patches(band, rows[chosen], columns[chosen]) @ directions, axis=0) for band in bands]
        found.append(float(255 * np.abs(projected[0] - projected[1]).mean()))
    return found


def seam(
    texture: np.ndarray, truth: np.ndarray, visibility: np.ndarray, known: np.ndarray, unit: float
) -> float | None:
    """Colour step along the border of seen and unseen texels, held against the truth's own step there, in CIELAB units.

    To either side of a contour of the visibility the colours are averaged over a strip (Gaussian); the step between the
    two, less the truth's, is averaged as a length along the contour, and over three contours, as a fill may begin at
    either end of the ramp. None where no contour runs through known texels.
    """
    sigma = max(STRIP * unit, 1.0)
    images = [rgb2lab(image).astype(np.float32) for image in (texture, truth)]
    steps = []
    for level in CONTOURS:
        inside, outside = ((side & known).astype(np.float32) for side in (visibility > level, visibility <= level))
        weights = [cv2.GaussianBlur(side, (0, 0), sigma) for side in (inside, outside)]
        edge = find_boundaries(visibility > level) & known & (weights[0] > 0.1) & (weights[1] > 0.1)
        if not edge.any():
            continue
        step = []
        for image in images:
            means = [
                cv2.GaussianBlur(image * side[..., None], (0, 0), sigma)[edge] / weight[edge][:, None]
                for side, weight in zip((inside, outside), weights, strict=True)
            ]
            step.append(means[0] - means[1])
        steps.append(np.linalg.norm(step[0] - step[1], axis=1).mean())
    return float(np.mean(steps)) if steps else None


def _bands(image: np.ndarray) -> list[np.ndarray]:
    """Laplacian levels of an image: fine, middle, and the low-pass rest."""
    bands = []
    for _ in range(2):
        small = cv2.pyrDown(image)
        bands.append(image - cv2.pyrUp(small, dstsize=image.shape[1::-1]))
        image = small
    return [*bands, image]


def _places(region: np.ndarray) -> list[np.ndarray]:
    """For each level, where [h, w] a whole patch, with what its band looks at, lies in the region."""
    places = []
    share = region.astype(np.float32)
    for reach in BAND_REACHES:
        window = np.ones((2 * (PATCH // 2 + reach) + 1,) * 2)
        places.append(cv2.erode((share > 0.999).astype(np.uint8), window, borderValue=0) > 0)
        height, width = share.shape
        share = cv2.resize(share, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    return places


def _patches(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Patches [N, 147] centred at rows, columns [N]."""
    reach = np.arange(PATCH) - PATCH // 2
    return image[rows[:, None, None] + reach[:, None], columns[:, None, None] + reach].reshape(len(rows), -1)
