/* tensors.c - names and sorted arrays of tensor descriptions. */
#include "container.h"

#include <stdlib.h>
#include <string.h>

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7F;
}

bool sonde_name_is_clean(const char *bytes, size_t n)
{
    if (n == 0 || sonde_utf8_valid_prefix(bytes, n) != n) return false;
    for (size_t i = 0; i < n; i++)
        if (is_control((unsigned char)bytes[i])) return false;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sonde_tensor *)a)->name, ((const sonde_tensor *)b)->name);
}

static int by_data(const void *a, const void *b)
{
    const sonde_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

void sonde_tensors_sort_by_name(sonde_tensor *tensors, int64_t count)
{
    if (count > 1) qsort(tensors, (size_t)count, sizeof *tensors, by_name);
}

void sonde_tensors_sort_by_data(sonde_tensor *tensors, int64_t count)
{
    if (count > 1) qsort(tensors, (size_t)count, sizeof *tensors, by_data);
}

const sonde_tensor *sonde_tensors_find(const sonde_tensor *tensors, int64_t count, const char *name)
{
    sonde_tensor wanted = {.name = name};
    if (count <= 0) return NULL;
    return bsearch(&wanted, tensors, (size_t)count, sizeof *tensors, by_name);
}

const char *sonde_shape_text(const sonde_tensor *tensor, char buffer[SONDE_SHAPE_BYTES])
{
    size_t used = 1;
    buffer[0] = '[';
    for (int32_t i = 0; i < tensor->n_dims; i++)
        used += (size_t)snprintf(buffer + used, SONDE_SHAPE_BYTES - used, "%s%lld", i ? ", " : "",
                                 (long long)tensor->shape[i]);
    snprintf(buffer + used, SONDE_SHAPE_BYTES - used, "]");
    return buffer;
}
