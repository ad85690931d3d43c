"""Reading torchvision's VGG16: the convolutions are taken, other files are named with what differs."""

import hashlib
import warnings

import numpy as np
import pytest
import torch
from stand_in_assets import write_vgg16

from external.vgg16 import read_vgg16
from style_transfer.features import VGG16Hypercolumns, vgg16_layers


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Random weights under torchvision's names."""
    return torch.load(write_vgg16(tmp_path_factory.mktemp("vgg16") / "vgg16.pth"), weights_only=True)


def test_convolutions_are_read_and_the_classifier_left_out(state, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, path)
    with pytest.warns(UserWarning, match="397923af"):
        weights = read_vgg16(path)
    assert list(weights) == list(vgg16_layers().state_dict())
    assert all(torch.equal(weights[name], state[f"features.{name}"]) for name in weights)
    assert torch.equal(VGG16Hypercolumns(weights).layers[28].weight, state["features.28.weight"])


def test_the_published_size_is_not_too_large(tmp_path):
    """Nine times the convolutions. A sparse file of zeros: refused for its contents, not for its size."""
    path = tmp_path / "weights.pth"
    with path.open("wb") as file:
        file.truncate(553_433_881)
    with pytest.raises(ValueError, match="not a file of PyTorch weights"):
        read_vgg16(path)


def test_wrong_files_are_named_with_their_first_differences(state, tmp_path):
    path = tmp_path / "weights.pth"
    with pytest.raises(FileNotFoundError, match=r"weights\.pth: no such file; get torchvision's VGG16 \(https://"):
        read_vgg16(path)
    for content in (b"", b"hello, this is text\n" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.pth: not a file of PyTorch weights"):
            read_vgg16(path)
    torch.save(torch.zeros(3), path)
    with pytest.raises(ValueError, match=r"features\.0\.weight is missing"):
        read_vgg16(path)
    torch.save({"conv1.weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"features\.0\.weight is missing, .* and 23 more"):
        read_vgg16(path)
    for name, value, told in (
        ("features.5.weight", torch.zeros(128, 64, 1, 1), r"5\.weight is \[128, 64, 1, 1\], not \[128, 64, 3, 3\];"),
        ("features.0.bias", torch.full((64,), torch.nan), r"features\.0\.bias holds values that are not finite numbers"),
        ("features.30.bias", torch.zeros(3), r"features\.30\.bias is not part of it"),
    ):
        torch.save(state | {name: value}, path)
        with pytest.raises(ValueError, match=told):
            read_vgg16(path)


def test_pickled_code_is_not_run(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": np.zeros(3), "module": torch.nn.Linear(2, 2)}, path)
    with pytest.raises(ValueError, match="not a file of PyTorch weights"):
        read_vgg16(path)


def test_no_warning_for_the_published_checksum(state, tmp_path, monkeypatch):
    class Published:
        def hexdigest(self):
            return "397923af" + "0" * 56

    torch.save(state, tmp_path / "weights.pth")
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: Published())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_vgg16(tmp_path / "weights.pth")
