"""Means over photos with bootstrap intervals, and paired differences to a baseline."""

from dataclasses import dataclass

import numpy as np

from evaluation.measures import MEASURES
from evaluation.views import PHOTO

RESAMPLES = 10000
CONFIDENCE = 0.95
FEWEST = 5  # units from which a bootstrap interval that is clear of 0 says something


@dataclass(frozen=True)
class Estimate:
    """mean; low, high: 95 % interval, None with fewer than two units; count: of units (photos)."""

    mean: float
    low: float | None
    high: float | None
    count: int

    @property
    def is_above_zero(self):
        return self.low is not None and self.low > 0

    @property
    def is_below_zero(self):
        return self.high is not None and self.high < 0


def estimate(values, seed=0):
    """Estimate of a mean by the percentile bootstrap (Efron 1979) over the units: 10,000 resamples.

    Raises ValueError without values.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"estimate: got values of shape {values.shape}, need one or more finite numbers")
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean, None, None, len(values))
    choices = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(values[choices].mean(axis=1), [tail, 100 - tail])
    return Estimate(mean, float(low), float(high), len(values))


def by_photo(records, method, measure, is_photo_view):
    """{photo: mean of a measure over its views} of a method. is_photo_view: the photo itself, or the turned pictures."""
    found = {}
    for record in records:
        if record.method == method and (record.view == PHOTO) == is_photo_view and measure in record.scores:
            found.setdefault(record.photo, []).append(record.scores[measure])
    return {photo: float(np.mean(values)) for photo, values in found.items()}


def by_view(records, method, measure):
    """{(photo, view): value} of a measure of a method."""
    return {
        (record.photo, record.view): record.scores[measure]
        for record in records
        if record.method == method and measure in record.scores
    }


def means(records, methods, seed, is_photo_view):
    """{method: {measure: Estimate over photos}}."""
    return {
        method: {
            measure: estimate(list(values.values()), seed)
            for measure in MEASURES
            if (values := by_photo(records, method, measure, is_photo_view))
        }
        for method in methods
    }


def differences(records, methods, baseline, seed, is_photo_view):
    """{method: {measure: Estimate of method less baseline}} over the photos that both have."""
    reference = {measure: by_photo(records, baseline, measure, is_photo_view) for measure in MEASURES}
    return {
        method: {
            measure: difference
            for measure in MEASURES
            if (difference := paired(by_photo(records, method, measure, is_photo_view), reference[measure], seed))
        }
        for method in methods
        if method != baseline
    }


def paired(values, reference, seed=0):
    """Estimate of the mean of value less reference over common units, both {unit: value}; None without any."""
    common = [unit for unit in values if unit in reference]
    return estimate([values[unit] - reference[unit] for unit in common], seed) if common else None


def verdict(measure, difference):
    """better, worse, or "" where the interval holds 0, fewer than 5 units stand behind it, or neither direction is better."""
    better = MEASURES[measure].better
    if not better or difference.count < FEWEST or not (difference.is_above_zero or difference.is_below_zero):
        return ""
    return "better" if difference.is_above_zero == (better == "higher") else "worse"


def worsened(records, method, baseline, seed=0):
    """Measures, seconds aside, in which a method is significantly worse than a baseline, paired over views."""
    found = []
    for measure in MEASURES:
        if measure == "seconds":
            continue
        difference = paired(by_view(records, method, measure), by_view(records, baseline, measure), seed)
        if difference is not None and verdict(measure, difference) == "worse":
            found.append(measure)
    return found
