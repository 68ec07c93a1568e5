#!/bin/sh
# run.sh PROGRAM [NAME...]: the tests of the command line (README.md); 'N passed, N failed' at the end.
here=$(dirname "$0")
exec "${PYTHON:-python3}" "$here/run_scripts.py" "$@"
