/* loop.inc.h - twelve chains of fused multiply-adds, for one vector level. */
#include "bench.h"
#include "kernels/vec16.h"

#if defined(__AVX512F__)
#define CHAINS 12
#else
#define CHAINS 6
#endif

double LOOP_NAME(int64_t millions, float *out)
{
    vec16 acc[CHAINS], a = v_set(0.999f), b = v_set(0.001f);
    int64_t rounds = millions * 1000000 / CHAINS;
    for (int j = 0; j < CHAINS; j++) acc[j] = v_set((float)j);
    for (int64_t i = 0; i < rounds; i++) {
        SONDE_UNROLL
        for (int j = 0; j < CHAINS; j++) acc[j] = v_fma(acc[j], a, b);
    }
    for (int j = 0; j < CHAINS; j++) *out += v_tree(acc[j]);
    return 32.0 * (double)(rounds * CHAINS);
}
