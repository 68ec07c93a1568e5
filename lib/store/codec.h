/*
 * codec.h - chunk codecs: bytes of a chunk to what lies in the file, and back. No HDF5 here.
 */
#ifndef SONDE_STORE_CODEC_H
#define SONDE_STORE_CODEC_H

#include "store.h"

/* Bytes that an encoded chunk may take at most. */
size_t sonde_codec_bound(sonde_codec codec, size_t bytes);
/* Planar deflate of `bytes` of elements of `element_bytes` that lie as planes (byte b of element i at
 * b * bytes / element_bytes + i) as one RFC 1950 stream: planes of high entropy stored, constant ones
 * as a run, others literal-only dynamic Huffman. Only what is of the first `filled` bytes of elements
 * is read: the rest counts as zeros. `out` holds sonde_codec_bound. Returns the length; 0 when it
 * would be 98 % or more of `bytes` (store the chunk raw). */
size_t sonde_deflate_encode(const uint8_t *planes, size_t bytes, size_t filled,
                            size_t element_bytes, uint8_t *out);
/* Byte-shuffle as HDF5's filter 2 does it, of `n` whole elements, into planes `stride` apart, and back. */
void sonde_shuffle(const uint8_t *data, size_t n, size_t element_bytes, size_t stride,
                   uint8_t *planes);
void sonde_unshuffle(const uint8_t *planes, size_t n, size_t element_bytes, size_t stride,
                     uint8_t *data);

#endif
