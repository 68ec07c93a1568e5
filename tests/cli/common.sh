# Read before every test. A test is mostly lines of `t sonde ...`: the line, all that it prints, and
# its exit code, one after the other, as in a terminal.
t() {
    echo "\$ $*"
    "$@" 2>&1 && echo "exit 0" || echo "exit $?"
    echo
}

# model FOLDER [key=JSON...]: a llama of 2 blocks with random weights and a tokenizer of bytes.
model() {
    "$PYTHON" "$CLI/make_model.py" "$@"
}

skip() {
    echo "$*"
    exit 77
}
