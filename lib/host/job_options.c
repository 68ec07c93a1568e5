/* job_options.c - every option of a capture or a generation, in one table (cli.md). */
#include "sonde/job.h"

#include "core/core.h"

#define AT(member) offsetof(sonde_job_options, member)
#define CONTENT SONDE_OPTION_CONTENT
#define RUN SONDE_OPTION_RUN
#define LATER SONDE_OPTION_LATER

static const char *const too_long[] = {"refuse", "cut", "split", "skip", NULL};
static const char *const bad_prompt[] = {"refuse", "skip", NULL};
static const char *const special[] = {"parse", "text", NULL};
static const char *const add_bos[] = {"auto", "yes", "no", NULL};
static const char *const mode[] = {"exact", "int", NULL};
static const char *const kv_dtype[] = {"f32", "bf16", "f16", NULL};
static const char *const backend[] = {"cpu", "blas", "oracle", NULL};

/* name, help, type, offset, default, min, max, choices, flags, value */
const sonde_option sonde_job_options_table[] = {
    {"points", "hook points, as SEL[parts]@ROWS (repeatable; default blocks.*.resid_post)",
     SONDE_OPTION_LIST, AT(points), NULL, 0, 0, NULL, CONTENT, "SEL"},
    {"rows", "rows to keep: all, prompt, generated, first:N, last:N, ... joined by & | !",
     SONDE_OPTION_TEXT, AT(rows), NULL, 0, 0, NULL, CONTENT, "EXPR"},
    {"probe", "NAME[=INSTANCE][:key=value,...] (repeatable; default capture)", SONDE_OPTION_LIST,
     AT(probes), NULL, 0, 0, NULL, CONTENT, "PROBE"},
    {"as", "stored dtype: auto, f32, bf16 or f16, then POINT=DTYPE,...", SONDE_OPTION_TEXT, AT(as),
     "auto", 0, 0, NULL, CONTENT, "DTYPE"},
    {"codec", "deflate or raw", SONDE_OPTION_TEXT, AT(codec), "deflate", 0, 0, NULL, CONTENT,
     "CODEC"},
    {"labels", "computed for every row: logprob,entropy,rank", SONDE_OPTION_TEXT, AT(labels), NULL,
     0, 0, NULL, CONTENT, "LIST"},
    {"max-new-tokens", "tokens to generate after each prompt", SONDE_OPTION_INT, AT(max_new_tokens),
     "0", 0, 1e9, NULL, CONTENT, "N"},
    {"temperature", "0: greedy", SONDE_OPTION_FLOAT, AT(temperature), "0", 0, 1e4, NULL, CONTENT,
     "T"},
    {"top-k", "sample among the K likeliest (0: all)", SONDE_OPTION_INT, AT(top_k), "0", 0, 1e9,
     NULL, CONTENT, "K"},
    {"top-p", "sample within the smallest set of this probability", SONDE_OPTION_FLOAT, AT(top_p),
     "1", 0, 1, NULL, CONTENT, "P"},
    {"min-p", "drop tokens below this share of the likeliest", SONDE_OPTION_FLOAT, AT(min_p), "0",
     0, 1, NULL, CONTENT, "P"},
    {"seed", "of sampling and of sample:P", SONDE_OPTION_INT, AT(seed), "0", 0, 9e18, NULL, CONTENT,
     "N"},
    {"stop", "text that ends generation (repeatable)", SONDE_OPTION_LIST, AT(stop), NULL, 0, 0,
     NULL, CONTENT, "TEXT"},
    {"max-seq", "longest sequence in tokens (0: the model's context)", SONDE_OPTION_INT, AT(max_seq),
     "0", 0, 1e9, NULL, CONTENT, "N"},
    {"too-long", "what to do with a prompt over max-seq", SONDE_OPTION_CHOICE, AT(too_long),
     "refuse", 0, 0, too_long, CONTENT, NULL},
    {"bad-prompt", "what to do with a line that is no prompt", SONDE_OPTION_CHOICE, AT(bad_prompt),
     "refuse", 0, 0, bad_prompt, CONTENT, NULL},
    {"limit", "take this many prompts (0: all)", SONDE_OPTION_INT, AT(limit), "0", 0, 1e15, NULL,
     CONTENT, "N"},
    {"skip", "leave out the first N prompts", SONDE_OPTION_INT, AT(skip), "0", 0, 1e15, NULL,
     CONTENT, "N"},
    {"max-tokens", "stop before the prompts' tokens pass N (0: no bound)", SONDE_OPTION_INT,
     AT(max_tokens), "0", 0, 1e15, NULL, CONTENT, "N"},
    {"part", "slice I of N, I from 0: prompts whose index mod N is I", SONDE_OPTION_TEXT, AT(part),
     NULL, 0, 0, NULL, CONTENT, "I/N"},
    {"special", "special-token text in prompts: parse it, or keep it as text", SONDE_OPTION_CHOICE,
     AT(special), "parse", 0, 0, special, CONTENT, NULL},
    {"add-bos", "beginning-of-sequence token before a text", SONDE_OPTION_CHOICE, AT(add_bos),
     "auto", 0, 0, add_bos, CONTENT, NULL},
    {"chat", "a plain text is a message of the user, rendered with the model's template",
     SONDE_OPTION_FLAG, AT(chat), NULL, 0, 0, NULL, CONTENT, NULL},
    {"chat-args", "values for the chat template: tools, date, enable_thinking, ...",
     SONDE_OPTION_TEXT, AT(chat_args), NULL, 0, 0, NULL, CONTENT, "JSON"},
    {"chat-open", "begin the assistant's turn (auto: unless the last message is its)",
     SONDE_OPTION_CHOICE, AT(chat_open), "auto", 0, 0, add_bos, CONTENT, NULL},
    {"mode", "arithmetic: exact, or int: quantised weights times integers", SONDE_OPTION_CHOICE, AT(mode),
     "exact", 0, 0, mode, CONTENT, NULL},
    {"kv-dtype", "stored type of the KV cache", SONDE_OPTION_CHOICE, AT(kv_dtype), "f32", 0, 0,
     kv_dtype, CONTENT, NULL},
    {"backend", "what computes", SONDE_OPTION_CHOICE, AT(backend), "cpu", 0, 0, backend, CONTENT,
     NULL},
    {"workers", "sequences in parallel: auto or a number", SONDE_OPTION_TEXT, AT(workers), "auto", 0,
     0, NULL, RUN, "N"},
    {"threads", "threads of a worker: auto or a number", SONDE_OPTION_TEXT, AT(threads), "auto", 0,
     0, NULL, RUN, "N"},
    {"batch-tokens", "rows of a step at most", SONDE_OPTION_INT, AT(batch_tokens), "512", 1, 65536,
     NULL, RUN, "N"},
    {"batch", "sequences at once in a worker", SONDE_OPTION_INT, AT(batch), "64", 1, 4096, NULL,
     RUN, "N"},
    {"chunk", "prefill tokens of a sequence in a step", SONDE_OPTION_INT, AT(chunk), "512", 1,
     65536, NULL, RUN, "N"},
    {"memory", "weights over it stay in the file, sequences wait; a run over it is refused (0: none)",
     SONDE_OPTION_BYTES, AT(memory), "0", 0, 0, NULL, RUN, "SIZE"},
    {"cpumask", "highest instruction set used: avx512, avx2, scalar", SONDE_OPTION_TEXT,
     AT(cpumask), NULL, 0, 0, NULL, RUN, "LEVEL"},
    {"off", "optimisations to switch off: all, or some of the SWITCHES below", SONDE_OPTION_TEXT,
     AT(off), NULL, 0, 0, NULL, RUN, "SWITCH,..."},
    {"overwrite", "replace an existing output", SONDE_OPTION_FLAG, AT(overwrite), NULL, 0, 0, NULL,
     RUN, NULL},
    {"resume", "go on where a broken run stopped", SONDE_OPTION_FLAG, AT(resume), NULL, 0, 0, NULL,
     RUN | LATER, NULL},
    {"shard-size", "begin a new file at this size", SONDE_OPTION_TEXT, AT(shard_size), NULL, 0, 0,
     NULL, RUN | LATER, "SIZE"},
    {"config", "options from a YAML file", SONDE_OPTION_TEXT, AT(config), NULL, 0, 0, NULL,
     RUN | LATER, "FILE"},
    {"json", "output for programs", SONDE_OPTION_FLAG, AT(json), NULL, 0, 0, NULL, RUN, NULL},
    {"quiet", "no progress", SONDE_OPTION_FLAG, AT(quiet), NULL, 0, 0, NULL, RUN, NULL},
    {"verbose", "say more (-v)", SONDE_OPTION_FLAG, AT(verbose), NULL, 0, 0, NULL, RUN, NULL},
    {NULL, NULL, SONDE_OPTION_FLAG, 0, NULL, 0, 0, NULL, 0, NULL},
};
