/* cmd_plan.c - sonde plan: what a capture would cost. */
#include "cli/cli.h"

#include <string.h>

static json_t *point_json(const sonde_point_cost *p)
{
    json_t *value = json_object();
    json_object_set_new(value, "name", cli_json_string(p->name));
    json_object_set_new(value, "stored", cli_json_string(p->stored));
    json_object_set_new(value, "rows", json_integer((json_int_t)p->rows));
    json_object_set_new(value, "bytes", json_integer((json_int_t)p->bytes));
    return value;
}

static void set_count(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

static json_t *memory_json(const sonde_job_cost *c)
{
    json_t *memory = json_object();
    set_count(memory, "weights", c->memory_weights);
    set_count(memory, "weights_mapped", c->mapped_weights);
    set_count(memory, "run", c->memory_run);
    set_count(memory, "kv", c->memory_kv);
    set_count(memory, "kv_least", c->memory_kv_least);
    set_count(memory, "store", c->memory_store);
    set_count(memory, "peak", c->memory_peak);
    return memory;
}

static json_t *cost_json(const sonde_job_cost *c)
{
    json_t *value = json_object(), *points = json_array();
    set_count(value, "sequences", c->sequences);
    set_count(value, "skipped_sequences", c->skipped_sequences);
    set_count(value, "prompt_tokens", c->prompt_tokens);
    set_count(value, "generated_tokens_max", c->generated_tokens_max);
    set_count(value, "rows", c->rows);
    json_object_set_new(value, "rows_exact", json_boolean(c->rows_exact));
    set_count(value, "bytes_raw", c->bytes_raw);
    set_count(value, "bytes_stored_estimate", c->bytes_stored_estimate);
    set_count(value, "disk_free", c->disk_free);
    json_object_set_new(value, "memory", memory_json(c));
    json_object_set_new(value, "seconds_estimate",
                        c->seconds_estimate > 0 ? cli_json_real(c->seconds_estimate) : json_null());
    set_count(value, "steps_recipe", (uint64_t)c->steps_recipe);
    set_count(value, "steps_planned", (uint64_t)c->steps_planned);
    json_object_set_new(value, "last_layer",
                        c->last_layer < 0 ? json_null() : json_integer(c->last_layer));
    set_count(value, "workers", (uint64_t)c->workers);
    set_count(value, "threads", (uint64_t)c->threads);
    set_count(value, "batch_rows", (uint64_t)c->batch_rows);
    json_object_set_new(value, "why", cli_json_string(c->why));
    for (int64_t i = 0; i < c->n_points; i++)
        json_array_append_new(points, point_json(&c->points[i]));
    json_object_set_new(value, "points", points);
    return value;
}

static void print_memory(const sonde_job_cost *c)
{
    char peak[32], weights[32], run[32], kv[32], store[32];
    printf("memory      %s at most: weights %s, run %s, kv cache %s, store %s\n",
           sonde_format_bytes(c->memory_peak, peak), sonde_format_bytes(c->memory_weights, weights),
           sonde_format_bytes(c->memory_run, run), sonde_format_bytes(c->memory_kv, kv),
           sonde_format_bytes(c->memory_store, store));
    if (c->kv_held_back)
        printf("            the kv cache is what --memory leaves: sequences wait for room in it\n");
    if (c->mapped_weights > 0)
        printf("            %s of weights stay in the file, read when they are used\n",
               sonde_format_bytes(c->mapped_weights, weights));
}

static void print_steps(const sonde_model *model, const sonde_job_cost *c)
{
    char workers[48], threads[48];
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    printf("steps       %lld of the recipe's %lld run", (long long)c->steps_planned,
           (long long)c->steps_recipe);
    if (c->last_layer >= 0 && c->last_layer + 1 < info.n_layers)
        printf("; stops after block %lld of %lld", (long long)c->last_layer,
               (long long)info.n_layers);
    putchar('\n');
    if (c->why && c->why[0])
        printf("workers     %s; ", c->why);
    else
        printf("workers     %s of %s; ", cli_format_things((uint64_t)c->workers, "worker", workers),
               cli_format_things((uint64_t)c->threads, "thread", threads));
    printf("%lld rows a step\n", (long long)c->batch_rows);
}

static void print_points(const sonde_job_cost *c)
{
    char rows[32], bytes[32];
    int width = 5;
    for (int64_t i = 0; i < c->n_points; i++)
        if ((int)strlen(c->points[i].name) > width) width = (int)strlen(c->points[i].name);
    if (c->n_points > 0)
        printf("\n%-*s %-6s %14s %10s\n", width, "point", "stored", "rows", "bytes");
    for (int64_t i = 0; i < c->n_points; i++)
        printf("%-*s %-6s %14s %10s\n", width, c->points[i].name, c->points[i].stored,
               cli_format_count(c->points[i].rows, rows),
               sonde_format_bytes(c->points[i].bytes, bytes));
}

static void print_cost(const sonde_model *model, const sonde_job_cost *c)
{
    char a[32], b[32], d[32];
    printf("sequences   %s", cli_format_count(c->sequences, a));
    if (c->skipped_sequences > 0)
        printf(" (%s skipped)", cli_format_count(c->skipped_sequences, b));
    printf("\ntokens      %s of prompts", cli_format_count(c->prompt_tokens, a));
    if (c->generated_tokens_max > 0)
        printf(", %s generated at most", cli_format_count(c->generated_tokens_max, b));
    printf("\nrows        %s%s\n", c->rows_exact ? "" : "at most ", cli_format_count(c->rows, a));
    printf("bytes       %s%s before the codec, about %s in the file; %s free\n",
           c->rows_exact ? "" : "at most ", sonde_format_bytes(c->bytes_raw, a),
           sonde_format_bytes(c->bytes_stored_estimate, b), sonde_format_bytes(c->disk_free, d));
    print_memory(c);
    if (c->seconds_estimate > 0)
        printf("time        %s%s\n", c->seconds_estimate < 0.01 ? "" : "about ",
               cli_format_seconds(c->seconds_estimate, a));
    print_steps(model, c);
    print_points(c);
}

sonde_status cmd_plan(cli_call *call, sonde_error *err)
{
    sonde_job *job;
    sonde_job_cost cost;
    sonde_job_spec spec;
    SONDE_TRY(cli_job_spec(call, &spec, err));
    spec.shape_only = true;
    SONDE_TRY(sonde_job_open(&spec, &job, err));
    sonde_status status = sonde_job_estimate(job, call->own.output, &cost, err);
    if (status == SONDE_OK && call->job.json)
        status = cli_print_json(cost_json(&cost), true, err);
    else if (status == SONDE_OK)
        print_cost(sonde_job_model(job), &cost);
    sonde_job_close(&job);
    return status;
}
