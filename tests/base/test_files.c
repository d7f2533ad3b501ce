/*
 * tests/base/test_files.c: SHA-256 against FIPS 180-4, files, trees, places.
 */
#include "unit.h"

#include <bosskit/file.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[512];

static const char *in_root(const char *name)
{
    static char path[1024];

    snprintf(root, sizeof root, "%s/tests/files_%ld", bk_test_env("BK_TEST_BINARY"), (long)getpid());
    snprintf(path, sizeof path, "%s%s", root, name);
    return path;
}

static void digest_is(const char *text, size_t n, size_t step, const char *want)
{
    struct bk_sha256 s;
    char hex[65];

    bk_sha256_init(&s);
    for (size_t i = 0; i < n; i += step)
        bk_sha256_add(&s, text + i, n - i < step ? n - i : step);
    bk_sha256_hex(&s, hex);
    CU_ASSERT_STRING_EQUAL(hex, want);
}

/* The examples of FIPS 180 and the empty message. */
static void test_sha256(void)
{
    static const char two[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    static char million[1000000];

    memset(million, 'a', sizeof million);
    digest_is("", 0, 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    digest_is("abc", 3, 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (size_t step = 1; step < 60; step += 7)
        digest_is(two, 56, step, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    for (size_t step = 63; step < 200; step += 17)
        digest_is(million, sizeof million, step,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static size_t entries_of(const char *path)
{
    size_t n = 0;
    DIR *dir = opendir(path);

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static void test_write_and_read(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char *data = NULL, hex[65];
    size_t n = 0;

    BK_ASSERT_OK(bk_make_dirs(in_root("/a/b//c"), &err));
    BK_ASSERT_OK(bk_make_dirs(in_root("/a/b/c"), &err));
    BK_ASSERT_OK(bk_file_write(in_root("/a/f"), "one", 3, &err));
    BK_ASSERT_OK(bk_file_write(in_root("/a/f"), "a\0c\n", 4, &err));
    CU_ASSERT_EQUAL(entries_of(in_root("/a")), 4);      /* ., .., b, f: no temporary file is left */
    BK_ASSERT_OK(bk_file_read(in_root("/a/f"), 4, &data, &n, &err));
    CU_ASSERT(n == 4 && !memcmp(data, "a\0c\n", 5));
    bk_free(data);
    data = NULL;
    CU_ASSERT_EQUAL(bk_file_read(in_root("/a/f"), 3, &data, &n, &err), BK_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "larger than 3 bytes"));
    CU_ASSERT_PTR_NULL(data);
    BK_ASSERT_OK(bk_file_write(in_root("/a/f"), "abc", 3, &err));
    BK_ASSERT_OK(bk_sha256_file(in_root("/a/f"), hex, &err));
    CU_ASSERT_EQUAL(strncmp(hex, "ba7816bf", 8), 0);
    BK_ASSERT_OK(bk_file_write(in_root("/a/empty"), "", 0, &err));
    BK_ASSERT_OK(bk_file_read(in_root("/a/empty"), 100, &data, &n, &err));
    CU_ASSERT(n == 0 && !*data);
    bk_free(data);
    /* A file whose size is not known in advance. */
    BK_ASSERT_OK(bk_file_read("/proc/self/status", 1 << 20, &data, &n, &err));
    CU_ASSERT(n > 100 && strlen(data) == n);
    bk_free(data);
}

static void test_faults(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char *data, hex[65];
    size_t n;

    CU_ASSERT_EQUAL(bk_file_read(in_root("/none"), 9, &data, &n, &err), BK_EIO);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "No such file"));
    CU_ASSERT_EQUAL(bk_file_read(in_root("/a"), 9, &data, &n, &err), BK_EIO);
    CU_ASSERT_EQUAL(bk_sha256_file(in_root("/a"), hex, &err), BK_EIO);
    CU_ASSERT_EQUAL(bk_file_write(in_root("/none/f"), "x", 1, &err), BK_EIO);
    /* The target is a directory: nothing is left beside it. */
    size_t before = entries_of(in_root("/a"));
    CU_ASSERT_EQUAL(bk_file_write(in_root("/a/b"), "x", 1, &err), BK_EIO);
    CU_ASSERT_EQUAL(entries_of(in_root("/a")), before);
    CU_ASSERT_EQUAL(bk_make_dirs(in_root("/a/f/g"), &err), BK_EIO);
    CU_ASSERT_EQUAL(bk_remove_tree(in_root("/none"), &err), BK_EIO);
    bk_alloc_fail_after(1);
    CU_ASSERT_EQUAL(bk_file_read(in_root("/a/f"), 9, &data, &n, &err), BK_ENOMEM);
    CU_ASSERT_EQUAL(bk_file_write(in_root("/a/f"), "x", 1, &err), BK_ENOMEM);
    CU_ASSERT_EQUAL(bk_make_dirs(in_root("/x"), &err), BK_ENOMEM);
    CU_ASSERT_EQUAL(bk_sha256_file(in_root("/a/f"), hex, &err), BK_ENOMEM);
    bk_alloc_fail_after(0);
}

static void test_remove(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char target[1024];

    /* A link is removed, what it points at stays. */
    snprintf(target, sizeof target, "%s", in_root("/keep"));
    BK_ASSERT_OK(bk_make_dirs(target, &err));
    CU_ASSERT_EQUAL_FATAL(symlink(target, in_root("/a/b/link")), 0);
    BK_ASSERT_OK(bk_remove_tree(in_root("/a"), &err));
    CU_ASSERT_FALSE(bk_file_exists(in_root("/a")));
    CU_ASSERT(bk_file_exists(target));
    BK_ASSERT_OK(bk_remove_tree(in_root(""), &err));
    CU_ASSERT_FALSE(bk_file_exists(root));
}

static void test_places(void)
{
    char want[4096], *real = realpath(bk_test_env("BK_TEST_BINARY"), NULL);

    CU_ASSERT_PTR_NOT_NULL_FATAL(real);
    CU_ASSERT_STRING_EQUAL(bk_library_dir(), real);
    snprintf(want, sizeof want, "%s/tests", real);
    CU_ASSERT_STRING_EQUAL(bk_program_dir(), want);
    free(real);
}

BK_SUITE({ "sha-256", test_sha256 }, { "write and read", test_write_and_read },
         { "faults", test_faults }, { "remove", test_remove }, { "places", test_places })
