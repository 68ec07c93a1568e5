/*
 * reader_block.c - rows of a dataset, a block at a time. Chunks of our layout are taken from the
 * file as they are and decoded here, which is ten times faster than HDF5's own filters; everything
 * else is read by HDF5 in the file's own type.
 */
#include "codec.h"
#include "reader_internal.h"

#include <string.h>

sonde_status sonde_reader_check_range(const sonde_reader *reader, const char *object, int64_t first,
                                      int64_t n, int64_t rows, sonde_error *err)
{
    if (first >= 0 && n >= 0 && first <= rows && n <= rows - first) return SONDE_OK;
    return sonde_fail(err, SONDE_USAGE,
                      "%s: %s: %lld entries from %lld on are asked for, it has %lld", reader->path,
                      object, (long long)n, (long long)first, (long long)rows);
}

static bool reserve(uint8_t **buffer, size_t *capacity, size_t bytes)
{
    if (bytes <= *capacity) return true;
    sonde_free(*buffer);
    *buffer = sonde_alloc_raw(bytes, 1);
    *capacity = *buffer ? bytes : 0;
    return *buffer != NULL;
}

/* --- chunks --- */

/* The bytes of a chunk as they lie in the file, in reader->encoded. */
static sonde_status fetch_chunk(sonde_reader *reader, const sonde_set *set, int64_t index,
                                size_t chunk_bytes, size_t *got, uint32_t *mask, sonde_error *err)
{
    hsize_t offset[READER_MAX_DIMS] = {(hsize_t)(index * set->block_rows)}, bytes = 0;
    char reason[160] = "it is not in the file";
    sonde_h5_lock();
    bool found = H5Dget_chunk_storage_size(set->id, offset, &bytes) >= 0 && bytes > 0;
    bool fits = found && bytes <= 2 * (hsize_t)chunk_bytes + 65536;
    bool room = fits && reserve(&reader->encoded, &reader->encoded_bytes, (size_t)bytes);
    bool good = room && H5Dread_chunk(set->id, H5P_DEFAULT, offset, mask, reader->encoded) >= 0;
    if (found && fits && room && !good) sonde_reader_reason(reason);
    sonde_h5_unlock();
    *got = (size_t)bytes;
    if (good) return SONDE_OK;
    if (fits && !room) return sonde_no_memory(err, set->path, (size_t)bytes);
    if (found && !fits)
        snprintf(reason, sizeof reason, "it takes %llu bytes of the file",
                 (unsigned long long)bytes);
    return sonde_reader_bad(reader, set->path, err, "chunk %lld (%zu bytes decoded): %s",
                            (long long)index, chunk_bytes, reason);
}

static sonde_status inflate_chunk(sonde_reader *reader, const sonde_set *set, int64_t index,
                                  size_t got, uint8_t *dst, size_t chunk_bytes, sonde_error *err)
{
    if (!reader->inflate) reader->inflate = libdeflate_alloc_decompressor();
    if (!reader->inflate) return sonde_no_memory(err, "a decoder of deflate", 0);
    enum libdeflate_result result = libdeflate_zlib_decompress(reader->inflate, reader->encoded,
                                                               got, dst, chunk_bytes, NULL);
    if (result == LIBDEFLATE_SUCCESS) return SONDE_OK;
    return sonde_reader_bad(reader, set->path, err,
                            "chunk %lld: its %zu bytes are no deflate stream of %zu bytes (%s)",
                            (long long)index, got, chunk_bytes,
                            result == LIBDEFLATE_BAD_DATA ? "damaged" : "another length");
}

static sonde_status decode_chunk(sonde_reader *reader, const sonde_set *set, int64_t index,
                                 uint8_t *dst, sonde_error *err)
{
    size_t chunk_bytes = (size_t)set->block_rows * set->row_bytes, got;
    uint32_t mask = 0;
    SONDE_TRY(fetch_chunk(reader, set, index, chunk_bytes, &got, &mask, err));
    bool inflate = set->inflate_at >= 0 && !(mask >> set->inflate_at & 1);
    bool unshuffle = set->shuffle_at >= 0 && !(mask & 1) && set->element_bytes > 1;
    if (!inflate && got != chunk_bytes)
        return sonde_reader_bad(reader, set->path, err, "chunk %lld: expected %zu bytes, found %zu",
                                (long long)index, chunk_bytes, got);
    const uint8_t *plain = reader->encoded;
    if (inflate) {
        if (unshuffle && !reserve(&reader->shuffled, &reader->shuffled_bytes, chunk_bytes))
            return sonde_no_memory(err, set->path, chunk_bytes);
        uint8_t *to = unshuffle ? reader->shuffled : dst;
        SONDE_TRY(inflate_chunk(reader, set, index, got, to, chunk_bytes, err));
        plain = to;
    }
    if (unshuffle) {
        size_t n = chunk_bytes / set->element_bytes;
        sonde_unshuffle(plain, n, set->element_bytes, n, dst);
    } else if (plain != dst) memcpy(dst, plain, chunk_bytes);
    return SONDE_OK;
}

/* --- blocks --- */

/* Rows [first, first + n) by HDF5. */
static sonde_status read_slab(sonde_reader *reader, const sonde_set *set, int64_t first, int64_t n,
                              uint8_t *dst, sonde_error *err)
{
    hsize_t start[READER_MAX_DIMS] = {(hsize_t)first}, count[READER_MAX_DIMS] = {(hsize_t)n};
    char reason[160] = "";
    for (int32_t i = 1; i < set->n_dims; i++) count[i] = (hsize_t)set->dims[i];
    sonde_h5_lock();
    hid_t space = H5Dget_space(set->id);
    hid_t memory = set->n_dims > 0 ? H5Screate_simple(set->n_dims, count, NULL)
                                   : H5Screate(H5S_SCALAR);
    bool good = space >= 0 && memory >= 0 &&
                (set->n_dims == 0 ||
                 H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0) &&
                H5Dread(set->id, set->memory_type, memory, space, H5P_DEFAULT, dst) >= 0;
    if (!good) sonde_reader_reason(reason);
    if (space >= 0) H5Sclose(space);
    if (memory >= 0) H5Sclose(memory);
    sonde_h5_unlock();
    if (good) return SONDE_OK;
    return sonde_reader_bad(reader, set->path, err, "rows %lld to %lld cannot be read: %s",
                            (long long)first, (long long)(first + n - 1), reason);
}

static sonde_status load_block(sonde_reader *reader, const sonde_set *set, int64_t index,
                               uint8_t *dst, sonde_error *err)
{
    if (set->is_direct) return decode_chunk(reader, set, index, dst, err);
    int64_t first = index * set->block_rows;
    return read_slab(reader, set, first, SONDE_MIN(set->block_rows, set->rows - first), dst, err);
}

sonde_status sonde_set_view(sonde_reader *reader, sonde_set *set, int64_t row,
                            const uint8_t **bytes, int64_t *n, sonde_error *err)
{
    SONDE_TRY(sonde_set_open(reader, set, err));
    int64_t index = row / set->block_rows, at = row % set->block_rows;
    int64_t held = set->is_direct ? set->block_rows : SONDE_MIN(set->block_rows, set->rows);
    if (!set->bytes) set->bytes = sonde_alloc_raw((size_t)held, set->row_bytes);
    if (!set->bytes) return sonde_no_memory(err, set->path, (size_t)held * set->row_bytes);
    if (set->block != index) {
        set->block = -1;
        SONDE_TRY(load_block(reader, set, index, set->bytes, err));
        set->block = index;
    }
    *bytes = set->bytes + (size_t)at * set->row_bytes;
    *n = SONDE_MIN(set->block_rows - at, set->rows - row);
    return SONDE_OK;
}

/* --- reads --- */

/* Whole chunks go straight into dst. */
static bool reads_whole(const sonde_set *set, int64_t first, int64_t n)
{
    return set->is_direct && first % set->block_rows == 0 && n >= set->block_rows &&
           set->block != first / set->block_rows;
}

sonde_status sonde_set_read(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                            void *dst, sonde_error *err)
{
    uint8_t *out = dst;
    while (n > 0 && set->row_bytes > 0) {
        int64_t count = set->block_rows;
        SONDE_TRY(sonde_set_open(reader, set, err));
        if (reads_whole(set, first, n)) {
            SONDE_TRY(load_block(reader, set, first / set->block_rows, out, err));
        } else {
            const uint8_t *bytes = NULL;
            SONDE_TRY(sonde_set_view(reader, set, first, &bytes, &count, err));
            count = SONDE_MIN(count, n);
            memcpy(out, bytes, (size_t)count * set->row_bytes);
        }
        out += (size_t)count * set->row_bytes;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}

sonde_status sonde_set_read_f32(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                float *dst, sonde_error *err)
{
    if (set->dtype == SONDE_DTYPE_F32) return sonde_set_read(reader, set, first, n, dst, err);
    while (n > 0 && set->row_bytes > 0) {
        const uint8_t *bytes = NULL;
        int64_t count = 0;
        SONDE_TRY(sonde_set_view(reader, set, first, &bytes, &count, err));
        count = SONDE_MIN(count, n);
        sonde_bits_to_f32(set->dtype, bytes, count * set->width, dst);
        dst += count * set->width;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}

sonde_status sonde_set_read_f64(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                double *dst, sonde_error *err)
{
    while (n > 0 && set->row_bytes > 0) {
        const uint8_t *bytes = NULL;
        int64_t count = 0;
        SONDE_TRY(sonde_set_view(reader, set, first, &bytes, &count, err));
        count = SONDE_MIN(count, n);
        sonde_bits_to_f64(set->dtype, bytes, count * set->width, dst);
        dst += count * set->width;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}

sonde_status sonde_set_read_u64(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                uint64_t most, uint64_t *dst, sonde_error *err)
{
    while (n > 0) {
        const uint8_t *bytes = NULL;
        int64_t count = 0;
        SONDE_TRY(sonde_set_view(reader, set, first, &bytes, &count, err));
        count = SONDE_MIN(count, n);
        int64_t bad = sonde_bits_to_u64(set->dtype, bytes, count, most, dst);
        if (bad < count) {
            double value;
            sonde_bits_to_f64(set->dtype, bytes + (size_t)bad * set->element_bytes, 1, &value);
            return sonde_reader_bad(reader, set->path, err,
                                    "entry %lld is %.0f: expected 0 to %llu",
                                    (long long)(first + bad), value, (unsigned long long)most);
        }
        dst += count;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}

sonde_status sonde_set_read_u32(sonde_reader *reader, sonde_set *set, int64_t first, int64_t n,
                                uint32_t *dst, sonde_error *err)
{
    uint64_t piece[512];
    while (n > 0) {
        int64_t count = SONDE_MIN(n, (int64_t)SONDE_COUNT(piece));
        SONDE_TRY(sonde_set_read_u64(reader, set, first, count, UINT32_MAX, piece, err));
        for (int64_t i = 0; i < count; i++) dst[i] = (uint32_t)piece[i];
        dst += count;
        first += count;
        n -= count;
    }
    return SONDE_OK;
}
