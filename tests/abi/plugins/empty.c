/* empty.c - holds no probe. */
#include "bad_entry.h"

static const sonde_probe probe = {GOOD_MEMBERS, .name = "empty"};
ENTRY(1, sizeof sonde_probe_entry, 0)
