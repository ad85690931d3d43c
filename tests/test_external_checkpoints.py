"""Reading published weights: what fits is returned, what does not is named, nothing in a file is run or changed."""

import os
import pickle

import pytest
import torch
from torch import nn

from external.checkpoints import read_weights

ORIGIN = "weights.pth of somebody"


def small_network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(8, 5))


def read(path, key=None):
    return read_weights(path, small_network().state_dict(), "the small network", ORIGIN, key)


@pytest.mark.parametrize("key", [None, "net"])
def test_round_trip(tmp_path, key):
    state = small_network().state_dict()
    torch.save(state if key is None else {key: state, "opt": {"lr": 0.1}}, tmp_path / "w.pth")
    found = read(tmp_path / "w.pth", key)
    assert list(found) == list(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_names_with_a_prefix(tmp_path):
    state = {f"net.{name}": tensor for name, tensor in small_network().state_dict().items()}
    torch.save(state | {"head.weight": torch.zeros(2)}, tmp_path / "w.pth")
    wanted = small_network().state_dict()
    found = read_weights(tmp_path / "w.pth", wanted, "the small network", ORIGIN, prefix="net.")
    assert list(found) == list(wanted) and all(torch.equal(found[name], state[f"net.{name}"]) for name in found)
    for wrong, told in (("net.0.bias", r"net\.0\.bias is \[2\]"), ("net.9.bias", r"net\.9\.bias is not part of it")):
        torch.save(state | {wrong: torch.zeros(2)}, tmp_path / "w.pth")
        with pytest.raises(ValueError, match=told):
            read_weights(tmp_path / "w.pth", wanted, "the small network", ORIGIN, prefix="net.")


def changed(**changes):
    state = small_network().state_dict()
    for name, value in changes.items():
        name = name.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value
    return state


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (changed(**{"0__weight": torch.zeros(4, 1, 3, 3)}), r"0\.weight is \[4, 1, 3, 3\], not \[4, 3, 3, 3\]"),
        (changed(**{"3__bias": None}), r"3\.bias is missing"),
        (changed(**{"1__weight": torch.tensor([1, 2, float("nan"), 3])}), r"1\.weight holds values that are not finite"),
        (changed(**{"4__weight": torch.zeros(2)}), r"4\.weight is not part of it"),
        (changed(**{"0__weight": None, "0__bias": 3, "3__weight": None, "3__bias": None}), r"0\.weight is missing, 0\.bias is missing, 3\.weight is missing and 1 more"),
        (nn.Linear(2, 2).state_dict(), "not the small network: 0.weight is missing"),
        ([1, 2], r"0\.weight is missing"),
    ],
)  # fmt: skip
def test_another_network(tmp_path, state, told):
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=told) as error:
        read(tmp_path / "w.pth")
    assert str(error.value).startswith(f"{tmp_path / 'w.pth'}: not the small network: ") and ORIGIN in str(error.value)


@pytest.mark.parametrize("content", [{"other": {}}, {"net": torch.zeros(2)}, torch.zeros(3), {}])
def test_without_the_key(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: not the small network: no dict 'net' in it"):
        read(tmp_path / "w.pth", "net")


def test_files_of_something_else_stay_as_they_are(tmp_path):
    torch.save(small_network().state_dict(), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    contents = [b"", b"<html>404: not found</html>\n", whole[:200], whole[: len(whole) // 2], whole[:-10], b"\x80\x02", b"PK\x03\x04"]
    for content in contents:
        path = tmp_path / "w.pth"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"w\.pth: not a file of PyTorch weights or damaged \(.+\); need weights\.pth"):
            read(path)
        assert path.read_bytes() == content


def test_a_huge_file_is_refused_unread(tmp_path):
    path = tmp_path / "w.pth"
    with path.open("wb") as file:
        file.truncate(3 << 30)  # takes no room on the disk
    with pytest.raises(ValueError, match=r"w\.pth: has 3072 MiB, the small network 0 MiB; need weights"):
        read(path)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path}: no such file; get {ORIGIN}"):
            read(path)


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("save", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_does_not_run(tmp_path, save):
    save({"0.weight": Trap(str(tmp_path / "sprung"))}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: not a file of PyTorch weights"):
        read(tmp_path / "w.pth")
    assert not (tmp_path / "sprung").exists()
