/*
 * Which shapes the student's block and the teacher have, and what that means for their comparison (distilled.h). Shapes
 * are found by running two black images through both networks with zero weights: no space has to describe them.
 *
 * Not here: running the comparison (distilled.c).
 */
#include "distilled.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct probe {
    struct distilled *d;
    const struct bk_env *env;
    struct bk_tape *tape;
    struct bk_weights *student;         /* of the supernet alone */
    struct bk_error *err;
};

static struct bk_forward forward(const struct probe *p, struct bk_weights *w)
{
    return (struct bk_forward){ .tape = p->tape, .weights = w, .dtype = p->env->dtype, .norm_mode = BK_NORM_BATCH,
                                .norm_eps = 1e-5 };
}

static int black(const struct probe *p, const int64_t hwc[3], struct bk_tensor **x)
{
    int64_t dim[4] = { 2, hwc[0], hwc[1], hwc[2] };
    BK_TRY(bk_tape_tensor(p->tape, p->env->dtype, 4, dim, x, p->err));
    return bk_tensor_zero(*x, p->err);
}

static int shape_of(const struct probe *p, const struct bk_tensor *t, const char *whose, int64_t hwc[3])
{
    if (t->rank != 4)
        return bk_fail(p->err, BK_ESHAPE, "%s block %d gives no [N,H,W,C]", whose, (int)p->d->block);
    memcpy(hwc, t->dim + 1, 3 * sizeof *hwc);
    return BK_OK;
}

/* Windows that average `from` positions down to `to`; 0: there are none. */
static int32_t window(int64_t from, int64_t to)
{
    if (from < to)
        return 0;
    int64_t n = (from + to - 1) / to;
    return (from + n - 1) / n == to ? (int32_t)n : 0;
}

static int32_t window_of_map(const int64_t from[3], const int64_t to[3])
{
    int32_t n = window(from[0], to[0]);
    return n == window(from[1], to[1]) ? n : 0;
}

/* ---- shapes ------------------------------------------------------------------------------------------- */

static int probe_teacher(const struct probe *p, struct bk_tensor *images)
{
    struct distilled *d = p->d;
    struct bk_forward f = forward(p, d->teacher.weights);
    struct bk_tensor *x = images, *y;
    BK_TRY(teacher_features(&d->teacher, &f, d->block, images, &x, &y, p->err));
    BK_TRY(shape_of(p, x, "the teacher's", d->x_dim));
    return shape_of(p, y, "the teacher's", d->y_dim);
}

/* What the student's blocks before this one would hand over, and what the teacher's feature becomes. */
static int probe_input(const struct probe *p, struct bk_tensor *images)
{
    struct distilled *d = p->d;
    struct bk_forward f = forward(p, p->student);
    int64_t expected[3];
    struct bk_tensor *x;
    BK_TRY(bk_space_run_prefix(d->space, &f, d->block, p->env->prefix, images, &x, p->err));
    BK_TRY(shape_of(p, x, "the student's", expected));
    int32_t n = window_of_map(d->x_dim, expected);
    d->in_shrink = n ? n : 1;
    for (int i = 0; i < 2; i++)
        d->in_dim[i] = (d->x_dim[i] + d->in_shrink - 1) / d->in_shrink;
    d->in_dim[2] = expected[2];
    return BK_OK;
}

static int probe_path(const struct probe *p, const struct bk_path *path)
{
    struct distilled *d = p->d;
    struct bk_forward f = forward(p, p->student);
    struct bk_tape_mark mark = bk_tape_mark(p->tape);
    struct bk_tensor *x;
    if (distilled_exit_of(d, path))
        return BK_OK;
    if (d->n_exits == DISTILLED_MAX_EXITS)
        return bk_fail(p->err, BK_EINVAL, "paths of block %d end in more than %d ways", (int)d->block, DISTILLED_MAX_EXITS);
    struct distilled_exit *e = &d->exit[d->n_exits++];
    e->exit = d->space->iface->exit(d->space->state, d->block, d->entry, path);
    BK_TRY(black(p, d->in_dim, &x));
    BK_TRY(bk_space_run_block(d->space, &f, d->block, d->entry, path, x, &x, p->err));
    BK_TRY(shape_of(p, x, "the student's", e->dim));
    bk_tape_rewind(p->tape, mark);
    return BK_OK;
}

static int probe_exits(const struct probe *p)
{
    struct distilled *d = p->d;
    struct bk_path *path;
    size_t n;
    BK_TRY(bk_space_paths(d->space, d->block, d->entry, &path, &n, p->err));
    int rc = n ? BK_OK : bk_fail(p->err, BK_EINVAL, "block %d has no path", (int)d->block);
    for (size_t i = 0; i < n && !rc; i++)
        rc = probe_path(p, &path[i]);
    bk_free(path);
    return rc;
}

static int probe_shapes(const struct probe *p)
{
    int64_t side = p->env->data->alone.size, hwc[3] = { side, side, 3 };
    struct bk_tensor *images;
    BK_TRY(black(p, hwc, &images));
    BK_TRY(probe_teacher(p, images));
    BK_TRY(probe_input(p, images));
    return probe_exits(p);
}

/* ---- what follows from them ------------------------------------------------------------------------------ */

/* False when neither map can be averaged down to the other. */
static bool match(const struct distilled *d, struct distilled_exit *e)
{
    e->shrink_student = window_of_map(e->dim, d->y_dim);
    e->shrink_teacher = window_of_map(d->y_dim, e->dim);
    bool fits = e->shrink_student || e->shrink_teacher;
    e->shrink_student += !e->shrink_student;
    e->shrink_teacher += !e->shrink_teacher;
    return fits;
}

static int choose_comparison(struct distilled *d, struct bk_error *err)
{
    bool maps = true;
    for (int32_t i = 0; i < d->n_exits; i++) {
        struct distilled_exit *e = &d->exit[i];
        bool fits = match(d, e);
        if (!fits && d->compare == COMPARE_MAP)
            return bk_fail(err, BK_EINVAL, "compare = map: neither of the student's %lld x %lld and the teacher's %lld x %lld "
                           "positions can be averaged down to the other", (long long)e->dim[0], (long long)e->dim[1],
                           (long long)d->y_dim[0], (long long)d->y_dim[1]);
        maps = maps && fits && e->dim[0] == d->exit[0].dim[0] && e->dim[1] == d->exit[0].dim[1];
    }
    d->pooled = d->compare == COMPARE_POOLED || (d->compare == COMPARE_AUTO && !maps);
    return BK_OK;
}

static int add_adapter(struct distilled *d, const char *what, int64_t o, int64_t i, int32_t *slot, struct bk_error *err)
{
    double a = 1 / sqrt((double)i);
    char name[64];
    snprintf(name, sizeof name, "distill%d.%s", (int)d->block, what);
    return bk_net_linear(&d->net, name, BK_PART_ADAPTER, d->block, o, i, BK_INIT_UNIFORM, a, BK_INIT_UNIFORM, a, slot, err);
}

static int add_adapters(struct distilled *d, struct bk_error *err)
{
    char name[32];
    d->in_adapter = -1;
    if (d->x_dim[2] != d->in_dim[2])
        BK_TRY(add_adapter(d, "input", d->in_dim[2], d->x_dim[2], &d->in_adapter, err));
    for (int32_t i = 0; i < d->n_exits; i++) {
        struct distilled_exit *e = &d->exit[i];
        e->adapter = -1;
        if (e->dim[2] == d->y_dim[2])
            continue;
        for (int32_t j = 0; j < i && e->adapter < 0; j++)
            if (d->exit[j].dim[2] == e->dim[2])
                e->adapter = d->exit[j].adapter;
        snprintf(name, sizeof name, "width%d", (int)e->dim[2]);
        if (e->adapter < 0)
            BK_TRY(add_adapter(d, name, d->y_dim[2], e->dim[2], &e->adapter, err));
    }
    return BK_OK;
}

int distilled_probe(struct distilled *d, const struct bk_env *env, struct bk_error *err)
{
    struct probe p = { .d = d, .env = env, .err = err };
    int rc = bk_tape_new(env->device, &p.tape, err);
    if (!rc)
        rc = bk_weights_new_lazy(env->device, &d->net, bk_dtype_accum(env->dtype), true, env->seed, &p.student, err);
    if (!rc) {
        bk_tape_set_recording(p.tape, false);
        rc = probe_shapes(&p);
    }
    bk_weights_free(p.student);
    bk_tape_free(p.tape);
    if (!rc)
        rc = choose_comparison(d, err);
    return rc ? rc : add_adapters(d, err);
}
