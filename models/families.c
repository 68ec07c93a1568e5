/* families.c - the list of families. A new one is its file, a line here and its golden. */
#include "sonde/recipe.h"

extern const sonde_family sonde_family_bloom, sonde_family_deepseek_v2, sonde_family_deepseek_v3,
    sonde_family_falcon, sonde_family_gpt2, sonde_family_llama, sonde_family_mistral,
    sonde_family_mpt, sonde_family_qwen2, sonde_family_qwen3;

const sonde_family *const sonde_families[] = {
    &sonde_family_bloom, &sonde_family_deepseek_v2, &sonde_family_deepseek_v3, &sonde_family_falcon,
    &sonde_family_gpt2, &sonde_family_llama, &sonde_family_mistral, &sonde_family_mpt,
    &sonde_family_qwen2, &sonde_family_qwen3, NULL,
};
