/* half_saved.c - saves a state that it cannot load. */
#include "bad_entry.h"

static int32_t save(void *instance, const void *state, void *out, uint64_t *bytes,
                    sonde_probe_error *err)
{
    (void)instance;
    (void)state;
    (void)out;
    (void)bytes;
    (void)err;
    return 0;
}

static const sonde_probe probe = {GOOD_MEMBERS, .name = "half_saved", .state_save = save};
GOOD_ENTRY
