/*
 * args.c - a command line, parsed by argtable2 from the option tables.
 *
 * argtable2 (getopt_long below it) splits the line: order, "--opt=value", letters, "--". Values go
 * through sonde_options_set, so that bounds and messages come from the tables. Every option is an
 * arg_str: a flag is one whose value may be absent ("--json", "--json=no"), because an arg_lit that
 * is given a value makes argtable2 report a letter that nobody typed. The letter of a flag is an
 * arg_lit beside it: argtable2 lets a letter's value be given or not given, but not be absent.
 */
#include "cli/cli.h"

#include <argtable2.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 96
#define MAX_LETTERS 4
#define MAX_ERRORS 16

/* The arguments of one line: an arg_str per option, an arg_lit per letter of a flag, the words, and
 * argtable2's list of errors. */
typedef struct arguments {
    void *table[MAX_OPTIONS + MAX_LETTERS + 2];
    struct arg_str *words;
    struct arg_end *end;
    int32_t n_options;
    const sonde_option *options[MAX_OPTIONS];
    const cli_table *owners[MAX_OPTIONS];
    char letters[MAX_OPTIONS][2];
    int32_t n_flags; /* with a letter; their arg_lits follow the options in the table */
    struct arg_lit *flags[MAX_LETTERS];
    int32_t flag_options[MAX_LETTERS]; /* which option each belongs to */
} arguments;

const cli_verb *cli_find_verb(const char *name)
{
    for (const cli_verb *verb = cli_verbs; verb->name; verb++)
        if (strcmp(verb->name, name) == 0) return verb;
    return NULL;
}

void cli_verb_tables(cli_call *call, cli_table tables[CLI_TABLES])
{
    const cli_verb *verb = call->verb;
    tables[0] = (cli_table){cli_options_table, verb->own, &call->own};
    tables[1] = (cli_table){sonde_job_options_table, verb->job, &call->job};
    tables[2] = (cli_table){sonde_diff_options_table, verb->diff, &call->diff};
}

/* The entry "name" or "name=value" of a list with spaces between, or NULL. */
static const char *find_word(const char *list, const char *name)
{
    size_t length = strlen(name);
    while (list && *list) {
        size_t n = strcspn(list, " ");
        if (n >= length && strncmp(list, name, length) == 0 &&
            (n == length || list[length] == '='))
            return list;
        list += n + strspn(list + n, " ");
    }
    return NULL;
}

bool cli_takes(const cli_table *table, const sonde_option *option)
{
    if (!table->names) return false;
    return strcmp(table->names, "*") == 0 || find_word(table->names, option->name);
}

char cli_letter(const sonde_option *option)
{
    static const char *const names[] = {"prompt", "output", "help", "verbose"};
    for (size_t i = 0; i < CLI_COUNT(names); i++)
        if (strcmp(option->name, names[i]) == 0) return names[i][0];
    return 0;
}

const char *cli_default(const cli_verb *verb, const sonde_option *option, char buffer[64])
{
    const char *entry = find_word(verb->defaults, option->name);
    if (!entry) return option->fallback;
    const char *value = entry + strlen(option->name) + 1;
    snprintf(buffer, 64, "%.*s", (int)strcspn(value, " "), value);
    return buffer;
}

/* ---- the arguments of a verb ----------------------------------------------------------------- */

/* Options that may be given more than once: lists, and flags, where it changes nothing. */
static int most_times(const sonde_option *option)
{
    if (option->type == SONDE_OPTION_LIST) return SONDE_OPTION_LIST_MAX;
    return option->type == SONDE_OPTION_FLAG ? 64 : 1;
}

static bool add_option(arguments *args, const cli_table *owner, const sonde_option *option)
{
    if (args->n_options == MAX_OPTIONS) return false;
    int32_t i = args->n_options++;
    bool flag = option->type == SONDE_OPTION_FLAG;
    char *letter = args->letters[i];
    args->options[i] = option;
    args->owners[i] = owner;
    letter[0] = cli_letter(option);
    struct arg_str *arg = arg_strn(letter[0] && !flag ? letter : NULL, option->name, "VALUE", 0,
                                   most_times(option), option->help);
    args->table[i] = arg;
    if (!arg || !flag) return arg != NULL;
    arg->hdr.flag = ARG_HASOPTVALUE;
    if (!letter[0]) return true;
    if (args->n_flags == MAX_LETTERS) return false;
    args->flag_options[args->n_flags] = i;
    struct arg_lit *lit = arg_litn(letter, NULL, 0, most_times(option), "");
    args->flags[args->n_flags++] = lit;
    return lit != NULL;
}

static int32_t table_size(const arguments *args)
{
    return args->n_options + args->n_flags + 2;
}

static sonde_status make_arguments(arguments *args, const cli_table tables[CLI_TABLES],
                                   sonde_error *err)
{
    bool good = true;
    for (int t = 0; t < CLI_TABLES; t++)
        for (const sonde_option *o = tables[t].options; good && o->name; o++)
            if (cli_takes(&tables[t], o)) good = add_option(args, &tables[t], o);
    args->words = arg_strn(NULL, NULL, "WORD", 0, CLI_WORDS, "");
    args->end = arg_end(MAX_ERRORS);
    for (int32_t i = 0; i < args->n_flags; i++) args->table[args->n_options + i] = args->flags[i];
    args->table[table_size(args) - 2] = args->words;
    args->table[table_size(args) - 1] = args->end;
    if (good && args->words && args->end) return SONDE_OK;
    return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for %d options", args->n_options);
}

static const struct arg_str *argument(const arguments *args, int32_t i)
{
    return args->table[i];
}

static int letters_given(const arguments *args, int32_t option)
{
    for (int32_t i = 0; i < args->n_flags; i++)
        if (args->flag_options[i] == option) return args->flags[i]->count;
    return 0;
}

/* ---- what went wrong ------------------------------------------------------------------------- */

/* Verbs that take an option which this one does not. */
static sonde_status option_of_others(const cli_call *call, const char *name, sonde_error *err)
{
    char others[160] = "";
    for (const cli_verb *verb = cli_verbs; verb->name; verb++) {
        cli_call other = {.verb = verb};
        cli_table tables[CLI_TABLES];
        cli_verb_tables(&other, tables);
        for (int t = 0; t < CLI_TABLES; t++) {
            const sonde_option *option = sonde_options_find(tables[t].options, name);
            size_t used = strlen(others);
            if (!option || !cli_takes(&tables[t], option)) continue;
            snprintf(others + used, sizeof others - used, "%s%s", used ? ", " : "", verb->name);
            break;
        }
    }
    if (!others[0]) return SONDE_OK;
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "%s has no option --%s; it is one of: %s",
                      call->verb->name, name, others);
}

static sonde_status unknown_option(const cli_call *call, const arguments *args, const char *typed,
                                   sonde_error *err)
{
    char name[64];
    const char *names[MAX_OPTIONS + 1] = {NULL};
    typed += strspn(typed, "-");
    snprintf(name, sizeof name, "%.*s", (int)strcspn(typed, "="), typed);
    for (int32_t i = 0; i < args->n_options; i++) names[i] = args->options[i]->name;
    sonde_status status = option_of_others(call, name, err);
    if (status != SONDE_OK) return status;
    const char *near = sonde_near_name(name, names);
    if (near)
        return sonde_fail(err, SONDE_UNKNOWN_NAME, "%s has no option --%s; did you mean --%s?",
                          call->verb->name, name, near);
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "%s has no option --%s (sonde %s --help lists them)",
                      call->verb->name, name, call->verb->name);
}

/* Index of the option that a word of the line names ("--seed", "--see", "-o"), or -1. */
static int32_t option_named(const arguments *args, const char *typed)
{
    const char *name = typed + strspn(typed, "-");
    size_t n = strcspn(name, "=");
    for (int32_t i = 0; i < args->n_options; i++) {
        bool letter = n == 1 && args->letters[i][0] == name[0];
        if (letter || (n > 0 && strncmp(args->options[i]->name, name, n) == 0)) return i;
    }
    return -1;
}

static sonde_status not_built(const sonde_option *option, const char *value, sonde_error *err)
{
    return sonde_fail(err, SONDE_UNSUPPORTED, "--%s%s%s is not built yet", option->name,
                      value ? " " : "", value ? value : "");
}

/* Values of options that a later version will take. */
static bool comes_later(const sonde_option *option, const char *value)
{
    static const char *const values[][2] = {
        {"backend", "cuda"}, {"kv-dtype", "int8"}, {"kv-dtype", "fp8"}};
    for (size_t i = 0; value && i < CLI_COUNT(values); i++)
        if (strcmp(option->name, values[i][0]) == 0 && strcmp(value, values[i][1]) == 0)
            return true;
    return false;
}

static sonde_status missing_value(const cli_call *call, const arguments *args, const char *typed,
                                  sonde_error *err)
{
    int32_t i = option_named(args, typed);
    if (i >= 0 && args->options[i]->flags & SONDE_OPTION_LATER)
        return not_built(args->options[i], NULL, err);
    return sonde_fail(err, SONDE_USAGE, "%s: option %s needs a value%s%s", call->verb->name, typed,
                      i >= 0 && args->options[i]->value_name ? ": " : "",
                      i >= 0 && args->options[i]->value_name ? args->options[i]->value_name : "");
}

/* An error of argtable2's list as a message; OK where it is none (an option given an empty value,
 * which the table judges). */
static sonde_status explain(const cli_call *call, const arguments *args, int i, sonde_error *err)
{
    const char *typed = args->end->argval[i] ? args->end->argval[i] : "";
    int code = args->end->error[i];
    const char *verb = call->verb->name;
    if (args->end->parent[i] == args->words)
        return sonde_fail(err, SONDE_USAGE, "%s: more words than any verb takes, from '%s' on",
                          verb, typed);
    if (args->end->parent[i] != args->end) {
        for (int32_t o = 0; o < args->n_options; o++)
            if (args->table[o] == args->end->parent[i])
                return sonde_fail(err, SONDE_USAGE, "%s: option --%s is given more than %s", verb,
                                  args->options[o]->name,
                                  most_times(args->options[o]) == 1 ? "once" : "256 times");
    }
    switch (code) {
    case ARG_ELONGOPT: return unknown_option(call, args, typed, err);
    case ARG_EMISSARG: {
        size_t n = strlen(typed);
        bool empty = n == 0 || (strncmp(typed, "--", 2) == 0 && typed[n - 1] == '=');
        return empty ? SONDE_OK : missing_value(call, args, typed, err);
    }
    case ARG_EMALLOC: return sonde_fail(err, SONDE_NO_MEMORY, "out of memory for the command line");
    default: break;
    }
    return sonde_fail(err, SONDE_UNKNOWN_NAME, "%s has no option -%c (sonde %s --help lists them)",
                      verb, code > 32 && code < 127 ? code : '?', verb);
}

/* ---- values ---------------------------------------------------------------------------------- */

static sonde_status check_words(const cli_call *call, sonde_error *err)
{
    const cli_verb *verb = call->verb;
    if (call->n_words < verb->min_words)
        return sonde_fail(err, SONDE_USAGE, "%s: expected %s, got %s (sonde %s --help says more)",
                          verb->name, verb->words,
                          call->n_words == 0 ? "nothing" : "too little", verb->name);
    if (call->n_words > verb->max_words)
        return sonde_fail(err, SONDE_USAGE, "%s: expected %s, did not expect '%s'", verb->name,
                          verb->words[0] ? verb->words : "no words", call->words[verb->max_words]);
    return SONDE_OK;
}

static sonde_status set_options(const cli_call *call, const arguments *args, sonde_error *err)
{
    for (int32_t i = 0; i < args->n_options; i++) {
        const struct arg_str *arg = argument(args, i);
        const cli_table *owner = args->owners[i];
        bool flag = args->options[i]->type == SONDE_OPTION_FLAG;
        for (int j = 0; j < arg->count + letters_given(args, i); j++) {
            const char *value = j < arg->count ? arg->sval[j] : "";
            if (flag && value[0] == '\0') value = NULL;
            if (args->options[i]->flags & SONDE_OPTION_LATER)
                return not_built(args->options[i], NULL, err);
            if (comes_later(args->options[i], value))
                return not_built(args->options[i], value, err);
            sonde_status status = sonde_options_set(owner->options, owner->target,
                                                    args->options[i]->name, value, err);
            if (status != SONDE_OK) return sonde_error_prefix(err, "%s", call->verb->name);
        }
    }
    return SONDE_OK;
}

static sonde_status set_defaults(const cli_call *call, const cli_table tables[CLI_TABLES],
                                 sonde_error *err)
{
    char buffer[64];
    for (int t = 0; t < CLI_TABLES; t++) {
        SONDE_TRY(sonde_options_defaults(tables[t].options, tables[t].target, err));
        for (const sonde_option *o = tables[t].options; o->name; o++)
            if (cli_takes(&tables[t], o) && find_word(call->verb->defaults, o->name))
                SONDE_TRY(sonde_options_set(tables[t].options, tables[t].target, o->name,
                                            cli_default(call->verb, o, buffer), err));
    }
    return SONDE_OK;
}

static bool wants_help(const arguments *args)
{
    for (int32_t i = 0; i < args->n_options; i++)
        if (strcmp(args->options[i]->name, "help") == 0)
            return argument(args, i)->count + letters_given(args, i) > 0;
    return false;
}

static sonde_status take(cli_call *call, arguments *args, sonde_error *err)
{
    if (wants_help(args)) {
        call->own.help = true;
        return SONDE_OK;
    }
    for (int i = 0; i < args->end->count; i++) SONDE_TRY(explain(call, args, i, err));
    call->n_words = args->words->count;
    for (int32_t i = 0; i < call->n_words; i++) call->words[i] = args->words->sval[i];
    SONDE_TRY(set_options(call, args, err));
    return check_words(call, err);
}

sonde_status cli_parse(const cli_verb *verb, int argc, char **argv, cli_call *call,
                       sonde_error *err)
{
    memset(call, 0, sizeof *call);
    call->verb = verb;
    sonde_diff_options_init(&call->diff);
    cli_table tables[CLI_TABLES];
    cli_verb_tables(call, tables);
    arguments args = {.n_options = 0};
    sonde_status status = set_defaults(call, tables, err);
    if (status == SONDE_OK) status = make_arguments(&args, tables, err);
    if (status == SONDE_OK) {
        arg_parse(argc, argv, args.table);
        status = take(call, &args, err);
    }
    arg_freetable(args.table, (size_t)table_size(&args));
    return status;
}
