#!/usr/bin/env bash
# Prepares the environment as run.sh does and runs the tests; arguments go to pytest. Tests on real photos look in the
# folder that FACEREFINER_TEST_DATA names and are skipped, saying so, without it.
set -euo pipefail

root="$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")"
source "$root/pipeline/runs/prepare.sh"
prepare

export TF_CPP_MIN_LOG_LEVEL=3 GLOG_minloglevel=3
cd "$root"
exec "$python" -m pytest tests "$@"
