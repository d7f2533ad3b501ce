/*
 * tests/cli/test_cli_options.c: option parsing of the commands, JSON text, the program's exit codes.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"
#include "unit.h"

static const struct bk__cli_opt opts[] = {
    { "space", 0, BK__CLI_ONE, "SPACE", "a space" },
    { "option", 'o', BK__CLI_EACH, "KEY=VALUE", "an option" },
    { "ratings", 0, BK__CLI_MANY, "FILE", "files" },
    { "json", 0, BK__CLI_FLAG, NULL, "JSON" },
    { 0 },
};

static int parse(struct bk__cli_args *args, struct bk_error *err, const char *line)
{
    static char text[256];
    static char *argv[32];
    int argc = 0;

    snprintf(text, sizeof text, "%s", line);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    return bk__cli_parse(argc, argv, opts, args, err);
}

static void test_parse(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk__cli_args a;
    const char *text;

    BK_ASSERT_OK(parse(&a, &err, "rank x --space s -o a=1 --option=b=2 --ratings p q -5 --json y -- --z"));
    CU_ASSERT_EQUAL(a.n, 3);
    CU_ASSERT_STRING_EQUAL(a.word[0], "x");
    CU_ASSERT_STRING_EQUAL(a.word[1], "y");
    CU_ASSERT_STRING_EQUAL(a.word[2], "--z");
    CU_ASSERT_STRING_EQUAL(bk__cli_text(&a, "space"), "s");
    CU_ASSERT_EQUAL(bk__cli_count(&a, "option"), 2);
    CU_ASSERT_STRING_EQUAL(bk__cli_at(&a, "option", 1), "b=2");
    CU_ASSERT_EQUAL(bk__cli_count(&a, "ratings"), 3);
    CU_ASSERT_STRING_EQUAL(bk__cli_at(&a, "ratings", 2), "-5");
    CU_ASSERT_PTR_NULL(bk__cli_at(&a, "ratings", 3));
    CU_ASSERT_PTR_NOT_NULL(bk__cli_text(&a, "json"));
    BK_ASSERT_OK(bk__cli_need(&a, "space", &text, &err));
    bk__cli_release(&a);
    BK_ASSERT_OK(parse(&a, &err, "rank"));
    CU_ASSERT_PTR_NULL(bk__cli_text(&a, "json"));
    CU_ASSERT_EQUAL(bk__cli_need(&a, "space", &text, &err), BK_EUSAGE);
    CU_ASSERT_STRING_EQUAL(err.text, "rank: option '--space' is needed");
    bk__cli_release(&a);
}

static void fails(const char *line, const char *want)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk__cli_args a;

    CU_ASSERT_EQUAL(parse(&a, &err, line), BK_EUSAGE);
    CU_ASSERT_STRING_EQUAL(err.text, want);
    bk__cli_release(&a);
}

static void test_faults(void)
{
    fails("rank --spcae s", "rank: unknown option '--spcae', nearest is '--space'");
    fails("rank --zzzzzz=1", "rank: unknown option '--zzzzzz', see 'bosskit rank --help'");
    fails("rank -x", "rank: unknown option '-x', see 'bosskit rank --help'");
    fails("rank --space", "rank: option '--space' needs a value: SPACE");
    fails("rank --space --json", "rank: option '--space' needs a value: SPACE");
    fails("rank --space a --space b", "rank: option '--space' is given twice");
    fails("rank --json=1", "rank: option '--json' takes no value");
}

static void test_numbers(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk__cli_args a;
    int64_t i = 0;
    double d = 0;

    BK_ASSERT_OK(parse(&a, &err, "rank --space 12"));
    BK_ASSERT_OK(bk__cli_int(&a, "space", 1, 0, 12, &i, &err));
    CU_ASSERT_EQUAL(i, 12);
    BK_ASSERT_OK(bk__cli_int(&a, "option", -1, 0, 12, &i, &err));
    CU_ASSERT_EQUAL(i, -1);
    CU_ASSERT_EQUAL(bk__cli_int(&a, "space", 1, 0, 11, &i, &err), BK_EUSAGE);
    CU_ASSERT_STRING_EQUAL(err.text, "rank: option '--space': '12' is not an integer in 0..11");
    BK_ASSERT_OK(bk__cli_real(&a, "space", 1, 0, 12, &d, &err));
    CU_ASSERT_EQUAL(d, 12);
    CU_ASSERT_EQUAL(bk__cli_real(&a, "space", 1, 0, 1, &d, &err), BK_EUSAGE);
    bk__cli_release(&a);
}

static void test_json(void)
{
    struct bk_text t = BK_TEXT_INIT;

    bk__cli_json_text(&t, "a\"b\\c\n\xc3\xa4");
    bk__cli_json_real(&t, NAN);
    bk__cli_json_real(&t, -0.5);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&t), "\"a\\\"b\\\\c\\u000a\xc3\xa4\"null-0.5");
    bk_text_release(&t);
}

static void test_exit_codes(void)
{
    char program[] = "bosskit", unknown[] = "rnk", version[] = "--version", option[] = "--bad";
    char *one[] = { program, NULL }, *two[] = { program, unknown, NULL };
    char *three[] = { program, version, NULL }, *four[] = { program, option, NULL };

    CU_ASSERT_EQUAL(bk_main(1, one), 2);
    CU_ASSERT_EQUAL(bk_main(2, two), 2);
    CU_ASSERT_EQUAL(bk_main(2, three), 0);
    CU_ASSERT_EQUAL(bk_main(2, four), 2);
}

BK_SUITE({ "parse", test_parse }, { "faults", test_faults }, { "numbers", test_numbers },
         { "json", test_json }, { "exit codes", test_exit_codes })
