/*
 * nn/traverse.c: the tree of choices of one block with batch-norm statistics at its nodes, and walking it.
 *
 * Only the outputs of the layers between the root and the current node are on the tape at a time: a layer's output gets
 * its place first, is computed behind it, copied, and what was behind is dropped. Shapes are therefore learnt from a
 * walk over two black images.
 *
 * Not here: what happens at a leaf, and batches (rater_pass.c).
 */
#include <bosskit/stats.h>
#include <bosskit/traverse.h>

#include <math.h>
#include <string.h>

/* A node is a path of one layer or more; node 0, the root, is the empty path. Children follow their parent. */
struct node {
    struct bk_path path;
    int32_t first_child, n_children;            /* children are consecutive */
    int32_t leaf;                               /* number of the complete path; -1: not complete */
    int64_t dim[3];                             /* H, W, C of the output */
    struct bk_norm_store *layer[BK_TRAVERSE_NETS], *head[BK_TRAVERSE_NETS];     /* of the last layer; of what follows */
};

struct bk_traverse {
    struct bk_traverse_config c;
    struct node *node;
    int32_t n_nodes, cap_nodes, n_leaves;
    int32_t *node_of;                           /* by leaf number */
    double *sum, *score;                        /* by leaf number: weighted scores; those of the batch */
    bool *told;                                 /* by leaf number: is there one of the batch? */
    int32_t n_told;
    double weight;                              /* of the finished batches */
    struct bk_reliability repeats;
    struct bk_norm_store *input;
    int64_t input_dim[3];
};

/* ---- the tree --------------------------------------------------------------------------------------- */

static int add_node(struct bk_traverse *t, const struct bk_path *path, struct bk_error *err)
{
    if (t->n_nodes == t->cap_nodes) {
        int32_t cap = t->cap_nodes ? 2 * t->cap_nodes : 64;
        struct node *p = bk_realloc(t->node, (size_t)cap * sizeof *p);
        if (!p)
            return bk_fail(err, BK_ENOMEM, "out of memory for %d paths", (int)cap);
        t->node = p;
        t->cap_nodes = cap;
    }
    struct node *n = &t->node[t->n_nodes++];
    memset(n, 0, sizeof *n);
    n->path = *path;
    n->leaf = -1;
    return BK_OK;
}

/* Is this the beginning of a path that is to be walked? */
static bool is_in_config(const struct bk_traverse *t, const struct bk_path *path)
{
    for (size_t i = 0; i < t->c.n_only; i++)
        if (t->c.only[i].n >= path->n && !memcmp(t->c.only[i].op, path->op, path->n))
            return true;
    return !t->c.only;
}

static int grow(struct bk_traverse *t, int32_t at, struct bk_error *err)
{
    const struct bk_env *env = t->c.env;
    const struct bk_space *s = env->space;
    struct bk_path path = t->node[at].path;
    uint8_t choice[BK_MAX_CHOICES];
    int32_t n = 0, first = t->n_nodes;
    int rc = s->iface->choices(s->state, env->block, env->entry, &path, choice, &n);
    if (rc)
        return bk_fail(err, rc, "space '%s' has no choices for block %d", s->name, (int)env->block);
    if (n == 0)
        t->node[at].leaf = t->n_leaves++;
    path.n++;
    for (int32_t i = 0; i < n; i++) {
        path.op[path.n - 1] = choice[i];
        if (is_in_config(t, &path))
            BK_TRY(add_node(t, &path, err));
    }
    n = t->n_nodes - first;
    t->node[at].first_child = first;
    t->node[at].n_children = n;
    for (int32_t i = 0; i < n; i++)
        BK_TRY(grow(t, first + i, err));
    return BK_OK;
}

static int number_leaves(struct bk_traverse *t, struct bk_error *err)
{
    size_t n = (size_t)t->n_leaves;
    t->node_of = bk_alloc(n * sizeof *t->node_of);
    t->sum = bk_zalloc(n * sizeof *t->sum);
    t->score = bk_zalloc(n * sizeof *t->score);
    t->told = bk_zalloc(n * sizeof *t->told);
    t->repeats.n_items = n;
    if (!t->node_of || !t->sum || !t->score || !t->told)
        return bk_fail(err, BK_ENOMEM, "out of memory for %d paths", (int)t->n_leaves);
    for (int32_t i = 0; i < t->n_nodes; i++)
        if (t->node[i].leaf >= 0)
            t->node_of[t->node[i].leaf] = i;
    return BK_OK;
}

static int make_stores(struct bk_traverse *t, struct bk_error *err)
{
    struct bk_device *d = t->c.env->device;
    BK_TRY(bk_norm_store_new(d, &t->input, err));
    for (int32_t i = 1; i < t->n_nodes; i++)
        for (int32_t w = 0; w < t->c.n_nets; w++) {
            BK_TRY(bk_norm_store_new(d, &t->node[i].layer[w], err));
            if (t->node[i].leaf >= 0)
                BK_TRY(bk_norm_store_new(d, &t->node[i].head[w], err));
        }
    return BK_OK;
}

/* ---- walking it --------------------------------------------------------------------------------------- */

struct walk {
    struct bk_traverse *t;
    bool probe;                         /* learn shapes, visit no leaf */
    const struct bk_path *only;         /* NULL: all */
    int32_t net;
    struct bk_forward f;
    bk_traverse_leaf_fn leaf;
    void *user;
    struct bk_error *err;
};

static int check_cancelled(const struct walk *w)
{
    const struct bk_env *env = w->t->c.env;
    if (env->host && env->host->cancelled(env->host->ctx))
        return bk_fail(w->err, BK_EINTERRUPTED, "rating of block %d interrupted", (int)env->block);
    return BK_OK;
}

static int visit(struct walk *w, const struct node *n, struct bk_tensor *x)
{
    struct bk_leaf leaf = { &n->path, n->leaf, w->net };
    struct bk_forward f = w->f;
    f.store = n->head[w->net];
    return w->leaf(w->user, &leaf, &f, x, w->err);
}

/* One layer; only its output stays on the tape. */
static int run_layer(struct walk *w, struct node *n, struct bk_tensor *x, struct bk_tensor **y)
{
    const struct bk_env *env = w->t->c.env;
    const struct bk_space *s = env->space;
    struct bk_tape *tape = w->t->c.tape;
    struct bk_tensor *out;
    int64_t dim[4] = { x->dim[0], n->dim[0], n->dim[1], n->dim[2] };

    w->f.store = n->layer[w->net];
    if (w->probe) {
        BK_TRY(s->iface->layer(s->state, &w->f, env->block, env->entry, &n->path, x, y, w->err));
        if ((*y)->rank != 4)
            return bk_fail(w->err, BK_ESHAPE, "layer %d of block %d gives no [N,H,W,C]", n->path.n - 1, (int)env->block);
        memcpy(n->dim, (*y)->dim + 1, sizeof n->dim);
        return BK_OK;
    }
    BK_TRY(bk_tape_tensor(tape, env->dtype, 4, dim, y, w->err));
    struct bk_tape_mark mark = bk_tape_mark(tape);
    BK_TRY(s->iface->layer(s->state, &w->f, env->block, env->entry, &n->path, x, &out, w->err));
    BK_TRY(bk_tensor_copy(*y, out, w->err));
    bk_tape_rewind(tape, mark);
    return BK_OK;
}

static bool is_wanted(const struct walk *w, const struct bk_path *path)
{
    return !w->only || !memcmp(path->op, w->only->op, path->n);
}

static int walk_children(struct walk *w, int32_t at, struct bk_tensor *x)
{
    struct bk_traverse *t = w->t;
    for (int32_t i = 0; i < t->node[at].n_children; i++) {
        int32_t child = t->node[at].first_child + i;
        struct bk_tape_mark mark = bk_tape_mark(t->c.tape);
        struct bk_tensor *y;
        if (!is_wanted(w, &t->node[child].path))
            continue;
        BK_TRY(check_cancelled(w));
        BK_TRY(run_layer(w, &t->node[child], x, &y));
        if (t->node[child].leaf >= 0 && w->leaf)
            BK_TRY(visit(w, &t->node[child], y));
        BK_TRY(walk_children(w, child, y));
        bk_tape_rewind(t->c.tape, mark);
    }
    return BK_OK;
}

static int run_input(struct walk *w, struct bk_tensor *images, struct bk_tensor **x)
{
    struct bk_traverse *t = w->t;
    struct bk_forward f = w->f;
    struct bk_tensor *y;
    int64_t dim[4] = { images->dim[0], t->input_dim[0], t->input_dim[1], t->input_dim[2] };

    *x = images;
    if (!t->c.input)
        return BK_OK;
    f.weights = t->c.net[0];
    f.store = t->input;
    if (w->probe) {
        BK_TRY(t->c.input(t->c.user, &f, images, x, w->err));
        if ((*x)->rank != 4)
            return bk_fail(w->err, BK_ESHAPE, "the input of block %d is no [N,H,W,C]", (int)t->c.env->block);
        memcpy(t->input_dim, (*x)->dim + 1, sizeof t->input_dim);
        return BK_OK;
    }
    BK_TRY(bk_tape_tensor(t->c.tape, t->c.env->dtype, 4, dim, x, w->err));
    struct bk_tape_mark mark = bk_tape_mark(t->c.tape);
    BK_TRY(t->c.input(t->c.user, &f, images, &y, w->err));
    BK_TRY(bk_tensor_copy(*x, y, w->err));
    bk_tape_rewind(t->c.tape, mark);
    return BK_OK;
}

static int walk_nets(struct walk *w, int32_t first, int32_t last, struct bk_tensor *images)
{
    struct bk_tensor *x;
    BK_TRY(run_input(w, images, &x));
    for (w->net = first; w->net <= last; w->net++) {
        w->f.weights = w->t->c.net[w->net];
        BK_TRY(walk_children(w, 0, x));
    }
    return BK_OK;
}

/* Walk networks first..last on one input; the tape is left as it was. */
static int walk(struct walk *w, int32_t first, int32_t last, struct bk_tensor *images)
{
    struct bk_tape *tape = w->t->c.tape;
    struct bk_tape_mark mark = bk_tape_mark(tape);
    bool was = bk_tape_set_recording(tape, false);
    w->f.tape = tape;
    w->f.dtype = w->t->c.env->dtype;
    w->f.norm_eps = 1e-5;
    int rc = walk_nets(w, first, last, images);
    bk_tape_rewind(tape, mark);
    bk_tape_set_recording(tape, was);
    return rc;
}

int bk_traverse_calibrate(struct bk_traverse *t, struct bk_tensor *images, double weight, bk_traverse_leaf_fn leaf,
                          void *user, struct bk_error *err)
{
    struct walk w = { .t = t, .leaf = leaf, .user = user, .err = err };
    w.f.norm_mode = BK_NORM_BATCH;
    w.f.norm_momentum = weight;
    return walk(&w, 0, t->c.n_nets - 1, images);
}

static int check_net(const struct bk_traverse *t, int32_t net, struct bk_error *err)
{
    if (net < 0 || net >= t->c.n_nets)
        return bk_fail(err, BK_EINVAL, "network %d is outside 0..%d", (int)net, (int)t->c.n_nets - 1);
    return BK_OK;
}

int bk_traverse_run(struct bk_traverse *t, int32_t net, struct bk_tensor *images, bk_traverse_leaf_fn leaf, void *user,
                    struct bk_error *err)
{
    struct walk w = { .t = t, .leaf = leaf, .user = user, .err = err };
    w.f.norm_mode = BK_NORM_RUNNING;
    BK_TRY(check_net(t, net, err));
    return walk(&w, net, net, images);
}

int bk_traverse_run_path(struct bk_traverse *t, int32_t net, int32_t number, struct bk_tensor *images,
                         bk_traverse_leaf_fn leaf, void *user, struct bk_error *err)
{
    struct walk w = { .t = t, .leaf = leaf, .user = user, .err = err };
    w.f.norm_mode = BK_NORM_RUNNING;
    BK_TRY(check_net(t, net, err));
    if (number < 0 || number >= t->n_leaves)
        return bk_fail(err, BK_EINVAL, "path %d is outside 0..%d", (int)number, (int)t->n_leaves - 1);
    w.only = bk_traverse_path(t, number);
    return walk(&w, net, net, images);
}

static int probe(struct bk_traverse *t, struct bk_error *err)
{
    int64_t dim[4] = { 2, t->c.side, t->c.side, 3 };
    struct walk w = { .t = t, .probe = true, .err = err };
    struct bk_tape_mark mark = bk_tape_mark(t->c.tape);
    struct bk_tensor *images;

    w.f.norm_mode = BK_NORM_BATCH;
    int rc = bk_tape_tensor(t->c.tape, t->c.env->dtype, 4, dim, &images, err);
    if (!rc)
        rc = bk_tensor_zero(images, err);
    if (!rc)
        rc = walk(&w, 0, 0, images);
    bk_tape_rewind(t->c.tape, mark);
    return rc;
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static int build(struct bk_traverse *t, struct bk_error *err)
{
    if (t->c.n_nets < 1 || t->c.n_nets > BK_TRAVERSE_NETS)
        return bk_fail(err, BK_EINVAL, "%d networks cannot be walked, legal: 1..%d", (int)t->c.n_nets, BK_TRAVERSE_NETS);
    BK_TRY(add_node(t, &(struct bk_path){ .n = 0 }, err));
    BK_TRY(grow(t, 0, err));
    if (t->node[0].leaf >= 0)
        return bk_fail(err, BK_EINVAL, "block %d has no layers", (int)t->c.env->block);
    if (t->c.only && (size_t)t->n_leaves != t->c.n_only)
        return bk_fail(err, BK_EINVAL, "%zu different paths of block %d are wanted, %d are among those given", t->c.n_only,
                       (int)t->c.env->block, (int)t->n_leaves);
    BK_TRY(number_leaves(t, err));
    BK_TRY(make_stores(t, err));
    return probe(t, err);
}

int bk_traverse_new(const struct bk_traverse_config *config, struct bk_traverse **out, struct bk_error *err)
{
    struct bk_traverse *t = bk_zalloc(sizeof *t);
    if (!t)
        return bk_fail(err, BK_ENOMEM, "out of memory for a traversal");
    t->c = *config;
    int rc = build(t, err);
    if (rc)
        bk_traverse_free(t);
    else
        *out = t;
    return rc;
}

void bk_traverse_free(struct bk_traverse *t)
{
    if (!t)
        return;
    for (int32_t i = 0; i < t->n_nodes; i++)
        for (int w = 0; w < BK_TRAVERSE_NETS; w++) {
            bk_norm_store_free(t->node[i].layer[w]);
            bk_norm_store_free(t->node[i].head[w]);
        }
    bk_norm_store_free(t->input);
    bk_reliability_release(&t->repeats);
    bk_free(t->sum);
    bk_free(t->score);
    bk_free(t->told);
    bk_free(t->node_of);
    bk_free(t->node);
    bk_free(t);
}

int32_t bk_traverse_count(const struct bk_traverse *t)
{
    return t->n_leaves;
}

const struct bk_path *bk_traverse_path(const struct bk_traverse *t, int32_t number)
{
    return &t->node[t->node_of[number]].path;
}

int bk_traverse_score(struct bk_traverse *t, int32_t number, double score, double weight, struct bk_error *err)
{
    if (t->told[number])
        return bk_fail(err, BK_ESTATE, "path %d of block %d has its score of this batch", (int)number, (int)t->c.env->block);
    t->told[number] = true;
    t->score[number] = score;
    t->sum[number] += weight * score;
    if (++t->n_told < t->n_leaves)
        return BK_OK;
    t->n_told = 0;
    t->weight += weight;
    memset(t->told, 0, (size_t)t->n_leaves * sizeof *t->told);
    return bk_reliability_add(&t->repeats, t->score, err);
}

static int fill_table(const struct bk_traverse *t, struct bk_block_table *b, struct bk_error *err)
{
    b->path = bk_alloc(b->n * sizeof *b->path);
    b->score = bk_alloc(b->n * sizeof *b->score);
    if (!b->path || !b->score)
        return bk_fail(err, BK_ENOMEM, "out of memory for %zu ratings", b->n);
    for (int32_t i = 0; i < t->n_leaves; i++) {
        b->path[i] = *bk_traverse_path(t, i);
        b->score[i] = t->sum[i] / t->weight;
        if (!isfinite(b->score[i]))
            return bk_fail(err, BK_ENUMERIC, "a rating of block %d is not finite", (int)b->block);
    }
    b->reliability = bk_reliability_value(&t->repeats);
    b->has_reliability = isfinite(b->reliability);
    return BK_OK;
}

int bk_traverse_table(const struct bk_traverse *t, struct bk_block_table *out, struct bk_error *err)
{
    struct bk_block_table b = { .block = t->c.env->block, .entry = t->c.env->entry, .n = (size_t)t->n_leaves };
    if (!t->repeats.n_batches || t->n_told)
        return bk_fail(err, BK_ESTATE, "block %d has %zu whole batches of scores and %d paths of another",
                       (int)b.block, t->repeats.n_batches, (int)t->n_told);
    int rc = fill_table(t, &b, err);
    if (rc)
        bk_block_table_release(&b);
    else
        *out = b;
    return rc;
}
