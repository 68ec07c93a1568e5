/* recipe_steps.c - the steps of a recipe, its hooks and where its weights lie. */
#include "recipe_internal.h"

#include "kernels/kernels.h"

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

/* ---- buffers and steps --------------------------------------------------------------------------- */

static sonde_buf new_buffer(sonde_recipe *r, int64_t width, bool ragged, bool logits)
{
    if (!sonde_recipe_good(r)) return 0;
    if (!sonde_grow(&r->buffers, &r->buffer_capacity, (size_t)r->n_buffers + 1,
                    sizeof *r->buffers)) {
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's buffers");
        return 0;
    }
    r->buffers[r->n_buffers] = (sonde_buffer){.width = width, .ragged = ragged, .logits = logits};
    return (sonde_buf)r->n_buffers++;
}

static sonde_step *new_step(sonde_recipe *r, sonde_step_kind kind, int64_t layer)
{
    static const sonde_step blank = {.in = {SONDE_NO_BUF, SONDE_NO_BUF},
                                     .out = {SONDE_NO_BUF, SONDE_NO_BUF, SONDE_NO_BUF},
                                     .weight = SONDE_ROLE_NONE,
                                     .bias = SONDE_ROLE_NONE};
    if (!sonde_recipe_good(r)) return NULL;
    if (!sonde_grow(&r->steps, &r->step_capacity, (size_t)r->n_steps + 1, sizeof *r->steps)) {
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's steps");
        return NULL;
    }
    sonde_step *step = &r->steps[r->n_steps++];
    *step = blank;
    step->kind = kind;
    step->layer = layer;
    return step;
}

static bool is_logits(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) && r->buffers[buf].logits;
}

static int64_t width_of(const sonde_recipe *r, sonde_buf buf)
{
    return sonde_recipe_good(r) ? r->buffers[buf].width : 0;
}

sonde_buf sonde_embed(sonde_recipe *r, sonde_role role, int64_t width)
{
    sonde_buf out = new_buffer(r, width, false, false);
    sonde_step *step = new_step(r, SONDE_STEP_EMBED, SONDE_GLOBAL);
    if (!step) return 0;
    step->weight = role;
    step->out[0] = out;
    return out;
}

static sonde_buf add_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight,
                            sonde_role bias, int64_t width, bool logits)
{
    sonde_buf out = new_buffer(r, width, false, logits);
    sonde_step *step = new_step(r, SONDE_STEP_LINEAR, layer);
    if (!step) return 0;
    step->in[0] = x;
    step->weight = weight;
    step->bias = bias;
    step->logits = logits;
    step->out[0] = out;
    return out;
}

sonde_buf sonde_linear(sonde_recipe *r, int64_t layer, sonde_buf x, sonde_role weight,
                       sonde_role bias, int64_t width)
{
    return add_linear(r, layer, x, weight, bias, width, false);
}

sonde_buf sonde_logits(sonde_recipe *r, sonde_buf x, sonde_role weight, sonde_role bias,
                       int64_t width)
{
    return add_linear(r, SONDE_GLOBAL, x, weight, bias, width, true);
}

sonde_buf sonde_norm(sonde_recipe *r, int64_t layer, sonde_buf x, const sonde_norm_spec *spec)
{
    int64_t width = width_of(r, x), group = spec->group ? spec->group : width;
    sonde_buf out = new_buffer(r, width, false, is_logits(r, x));
    sonde_buf scale = new_buffer(r, group ? width / group : 1, false, is_logits(r, x));
    sonde_step *step = new_step(r, SONDE_STEP_NORM, layer);
    if (spec->scale) *spec->scale = scale;
    if (!step) return 0;
    step->in[0] = x;
    step->weight = spec->weight;
    step->bias = spec->bias;
    step->out[0] = out;
    step->out[1] = scale;
    step->u.norm = *spec;
    step->u.norm.group = group;
    step->u.norm.scale = NULL;
    return out;
}

sonde_buf sonde_rope(sonde_recipe *r, int32_t table, sonde_buf x, int64_t n_heads, int64_t head_dim,
                     int64_t offset)
{
    sonde_buf out = new_buffer(r, width_of(r, x), false, false);
    sonde_step *step = new_step(r, SONDE_STEP_ROPE, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = x;
    step->out[0] = out;
    step->u.rope.table = table;
    step->u.rope.n_heads = n_heads;
    step->u.rope.head_dim = head_dim;
    step->u.rope.offset = offset;
    return out;
}

void sonde_cache(sonde_recipe *r, int64_t layer, sonde_buf k, sonde_buf v)
{
    sonde_step *step = new_step(r, SONDE_STEP_CACHE, layer);
    if (!step) return;
    step->in[0] = k;
    step->in[1] = v;
}

sonde_attended sonde_attend(sonde_recipe *r, int64_t layer, sonde_buf q,
                            const sonde_attend_spec *spec)
{
    sonde_attended out = {0, 0, 0};
    out.scores = new_buffer(r, spec->n_heads, true, false);
    out.pattern = new_buffer(r, spec->n_heads, true, false);
    out.z = new_buffer(r, spec->n_heads * spec->value_dim, false, false);
    sonde_step *step = new_step(r, SONDE_STEP_ATTEND, layer);
    if (!step) return out;
    step->in[0] = q;
    step->weight = spec->sinks;
    step->out[0] = out.z;
    step->out[1] = out.scores;
    step->out[2] = out.pattern;
    step->u.attend = *spec;
    return out;
}

static sonde_buf add_map(sonde_recipe *r, int32_t op, sonde_act act, double c, sonde_buf a,
                         sonde_buf b)
{
    sonde_buf out = new_buffer(r, width_of(r, a), false, is_logits(r, a));
    sonde_step *step = new_step(r, SONDE_STEP_MAP, SONDE_GLOBAL);
    if (!step) return 0;
    step->in[0] = a;
    step->in[1] = b;
    step->out[0] = out;
    step->logits = is_logits(r, a);
    step->u.map = (sonde_map_spec){.op = op, .act = act, .c = c};
    return out;
}

sonde_buf sonde_add(sonde_recipe *r, sonde_buf a, sonde_buf b)
{
    return add_map(r, SONDE_MAP_ADD, SONDE_ACT_SILU, 0, a, b);
}

sonde_buf sonde_scale(sonde_recipe *r, sonde_buf a, double factor)
{
    return add_map(r, SONDE_MAP_SCALE, SONDE_ACT_SILU, factor, a, SONDE_NO_BUF);
}

sonde_buf sonde_softcap(sonde_recipe *r, sonde_buf a, double cap)
{
    return add_map(r, SONDE_MAP_SOFTCAP, SONDE_ACT_SILU, cap, a, SONDE_NO_BUF);
}

sonde_buf sonde_activate(sonde_recipe *r, sonde_act act, sonde_buf a)
{
    return add_map(r, SONDE_MAP_ACTIVATE, act, 0, a, SONDE_NO_BUF);
}

sonde_buf sonde_glu(sonde_recipe *r, sonde_act act, sonde_buf gate, sonde_buf up)
{
    return add_map(r, SONDE_MAP_GLU, act, 0, gate, up);
}

/* ---- hooks ------------------------------------------------------------------------------------------ */

void sonde_hook(sonde_recipe *r, int64_t layer, const char *name, sonde_buf buf, int64_t n_heads)
{
    sonde_step *step = new_step(r, SONDE_STEP_HOOK, layer);
    if (!step) return;
    step->in[0] = buf;
    step->hook = r->n_hooks;
    sonde_string full = {0};
    if (layer >= 0) sonde_string_format(&full, "blocks.%lld.", (long long)layer);
    size_t head = full.length;
    sonde_string_text(&full, name);
    if (full.failed || !sonde_grow(&r->hooks, &r->hook_capacity, (size_t)r->n_hooks + 1,
                                   sizeof *r->hooks)) {
        sonde_string_reset(&full);
        sonde_recipe_fail(r, SONDE_NO_MEMORY, "out of memory: a recipe's hook points");
        return;
    }
    r->hooks[r->n_hooks++] = (sonde_hook_entry){.name = full.data,
                                                .local_name = full.data + head,
                                                .layer = layer,
                                                .n_heads = n_heads,
                                                .buf = buf,
                                                .step = r->n_steps - 1};
}

void sonde_absent(sonde_recipe *r, const char *name, const char *why)
{
    if (r->n_absent < (int64_t)SONDE_COUNT(r->absent))
        r->absent[r->n_absent++] = (sonde_absent_entry){name, why};
}

/* ---- where weights lie ------------------------------------------------------------------------------ */

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

static const sonde_tensor *find_named(const sonde_recipe *r, const char *pattern, int64_t layer)
{
    char name[160];
    const char *mark = strstr(pattern, "%d");
    if (mark)
        snprintf(name, sizeof name, "%.*s%lld%s", (int)(mark - pattern), pattern, (long long)layer,
                 mark + 2);
    else
        snprintf(name, sizeof name, "%s", pattern);
    const sonde_tensor *tensor = sonde_weights_find(r->weights, name);
    const char *dot = strchr(name, '.');
    bool prefixed = strncmp(name, "model.", 6) == 0 || strncmp(name, "transformer.", 12) == 0;
    if (!tensor && prefixed && dot) tensor = sonde_weights_find(r->weights, dot + 1);
    return tensor;
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
    return find_named(r, roles[weight ? SONDE_ROLE_ATTN_QKV : SONDE_ROLE_ATTN_QKV_BIAS].gguf, layer);
}

const sonde_tensor *sonde_recipe_tensor(const sonde_recipe *r, sonde_role role, int64_t layer,
                                        uint32_t *flags, sonde_role_rows *rows)
{
    *flags = 0;
    memset(rows, 0, sizeof *rows);
    if (r->gguf) {
        rows->unpermute_gguf = r->rows[role].unpermute_gguf;
        const sonde_tensor *tensor = find_named(r, roles[role].gguf, layer);
        return tensor ? tensor : find_fused_gguf(r, role, layer, rows);
    }
    for (const sonde_weight_name *w = r->family->weights; w->role != SONDE_ROLE_NONE; w++) {
        if (w->role != role) continue;
        const sonde_tensor *tensor = find_named(r, w->pattern, layer);
        if (!tensor) continue;
        *flags = w->flags;
        *rows = r->rows[role];
        rows->unpermute_gguf = 0;
        return tensor;
    }
    return NULL;
}

bool sonde_has_weight(sonde_recipe *r, sonde_role role, int64_t layer)
{
    uint32_t flags;
    sonde_role_rows rows;
    return sonde_recipe_tensor(r, role, layer, &flags, &rows) != NULL;
}
