/* gemma_weights.h - names that Gemma 2 and 3 share. */
#ifndef SONDE_MODELS_GEMMA_WEIGHTS_H
#define SONDE_MODELS_GEMMA_WEIGHTS_H

#include "sonde/recipe.h"

extern const sonde_weight_name gemma_weights[];
/* Rope's tables, and everything of a multimodal wrapper that is not the text model. */
extern const char *const gemma_ignored_weights[];

#endif
