/*
 * sonde/base.h - what every other header stands on: status codes, errors, dtypes, logging.
 *
 * Errors. Every fallible function returns `sonde_status` (SONDE_OK is 0) and takes last a
 * `sonde_error *err`, owned by the caller, which may be NULL. On failure it holds the status and
 * one message: what was being done, to what, expected and got. On success it is left alone.
 * The library never prints, never exits and never aborts; it logs through a callback.
 *
 * Thread tags used by all headers:
 *   [any thread]                          no shared state, or its own locking
 *   [run thread]                          only the thread that steps that run
 *   [one thread at a time per object]     the caller serialises calls on one object
 */
#ifndef SONDE_BASE_H
#define SONDE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SONDE_API __attribute__((visibility("default")))
#define SONDE_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define SONDE_API
#define SONDE_PRINTF(fmt, args)
#endif

#define SONDE_VERSION_MAJOR 0
#define SONDE_VERSION_MINOR 1
#define SONDE_VERSION_PATCH 0
#define SONDE_VERSION "0.1.0"

/* The hook-point vocabulary this build speaks (recorded in every capture file). */
#define SONDE_HOOK_VOCABULARY 1

/* X(constant, number, exit code of the program, text) */
#define SONDE_STATUS_LIST(X)                                                                       \
    X(OK, 0, 0, "ok")                                                                              \
    X(DIFFERS, 1, 1, "they differ")                                                                \
    X(USAGE, 2, 2, "bad usage")                                                                    \
    X(UNKNOWN_NAME, 3, 2, "unknown name")                                                          \
    X(UNSUPPORTED, 4, 2, "not supported by this build")                                            \
    X(EXISTS, 5, 2, "already exists")                                                              \
    X(TOO_BIG, 6, 2, "over the memory limit")                                                      \
    X(NOTHING, 7, 2, "nothing selected or compared")                                               \
    X(BAD_FILE, 8, 3, "bad file")                                                                  \
    X(BAD_MODEL, 9, 3, "bad model")                                                                \
    X(BAD_TOKENIZER, 10, 3, "bad tokenizer")                                                       \
    X(BAD_PROMPT, 11, 3, "bad prompt")                                                             \
    X(BAD_CAPTURE, 12, 3, "bad capture file")                                                      \
    X(NO_MEMORY, 13, 4, "out of memory")                                                           \
    X(IO, 14, 4, "input/output error")                                                             \
    X(DISK_FULL, 15, 4, "disk full")                                                               \
    X(PROBE, 16, 5, "a probe failed")                                                              \
    X(INTERRUPTED, 17, 6, "interrupted")                                                           \
    X(INTERNAL, 18, 4, "internal error")

typedef enum sonde_status {
#define SONDE_STATUS_ENUM(name, number, exit_code, text) SONDE_##name = number,
    SONDE_STATUS_LIST(SONDE_STATUS_ENUM)
#undef SONDE_STATUS_ENUM
} sonde_status;

/* Short text of a status; "unknown status" for anything else. [any thread] */
SONDE_API const char *sonde_status_text(sonde_status status);
/* Exit code of the program for a status (cli.md's table). [any thread] */
SONDE_API int sonde_status_exit_code(sonde_status status);

typedef struct sonde_error {
    sonde_status status;
    char message[512];
} sonde_error;

/* Fills *err (when not NULL) and returns `status`, so that `return sonde_fail(...)` reads well.
 * The message is cut to fit, never over-read. [any thread] */
SONDE_API sonde_status sonde_fail(sonde_error *err, sonde_status status, const char *format, ...)
    SONDE_PRINTF(3, 4);
/* Puts "<prefix>: " before the message already in *err and returns its status. [any thread] */
SONDE_API sonde_status sonde_error_prefix(sonde_error *err, const char *format, ...)
    SONDE_PRINTF(2, 3);

/* Returns the status of `expr` at once when it is not OK: only where nothing is owned yet. */
#define SONDE_TRY(expr)                                                                            \
    do {                                                                                           \
        sonde_status try_status_ = (expr);                                                         \
        if (try_status_ != SONDE_OK) return try_status_;                                           \
    } while (0)

/* Element types of tensors in checkpoints, caches, views and capture files: every type that a
 * safetensors or GGUF file may name. Those that can be read as numbers: sonde_dtype_decodes.
 * X(constant, number, name, elements per block, bytes per block). Numbers are stable. */
#define SONDE_DTYPE_LIST(X)                                                                        \
    X(F32, 0, "f32", 1, 4)                                                                         \
    X(F16, 1, "f16", 1, 2)                                                                         \
    X(BF16, 2, "bf16", 1, 2)                                                                       \
    X(F64, 3, "f64", 1, 8)                                                                         \
    X(I8, 4, "i8", 1, 1)                                                                           \
    X(U8, 5, "u8", 1, 1)                                                                           \
    X(I16, 6, "i16", 1, 2)                                                                         \
    X(U16, 7, "u16", 1, 2)                                                                         \
    X(I32, 8, "i32", 1, 4)                                                                         \
    X(U32, 9, "u32", 1, 4)                                                                         \
    X(I64, 10, "i64", 1, 8)                                                                        \
    X(U64, 11, "u64", 1, 8)                                                                        \
    X(BOOL, 12, "bool", 1, 1)                                                                      \
    X(F8_E4M3, 13, "f8_e4m3", 1, 1)                                                                \
    X(F8_E5M2, 14, "f8_e5m2", 1, 1)                                                                \
    X(F8_E8M0, 15, "f8_e8m0", 1, 1)                                                                \
    X(C64, 16, "c64", 1, 8)                                                                        \
    X(F4, 17, "f4", 2, 1)                                                                          \
    X(F6_E2M3, 18, "f6_e2m3", 4, 3)                                                                \
    X(F6_E3M2, 19, "f6_e3m2", 4, 3)                                                                \
    X(Q4_0, 32, "q4_0", 32, 18)                                                                    \
    X(Q4_1, 33, "q4_1", 32, 20)                                                                    \
    X(Q8_0, 34, "q8_0", 32, 34)                                                                    \
    X(Q5_0, 35, "q5_0", 32, 22)                                                                    \
    X(Q5_1, 36, "q5_1", 32, 24)                                                                    \
    X(Q8_1, 37, "q8_1", 32, 36)                                                                    \
    X(Q2_K, 38, "q2_k", 256, 84)                                                                   \
    X(Q3_K, 39, "q3_k", 256, 110)                                                                  \
    X(Q4_K, 40, "q4_k", 256, 144)                                                                  \
    X(Q5_K, 41, "q5_k", 256, 176)                                                                  \
    X(Q6_K, 42, "q6_k", 256, 210)                                                                  \
    X(Q8_K, 43, "q8_k", 256, 292)                                                                  \
    X(IQ2_XXS, 44, "iq2_xxs", 256, 66)                                                             \
    X(IQ2_XS, 45, "iq2_xs", 256, 74)                                                               \
    X(IQ2_S, 46, "iq2_s", 256, 82)                                                                 \
    X(IQ3_XXS, 47, "iq3_xxs", 256, 98)                                                             \
    X(IQ3_S, 48, "iq3_s", 256, 110)                                                                \
    X(IQ1_S, 49, "iq1_s", 256, 50)                                                                 \
    X(IQ1_M, 50, "iq1_m", 256, 56)                                                                 \
    X(IQ4_NL, 51, "iq4_nl", 32, 18)                                                                \
    X(IQ4_XS, 52, "iq4_xs", 256, 136)                                                              \
    X(TQ1_0, 53, "tq1_0", 256, 54)                                                                 \
    X(TQ2_0, 54, "tq2_0", 256, 66)                                                                 \
    X(MXFP4, 55, "mxfp4", 32, 17)                                                                  \
    X(NVFP4, 56, "nvfp4", 64, 36)                                                                  \
    X(Q1_0, 57, "q1_0", 128, 18)                                                                   \
    X(Q2_0, 58, "q2_0", 64, 18)

typedef enum sonde_dtype {
#define SONDE_DTYPE_ENUM(name, number, text, block, bytes) SONDE_DTYPE_##name = number,
    SONDE_DTYPE_LIST(SONDE_DTYPE_ENUM)
#undef SONDE_DTYPE_ENUM
    SONDE_DTYPE_NONE = -1
} sonde_dtype;

SONDE_API const char *sonde_dtype_name(sonde_dtype dtype);            /* "?" when unknown */
SONDE_API sonde_dtype sonde_dtype_from_name(const char *name);        /* NONE when unknown */
SONDE_API int64_t sonde_dtype_block_elements(sonde_dtype dtype);      /* 0 when unknown */
SONDE_API int64_t sonde_dtype_block_bytes(sonde_dtype dtype);         /* 0 when unknown */
/* Bytes of n elements; SIZE_MAX when n is negative, no multiple of the block, or overflows. */
SONDE_API size_t sonde_dtype_bytes(sonde_dtype dtype, int64_t n_elements);

/* Text for people. [any thread] */
/* "12.3 MB" style (powers of 1000); returns `buffer`. */
SONDE_API const char *sonde_format_bytes(uint64_t bytes, char buffer[32]);
/* The name in `names` (NULL-terminated array) nearest to `text` by edit distance, or NULL when
 * nothing is near (distance above a third of the length). */
SONDE_API const char *sonde_near_name(const char *text, const char *const *names);
/* Length of the valid UTF-8 prefix of bytes[0..n): n when all is valid (no surrogates, no overlong
 * forms, nothing above U+10FFFF). */
SONDE_API size_t sonde_utf8_valid_prefix(const char *bytes, size_t n);

typedef enum sonde_log_level {
    SONDE_LOG_ERROR = 0,
    SONDE_LOG_WARN = 1,
    SONDE_LOG_INFO = 2,
    SONDE_LOG_DEBUG = 3,
} sonde_log_level;

/* Where the library's log lines go; `line` has no newline and is borrowed for the call. The
 * callback may be called from any thread, one call at a time. */
typedef void sonde_log_function(void *context, sonde_log_level level, const char *line);
/* Sets the process-wide sink (NULL: drop everything, the default). Call before other threads use
 * the library. */
SONDE_API void sonde_log_set(sonde_log_function *function, void *context, sonde_log_level max);

#ifdef __cplusplus
}
#endif
#endif
