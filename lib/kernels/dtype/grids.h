/* grids.h - the points of IQ1 (shared by IQ1_S and IQ1_M), IQ2 and IQ3: see make_grids.py. */
#ifndef SONDE_KERNELS_GRIDS_H
#define SONDE_KERNELS_GRIDS_H

#include <stdint.h>

/* 8 values a point, 2 bits each: -1, 0, 1. */
extern const uint16_t sonde_grid_iq1[2048];
/* 8 values a point, 2 bits each: 8, 25, 43. */
extern const uint16_t sonde_grid_iq2_xxs[256], sonde_grid_iq2_xs[512], sonde_grid_iq2_s[1024];
/* 4 values a point, 3 bits each: 4, 12, 20, 28, 36, 44, 52, 62; and the odd numbers to 15. */
extern const uint16_t sonde_grid_iq3_xxs[256], sonde_grid_iq3_s[512];

#endif
