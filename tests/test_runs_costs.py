"""What a run is expected to cost: said before a long one, silent before a short one."""

import os
from dataclasses import replace

import pytest
import torch

from pipeline.runs import backends
from pipeline.runs.backends import memory_each, refinement_seconds
from pipeline.runs.progress import Forecast, duration
from pipeline.settings.loading import load_config

GPU = torch.device("cuda")


def test_a_short_run_says_nothing():
    forecast = Forecast(20, 1, 25.0)
    assert forecast.before() == "" and forecast.after(20.0) == ""


def test_a_long_run_says_how_long_before_it_and_after_its_first_photo():
    forecast = Forecast(500, 2, 20.0)
    assert forecast.before() == "expected: about 83 min for 500 photos, by measurements on 2 x86-64 cores"
    assert forecast.after(44.0) == "expected: about 3 h for 499 photos, as the first one took"
    assert forecast.after(44.0) == ""


def test_a_single_photo_is_not_divided_among_processes():
    assert "about 3 h for 1 photo," in Forecast(1, 4, 10_000.0).before()


def test_what_is_not_known_beforehand_is_said_after_the_first_photo():
    forecast = Forecast(100, 1, None)
    assert forecast.before() == "" and "99 photos, as the first one took" in forecast.after(30.0)


def test_the_published_schedule_takes_hours_and_the_default_seconds():
    hours = refinement_seconds(load_config("facerefiner"), "vgg16") / 3600
    assert 2 < hours < 4  # docs/benchmarks.md: about 3 h
    assert 10 < refinement_seconds(load_config(), "patches") < 30  # README: about 18 s


@pytest.mark.parametrize(("seconds", "text"), [(700, "12 min"), (5300, "88 min"), (11_000, "3 h"), (200_000, "2 days")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_jobs_follow_processors_memory_and_photos(monkeypatch):
    config = load_config(None, ["refine.features=patches"])
    assert 1.2e9 < memory_each(config, "patches") < 1.6e9
    cpu = backends.choose_backends(config)
    gpu = replace(cpu, device=GPU)
    three = load_config(None, ["refine.features=patches", "jobs=3"])
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(backends, "available_memory", lambda: 100e9)
    assert [backends.choose_jobs(config, cpu, photos) for photos in (0, 1, 3, 8, 500)] == [1, 1, 1, 4, 8]
    assert backends.choose_jobs(config, gpu, 500) == 1
    assert backends.choose_jobs(three, gpu, 500) == 3 and backends.choose_jobs(three, cpu, 2) == 2
    monkeypatch.setattr(backends, "available_memory", lambda: 4e9)
    assert backends.choose_jobs(config, cpu, 500) == 2
    monkeypatch.setattr(backends, "available_memory", lambda: 1e8)
    assert backends.choose_jobs(config, cpu, 500) == 1
    monkeypatch.undo()
    assert backends.available_memory() > 1e6
