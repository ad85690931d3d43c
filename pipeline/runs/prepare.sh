# Prepares what a run needs: .venv with requirements.txt, the assets of set-up, and the compiled rasteriser. Sourced by
# run.sh, tests/run.sh and .ci/run, which set $root (the checkout). `prepare` sets $python, is quiet where nothing is to
# be done, and otherwise ends the script with exit code 2 and one line for each thing that is missing.

venv="$root/.venv"
venv_python="$venv/bin/python"
installed_mark="$venv/.facerefiner-installed"
installing_mark="$root/.facerefiner-installing"
install_log="$venv/install.log"
wheel_pins="$root/external/wheel_pins.py"
assets_mark="$root/data/setup/.tried"
needed_gigabytes=9

fail() {
    printf '%s\n' "$1" >&2
    exit 2
}

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Prints a Python 3.11 or 3.12 that runs. All of PATH is tried: a version manager's shim may be there and yet fail.
find_python() {
    local name candidate version
    if [[ -n "${PYTHON:-}" ]]; then
        version="$(version_of "$PYTHON")" || fail "PYTHON=$PYTHON does not run: give the path of a Python 3.11 or 3.12, or unset it."
        [[ "$version" == 3.11 || "$version" == 3.12 ]] ||
            fail "PYTHON=$PYTHON is Python $version, needed is 3.11 or 3.12: give the path of one, or unset it."
        printf '%s\n' "$PYTHON"
        return
    fi
    for name in python3.11 python3.12 python3; do
        while read -r candidate; do
            # The environment itself, when it is activated, is what may have to be made anew.
            [[ "$candidate" != "$venv"/* ]] || continue
            version="$(version_of "$candidate")" || continue
            if [[ "$version" == 3.11 || "$version" == 3.12 ]]; then
                printf '%s\n' "$candidate"
                return
            fi
        done < <(type -aP "$name")
    done
    fail "No Python 3.11 or 3.12 was found: sudo apt-get install python3.11 python3.11-venv python3.11-dev (or the same with 3.12), or set PYTHON to the path of one."
}

# Prints a line "apt package: what is missing" for everything the system lacks; $1 is the Python to install for.
missing_packages() {
    local version include
    version="$(version_of "$1")"
    "$1" -c 'import ensurepip, venv' 2>/dev/null || printf '%s\n' "python$version-venv: Python's module for environments (venv, ensurepip)"
    command -v "${CC:-gcc}" >/dev/null || printf '%s\n' "gcc libc6-dev: a C compiler (${CC:-gcc})"
    include="$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
    [[ -f "$include/Python.h" ]] || printf '%s\n' "python$version-dev: Python's header file $include/Python.h"
    missing_libraries "$1"
}

missing_libraries() {
    "$1" - <<'PYTHON'
import ctypes

for library, package in (("libGL.so.1", "libgl1"), ("libgthread-2.0.so.0", "libglib2.0-0")):
    try:
        ctypes.CDLL(library)
    except OSError:
        print(f"{package}: the system library {library}, which OpenCV needs")
PYTHON
}

# Ends the script with a line for each of missing_packages' lines, if there are any.
report_missing() {
    [[ -n "$1" ]] || return 0
    while IFS= read -r line; do
        printf '%s\n' "Missing: ${line#*: }. Install it with: sudo apt-get install ${line%%:*}" >&2
    done <<<"$1"
    exit 2
}

# What the mark of a finished installation must hold: the requirements, the Python and the place.
installation() {
    sha256sum <"$root/requirements.txt" | cut -d ' ' -f 1
    version_of "$venv_python" || return 1
    printf '%s\n' "$venv"
}

is_ready() {
    [[ -f "$installed_mark" && ! -e "$installing_mark" ]] && [[ "$(installation)" == "$(<"$installed_mark")" ]] &&
        { [[ -z "${PYTHON:-}" ]] || [[ "$(version_of "$PYTHON")" == "$(version_of "$venv_python")" ]]; }
}

# Prints why .venv must be made from nothing; nothing where packages can be installed into it as it is.
reason_to_rebuild() {
    local version wanted
    if [[ ! -d "$venv" ]]; then
        printf '%s\n' "there is none yet"
    elif [[ -e "$installing_mark" ]]; then
        printf '%s\n' "the last installation was interrupted"
    elif ! version="$(version_of "$venv_python")" || ! "$venv_python" -m pip --version >/dev/null 2>&1; then
        printf '%s\n' "the one that is there does not run"
    elif [[ -n "${PYTHON:-}" ]] && wanted="$(version_of "$PYTHON")" && [[ "$wanted" != "$version" ]]; then
        printf '%s\n' "it has Python $version and PYTHON asks for $wanted"
    elif [[ "$version" != 3.11 && "$version" != 3.12 ]]; then
        printf '%s\n' "it has Python $version"
    elif [[ -f "$installed_mark" && "$(tail -n 1 "$installed_mark")" != "$venv" ]]; then
        printf '%s\n' "the checkout was moved"
    fi
}

# Space for the environment; the former one, which it replaces, counts as free.
free_gigabytes() {
    local former=0
    [[ ! -d "$venv" ]] || former="$(du -sk "$venv" | cut -f 1)"
    df -Pk "$root" | awk -v former="$former" 'NR == 2 { print int(($4 + former) / 1000000) }'
}

# On a terminal, one line that shows what pip is at.
show_progress() {
    local line
    while IFS= read -r line; do
        [[ ! -t 1 || "$line" != @(Collecting|Installing)* ]] || printf '\r\033[K  %.70s' "$line"
    done
    [[ ! -t 1 ]] || printf '\r\033[K'
}

# From here to the end of the installation, a start that is cut short is seen by the next one.
mark_installing() {
    { : >"$installing_mark"; } 2>/dev/null ||
        fail "$root cannot be written to: change its permissions (sudo chown -R \"\$USER\" .), or move the checkout."
}

install_environment() {
    local base reason free started=$SECONDS
    reason="$(reason_to_rebuild)"
    if [[ -n "$reason" ]]; then
        base="$(find_python)" || exit 2
        report_missing "$(missing_packages "$base")"
        free="$(free_gigabytes)"
        ((free >= needed_gigabytes)) ||
            fail "The disk of $root has $free GB free, an installation needs $needed_gigabytes GB: free some (sudo apt-get clean), or move the checkout to a larger disk."
        echo "Installing into .venv ($reason): $(version_of "$base" | sed 's/^/Python /'), about 7 GB, some minutes ..."
        mark_installing
        rm -rf "$venv"
        "$base" -m venv "$venv" >/dev/null 2>&1 ||
            fail "Python could not make the environment .venv: sudo apt-get install python$(version_of "$base")-venv"
    else
        base="$venv_python"
        report_missing "$(missing_packages "$base")"
        if [[ -f "$installed_mark" ]]; then
            echo "requirements.txt has changed: bringing .venv up to date ..."
        else
            echo "Installing requirements.txt into the .venv that is there ..."
        fi
        mark_installing
    fi
    "$venv_python" -m pip install --disable-pip-version-check --no-input -r "$root/requirements.txt" 2>&1 |
        tee "$install_log" | show_progress || {
        # Before this line of pip's nothing was changed, and what is there can be used again.
        grep -q '^Installing collected packages' "$install_log" || rm -f "$installing_mark"
        fail "$(pip_failure)"
    }
    installation >"$installed_mark.new"
    mv "$installed_mark.new" "$installed_mark"
    rm -f "$installing_mark" "$assets_mark"
    echo "Installed in $((SECONDS - started)) s."
}

# One line on why pip failed.
pip_failure() {
    local last kind="pip could not install the packages" remedy="read"
    last="$(grep -E '^ *(ERROR|error):|OSError' "$install_log" | tail -n 1)" || last="$(tail -n 1 "$install_log")"
    if grep -qE 'No space left on device|Disk quota exceeded' "$install_log"; then
        kind="the disk is full"
        remedy="free some space (sudo apt-get clean; or set TMPDIR to a larger disk) and start again; see"
    elif grep -qE 'NewConnectionError|NameResolutionError|name resolution|Connection(Refused|Reset)?Error|onnection refused|timed out|ProxyError|SSLError|No route to host|unreachable' "$install_log"; then
        kind="the package index cannot be reached"
        remedy="check the network and HTTPS_PROXY and start again; see"
    fi
    printf '%s\n' "Installation failed, $kind (${last:0:200}): $remedy $install_log"
}

# Tried once for each list of pins and after each installation, whether or not it succeeds: without network, later
# starts do not wait for it, and `python -m external.assets setup` tries again by hand. Its exit code 1 means that an
# asset could not be obtained; it prints what that disables, and the run goes on.
set_up_assets() {
    local pins status=0
    pins="$(sha256sum <"$wheel_pins")"
    [[ ! -f "$assets_mark" || "$(<"$assets_mark")" != "$pins" ]] || return 0
    echo "Setting up assets (data/setup) ..."
    "$venv_python" -P -m external.assets setup || status=$?
    ((status <= 1)) || exit "$status"
    { mkdir -p "${assets_mark%/*}" && printf '%s\n' "$pins" >"$assets_mark"; } 2>/dev/null || true
}

prepare() {
    local lock="$root/.facerefiner-lock"
    # Two first runs at once would install into each other. Without flock, or where nothing may be written, none waits.
    if command -v flock >/dev/null && { exec 9>"$lock"; } 2>/dev/null; then
        flock -n 9 || { echo "Another run is preparing the environment: waiting ..." >&2 && flock 9; }
    fi
    export PYTHONPATH="$root"
    if is_ready; then
        report_missing "$(missing_libraries "$venv_python")"
    else
        install_environment
    fi
    set_up_assets
    python="$venv_python"
    "$python" -P -m renderer.build || exit 2
    exec 9>&-
}
