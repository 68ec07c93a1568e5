/* job.c - from a parsed line to a job, and what it says when it is over. */
#include "cli/cli.h"

#include <string.h>

sonde_status cli_job_spec(const cli_call *call, sonde_job_spec *spec, sonde_error *err)
{
    const sonde_option_list *texts = &call->own.prompt;
    const char *verb = call->verb->name, *file = call->n_words > 1 ? call->words[1] : NULL;
    if (!file && texts->count == 0)
        return sonde_fail(err, SONDE_USAGE, "%s: expected PROMPTS (a .jsonl or .txt file, or -) or "
                          "-p TEXT", verb);
    if (file && texts->count > 0)
        return sonde_fail(err, SONDE_USAGE, "%s: expected PROMPTS or -p TEXT, got both", verb);
    *spec = (sonde_job_spec){.model = call->words[0],
                             .prompts = file,
                             .inline_texts = texts->values,
                             .n_inline_texts = texts->count,
                             .options = &call->job};
    return SONDE_OK;
}

void cli_print_notes(const sonde_job_summary *s)
{
    const struct {
        uint64_t n;
        const char *thing, *what;
    } notes[] = {{s->blank_lines, "blank line", "left out"},
                 {s->skipped_prompts, "prompt", "skipped"},
                 {s->cut_prompts, "prompt", "cut to fit"},
                 {s->split_prompts, "prompt", "split to fit"}};
    char text[48];
    for (size_t i = 0; i < CLI_COUNT(notes); i++)
        if (notes[i].n > 0)
            fprintf(stderr, "sonde: %s %s\n", cli_format_things(notes[i].n, notes[i].thing, text),
                    notes[i].what);
}

static double seconds(uint64_t ns)
{
    return (double)ns * 1e-9;
}

static void print_schedule(const sonde_job_summary *s)
{
    char shared[48], prompt[32], cache[32], again[48], rows[48];
    fprintf(stderr, "sonde: %s; kv cache %s at most", s->why, sonde_format_bytes(s->kv_bytes_peak, cache));
    if (s->shared_tokens > 0)
        fprintf(stderr, "; %s of %s of prompts not run: they begin alike",
                cli_format_things(s->shared_tokens, "token", shared),
                cli_format_count(s->totals.prompt_tokens, prompt));
    if (s->preempted > 0)
        fprintf(stderr, "; the cache was full %s, %s run again",
                cli_format_things(s->preempted, "time", again),
                cli_format_things(s->rows_again, "row", rows));
    fputc('\n', stderr);
}

/* Kinds of step, the dearest first, those left out that took nothing. */
static void print_steps(const sonde_job_summary *s)
{
    uint64_t all = 0, below = UINT64_MAX;
    for (int32_t i = 0; i < s->n_steps; i++) all += s->steps[i].ns;
    if (all == 0) return;
    fprintf(stderr, "sonde: seconds by step:");
    for (const char *comma = "";; comma = ",") {
        int32_t next = -1;
        for (int32_t i = 0; i < s->n_steps; i++)
            if (s->steps[i].ns > 0 && s->steps[i].ns < below &&
                (next < 0 || s->steps[i].ns > s->steps[next].ns))
                next = i;
        if (next < 0) break;
        below = s->steps[next].ns;
        fprintf(stderr, "%s %s %.3g (%.1f %%)", comma, s->steps[next].name, seconds(below),
                100.0 * (double)below / (double)all);
    }
    fputc('\n', stderr);
}

void cli_print_timings(const sonde_job_summary *s)
{
    char rss[32];
    fprintf(
        stderr,
        "sonde: seconds: load %.3g, tokenize %.3g, prefill %.3g, decode %.3g, hooks %.3g, codec "
        "%.3g, write %.3g, wait %.3g, seal %.3g; peak memory %s\n",
        seconds(s->load_ns), seconds(s->tokenize_ns), seconds(s->prefill_ns), seconds(s->decode_ns),
        seconds(s->hook_ns), seconds(s->codec_ns), seconds(s->write_ns), seconds(s->wait_ns),
        seconds(s->seal_ns), sonde_format_bytes(s->peak_rss_bytes, rss));
    print_steps(s);
    print_schedule(s);
}

json_t *cli_summary_json(const sonde_job_summary *s)
{
    static const struct {
        const char *name;
        size_t offset;
    } numbers[] = {
        {"rows", offsetof(sonde_job_summary, totals.rows)},
        {"sequences", offsetof(sonde_job_summary, totals.sequences)},
        {"prompt_tokens", offsetof(sonde_job_summary, totals.prompt_tokens)},
        {"generated_tokens", offsetof(sonde_job_summary, totals.generated_tokens)},
        {"bytes_raw", offsetof(sonde_job_summary, totals.bytes_raw)},
        {"bytes_stored", offsetof(sonde_job_summary, totals.bytes_stored)},
        {"blank_lines", offsetof(sonde_job_summary, blank_lines)},
        {"skipped_prompts", offsetof(sonde_job_summary, skipped_prompts)},
        {"cut_prompts", offsetof(sonde_job_summary, cut_prompts)},
        {"split_prompts", offsetof(sonde_job_summary, split_prompts)},
        {"steps_planned", offsetof(sonde_job_summary, steps_planned)},
        {"peak_rss_bytes", offsetof(sonde_job_summary, peak_rss_bytes)},
        {"shared_tokens", offsetof(sonde_job_summary, shared_tokens)},
        {"kv_bytes_peak", offsetof(sonde_job_summary, kv_bytes_peak)},
        {"preempted", offsetof(sonde_job_summary, preempted)},
        {"rows_again", offsetof(sonde_job_summary, rows_again)},
        {"load_ns", offsetof(sonde_job_summary, load_ns)},
        {"tokenize_ns", offsetof(sonde_job_summary, tokenize_ns)},
        {"prefill_ns", offsetof(sonde_job_summary, prefill_ns)},
        {"decode_ns", offsetof(sonde_job_summary, decode_ns)},
        {"hook_ns", offsetof(sonde_job_summary, hook_ns)},
        {"codec_ns", offsetof(sonde_job_summary, codec_ns)},
        {"write_ns", offsetof(sonde_job_summary, write_ns)},
        {"wait_ns", offsetof(sonde_job_summary, wait_ns)},
        {"seal_ns", offsetof(sonde_job_summary, seal_ns)},
    };
    json_t *value = json_object();
    for (size_t i = 0; i < CLI_COUNT(numbers); i++) {
        uint64_t number;
        memcpy(&number, (const char *)s + numbers[i].offset, sizeof number);
        json_object_set_new(value, numbers[i].name, json_integer((json_int_t)number));
    }
    json_object_set_new(value, "seconds", cli_json_real(s->totals.seconds));
    json_object_set_new(value, "tokens_per_second", cli_json_real(s->totals.tokens_per_second));
    json_object_set_new(value, "stored_dtypes", cli_json_string(s->stored_dtypes));
    json_object_set_new(value, "sealed", json_boolean(s->sealed));
    json_object_set_new(value, "complete", json_boolean(s->complete));
    json_t *steps = json_object();
    for (int32_t i = 0; i < s->n_steps; i++)
        json_object_set_new(steps, s->steps[i].name, json_integer((json_int_t)s->steps[i].ns));
    json_object_set_new(value, "steps_ns", steps);
    return value;
}
