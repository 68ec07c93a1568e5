/* model_points.c - the table of hook points of a model, and its recipe as text. */
#include "model_internal.h"

#include <string.h>

/* Names of the vocabulary that a point of some family may have (hook-points.md). */
static const char *const vocabulary[] = {
    "embed", "pos_embed", "resid_pre", "attn_norm", "attn.q", "attn.k", "attn.v", "attn.q_normed",
    "attn.k_normed", "attn.q_rot", "attn.k_rot", "attn.q_latent", "attn.kv_latent", "attn.k_pe",
    "attn.scores", "attn.pattern", "attn.z", "attn.out", "attn.out_normed", "resid_mid", "mlp_norm",
    "mlp.pre", "mlp.up", "mlp.post", "moe.router_logits", "moe.expert_ids", "moe.expert_weights",
    "moe.pre", "moe.up", "moe.post", "moe.expert_out", "moe.shared_out", "mlp.out",
    "mlp.out_normed", "resid_post", "attn_norm.scale", "mlp_norm.scale", "final_norm.scale",
    "final_norm", "logits"};

static bool reads(const sonde_step *step, sonde_buf buf)
{
    return step->kind != SONDE_STEP_HOOK && sonde_step_reads(step, buf);
}

/* Scores are read by the softmax, the pattern by the product with v: inside the same step. */
static bool read_later(const sonde_recipe *r, int64_t after, sonde_buf buf)
{
    if (r->buffers[buf].ragged) return true;
    for (int64_t i = after + 1; i < r->n_steps; i++)
        if (reads(&r->steps[i], buf)) return true;
    return false;
}

static const sonde_attend_spec *attend_of(const sonde_recipe *r, sonde_buf buf)
{
    for (int64_t i = 0; i < r->n_steps; i++)
        if (r->steps[i].kind == SONDE_STEP_ATTEND &&
            (r->steps[i].out[1] == buf || r->steps[i].out[2] == buf))
            return &r->steps[i].u.attend;
    return NULL;
}

static void set_shape(const sonde_recipe *r, const sonde_hook_entry *h, sonde_hook_point *p)
{
    const sonde_buffer *b = &r->buffers[h->buf];
    p->ragged = b->ragged;
    p->width = b->width;
    p->n_dims = h->n_heads > 0 ? 2 : 1;
    p->shape[0] = h->n_heads > 0 ? h->n_heads : b->width;
    p->shape[1] = b->ragged || h->n_heads == 0 ? 0 : b->width / h->n_heads;
    if (!b->ragged) return;
    const sonde_attend_spec *attend = attend_of(r, h->buf);
    p->mask = (int32_t)attend->mask;
    p->window = attend->window;
}

static bool layer_has(const sonde_recipe *r, int64_t layer, const char *name)
{
    for (int64_t i = 0; i < r->n_hooks; i++)
        if (r->hooks[i].layer == layer && strcmp(r->hooks[i].local_name, name) == 0) return true;
    return false;
}

/* Keys and values that latent attention makes only to be looked at have something to write instead. */
static const char *unread(const sonde_recipe *r, const sonde_hook_entry *h)
{
    bool of_head = strcmp(h->local_name, "attn.k") == 0 || strcmp(h->local_name, "attn.v") == 0 ||
                   strcmp(h->local_name, "attn.k_rot") == 0;
    if (of_head && layer_has(r, h->layer, "attn.kv_latent"))
        return "no later step reads it: write attn.kv_latent and attn.k_pe";
    return "no later step reads it";
}

static void set_writable(const sonde_recipe *r, int64_t index, sonde_hook_point *p)
{
    const sonde_hook_entry *h = &r->hooks[index];
    p->writable = read_later(r, h->step, h->buf);
    if (!p->writable) p->not_writable_why = unread(r, h);
    if (r->buffers[h->buf].ids) {
        p->writable = false;
        p->not_writable_why = "it holds the numbers of experts: write moe.expert_weights";
    }
    for (int64_t i = index - 1; i >= 0; i--)
        if (r->hooks[i].buf == h->buf) p->same_as = i;
    bool copy = strcmp(h->local_name, "resid_pre") == 0 && h->layer > 0 && p->same_as >= 0;
    if (!copy) return;
    p->writable = false;
    p->not_writable_why = "it is resid_post of the block before: write that";
}

sonde_status sonde_model_make_points(sonde_model *model, sonde_error *err)
{
    const sonde_recipe *r = model->recipe;
    model->points = sonde_alloc((size_t)r->n_hooks, sizeof *model->points);
    if (!model->points) return sonde_no_memory(err, "hook points", (size_t)r->n_hooks * 96);
    model->n_points = r->n_hooks;
    for (int64_t i = 0; i < r->n_hooks; i++) {
        sonde_hook_point *p = &model->points[i];
        p->name = r->hooks[i].name;
        p->local_name = r->hooks[i].local_name;
        p->layer = r->hooks[i].layer;
        p->element = r->buffers[r->hooks[i].buf].ids ? SONDE_DTYPE_I32 : SONDE_DTYPE_F32;
        p->same_as = -1;
        set_shape(r, &r->hooks[i], p);
        set_writable(r, i, p);
    }
    return SONDE_OK;
}

int64_t sonde_point_first_key(const sonde_hook_point *point, int64_t position)
{
    return sonde_first_visible((sonde_mask_kind)point->mask, point->window, position);
}

int64_t sonde_model_point_count(const sonde_model *model)
{
    return model->n_points;
}

const sonde_hook_point *sonde_model_point(const sonde_model *model, int64_t index)
{
    return &model->points[index];
}

int64_t sonde_model_find_point(const sonde_model *model, const char *name)
{
    for (int64_t i = 0; i < model->n_points; i++)
        if (strcmp(model->points[i].name, name) == 0) return i;
    return -1;
}

static bool has_point(const sonde_model *model, const char *local_name)
{
    for (int64_t i = 0; i < model->n_points; i++)
        if (strcmp(model->points[i].local_name, local_name) == 0) return true;
    return false;
}

const char *sonde_model_absent(const sonde_model *model, const char *local_name)
{
    const sonde_recipe *r = model->recipe;
    if (has_point(model, local_name)) return NULL;
    for (int64_t i = 0; i < r->n_absent; i++)
        if (strcmp(r->absent[i].name, local_name) == 0) return r->absent[i].why;
    if (strncmp(local_name, "moe.", 4) == 0) {
        bool mixture = has_point(model, "moe.expert_ids");
        for (size_t i = 0; i < SONDE_COUNT(vocabulary); i++)
            if (strcmp(vocabulary[i], local_name) == 0)
                return mixture ? "its experts are not shared" : "it has no mixture of experts";
    }
    bool latent = strcmp(local_name, "attn.q_latent") == 0 ||
                  strcmp(local_name, "attn.kv_latent") == 0 || strcmp(local_name, "attn.k_pe") == 0;
    if (latent) return "only latent attention (MLA) has it";
    for (size_t i = 0; i < SONDE_COUNT(vocabulary); i++)
        if (strcmp(vocabulary[i], local_name) == 0) return "the family has no such step";
    return NULL;
}

/* ---- the recipe as text ------------------------------------------------------------------------------ */

static void step_text(const sonde_recipe *r, const sonde_step *s, sonde_string *out)
{
    sonde_string_format(out, "%-7s", sonde_step_kind_name(s->kind));
    if (s->kind == SONDE_STEP_HOOK) sonde_string_format(out, " %s", r->hooks[s->hook].name);
    else if (s->layer >= 0) sonde_string_format(out, " block %lld", (long long)s->layer);
    for (int i = 0; i < SONDE_STEP_INPUTS; i++)
        if (s->in[i] >= 0) sonde_string_format(out, " b%d", s->in[i]);
    for (int i = 0; i < 3; i++)
        if (s->out[i] >= 0)
            sonde_string_format(out, "%s b%d[%lld]", i ? "," : " ->", s->out[i],
                                (long long)r->buffers[s->out[i]].width);
    if (s->weight != SONDE_ROLE_NONE) sonde_string_format(out, "  %s", sonde_role_name(s->weight));
    sonde_string_text(out, "\n");
}

sonde_status sonde_model_recipe_text(const sonde_model *model, char **text, sonde_error *err)
{
    sonde_string out = {0};
    for (int64_t i = 0; i < model->recipe->n_steps; i++)
        step_text(model->recipe, &model->recipe->steps[i], &out);
    if (out.failed) {
        sonde_string_reset(&out);
        return sonde_no_memory(err, "the recipe's text", 4096);
    }
    *text = out.data;
    return SONDE_OK;
}
