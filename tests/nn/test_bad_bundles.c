/* Files that must be refused as BK_EDATA with a sentence naming the file and, where there is one, the entry. */
#include "nn_fixture.h"

#include <bosskit/bundle.h>

struct bad {
    const char *name, *header;
    size_t n_data;              /* bytes after the header */
    const char *wanted;         /* in the sentence */
};

#define ENTRY(type, shape, offsets)                                                      \
    "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* clang-format off */
static const struct bad cases[] = {
    { "no JSON", "{\"a\":", 0, "header" },
    { "an array", "[1,2]", 0, "object" },
    { "unknown type", "{\"a\":" ENTRY("F16", "[2]", "[0,4]") "}", 4, "'a' has type 'F16'" },
    { "overlap", "{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("F32", "[2]", "[4,12]") "}", 12, "'b' overlaps" },
    { "same range twice", "{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("F32", "[2]", "[0,8]") "}", 8, "overlaps" },
    { "out of range", "{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("F32", "[2]", "[800,808]") "}", 16, "'b' ends" },
    { "truncated data", "{\"a\":" ENTRY("F32", "[4]", "[0,16]") "}", 15, "'a' ends" },
    { "hole", "{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY("F32", "[1]", "[8,12]") "}", 12, "before entry 'b'" },
    { "bytes left over", "{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 5, "after the last entry" },
    { "duplicate name", "{\"a\":" ENTRY("U8", "[1]", "[0,1]") ",\"a\":" ENTRY("U8", "[1]", "[1,2]") "}", 2, "uplicate" },
    { "shape and bytes differ", "{\"a\":" ENTRY("F32", "[3]", "[0,8]") "}", 8, "'a' has 8 bytes" },
    { "negative dimension", "{\"a\":" ENTRY("F32", "[-2]", "[0,8]") "}", 8, "'a': dimension 0" },
    { "dimensions overflow", "{\"a\":" ENTRY("F32", "[4611686018427387904,4]", "[0,0]") "}", 0, "'a': dimension" },
    { "rank 6", "{\"a\":" ENTRY("U8", "[1,1,1,1,1,1]", "[0,1]") "}", 1, "'a' has 6 dimensions" },
    { "range backwards", "{\"a\":" ENTRY("F32", "[2]", "[8,0]") "}", 8, "'a' has no legal data_offsets" },
    { "real offsets", "{\"a\":" ENTRY("F32", "[2]", "[0.0,8.0]") "}", 8, "'a' has no legal data_offsets" },
    { "no shape", "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "'a' is not an object of" },
    { "entry is a number", "{\"a\":3}", 0, "'a' is not an object" },
    { "metadata is no text", "{\"__metadata__\":{\"k\":1}}", 0, "'k'" },
    { "metadata is an array", "{\"__metadata__\":[]}", 0, "'__metadata__'" },
    { "empty name", "{\"\":" ENTRY("U8", "[1]", "[0,1]") "}", 1, "entry ''" },
};
/* clang-format on */

static void check_refused(const char *path, const char *name, const char *wanted)
{
    struct bk_bundle *b = NULL;
    int rc = bk_bundle_read(path, &b, &err);
    bool named = strstr(err.text, path) && strstr(err.text, wanted);

    if (rc != BK_EDATA || !named)
        printf("\n    %s: status %d, '%s'\n", name, rc, err.text);
    CU_ASSERT_EQUAL(rc, BK_EDATA);
    CU_ASSERT_TRUE(named);
    CU_ASSERT_PTR_NULL(b);
    CU_ASSERT_EQUAL(bk_bundle_read(path, &b, NULL), BK_EDATA);
}

static void write_file(const char *path, uint64_t length, const char *header, size_t n_data)
{
    static char buf[4096];
    size_t n = strlen(header);

    memset(buf, 0, sizeof buf);
    memcpy(buf, &length, 8);
    memcpy(buf + 8, header, n);
    BK_ASSERT_OK(bk_file_write(path, buf, 8 + n + n_data, &err));
}

static void test_headers(void)
{
    const char *dir = scratch_dir("test_bad_bundles");
    char path[4200];

    snprintf(path, sizeof path, "%s/bad.safetensors", dir);
    for (size_t i = 0; i < BK_ARRAY_LEN(cases); i++) {
        write_file(path, strlen(cases[i].header), cases[i].header, cases[i].n_data);
        check_refused(path, cases[i].name, cases[i].wanted);
    }
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static void test_lengths(void)
{
    const char *dir = scratch_dir("test_bad_lengths");
    struct bk_bundle *b = NULL;
    char path[4200];

    snprintf(path, sizeof path, "%s/bad.safetensors", dir);
    BK_ASSERT_OK(bk_file_write(path, "\1\2\3", 3, &err));
    check_refused(path, "3 bytes", "shorter than 8 bytes");
    write_file(path, 100, "{}", 0);
    check_refused(path, "header longer than the file", "truncated");
    write_file(path, ((uint64_t)64 << 20) + 1, "{}", 0);
    check_refused(path, "huge header", "64 MiB");
    write_file(path, UINT64_MAX, "{}", 0);
    check_refused(path, "largest length", "64 MiB");
    write_file(path, 0, "", 0);
    check_refused(path, "no header", "header");
    snprintf(path, sizeof path, "%s/absent.safetensors", dir);
    CU_ASSERT_EQUAL(bk_bundle_read(path, &b, &err), BK_EIO);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* Every truncation of a good file is refused. */
static void test_every_truncation(void)
{
    const char *dir = scratch_dir("test_truncated");
    struct bk_bundle *b = NULL, *none = NULL;
    char path[4200], *text = NULL;
    size_t n = 0;

    snprintf(path, sizeof path, "%s/one.safetensors", dir);
    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "w", BK_F32, 1, (int64_t[]){ 3 }, (float[]){ 1, 2, 3 }, &err));
    BK_ASSERT_OK(bk_bundle_put_text(b, "k", "v", &err));
    BK_ASSERT_OK(bk_bundle_write(b, path, &err));
    BK_ASSERT_OK(bk_file_read(path, 4096, &text, &n, &err));
    for (size_t k = 0; k < n; k++) {
        BK_ASSERT_OK(bk_file_write(path, text, k, &err));
        CU_ASSERT_EQUAL(bk_bundle_read(path, &none, &err), BK_EDATA);
    }
    CU_ASSERT_PTR_NULL(none);
    bk_free(text);
    bk_bundle_free(b);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* Types that bundles do not hold: refused, or left out on request; a bad entry stays bad. */
static void test_left_out(void)
{
    static const char header[] = "{\"n\":" ENTRY("I64", "[]", "[0,8]") ",\"h\":" ENTRY("F16", "[3]", "[8,14]") ",\"a\":" ENTRY("U8", "[2]", "[14,16]") "}";
    static const char wrong[] = "{\"n\":" ENTRY("I64", "[2]", "[0,8]") "}", odd[] = "{\"n\":" ENTRY("I7", "[]", "[0,8]") "}";
    const char *dir = scratch_dir("test_bad_bundles");
    struct bk_bundle *b;
    char path[4200], file[512];
    uint64_t n = strlen(header);

    snprintf(path, sizeof path, "%s/known.safetensors", dir);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    for (int i = 0; i < 16; i++)
        file[8 + n + (uint64_t)i] = (char)i;
    BK_ASSERT_OK(bk_file_write(path, file, 8 + n + 16, &err));
    check_refused(path, "64-bit counter", "I64");
    BK_ASSERT_OK(bk_bundle_read_known(path, &b, &err));
    CU_ASSERT_EQUAL(bk_bundle_count(b), 1);
    const struct bk_bundle_entry *e = bk_bundle_find(b, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT(((const uint8_t *)e->data)[0] == 14 && ((const uint8_t *)e->data)[1] == 15);
    bk_bundle_free(b);
    write_file(path, strlen(wrong), wrong, 8);
    CU_ASSERT_EQUAL(bk_bundle_read_known(path, &b, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'n' has 8 bytes"));
    write_file(path, strlen(odd), odd, 8);
    CU_ASSERT_EQUAL(bk_bundle_read_known(path, &b, &err), BK_EDATA);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

BK_SUITE({ "headers", test_headers }, { "lengths", test_lengths },
         { "every truncation", test_every_truncation },
         { "types left out", test_left_out })
