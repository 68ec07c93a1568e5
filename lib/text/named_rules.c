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
#define BLOOM " ?[^(\\s|[.,!?\\u2026\\u3002\\uFF0C\\u3001\\u0964\\u06D4\\u060C])]+"
#define DEEPSEEK3 \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+" \
    "| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL
#define DIGITS "\\p{=numeric}"
#define DEEPSEEK_HAN "[\\u4E00-\\u9FA5\\u0800-\\u4E00\\uAC00-\\uD7FF]+"
/* Letters with case, as of Unicode 11: what DeepSeek's first models and V2 list. */
#define DEEPSEEK_CASED \
    "A-Za-z\\x{B5}\\x{C0}-\\x{D6}\\x{D8}-\\x{F6}\\x{F8}-\\x{1BA}\\x{1BC}-\\x{1BF}\\x{1C4}" \
    "-\\x{293}\\x{295}-\\x{2AF}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37B}-\\x{37D}\\x{37F}" \
    "\\x{386}\\x{388}-\\x{38A}\\x{38C}\\x{38E}-\\x{3A1}\\x{3A3}-\\x{3F5}\\x{3F7}-\\x{481}" \
    "\\x{48A}-\\x{52F}\\x{531}-\\x{556}\\x{10A0}-\\x{10C5}\\x{13A0}-\\x{13F5}\\x{13F8}-" \
    "\\x{13FD}\\x{1C90}-\\x{1CBA}\\x{1CBD}-\\x{1CBF}\\x{1D00}-\\x{1D2B}\\x{1D6B}-" \
    "\\x{1D77}\\x{1D79}-\\x{1D9A}\\x{1E00}-\\x{1F15}\\x{1F18}-\\x{1F1D}\\x{1F20}-" \
    "\\x{1F45}\\x{1F48}-\\x{1F4D}\\x{1F50}-\\x{1F57}\\x{1F59}\\x{1F5B}\\x{1F5D}\\x{1F5F}-" \
    "\\x{1F7D}\\x{1F80}-\\x{1FB4}\\x{1FB6}-\\x{1FBC}\\x{1FBE}\\x{1FC2}-\\x{1FC4}\\x{1FC6}" \
    "-\\x{1FCC}\\x{1FD0}-\\x{1FD3}\\x{1FD6}-\\x{1FDB}\\x{1FE0}-\\x{1FEC}\\x{1FF2}-" \
    "\\x{1FF4}\\x{1FF6}-\\x{1FFC}\\x{2102}\\x{2107}\\x{210A}-\\x{2113}\\x{2115}\\x{2119}-" \
    "\\x{211D}\\x{2124}\\x{2126}\\x{2128}\\x{212A}-\\x{212D}\\x{212F}-\\x{2134}\\x{2139}" \
    "\\x{213C}-\\x{213F}\\x{2145}-\\x{2149}\\x{214E}\\x{2183}\\x{2184}\\x{2C00}-\\x{2C7B}" \
    "\\x{2C7E}-\\x{2CE4}\\x{2CEB}-\\x{2CEE}\\x{2CF2}\\x{2CF3}\\x{A640}-\\x{A66D}\\x{A680}" \
    "-\\x{A69B}\\x{A722}-\\x{A76F}\\x{A771}-\\x{A787}\\x{A78B}-\\x{A78E}\\x{AB70}-" \
    "\\x{ABBF}\\x{FB00}-\\x{FB06}\\x{FB13}-\\x{FB17}\\x{FF21}-\\x{FF3A}\\x{FF41}-" \
    "\\x{FF5A}\\x{10400}-\\x{1044F}\\x{104B0}-\\x{104D3}\\x{104D8}-\\x{104FB}\\x{10C80}-" \
    "\\x{10CB2}\\x{10CC0}-\\x{10CF2}\\x{118A0}-\\x{118DF}\\x{1E900}-\\x{1E943}"
#define DEEPSEEK_MARKS "!-/:-~\\uFF01-\\uFF0F\\uFF1A-\\uFF5E\\u2018-\\u201F\\u3000-\\u3002"
#define BYTES "" /* what follows sees the byte-level alphabet */

typedef struct pre_rule {
    const char *name;
    const char *splits[6];
    bool nfc, ignore_merges;
    bool bos; /* where the file does not say */
} pre_rule;

static const pre_rule pre_rules[] = {
    {"gpt-2", {GPT2}, false, false, false},
    {"default", {GPT2}, false, false, false},
    {"phi-2", {GPT2}, false, false, false},
    {"olmo", {GPT2}, true, false, false},
    {"mpt", {GPT2}, true, false, false},
    {"bloom", {BLOOM}, false, false, false},
    {"smollm", {DIGITS, GPT2}, false, false, false},
    {"starcoder", {DIGITS, GPT2}, false, false, false},
    {"refact", {DIGITS, GPT2}, false, false, false},
    {"command-r", {DIGITS, GPT2}, true, false, true},
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
     {"[\\r\\n]", "\\s?[" DEEPSEEK_CASED "]+", "\\s?[" DEEPSEEK_MARKS "]+", "\\s+$", DEEPSEEK_HAN, DIGITS},
     false, false, true},
    {"deepseek-coder", {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", DEEPSEEK_HAN, DIGITS}, false, false, true},
    {"falcon",
     {"\\p{=punctuation}+", GPT2, BYTES, DIGITS "+", "[0-9][0-9][0-9]"},
     false, false, false},
};

static sonde_status add_stage(sonde_tokenizer *t, const char *rule, sonde_error *err)
{
    if (*rule == '\0') return sonde_add_bytes(t, err);
    return sonde_add_split(t, rule, strlen(rule), SONDE_SPLIT_ISOLATED, false, err);
}

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
        SONDE_TRY(add_stage(t, rule->splits[i], err));
    return SONDE_OK;
}
