/* capture_file.h - a small capture with everything in it, through the writer. */
#ifndef SONDE_TESTS_CAPTURE_FILE_H
#define SONDE_TESTS_CAPTURE_FILE_H

#include "store/schema.h"

/* Three sequences of 5, 1 and 7 rows, written `times` times over; the third has 4 prompt tokens, 3
 * generated ones and a last one that was sampled and not run. Points in execution order:
 *   embed                 f32 [6]         values
 *   blocks.0.attn.q       f16 [2, 3]      values
 *   blocks.0.attn.scores  f32 ragged      2 heads, every key up to the row
 *   blocks.0.attn.pattern bf16 ragged     2 heads, the last 3 keys up to the row
 *   blocks.0.resid_post   bf16 [6]        values
 *   blocks.1.resid_pre                    another name of blocks.0.resid_post
 *   blocks.1.bits         bf16 [6]        every kind of bit pattern: NaN, inf, subnormals
 *   blocks.1.experts      i32 [2]         values times 4
 *   final                 f32 []          row map: the last row of every sequence
 * and labels, metadata (level: int, topic: text, score: float or null), a vocabulary, a probe with
 * tables moments/mean f64 [6] and moments/count i64. */
enum {
    CAPTURE_EMBED,
    CAPTURE_Q,
    CAPTURE_SCORES,
    CAPTURE_PATTERN,
    CAPTURE_RESID,
    CAPTURE_BITS,
    CAPTURE_EXPERTS,
    CAPTURE_FINAL,
    CAPTURE_POINTS
};
#define CAPTURE_ROWS 13
#define CAPTURE_SEQUENCES 3
#define CAPTURE_WIDTH 6

typedef struct capture_file_options {
    const char *path;
    sonde_codec codec;
    int64_t chunk_target_bytes;
    int64_t times;   /* 0: once */
    float shift;     /* added to the values of blocks.0.resid_post in the last row */
    bool incomplete; /* sealed as a run that ended early */
    bool unsealed;   /* left as .part, as a crash leaves it */
} capture_file_options;

sonde_status capture_file_write(const capture_file_options *options, sonde_error *err);

/* What was written: element `e` of a point's row, before `shift`; exact in every stored type.
 * Ragged: head e / 64, key e % 64. */
float capture_file_value(int point, int64_t row, int64_t e);
uint16_t capture_file_bits(int64_t row, int64_t e); /* of blocks.1.bits */
uint64_t capture_file_sequence(int64_t row);
uint32_t capture_file_position(int64_t row);
uint32_t capture_file_token(int64_t row);

#endif
