/* Any bytes as prompts: the first byte chooses options, the rest are JSON lines, or one text of the
 * command line. What is given keeps the promises of prompts.h; what is refused says why. Runs in
 * the root of the tree (a tokenizer of tests/goldens). */
#include "host/prompts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_SEQ 12

static sonde_tokenizer *tokenizer;
static int memory_file = -1;

static void set_up(void)
{
    if (tokenizer) return;
    sonde_error err = {0};
    if (sonde_tokenizer_open("tests/goldens/text/bytes-plain", &tokenizer, &err) != SONDE_OK) {
        fprintf(stderr, "%s\n", err.message);
        abort();
    }
    memory_file = memfd_create("prompts", 0);
    if (memory_file < 0 || dup2(memory_file, STDIN_FILENO) != STDIN_FILENO) abort();
}

static void set_input(const uint8_t *data, size_t size)
{
    if (ftruncate(memory_file, 0) != 0 || lseek(memory_file, 0, SEEK_SET) != 0 ||
        write(memory_file, data, size) != (ssize_t)size || lseek(memory_file, 0, SEEK_SET) != 0)
        abort();
}

static void check_given(const sonde_prompt *p)
{
    if (p->n_tokens < 1 || p->n_tokens > MAX_SEQ || p->n_prompt < 1 || p->n_prompt > p->n_tokens)
        abort();
    if (p->max_new > 0 && p->n_tokens + p->max_new - 1 > MAX_SEQ) abort();
    if (p->text && sonde_utf8_valid_prefix(p->text, p->text_bytes) != p->text_bytes) abort();
    for (int64_t i = 0; i < p->n_tokens; i++) {
        if (p->tokens[i] >= sonde_tokenizer_size(tokenizer)) abort();
        if (p->marked && p->marked[i] > 1) abort();
        if (p->text && (p->text_start[i] > p->text_end[i] || p->text_end[i] > p->text_bytes))
            abort();
    }
}

static void check_prompt(const sonde_prompt *p)
{
    bool skipped = p->state == SONDE_PROMPT_SKIPPED;
    if (!p->id || !*p->id || !json_is_object(p->meta)) abort();
    if ((p->state == SONDE_PROMPT_READY) != (p->why == NULL)) abort();
    if (skipped && (p->n_tokens != 0 || p->tokens || p->text)) abort();
    if (!skipped) check_given(p);
}

static void read_all(const sonde_prompts_spec *spec)
{
    sonde_error err = {0};
    sonde_prompts *prompts;
    sonde_prompt prompt = {0};
    bool end = false;
    sonde_status status = sonde_prompts_open(spec, &prompts, &err);
    if (status != SONDE_OK) abort();
    while (status == SONDE_OK && !end) {
        status = sonde_prompts_next(prompts, &prompt, &end, &err);
        if (status == SONDE_OK && !end) check_prompt(&prompt);
    }
    if (status != SONDE_OK && (status != SONDE_BAD_PROMPT || !err.message[0])) abort();
    sonde_prompt_reset(&prompt);
    sonde_prompts_close(&prompts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sonde_job_options options = {0};
    set_up();
    if (size == 0 || sonde_options_defaults(sonde_job_options_table, &options, NULL) != SONDE_OK)
        return 0;
    options.too_long = data[0] & 3;
    options.bad_prompt = data[0] >> 2 & 1;
    options.special = data[0] >> 3 & 1;
    options.add_bos = data[0] >> 4 & 1 ? 2 : 0;
    options.max_new_tokens = data[0] >> 5 & 1 ? 7 : 0;
    sonde_prompts_spec spec = {.path = "-",
                               .options = &options,
                               .tokenizer = tokenizer,
                               .vocab = sonde_tokenizer_size(tokenizer),
                               .max_seq = MAX_SEQ};
    char *text = sonde_strndup((const char *)data + 1, size - 1);
    if (data[0] >> 6 & 1) {
        spec.path = NULL;
        spec.inline_texts = (const char *const *)&text;
        spec.n_inline_texts = 1;
    } else {
        set_input(data + 1, size - 1);
    }
    read_all(&spec);
    sonde_free(text);
    return 0;
}
