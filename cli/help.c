/* help.c - the program's help, generated from the tables of verbs and options. */
#include "cli/cli.h"

#include <string.h>

#define NAME_COLUMNS 26
#define TEXT_COLUMNS 98

/* Behind "families:", broken between titles. */
static void print_families(FILE *out)
{
    int at = (int)strlen("families:");
    for (int64_t i = 0; i < sonde_family_count(); i++) {
        const char *title = sonde_family_title(i), *end = i + 1 < sonde_family_count() ? ";" : "";
        int n = (int)strlen(title) + 2;
        if (at + n > TEXT_COLUMNS) at = fprintf(out, "\n  %s%s", title, end) - 1;
        else at += fprintf(out, " %s%s", title, end);
    }
}

void cli_print_help(FILE *out)
{
    fprintf(out, "sonde " SONDE_VERSION ": runs open language models and records their "
                 "activations\n\nusage: sonde VERB ...\n\n");
    for (const cli_verb *verb = cli_verbs; verb->name; verb++)
        if (verb->run) fprintf(out, "  %-10s %s\n", verb->name, verb->summary);
    fprintf(out, "\nnot built yet:");
    for (const cli_verb *verb = cli_verbs; verb->name; verb++)
        if (!verb->run) fprintf(out, " %s", verb->name);
    fprintf(out, "\n\nfamilies:");
    print_families(out);
    fprintf(out, "\n\nsonde VERB --help says more. Exit codes: 0 done; 1 they differ; 2 bad usage; 3 "
                 "a bad model,\ntokenizer, prompt or capture file; 4 the machine (disk, memory, "
                 "output); 5 a probe failed;\n6 interrupted.\n");
}

/* Prints a text in words from column `column` on, broken at TEXT_COLUMNS. */
static void print_wrapped(const char *text, int column, FILE *out)
{
    int at = column;
    while (*text) {
        int n = (int)strcspn(text, " ");
        if (at > column && at + 1 + n > TEXT_COLUMNS) {
            fprintf(out, "\n%*s", column, "");
            at = column;
        } else if (at > column) {
            fputc(' ', out);
            at++;
        }
        fprintf(out, "%.*s", n, text);
        at += n;
        text += n;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

static void append(char *text, size_t bytes, const char *more)
{
    size_t used = strlen(text);
    snprintf(text + used, bytes - used, "%s", more);
}

/* "help [default X; from A to B; one of a, b]". */
static void describe(const cli_verb *verb, const sonde_option *o, char *text, size_t bytes)
{
    char value[64], part[160];
    const char *fallback = cli_default(verb, o, value);
    snprintf(text, bytes, "%s", o->help);
    if (o->flags & SONDE_OPTION_LATER) append(text, bytes, " (not built yet)");
    for (int i = 0; o->type == SONDE_OPTION_CHOICE && o->choices[i]; i++) {
        snprintf(part, sizeof part, "%s%s", i ? ", " : ": ", o->choices[i]);
        append(text, bytes, part);
    }
    bool bounded = (o->type == SONDE_OPTION_INT || o->type == SONDE_OPTION_FLOAT) && o->max < 1e6 &&
                   o->max > 0;
    if (bounded) {
        snprintf(part, sizeof part, "; %g to %g", o->min, o->max);
        append(text, bytes, part);
    }
    if (!fallback) return;
    snprintf(part, sizeof part, " [%s]", fallback);
    append(text, bytes, part);
}

static void print_option(const cli_verb *verb, const sonde_option *o, FILE *out)
{
    char name[96], text[512], letter = cli_letter(o);
    snprintf(name, sizeof name, "  %s%c%s--%s%s%s", letter ? "-" : " ", letter ? letter : ' ',
             letter ? ", " : "  ", o->name, o->type == SONDE_OPTION_FLAG ? "" : " ",
             o->type == SONDE_OPTION_FLAG ? ""
             : o->value_name              ? o->value_name
                                          : "NAME");
    describe(verb, o, text, sizeof text);
    if (strlen(name) >= NAME_COLUMNS)
        fprintf(out, "%s\n%*s", name, NAME_COLUMNS, "");
    else
        fprintf(out, "%-*s", NAME_COLUMNS, name);
    print_wrapped(text, NAME_COLUMNS, out);
}

static void print_group(const cli_verb *verb, const cli_table tables[CLI_TABLES], uint32_t group,
                        const char *title, FILE *out)
{
    bool any = false;
    for (int t = 0; t < CLI_TABLES; t++) {
        for (const sonde_option *o = tables[t].options; o->name; o++) {
            if (!(o->flags & group) || !cli_takes(&tables[t], o)) continue;
            if (!any) fprintf(out, "\n%s\n", title);
            any = true;
            print_option(verb, o, out);
        }
    }
}

/* What each word of --off leaves out. */
static void print_switches(FILE *out)
{
#define SWITCH(name, bit, text, help) {text, help},
    static const struct {
        const char *name, *help;
    } switches[] = {SONDE_OFF_LIST(SWITCH)};
#undef SWITCH
    fprintf(out, "\nSWITCHES of --off: optimisations, none of which changes a bit\n");
    for (size_t i = 0; i < CLI_COUNT(switches); i++)
        fprintf(out, "      %-*s%s\n", NAME_COLUMNS - 6, switches[i].name, switches[i].help);
}

static bool takes_off(const cli_table tables[CLI_TABLES])
{
    bool takes = false;
    for (int t = 0; t < CLI_TABLES; t++)
        for (const sonde_option *o = tables[t].options; o->name; o++)
            takes |= strcmp(o->name, "off") == 0 && cli_takes(&tables[t], o);
    return takes;
}

void cli_print_verb_help(const cli_verb *verb, FILE *out)
{
    if (!verb->run) {
        fprintf(out, "sonde %s: %s (not built yet)\n", verb->name, verb->summary);
        return;
    }
    cli_call call = {.verb = verb};
    cli_table tables[CLI_TABLES];
    cli_verb_tables(&call, tables);
    fprintf(out, "sonde %s: %s\n\nusage: sonde %s %s [options]\n", verb->name, verb->summary,
            verb->name, verb->words);
    if (verb->about) fprintf(out, "\n%s", verb->about);
    print_group(verb, tables, SONDE_OPTION_CONTENT,
                "CONTENT: options that decide what comes out (and are recorded)", out);
    print_group(verb, tables, SONDE_OPTION_RUN, "RUN: options that do not change it", out);
    if (takes_off(tables)) print_switches(out);
    if (verb->example) fprintf(out, "\nfor example\n%s", verb->example);
}
