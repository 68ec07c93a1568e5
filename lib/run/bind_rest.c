/* bind_rest.c - tensors of a file that the recipe did not use: harmless ones, and those to be refused. */
#include "bind_internal.h"

#include <string.h>

static bool glob(const char *pattern, const char *text)
{
    if (*pattern == '\0') return *text == '\0';
    if (*pattern == '*') return glob(pattern + 1, text) || (*text && glob(pattern, text + 1));
    return *pattern == *text && glob(pattern + 1, text + 1);
}

/* The number behind "layers." or "blk.", or -1. */
static int64_t layer_of(const char *name)
{
    const char *at = strstr(name, "layers.");
    at = at ? at + strlen("layers.") : strncmp(name, "blk.", 4) == 0 ? name + 4 : NULL;
    if (!at || *at < '0' || *at > '9') return -1;
    int64_t layer = 0;
    for (; *at >= '0' && *at <= '9' && layer < INT32_MAX; at++) layer = 10 * layer + (*at - '0');
    return layer;
}

/* An output matrix that is stored although the configuration ties it to the embedding, or NULL. */
static const sonde_tensor *unused_head(const sonde_model *model)
{
    uint32_t flags;
    sonde_role_rows rows;
    if (sonde_model_bound(model, SONDE_ROLE_LM_HEAD, SONDE_GLOBAL)) return NULL;
    return sonde_recipe_tensor(model->recipe, SONDE_ROLE_LM_HEAD, SONDE_GLOBAL, &flags, &rows);
}

/* Transformers 4 uses the embedding then, transformers 5 the other matrix: who has two should know. The
 * beginnings are enough to tell copies from others. */
static void warn_of_another_head(const sonde_model *model)
{
    uint32_t flags;
    sonde_role_rows rows;
    const sonde_tensor *head = unused_head(model);
    const sonde_tensor *embed =
        sonde_recipe_tensor(model->recipe, SONDE_ROLE_TOKEN_EMBED, SONDE_GLOBAL, &flags, &rows);
    if (!head || !embed || head->dtype != embed->dtype) return;
    size_t bytes = SONDE_MIN(SONDE_MIN(head->bytes, embed->bytes), (size_t)1 << 20);
    if (memcmp(head->data, embed->data, bytes) == 0) return;
    sonde_log(SONDE_LOG_WARN, "%s: tensor %s is not a copy of %s and was not used: "
              "tie_word_embeddings makes the logits from the embedding (false uses it)", head->file,
              head->name, embed->name);
}

/* Tensors that no step reads and that change nothing. */
static bool is_harmless(const sonde_model *model, const sonde_tensor *t)
{
    for (const char *const *p = model->family->ignored_weights; p && *p; p++)
        if (glob(*p, t->name)) return true;
    const int64_t *left = model->recipe->ignored_layers;
    int64_t layer = layer_of(t->name);
    if (layer >= left[0] && layer < left[0] + left[1]) return true;
    return t == unused_head(model);
}

sonde_status sonde_bind_check_rest(const sonde_model *model, sonde_error *err)
{
    warn_of_another_head(model);
    int64_t extra = 0;
    const sonde_tensor *first = NULL;
    for (int64_t i = 0; i < sonde_weights_count(model->weights); i++) {
        const sonde_tensor *t = sonde_weights_at(model->weights, i);
        if (model->used[i] || is_harmless(model, t)) continue;
        if (extra++ == 0) first = t;
    }
    if (extra == 0) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_MODEL, "%s: %lld tensor%s that the %s family does not know, the "
                      "first is %s: the forward pass would leave it out", first->file,
                      (long long)extra, extra == 1 ? "" : "s", model->family->name, first->name);
}
