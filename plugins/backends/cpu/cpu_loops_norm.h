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

INLINE void apply_block(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols,
                        int64_t j, int bf16, int nt, int nv, int n)
{
    vf mean[3][NORM_MAX_NV], a[3][NORM_MAX_NV], c[NORM_MAX_NV];
    for (int v = 0; v < nv; v++) {
        c[v] = vload_n(job->c[0], j + v * VL, 0, n);
        for (int t = 0; t < nt; t++) {
            mean[t][v] = vload_n(job->mean[t], j + v * VL, 0, n);
            a[t][v] = vload_n(job->a[t], j + v * VL, 0, n);
        }
    }
    for (int64_t r = begin; r < end; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vf y = c[v];
            for (int t = 0; t < nt; t++)
                y += (vload_n(job->x[t], i, bf16, n) - mean[t][v]) * a[t][v];
            if (job->residual)
                y += vload_n(job->residual, i, bf16, n);
            if (job->relu)
                y = vrelu(y);
            vstore_n(job->y, i, bf16, y, n);
        }
}

INLINE vf load_dz(const struct cpu_norm_job *job, int64_t i, int bf16, int n)
{
    vf dz = vload_n(job->dy[0], i, bf16, n);
    if (job->n_dy > 1)
        dz += vload_n(job->dy[1], i, bf16, n);
    if (job->n_dy > 2)
        dz += vload_n(job->dy[2], i, bf16, n);
    if (job->n_dy > 3)
        dz += vload_n(job->dy[3], i, bf16, n);
    if (job->relu)
        dz = vwhere_positive(dz, vload_n(job->y, i, bf16, n));
    return dz;
}

INLINE void reduce_block(const struct cpu_norm_job *job, int64_t begin, int64_t end, int64_t cols,
                         int64_t j, int64_t stride, double *sums, int bf16, int nt, int nv, int n)
{
    vf s[NORM_MAX_NV], q[3][NORM_MAX_NV], mean[3][NORM_MAX_NV];
    for (int v = 0; v < nv; v++) {
        s[v] = vset(0);
        for (int t = 0; t < nt; t++) {
            q[t][v] = vset(0);
            mean[t][v] = vload_n(job->mean[t], j + v * VL, 0, n);
        }
    }
    for (int64_t r = begin; r < end; r++)
        for (int v = 0; v < nv; v++) {
            int64_t i = r * cols + j + v * VL;
            vf dz = load_dz(job, i, bf16, n);
            s[v] += dz;
            for (int t = 0; t < nt; t++)
                q[t][v] += dz * (vload_n(job->x[t], i, bf16, n) - mean[t][v]);
        }
    for (int v = 0; v < nv; v++) {
        vflush(sums + j + v * VL, s[v], n);
        for (int t = 0; t < nt; t++)
            vflush(sums + (1 + t) * stride + j + v * VL, q[t][v], n);
    }
}

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
            vf dz = load_dz(job, i, bf16, n);
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

#define NORM_LOOPS(suffix, bf16, nt, nv_apply, nv_dx)                                    \
    static void norm_apply_##suffix(const struct cpu_norm_job *job, int64_t begin,       \
                                    int64_t end, int64_t cols)                           \
    {                                                                                    \
        NORM_ROWS(begin, end, cols, nv_apply, NORM_APPLY_##suffix);                      \
    }                                                                                    \
    static void norm_reduce_##suffix(const struct cpu_norm_job *job, int64_t begin,      \
                                     int64_t end, int64_t cols, int64_t stride,          \
                                     double *sums)                                       \
    {                                                                                    \
        NORM_ROWS(begin, end, cols, nv_apply, NORM_REDUCE_##suffix);                     \
    }                                                                                    \
    static void norm_dx_##suffix(const struct cpu_norm_job *job, int64_t begin,          \
                                 int64_t end, int64_t cols)                              \
    {                                                                                    \
        NORM_ROWS(begin, end, cols, nv_dx, NORM_DX_##suffix);                            \
    }

#define NORM_APPLY_f32_1(nv, n) apply_block(job, r0, r1, cols, j, 0, 1, nv, n)
#define NORM_APPLY_f32_2(nv, n) apply_block(job, r0, r1, cols, j, 0, 2, nv, n)
#define NORM_APPLY_f32_3(nv, n) apply_block(job, r0, r1, cols, j, 0, 3, nv, n)
#define NORM_APPLY_bf16_1(nv, n) apply_block(job, r0, r1, cols, j, 1, 1, nv, n)
#define NORM_APPLY_bf16_2(nv, n) apply_block(job, r0, r1, cols, j, 1, 2, nv, n)
#define NORM_APPLY_bf16_3(nv, n) apply_block(job, r0, r1, cols, j, 1, 3, nv, n)
#define NORM_REDUCE_f32_1(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 0, 1, nv, n)
#define NORM_REDUCE_f32_2(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 0, 2, nv, n)
#define NORM_REDUCE_f32_3(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 0, 3, nv, n)
#define NORM_REDUCE_bf16_1(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 1, 1, nv, n)
#define NORM_REDUCE_bf16_2(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 1, 2, nv, n)
#define NORM_REDUCE_bf16_3(nv, n) reduce_block(job, r0, r1, cols, j, stride, sums, 1, 3, nv, n)
#define NORM_DX_f32_1(nv, n) dx_block(job, r0, r1, cols, j, 0, 1, nv, n)
#define NORM_DX_f32_2(nv, n) dx_block(job, r0, r1, cols, j, 0, 2, nv, n)
#define NORM_DX_f32_3(nv, n) dx_block(job, r0, r1, cols, j, 0, 3, nv, n)
#define NORM_DX_bf16_1(nv, n) dx_block(job, r0, r1, cols, j, 1, 1, nv, n)
#define NORM_DX_bf16_2(nv, n) dx_block(job, r0, r1, cols, j, 1, 2, nv, n)
#define NORM_DX_bf16_3(nv, n) dx_block(job, r0, r1, cols, j, 1, 3, nv, n)

NORM_LOOPS(f32_1, 0, 1, 4, 4)
NORM_LOOPS(f32_2, 0, 2, 4, 2)
NORM_LOOPS(f32_3, 0, 3, 2, 2)
NORM_LOOPS(bf16_1, 1, 1, 4, 4)
NORM_LOOPS(bf16_2, 1, 2, 4, 2)
NORM_LOOPS(bf16_3, 1, 3, 2, 2)
