/* small_entry.c - its entry is smaller than that of ABI 1. */
#include "bad_entry.h"

static const sonde_probe probe = {GOOD_MEMBERS, .name = "small_entry"};
ENTRY(1, 16, 1)
