/*
 * tests/ops/test_backend_agreement.c: every kernel of a backend plugin against `ref`, forward and backward.
 *
 * Inputs are the same numbers on both sides (exact in bf16); outputs, gradients and changed state are compared array by
 * array: the largest difference over the largest magnitude. What `ref` computes is checked elsewhere, by known values
 * and by central differences.
 */
#include "op_cases.h"
#include "plugin/registry.h"

struct arrays {
    double *v[2 * MAX_LEAVES + 1];
    int64_t n[2 * MAX_LEAVES + 1];
};

static int read_one(struct arrays *a, int at, const struct bk_tensor *t, struct bk_error *err)
{
    if (!t)
        return BK_OK;
    a->n[at] = bk_tensor_numel(t);
    a->v[at] = malloc((size_t)a->n[at] * sizeof(double));
    return bk_tensor_read_f64(t, a->v[at], err);
}

static void release(struct arrays *a)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(a->v); i++)
        free(a->v[i]);
}

/* [0] output, then leaves (state may have changed), then gradients */
static int collect(struct bk_device *d, const struct op_case *c, uint32_t dtype, struct arrays *a, struct bk_error *err)
{
    struct op_run r;
    int rc = op_open(d, c, dtype, &r, err);
    if (!rc)
        rc = op_forward_backward(&r, c, err);
    if (!rc)
        rc = read_one(a, 0, r.y, err);
    for (int i = 0; i < MAX_LEAVES && !rc; i++) {
        rc = read_one(a, 1 + i, r.in[i], err);
        if (!rc)
            rc = read_one(a, 1 + MAX_LEAVES + i, r.grad[i], err);
    }
    op_close(&r);
    return rc;
}

static double difference(const double *a, const double *b, int64_t n)
{
    double worst = 0, scale = 1e-3;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs(a[i] - b[i]);
        worst = isnan(a[i]) ? INFINITY : e > worst ? e : worst;
        scale = fabs(b[i]) > scale ? fabs(b[i]) : scale;
    }
    return worst / scale;
}

static bool agree(const struct op_case *c, uint32_t dtype, const struct arrays *got, const struct arrays *want)
{
    double tol = dtype == BK_BF16 ? 1.2e-2 : 3e-5;
    bool ok = true;
    for (int i = 0; i < 2 * MAX_LEAVES + 1; i++) {
        double e = want->v[i] ? difference(got->v[i], want->v[i], want->n[i]) : 0;
        if (e <= tol)
            continue;
        const char *what = i == 0 ? "output" : i <= MAX_LEAVES ? "leaf" : "gradient of leaf";
        printf("\n    %s %s: %s %d differs by %.3g", c->name, bk_dtype_name(dtype), what,
               i == 0 ? 0 : (i - 1) % MAX_LEAVES, e);
        ok = false;
    }
    return ok;
}

/* A backend may lack an operation, and says so; those in this tree are asked for all kernels elsewhere. */
static bool lacks(struct bk_device *d, const struct op_case *c, uint32_t dtype)
{
    for (uint32_t k = 1; k < BK_KERNEL_COUNT; k++) {
        size_t n = strlen(bk_kernel_name(k));
        if (!strncmp(c->name, bk_kernel_name(k), n) && c->name[n] == '-')
            return !bk_device_supports(d, k, dtype);
    }
    return false;
}

static void compare_case(struct bk_device *d, struct bk_device *ref, const struct op_case *c, uint32_t dtype)
{
    struct bk_error err = BK_ERROR_INIT;
    struct arrays got = { { 0 }, { 0 } }, want = { { 0 }, { 0 } };
    BK_ASSERT_OK(collect(ref, c, dtype, &want, &err));
    int rc = collect(d, c, dtype, &got, &err);
    if (rc)
        printf("\n    %s %s: %s", c->name, bk_dtype_name(dtype), err.text);
    CU_ASSERT(!rc && agree(c, dtype, &got, &want));
    release(&got);
    release(&want);
}

static void compare_all(struct bk_device *d, uint32_t dtype)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_device *ref;
    const char *only = bk_test_env("BK_TEST_CASE");
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &ref, &err));
    for (size_t i = 0; i < BK_ARRAY_LEN(op_cases); i++)
        if (!strncmp(op_cases[i].name, only, strlen(only)) && !lacks(d, &op_cases[i], dtype))
            compare_case(d, ref, &op_cases[i], dtype);
    bk_device_close(ref);
}

/* Set an option that names one of several choices, as a config file would. */
static void choose(struct bk_instance *instance, const char *option, const char *choice)
{
    bool done = false;
    for (const struct bk_opt *o = instance->found->plugin->options; o->name; o++)
        for (const struct bk_choice *c = o->choices; !strcmp(o->name, option) && c->name; c++)
            if (!strcmp(c->name, choice)) {
                memcpy((char *)instance->state + o->offset, &c->value, sizeof c->value);
                done = true;
            }
    CU_ASSERT(done);
}

/* isa: value of the backend's option of that name; NULL leaves it alone. */
static void compare_backend(const char *name, const char *isa, int32_t threads, uint32_t dtype)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *registry;
    struct bk_instance *instance;
    struct bk_device *d;
    const char *wanted = bk_test_env("BK_TEST_BACKEND");
    if (*wanted ? strcmp(wanted, name) != 0 : !strcmp(name, "cuda"))
        BK_SKIP("not asked for");       /* CTest asks for cuda in an entry of its own, labelled gpu */
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &registry, &err));
    const struct bk_found_plugin *found;
    if (bk_registry_find(registry, BK_KIND_BACKEND, name, &found, &err)) {
        bk_registry_close(registry);
        BK_SKIP("no backend '%s' here", name);
    }
    BK_ASSERT_OK(bk_instance_open(registry, BK_KIND_BACKEND, name, NULL, NULL, "backend", NULL, &instance, &err));
    if (isa)
        choose(instance, "isa", isa);
    int rc = bk_device_open(bk_instance_iface(instance), instance->state, 0, BK_REPEATABLE, threads, &d, &err);
    if (!rc) {
        compare_all(d, dtype);
        bk_device_close(d);
    }
    bk_instance_close(instance);
    bk_registry_close(registry);
    if (rc == BK_ENOTSUP)
        BK_SKIP("backend '%s': %s", name, err.text);
    if (rc)
        printf("\n    %s", err.text);
    CU_ASSERT_EQUAL(rc, BK_OK);
}

static void test_cpu_f32(void)
{
    compare_backend("cpu", NULL, 1, BK_F32);
}

static void test_cpu_bf16(void)
{
    compare_backend("cpu", NULL, 1, BK_BF16);
}

static void test_cpu_two_threads(void)
{
    compare_backend("cpu", NULL, 2, BK_F32);
}

/* The loops that other processors run; oneDNN chooses its own. */
static void test_cpu_plain_avx512(void)
{
    compare_backend("cpu", "avx512_plain", 1, BK_BF16);
}

static void test_cpu_avx2(void)
{
    compare_backend("cpu", "avx2", 1, BK_F32);
}

static void test_cpu_avx2_bf16(void)
{
    compare_backend("cpu", "avx2", 1, BK_BF16);
}

static void test_cpu_base(void)
{
    compare_backend("cpu", "base", 1, BK_F32);
}

static void test_cpu_base_bf16(void)
{
    compare_backend("cpu", "base", 1, BK_BF16);
}

/* BK_TEST_BACKEND may name the emulation of its kernels on the host instead. */
static const char *cuda_name(void)
{
    return strncmp(bk_test_env("BK_TEST_BACKEND"), "cuda", 4) ? "cuda" : bk_test_env("BK_TEST_BACKEND");
}

static void test_cuda_f32(void)
{
    compare_backend(cuda_name(), NULL, 1, BK_F32);
}

static void test_cuda_bf16(void)
{
    compare_backend(cuda_name(), NULL, 1, BK_BF16);
}

/* The harness itself, and ref through the registry: must agree to the last bit. */
static void test_ref_f32(void)
{
    compare_backend("ref", NULL, 1, BK_F32);
}

static void test_ref_bf16(void)
{
    compare_backend("ref", NULL, 1, BK_BF16);
}

BK_SUITE({ "ref f32", test_ref_f32 }, { "ref bf16", test_ref_bf16 }, { "cpu f32", test_cpu_f32 },
         { "cpu bf16", test_cpu_bf16 }, { "cpu f32, two threads", test_cpu_two_threads },
         { "cpu bf16, AVX-512 without bf16", test_cpu_plain_avx512 }, { "cpu f32, AVX2", test_cpu_avx2 },
         { "cpu bf16, AVX2", test_cpu_avx2_bf16 }, { "cpu f32, SSE2", test_cpu_base },
         { "cpu bf16, SSE2", test_cpu_base_bf16 }, { "cuda f32", test_cuda_f32 }, { "cuda bf16", test_cuda_bf16 })
