/*
 * backends/cpu_fixture.h: the cpu plugin opened by hand, and tensors whose values a test also has in double, so that
 * each kernel is compared with a few plain loops written in the test. Needs neither the registry nor the tensor module.
 */
#ifndef BK_TESTS_CPU_FIXTURE_H
#define BK_TESTS_CPU_FIXTURE_H

#include "unit.h"
#include <bosskit/backend.h>
#include <bosskit/ops.h>
#include <bosskit/optim.h>
#include <dlfcn.h>

static const struct bk_backend_iface *cpu_iface;
static void *cpu_state;
static const char *cpu_isa;     /* value of option "isa"; NULL = default */
static char cpu_warning[512];   /* the last warning the backend logged */

static void note_warning(void *user, enum bk_log_level level, const char *line)
{
    (void)user;
    if (level <= BK_LOG_WARN)
        snprintf(cpu_warning, sizeof cpu_warning, "%s", line);
}

/** False when the plugin was not built (no oneDNN) or the processor lacks `cpu_isa`. */
static bool cpu_open(int threads)
{
    char path[4096];
    struct bk_error err = BK_ERROR_INIT;
    snprintf(path, sizeof path, "%s/plugins/backends/cpu.so", bk_test_env("BK_TEST_BINARY"));
    FILE *f = fopen(path, "rb");
    if (!f)
        return false;
    fclose(f);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        printf("\n    %s\n", dlerror());
    CU_ASSERT_PTR_NOT_NULL_FATAL(handle);
    const struct bk_module *module = dlsym(handle, "bk_module");
    CU_ASSERT_PTR_NOT_NULL_FATAL(module);
    bk_log_set_sink(note_warning, NULL);
    cpu_iface = module->plugins[0]->iface;
    cpu_state = calloc(1, module->plugins[0]->state_size);
    for (const struct bk_opt *o = module->plugins[0]->options; cpu_isa && o->name; o++)
        for (const struct bk_choice *c = o->choices; strcmp(o->name, "isa") == 0 && c->name; c++)
            if (strcmp(c->name, cpu_isa) == 0)
                memcpy((char *)cpu_state + o->offset, &c->value, sizeof c->value);
    int rc = cpu_iface->open(cpu_state, 0, BK_REPEATABLE, threads, &err);
    if (rc == BK_ENOTSUP) {
        free(cpu_state);
        return false;
    }
    CU_ASSERT_EQUAL_FATAL(rc, BK_OK);
    return true;
}

static void cpu_close(void)
{
    cpu_iface->close(cpu_state);
    free(cpu_state);
}

#define CPU_OPEN(threads)                                                                \
    do {                                                                                 \
        if (!cpu_open(threads))                                                          \
            BK_SKIP("no cpu backend, or not this instruction set");                                    \
    } while (0)

/** A tensor and its values in double. */
struct values {
    struct bk_tensor t;
    double *v;
    size_t n;
};

static uint32_t values_seed = 1;

/* Irwin-Hall: roughly normal with variance 1/3. */
static double next_random(void)
{
    double s = 0;
    for (int i = 0; i < 4; i++) {
        values_seed = values_seed * 1664525u + 1013904223u;
        s += (double)(values_seed >> 8) / 16777216.0 - 0.5;
    }
    return s;
}

static void values_put(struct values *a, size_t i, double x)
{
    if (a->t.dtype == BK_BF16) {
        uint16_t h = bk_f32_to_bf16((float)x);
        ((uint16_t *)a->t.data)[i] = h;
        a->v[i] = (double)bk_bf16_to_f32(h);
    } else if (a->t.dtype == BK_I32) {
        ((int32_t *)a->t.data)[i] = (int32_t)x;
        a->v[i] = x;
    } else {
        ((float *)a->t.data)[i] = (float)x;
        a->v[i] = (double)(float)x;
    }
}

static double values_get(const struct values *a, size_t i)
{
    if (a->t.dtype == BK_BF16)
        return (double)bk_bf16_to_f32(((const uint16_t *)a->t.data)[i]);
    return (double)((const float *)a->t.data)[i];
}

/** Random around `mean` with the given spread. Trailing dimensions of 0 are absent. */
static struct values values_new(uint32_t dtype, int64_t d0, int64_t d1, int64_t d2, int64_t d3,
                                double mean, double spread)
{
    int64_t dim[4] = { d0, d1, d2, d3 };
    struct values a = { .n = 1 };
    a.t.dtype = dtype;
    for (uint32_t i = 0; i < 4 && dim[i] > 0; i++) {
        a.t.dim[i] = dim[i];
        a.t.rank = i + 1;
        a.n *= (size_t)dim[i];
    }
    size_t nbytes = a.n * (dtype == BK_BF16 ? 2 : 4);
    a.t.data = aligned_alloc(64, (nbytes + 63) / 64 * 64);
    memset(a.t.data, 0xff, (nbytes + 63) / 64 * 64);    /* NaN behind the end */
    a.v = calloc(a.n, sizeof *a.v);
    for (size_t i = 0; i < a.n; i++)
        values_put(&a, i, mean + spread * next_random());
    return a;
}

static void values_free(struct values *a)
{
    free(a->t.data);
    free(a->v);
}

/** Largest difference between the tensor and `want`, relative to the largest wanted value. */
static double values_error(const struct values *a, const double *want)
{
    double worst = 0, scale = 1e-30;
    for (size_t i = 0; i < a->n; i++) {
        double d = fabs(values_get(a, i) - want[i]);
        worst = isnan(d) ? INFINITY : d > worst ? d : worst;
        scale = fabs(want[i]) > scale ? fabs(want[i]) : scale;
    }
    return worst / scale;
}

#define ASSERT_NEAR(a, want, tol)                                                        \
    do {                                                                                 \
        double e_ = values_error(a, want);                                               \
        if (!(e_ <= (tol)))                                                              \
            printf("\n    %s:%d: %s is off by %.3g, allowed %.3g\n", __FILE__, __LINE__, #a, \
                   e_, (double)(tol));                                                   \
        CU_ASSERT(e_ <= (tol));                                                          \
    } while (0)

static const uint32_t act_types[2] = { BK_F32, BK_BF16 };
/* Rounding of the last store, relative to the largest value, plus room for sums in another order. */
static double tolerance(uint32_t dtype)
{
    return dtype == BK_BF16 ? 6e-3 : 1e-5;
}

static void run_kernel(uint32_t kernel, const struct bk_kernel_args *args)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(cpu_iface->run(cpu_state, kernel, args, &err));
}

#endif
