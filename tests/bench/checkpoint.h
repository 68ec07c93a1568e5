/* checkpoint.h - a checkpoint of random weights in the shape of a known model, for benchmarks. */
#ifndef SONDE_BENCH_CHECKPOINT_H
#define SONDE_BENCH_CHECKPOINT_H

#include "core/core.h"

typedef struct bench_shape {
    int64_t layers, hidden, heads, kv_heads, ffn, vocab;
} bench_shape;

/* SmolLM2-135M: 30 layers of 576. */
extern const bench_shape bench_smollm2;

/* Writes config.json and model.safetensors (float32, tied embeddings) of a Llama model into
 * `folder` unless they are there already. false with a message on stderr. */
bool bench_checkpoint(const char *folder, const bench_shape *shape);

#endif
