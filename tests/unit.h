/**
 * tests/unit.h: a CUnit suite as a program.
 *
 *     static void test_a(void) { CU_ASSERT_EQUAL(1 + 1, 2); }
 *     BK_SUITE({ "addition", test_a }, { "more", test_b })
 *
 * The program fails when an assertion failed, when the suite could not start, or when no test ran; it exits 77
 * (skipped) when every test called BK_SKIP. CU_basic_run_tests() alone returns 0 in all of these cases.
 */
#ifndef BK_TESTS_UNIT_H
#define BK_TESTS_UNIT_H

#include <CUnit/Basic.h>
#include <bosskit/base.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned bk_n_skipped;

/* However often a test calls BK_SKIP, it is one test. */
static inline void bk_note_skip(void)
{
    static const CU_Test *last;
    bk_n_skipped += last != CU_get_current_test();
    last = CU_get_current_test();
}

/** Leave the current test as skipped: its precondition is absent on this machine. */
#define BK_SKIP(...)                                                                     \
    do {                                                                                 \
        printf("  skipped: " __VA_ARGS__);                                               \
        printf("\n");                                                                    \
        bk_note_skip();                                                                  \
        return;                                                                          \
    } while (0)

/** Assert that a bosskit call succeeded; prints the error sentence otherwise. `err` must be in scope. */
#define BK_ASSERT_OK(expr)                                                               \
    do {                                                                                 \
        int bk_rc_ = (expr);                                                             \
        if (bk_rc_)                                                                      \
            printf("\n    %s:%d: %s: %s\n", __FILE__, __LINE__, #expr, err.text);        \
        CU_ASSERT_EQUAL_FATAL(bk_rc_, BK_OK);                                            \
    } while (0)

/** |a - b| <= tol * max(1, |b|), with both values printed when it fails. */
#define BK_ASSERT_CLOSE(a, b, tol)                                                       \
    do {                                                                                 \
        double bk_a_ = (a), bk_b_ = (b), bk_m_ = fabs(bk_b_) > 1 ? fabs(bk_b_) : 1;      \
        bool bk_ok_ = fabs(bk_a_ - bk_b_) <= (tol) * bk_m_;                              \
        if (!bk_ok_)                                                                     \
            printf("\n    %s:%d: %s = %.12g, wanted %.12g\n", __FILE__, __LINE__, #a,    \
                   bk_a_, bk_b_);                                                        \
        CU_ASSERT(bk_ok_);                                                               \
    } while (0)

/** Value of an environment variable that CTest sets: BK_TEST_SOURCE, BK_TEST_BINARY, BK_TEST_DATA. */
static inline const char *bk_test_env(const char *name)
{
    const char *v = getenv(name);
    return v ? v : "";
}

/**
 * The backend that tests of an optimised backend shall use: BK_TEST_BACKEND, else "cpu". While BK_TEST_BACKEND is set, tests of
 * `ref` skip themselves, so that a run for a device that is absent is reported as skipped.
 */
static inline const char *bk_test_backend(const char *name)
{
    const char *wanted = bk_test_env("BK_TEST_BACKEND");
    return !*wanted ? name : strcmp(name, "ref") ? wanted : NULL;
}

static inline int bk_run_suite(const char *file, CU_TestInfo *tests, unsigned n)
{
    CU_SuiteInfo suites[2] = { { (char *)file, NULL, NULL, NULL, NULL, tests }, CU_SUITE_INFO_NULL };
    if (CU_initialize_registry() || CU_register_suites(suites))
        return EXIT_FAILURE;
    CU_basic_set_mode(CU_BRM_VERBOSE);
    CU_basic_run_tests();
    unsigned failed = CU_get_number_of_tests_failed() + CU_get_number_of_failures() +
                      CU_get_number_of_suites_failed();
    unsigned ran = CU_get_number_of_tests_run();
    CU_cleanup_registry();
    if (failed || ran != n)
        return EXIT_FAILURE;
    return bk_n_skipped == n ? 77 : EXIT_SUCCESS;
}

#define BK_SUITE(...)                                                                    \
    int main(void)                                                                       \
    {                                                                                    \
        setvbuf(stdout, NULL, _IOLBF, 0);                                                \
        CU_TestInfo tests[] = { __VA_ARGS__, CU_TEST_INFO_NULL };                        \
        return bk_run_suite(__FILE__, tests, sizeof tests / sizeof tests[0] - 1);        \
    }

#endif
