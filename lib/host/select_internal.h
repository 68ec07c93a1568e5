/* select_internal.h - what the parts of the selection language share. */
#ifndef SONDE_HOST_SELECT_INTERNAL_H
#define SONDE_HOST_SELECT_INTERNAL_H

#include "select.h"

/* ---- glob.c ---------------------------------------------------------------------------------- */

typedef struct sonde_text_list {
    char **items; /* [count] each and the array by sonde_free */
    int64_t count;
    size_t capacity;
} sonde_text_list;

void sonde_text_list_reset(sonde_text_list *list);
/* Adds the plain globs that a pattern with brace lists stands for, outermost list first. */
sonde_status sonde_expand_braces(const char *pattern, sonde_text_list *globs, sonde_error *err);
/* Full match by a glob of * and ? without brace lists. */
bool sonde_glob_plain(const char *pattern, const char *text);

/* ---- aliases.c: names of other tools (hook-points.md) ---------------------------------------- */

typedef enum sonde_naming {
    SONDE_NAMING_OWN,
    SONDE_NAMING_TL, /* tl:blocks.3.hook_resid_post    TransformerLens, without weight processing */
    SONDE_NAMING_HF, /* hf:hidden_states[4]            Hugging Face */
    SONDE_NAMING_VLLM, /* vllm:4                         residual after 4 blocks */
    SONDE_NAMING_GGUF, /* gguf:l_out-3                   llama.cpp */
} sonde_naming;

#define SONDE_POINT_NAME_BYTES 128

/* The naming that a selection's prefix asks for; *after is what follows the prefix. */
sonde_naming sonde_naming_of(const char *text, const char **after);
const char *sonde_naming_prefix(sonde_naming naming); /* "tl:", ...; "" for our own */
/* The names of a point: none where the other tool has no tensor equal to it, two where one may also
 * be counted from the end (hidden_states[-1]). */
int sonde_point_names(const sonde_model *model, int64_t point, sonde_naming naming,
                      char names[2][SONDE_POINT_NAME_BYTES]);
/* Why a name of the other tool selects nothing: a trap of hook-points.md, or what the family lacks;
 * NULL when there is nothing to say. */
const char *sonde_naming_refusal(const sonde_model *model, sonde_naming naming, const char *glob);

#endif
