/* Any bytes as a safetensors image: refused or described, and every described byte lies inside. */
#include "weights/weights.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t parse(const uint8_t *data, size_t size)
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
    return sum;
}

/* The bytes up to a newline as the header, with its true length, and the rest as data. */
static uint64_t parse_with_length(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    size_t header = end ? (size_t)(end - data) : size, rest = end ? size - header - 1 : 0;
    uint8_t *image = malloc(8 + header + rest);
    if (!image) return 0;
    for (int i = 0; i < 8; i++) image[i] = (uint8_t)(header >> (8 * i));
    memcpy(image + 8, data, header);
    if (rest > 0) memcpy(image + 8 + header, end + 1, rest);
    uint64_t sum = parse(image, 8 + header + rest);
    free(image);
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t sum = parse(data, size);
    if (size > 0) sum += parse_with_length(data, size);
    return sum == UINT64_MAX;
}
