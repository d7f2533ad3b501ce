/*
 * The experiment files of this repository: every profile passes `bosskit check`, and those that need neither data nor
 * training run.
 */
#include "config/config.h"
#include "program.h"

#include <dirent.h>

static struct bk_scratch s;

static void experiments(char *buf, size_t size)
{
    snprintf(buf, size, "%s/experiments", bk_test_env("BK_TEST_SOURCE"));
}

static bool ready(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/plugins/backends/cpu.so", bk_test_env("BK_TEST_BINARY"));
    return bk_file_exists(path);
}

static void check(const char *path, const char *profile)
{
    char override[120];
    snprintf(override, sizeof override, "profile=%s", profile);
    int rc = BK_RUN_PROGRAM(&s, "check", path, override);
    CU_ASSERT_EQUAL(rc, 0);
    if (rc)
        (void)bk_said(&s, "no mistakes found");
}

static int check_profiles(const char *path)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *root = NULL;
    BK_ASSERT_OK(bk_value_read(path, &root, &err));
    const struct bk_value *profiles = bk_value_find(root, "profiles");
    int n = profiles ? (int)profiles->n : 0;
    for (int i = 0; i < n; i++)
        check(path, profiles->child[i]->name);
    if (!n)
        CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "check", path), 0);
    bk_value_free(root);
    return n ? n : 1;
}

static void test_check(void)
{
    char dir[400], path[700];
    int n_files = 0, n_profiles = 0;

    if (!ready())
        BK_SKIP("the plugins are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    experiments(dir, sizeof dir);
    DIR *d = opendir(dir);
    CU_ASSERT_PTR_NOT_NULL_FATAL(d);
    for (struct dirent *e = readdir(d); e; e = readdir(d)) {
        size_t n = strlen(e->d_name);
        if (n < 4 || strcmp(e->d_name + n - 4, ".cfg") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        n_profiles += check_profiles(path);
        n_files++;
    }
    closedir(d);
    CU_ASSERT(n_files >= 16 && n_profiles >= 40);
    bk_scratch_close(&s);
}

static void test_drawn(void)
{
    static const char *const names[] = { "fig5_architectures", "fig10_human_designed" };
    char dir[400], path[700], plot[200];

    if (!ready())
        BK_SKIP("the plugins are not built");
    CU_ASSERT_FATAL(bk_scratch_open(&s));
    experiments(dir, sizeof dir);
    for (size_t i = 0; i < BK_ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s.cfg", dir, names[i]);
        CU_ASSERT_EQUAL(BK_RUN_PROGRAM(&s, "run", path), 0);
        snprintf(plot, sizeof plot, "runs/%s/tables/architectures.csv", names[i]);
        char *table = bk_scratch_read(&s, plot);
        CU_ASSERT_PTR_NOT_NULL(table);
        bk_free(table);
    }
    bk_scratch_close(&s);
}

BK_SUITE({ "every profile is checked", test_check }, { "drawings", test_drawn })
