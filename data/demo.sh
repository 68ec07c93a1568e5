#!/bin/sh
# The demo: captures the shipped prompts, says what is in the file, shows what was found.
#
#     data/demo.sh [SONDE] [FOLDER]      default: build/release/sonde build/demo
# $PYTHON chooses the python3; it needs h5py and numpy.
set -eu

here=$(dirname "$0")
sonde=${1:-build/release/sonde}
out=${2:-build/demo}
python=${PYTHON:-python3}

run() {
    printf '\n$ %s\n' "$*"
    "$@"
}

mkdir -p "$out"
run "$sonde" capture "$here/model" "$here/prompts.jsonl" -o "$out/demo.h5" \
    --points 'blocks.*.resid_post,blocks.*.attn.pattern' --overwrite
run "$sonde" info "$out/demo.h5"
run "$python" "$here/../analysis/python/demo_report.py" "$out/demo.h5" "$out/demo.html"
