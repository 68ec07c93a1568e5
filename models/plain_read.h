/*
 * plain_read.h - what most families with LayerNorm read alike from their configuration.
 */
#ifndef SONDE_MODELS_PLAIN_READ_H
#define SONDE_MODELS_PLAIN_READ_H

#include "plain_block.h"

/* Sizes, `tie_word_embeddings` and the scores' scale d^-1/2. `defaults` has Hugging Face's; there
 * n_kv_heads 0 means as many as query heads, ffn 0 means 4 x hidden size; tied is the default of that
 * key. */
void plain_read_sizes(sonde_recipe *r, plain_model *m, const sonde_dims *defaults, bool tied);
/* For families whose code gives every query head a key and a value of its own. */
void plain_refuse_groups(sonde_recipe *r, const plain_model *m);
/* For those whose code makes every MLP 4 x hidden size wide, whatever `intermediate_size` says. */
void plain_refuse_widths(sonde_recipe *r, const plain_model *m);
/* Makes the table of rope over the first `rotary_dims` of each head. */
void plain_read_rope(sonde_recipe *r, plain_model *m, int64_t rotary_dims, double theta,
                     sonde_rope_pairing pairing);
/* Rotated dims of a head: `partial_rotary_factor` of them; what GGUF files do not say is 1. */
int64_t plain_rotary_dims(sonde_recipe *r, const plain_model *m, double fallback);
/* Embedding, blocks, final norm and logits, from a model that is filled. */
sonde_status plain_describe(sonde_recipe *r, const plain_model *m, sonde_error *err);

#endif
