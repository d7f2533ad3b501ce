/*
 * cpu_dnnl.c: the only file that talks to oneDNN: convolutions and linear maps, for its C API of versions 2 and 3.
 *
 * A plan is a primitive with its memory descriptions, made once per kernel, shape, type and attributes and kept for
 * the life of the device (a slimmable space needs over a thousand, more than oneDNN's own cache holds). Activations are
 * described as plain NHWC; the layout of the small weights is oneDNN's choice, with a reorder where it differs from
 * ours. The scratchpad is ours, so that a steady step allocates nothing.
 */
#include "cpu_state.h"
#include <stdio.h>
#include <string.h>
#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#else
#include <dnnl.h>
#endif

/* ---- versions 2 and 3 -------------------------------------------------------------------------- */

#if DNNL_VERSION_MAJOR >= 3

typedef dnnl_memory_desc_t md;          /* owned handle */
typedef const_dnnl_memory_desc_t md_ref;

static md_ref ref(const md *m)
{
    return *m;
}

static dnnl_status_t md_plain(md *m, int rank, const int64_t *dim, dnnl_data_type_t type,
                              const int64_t *strides)
{
    return dnnl_memory_desc_create_with_strides(m, rank, dim, type, strides);
}

static dnnl_status_t md_any(md *m, int rank, const int64_t *dim, dnnl_data_type_t type)
{
    return dnnl_memory_desc_create_with_tag(m, rank, dim, type, dnnl_format_tag_any);
}

static void md_release(md *m)
{
    dnnl_memory_desc_destroy(*m);
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

#else

typedef dnnl_memory_desc_t md;          /* plain structure */
typedef const dnnl_memory_desc_t *md_ref;

static md_ref ref(const md *m)
{
    return m;
}

static dnnl_status_t md_plain(md *m, int rank, const int64_t *dim, dnnl_data_type_t type,
                              const int64_t *strides)
{
    return dnnl_memory_desc_init_by_strides(m, rank, dim, type, strides);
}

static dnnl_status_t md_any(md *m, int rank, const int64_t *dim, dnnl_data_type_t type)
{
    return dnnl_memory_desc_init_by_tag(m, rank, dim, type, dnnl_format_tag_any);
}

static void md_release(md *m)
{
    (void)m;
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops)
{
    return dnnl_post_ops_append_sum(ops, 1.0f);
}

#endif

enum conv_pass { CONV_FORWARD = 1, CONV_BACKWARD_DATA, CONV_BACKWARD_WEIGHTS };

struct conv_mds {
    md x, w, bias, y;
    bool has_bias;
    dnnl_dims_t stride, dilation, pad_low, pad_high;
};

/* `hint` is the forward descriptor, needed by the backward passes. */
static dnnl_status_t conv_create(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, int pass,
                                 const struct conv_mds *m, dnnl_primitive_desc_t hint,
                                 const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    if (pass == CONV_FORWARD)
        return dnnl_convolution_forward_primitive_desc_create(
            pd, engine, dnnl_forward_training, dnnl_convolution_direct, ref(&m->x), ref(&m->w),
            m->has_bias ? ref(&m->bias) : NULL, ref(&m->y), m->stride, m->dilation, m->pad_low,
            m->pad_high, attr);
    if (pass == CONV_BACKWARD_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            pd, engine, dnnl_convolution_direct, ref(&m->x), ref(&m->w), ref(&m->y), m->stride,
            m->dilation, m->pad_low, m->pad_high, hint, attr);
    return dnnl_convolution_backward_weights_primitive_desc_create(
        pd, engine, dnnl_convolution_direct, ref(&m->x), ref(&m->w), NULL, ref(&m->y), m->stride,
        m->dilation, m->pad_low, m->pad_high, hint, attr);
#else
    dnnl_convolution_desc_t d;
    dnnl_status_t s;
    if (pass == CONV_FORWARD)
        s = dnnl_dilated_convolution_forward_desc_init(
            &d, dnnl_forward_training, dnnl_convolution_direct, ref(&m->x), ref(&m->w),
            m->has_bias ? ref(&m->bias) : NULL, ref(&m->y), m->stride, m->dilation, m->pad_low,
            m->pad_high);
    else if (pass == CONV_BACKWARD_DATA)
        s = dnnl_dilated_convolution_backward_data_desc_init(
            &d, dnnl_convolution_direct, ref(&m->x), ref(&m->w), ref(&m->y), m->stride,
            m->dilation, m->pad_low, m->pad_high);
    else
        s = dnnl_dilated_convolution_backward_weights_desc_init(
            &d, dnnl_convolution_direct, ref(&m->x), ref(&m->w), NULL, ref(&m->y), m->stride,
            m->dilation, m->pad_low, m->pad_high);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, hint);
#endif
}

static dnnl_status_t matmul_create(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, md_ref a,
                                   md_ref b, md_ref bias, md_ref c, const_dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_matmul_primitive_desc_create(pd, engine, a, b, bias, c, attr);
#else
    dnnl_matmul_desc_t d;
    dnnl_status_t s = dnnl_matmul_desc_init(&d, a, b, bias, c);
    return s ? s : dnnl_primitive_desc_create(pd, &d, attr, engine, NULL);
#endif
}

/* ---- plans --------------------------------------------------------------------------------------- */

#define KEY_LEN 16

struct plan {
    int64_t key[KEY_LEN];
    uint64_t hash;
    struct plan *next;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, bias, y, scratch;       /* NULL where not used */
    int x_arg, w_arg, y_arg;
    size_t scratch_bytes;
    /* where oneDNN's layout of the weights is not ours: */
    dnnl_primitive_t reorder;
    dnnl_memory_t user_w;
    size_t packed_bytes;
    bool is_gradient;           /* w is an output, the reorder comes after */
};

struct cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_attr_t plain, summing;       /* user scratchpad; and adding to the output */
    struct plan **bucket;
    size_t n_buckets, n_plans;
};

static const char *status_text(dnnl_status_t s)
{
    switch (s) {
    case dnnl_out_of_memory:
        return "out of memory";
    case dnnl_invalid_arguments:
        return "invalid arguments";
    case dnnl_unimplemented:
        return "no implementation for these shapes and types";
    default:
        return "failed";
    }
}

static int fail(struct bk_error *err, dnnl_status_t s, const char *what)
{
    int code = s == dnnl_out_of_memory ? BK_ENOMEM : s == dnnl_unimplemented ? BK_ENOTSUP : BK_EINVAL;
    return bk_fail(err, code, "oneDNN: %s: %s", what, status_text(s));
}

static void plan_free(struct plan *p)
{
    if (!p)
        return;
    dnnl_memory_t memory[] = { p->x, p->w, p->bias, p->y, p->scratch, p->user_w };
    for (size_t i = 0; i < BK_ARRAY_LEN(memory); i++)
        if (memory[i])
            dnnl_memory_destroy(memory[i]);
    if (p->primitive)
        dnnl_primitive_destroy(p->primitive);
    if (p->reorder)
        dnnl_primitive_destroy(p->reorder);
    bk_free(p);
}

/* FNV-1a over the words of the key. */
static uint64_t key_hash(const int64_t *key)
{
    uint64_t h = 1469598103934665603ull;
    for (int i = 0; i < KEY_LEN; i++) {
        h ^= (uint64_t)key[i];
        h *= 1099511628211ull;
        h ^= h >> 29;
    }
    return h;
}

static struct plan *find_plan(const struct cpu_dnnl *d, const int64_t *key)
{
    uint64_t h = key_hash(key);
    for (struct plan *p = d->bucket[h & (d->n_buckets - 1)]; p; p = p->next)
        if (p->hash == h && memcmp(p->key, key, sizeof p->key) == 0)
            return p;
    return NULL;
}

/* Twice the buckets once chains grow; staying with fewer is only slower. */
static void grow_table(struct cpu_dnnl *d)
{
    size_t n = 2 * d->n_buckets;
    struct plan **bucket = bk_zalloc(n * sizeof(*bucket));
    if (!bucket)
        return;
    for (size_t i = 0; i < d->n_buckets; i++)
        for (struct plan *p = d->bucket[i], *next; p; p = next) {
            next = p->next;
            p->next = bucket[p->hash & (n - 1)];
            bucket[p->hash & (n - 1)] = p;
        }
    bk_free(d->bucket);
    d->bucket = bucket;
    d->n_buckets = n;
}

static void keep_plan(struct cpu_dnnl *d, struct plan *p, const int64_t *key)
{
    if (d->n_plans >= 2 * d->n_buckets)
        grow_table(d);
    memcpy(p->key, key, sizeof p->key);
    p->hash = key_hash(key);
    p->next = d->bucket[p->hash & (d->n_buckets - 1)];
    d->bucket[p->hash & (d->n_buckets - 1)] = p;
    d->n_plans++;
}

static md_ref described(dnnl_primitive_desc_t pd, dnnl_query_t what)
{
    return dnnl_primitive_desc_query_md(pd, what, 0);
}

static const char *kernel_name(int64_t kernel)
{
    static const char *const name[BK_KERNEL_COUNT] = {
#define CPU_KERNEL_NAME(upper, lower) [BK_K_##upper] = #lower,
        CPU_KERNEL_LIST(CPU_KERNEL_NAME)
#undef CPU_KERNEL_NAME
    };
    return name[kernel];
}

/* oneDNN's loops for anything are 100x slower than the others and worth a word. */
static void note_implementation(dnnl_primitive_desc_t pd, const int64_t *key)
{
    const char *name = NULL;
    if (dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) || !name)
        return;
    bool is_slow = strncmp(name, "ref", 3) == 0;
    if (!is_slow && bk_log_get_level() < BK_LOG_TRACE)
        return;
    bk_log(is_slow ? BK_LOG_WARN : BK_LOG_TRACE,
           "cpu: oneDNN uses '%s' for %s %s of shape %lld,%lld,%lld,%lld to %lld, window %lldx%lld",
           name, kernel_name(key[0]), key[1] == BK_BF16 ? "bf16" : "f32",
           (long long)key[2], (long long)key[3], (long long)key[4], (long long)key[5],
           (long long)key[6], (long long)key[7], (long long)key[8]);
}

static dnnl_status_t make_memory(const struct cpu_dnnl *d, md_ref m, dnnl_memory_t *out)
{
    return dnnl_memory_create(out, m, d->engine, DNNL_MEMORY_NONE);
}

/* The primitive and its scratchpad. */
static dnnl_status_t plan_set_primitive(const struct cpu_dnnl *d, struct plan *p,
                                        dnnl_primitive_desc_t pd)
{
    md_ref scratch = described(pd, dnnl_query_scratchpad_md);
    p->scratch_bytes = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    dnnl_status_t s = dnnl_success;
    if (p->scratch_bytes)
        s = make_memory(d, scratch, &p->scratch);
    return s ? s : dnnl_primitive_create(&p->primitive, pd);
}

/* The weights as oneDNN wants them (`chosen`) and as we have them (`user`). */
static dnnl_status_t plan_set_weights(const struct cpu_dnnl *d, struct plan *p, md_ref chosen,
                                      md_ref user, bool is_gradient, bool accumulate)
{
    dnnl_status_t s = make_memory(d, chosen, &p->w);
    if (s || (dnnl_memory_desc_equal(chosen, user) && !accumulate))
        return s;
    p->is_gradient = is_gradient;
    p->packed_bytes = dnnl_memory_desc_get_size(chosen);
    s = make_memory(d, user, &p->user_w);
    if (s)
        return s;
    dnnl_primitive_desc_t pd = NULL;
    s = dnnl_reorder_primitive_desc_create(&pd, is_gradient ? chosen : user, d->engine,
                                           is_gradient ? user : chosen, d->engine,
                                           accumulate ? d->summing : NULL);
    if (s)
        return s;
    s = dnnl_primitive_create(&p->reorder, pd);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

static dnnl_status_t set_handle(dnnl_memory_t m, const void *data)
{
    return m ? dnnl_memory_set_data_handle(m, (void *)data) : dnnl_success;
}

static dnnl_status_t reorder_weights(const struct cpu_dnnl *d, const struct plan *p)
{
    dnnl_exec_arg_t args[] = {
        { DNNL_ARG_FROM, p->is_gradient ? p->w : p->user_w },
        { DNNL_ARG_TO, p->is_gradient ? p->user_w : p->w },
    };
    return dnnl_primitive_execute(p->reorder, d->stream, 2, args);
}

static int plan_run(struct cpu *cpu, const struct plan *p, const void *x, const void *w,
                    const void *bias, const void *y, struct bk_error *err)
{
    const struct cpu_dnnl *d = cpu->dnnl;
    void *scratch = NULL, *packed = NULL;
    int rc = p->scratch_bytes
                 ? cpu_scratch(cpu, CPU_SCRATCH_DNNL, p->scratch_bytes, &scratch, err)
                 : BK_OK;
    if (!rc && p->reorder)
        rc = cpu_scratch(cpu, CPU_SCRATCH_WEIGHTS, p->packed_bytes, &packed, err);
    if (rc)
        return rc;

    dnnl_status_t s = set_handle(p->x, x);
    s = s ? s : set_handle(p->w, p->reorder ? packed : w);
    s = s ? s : set_handle(p->user_w, w);
    s = s ? s : set_handle(p->bias, bias);
    s = s ? s : set_handle(p->y, y);
    s = s ? s : set_handle(p->scratch, scratch);
    if (!s && p->reorder && !p->is_gradient)
        s = reorder_weights(d, p);
    dnnl_exec_arg_t args[5] = { { p->x_arg, p->x }, { p->w_arg, p->w }, { p->y_arg, p->y } };
    int n = 3;
    if (p->bias)
        args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_BIAS, p->bias };
    if (p->scratch)
        args[n++] = (dnnl_exec_arg_t){ DNNL_ARG_SCRATCHPAD, p->scratch };
    s = s ? s : dnnl_primitive_execute(p->primitive, d->stream, n, args);
    if (!s && p->reorder && p->is_gradient)
        s = reorder_weights(d, p);
    return s ? fail(err, s, "running a primitive") : BK_OK;
}

/* ---- convolutions ------------------------------------------------------------------------------ */

static dnnl_data_type_t type_of(const struct bk_tensor *t)
{
    return t->dtype == BK_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* oneDNN orders dimensions N,C,H,W whatever the layout is; the strides say NHWC. */
static dnnl_status_t md_image(md *m, const struct bk_tensor *t)
{
    int64_t h = t->dim[1], w = t->dim[2], c = t->dim[3];
    dnnl_dims_t dim = { t->dim[0], c, h, w }, strides = { h * w * c, 1, w * c, c };
    return md_plain(m, 4, dim, type_of(t), strides);
}

/* [Co,Kh,Kw,Ci/g] as O,I,H,W, or G,O/G,I/G,H,W; `m` as ours, `any` as oneDNN likes. */
static dnnl_status_t md_weights(md *m, md *any, const struct bk_tensor *w, int64_t groups,
                                dnnl_data_type_t any_type)
{
    int64_t kh = w->dim[1], kw = w->dim[2], ci = w->dim[3], co = w->dim[0] / groups;
    dnnl_dims_t dim = { co, ci, kh, kw }, strides = { kh * kw * ci, 1, kw * ci, ci };
    int rank = 4;
    if (groups > 1) {
        dnnl_dims_t gdim = { groups, co, ci, kh, kw };
        dnnl_dims_t gstrides = { co * kh * kw * ci, kh * kw * ci, 1, kw * ci, ci };
        memcpy(dim, gdim, sizeof dim);
        memcpy(strides, gstrides, sizeof strides);
        rank = 5;
    }
    dnnl_status_t s = md_any(any, rank, dim, any_type);
    if (s)
        return s;
    s = md_plain(m, rank, dim, type_of(w), strides);
    if (s)
        md_release(any);
    return s;
}

static dnnl_status_t describe_conv(struct conv_mds *m, md *user_w, const struct bk_tensor *x,
                                   const struct bk_tensor *w, const struct bk_tensor *bias,
                                   const struct bk_tensor *y, const struct bk_conv2d_attr *attr)
{
    dnnl_dims_t one = { 1 }, co = { w->dim[0] };
    dnnl_status_t s = md_image(&m->x, x);
    if (s)
        return s;
    s = md_image(&m->y, y);
    if (s)
        goto release_x;
    s = md_weights(user_w, &m->w, w, attr->groups, type_of(w));
    if (s)
        goto release_y;
    m->has_bias = bias != NULL;
    s = bias ? md_plain(&m->bias, 1, co, dnnl_f32, one) : dnnl_success;
    if (s)
        goto release_w;
    for (int i = 0; i < 2; i++) {
        m->stride[i] = attr->stride;
        m->dilation[i] = 0;
        m->pad_low[i] = attr->pad;
        m->pad_high[i] =
            (y->dim[1 + i] - 1) * attr->stride + w->dim[1 + i] - x->dim[1 + i] - attr->pad;
    }
    return dnnl_success;
release_w:
    md_release(&m->w);
    md_release(user_w);
release_y:
    md_release(&m->y);
release_x:
    md_release(&m->x);
    return s;
}

static void release_conv(struct conv_mds *m, md *user_w)
{
    md_release(&m->x);
    md_release(&m->y);
    md_release(&m->w);
    if (m->has_bias)
        md_release(&m->bias);
    md_release(user_w);
}

/* The forward descriptor that the backward ones ask for; its weights have the type of the activations. */
static dnnl_status_t forward_hint(const struct cpu_dnnl *d, const struct conv_mds *m,
                                  const struct bk_tensor *x, const struct bk_tensor *w,
                                  const struct bk_conv2d_attr *attr, dnnl_primitive_desc_t *hint)
{
    struct conv_mds f = *m;
    md plain;
    dnnl_status_t s = md_weights(&plain, &f.w, w, attr->groups, type_of(x));
    if (s)
        return s;
    s = conv_create(hint, d->engine, CONV_FORWARD, &f, NULL, d->plain);
    md_release(&plain);
    md_release(&f.w);
    return s;
}

static dnnl_status_t build_conv(const struct cpu_dnnl *d, struct plan *p, int pass,
                                const struct conv_mds *m, md_ref user_w, dnnl_primitive_desc_t hint,
                                bool accumulate, const int64_t *key)
{
    static const struct {
        int x, w, y;
        dnnl_query_t weights;
    } args[] = {
        [CONV_FORWARD] = { DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, dnnl_query_weights_md },
        [CONV_BACKWARD_DATA] = { DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST,
                                 dnnl_query_weights_md },
        [CONV_BACKWARD_WEIGHTS] = { DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST,
                                    dnnl_query_diff_weights_md },
    };
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t s = conv_create(&pd, d->engine, pass, m, hint, d->plain);
    if (s)
        return s;
    p->x_arg = args[pass].x;
    p->w_arg = args[pass].w;
    p->y_arg = args[pass].y;
    s = plan_set_primitive(d, p, pd);
    s = s ? s : make_memory(d, ref(&m->x), &p->x);
    s = s ? s : make_memory(d, ref(&m->y), &p->y);
    if (m->has_bias)
        s = s ? s : make_memory(d, ref(&m->bias), &p->bias);
    s = s ? s : plan_set_weights(d, p, described(pd, args[pass].weights), user_w,
                                 pass == CONV_BACKWARD_WEIGHTS, accumulate);
    note_implementation(pd, key);
    dnnl_primitive_desc_destroy(pd);
    return s;
}

static int conv_plan(struct cpu_dnnl *d, int pass, uint32_t kernel, const struct bk_tensor *x,
                     const struct bk_tensor *w, const struct bk_tensor *bias,
                     const struct bk_tensor *y, const struct bk_conv2d_attr *attr,
                     struct plan **out, struct bk_error *err)
{
    bool accumulate = pass == CONV_BACKWARD_WEIGHTS && attr->accumulate;
    int64_t key[KEY_LEN] = { kernel, x->dtype, x->dim[0], x->dim[1], x->dim[2], x->dim[3],
                             w->dim[0], w->dim[1], w->dim[2], attr->stride, attr->pad,
                             attr->groups, bias != NULL, accumulate, y->dim[1], y->dim[2] };
    *out = find_plan(d, key);
    if (*out)
        return BK_OK;
    struct conv_mds m;
    md user_w;
    dnnl_status_t s = describe_conv(&m, &user_w, x, w, bias, y, attr);
    if (s)
        return fail(err, s, "describing a convolution");
    dnnl_primitive_desc_t hint = NULL;
    struct plan *p = bk_zalloc(sizeof *p);
    s = p ? dnnl_success : dnnl_out_of_memory;
    if (!s && pass != CONV_FORWARD)
        s = forward_hint(d, &m, x, w, attr, &hint);
    s = s ? s : build_conv(d, p, pass, &m, ref(&user_w), hint, accumulate, key);
    if (hint)
        dnnl_primitive_desc_destroy(hint);
    release_conv(&m, &user_w);
    if (s) {
        plan_free(p);
        return fail(err, s, "planning a convolution");
    }
    keep_plan(d, p, key);
    *out = p;
    return BK_OK;
}

/* ---- matrix products ------------------------------------------------------------------------- */

/* y [m,n] = op(x) [m,k] op(w) [k,n]; a transposed operand is read through its strides. */
struct product {
    uint32_t kernel;
    int64_t m, n, k;
    bool trans_x, trans_w, has_bias, accumulate;
    dnnl_data_type_t in, out;
};

static dnnl_status_t md_matrix(md *m, int64_t rows, int64_t cols, bool trans, dnnl_data_type_t type)
{
    dnnl_dims_t dim = { rows, cols }, strides = { trans ? 1 : cols, trans ? rows : 1 };
    return md_plain(m, 2, dim, type, strides);
}

static dnnl_status_t build_product(const struct cpu_dnnl *d, struct plan *p,
                                   const struct product *q, const int64_t *key)
{
    md x, w, y, bias;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_status_t s = md_matrix(&x, q->m, q->k, q->trans_x, q->in);
    if (s)
        return s;
    s = md_matrix(&w, q->k, q->n, q->trans_w, q->in);
    if (s)
        goto release_x;
    s = md_matrix(&y, q->m, q->n, false, q->out);
    if (s)
        goto release_w;
    s = md_matrix(&bias, 1, q->n, false, dnnl_f32);
    if (s)
        goto release_y;
    s = matmul_create(&pd, d->engine, ref(&x), ref(&w), q->has_bias ? ref(&bias) : NULL, ref(&y),
                      q->accumulate ? d->summing : d->plain);
    if (s)
        goto release_bias;
    p->x_arg = DNNL_ARG_SRC;
    p->w_arg = DNNL_ARG_WEIGHTS;
    p->y_arg = DNNL_ARG_DST;
    s = plan_set_primitive(d, p, pd);
    s = s ? s : make_memory(d, ref(&x), &p->x);
    s = s ? s : make_memory(d, ref(&w), &p->w);
    s = s ? s : make_memory(d, ref(&y), &p->y);
    if (q->has_bias)
        s = s ? s : make_memory(d, ref(&bias), &p->bias);
    note_implementation(pd, key);
    dnnl_primitive_desc_destroy(pd);
release_bias:
    md_release(&bias);
release_y:
    md_release(&y);
release_w:
    md_release(&w);
release_x:
    md_release(&x);
    return s;
}

static int run_product(struct cpu *cpu, const struct product *q, const void *x, const void *w,
                       const void *bias, const void *y, struct bk_error *err)
{
    int64_t key[KEY_LEN] = { q->kernel, q->in == dnnl_bf16 ? BK_BF16 : BK_F32, q->m, q->k, 1, 1,
                             q->n, q->has_bias, q->accumulate };
    struct plan *p = find_plan(cpu->dnnl, key);
    if (!p) {
        p = bk_zalloc(sizeof *p);
        dnnl_status_t s = p ? build_product(cpu->dnnl, p, q, key) : dnnl_out_of_memory;
        if (s) {
            plan_free(p);
            return fail(err, s, "planning a matrix product");
        }
        keep_plan(cpu->dnnl, p, key);
    }
    return plan_run(cpu, p, x, w, bias, y, err);
}

/* ---- convolution kernels ----------------------------------------------------------------------- */

int cpu_conv2d(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *w = args->in[1], *bias = args->in[2];
    struct bk_tensor *y = args->out[0];
    struct plan *p;
    int rc = conv_plan(cpu->dnnl, CONV_FORWARD, BK_K_CONV2D, x, w, bias, y, args->attr, &p, err);
    return rc ? rc : plan_run(cpu, p, x->data, w->data, cpu_data(bias), y->data, err);
}

/* oneDNN 2.6.3 gives wrong bf16 data gradients of 1x1 convolutions with an odd number of outputs; a matrix product does not. */
static bool is_odd_pointwise(const struct bk_tensor *dy, const struct bk_tensor *w,
                             const struct bk_conv2d_attr *attr)
{
    return dy->dtype == BK_BF16 && w->dim[0] % 2 && w->dim[1] == 1 && w->dim[2] == 1 &&
           attr->groups == 1 && attr->stride == 1 && attr->pad == 0;
}

int cpu_conv2d_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0], *w = args->in[1];
    struct bk_tensor *dx = args->out[0];
    if (is_odd_pointwise(dy, w, args->attr)) {
        struct product q = { .kernel = BK_K_LINEAR_DX, .m = cpu_numel(dy) / w->dim[0],
                             .n = w->dim[3], .k = w->dim[0], .in = dnnl_bf16, .out = dnnl_bf16 };
        return run_product(cpu, &q, dy->data, w->data, NULL, dx->data, err);
    }
    struct plan *p;
    int rc = conv_plan(cpu->dnnl, CONV_BACKWARD_DATA, BK_K_CONV2D_DX, dx, w, NULL, dy, args->attr,
                       &p, err);
    return rc ? rc : plan_run(cpu, p, dx->data, w->data, NULL, dy->data, err);
}

int cpu_conv2d_dw(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_conv2d_attr *attr = args->attr;
    const struct bk_tensor *x = args->in[0], *dy = args->in[1];
    struct bk_tensor *dw = args->out[0], *dbias = args->out[1];
    int rc;
    if (attr->groups > 1 && attr->groups == x->dim[3] && dw->dim[0] == x->dim[3] && dw->dim[2] <= 16) {
        rc = cpu_depthwise_dw(cpu, args, err);
    } else {
        struct plan *p;
        rc = conv_plan(cpu->dnnl, CONV_BACKWARD_WEIGHTS, BK_K_CONV2D_DW, x, dw, NULL, dy, attr, &p,
                       err);
        if (!rc)
            rc = plan_run(cpu, p, x->data, dw->data, NULL, dy->data, err);
    }
    if (rc || !dbias)
        return rc;
    int64_t co = dw->dim[0];
    return cpu_add_column_sums(cpu, dy->data, cpu_is_bf16(dy), cpu_numel(dy) / co, co,
                               dbias->data, !attr->accumulate, err);
}

/* ---- linear maps ------------------------------------------------------------------------------- */

int cpu_linear(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *w = args->in[1], *bias = args->in[2];
    struct bk_tensor *y = args->out[0];
    struct product q = { .kernel = BK_K_LINEAR, .m = cpu_numel(x) / w->dim[1],
                         .n = w->dim[0], .k = w->dim[1], .trans_w = true, .has_bias = bias != NULL,
                         .in = type_of(x), .out = type_of(y) };
    return run_product(cpu, &q, x->data, w->data, cpu_data(bias), y->data, err);
}

int cpu_linear_dx(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *dy = args->in[0], *w = args->in[1];
    struct bk_tensor *dx = args->out[0];
    struct product q = { .kernel = BK_K_LINEAR_DX, .m = cpu_numel(dy) / w->dim[0],
                         .n = w->dim[1], .k = w->dim[0], .in = type_of(dy), .out = type_of(dx) };
    return run_product(cpu, &q, dy->data, w->data, NULL, dx->data, err);
}

int cpu_linear_dw(struct cpu *cpu, const struct bk_kernel_args *args, struct bk_error *err)
{
    const struct bk_tensor *x = args->in[0], *dy = args->in[1];
    struct bk_tensor *dw = args->out[0], *dbias = args->out[1];
    int64_t rows = cpu_numel(x) / dw->dim[1];
    struct product q = { .kernel = BK_K_LINEAR_DW, .m = dw->dim[0], .n = dw->dim[1], .k = rows,
                         .trans_x = true, .accumulate = true, .in = type_of(x), .out = dnnl_f32 };
    int rc = run_product(cpu, &q, dy->data, x->data, NULL, dw->data, err);
    if (rc || !dbias)
        return rc;
    return cpu_add_column_sums(cpu, dy->data, cpu_is_bf16(dy), rows, dw->dim[0], dbias->data, false,
                               err);
}

int cpu_sgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
              const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
              int64_t ldc, struct bk_error *err)
{
    dnnl_status_t s = dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda,
                                 b, ldb, beta, c, ldc);
    return s ? fail(err, s, "multiplying matrices") : BK_OK;
}

/* ---- the library ------------------------------------------------------------------------------- */

static dnnl_status_t make_attributes(struct cpu_dnnl *d)
{
    dnnl_status_t s = dnnl_primitive_attr_create(&d->plain);
    s = s ? s : dnnl_primitive_attr_set_scratchpad_mode(d->plain, dnnl_scratchpad_mode_user);
    s = s ? s : dnnl_primitive_attr_create(&d->summing);
    s = s ? s : dnnl_primitive_attr_set_scratchpad_mode(d->summing, dnnl_scratchpad_mode_user);
    dnnl_post_ops_t ops = NULL;
    s = s ? s : dnnl_post_ops_create(&ops);
    s = s ? s : append_sum(ops);
    s = s ? s : dnnl_primitive_attr_set_post_ops(d->summing, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return s;
}

int cpu_dnnl_open(struct cpu_dnnl **out, struct bk_error *err)
{
    struct cpu_dnnl *d = bk_zalloc(sizeof *d);
    if (!d)
        return bk_fail(err, BK_ENOMEM, "out of memory for the oneDNN plans");
    d->n_buckets = 1024;
    d->bucket = bk_zalloc(d->n_buckets * sizeof(*d->bucket));
    dnnl_status_t s = d->bucket ? dnnl_engine_create(&d->engine, dnnl_cpu, 0) : dnnl_out_of_memory;
    s = s ? s : dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    s = s ? s : make_attributes(d);
    if (s) {
        cpu_dnnl_close(d);
        return fail(err, s, "starting the library");
    }
    *out = d;
    return BK_OK;
}

void cpu_dnnl_close(struct cpu_dnnl *d)
{
    if (!d)
        return;
    for (size_t i = 0; d->bucket && i < d->n_buckets; i++)
        for (struct plan *p = d->bucket[i], *next; p; p = next) {
            next = p->next;
            plan_free(p);
        }
    bk_free(d->bucket);
    if (d->plain)
        dnnl_primitive_attr_destroy(d->plain);
    if (d->summing)
        dnnl_primitive_attr_destroy(d->summing);
    if (d->stream)
        dnnl_stream_destroy(d->stream);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    bk_free(d);
}

void cpu_dnnl_version(char *buf, size_t n)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(buf, n, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

static bool has_isa(unsigned wanted)
{
    return ((unsigned)dnnl_get_effective_cpu_isa() & wanted) == wanted;
}

bool cpu_dnnl_has_bf16(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core);
}

bool cpu_dnnl_is_bf16_fast(void)
{
    return has_isa(dnnl_cpu_isa_avx512_core_bf16);
}
