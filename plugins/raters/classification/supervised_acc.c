/*
 * Rater "supervised_acc": a path is good when the classifier that the trainer "supervised" trained at the end of its block
 * is right along it: mean cross entropy or top-1 error on the validation images in their evaluation view, after batch norms
 * were recalibrated for the path. Lower is better; block scores add up (table 5 of BossNAS, "Supv. class.").
 */
#include "class_score.h"

#include <bosskit/classifier.h>

struct supervised_acc {
    struct class_options o;
};

/* clang-format off */
static const struct bk_opt options[] = {
    CLASS_OPTIONS(struct supervised_acc),
    BK_OPT_END
};
/* clang-format on */

struct rating {
    struct class_rating r;
    struct bk_classifier net;
};

static int run_prefix(void *user, struct bk_forward *f, struct bk_tensor *images, struct bk_tensor **x,
                      struct bk_error *err)
{
    const struct rating *s = user;
    const struct bk_env *env = s->r.env;
    return bk_space_run_prefix(env->space, f, env->block, env->prefix, images, x, err);
}

static int logits_of(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                     struct bk_tensor **logits, struct bk_error *err)
{
    const struct rating *s = user;
    return bk_classifier_logits(&s->net, f, leaf->path, x, logits, err);
}

static int calibrate(void *user, const struct bk_leaf *leaf, struct bk_forward *f, struct bk_tensor *x,
                     struct bk_error *err)
{
    struct bk_tensor *logits;
    return logits_of(user, leaf, f, x, &logits, err);
}

static int run(struct rating *s, const struct bk_bundle *trained, struct bk_block_table *out, struct bk_error *err)
{
    const struct bk_env *env = s->r.env;
    BK_TRY(bk_classifier_open(&s->net, env->device, bk_dtype_accum(env->dtype), env->space, env->block, trained, err));
    if (s->net.n_classes != env->data->info.n_classes)
        return bk_fail(err, BK_EDATA, "the block was trained for %d classes, the data has %d", (int)s->net.n_classes,
                       (int)env->data->info.n_classes);
    BK_TRY(bk_tape_new(env->device, &s->r.tape, err));
    struct bk_traverse_config c = { .env = env,
                                    .tape = s->r.tape,
                                    .net = { s->net.weights },
                                    .n_nets = 1,
                                    .side = env->data->plain.size,
                                    .input = env->block ? run_prefix : NULL,
                                    .user = s };
    BK_TRY(bk_traverse_new(&c, &s->r.paths, err));
    BK_TRY(class_calibrate(&s->r, err));
    return class_rate(&s->r, out, err);
}

static int rate_block(void *state, const struct bk_env *env, const struct bk_bundle *trained,
                      struct bk_block_table *out, struct bk_error *err)
{
    const struct supervised_acc *a = state;
    struct rating s = { .r = { .options = &a->o, .env = env, .calibrate = calibrate, .logits = logits_of, .user = &s } };
    if (!trained || !env->data)
        return bk_fail(err, BK_EINVAL, "the supervised rating needs a trained block and data");
    s.r.n_classes = env->data->info.n_classes;
    int rc = run(&s, trained, out, err);
    class_release(&s.r);
    bk_traverse_free(s.r.paths);
    bk_tape_free(s.r.tape);
    bk_classifier_release(&s.net);
    return rc;
}

static const struct bk_rater_iface iface = {
    .struct_size = sizeof iface,
    .flags = BK_RATER_BLOCKS | BK_RATER_NEEDS_TRAINED | BK_RATER_NEEDS_DATA,
    .better = BK_LOWER_IS_BETTER,
    .rate_block = rate_block,
    .takes = "supervised",
};

const struct bk_plugin supervised_acc_plugin = {
    .struct_size = sizeof supervised_acc_plugin,
    .kind = BK_KIND_RATER,
    .name = "supervised_acc",
    .version = "1.0.0",
    .summary = "cross entropy or error of each path with the block's trained classifier (Supv. class. of BossNAS)",
    .help = "Needs the artefact of trainer 'supervised'. Lower is better; the scores of blocks add up.",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct supervised_acc),
    .iface = &iface,
};
