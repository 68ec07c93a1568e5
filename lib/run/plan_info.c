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

static void add_flops(const sonde_plan *plan, const sonde_step *s, sonde_plan_info *info)
{
    const sonde_buffer *buffers = plan->model->recipe->buffers;
    const sonde_attend_spec *a = &s->u.attend;
    if (s->kind == SONDE_STEP_ATTEND)
        info->flops_per_key += 2.0 * (double)(a->n_heads * (a->head_dim + a->value_dim));
    if (s->kind == SONDE_STEP_HEADS)
        info->flops_per_row +=
            2.0 * (double)buffers[s->out[0]].width * (double)s->u.heads.part[0].dims;
    if (s->kind == SONDE_STEP_EXPERTS) {
        const sonde_buffer *x = &buffers[s->in[0]];
        info->flops_per_row += 2.0 * (double)(x->width / SONDE_MAX(x->slots, 1)) *
                               (double)buffers[s->out[0]].width;
    }
    if (s->kind != SONDE_STEP_LINEAR) return;
    double flops = 2.0 * (double)buffers[s->in[0]].width * (double)buffers[s->out[0]].width;
    *(s->logits ? &info->flops_of_logits : &info->flops_per_row) += flops;
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

void sonde_plan_info_get(const sonde_plan *plan, sonde_plan_info *info)
{
    *info = (sonde_plan_info){.last_layer = -1,
                              .batch_rows = plan->batch_rows,
                              .max_sequences = plan->options.max_sequences,
                              .max_positions = plan->options.max_positions,
                              .arena_bytes = plan->arena_bytes,
                              .ragged_bytes = plan->ragged_bytes,
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
        for (int32_t j = 0; j < op->n_steps; j++) {
            info->last_layer = SONDE_MAX(info->last_layer, op->steps[j]->layer);
            add_flops(plan, op->steps[j], info);
        }
    }
}

uint64_t sonde_plan_run_bytes(const sonde_plan *plan, int threads)
{
    uint64_t bytes = plan->arena_bytes + plan->ragged_bytes;
    bytes += (uint64_t)threads * scratch_bytes(plan);
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

sonde_status sonde_model_cost_get(const sonde_model *model, sonde_model_cost *cost, sonde_error *err)
{
    sonde_plan_options options = {.want_logits = true, .batch_rows = 1, .max_sequences = 1,
                                  .max_positions = 1};
    sonde_plan *plan = NULL;
    sonde_plan_info info;
    SONDE_TRY(sonde_plan_create(model, &options, &plan, err));
    sonde_plan_info_get(plan, &info);
    sonde_plan_destroy(&plan);
    *cost = (sonde_model_cost){info.flops_per_row, info.flops_per_key, info.flops_of_logits,
                               info.weight_bytes + info.expert_bytes_per_row};
    return SONDE_OK;
}
