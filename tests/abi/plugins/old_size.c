/* old_size.c - a descriptor that ends after `rows`, as a smaller ABI 1 might: it is good. */
#include "bad_entry.h"

static const sonde_probe probe = {.struct_size = offsetof(sonde_probe, done), .name = "old_size",
                                  .setup = setup, .rows = rows};
GOOD_ENTRY
