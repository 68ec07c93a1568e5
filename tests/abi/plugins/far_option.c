/* far_option.c - an option lies behind the instance memory. */
#include "bad_entry.h"

static const sonde_probe_option options[] = {
    {.name = "far", .type = SONDE_PROBE_OPTION_TENSOR, .offset = 8},
    {.name = NULL},
};
static const sonde_probe probe = {GOOD_MEMBERS, .name = "far_option", .options = options,
                                  .instance_bytes = 16};
GOOD_ENTRY
