"""labels.png and witnesses.npz of a reconstruction folder."""

import cv2
import numpy as np
import pytest

from pipeline.reconstruction.painted import (
    COLOURS,
    GLASSES,
    HAIR,
    LABELS,
    NAMES,
    SKIN,
    is_painted,
    read_labels,
    write_labels,
)
from pipeline.reconstruction.witnesses import Witnesses, WitnessesError, load_witnesses, save_witnesses
from pipeline.runs.files import read_json, write_image


def labels():
    """[30, 40]: all labels in stripes."""
    return np.tile(np.repeat(np.arange(len(NAMES), dtype=np.uint8), 8), (30, 1))


def test_labels_come_back_and_are_not_painted(tmp_path):
    write_labels(tmp_path, labels())
    np.testing.assert_array_equal(read_labels(tmp_path / LABELS), labels())
    assert not is_painted(tmp_path)
    assert list(read_json(tmp_path / "labels.json")["legend"]) == list(NAMES)


def test_saving_the_same_pixels_again_is_no_painting(tmp_path):
    write_labels(tmp_path, labels())
    picture = cv2.imread(str(tmp_path / LABELS))
    before = (tmp_path / LABELS).read_bytes()
    cv2.imwrite(str(tmp_path / LABELS), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert (tmp_path / LABELS).read_bytes() != before
    assert not is_painted(tmp_path)


def test_a_stroke_is_painting_and_soft_edges_take_the_nearest_label(tmp_path):
    write_labels(tmp_path, labels())
    picture = COLOURS[labels()].copy()
    picture[5:10, 2:6] = COLOURS[GLASSES]
    picture[10, 2:6] = 0.7 * COLOURS[GLASSES] + 0.3 * COLOURS[SKIN]
    write_image(tmp_path / LABELS, picture)
    assert is_painted(tmp_path)
    found = read_labels(tmp_path / LABELS)
    assert (found[5:11, 2:6] == GLASSES).all()
    assert (found[11:, 2:6] == SKIN).all()


def test_labels_without_a_record_are_painted(tmp_path):
    write_image(tmp_path / LABELS, COLOURS[labels()])
    assert is_painted(tmp_path)
    assert not is_painted(tmp_path / "elsewhere")
    assert (read_labels(tmp_path / LABELS) == HAIR).sum() == 30 * 8


def a_hand():
    """[21, 2]: a palm with straight fingers, in shares of the photo."""
    points = [(0.5, 0.9)]
    for across in (0.35, 0.42, 0.5, 0.58, 0.66):
        points += [(across, 0.65 - 0.1 * k) for k in range(4)]
    return np.array(points, np.float32)


def test_witnesses_come_back(tmp_path):
    given = Witnesses(np.arange(60, dtype=np.uint8).reshape(6, 10), a_hand()[None])
    save_witnesses(given, tmp_path / "witnesses.npz")
    found = load_witnesses(tmp_path / "witnesses.npz")
    np.testing.assert_array_equal(found.person, given.person)
    np.testing.assert_array_equal(found.hands, given.hands)


def test_a_hand_is_drawn_where_it_is():
    drawn = Witnesses(np.zeros((4, 4), np.uint8), a_hand()[None]).hands_in(100, 200)
    assert drawn.shape == (200, 100)
    assert drawn[140, 50] == 1  # the palm
    assert drawn[90, 50] == 1  # the middle finger
    assert not drawn[:40].any() and not drawn[:, :20].any()


@pytest.mark.parametrize("arrays, said", [
    ({"version": 1, "person": np.zeros((4, 4), np.float32), "hands": np.zeros((0, 21, 2))}, "uint8"),
    ({"version": 1, "person": np.zeros((4, 4), np.uint8), "hands": np.zeros((1, 20, 2))}, "21"),
    ({"version": 1, "person": np.zeros((4, 4), np.uint8), "hands": np.full((1, 21, 2), np.nan)}, "hands"),
    ({"version": 2, "person": np.zeros((4, 4), np.uint8), "hands": np.zeros((0, 21, 2))}, "version"),
    ({"version": 1}, "not readable"),
])  # fmt: skip
def test_other_witnesses_are_refused(tmp_path, arrays, said):
    path = tmp_path / "witnesses.npz"
    np.savez(path, **arrays)
    with pytest.raises(WitnessesError, match=said) as caught:
        load_witnesses(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_witnesses_are_refused(tmp_path):
    (tmp_path / "witnesses.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(WitnessesError, match="not readable"):
        load_witnesses(tmp_path / "witnesses.npz")
