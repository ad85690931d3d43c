"""Identity by dlib on the sample photos, and LPIPS with made-up weights."""

from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.models import alexnet

from evaluation import identity, perceptual
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos
from pipeline.settings.errors import ConfigError


@pytest.fixture(scope="module")
def faces():
    """Photo and points of each of the two sample faces."""
    photos = [read_photo(photo.path) for photo in sample_photos()]
    return [(photo, identity.dlib_points(photo)) for photo in photos]


def test_points_lie_on_the_face(faces):
    _, points = faces[0]  # astronaut: the face is in the upper middle
    assert points.shape == (5, 2) and (points > [150, 50]).all() and (points < [300, 200]).all()
    assert points[4, 1] > points[:4, 1].max()  # the nose is below the eyes
    assert identity.dlib_points(np.full((90, 120, 3), 128, np.uint8)) is None


def test_people_are_told_apart(faces):
    (first, first_points), (second, second_points) = faces
    own = identity.dlib_embedding(first, first_points)
    assert np.linalg.norm(own - identity.dlib_embedding(first, first_points)) == 0
    darker = (first * 0.8).astype(np.uint8)
    other = np.linalg.norm(own - identity.dlib_embedding(second, second_points))
    assert np.linalg.norm(own - identity.dlib_embedding(darker, first_points)) < 0.3
    assert other > 0.6


# ---- LPIPS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file in the form of the published one, with made-up convolutions; the unused classifier takes no room."""
    folder = tmp_path_factory.mktemp("alexnet")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = alexnet().state_dict()
    small = {name: torch.zeros(1).expand(value.shape) for name, value in state.items() if name.startswith("classifier")}
    torch.save(state | small, folder / perceptual.BACKBONE_FILE)
    return folder


def lpips_by_hand(first, second, state, linear):
    """LPIPS of images [1, 3, H, W], -1..1, in float64, as the paper and the published weights define it."""
    shift, scale = (
        torch.tensor(values).view(1, 3, 1, 1) for values in ((-0.030, -0.088, -0.188), (0.458, 0.448, 0.450))
    )
    convolutions = {0: (4, 2), 3: (1, 2), 6: (1, 1), 8: (1, 1), 10: (1, 1)}  # {layer: (stride, padding)}
    features, total = [(image.double() - shift) / scale for image in (first, second)], 0.0
    for level, (layer, (stride, padding)) in enumerate(convolutions.items()):
        if level in (1, 2):
            features = [F.max_pool2d(image, 3, 2) for image in features]
        kernel, bias = (state[f"features.{layer}.{part}"].double() for part in ("weight", "bias"))
        features = [F.conv2d(image, kernel, bias, stride, padding).relu() for image in features]
        unit = [image / (image.norm(dim=1, keepdim=True) + 1e-10) for image in features]
        total += ((unit[0] - unit[1]) ** 2 * linear[f"lin{level}.model.1.weight"].double()).sum(1).mean()
    return float(total)


def test_lpips(weights):
    generator = np.random.default_rng(0)
    first, second = (generator.uniform(size=(70, 90, 3)).astype(np.float32) for _ in range(2))
    path = str(perceptual.backbone_path(weights))
    assert path == str(weights / perceptual.BACKBONE_FILE) == str(perceptual.backbone_path(path))
    assert perceptual.distance(first, first, path) == 0
    state = torch.load(path, weights_only=True)
    linear = torch.load(Path(lpips.__file__).parent / "weights/v0.1/alex.pth", map_location="cpu", weights_only=True)
    as_tensor = lambda image: torch.from_numpy(image).permute(2, 0, 1)[None] * 2 - 1
    for share in (0.1, 1.0):
        other = first + share * (second - first)
        expected = lpips_by_hand(as_tensor(first), as_tensor(other), state, linear)
        assert perceptual.distance(first, other, path) == pytest.approx(expected, rel=1e-4)
        assert perceptual.distance(other, first, path) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="64 px or more"):
        perceptual.distance(first[:40], second[:40], path)


def test_loading_lpips_downloads_nothing_and_draws_no_random_numbers(weights, monkeypatch):
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    perceptual.load.cache_clear()
    before = torch.random.get_rng_state()
    perceptual.load(str(weights / perceptual.BACKBONE_FILE))
    assert torch.equal(before, torch.random.get_rng_state())


def test_missing_or_wrong_weights_are_named(weights, tmp_path):
    with pytest.raises(
        ConfigError, match=r"alexnet-owt-7be5be79\.pth does not exist: download https://download\.pytorch\.org"
    ):
        perceptual.backbone_path(tmp_path)
    path = tmp_path / perceptual.BACKBONE_FILE
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth: not a file of PyTorch weights"):
        perceptual.load(str(path))
    torch.save({"features.0.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not AlexNet"):
        perceptual.load(str(path))
