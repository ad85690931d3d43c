"""The base classes of errors that users cause. Every other exception is a bug of this program."""


class UserError(Exception):
    """An error that the user can fix; the message is one line: what was given, what is needed, what to do."""


class RunError(UserError):
    """A user error that would fail every photo and therefore ends the run."""


class MissingAssets(RunError):
    """Files that a run needs are missing; one line for each, with the way to get it."""


def first_line(error: BaseException) -> str:
    """An error in one short line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def shortened(items: list[str]) -> str:
    """The first three of a list of names or problems, and the number of the others."""
    return ", ".join(items[:3]) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
