/*
 * gpt_oss.c - OpenAI 2025, "gpt-oss-120b & gpt-oss-20b Model Card": the Llama block with biases, a
 * sink in every softmax of attention, a sliding window on every second layer, yarn, and experts.
 *
 *   l = n Wr + b                     [rows, E]
 *   e, w = top-k of l                [rows, k] x 2  w = softmax over the k chosen logits
 *   g, u = n Wgu[e] + b              [rows, k, I] x 2, rows of g and u in turns
 *   g, u = min(g, limit), clamp(u, -limit, limit)
 *   h = g sigmoid(1.702 g) (u + 1)
 *   y = sum_k w (h Wd[e] + b)        [rows, H]
 */
#include "llama_block.h"
#include "moe.h"

#include <math.h>

static sonde_buf experts(sonde_recipe *r, const moe_model *m, double limit, int64_t layer, sonde_buf n)
{
    int64_t k = m->route.n_chosen;
    sonde_routed chosen = moe_route(r, &m->route, layer, n, SONDE_ROLE_ROUTER_BIAS);
    sonde_buf gate = sonde_experts(r, layer, n, chosen.ids, SONDE_ROLE_EXPERT_GATE,
                                   SONDE_ROLE_EXPERT_GATE_BIAS, m->width);
    sonde_hook(r, layer, "moe.pre", gate, k);
    sonde_buf up = sonde_experts(r, layer, n, chosen.ids, SONDE_ROLE_EXPERT_UP,
                                 SONDE_ROLE_EXPERT_UP_BIAS, m->width);
    sonde_hook(r, layer, "moe.up", up, k);
    gate = sonde_clamp(r, gate, -INFINITY, limit);
    up = sonde_offset(r, sonde_clamp(r, up, -limit, limit), 1.0);
    sonde_buf post = sonde_glu(r, SONDE_ACT_QUICK_GELU, gate, up);
    sonde_hook(r, layer, "moe.post", post, k);
    sonde_buf y = sonde_experts(r, layer, post, chosen.ids, SONDE_ROLE_EXPERT_DOWN,
                                SONDE_ROLE_EXPERT_DOWN_BIAS, m->hidden);
    sonde_hook(r, layer, "moe.expert_out", y, k);
    sonde_buf out = sonde_combine(r, y, chosen.weights, SONDE_NO_BUF);
    sonde_hook(r, layer, "mlp.out", out, 0);
    return out;
}

/* A folder without a dictionary of rope parameters has the published models' yarn, whatever its base;
 * 1.3466 is 0.1 ln 32 + 1. */
static void read_rope(sonde_recipe *r, llama_model *m)
{
    sonde_rope_spec rope = sonde_get_rope(r, NULL, m->dims.head_dim, 150000.0);
    if (!sonde_from_gguf(r) && !sonde_has(r, "rope_parameters.rope_type")) {
        rope.type = SONDE_ROPE_YARN;
        rope.original_max_positions = 4096;
        rope.factor = rope.beta_fast = 32.0;
        rope.beta_slow = 1.0;
        rope.attention_scaling = 1.3465735902799727;
        rope.truncate = false;
    }
    m->rope = sonde_rope_table(r, &rope);
}

static double read_experts(sonde_recipe *r, const llama_model *m, moe_model *moe)
{
    moe_read(r, moe, 128, 4);
    moe->route.score = SONDE_ROUTE_LOGITS;
    moe->route.weight = SONDE_ROUTE_WEIGHT_SOFTMAX;
    moe->hidden = m->dims.hidden;
    moe->width = m->dims.ffn;
    double alpha = sonde_get_float(r, "swiglu_alpha", 1.702);
    if (fabs(alpha - 1.702) > 1e-9) sonde_refuse(r, "swiglu_alpha %g (known: 1.702)", alpha);
    double limit = sonde_get_float(r, "swiglu_limit", 7.0);
    if (!(limit > 0.0)) sonde_refuse(r, "swiglu_limit %g", limit);
    static const sonde_role roles[4] = {SONDE_ROLE_EXPERT_GATE, SONDE_ROLE_EXPERT_GATE_BIAS,
                                        SONDE_ROLE_EXPERT_UP, SONDE_ROLE_EXPERT_UP_BIAS};
    for (int i = 0; i < 4; i++) sonde_weight_rows(r, roles[i], i / 2, 1, 2);
    return limit;
}

static sonde_status describe(sonde_recipe *r, sonde_error *err)
{
    static const llama_defaults defaults = {.kv_heads = 8, .head_dim = 64, .max_positions = 131072,
                                            .eps = 1e-5, .theta = 150000.0};
    llama_model m = {.sinks = true};
    moe_model moe = {0};
    static const char *const neutral[] = {"initial_context_length", NULL};
    sonde_ignore_keys(r, neutral);
    llama_read_dims(r, &m, &defaults);
    llama_absent(r, &m);
    read_rope(r, &m);
    m.qkv_bias = m.out_bias = sonde_get_bool(r, "attention_bias", true);
    double limit = read_experts(r, &m, &moe);
    int64_t window = part_needed_window(r, 128);
    sonde_buf x = llama_begin(r, &m);
    for (int64_t layer = 0; layer < m.dims.n_layers; layer++) {
        x = llama_attend(r, &m, layer, x, llama_window(r, layer, layer % 2 == 0, window));
        x = sonde_add(r, x, experts(r, &moe, limit, layer, llama_mlp_norm(r, &m, layer, x)));
        sonde_hook(r, layer, "resid_post", x, 0);
    }
    llama_end(r, &m, x);
    return sonde_recipe_status(r, err);
}

/* Experts are input-major; as MXFP4 blocks (lib/weights joins them with their scales) output-major. */
static const sonde_weight_name weights[] = {
    LLAMA_NAMES_BUT_MLP
    {SONDE_ROLE_ATTN_SINKS, NAMES_OF_LAYER "self_attn.sinks", 0},
    {SONDE_ROLE_ROUTER, NAMES_OF_LAYER "mlp.router.weight", 0},
    {SONDE_ROLE_ROUTER_BIAS, NAMES_OF_LAYER "mlp.router.bias", 0},
    {SONDE_ROLE_EXPERT_GATE, NAMES_OF_LAYER "mlp.experts.gate_up_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_EXPERT_GATE_BIAS, NAMES_OF_LAYER "mlp.experts.gate_up_proj_bias", 0},
    {SONDE_ROLE_EXPERT_UP, NAMES_OF_LAYER "mlp.experts.gate_up_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_EXPERT_UP_BIAS, NAMES_OF_LAYER "mlp.experts.gate_up_proj_bias", 0},
    {SONDE_ROLE_EXPERT_DOWN, NAMES_OF_LAYER "mlp.experts.down_proj", SONDE_WEIGHT_TRANSPOSED},
    {SONDE_ROLE_EXPERT_DOWN_BIAS, NAMES_OF_LAYER "mlp.experts.down_proj_bias", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

/* The norm before the experts has the name that others have for the one behind attention. */
static const sonde_weight_name gguf_weights[] = {
    {SONDE_ROLE_MLP_NORM, "blk.%d.post_attention_norm.weight", 0},
    {SONDE_ROLE_NONE, NULL, 0},
};

static const char *const model_types[] = {"gpt_oss", NULL};
static const char *const archs[] = {"gpt-oss", NULL};

const sonde_family sonde_family_gpt_oss = {
    .name = "gpt_oss", .title = "GPT-OSS", .model_types = model_types, .gguf_archs = archs,
    .weights = weights, .gguf_weights = gguf_weights, .ignored_weights = part_ignored_weights,
    .describe = describe,
};
