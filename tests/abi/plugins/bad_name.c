/* bad_name.c - its name is no name. */
#include "bad_entry.h"

static const sonde_probe probe = {GOOD_MEMBERS, .name = "../Bad"};
GOOD_ENTRY
