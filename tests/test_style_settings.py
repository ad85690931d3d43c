"""Settings name the key, what was given and what is allowed."""

import dataclasses

import pytest

from style_transfer.settings import RefineSettings


def test_defaults_are_valid_and_documented():
    RefineSettings().validate()
    assert all(len(entry.metadata["help"]) > 10 for entry in dataclasses.fields(RefineSettings))


def test_the_schedule_of_the_paper_is_valid():
    RefineSettings(
        features="vgg16",
        transfers=5,
        iterations=150,
        rendering_iterations=0,
        parameters="pyramid",
        optimiser="sgd",
        learning_rate=0.3,
        decay_learning_rate=False,
        style_region="all",
        mirrored_style=True,
        moment_weight=1.0,
        result_samples=2048,
    ).validate()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": "vgg"}, "features: got 'vgg', allowed are auto, vgg16, patches, none"),
        ({"transfers": 0}, "transfers: got 0, allowed is a whole number at least 1"),
        ({"iterations": 1.5}, "iterations: got 1.5, allowed is a whole number"),
        ({"learning_rate": 0}, "learning_rate: got 0, allowed is a number above 0"),
        ({"learning_rate": "1e-3"}, "learning_rate: got '1e-3'"),
        ({"momentum": 1}, "momentum: got 1, allowed is a number at least 0 and at most 0.999"),
        ({"content_weight": float("nan")}, "content_weight: got nan"),
        ({"mirrored_style": 1}, "mirrored_style: got 1, allowed is true or false"),
        ({"style_draws": True}, "style_draws: got True"),
        ({"vgg16_weights": None}, "vgg16_weights: got None, allowed is text"),
        ({"scales": []}, r"scales: got \[\]"),
        ({"scales": 1.0}, "scales: got 1.0, allowed is a list"),
        ({"scales": [0.5, 2]}, r"scales: got \[0.5, 2\], allowed is a list of numbers above 0 and up to 1"),
        ({"scales": [1.0, 0.5]}, r"allowed is coarse to fine: \[0.5, 1.0\]"),
        ({"scales": [0.01], "parameters": "pyramid"}, "allowed with pyramid_depth 5 is 0.03125 or more"),
        ({"optimiser": "sgd"}, "sgd needs parameters: pyramid"),
        ({"style_step": 0.01}, r"style_step: got 0.01, allowed is at most learning_rate \(0.004\)"),
    ],
)
def test_what_is_not_allowed(given, message):
    with pytest.raises(ValueError, match=message):
        RefineSettings(**given).validate()
