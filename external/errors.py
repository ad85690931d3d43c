"""The base classes of errors that users cause. Every other exception is a bug of this program."""


class UserError(Exception):
    """An error that the user can fix; the message is one line: what was given, what is needed, what to do."""


class RunError(UserError):
    """A user error that would fail every photo and therefore ends the run."""


class MissingAssets(RunError):
    """Files that a run needs are missing; one line for each, with the way to get it."""
