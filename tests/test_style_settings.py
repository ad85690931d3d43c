"""Settings that are not allowed are refused, by name."""

import pytest
from pydantic import ValidationError

from style_transfer.settings import RefineSettings


def test_defaults_are_valid_and_documented():
    assert RefineSettings.model_validate(RefineSettings().model_dump()) == RefineSettings()
    assert all(len(entry.description) > 10 for entry in RefineSettings.model_fields.values())


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
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"features": "vgg"}, "features\n.*'auto', 'vgg16', 'patches' or 'none'"),
        ({"transfers": 0}, "transfers\n.*greater than or equal to 1"),
        ({"iterations": 1.5}, "iterations\n.*valid integer"),
        ({"iterations": "40"}, "iterations\n.*valid integer"),
        ({"iterations": 10**400}, "iterations\n.*less than or equal to 1000000"),
        ({"learning_rate": 0}, "learning_rate\n.*greater than 0"),
        ({"learning_rate": "1e-3"}, "learning_rate\n.*valid number"),
        ({"learning_rate": 10**400}, "learning_rate\n.*valid number"),
        ({"learning_rate": float("inf")}, "learning_rate\n.*finite number"),
        ({"momentum": 1}, "momentum\n.*less than or equal to 0.999"),
        ({"momentum": True}, "momentum\n.*valid number"),
        ({"content_weight": float("nan")}, "content_weight\n.*finite number"),
        ({"mirrored_style": 1}, "mirrored_style\n.*valid boolean"),
        ({"style_draws": True}, "style_draws\n.*valid integer"),
        ({"vgg16_weights": None}, "vgg16_weights\n.*valid string"),
        ({"scales": []}, "scales\n.*at least 1 item"),
        ({"scales": 1.0}, "scales\n.*valid list"),
        ({"scales": [0.5, 2]}, r"scales\.1\n.*less than or equal to 1"),
        ({"scales": [1.0, 0.5]}, r"scales: got \[1.0, 0.5\], allowed is coarse to fine: \[0.5, 1.0\]"),
        ({"scales": [0.01], "parameters": "pyramid"}, "allowed with pyramid_depth 5 is 0.03125 or more"),
        ({"optimiser": "sgd"}, "sgd needs parameters: pyramid"),
        ({"content_noise": True, "features": "none"}, "content_noise: got true with features: none"),
        ({"style_step": 0.01}, r"style_step: got 0.01, allowed is at most learning_rate \(0.004\)"),
        ({"rate": 0.01}, "rate\n.*not permitted"),
    ],
    ids=str,
)
def test_what_is_not_allowed(given, message):
    for make in (RefineSettings, RefineSettings().changed):
        with pytest.raises(ValidationError, match=message):
            make(**given)


def test_a_changed_copy_leaves_the_original():
    settings = RefineSettings()
    changed = settings.changed(scales=[1.0], content_weight=2)
    assert (changed.scales, changed.content_weight) == ([1.0], 2.0) and isinstance(changed.content_weight, float)
    assert settings == RefineSettings() and changed.changed(scales=[0.5, 1.0], content_weight=8.0) == settings
