/*
 * Bad plugins: every one is refused with one sentence, and disturbs nobody else.
 *
 * The variants of bad_plugin.c lie in <build>/bad_plugins/<fault>/; files that are no plugins at all are made here.
 */
#include "plugin/registry.h"
#include "unit.h"

#include <bosskit/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void variant_dir(const char *fault, char out[512])
{
    snprintf(out, 512, "%s/bad_plugins/%s", bk_test_env("BK_TEST_BINARY"), fault);
}

static struct bk_registry *open_dirs(const char *a, const char *b)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = NULL;
    const char *dirs[] = { a, b };
    BK_ASSERT_OK(bk_registry_open(dirs, b ? 2 : 1, &r, &err));
    return r;
}

/* The reason why the only file below `path` was refused. */
static void check_reason(const char *path, const char *wanted)
{
    struct bk_registry *r = open_dirs(path, NULL);
    const struct bk_refused_plugin *f = NULL;
    for (size_t i = 0; i < bk_registry_refused_count(r) && !f; i++)
        if (strncmp(bk_registry_refused_at(r, i)->path, path, strlen(path)) == 0)
            f = bk_registry_refused_at(r, i);
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    if (strncmp(f->reason, wanted, strlen(wanted)) != 0)
        printf("\n    got '%s'\n    wanted '%s'\n", f->reason, wanted);
    CU_ASSERT(strncmp(f->reason, wanted, strlen(wanted)) == 0);
    bk_registry_close(r);
}

static void refuse(const char *fault, const char *wanted)
{
    char path[512];
    variant_dir(fault, path);
    check_reason(path, wanted);
}

#define REFUSED(fault, wanted)                                                           \
    static void test_##fault(void)                                                       \
    {                                                                                    \
        refuse(#fault, wanted);                                                          \
    }

REFUSED(abi, "is built for ABI 4.3, this bosskit offers 3.0; rebuild the plugin or use a bosskit of that ABI (built "
             "with: a test)")
REFUSED(no_module, "exports no symbol bk_module, it is no bosskit plugin")
REFUSED(module_size, "bk_module has struct_size 0, wanted 24..4096")
REFUSED(empty, "bk_module lists no plugin")
REFUSED(size, "a plugin descriptor has struct_size 0, wanted 88..4096")
REFUSED(kind, "unknown kind 42, legal: 1..7")
REFUSED(iface, "rater 'steady': its table 'iface' is missing")
REFUSED(table_size, "rater 'steady': its table has struct_size 4, wanted 8..4096")
REFUSED(flags, "rater 'steady': its flags have neither BK_RATER_BLOCKS nor BK_RATER_ARCHS")
REFUSED(better, "rater 'steady': its member 'better' is 0, legal: BK_LOWER_IS_BETTER | BK_HIGHER_IS_BETTER")
REFUSED(member, "rater 'steady': its table lacks the required member 'rate_archs'")
REFUSED(newer, "a plugin descriptor uses members that this bosskit does not know (byte 88 of 96); upgrade bosskit")
REFUSED(unresolved, "cannot be loaded: undefined symbol: nobody_defines_this")
REFUSED(name, "bad rater name 'No-Good', legal: a lower-case letter, then letters, digits and '_'")
REFUSED(default, "rater 'steady': option 'n': default 101 is outside 1..100")
REFUSED(bounds, "rater 'steady': option 'n': bounds 100..1 are empty")
REFUSED(fraction, "rater 'steady': option 'n': default 1.5 is no exact integer")
REFUSED(offset, "rater 'steady': option 'n': its field at byte 1048576 is outside the state of 32 bytes")
REFUSED(type, "rater 'steady': option 'n': unknown type 99")
REFUSED(option_name, "rater 'steady': option 'Big-N': bad name, legal: a lower-case letter, then letters, digits and '_'")
REFUSED(reserved_name, "rater 'steady': option 'plugin': this name is taken by the configuration itself")
REFUSED(twice, "rater 'steady': option 'n': it appears twice")
REFUSED(enum_default, "rater 'steady': option 'how': default 7 is none of its choices")
REFUSED(choice_twice, "rater 'steady': option 'how': choice 'a' appears twice")
REFUSED(ints_default, "rater 'steady': option 'widths': default '8;16' is no list of integers")

/* ---- files that are no plugins ------------------------------------------------------------------- */

static void fresh_dir(const char *name, char out[512])
{
    struct bk_error err = BK_ERROR_INIT;
    if (!dir[0]) {
        strcpy(dir, "/tmp/bk_bad_plugin_XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    }
    snprintf(out, 512, "%s/%s", dir, name);
    BK_ASSERT_OK(bk_make_dirs(out, &err));
}

static void put(const char *name, const void *data, size_t n)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[600], folder[512];
    fresh_dir(name, folder);
    snprintf(path, sizeof path, "%s/x.so", folder);
    BK_ASSERT_OK(bk_file_write(path, data, n, &err));
}

static char *good_file(size_t *n)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[600], folder[512], *data = NULL;
    variant_dir("steady", folder);
    snprintf(path, sizeof path, "%s/steady.so", folder);
    BK_ASSERT_OK(bk_file_read(path, 1u << 26, &data, n, &err));
    return data;
}

static void check_made(const char *name, const char *wanted)
{
    char folder[512];
    fresh_dir(name, folder);
    check_reason(folder, wanted);
}

static void test_text_file(void)
{
    static const char text[] = "#!/bin/sh\necho this is a script, longer than any ELF header would be, really\n";
    put("text", text, sizeof text - 1);
    check_made("text", "is not a shared object (no ELF header)");
}

static void test_empty_file(void)
{
    put("nothing", "", 0);
    check_made("nothing", "is truncated (0 bytes are not all of it)");
}

static void test_truncated(void)
{
    size_t n;
    char *data = good_file(&n), wanted[128];
    put("header", data, 40);
    put("half", data, n / 4);
    bk_free(data);
    check_made("header", "is truncated (40 bytes are not all of it)");
    snprintf(wanted, sizeof wanted, "is truncated (%zu bytes are not all of it)", n / 4);
    check_made("half", wanted);
}

static void test_other_machine(void)
{
    size_t n;
    char *data = good_file(&n);
    data[18] = (char)0xb7, data[19] = 0;        /* e_machine = EM_AARCH64 */
    put("arm", data, n);
    data[18] = (char)0x3e, data[4] = 1;         /* ELFCLASS32 */
    put("bits", data, n);
    bk_free(data);
#ifdef __x86_64__
    check_made("arm", "is built for another machine (ELF machine 183, this one is 62)");
#endif
    check_made("bits", "is no 64-bit little-endian shared object");
}

static void test_executable(void)
{
    size_t n;
    char *data = good_file(&n);
    data[16] = 2;                               /* e_type = ET_EXEC */
    put("exec", data, n);
    bk_free(data);
    check_made("exec", "is an ELF file but no shared object");
}

static void test_unreadable(void)
{
    char folder[512], path[600];
    fresh_dir("link", folder);
    snprintf(path, sizeof path, "%s/x.so", folder);
    CU_ASSERT_EQUAL(symlink("nowhere", path), 0);
    check_made("link", "cannot be opened: No such file or directory");
}

/* ---- several files -------------------------------------------------------------------------------- */

static void test_good_one(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_found_plugin *f = NULL;
    char path[512];
    variant_dir("steady", path);
    struct bk_registry *r = open_dirs(path, path);      /* the same directory twice is no duplicate */
    BK_ASSERT_OK(bk_registry_find(r, BK_KIND_RATER, "steady", &f, &err));
    CU_ASSERT_EQUAL(strlen(f->digest), 64);
    CU_ASSERT_STRING_EQUAL(f->plugin->version, "1.0.0");
    bk_registry_close(r);
}

static void test_duplicate(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_found_plugin *f = NULL;
    char a[512], b[512], wanted[2048];
    variant_dir("steady", a);
    variant_dir("copy", b);
    struct bk_registry *r = open_dirs(a, b);
    CU_ASSERT_EQUAL(bk_registry_find(r, BK_KIND_RATER, "steady", &f, &err), BK_EPLUGIN);
    snprintf(wanted, sizeof wanted, "rater 'steady' is offered by two files, '%s/steady.so' and '%s/copy.so'; remove one",
             a, b);
    CU_ASSERT_STRING_EQUAL(err.text, wanted);
    bk_registry_close(r);
}

static void test_not_found(void)
{
    struct bk_error err = BK_ERROR_INIT;
    const struct bk_found_plugin *f = NULL;
    char a[512], b[512];
    variant_dir("steady", a);
    variant_dir("abi", b);
    struct bk_registry *r = open_dirs(a, b);
    CU_ASSERT_EQUAL(bk_registry_find(r, BK_KIND_RATER, "steddy", &f, &err), BK_EPLUGIN);
    CU_ASSERT(strncmp(err.text, "no rater 'steddy' (nearest: 'steady'); searched: ", 49) == 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, a));
    CU_ASSERT_EQUAL(bk_registry_find(r, BK_KIND_RATER, "abi", &f, &err), BK_EPLUGIN);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "abi.so' was refused: is built for ABI 4.3"));
    bk_registry_close(r);
}

static void test_missing_directory(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = NULL;
    const char *dirs[] = { "/nowhere/at/all" };
    CU_ASSERT_EQUAL(bk_registry_open(dirs, 1, &r, &err), BK_EPLUGIN);
    CU_ASSERT_STRING_EQUAL(err.text, "plugin path '/nowhere/at/all' is no directory");
}

/* ---- instances -------------------------------------------------------------------------------------- */

static void test_init_refuses(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = NULL;
    char path[512];
    variant_dir("init", path);
    struct bk_registry *r = open_dirs(path, NULL);
    int rc = bk_instance_open(r, BK_KIND_RATER, "steady", NULL, NULL, "rater", NULL, &i, &err);
    CU_ASSERT_EQUAL(rc, BK_EINVAL);
    CU_ASSERT_STRING_EQUAL(err.text, "rater: rater 'steady': 'n' and 'how' do not go together");
    bk_registry_close(r);
}

static void test_bad_option(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = NULL;
    struct bk_value *v = NULL;
    char path[512], cfg[600], folder[512], wanted[1024];
    fresh_dir("cfg", folder);
    snprintf(cfg, sizeof cfg, "%s/a.cfg", folder);
    static const char text[] = "rater = {\n  plugin = \"steady\";\n  n = 500;\n};\n";
    BK_ASSERT_OK(bk_file_write(cfg, text, strlen(text), &err));
    BK_ASSERT_OK(bk_value_read(cfg, &v, &err));
    variant_dir("steady", path);
    struct bk_registry *r = open_dirs(path, NULL);
    int rc = bk_instance_open(r, BK_KIND_RATER, "steady", bk_value_find(v, "rater"), NULL, "rater", NULL, &i, &err);
    CU_ASSERT_EQUAL(rc, BK_ECONFIG);
    snprintf(wanted, sizeof wanted, "%s:3: rater.n: 500 is out of range, legal: 1..100", cfg);
    CU_ASSERT_STRING_EQUAL(err.text, wanted);
    rc = bk_instance_open(r, BK_KIND_RATER, "stead", bk_value_find(v, "rater"), NULL, "rater", NULL, &i, &err);
    CU_ASSERT_EQUAL(rc, BK_EPLUGIN);
    snprintf(wanted, sizeof wanted, "%s:2: rater.plugin: no rater 'stead' (nearest: 'steady')", cfg);
    CU_ASSERT(strncmp(err.text, wanted, strlen(wanted)) == 0);
    bk_value_free(v);
    bk_registry_close(r);
}

/* Out of memory at every allocation in turn: an error, never a half-made registry. */
static void test_out_of_memory(void)
{
    char path[512];
    const char *dirs[] = { path };
    variant_dir("steady", path);
    for (long n = 1; n < 5000; n++) {
        struct bk_error err = BK_ERROR_INIT;
        struct bk_registry *r = NULL;
        struct bk_instance *i = NULL;
        bk_alloc_fail_after(n);
        int rc = bk_registry_open(dirs, 1, &r, &err);
        if (rc == BK_OK)
            rc = bk_instance_open(r, BK_KIND_RATER, "steady", NULL, NULL, "rater", NULL, &i, &err);
        bk_alloc_fail_after(0);
        bk_instance_close(i);
        bk_registry_close(r);
        if (rc == BK_OK)
            return;
        CU_ASSERT(rc == BK_ENOMEM);
    }
    CU_FAIL("never succeeded");
}

static void test_clean_up(void)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* clang-format off */
BK_SUITE({ "wrong ABI", test_abi }, { "no bk_module", test_no_module }, { "module size 0", test_module_size },
         { "no plugin in the module", test_empty }, { "descriptor size 0", test_size }, { "unknown kind", test_kind },
         { "no table", test_iface }, { "table too short", test_table_size }, { "rater flags", test_flags },
         { "rater without direction", test_better }, { "required member missing", test_member },
         { "members of a later version", test_newer }, { "unresolved symbol", test_unresolved },
         { "bad name", test_name }, { "default out of bounds", test_default }, { "empty bounds", test_bounds },
         { "fraction for an integer", test_fraction }, { "field outside the state", test_offset },
         { "unknown option type", test_type }, { "bad option name", test_option_name },
         { "reserved option name", test_reserved_name }, { "option twice", test_twice },
         { "choice default", test_enum_default }, { "choice twice", test_choice_twice },
         { "list default", test_ints_default }, { "text file", test_text_file }, { "empty file", test_empty_file },
         { "truncated file", test_truncated }, { "other machine", test_other_machine },
         { "executable", test_executable }, { "dangling link", test_unreadable }, { "a good one", test_good_one },
         { "duplicate", test_duplicate }, { "not found", test_not_found },
         { "missing directory", test_missing_directory }, { "init refuses", test_init_refuses },
         { "bad option", test_bad_option }, { "out of memory", test_out_of_memory }, { "clean up", test_clean_up })
/* clang-format on */
