/* no_entry.c - a shared object that is no plugin. */
#include "sonde/probe.h"

extern SONDE_PROBE_EXPORT const int not_a_probe;
const int not_a_probe = 1;
