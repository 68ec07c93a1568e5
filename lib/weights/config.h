/*
 * config.h - one set of keys for the two ways a checkpoint states its hyperparameters.
 *
 * A sonde_config is a JSON object with Hugging Face's key names. For a folder it is config.json
 * (the keys of `text_config` laid over the rest); for a GGUF file it is made from the metadata
 * (`A.embedding_length` becomes "hidden_size", ...). What a file does not state is absent, not
 * guessed; null counts as absent (but see sonde_is_null). Old and new spellings are folded into one, for both:
 *   n_embd (n_embed, d_model), n_layer (n_layers), n_head (n_heads), n_positions (max_seq_len),
 *     n_inner -> hidden_size, num_hidden_layers, num_attention_heads, max_position_embeddings,
 *     intermediate_size
 *   num_experts, n_routed_experts -> num_local_experts; torch_dtype -> dtype
 *   rope_theta (rotary_emb_base), partial_rotary_factor (rotary_pct) and
 *     original_max_position_embeddings beside a rope_scaling or rope_parameters -> inside
 *     `rope_parameters`, which exists when the file says anything about rope and always holds
 *     `rope_type` ("su" is "longrope", none is "default"). Where full and sliding layers differ
 *     (rope_local_base_freq) it holds {"full_attention": {...}, "sliding_attention": {...}}.
 * For a GGUF, `model_type` is Hugging Face's name of the architecture ("gemma3" is "gemma3_text"),
 * rope.dimension_count below the head's width is rope_parameters.partial_rotary_factor,
 * tie_word_embeddings says whether output.weight is absent, vocab_size is the number of rows of
 * token_embd.weight, a key "sonde.X" is X itself (config_gguf.c), and keys of the architecture that
 * are not known keep their GGUF name, so that a check for keys that nobody honoured finds them.
 */
#ifndef SONDE_WEIGHTS_CONFIG_H
#define SONDE_WEIGHTS_CONFIG_H

#include "core/json.h"
#include "sonde/recipe.h"

/* The value at a dotted key ("rope_parameters.factor"), or NULL when absent or null. Borrowed. */
const json_t *sonde_config_find(const sonde_config *config, const char *dotted_key);
/* File that messages name. */
const char *sonde_config_source(const sonde_config *config);
/* Creation, for lib/weights and tests: takes over the reference of `root`. */
sonde_status sonde_config_create(json_t *root, const char *source, sonde_config **config,
                                 sonde_error *err);
void sonde_config_destroy(sonde_config **config);
/* The whole object. Borrowed. */
const json_t *sonde_config_root(const sonde_config *config);

#endif
