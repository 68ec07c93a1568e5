# a probe that fails ends the run with 5 and its message; sequences that were done are kept
command -v "${CC:-gcc}" > /dev/null || skip "no compiler"
model m
cat > failing.c <<'C'
#include <sonde/probe.h>
#include <stdio.h>

static int32_t setup(void *instance, sonde_probe_setup *setup, sonde_probe_error *err)
{
    (void)instance, (void)setup, (void)err;
    return 0;
}

static int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                    const sonde_probe_sink *sink, sonde_probe_error *err)
{
    (void)instance, (void)state, (void)sink;
    if (view->sequence < 2) return 0;
    snprintf(err->message, sizeof err->message, "does not like sequence %d", (int)view->sequence);
    return 1;
}

static const sonde_probe failing = {.struct_size = sizeof failing, .name = "failing", .version = "1",
                                    .help = "fails", .setup = setup, .rows = rows};
static const sonde_probe *get(uint32_t index)
{
    (void)index;
    return &failing;
}
const sonde_probe_entry_v1 sonde_probe_entry = {1, 0, sizeof sonde_probe_entry, 1, get};
C
mkdir found
"${CC:-gcc}" -shared -fPIC -I"$TREE/lib/include" failing.c -o found/failing.so || exit 1
printf '{"text": "one"}\n{"text": "two"}\n{"text": "three"}\n{"text": "four"}\n' > p.jsonl
export SONDE_PROBE_PATH="$PWD/found"
sonde probes | grep failing
t sonde capture m p.jsonl -o x.h5 --probe capture --probe failing --quiet
sonde info x.h5 --json | grep '"sealed"\|"complete"\|"sequences"'
echo 'no shared object' > found/text.so
t sonde capture m p.jsonl -o y.h5 --probe "$PWD/found/text.so" --quiet
t sonde capture m p.jsonl -o y.h5 --probe ./found/nothing.so --quiet
