"""Why a photo could not be done, as one line for people. The others go on."""

import traceback
from pathlib import Path

from pipeline.config import ConfigError
from pipeline.run_folder import RunFolderError

ENDS_THE_RUN = (RunFolderError, ConfigError)  # the same would happen to every photo
_ROOT = Path(__file__).resolve().parent.parent
_NO_MEMORY = ("can't allocate memory", "Insufficient memory", "CUDA out of memory")


def reason(error: BaseException) -> str:
    """The line for an exception that work on a photo ended with; raises it again where it ends the run.

    What a `raise` of our own says is meant for people. What Python or a library raises is a fault of the program: the line
    names the place, for a report.
    """
    if isinstance(error, ENDS_THE_RUN) or not isinstance(error, Exception):
        raise error
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "there is not enough memory for it: give jobs=1, a smaller texture_size, or a smaller photo"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(Path(frame.filename))]
    if own and own[-1] is frames[-1] and own[-1].line.startswith("raise"):
        return str(error)
    first = next(iter(str(error).splitlines()), "")
    place = f"{Path(own[-1].filename).relative_to(_ROOT)}:{own[-1].lineno}" if own else "an unknown place"
    return f"unexpected {type(error).__name__} at {place}: {first} (a fault of this program: please report it)"


def _is_own(path):
    return path.is_relative_to(_ROOT) and "site-packages" not in path.parts
