"""The build command, on a copy of the package."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from renderer import build

PACKAGE = Path(build.__file__).parent


@pytest.fixture
def checkout(tmp_path):
    """A folder with the renderer's sources, nothing compiled; one short file stands for the compiled parts."""
    shutil.copytree(PACKAGE, tmp_path / "renderer", ignore=shutil.ignore_patterns("*.so", "*.pyx", "__pycache__"))
    (tmp_path / "renderer" / "_short.pyx").write_text("def answer():\n    return 42\n")
    return tmp_path


def left_in(checkout):
    """The files of the package that are no Python sources."""
    paths = (checkout / "renderer").iterdir()
    return sorted(path.name for path in paths if path.suffix != ".py" and path.name != "__pycache__")


def python(checkout, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments], cwd=checkout, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(checkout), **environment},
    )  # fmt: skip


def test_unbuilt_renderer_says_what_to_do(checkout):
    attempt = "import importlib, sys\ntry:\n    importlib.import_module(sys.argv[1])\nexcept ImportError as error:\n    print(error)"
    for module in ("renderer.rasterize", "renderer.unwrap"):
        message = python(checkout, "-c", attempt, module).stdout.splitlines()
        assert len(message) == 1 and "python -m renderer.build" in message[0]


def test_missing_compiler(checkout):
    result = python(checkout, "-m", "renderer.build", CC="no-such-compiler")
    assert result.returncode == 2
    assert "no-such-compiler" in result.stderr and "apt install gcc" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_failing_compiler(checkout):
    result = python(checkout, "-m", "renderer.build", CC="false")
    assert result.returncode == 2 and "compiler failed" in result.stderr.splitlines()[-1]
    assert left_in(checkout) == ["_short.pyx"]


def test_missing_headers(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(build, "outdated", lambda: [PACKAGE / "_sample.pyx"])
    assert build.main() == 2
    message = capsys.readouterr().err
    assert "Python.h is missing" in message and "apt install python3-dev" in message and message.count("\n") == 1


@pytest.mark.slow
def test_source_that_is_not_cython(checkout):
    (checkout / "renderer" / "_short.pyx").write_text("def broken(:\n")
    result = python(checkout, "-m", "renderer.build")
    assert result.returncode == 2 and "Cython" in result.stderr.splitlines()[-1]
    assert left_in(checkout) == ["_short.pyx"]


def test_folder_that_cannot_be_written(monkeypatch, capsys):
    """In the process: root, who runs the tests in a container, may write everywhere."""
    monkeypatch.setattr(build, "outdated", lambda: [PACKAGE / "_sample.pyx"])
    monkeypatch.setattr(build, "check_compiler", lambda: None)

    def refuse(prefix, dir):
        raise PermissionError(13, "Permission denied", str(dir / prefix))

    monkeypatch.setattr(build.tempfile, "TemporaryDirectory", refuse)
    assert build.main() == 2
    message = capsys.readouterr().err
    assert "cannot write" in message and "Permission denied" in message and message.count("\n") == 1


def test_every_source_states_the_compiler_flags():
    """Without -ffp-contract=off the rasteriser's error-free sums are not error-free where a CPU fuses operations."""
    for source in PACKAGE.glob("*.pyx"):
        assert "# distutils: extra_compile_args = -O3 -ffp-contract=off" in source.read_text().splitlines()[:3]


@pytest.mark.slow
def test_flags_of_the_header_reach_the_compiler(checkout):
    source = checkout / "renderer" / "_short.pyx"
    source.write_text("# distutils: extra_compile_args = -no-such-flag\ndef answer():\n    return 42\n")
    result = python(checkout, "-m", "renderer.build")
    assert result.returncode == 2 and "no-such-flag" in result.stderr


@pytest.mark.slow
def test_builds_once_and_again_when_a_source_changes(checkout):
    first = python(checkout, "-m", "renderer.build")
    assert first.returncode == 0, first.stderr
    assert "_short.pyx" in first.stdout
    assert python(checkout, "-c", "import renderer._short; print(renderer._short.answer())").stdout == "42\n"
    assert left_in(checkout) == sorted(["_short.pyx", build.compiled(Path("_short.pyx")).name])
    quick = "import sys; from renderer import build; print(build.main(), {'Cython', 'setuptools'} & set(sys.modules))"
    assert python(checkout, "-c", quick).stdout == "0 set()\n"
    source = checkout / "renderer" / "_short.pyx"
    os.utime(source, (time.time() + 10,) * 2)
    assert "_short.pyx" in python(checkout, "-m", "renderer.build").stdout


def test_repository_is_built():
    assert build.outdated() == []
