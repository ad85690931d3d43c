"""What a run is expected to cost: said before a long one, silent before a short one."""


import pytest

from pipeline.runs import jobs
from pipeline.runs.backends import memory_each, refinement_seconds
from pipeline.runs.jobs import choose_jobs
from pipeline.runs.progress import Forecast, duration
from pipeline.settings.loading import load_config


def test_a_short_run_says_nothing():
    forecast = Forecast(20, 1, 25.0)
    assert forecast.before() == "" and forecast.after(20.0) == ""


def test_a_long_run_says_how_long_before_it_and_after_its_first_photo():
    forecast = Forecast(500, 2, 20.0)
    assert forecast.before() == "expected time: about 83 min for 500 photos, measured on 2 x86-64 cores"
    assert forecast.after(44.0) == "expected time: about 3 h for 499 photos, based on the first photo"
    assert forecast.after(44.0) == ""


def test_a_single_photo_is_not_divided_among_processes():
    assert "about 3 h for 1 photo," in Forecast(1, 4, 10_000.0).before()


def test_what_is_not_known_beforehand_is_said_after_the_first_photo():
    forecast = Forecast(100, 1, None)
    assert forecast.before() == "" and "99 photos, based on the first photo" in forecast.after(30.0)


def test_a_photo_that_fails_says_nothing_about_the_others():
    forecast = Forecast(101, 1, None)
    assert forecast.after(None) == "" and "99 photos, based on the first photo" in forecast.after(30.0)


def test_the_published_schedule_takes_an_hour_and_the_default_seconds():
    hours = refinement_seconds(load_config("facerefiner"), "vgg16") / 3600
    assert 0.5 < hours < 1.5  # docs/benchmarks.md: about 0.8 h
    assert 10 < refinement_seconds(load_config(), "none") < 30


@pytest.mark.parametrize(("seconds", "text"), [(700, "12 min"), (5300, "88 min"), (11_000, "3 h"), (200_000, "2 days")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_jobs_follow_processors_memory_and_photos(monkeypatch):
    each = memory_each(load_config(), "patches")
    assert 2.2e9 < each < 2.8e9
    monkeypatch.setattr(jobs, "processors", lambda: 8)
    monkeypatch.setattr(jobs, "available_memory", lambda: 100e9)
    assert [choose_jobs(0, photos, each, on_gpu=False) for photos in (0, 1, 3, 8, 500)] == [1, 1, 1, 4, 8]
    assert choose_jobs(0, 500, each, on_gpu=True) == 1
    assert choose_jobs(3, 500, each, on_gpu=True) == 3 and choose_jobs(3, 2, each, on_gpu=False) == 2
    monkeypatch.setattr(jobs, "available_memory", lambda: 6e9)
    assert choose_jobs(0, 500, each, on_gpu=False) == 2
    monkeypatch.setattr(jobs, "available_memory", lambda: 1e8)
    assert choose_jobs(0, 500, each, on_gpu=False) == 1
