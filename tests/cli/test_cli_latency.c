/*
 * tests/cli/test_cli_latency.c: `bosskit latency` as a program: complete tables for every block and entry, which a search
 * under a limit takes, and faults. What was measured is not looked at: times differ.
 */
#include "program.h"

static struct bk_scratch s;

/* Rows behind the head of the table, all of them with a positive number; -1 when there is no such file. */
static int count_rows(const char *name)
{
    char *text = bk_scratch_read(&s, name);
    int n = 0;
    if (!text)
        return -1;
    CU_ASSERT(!strncmp(text, "path,score\n", 11));
    for (const char *p = strchr(text, '\n'); p && p[1]; p = strchr(p + 1, '\n')) {
        const char *comma = strchr(p + 1, ',');
        CU_ASSERT_PTR_NOT_NULL_FATAL(comma);
        CU_ASSERT(strtod(comma + 1, NULL) > 0);
        n++;
    }
    bk_free(text);
    return n;
}

/* Three blocks of 4, 4 and 2 paths; blocks 1 and 2 are entered with either of two widths. */
static void test_tables(void)
{
    static const char *const rows[] = { "path,score\n00,1\n01,2\n10,3\n11,4\n", "path,score\n00,1\n01,2\n10,3\n11,4\n",
                                        "path,score\n0,1\n1,2\n" };
    char name[64];
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_ss", "-o", "widths=[4,8]", "--backend", "ref", "--size", "8",
                                   "--seconds", "0", "--batch", "2", "--out", "times"), 0);
    CU_ASSERT_EQUAL(count_rows("times/latency_0.csv"), 4);
    for (int entry = 0; entry < 2; entry++) {
        snprintf(name, sizeof name, "times/latency_1_%d.csv", entry);
        CU_ASSERT_EQUAL(count_rows(name), 4);
        snprintf(name, sizeof name, "times/latency_2_%d.csv", entry);
        CU_ASSERT_EQUAL(count_rows(name), 2);
    }
    CU_ASSERT_EQUAL(count_rows("times/latency_1.csv"), -1);
    CU_ASSERT_EQUAL(count_rows("times/latency_3_0.csv"), -1);
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "r%d.csv", k);
        bk_scratch_write(&s, name, rows[k]);
    }
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "search", "--space", "nats_ss", "-o", "widths=[4,8]", "--set", "latency=times", "--set",
                                   "max_latency=1e9", "--ratings", "r0.csv", "r1.csv", "r2.csv"), 0);
    char *out = bk_scratch_read(&s, "stdout.txt");
    CU_ASSERT(out && strstr(out, "4:4:4:4:4") && strstr(out, "latency ms"));
    bk_free(out);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "search", "--space", "nats_ss", "-o", "widths=[4,8]", "--set", "latency=times", "--set",
                                   "max_latency=1e-9", "--ratings", "r0.csv", "r1.csv", "r2.csv"), 1);
    CU_ASSERT(bk_said(&s, "satisfies the limits"));
    bk_scratch_close(&s);
}

/* Spaces whose blocks are all entered alike, and one whose blocks are not. */
static void test_spaces(void)
{
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "mbconv", "-o", "widths=[8,8]", "-o", "depths=[1,2]", "-o", "strides=[2,1]",
                                   "--backend", "ref", "--size", "8", "--seconds", "0", "--out", "mb"), 0);
    CU_ASSERT_EQUAL(count_rows("mb/latency_0.csv"), 4);
    CU_ASSERT_EQUAL(count_rows("mb/latency_1.csv"), 16);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "hytra", "-o", "width=16", "--backend", "ref", "--size", "32", "--seconds", "0",
                                   "--out", "hy"), 0);
    CU_ASSERT_EQUAL(count_rows("hy/latency_0.csv"), 50);        /* 51 less 5555, behind which block 1 has nothing */
    CU_ASSERT_EQUAL(count_rows("hy/latency_1_1.csv"), 16);
    CU_ASSERT_EQUAL(count_rows("hy/latency_2_2.csv"), 80);
    bk_scratch_close(&s);
}

static void test_faults(void)
{
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_ss"), 2);
    CU_ASSERT(bk_said(&s, "--out"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "--out", "x"), 2);
    CU_ASSERT(bk_said(&s, "one space is needed"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_ss", "--out", "x", "--dtype", "f64"), 2);
    CU_ASSERT(bk_said(&s, "'f64' is neither f32 nor bf16"));
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_ss", "--out", "x", "--batch", "0"), 2);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_sss", "--out", "x"), 4);
    CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "latency", "nats_ss", "--out", "x", "--backend", "cpuu"), 4);
    bk_scratch_close(&s);
}

BK_SUITE({ "tables", test_tables }, { "spaces", test_spaces }, { "faults", test_faults })
