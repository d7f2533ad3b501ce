/*
 * cpu_loops_norm.h: batch-norm range loops; included by the cpu_isa_*.c files only.
 *
 * Columns go in blocks of four vectors whose parameters and partial sums stay in registers while the rows of a chunk
 * stream past. A chunk is small enough that f32 partial sums keep their precision (they are added up in f64 after it) and
 * that all column blocks find its rows in the cache.
 */
#define NORM_MAX_NV 4

/* Rows that share one f32 partial sum. */
INLINE int64_t chunk_rows(int64_t cols)
{
    int64_t rows = 16384 / cols;
    return rows < 1 ? 1 : rows > 128 ? 128 : rows;
}

INLINE void stats_block(const void *x, int64_t rows, int64_t cols, int64_t j, const float *shift,
                        double *sum, double *sq, int bf16, int nv, int n)
{
    vf s[NORM_MAX_NV], q[NORM_MAX_NV], sh[NORM_MAX_NV];
    for (int v = 0; v < nv; v++) {
        s[v] = q[v] = vset(0);
        sh[v] = vload_n(shift, j + v * VL, 0, n);
    }
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < nv; v++) {
            vf d = vload_n(x, r * cols + j + v * VL, bf16, n) - sh[v];
            s[v] += d;
            q[v] += d * d;
        }
    for (int v = 0; v < nv; v++) {
        vflush(sum + j + v * VL, s[v], n);
        vflush(sq + j + v * VL, q[v], n);
    }
}

INLINE void sums_block(const void *x, int64_t rows, int64_t cols, int64_t j, double *sum, int bf16,
                       int nv, int n)
{
    vf s[NORM_MAX_NV];
    for (int v = 0; v < nv; v++)
        s[v] = vset(0);
    for (int64_t r = 0; r < rows; r++)
        for (int v = 0; v < nv; v++)
            s[v] += vload_n(x, r * cols + j + v * VL, bf16, n);
    for (int v = 0; v < nv; v++)
        vflush(sum + j + v * VL, s[v], n);
}

/* Call block(..., nv, n) for all columns: four vectors, one vector, a part of a vector. */
#define FOR_COLUMNS(cols, nv_wide, CALL)                                                 \
    do {                                                                                 \
        int64_t j = 0;                                                                   \
        for (; j + (nv_wide)*VL <= (cols); j += (nv_wide)*VL)                            \
            CALL(nv_wide, VL);                                                           \
        for (; j + VL <= (cols); j += VL)                                                \
            CALL(1, VL);                                                                 \
        if (j < (cols))                                                                  \
            CALL(1, (int)((cols)-j));                                                    \
    } while (0)

INLINE const void *at(const void *p, int64_t i, int bf16)
{
    return (const char *)p + i * (bf16 ? 2 : 4);
}

INLINE void stats_rows(const void *x, int64_t rows, int64_t cols, const float *shift, double *sum,
                       double *sq, int bf16)
{
    int64_t step = chunk_rows(cols);
    for (int64_t r = 0; r < rows; r += step) {
        int64_t nr = rows - r < step ? rows - r : step;
#define CALL(nv, n) stats_block(at(x, r * cols, bf16), nr, cols, j, shift, sum, sq, bf16, nv, n)
        FOR_COLUMNS(cols, 4, CALL);
#undef CALL
    }
}

INLINE void sums_rows(const void *x, int64_t rows, int64_t cols, double *sum, int bf16)
{
    int64_t step = chunk_rows(cols);
    for (int64_t r = 0; r < rows; r += step) {
        int64_t nr = rows - r < step ? rows - r : step;
#define CALL(nv, n) sums_block(at(x, r * cols, bf16), nr, cols, j, sum, bf16, nv, n)
        FOR_COLUMNS(cols, 4, CALL);
#undef CALL
    }
}

static void stats_f32(const void *x, int64_t rows, int64_t cols, const float *shift, double *sum,
                      double *sq)
{
    stats_rows(x, rows, cols, shift, sum, sq, 0);
}

static void stats_bf16(const void *x, int64_t rows, int64_t cols, const float *shift, double *sum,
                       double *sq)
{
    stats_rows(x, rows, cols, shift, sum, sq, 1);
}

static void column_sums_f32(const void *x, int64_t rows, int64_t cols, double *sum)
{
    sums_rows(x, rows, cols, sum, 0);
}

static void column_sums_bf16(const void *x, int64_t rows, int64_t cols, double *sum)
{
    sums_rows(x, rows, cols, sum, 1);
}

/* Variants of the loops, by the activation of the sum z. What is rare is not worth code of its own. */
enum { NORM_PLAIN, NORM_SILU, NORM_OTHER };     /* none or ReLU, asked for at run time; SiLU; a call a vector */

static __attribute__((noinline)) vf other_value(int act, vf z, int bf16)
{
    return act_value(act, z, bf16);
}

static __attribute__((noinline)) vf other_gradient(int act, vf g, vf z, int bf16)
{
    return act_gradient(act, g, z, bf16);
}

INLINE void apply_block(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols,
                        int64_t j, int bf16, int nt, int nv, int n, int variant)
{
    vf mean[3][NORM_MAX_NV], a[3][NORM_MAX_NV], c[NORM_MAX_NV];
    for (int v = 0; v < nv; v++) {
        c[v] = vload_n(job->offset, j + v * VL, 0, n);
        for (int t = 0; t < nt; t++) {
            mean[t][v] = vload_n(job->mean[t], j + v * VL, 0, n);
            a[t][v] = vload_n(job->a[t], j + v * VL, 0, n);
        }
    }
    for (int64_t r = begin; r < end; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vf z = c[v];
            for (int t = 0; t < nt; t++)
                z += (vload_n(job->x[t], i, bf16, n) - mean[t][v]) * a[t][v];
            if (job->residual)
                z += vload_n(job->residual, i, bf16, n);
            if (variant == NORM_SILU)
                z = act_value(BK_ACT_SILU, z, bf16);
            else if (variant == NORM_OTHER)
                z = other_value(job->activation, z, bf16);
            else if (job->activation == BK_ACT_RELU)
                z = vrelu(z);
            vstore_n(job->y, i, bf16, z, n);
        }
}

/* The sum of the incoming gradients; with a ReLU where y is positive. */
INLINE vf load_dy(const struct cpu_norm_job *job, int64_t i, int bf16, int n)
{
    vf dy = vload_n(job->dy[0], i, bf16, n);
    if (job->n_dy > 1)
        dy += vload_n(job->dy[1], i, bf16, n);
    if (job->n_dy > 2)
        dy += vload_n(job->dy[2], i, bf16, n);
    if (job->n_dy > 3)
        dy += vload_n(job->dy[3], i, bf16, n);
    if (job->activation == BK_ACT_RELU)
        dy = vwhere_positive(dy, vload_n(job->y, i, bf16, n));
    return dy;
}

INLINE void reduce_block(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols,
                         int64_t j, int64_t stride, double *sums, int bf16, int nt, int nv, int n, int variant)
{
    const int again = variant != NORM_PLAIN;    /* compute z again */
    vf s[NORM_MAX_NV], q[3][NORM_MAX_NV], mean[3][NORM_MAX_NV], a[3][NORM_MAX_NV], c[NORM_MAX_NV];
    for (int v = 0; v < nv; v++) {
        s[v] = vset(0);
        if (again)
            c[v] = vload_n(job->offset, j + v * VL, 0, n);
        for (int t = 0; t < nt; t++) {
            q[t][v] = vset(0);
            mean[t][v] = vload_n(job->mean[t], j + v * VL, 0, n);
            if (again)
                a[t][v] = vload_n(job->a[t], j + v * VL, 0, n);
        }
    }
    for (int64_t r = begin; r < end; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vf dz = load_dy(job, i, bf16, n), d[3];
            for (int t = 0; t < nt; t++)
                d[t] = vload_n(job->x[t], i, bf16, n) - mean[t][v];
            if (again) {
                vf z = c[v];
                for (int t = 0; t < nt; t++)
                    z += d[t] * a[t][v];
                if (job->residual)
                    z += vload_n(job->residual, i, bf16, n);
                dz = variant == NORM_SILU ? act_gradient(BK_ACT_SILU, dz, z, bf16)
                                          : other_gradient(job->activation, dz, z, bf16);
                if (job->dz)
                    vstore_n(job->dz, i, bf16, dz, n);
            }
            s[v] += dz;
            for (int t = 0; t < nt; t++)
                q[t][v] += dz * d[t];
        }
    for (int v = 0; v < nv; v++) {
        vflush(sums + j + v * VL, s[v], n);
        for (int t = 0; t < nt; t++)
            vflush(sums + (1 + t) * stride + j + v * VL, q[t][v], n);
    }
}

/* No other activation than a ReLU: reduce_block() has left dz for the others. */
INLINE void dx_block(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols,
                     int64_t j, int bf16, int nt, int nv, int n)
{
    vf mean[3][NORM_MAX_NV], a[3][NORM_MAX_NV], b[3][NORM_MAX_NV], c[3][NORM_MAX_NV];
    for (int v = 0; v < nv; v++)
        for (int t = 0; t < nt; t++) {
            mean[t][v] = vload_n(job->mean[t], j + v * VL, 0, n);
            a[t][v] = vload_n(job->a[t], j + v * VL, 0, n);
            b[t][v] = vload_n(job->b[t], j + v * VL, 0, n);
            c[t][v] = vload_n(job->c[t], j + v * VL, 0, n);
        }
    for (int64_t r = begin; r < end; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vf dz = load_dy(job, i, bf16, n);
            if (job->dresidual)
                vstore_n(job->dresidual, i, bf16, dz, n);
            for (int t = 0; t < nt; t++)
                if (job->dx[t]) {
                    vf d = vload_n(job->x[t], i, bf16, n) - mean[t][v];
                    vstore_n(job->dx[t], i, bf16, a[t][v] * dz + (b[t][v] * d + c[t][v]), n);
                }
        }
}

/* Chunk by chunk, all columns of each. */
#define NORM_ROWS(begin, end, cols, nv_wide, BLOCK)                                      \
    do {                                                                                 \
        int64_t step = chunk_rows(cols);                                                 \
        for (int64_t r0 = (begin); r0 < (end); r0 += step) {                             \
            int64_t r1 = (end)-r0 < step ? (end) : r0 + step;                            \
            FOR_COLUMNS(cols, nv_wide, BLOCK);                                           \
        }                                                                                \
    } while (0)

INLINE void apply_rows(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols, int bf16, int nt,
                       int nv_wide, int variant)
{
#define CALL(nv, n) apply_block(job, r0, r1, cols, j, bf16, nt, nv, n, variant)
    NORM_ROWS(begin, end, cols, nv_wide, CALL);
#undef CALL
}

INLINE void reduce_rows(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols, int64_t stride,
                        double *sums, int bf16, int nt, int nv_wide, int variant)
{
#define CALL(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, bf16, nt, nv, n, variant)
    NORM_ROWS(begin, end, cols, nv_wide, CALL);
#undef CALL
}

INLINE void dx_rows(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols, int bf16, int nt, int nv_wide)
{
#define CALL(nv, n) dx_block(job, r0, r1, cols, j, bf16, nt, nv, n)
    NORM_ROWS(begin, end, cols, nv_wide, CALL);
#undef CALL
}

/* `call(variant, nv)` with the variant as a constant. */
#define NORM_SWITCH(nt, nv, call)                                                        \
    if (job->activation == BK_ACT_NONE || job->activation == BK_ACT_RELU)                \
        call(NORM_PLAIN, nv);                                                            \
    else if (nt == 1 && job->activation == BK_ACT_SILU)                                  \
        call(NORM_SILU, 2);                                                              \
    else                                                                                 \
        call(NORM_OTHER, 1);

#define NORM_LOOPS(suffix, bf16, nt, nv_sums, nv_dx)                                     \
    static void norm_apply_##suffix(const struct cpu_norm_job *job, int64_t begin,       \
                                    int64_t end, int64_t cols)                           \
    {                                                                                    \
        NORM_SWITCH(nt, nv_sums, APPLY_##suffix)                                         \
    }                                                                                    \
    static void norm_reduce_##suffix(const struct cpu_norm_job *job, int64_t begin,      \
                                     int64_t end, int64_t cols, int64_t stride,          \
                                     double *sums)                                       \
    {                                                                                    \
        NORM_SWITCH(nt, nv_sums, REDUCE_##suffix)                                        \
    }                                                                                    \
    static void norm_dx_##suffix(const struct cpu_norm_job *job, int64_t begin,          \
                                 int64_t end, int64_t cols)                              \
    {                                                                                    \
        dx_rows(job, begin, end, cols, bf16, nt, nv_dx);                                 \
    }
#define APPLY_f32_1(variant, nv) apply_rows(job, begin, end, cols, 0, 1, nv, variant)
#define REDUCE_f32_1(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 0, 1, nv, variant)
#define APPLY_f32_2(variant, nv) apply_rows(job, begin, end, cols, 0, 2, nv, variant)
#define REDUCE_f32_2(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 0, 2, nv, variant)
#define APPLY_f32_3(variant, nv) apply_rows(job, begin, end, cols, 0, 3, nv, variant)
#define REDUCE_f32_3(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 0, 3, nv, variant)
#define APPLY_bf16_1(variant, nv) apply_rows(job, begin, end, cols, 1, 1, nv, variant)
#define REDUCE_bf16_1(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 1, 1, nv, variant)
#define APPLY_bf16_2(variant, nv) apply_rows(job, begin, end, cols, 1, 2, nv, variant)
#define REDUCE_bf16_2(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 1, 2, nv, variant)
#define APPLY_bf16_3(variant, nv) apply_rows(job, begin, end, cols, 1, 3, nv, variant)
#define REDUCE_bf16_3(variant, nv) reduce_rows(job, begin, end, cols, stride, sums, 1, 3, nv, variant)

NORM_LOOPS(f32_1, 0, 1, 4, 4)
NORM_LOOPS(f32_2, 0, 2, 4, 2)
NORM_LOOPS(f32_3, 0, 3, 2, 2)
NORM_LOOPS(bf16_1, 1, 1, 4, 4)
NORM_LOOPS(bf16_2, 1, 2, 4, 2)
NORM_LOOPS(bf16_3, 1, 3, 2, 2)
