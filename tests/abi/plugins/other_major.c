/* other_major.c - made for ABI 2.7. */
#include "bad_entry.h"

static const sonde_probe probe = {GOOD_MEMBERS, .name = "other_major"};
ENTRY(2, sizeof sonde_probe_entry, 1)
