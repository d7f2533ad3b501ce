/*
 * ops/ref_optim.c: one step of each optimiser, in place.
 *
 * Sources: SGD and AdamW as PyTorch documents them (Loshchilov, Hutter 2019 for AdamW); LARS: You, Gitman, Ginsburg
 * 2017 in the form of <bosskit/optim.h>; RMSprop as TensorFlow's ApplyRMSProp (epsilon inside the root, learning rate
 * inside the momentum buffer). Schedules and the choice of what is excluded are the caller's.
 */
#include "ops/ref.h"
#include <math.h>

struct step {
    const struct bk_optim_attr *attr;
    int64_t n;
    double wd;
    double *w, *g, *s1, *s2;    /* s1, s2: state in the order of ops.def */
    bool skip;
};

static double norm(const double *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i] * v[i];
    return sqrt(sum);
}

static bool all_zero(const double *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (v[i] != 0)
            return false;
    return true;
}

static int begin(struct bk__ref *r, const struct bk_kernel_args *a, struct step *s)
{
    s->attr = a->attr;
    s->n = bk_tensor_numel(a->in[0]);
    s->wd = s->attr->excluded ? 0 : s->attr->weight_decay;
    s->w = bk__ref_load(r, a->in[0]);
    s->g = bk__ref_load(r, a->in[1]);
    s->s1 = bk__ref_load(r, a->in[2]);
    s->s2 = a->n_in > 3 ? bk__ref_load(r, a->in[3]) : NULL;
    BK_TRY(bk__ref_check(r));
    s->skip = s->attr->skip_zero && all_zero(s->g, s->n);
    return BK_OK;
}

static int end(const struct bk_kernel_args *a, const struct step *s)
{
    bk__ref_store(a->out[0], s->w);
    bk__ref_store(a->out[2], s->s1);
    if (s->s2)
        bk__ref_store(a->out[3], s->s2);
    return BK_OK;
}

int bk__ref_sgd_step(struct bk__ref *r, const struct bk_kernel_args *a)
{
    struct step s;
    BK_TRY(begin(r, a, &s));
    for (int64_t i = 0; i < s.n && !s.skip; i++) {
        double d = s.g[i] + s.wd * s.w[i];
        s.s1[i] = s.attr->first ? d : s.attr->momentum * s.s1[i] + d;
        s.w[i] -= s.attr->lr * (s.attr->nesterov ? d + s.attr->momentum * s.s1[i] : s.s1[i]);
    }
    return s.skip ? BK_OK : end(a, &s);
}

static double trust_ratio(const struct step *s)
{
    if (s->attr->excluded)
        return 1;
    double w = norm(s->w, s->n), g = norm(s->g, s->n), down = g + s->wd * w;
    if ((s->attr->zero_guard && (w == 0 || g == 0)) || down == 0)
        return 1;
    return s->attr->trust * w / down;
}

int bk__ref_lars_step(struct bk__ref *r, const struct bk_kernel_args *a)
{
    struct step s;
    BK_TRY(begin(r, a, &s));
    if (s.skip)
        return BK_OK;
    double lambda = trust_ratio(&s);
    for (int64_t i = 0; i < s.n; i++) {
        double d = s.attr->lr * lambda * (s.g[i] + s.wd * s.w[i]);
        s.s1[i] = s.attr->first ? d : s.attr->momentum * s.s1[i] + d;
        s.w[i] -= s.s1[i];
    }
    return end(a, &s);
}

int bk__ref_adamw_step(struct bk__ref *r, const struct bk_kernel_args *a)
{
    struct step s;
    BK_TRY(begin(r, a, &s));
    const struct bk_optim_attr *t = s.attr;
    for (int64_t i = 0; i < s.n && !s.skip; i++) {
        s.s1[i] = t->beta1 * s.s1[i] + (1 - t->beta1) * s.g[i];
        s.s2[i] = t->beta2 * s.s2[i] + (1 - t->beta2) * s.g[i] * s.g[i];
        s.w[i] -= t->lr * s.wd * s.w[i];
        s.w[i] -= t->lr * s.s1[i] / t->bias1 / (sqrt(s.s2[i] / t->bias2) + t->eps);
    }
    return s.skip ? BK_OK : end(a, &s);
}

int bk__ref_rmsprop_step(struct bk__ref *r, const struct bk_kernel_args *a)
{
    struct step s;
    BK_TRY(begin(r, a, &s));
    const struct bk_optim_attr *t = s.attr;
    for (int64_t i = 0; i < s.n && !s.skip; i++) {
        double d = s.g[i] + s.wd * s.w[i];
        s.s1[i] = t->beta2 * s.s1[i] + (1 - t->beta2) * d * d;
        s.s2[i] = t->momentum * s.s2[i] + t->lr * d / sqrt(s.s1[i] + t->eps);
        s.w[i] -= s.s2[i];
    }
    return s.skip ? BK_OK : end(a, &s);
}
