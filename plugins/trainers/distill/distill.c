/*
 * Trainer "distill": block-wise supervised distillation (Li et al., DNA, CVPR 2020). Each block of the supernet learns
 * alone: it is fed with the teacher's feature in front of it and moves towards the teacher's feature behind it,
 *
 *   L = mean over elements of (Y' - Y)^2,
 *
 * along one random path an update. The teacher's norms use the statistics of the batch. Adam, a rate for each block,
 * multiplied by lr_decay every epoch, the first included (released code). Batches that are accumulated to an update share
 * its path and have statistics of their own, as processes that share the work do: the release has 8 of 64 images. An operation that no path of the step uses is
 * not touched by Adam, neither by its moments nor by its decay; the released code moves it on.
 *
 * A teacher without published weights is trained here, on the labels, as the first part of block 0 (SGD with Nesterov
 * momentum, cosine to 0), and travels in the artefacts.
 *
 * This file: options, iterations and the life of a block. Shapes and the comparison are in distilled.h, the loop is
 * <bosskit/training.h>.
 */
#include "distill.h"
#include "distilled.h"

#include <bosskit/random.h>
#include <bosskit/training.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TEACHER_TRAINED_HERE = 1, TEACHER_PRETRAINED = 2 };
enum { OPTIMIZER_ADAM = 1, OPTIMIZER_ADAMW = 2 };

#define NORM_EPS 1e-5
#define TEACHER_NORM_MOMENTUM 0.1
#define TEACHER_MOMENTUM 0.9

struct distill {
    /* options */
    int64_t epochs, batch, accumulate, paths, teacher_epochs;
    double lr_decay, weight_decay, teacher_lr, teacher_weight_decay;
    int32_t teacher, optimizer, compare, augment;
    const char *lr_text, *teacher_arch, *teacher_weights;
    struct bk_ints teacher_taps;

    double lr[BK_MAX_BLOCKS];           /* of each block; set by init */
    const struct bk_host *host;
    /* the block in training: begin() to end() */
    const struct bk_env *env;           /* NULL outside */
    struct distilled d;
    struct bk_training run;             /* of the teacher or of the student */
    bool teaching;
    int64_t n_teacher;                  /* iterations of the teacher, which come first */
};

static const struct bk_choice teachers[] = { { "trained_here", TEACHER_TRAINED_HERE },
                                             { "pretrained", TEACHER_PRETRAINED },
                                             { NULL, 0 } };
static const struct bk_choice optimizers[] = { { "adam", OPTIMIZER_ADAM }, { "adamw", OPTIMIZER_ADAMW }, { NULL, 0 } };
static const struct bk_choice compares[] = { { "auto", COMPARE_AUTO },
                                             { "map", COMPARE_MAP },
                                             { "pooled", COMPARE_POOLED },
                                             { NULL, 0 } };
static const struct bk_choice augments[] = { { "standard", AUGMENT_STANDARD }, { "dna", AUGMENT_DNA }, { NULL, 0 } };

/* clang-format off */
static const struct bk_opt options[] = {
    BK_ENUM("teacher",         struct distill, teacher,         TEACHER_TRAINED_HERE, teachers, "train the teacher on the labels before block 0, or read published weights"),
    BK_TEXT("teacher_arch",    struct distill, teacher_arch,    "space", "resnet50, resnet20, efficientnet_b0, mobilenetv1, space (its largest network) or an architecture of the space"),
    BK_PATH("teacher_weights", struct distill, teacher_weights, NULL, "safetensors file of a pretrained teacher, names as in timm (resnet50, efficientnet_b0, mobilenetv1_100) or torchvision (the first two)"),
    BK_INTS("teacher_taps",    struct distill, teacher_taps,    NULL, 0, TEACHER_MAX_UNITS - 1, "", "unit of the teacher that ends each block (0: stem, 1: first residual block); empty: the customary ones"),
    BK_INT ("teacher_epochs",  struct distill, teacher_epochs,  10,   0, 100000, "epochs", "training of the teacher; 0: it keeps its random weights"),
    BK_REAL("teacher_lr",      struct distill, teacher_lr,      0.05, 0, 1000,   "", "peak learning rate of the teacher"),
    BK_REAL("teacher_weight_decay", struct distill, teacher_weight_decay, 5e-4, 0, 1, "", "of the teacher's kernels"),
    BK_INT ("epochs",          struct distill, epochs,          20,   1, 100000, "epochs", "passes over the training split a block"),
    BK_INT ("batch",           struct distill, batch,           64,   2, 65536,  "images", "images an iteration"),
    BK_INT ("accumulate",      struct distill, accumulate,      1,    1, 65536,  "iterations", "iterations an update, with the same paths (effective batch = batch * accumulate)"),
    BK_INT ("paths",           struct distill, paths,           1,    1, BK_MAX_SAMPLED, "paths", "paths an iteration; their gradients are added"),
    BK_ENUM("augment",         struct distill, augment,         AUGMENT_STANDARD, augments, "the student's images: as in stand-alone training, or DNA's (resized crop, colour jitter, erasing); ratings recalibrate with the same"),
    BK_TEXT("lr",              struct distill, lr_text,         "0.002,0.005,0.005,0.005,0.005,0.002", "learning rate of each block; the last one holds for those after it"),
    BK_REAL("lr_decay",        struct distill, lr_decay,        0.9,  0, 1,      "", "epoch e (from 0) uses lr * lr_decay^(e + 1)"),
    BK_ENUM("optimizer",       struct distill, optimizer,       OPTIMIZER_ADAM, optimizers, "weight decay in the gradient (adam) or apart from it (adamw)"),
    BK_REAL("weight_decay",    struct distill, weight_decay,    1e-4, 0, 1,      "", "of kernels and linear maps"),
    BK_ENUM("compare",         struct distill, compare,         COMPARE_AUTO, compares, "maps, means over positions, or maps where all paths of a block end with the same one"),
    BK_OPT_END
};
/* clang-format on */

static int parse_rates(struct distill *t, struct bk_error *err)
{
    const char *p = t->lr_text ? t->lr_text : "";
    int32_t n = 0;
    while (n < BK_MAX_BLOCKS) {
        char word[32];
        size_t length = strcspn(p, ",");
        if (length < sizeof word) {
            memcpy(word, p, length);
            word[length] = '\0';
        }
        if (length >= sizeof word || !bk_parse_f64(word, &t->lr[n]) || !(t->lr[n] >= 0 && t->lr[n] <= 1000))
            return bk_fail(err, BK_EINVAL, "lr '%.60s' is no list of numbers 0..1000 such as \"0.002,0.005\"", t->lr_text);
        n++;
        if (!p[length])
            break;
        p += length + 1;
    }
    for (; n < BK_MAX_BLOCKS; n++)
        t->lr[n] = t->lr[n - 1];
    return BK_OK;
}

static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    struct distill *t = state;
    t->host = host;
    if (t->teacher == TEACHER_PRETRAINED && !t->teacher_weights)
        return bk_fail(err, BK_EINVAL, "a pretrained teacher needs its weights: teacher_weights = \"FILE.safetensors\"");
    if (t->teacher == TEACHER_TRAINED_HERE && t->teacher_weights)
        return bk_fail(err, BK_EINVAL, "teacher_weights goes with teacher = \"pretrained\"");
    return parse_rates(t, err);
}

/* ---- iterations ------------------------------------------------------------------------------------------ */

static struct bk_forward forward_of(const struct distill *t, struct bk_weights *weights, double momentum)
{
    return (struct bk_forward){ .tape = t->run.tape, .weights = weights, .dtype = t->run.env->dtype,
                                .norm_mode = BK_NORM_BATCH, .norm_momentum = momentum, .norm_eps = NORM_EPS };
}

static int upload(const struct distill *t, const struct bk_batch *batch, struct bk_tensor **images, struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    return bk_batch_view(t->run.tape, env->dtype, batch, 0, env->data->alone.size, images, err);
}

static int add_gradient(struct distill *t, struct bk_tensor *loss, struct bk_error *err)
{
    BK_TRY(bk_training_add_loss(&t->run, loss, err));
    return bk_tape_backward(t->run.tape, loss, 1. / (double)t->run.accumulate, err);
}

static int teacher_iteration(void *state, const struct bk_batch *batch, struct bk_error *err)
{
    struct distill *t = state;
    struct bk_forward f = forward_of(t, t->d.teacher.weights, TEACHER_NORM_MOMENTUM);
    const struct bk_cross_entropy_attr attr = { 0 };
    struct bk_tensor *images, *logits, *labels, *loss;
    BK_TRY(upload(t, batch, &images, err));
    BK_TRY(bk_batch_labels(t->run.tape, batch, &labels, err));
    BK_TRY(teacher_logits(&t->d.teacher, &f, images, &logits, err));
    BK_TRY(bk_cross_entropy(t->run.tape, logits, labels, &attr, &loss, err));
    return add_gradient(t, loss, err);
}

static double teacher_rate(const void *state, int64_t i)
{
    const struct distill *t = state;
    return bk_training_cosine(&t->run, t->teacher_lr, 0, false, i);
}

/* PyTorch's Adam: g := g + weight_decay w, of kernels in use. */
static int decay_gradients(struct distill *t, struct bk_error *err)
{
    struct bk_weights *w = t->d.student;
    for (int32_t i = 0; i < t->d.net.n; i++) {
        struct bk_tensor *master = bk_weights_get(w, i);
        if (t->d.net.slot[i].role == BK_ROLE_WEIGHT && bk_weights_is_trained(w, i) && bk_tensor_is_touched(master))
            BK_TRY(bk_blend(bk_tensor_get_grad(master), 1, master, t->weight_decay, err));
    }
    return BK_OK;
}

static int path_gradient(struct distill *t, const struct bk_path *path, struct bk_tensor *x, struct bk_tensor *y,
                         struct bk_error *err)
{
    const struct bk_env *env = t->run.env;
    struct bk_forward f = forward_of(t, t->d.student, 0);
    const struct distilled_exit *e = distilled_exit_of(&t->d, path);
    struct bk_tape_mark mark = bk_tape_mark(t->run.tape);
    struct bk_tensor *h, *target, *loss;
    BK_TRY(distilled_input(&t->d, &f, x, &h, err));
    BK_TRY(bk_space_run_block(env->space, &f, env->block, env->entry, path, h, &h, err));
    BK_TRY(distilled_output(&t->d, &f, e, h, &h, err));
    BK_TRY(distilled_target(&t->d, t->run.tape, e, y, &target, err));
    BK_TRY(bk_mse_loss(t->run.tape, h, target, &loss, err));
    BK_TRY(add_gradient(t, loss, err));
    bk_tape_rewind(t->run.tape, mark);
    return BK_OK;
}

static int student_iteration(void *state, const struct bk_batch *batch, struct bk_error *err)
{
    struct distill *t = state;
    struct bk_forward f = forward_of(t, t->d.teacher.weights, 0);
    struct bk_path path[BK_MAX_SAMPLED];
    struct bk_tensor *images, *x, *y;
    int32_t n;
    BK_TRY(bk_training_paths(&t->run, t->run.step / t->accumulate, t->paths, path, &n, err));
    BK_TRY(upload(t, batch, &images, err));
    BK_TRY(distilled_features(&t->d, &f, images, &x, &y, err));
    for (int32_t p = 0; p < n; p++)
        BK_TRY(path_gradient(t, &path[p], x ? x : images, y, err));
    bool update = (t->run.step + 1) % t->accumulate == 0;
    return update && t->optimizer == OPTIMIZER_ADAM && t->weight_decay > 0 ? decay_gradients(t, err) : BK_OK;
}

static double student_rate(const void *state, int64_t i)
{
    const struct distill *t = state;
    return t->lr[t->run.env->block] * pow(t->lr_decay, (double)(i / t->run.n_batches + 1));
}

/* ---- phases ----------------------------------------------------------------------------------------------- */

static int training_images(const struct distill *t, bool teaching, struct bk_loader_config *c, struct bk_error *err)
{
    const struct bk_data *data = t->env->data;
    *c = (struct bk_loader_config){ .split = &data->train, .batch = (int32_t)t->batch, .n_views = 1,
                                    .view = { data->alone } };
    return teaching ? BK_OK : distilled_view(&t->d, data, &c->view[0], err);
}

/* Either phase is a training of its own. */
static int start(struct distill *t, bool teaching, struct bk_error *err)
{
    struct bk_training_config c = { .accumulate = teaching ? 1 : t->accumulate };
    BK_TRY(training_images(t, teaching, &c.loader, err));
    bk_training_end(&t->run);
    BK_TRY(bk_training_begin(&t->run, t->env, t->host, err));
    BK_TRY(teacher_train(&t->d.teacher, teaching, err));
    t->teaching = teaching;
    if (teaching) {
        c.weights = t->d.teacher.weights;
        c.epochs = t->teacher_epochs;
        c.optim = (struct bk_optim_config){ .kind = BK_SGD, .exclude = BK_EXCLUDE_BY_TYPE, .momentum = TEACHER_MOMENTUM,
                                            .weight_decay = t->teacher_weight_decay, .nesterov = true };
    } else {
        c.weights = t->d.student;
        c.epochs = t->epochs;
        c.optim = (struct bk_optim_config){ .kind = BK_ADAMW, .exclude = BK_EXCLUDE_BY_TYPE, .beta1 = 0.9, .beta2 = 0.999,
                                            .eps = 1e-8,
                                            .weight_decay = t->optimizer == OPTIMIZER_ADAMW ? t->weight_decay : 0 };
    }
    return bk_training_start(&t->run, &c, err);
}

static int finish_teacher(struct distill *t, double loss, struct bk_error *err)
{
    char line[256];
    snprintf(line, sizeof line, "teacher '%s' is trained: cross entropy %.4f at the end", t->d.teacher.name, loss);
    t->host->log(t->host->ctx, BK_LOG_INFO, line);
    return start(t, false, err);
}

static int advance(void *state, double seconds, struct bk_progress *out, struct bk_error *err)
{
    static const struct bk_training_methods teacher = { teacher_iteration, teacher_rate, NULL };
    static const struct bk_training_methods student = { student_iteration, student_rate, NULL };
    struct distill *t = state;
    double begun = bk_now();
    bool taught = t->teaching;

    BK_TRY(bk_training_check(&t->run, err));
    if (taught) {
        if (bk_training_advance(&t->run, &teacher, t, seconds, out, err))
            return bk_context(err, "the teacher");
        if (out->done)
            BK_TRY(finish_teacher(t, out->loss, err));
        seconds -= bk_now() - begun;
    }
    if (!t->teaching && (!taught || seconds > 0))
        BK_TRY(bk_training_advance(&t->run, &student, t, seconds, out, err));
    out->done = !t->teaching && t->run.step == t->run.n_steps;
    out->step = t->run.step + (t->teaching ? 0 : t->n_teacher);
    out->n_steps = t->n_teacher + t->epochs * t->run.n_batches;
    return BK_OK;
}

/* ---- begin and end ------------------------------------------------------------------------------------------ */

static void end(void *state)
{
    struct distill *t = state;
    bk_training_end(&t->run);
    distilled_release(&t->d);
    t->env = NULL;
}

static int open_networks(struct distill *t, const struct bk_bundle *previous, struct bk_error *err)
{
    const struct bk_env *env = t->env;
    bool here = t->teacher == TEACHER_TRAINED_HERE, of_space = !teacher_net_exists(t->teacher_arch);
    struct distilled_config c = { .teacher = t->teacher_arch,
                                  .n_classes = here || of_space ? env->data->info.n_classes : 0,
                                  .taps = t->teacher_taps,
                                  .compare = t->compare,
                                  .augment = t->augment };
    BK_TRY(distilled_open(&t->d, env, &c, err));
    BK_TRY(bk_weights_train_blocks(t->d.student, env->block, env->block, err));
    if (env->block > 0 && !previous)
        return bk_fail(err, BK_ESTATE, "block %d needs the artefact of the block before, which holds the teacher",
                       (int)env->block);
    if (env->block > 0)
        return distilled_load_teacher(&t->d, previous, err);
    if (!here)
        return teacher_read(&t->d.teacher, t->teacher_weights, err);
    /* Not the student's seed: a teacher of the space has slots of the same names. */
    return bk_weights_init(t->d.teacher.weights, env->seed ^ bk_random_stream("teacher"), err);
}

static int set_up(struct distill *t, const struct bk_bundle *previous, struct bk_error *err)
{
    bool teaching = t->teacher == TEACHER_TRAINED_HERE && t->env->block == 0 && t->teacher_epochs > 0;
    if (!t->env->data)
        return bk_fail(err, BK_EINVAL, "distillation needs data");
    BK_TRY(open_networks(t, previous, err));
    BK_TRY(start(t, teaching, err));
    t->n_teacher = teaching ? t->run.n_steps : 0;
    return BK_OK;
}

static int begin(void *state, const struct bk_env *env, const struct bk_bundle *previous, struct bk_error *err)
{
    struct distill *t = state;
    if (t->env)
        return bk_fail(err, BK_ESTATE, "block %d is still in training", (int)t->env->block);
    t->env = env;
    int rc = set_up(t, previous, err);
    if (rc)
        end(t);
    return rc;
}

/* ---- state --------------------------------------------------------------------------------------------------- */

static int save(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct distill *t = state;
    BK_TRY(bk_training_check(&t->run, err));
    BK_TRY(distilled_save(&t->d, out, err));
    BK_TRY(bk_bundle_put_i64(out, "teaching", t->teaching, err));
    return bk_training_save(&t->run, out, err);
}

static int load(void *state, const struct bk_bundle *in, struct bk_error *err)
{
    struct distill *t = state;
    int64_t teaching;
    BK_TRY(bk_training_check(&t->run, err));
    BK_TRY(bk_bundle_i64(in, "teaching", &teaching, err));
    if (teaching && !t->n_teacher)
        return bk_fail(err, BK_EDATA, "a checkpoint of the teacher's training does not fit: it is not trained here");
    BK_TRY(start(t, teaching != 0, err));
    BK_TRY(distilled_load(&t->d, in, err));
    return bk_training_load(&t->run, in, err);
}

static int result(void *state, struct bk_bundle *out, struct bk_error *err)
{
    struct distill *t = state;
    BK_TRY(bk_training_check(&t->run, err));
    if (t->teaching || t->run.step < t->run.n_steps)
        return bk_fail(err, BK_ESTATE, "the block is not trained yet");
    return distilled_save(&t->d, out, err);
}

static const struct bk_trainer_iface iface = {
    .struct_size = sizeof iface,
    .begin = begin,
    .advance = advance,
    .save = save,
    .load = load,
    .result = result,
    .end = end,
    .makes = "distill",
};

static const struct bk_plugin plugin = {
    .struct_size = sizeof plugin,
    .kind = BK_KIND_TRAINER,
    .name = "distill",
    .version = "1.0.0",
    .summary = "supervised: every block learns to give a teacher's features (DNA)",
    .help = "Use it with sampler uniform and rater distill_loss. Defaults are DNA's; its batch is 8 times 64 (accumulate = 8), its augment is dna.",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct distill),
    .init = init,
    .free = end,
    .iface = &iface,
};

BK_MODULE(&plugin, &distill_loss_plugin);
