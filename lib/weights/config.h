/*
 * config.h - one set of keys for the two ways a checkpoint states its hyperparameters.
 *
 * A sonde_config is a JSON object with Hugging Face's key names. For a folder it is config.json
 * (the keys of `text_config` laid over the rest); for a GGUF file it is made from the metadata
 * (`A.embedding_length` becomes "hidden_size", ... ; `model_type` is the family's Hugging Face
 * name of the architecture). What a GGUF does not state is absent, not guessed. Old and new
 * spellings are folded into one: `rope_parameters` {rope_theta, rope_type, ...} always exists
 * when the file says anything about rope, `dtype` for `torch_dtype`, null counts as absent.
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
