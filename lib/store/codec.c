/*
 * codec.c - planar deflate (storage.md). Only the exponent of an activation compresses, and no
 * search finds more: so bytes are shuffled into planes and each plane is coded by its entropy alone.
 * The stream is legal RFC 1950; stock zlib reads it.
 */
#include "codec.h"

#include <libdeflate.h>
#include <math.h>
#include <string.h>

#define SYMBOLS 257 /* 256 literals and the end of block */
#define MOST_BITS 14
#define STORED_MOST 65535u
#define HIGH_ENTROPY 7.6

size_t sonde_codec_bound(sonde_codec codec, size_t bytes)
{
    return codec == SONDE_CODEC_RAW ? bytes : bytes + bytes / 4 + 65536;
}

void sonde_shuffle(const uint8_t *data, size_t n, size_t element_bytes, size_t stride,
                   uint8_t *planes)
{
    if (element_bytes == 1) {
        memcpy(planes, data, n);
    } else if (element_bytes == 2) {
        uint8_t *restrict low = planes, *restrict high = planes + stride;
        for (size_t i = 0; i < n; i++) {
            low[i] = data[2 * i];
            high[i] = data[2 * i + 1];
        }
    } else if (element_bytes == 4) {
        for (size_t i = 0; i < n; i++)
            for (size_t b = 0; b < 4; b++) planes[b * stride + i] = data[4 * i + b];
    } else {
        for (size_t b = 0; b < element_bytes; b++)
            for (size_t i = 0; i < n; i++) planes[b * stride + i] = data[i * element_bytes + b];
    }
}

void sonde_unshuffle(const uint8_t *planes, size_t n, size_t element_bytes, size_t stride,
                     uint8_t *data)
{
    if (element_bytes == 1) {
        memcpy(data, planes, n);
    } else if (element_bytes == 2) {
        for (size_t i = 0; i < n; i++) {
            data[2 * i] = planes[i];
            data[2 * i + 1] = planes[stride + i];
        }
    } else {
        for (size_t i = 0; i < n; i++)
            for (size_t b = 0; b < element_bytes; b++)
                data[i * element_bytes + b] = planes[b * stride + i];
    }
}

/* ---- bits ------------------------------------------------------------------------------------ */

typedef struct bit_writer {
    uint64_t bits;
    unsigned count; /* < 8 between calls of flush */
    uint8_t *out;
} bit_writer;

static inline void put_bits(bit_writer *w, uint64_t value, unsigned n)
{
    w->bits |= value << w->count;
    w->count += n;
}

/* Writes eight bytes and keeps what is no whole byte: the output has slack behind it. */
static inline void flush_bits(bit_writer *w)
{
    memcpy(w->out, &w->bits, 8);
    unsigned whole = w->count / 8;
    w->out += whole;
    w->bits = whole == 8 ? 0 : w->bits >> (8 * whole);
    w->count &= 7;
}

static void align_byte(bit_writer *w)
{
    w->count = (w->count + 7) & ~7u;
    flush_bits(w);
}

/* ---- Huffman lengths ------------------------------------------------------------------------- */

typedef struct leaf {
    uint32_t count;
    uint16_t symbol;
} leaf;

static void sort_leaves(leaf *leaves)
{
    for (int gap = 121; gap > 0; gap /= 3)
        for (int i = gap; i < SYMBOLS; i++) {
            leaf moved = leaves[i];
            int at = i;
            for (; at >= gap && leaves[at - gap].count > moved.count; at -= gap)
                leaves[at] = leaves[at - gap];
            leaves[at] = moved;
        }
}

/* Depths of an optimal tree over rising counts: the two smallest of leaves and inner nodes join. */
static void tree_depths(const leaf *leaves, uint8_t depth[SYMBOLS])
{
    uint64_t weight[SYMBOLS];
    int parent_leaf[SYMBOLS], parent_node[SYMBOLS], node_depth[SYMBOLS];
    int next_leaf = 0, next_node = 0, made = 0;
    for (made = 0; made < SYMBOLS - 1; made++) {
        weight[made] = 0;
        for (int child = 0; child < 2; child++) {
            bool take_leaf = next_leaf < SYMBOLS &&
                             (next_node >= made || leaves[next_leaf].count <= weight[next_node]);
            if (take_leaf) {
                parent_leaf[next_leaf] = made;
                weight[made] += leaves[next_leaf++].count;
            } else {
                parent_node[next_node] = made;
                weight[made] += weight[next_node++];
            }
        }
    }
    node_depth[made - 1] = 0;
    for (int i = made - 2; i >= 0; i--) node_depth[i] = node_depth[parent_node[i]] + 1;
    for (int i = 0; i < SYMBOLS; i++)
        depth[i] = (uint8_t)SONDE_MIN(node_depth[parent_leaf[i]] + 1, 255);
}

/* Cuts depths to MOST_BITS and repairs the Kraft sum: leaves come in rising count, so the rarest
 * are lengthened first and the most frequent get what is left over. */
static void limit_depths(uint8_t depth[SYMBOLS])
{
    uint32_t sum = 0, full = 1u << MOST_BITS;
    for (int i = 0; i < SYMBOLS; i++) {
        if (depth[i] > MOST_BITS) depth[i] = MOST_BITS;
        sum += full >> depth[i];
    }
    for (int i = 0; sum > full; i = (i + 1) % SYMBOLS) {
        if (depth[i] >= MOST_BITS) continue;
        sum -= (full >> depth[i]) - (full >> (depth[i] + 1));
        depth[i]++;
    }
    for (int i = SYMBOLS - 1; i >= 0; i--)
        while (depth[i] > 1 && sum + (full >> depth[i]) <= full) {
            sum += full >> depth[i];
            depth[i]--;
        }
}

static uint32_t reversed(uint32_t code, unsigned n)
{
    uint32_t out = 0;
    for (unsigned i = 0; i < n; i++) out |= (code >> i & 1u) << (n - 1 - i);
    return out;
}

typedef struct code_table {
    uint16_t code[SYMBOLS]; /* bit-reversed */
    uint8_t length[SYMBOLS];
} code_table;

/* Canonical codes of RFC 1951 from counts; every symbol has one. */
static void make_codes(const uint32_t counts[256], code_table *table)
{
    leaf leaves[SYMBOLS];
    uint8_t depth[SYMBOLS];
    for (int i = 0; i < SYMBOLS; i++)
        leaves[i] = (leaf){i < 256 ? counts[i] + 1 : 1, (uint16_t)i};
    sort_leaves(leaves);
    tree_depths(leaves, depth);
    limit_depths(depth);
    uint32_t per_length[16] = {0}, next[16] = {0};
    for (int i = 0; i < SYMBOLS; i++) {
        table->length[leaves[i].symbol] = depth[i];
        per_length[depth[i]]++;
    }
    for (int n = 1; n < 16; n++) next[n] = (next[n - 1] + per_length[n - 1]) << 1;
    for (int i = 0; i < SYMBOLS; i++)
        table->code[i] = (uint16_t)reversed(next[table->length[i]]++, table->length[i]);
}

/* ---- blocks ---------------------------------------------------------------------------------- */

static void put_stored(bit_writer *w, const uint8_t *plane, size_t n, bool last)
{
    do {
        size_t piece = SONDE_MIN(n, STORED_MOST);
        put_bits(w, last && piece == n, 3);
        align_byte(w);
        put_bits(w, piece, 16);
        put_bits(w, ~piece & 0xFFFFu, 16);
        flush_bits(w);
        memcpy(w->out, plane, piece);
        w->out += piece;
        plane += piece;
        n -= piece;
    } while (n > 0);
}

/* A match of 3 to 258 bytes at distance 1, in fixed codes (RFC 1951, 3.2.5 and 3.2.6). */
static void put_match(bit_writer *w, unsigned length)
{
    unsigned symbol, extra = 0, extra_bits = 0;
    if (length == 258) {
        symbol = 285;
    } else if (length < 11) {
        symbol = 254 + length;
    } else {
        unsigned rest = length - 3, top = 31u - (unsigned)__builtin_clz(rest);
        extra_bits = top - 2;
        symbol = 257 + 4 * (top - 1) + (rest >> extra_bits & 3u);
        extra = rest & ((1u << extra_bits) - 1);
    }
    if (symbol < 280) put_bits(w, reversed(symbol - 256, 7), 7);
    else put_bits(w, reversed(0xC0 + symbol - 280, 8), 8);
    put_bits(w, extra, extra_bits);
    put_bits(w, 0, 5);
    flush_bits(w);
}

/* Fixed codes: one literal, then matches at distance 1. */
static void put_run(bit_writer *w, uint8_t value, size_t n, bool last)
{
    unsigned literal_bits = value < 144 ? 8 : 9;
    uint32_t code = value < 144 ? 0x30u + value : 0x190u + (value - 144u);
    uint32_t literal = reversed(code, literal_bits);
    put_bits(w, (last ? 1u : 0u) | 1u << 1, 3);
    put_bits(w, literal, literal_bits);
    flush_bits(w);
    for (n--; n >= 3;) {
        size_t piece = SONDE_MIN(n, 258);
        put_match(w, (unsigned)piece);
        n -= piece;
    }
    for (; n > 0; n--) put_bits(w, literal, literal_bits);
    put_bits(w, 0, 7);
    flush_bits(w);
}

/* Header: 257 literal lengths and one empty distance code, written with 16 flat four-bit codes. */
static void put_huffman_header(bit_writer *w, const code_table *t, bool last)
{
    static const uint8_t order[19] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                      11, 4,  12, 3, 13, 2, 14, 1, 15};
    put_bits(w, (last ? 1u : 0u) | 2u << 1, 3);
    put_bits(w, 0, 5);
    put_bits(w, 0, 5);
    put_bits(w, 15, 4);
    flush_bits(w);
    for (int i = 0; i < 19; i++) {
        put_bits(w, order[i] < 16 ? 4 : 0, 3);
        flush_bits(w);
    }
    for (int i = 0; i < SYMBOLS; i++) {
        put_bits(w, reversed(t->length[i], 4), 4);
        flush_bits(w);
    }
    put_bits(w, 0, 4);
    flush_bits(w);
}

/* Four symbols a step: they are joined in pairs first, so that only one addition and one shift of a
 * step wait for the step before. At most 7 + 4 x 14 bits. */
static size_t put_fours(bit_writer *w, const uint8_t *plane, size_t n, const uint32_t entries[256])
{
    bit_writer own = *w;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        uint32_t e0 = entries[plane[i]], e1 = entries[plane[i + 1]];
        uint32_t e2 = entries[plane[i + 2]], e3 = entries[plane[i + 3]];
        unsigned n01 = (e0 >> 16) + (e1 >> 16), n23 = (e2 >> 16) + (e3 >> 16);
        uint64_t low = (e0 & 0xFFFFu) | (uint64_t)(e1 & 0xFFFFu) << (e0 >> 16);
        uint64_t high = (e2 & 0xFFFFu) | (uint64_t)(e3 & 0xFFFFu) << (e2 >> 16);
        own.bits |= (low | high << n01) << own.count;
        own.count += n01 + n23;
        memcpy(own.out, &own.bits, 8);
        own.out += own.count >> 3;
        own.bits >>= own.count & ~7u;
        own.count &= 7;
    }
    *w = own;
    return i;
}

static void put_huffman(bit_writer *w, const uint8_t *plane, size_t n, const uint32_t counts[256],
                        bool last)
{
    code_table t;
    uint32_t entries[256]; /* length << 16 | code */
    make_codes(counts, &t);
    put_huffman_header(w, &t, last);
    for (int i = 0; i < 256; i++) entries[i] = (uint32_t)t.length[i] << 16 | t.code[i];
    for (size_t i = put_fours(w, plane, n, entries); i < n; i++) {
        put_bits(w, t.code[plane[i]], t.length[plane[i]]);
        flush_bits(w);
    }
    put_bits(w, t.code[256], t.length[256]);
    flush_bits(w);
}

/* Counts of a 1/8 sample: runs of 64 bytes, one of eight. */
static size_t sample_counts(const uint8_t *plane, size_t n, uint32_t counts[256])
{
    size_t taken = 0;
    memset(counts, 0, 256 * sizeof *counts);
    for (size_t at = 0; at < n; at += n < 4096 ? 64 : 512) {
        size_t end = SONDE_MIN(at + 64, n);
        for (size_t i = at; i < end; i++) counts[plane[i]]++;
        taken += end - at;
    }
    return taken;
}

static double entropy_of(const uint32_t counts[256], size_t n)
{
    double bits = 0.0;
    for (int i = 0; i < 256; i++)
        if (counts[i]) bits -= counts[i] * log2((double)counts[i] / (double)n);
    return bits / (double)n;
}

static bool is_constant(const uint8_t *plane, size_t n)
{
    return n > 1 && memcmp(plane, plane + 1, n - 1) == 0;
}

/* `n` bytes as one block or, stored, a few. */
static void put_bytes(bit_writer *w, const uint8_t *plane, size_t n, bool last)
{
    uint32_t counts[256];
    if (is_constant(plane, n)) {
        put_run(w, plane[0], n, last);
        return;
    }
    size_t taken = sample_counts(plane, n, counts);
    if (n < 512 || entropy_of(counts, taken) > HIGH_ENTROPY) put_stored(w, plane, n, last);
    else put_huffman(w, plane, n, counts, last);
}

/* A plane whose bytes from `filled` on are zeros. */
static void put_plane(bit_writer *w, const uint8_t *plane, size_t filled, size_t n, bool last)
{
    if (filled > 0) put_bytes(w, plane, filled, last && filled == n);
    if (filled < n) put_run(w, 0, n - filled, last);
}

/* Adler-32 of what was summed so far and `n` zeros behind it. */
static uint32_t adler_zeros(uint32_t sum, size_t n)
{
    uint32_t a = sum & 0xFFFFu, b = sum >> 16;
    b = (uint32_t)((b + (uint64_t)(n % 65521) * a) % 65521);
    return b << 16 | a;
}

size_t sonde_deflate_encode(const uint8_t *planes, size_t bytes, size_t filled,
                            size_t element_bytes, uint8_t *out)
{
    size_t n = bytes / element_bytes, n_filled = filled / element_bytes;
    if (n == 0 || n * element_bytes != bytes || n_filled * element_bytes != filled) return 0;
    bit_writer w = {.out = out};
    uint32_t sum = 1;
    *w.out++ = 0x78;
    *w.out++ = 0x01;
    for (size_t plane = 0; plane < element_bytes; plane++) {
        put_plane(&w, planes + plane * n, n_filled, n, plane + 1 == element_bytes);
        sum = libdeflate_adler32(sum, planes + plane * n, n_filled);
        sum = adler_zeros(sum, n - n_filled);
    }
    align_byte(&w);
    for (int shift = 24; shift >= 0; shift -= 8) *w.out++ = (uint8_t)(sum >> shift);
    size_t length = (size_t)(w.out - out);
    return (double)length >= 0.98 * (double)bytes ? 0 : length;
}
