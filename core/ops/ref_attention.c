/*
 * ops/ref_attention.c: multi-head self-attention as its definition reads.
 *
 * Letters: L positions, M channels of y, d channels of a head; q, k, v of head h start at h d, M + h d, 2 M + h d of a
 * position's 3 M channels. With P = softmax(scale q k') row by row: y = P v, and backward dv = P' dy, dP = dy v',
 * dS = P (dP - row sums of P dP), dq = scale dS k, dk = scale dS' q. Reversed: y = P' v, dv = P dy, dP = v dy'.
 */
#include "ops/ref.h"
#include <math.h>

/* One head of one image: pointers to position 0, distances between positions, the [L,L] probabilities. */
struct head {
    double *q, *k, *v, *y, *dq, *dk, *dv, *p;
    int64_t L, d, qkv_step, y_step;
    double scale;
    bool reversed;
};

static double dot(const double *a, const double *b, int64_t d)
{
    double sum = 0;
    for (int64_t i = 0; i < d; i++)
        sum += a[i] * b[i];
    return sum;
}

/* out += f v */
static void add(double *out, double f, const double *v, int64_t d)
{
    for (int64_t i = 0; i < d; i++)
        out[i] += f * v[i];
}

static void forward(struct head h)
{
    for (int64_t a = 0; a < h.L; a++) {
        double *p = h.p + a * h.L, top = -INFINITY, sum = 0;
        for (int64_t b = 0; b < h.L; b++) {
            p[b] = h.scale * dot(h.q + a * h.qkv_step, h.k + b * h.qkv_step, h.d);
            top = p[b] > top ? p[b] : top;
        }
        for (int64_t b = 0; b < h.L; b++)
            sum += p[b] = exp(p[b] - top);
        for (int64_t b = 0; b < h.L; b++) {
            p[b] /= sum;
            add(h.y + (h.reversed ? b : a) * h.y_step, p[b], h.v + (h.reversed ? a : b) * h.qkv_step, h.d);
        }
    }
}

/* h.y is dy. The value of `from` goes into the output of `to`. */
static void backward(struct head h)
{
    for (int64_t a = 0; a < h.L; a++) {
        const double *p = h.p + a * h.L;
        double mean = 0;
        for (int64_t b = 0; b < h.L; b++) {
            int64_t to = h.reversed ? b : a, from = h.reversed ? a : b;
            mean += p[b] * dot(h.y + to * h.y_step, h.v + from * h.qkv_step, h.d);
        }
        for (int64_t b = 0; b < h.L; b++) {
            int64_t to = h.reversed ? b : a, from = h.reversed ? a : b;
            const double *dy = h.y + to * h.y_step;
            double ds = h.scale * p[b] * (dot(dy, h.v + from * h.qkv_step, h.d) - mean);
            add(h.dq + a * h.qkv_step, ds, h.k + b * h.qkv_step, h.d);
            add(h.dk + b * h.qkv_step, ds, h.q + a * h.qkv_step, h.d);
            add(h.dv + from * h.qkv_step, p[b], dy, h.d);
        }
    }
}

/* dqkv is NULL on the way forward. */
static void every_head(const struct bk_tensor *qkv_tensor, const struct bk_attention_attr *attr, double *qkv,
                       double *y, double *prob, double *dqkv, void (*visit)(struct head h))
{
    int64_t N = qkv_tensor->dim[0], L = qkv_tensor->dim[1] * qkv_tensor->dim[2], M = qkv_tensor->dim[3] / 3;
    int64_t d = M / attr->heads;
    for (int64_t n = 0; n < N; n++)
        for (int64_t i = 0; i < attr->heads; i++) {
            double *q = qkv + n * L * 3 * M + i * d, *dq = dqkv ? dqkv + n * L * 3 * M + i * d : NULL;
            visit((struct head){
                .q = q, .k = q + M, .v = q + 2 * M, .y = y + n * L * M + i * d, .dq = dq, .dk = dq ? dq + M : NULL,
                .dv = dq ? dq + 2 * M : NULL, .p = prob + (n * attr->heads + i) * L * L, .L = L, .d = d,
                .qkv_step = 3 * M, .y_step = M, .scale = attr->scale, .reversed = attr->reversed,
            });
        }
}

int bk__ref_attention(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *qkv = bk__ref_load(r, a->in[0]), *y = bk__ref_new(r, bk_tensor_numel(a->out[0]));
    double *prob = bk__ref_new(r, bk_tensor_numel(a->out[1]));
    BK_TRY(bk__ref_check(r));
    every_head(a->in[0], a->attr, qkv, y, prob, NULL, forward);
    bk__ref_store(a->out[0], y);
    bk__ref_store(a->out[1], prob);
    return BK_OK;
}

int bk__ref_attention_dx(struct bk__ref *r, const struct bk_kernel_args *a)
{
    double *dy = bk__ref_load(r, a->in[0]), *qkv = bk__ref_load(r, a->in[1]), *prob = bk__ref_load(r, a->in[2]);
    double *dqkv = bk__ref_new(r, bk_tensor_numel(a->in[1]));
    BK_TRY(bk__ref_check(r));
    every_head(a->in[1], a->attr, qkv, dy, prob, dqkv, backward);
    bk__ref_store(a->out[0], dqkv);
    return BK_OK;
}
