/* small_descriptor.c - its descriptor ends before `rows`. */
#include "bad_entry.h"

static const sonde_probe probe = {.struct_size = 32, .name = "small_descriptor"};
GOOD_ENTRY
