/* verbs.c - the verbs of the program and the options that are its own. */
#include "cli/cli.h"

#define AT(member) offsetof(cli_options, member)
#define CONTENT SONDE_OPTION_CONTENT
#define RUN SONDE_OPTION_RUN

const sonde_option cli_options_table[] = {
    {"prompt", "a prompt given here (repeatable), instead of PROMPTS", SONDE_OPTION_LIST,
     AT(prompt), NULL, 0, 0, NULL, CONTENT, "TEXT"},
    {"output", "the file to write", SONDE_OPTION_TEXT, AT(output), NULL, 0, 0, NULL, RUN,
     "FILE.h5"},
    {"decode", "from ids to text: lines of {\"tokens\": [...]}, [1, 2] or 1 2", SONDE_OPTION_FLAG,
     AT(decode), NULL, 0, 0, NULL, CONTENT, NULL},
    {"skip-special", "leave special tokens out of the text", SONDE_OPTION_FLAG, AT(skip_special),
     NULL, 0, 0, NULL, CONTENT, NULL},
    {"rounds", "measure everything this often; medians are told", SONDE_OPTION_INT, AT(rounds), "5",
     1, 1000, NULL, RUN, "N"},
    {"thread-counts", "numbers of threads to measure prefill with", SONDE_OPTION_TEXT,
     AT(bench_threads), "1,2", 0, 0, NULL, RUN, "N,..."},
    {"tokens", "length of the prefill", SONDE_OPTION_INT, AT(bench_tokens), "512", 1, 65536, NULL,
     RUN, "N"},
    {"help", "this text", SONDE_OPTION_FLAG, AT(help), NULL, 0, 0, NULL, RUN, NULL},
    {NULL, NULL, SONDE_OPTION_FLAG, 0, NULL, 0, 0, NULL, 0, NULL},
};

#define PROMPT_OPTIONS                                                                             \
    "max-new-tokens temperature top-k top-p min-p seed stop max-seq too-long bad-prompt limit "    \
    "skip max-tokens part special add-bos chat chat-args chat-open mode kv-dtype backend workers " \
    "threads batch-tokens batch chunk memory cpumask off config json quiet verbose"

static const char capture_about[] =
    "Runs the prompts through the model and writes what the probes emit into FILE.h5. PROMPTS is a\n"
    ".jsonl file (an object a line with text, tokens or messages, and id, seed, rows, metadata, ...), a\n"
    ".txt file (a text a line), or - (jsonl from standard input). MODEL is a Hugging Face folder, a .gguf\n"
    "file, or the name of a model in the local Hugging Face cache.\n"
    "Ctrl-C seals what is complete; a second one stops at once.\n";
static const char capture_example[] =
    "  sonde capture model/ prompts.jsonl -o run.h5 --points 'blocks.*.resid_post,blocks.0.attn.{q,k}'\n"
    "  sonde capture model.gguf -p 'The capital of France is' -o run.h5 --points 'blocks.-1.attn.pattern'\n"
    "  sonde capture model/ prompts.txt -o run.h5 --rows 'prompt&last:1' --as f32\n";
static const char generate_about[] =
    "Continues prompts. One -p TEXT: the text, as it comes. PROMPTS, several -p or --json: one line\n"
    "of JSON per sequence, in input order: index, id, prompt_tokens (a count), tokens (generated\n"
    "ids), text, logprobs, stop (length, eos, text, context or skipped).\n";
static const char points_about[] =
    "Hook points in execution order. Nothing but the configuration is read. Bytes per token are\n"
    "before the codec; T is the number of visible keys.\n";
static const char plan_about[] =
    "Reads the prompts and says what the same capture line would cost. Refuses what cannot fit.\n";
static const char tokens_about[] =
    "Texts from -p, a .txt file (a text a line), a .jsonl file (text or messages, or with --decode\n"
    "tokens), or - (jsonl). MODEL may be a folder with tokenizer files only. --json: a line per text:\n"
    "tokens, pieces (bytes that are no UTF-8 on their own as <0xNN>), text (decoded again; rendered, of\n"
    "messages), segments (of messages) and, with --rows, kept (positions).\n";
static const char diff_about[] =
    "A is the subject, B the reference. Ends with 0 when they are identical or within the limits, 1\n"
    "when they differ, 2 when nothing could be compared.\n";
static const char bench_about[] =
    "Measures prefill, decode, capture and codec, interleaved with the machine's own multiply-add\n"
    "peak and memory read rate in the same process, and tells medians. Prompts are made up.\n";

const cli_verb cli_verbs[] = {
    {"capture", "MODEL [PROMPTS]", 1, 2, "run prompts, write activations into a capture file",
     capture_about, capture_example, "prompt output help", "*", NULL, NULL, cmd_capture},
    {"generate", "MODEL [PROMPTS]", 1, 2, "continue prompts", generate_about,
     "  sonde generate model/ -p 'Once upon a time' --max-new-tokens 40 --temperature 0.8 --top-p 0.9\n",
     "prompt help", PROMPT_OPTIONS, NULL, "max-new-tokens=128", cmd_generate},
    {"points", "MODEL", 1, 1, "hook points of a model", points_about,
     "  sonde points model/ --points 'blocks.0.attn.*'\n", "help", "points as json verbose", NULL,
     NULL, cmd_points},
    {"plan", "MODEL [PROMPTS]", 1, 2, "what the same capture line would cost", plan_about, NULL,
     "prompt output help", "*", NULL, NULL, cmd_plan},
    {"info", "FILE|MODEL", 1, 1, "what is in a capture file or a model", NULL, NULL, "help",
     "json verbose", NULL, NULL, cmd_info},
    {"tokens", "MODEL [FILE]", 1, 2, "text to token ids and back", tokens_about,
     "  sonde tokens model/ -p 'Hello, world' --rows 'last:1'\n"
     "  sonde tokens model/ -p '9906 11' --decode\n",
     "prompt decode skip-special help", "rows special add-bos chat chat-args chat-open json", NULL,
     NULL, cmd_tokens},
    {"probes", "[NAME]", 0, 1, "probes that can be found, their options", NULL, NULL, "help",
     "json verbose", NULL, NULL, cmd_probes},
    {"diff", "A.h5 B.h5", 2, 2, "compare two capture files", diff_about,
     "  sonde diff a.h5 b.h5 --max-ulp 1 --limit 'logits:atol=1e-4'\n", "help", NULL, "*", NULL,
     cmd_diff},
    {"bench", "MODEL", 1, 1, "speed of a model here, against the machine's own", bench_about, NULL,
     "rounds thread-counts tokens help", "mode backend kv-dtype cpumask off json quiet verbose", NULL,
     NULL, cmd_bench},
    {.name = "score", .summary = "log-likelihoods of given continuations"},
    {.name = "check", .summary = "certificates: invariance, goldens"},
    {.name = "similarity", .summary = "CKA and relatives between layers of two captures"},
    {.name = "recover", .summary = "a sealed file from what a dead run left"},
    {.name = "verify", .summary = "every checksum of a capture file"},
    {.name = "merge", .summary = "one file or index of many shards"},
    {.name = "lens", .summary = "logit lens"},
    {.name = "export", .summary = "captures in other formats"},
    {.name = "import", .summary = "captures from other formats"},
    {.name = "quantize", .summary = "smaller weights"},
    {.name = "serve", .summary = "a server"},
    {.name = NULL},
};
