"""The record of the work on one photo."""

import numpy as np
import pytest

from pipeline.runs.machine import reset_peak_memory
from pipeline.settings.loading import load_config
from pipeline.texture import results
from pipeline.texture.results import WorkLog

MB = 2**20


def test_the_memory_of_a_large_photo_is_not_the_next_ones(tmp_path):
    if not reset_peak_memory():
        pytest.skip("needs a system that lets a process write /proc/self/clear_refs")
    peaks = []
    for megabytes in (400, 20):
        log = WorkLog(tmp_path, load_config(None, []))
        np.full(megabytes * MB, 1, np.uint8)
        peaks.append(log.memory()["peak_memory_mb"])
    assert peaks[0] - peaks[1] > 300


def test_where_memory_is_not_counted_by_photo_it_is_called_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "reset_peak_memory", lambda: False)
    (name, megabytes), = WorkLog(tmp_path, load_config(None, [])).memory().items()
    assert name == "process_peak_memory_mb" and megabytes > 50
