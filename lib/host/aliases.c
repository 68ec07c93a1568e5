/*
 * aliases.c - the names that other tools give to hook points (hook-points.md, "Aliases").
 *
 * Only tensors that are equal are named. Where the other tool uses one name for several tensors, or
 * takes its tensor at another place, the name is refused with the reason.
 */
#include "select_internal.h"

#include <string.h>

static const char *const prefixes[] = {"", "tl:", "hf:", "vllm:", "gguf:"};

typedef struct other_name {
    const char *own;       /* local name */
    const char *tl, *gguf; /* below blocks.{i}. where the point is, before -{i}; NULL: no equal */
} other_name;

/* Hugging Face and vLLM number the residual stream: numbered_names(). */
static const other_name other_names[] = {
    {"embed", "hook_embed", "inp_embd"},
    {"resid_pre", "hook_resid_pre", NULL},
    {"attn_norm", NULL, "attn_norm"},
    {"attn.q", "attn.hook_q", NULL},
    {"attn.k", "attn.hook_k", NULL},
    {"attn.v", "attn.hook_v", "Vcur"},
    {"attn.q_rot", "attn.hook_rot_q", NULL},
    {"attn.k_rot", "attn.hook_rot_k", NULL},
    {"attn.scores", "attn.hook_attn_scores", NULL},
    {"attn.pattern", "attn.hook_pattern", NULL},
    {"attn.z", "attn.hook_z", "kqv_out"},
    {"attn.out", "hook_attn_out", NULL},
    {"resid_mid", "hook_resid_mid", "ffn_inp"},
    {"mlp_norm", NULL, "ffn_norm"},
    {"mlp.pre", "mlp.hook_pre", NULL},
    {"mlp.up", "mlp.hook_pre_linear", NULL},
    {"mlp.post", "mlp.hook_post", NULL},
    {"mlp.out", "hook_mlp_out", "ffn_out"},
    {"resid_post", "hook_resid_post", "l_out"},
    {"final_norm", NULL, "result_norm"},
    {"logits", NULL, "result_output"},
};

typedef struct trap {
    sonde_naming naming;
    const char *glob, *why;
} trap;

static const trap traps[] = {
    {SONDE_NAMING_TL, "*hook_normalized",
     "it is taken before the norm's weight and bias; attn_norm, mlp_norm and final_norm are after "
     "them"},
    {SONDE_NAMING_GGUF, "Qcur-*",
     "llama.cpp gives this name to several tensors: choose blocks.{i}.attn.q (before rope) or "
     "attn.q_rot"},
    {SONDE_NAMING_GGUF, "Kcur-*",
     "llama.cpp gives this name to several tensors: choose blocks.{i}.attn.k (before rope) or "
     "attn.k_rot"},
};

sonde_naming sonde_naming_of(const char *text, const char **after)
{
    *after = text;
    for (size_t i = 1; i < SONDE_COUNT(prefixes); i++) {
        size_t n = strlen(prefixes[i]);
        if (strncmp(text, prefixes[i], n) != 0) continue;
        *after = text + n;
        return (sonde_naming)i;
    }
    return SONDE_NAMING_OWN;
}

const char *sonde_naming_prefix(sonde_naming naming)
{
    return prefixes[naming];
}

/* ---- names of a point ------------------------------------------------------------------------ */

/* `items[number]`, and counted from the end of `count`. */
static int indexed(const char *items, int64_t number, int64_t count,
                   char names[2][SONDE_POINT_NAME_BYTES])
{
    snprintf(names[0], SONDE_POINT_NAME_BYTES, "%s[%lld]", items, (long long)number);
    snprintf(names[1], SONDE_POINT_NAME_BYTES, "%s[%lld]", items, (long long)(number - count));
    return 2;
}

/* Blocks run before the residual stream has this point's value; -1: it is another point. */
static int64_t blocks_before(const sonde_hook_point *point)
{
    if (strcmp(point->name, "blocks.0.resid_pre") == 0) return 0;
    return strcmp(point->local_name, "resid_post") == 0 ? point->layer + 1 : -1;
}

/* hidden_states[L] is the output of the last norm, not of the last block. */
static int hf_names(const sonde_hook_point *point, int64_t n_layers,
                    char names[2][SONDE_POINT_NAME_BYTES])
{
    if (strcmp(point->local_name, "attn.pattern") == 0)
        return indexed("attentions", point->layer, n_layers, names);
    if (strcmp(point->name, "final_norm") == 0)
        return indexed("hidden_states", n_layers, n_layers + 1, names);
    int64_t number = blocks_before(point);
    if (number < 0 || number == n_layers) return 0;
    return indexed("hidden_states", number, n_layers + 1, names);
}

static int vllm_names(const sonde_hook_point *point, char names[2][SONDE_POINT_NAME_BYTES])
{
    int64_t number = blocks_before(point);
    if (number < 0) return 0;
    snprintf(names[0], SONDE_POINT_NAME_BYTES, "%lld", (long long)number);
    return 1;
}

static bool has_local(const sonde_model *model, const char *local)
{
    for (int64_t i = 0; i < sonde_model_point_count(model); i++)
        if (strcmp(sonde_model_point(model, i)->local_name, local) == 0) return true;
    return false;
}

/* Where a norm stands behind a branch, what is added to the residual is no longer the branch. */
static bool is_normed_later(const sonde_model *model, const char *local)
{
    return (strcmp(local, "attn.out") == 0 && has_local(model, "attn.out_normed")) ||
           (strcmp(local, "mlp.out") == 0 && has_local(model, "mlp.out_normed"));
}

static int tabled_names(const sonde_model *model, const sonde_hook_point *point,
                        sonde_naming naming, char names[2][SONDE_POINT_NAME_BYTES])
{
    const char *other = NULL;
    for (size_t i = 0; i < SONDE_COUNT(other_names); i++)
        if (strcmp(other_names[i].own, point->local_name) == 0)
            other = naming == SONDE_NAMING_TL ? other_names[i].tl : other_names[i].gguf;
    if (!other || is_normed_later(model, point->local_name)) return 0;
    long long layer = point->layer;
    if (layer < 0) snprintf(names[0], SONDE_POINT_NAME_BYTES, "%s", other);
    else if (naming == SONDE_NAMING_TL)
        snprintf(names[0], SONDE_POINT_NAME_BYTES, "blocks.%lld.%s", layer, other);
    else snprintf(names[0], SONDE_POINT_NAME_BYTES, "%s-%lld", other, layer);
    return 1;
}

int sonde_point_names(const sonde_model *model, int64_t index, sonde_naming naming,
                      char names[2][SONDE_POINT_NAME_BYTES])
{
    const sonde_hook_point *point = sonde_model_point(model, index);
    sonde_model_info info;
    if (naming == SONDE_NAMING_OWN) {
        snprintf(names[0], SONDE_POINT_NAME_BYTES, "%s", point->name);
        return 1;
    }
    if (naming == SONDE_NAMING_VLLM) return vllm_names(point, names);
    if (naming != SONDE_NAMING_HF) return tabled_names(model, point, naming, names);
    sonde_model_info_get(model, &info);
    return hf_names(point, info.n_layers, names);
}

/* ---- names that select nothing --------------------------------------------------------------- */

/* Does `glob` end in the other tool's local name? */
static bool names_it(const char *glob, sonde_naming naming, const char *other)
{
    if (!other) return false;
    size_t n = strlen(other), length = strlen(glob);
    if (naming == SONDE_NAMING_GGUF)
        return strncmp(glob, other, n) == 0 && (glob[n] == '-' || !glob[n]);
    return length >= n && strcmp(glob + length - n, other) == 0 &&
           (length == n || glob[length - n - 1] == '.');
}

const char *sonde_naming_refusal(const sonde_model *model, sonde_naming naming, const char *glob)
{
    for (size_t i = 0; i < SONDE_COUNT(traps); i++)
        if (traps[i].naming == naming && sonde_glob_plain(traps[i].glob, glob)) return traps[i].why;
    if (naming != SONDE_NAMING_TL && naming != SONDE_NAMING_GGUF) return NULL;
    for (size_t i = 0; i < SONDE_COUNT(other_names); i++) {
        const other_name *n = &other_names[i];
        if (!names_it(glob, naming, naming == SONDE_NAMING_TL ? n->tl : n->gguf)) continue;
        if (is_normed_later(model, n->own)) return "no point of this family is equal to it";
        return sonde_model_absent(model, n->own);
    }
    return NULL;
}
