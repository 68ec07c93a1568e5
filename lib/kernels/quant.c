/* quant.c - packing quantised weights, and rows of them: the same for every level. */
#include "quant.h"

#include <string.h>

static const sonde_quant_form forms[] = {
    {SONDE_DTYPE_Q4_0, 4, 8, false, false, false}, {SONDE_DTYPE_Q4_1, 4, 0, false, true, false},
    {SONDE_DTYPE_Q4_K, 4, 0, false, true, true},   {SONDE_DTYPE_Q5_0, 8, 0, false, false, false},
    {SONDE_DTYPE_Q8_0, 8, 0, false, false, false}, {SONDE_DTYPE_Q5_1, 8, 0, false, true, false},
    {SONDE_DTYPE_Q5_K, 8, 0, false, true, true},   {SONDE_DTYPE_Q6_K, 8, 0, true, false, true},
};

const sonde_quant_form *sonde_quant_form_of(sonde_dtype dtype)
{
    for (size_t i = 0; i < SONDE_COUNT(forms); i++)
        if (forms[i].dtype == dtype) return &forms[i];
    return NULL;
}

bool sonde_quant_keeps(const sonde_matrix_source *source)
{
    return sonde_quant_form_of(source->dtype) && !source->transposed && !source->scales &&
           source->cols % sonde_dtype_block_elements(source->dtype) == 0 &&
           source->stored_cols % sonde_dtype_block_elements(source->dtype) == 0;
}

size_t sonde_quant_bytes(const sonde_quant_form *form, int64_t rows, int64_t cols)
{
    int64_t panels = (rows + SONDE_PANEL - 1) / SONDE_PANEL, groups, bytes;
    if (!sonde_mul_i64(panels, cols / SONDE_QUANT_GROUP, &groups) ||
        !sonde_mul_i64(groups, sonde_quant_group_bytes(form), &bytes))
        return SIZE_MAX;
    return (size_t)bytes;
}

/* ---- packing ---------------------------------------------------------------------------------------- */

static void store_scale(const sonde_quant_form *f, char *row, int64_t lane, float value)
{
    uint16_t half = sonde_f32_to_f16(value);
    if (f->wide) memcpy(row + 4 * lane, &value, 4);
    else memcpy(row + 2 * lane, &half, 2);
}

static uint32_t word_of(const int8_t *q)
{
    return (uint32_t)(uint8_t)q[0] | (uint32_t)(uint8_t)q[1] << 8 | (uint32_t)(uint8_t)q[2] << 16 |
           (uint32_t)(uint8_t)q[3] << 24;
}

/* The low nibble of every byte plus its zero; no byte carries into the next one. */
static uint32_t nibbles_of(uint32_t word, uint32_t zeros)
{
    return ((word & 0x0F0F0F0Fu) + zeros) & 0x0F0F0F0Fu;
}

/* One output of a group. */
static void store_lane(const sonde_quant_form *f, const sonde_split_group *s, int64_t lane, char *group)
{
    int64_t scales = SONDE_PANEL * (f->wide ? 4 : 2);
    store_scale(f, group, lane, s->scale[0]);
    if (f->halves) store_scale(f, group + scales, lane, s->scale[1]);
    if (f->low) store_scale(f, group + scales * (f->halves ? 2 : 1), lane, s->low);
    uint32_t zeros = 0x01010101u * (uint32_t)f->zero;
    char *words = group + sonde_quant_head_bytes(f) + 4 * lane;
    for (int i = 0; i < SONDE_QUANT_GROUP; i += f->bits == 4 ? 8 : 4, words += 4 * SONDE_PANEL) {
        uint32_t word = word_of(s->q + i);
        if (f->bits == 4)
            word = nibbles_of(word, zeros) | nibbles_of(word_of(s->q + i + 4), zeros) << 4;
        memcpy(words, &word, 4);
    }
}

void sonde_quant_pack_slice(const sonde_matrix_source *source, const sonde_quant_form *form,
                            int64_t panel, int64_t begin, int64_t end, char *to)
{
    sonde_splitter *split = sonde_splitter_of(form->dtype);
    int64_t bytes = sonde_quant_group_bytes(form);
    for (int64_t lane = 0; lane < SONDE_PANEL; lane++) {
        int64_t r = panel * SONDE_PANEL + lane;
        const void *row = r < source->rows ? sonde_matrix_stored_blocks(source, r) : NULL;
        sonde_split_group group = {.q = {0}};
        for (int64_t k = begin; k < end; k += SONDE_QUANT_GROUP) {
            if (row) split(row, k / SONDE_QUANT_GROUP, &group);
            store_lane(form, &group, lane, to + (k - begin) / SONDE_QUANT_GROUP * bytes);
        }
    }
}

void sonde_quant_pack(const sonde_matrix_source *source, const sonde_packed *packed, int64_t begin,
                      int64_t end)
{
    const sonde_quant_form *form = sonde_quant_form_of(packed->dtype);
    for (int64_t panel = begin; panel < end; panel++)
        sonde_quant_pack_slice(source, form, panel, 0, source->cols,
                               sonde_quant_group_at(packed, panel, 0));
}

/* ---- rows ---------------------------------------------------------------------------------------------- */

static float scale_at(const sonde_quant_form *f, const char *row, int64_t lane)
{
    uint16_t half;
    float value;
    memcpy(&value, row + (f->wide ? 4 : 0) * lane, 4);
    memcpy(&half, row + 2 * lane, 2);
    return f->wide ? value : sonde_f16_to_f32(half);
}

static int integer_at(const sonde_quant_form *f, const char *words, int64_t lane, int i)
{
    int per = f->bits == 4 ? 8 : 4, within = i % per;
    uint32_t word;
    memcpy(&word, words + 4 * (i / per * SONDE_PANEL + lane), 4);
    if (f->bits == 4) return (int)(word >> (8 * (within % 4) + 4 * (within / 4)) & 15) - f->zero;
    return (int8_t)(word >> 8 * within & 255);
}

void sonde_quant_split(const sonde_packed *w, int64_t r, int64_t group, sonde_split_group *out)
{
    const sonde_quant_form *f = sonde_quant_form_of(w->dtype);
    const char *head = sonde_quant_group_at(w, r / SONDE_PANEL, group * SONDE_QUANT_GROUP);
    int64_t lane = r % SONDE_PANEL, scales = SONDE_PANEL * (f->wide ? 4 : 2);
    out->scale[0] = out->scale[1] = scale_at(f, head, lane);
    if (f->halves) out->scale[1] = scale_at(f, head + scales, lane);
    out->low = f->low ? scale_at(f, head + scales * (f->halves ? 2 : 1), lane) : 0.0f;
    for (int i = 0; i < SONDE_QUANT_GROUP; i++)
        out->q[i] = (int8_t)integer_at(f, head + sonde_quant_head_bytes(f), lane, i);
}

void sonde_quant_row(const sonde_packed *w, int64_t r, float *row)
{
    bool low = sonde_quant_form_of(w->dtype)->low;
    for (int64_t k = 0; k < w->cols; k += SONDE_QUANT_GROUP) {
        sonde_split_group g;
        sonde_quant_split(w, r, k / SONDE_QUANT_GROUP, &g);
        for (int i = 0; i < SONDE_QUANT_GROUP; i++) {
            float value = g.scale[i / 16] * (float)g.q[i];
            row[k + i] = low ? value + g.low : value;
        }
    }
}
