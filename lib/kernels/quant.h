/*
 * quant.h - quantised weights kept as the integers and scales that the file stores.
 *
 * A matrix whose `dtype` is a kind with a form below is kept in panels of 32 outputs; a panel is a
 * run of groups of 32 k, first to last, each
 *
 *   scales  [1 or 2][32]  f16, or f32 where `wide`; two where a scale covers 16 elements
 *   lows    [32]          the same type; only where `low`
 *   words   [8][32]       bits 8: little-endian, byte i of word w is the integer of k = 4 w + i
 *           [4][32]       bits 4: nibble i of word w is  integer + zero  of  k = 8 w + i / 2 (even i),
 *                         8 w + 4 + i / 2 (odd i)
 *
 * so that word by word the bytes of four neighbouring k lie together for products of integers. The
 * value is fl(scale * q), or fl(fl(scale * q) + low), where the product has at most 24 bits and so
 * equals one fused multiply-add. Rows beyond the last one are zero.
 */
#ifndef SONDE_KERNELS_QUANT_H
#define SONDE_KERNELS_QUANT_H

#include "kernels/dtype/split.h"
#include "kernels/kernels.h"

#define SONDE_QUANT_GROUP SONDE_SPLIT_GROUP

typedef struct sonde_quant_form {
    sonde_dtype dtype;
    int bits, zero; /* zero: what nibbles are stored above their value */
    bool halves;    /* a scale covers 16 elements */
    bool low, wide;
} sonde_quant_form;
/* NULL: this kind has none, it is widened when it is packed. */
const sonde_quant_form *sonde_quant_form_of(sonde_dtype dtype);

/* Calls `call(..., form)` with the form of a dtype as a constant; kinds of one form share it. */
#define SONDE_QUANT_FORM(bits, zero, halves, low, wide)                                            \
    ((sonde_quant_form){SONDE_DTYPE_NONE, bits, zero, halves, low, wide})
#define SONDE_EACH_QUANT_FORM(dtype, call, ...)                                                    \
    switch (dtype) {                                                                               \
    case SONDE_DTYPE_Q4_0: call(__VA_ARGS__, SONDE_QUANT_FORM(4, 8, false, false, false)); break;  \
    case SONDE_DTYPE_Q4_1: call(__VA_ARGS__, SONDE_QUANT_FORM(4, 0, false, true, false)); break;   \
    case SONDE_DTYPE_Q4_K: call(__VA_ARGS__, SONDE_QUANT_FORM(4, 0, false, true, true)); break;    \
    case SONDE_DTYPE_Q5_1: call(__VA_ARGS__, SONDE_QUANT_FORM(8, 0, false, true, false)); break;   \
    case SONDE_DTYPE_Q5_K: call(__VA_ARGS__, SONDE_QUANT_FORM(8, 0, false, true, true)); break;    \
    case SONDE_DTYPE_Q6_K: call(__VA_ARGS__, SONDE_QUANT_FORM(8, 0, true, false, true)); break;    \
    default: call(__VA_ARGS__, SONDE_QUANT_FORM(8, 0, false, false, false)); break;                \
    }

static inline int64_t sonde_quant_head_bytes(const sonde_quant_form *f)
{
    return SONDE_PANEL * (f->wide ? 4 : 2) * ((f->halves ? 2 : 1) + (f->low ? 1 : 0));
}
static inline int64_t sonde_quant_group_bytes(const sonde_quant_form *f)
{
    return sonde_quant_head_bytes(f) + SONDE_QUANT_GROUP * SONDE_PANEL * f->bits / 8;
}
/* Where group k / 32 of a panel begins. */
static inline char *sonde_quant_group_at(const sonde_packed *w, int64_t panel, int64_t k)
{
    int64_t at = panel * (w->cols / SONDE_QUANT_GROUP) + k / SONDE_QUANT_GROUP;
    return (char *)w->data + at * sonde_quant_group_bytes(sonde_quant_form_of(w->dtype));
}
static inline bool sonde_quant_packed(const sonde_packed *w)
{
    return !w->mapped && sonde_quant_form_of(w->dtype) != NULL;
}

/* True when a matrix of this source can be kept so: whole blocks in rows, no scales apart. */
bool sonde_quant_keeps(const sonde_matrix_source *source);
size_t sonde_quant_bytes(const sonde_quant_form *form, int64_t rows, int64_t cols);
void sonde_quant_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                      int64_t end);
/* Groups k in [begin, end) of one panel of a source, at `to`. */
void sonde_quant_pack_slice(const sonde_matrix_source *source, const sonde_quant_form *form,
                            int64_t panel, int64_t begin, int64_t end, char *to);
/* Group `group` of output feature r of a packed matrix. */
void sonde_quant_split(const sonde_packed *w, int64_t r, int64_t group, sonde_split_group *out);
/* Output feature r of a packed matrix as fp32: the bits of its decoder. */
void sonde_quant_row(const sonde_packed *w, int64_t r, float *row);

/* ---- vector levels (quant.inc.h): the bits of ref/linear.c ------------------------------------------ */

/* Rows that take the weights straight from their panel; more rows share a slice made fp32. */
#define SONDE_QUANT_FEW 4
/* A block of k of one panel times a few rows. */
typedef struct sonde_quant_few {
    const sonde_packed *w;
    int64_t panel, begin, end; /* k, multiples of 32 */
    int64_t rows;              /* 1 to SONDE_QUANT_FEW */
    const float *x[SONDE_QUANT_FEW];
    float *totals[SONDE_QUANT_FEW]; /* [32]: set when begin is 0, else added to */
} sonde_quant_few;
#if defined(__x86_64__)
void sonde_quant_few_avx2(const sonde_quant_few *few);
void sonde_quant_few_avx512(const sonde_quant_few *few);
/* The block of k as fp32 [end - begin][32]. */
void sonde_quant_slice_avx2(const sonde_packed *w, int64_t panel, int64_t begin, int64_t end,
                            float *slice);
void sonde_quant_slice_avx512(const sonde_packed *w, int64_t panel, int64_t begin, int64_t end,
                              float *slice);
#endif

#endif
