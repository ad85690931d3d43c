"""Compiles the Cython parts of the renderer in place: `python -m renderer.build`.

Does nothing when the compiled files are newer than their sources and were built for this Python. The sources' headers
set the compiler flags (`# distutils: extra_compile_args`). Contraction to fused multiply-add is off, because the
rasteriser's error-free sums rely on plain IEEE operations.
Exit codes: 0 built or up to date, 2 a tool is missing or the compilation failed (one line says what to do).
"""

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


class BuildError(RuntimeError):
    """The renderer cannot be compiled; the message says what to install."""


def compiled(source: Path) -> Path:
    """Path of a source's extension module for this Python."""
    return source.with_name(source.stem + sysconfig.get_config_var("EXT_SUFFIX"))


def outdated() -> list[Path]:
    """Sources without an extension module for this Python, or newer than theirs."""
    sources = [(source, compiled(source)) for source in sorted(PACKAGE.glob("*.pyx"))]
    return [source for source, made in sources if not made.exists() or made.stat().st_mtime < source.stat().st_mtime]


def compiler() -> str:
    """The C compiler that builds the renderer: the command without its arguments."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "gcc")[0]


def check_compiler() -> None:
    """Raises BuildError when the C compiler or Python's headers are missing."""
    command = compiler()
    if shutil.which(command) is None:
        raise BuildError(f"the C compiler '{command}' is missing; install it: sudo apt install gcc libc6-dev")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.exists():
        packages = f"python3-dev (or python{sys.version_info.major}.{sys.version_info.minor}-dev)"
        raise BuildError(f"{header} is missing; install Python's headers: sudo apt install {packages}")


def build(stale: list[Path]) -> None:
    """Compiles the given sources. Raises BuildError.

    Builds in a temporary folder and renames each result into place, so that no process loads a partial file.
    """
    check_compiler()
    try:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError as TranslationError
        from setuptools import Distribution
        from setuptools.errors import BaseError, CompileError, LinkError
    except ImportError as error:
        raise BuildError(f"{error.name} is missing; install it: pip install -r requirements.txt") from None
    try:
        with tempfile.TemporaryDirectory(prefix=".facerefiner-build-", dir=PACKAGE) as work:
            modules = cythonize([str(source) for source in stale], build_dir=work, quiet=True, force=True)
            command = Distribution({"ext_modules": modules}).get_command_obj("build_ext")
            command.build_temp = command.build_lib = work
            command.ensure_finalized()
            command.run()
            for source in stale:
                os.replace(Path(work) / PACKAGE.name / compiled(source).name, compiled(source))
    except TranslationError:
        raise BuildError("Cython could not translate the renderer; its messages are above") from None
    except (BaseError, CompileError, LinkError) as error:
        raise BuildError(f"the C compiler failed ({str(error).splitlines()[0]}); its messages are above") from None
    except OSError as error:
        raise BuildError(f"cannot write {error.filename}: {error.strerror}") from None


def main() -> int:
    """Builds outdated extension modules; returns the exit code."""
    stale = outdated()
    if not stale:
        return 0
    print(f"compiling the renderer ({', '.join(source.name for source in stale)})", flush=True)
    try:
        build(stale)
    except BuildError as error:
        print(f"renderer.build: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
