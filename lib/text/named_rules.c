/* named_rules.c - the split rules that formats name instead of writing them down (GGUF's
 * tokenizer.ggml.pre), as the tokenizer.json files of those models write them. */
#include "text_internal.h"

#include <string.h>

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define OTHER "| ?[^\\s\\p{L}\\p{N}]+"
#define UPPER "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define LOWER "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define CASED(upper, lower, suffix) \
    LEAD "[" upper "]*[" lower "]+" suffix "|" LEAD "[" upper "]+[" lower "]*" suffix
#define NOT_HAN "&&[^\\p{Han}]"

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTION "|" LEAD "\\p{L}+|\\p{N}{1,3}" OTHER "[\\r\\n]*" TAIL
#define QWEN CONTRACTION "|" LEAD "\\p{L}+|\\p{N}" OTHER "[\\r\\n]*" TAIL
#define GPT4O CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}{1,3}" OTHER "[\\r\\n/]*" TAIL
#define TEKKEN CASED(UPPER, LOWER, "") "|\\p{N}" OTHER "[\\r\\n/]*" TAIL
#define KIMI \
    "[\\p{Han}]+|" CASED(UPPER NOT_HAN, LOWER NOT_HAN, CONTRACTION "?") "|\\p{N}{1,3}" OTHER "[\\r\\n]*" TAIL
#define DEEPSEEK3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL
#define DIGITS "\\p{=numeric}"

typedef struct pre_rule {
    const char *name;
    const char *splits[6];
    bool nfc, ignore_merges;
    bool bos; /* where the file does not say */
} pre_rule;

static const pre_rule pre_rules[] = {
    {"gpt-2", {GPT2}, false, false, false},
    {"default", {GPT2}, false, false, false},
    {"olmo", {GPT2}, true, false, false},
    {"smollm", {DIGITS, GPT2}, false, false, false},
    {"starcoder", {DIGITS, GPT2}, false, false, false},
    {"llama-bpe", {LLAMA3}, false, true, true},
    {"llama3", {LLAMA3}, false, true, true},
    {"llama-v3", {LLAMA3}, false, true, true},
    {"dbrx", {LLAMA3}, false, false, false},
    {"qwen2", {QWEN}, true, false, false},
    {"deepseek-r1-qwen", {QWEN}, true, false, true},
    {"gpt-4o", {GPT4O}, false, true, false},
    {"llama4", {GPT4O}, false, true, true},
    {"tekken", {TEKKEN}, false, true, true},
    {"kimi-k2", {KIMI}, false, true, false},
    {"deepseek-v3", {"\\p{N}{1,3}", "[\\u4E00-\\u9FA5\\u3040-\\u309F\\u30A0-\\u30FF]+", DEEPSEEK3}, false, false, true},
    {"deepseek-llm",
     {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+", DIGITS},
     false, false, true},
};

sonde_status sonde_named_rule_apply(sonde_tokenizer *t, const char *name, bool *bos, sonde_error *err)
{
    const pre_rule *rule = NULL;
    for (size_t i = 0; i < SONDE_COUNT(pre_rules); i++)
        if (strcmp(pre_rules[i].name, name) == 0) rule = &pre_rules[i];
    if (!rule)
        return sonde_fail(err, SONDE_BAD_TOKENIZER, "tokenizer.ggml.pre '%s': this split rule is not "
                          "supported", name);
    *bos = rule->bos;
    t->model.byte_level = true;
    t->model.ignore_merges = rule->ignore_merges;
    t->decoding.kind = SONDE_DECODE_BYTES;
    if (rule->nfc) SONDE_TRY(sonde_add_form(t, SONDE_FORM_C, err));
    for (size_t i = 0; i < SONDE_COUNT(rule->splits) && rule->splits[i]; i++)
        SONDE_TRY(sonde_add_split(t, rule->splits[i], strlen(rule->splits[i]), SONDE_SPLIT_ISOLATED,
                                  false, err));
    return SONDE_OK;
}
