/* prompts.c - which prompts are given, and in what form: options, ids, skipped ones, pieces. */
#include "prompts_internal.h"

#include <string.h>

struct sonde_prompts {
    sonde_line_source source;
    sonde_prompt_encoder encoder;
    sonde_prompt_ids ids;
    const sonde_job_options *options;
    int64_t max_seq, part, parts;
    uint64_t next_index, limit_index; /* the first index that --limit leaves out */
    sonde_prompt whole;               /* being split: pieces [next_piece, n_pieces) are to come */
    int64_t next_piece, n_pieces;
    bool ended, warned; /* of a key that may be misspelt: once */
    sonde_prompts_stats stats;
    sonde_hash128_value hash;
};

/* ---- opening --------------------------------------------------------------------------------- */

static sonde_status read_part(sonde_prompts *p, sonde_error *err)
{
    const char *text = p->options->part, *slash = text ? strchr(text, '/') : NULL;
    char first[24] = "";
    p->part = 0;
    p->parts = 1;
    if (!text) return SONDE_OK;
    if (slash && slash - text < (int)sizeof first) memcpy(first, text, (size_t)(slash - text));
    if (slash && sonde_parse_i64(slash + 1, 1, INT32_MAX, &p->parts) &&
        sonde_parse_i64(first, 0, p->parts - 1, &p->part))
        return SONDE_OK;
    return sonde_fail(err, SONDE_USAGE, "--part %s: expected I/N with 0 <= I < N", text);
}

sonde_status sonde_prompts_open(const sonde_prompts_spec *spec, sonde_prompts **prompts,
                                sonde_error *err)
{
    const sonde_job_options *o = spec->options;
    sonde_prompts *p = sonde_alloc(1, sizeof *p);
    if (!p) return sonde_no_memory(err, "reading prompts", sizeof *p);
    p->source.fd = -1;
    p->options = o;
    p->max_seq = spec->max_seq;
    p->limit_index = o->limit > 0 ? (uint64_t)o->skip + (uint64_t)o->limit : UINT64_MAX;
    p->encoder.tokenizer = spec->tokenizer;
    p->encoder.vocab = spec->vocab;
    p->encoder.chat = spec->chat;
    p->encoder.no_chat = spec->no_chat;
    p->encoder.chat_args = spec->chat_args;
    p->encoder.all_chat = o->chat;
    p->encoder.open = o->chat_open;
    p->encoder.options = (sonde_encode_options){.struct_size = sizeof p->encoder.options,
                                                .literal_special = o->special,
                                                .bos = (sonde_bos_mode)o->add_bos};
    sonde_status status = read_part(p, err);
    if (status == SONDE_OK && p->max_seq < 1)
        status =
            sonde_fail(err, SONDE_USAGE, "longest sequence: expected at least 1 token, got %lld",
                       (long long)p->max_seq);
    if (status == SONDE_OK) status = sonde_line_source_open(spec, &p->source, err);
    if (status != SONDE_OK) sonde_prompts_close(&p);
    else *prompts = p;
    return status;
}

void sonde_prompts_close(sonde_prompts **prompts)
{
    sonde_prompts *p = *prompts;
    if (!p) return;
    sonde_line_source_close(&p->source);
    sonde_prompt_encoder_reset(&p->encoder);
    sonde_prompt_ids_reset(&p->ids);
    sonde_prompt_reset(&p->whole);
    sonde_free(p);
    *prompts = NULL;
}

/* ---- a line becomes a prompt ----------------------------------------------------------------- */

static sonde_status check_line(const sonde_source_line *line, sonde_error *err)
{
    if (line->over)
        return sonde_fail(err, SONDE_BAD_PROMPT, "the line is longer than %zu MiB",
                          SONDE_PROMPT_MAX_LINE >> 20);
    if (line->blank) return sonde_fail(err, SONDE_BAD_PROMPT, "the line is blank");
    size_t valid = sonde_utf8_valid_prefix(line->text, line->bytes);
    if (valid == line->bytes) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_PROMPT, "not valid UTF-8 at byte %zu of the line (0x%02x)",
                      line->mark_bytes + valid + 1, (unsigned char)line->text[valid]);
}

static sonde_status read_draft(sonde_prompts *p, const sonde_source_line *line,
                               sonde_prompt_draft *draft, sonde_prompt *prompt, sonde_error *err)
{
    SONDE_TRY(check_line(line, err));
    if (p->source.jsonl) return sonde_prompt_read_json(line, draft, prompt, err);
    draft->text = line->text;
    draft->text_bytes = line->bytes;
    if (line->bytes > 0) return SONDE_OK;
    return sonde_fail(err, SONDE_BAD_PROMPT, "the text is empty");
}

static sonde_status set_default_id(sonde_prompt *prompt, sonde_error *err)
{
    char id[24];
    snprintf(id, sizeof id, "%llu", (unsigned long long)prompt->index);
    sonde_free(prompt->id);
    prompt->id_is_given = false;
    prompt->id = sonde_strdup(id);
    return prompt->id ? SONDE_OK : sonde_no_memory(err, "an id", sizeof id);
}

/* Takes the prompt's id; one that is taken already becomes the index, under which the bad prompt
 * may still be listed. */
static sonde_status claim_id(sonde_prompts *p, sonde_prompt *prompt, sonde_error *err)
{
    sonde_status status =
        sonde_prompt_ids_claim(&p->ids, prompt->id, prompt->id_is_given, prompt->index, err);
    if (status != SONDE_BAD_PROMPT || !prompt->id_is_given) return status;
    sonde_status renamed = set_default_id(prompt, err);
    return renamed == SONDE_OK ? status : renamed;
}

static void warn_of_odd_key(sonde_prompts *p, const sonde_prompt_draft *draft,
                            const sonde_prompt *prompt)
{
    if (!draft->odd_key || p->warned) return;
    p->warned = true;
    sonde_log(SONDE_LOG_WARN, "%s:%llu: '%s' is kept as metadata; did you mean '%s'?",
              p->source.name, (unsigned long long)prompt->line, draft->odd_key, draft->meant);
}

static sonde_status fill(sonde_prompts *p, const sonde_source_line *line, sonde_prompt *prompt,
                         int64_t *pieces, sonde_error *err)
{
    sonde_prompt_draft draft = {0};
    sonde_status status = read_draft(p, line, &draft, prompt, err);
    if (status == SONDE_OK ||
        status == SONDE_BAD_PROMPT) { /* a bad one takes its id all the same */
        sonde_error why = {0};
        sonde_status claimed = claim_id(p, prompt, &why);
        bool counts = status == SONDE_OK || claimed == SONDE_NO_MEMORY;
        if (claimed != SONDE_OK && counts) status = sonde_fail(err, claimed, "%s", why.message);
    }
    if (status == SONDE_OK) status = sonde_prompt_encode(&p->encoder, &draft, prompt, err);
    if (status == SONDE_OK && draft.spans) status = sonde_prompt_mark(draft.spans, prompt, err);
    if (status == SONDE_OK)
        status =
            sonde_prompt_fit(prompt, p->max_seq, (sonde_too_long)p->options->too_long, pieces, err);
    if (status == SONDE_OK) warn_of_odd_key(p, &draft, prompt);
    json_decref(draft.root);
    return status;
}

static sonde_status begin(sonde_prompts *p, uint64_t index, const sonde_source_line *line,
                          sonde_prompt *prompt, sonde_error *err)
{
    *prompt = (sonde_prompt){.index = index,
                             .line = line->number,
                             .max_new = p->options->max_new_tokens,
                             .seed = (uint64_t)p->options->seed,
                             .meta = json_object()};
    if (!prompt->meta) return sonde_no_memory(err, "a prompt", sizeof *prompt);
    return set_default_id(prompt, err);
}

static void add_place(const sonde_prompts *p, uint64_t line, sonde_error *err)
{
    if (p->source.name)
        sonde_error_prefix(err, "%s:%llu", p->source.name, (unsigned long long)line);
    else sonde_error_prefix(err, "prompt text %llu", (unsigned long long)line);
}

/* A refused prompt, or one kept as SKIPPED with the reason. */
static sonde_status refused(sonde_prompts *p, sonde_prompt *prompt, sonde_error *why,
                            sonde_error *err)
{
    add_place(p, prompt->line, why);
    if (why->status != SONDE_BAD_PROMPT || p->options->bad_prompt == 0)
        return sonde_fail(err, why->status, "%s", why->message);
    sonde_prompt_empty(prompt);
    prompt->state = SONDE_PROMPT_SKIPPED;
    prompt->why = sonde_strdup(why->message);
    return prompt->why ? SONDE_OK : sonde_no_memory(err, "a note on a prompt", 512);
}

static sonde_status make(sonde_prompts *p, uint64_t index, const sonde_source_line *line,
                         sonde_prompt *prompt, int64_t *pieces, sonde_error *err)
{
    sonde_error why = {0};
    *pieces = 1;
    SONDE_TRY(begin(p, index, line, prompt, err));
    if (fill(p, line, prompt, pieces, &why) == SONDE_OK) return SONDE_OK;
    *pieces = 1;
    return refused(p, prompt, &why, err);
}

/* ---- the next one ---------------------------------------------------------------------------- */

/* The next line that --skip, --limit and --part keep. */
static sonde_status next_line(sonde_prompts *p, sonde_source_line *line, uint64_t *index,
                              sonde_error *err)
{
    for (;;) {
        if (p->next_index >= p->limit_index) p->ended = true;
        if (p->ended) return SONDE_OK;
        SONDE_TRY(sonde_line_source_next(&p->source, line, &p->ended, err));
        if (p->ended && p->next_index == 0)
            return sonde_fail(err, SONDE_BAD_PROMPT, "%s: there is no prompt in it",
                              p->source.name ? p->source.name : "prompt texts");
        if (p->ended) return SONDE_OK;
        *index = p->next_index++;
        if (*index >= (uint64_t)p->options->skip &&
            (int64_t)(*index % (uint64_t)p->parts) == p->part)
            return SONDE_OK;
    }
}

/* Would this prompt pass --max-tokens? Then nothing more is given. */
static bool passes_budget(sonde_prompts *p, const sonde_prompt *prompt)
{
    uint64_t budget = (uint64_t)p->options->max_tokens;
    if (budget > 0 && p->stats.tokens + (uint64_t)prompt->n_tokens > budget) p->ended = true;
    return p->ended;
}

static sonde_status account(sonde_prompts *p, const sonde_prompt *prompt, sonde_error *err)
{
    p->stats.given++;
    p->stats.skipped += prompt->state == SONDE_PROMPT_SKIPPED;
    p->stats.cut += prompt->state == SONDE_PROMPT_CUT;
    p->stats.tokens += (uint64_t)prompt->n_tokens;
    return sonde_prompt_hash(&p->hash, prompt, err);
}

static sonde_status next_piece(sonde_prompts *p, sonde_prompt *prompt, sonde_error *err)
{
    SONDE_TRY(sonde_prompt_piece(&p->whole, p->max_seq, p->next_piece++, prompt, err));
    sonde_status status = sonde_prompt_ids_claim(&p->ids, prompt->id, true, prompt->index, err);
    if (status != SONDE_OK) add_place(p, prompt->line, err);
    if (status != SONDE_OK) return status;
    if (p->next_piece == p->n_pieces) sonde_prompt_reset(&p->whole);
    return account(p, prompt, err);
}

static sonde_status next_whole(sonde_prompts *p, sonde_prompt *prompt, bool *end, sonde_error *err)
{
    sonde_source_line line;
    uint64_t index = 0;
    int64_t pieces;
    SONDE_TRY(next_line(p, &line, &index, err));
    *end = p->ended;
    if (p->ended) return SONDE_OK;
    SONDE_TRY(make(p, index, &line, prompt, &pieces, err));
    *end = passes_budget(p, prompt);
    if (*end) {
        sonde_prompt_reset(prompt);
        return SONDE_OK;
    }
    if (pieces == 1) return account(p, prompt, err);
    p->stats.split++;
    p->whole = *prompt;
    p->n_pieces = pieces;
    p->next_piece = 0;
    return next_piece(p, prompt, err);
}

sonde_status sonde_prompts_next(sonde_prompts *prompts, sonde_prompt *prompt, bool *end,
                                sonde_error *err)
{
    *end = false;
    sonde_prompt_reset(prompt);
    sonde_status status = prompts->next_piece < prompts->n_pieces
                              ? next_piece(prompts, prompt, err)
                              : next_whole(prompts, prompt, end, err);
    if (status != SONDE_OK) sonde_prompt_reset(prompt);
    return status;
}

void sonde_prompts_stats_get(const sonde_prompts *prompts, sonde_prompts_stats *stats)
{
    *stats = prompts->stats;
    stats->lines = prompts->source.number;
    stats->blank_lines = prompts->source.blank_lines;
    stats->tokenize_ns = prompts->encoder.tokenize_ns;
}

void sonde_prompts_hash(const sonde_prompts *prompts, char text[33])
{
    sonde_hash128_hex(prompts->hash, text);
}
