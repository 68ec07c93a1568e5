/* Any bytes as a safetensors image: refused or described, and every described byte lies inside; then
 * tensors in two parts are joined, and every matrix is decoded row by row. */
#include "weights/config.h"
#include "weights/container.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST_COLUMNS 4096

static void decode(const sonde_tensor *t)
{
    static float row[MOST_COLUMNS];
    int64_t block = sonde_dtype_block_elements(t->dtype);
    if (!sonde_dtype_decodes(t->dtype) || t->n_dims < 2 || t->n_dims > 3) return;
    int64_t n = t->n_dims == 3 ? t->shape[0] : 1, rows = t->shape[t->n_dims - 2];
    int64_t columns = t->shape[t->n_dims - 1];
    if (columns == 0 || columns > MOST_COLUMNS || columns % block != 0) return;
    for (int64_t i = 0; i < n; i++) {
        sonde_matrix_source source;
        sonde_tensor_matrix(t, i, &source);
        source.rows = rows;
        source.cols = columns;
        for (int64_t r = 0; r < rows; r++) sonde_matrix_row(&source, r, row);
    }
}

static void join(const sonde_safetensors *st)
{
    sonde_error err = {0};
    sonde_config *config;
    sonde_joined joined;
    json_t *root = json_pack("{s:{s:s, s:[i, i]}}", "quantization_config", "quant_method", "fp8",
                             "weight_block_size", 5, 12);
    int64_t n = sonde_safetensors_count(st);
    if (sonde_config_create(root, "fuzz", &config, &err) != SONDE_OK) return;
    sonde_status status =
        sonde_tensors_join(config, n > 0 ? sonde_safetensors_at(st, 0) : NULL, n, &joined, &err);
    if (status != SONDE_OK && err.message[0] == '\0') abort();
    for (int64_t i = 0; status == SONDE_OK && i < joined.count; i++) decode(&joined.tensors[i]);
    sonde_joined_reset(&joined);
    sonde_config_destroy(&config);
}

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
    join(st);
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
