#!/bin/sh
# run.sh PROGRAM FOLDER [SHAPE] - a checkpoint of a big shape from end to end: made in FOLDER when it is not
# there (SHAPE: llama3-8b, the default, or qwen3-moe), captured with its weights packed, left in the file, and
# half and half; all three files must be the same, and a bound that cannot hold the run is refused beforehand.
# By hand: it takes minutes, up to 26 GB of disk and up to 18 GB of memory. Prints one line a step.
set -eu
here=$(dirname "$0") program=$1 folder=$2 shape=${3:-llama3-8b}
[ -f "$folder/model.safetensors.index.json" ] || python3 "$here/make_model.py" "$shape" "$folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - > "$work/prompts.jsonl" <<'PY'
import json
print(json.dumps({"tokens": [(i * 7919 + 11) % 30000 for i in range(16)]}))
PY

# one NAME OPTIONS: a capture; what the program says of time and memory, and what the disk gave.
one() {
    name=$1
    shift
    python3 "$here/watch.py" "$name" "$program" capture "$folder" "$work/prompts.jsonl" -o "$work/$name.h5" "$@"
}
same() {
    "$program" diff "$work/$1.h5" "$work/$2.h5" | tail -n 1 | sed "s/^/$1 and $2: /"
}

"$program" plan "$folder" "$work/prompts.jsonl" 2> "$work/plan.err" | grep -A 1 memory
one mapped --off pack
one half --memory 8G
same mapped half
if [ "$shape" = llama3-8b ]; then
    one packed --memory 21G
    same mapped packed
fi
if "$program" capture "$folder" "$work/prompts.jsonl" -o "$work/no.h5" --memory 16M 2> "$work/refused"; then
    echo "FAILED: 16 MB were enough" >&2
    exit 1
fi
echo "refused: $(grep -v warning "$work/refused")"
