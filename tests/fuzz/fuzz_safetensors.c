/* Any bytes as a safetensors image: refused or described, and every described byte lies inside. */
#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sonde_error err = {0};
    sonde_safetensors *st;
    sonde_status status = sonde_safetensors_parse(data, size, "fuzz", &st, &err);
    if (status != SONDE_OK) {
        if (err.status != status || err.message[0] == '\0') abort();
        return 0;
    }
    uint64_t sum = 0;
    for (int64_t i = 0; i < sonde_safetensors_count(st); i++) {
        const sonde_tensor *tensor = sonde_safetensors_at(st, i);
        const uint8_t *bytes = tensor->data;
        for (size_t k = 0; k < tensor->bytes; k++) sum += bytes[k];
        sum += strlen(tensor->name);
    }
    sonde_safetensors_close(&st);
    return sum == UINT64_MAX;
}
