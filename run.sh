#!/usr/bin/env bash
# Photos of faces in, complete UV textures out.
#
#   ./run.sh [PHOTO | FOLDER]... [-o OUT] [-c CONFIG] [key=value ...]
#   ./run.sh --help | --list-configs
#
# The first start installs everything into .venv; without photos it runs on two sample faces. Then two stages run,
# python -m pipeline.reconstruction and refine.py, with the same arguments. Exit code: 0 all done, 1 some photos failed,
# 2 wrong use or something missing.
set -euo pipefail

root="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
source "$root/pipeline/runs/prepare.sh"

only_informs=false
for argument in "$@"; do
    case "$argument" in
        -h | --help | --list-configs) only_informs=true ;;
    esac
done

# Nobody should wait for an installation to read how the program is used.
if $only_informs && ! is_ready; then
    sed -n '2,/^set /{s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
    echo "Not installed yet; afterwards --help lists every setting. Configs: $(cd "$root/configs" && echo *.yaml)"
    exit 0
fi

prepare

# TensorFlow and MediaPipe write pages of messages that are for their developers.
export TF_CPP_MIN_LOG_LEVEL=3 GLOG_minloglevel=3

if $only_informs; then
    exec "$python" -P "$root/refine.py" "$@"
fi

# TensorFlow would take all memory of a GPU, which only the refinement uses.
status=0
CUDA_VISIBLE_DEVICES="" "$python" -P -m pipeline.reconstruction "$@" || status=$?
((status <= 1)) || exit "$status"

refine_status=0
"$python" -P "$root/refine.py" "$@" || refine_status=$?
exit $((refine_status > status ? refine_status : status))
