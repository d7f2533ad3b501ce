/* Bundles in memory and as files: round trips, the layout of the file, files of the safetensors package. */
#include "nn_fixture.h"

#include <bosskit/bundle.h>
#include <errno.h>
#include <jansson.h>

static struct bk_bundle *sample(void)
{
    static const float w[6] = { 1, -2, 3.5f, 0, 1e-30f, 6 };
    static const double d[1] = { 1.0 / 3 };
    static const int32_t i[2] = { -7, 2147483647 };
    static const uint8_t u[3] = { 1, 2, 255 };
    static const uint16_t h[2] = { 0x3f80, 0xc020 };
    struct bk_bundle *b = NULL;

    BK_ASSERT_OK(bk_bundle_new(&b, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "w", BK_F32, 2, (int64_t[]){ 2, 3 }, w, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "d", BK_F64, 0, NULL, d, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "a.u", BK_U8, 1, (int64_t[]){ 3 }, u, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "i", BK_I32, 1, (int64_t[]){ 2 }, i, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "h", BK_BF16, 1, (int64_t[]){ 2 }, h, &err));
    BK_ASSERT_OK(bk_bundle_put(b, "nothing", BK_F32, 1, (int64_t[]){ 0 }, NULL, &err));
    BK_ASSERT_OK(bk_bundle_put_text(b, "method", "quote \" back \\ \xc3\xa9", &err));
    BK_ASSERT_OK(bk_bundle_put_i64(b, "step", -9007199254740993, &err));
    return b;
}

static void check_equal(const struct bk_bundle *a, const struct bk_bundle *b)
{
    CU_ASSERT_EQUAL_FATAL(bk_bundle_count(a), bk_bundle_count(b));
    for (size_t i = 0; i < bk_bundle_count(a); i++) {
        const struct bk_bundle_entry *x = bk_bundle_at(a, i), *y = bk_bundle_at(b, i);
        CU_ASSERT_STRING_EQUAL(x->name, y->name);
        CU_ASSERT_EQUAL(x->dtype, y->dtype);
        CU_ASSERT_EQUAL(x->rank, y->rank);
        CU_ASSERT_EQUAL(memcmp(x->dim, y->dim, sizeof x->dim), 0);
        CU_ASSERT_EQUAL_FATAL(x->nbytes, y->nbytes);
        CU_ASSERT_EQUAL(memcmp(x->data, y->data, x->nbytes), 0);
    }
}

static void test_memory(void)
{
    struct bk_bundle *b = sample();
    int64_t step = 0;

    CU_ASSERT_EQUAL(bk_bundle_count(b), 6);
    for (size_t i = 1; i < 6; i++)
        CU_ASSERT_TRUE(strcmp(bk_bundle_at(b, i - 1)->name, bk_bundle_at(b, i)->name) < 0);
    CU_ASSERT_PTR_NULL(bk_bundle_at(b, 6));
    CU_ASSERT_PTR_NULL(bk_bundle_find(b, "x"));
    BK_ASSERT_OK(bk_bundle_put(b, "w", BK_U8, 1, (int64_t[]){ 1 }, "x", &err));
    CU_ASSERT_EQUAL(bk_bundle_count(b), 6);
    CU_ASSERT_EQUAL(bk_bundle_find(b, "w")->nbytes, 1);
    BK_ASSERT_OK(bk_bundle_i64(b, "step", &step, &err));
    CU_ASSERT_EQUAL(step, -9007199254740993);
    CU_ASSERT_EQUAL(bk_bundle_i64(b, "method", &step, &err), BK_EDATA);
    CU_ASSERT_EQUAL(bk_bundle_i64(b, "absent", &step, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "absent"));
    CU_ASSERT_PTR_NULL(bk_bundle_text(b, "absent"));
    CU_ASSERT_EQUAL(bk_bundle_put(b, "__metadata__", BK_U8, 0, NULL, "x", &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bundle_put(b, "", BK_U8, 0, NULL, "x", &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bundle_put(b, "n", BK_F32, 1, (int64_t[]){ -1 }, "x", &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bundle_put(b, "n", BK_F64, 2, (int64_t[]){ INT64_MAX, 4 }, "x", &err), BK_EINVAL);
    CU_ASSERT_EQUAL(bk_bundle_put(b, "n", 99, 0, NULL, "x", &err), BK_EINVAL);
    bk_bundle_free(b);
    bk_bundle_free(NULL);
}

static void test_round_trip(void)
{
    const char *dir = scratch_dir("test_bundle");
    struct bk_bundle *a = sample(), *b = NULL;
    char p1[4200], p2[4200], *t1 = NULL, *t2 = NULL;
    size_t n1 = 0, n2 = 0;

    snprintf(p1, sizeof p1, "%s/one.safetensors", dir);
    snprintf(p2, sizeof p2, "%s/two.safetensors", dir);
    BK_ASSERT_OK(bk_bundle_write(a, p1, &err));
    BK_ASSERT_OK(bk_bundle_read(p1, &b, &err));
    check_equal(a, b);
    CU_ASSERT_STRING_EQUAL(bk_bundle_text(b, "method"), bk_bundle_text(a, "method"));
    CU_ASSERT_STRING_EQUAL(bk_bundle_text(b, "step"), "-9007199254740993");
    BK_ASSERT_OK(bk_bundle_write(b, p2, &err));
    BK_ASSERT_OK(bk_file_read(p1, 1 << 20, &t1, &n1, &err));
    BK_ASSERT_OK(bk_file_read(p2, 1 << 20, &t2, &n2, &err));
    CU_ASSERT_EQUAL_FATAL(n1, n2);
    CU_ASSERT_EQUAL(memcmp(t1, t2, n1), 0);
    bk_free(t1);
    bk_free(t2);
    bk_bundle_free(a);
    bk_bundle_free(b);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* The header read with a JSON library: offsets are aligned, contiguous and in the data section. */
static void test_layout(void)
{
    const char *dir = scratch_dir("test_bundle_layout"), *name;
    struct bk_bundle *a = sample();
    char path[4200], *text = NULL;
    size_t n = 0;
    uint64_t header = 0, sum = 0, end = 0;
    json_t *v;

    snprintf(path, sizeof path, "%s/one.safetensors", dir);
    BK_ASSERT_OK(bk_bundle_write(a, path, &err));
    BK_ASSERT_OK(bk_file_read(path, 1 << 20, &text, &n, &err));
    memcpy(&header, text, 8);
    CU_ASSERT_EQUAL(header % 8, 0);
    json_t *root = json_loadb(text + 8, header, 0, NULL);
    CU_ASSERT_PTR_NOT_NULL_FATAL(root);
    json_object_foreach(root, name, v) {
        if (!strcmp(name, "__metadata__"))
            continue;
        const struct bk_bundle_entry *e = bk_bundle_find(a, name);
        const json_t *range = json_object_get(v, "data_offsets");
        uint64_t b0 = (uint64_t)json_integer_value(json_array_get(range, 0));
        uint64_t b1 = (uint64_t)json_integer_value(json_array_get(range, 1));
        CU_ASSERT_PTR_NOT_NULL_FATAL(e);
        CU_ASSERT_EQUAL(b0 % bk_dtype_size(e->dtype), 0);
        CU_ASSERT_EQUAL_FATAL(b1 - b0, e->nbytes);
        CU_ASSERT_EQUAL(memcmp(text + 8 + header + b0, e->data, e->nbytes), 0);
        sum += b1 - b0;
        end = b1 > end ? b1 : end;
    }
    CU_ASSERT_EQUAL(sum, end);
    CU_ASSERT_EQUAL(8 + header + end, n);
    json_decref(root);
    bk_free(text);
    bk_bundle_free(a);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

static void test_foreign(void)
{
    struct bk_bundle *b = NULL;
    char path[4200];
    int64_t block = 0;

    snprintf(path, sizeof path, "%s/tests/fixtures/foreign.safetensors", bk_test_env("BK_TEST_SOURCE"));
    BK_ASSERT_OK(bk_bundle_read(path, &b, &err));
    CU_ASSERT_EQUAL(bk_bundle_count(b), 5);
    const struct bk_bundle_entry *e = bk_bundle_find(b, "weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_TRUE(e->dtype == BK_F32 && e->rank == 2 && e->dim[0] == 2 && e->dim[1] == 3);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(((const float *)e->data)[i], (float)i / 4);
    e = bk_bundle_find(b, "half");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(bk_bf16_to_f32(((const uint16_t *)e->data)[1]), -2.5f);
    e = bk_bundle_find(b, "steps");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(((const int32_t *)e->data)[1], -4);
    e = bk_bundle_find(b, "bytes");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(((const uint8_t *)e->data)[2], 255);
    e = bk_bundle_find(b, "exact");
    CU_ASSERT_PTR_NOT_NULL_FATAL(e);
    CU_ASSERT_EQUAL(e->rank, 0);
    CU_ASSERT_EQUAL(*(const double *)e->data, 1.0 / 3);
    BK_ASSERT_OK(bk_bundle_i64(b, "block", &block, &err));
    CU_ASSERT_EQUAL(block, 3);
    bk_bundle_free(b);
}

static void test_tensors(void)
{
    struct bk_device *d = open_ref();
    struct bk_bundle *b = sample();
    struct bk_tensor *t = NULL, *other = NULL;

    BK_ASSERT_OK(bk_tensor_new(d, BK_F32, 2, (int64_t[]){ 2, 3 }, &t, &err));
    BK_ASSERT_OK(bk_tensor_new(d, BK_F32, 2, (int64_t[]){ 3, 2 }, &other, &err));
    BK_ASSERT_OK(bk_bundle_get_tensor(b, "w", t, &err));
    CU_ASSERT_EQUAL(value(t, 2), 3.5);
    CU_ASSERT_EQUAL(bk_bundle_get_tensor(b, "w", other, &err), BK_EDATA);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'w'"));
    CU_ASSERT_EQUAL(bk_bundle_get_tensor(b, "absent", other, &err), BK_EDATA);
    BK_ASSERT_OK(bk_bundle_put_tensor(b, "copy", t, &err));
    CU_ASSERT_EQUAL(memcmp(bk_bundle_find(b, "copy")->data, bk_bundle_find(b, "w")->data, 24), 0);
    bk_tensor_free(t);
    bk_tensor_free(other);
    bk_bundle_free(b);
    bk_device_close(d);
}

static void test_no_memory(void)
{
    const char *dir = scratch_dir("test_bundle_memory");
    struct bk_bundle *a = sample(), *b = NULL;
    char path[4200];
    int rc = -1;

    snprintf(path, sizeof path, "%s/one.safetensors", dir);
    for (long n = 1; rc && n < 200; n++) {
        bk_alloc_fail_after(n);
        rc = bk_bundle_write(a, path, &err);
        if (!rc)
            rc = bk_bundle_read(path, &b, &err);
        bk_alloc_fail_after(0);
        CU_ASSERT_TRUE(!rc || rc == BK_ENOMEM || strstr(err.text, strerror(ENOMEM)));
    }
    CU_ASSERT_EQUAL_FATAL(rc, BK_OK);
    check_equal(a, b);
    bk_bundle_free(a);
    bk_bundle_free(b);
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

BK_SUITE({ "in memory", test_memory }, { "round trip", test_round_trip }, { "layout", test_layout },
         { "a file of the safetensors package", test_foreign }, { "device tensors", test_tensors },
         { "out of memory", test_no_memory })
