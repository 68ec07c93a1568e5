/*
 * weights.h - containers of a checkpoint, read-only: safetensors (single file or sharded by an
 * index) and GGUF, both memory-mapped; config.json and GGUF metadata behind one set of keys.
 *
 * Everything in a file is untrusted: every offset, shape, dtype and length is checked before use,
 * when the container is opened. A sonde_weights is immutable and may be read by any thread.
 */
#ifndef SONDE_WEIGHTS_H
#define SONDE_WEIGHTS_H

#include "core/core.h"
#include "kernels/dtype/dtype.h"
#include "sonde/recipe.h"
#include "sonde/chat.h"

#define SONDE_TENSOR_MAX_DIMS 8

typedef struct sonde_tensor {
    const char *name; /* as in the file; borrowed from the container */
    sonde_dtype dtype;
    int32_t n_dims;
    int64_t shape[SONDE_TENSOR_MAX_DIMS]; /* row-major, slowest first (GGUF dims are reversed) */
    const void *data;                     /* into the mapping; alignment as in the file */
    size_t bytes;
    const char *file; /* for messages */
    int64_t stored;   /* index among the file's own tensors, which the hash is made of */
    /* Stored in two parts: element (r, c) is multiplied by a scale of [.., rows / scale_rows,
     * columns / scale_cols] (rounded up). NULL: no scales. */
    const struct sonde_tensor *scales;
    int64_t scale_rows, scale_cols;
    bool output_major; /* MXFP4 of GPT-OSS: [experts, out, in], where the same name without blocks is
                          [experts, in, out] */
} sonde_tensor;

/* Matrix `index` of a tensor [rows, columns] (index 0) or [n, rows, columns], as it is stored: rows
 * and cols of the product and their order are the caller's to fill in. */
void sonde_tensor_matrix(const sonde_tensor *tensor, int64_t index, sonde_matrix_source *source);

/* "[48, 12]" into `buffer`; returns it. */
#define SONDE_SHAPE_BYTES 192
const char *sonde_shape_text(const sonde_tensor *tensor, char buffer[SONDE_SHAPE_BYTES]);

typedef struct sonde_weights sonde_weights;

typedef enum sonde_container {
    SONDE_CONTAINER_SAFETENSORS = 0,
    SONDE_CONTAINER_GGUF = 1,
} sonde_container;

/* Opens a Hugging Face folder or a .gguf file: config, tensors' directory, no weight byte is
 * touched. BAD_MODEL or BAD_FILE with the offending name and numbers. Given to the caller. */
sonde_status sonde_weights_open(const char *path, sonde_weights **weights, sonde_error *err);
/* As above but reads config (and the vocabulary of a GGUF) only: tensor queries find nothing. */
sonde_status sonde_weights_open_config(const char *path, sonde_weights **weights, sonde_error *err);
void sonde_weights_close(sonde_weights **weights);

sonde_container sonde_weights_container(const sonde_weights *weights);
const char *sonde_weights_path(const sonde_weights *weights);
const sonde_config *sonde_weights_config(const sonde_weights *weights); /* lives as long */
/* Tensors as the model sees them, sorted by name: `X` and `X_scale_inv`, or `X_blocks` and
 * `X_scales`, are one tensor `X`. */
int64_t sonde_weights_count(const sonde_weights *weights);
const sonde_tensor *sonde_weights_at(const sonde_weights *weights, int64_t index);
/* NULL when there is no tensor of that exact name. */
const sonde_tensor *sonde_weights_find(const sonde_weights *weights, const char *name);
/* XXH3-128 (hex) over names, shapes, dtypes and bytes of all tensors of the files in name order;
 * computed at the first call (reads every byte that was not hashed before), then kept. [any thread] */
sonde_status sonde_weights_hash(sonde_weights *weights, const char **hex, sonde_error *err);
/* Hashes the bytes of one tensor now, while they are in memory anyway. [any thread] */
void sonde_weights_hash_tensor(sonde_weights *weights, const sonde_tensor *tensor);

/* The tokenizer that came with the checkpoint: the folder's files or the GGUF's arrays. */
sonde_status sonde_weights_tokenizer(const sonde_weights *weights, sonde_tokenizer **tokenizer,
                                     sonde_error *err);
/* Its chat format: the folder's template or the GGUF's tokenizer.chat_template. BAD_TOKENIZER when
 * there is none or it is not known. The tokenizer is kept until the format is destroyed. */
sonde_status sonde_weights_chat(const sonde_weights *weights, const sonde_tokenizer *tokenizer,
                                sonde_chat **chat, sonde_error *err);

/* --- single containers, for their tests and fuzzers ------------------------------------------- */

typedef struct sonde_safetensors sonde_safetensors;
/* Parses a safetensors image in memory (kept borrowed until close). `file` names it in messages.*/
sonde_status sonde_safetensors_parse(const void *data, size_t bytes, const char *file,
                                     sonde_safetensors **out, sonde_error *err);
void sonde_safetensors_close(sonde_safetensors **st);
int64_t sonde_safetensors_count(const sonde_safetensors *st);
const sonde_tensor *sonde_safetensors_at(const sonde_safetensors *st, int64_t index);

typedef struct sonde_gguf sonde_gguf;
sonde_status sonde_gguf_parse(const void *data, size_t bytes, const char *file, sonde_gguf **out,
                              sonde_error *err);
void sonde_gguf_close(sonde_gguf **gguf);
int64_t sonde_gguf_count(const sonde_gguf *gguf);
const sonde_tensor *sonde_gguf_at(const sonde_gguf *gguf, int64_t index);

#endif
