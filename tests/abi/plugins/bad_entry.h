/* bad_entry.h - a plugin whose entry or descriptor is wrong in one way; each file says which. */
#ifndef SONDE_TEST_BAD_ENTRY_H
#define SONDE_TEST_BAD_ENTRY_H

#include "sonde/probe.h"

static inline int32_t setup(void *instance, sonde_probe_setup *given, sonde_probe_error *err)
{
    (void)instance;
    (void)given;
    (void)err;
    return 0;
}

static inline int32_t rows(void *instance, void *state, const sonde_probe_view *view,
                           const sonde_probe_sink *sink, sonde_probe_error *err)
{
    (void)instance;
    (void)state;
    (void)view;
    (void)sink;
    (void)err;
    return 0;
}

#define GOOD_MEMBERS .struct_size = sizeof(sonde_probe), .setup = setup, .rows = rows

#define ENTRY(major, size, n)                                                                      \
    static const sonde_probe *get(uint32_t index)                                                  \
    {                                                                                              \
        return index == 0 ? &probe : NULL;                                                         \
    }                                                                                              \
    const sonde_probe_entry_v1 sonde_probe_entry = {major, 7, size, n, get};
#define GOOD_ENTRY ENTRY(1, sizeof sonde_probe_entry, 1)

#endif
