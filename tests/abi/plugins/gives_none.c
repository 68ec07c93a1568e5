/* gives_none.c - says two probes, gives one. */
#include "bad_entry.h"

static const sonde_probe probe = {GOOD_MEMBERS, .name = "gives_one"};
ENTRY(1, sizeof sonde_probe_entry, 2)
