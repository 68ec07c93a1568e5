/* job.c - opening a job: options, model, tokenizer, probes; what its plan is made of. */
#include "job_internal.h"

#include <string.h>

static const char *const backends[] = {"cpu", "blas", "oracle"};
static const char *const modes[] = {"exact", "int"};
static const sonde_dtype kv_dtypes[] = {SONDE_DTYPE_F32, SONDE_DTYPE_BF16, SONDE_DTYPE_F16};

/* ---- parts --------------------------------------------------------------------------------------------- */

/* What the run takes beside its weights, by the estimate of the same job without them. */
static sonde_status memory_of_run(const sonde_job *job, uint64_t *bytes, sonde_error *err)
{
    sonde_job_options options = job->options;
    sonde_job_spec spec = job->spec;
    sonde_job *shape = NULL;
    sonde_job_cost cost;
    options.memory = 0;
    spec.options = &options;
    spec.shape_only = true;
    SONDE_TRY(sonde_job_open(&spec, &shape, err));
    sonde_status status = sonde_job_estimate(shape, NULL, &cost, err);
    sonde_job_close(&shape);
    /* Where memory is short, weights come before a cache of more than a few of the longest. */
    uint64_t cache = SONDE_MIN(cost.memory_kv, 4 * cost.memory_kv_least);
    *bytes = cost.memory_peak - cost.memory_weights - cost.memory_kv + cache;
    return status;
}

/* How much of --memory weights may take: what the run leaves of it. Where that cannot be known
 * beforehand, or half of the bound is enough for them anyway, an eighth is kept for the run. */
static sonde_status measure_run(const sonde_job *job, const sonde_model_options *options,
                                uint64_t *run, sonde_error *err)
{
    sonde_model_options measure = *options;
    sonde_model *model = NULL;
    sonde_model_info info;
    measure.measure = true;
    measure.memory = UINT64_MAX;
    SONDE_TRY(sonde_model_open(job->spec.model, &measure, &model, err));
    sonde_model_info_get(model, &info);
    sonde_model_close(&model);
    if (info.packed_bytes <= job->options.memory / 2 || !job->scan.known) return SONDE_OK;
    return memory_of_run(job, run, err);
}

static sonde_status bound_weights(const sonde_job *job, sonde_model_options *options,
                                  sonde_error *err)
{
    char needed[32], there[32];
    uint64_t memory = job->options.memory, run = memory / 8;
    if (memory == 0) return SONDE_OK;
    sonde_log_mute(true); /* the job says the same when it opens all once more */
    sonde_status status = measure_run(job, options, &run, err);
    sonde_log_mute(false);
    if (status != SONDE_OK) return status;
    uint64_t left = memory - SONDE_MIN(run, memory - 1);
    options->memory = left - left / 64; /* blocks of memory take a little more than their contents */
    if (run < memory) return SONDE_OK;
    return sonde_fail(err, SONDE_TOO_BIG, "%s: the run needs about %s of memory beside its weights, "
                      "--memory allows %s; a smaller --batch-tokens, --batch or --workers needs less",
                      job->spec.model, sonde_format_bytes(run, needed),
                      sonde_format_bytes(memory, there));
}

static sonde_status open_model(sonde_job *job, sonde_error *err)
{
    uint64_t begin = sonde_now_ns();
    sonde_model_options options = {.struct_size = sizeof options,
                                   .backend = backends[job->options.backend],
                                   .cpu_level = job->options.cpumask,
                                   .measure = job->spec.shape_only,
                                   .off = job->off,
                                   .mode = modes[job->options.mode],
                                   .hash = !job->spec.generate};
    SONDE_TRY(bound_weights(job, &options, err));
    SONDE_TRY(sonde_model_open(job->spec.model, &options, &job->model, err));
    job->load_ns = sonde_now_ns() - begin;
    return SONDE_OK;
}

/* Prompts may be token ids alone: a tokenizer that is missing is no failure until a text comes. */
static sonde_status open_tokenizer(sonde_job *job, sonde_error *err)
{
    sonde_error why = {0};
    sonde_status status = sonde_model_tokenizer(job->model, &job->tokenizer, &why);
    if (status == SONDE_OK) return SONDE_OK;
    job->tokenizer = NULL;
    bool ids_possible = job->spec.prompts && !strstr(job->spec.prompts, ".txt") &&
                        status != SONDE_NO_MEMORY && job->options.stop.count == 0 &&
                        !strstr(why.message, "vocabulary has");
    if (!ids_possible) return sonde_fail(err, status, "%s", why.message);
    sonde_log(SONDE_LOG_WARN, "%s; prompts can be token ids only", why.message);
    return SONDE_OK;
}

/* A template that does not work is no failure until a conversation comes. */
static sonde_status open_chat(sonde_job *job, sonde_error *err)
{
    bool wanted = job->options.chat || job->scan.messages || !job->scan.known;
    if (!wanted || !job->tokenizer) return SONDE_OK;
    sonde_status status = sonde_model_chat(job->model, &job->chat, &job->no_chat);
    if (status == SONDE_OK) return SONDE_OK;
    job->chat = NULL;
    bool fatal = job->options.chat || status == SONDE_NO_MEMORY;
    return fatal ? sonde_fail(err, status, "%s", job->no_chat.message) : SONDE_OK;
}

static void read_stop_ids(sonde_job *job)
{
    const int64_t *ids;
    int64_t n = sonde_model_eos(job->model, &ids);
    for (int64_t i = 0; i < n && job->n_stop_ids < (int64_t)SONDE_COUNT(job->stop_ids); i++)
        if (ids[i] >= 0 && ids[i] < UINT32_MAX) job->stop_ids[job->n_stop_ids++] = (uint32_t)ids[i];
    int64_t eos = job->tokenizer ? sonde_tokenizer_eos(job->tokenizer) : -1;
    if (job->n_stop_ids == 0 && eos >= 0) job->stop_ids[job->n_stop_ids++] = (uint32_t)eos;
}

/* What templates may add to a line: their own text, arguments and indented JSON. Longer prompts are
 * too long. */
static uint64_t template_bytes(const sonde_job *job)
{
    const char *args = job->options.chat_args ? job->options.chat_args : "";
    return 16384 + 16 * (job->scan.longest_line + strlen(args));
}

/* A longest sequence over the model's context is possible only where positions are computed. */
static sonde_status set_lengths(sonde_job *job, sonde_error *err)
{
    sonde_model_info info;
    sonde_model_info_get(job->model, &info);
    job->max_seq = job->options.max_seq > 0 ? job->options.max_seq : info.max_positions;
    bool learned = sonde_model_find_point(job->model, "pos_embed") >= 0;
    if (job->max_seq > info.max_positions && learned)
        return sonde_fail(err, SONDE_USAGE, "--max-seq %lld: the model has learned positions for "
                          "%lld tokens only", (long long)job->max_seq,
                          (long long)info.max_positions);
    if (job->max_seq > info.max_positions)
        sonde_log(SONDE_LOG_WARN, "--max-seq %lld is over the model's context of %lld tokens",
                  (long long)job->max_seq, (long long)info.max_positions);
    job->max_positions = job->max_seq;
    if (!job->scan.known || job->scan.own_max_new > INT32_MAX) return SONDE_OK;
    /* A byte is at most one token; normalisation makes at most three of it. */
    uint64_t more = SONDE_MAX((uint64_t)job->options.max_new_tokens, job->scan.own_max_new);
    uint64_t most = 3 * job->scan.longest_line + 64 + more;
    if (job->chat) most += template_bytes(job);
    if (most < (uint64_t)job->max_positions) job->max_positions = (int64_t)most;
    return SONDE_OK;
}

static sonde_status open_probes(sonde_job *job, sonde_error *err)
{
    if (job->spec.generate) return SONDE_OK;
    sonde_probe_set_spec spec = {.model = job->model, .probes = job->options.probes.values,
                                 .n_probes = job->options.probes.count,
                                 .points = job->options.points.values,
                                 .n_points = job->options.points.count};
    return sonde_probe_set_open(&spec, &job->probes, err);
}

static sonde_status open_parts(sonde_job *job, sonde_error *err)
{
    SONDE_TRY(sonde_job_scan(job, err));
    SONDE_TRY(sonde_job_options_read(job, err));
    SONDE_TRY(open_model(job, err));
    SONDE_TRY(open_tokenizer(job, err));
    SONDE_TRY(open_chat(job, err));
    read_stop_ids(job);
    SONDE_TRY(set_lengths(job, err));
    return open_probes(job, err);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

sonde_status sonde_job_open(const sonde_job_spec *spec, sonde_job **out, sonde_error *err)
{
    sonde_job *job = sonde_alloc(1, sizeof *job);
    if (!job) return sonde_no_memory(err, "a job", sizeof *job);
    job->spec = *spec;
    job->options = *spec->options;
    job->spec.options = &job->options;
    job->opened_ns = sonde_now_ns();
    sonde_status status = open_parts(job, err);
    sonde_memory_trim(); /* what the files were parsed into */
    if (status == SONDE_OK) *out = job;
    else sonde_job_close(&job);
    return status;
}

void sonde_job_close(sonde_job **out)
{
    sonde_job *job = *out;
    if (!job) return;
    sonde_probe_set_reset(&job->probes);
    sonde_model_close(&job->model);
    json_decref(job->chat_args);
    sonde_free(job->costs);
    sonde_free(job);
    *out = NULL;
}

const sonde_model *sonde_job_model(const sonde_job *job)
{
    return job->model;
}

/* ---- for runs and estimates -------------------------------------------------------------------------------- */

sonde_status sonde_job_prompts(const sonde_job *job, sonde_prompts **prompts, sonde_error *err)
{
    sonde_model_info info;
    sonde_model_info_get(job->model, &info);
    sonde_prompts_spec spec = {.path = job->spec.prompts, .inline_texts = job->spec.inline_texts,
                               .n_inline_texts = job->spec.n_inline_texts,
                               .options = &job->options, .tokenizer = job->tokenizer,
                               .chat = job->chat, .no_chat = &job->no_chat,
                               .chat_args = job->chat_args, .vocab = info.vocab,
                               .max_seq = SONDE_MIN(job->max_seq, job->max_positions)};
    return sonde_prompts_open(&spec, prompts, err);
}

static bool may_generate(const sonde_job *job)
{
    return job->spec.generate || job->options.max_new_tokens > 0 || !job->scan.known ||
           job->scan.own_max_new > 0;
}

sonde_status sonde_job_plan(const sonde_job *job, const uint8_t *wants, sonde_plan **plan,
                            sonde_error *err)
{
    sonde_plan_options options = {.wants = wants, .want_logits = may_generate(job),
                                  .want_labels = job->labels != 0,
                                  .batch_rows = job->options.batch_tokens,
                                  .max_sequences = job->options.batch,
                                  .max_positions = job->max_positions,
                                  .kv_dtype = kv_dtypes[job->options.kv_dtype], .off = job->off};
    return sonde_plan_create(job->model, &options, plan, err);
}

/* What --memory leaves for the cache; where no estimate could be made beforehand, three quarters of
 * what weights and buffers leave. */
static uint64_t cache_limit(const sonde_job *job, const sonde_plan *plan)
{
    sonde_model_info model;
    uint64_t memory = job->options.memory;
    if (memory == 0 || job->scan.known) return job->kv_bytes;
    sonde_model_info_get(job->model, &model);
    uint64_t used = model.packed_bytes +
                    (uint64_t)job->workers * sonde_plan_run_bytes(plan, job->threads);
    return memory > used ? SONDE_MAX((memory - used) / 4 * 3, 1) : 1;
}

sonde_schedule_options sonde_job_schedule(const sonde_job *job, const sonde_plan *plan)
{
    sonde_plan_info info;
    sonde_plan_info_get(plan, &info);
    int64_t rows = SONDE_MIN(job->options.batch_tokens, info.batch_rows);
    return (sonde_schedule_options){.workers = job->workers, .threads = job->threads,
                                    .batch_tokens = rows,
                                    .batch_sequences = job->options.batch,
                                    .chunk = SONDE_MIN(job->options.chunk, rows),
                                    .n_sequences = job->n_sequences,
                                    .kv_bytes = cache_limit(job, plan)};
}
