/* job_texts.c - /manifest, everything that decides content, and /run, everything that does not. */
#include "job_internal.h"

#include "core/cpu.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <time.h>

static const char *last_part(const char *path)
{
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    return path + n;
}

static sonde_status dump(json_t *root, sonde_string *text, sonde_error *err)
{
    char *json = root ? json_dumps(root, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
    if (json) sonde_string_text(text, json);
    free(json);
    json_decref(root);
    return json && !text->failed ? SONDE_OK : sonde_no_memory(err, "a JSON text", 4096);
}

/* json_string of text that may be no UTF-8: a path. */
static json_t *text_json(const char *text)
{
    sonde_string quoted = {0};
    sonde_string_json(&quoted, text, strlen(text));
    json_t *value = quoted.failed ? NULL : json_loads(quoted.data, JSON_DECODE_ANY, NULL);
    sonde_string_reset(&quoted);
    return value ? value : json_string("?");
}

/* ---- options --------------------------------------------------------------------------------------------- */

static json_t *list_json(const sonde_option_list *list)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < list->count; i++) json_array_append_new(array, text_json(list->values[i]));
    return array;
}

static json_t *option_json(const sonde_option *option, const sonde_job_options *options)
{
    const char *at = (const char *)options + option->offset;
    char text[4096];
    switch (option->type) {
    case SONDE_OPTION_FLAG: return json_boolean(*(const bool *)at);
    case SONDE_OPTION_INT: return json_integer(*(const int64_t *)(const void *)at);
    case SONDE_OPTION_FLOAT: return json_real(*(const double *)(const void *)at);
    case SONDE_OPTION_BYTES: return json_integer((json_int_t)*(const uint64_t *)(const void *)at);
    case SONDE_OPTION_LIST: return list_json((const sonde_option_list *)(const void *)at);
    default: break;
    }
    if (strcmp(option->name, "chat-args") == 0 && options->chat_args)
        return json_loads(options->chat_args, JSON_ALLOW_NUL, NULL); /* may be long */
    bool text_given = option->type != SONDE_OPTION_TEXT || *(const char *const *)(const void *)at;
    if (!text_given) return json_null();
    return text_json(sonde_options_format(option, options, text, sizeof text));
}

static json_t *options_json(const sonde_job_options *options, uint32_t kind)
{
    json_t *object = json_object();
    for (const sonde_option *o = sonde_job_options_table; o->name; o++)
        if ((o->flags & kind) && !(o->flags & SONDE_OPTION_LATER))
            json_object_set_new(object, o->name, option_json(o, options));
    return object;
}

/* ---- /manifest -------------------------------------------------------------------------------------------- */

static json_t *probes_json(const sonde_job *job)
{
    json_t *array = json_array();
    for (int32_t i = 0; i < job->probes.count; i++) {
        const sonde_probe_instance *p = &job->probes.instances[i];
        json_t *points = json_array(), *object = json_object();
        for (uint32_t j = 0; j < p->n_points; j++)
            json_array_append_new(points, json_string(p->points[j].name));
        json_t *options = json_loads(p->options_json ? p->options_json : "{}", 0, NULL);
        json_object_set_new(object, "instance", json_string(p->name));
        json_object_set_new(object, "probe", json_string(p->probe.name));
        json_object_set_new(object, "version",
                            json_string(p->probe.version ? p->probe.version : ""));
        json_object_set_new(object, "options", options ? options : json_object());
        json_object_set_new(object, "points", points);
        json_array_append_new(array, object);
    }
    return array;
}

static json_t *model_json(const sonde_job *job, const char *hash)
{
    sonde_model_info info;
    sonde_model_info_get(job->model, &info);
    json_t *model = json_object();
    json_object_set_new(model, "name", text_json(last_part(info.path)));
    json_object_set_new(model, "family", json_string(info.family));
    json_object_set_new(model, "hash", json_string(hash));
    return model;
}

/* The template and what it was rendered with; the date only where it was given or asked for. */
static json_t *chat_json(const sonde_job *job)
{
    json_t *chat = json_object(), *args = json_deep_copy(job->chat_args);
    const char *text = job->options.chat_args;
    json_t *given = text ? json_loads(text, JSON_ALLOW_NUL, NULL) : NULL;
    if (!sonde_chat_is_dated(job->chat) && !json_object_get(given, "date"))
        json_object_del(args, "date");
    json_decref(given);
    json_object_set_new(chat, "template", json_string(sonde_chat_name(job->chat)));
    json_object_set_new(chat, "hash", json_string(sonde_chat_hash(job->chat)));
    json_object_set_new(chat, "args", args);
    return chat;
}

sonde_status sonde_job_manifest(sonde_job_run *run, sonde_string *text, sonde_error *err)
{
    const sonde_job *job = run->job;
    const char *hash;
    char prompts[33];
    SONDE_TRY(sonde_model_hash(job->model, &hash, err));
    sonde_prompts_hash(run->prompts, prompts);
    json_t *root = json_object();
    json_object_set_new(root, "format_version", json_integer(SONDE_FORMAT_VERSION));
    json_object_set_new(root, "hook_vocabulary", json_integer(SONDE_HOOK_VOCABULARY));
    json_object_set_new(root, "model", model_json(job, hash));
    if (job->tokenizer)
        json_object_set_new(root, "tokenizer_hash",
                            json_string(sonde_tokenizer_hash(job->tokenizer)));
    if (job->chat) json_object_set_new(root, "chat", chat_json(job));
    json_object_set_new(root, "prompts_hash", json_string(prompts));
    json_object_set_new(root, "max_seq", json_integer(job->max_seq));
    json_object_set_new(root, "probes", probes_json(job));
    json_object_set_new(root, "options", options_json(&job->options, SONDE_OPTION_CONTENT));
    return dump(root, text, err);
}

/* ---- /run -------------------------------------------------------------------------------------------------- */

static void make_uuid(char text[40])
{
    uint8_t b[16] = {0};
    uint64_t now = sonde_now_ns();
    if (getrandom(b, sizeof b, 0) != (ssize_t)sizeof b) memcpy(b, &now, sizeof now);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    snprintf(text, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

static void time_text(time_t at, char text[32])
{
    struct tm utc;
    gmtime_r(&at, &utc);
    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &utc);
}

static json_t *machine_json(const sonde_job *job)
{
    struct utsname os;
    char cpu[128];
    sonde_model_info info;
    sonde_model_info_get(job->model, &info);
    sonde_cpu_model_name(cpu, sizeof cpu);
    json_t *machine = json_object();
    if (uname(&os) == 0) {
        json_object_set_new(machine, "host", text_json(os.nodename));
        json_object_set_new(machine, "system", text_json(os.sysname));
        json_object_set_new(machine, "release", text_json(os.release));
    }
    json_object_set_new(machine, "cpu", text_json(cpu));
    json_object_set_new(machine, "cores", json_integer(sonde_cpu_count()));
    json_object_set_new(machine, "level", json_string(info.level));
    return machine;
}

static json_t *seconds(uint64_t ns)
{
    return json_real((double)(int64_t)(ns / 1000u) * 1e-6);
}

static json_t *phases_json(const sonde_job_summary *s)
{
    const struct { const char *name; uint64_t ns; } phases[] = {
        {"load", s->load_ns}, {"tokenize", s->tokenize_ns}, {"prefill", s->prefill_ns},
        {"decode", s->decode_ns}, {"hooks", s->hook_ns}, {"codec", s->codec_ns},
        {"write", s->write_ns}, {"wait", s->wait_ns}};
    json_t *object = json_object(), *steps = json_object();
    for (size_t i = 0; i < SONDE_COUNT(phases); i++)
        json_object_set_new(object, phases[i].name, seconds(phases[i].ns));
    for (int32_t i = 0; i < s->n_steps; i++)
        json_object_set_new(steps, s->steps[i].name, seconds(s->steps[i].ns));
    json_object_set_new(object, "steps", steps);
    return object;
}

static json_t *counts_json(const sonde_job_summary *s, const sonde_run_stats *run)
{
    json_t *object = json_object();
    const struct { const char *name; uint64_t n; } counts[] = {
        {"rows", s->totals.rows}, {"sequences", s->totals.sequences},
        {"prompt_tokens", s->totals.prompt_tokens},
        {"generated_tokens", s->totals.generated_tokens}, {"blank_lines", s->blank_lines},
        {"skipped_prompts", s->skipped_prompts}, {"cut_prompts", s->cut_prompts},
        {"split_prompts", s->split_prompts}, {"steps_planned", s->steps_planned},
        {"shared_tokens", s->shared_tokens}, {"preempted", s->preempted},
        {"rows_again", s->rows_again}, {"kv_bytes_peak", s->kv_bytes_peak},
        {"kernel_calls", run->kernel_calls}, {"peak_rss_bytes", s->peak_rss_bytes}};
    for (size_t i = 0; i < SONDE_COUNT(counts); i++)
        json_object_set_new(object, counts[i].name, json_integer((json_int_t)counts[i].n));
    return object;
}

sonde_status sonde_job_run_text(sonde_job_run *run, sonde_string *text, sonde_error *err)
{
    const sonde_job *job = run->job;
    char uuid[40], began[32], ended[32];
    time_t now = time(NULL);
    double lasted = (double)(sonde_now_ns() - run->begin_ns) * 1e-9;
    sonde_job_summary summary = {0};
    sonde_job_run_summary(run, &summary);
    make_uuid(uuid);
    time_text(now - (time_t)lasted, began);
    time_text(now, ended);
    json_t *root = json_object();
    json_object_set_new(root, "uuid", json_string(uuid));
    json_object_set_new(root, "sonde", json_string(SONDE_VERSION));
    json_object_set_new(root, "began", json_string(began));
    json_object_set_new(root, "ended", json_string(ended));
    json_object_set_new(root, "prompts", job->spec.prompts ? text_json(last_part(job->spec.prompts))
                                                           : json_null());
    json_object_set_new(root, "machine", machine_json(job));
    json_object_set_new(root, "workers", json_integer(job->workers));
    json_object_set_new(root, "threads", json_integer(job->threads));
    json_object_set_new(root, "why", json_string(job->why));
    json_object_set_new(root, "options", options_json(&job->options, SONDE_OPTION_RUN));
    json_object_set_new(root, "seconds", phases_json(&summary));
    json_object_set_new(root, "counts", counts_json(&summary, &run->stats.run));
    return dump(root, text, err);
}
