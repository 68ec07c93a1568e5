/* job.h - whole jobs in tests: options as typed, a capture into build/, its content as one hash. */
#ifndef SONDE_TEST_JOB_H
#define SONDE_TEST_JOB_H

#include "core/core.h"
#include "sonde/job.h"

/* Options from "--name value" words (a flag stands alone); fails the test for a bad one. The words
 * must outlive the options. */
void job_options(sonde_job_options *options, const char *const *words, int64_t n);
/* Runs a capture; the status of open or run, message in *err. */
sonde_status job_capture(const char *model, const char *prompts, const char *output,
                         const char *const *words, int64_t n, sonde_job_summary *summary,
                         sonde_error *err);
/* XXH3-128 of everything that a capture holds: names, shapes and bits of every point, row maps,
 * columns, sequences with their tokens and texts, tables. Fails the test for an unreadable file. */
void capture_hash(const char *path, char hex[33]);
/* The same of one point only. */
void capture_point_hash(const char *path, const char *point, char hex[33]);
/* Lets the test find the shipped probes of its own build: build/<config>/probes. */
void use_built_probes(void);
/* Writes text into a file of build/; returns its path (static buffer of the call site's name). */
void write_text_file(const char *path, const char *text);

#endif
