#!/bin/sh
# Builds llama.cpp's two benchmark programs for peers.py: peers_build.sh FOLDER (about 20 minutes of
# two cores; needs cmake, ninja, pip). The sources are those that llama-cpp-python ships;
# they are compiled for this machine's own processor (GGML_NATIVE), as its users do.
set -eu
version=0.3.36
folder=${1:?usage: peers_build.sh FOLDER}
mkdir -p "$folder/src"
pip download -q --no-deps --no-binary :all: --no-build-isolation -d "$folder" \
    "llama-cpp-python==$version"
tar -xf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder/src" --strip-components=1
cmake -S "$folder/src/vendor/llama.cpp" -B "$folder/build" -G Ninja -DCMAKE_BUILD_TYPE=Release \
    -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF
ninja -C "$folder/build" llama-bench llama-batched-bench
echo "$folder/build/bin"
