/* info_model.c - sonde info MODEL: what a checkpoint is, every tensor checked. */
#include "cli/cli.h"

#include <string.h>

static void print_number(const char *name, int64_t value)
{
    char text[32];
    printf("%-14s %s\n", name, cli_format_count((uint64_t)value, text));
}

static void print_tokenizer(sonde_model *model)
{
    const sonde_tokenizer *tokenizer;
    sonde_error why;
    if (sonde_model_tokenizer(model, &tokenizer, &why) != SONDE_OK) {
        printf("%-14s none to use: %s\n", "tokenizer", why.message);
        return;
    }
    printf("%-14s %lld ids, %s\n", "tokenizer", (long long)sonde_tokenizer_size(tokenizer),
           sonde_tokenizer_hash(tokenizer));
}

/* The chat template's name, or why conversations cannot be rendered. */
static void print_chat(sonde_model *model)
{
    const sonde_chat *chat;
    const sonde_tokenizer *tokenizer;
    sonde_error why;
    if (sonde_model_tokenizer(model, &tokenizer, NULL) != SONDE_OK) return;
    if (sonde_model_chat(model, &chat, &why) == SONDE_OK)
        printf("%-14s %s\n", "chat template", sonde_chat_name(chat));
    else if (!strstr(why.message, "has no chat template"))
        printf("%-14s none to use: %s\n", "chat template", why.message);
}

/* What the matrices of each stored type became. */
static void print_kept(const sonde_model_info *i)
{
    char stored[32], kept[32], matrices[48];
    for (int64_t n = 0; n < i->n_kept; n++) {
        const sonde_weight_kept *k = &i->kept[n];
        printf("%-14s %s of %s, %s: ", n == 0 ? "weights" : "",
               cli_format_things((uint64_t)k->n_matrices, "tensor", matrices), k->stored,
               sonde_format_bytes(k->stored_bytes, stored));
        if (k->mapped)
            printf("left in the file, decoded when used\n");
        else if (strcmp(k->stored, k->kept) == 0)
            printf("kept as stored, %s\n", sonde_format_bytes(k->kept_bytes, kept));
        else
            printf("widened to %s, %s\n", k->kept, sonde_format_bytes(k->kept_bytes, kept));
    }
}

static json_t *kept_json(const sonde_model_info *i)
{
    json_t *list = json_array();
    for (int64_t n = 0; n < i->n_kept; n++) {
        const sonde_weight_kept *k = &i->kept[n];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:b, s:I, s:I, s:I}", "stored", k->stored, "kept", k->kept,
                            "mapped", k->mapped, "matrices", (json_int_t)k->n_matrices,
                            "stored_bytes", (json_int_t)k->stored_bytes, "kept_bytes",
                            (json_int_t)k->kept_bytes));
    }
    return list;
}

static void print_facts(sonde_model *model, const sonde_model_info *i)
{
    char bytes[32], count[32];
    printf("%-14s %s\n%-14s %s (%s), %s\n", "model", i->path, "family", i->family, i->title,
           i->container);
    printf("%-14s %s in %s: %s\n", "parameters",
           cli_format_count((uint64_t)i->n_parameters, count),
           sonde_format_bytes(i->file_bytes, bytes), i->stored_dtypes);
    print_number("blocks", i->n_layers);
    print_number("hidden", i->hidden);
    printf("%-14s %lld of %lld, %lld of keys and values\n", "heads", (long long)i->n_heads,
           (long long)i->head_dim, (long long)i->n_kv_heads);
    print_number("feed forward", i->ffn);
    print_number("vocabulary", i->vocab);
    print_number("context", i->max_positions);
    printf("%-14s %s %s%s, %s of weights%s%s\n", "runs as", i->backend, i->level ? i->level : "",
           i->exact ? " exact" : "", sonde_format_bytes(i->packed_bytes, bytes),
           i->packed_note && i->packed_note[0] ? "; " : "", i->packed_note ? i->packed_note : "");
    print_kept(i);
    print_tokenizer(model);
    print_chat(model);
    printf("%-14s %lld (sonde points %s)\n", "hook points", (long long)i->n_points, i->path);
}

static json_t *facts_json(sonde_model *model, const sonde_model_info *i)
{
    const sonde_tokenizer *tokenizer;
    const sonde_chat *chat;
    const int64_t *eos;
    bool has = sonde_model_tokenizer(model, &tokenizer, NULL) == SONDE_OK;
    json_t *ends = json_array();
    for (int64_t n = sonde_model_eos(model, &eos), k = 0; k < n; k++)
        json_array_append_new(ends, json_integer(eos[k]));
    json_t *value = json_pack(
        "{s:s, s:o, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "kind", "model", "path", cli_json_string(i->path), "family", i->family, "container",
        i->container, "stored_dtypes", i->stored_dtypes, "n_parameters", (json_int_t)i->n_parameters,
        "file_bytes", (json_int_t)i->file_bytes, "packed_bytes", (json_int_t)i->packed_bytes,
        "n_layers", (json_int_t)i->n_layers, "hidden", (json_int_t)i->hidden, "n_heads",
        (json_int_t)i->n_heads, "n_kv_heads", (json_int_t)i->n_kv_heads, "head_dim",
        (json_int_t)i->head_dim, "value_dim", (json_int_t)i->value_dim, "ffn", (json_int_t)i->ffn,
        "vocab", (json_int_t)i->vocab, "max_positions", (json_int_t)i->max_positions, "n_points",
        (json_int_t)i->n_points);
    json_object_set_new(value, "mapped_bytes", json_integer((json_int_t)i->mapped_bytes));
    json_object_set_new(value, "weights", kept_json(i));
    json_object_set_new(value, "eos", ends);
    bool chats = sonde_model_chat(model, &chat, NULL) == SONDE_OK;
    json_object_set_new(value, "chat_template",
                        chats ? json_string(sonde_chat_name(chat)) : json_null());
    json_object_set_new(value, "tokenizer_hash",
                        has ? cli_json_string(sonde_tokenizer_hash(tokenizer)) : json_null());
    return value;
}

static sonde_status show(const cli_call *call, sonde_model *model, sonde_error *err)
{
    sonde_model_info info;
    const char *hash = NULL;
    sonde_model_info_get(model, &info);
    if (call->job.json || call->job.verbose) SONDE_TRY(sonde_model_hash(model, &hash, err));
    if (call->job.json) {
        json_t *value = facts_json(model, &info);
        json_object_set_new(value, "model_hash", json_string(hash));
        return cli_print_json(value, true, err);
    }
    print_facts(model, &info);
    if (hash) printf("%-14s %s\n", "hash", hash);
    return SONDE_OK;
}

sonde_status cli_model_info(const cli_call *call, sonde_error *err)
{
    sonde_model_options options = {.struct_size = (uint32_t)sizeof options, .measure = true};
    sonde_model *model;
    SONDE_TRY(sonde_model_open(call->words[0], &options, &model, err));
    sonde_status status = show(call, model, err);
    sonde_model_close(&model);
    return status;
}
