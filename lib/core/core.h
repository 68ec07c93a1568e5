/*
 * core.h - memory, checked sizes, strings, files, logging and clocks for the library's own code.
 * Private to the tree. Depends on nothing above lib/core.
 */
#ifndef SONDE_CORE_H
#define SONDE_CORE_H

#include "sonde/base.h"

#include <stdarg.h>
#include <stdio.h>

#define SONDE_ALIGNMENT 64
#define SONDE_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define SONDE_MIN(a, b) ((a) < (b) ? (a) : (b))
#define SONDE_MAX(a, b) ((a) > (b) ? (a) : (b))

/* --- memory: one door, 64-byte aligned, zeroed; the n-th call can be made to fail in tests --- */

/* Zeroed memory for `count` x `bytes_each`, 64-byte aligned; NULL on overflow or no memory. A zero
 * size gives a unique pointer. Release with sonde_free. [any thread] */
void *sonde_alloc(size_t count, size_t bytes_each);
/* As sonde_alloc, but the memory is not zeroed: for big buffers that are filled at once. */
void *sonde_alloc_raw(size_t count, size_t bytes_each);
/* Grows or shrinks to `count` x `bytes_each`; `old_bytes` are kept, new bytes are zero. On failure
 * returns NULL and the old block stays. [any thread] */
void *sonde_realloc(void *block, size_t old_bytes, size_t count, size_t bytes_each);
void sonde_free(void *block);
/* Copies of strings by the same door; NULL for no memory (or text == NULL). */
char *sonde_strdup(const char *text);
char *sonde_strndup(const char *text, size_t length);
/* Test hook: let `n` more allocations succeed, then fail every later one; n < 0 switches it off. */
void sonde_alloc_fail_after(long n);
/* The error of a failed allocation: names what it was for and how big. */
sonde_status sonde_no_memory(sonde_error *err, const char *what, size_t bytes);

/* Bytes that this process may still take without swapping: what the machine has available, or what
 * its control group leaves; 0: not known. */
uint64_t sonde_memory_available(void);
/* Bytes of this process that stand in memory; 0: not known. */
uint64_t sonde_memory_resident(void);
/* Gives what was freed back to the machine. */
void sonde_memory_trim(void);

/* a*b and a+b that report overflow: true when good. */
bool sonde_mul_size(size_t a, size_t b, size_t *out);
bool sonde_add_size(size_t a, size_t b, size_t *out);
bool sonde_mul_i64(int64_t a, int64_t b, int64_t *out);

/* Makes room for `need` elements in a growing array (doubles; at least 16). Pointer and capacity
 * are updated together; false (array unchanged) when there is no memory. */
bool sonde_grow(void *array_pointer, size_t *capacity, size_t need, size_t bytes_each);

/* --- text ------------------------------------------------------------------------------------ */

/* A growing byte string, always NUL-terminated once anything was appended. Zero-initialise it;
 * `failed` is sticky: check it once at the end. */
typedef struct sonde_string {
    char *data;
    size_t length;
    size_t capacity;
    bool failed;
} sonde_string;

void sonde_string_append(sonde_string *s, const char *bytes, size_t n);
void sonde_string_text(sonde_string *s, const char *text);
void sonde_string_format(sonde_string *s, const char *format, ...) SONDE_PRINTF(2, 3);
/* Appends `bytes` as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
void sonde_string_json(sonde_string *s, const char *bytes, size_t n);
void sonde_string_reset(sonde_string *s);

#define SONDE_PRINTABLE_BYTES 96
/* Text from a file made fit for a message: control characters and invalid UTF-8 become '?', a long
 * text is cut. Returns `buffer`. */
const char *sonde_printable(const char *bytes, size_t n, char buffer[SONDE_PRINTABLE_BYTES]);

/* Whole-string numbers: true only when all of `text` is one number in [min, max] (finite). */
bool sonde_parse_i64(const char *text, int64_t min, int64_t max, int64_t *out);
bool sonde_parse_f64(const char *text, double min, double max, double *out);
/* "64K", "2M", "1.5G", "123" (powers of 1024, optional B or iB) to bytes. */
bool sonde_parse_bytes(const char *text, uint64_t *out);
/* Edit distance between two strings, counted up to `limit` (returns limit + 1 when above). */
size_t sonde_edit_distance(const char *a, const char *b, size_t limit);

/* --- files ----------------------------------------------------------------------------------- */

/* A read-only private mapping of a whole regular file. */
typedef struct sonde_mapping {
    const uint8_t *data; /* NULL for an empty file */
    size_t bytes;
} sonde_mapping;

/* Opens and maps `path`. BAD_FILE when it is missing, no regular file or unreadable. Release with
 * sonde_mapping_close. [any thread] */
sonde_status sonde_mapping_open(const char *path, sonde_mapping *mapping, sonde_error *err);
void sonde_mapping_close(sonde_mapping *mapping);
/* The whole pages inside a part of a mapping may leave this process's memory; they come back from
 * the file when they are read again. [any thread] */
void sonde_pages_release(const void *data, size_t bytes);
/* A big block that is filled at once may take big pages where the system has them. [any thread] */
void sonde_pages_huge(void *data, size_t bytes);
/* Reads a whole file of at most `max_bytes` into given memory (NUL added, not counted). */
sonde_status sonde_read_file(const char *path, size_t max_bytes, char **data, size_t *bytes,
                             sonde_error *err);
/* A file without a name in `folder`, which goes when it is closed; -1: errno says why. Writing and
 * reading do all of it, or return false with errno (EFBIG: the process may not write so far). */
int sonde_scratch_open(const char *folder);
bool sonde_scratch_write(int fd, uint64_t at, const void *bytes, size_t n);
bool sonde_scratch_read(int fd, uint64_t at, void *bytes, size_t n);
bool sonde_path_exists(const char *path);
bool sonde_path_is_dir(const char *path);
/* "folder/name" in new memory (no doubled slash); NULL for no memory. */
char *sonde_path_join(const char *folder, const char *name);
/* The status that an errno of a failed write means: DISK_FULL for ENOSPC, EDQUOT, EFBIG; else IO. */
sonde_status sonde_status_of_errno(int error_number);

/* --- log, time, hash ------------------------------------------------------------------------- */

void sonde_log(sonde_log_level level, const char *format, ...) SONDE_PRINTF(2, 3);
/* Between mute(true) and mute(false) this thread's lines are dropped: for work that is done once more
 * and says the same. Nests. */
void sonde_log_mute(bool mute);
/* Monotonic nanoseconds. */
uint64_t sonde_now_ns(void);
/* XXH3-64 and XXH3-128 (low word first) of a block. */
uint64_t sonde_hash64(const void *data, size_t bytes);
typedef struct sonde_hash128_value {
    uint64_t low, high;
} sonde_hash128_value;
sonde_hash128_value sonde_hash128(const void *data, size_t bytes);
/* 32 hex digits, high word first, and a NUL. */
void sonde_hash128_hex(sonde_hash128_value hash, char text[33]);

#endif
