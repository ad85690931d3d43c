"""The head model, as the set-up made it."""

from functools import cache

from external.anny import HeadModel, load_head_model
from external.setup import COMMAND as SETUP_COMMAND
from external.setup import FOLDER as SETUP_FOLDER
from external.wheel_pins import HEAD
from pipeline.settings.errors import ConfigError


@cache
def set_up_head_model() -> HeadModel:
    """Raises ConfigError for data that is missing or not what the set-up makes."""
    path = SETUP_FOLDER / HEAD.makes.path
    try:
        return load_head_model(path)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{path} is not the head model that the set-up makes ({error}): {SETUP_COMMAND}") from error
