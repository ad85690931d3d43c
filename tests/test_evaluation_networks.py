"""Identity by dlib on the sample photos, and LPIPS with made-up weights."""

import numpy as np
import pytest
import torch

from evaluation import identity, perceptual
from pipeline.reconstruction.images import read_photo
from pipeline.reconstruction.photos import sample_photos


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


@pytest.fixture
def weights(tmp_path):
    """Files in the form of the published ones."""
    torch.manual_seed(0)
    network = perceptual.LPIPS()
    state = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    torch.save({**state, "classifier.6.bias": torch.zeros(1000)}, tmp_path / perceptual.BACKBONE_FILE)
    linear = {f"lin{level}.model.1.weight": torch.rand(1, width, 1, 1) for level, width in enumerate(perceptual.CHANNELS)}
    torch.save(linear, tmp_path / perceptual.LINEAR_FILE)
    return tmp_path


def test_lpips(weights):
    generator = np.random.default_rng(0)
    first, second = (generator.uniform(size=(70, 90, 3)).astype(np.float32) for _ in range(2))
    assert perceptual.missing(weights) == ""
    assert perceptual.distance(first, first, weights) == 0
    near = perceptual.distance(first, first + 0.1 * (second - first), weights)
    far = perceptual.distance(first, second, weights)
    assert 0 < near < far == pytest.approx(perceptual.distance(second, first, weights), rel=1e-5)
    # Unit features: with all weights 1 each layer adds at most |a - b|^2 <= 2 (they are not negative).
    network = perceptual.load(str(weights))
    ones = {name: torch.ones_like(value) if name.startswith("linear") else value for name, value in network.state_dict().items()}
    bounded = perceptual.LPIPS()
    bounded.load_state_dict(ones)
    images = [torch.from_numpy(image).permute(2, 0, 1)[None] * 2 - 1 for image in (first, second)]
    assert 0 < float(bounded(*images).detach()) <= 2 * len(perceptual.CHANNELS)


def test_missing_or_wrong_weights_are_named(weights):
    (weights / perceptual.BACKBONE_FILE).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79\.pth: not the weights of AlexNet"):
        perceptual.load(str(weights / "."))
    (weights / perceptual.BACKBONE_FILE).unlink()
    assert "download.pytorch.org" in perceptual.missing(weights)
