/* no_rows.c - has no `rows`. */
#include "bad_entry.h"

static const sonde_probe probe = {.struct_size = sizeof probe, .name = "no_rows", .setup = setup};
GOOD_ENTRY
