/* job_generate.c - generation without a capture: texts in input order, streamed where one is first. */
#include "job_internal.h"

/* New text of the first unfinished flow. */
static void stream(sonde_job_run *run, const sonde_flow *flow)
{
    size_t bytes;
    const char *text = sonde_flow_text(flow, &bytes);
    if (!run->watch || !run->watch->text || sonde_flow_order(flow) != run->streamed_order) return;
    if (bytes > run->streamed_bytes)
        run->watch->text(run->watch->context, sonde_flow_prompt(flow)->index,
                         text + run->streamed_bytes, bytes - run->streamed_bytes);
    if (bytes > run->streamed_bytes) run->streamed_bytes = bytes;
}

static sonde_status token(void *context, sonde_flow *flow, sonde_error *err)
{
    sonde_job_run *run = context;
    (void)err;
    pthread_mutex_lock(&run->streaming);
    stream(run, flow);
    pthread_mutex_unlock(&run->streaming);
    return SONDE_OK;
}

static sonde_status retired(void *context, const sonde_flow *flow, sonde_error *err)
{
    sonde_job_run *run = context;
    (void)err;
    pthread_mutex_lock(&run->streaming);
    stream(run, flow);
    run->streamed_order++;
    run->streamed_bytes = 0;
    pthread_mutex_unlock(&run->streaming);
    if (!run->watch || !run->watch->generated) return SONDE_OK;
    const sonde_prompt *prompt = sonde_flow_prompt(flow);
    sonde_generated made = {.index = prompt->index, .id = prompt->id, .n_prompt = prompt->n_tokens,
                            .stop = sonde_flow_stop(flow)};
    made.n_tokens = sonde_flow_generated(flow, &made.tokens, &made.logprobs);
    made.text = sonde_flow_text(flow, &made.text_bytes);
    run->watch->generated(run->watch->context, &made);
    return SONDE_OK;
}

sonde_status sonde_job_generate(sonde_job *job, const sonde_job_watch *watch,
                                sonde_job_summary *summary, sonde_error *err)
{
    sonde_job_run run = {.job = job, .watch = watch, .begin_ns = sonde_now_ns(),
                         .retired = retired, .token = token};
    pthread_mutex_init(&run.streaming, NULL);
    sonde_status status = sonde_job_check_memory(job, NULL, err);
    if (status == SONDE_OK) status = sonde_job_run_open(&run, err);
    if (status == SONDE_OK) status = sonde_job_run_schedule(&run, err);
    *summary = (sonde_job_summary){.complete = status == SONDE_OK};
    sonde_job_run_summary(&run, summary);
    sonde_job_run_close(&run);
    pthread_mutex_destroy(&run.streaming);
    return status;
}
