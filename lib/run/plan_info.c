/* plan_info.c - what a plan costs and how it reads. */
#include "plan_internal.h"

/* Bytes of one thread's scratch for the longest sequence; as sonde_attend_scratch computes it. */
static uint64_t scratch_bytes(const sonde_plan *plan)
{
    uint64_t most = 0;
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        if (op->kind != SONDE_OP_ATTEND) continue;
        const sonde_attend_spec *a = &op->steps[0]->u.attend;
        sonde_span span = {.row = 0, .n_rows = 1, .position = plan->options.max_positions - 1};
        sonde_attend_args args = {.layout = {plan->options.kv_dtype, a->n_kv_heads, a->head_dim,
                                             a->value_dim},
                                  .spans = &span, .n_spans = 1, .n_heads = a->n_heads};
        most = SONDE_MAX(most, plan->model->backend->attend_scratch(&args));
    }
    return most;
}

/* Bytes of the largest step's prepared rows (--mode int). */
static uint64_t prepared_bytes(const sonde_plan *plan)
{
    const sonde_backend *backend = plan->model->backend;
    uint64_t most = 0;
    for (int64_t i = 0; backend->linear_prepared && i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        if (op->kind != SONDE_OP_LINEAR) continue;
        sonde_linear_args args = {.m = plan->batch_rows, .n_parts = op->n_steps};
        for (int32_t j = 0; j < op->n_steps; j++) args.parts[j].weight = op->matrix[j];
        if (args.parts[0].weight) most = SONDE_MAX(most, backend->linear_prepared(&args));
    }
    return most;
}

/* Keys that the rows of positions [0, n) see. */
static double keys_before(const sonde_attend_spec *a, int64_t n)
{
    int64_t most = a->mask == SONDE_MASK_FULL ? n : SONDE_MIN(n, a->window);
    int64_t chunks = a->mask == SONDE_MASK_CHUNKED && most > 0 ? n / most : 1;
    double keys = 0.5 * (double)most * (double)(most + 1) * (double)chunks;
    if (a->mask == SONDE_MASK_CHUNKED) {
        double left = (double)(n - chunks * most);
        return keys + 0.5 * left * (left + 1.0);
    }
    return keys + (double)(n - most) * (double)most;
}

/* Multiplications and additions of a step for the last `rows` of a sequence of `length`. */
static double step_flops(const sonde_plan *plan, const sonde_step *s, int64_t length, int64_t rows)
{
    const sonde_buffer *buffers = plan->model->recipe->buffers;
    if (s->kind == SONDE_STEP_ATTEND) {
        const sonde_attend_spec *a = &s->u.attend;
        double keys = keys_before(a, length) - keys_before(a, length - rows);
        return 2.0 * (double)(a->n_heads * (a->head_dim + a->value_dim)) * keys;
    }
    int64_t in = 0;
    if (s->kind == SONDE_STEP_LINEAR) in = buffers[s->in[0]].width;
    if (s->kind == SONDE_STEP_HEADS) in = s->u.heads.part[0].dims;
    if (s->kind == SONDE_STEP_EXPERTS)
        in = buffers[s->in[0]].width / SONDE_MAX(buffers[s->in[0]].slots, 1);
    return in > 0 ? 2.0 * (double)in * (double)buffers[s->out[0]].width * (double)rows : 0.0;
}

double sonde_plan_flops(const sonde_plan *plan, const sonde_plan_sequence *s)
{
    int64_t all = s->prompt + s->generated, later = all, sampled = s->samples ? 1 + s->generated : 0;
    double flops = 0.0;
    if (plan->narrow_op >= 0 && !plan->options.want_labels)
        later = SONDE_MAX(plan->points_after_narrow ? s->kept + s->generated : 0, sampled);
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        bool counts = op->kind != SONDE_OP_HOOK &&
                      (op->kind != SONDE_OP_ATTEND || (op->phases & SONDE_ATTEND_VALUES));
        for (int32_t j = 0; counts && j < op->n_steps; j++) {
            int64_t rows = i < plan->narrow_op ? all : later;
            if (op->steps[j]->logits && !plan->all_logits) rows = sampled;
            flops += step_flops(plan, op->steps[j], all, rows);
        }
    }
    return flops;
}

static double matrix_bytes(const sonde_packed *m)
{
    if (!m) return 0.0;
    return m->mapped ? (double)sonde_dtype_bytes(m->source.dtype, m->rows * m->cols) : (double)m->bytes;
}

/* Weights that an op reads; embeddings are read a row at a time. */
static void add_bytes(const sonde_plan *plan, const sonde_op *op, sonde_plan_info *info)
{
    const sonde_buffer *buffers = plan->model->recipe->buffers;
    for (int32_t i = 0; i < op->n_steps; i++) {
        const sonde_step *s = op->steps[i];
        if (op->kind == SONDE_OP_LINEAR) info->weight_bytes += matrix_bytes(op->matrix[i]);
        for (int64_t h = 0; op->kind == SONDE_OP_HEADS && op->matrix[i] && h < s->u.heads.n_heads; h++)
            info->weight_bytes += matrix_bytes(&op->matrix[i][h]);
        if (op->kind != SONDE_OP_EXPERTS || !op->matrix[i]) continue;
        const sonde_buffer *ids = &buffers[s->in[1]];
        double all = 0.0;
        for (int64_t e = 0; e < ids->experts; e++) all += matrix_bytes(&op->matrix[i][e]);
        info->expert_bytes += all;
        info->expert_bytes_per_row += all * (double)ids->width / (double)ids->experts;
    }
}

bool sonde_plan_lends_threads(const sonde_plan *plan)
{
    return !(plan->options.off & SONDE_OFF_LEND);
}

static int64_t ragged_keys(const sonde_plan *plan)
{
    int64_t keys = 0;
    for (int64_t i = 0; i < plan->model->recipe->n_buffers; i++)
        if (plan->model->recipe->buffers[i].ragged && plan->buffers[i].used)
            keys = SONDE_MAX(keys, sonde_plan_most_keys(plan, (sonde_buf)i));
    return keys;
}

void sonde_plan_info_get(const sonde_plan *plan, sonde_plan_info *info)
{
    *info = (sonde_plan_info){.last_layer = -1,
                              .batch_rows = plan->batch_rows,
                              .max_sequences = plan->options.max_sequences,
                              .max_positions = plan->options.max_positions,
                              .arena_bytes = plan->arena_bytes,
                              .ragged_bytes = plan->ragged_bytes,
                              .ragged_keys = ragged_keys(plan),
                              .scratch_bytes_per_thread = scratch_bytes(plan),
                              .rope_bytes = plan->rope_bytes,
                              .kv_bytes_per_page_all_layers = plan->kv_block_bytes};
    const sonde_recipe *r = plan->model->recipe;
    for (int64_t i = 0; i < r->n_steps; i++) info->recipe_steps += r->steps[i].kind != SONDE_STEP_HOOK;
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        if (op->kind == SONDE_OP_HOOK || op->kind == SONDE_OP_NARROW) continue;
        info->planned_steps++;
        add_bytes(plan, op, info);
        for (int32_t j = 0; j < op->n_steps; j++)
            info->last_layer = SONDE_MAX(info->last_layer, op->steps[j]->layer);
    }
}

static uint64_t row_rope_bytes(const sonde_plan *plan)
{
    uint64_t reals = 0;
    for (int64_t i = 0; i < plan->model->recipe->n_ropes; i++)
        if (plan->ropes[i].by_row)
            reals += (uint64_t)(plan->batch_rows * plan->model->recipe->ropes[i].rotary_dims);
    return reals * plan->model->backend->real_bytes;
}

uint64_t sonde_plan_run_bytes(const sonde_plan *plan, int threads)
{
    uint64_t bytes = plan->arena_bytes + plan->ragged_bytes + row_rope_bytes(plan);
    bytes += (uint64_t)threads * scratch_bytes(plan);
    bytes += prepared_bytes(plan);
    bytes += (uint64_t)plan->convert_elements * sizeof(float);
    bytes += (uint64_t)plan->most_products * (sizeof(sonde_linear_args) + sizeof(int64_t));
    bytes += (uint64_t)(plan->batch_rows * plan->most_slots + plan->most_experts) * 2 * sizeof(int32_t);
    return bytes + (uint64_t)plan->batch_rows * 64;
}

sonde_status sonde_plan_text(const sonde_plan *plan, char **text, sonde_error *err)
{
    sonde_string out = {0};
    for (int64_t i = 0; i < plan->n_ops; i++) {
        const sonde_op *op = &plan->ops[i];
        sonde_string_format(&out, "%4lld %-7s", (long long)i, op->kind == SONDE_OP_NARROW ? "narrow"
                                                        : sonde_step_kind_name((sonde_step_kind)op->kind));
        for (int32_t j = 0; j < op->n_steps; j++) {
            const sonde_step *s = op->steps[j];
            if (op->kind == SONDE_OP_HOOK)
                sonde_string_format(&out, " %s", plan->model->recipe->hooks[s->hook].name);
            else if (s->weight != SONDE_ROLE_NONE)
                sonde_string_format(&out, " %s%s", sonde_role_name(s->weight),
                                    op->kind == SONDE_OP_LINEAR && op->residual[j] >= 0 ? "+add" : "");
        }
        if (op->n_steps > 0 && op->steps[0]->layer >= 0 && op->kind != SONDE_OP_HOOK)
            sonde_string_format(&out, " block %lld", (long long)op->steps[0]->layer);
        sonde_string_text(&out, "\n");
    }
    if (out.failed) {
        sonde_string_reset(&out);
        return sonde_no_memory(err, "a plan's text", 4096);
    }
    *text = out.data;
    return SONDE_OK;
}

sonde_status sonde_model_cost_get(const sonde_model *model, int64_t tokens, sonde_model_cost *cost,
                                  sonde_error *err)
{
    sonde_plan_options options = {.want_logits = true, .batch_rows = 1, .max_sequences = 1,
                                  .max_positions = 1};
    sonde_plan_sequence prompt = {.prompt = tokens, .samples = true};
    sonde_plan *plan = NULL;
    sonde_plan_info info;
    SONDE_TRY(sonde_plan_create(model, &options, &plan, err));
    sonde_plan_info_get(plan, &info);
    *cost = (sonde_model_cost){sonde_plan_flops(plan, &prompt),
                               info.weight_bytes + info.expert_bytes_per_row};
    sonde_plan_destroy(&plan);
    return SONDE_OK;
}
