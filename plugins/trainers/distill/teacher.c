/*
 * A teacher of either kind behind one face: opening it, where its blocks end, and running it. The network of the search
 * space is the supernet's description with weights of its own, run along one architecture, and a classifier behind the
 * space's pooling: so it has the block boundaries of the student.
 *
 * Not here: the published networks (teacher_net.c), their files (teacher_file.c), training (distill.c).
 */
#include "teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- which network ----------------------------------------------------------------------------------- */

/* The path of most multiply-accumulates of each block in turn, entered where the block before ends. */
static int largest(const struct bk_space *s, int32_t n_classes, struct bk_arch *out, struct bk_error *err)
{
    int32_t entry = 0;
    *out = (struct bk_arch){ .n_blocks = (uint32_t)s->info.n_blocks };
    for (int32_t b = 0; b < s->info.n_blocks; b++) {
        struct bk_path *path;
        size_t n, best = 0;
        double most = -1;
        struct bk_cost cost;
        BK_TRY(bk_space_paths(s, b, entry, &path, &n, err));
        int rc = n ? BK_OK : bk_fail(err, BK_EINVAL, "block %d of space '%s' has no path", (int)b, s->name);
        for (size_t i = 0; i < n && !rc; i++) {
            rc = s->iface->cost(s->state, b, entry, &path[i], n_classes, &cost, err);
            if (!rc && cost.macs > most) {
                most = cost.macs;
                best = i;
            }
        }
        if (!rc) {
            out->block[b] = path[best];
            entry = s->iface->exit(s->state, b, entry, &path[best]);
        }
        bk_free(path);
        BK_TRY(rc);
    }
    return BK_OK;
}

static int choose_arch(struct teacher *t, const char *name, struct bk_error *err)
{
    const struct bk_space *s = t->space;
    if (strcmp(name, "space") == 0) {
        BK_TRY(largest(s, t->n_classes, &t->arch, err));
    } else if (bk_space_parse(s, name, &t->arch, err)) {
        bk_context(err, "teacher '%.60s' is none of resnet50, resnet20, efficientnet_b0, mobilenetv1, space, nor of the space",
                   name);
        return BK_EINVAL;
    }
    for (int32_t b = 0; b < s->info.n_blocks; b++)     /* a space may have networks that its supernet cannot run */
        BK_TRY(bk_space_check_path(s, b, bk_space_entry(s, b, t->arch.block), &t->arch.block[b], err));
    return bk_space_format(s, &t->arch, t->name, sizeof t->name, err);
}

/* ---- where its blocks end ------------------------------------------------------------------------------ */

static int given_taps(struct teacher *t, const struct bk_ints *given, int32_t n_blocks, struct bk_error *err)
{
    if (given->n != n_blocks)
        return bk_fail(err, BK_EINVAL, "teacher_taps names %lld units, the space has %d blocks", (long long)given->n,
                       (int)n_blocks);
    for (int32_t k = 0; k < n_blocks; k++) {
        int64_t unit = given->at[k];
        if (unit >= t->body.n_units || (k && unit <= t->tap[k - 1]))
            return bk_fail(err, BK_EINVAL, "teacher_taps must ascend below %d, the units of '%s'; unit %lld does not",
                           (int)t->body.n_units, t->name, (long long)unit);
        t->tap[k] = (int32_t)unit;
    }
    return BK_OK;
}

static int choose_taps(struct teacher *t, const struct bk_ints *given, struct bk_error *err)
{
    int32_t n = t->space->info.n_blocks;
    const int8_t *usual = t->of_space ? NULL : teacher_net_taps(t->name, n);
    if (t->of_space && given->n)
        return bk_fail(err, BK_EINVAL, "teacher_taps does not go with a network of the space, which ends its blocks as the student does");
    if (given->n)
        return given_taps(t, given, n, err);
    if (!t->of_space && !usual)
        return bk_fail(err, BK_EINVAL, "'%s' has no customary cut into %d blocks: give teacher_taps", t->name, (int)n);
    for (int32_t k = 0; k < n; k++)
        t->tap[k] = t->of_space ? k : usual[k];
    return BK_OK;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static int describe_of_space(struct teacher *t, const char *name, struct bk_error *err)
{
    const struct bk_space *s = t->space;
    int64_t width = s->info.pooled_width[s->info.n_blocks - 1];
    double a = 1 / sqrt((double)width);
    t->of_space = true;
    if (t->n_classes < 1)
        return bk_fail(err, BK_EINVAL, "a teacher that is of the space needs the number of classes");
    BK_TRY(choose_arch(t, name, err));
    BK_TRY(s->iface->supernet(s->state, &t->net, err));
    return bk_net_linear(&t->net, "classifier", BK_PART_CLASSIFIER, -1, t->n_classes, width, BK_INIT_UNIFORM, a,
                         BK_INIT_UNIFORM, a, &t->classifier, err);
}

static int open_teacher(struct teacher *t, const struct teacher_config *c, struct bk_error *err)
{
    if (teacher_net_exists(c->name)) {
        snprintf(t->name, sizeof t->name, "%s", c->name);
        BK_TRY(teacher_net_describe(&t->body, c->name, c->n_classes, &t->net, err));
        t->classifier = t->body.classifier;
    } else {
        BK_TRY(describe_of_space(t, c->name, err));
    }
    BK_TRY(choose_taps(t, &c->taps, err));
    return bk_weights_new(c->device, &t->net, c->dtype, &t->weights, err);
}

int teacher_init(struct teacher *t, const struct teacher_config *c, struct bk_error *err)
{
    *t = (struct teacher){ .space = c->space, .net = BK_NET_INIT, .classifier = -1, .n_classes = c->n_classes };
    int rc = open_teacher(t, c, err);
    if (rc)
        teacher_release(t);
    return rc;
}

void teacher_release(struct teacher *t)
{
    bk_weights_free(t->weights);
    bk_net_release(&t->net);
    *t = (struct teacher){ 0 };
}

int teacher_train(struct teacher *t, bool on, struct bk_error *err)
{
    for (int32_t i = 0; i < t->net.n; i++)
        BK_TRY(bk_weights_train(t->weights, i, on, err));       /* buffers never get a gradient */
    return BK_OK;
}

/* ---- running --------------------------------------------------------------------------------------------- */

static int run_unit(struct teacher *t, struct bk_forward *f, int32_t unit, int32_t *entry, struct bk_tensor *x,
                    struct bk_tensor **y, struct bk_error *err)
{
    const struct bk_space *s = t->space;
    if (!t->of_space)
        return teacher_net_unit(&t->body, f, unit, x, y, err);
    const struct bk_path *path = &t->arch.block[unit];
    BK_TRY(bk_space_run_block(s, f, unit, *entry, path, x, y, err));
    *entry = s->iface->exit(s->state, unit, *entry, path);
    return BK_OK;
}

int teacher_features(struct teacher *t, struct bk_forward *f, int32_t block, struct bk_tensor *images,
                     struct bk_tensor **x, struct bk_tensor **y, struct bk_error *err)
{
    int32_t entry = 0;
    struct bk_tensor *h = images;
    for (int32_t u = 0; u <= t->tap[block]; u++) {
        BK_TRY(run_unit(t, f, u, &entry, h, &h, err));
        if (block && x && u == t->tap[block - 1])
            *x = h;
    }
    *y = h;
    return BK_OK;
}

int teacher_logits(struct teacher *t, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **logits,
                   struct bk_error *err)
{
    const struct bk_space *s = t->space;
    int32_t entry = 0, n = t->of_space ? s->info.n_blocks : t->body.n_units;
    struct bk_tensor *h = images;
    if (t->classifier < 0)
        return bk_fail(err, BK_ESTATE, "teacher '%s' has no classifier", t->name);
    for (int32_t u = 0; u < n; u++)
        BK_TRY(run_unit(t, f, u, &entry, h, &h, err));
    if (!t->of_space)
        return teacher_net_head(&t->body, f, h, logits, err);
    BK_TRY(s->iface->pool(s->state, f, n - 1, &t->arch.block[n - 1], h, &h, err));
    return bk_forward_linear(f, t->classifier, h, logits, err);
}
