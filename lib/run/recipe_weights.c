/* recipe_weights.c - where the weights of a recipe lie: roles, names of tensors, rows of bigger ones. */
#include "recipe_internal.h"

#include <string.h>

static const struct {
    const char *name, *gguf;
} roles[] = {
#define ROLE(name, gguf) {#name, gguf},
    SONDE_ROLE_LIST(ROLE)
#undef ROLE
};

const char *sonde_role_name(sonde_role role)
{
    return role >= 0 && role < SONDE_ROLE_COUNT ? roles[role].name : "none";
}

const char *sonde_role_gguf_name(sonde_role role)
{
    return roles[role].gguf;
}

/* ---- rows ------------------------------------------------------------------------------------------- */

void sonde_weight_rows(sonde_recipe *r, sonde_role role, int64_t first, int64_t take, int64_t stride)
{
    r->rows[role].first = first;
    r->rows[role].take = take;
    r->rows[role].stride = stride;
}

void sonde_weight_unpermute_gguf(sonde_recipe *r, sonde_role role, int64_t head_dim)
{
    r->rows[role].unpermute_gguf = head_dim;
}

void sonde_weight_transpose_heads(sonde_recipe *r, sonde_role role)
{
    r->rows[role].transpose_heads = true;
}

void sonde_ignore_layers(sonde_recipe *r, int64_t first, int64_t count)
{
    r->ignored_layers[0] = first;
    r->ignored_layers[1] = count;
}

/* ---- names ------------------------------------------------------------------------------------------ */

/* A pattern with its %d filled in: the layer, then (where there is a second one) the expert. */
void sonde_weight_pattern(const char *pattern, int64_t layer, int64_t expert,
                          char name[SONDE_WEIGHT_NAME_BYTES])
{
    int64_t numbers[2] = {layer, expert};
    size_t used = 0;
    int n = 0;
    for (const char *c = pattern; *c && used + 24 < SONDE_WEIGHT_NAME_BYTES; c++) {
        if (c[0] == '%' && c[1] == 'd' && n < 2) {
            used += (size_t)snprintf(name + used, 24, "%lld", (long long)numbers[n++]);
            c++;
        } else {
            name[used++] = *c;
        }
    }
    name[used] = '\0';
}

static bool names_experts(const char *pattern)
{
    const char *first = strstr(pattern, "%d");
    return first && strstr(first + 2, "%d");
}

/* Under the name itself, without its first part, or as the text model of a multimodal wrapper. */
static const sonde_tensor *find_tensor(const sonde_recipe *r, const char *name)
{
    static const char *const optional[] = {"model.", "transformer.", "gpt_neox."};
    char wrapped[SONDE_WEIGHT_NAME_BYTES + 32];
    const sonde_tensor *tensor = sonde_weights_find(r->weights, name);
    for (size_t i = 0; !tensor && i < SONDE_COUNT(optional); i++)
        if (strncmp(name, optional[i], strlen(optional[i])) == 0)
            tensor = sonde_weights_find(r->weights, name + strlen(optional[i]));
    if (tensor || r->gguf) return tensor;
    snprintf(wrapped, sizeof wrapped, "language_model.%s", name);
    tensor = sonde_weights_find(r->weights, wrapped);
    if (tensor || strncmp(name, "model.", 6) != 0) return tensor;
    snprintf(wrapped, sizeof wrapped, "model.language_model.%s", name + 6);
    return sonde_weights_find(r->weights, wrapped);
}

static const sonde_tensor *find_named(const sonde_recipe *r, const char *pattern, int64_t layer,
                                      int64_t expert)
{
    char name[SONDE_WEIGHT_NAME_BYTES];
    if (names_experts(pattern) != (expert >= 0)) return NULL;
    sonde_weight_pattern(pattern, layer, expert, name);
    return find_tensor(r, name);
}

/* The first entry of a table for the role whose tensor is there. */
static const sonde_weight_name *find_entry(const sonde_recipe *r, const sonde_weight_name *table,
                                           sonde_role role, int64_t layer, int64_t expert,
                                           const sonde_tensor **tensor)
{
    for (const sonde_weight_name *w = table; w && w->role != SONDE_ROLE_NONE; w++) {
        if (w->role != role) continue;
        *tensor = find_named(r, w->pattern, layer, expert);
        if (*tensor) return w;
    }
    return NULL;
}

/* Q, K and V of one fused GGUF tensor, in this order. */
static const sonde_tensor *find_fused_gguf(const sonde_recipe *r, sonde_role role, int64_t layer,
                                           sonde_role_rows *rows)
{
    int64_t q = r->dims.n_heads * r->dims.head_dim, k = r->dims.n_kv_heads * r->dims.head_dim;
    bool weight = role == SONDE_ROLE_ATTN_Q || role == SONDE_ROLE_ATTN_K || role == SONDE_ROLE_ATTN_V;
    bool bias = role == SONDE_ROLE_ATTN_Q_BIAS || role == SONDE_ROLE_ATTN_K_BIAS ||
                role == SONDE_ROLE_ATTN_V_BIAS;
    if (!weight && !bias) return NULL;
    if (role == SONDE_ROLE_ATTN_K || role == SONDE_ROLE_ATTN_K_BIAS) rows->first = q;
    if (role == SONDE_ROLE_ATTN_V || role == SONDE_ROLE_ATTN_V_BIAS) rows->first = q + k;
    sonde_role fused = weight ? SONDE_ROLE_ATTN_QKV : SONDE_ROLE_ATTN_QKV_BIAS;
    return find_named(r, roles[fused].gguf, layer, -1);
}

static const sonde_tensor *find_gguf(const sonde_recipe *r, sonde_role role, int64_t layer,
                                     int64_t expert, uint32_t *flags, sonde_role_rows *rows)
{
    const sonde_tensor *tensor = NULL;
    const sonde_weight_name *entry =
        find_entry(r, r->family->gguf_weights, role, layer, expert, &tensor);
    if (entry) {
        *flags = entry->flags;
        if (entry->flags & SONDE_WEIGHT_SLICED) *rows = r->rows[role];
    }
    rows->unpermute_gguf = r->rows[role].unpermute_gguf;
    if (!tensor) tensor = find_named(r, roles[role].gguf, layer, expert);
    return tensor || expert >= 0 ? tensor : find_fused_gguf(r, role, layer, rows);
}

const sonde_tensor *sonde_recipe_expert_tensor(const sonde_recipe *r, sonde_role role, int64_t layer,
                                               int64_t expert, uint32_t *flags,
                                               sonde_role_rows *rows)
{
    *flags = 0;
    memset(rows, 0, sizeof *rows);
    if (r->gguf) return find_gguf(r, role, layer, expert, flags, rows);
    const sonde_tensor *tensor = NULL;
    const sonde_weight_name *entry = find_entry(r, r->family->weights, role, layer, expert, &tensor);
    if (!entry) return NULL;
    *flags = entry->flags;
    if (!(entry->flags & SONDE_WEIGHT_WHOLE)) *rows = r->rows[role];
    rows->unpermute_gguf = 0;
    return tensor;
}

const sonde_tensor *sonde_recipe_tensor(const sonde_recipe *r, sonde_role role, int64_t layer,
                                        uint32_t *flags, sonde_role_rows *rows)
{
    return sonde_recipe_expert_tensor(r, role, layer, -1, flags, rows);
}

bool sonde_has_weight(sonde_recipe *r, sonde_role role, int64_t layer)
{
    uint32_t flags;
    sonde_role_rows rows;
    return sonde_recipe_tensor(r, role, layer, &flags, &rows) ||
           sonde_recipe_expert_tensor(r, role, layer, 0, &flags, &rows);
}
