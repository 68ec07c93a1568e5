/*
 * test_generate.c - generation as a job: token for token what the goldens state, in input order, the
 * same text however it is cut into batches, stop texts, streaming.
 */
#include "support/golden.h"
#include "support/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PROMPTS "build/generate.jsonl"

typedef struct seen {
    uint32_t tokens[8][64];
    int64_t n_tokens[8];
    char stop[8][16];
    char text[8][512], streamed[8][512];
    uint64_t index[8];
    int n;
} seen;

static void on_generated(void *context, const sonde_generated *g)
{
    seen *s = context;
    assert_true(s->n < 8 && g->n_tokens <= 64 && g->text_bytes < 512);
    int at = s->n++;
    s->index[at] = g->index;
    s->n_tokens[at] = g->n_tokens;
    memcpy(s->tokens[at], g->tokens, (size_t)g->n_tokens * sizeof *g->tokens);
    memcpy(s->text[at], g->text, g->text_bytes);
    snprintf(s->stop[at], sizeof s->stop[at], "%s", g->stop);
}

static void on_text(void *context, uint64_t index, const char *text, size_t bytes)
{
    seen *s = context;
    assert_true(index < 8 && strlen(s->streamed[index]) + bytes < 512);
    strncat(s->streamed[index], text, bytes);
}

static void generate(const char *model, const char *prompts, const char *const *words, int64_t n,
                     seen *s)
{
    sonde_job_options options;
    sonde_job *job = NULL;
    sonde_job_summary summary;
    sonde_error err = {0};
    memset(s, 0, sizeof *s);
    job_options(&options, words, n);
    sonde_job_spec spec = {.model = model, .prompts = prompts, .options = &options, .generate = true};
    sonde_job_watch watch = {.context = s, .generated = on_generated, .text = on_text};
    sonde_status status = sonde_job_open(&spec, &job, &err);
    if (status == SONDE_OK) status = sonde_job_generate(job, &watch, &summary, &err);
    if (status != SONDE_OK) fail_msg("%s: %s", model, err.message);
    sonde_job_close(&job);
}

/* ---- goldens ------------------------------------------------------------------------------------------ */

static const golden_entry *entry(const golden *g, const char *group, int i)
{
    char name[32];
    snprintf(name, sizeof name, "%s/%d", group, i);
    return golden_find(g, name);
}

static void write_golden_prompts(const golden *g)
{
    sonde_string text = {0};
    for (int i = 0; i < 3; i++) {
        const golden_entry *tokens = entry(g, "tokens", i);
        assert_non_null(tokens);
        sonde_string_text(&text, "{\"tokens\": [");
        for (int64_t t = 0; t < tokens->count; t++)
            sonde_string_format(&text, "%s%d", t ? ", " : "", ((const int32_t *)tokens->data)[t]);
        sonde_string_text(&text, "]}\n");
    }
    write_text_file(PROMPTS, text.data);
    sonde_string_reset(&text);
}

static void check_tokens(const golden *g, const seen *s)
{
    assert_int_equal(s->n, 3);
    for (int i = 0; i < 3; i++) {
        const golden_entry *expected = entry(g, "generated", i);
        assert_non_null(expected);
        assert_int_equal(s->index[i], i);
        int64_t n = s->n_tokens[i];
        assert_true(n == expected->count || strcmp(s->stop[i], "eos") == 0);
        assert_memory_equal(s->tokens[i], expected->data, (size_t)n * sizeof(uint32_t));
    }
}

static void test_goldens_token_for_token(void **state)
{
    static const char *const families[] = {"gpt2", "llama", "qwen2_sliding"};
    static const char *const words[] = {"--max-new-tokens", "16", "--workers", "2", "--chunk", "5"};
    (void)state;
    for (size_t i = 0; i < SONDE_COUNT(families); i++) {
        char folder[128], path[192];
        golden g;
        seen s;
        snprintf(folder, sizeof folder, "tests/goldens/families/%s", families[i]);
        snprintf(path, sizeof path, "%s/expected.bin", folder);
        assert_true(golden_load(path, &g));
        write_golden_prompts(&g);
        generate(folder, PROMPTS, words, SONDE_COUNT(words), &s);
        check_tokens(&g, &s);
        golden_reset(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens_token_for_token)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
