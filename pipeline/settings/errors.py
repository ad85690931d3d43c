"""Errors of users, and the one line that a photo's failure is reported with."""

import sys
import traceback
import unicodedata
from pathlib import Path

from external.errors import RunError, UserError

_ROOT = Path(__file__).resolve().parents[2]
_NO_MEMORY = ("can't allocate memory", "Insufficient memory", "CUDA out of memory")
_BIDIRECTIONAL = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # they would let a name read as another


class ConfigError(RunError):
    """A setting that cannot be used."""


def reason(error: BaseException) -> str:
    """The line that reports why a photo failed; raises the error again where it ends the run.

    A bug's traceback goes to standard error, and its line names the place.
    """
    if isinstance(error, RunError) or not isinstance(error, Exception):
        raise error
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY):
        return "not enough memory: give jobs=1, a smaller texture_size, or a smaller photo"
    traceback.print_exception(error, file=sys.stderr)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(Path(frame.filename))]
    place = f"{Path(frames[-1].filename).relative_to(_ROOT)}:{frames[-1].lineno}" if frames else "an unknown place"
    first = next(iter(str(error).splitlines()), "")
    return f"unexpected {type(error).__name__} at {place}: {first} (a bug of this program: please report it)"


def printable(text: object, keep: str = "") -> str:
    """Text with names and messages from files, safe to print: one line, no character that controls the terminal.

    Control characters, and bytes of a file name that are no text, are escaped, except those in `keep`.
    """
    shown = []
    for c in str(text):
        controls = unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _BIDIRECTIONAL
        shown.append(c.encode("unicode_escape", "surrogatepass").decode() if controls and c not in keep else c)
    return "".join(shown)


def _is_own(path: Path) -> bool:
    return path.is_relative_to(_ROOT) and ".venv" not in path.parts and "site-packages" not in path.parts
