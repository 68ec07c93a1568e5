/* Any bytes as a GGUF image: refused or described; what it describes is made a configuration and,
 * where it has one, a tokenizer. */
#include "weights/config.h"
#include "weights/container.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void make_config(const sonde_gguf *gguf)
{
    sonde_error err = {0};
    json_t *root;
    sonde_config *config;
    if (sonde_config_from_gguf(gguf, &root, &err) != SONDE_OK) {
        if (err.message[0] == '\0') abort();
        return;
    }
    if (sonde_config_create(root, "fuzz", &config, &err) == SONDE_OK) sonde_config_destroy(&config);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sonde_error err = {0};
    sonde_gguf *gguf;
    sonde_tokenizer *tokenizer;
    sonde_status status = sonde_gguf_parse(data, size, "fuzz", &gguf, &err);
    if (status != SONDE_OK) {
        if (err.status != status || err.message[0] == '\0') abort();
        return 0;
    }
    uint64_t sum = 0;
    for (int64_t i = 0; i < sonde_gguf_count(gguf); i++) {
        const sonde_tensor *tensor = sonde_gguf_at(gguf, i);
        const uint8_t *bytes = tensor->data;
        for (size_t k = 0; k < tensor->bytes; k++) sum += bytes[k];
        sum += strlen(tensor->name);
    }
    make_config(gguf);
    if (sonde_gguf_tokenizer(gguf, &tokenizer, &err) == SONDE_OK)
        sonde_tokenizer_destroy(&tokenizer);
    sonde_gguf_close(&gguf);
    return sum == UINT64_MAX;
}
