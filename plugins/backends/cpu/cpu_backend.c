/*
 * cpu_backend.c: the optimised CPU backend: oneDNN for convolutions and matrix products, own loops for everything else.
 *
 * Activations stay in plain NHWC from end to end; only small weights are reordered. This file has memory, threads, the
 * choice of the instruction set and the table of kernels; see cpu_state.h for how a kernel is built. One OpenMP
 * runtime (gcc's) serves oneDNN and our loops; OpenBLAS is not used, its pthread build would fight for the cores.
 */
#include "cpu_state.h"
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)2 << 20)

/* ---- threads ----------------------------------------------------------------------------------- */

/* Below about 16k simple steps a parallel region costs more than it saves. A region has one thread or all of them: libgomp
 * ends and restarts threads when the number changes. */
int cpu_parts(const struct cpu *cpu, int64_t n, int64_t cost)
{
    if (cpu->threads == 1 || n < 2 || n * cost < 16384)
        return 1;
    return n < cpu->threads ? (int)n : cpu->threads;
}

void cpu_parallel(const struct cpu *cpu, int parts, int64_t n, cpu_range_fn fn, void *ctx)
{
    if (parts == 1) {
        fn(ctx, 0, 0, n);
        return;
    }
#pragma omp parallel num_threads(cpu->threads)
    {
        /* The runtime may give fewer threads than asked for; the parts stay the same. */
        for (int p = omp_get_thread_num(); p < parts; p += omp_get_num_threads())
            fn(ctx, p, n * p / parts, n * (p + 1) / parts);
    }
}

/* ---- memory ------------------------------------------------------------------------------------ */

/* Touching fresh 4 KiB pages costs more than computing on them: ask for huge ones where whole ones fit. */
static void advise_huge_pages(void *p, size_t nbytes)
{
    uintptr_t begin = ((uintptr_t)p + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uintptr_t end = ((uintptr_t)p + nbytes) / HUGE_PAGE * HUGE_PAGE;
    if (begin < end)
        madvise((void *)begin, end - begin, MADV_HUGEPAGE);
}

static int alloc_memory(void *state, size_t nbytes, void **out, struct bk_error *err)
{
    (void)state;
    void *p = bk_alloc_aligned(nbytes ? nbytes : 1);
    if (!p)
        return bk_fail(err, BK_ENOMEM, "out of memory: %zu bytes on the cpu", nbytes);
    if (nbytes >= HUGE_PAGE)
        advise_huge_pages(p, nbytes);
    *out = p;
    return BK_OK;
}

static void dealloc_memory(void *state, void *p, size_t nbytes)
{
    (void)state;
    (void)nbytes;
    bk_free_aligned(p);
}

int cpu_scratch(struct cpu *cpu, enum cpu_scratch_slot slot, size_t nbytes, void *out,
                struct bk_error *err)
{
    void **ptr = &cpu->scratch[slot].ptr;
    if (nbytes > cpu->scratch[slot].nbytes || !*ptr) {
        bk_free_aligned(*ptr);
        *ptr = NULL;
        cpu->scratch[slot].nbytes = 0;
        size_t size = cpu_round_up(nbytes + nbytes / 4 + 64, 4096);
        int rc = alloc_memory(cpu, size, ptr, err);
        if (rc)
            return rc;
        cpu->scratch[slot].nbytes = size;
    }
    memcpy(out, ptr, sizeof *ptr);
    return BK_OK;
}

void cpu_scratch_release(struct cpu *cpu)
{
    for (int i = 0; i < CPU_SCRATCH_COUNT; i++) {
        bk_free_aligned(cpu->scratch[i].ptr);
        cpu->scratch[i].ptr = NULL;
        cpu->scratch[i].nbytes = 0;
    }
}

static int copy_memory(void *state, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    (void)state;
    (void)err;
    if (nbytes)
        memcpy(dst, src, nbytes);
    return BK_OK;
}

static int zero_memory(void *state, void *dst, size_t nbytes, struct bk_error *err)
{
    (void)state;
    (void)err;
    if (nbytes)
        memset(dst, 0, nbytes);
    return BK_OK;
}

/* ---- life cycle -------------------------------------------------------------------------------- */

enum isa { ISA_AUTO = 1, ISA_AVX512, ISA_AVX512_PLAIN, ISA_AVX2, ISA_BASE };

static const struct bk_choice isas[] = {
    { "auto", ISA_AUTO }, { "avx512", ISA_AVX512 }, { "avx512_plain", ISA_AVX512_PLAIN },
    { "avx2", ISA_AVX2 }, { "base", ISA_BASE }, { NULL, 0 },
};

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("bmi2");
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}

static const struct cpu_loops *avx512_loops(void)
{
    return __builtin_cpu_supports("avx512bf16") ? &cpu_loops_v4bf16 : &cpu_loops_v4;
}

/* NULL when the processor lacks what was asked for. */
static const struct cpu_loops *pick_loops(int32_t isa)
{
    __builtin_cpu_init();
    switch (isa) {
    case ISA_BASE:
        return &cpu_loops_base;
    case ISA_AVX2:
        return has_avx2() ? &cpu_loops_v3 : NULL;
    case ISA_AVX512_PLAIN:      /* without its bf16 conversions */
        return has_avx512() ? &cpu_loops_v4 : NULL;
    case ISA_AVX512:
        return has_avx512() ? avx512_loops() : NULL;
    default:
        return has_avx512() ? avx512_loops() : has_avx2() ? &cpu_loops_v3 : &cpu_loops_base;
    }
}

static int probe(void *state, struct bk_error *err)
{
    (void)state;
    (void)err;
    return BK_OK;
}

static int open_device(void *state, int32_t index, uint32_t determinism, int32_t threads,
                       struct bk_error *err)
{
    struct cpu *cpu = state;
    if (index != 0)
        return bk_fail(err, BK_EINVAL, "cpu: device %d does not exist, legal: 0", (int)index);
    if (determinism == BK_REFERENCE)
        return bk_fail(err, BK_ENOTSUP, "cpu: determinism 'reference' is the backend 'ref'");
    if (cpu->is_open)
        return bk_fail(err, BK_ESTATE, "cpu: this instance has an open device already");
    cpu->loops = pick_loops(cpu->isa);
    if (!cpu->loops)
        return bk_fail(err, BK_ENOTSUP, "cpu: this processor lacks the instruction set of option 'isa'");
    int rc = cpu_dnnl_open(&cpu->dnnl, err);
    if (rc)
        return rc;
    cpu->threads = threads > 0 ? threads : bk_threads();
    omp_set_num_threads(cpu->threads);
    cpu->is_open = true;
    return BK_OK;
}

static void close_device(void *state)
{
    struct cpu *cpu = state;
    cpu_dnnl_close(cpu->dnnl);
    cpu->dnnl = NULL;
    cpu_scratch_release(cpu);
    cpu->is_open = false;
}

/* "model name" of the first processor. */
static void processor_name(char *buf, size_t n)
{
    snprintf(buf, n, "unknown processor");
    FILE *f = fopen("/proc/cpuinfo", "r");
    if (!f)
        return;
    char line[256];
    while (fgets(line, sizeof line, f)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) || !colon)
            continue;
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(buf, n, "%s", colon + 1 + strspn(colon + 1, " "));
        break;
    }
    fclose(f);
}

static int info(void *state, struct bk_backend_info *out, struct bk_error *err)
{
    struct cpu *cpu = state;
    (void)err;
    char name[64], dnnl[64];
    processor_name(name, sizeof name);
    cpu_dnnl_version(dnnl, sizeof dnnl);
    out->host_memory = 1;
    out->fast_bf16 = cpu_dnnl_is_bf16_fast();
    out->reserved = 0;
    snprintf(out->device_name, sizeof out->device_name, "%s, %s%s", name,
             (cpu->loops ? cpu->loops : pick_loops(ISA_AUTO))->name, out->fast_bf16 ? ", bf16" : "");
    snprintf(out->libraries, sizeof out->libraries, "%s (OpenMP, %d threads)", dnnl,
             cpu->threads ? cpu->threads : bk_threads());
    return BK_OK;
}

/* ---- kernels ----------------------------------------------------------------------------------- */

static const cpu_kernel_fn kernels[BK_KERNEL_COUNT] = {
#define CPU_KERNEL_ENTRY(upper, lower) [BK_K_##upper] = cpu_##lower,
    CPU_KERNEL_LIST(CPU_KERNEL_ENTRY)
#undef CPU_KERNEL_ENTRY
};

static bool is_matrix_kernel(uint32_t kernel)
{
    return kernel == BK_K_CONV2D || kernel == BK_K_CONV2D_DX || kernel == BK_K_CONV2D_DW ||
           kernel == BK_K_LINEAR || kernel == BK_K_LINEAR_DX || kernel == BK_K_LINEAR_DW;
}

static bool supports(void *state, uint32_t kernel, uint32_t dtype)
{
    (void)state;
    if (kernel >= BK_KERNEL_COUNT || !kernels[kernel])
        return false;
    if (dtype == BK_BF16)
        return !is_matrix_kernel(kernel) || cpu_dnnl_has_bf16();
    return dtype == BK_F32;
}

static int run(void *state, uint32_t kernel, const struct bk_kernel_args *args,
               struct bk_error *err)
{
    struct cpu *cpu = state;
    if (kernel >= BK_KERNEL_COUNT || !kernels[kernel])
        return bk_fail(err, BK_ENOTSUP, "the cpu backend has no such kernel");
    if (omp_get_max_threads() != cpu->threads)
        omp_set_num_threads(cpu->threads);      /* another thread than the one that opened */
    return kernels[kernel](cpu, args, err);
}

static int synchronize(void *state, struct bk_error *err)
{
    (void)state;
    (void)err;
    return BK_OK;
}

static void free_instance(void *state)
{
    struct cpu *cpu = state;
    if (cpu->is_open)
        close_device(cpu);
}

static const struct bk_backend_iface iface = {
    .struct_size = sizeof iface,
    .probe = probe,
    .open = open_device,
    .close = close_device,
    .info = info,
    .alloc = alloc_memory,
    .dealloc = dealloc_memory,
    .copy_in = copy_memory,
    .copy_out = copy_memory,
    .copy = copy_memory,
    .zero = zero_memory,
    .supports = supports,
    .run = run,
    .synchronize = synchronize,
};

static const struct bk_opt options[] = {
    BK_ENUM("isa", struct cpu, isa, ISA_AUTO, isas, "instruction set of our own loops; oneDNN chooses its own"),
    BK_OPT_END
};

static const struct bk_plugin cpu_plugin = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_BACKEND,
    .name = "cpu",
    .version = "1.0.0",
    .summary = "optimised CPU kernels: oneDNN convolutions and own fused NHWC loops, f32 and bf16",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct cpu),
    .free = free_instance,
    .iface = &iface,
};

BK_MODULE(&cpu_plugin);
