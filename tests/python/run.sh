#!/bin/sh
# Tests of analysis/python with the helpers that `make tests` built. BUILD: the build folder
# (default build/release); PYTHON: an interpreter with h5py and numpy (default /usr/bin/python3).
set -eu
cd "$(dirname "$0")/../.."
python=${PYTHON:-/usr/bin/python3}
export SONDE_TOOLS="${BUILD:-build/release}/tests/python"
if ! "$python" -c 'import h5py, numpy' 2>/dev/null; then
    echo "$python has no h5py and numpy (Debian: python3-h5py)"
    exit 77
fi
exec "$python" tests/python/test_sonde_py.py
