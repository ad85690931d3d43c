#!/usr/bin/env bash
# Prepares the environment as run.sh does and runs the tests.
#
#   tests/run.sh                    every test
#   tests/run.sh --quick            what to run while working: no test marked slow, with the coverage of lines
#   tests/run.sh FILE... [OPTION]   these files alone; options go to pytest
#
# Tests on real photos look in the folder that FACEREFINER_TEST_DATA names and are skipped, with that reason, without it.
set -euo pipefail

root="$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"

# Files are named from the folder that the user is in.
arguments=() names_files=false
for argument in "$@"; do
    if [[ "$argument" == --quick ]]; then
        arguments+=(-m "not slow" --cov --cov-report=term:skip-covered)
    elif [[ "$argument" != -* && -e "${argument%%::*}" ]]; then
        arguments+=("$(readlink -f "${argument%%::*}")${argument#"${argument%%::*}"}")
        names_files=true
    else
        arguments+=("$argument")
    fi
done
# Two processes: tests of one file share what they made, and run in one.
$names_files || arguments=("$root/tests" -n 2 --dist loadfile "${arguments[@]}")

source "$root/pipeline/runs/prepare.sh"
prepare

export TF_CPP_MIN_LOG_LEVEL=3 GLOG_minloglevel=3
cd "$root"
exec "$python" -m pytest "${arguments[@]}"
