/* test_text_traps.c - what implementations of tokenizers get wrong, one test each. */
#include "support/golden.h"
#include "support/text_case.h"
#include "text/ranges.h"
#include "text/text_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define LINE "\xE2\x96\x81" /* the underline that stands for a space */
#define BAD "\xEF\xBF\xBD"

static sonde_tokenizer *from_json(const char *text)
{
    json_t *root = NULL;
    sonde_tokenizer *t;
    sonde_error err = {0};
    assert_int_equal(sonde_json_parse(text, strlen(text), "json", SONDE_BAD_TOKENIZER, &root, &err),
                     SONDE_OK);
    assert_int_equal(sonde_tokenizer_new(&t, &err), SONDE_OK);
    if (sonde_tokenizer_load_json(t, root, "json", &err) != SONDE_OK) fail_msg("%s", err.message);
    json_decref(root);
    return t;
}

/* The pieces of the ids, as the file writes them, joined by '|'. */
static void check_pieces(const sonde_tokenizer *t, const char *text, bool literal, const char *want)
{
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    sonde_string got = {0};
    sonde_encode_options options = {.literal_special = literal, .bos = SONDE_BOS_NO};
    if (sonde_tokenizer_encode(t, text, strlen(text), &options, &tokens, &err) != SONDE_OK)
        fail_msg("%s", err.message);
    sonde_string_text(&got, "");
    for (size_t i = 0; i < tokens.count; i++) {
        const sonde_piece *p = &t->pieces[tokens.ids[i]];
        sonde_string_text(&got, i > 0 ? "|" : "");
        sonde_string_text(&got, p->text ? p->text : p->shown);
    }
    assert_string_equal(got.data, want);
    sonde_string_reset(&got);
    sonde_tokens_reset(&tokens);
}

static void check_decoded(const sonde_tokenizer *t, size_t n, const char *const *pieces,
                          const char *want)
{
    uint32_t ids[16];
    char *text;
    size_t bytes;
    sonde_error err = {0};
    for (size_t i = 0; i < n; i++) {
        int64_t id = sonde_tokenizer_find(t, pieces[i]);
        if (id < 0) fail_msg("no piece %s", pieces[i]);
        ids[i] = (uint32_t)id;
    }
    assert_int_equal(sonde_tokenizer_decode(t, ids, n, false, &text, &bytes, &err), SONDE_OK);
    assert_string_equal(text, want);
    sonde_text_free(text);
}

/* ---- Unicode --------------------------------------------------------------------------------- */

static bool has_property(const char *name, uint32_t c)
{
    sonde_ranges set = {0};
    assert_true(sonde_ranges_add_property(&set, name, strlen(name)));
    bool has = sonde_ranges_has(&set, c);
    sonde_ranges_reset(&set);
    return has;
}

static void test_splits_and_digits_have_different_unicodes(void **state)
{
    (void)state;
    size_t numeric = 0, number = 0, space = 0;
    for (uint32_t c = 0; c < SONDE_UNICODE_END; c++) {
        uint32_t class = sonde_unicode_class(c), category = class & SONDE_CLASS_CATEGORY;
        numeric += (class & SONDE_CLASS_DIGIT) != 0;
        number += category >= SONDE_CATEGORY_ND && category <= SONDE_CATEGORY_NO;
        space += (class & SONDE_CLASS_SPACE) != 0;
    }
    assert_int_equal(numeric, number + 13);
    assert_int_equal(space, 25);
    assert_true(has_property("Space", 0x85));
    assert_false(has_property("Space", 0x180E));
    assert_false(has_property("Space", 0x200B));
}

static void check_form(sonde_normal_form form, size_t n, const uint32_t *from, size_t m,
                       const uint32_t *to)
{
    sonde_chars chars = {0};
    for (size_t i = 0; i < n; i++) assert_true(sonde_chars_push(&chars, from[i], 0, 1));
    assert_true(sonde_chars_normalize(&chars, form));
    assert_int_equal(chars.count, m);
    for (size_t i = 0; i < m; i++) assert_int_equal(chars.data[i].code_point, to[i]);
    sonde_free(chars.data);
}

/* U+1DF6 (class 232, Unicode 10) stays where it is; U+0327 (202) moves in front of U+0301 (230). */
static void test_nfc_knows_only_old_marks(void **state)
{
    (void)state;
    check_form(SONDE_FORM_C, 3, (uint32_t[]){'x', 0x1DF6, 0x0327}, 3,
               (uint32_t[]){'x', 0x1DF6, 0x0327});
    check_form(SONDE_FORM_C, 3, (uint32_t[]){'x', 0x0301, 0x0327}, 3,
               (uint32_t[]){'x', 0x0327, 0x0301});
    check_form(SONDE_FORM_C, 2, (uint32_t[]){'e', 0x0301}, 1, (uint32_t[]){0xE9});
    check_form(SONDE_FORM_KC, 1, (uint32_t[]){0xFB01}, 2, (uint32_t[]){'f', 'i'});
    check_form(SONDE_FORM_D, 1, (uint32_t[]){0xAC01}, 3, (uint32_t[]){0x1100, 0x1161, 0x11A8});
}

/* Plain writing is copied as it stands, but for the letter that a mark behind it joins. */
static void test_marks_between_plain_writing_join_one_letter(void **state)
{
    (void)state;
    check_form(SONDE_FORM_C, 7, (uint32_t[]){'a', 'e', 0x0301, 'b', ' ', 0x2019, 'c'}, 6,
               (uint32_t[]){'a', 0xE9, 'b', ' ', 0x2019, 'c'});
    check_form(SONDE_FORM_C, 5, (uint32_t[]){0x0301, 'a', 0x0301, 'a', 0x0301}, 3,
               (uint32_t[]){0x0301, 0xE1, 0xE1});
    check_form(SONDE_FORM_KC, 5, (uint32_t[]){'x', 0xA0, 'e', 0x0301, 'y'}, 4,
               (uint32_t[]){'x', ' ', 0xE9, 'y'});
    check_form(SONDE_FORM_D, 3, (uint32_t[]){'a', 0xE9, 'b'}, 4,
               (uint32_t[]){'a', 'e', 0x0301, 'b'});
}

/* Of characters before and behind a mark: composing what is there gives what composing its parts
 * gives, and what is called normal is. */
static void test_what_is_composed_stays(void **state)
{
    (void)state;
    static const uint32_t marks[] = {'x', 0x300, 0x301, 0x30C, 0x323, 0x327, 0x338, 0x3099, 0x1161};
    for (uint32_t c = 0x80; c < 0xD800; c += c < 0x3400 ? 1 : 7)
        for (size_t i = 0; i < SONDE_COUNT(marks); i++) {
            const sonde_char text[] = {{'a', 0, 1}, {c, 1, 2}, {marks[i], 2, 3}, {c, 3, 4}};
            sonde_chars whole = {0}, parts = {0};
            assert_true(sonde_chars_normalized(text, 4, SONDE_FORM_C, &whole));
            assert_true(sonde_chars_normalized(text, 4, SONDE_FORM_D, &parts));
            assert_true(sonde_chars_normalize(&parts, SONDE_FORM_C));
            assert_int_equal(whole.count, parts.count);
            for (size_t k = 0; k < whole.count; k++)
                assert_int_equal(whole.data[k].code_point, parts.data[k].code_point);
            if (sonde_chars_are_normal(text, 4, SONDE_FORM_C)) assert_int_equal(whole.count, 4);
            sonde_free(whole.data);
            sonde_free(parts.data);
        }
}

/* A hundred thousand marks in the wrong order: not the square of that in steps. */
static void test_long_runs_of_marks_are_ordered(void **state)
{
    (void)state;
    sonde_chars chars = {0};
    assert_true(sonde_chars_push(&chars, 'x', 0, 1));
    for (uint32_t i = 0; i < 100000; i++)
        assert_true(sonde_chars_push(&chars, i % 2 ? 0x0327 : 0x0301, i, i + 1));
    assert_true(sonde_chars_normalize(&chars, SONDE_FORM_D));
    assert_int_equal(chars.data[50000].code_point, 0x0327);
    assert_int_equal(chars.data[50001].code_point, 0x0301);
    sonde_free(chars.data);
}

static const char splitter[] = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<unk>\":0},\"merges\":[],"
                               "\"unk_token\":\"<unk>\",\"fuse_unk\":true},"
                               "\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\","
                               "\"pattern\":{\"Regex\":\"(?i:'s|'t)|k\"}}}";

static void test_long_s_is_an_s_without_case(void **state)
{
    (void)state;
    sonde_tokenizer *t = from_json(splitter);
    check_pieces(t,
                 "a'\xC5\xBF"
                 "b",
                 false, "<unk>|<unk>|<unk>");
    check_pieces(t, "a'Sb", false, "<unk>|<unk>|<unk>");
    check_pieces(t,
                 "a\xE2\x84\xAA"
                 "b",
                 false, "<unk>"); /* the Kelvin sign is no k here */
    sonde_tokenizer_destroy(&t);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static void test_literal_mode_silences_special_tokens_only(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm-no-prefix");
    check_pieces(t, "a<s>a", false, "a|<s>|a");
    check_pieces(t, "a<s>a", true, "a|<0x3C>|s|<0x3E>|a");
    check_pieces(t, "a<tag>a", true, "a|<tag>|a");
    sonde_tokenizer_destroy(&t);
}

static void test_thousands_of_added_tokens_match_the_longest(void **state)
{
    (void)state;
    sonde_string json = {0};
    sonde_string_text(&json, "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"<\":0,\"u\":1},\"merges\":["
                             "]},\"added_tokens\":[");
    for (int i = 0; i < 7000; i++)
        sonde_string_format(&json, "%s{\"id\":%d,\"content\":\"<u%d>\",\"special\":true}",
                            i ? "," : "", i + 2, i);
    sonde_string_text(&json, ",{\"id\":7002,\"content\":\"<u1><u2>\"}]}");
    sonde_tokenizer *t = from_json(json.data);
    check_pieces(t, "<u6999><<u1><u2><u1><u", false, "<u6999>|<|<u1><u2>|<u1>|<|u");
    sonde_tokenizer_destroy(&t);
    sonde_string_reset(&json);
}

/* ---- SentencePiece --------------------------------------------------------------------------- */

static void test_prepend_acts_on_every_stretch(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm");
    check_pieces(t, "a<s>b", false, LINE "a|<s>|" LINE "|b");
    check_pieces(t, "", false, "");
    check_pieces(t, "<s>", false, "<s>");
    check_pieces(t, " the", false, LINE "|" LINE "the");
    sonde_tokenizer_destroy(&t);
}

static void test_the_dummy_prefix_has_no_bytes(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    sonde_encode_options options = {.bos = SONDE_BOS_NO};
    assert_int_equal(sonde_tokenizer_encode(t, "\xC3\xA9 the", 6, &options, &tokens, &err),
                     SONDE_OK);
    static const uint32_t starts[] = {0, 0, 2}, ends[] = {0, 2, 6};
    assert_int_equal(tokens.count, 3);
    assert_memory_equal(tokens.text_start, starts, sizeof starts);
    assert_memory_equal(tokens.text_end, ends, sizeof ends);
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

static void test_added_underlines_match_no_spaces(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm-no-prefix");
    check_pieces(t, "a   a", false, "a|" LINE LINE "|" LINE "a");
    check_pieces(t, "a" LINE LINE LINE "a", false, "a|   |a"); /* as it shows */
    check_decoded(t, 2, (const char *[]){LINE LINE LINE, "a"}, "   a");
    sonde_tokenizer_destroy(&t);
}

static void test_a_text_without_spaces_costs_n_log_n(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm");
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    char *text = sonde_alloc_raw(200000, 1);
    for (size_t i = 0; i < 200000; i++) text[i] = "theaaword"[i % 9];
    uint64_t before = sonde_tokenizer_merge_steps();
    assert_int_equal(sonde_tokenizer_encode(t, text, 20000, NULL, &tokens, &err), SONDE_OK);
    uint64_t small = sonde_tokenizer_merge_steps() - before;
    assert_int_equal(sonde_tokenizer_encode(t, text, 200000, NULL, &tokens, &err), SONDE_OK);
    assert_true(sonde_tokenizer_merge_steps() - before - small <= 15 * small);
    sonde_free(text);
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

/* ---- byte-level ------------------------------------------------------------------------------ */

static const char gaps[] =
    "{\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"ignore_merges\":%s,"
    "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"aba\":3,\"\xC3\x83\":4,\"\xC2\xA9\":5},\"merges\":[\"a "
    "b\"]},"
    "\"added_tokens\":[{\"id\":6,\"content\":\"\xE4\xBD\xA0\",\"special\":true}]}";

static sonde_tokenizer *with_gaps(const char *ignore_merges)
{
    char json[600];
    snprintf(json, sizeof json, gaps, ignore_merges);
    return from_json(json);
}

static void test_bytes_without_a_piece_vanish_before_merging(void **state)
{
    (void)state;
    sonde_tokenizer *t = with_gaps("false");
    check_pieces(t,
                 "a\x04"
                 "b",
                 false, "ab");
    sonde_tokenizer_destroy(&t);
}

static void test_ignore_merges_takes_a_whole_piece(void **state)
{
    (void)state;
    sonde_tokenizer *t = with_gaps("false");
    check_pieces(t, "aba", false, "ab|a");
    sonde_tokenizer_destroy(&t);
    t = with_gaps("true");
    check_pieces(t, "aba", false, "aba");
    check_pieces(t, "abab", false, "ab|ab");
    sonde_tokenizer_destroy(&t);
}

/* ---- decoding -------------------------------------------------------------------------------- */

static void test_bytes_join_before_bad_ones_are_replaced(void **state)
{
    (void)state;
    sonde_tokenizer *t = with_gaps("false");
    check_decoded(t, 2, (const char *[]){"\xC3\x83", "\xC2\xA9"}, "\xC3\xA9");
    check_decoded(t, 3, (const char *[]){"\xC3\x83", "a", "\xC2\xA9"}, BAD "a" BAD);
    check_decoded(t, 2, (const char *[]){"\xE4\xBD\xA0", "a"},
                  "\xE4\xBD\xA0"
                  "a");
    sonde_tokenizer_destroy(&t);
}

static void test_a_bad_run_of_byte_tokens_is_bad_as_a_whole(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm");
    check_decoded(t, 2, (const char *[]){"<0x41>", "<0xFF>"}, BAD BAD);
    check_decoded(t, 3, (const char *[]){"<0x41>", "a", "<0xFF>"}, "Aa" BAD);
    check_decoded(t, 2, (const char *[]){"<0xC3>", "<0xA9>"}, "\xC3\xA9");
    sonde_tokenizer_destroy(&t);
}

static void test_one_space_is_stripped_at_the_start_alone(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/spm");
    check_decoded(t, 2, (const char *[]){LINE LINE, LINE "the"}, "  the");
    check_decoded(t, 2, (const char *[]){"a", LINE "the"}, "a the");
    sonde_tokenizer_destroy(&t);
    t = text_case_open("tests/goldens/text/spm-no-prefix");
    check_decoded(t, 1, (const char *[]){LINE "the"}, " the");
    sonde_tokenizer_destroy(&t);
}

static const char metaspace[] =
    "{\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"" LINE
    "\",\"prepend_scheme\":\"first\"},"
    "\"decoder\":{\"type\":\"Metaspace\",\"replacement\":\"" LINE
    "\",\"prepend_scheme\":\"first\"},"
    "\"model\":{\"type\":\"Unigram\",\"unk_id\":0,\"vocab\":[[\"<unk>\",0],[\"" LINE "a\",-1]]},"
    "\"added_tokens\":[{\"id\":300,\"content\":\"" LINE LINE "b " LINE "\"}]}";

/* Underlines of the first piece go, also of an added token; its own spaces stay. */
static void test_metaspace_drops_the_underlines_of_the_first_piece(void **state)
{
    (void)state;
    sonde_tokenizer *t = from_json(metaspace);
    check_decoded(t, 2, (const char *[]){LINE "a", LINE "a"}, "a a");
    check_decoded(t, 2, (const char *[]){LINE LINE "b " LINE, LINE "a"}, "b  a");
    check_decoded(t, 2, (const char *[]){LINE "a", LINE LINE "b " LINE}, "a  b  ");
    sonde_tokenizer_destroy(&t);
}

/* Only pieces of the model have scores: ids of added tokens may lie far behind them. */
static void test_scores_end_before_added_tokens(void **state)
{
    (void)state;
    sonde_tokenizer *a = from_json(metaspace), *b = from_json(metaspace);
    assert_int_equal(sonde_tokenizer_size(a), 301);
    assert_string_equal(sonde_tokenizer_hash(a), sonde_tokenizer_hash(b));
    sonde_tokenizer_destroy(&a);
    sonde_tokenizer_destroy(&b);
}

/* Kimi's own code cuts a run of more than 25,000 characters, and every text after 400,000. */
static void test_kimi_cuts_long_runs_first(void **state)
{
    (void)state;
    sonde_tokenizer *t = text_case_open("tests/goldens/text/tiktoken");
    sonde_tokens whole = {0}, part = {0};
    sonde_error err = {0};
    char *text = sonde_alloc_raw(25003, 1);
    memset(text, 'a', 25003);
    assert_int_equal(sonde_tokenizer_encode(t, text, 25003, NULL, &whole, &err), SONDE_OK);
    assert_int_equal(sonde_tokenizer_encode(t, text, 25000, NULL, &part, &err), SONDE_OK);
    assert_int_equal(whole.count, part.count + 2); /* aaaa ... aaaa, aa, a */
    assert_memory_equal(whole.ids, part.ids, part.count * sizeof *part.ids);
    sonde_free(text);
    sonde_tokens_reset(&whole);
    sonde_tokens_reset(&part);
    sonde_tokenizer_destroy(&t);
}

/* ---- beginning of sequence ------------------------------------------------------------------- */

static void test_add_bos_token_of_the_config_adds_none(void **state)
{
    (void)state;
    if (!test_shared()) skip();
    char path[512];
    sonde_tokens tokens = {0};
    sonde_error err = {0};
    snprintf(path, sizeof path, "%s/tokenizers/deepseek-v3", test_shared());
    sonde_tokenizer *t = text_case_open(path);
    assert_int_equal(sonde_tokenizer_encode(t, "", 0, NULL, &tokens, &err), SONDE_OK);
    assert_int_equal(tokens.count, 0);
    assert_int_equal(sonde_tokenizer_bos(t), 0);
    assert_int_equal(sonde_tokenizer_eos(t), 1);
    sonde_tokens_reset(&tokens);
    sonde_tokenizer_destroy(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_splits_and_digits_have_different_unicodes),
        cmocka_unit_test(test_nfc_knows_only_old_marks),
        cmocka_unit_test(test_marks_between_plain_writing_join_one_letter),
        cmocka_unit_test(test_what_is_composed_stays),
        cmocka_unit_test(test_long_runs_of_marks_are_ordered),
        cmocka_unit_test(test_long_s_is_an_s_without_case),
        cmocka_unit_test(test_literal_mode_silences_special_tokens_only),
        cmocka_unit_test(test_thousands_of_added_tokens_match_the_longest),
        cmocka_unit_test(test_prepend_acts_on_every_stretch),
        cmocka_unit_test(test_the_dummy_prefix_has_no_bytes),
        cmocka_unit_test(test_added_underlines_match_no_spaces),
        cmocka_unit_test(test_a_text_without_spaces_costs_n_log_n),
        cmocka_unit_test(test_bytes_without_a_piece_vanish_before_merging),
        cmocka_unit_test(test_ignore_merges_takes_a_whole_piece),
        cmocka_unit_test(test_bytes_join_before_bad_ones_are_replaced),
        cmocka_unit_test(test_a_bad_run_of_byte_tokens_is_bad_as_a_whole),
        cmocka_unit_test(test_one_space_is_stripped_at_the_start_alone),
        cmocka_unit_test(test_metaspace_drops_the_underlines_of_the_first_piece),
        cmocka_unit_test(test_scores_end_before_added_tokens),
        cmocka_unit_test(test_kimi_cuts_long_runs_first),
        cmocka_unit_test(test_add_bos_token_of_the_config_adds_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
