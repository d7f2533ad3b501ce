/*
 * cpu_loops.h: the inner loops of the cpu backend as one table of functions, compiled once per instruction set
 * (cpu_isa_*.c include the bodies cpu_loops_*.h) and chosen when the backend opens.
 *
 * Every loop works on plain arrays in one thread. Where a member is an array, index 0 takes f32 activations and index 1
 * bf16; channel parameters, sums and statistics are f32 or f64 always. "Rows of cols" means contiguous rows.
 */
#ifndef CPU_LOOPS_H
#define CPU_LOOPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Operands of the batch-norm loops; all per-column arrays hold `cols` values. */
struct cpu_norm_job {
    int n_dy, activation;       /* enum bk_activation */
    const void *x[3];           /* terms */
    const float *mean[3];
    const float *a[3];          /* forward: scale * rstd; backward: the same */
    const float *b[3];          /* backward: factor of (x - mean) */
    const float *c[3];          /* backward: constant part of dx */
    const float *offset;        /* what the offsets of the terms add up to */
    const void *residual;       /* or NULL */
    void *y;                    /* forward: output; backward: read for the ReLU */
    void *dz;                   /* reduce: where dz of an activation other than ReLU is put, or NULL */
    const void *dy[4];          /* n_dy addends, packed to the front */
    void *dresidual;            /* or NULL */
    void *dx[3];                /* or NULL */
};

struct cpu_pool_shape {
    int64_t n, h, w, c, ho, wo;
    int64_t size, stride, pad;
};

struct cpu_depthwise_shape {
    int64_t h, w, c, ho, wo;
    int64_t kh, kw, stride, pad;
};

/** Coefficients of an optimiser step, already cast. */
struct cpu_step {
    float lr, momentum, decay, beta1, beta2, eps, root_bias2, step_size, scale;
    int first, nesterov;
};

struct cpu_loops {
    const char *name;           /* "AVX-512", ... */

    /** sum[j] += sum of (x - shift[j]), sq[j] += sum of squares of the same, over rows of cols. */
    void (*stats[2])(const void *x, int64_t rows, int64_t cols, const float *shift, double *sum,
                     double *sq);
    /** sum[j] += column sums. */
    void (*column_sums[2])(const void *x, int64_t rows, int64_t cols, double *sum);
    /** y = f(z), z = sum_t (x_t - mean_t) a_t + offset + residual on rows begin..end-1; second index: terms - 1. */
    void (*norm_apply[2][3])(const struct cpu_norm_job *job, int64_t begin, int64_t end,
                             int64_t cols);
    /** dz = f'(z) times the sum of dy; sums[j] += dz, sums[(1 + t) cols + j] += dz (x_t - mean_t). */
    void (*norm_reduce[2][3])(const struct cpu_norm_job *job, int64_t begin, int64_t end,
                              int64_t cols, int64_t sum_stride, double *sums);
    /** dresidual = dz, dx_t = a_t dz + b_t (x_t - mean_t) + c_t; f is a ReLU or nothing. dz may be where dx_t goes. */
    void (*norm_dx[2][3])(const struct cpu_norm_job *job, int64_t begin, int64_t end,
                          int64_t cols);

    /** out = relu?( sum of n inputs, where mask > 0 when there is a mask ). */
    void (*add[2])(void *out, const void *const *in, int n_in, const void *mask, int relu,
                   int64_t begin, int64_t end);
    void (*to_f32)(const uint16_t *x, float *y, int64_t n);
    void (*to_bf16)(const float *x, uint16_t *y, int64_t n);
    double (*dot)(const float *x, const float *y, int64_t n);
    /** y = a y + b x */
    void (*blend)(float *y, float a, const float *x, float b, int64_t n);
    /** y = a x + b z */
    void (*combine)(float *y, float a, const float *x, float b, const float *z, int64_t n);

    /** y = f(x); dx = f'(x) times the sum of n_dy gradients; kind is enum bk_activation. Elements begin..end-1. */
    void (*activation[2])(int kind, const void *x, void *y, int64_t begin, int64_t end);
    void (*activation_dx[2])(int kind, const void *const *dy, int n_dy, const void *x, void *dx,
                             int64_t begin, int64_t end);
    /** y = a x over n elements. */
    void (*scale[2])(const void *x, float a, void *y, int64_t n);
    /** Rows of cols: y = x s. */
    void (*scale_rows[2])(const void *x, const float *s, int64_t rows, int64_t cols, void *y);
    /** Rows of cols: sum[j] += column sums of dy x. */
    void (*product_sums[2])(const void *dy, const void *x, int64_t rows, int64_t cols, double *sum);
    /** p = softmax(a x) over n elements; ds = a p (dp - sum of p dp), which may be dp. */
    void (*softmax)(const float *x, float a, float *p, int64_t n);
    void (*softmax_dx)(const float *p, const float *dp, float a, float *ds, int64_t n);

    /** Image rows begin..end-1 of n*ho (forward), n*h (avg_dx). */
    void (*avg_pool[2])(const struct cpu_pool_shape *s, const void *x, void *y, int64_t begin,
                        int64_t end);
    void (*avg_pool_dx[2])(const struct cpu_pool_shape *s, const void *dy, void *dx,
                           int64_t begin, int64_t end);
    void (*max_pool[2])(const struct cpu_pool_shape *s, const void *x, void *y, int64_t begin,
                        int64_t end);
    /** dx [rows of cols] = dy[j] scale in every row. */
    void (*spread[2])(const float *dy, int64_t rows, int64_t cols, void *dx);

    /** acc [kh,kw,c] += x (*) dy over images begin..end-1 of a depthwise convolution. */
    void (*depthwise_dw[2])(const struct cpu_depthwise_shape *s, const void *x, const void *dy,
                            int64_t begin, int64_t end, double *acc);

    /** out [rows, ld] = x [rows, cols] - mu, zeros behind cols. */
    void (*centre[2])(const void *x, const float *mu, int64_t rows, int64_t cols, int64_t ld,
                      float *out);
    /** c [m,n] += a b; element (i,k) of a at a[i*a_row + k*a_col]; n, ldb, ldc multiples of 16. */
    void (*gemm)(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_col,
                 const float *b, int64_t ldb, float *c, int64_t ldc);

    /** Steps of bosskit/optim.h over n elements. */
    void (*sgd)(const struct cpu_step *s, float *w, const float *g, float *buf, int64_t n);
    void (*lars)(const struct cpu_step *s, float *w, const float *g, float *buf, int64_t n);
    void (*adamw)(const struct cpu_step *s, float *w, const float *g, float *m, float *v,
                  int64_t n);
    void (*rmsprop)(const struct cpu_step *s, float *w, const float *g, float *sq, float *buf,
                    int64_t n);
};

extern const struct cpu_loops cpu_loops_base, cpu_loops_v3, cpu_loops_v4, cpu_loops_v4bf16;

#endif
