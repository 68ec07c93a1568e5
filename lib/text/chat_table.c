/* chat_table.c - the chat templates that are known, and how each family marks its turns. */
#include "chat_internal.h"

#define SYSTEM SONDE_SEGMENT_SYSTEM
#define USER SONDE_SEGMENT_USER
#define ASSISTANT SONDE_SEGMENT_ASSISTANT
#define REASONING SONDE_SEGMENT_REASONING
#define TOOL SONDE_SEGMENT_TOOL
#define MARK(text, kind) {text, SONDE_MARK_##kind, 0, 0}
#define TURN(text, segment) {text, SONDE_MARK_TURN, segment, 0}
#define OPEN(text, segment, within) {text, SONDE_MARK_OPEN, segment, within}
#define END_OF_LIST {NULL, SONDE_MARK_PLAIN, 0, 0}

static const sonde_chat_mark chatml_list[] = {
    MARK("<|im_start|>", HEADER), MARK("<|im_end|>", END), MARK("<|endoftext|>", END),
    OPEN("<think>", REASONING, ASSISTANT), MARK("</think>", CLOSE),
    OPEN("<tool_call>", TOOL, ASSISTANT), MARK("</tool_call>", CLOSE),
    OPEN("<tool_response>", TOOL, USER), MARK("</tool_response>", CLOSE), END_OF_LIST};
static const sonde_chat_marks chatml = {chatml_list, true, false};

static const sonde_chat_mark llama3_list[] = {
    MARK("<|begin_of_text|>", PLAIN), MARK("<|end_of_text|>", END),
    MARK("<|start_header_id|>", HEADER), MARK("<|end_header_id|>", HEADER_END),
    MARK("<|eot_id|>", END), MARK("<|eom_id|>", END), OPEN("<|python_tag|>", TOOL, ASSISTANT),
    END_OF_LIST};
static const sonde_chat_marks llama3 = {llama3_list, false, false};

static const sonde_chat_mark gemma_list[] = {
    MARK("<bos>", PLAIN), MARK("<eos>", END), MARK("<start_of_turn>", HEADER),
    MARK("<end_of_turn>", END), MARK("<start_of_image>", PLAIN), END_OF_LIST};
static const sonde_chat_marks gemma = {gemma_list, true, false};

static const sonde_chat_mark mistral_list[] = {
    MARK("<s>", PLAIN), MARK("</s>", END), TURN("[INST]", USER), TURN("[/INST]", ASSISTANT),
    END_OF_LIST};
static const sonde_chat_marks mistral = {mistral_list, false, false};

static const sonde_chat_mark deepseek_list[] = {
    TURN("<｜begin▁of▁sentence｜>", SYSTEM), MARK("<｜end▁of▁sentence｜>", END),
    TURN("<｜User｜>", USER), TURN("<｜Assistant｜>", ASSISTANT),
    OPEN("<think>", REASONING, ASSISTANT), MARK("</think>", CLOSE),
    OPEN("<｜tool▁calls▁begin｜>", TOOL, ASSISTANT), MARK("<｜tool▁call▁begin｜>", PLAIN),
    MARK("<｜tool▁sep｜>", PLAIN), MARK("<｜tool▁call▁end｜>", PLAIN),
    MARK("<｜tool▁calls▁end｜>", CLOSE), TURN("<｜tool▁outputs▁begin｜>", TOOL),
    TURN("<｜tool▁output▁begin｜>", TOOL), MARK("<｜tool▁output▁end｜>", PLAIN),
    TURN("<｜tool▁outputs▁end｜>", ASSISTANT), END_OF_LIST};
static const sonde_chat_marks deepseek = {deepseek_list, false, false};

static const sonde_chat_mark harmony_list[] = {
    MARK("<|start|>", HEADER), MARK("<|channel|>", FIELD), MARK("<|constrain|>", FIELD),
    MARK("<|message|>", HEADER_END), MARK("<|end|>", END), MARK("<|call|>", END),
    MARK("<|return|>", END), END_OF_LIST};
static const sonde_chat_marks harmony = {harmony_list, false, true};

static const sonde_chat_known known[] = {
    {"llama-3.1", "09facc0e4aa943189799ad6e2dea0594", &llama3},
    {"llama-3.1-tools", "9ddcd6cd71f96dd76ca7779b7730196a", &llama3},
    {"llama-3.2-tools", "573e1bcc8c56f178c3d57e38f5ff0756", &llama3},
    {"qwen3", "4457e3d12b367a860283f874ff58d644", &chatml},
    {"gemma-3", "6c84c2da794fd4c1d9c620dcaf86f38d", &gemma},
    {"deepseek-v3", "4539344e06ec0b776878d9ac13b3ef51", &deepseek},
    {"mistral-v0.1", "70bf874ad98f31f4b7f52373b11c60d7", &mistral},
    {"gpt-oss", "263b899cbc2e65c8b619f5c43a935065", &harmony},
    {"smollm2", "98f63cc3d421d28f99ab995e9629dacd", &chatml},
};

const sonde_chat_known *sonde_chat_find(const char *hash)
{
    for (size_t i = 0; i < SONDE_COUNT(known); i++)
        if (strcmp(known[i].hash, hash) == 0) return &known[i];
    return NULL;
}
