"""What each pixel of a photo shows: the person's skin, hair, glasses, something else before it, or background.

Beards, brows, moles, make-up, wrinkles, shadows and highlights are skin; so are eyes, lips and teeth. The channels of
pipeline.texture.evidence are combined by a small network of two rounds (data/label_weights.npz); the second round sees
the first one's results around a pixel and at its mirror point. A random walk (Grady 2006) from the pixels that are sure
to the others gives labels whose borders lie on the photo's edges.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from skimage.segmentation import random_walker

from external.setup import FOLDER as SETUP_FOLDER
from external.vgg16 import read_network
from external.wheel_pins import HED
from pipeline.reconstruction.folder import Reconstruction
from pipeline.reconstruction.images import as_float
from pipeline.reconstruction.painted import BACKGROUND, GLASSES, HAIR, OTHER, SKIN
from pipeline.reconstruction.witnesses import Witnesses
from pipeline.settings.schema import Config
from pipeline.texture.evidence import CHANNELS, SCALE, View, look, measure
from pipeline.texture.head_parts import disc
from style_transfer.features import VGG16Hypercolumns

WEIGHTS = Path(__file__).resolve().parents[2] / "data" / "label_weights.npz"

# Channels whose means around a pixel count too, within these millimetres.
AROUND = (
    "brightness", "red_blue", "green", "unlike", "fine_deviation", "middle_deviation", "thin_dark", "thin_bright",
    "thick_dark", "edge", "trunk_0", "trunk_1", "trunk_2", "trunk_away", "from_skin", "hand", "person",
)  # fmt: skip
REACHES = (2.0, 6.0, 16.0)
SECOND_REACHES = (1.0, 3.0, 8.0, 20.0)
SURE, WALK_BETA, WALK_SHARE = 0.9, 1000.0, 0.7  # of seeds; contrast of the walk; its share of the result
SPECK, HOLE = 40.0, 40.0  # square mm: smaller spots of anything but skin, or of skin, are none
LEAST_FRAME, FRAME_GAP = 30.0, 6.0  # mm: extent of the largest piece of a frame at least; pieces may be this far apart
HAIR_MARGIN = 4.0  # mm beside hair over which skin gains full weight: single hairs and their shadow lie there
THREADS = 2  # of torch, whatever the run has
FEATHER = 0.4  # mm, of the mask's edge where labels were painted
EDGE_RADIUS, EDGE_EPSILON = 1.0, 1e-3  # of the guided filter to the photo's size: mm, squared brightness


@dataclass(frozen=True)
class Labels:
    """The labels of a photo."""

    labels: np.ndarray  # uint8 [H, W]: SKIN, HAIR, GLASSES, OTHER or BACKGROUND
    skin: np.ndarray  # float32 [H, W], 0..1: how far a pixel shows skin


def labels_of(reconstruction: Reconstruction, config: Config) -> Labels | None:
    """The labels that a reconstruction's texture is made with: found, with what a person painted over them.

    None where hair is not excluded, or where nothing says what is before the face: the folder has neither witnesses nor
    a painted labels.png. Then its mask.png decides.
    """
    if not config.unwrap.exclude_hair or (reconstruction.witnesses is None and reconstruction.painted is None):
        return None
    found = None
    if reconstruction.witnesses is not None:
        photo = as_float(reconstruction.photo)
        found = label_photo(photo, reconstruction, reconstruction.witnesses, trunk(), config.detect.glasses)
    if reconstruction.painted is None:
        return found
    view = look(as_float(reconstruction.photo), reconstruction)
    pixels = 1.0 if view is None else SCALE * (view.window[2] - view.window[0]) / view.inside.shape[1]  # per mm
    return painted_over(found, reconstruction.painted, FEATHER * pixels)


def painted_over(found: Labels | None, painted: np.ndarray, feather: float) -> Labels:
    """Painted labels uint8 [H, W], which keep the soft edges of those found where both agree. feather: px."""
    shown = (painted == SKIN).astype(np.float32)
    hard = cv2.GaussianBlur(shown, (0, 0), max(feather, 0.3))
    if found is None:
        return Labels(painted, hard)
    changed = (painted != found.labels).astype(np.float32)
    weight = np.clip(2 * cv2.GaussianBlur(changed, (0, 0), max(2 * feather, 0.5)), 0, 1)
    weight = np.maximum(weight, changed)
    return Labels(painted, found.skin + weight * (hard - found.skin))


@cache
def trunk() -> VGG16Hypercolumns | None:
    """HED's trunk, as the set-up made it; None without it."""
    path = SETUP_FOLDER / HED.makes.path
    return VGG16Hypercolumns(**read_network(path)) if path.is_file() else None


def label_photo(
    photo: np.ndarray,  # [H, W, 3] float, 0..1
    reconstruction: Reconstruction,
    witnesses: Witnesses | None,
    features: VGG16Hypercolumns | None,
    glasses: Literal["remove", "keep"] = "remove",
) -> Labels:
    """Labels every pixel; all are skin where too little of the face is seen to tell.

    features: HED's trunk; None where its weights are missing, which costs accuracy. glasses: with `keep` they are skin.
    """
    height, width = photo.shape[:2]
    view = look(photo, reconstruction)
    with _threads(THREADS):
        channels = None if view is None else measure(view, features, witnesses)
        if channels is None:
            return Labels(np.full((height, width), SKIN, np.uint8), np.ones((height, width), np.float32))
        shares = pixel_shares(view, channels)
    shares = _cleaned(view, _walked(view, shares))
    if glasses == "keep":
        shares[..., SKIN] += shares[..., GLASSES]
        shares[..., GLASSES] = 0
    return _in_photo(view, photo, shares, None if witnesses is None else witnesses.person_in(width, height))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Runs torch with this many threads, as the last bits of its products, and so a label here and there, depend on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def pixel_shares(view: View, channels: dict[str, np.ndarray]) -> np.ndarray:
    """The share [h, w, 5] float32 of each label on the view's grid: the networks' mean. channels: of `measure`."""
    inputs = first_inputs(channels)
    found = [second(second_inputs(view, inputs, first(inputs))) for first, second in _networks()]
    return np.mean(found, axis=0, dtype=np.float32)


def first_inputs(channels: dict[str, np.ndarray]) -> np.ndarray:
    """Inputs [h, w, C] float32 of the first round: the channels, and means of some around each pixel."""
    chosen = np.stack([channels[name] for name in AROUND], -1)
    means = [_mean(chosen, reach) for reach in REACHES]
    return np.concatenate([np.stack([channels[name] for name in CHANNELS], -1), *means], -1).astype(np.float32)


def second_inputs(view: View, inputs: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Inputs [h, w, D] float32 of the second round: the first's, and its shares here, around and mirrored."""
    means = [_mean(shares, reach) for reach in SECOND_REACHES]
    mirrored = np.where(view.twin_seen[..., None] > 0.5, view.of_twin(shares[..., :4]), 0.25)
    return np.concatenate([inputs, shares, *means, mirrored], -1).astype(np.float32)


@dataclass(frozen=True)
class Perceptron:
    """A network of fully connected layers with ReLU between them, applied to each pixel."""

    mean: np.ndarray  # [C]
    spread: np.ndarray  # [C]
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # weights [out, in] and biases [out]

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Shares [h, w, K], which sum to 1, of inputs [h, w, C]."""
        values = torch.from_numpy(np.ascontiguousarray(inputs, np.float32)).flatten(0, 1)
        mean, spread = (torch.from_numpy(np.asarray(array, np.float32)) for array in (self.mean, self.spread))
        values = ((values - mean) / spread).clamp_(-5, 5)
        for k, (weights, biases) in enumerate(self.layers):
            weights, biases = (torch.from_numpy(np.asarray(array, np.float32)) for array in (weights, biases))
            values = torch.addmm(biases, values, weights.T)
            if k < len(self.layers) - 1:
                values = values.relu_()
        return torch.softmax(values, 1).reshape(*inputs.shape[:2], -1).numpy()


@cache
def _networks() -> list[tuple[Perceptron, Perceptron]]:
    """The two rounds of each member."""
    with np.load(WEIGHTS, allow_pickle=False) as archive:
        arrays = {key: archive[key].astype(np.float32) for key in archive}

    def network(name: str) -> Perceptron:
        count = sum(key.startswith(f"{name}_weights") for key in arrays)
        layers = tuple((arrays[f"{name}_weights{k}"], arrays[f"{name}_biases{k}"]) for k in range(count))
        return Perceptron(arrays[f"{name}_mean"], arrays[f"{name}_spread"], layers)

    members = sum(key.endswith("first_mean") for key in arrays)
    return [(network(f"{member}_first"), network(f"{member}_second")) for member in range(members)]


def _mean(image: np.ndarray, reach: float) -> np.ndarray:
    """Gaussian means [h, w, C] of an image [h, w, C]. reach: mm."""
    parts = [np.ascontiguousarray(image[..., k : k + 4], np.float32) for k in range(0, image.shape[-1], 4)]
    if reach * SCALE >= 4:  # a wide Gaussian is accurate enough on a smaller grid
        size, small = image.shape[1::-1], tuple(max(side // 4, 1) for side in image.shape[1::-1])
        shrunk = (cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in parts)
        wide = (cv2.GaussianBlur(part, (0, 0), reach * SCALE / 4) for part in shrunk)
        parts = [cv2.resize(part, size, interpolation=cv2.INTER_LINEAR) for part in wide]
    else:
        parts = [cv2.GaussianBlur(part, (0, 0), reach * SCALE) for part in parts]
    return np.concatenate([np.atleast_3d(part) for part in parts], -1)


def _walked(view: View, shares: np.ndarray) -> np.ndarray:
    """Shares [h, w, 5]; pixels that are not sure follow, by a random walk, sure ones that no edge parts them from."""
    best = shares.argmax(-1)
    seeds = np.where(shares.max(-1) > SURE, best + 1, 0)
    present = np.unique(seeds[seeds > 0])
    if len(present) < 2 or (seeds > 0).all():
        return shares
    numbers = np.zeros(6, np.int32)
    numbers[present] = np.arange(1, len(present) + 1)
    logs = np.log(view.image + 0.04)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of shares a little beyond 0..1, which do no harm
        found = random_walker(
            logs, numbers[seeds], beta=WALK_BETA, mode="cg_j", tol=1e-2, channel_axis=-1, return_full_prob=True
        )
    walked = np.zeros_like(shares)
    walked[..., present - 1] = np.clip(np.moveaxis(found, 0, -1), 0, 1)
    walked /= np.maximum(walked.sum(-1, keepdims=True), 1e-6)
    return WALK_SHARE * walked + (1 - WALK_SHARE) * shares


def _cleaned(view: View, shares: np.ndarray) -> np.ndarray:
    """Shares [h, w, 5] without specks: spots too small for anything before a face are skin, small spots of skin within
    such things are none, and glasses without a frame are skin."""
    result = shares.copy()
    glasses = _decided(shares) == GLASSES
    frame = _frame(glasses)
    near_frame = cv2.dilate(frame.astype(np.uint8), disc(FRAME_GAP * SCALE)) > 0
    rim = view.inside & (cv2.erode(view.inside.astype(np.uint8), np.ones((3, 3)), borderValue=0) == 0)
    specks = _small(view.inside & (_decided(shares) != SKIN), SPECK, rim, connectivity=8)
    result[np.where(glasses, ~near_frame, specks)] = np.eye(5, dtype=np.float32)[SKIN]
    holes = _small(view.inside & (_decided(result) == SKIN), HOLE, None, connectivity=4) & ~near_frame
    result[holes, SKIN] = 0
    result[holes] /= np.maximum(result[holes].sum(1, keepdims=True), 1e-6)
    return result


def _frame(glasses: np.ndarray) -> np.ndarray:
    """The pieces of glasses [h, w] bool that are long enough for a part of a frame, or for a lens."""
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(glasses.astype(np.uint8), connectivity=8)
    extent = np.hypot(statistics[:, cv2.CC_STAT_WIDTH], statistics[:, cv2.CC_STAT_HEIGHT]) / SCALE
    return glasses & (extent[pieces] >= LEAST_FRAME)


def _small(area: np.ndarray, limit: float, sparing: np.ndarray | None, connectivity: int) -> np.ndarray:
    """The pieces of an area [h, w] bool of less than `limit` square mm, but for those that meet `sparing`."""
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(area.astype(np.uint8), connectivity=connectivity)
    small = statistics[:, cv2.CC_STAT_AREA] < limit * SCALE**2
    if sparing is not None:
        small[pieces[sparing]] = False
    return area & small[pieces]


def _in_photo(view: View, photo: np.ndarray, shares: np.ndarray, person: np.ndarray | None) -> Labels:
    """Labels of the photo [H, W, 3] from shares [h, w, 5] on the view's grid. person: [H, W], 0..1, or None."""
    left, top, right, bottom = view.window
    size = (right - left, bottom - top)
    guide = np.ascontiguousarray(photo[top:bottom, left:right], np.float32)
    ratio = size[0] / shares.shape[1]
    fine = cv2.resize(shares[..., :4], size, interpolation=cv2.INTER_LINEAR)
    fine = np.dstack([fine, cv2.resize(shares[..., 4], size, interpolation=cv2.INTER_LINEAR)])
    if ratio > 1:
        radius = max(round(EDGE_RADIUS * SCALE * ratio), 1)
        fine = np.clip(cv2.ximgproc.guidedFilter(guide.mean(-1), fine, radius, EDGE_EPSILON), 0, 1)
    labels = np.full(photo.shape[:2], BACKGROUND, np.uint8)
    if person is not None:
        labels[person > 0.5] = OTHER
    skin = np.zeros(photo.shape[:2], np.float32)
    window = np.s_[top:bottom, left:right]
    labels[window] = _decided(fine)
    away = cv2.distanceTransform((labels[window] != HAIR).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    skin[window] = fine[..., SKIN] * (0.5 + 0.5 * np.clip(away / (HAIR_MARGIN * SCALE * ratio), 0, 1))
    return Labels(labels, skin)


def _decided(shares: np.ndarray) -> np.ndarray:
    """The label uint8 [H, W] of shares [H, W, 5]: skin from half on, else the largest of the others."""
    return np.where(shares[..., SKIN] >= 0.5, SKIN, 1 + shares[..., 1:].argmax(-1)).astype(np.uint8)
