"""The command line that `run.sh`, `python -m pipeline.reconstruction` and `refine.py` share."""

import argparse
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from external.errors import MissingAssets, UserError
from pipeline.settings.errors import printable
from pipeline.settings.loading import config_name, describe, list_configs, load_config
from pipeline.settings.schema import Config

WRONG_USE, SOME_FAILED, ALL_DONE = 2, 1, 0
OVERRIDE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=.*", re.DOTALL)


@dataclass(frozen=True)
class Arguments:
    photos: list[str]  # as given; empty: the sample photos
    out: Path
    config: Config
    config_name: str
    dry_run: bool
    command: str = ""  # the command line, to be repeated


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and whose options are written in full."""

    def __init__(self, **more: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {printable(message)} (--help shows how it is used)", file=sys.stderr)
        raise SystemExit(WRONG_USE)


def parse(argv: Sequence[str] | None, description: str) -> Arguments:
    """Arguments from a command line; None: the program's own.

    Prints and exits for --help, --list-configs and wrong use (code 2).
    Raises ConfigError for a config or setting that cannot be used.
    """
    parser = Parser(
        prog="./run.sh",
        description=description,
        usage="%(prog)s [PHOTO | FOLDER]... [-o OUT] [-c CONFIG] [key=value ...]",
        epilog="settings (key=default, given as key=value or in a YAML file):\n" + describe(),
    )
    parser.add_argument(
        "inputs", nargs="*", metavar="PHOTO | FOLDER", help="photos or folders of photos; default: two sample faces"
    )
    parser.add_argument("-o", "--out", metavar="OUT", help="folder of the results (default: outputs/<config>)")
    parser.add_argument("-c", "--config", metavar="CONFIG", help="YAML file, or a name from --list-configs")
    parser.add_argument("--dry-run", action="store_true", help="print resolved config and planned work, and stop")
    parser.add_argument("--list-configs", action="store_true", help="print the configs there are, and stop")
    given = parser.parse_intermixed_args(argv)
    if given.list_configs:
        print("\n".join(f"{name:<14} {comment}" for name, comment in list_configs()))
        raise SystemExit(ALL_DONE)
    photos, overrides = split_overrides(given.inputs)
    config = load_config(given.config, overrides)
    name = config_name(given.config)
    out = Path(given.out) if given.out else Path("outputs") / name
    command = shlex.join(["./run.sh", *(sys.argv[1:] if argv is None else argv)])
    return Arguments(photos, out, config, name, given.dry_run, command)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """(paths, overrides) of a command line's words: key=value is an override unless there is such a file."""
    overrides = [word for word in words if OVERRIDE.fullmatch(word) and not Path(word).exists()]
    return [word for word in words if word not in overrides], overrides


@contextmanager
def user_errors() -> Iterator[None]:
    """Prints a user error in the block as one line, and exits with code 2."""
    try:
        yield
    except UserError as error:
        print(f"error: {printable(error, keep=chr(10) if isinstance(error, MissingAssets) else '')}", file=sys.stderr)
        sys.stdout.flush()
        raise SystemExit(WRONG_USE) from None


def run_main(main: Callable[[], int]) -> NoReturn:
    """Run `main()` -> exit code as a program: a user's mistake is one line and never a traceback."""
    # While they are loaded, the programs leave this signal to the system.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {printable(message)}", file=sys.stderr)
    try:
        with user_errors():
            code = main()
    except KeyboardInterrupt:
        print("stopped: finished photos are kept; the same command resumes", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        code = SOME_FAILED
    sys.stdout.flush()
    raise SystemExit(code)
