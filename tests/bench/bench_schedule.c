/*
 * bench_schedule.c - the scheduler on a model of random weights (six layers as wide as those of
 * SmolLM2-135M), its subjects interleaved: prompts of mixed lengths beside equal ones, one worker beside
 * two, a worker of two threads beside two of one, prompts that begin alike with and without sharing, a
 * cache of a quarter of what is wanted, texts that end one after the other.
 *
 * Mixed and equal lengths are compared at equal arithmetic: as many tokens in prompts of the length
 * sum(n^2) / sum(n) of the mixed ones, so that a token has as many keys to attend to on average. Beside
 * it, as many prompts of equal lengths, whose tokens have less arithmetic.
 *
 *   bench_schedule [--rounds 4] [--first 0] [--last 18]
 */
#include "bench.h"
#include "checkpoint.h"
#include "run/schedule.h"

#include <stdlib.h>
#include <string.h>

#define MOST 64
#define LONGEST 2048

/* Prompts and how they are run. */
typedef struct subject {
    const char *name;
    int64_t n, lengths[MOST], common, max_new; /* common: tokens that all begin with */
    bool last_row;                             /* only that is wanted of each */
    bool uneven;                               /* max_new is the most: they end one after the other */
    int32_t workers, threads;
    uint32_t off;
    int64_t kv_share; /* the cache has room for 1 / kv_share of all sequences; 0: for all */
    /* state of a run, and what came of it */
    sonde_plan *plan;
    int64_t next;
    uint32_t *tokens[MOST];
    uint8_t *keep[MOST];
    double flops;
    int64_t n_tokens;
    bench_times wall;
    double last; /* seconds of the run that the stats are of */
    sonde_schedule_stats stats;
} subject;

static void check(sonde_status status, const sonde_error *err)
{
    if (status == SONDE_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

/* ---- subjects ------------------------------------------------------------------------------------- */

/* Every octave has as many prompts as the others; short and long ones come in turn. */
static void mixed_lengths(subject *s)
{
    static const int64_t few[] = {8, 11, 16, 23, 32, 45, 64, 91, 128, 181, 256, 362, 512, 724, 1024,
                                  1448, 2048};
    s->n = 2 * SONDE_COUNT(few);
    for (int64_t i = 0; i < s->n; i++) s->lengths[i] = few[i * 7 % (int64_t)SONDE_COUNT(few)];
}

static void equal_lengths(subject *s, int64_t n, int64_t tokens)
{
    s->n = n;
    for (int64_t i = 0; i < n; i++) s->lengths[i] = tokens * (i + 1) / n - tokens * i / n;
}

static int64_t new_of(const subject *s, int64_t i)
{
    return s->uneven ? s->max_new * (i + 1) / s->n : s->max_new;
}

static int64_t count_tokens(const subject *s)
{
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) n += s->lengths[i] + new_of(s, i);
    return n;
}

static int64_t prompts_of_equal_arithmetic(const subject *mixed)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < mixed->n; i++) {
        sum += (double)mixed->lengths[i];
        squares += (double)mixed->lengths[i] * (double)mixed->lengths[i];
    }
    return (int64_t)(sum * sum / squares + 0.5);
}

static void make_prompts(subject *s)
{
    for (int64_t i = 0; i < s->n; i++) {
        uint32_t random = (uint32_t)(i + 1) * 2654435761u, common = 99;
        s->tokens[i] = sonde_alloc((size_t)s->lengths[i], sizeof *s->tokens[i]);
        s->keep[i] = sonde_alloc((size_t)s->lengths[i], 1);
        if (!s->tokens[i] || !s->keep[i]) exit(1);
        for (int64_t t = 0; t < s->lengths[i]; t++) {
            random = random * 1664525u + 1013904223u;
            common = common * 1664525u + 1013904223u;
            s->tokens[i][t] = ((t < s->common ? common : random) >> 8) % 4096u;
            s->keep[i][t] = !s->last_row || t + 1 == s->lengths[i];
        }
        sonde_plan_sequence rows = {s->lengths[i], s->last_row ? 1 : s->lengths[i],
                                    SONDE_MAX(new_of(s, i) - 1, 0), s->max_new > 0};
        s->flops += sonde_plan_flops(s->plan, &rows);
    }
    s->n_tokens = count_tokens(s);
}

static void open_subject(subject *s, const sonde_model *model)
{
    sonde_error err = {0};
    int64_t n = sonde_model_point_count(model);
    sonde_model_info info;
    sonde_model_info_get(model, &info);
    uint8_t *wants = calloc((size_t)n, 1);
    for (int64_t i = 0; wants && i < n; i++)
        if (sonde_model_point(model, i)->layer == info.n_layers - 1 &&
            strcmp(sonde_model_point(model, i)->local_name, "resid_post") == 0)
            wants[i] = SONDE_WANT_READ;
    sonde_plan_options options = {.wants = wants, .want_logits = s->max_new > 0, .batch_rows = 512,
                                  .max_sequences = MOST, .max_positions = LONGEST + 128,
                                  .off = s->off};
    check(sonde_plan_create(model, &options, &s->plan, &err), &err);
    free(wants);
    make_prompts(s);
}

/* ---- a run ------------------------------------------------------------------------------------------- */

static sonde_status next(void *context, sonde_request *request, sonde_next *what, sonde_error *err)
{
    subject *s = context;
    (void)err;
    *what = s->next < s->n ? SONDE_NEXT_GIVEN : SONDE_NEXT_END;
    if (s->next == s->n) return SONDE_OK;
    int64_t i = s->next++;
    *request = (sonde_request){.index = (uint64_t)i, .tokens = s->tokens[i], .n_tokens = s->lengths[i],
                               .max_new = new_of(s, i), .keep = s->keep[i], .keep_generated = true};
    return SONDE_OK;
}

static sonde_status point(void *context, int worker, const sonde_tap_view *view, sonde_error *err)
{
    (void)context, (void)worker, (void)view, (void)err;
    return SONDE_OK;
}

static uint64_t cache_bytes(const subject *s)
{
    sonde_plan_info info;
    int64_t blocks = 0;
    if (s->kv_share == 0) return 0;
    sonde_plan_info_get(s->plan, &info);
    for (int64_t i = 0; i < s->n; i++) blocks += (s->lengths[i] + s->max_new + 62) / 64;
    return (uint64_t)(blocks / s->kv_share) * info.kv_bytes_per_page_all_layers;
}

static void run(subject *s, bool count)
{
    sonde_error err = {0};
    sonde_schedule_options options = {.workers = s->workers, .threads = s->threads,
                                      .batch_tokens = 512, .batch_sequences = MOST, .chunk = 512,
                                      .n_sequences = s->n,
                                      .kv_bytes = cache_bytes(s)};
    sonde_schedule_callbacks callbacks = {.context = s, .next = next, .point = point};
    s->next = 0;
    double begin = bench_wall();
    check(sonde_schedule_run(s->plan, &options, &callbacks, &s->stats, &err), &err);
    s->last = bench_wall() - begin;
    if (count) bench_add(&s->wall, s->last);
}

/* ---- what is printed ----------------------------------------------------------------------------------- */

static double rate(const subject *s)
{
    return (double)s->n_tokens / bench_median(&s->wall);
}

/* In steps of a kind, summed over the workers. */
static double seconds_of(const subject *s, const char *kind)
{
    const char *name;
    for (int32_t i = 0; (name = sonde_step_name(i)) != NULL; i++)
        if (strcmp(name, kind) == 0) return 1e-9 * (double)s->stats.run.step_ns[i];
    return 0.0;
}

static void print_subject(const subject *s)
{
    double seconds = bench_median(&s->wall);
    double stepping = 1e-9 * (double)(s->stats.run.prefill_ns + s->stats.run.decode_ns);
    printf("%-40s %6.0f tokens/s %6.1f GF/s, in steps %5.1f %% of the time (products %.2f s, attention "
           "%.2f); %5lld tokens, %3llu steps", s->name, rate(s), 1e-9 * s->flops / seconds,
           100.0 * stepping / (s->last * s->workers), seconds_of(s, "linear"), seconds_of(s, "attend"),
           (long long)s->n_tokens, (unsigned long long)s->stats.run.steps);
    if (s->stats.kv.shared_tokens > 0)
        printf(", %llu tokens shared", (unsigned long long)s->stats.kv.shared_tokens);
    if (s->stats.preempted > 0)
        printf(", %llu gave up, %llu rows again", (unsigned long long)s->stats.preempted,
               (unsigned long long)s->stats.rows_again);
    putchar('\n');
}

enum { MIXED, MIXED_ALONE, EQUAL, EQUAL_SHORT, ONE, TWO, THREADS, FEW_WORKERS, FEW_THREADS, GEN_WORKERS, GEN_THREADS,
       MANY_WORKERS, MANY_THREADS, ALIKE, ALIKE_OFF, SHORT_CACHE, SHORT_ALONE, UNEVEN, UNEVEN_ALONE,
       SUBJECTS };

static void describe(subject *s)
{
    s[MIXED] = (subject){.name = "mixed lengths, 2 workers", .workers = 2, .threads = 1};
    mixed_lengths(&s[MIXED]);
    s[MIXED_ALONE] = s[MIXED];
    s[MIXED_ALONE].name = "the same, --off lend";
    s[MIXED_ALONE].off = SONDE_OFF_LEND;
    s[EQUAL] = (subject){.name = "equal lengths and arithmetic, 2 workers", .workers = 2, .threads = 1};
    s[EQUAL_SHORT] = s[EQUAL];
    s[EQUAL_SHORT].name = "as many of equal lengths, 2 workers";
    equal_lengths(&s[EQUAL], prompts_of_equal_arithmetic(&s[MIXED]), count_tokens(&s[MIXED]));
    equal_lengths(&s[EQUAL_SHORT], s[MIXED].n, count_tokens(&s[MIXED]));
    s[ONE] = (subject){.name = "32 prompts of 128, 1 worker", .workers = 1, .threads = 1};
    s[TWO] = (subject){.name = "32 prompts of 128, 2 workers", .workers = 2, .threads = 1};
    s[THREADS] = (subject){.name = "32 prompts of 128, 1 worker of 2 threads", .workers = 1, .threads = 2};
    for (int i = ONE; i <= THREADS; i++) equal_lengths(&s[i], 32, 32 * 128);
    s[GEN_WORKERS] = (subject){.name = "32 generate 32, 2 workers", .workers = 2, .threads = 1};
    s[GEN_THREADS] = (subject){.name = "32 generate 32, 1 worker of 2 threads", .workers = 1, .threads = 2};
    s[FEW_WORKERS] = (subject){.name = "16 generate 32, 2 workers", .workers = 2, .threads = 1};
    s[FEW_THREADS] = (subject){.name = "16 generate 32, 1 worker of 2 threads", .workers = 1, .threads = 2};
    s[MANY_WORKERS] = (subject){.name = "64 generate 16, 2 workers", .workers = 2, .threads = 1};
    s[MANY_THREADS] = (subject){.name = "64 generate 16, 1 worker of 2 threads", .workers = 1, .threads = 2};
    for (int i = FEW_WORKERS; i <= MANY_THREADS; i++) {
        int64_t n = i <= FEW_THREADS ? 16 : i <= GEN_THREADS ? 32 : 64;
        equal_lengths(&s[i], n, n * 16);
        s[i].max_new = i < MANY_WORKERS ? 32 : 16;
    }
    s[ALIKE] = (subject){.name = "16 prompts, 512 of 544 tokens alike", .workers = 2, .threads = 1};
    s[ALIKE_OFF] = (subject){.name = "the same, --off prefix", .workers = 2, .threads = 1};
    for (int i = ALIKE; i <= ALIKE_OFF; i++) {
        equal_lengths(&s[i], 16, 16 * 544);
        s[i].common = 512;
        s[i].last_row = true;
    }
    s[ALIKE_OFF].off = SONDE_OFF_PREFIX;
    s[SHORT_CACHE] = s[GEN_WORKERS];
    s[SHORT_CACHE].name = "32 generate 32, a quarter of the cache";
    s[SHORT_CACHE].kv_share = 4;
    s[UNEVEN] = s[GEN_WORKERS];
    s[UNEVEN].name = "32 generate 2, 4, ... 64, 2 workers";
    s[UNEVEN].uneven = true;
    s[UNEVEN].max_new = 64;
    for (int i = SHORT_CACHE; i <= UNEVEN; i += UNEVEN - SHORT_CACHE) {
        s[i + 1] = s[i];
        s[i + 1].name = "the same, --off lend";
        s[i + 1].off = SONDE_OFF_LEND;
    }
}

static void print_mixed(const subject *s)
{
    double tokens = rate(&s[MIXED]) / rate(&s[EQUAL]);
    double more = s[MIXED].flops / s[EQUAL].flops;
    printf("mixed / equal lengths at equal arithmetic: %.3f of the tokens/s, %.3f of the arithmetic a "
           "second; without lent threads %.3f\n", tokens, tokens * more,
           more * rate(&s[MIXED_ALONE]) / rate(&s[EQUAL]));
    printf("mixed / as many of equal lengths: %.3f of the tokens/s (%.1f %% more arithmetic a token)\n",
           rate(&s[MIXED]) / rate(&s[EQUAL_SHORT]),
           100.0 * (s[MIXED].flops / s[EQUAL_SHORT].flops - 1.0));
}

static void print_generation(const subject *s)
{
    printf("generation, one worker of two threads / two workers: %.3f (16 sequences), %.3f (32), "
           "%.3f (64)\n", rate(&s[FEW_THREADS]) / rate(&s[FEW_WORKERS]),
           rate(&s[GEN_THREADS]) / rate(&s[GEN_WORKERS]),
           rate(&s[MANY_THREADS]) / rate(&s[MANY_WORKERS]));
}

/* The ratios whose subjects were among those that ran. */
static void print_ratios(const subject *s, int64_t first, int64_t last)
{
    putchar('\n');
    if (first <= MIXED && last >= EQUAL_SHORT) print_mixed(s);
    if (first <= ONE && last >= THREADS)
        printf("two workers / twice one: %.3f; one worker of two threads / twice one: %.3f\n",
               rate(&s[TWO]) / (2.0 * rate(&s[ONE])), rate(&s[THREADS]) / (2.0 * rate(&s[ONE])));
    if (first <= FEW_WORKERS && last >= MANY_THREADS) print_generation(s);
    if (first <= ALIKE && last >= ALIKE_OFF)
        printf("prompts that begin alike, shared / not: %.2f\n", rate(&s[ALIKE]) / rate(&s[ALIKE_OFF]));
    if (first <= GEN_WORKERS && last >= SHORT_ALONE)
        printf("a quarter of the cache / all: %.3f, nothing lent %.3f\n",
               rate(&s[SHORT_CACHE]) / rate(&s[GEN_WORKERS]),
               rate(&s[SHORT_ALONE]) / rate(&s[GEN_WORKERS]));
    if (first <= UNEVEN && last >= UNEVEN_ALONE)
        printf("texts of 2 to 64 tokens, lent / nothing lent: %.3f\n",
               rate(&s[UNEVEN]) / rate(&s[UNEVEN_ALONE]));
}

int main(int argc, char **argv)
{
    static const bench_shape shape = {.layers = 6, .hidden = 576, .heads = 9, .kv_heads = 3,
                                      .ffn = 1536, .vocab = 4096};
    static subject s[SUBJECTS];
    const char *folder = "build/bench/six-layers-random";
    int64_t rounds = bench_option(argc, argv, "--rounds", 4);
    int64_t first = bench_option(argc, argv, "--first", 0);
    int64_t last = bench_option(argc, argv, "--last", SUBJECTS - 1);
    sonde_error err = {0};
    sonde_model *model = NULL;
    if (!bench_checkpoint(folder, &shape)) return 1;
    check(sonde_model_open(folder, &(sonde_model_options){.threads = 2}, &model, &err), &err);
    describe(s);
    for (int i = 0; i < SUBJECTS; i++) open_subject(&s[i], model);
    bench_load load;
    bench_load_begin(&load);
    for (int64_t round = -1; round < rounds; round++)
        for (int i = 0; i < SUBJECTS; i++)
            if (i >= first && i <= last && (round >= 0 || i == first)) run(&s[i], round >= 0);
    for (int i = 0; i < SUBJECTS; i++)
        if (s[i].wall.n > 0) print_subject(&s[i]);
    print_ratios(s, first, last);
    bench_load_say(&load);
    for (int i = 0; i < SUBJECTS; i++) {
        sonde_plan_destroy(&s[i].plan);
        for (int64_t t = 0; t < s[i].n; t++) {
            sonde_free(s[i].tokens[t]);
            sonde_free(s[i].keep[t]);
        }
    }
    sonde_model_close(&model);
    return 0;
}
