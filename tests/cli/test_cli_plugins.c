/*
 * `bosskit list`, `describe` and `doctor` as a user runs them: what they print and how they exit.
 */
#include "unit.h"

#include <jansson.h>
#include <sys/wait.h>

static char output[1 << 18];

/* Run the program; its stdout (with stderr when `both`) goes to `output`. Returns the exit code. */
static int run(const char *arguments, bool both)
{
    char command[2048];
    snprintf(command, sizeof command, "%s/bosskit --plugin-path %s/bad_plugins/steady --plugin-path %s/bad_plugins/abi %s %s",
             bk_test_env("BK_TEST_BINARY"), bk_test_env("BK_TEST_BINARY"), bk_test_env("BK_TEST_BINARY"), arguments,
             both ? "2>&1" : "2>/dev/null");
    FILE *f = popen(command, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    output[fread(output, 1, sizeof output - 1, f)] = '\0';
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_list(void)
{
    CU_ASSERT_EQUAL(run("list rater", false), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "rater/steady"));
    CU_ASSERT_PTR_NULL(strstr(output, "backend/"));
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "abi.so: is built for ABI 4.3"));
    CU_ASSERT_EQUAL(run("list fish", true), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "unknown kind 'fish'"));
    CU_ASSERT_EQUAL(run("list rater space", true), 2);
}

static void test_list_json(void)
{
    json_error_t je;
    bool ref = false;
    CU_ASSERT_EQUAL(run("list --json", false), 0);
    json_t *j = json_loads(output, 0, &je), *p;
    size_t i;
    CU_ASSERT_PTR_NOT_NULL_FATAL(j);
    json_array_foreach(json_object_get(j, "plugins"), i, p) {
        CU_ASSERT_EQUAL(json_string_length(json_object_get(p, "digest")), 64);
        if (strcmp(json_string_value(json_object_get(p, "name")), "ref") == 0)
            ref = json_is_true(json_object_get(p, "available"));
    }
    CU_ASSERT_TRUE(ref);
    CU_ASSERT_EQUAL(json_array_size(json_object_get(j, "refused")), 1);
    json_decref(j);
}

static void test_describe(void)
{
    CU_ASSERT_EQUAL(run("describe rater/steady", false), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "widths  integers  [8, 16]  1..64"));
    CU_ASSERT_EQUAL(run("describe rater/steady --cfg", false), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "    n = 1;  # number; 1..100\n"));
    CU_ASSERT_EQUAL(run("describe steady", true), 2);
    CU_ASSERT_EQUAL(run("describe rater/steddy", true), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "no rater 'steddy' (nearest: 'steady')"));
    CU_ASSERT_EQUAL(run("describe rater/abi", true), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "was refused: is built for ABI 4.3"));
}

static void test_doctor(void)
{
    CU_ASSERT_EQUAL(run("doctor", false), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "plugin ABI 3.0"));
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "backend ref"));
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "cache "));
}

BK_SUITE({ "list", test_list }, { "list as JSON", test_list_json }, { "describe", test_describe }, { "doctor", test_doctor })
