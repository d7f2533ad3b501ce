/*
 * What a user meets on a machine that cannot run the cuda backend: the plugin loads, `list` and `doctor` give the reason, and
 * asking for it ends with exit code 4 and that sentence. Skipped where the plugin is not built or a GPU is at hand.
 */
#include "plugin/registry.h"
#include "unit.h"
#include <sys/wait.h>

static struct bk_error err;
static char output[1 << 16];

/* Is the plugin built and unusable here? The reason is in err.text. */
static bool is_unusable(void)
{
    struct bk_registry *registry;
    const struct bk_found_plugin *found;
    struct bk_instance *i;
    int rc = BK_OK;
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &registry, &err));
    if (!bk_registry_find(registry, BK_KIND_BACKEND, "cuda", &found, &err)) {
        BK_ASSERT_OK(bk_instance_open(registry, BK_KIND_BACKEND, "cuda", NULL, NULL, "backend", NULL, &i, &err));
        const struct bk_backend_iface *table = bk_instance_iface(i);
        rc = table->probe(i->state, &err);
        bk_instance_close(i);
    }
    bk_registry_close(registry);
    return rc == BK_ENOTSUP;
}

#define NEEDS_ABSENCE()                                                                  \
    do {                                                                                 \
        if (!is_unusable())                                                              \
            BK_SKIP("the plugin is not built, or it works here");                        \
    } while (0)

static int run(const char *arguments)
{
    char command[2048];
    snprintf(command, sizeof command, "BOSSKIT_RUNS=/nonexistent %s/bosskit %s 2>&1", bk_test_env("BK_TEST_BINARY"), arguments);
    FILE *f = popen(command, "r");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    output[fread(output, 1, sizeof output - 1, f)] = '\0';
    int status = pclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_sentence(void)
{
    NEEDS_ABSENCE();
    printf("\n    %s\n", err.text);
    CU_ASSERT(strstr(err.text, "NVIDIA driver") || strstr(err.text, "CUDA device") || strstr(err.text, "cannot be loaded"));
    CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
    CU_ASSERT(err.text[0] && err.text[strlen(err.text) - 1] != '.');
}

static void test_list(void)
{
    NEEDS_ABSENCE();
    CU_ASSERT_EQUAL(run("list backend"), 0);
    const char *line = strstr(output, "backend/cuda"), *why = line ? strstr(line, "not available here: ") : NULL;
    CU_ASSERT_PTR_NOT_NULL_FATAL(why);
    CU_ASSERT(!strncmp(why + strlen("not available here: "), err.text, strlen(err.text)));
    CU_ASSERT_EQUAL(run("doctor"), 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "backend cuda   not available: "));
}

static void test_run(void)
{
    NEEDS_ABSENCE();
    char arguments[1024];
    snprintf(arguments, sizeof arguments, "plan %s/experiments/quickstart.cfg backend.plugin=cuda", bk_test_env("BK_TEST_SOURCE"));
    CU_ASSERT_EQUAL(run(arguments), 4);
    CU_ASSERT_PTR_NOT_NULL(strstr(output, "backend 'cuda' is not available: "));
    CU_ASSERT_PTR_NOT_NULL(strstr(output, err.text));
}

BK_SUITE({ "sentence", test_sentence }, { "list and doctor", test_list }, { "asking for it", test_run })
