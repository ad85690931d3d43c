"""Why a photo could not be done, as one line for people. The others go on."""

import traceback
from pathlib import Path

from pipeline.config import ConfigError
from pipeline.run_folder import RunFolderError

ENDS_THE_RUN = (RunFolderError, ConfigError)  # the same would happen to every photo
_ROOT = Path(__file__).resolve().parent.parent
_NO_MEMORY = ("can't allocate memory", "Insufficient memory", "CUDA out of memory")


def reason(error):
    """The line for an exception that work on a photo ended with; raises it again where it ends the run.

    Our own errors about a photo or its files say what is wrong. Any other exception is a fault of the program: the line
    names the place, for a report.
    """
    if isinstance(error, ENDS_THE_RUN) or not isinstance(error, Exception):
        raise error
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "there is not enough memory for it: give jobs=1, a smaller texture_size, or a smaller photo"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(_ROOT)]
    ours = type(error).__module__.partition(".")[0] in ("pipeline", "renderer", "external", "style_transfer")
    if ours or isinstance(error, FloatingPointError):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    place = f"{Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"unexpected {type(error).__name__} at {place}: {first} (a fault of this program: please report it)"
