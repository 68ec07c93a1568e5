/* gguf_image.c - pieces of a GGUF file in memory. */
#include "support/gguf_image.h"

#include <string.h>

void gguf_put_int(sonde_string *s, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        char byte = (char)(unsigned char)(value >> (8 * i));
        sonde_string_append(s, &byte, 1);
    }
}

void gguf_put_text(sonde_string *s, const char *text)
{
    gguf_put_int(s, strlen(text), 8);
    sonde_string_text(s, text);
}
