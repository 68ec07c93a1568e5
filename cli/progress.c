/* progress.c - one line that says how far a job is, and Ctrl-C. */
#include "cli/cli.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TERMINAL_SECONDS 0.1
#define LOG_SECONDS 5.0

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    interrupted = number;
}

bool cli_was_interrupted(void)
{
    return interrupted != 0;
}

static double now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The first signal is noted; SA_RESETHAND gives the second one to the system, which ends us. */
static void catch_signals(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = (int)SA_RESETHAND;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_progress_start(cli_progress *progress, bool quiet)
{
    *progress = (cli_progress){.quiet = quiet,
                               .terminal = isatty(STDERR_FILENO) == 1,
                               .last = now_seconds()};
    catch_signals();
}

/* "12,345 rows, 7 of 20 sequences, 456 tokens/s, 1.2 MB, 30 s left". */
static void print_line(const sonde_job_progress *p)
{
    char text[48];
    uint64_t done = p->sequences, all = p->sequences_expected;
    fprintf(stderr, "%s, ", cli_format_things(p->rows, "row", text));
    if (all > 0) fprintf(stderr, "%s of ", cli_format_count(done, text));
    fprintf(stderr, "%s, %.0f tokens/s", cli_format_things(all > 0 ? all : done, "sequence", text),
            p->tokens_per_second);
    if (p->bytes_raw > 0) fprintf(stderr, ", %s", sonde_format_bytes(p->bytes_raw, text));
    if (done == 0 || done >= all) return;
    double left = p->seconds * (double)(all - done) / (double)done;
    fprintf(stderr, ", %s left", cli_format_seconds(left, text));
}

void cli_progress_show(void *context, const sonde_job_progress *p)
{
    cli_progress *progress = context;
    double now = now_seconds();
    progress->latest = *p;
    if (progress->quiet) return;
    if (now - progress->last < (progress->terminal ? TERMINAL_SECONDS : LOG_SECONDS)) return;
    progress->last = now;
    progress->shown = true;
    fputs(progress->terminal ? "\r" : "sonde: ", stderr);
    print_line(p);
    fputs(progress->terminal ? "\033[K" : "\n", stderr);
    fflush(stderr);
}

void cli_progress_stop(cli_progress *progress)
{
    if (progress->shown && progress->terminal) fputs("\r\033[K", stderr);
    progress->shown = false;
}

bool cli_progress_cancelled(void *context)
{
    const cli_progress *progress = context;
    return interrupted || progress->stopped;
}
