/*
 * The binary contract: sizes and offsets of the structures that plugins are compiled with, and what the library exports.
 *
 * A line here changes only together with BK_ABI_MAJOR; appending a member adds a line and raises BK_ABI_MINOR.
 */
#include "unit.h"

#include <bosskit/backend.h>
#include <bosskit/file.h>
#include <bosskit/method.h>

#define AT(type, member, n) _Static_assert(offsetof(struct type, member) == (n), #type "." #member)

#ifdef __LP64__
AT(bk_module, abi_major, 4);
AT(bk_module, built_with, 8);
AT(bk_module, plugins, 16);
AT(bk_plugin, kind, 4);
AT(bk_plugin, name, 8);
AT(bk_plugin, source_digest, 40);
AT(bk_plugin, options, 48);
AT(bk_plugin, state_size, 56);
AT(bk_plugin, init, 64);
AT(bk_plugin, iface, 80);
AT(bk_opt, type, 8);
AT(bk_opt, offset, 12);
AT(bk_opt, def, 24);
AT(bk_opt, def_text, 48);
AT(bk_opt, choices, 56);
AT(bk_opt, help, 72);
AT(bk_host, seed, 16);
AT(bk_host, log, 24);
AT(bk_host, get_extension, 48);
AT(bk_space_iface, info, 8);
AT(bk_space_iface, supernet, 56);
AT(bk_space_iface, score, 96);
AT(bk_trainer_iface, begin, 8);
AT(bk_trainer_iface, end, 48);
AT(bk_rater_iface, better, 8);
AT(bk_rater_iface, rate_block, 16);
AT(bk_searcher_iface, solve, 8);
AT(bk_searcher_iface, best, 40);
AT(bk_sampler_iface, sample, 8);
AT(bk_dataset_iface, split, 24);
AT(bk_backend_iface, probe, 8);
AT(bk_backend_iface, synchronize, 104);
AT(bk_backend_iface, memory, 112);
AT(bk_backend_iface, make_views, 120);
AT(bk_backend_iface, section, 128);
AT(bk_tensor, data, 48);
_Static_assert(sizeof(struct bk_opt) == 80, "bk_opt is an array element: its size is fixed for good");
_Static_assert(sizeof(struct bk_path) == 32, "bk_path");
_Static_assert(sizeof(struct bk_arch) == 4 + BK_MAX_BLOCKS * 32, "bk_arch");
_Static_assert(sizeof(struct bk_cost) == 24, "bk_cost");
_Static_assert(sizeof(struct bk_block_table) == 48, "bk_block_table is filled by raters: its size is part of the contract");
#endif
_Static_assert(sizeof(struct bk_error) == 1024, "bk_error");

/* Only names that begin with bk_ leave the library. */
static void test_exports(void)
{
    char command[1200], line[512];
    snprintf(command, sizeof command, "nm -D --defined-only '%s/libbosskit.so' 2>/dev/null", bk_test_env("BK_TEST_BINARY"));
    FILE *f = popen(command, "r");
    size_t n = 0;
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    while (fgets(line, sizeof line, f)) {
        const char *name = strrchr(line, ' ');
        bool ours = name && (strncmp(name + 1, "bk_", 3) == 0 || strncmp(name + 1, "BOSSKIT_1", 9) == 0);
        if (!ours)
            printf("\n    exported: %s", line);
        CU_ASSERT(ours);
        n++;
    }
    pclose(f);
    if (n == 0)
        BK_SKIP("nm is missing");
    CU_ASSERT(n > 100);
}

static void test_kernel_numbers(void)
{
    CU_ASSERT_EQUAL(BK_K_CONV2D, 1);
    CU_ASSERT_EQUAL(BK_K_BATCH_NORM, 4);
    CU_ASSERT_EQUAL(BK_K_RMSPROP_STEP, 32);
}

BK_SUITE({ "exports", test_exports }, { "kernel numbers", test_kernel_numbers })
