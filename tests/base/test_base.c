/*
 * tests/base/test_base.c: errors, memory, text, nearest words, numbers, log, threads.
 */
#include "unit.h"

#include <locale.h>

static void test_status(void)
{
    CU_ASSERT_EQUAL(bk_status_exit_code(BK_OK), 0);
    CU_ASSERT_EQUAL(bk_status_exit_code(BK_EUSAGE), 2);
    CU_ASSERT_EQUAL(bk_status_exit_code(BK_EINTERRUPTED), 75);
    CU_ASSERT_EQUAL(bk_status_exit_code(-999), 1);
    CU_ASSERT_STRING_EQUAL(bk_status_text(BK_ENOMEM), "out of memory");
    CU_ASSERT_STRING_EQUAL(bk_status_text(0), "ok");
    CU_ASSERT_STRING_EQUAL(bk_status_text(12345), "unknown status");
}

static int with_context(struct bk_error *err)
{
    if (bk_fail(err, BK_EIO, "cannot open '%s'", "a"))
        return bk_context(err, "stage '%s'", "rate");
    return BK_OK;
}

static void test_errors(void)
{
    struct bk_error err = BK_ERROR_INIT;
    static char word[3000];

    CU_ASSERT_EQUAL(with_context(&err), BK_EIO);
    CU_ASSERT_EQUAL(err.code, BK_EIO);
    CU_ASSERT_STRING_EQUAL(err.text, "stage 'rate': cannot open 'a'");
    CU_ASSERT_EQUAL(bk_fail(NULL, BK_EDATA, "x"), BK_EDATA);
    CU_ASSERT_EQUAL(bk_context(NULL, "x"), BK_EINVAL);
    /* The text may be built from itself, and an overlong one is cut. */
    CU_ASSERT_EQUAL(bk_fail(&err, BK_EDATA, "again: %s", err.text), BK_EDATA);
    CU_ASSERT_STRING_EQUAL(err.text, "again: stage 'rate': cannot open 'a'");
    memset(word, 'x', sizeof word - 1);
    bk_fail(&err, BK_EDATA, "%s", word);
    CU_ASSERT_EQUAL(strlen(err.text), sizeof err.text - 1);
    FILE *f = fopen("/nonexistent/file", "r");
    CU_ASSERT_PTR_NULL_FATAL(f);
    bk_fail_errno(&err, BK_EIO, "cannot open 'x'");
    CU_ASSERT_STRING_EQUAL(err.text, "cannot open 'x': No such file or directory");
}

static void test_memory(void)
{
    bk_alloc_fail_after(3);
    void *a = bk_alloc(0), *b = bk_zalloc(16);
    CU_ASSERT_PTR_NOT_NULL_FATAL(a);
    CU_ASSERT_PTR_NOT_NULL_FATAL(b);
    CU_ASSERT_PTR_NULL(bk_alloc(1));
    CU_ASSERT_PTR_NULL(bk_realloc(a, 100));
    CU_ASSERT_PTR_NULL(bk_alloc_aligned(100));
    CU_ASSERT_PTR_NULL(bk_strdup("x"));
    bk_alloc_fail_after(0);
    char *s = bk_strdup("text");
    CU_ASSERT_STRING_EQUAL(s, "text");
    void *p = bk_alloc_aligned(1);
    CU_ASSERT_EQUAL((uintptr_t)p % 64, 0);
    CU_ASSERT_PTR_NULL(bk_alloc_aligned(SIZE_MAX));
    for (int i = 0; i < 16; i++)
        CU_ASSERT_EQUAL(((char *)b)[i], 0);
    bk_free(a);
    bk_free(b);
    bk_free(s);
    bk_free_aligned(p);
    bk_free(NULL);
    bk_free_aligned(NULL);
}

static void test_text(void)
{
    struct bk_text t = BK_TEXT_INIT;

    CU_ASSERT_STRING_EQUAL(bk_text_get(&t), "");
    for (int i = 0; i < 1000; i++)
        bk_text_addf(&t, "%d,", i);
    bk_text_add(&t, "end");
    bk_text_addn(&t, "\0z", 2);
    CU_ASSERT_EQUAL(t.len, 10 * 2 + 90 * 3 + 900 * 4 + 3 + 2);
    CU_ASSERT_EQUAL(strlen(bk_text_get(&t)), t.len - 2);
    CU_ASSERT_FALSE(t.failed);
    char *s = bk_text_take(&t);
    CU_ASSERT_EQUAL(strncmp(s, "0,1,2,", 6), 0);
    CU_ASSERT_EQUAL(t.len, 0);
    bk_free(s);
    s = bk_text_take(&t);
    CU_ASSERT_STRING_EQUAL(s, "");
    bk_free(s);
    bk_alloc_fail_after(1);
    bk_text_add(&t, "x");
    bk_alloc_fail_after(0);
    bk_text_add(&t, "y");
    CU_ASSERT(t.failed);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&t), "");
    CU_ASSERT_PTR_NULL(bk_text_take(&t));
    CU_ASSERT_FALSE(t.failed);
}

static void test_nearest(void)
{
    static const char *const words[] = { "run", "plan", "check", "report", "rank", "list" };
    size_t n = BK_ARRAY_LEN(words);

    CU_ASSERT_STRING_EQUAL(bk_nearest_word("rnk", words, n), "rank");
    CU_ASSERT_STRING_EQUAL(bk_nearest_word("lsit", words, n), "list");      /* one swap */
    CU_ASSERT_STRING_EQUAL(bk_nearest_word("chekc", words, n), "check");
    CU_ASSERT_STRING_EQUAL(bk_nearest_word("reports", words, n), "report");
    CU_ASSERT_PTR_NULL(bk_nearest_word("describe", words, n));
    CU_ASSERT_PTR_NULL(bk_nearest_word("", words, n));
    CU_ASSERT_PTR_NULL(bk_nearest_word("rnk", words, 0));
}

static void test_parse(void)
{
    static const char *const bad[] = { "", " 1", "1 ", "1x", "--1", "9223372036854775808", "0x10", "1.5" };
    static const char *const bad_real[] = { "", " 1", "1 ", "1,5", "1e999", "-1e999", "x", "." };
    int64_t i = 7;
    double d = 7;

    for (size_t k = 0; k < BK_ARRAY_LEN(bad); k++)
        CU_ASSERT_FALSE(bk_parse_i64(bad[k], &i));
    for (size_t k = 0; k < BK_ARRAY_LEN(bad_real); k++)
        CU_ASSERT_FALSE(bk_parse_f64(bad_real[k], &d));
    CU_ASSERT_EQUAL(i, 7);
    CU_ASSERT_EQUAL(d, 7);
    CU_ASSERT(bk_parse_i64("-9223372036854775808", &i) && i == INT64_MIN);
    CU_ASSERT(bk_parse_i64("010", &i) && i == 10);
    CU_ASSERT(bk_parse_f64("-1.5e-3", &d) && d == -1.5e-3);
    CU_ASSERT(bk_parse_f64(".5", &d) && d == 0.5);
    CU_ASSERT(bk_parse_f64("5e-324", &d) && d == 5e-324);
    CU_ASSERT(bk_parse_f64("1e-999", &d) && d == 0);
    CU_ASSERT(bk_parse_f64("-inf", &d) && d < 0 && isinf(d));
}

static void formats_as(double v, const char *want)
{
    char text[32];

    bk_format_f64(v, text);
    CU_ASSERT_STRING_EQUAL(text, want);
}

static void test_format(void)
{
    char text[32];
    double back;

    formats_as(0.1, "0.1");
    formats_as(-3.169246506690979, "-3.169246506690979");
    formats_as(0.1 + 0.2, "0.30000000000000004");
    formats_as(5e-324, "5e-324");
    formats_as(1.7976931348623157e308, "1.7976931348623157e+308");
    formats_as(-0.0, "-0");
    formats_as(NAN, "nan");
    formats_as(-NAN, "nan");
    formats_as(INFINITY, "inf");
    formats_as(-INFINITY, "-inf");
    uint64_t bits = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        double v;
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        memcpy(&v, &bits, sizeof v);
        if (!isfinite(v))
            continue;
        bk_format_f64(v, text);
        CU_ASSERT_FATAL(bk_parse_f64(text, &back) && back == v);
    }
}

/* A host program that speaks with decimal commas changes nothing. */
static void test_locale(void)
{
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE" };
    const char *set = NULL;
    double d;

    for (size_t i = 0; i < BK_ARRAY_LEN(names) && !set; i++)
        set = setlocale(LC_ALL, names[i]);
    if (!set)
        BK_SKIP("no locale with a decimal comma");
    CU_ASSERT(bk_parse_f64("1.5", &d) && d == 1.5);
    formats_as(1.5, "1.5");
    setlocale(LC_ALL, "C");
}

static int n_lines;
static char last_line[64];

static void keep(void *user, enum bk_log_level level, const char *line)
{
    CU_ASSERT_PTR_EQUAL(user, &n_lines);
    CU_ASSERT(level <= BK_LOG_WARN);
    snprintf(last_line, sizeof last_line, "%s", line);
    n_lines++;
}

static void test_log(void)
{
    enum bk_log_level before = bk_log_get_level();

    bk_log_set_sink(keep, &n_lines);
    bk_log_set_level(BK_LOG_WARN);
    bk_log(BK_LOG_INFO, "not this");
    bk_log(BK_LOG_WARN, "block %d", 3);
    bk_log(BK_LOG_ERROR, "%s", "last");
    bk_log_set_sink(NULL, NULL);
    bk_log_set_level(before);
    CU_ASSERT_EQUAL(n_lines, 2);
    CU_ASSERT_STRING_EQUAL(last_line, "last");
}

static void test_threads(void)
{
    int before = bk_threads();

    CU_ASSERT(before >= 1);
    if (!strcmp(bk_test_env("OMP_NUM_THREADS"), "1"))
        CU_ASSERT_EQUAL(before, 1);
    bk_threads_set(3);
    CU_ASSERT_EQUAL(bk_threads(), 3);
    bk_threads_set(0);
    CU_ASSERT_EQUAL(bk_threads(), 1);
    bk_threads_set(before);
    double t = bk_now();
    CU_ASSERT(bk_now() >= t);
}

BK_SUITE({ "status", test_status }, { "errors", test_errors }, { "memory", test_memory },
         { "text", test_text }, { "nearest word", test_nearest }, { "parse", test_parse },
         { "format", test_format }, { "locale", test_locale }, { "log", test_log },
         { "threads", test_threads })
