"""Means over photos with t intervals, and paired differences to a baseline."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from evaluation.measures import MEASURES
from evaluation.views import PHOTO, Record

CONFIDENCE = 0.95
FEWEST = 5  # units from which a difference is marked; of fewer nobody can tell whether t's assumption holds


@dataclass(frozen=True)
class Estimate:
    """mean; low, high: 95 % interval, None with fewer than two units; count: of units (photos)."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def is_above_zero(self) -> bool:
        return self.low is not None and self.low > 0

    @property
    def is_below_zero(self) -> bool:
        return self.high is not None and self.high < 0


Estimates = dict[str, dict[str, Estimate]]  # by method and measure


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of values [N] of N units, with Student's t interval for it.

    It covers the mean of the population the units are drawn from in 95 % of the cases where values are normally
    distributed, and in 93 % or more with 5 units of moderate skewness (1). Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"estimate: got values of shape {values.shape}, need one or more finite numbers")
    count, mean = len(values), float(values.mean())
    if count < 2:
        return Estimate(mean, None, None, count)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1) * values.std(ddof=1) / np.sqrt(count))
    return Estimate(mean, mean - reach, mean + reach, count)


def paired(values: Mapping, reference: Mapping) -> Estimate | None:
    """Estimate of the mean of value less reference over common units, both {unit: value}; None without any."""
    common = [unit for unit in values if unit in reference]
    return estimate([values[unit] - reference[unit] for unit in common]) if common else None


def by_photo(records: Sequence[Record], method: str, measure: str, is_photo_view: bool) -> dict[str, float]:
    """{photo: mean of a method's measure over its views}. is_photo_view: the photo itself, or the turned pictures."""
    found = {}
    for (photo, angle), value in by_view(records, method, measure).items():
        if (angle == PHOTO) == is_photo_view:
            found.setdefault(photo, []).append(value)
    return {photo: float(np.mean(values)) for photo, values in found.items()}


def by_view(records: Sequence[Record], method: str, measure: str) -> dict[tuple[str, str], float]:
    """{(photo, view): value} of a measure of a method."""
    return {
        (record.photo, record.angle): record.scores[measure]
        for record in records
        if record.method == method and measure in record.scores
    }


def means(records: Sequence[Record], methods: Sequence[str], is_photo_view: bool) -> Estimates:
    """Each method's means over photos."""
    return {
        method: {
            measure: estimate(list(values.values()))
            for measure in MEASURES
            if (values := by_photo(records, method, measure, is_photo_view))
        }
        for method in methods
    }


def differences(records: Sequence[Record], methods: Sequence[str], baseline: str, is_photo_view: bool) -> Estimates:
    """Each method less the baseline, over the photos that both have."""
    reference = {measure: by_photo(records, baseline, measure, is_photo_view) for measure in MEASURES}
    return {
        method: {
            measure: difference
            for measure in MEASURES
            if (difference := paired(by_photo(records, method, measure, is_photo_view), reference[measure]))
        }
        for method in methods
        if method != baseline
    }


def verdict(measure: str, difference: Estimate) -> str:
    """better, worse, or "" where the interval holds 0, there are fewer than 5 units, or neither direction is better."""
    better = MEASURES[measure].better
    if not better or difference.count < FEWEST or not (difference.is_above_zero or difference.is_below_zero):
        return ""
    return "better" if difference.is_above_zero == (better == "higher") else "worse"


def worsened(records: Sequence[Record], method: str, baseline: str) -> list[str]:
    """Measures, seconds aside, in which a method is significantly worse than a baseline, paired over views.

    Views of one photo are alike, so this tells whether a measure sees a defect here, not how it does on other photos.
    """
    found = {measure: paired(*(by_view(records, each, measure) for each in (method, baseline))) for measure in MEASURES}
    return [name for name, each in found.items() if name != "seconds" and each and verdict(name, each) == "worse"]
