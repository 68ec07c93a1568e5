/* prompt_case.c - prompt sources for tests. */
#include "prompt_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

sonde_tokenizer *prompt_tokenizer;
const char *const prompts_no_bos[] = {"add-bos", "no", NULL};

int prompt_case_set_up(void **state)
{
    (void)state;
    sonde_error err = {0};
    return sonde_tokenizer_open("tests/goldens/text/bytes-plain", &prompt_tokenizer, &err) ==
                   SONDE_OK
               ? 0
               : -1;
}

int prompt_case_tear_down(void **state)
{
    (void)state;
    sonde_tokenizer_destroy(&prompt_tokenizer);
    return 0;
}

/* ---- reading a source into one line of text -------------------------------------------------- */

static void set_options(sonde_job_options *options, const char *const *names_and_values)
{
    sonde_error err = {0};
    memset(options, 0, sizeof *options);
    assert_int_equal(sonde_options_defaults(sonde_job_options_table, options, &err), SONDE_OK);
    for (; names_and_values && *names_and_values; names_and_values += 2)
        if (sonde_options_set(sonde_job_options_table, options, names_and_values[0],
                              names_and_values[1], &err) != SONDE_OK)
            fail_msg("%s", err.message);
}

void prompt_source_open(prompt_source *s, const char *suffix, const char *text, size_t bytes,
                        const char *const *options)
{
    memset(s, 0, sizeof *s);
    snprintf(s->path, sizeof s->path, "/tmp/sonde-prompts-XXXXXX%s", suffix);
    int fd = mkstemps(s->path, (int)strlen(suffix));
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, bytes), bytes);
    close(fd);
    set_options(&s->options, options);
    s->spec = (sonde_prompts_spec){.path = s->path,
                                   .options = &s->options,
                                   .tokenizer = prompt_tokenizer,
                                   .vocab = sonde_tokenizer_size(prompt_tokenizer),
                                   .max_seq = 1000};
    if (s->options.max_seq > 0) s->spec.max_seq = s->options.max_seq;
}

void prompt_source_close(prompt_source *s)
{
    unlink(s->path);
}

/* The source's path in messages becomes FILE. */
static void hide_path(const char *path, const char *message, sonde_string *out)
{
    const char *at = *path ? strstr(message, path) : NULL;
    if (at) {
        sonde_string_append(out, message, (size_t)(at - message));
        sonde_string_text(out, "FILE");
    }
    sonde_string_text(out, at ? at + strlen(path) : message);
}

static void describe(const prompt_source *s, const sonde_prompt *p, sonde_string *out)
{
    static const char *const states[] = {"", " cut", " skipped"};
    sonde_string_format(out, "%s%llu:%s%s", out->length ? " | " : "", (unsigned long long)p->index,
                        p->id, states[p->state]);
    if (p->state != SONDE_PROMPT_SKIPPED)
        sonde_string_format(out, " %lld/%lld", (long long)p->n_prompt, (long long)p->n_tokens);
    if (p->why) {
        sonde_string_text(out, " (");
        hide_path(s->path, p->why, out);
        sonde_string_text(out, ")");
    }
}

sonde_status prompt_source_read(const prompt_source *s, sonde_string *out, char hash[33],
                                sonde_prompts_stats *stats)
{
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    sonde_prompt prompt = {0};
    bool end = false;
    memset(out, 0, sizeof *out);
    sonde_status status = sonde_prompts_open(&s->spec, &prompts, &err);
    while (status == SONDE_OK && !end) {
        status = sonde_prompts_next(prompts, &prompt, &end, &err);
        if (status == SONDE_OK && !end) describe(s, &prompt, out);
    }
    if (status == SONDE_OK && hash) sonde_prompts_hash(prompts, hash);
    if (status == SONDE_OK && stats) sonde_prompts_stats_get(prompts, stats);
    sonde_prompt_reset(&prompt);
    sonde_prompts_close(&prompts);
    if (status != SONDE_OK) {
        sonde_string_reset(out);
        hide_path(s->path, err.message, out);
        assert_int_equal(err.status, status);
    }
    sonde_string_append(out, "", 0);
    return status;
}

void prompt_source_check(const prompt_source *s, sonde_status expected, const char *text)
{
    sonde_string out;
    sonde_status status = prompt_source_read(s, &out, NULL, NULL);
    if (status != expected || strcmp(out.data, text) != 0)
        fail_msg("expected %d '%s'\n     got %d '%s'", (int)expected, text, (int)status, out.data);
    sonde_string_reset(&out);
}

void prompts_check(const char *suffix, const char *text, const char *const *options,
                   sonde_status expected, const char *result)
{
    prompt_source s;
    prompt_source_open(&s, suffix, text, strlen(text), options);
    prompt_source_check(&s, expected, result);
    prompt_source_close(&s);
}

void prompt_read_one(const char *suffix, const char *text, const char *const *options,
                     sonde_prompt *prompt)
{
    prompt_source s;
    sonde_error err = {0};
    sonde_prompts *prompts = NULL;
    bool end;
    memset(prompt, 0, sizeof *prompt);
    prompt_source_open(&s, suffix, text, strlen(text), options);
    assert_int_equal(sonde_prompts_open(&s.spec, &prompts, &err), SONDE_OK);
    if (sonde_prompts_next(prompts, prompt, &end, &err) != SONDE_OK) fail_msg("%s", err.message);
    assert_false(end);
    sonde_prompts_close(&prompts);
    prompt_source_close(&s);
}
