/* main.c - finds the verb, runs it, says what went wrong, ends with the right code (cli.md). */
#include "cli/cli.h"

#include <signal.h>
#include <string.h>

/* A write to a pipe that nobody reads, or past the limit of file sizes, is to fail with an error
 * that is told, and not to end the process. */
static void ignore_signals(void)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

static int finish(sonde_status status, const sonde_error *err)
{
    bool told = status == SONDE_DIFFERS || err->message[0] == '\0';
    if (status != SONDE_OK && !told) fprintf(stderr, "sonde: %s\n", err->message);
    return sonde_status_exit_code(status);
}

static sonde_status no_verb(const char *name, sonde_error *err)
{
    const char *names[64] = {NULL};
    for (size_t i = 0; cli_verbs[i].name && i + 1 < CLI_COUNT(names); i++)
        names[i] = cli_verbs[i].name;
    const char *near = sonde_near_name(name, names);
    if (near)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "no verb '%s'; did you mean '%s'?", name, near);
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "no verb '%s' (sonde --help lists them)", name);
}

/* "sonde --help", "sonde help [VERB]", "sonde --version". True when the line was one of them. */
static bool answer(int argc, char **argv, sonde_status *status, sonde_error *err)
{
    bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
    *status = SONDE_OK;
    if (strcmp(argv[1], "--version") == 0) {
        printf("sonde " SONDE_VERSION "\n");
        return true;
    }
    if (!help && strcmp(argv[1], "help") != 0) return false;
    const cli_verb *verb = argc > 2 ? cli_find_verb(argv[2]) : NULL;
    if (argc > 2 && !verb)
        *status = no_verb(argv[2], err);
    else if (verb)
        cli_print_verb_help(verb, stdout);
    else
        cli_print_help(stdout);
    return true;
}

static sonde_status run_verb(int argc, char **argv, sonde_error *err)
{
    static cli_call call;
    const cli_verb *verb = cli_find_verb(argv[1]);
    if (!verb && argv[1][0] == '-')
        return sonde_fail(err, SONDE_USAGE, "expected a verb before '%s' (sonde --help lists them)",
                          argv[1]);
    if (!verb) return no_verb(argv[1], err);
    if (!verb->run) return sonde_fail(err, SONDE_UNSUPPORTED, "%s is not built yet", verb->name);
    SONDE_TRY(cli_parse(verb, argc - 1, argv + 1, &call, err));
    if (call.own.help) {
        cli_print_verb_help(verb, stdout);
        return SONDE_OK;
    }
    cli_log_start(&call);
    return verb->run(&call, err);
}

int main(int argc, char **argv)
{
    sonde_error err = {SONDE_OK, ""}, closing = {SONDE_OK, ""};
    sonde_status status;
    ignore_signals();
    if (argc < 2) {
        cli_print_help(stderr);
        return sonde_status_exit_code(SONDE_USAGE);
    }
    if (!answer(argc, argv, &status, &err)) status = run_verb(argc, argv, &err);
    sonde_status flushed = cli_flush(&closing);
    if (flushed != SONDE_OK && (status == SONDE_OK || status == SONDE_DIFFERS))
        return finish(flushed, &closing);
    return finish(status, &err);
}
