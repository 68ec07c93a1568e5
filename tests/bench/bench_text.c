/*
 * bench_text [MIB] [FOLDER...]: MB/s of encoding and decoding on one core, for tokenizers of each
 * kind (folders; by default those of the shared reference material, else the small ones of the
 * tests), on English prose, on one line without spaces, and on Chinese.
 *
 * bench_text --file TEXT FOLDER...: the same of a text of one's own, as a whole and line by line;
 * ids of the whole are left in TEXT.ids (text_peers.py compares them with another tokenizer's).
 */
#include "core/core.h"
#include "sonde/text.h"

#include <stdlib.h>
#include <string.h>

typedef struct sample {
    const char *name;
    sonde_string text;
} sample;

static void fill(sample *s, const char *name, const char *unit, size_t bytes)
{
    s->name = name;
    memset(&s->text, 0, sizeof s->text);
    while (s->text.length < bytes) sonde_string_text(&s->text, unit);
}

/* Encodes every line of the sample on its own; returns the bytes encoded. */
static size_t encode_lines(const sonde_tokenizer *t, const sample *s, sonde_tokens *tokens)
{
    const char *at = s->text.data, *end = at + s->text.length;
    size_t bytes = 0;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        size_t n = (size_t)((stop ? stop : end) - at);
        if (sonde_tokenizer_encode(t, at, n, NULL, tokens, NULL) != SONDE_OK) return 0;
        bytes += n;
        at += n + 1;
    }
    return bytes;
}

static void measure_lines(const sonde_tokenizer *t, const sample *s)
{
    sonde_tokens tokens = {0};
    double best = 1e30;
    size_t bytes = 0;
    for (int i = 0; i < 3; i++) {
        uint64_t start = sonde_now_ns();
        bytes = encode_lines(t, s, &tokens);
        best = SONDE_MIN(best, (double)(sonde_now_ns() - start));
    }
    printf("  %-8s encode %7.1f MB/s\n", "lines", 1e3 * (double)bytes / best);
    sonde_tokens_reset(&tokens);
}

static bool leave_ids(const sonde_tokenizer *t, const sample *s, const char *path)
{
    sonde_tokens tokens = {0};
    sonde_string name = {0};
    bool good =
        sonde_tokenizer_encode(t, s->text.data, s->text.length, NULL, &tokens, NULL) == SONDE_OK;
    sonde_string_format(&name, "%s.ids", path);
    FILE *file = good && !name.failed ? fopen(name.data, "wb") : NULL;
    if (file) {
        good = fwrite(tokens.ids, sizeof *tokens.ids, tokens.count, file) == tokens.count;
        good = fclose(file) == 0 && good;
    }
    sonde_string_reset(&name);
    sonde_tokens_reset(&tokens);
    return file && good;
}

static void measure(const sonde_tokenizer *t, const sample *s)
{
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    char *text = NULL;
    size_t n = 0;
    double best = 1e30;
    for (int i = 0; i < 3; i++) {
        uint64_t start = sonde_now_ns();
        if (sonde_tokenizer_encode(t, s->text.data, s->text.length, NULL, &tokens, &err) !=
            SONDE_OK) {
            printf("  %s: %s\n", s->name, err.message);
            return;
        }
        best = SONDE_MIN(best, (double)(sonde_now_ns() - start));
    }
    uint64_t start = sonde_now_ns();
    sonde_tokenizer_decode(t, tokens.ids, tokens.count, false, &text, &n, &err);
    double decode = (double)(sonde_now_ns() - start);
    printf("  %-8s encode %7.1f MB/s  decode %7.1f MB/s  %.2f bytes a token\n", s->name,
           1e3 * (double)s->text.length / best, 1e3 * (double)n / decode,
           (double)s->text.length / (double)SONDE_MAX(tokens.count, 1u));
    sonde_text_free(text);
    sonde_tokens_reset(&tokens);
}

/* `path` of the only sample, or NULL. */
static void bench_folder(const char *folder, const sample *samples, size_t n, const char *path)
{
    sonde_tokenizer *t;
    sonde_error err = {0};
    uint64_t start = sonde_now_ns();
    if (sonde_tokenizer_open(folder, &t, &err) != SONDE_OK) {
        printf("%s: %s\n", folder, err.message);
        return;
    }
    printf("%s (opened in %.2f s)\n", folder, (double)(sonde_now_ns() - start) / 1e9);
    for (size_t i = 0; i < n; i++) measure(t, &samples[i]);
    if (path) measure_lines(t, &samples[0]);
    if (path && !leave_ids(t, &samples[0], path)) printf("  %s.ids cannot be written\n", path);
    sonde_tokenizer_destroy(&t);
}

static void bench_default(const sample *samples, size_t n)
{
    static const char *const real[] = {"gpt2",    "llama-3.1",   "qwen3",        "smollm2",
                                       "gpt-oss", "deepseek-v3", "mistral-v0.1", "gemma-3"};
    static const char *const small[] = {"bytes-plain", "spm", "unigram", "tiktoken"};
    const char *shared = getenv("SONDE_SHARED");
    char folder[512];
    for (size_t i = 0; shared && i < SONDE_COUNT(real); i++) {
        snprintf(folder, sizeof folder, "%s/tokenizers/%s", shared, real[i]);
        bench_folder(folder, samples, n, NULL);
    }
    for (size_t i = 0; i < SONDE_COUNT(small); i++) {
        snprintf(folder, sizeof folder, "tests/goldens/text/%s", small[i]);
        bench_folder(folder, samples, n, NULL);
    }
}

static int bench_file(const char *path, char **folders, int n)
{
    sonde_error err = {0};
    char *text;
    size_t bytes;
    if (sonde_read_file(path, (size_t)256 << 20, &text, &bytes, &err) != SONDE_OK)
        return fprintf(stderr, "%s\n", err.message), 1;
    sample own = {"text", {.data = text, .length = bytes}};
    for (int i = 0; i < n; i++) bench_folder(folders[i], &own, 1, path);
    sonde_free(text);
    return 0;
}

int main(int argc, char **argv)
{
    static const char prose[] = "data/prompts.txt";
    int64_t mib = 4;
    char *english;
    size_t bytes;
    sonde_error err = {0};
    sample samples[3];
    if (argc > 3 && strcmp(argv[1], "--file") == 0) return bench_file(argv[2], argv + 3, argc - 3);
    if (argc > 1 && !sonde_parse_i64(argv[1], 1, 256, &mib))
        return fprintf(stderr, "bench_text [MIB] [FOLDER...] | --file TEXT FOLDER...\n"), 2;
    if (sonde_read_file(prose, 64u << 20, &english, &bytes, &err) != SONDE_OK)
        return fprintf(stderr, "%s\n", err.message), 1;
    size_t each = (size_t)mib << 20;
    fill(&samples[0], "english", english, each);
    fill(&samples[1], "one run", "thequickbrownfoxjumpsoverthelazydog", each / 16);
    fill(&samples[2], "chinese",
         "\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96\xE7\x95\x8C\xE3\x80\x82", each / 4);
    if (argc > 2)
        for (int i = 2; i < argc; i++) bench_folder(argv[i], samples, SONDE_COUNT(samples), NULL);
    else bench_default(samples, SONDE_COUNT(samples));
    for (size_t i = 0; i < SONDE_COUNT(samples); i++) sonde_string_reset(&samples[i].text);
    sonde_free(english);
    return 0;
}
