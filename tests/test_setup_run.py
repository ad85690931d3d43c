"""run.sh and its preparation against a made-up system: stubs on PATH, nothing is really installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parent.parent
TOOLS = "awk bash cat cp cut df dirname du flock grep mkdir mv readlink rm sed sha256sum tail tee"

# Stands for Python: answers what the preparation asks as the FAKE_ variables say, and writes what it was asked to do.
PYTHON_STUB = r"""#!/bin/bash
all="$*" input=""
[[ "$all" != "-" ]] || input="$(cat)"
case "$all$input" in
    *version_info*) [[ "${0##*/}" != "python3.11" || -z "${FAKE_BROKEN_SHIM:-}" ]] || exit 127
                    echo "${FAKE_VERSION:-3.11}" ;;
    *"import ensurepip"*) exit "${FAKE_NO_VENV:-0}" ;;
    *sysconfig*) echo "$FAKE_INCLUDE" ;;
    *libGL.so.1*) [[ -z "${FAKE_NO_LIBRARY:-}" ]] || echo "libgl1: the system library libGL.so.1, which OpenCV needs" ;;
    *"-m venv"*) echo "venv" >>"$FAKE_CALLS"; mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    *"pip --version"*) exit 0 ;;
    *"pip install"*) echo "pip" >>"$FAKE_CALLS"
                     [[ -z "${FAKE_KILLED:-}" ]] || kill -9 "$PPID"
                     echo "${FAKE_PIP_SAYS:-Collecting nothing}"; exit "${FAKE_PIP_STATUS:-0}" ;;
    *"external.assets setup"*) echo "assets" >>"$FAKE_CALLS"; exit "${FAKE_ASSETS_STATUS:-0}" ;;
    *renderer.build*) echo "build" >>"$FAKE_CALLS"; exit "${FAKE_BUILD_STATUS:-0}" ;;
    *pipeline.reconstruction*) echo "reconstruct${all#*pipeline.reconstruction}" >>"$FAKE_CALLS"
                            echo "reconstruct sees GPUs: ${CUDA_VISIBLE_DEVICES-all}" >>"$FAKE_CALLS"
                            exit "${FAKE_RECONSTRUCT_STATUS:-0}" ;;
    *refine.py*) echo "refine${all#*refine.py}" >>"$FAKE_CALLS"; exit "${FAKE_REFINE_STATUS:-0}" ;;
    *) echo "unexpected: $all" >>"$FAKE_CALLS"; exit 99 ;;
esac
"""


class FakeSystem:
    """A copy of the scripts in a folder with a space, and a PATH that holds only what is put there."""

    def __init__(self, folder: Path):
        self.checkout = folder / "a checkout"
        self.tools = folder / "bin"
        self.calls_file = folder / "calls"
        self.include = folder / "include"
        for place in (self.checkout / "pipeline" / "runs", self.checkout / "configs", self.tools, self.include):
            place.mkdir(parents=True)
        for name in ("run.sh", "pipeline/runs/prepare.sh"):
            shutil.copy(CHECKOUT / name, self.checkout / name)
        (self.checkout / "requirements.txt").write_text("nothing==1.0\n")
        (self.checkout / "configs" / "default.yaml").write_text("# The default.\n")
        self.pins = self.checkout / "external" / "wheel_pins.py"
        self.pins.parent.mkdir()
        self.pins.write_text("# wheel 1.0\n")
        (self.include / "Python.h").touch()
        for tool in TOOLS.split():
            found = shutil.which(tool)
            if found:
                (self.tools / tool).symlink_to(found)
        self.add("python3.11", PYTHON_STUB)
        self.add("gcc", "#!/bin/bash\n")

    def add(self, name: str, script: str) -> None:
        path = self.tools / name
        path.unlink(missing_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def remove(self, name: str) -> None:
        (self.tools / name).unlink()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
        self.calls_file.write_text("")
        return subprocess.run(
            [shutil.which("bash"), self.checkout / "run.sh", *arguments],
            env={
                "PATH": str(self.tools),
                "HOME": str(self.checkout),
                "FAKE_CALLS": str(self.calls_file),
                "FAKE_INCLUDE": str(self.include),
                **environment,
            },
            cwd=self.tools,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def system(tmp_path) -> FakeSystem:
    return FakeSystem(tmp_path)


STAGES = ["reconstruct", "reconstruct sees GPUs: ", "refine"]


def refused(result: subprocess.CompletedProcess) -> str:
    """The one line of a refusal."""
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.strip()


def test_first_start_installs_builds_and_runs_both_stages(system):
    result = system.run()
    assert result.returncode == 0, result.stderr
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]
    assert "Installing into .venv" in result.stdout


def test_later_start_is_quiet_and_installs_nothing(system):
    system.run()
    result = system.run("my photo.jpg", "-o", "out", "seed=1")
    assert result.stdout + result.stderr == ""
    arguments = " my photo.jpg -o out seed=1"
    assert system.calls == ["build", "reconstruct" + arguments, STAGES[1], "refine" + arguments]


def test_checks_of_a_ready_environment_start_nothing_else(system):
    """The checks ask the real Python here, and the PATH is the real one."""
    system.run()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    asks_python = PYTHON_STUB.replace('echo "${FAKE_VERSION:-3.11}"', f'exec {sys.executable} "$@"')
    asks_python = asks_python.replace('[[ -z "${FAKE_NO_LIBRARY:-}" ]] ||', f'exec {sys.executable} - <<<"$input" ||')
    (system.checkout / ".venv" / "bin" / "python").write_text(asks_python)
    mark = system.checkout / ".venv" / ".facerefiner-installed"
    mark.write_text(mark.read_text().replace("3.11", version))
    result = system.run(PATH=f"{system.tools}:{os.environ['PATH']}")
    assert result.returncode == 0 and system.calls == ["build", *STAGES]


def test_changed_pins_of_assets_are_set_up_in_an_environment_that_is_there(system):
    system.run()
    system.pins.write_text("# wheel 2.0\n")
    assert system.run().returncode == 0
    assert system.calls == ["assets", "build", *STAGES]
    result = system.run()
    assert system.calls == ["build", *STAGES] and result.stdout + result.stderr == ""


def test_assets_that_cannot_be_had_are_tried_once_and_the_run_goes_on(system):
    assert system.run(FAKE_ASSETS_STATUS="1").returncode == 0
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]
    assert system.run(FAKE_ASSETS_STATUS="1").returncode == 0
    assert system.calls == ["build", *STAGES]
    shutil.rmtree(system.checkout / "data")
    system.run()
    assert system.calls == ["assets", "build", *STAGES]


@pytest.mark.parametrize("status", ["2", "130"])
def test_interrupted_or_broken_set_up_of_assets_stops_and_is_tried_again(system, status):
    assert system.run(FAKE_ASSETS_STATUS=status).returncode == int(status)
    assert system.calls == ["venv", "pip", "assets"]
    assert system.run().returncode == 0
    assert system.calls == ["assets", "build", *STAGES]


def test_assets_folder_that_cannot_be_written_stops_nothing(system):
    (system.checkout / "data").write_text("a file")
    assert system.run(FAKE_ASSETS_STATUS="1").returncode == 0
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]


def test_changed_requirements_are_installed_and_said(system):
    system.run()
    (system.checkout / "requirements.txt").write_text("nothing==2.0\n")
    result = system.run()
    assert "requirements.txt has changed" in result.stdout
    assert system.calls == ["pip", "assets", "build", *STAGES]
    assert system.run().stdout == ""


def test_interrupted_installation_is_made_anew(system):
    assert system.run(FAKE_KILLED="1").returncode != 0
    result = system.run()
    assert "interrupted" in result.stdout
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]


def test_interrupted_update_is_made_anew(system):
    system.run()
    (system.checkout / "requirements.txt").write_text("nothing==2.0\n")
    system.run(FAKE_KILLED="1")
    (system.checkout / "requirements.txt").write_text("nothing==1.0\n")
    assert "interrupted" in system.run().stdout
    assert system.calls[:2] == ["venv", "pip"]


def test_failed_installation_is_not_taken_as_finished(system):
    system.run(FAKE_PIP_STATUS="1", FAKE_PIP_SAYS="ERROR: no")
    assert system.run().returncode == 0
    assert system.calls == ["pip", "assets", "build", *STAGES]


def test_installation_that_fails_half_way_is_made_anew(system):
    system.run(FAKE_PIP_STATUS="1", FAKE_PIP_SAYS="Installing collected packages: nothing")
    assert system.run().returncode == 0
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]


def test_failed_update_that_is_taken_back_leaves_what_was_there(system):
    system.run()
    (system.checkout / "requirements.txt").write_text("nothing==no\n")
    assert "ERROR: no" in refused(system.run(FAKE_PIP_STATUS="1", FAKE_PIP_SAYS="ERROR: no"))
    (system.checkout / "requirements.txt").write_text("nothing==1.0\n")
    assert system.run().stdout == ""
    assert system.calls == ["build", *STAGES]


def test_activated_environment_is_not_what_the_new_one_is_made_with(system):
    system.run()
    (system.checkout / ".facerefiner-installing").touch()
    inside = system.checkout / ".venv" / "bin"
    shutil.copy(inside / "python", inside / "python3.11")
    result = system.run(PATH=f"{inside}:{system.tools}")
    assert result.returncode == 0, result.stderr
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]


def test_environment_made_by_hand_is_kept(system):
    (system.checkout / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(system.tools / "python3.11", system.checkout / ".venv" / "bin" / "python")
    (system.checkout / ".venv" / "mine").touch()
    assert system.run().returncode == 0
    assert system.calls == ["pip", "assets", "build", *STAGES]
    assert (system.checkout / ".venv" / "mine").exists()


def test_moved_checkout_is_installed_anew(system):
    system.run()
    moved = system.checkout.with_name("moved")
    system.checkout.rename(moved)
    system.checkout = moved
    assert "moved" in system.run().stdout
    assert system.calls == ["venv", "pip", "assets", "build", *STAGES]


def test_environment_that_does_not_run_is_made_anew(system):
    system.run()
    python = system.checkout / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nonexistent/python3.11")
    assert "does not run" in system.run().stdout
    assert system.calls[:2] == ["venv", "pip"]


def test_other_python_asked_for_makes_the_environment_anew(system):
    system.run()
    system.add("python3.12", PYTHON_STUB.replace(":-3.11}", ":-3.12}"))
    result = system.run(PYTHON="python3.12")
    assert "PYTHON asks for 3.12" in result.stdout
    assert system.calls[:2] == ["venv", "pip"]
    assert system.run(PYTHON="python3.12").stdout == ""


def test_shim_that_fails_is_passed_over(system):
    system.add("python3.12", PYTHON_STUB.replace(":-3.11}", ":-3.12}"))
    result = system.run(FAKE_BROKEN_SHIM="1")
    assert result.returncode == 0, result.stderr
    assert "Python 3.12" in result.stdout


def test_no_python(system):
    system.remove("python3.11")
    assert "apt-get install python3.11 python3.11-venv python3.11-dev" in refused(system.run())
    assert system.calls == []


def test_wrong_python_is_passed_over_or_named(system):
    system.remove("python3.11")
    system.add("python3", PYTHON_STUB.replace(":-3.11}", ":-3.13}"))
    assert "No Python 3.11 or 3.12" in refused(system.run())
    assert "is Python 3.13, needed is 3.11 or 3.12" in refused(system.run(PYTHON="python3"))
    assert "does not run" in refused(system.run(PYTHON="/nonexistent/python"))


def test_no_venv_module(system):
    assert "apt-get install python3.11-venv" in refused(system.run(FAKE_NO_VENV="1"))


def test_no_compiler(system):
    system.remove("gcc")
    assert refused(system.run()).endswith("sudo apt-get install gcc libc6-dev")


def test_no_python_headers(system):
    (system.include / "Python.h").unlink()
    assert refused(system.run()).endswith("sudo apt-get install python3.11-dev")


def test_no_system_library_before_and_after_installation(system):
    before = refused(system.run(FAKE_NO_LIBRARY="1"))
    assert "libGL.so.1" in before and before.endswith("sudo apt-get install libgl1")
    assert system.calls == []
    system.run()
    assert refused(system.run(FAKE_NO_LIBRARY="1")) == before


def test_each_missing_thing_has_its_line(system):
    system.remove("gcc")
    result = system.run(FAKE_NO_LIBRARY="1", FAKE_NO_VENV="1")
    assert result.returncode == 2
    assert [line.rpartition("install ")[2] for line in result.stderr.splitlines()] == [
        "python3.11-venv",
        "gcc libc6-dev",
        "libgl1",
    ]


def test_full_disk_before_installation(system):
    system.add("df", "#!/bin/bash\necho Filesystem\necho /dev/sda 100000000 91500000 8500000 92% /\n")
    message = refused(system.run())
    assert "8 GB free" in message and "9 GB" in message
    assert system.calls == []


def test_checkout_that_cannot_be_written(system):
    (system.checkout / ".facerefiner-installing").mkdir()
    assert "cannot be written to" in refused(system.run())
    assert system.calls == []


@pytest.mark.parametrize(
    ("pip_says", "told"),
    [
        ("NewConnectionError: [Errno -3] Temporary failure in name resolution", "package index cannot be reached"),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "the disk is full"),
        ("ERROR: No matching distribution found for nothing==1.0", "No matching distribution found for nothing==1.0"),
    ],
)
def test_failure_of_pip_is_one_line_with_the_log(system, pip_says, told):
    message = refused(system.run(FAKE_PIP_STATUS="1", FAKE_PIP_SAYS=pip_says))
    assert told in message and message.endswith(".venv/install.log")
    assert pip_says in (system.checkout / ".venv" / "install.log").read_text()


def test_failed_build_stops_before_the_stages(system):
    assert system.run(FAKE_BUILD_STATUS="2").returncode == 2
    assert system.calls == ["venv", "pip", "assets", "build"]


@pytest.mark.parametrize(
    ("reconstruct", "refine", "expected", "stages"),
    [("0", "0", 0, 2), ("1", "0", 1, 2), ("0", "1", 1, 2), ("1", "2", 2, 2), ("2", "0", 2, 1), ("130", "0", 130, 1)],
)
def test_exit_codes_of_the_stages(system, reconstruct, refine, expected, stages):
    system.run()
    result = system.run(FAKE_RECONSTRUCT_STATUS=reconstruct, FAKE_REFINE_STATUS=refine)
    assert result.returncode == expected
    assert len([call for call in system.calls if call in ("reconstruct", "refine")]) == stages


def test_help_is_there_before_and_after_installation(system):
    result = system.run("--help")
    assert result.returncode == 0 and "./run.sh [PHOTO | FOLDER]" in result.stdout
    assert system.calls == []
    system.run()
    system.run("photo.jpg", "--list-configs")
    assert system.calls == ["build", "refine photo.jpg --list-configs"]


def test_two_first_starts_install_once(system):
    if not shutil.which("flock"):
        pytest.skip("needs flock (util-linux)")
    system.add("python3.11", PYTHON_STUB.replace('echo "pip" >>"$FAKE_CALLS"', 'echo "pip" >>"$FAKE_CALLS"; sleep 1'))
    (system.tools / "sleep").symlink_to(shutil.which("sleep"))
    environment = {
        "PATH": str(system.tools),
        "FAKE_CALLS": str(system.calls_file),
        "FAKE_INCLUDE": str(system.include),
    }
    runs = [
        subprocess.Popen([shutil.which("bash"), system.checkout / "run.sh"], env=environment, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for run in runs:
        run.communicate(timeout=60)
        assert run.returncode == 0
    assert system.calls.count("pip") == 1 and system.calls.count("refine") == 2


def test_run_sh_works_through_a_link_from_elsewhere(system):
    link = system.tools / "facerefiner"
    link.symlink_to(system.checkout / "run.sh")
    command, environment = [shutil.which("bash"), link, "--help"], {"PATH": str(system.tools)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and "default.yaml" in result.stdout


@pytest.mark.parametrize("name", ["run.sh", "tests/run.sh", ".ci/run"])
def test_scripts_are_executable_and_parse(name):
    assert os.access(CHECKOUT / name, os.X_OK)
    subprocess.run([shutil.which("bash"), "-n", CHECKOUT / name], check=True)


def test_every_requirement_is_pinned():
    lines = (CHECKOUT / "requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements and all(line.count("==") == 1 and " " not in line for line in requirements)
