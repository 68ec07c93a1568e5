/*
 * gguf_image.h - pieces of a GGUF file in memory, for tests of its readers: little-endian integers and
 * texts with their length before them.
 */
#ifndef SONDE_TEST_GGUF_IMAGE_H
#define SONDE_TEST_GGUF_IMAGE_H

#include "core/core.h"

void gguf_put_int(sonde_string *s, uint64_t value, size_t bytes);
void gguf_put_text(sonde_string *s, const char *text);

#endif
