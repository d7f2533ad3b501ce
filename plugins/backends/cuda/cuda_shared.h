/*
 * cuda_shared.h: index arithmetic, reduction plans and scalar formulas that the kernels and their host-side tests share.
 *
 * Compiles as C11 (tests/backends/test_cuda_logic.c walks blocks and threads in plain loops and compares with `ref`)
 * and as CUDA. No memory, no launches, no vendor types here. Letters: R rows, C channels, V channels a thread handles
 * at once (one 16-byte access where C allows), a tap is one position (i, j) of a window.
 */
#ifndef CUDA_SHARED_H
#define CUDA_SHARED_H

#include <bosskit/ops.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define CUDA_HD static __host__ __device__ __forceinline__
#else
#define CUDA_HD static inline
#endif

#define CUDA_BLOCK 256                  /* threads of almost every block */

CUDA_HD int64_t cuda_ceil_div(int64_t n, int64_t d)
{
    return (n + d - 1) / d;
}

/* ---- small blocks of the parameter region -------------------------------------------------------- */

#define CUDA_SMALL_MAX ((size_t)1 << 20)
#define CUDA_SIZE_CLASSES 44

/** Class of a block of 1..CUDA_SMALL_MAX bytes and its rounded size: multiples of 256 up to 1024, then four a power of two. */
CUDA_HD int cuda_size_class(size_t nbytes, size_t *rounded)
{
    if (nbytes <= 1024) {
        size_t n = nbytes ? (nbytes + 255) / 256 : 1;
        *rounded = n * 256;
        return (int)n - 1;
    }
    size_t p = 1024;
    int level = 0;
    for (; 2 * p < nbytes; level++)
        p *= 2;
    size_t step = p / 4, n = (nbytes - p + step - 1) / step;
    *rounded = p + n * step;
    return 4 + 4 * level + (int)n - 1;
}

/* ---- how a block walks rows ---------------------------------------------------------------------- */

/**
 * A [rows, c] array cut for kernels that keep per-channel values in registers: a block covers `tx` vectors of v channels
 * side by side and `ty` rows at a time, so that neighbouring threads touch neighbouring memory whatever c is.
 * Blocks: tiles of columns (grid y) times parts of rows (grid x).
 */
struct cuda_rows {
    int64_t rows, per_part;
    int c, v, cv, tx, ty, tiles, parts;
};

/** At least `per_thread` rows a thread, at most `max_parts` parts; c % v == 0. */
CUDA_HD struct cuda_rows cuda_rows_plan(int64_t rows, int c, int v, int per_thread, int max_parts)
{
    struct cuda_rows p;
    p.rows = rows;
    p.c = c;
    p.v = v;
    p.cv = c / v;
    p.tx = p.cv < CUDA_BLOCK ? p.cv : CUDA_BLOCK;
    p.ty = CUDA_BLOCK / p.tx;
    p.tiles = (int)cuda_ceil_div(p.cv, p.tx);
    int64_t parts = rows / ((int64_t)p.ty * per_thread);
    if (parts > max_parts)
        parts = max_parts;
    if (parts < 1)
        parts = 1;
    p.per_part = cuda_ceil_div(rows, parts);
    p.parts = (int)cuda_ceil_div(rows, p.per_part);
    return p;
}

/** Parts of a reduction over rows: bounded so that partial sums stay small; the same on every device. */
CUDA_HD int cuda_reduce_parts(int c)
{
    int n = (1 << 19) / c;
    return n > 512 ? 512 : n < 16 ? 16 : n;
}

/** First channel vector and first row of a thread; false when the thread has nothing to do. */
CUDA_HD bool cuda_rows_at(const struct cuda_rows *p, int tile, int part, int thread, int *column, int64_t *row)
{
    *column = tile * p->tx + thread % p->tx;
    *row = part * p->per_part + thread / p->tx;
    return thread < p->tx * p->ty && *column < p->cv;
}

CUDA_HD int64_t cuda_rows_end(const struct cuda_rows *p, int part)
{
    int64_t end = (part + 1) * p->per_part;
    return end < p->rows ? end : p->rows;
}

/* ---- activations: kinds are enum bk_activation -------------------------------------------------- */

CUDA_HD float cuda_sigmoid(float x)
{
    return 1 / (1 + expf(-x));
}

CUDA_HD float cuda_act(int kind, float x)
{
    switch (kind) {
    case BK_ACT_NONE:
        return x;
    case BK_ACT_RELU:
        return x < 0 ? 0 : x;           /* NaN stays NaN */
    case BK_ACT_RELU6:
        return x > 6 ? 6 : x < 0 ? 0 : x;
    case BK_ACT_SILU:
        return x * cuda_sigmoid(x);
    default:
        return cuda_sigmoid(x);
    }
}

CUDA_HD float cuda_act_slope(int kind, float x)
{
    float s;
    switch (kind) {
    case BK_ACT_NONE:
        return 1;
    case BK_ACT_RELU:
        return x > 0;
    case BK_ACT_RELU6:
        return x > 0 && x < 6;
    case BK_ACT_SILU:
        s = cuda_sigmoid(x);
        return s * (1 + x * (1 - s));
    default:
        s = cuda_sigmoid(x);
        return s * (1 - s);
    }
}

/* ---- batch norm ---------------------------------------------------------------------------------- */

/** Mean and biased variance from sums of (x - shift) and its square over `rows` rows. */
CUDA_HD void cuda_norm_moments(double sum, double square, double shift, double rows, double *mean, double *var)
{
    double d = sum / rows, q = square / rows - d * d;
    *mean = shift + d;
    *var = q > 0 || q != q ? q : 0;     /* NaN stays NaN */
}

/** running := (1 - m) running + m value; m = 1 replaces even what is not a number. */
CUDA_HD float cuda_norm_follow(float running, double value, double m)
{
    return (float)(m == 1 ? value : (1 - m) * (double)running + m * value);
}

/** Coefficients of y += (x - mean32) a + c; what rounding the mean to f32 leaves goes into c. */
CUDA_HD void cuda_norm_forward(double mean, double rstd, double scale, double offset, float *mean32, float *a, float *c)
{
    *mean32 = (float)mean;
    *a = (float)(scale * rstd);
    *c = (float)(offset + ((double)*mean32 - mean) * (double)*a);
}

/**
 * Coefficients of dx = scale rstd dz + b (x - mean) + c from sum = sum of dz and dot = sum of dz (x - mean)
 * (Ioffe, Szegedy 2015, section 3); rows = 0 with constant statistics.
 */
CUDA_HD void cuda_norm_backward(double sum, double dot, double scale, double rstd, double rows, float *b, float *c)
{
    double g = scale * rstd;
    *b = rows > 0 ? (float)(-g * rstd * rstd * dot / rows) : 0.0f;
    *c = rows > 0 ? (float)(-g * sum / rows) : 0.0f;
}

/* ---- convolution as a matrix product ------------------------------------------------------------- */

struct cuda_geometry {
    int n, h, w, ci, ho, wo, co, kh, kw, cg, og, groups, stride, pad;
};

/** y as [N Ho Wo, og], inner index (tap, channel): where x is read; -1 in the padding. */
CUDA_HD int64_t cuda_conv_x(const struct cuda_geometry *g, int group, int row, int k)
{
    int c = k % g->cg, tap = k / g->cg, j = tap % g->kw, i = tap / g->kw;
    int q = row % g->wo, p = row / g->wo % g->ho, n = row / g->wo / g->ho;
    int r = p * g->stride - g->pad + i, s = q * g->stride - g->pad + j;
    if (r < 0 || r >= g->h || s < 0 || s >= g->w)
        return -1;
    return (((int64_t)n * g->h + r) * g->w + s) * g->ci + (int64_t)group * g->cg + c;
}

/** dx as [N H W, cg], inner index (tap, output channel): where dy is read; -1 where no output used this tap. */
CUDA_HD int64_t cuda_conv_dy(const struct cuda_geometry *g, int group, int row, int k)
{
    int o = k % g->og, tap = k / g->og, j = tap % g->kw, i = tap / g->kw;
    int s = row % g->w, r = row / g->w % g->h, n = row / g->w / g->h;
    int p = r + g->pad - i, q = s + g->pad - j;
    if (p < 0 || q < 0 || p % g->stride || q % g->stride)
        return -1;
    p /= g->stride;
    q /= g->stride;
    if (p >= g->ho || q >= g->wo)
        return -1;
    return (((int64_t)n * g->ho + p) * g->wo + q) * g->co + (int64_t)group * g->og + o;
}

/** Weight of output channel o of a group at inner index k of cuda_conv_x. */
CUDA_HD int64_t cuda_conv_w(const struct cuda_geometry *g, int group, int o, int k)
{
    return ((int64_t)group * g->og + o) * g->kh * g->kw * g->cg + k;
}

/** Weight of input channel c of a group at inner index k of cuda_conv_dy. */
CUDA_HD int64_t cuda_conv_w_dx(const struct cuda_geometry *g, int group, int c, int k)
{
    int o = k % g->og, tap = k / g->og;
    return (((int64_t)group * g->og + o) * g->kh * g->kw + tap) * g->cg + c;
}

#define CUDA_TILE 64                    /* rows and columns of a block's tile */
#define CUDA_TILE_K 16                  /* inner indices it holds at a time */

/** Element e (0..3) that a thread fetches of a 64 x 16 tile; `inner`: neighbouring threads differ in k, else in the row. */
CUDA_HD void cuda_tile_at(bool inner, int thread, int e, int *outer, int *k)
{
    *k = inner ? thread % CUDA_TILE_K : thread / CUDA_TILE + e * (CUDA_BLOCK / CUDA_TILE);
    *outer = inner ? thread / CUDA_TILE_K + e * (CUDA_BLOCK / CUDA_TILE_K) : thread % CUDA_TILE;
}

/** Splits of an inner dimension of k over blocks: enough work for the device, never under `least` a split. */
CUDA_HD int cuda_splits(int64_t k, int64_t tiles, int least, int *k_per_split)
{
    int64_t wanted = cuda_ceil_div(256, tiles), most = k / least;
    int64_t n = wanted < most ? wanted : most;
    int64_t at_most = cuda_ceil_div(k, 8192);   /* f32 sums of bounded length */
    if (n < at_most)
        n = at_most;
    if (n < 1)
        n = 1;
    int64_t per = cuda_ceil_div(cuda_ceil_div(k, n), 16) * 16;
    *k_per_split = (int)per;
    return (int)cuda_ceil_div(k, per);
}

/* ---- pooling ------------------------------------------------------------------------------------- */

struct cuda_pool {
    int n, h, w, c, ho, wo, size, stride, pad;
};

/** First and one-past-last input position of output p, inside 0..n-1. */
CUDA_HD void cuda_pool_window(const struct cuda_pool *s, int p, int n, int *begin, int *end)
{
    int b = p * s->stride - s->pad, e = b + s->size;
    *begin = b > 0 ? b : 0;
    *end = e < n ? e : n;
}

/** First and one-past-last output whose window holds input position r. */
CUDA_HD void cuda_pool_outputs(const struct cuda_pool *s, int r, int n_out, int *begin, int *end)
{
    int low = r + s->pad - s->size + 1, high = (r + s->pad) / s->stride + 1;
    *begin = low > 0 ? (low + s->stride - 1) / s->stride : 0;
    *end = high < n_out ? high : n_out;
}

/* ---- slices -------------------------------------------------------------------------------------- */

struct cuda_slice {
    int64_t whole[4], part[4];          /* dimensions, leading ones 1 */
};

/** Where element i of the leading slice lies in the whole. */
CUDA_HD int64_t cuda_slice_place(const struct cuda_slice *s, int64_t i)
{
    int64_t at = 0, stride = 1;
    for (int d = 3; d >= 0; d--) {
        at += i % s->part[d] * stride;
        stride *= s->whole[d];
        i /= s->part[d];
    }
    return at;
}

/* ---- pooled head (decision record 0003 and ref_pooled_head.c) ------------------------------------- */

/**
 * Per output k of the backward pass, with G_k = sum_n g_nk u_n (u = m - mu) already summed: A = w_k . G_k replaces the
 * product of g with z, so that the [N,K] matrix z is never formed. dw_k = a G_k + two_v S w_k; Q uses v.
 */
CUDA_HD void cuda_head_output(double scale, double rstd, double A, float *a, float *v, double *dscale)
{
    *a = (float)(scale * rstd);
    *v = (float)(-0.5 * scale * rstd * rstd * rstd * A);
    *dscale = rstd * A;
}

/* ---- optimisers ---------------------------------------------------------------------------------- */

/** LARS trust ratio from sums of squares; <bosskit/optim.h>. */
CUDA_HD double cuda_lars_ratio(double w2, double g2, double decay, double trust, bool excluded, bool guard)
{
    if (excluded)
        return 1;
    double w = sqrt(w2), g = sqrt(g2), down = g + decay * w;
    if ((guard && (w == 0 || g == 0)) || down == 0)
        return 1;
    return trust * w / down;
}

/* ---- randomness: Philox4x32-10 as in <bosskit/random.h> -------------------------------------------- */

/** One block. Source: Salmon, Moraes, Dror, Shaw (SC 2011). */
CUDA_HD void cuda_philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1, uint32_t out[4])
{
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/** Is group `group` dropped? The draw is word number `group` of the cursor bk_random_init(seed, stream, step, 0). */
CUDA_HD bool cuda_dropout_is_zero(uint64_t seed, uint32_t stream, uint64_t step, int64_t group, double p)
{
    uint32_t word[4];
    cuda_philox((uint32_t)(group >> 2), 0, (uint32_t)step, (uint32_t)(step >> 32), (uint32_t)seed ^ stream,
                (uint32_t)(seed >> 32) ^ (stream << 16 | stream >> 16), word);
    uint32_t w = group & 2 ? (group & 1 ? word[3] : word[2]) : group & 1 ? word[1] : word[0];
    return (double)((float)(w >> 8) * 0x1p-24f) < p;
}

#endif
