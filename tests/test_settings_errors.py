"""What is said of a photo that failed: our own words, or the place of a fault."""

import numpy as np
import pytest

from external.errors import UserError
from pipeline.reconstruction.detect import FaceError, _chosen
from pipeline.reconstruction.images import as_float
from pipeline.runs.files import RunFolderError
from pipeline.settings.errors import ConfigError, reason


def failure(function, *arguments):
    with pytest.raises(Exception) as raised:
        function(*arguments)
    return raised.value


def test_a_user_error_is_its_own_line(capsys):
    assert reason(failure(_chosen, [], 2)) == "detect.face is 2, but 0 faces were found; 0 is the largest, 1 the next"
    assert reason(UserError("that is wrong: do this")) == "that is wrong: do this"
    assert capsys.readouterr().err == ""


def test_an_exception_that_was_handed_over_is_said_too():
    error = FaceError("no face")

    def handed_over():
        raise error

    assert reason(failure(handed_over)) == "no face"


def test_any_other_is_a_bug_that_names_its_place_and_shows_its_traceback(capsys):
    message = reason(failure(as_float, None))
    assert message.startswith("unexpected AttributeError at pipeline/reconstruction/images.py:") and "please report it" in message
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    # A raise statement alone does not make an error the user's.
    assert reason(failure(as_float, np.zeros(3))).startswith("unexpected TypeError at pipeline/reconstruction/images.py:")
    message = reason(failure(_chosen, [1], "x"))
    assert message.startswith("unexpected TypeError at pipeline/reconstruction/detect.py:")
    assert "\n" not in reason(failure(int, "two\nlines"))


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")])
def test_too_little_memory(error):
    assert "not enough memory" in reason(error)


@pytest.mark.parametrize("kind", [RunFolderError, ConfigError, KeyboardInterrupt])
def test_what_ends_the_run_is_raised(kind):
    with pytest.raises(kind):
        reason(kind("the disk is full"))
