"""The base of all errors that a user can do something about. Every other exception is a bug of this program."""


class UserError(Exception):
    """Something that the user can change; the message is one line: what was given, what is needed, what to do."""


class RunError(UserError):
    """A user error that would fail every photo, and so ends the run."""


class MissingAssets(RunError):
    """What a run needs and is not there, a line for each, with how to get it."""
