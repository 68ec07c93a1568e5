/* Selections of hook points on the tree's small models: what they select, and the message of every
 * refusal. llama: 3 blocks, 4 query and 2 key heads, hidden 48, feed-forward 72; gpt2: 2 blocks;
 * mixtral: experts. */
#include "host/select.h"
#include "sonde/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static sonde_model *llama, *gpt2, *mixtral;

/* ---- a selection as text --------------------------------------------------------------------- */

static void describe(const sonde_model *model, const sonde_selected_point *s, sonde_string *out)
{
    sonde_string_format(out, "%s%s", out->length ? " " : "",
                        sonde_model_point(model, s->point)->name);
    for (int64_t i = 0; i < s->n_parts; i++)
        sonde_string_format(out, "%s%lld:%lld",
                            i                    ? ","
                            : s->parts_are_heads ? "[heads "
                                                 : "[",
                            (long long)s->parts[i].begin, (long long)s->parts[i].end);
    if (s->n_parts) sonde_string_text(out, "]");
    if (s->rows) sonde_string_format(out, "@%s", s->rows);
}

static void check(const sonde_model *model, const char *const *texts, int64_t n,
                  sonde_status expected, const char *result)
{
    sonde_error err = {0};
    sonde_points_selection selection;
    sonde_string out = {0};
    sonde_status status = sonde_points_select(model, texts, n, &selection, &err);
    sonde_string_text(&out, err.message);
    for (int64_t i = 0; status == SONDE_OK && i < selection.count; i++)
        describe(model, &selection.points[i], &out);
    if (status != expected || strcmp(out.data, result) != 0)
        fail_msg("%s\nexpected %d '%s'\n     got %d '%s'", texts[0], (int)expected, result,
                 (int)status, out.data);
    if (status == SONDE_OK) sonde_points_reset(&selection);
    sonde_string_reset(&out);
}

static void check_one(const sonde_model *model, const char *text, sonde_status status,
                      const char *result)
{
    check(model, &text, 1, status, result);
}

typedef struct selection_case {
    const char *text, *result;
} selection_case;

static void check_all(const sonde_model *model, const selection_case *cases, size_t n,
                      sonde_status status)
{
    for (size_t i = 0; i < n; i++) check_one(model, cases[i].text, status, cases[i].result);
}

/* ---- what is selected ------------------------------------------------------------------------ */

static void test_names(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"logits", "logits"},
        {"blocks.*.resid_post", "blocks.0.resid_post blocks.1.resid_post blocks.2.resid_post"},
        {"blocks.?.attn.z", "blocks.0.attn.z blocks.1.attn.z blocks.2.attn.z"},
        {"blocks.{0,2}.attn.{q,k}",
         "blocks.0.attn.q blocks.0.attn.k blocks.2.attn.q blocks.2.attn.k"},
        {"blocks.1.{attn.{q,z},mlp.out}", "blocks.1.attn.q blocks.1.attn.z blocks.1.mlp.out"},
        {"blocks.-1.resid_post", "blocks.2.resid_post"},
        {"blocks.{-1,-3}.mlp.up", "blocks.0.mlp.up blocks.2.mlp.up"},
        {"*.scale,embed", "embed blocks.0.attn_norm.scale blocks.0.mlp_norm.scale "
                          "blocks.1.attn_norm.scale blocks.1.mlp_norm.scale "
                          "blocks.2.attn_norm.scale blocks.2.mlp_norm.scale final_norm.scale"},
        {"final_norm", "final_norm"},
        {" blocks.1.attn.q , logits ", "blocks.1.attn.q logits"},
        {"logits,blocks.0.resid_pre", "blocks.0.resid_pre logits"},
        {"embed,embed,emb*", "embed"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_OK);
}

static void test_every_point(void **state)
{
    (void)state;
    const char *text = "*";
    sonde_points_selection selection;
    assert_int_equal(sonde_points_select(llama, &text, 1, &selection, NULL), SONDE_OK);
    assert_int_equal(selection.count, sonde_model_point_count(llama));
    for (int64_t i = 0; i < selection.count; i++) assert_int_equal(selection.points[i].point, i);
    sonde_points_reset(&selection);
    assert_null(selection.points);
}

static void test_parts(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"blocks.0.attn.pattern[0,3]", "blocks.0.attn.pattern[heads 0:1,3:4]"},
        {"blocks.0.attn.k[1]", "blocks.0.attn.k[heads 1:2]"},
        {"blocks.0.mlp.post[0:64,70]", "blocks.0.mlp.post[0:64,70:71]"},
        {"blocks.1.mlp.post[:8]", "blocks.1.mlp.post[0:8]"},
        {"blocks.1.mlp.post[70:]", "blocks.1.mlp.post[70:72]"},
        {"logits[17,4:6]", "logits[17:18,4:6]"},
        {"blocks.{0,1}.attn.{q,z}[2:4]", "blocks.0.attn.q[heads 2:4] blocks.0.attn.z[heads 2:4] "
                                         "blocks.1.attn.q[heads 2:4] blocks.1.attn.z[heads 2:4]"},
        {"blocks.0.attn.q[1],blocks.0.attn.q[1]", "blocks.0.attn.q[heads 1:2]"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_OK);
}

static void test_rows(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"logits@prompt&last:1", "logits@prompt&last:1"},
        {"logits[5]@last:1,embed", "embed logits[5:6]@last:1"},
        {"blocks.0.attn.q@(token:1,2)|first:1", "blocks.0.attn.q@(token:1,2)|first:1"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_OK);
}

static void test_several_texts(void **state)
{
    (void)state;
    const char *const texts[] = {"logits", "embed", "blocks.0.mlp.up[3]@bos"};
    check(llama, texts, 3, SONDE_OK, "embed blocks.0.mlp.up[3:4]@bos logits");
    check(llama, texts, 0, SONDE_OK, "");
}

/* ---- names of other tools -------------------------------------------------------------------- */

static void test_other_tools(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"tl:blocks.0.hook_resid_post", "blocks.0.resid_post"},
        {"tl:blocks.-1.hook_resid_mid", "blocks.2.resid_mid"},
        {"tl:blocks.{0,1}.attn.hook_{q,k,v,z}[1]",
         "blocks.0.attn.q[heads 1:2] blocks.0.attn.k[heads 1:2] blocks.0.attn.v[heads 1:2] "
         "blocks.0.attn.z[heads 1:2] blocks.1.attn.q[heads 1:2] blocks.1.attn.k[heads 1:2] "
         "blocks.1.attn.v[heads 1:2] blocks.1.attn.z[heads 1:2]"},
        {"tl:blocks.1.attn.hook_pattern,tl:blocks.1.attn.hook_attn_scores",
         "blocks.1.attn.scores blocks.1.attn.pattern"},
        {"tl:blocks.1.attn.hook_rot_*", "blocks.1.attn.q_rot blocks.1.attn.k_rot"},
        {"tl:blocks.1.mlp.hook_*", "blocks.1.mlp.pre blocks.1.mlp.up blocks.1.mlp.post"},
        {"tl:blocks.1.hook_{attn,mlp}_out", "blocks.1.attn.out blocks.1.mlp.out"},
        {"tl:hook_embed", "embed"},
        {"hf:hidden_states[0]", "blocks.0.resid_pre"},
        {"hf:hidden_states[2]", "blocks.1.resid_post"},
        {"hf:hidden_states[3]", "final_norm"},
        {"hf:hidden_states[-1]", "final_norm"},
        {"hf:hidden_states[-2]@bos", "blocks.1.resid_post@bos"},
        {"hf:hidden_states[*]",
         "blocks.0.resid_pre blocks.0.resid_post blocks.1.resid_post final_norm"},
        {"hf:attentions[{0,-1}][0,2]",
         "blocks.0.attn.pattern[heads 0:1,2:3] blocks.2.attn.pattern[heads 0:1,2:3]"},
        {"vllm:0,vllm:3", "blocks.0.resid_pre blocks.2.resid_post"},
        {"vllm:{1,2}", "blocks.0.resid_post blocks.1.resid_post"},
        {"gguf:l_out-0", "blocks.0.resid_post"},
        {"gguf:ffn_inp-*", "blocks.0.resid_mid blocks.1.resid_mid blocks.2.resid_mid"},
        {"gguf:{inp_embd,attn_norm-1,ffn_norm-1,Vcur-1,kqv_out-1,ffn_out-1}",
         "embed blocks.1.attn_norm blocks.1.attn.v blocks.1.attn.z blocks.1.mlp_norm "
         "blocks.1.mlp.out"},
        {"gguf:result_norm,gguf:result_output", "final_norm logits"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_OK);
}

static void test_other_tools_refused(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"tl:blocks.0.ln1.hook_normalized",
         "hook point 'tl:blocks.0.ln1.hook_normalized': llama models have none: it is taken before "
         "the "
         "norm's weight and bias; attn_norm, mlp_norm and final_norm are after them"},
        {"tl:blocks.0.hook_resid_pots",
         "hook point 'tl:blocks.0.hook_resid_pots': nothing of this name; "
         "did you mean 'tl:blocks.0.hook_resid_post'?"},
        {"tl:blocks.7.hook_resid_post",
         "hook point 'tl:blocks.7.hook_resid_post': the model has blocks 0 to 2"},
        {"hf:hidden_states[4]", "hook point 'hf:hidden_states[4]': nothing of this name; did you "
                                "mean 'hf:hidden_states[0]'?"},
        {"vllm:4", "hook point 'vllm:4': nothing of this name; see `sonde points MODEL`"},
        {"gguf:Qcur-0",
         "hook point 'gguf:Qcur-0': llama models have none: llama.cpp gives this name to "
         "several tensors: choose blocks.{i}.attn.q (before rope) or attn.q_rot"},
        {"gguf:kqv_ou-0",
         "hook point 'gguf:kqv_ou-0': nothing of this name; did you mean 'gguf:kqv_out-0'?"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_UNKNOWN_NAME);
    check_one(gpt2, "tl:blocks.0.mlp.hook_pre_linear", SONDE_UNKNOWN_NAME,
              "hook point 'tl:blocks.0.mlp.hook_pre_linear': gpt2 models have none: its MLP is not "
              "gated: "
              "there is one branch, mlp.pre");
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void test_unknown_names(void **state)
{
    (void)state;
#define MEANT(typed, meant)                                                                        \
    {                                                                                              \
        typed, "hook point '" typed "': nothing of this name; did you mean '" meant "'?"           \
    }
#define UNHEARD(typed)                                                                             \
    {                                                                                              \
        typed, "hook point '" typed "': nothing of this name; see `sonde points MODEL`"            \
    }
    static const selection_case cases[] = {
        MEANT("blocks.0.resid_pots", "blocks.0.resid_post"),
        MEANT("blocks.*.attn.patern", "blocks.*.attn.pattern"),
        MEANT("block.1.resid_post", "blocks.1.resid_post"),
        MEANT("blocks.x.resid_post", "blocks.0.resid_post"),
        MEANT("resid_post", "blocks.*.resid_post"),
        MEANT("atn.q", "blocks.*.attn.q"),
        MEANT("logit", "logits"),
        MEANT("final_nrm", "final_norm"),
        UNHEARD("something.else.entirely"),
        UNHEARD("blocks"),
        {"blocks.3.resid_post", "hook point 'blocks.3.resid_post': the model has blocks 0 to 2"},
        {"blocks.{1,12}.attn.q", "hook point 'blocks.12.attn.q': the model has blocks 0 to 2"},
        {"blocks.-4.attn.q",
         "selection 'blocks.-4.attn.q': the model has 3 blocks, from blocks.-3 to "
         "blocks.-1"},
        {"blocks.-.attn.q",
         "selection 'blocks.-.attn.q': the model has 3 blocks, from blocks.-3 to "
         "blocks.-1"},
        {"logits@token:1,2",
         "hook point '2': a number is no name; commas in rows need parentheses: "
         "SEL@(token:1,2)"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_UNKNOWN_NAME);
}

static void test_absent_points_say_why(void **state)
{
    (void)state;
    static const selection_case of_llama[] = {
        {"pos_embed",
         "hook point 'pos_embed': llama models have none: positions enter by rope, not by a "
         "learned embedding"},
        {"blocks.0.moe.router_logits",
         "hook point 'blocks.0.moe.router_logits': llama models have none: "
         "it has no mixture of experts"},
        {"blocks.*.attn.kv_latent",
         "hook point 'blocks.*.attn.kv_latent': llama models have none: only "
         "latent attention (MLA) has it"},
        {"blocks.1.attn.{q,q_normed}",
         "hook point 'blocks.1.attn.q_normed': llama models have none: "
         "queries and keys are not normed"},
    };
    check_all(llama, of_llama, SONDE_COUNT(of_llama), SONDE_UNKNOWN_NAME);
    check_one(
        gpt2, "blocks.0.mlp.up", SONDE_UNKNOWN_NAME,
        "hook point 'blocks.0.mlp.up': gpt2 models have none: its MLP is not gated: there is one "
        "branch, mlp.pre");
    check_one(mixtral, "blocks.0.moe.shared_out", SONDE_UNKNOWN_NAME,
              "hook point 'blocks.0.moe.shared_out': mixtral models have none: its experts are not "
              "shared");
}

static void test_syntax(void **state)
{
    (void)state;
    static const selection_case cases[] = {
        {"", "selection '': the name is empty"},
        {"logits,", "selection '': the name is empty"},
        {"[3]", "selection '[3]': the name is empty"},
        {"@all", "selection '@all': the name is empty"},
        {"tl:", "selection '': the name is empty"},
        {"blocks.{0,1.attn.q", "selection 'blocks.{0,1.attn.q': brackets do not match"},
        {"blocks.0}.attn.q", "selection 'blocks.0}.attn.q': brackets do not match"},
        {"logits[3", "selection 'logits[3': brackets do not match"},
        {"logits[3]x", "selection 'logits[3]x': expected ']' at the end of the parts"},
        {"logits]3[", "selection 'logits]3[': brackets do not match"},
        {"blocks.{0]}.q[", "selection 'blocks.{0]}.q[': brackets do not match"},
        {"logits@lst:1",
         "selection 'logits@lst:1': rows expression 'lst:1': no term 'lst'; did you mean "
         "'last'?"},
        {"logits@",
         "selection 'logits@': rows expression '': expected a term at character 1, got the "
         "end"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_USAGE);
}

static void test_parts_refused(void **state)
{
    (void)state;
#define NO_HEAD(point, parts, part, last)                                                          \
    {                                                                                              \
        point "[" parts "]", "selection '" point "[" parts "]': '" part "' is no head of 0.." last \
                             " or range A:B of them"                                               \
    }
#define NO_CHANNEL(point, parts, part, last)                                                       \
    {                                                                                              \
        point "[" parts "]", "selection '" point "[" parts "]': '" part                            \
                             "' is no channel of 0.." last " or range A:B of them"                 \
    }
    static const selection_case cases[] = {
        NO_HEAD("blocks.0.attn.pattern", "4", "4", "3"),
        NO_HEAD("blocks.0.attn.k", "0,2", "2", "1"),
        NO_HEAD("blocks.0.attn.q", "-1", "-1", "3"),
        NO_CHANNEL("blocks.0.mlp.post", "0:73", "0:73", "71"),
        NO_CHANNEL("blocks.0.mlp.post", "5:5", "5:5", "71"),
        NO_CHANNEL("blocks.0.mlp.post", "6:5", "6:5", "71"),
        NO_CHANNEL("blocks.0.mlp.post", "", "", "71"),
        NO_CHANNEL("blocks.0.mlp.post", "1:2:3", "1:2:3", "71"),
        NO_CHANNEL("blocks.0.mlp.post", "a", "a", "71"),
        NO_CHANNEL("embed", "48", "48", "47"),
        {"blocks.0.mlp.post[0:8,7]",
         "selection 'blocks.0.mlp.post[0:8,7]': a channel is named twice"},
        {"blocks.0.attn.q[1,0,1]", "selection 'blocks.0.attn.q[1,0,1]': a head is named twice"},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_USAGE);
}

static void test_selected_twice(void **state)
{
    (void)state;
#define TWICE                                                                                      \
    "selection: logits is selected twice with different parts or rows; use a second probe "        \
    "instance"
    static const selection_case cases[] = {
        {"logits[1],logits[2]", TWICE},
        {"logits,logits[2]", TWICE},
        {"logits@last:1,logits", TWICE},
        {"*,logits@bos", TWICE},
    };
    check_all(llama, cases, SONDE_COUNT(cases), SONDE_USAGE);
}

static void test_bounds_of_texts(void **state)
{
    (void)state;
    char text[17000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    check_one(llama, text, SONDE_USAGE,
              "selection 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...': longer "
              "than 16384 bytes");
    strcpy(text, "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}");
    check_one(
        llama, text, SONDE_USAGE,
        "selection '{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}': its brace lists "
        "make more than 4096 patterns, or are more than 64");
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void test_glob_match(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"*", "", true},          {"a*c", "abbc", true},   {"a*c", "abcb", false},
        {"*a*b", "xaab", true},   {"a?c", "abc", true},    {"a?c", "ac", false},
        {"{a,b}x", "bx", true},   {"{a,b}x", "cx", false}, {"x{,y}", "x", true},
        {"{a,{b,c}}", "c", true}, {"a", "ab", false},      {"**b", "b", true},
        {"{a", "{a", false},      {"[a]", "[a]", true},
    };
    for (size_t i = 0; i < SONDE_COUNT(cases); i++)
        assert_int_equal(sonde_glob_match(cases[i].pattern, cases[i].text), cases[i].matches);
}

static void test_points_match(void **state)
{
    (void)state;
    const char *const texts[] = {"logits", "blocks.0.attn.*"};
    int64_t n = sonde_model_point_count(llama), marked = 0;
    bool *marks = malloc((size_t)n * sizeof *marks);
    assert_non_null(marks);
    memset(marks, 1, (size_t)n * sizeof *marks);
    assert_int_equal(sonde_points_match(llama, texts, 2, marks, NULL), SONDE_OK);
    for (int64_t i = 0; i < n; i++) {
        const char *name = sonde_model_point(llama, i)->name;
        bool wanted = strcmp(name, "logits") == 0 || strncmp(name, "blocks.0.attn.", 14) == 0;
        assert_int_equal(marks[i], wanted);
        marked += marks[i];
    }
    assert_in_range(marked, 5, n - 1);
    const char *bad = "nothing";
    assert_int_equal(sonde_points_match(llama, &bad, 1, marks, NULL), SONDE_UNKNOWN_NAME);
    free(marks);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    const char *const texts[] = {"blocks.{0,1}.attn.{q,k}[0,1]@last:1&!bos",
                                 "tl:blocks.-1.hook_resid_*"};
    sonde_status status = SONDE_NO_MEMORY;
    long n = 0;
    for (; status == SONDE_NO_MEMORY && n < 1000; n++) {
        sonde_points_selection selection;
        sonde_error err = {0};
        sonde_alloc_fail_after(n);
        status = sonde_points_select(llama, texts, 2, &selection, &err);
        sonde_alloc_fail_after(-1);
        if (status == SONDE_OK) sonde_points_reset(&selection);
    }
    assert_int_equal(status, SONDE_OK);
    assert_in_range(n, 20, 900);
}

static int open_models(void **state)
{
    (void)state;
    sonde_error err = {0};
    sonde_model_options options = {.struct_size = sizeof options, .shape_only = true};
    bool good = sonde_model_open("tests/goldens/families/llama", &options, &llama, &err) ==
                    SONDE_OK &&
                sonde_model_open("tests/goldens/families/gpt2", &options, &gpt2, &err) == SONDE_OK &&
                sonde_model_open("tests/goldens/families/mixtral", &options, &mixtral, &err) ==
                    SONDE_OK;
    if (!good) print_error("%s\n", err.message);
    return good ? 0 : -1;
}

static int close_models(void **state)
{
    (void)state;
    sonde_model_close(&llama);
    sonde_model_close(&gpt2);
    sonde_model_close(&mixtral);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_every_point),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_several_texts),
        cmocka_unit_test(test_other_tools),
        cmocka_unit_test(test_other_tools_refused),
        cmocka_unit_test(test_unknown_names),
        cmocka_unit_test(test_absent_points_say_why),
        cmocka_unit_test(test_syntax),
        cmocka_unit_test(test_parts_refused),
        cmocka_unit_test(test_selected_twice),
        cmocka_unit_test(test_bounds_of_texts),
        cmocka_unit_test(test_glob_match),
        cmocka_unit_test(test_points_match),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
