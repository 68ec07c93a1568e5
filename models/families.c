/* families.c - the list of families. A new one is its file, a line here and its golden. */
#include "sonde/recipe.h"

extern const sonde_family sonde_family_bloom, sonde_family_cohere, sonde_family_deepseek_v2,
    sonde_family_deepseek_v3, sonde_family_falcon, sonde_family_gemma, sonde_family_gemma2,
    sonde_family_gemma3, sonde_family_gpt2, sonde_family_gpt_bigcode, sonde_family_gpt_neox,
    sonde_family_gpt_oss, sonde_family_gptj, sonde_family_granite, sonde_family_llama,
    sonde_family_llama4, sonde_family_mistral, sonde_family_mixtral, sonde_family_mpt,
    sonde_family_olmo, sonde_family_olmo2, sonde_family_olmo3, sonde_family_olmoe, sonde_family_phi,
    sonde_family_phi3, sonde_family_qwen2, sonde_family_qwen3, sonde_family_qwen3_moe,
    sonde_family_smollm3, sonde_family_stablelm, sonde_family_starcoder2;

const sonde_family *const sonde_families[] = {
    &sonde_family_bloom, &sonde_family_cohere, &sonde_family_deepseek_v2, &sonde_family_deepseek_v3,
    &sonde_family_falcon, &sonde_family_gemma, &sonde_family_gemma2, &sonde_family_gemma3,
    &sonde_family_gpt2, &sonde_family_gpt_bigcode, &sonde_family_gpt_neox, &sonde_family_gpt_oss,
    &sonde_family_gptj, &sonde_family_granite, &sonde_family_llama, &sonde_family_llama4,
    &sonde_family_mistral, &sonde_family_mixtral, &sonde_family_mpt, &sonde_family_olmo,
    &sonde_family_olmo2, &sonde_family_olmo3, &sonde_family_olmoe, &sonde_family_phi,
    &sonde_family_phi3, &sonde_family_qwen2, &sonde_family_qwen3, &sonde_family_qwen3_moe,
    &sonde_family_smollm3, &sonde_family_stablelm, &sonde_family_starcoder2, NULL,
};
