"""Means, intervals and paired differences; tables made of them."""

import csv

import numpy as np
import pytest

from evaluation import statistics, tables
from evaluation.statistics import Estimate, estimate, paired, verdict
from evaluation.views import PHOTO, Record


def record(photo, view, method, **scores):
    return Record(photo, view, method, scores)


def test_an_estimate():
    constant = estimate([3.0] * 5)
    assert (constant.mean, constant.low, constant.high, constant.count) == (3, 3, 3, 5)
    assert estimate([2.0]) == Estimate(2.0, None, None, 1)
    two = estimate(
        [0.0, 1.0]
    )  # the quantile of Student's t with one degree of freedom is that of the Cauchy distribution
    reach = np.tan(0.475 * np.pi) * np.sqrt(0.5) / np.sqrt(2)
    assert (two.mean, two.low, two.high) == pytest.approx((0.5, 0.5 - reach, 0.5 + reach))
    with pytest.raises(ValueError, match="one or more finite numbers"):
        estimate([1.0, np.nan])


@pytest.mark.parametrize("count", [5, 8])
@pytest.mark.parametrize(("skewness", "tolerance"), [(0.0, 0.01), (1.0, 0.03)])
def test_an_interval_covers_the_mean_in_95_of_100_samples(count, skewness, tolerance):
    """Of 5,000 samples; the standard deviation of the share is 0.003."""
    generator = np.random.default_rng(count)
    draw = lambda: generator.normal(size=count) if not skewness else generator.gamma(4 / skewness**2, size=count)
    mean = 4 / skewness**2 if skewness else 0.0
    covered = np.mean([found.low <= mean <= found.high for found in (estimate(draw()) for _ in range(5000))])
    assert abs(covered - 0.95) < tolerance


def test_paired_differences_are_covered_whatever_the_photos_share():
    """Photos differ by 10, methods by 1 with noise of 0.5: the interval is of the difference."""
    generator, covered, width = np.random.default_rng(0), [], []
    for _ in range(2000):
        photos = generator.normal(0, 10, 5)
        first, second = (dict(enumerate(photos + mean + generator.normal(0, 0.35, 5))) for mean in (1.0, 0.0))
        found = paired(first, second)
        covered.append(found.low <= 1 <= found.high)
        width.append(found.high - found.low)
    assert abs(np.mean(covered) - 0.95) < 0.02 and np.mean(width) < 2


def test_pairing_takes_photos_differences_out():
    """Methods that differ by 0.1 everywhere differ significantly, however much photos do."""
    reference = {f"p{i}": 10.0 * i for i in range(6)}
    better = {photo: value + 0.1 for photo, value in reference.items()}
    found = paired(better, reference)
    assert found.mean == pytest.approx(0.1) and found.is_above_zero and found.count == 6
    assert paired({"a": 1.0, "b": 5.0}, {"b": 4.0, "c": 0.0}).mean == 1.0
    assert paired({"a": 1.0}, {"b": 2.0}) is None


@pytest.mark.parametrize(
    ("measure", "interval", "count", "expected"),
    [
        ("unseen_psnr", (0.1, 0.3), 6, "better"), ("unseen_psnr", (-0.3, -0.1), 6, "worse"),
        ("seam", (0.1, 0.3), 6, "worse"), ("seam", (-0.3, -0.1), 6, "better"), ("seam", (-0.1, 0.1), 6, ""),
        ("seam", (0.1, 0.3), 4, ""), ("seam", (None, None), 1, ""), ("high_frequency_ratio", (0.1, 0.3), 6, ""),
    ],
)  # fmt: skip
def test_a_verdict(measure, interval, count, expected):
    assert verdict(measure, Estimate(0.2, *interval, count)) == expected


def test_views_are_averaged_before_photos():
    records = [
        record("a", "yaw-45", "m", seam=1.0), record("a", "yaw+45", "m", seam=3.0),
        record("b", "yaw+45", "m", seam=5.0),
        record("a", PHOTO, "m", photo_psnr=30.0), record("a", "yaw-45", "n", seam=9.0),
    ]  # fmt: skip
    assert statistics.by_photo(records, "m", "seam", False) == {"a": 2.0, "b": 5.0}
    found = statistics.means(records, ["m", "n"], False)
    assert found["m"]["seam"].mean == 3.5 and found["m"]["seam"].count == 2 and "photo_psnr" not in found["m"]
    assert statistics.means(records, ["m"], True)["m"]["photo_psnr"].mean == 30
    assert statistics.differences(records, ["m", "n"], "m", False)["n"]["seam"].mean == 7.0


def test_tables(tmp_path):
    records = [
        record(f"p{i}", "yaw+45", method, seam=0.1 * i + offset, unseen_psnr=20 + i)
        for i in range(6)
        for method, offset in (("plain", 1.0), ("fine", 0.5))
    ]
    records.append(Record("p9", "yaw+45", "fine", {}, "no such texture"))
    about = {"command": "evaluate.py", "date": "2025-01-01", "machine": "m", "views": "v", "left_out": ["LPIPS: none"]}
    summary = tables.write_summary(tmp_path, records, ["plain", "fine"], "plain", about)
    assert summary["reprojection"]["differences"]["fine"]["seam"]["mean"] == pytest.approx(-0.5)
    text = (tmp_path / "summary.md").read_text()
    assert "**-0.500 [-0.500, -0.500]**" in text and "| +0.00 [+0.00, +0.00] |" in text
    assert "p9 yaw+45 fine: no such texture" in text and "LPIPS: none" in text
    tables.write_results(tmp_path / "results.csv", records)
    rows = list(csv.DictReader((tmp_path / "results.csv").open()))
    assert len(rows) == 24 and rows[0] == {
        "photo": "p0", "view": "yaw+45", "method": "plain", "measure": "seam", "value": "1"
    }  # fmt: skip


@pytest.mark.parametrize(("count", "judged"), [(4, False), (5, True)])
def test_defects_are_not_judged_by_too_few_pictures(tmp_path, count, judged):
    records = [
        record(f"p{i}", "yaw+45", method, seam=0.1 * i + offset)
        for i in range(count)
        for method, offset in (("completion", 0.5), ("defect_tint", 1.0))
    ]
    about = {"command": "evaluate.py", "date": "2025-01-01", "machine": "m", "views": "v", "left_out": []}
    summary = tables.write_summary(tmp_path, records, ["completion", "defect_tint"], "completion", about)
    assert summary.get("defects_seen_by") == ({"tint": ["seam"]} if judged else None)
    text = (tmp_path / "summary.md").read_text()
    assert ("NOT SEEN" in text, "there are 4 pictures; 5 are needed" in text) == (False, not judged)
