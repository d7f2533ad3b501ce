/*
 * autograd/tape.c: step memory, the list of nodes, and the walk backward over it.
 *
 * A tensor of the step and the record of its gradient share one pooled header, so making one allocates nothing once
 * the pool is large enough. Backward rules live with their operations (ops/), kernels in the backends.
 *
 * Addends: a rule may hand out several targets of one tensor before its kernel has filled them, so a list that grows
 * past BK_MAX_ADDENDS is only summed between rules; until then it has room for twice as many.
 */
#include "autograd/grad.h"
#include "autograd/step_arena.h"
#include "device/device.h"
#include "tensor/tensor_shape.h"
#include <bosskit/ops.h>
#include <string.h>

#define ADDEND_ROOM (2 * BK_MAX_ADDENDS)
#define HEADERS_A_BLOCK 256
#define PENDING_ROOM 32

struct bk_grad {
    const struct bk_tensor *owner;      /* parameter: the tensor that was given the gradient */
    struct bk_tensor *persistent;       /* parameter: its gradient */
    bool touched;
    uint32_t dtype;                     /* tensor of the step: the type of its addends */
    uint32_t n;
    const struct bk_tensor *addend[ADDEND_ROOM];
};

struct header {
    struct bk_tensor tensor;
    struct bk_grad grad;
};

struct bk_tape {
    struct bk_device *device;
    bool recording;
    struct bk__step_arena arena;
    struct header **block;              /* blocks of HEADERS_A_BLOCK headers */
    size_t n_blocks, cap_blocks, n_headers;
    struct bk_node *node;
    size_t n_nodes, cap_nodes;
    struct bk_tensor *pending[PENDING_ROOM];    /* whose addends became too many in the current rule */
    size_t n_pending;
};

/* ---- life ---------------------------------------------------------------------------------------- */

int bk_tape_new(struct bk_device *device, struct bk_tape **out, struct bk_error *err)
{
    struct bk_tape *t = bk_zalloc(sizeof *t);
    if (!t)
        return bk_fail(err, BK_ENOMEM, "no memory for a tape");
    t->device = device;
    t->recording = true;
    bk__step_arena_init(&t->arena, device);
    *out = t;
    return BK_OK;
}

void bk_tape_free(struct bk_tape *tape)
{
    if (!tape)
        return;
    bk__step_arena_release(&tape->arena);
    for (size_t i = 0; i < tape->n_blocks; i++)
        bk_free(tape->block[i]);
    bk_free(tape->block);
    bk_free(tape->node);
    bk_free(tape);
}

struct bk_device *bk_tape_device(struct bk_tape *tape)
{
    return tape->device;
}

bool bk_tape_set_recording(struct bk_tape *tape, bool on)
{
    bool was = tape->recording;
    tape->recording = on;
    return was;
}

bool bk_tape_is_recording(const struct bk_tape *tape)
{
    return tape->recording;
}

struct bk_tape_mark bk_tape_mark(const struct bk_tape *tape)
{
    return (struct bk_tape_mark){ tape->arena.current, tape->arena.offset, tape->n_nodes, tape->n_headers };
}

void bk_tape_rewind(struct bk_tape *tape, struct bk_tape_mark mark)
{
    bk__device_section(tape->device);
    bk__step_arena_rewind(&tape->arena, mark.chunk, mark.offset);
    if (mark.n_nodes < tape->n_nodes)
        tape->n_nodes = mark.n_nodes;
    tape->n_headers = mark.n_headers;
}

void bk_tape_reset(struct bk_tape *tape)
{
    bk_tape_rewind(tape, (struct bk_tape_mark){ 0, 0, 0, 0 });
}

size_t bk_tape_peak(const struct bk_tape *tape)
{
    return tape->arena.peak;
}

struct bk__step_arena *bk__tape_arena(struct bk_tape *tape)
{
    return &tape->arena;
}

/* ---- tensors of the step ------------------------------------------------------------------------- */

static int add_header_block(struct bk_tape *tape, struct bk_error *err)
{
    if (tape->n_blocks == tape->cap_blocks) {
        size_t cap = tape->cap_blocks ? 2 * tape->cap_blocks : 16;
        struct header **list = bk_realloc(tape->block, cap * sizeof *list);
        if (!list)
            return bk_fail(err, BK_ENOMEM, "no memory for the tensors of a step");
        tape->block = list;
        tape->cap_blocks = cap;
    }
    struct header *block = bk_alloc(HEADERS_A_BLOCK * sizeof *block);
    if (!block)
        return bk_fail(err, BK_ENOMEM, "no memory for the tensors of a step");
    tape->block[tape->n_blocks++] = block;
    return BK_OK;
}

int bk_tape_tensor(struct bk_tape *tape, uint32_t dtype, uint32_t rank, const int64_t *dim, struct bk_tensor **out,
                   struct bk_error *err)
{
    struct bk_tensor shape;
    BK_TRY(bk__tensor_shape(&shape, dtype, rank, dim, err));
    if (tape->n_headers == tape->n_blocks * HEADERS_A_BLOCK)
        BK_TRY(add_header_block(tape, err));
    BK_TRY(bk__step_arena_take(&tape->arena, bk_tensor_nbytes(&shape), &shape.data, err));
    struct header *h = &tape->block[tape->n_headers / HEADERS_A_BLOCK][tape->n_headers % HEADERS_A_BLOCK];
    tape->n_headers++;
    shape.device = tape->device;
    h->tensor = shape;
    h->grad = (struct bk_grad){ .dtype = dtype };
    *out = &h->tensor;
    return BK_OK;
}

/* ---- parameters ---------------------------------------------------------------------------------- */

int bk_tensor_set_grad(struct bk_tensor *t, struct bk_tensor *g, struct bk_error *err)
{
    char a[96], b[96];
    if (!g) {
        bk_tensor_drop_grad(t);
        return BK_OK;
    }
    if (!bk_tensor_same_shape(t, g) || g->dtype != bk_dtype_accum(t->dtype))
        return bk_fail(err, BK_ESHAPE, "%s cannot be the gradient of %s", bk_tensor_describe(g, a),
                       bk_tensor_describe(t, b));
    if (!t->grad || t->grad->owner != t) {
        t->grad = bk_zalloc(sizeof *t->grad);
        if (!t->grad)
            return bk_fail(err, BK_ENOMEM, "no memory for a gradient");
        t->grad->owner = t;
    }
    t->grad->persistent = g;
    t->grad->touched = false;
    return BK_OK;
}

struct bk_tensor *bk_tensor_get_grad(const struct bk_tensor *t)
{
    return t->grad ? t->grad->persistent : NULL;
}

/* The copy borrows the record; it must be freed, or lose its gradient, before its master does. */
void bk_tensor_share_grad(struct bk_tensor *copy, const struct bk_tensor *t)
{
    if (copy->grad == t->grad)
        return;
    bk_tensor_drop_grad(copy);
    copy->grad = t->grad;
}

bool bk_tensor_is_touched(const struct bk_tensor *t)
{
    return t->grad && t->grad->touched;
}

void bk_tensor_clear_touched(struct bk_tensor *t)
{
    if (t->grad)
        t->grad->touched = false;
}

void bk_tensor_drop_grad(struct bk_tensor *t)
{
    if (t->grad && t->grad->owner == t)
        bk_free(t->grad);
    t->grad = NULL;
}

/* ---- recording ----------------------------------------------------------------------------------- */

bool bk_needs_grad(const struct bk_tape *tape, const struct bk_tensor *t)
{
    return tape->recording && t && t->grad;
}

bool bk__is_parameter(const struct bk_tensor *x)
{
    return x->grad && x->grad->persistent;
}

int bk_tape_push(struct bk_tape *tape, const struct bk_node *node, struct bk_error *err)
{
    if (!tape->recording)
        return bk_fail(err, BK_ESTATE, "the tape does not record");
    if (tape->n_nodes == tape->cap_nodes) {
        size_t cap = tape->cap_nodes ? 2 * tape->cap_nodes : 256;
        struct bk_node *list = bk_realloc(tape->node, cap * sizeof *list);
        if (!list)
            return bk_fail(err, BK_ENOMEM, "no memory for %zu nodes of a tape", cap);
        tape->node = list;
        tape->cap_nodes = cap;
    }
    tape->node[tape->n_nodes++] = *node;
    /* y is the tape's, hence the first member of a header */
    node->y->grad = &((struct header *)(void *)node->y)->grad;
    return BK_OK;
}

void bk__grad_set_dtype(struct bk_tensor *y, uint32_t dtype)
{
    if (y->grad && !y->grad->persistent)
        y->grad->dtype = dtype;
}

/* ---- addends ------------------------------------------------------------------------------------- */

int bk_grad_addends(const struct bk_tensor *y, const struct bk_tensor *dy[BK_MAX_ADDENDS])
{
    int n = 0;
    for (; y->grad && n < (int)y->grad->n && n < BK_MAX_ADDENDS; n++)
        dy[n] = y->grad->addend[n];
    for (int i = n; i < BK_MAX_ADDENDS; i++)
        dy[i] = NULL;
    return n;
}

/* Replace the first (at most BK_MAX_ADDENDS) addends by their sum. */
static int fold_addends(struct bk_tape *tape, const struct bk_tensor *y, struct bk_error *err)
{
    struct bk_grad *g = y->grad;
    uint32_t n = g->n < BK_MAX_ADDENDS ? g->n : BK_MAX_ADDENDS;
    struct bk_tensor *sum;
    BK_TRY(bk_tape_tensor(tape, g->dtype, y->rank, y->dim, &sum, err));
    struct bk_add_attr attr = { 0 };
    struct bk_kernel_args args = { .out = { sum }, .n_in = n, .n_out = 1, .attr = &attr };
    memcpy(args.in, g->addend, n * sizeof args.in[0]);
    BK_TRY(bk_device_run(tape->device, BK_K_ADD, &args, err));
    memmove(g->addend + 1, g->addend + n, (g->n - n) * sizeof g->addend[0]);
    g->addend[0] = sum;
    g->n -= n - 1;
    return BK_OK;
}

int bk_grad_sum(struct bk_tape *tape, const struct bk_tensor *y, const struct bk_tensor **dy, struct bk_error *err)
{
    if (!y->grad || !y->grad->n) {
        *dy = NULL;
        return BK_OK;
    }
    while (y->grad->n > 1)
        BK_TRY(fold_addends(tape, y, err));
    *dy = y->grad->addend[0];
    return BK_OK;
}

static int note_addend(struct bk_tape *tape, struct bk_tensor *x, const struct bk_tensor *dx, struct bk_error *err)
{
    struct bk_grad *g = x->grad;
    char buf[96];
    if (g->n == ADDEND_ROOM || tape->n_pending == PENDING_ROOM)
        return bk_fail(err, BK_ESTATE, "one backward rule adds too many gradients to a tensor %s",
                       bk_tensor_describe(x, buf));
    g->addend[g->n++] = dx;
    if (g->n > BK_MAX_ADDENDS)
        tape->pending[tape->n_pending++] = x;
    return BK_OK;
}

static int fold_pending(struct bk_tape *tape, struct bk_error *err)
{
    while (tape->n_pending) {
        struct bk_tensor *x = tape->pending[--tape->n_pending];
        while (x->grad->n > BK_MAX_ADDENDS)
            BK_TRY(fold_addends(tape, x, err));
    }
    return BK_OK;
}

/* ---- targets ------------------------------------------------------------------------------------- */

int bk_grad_target(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor **dx, bool *accumulate,
                   struct bk_error *err)
{
    *dx = NULL;
    *accumulate = false;
    if (!x || !x->grad)
        return BK_OK;
    if (x->grad->persistent) {
        x->grad->touched = true;
        *dx = x->grad->persistent;
        *accumulate = true;
        return BK_OK;
    }
    struct bk_tensor *t;
    BK_TRY(bk_tape_tensor(tape, x->grad->dtype, x->rank, x->dim, &t, err));
    BK_TRY(note_addend(tape, x, t, err));
    *dx = t;
    return BK_OK;
}

int bk__target(struct bk_tape *tape, struct bk_tensor *x, uint32_t dtype, enum bk__how how, struct bk_tensor **dx,
               struct bk_error *err)
{
    bool accumulate;
    *dx = NULL;
    if (!x || !x->grad)
        return BK_OK;
    const struct bk_tensor *p = x->grad->persistent;
    bool direct = p ? how == BK__ADD && p->dtype == dtype : x->grad->dtype == dtype;
    if (direct)
        BK_TRY(bk_grad_target(tape, x, dx, &accumulate, err));
    else
        BK_TRY(bk_tape_tensor(tape, dtype, x->rank, x->dim, dx, err));
    return how == BK__ADD && *dx != p ? bk_tensor_zero(*dx, err) : BK_OK;
}

static bool is_final(const struct bk_grad *g, const struct bk_tensor *dx)
{
    if (g->persistent)
        return dx == g->persistent;
    for (uint32_t i = 0; i < g->n; i++)
        if (g->addend[i] == dx)
            return true;
    return false;
}

int bk__target_done(struct bk_tape *tape, struct bk_tensor *x, struct bk_tensor *dx, struct bk_error *err)
{
    if (!dx || is_final(x->grad, dx))
        return BK_OK;
    return bk__grad_append(tape, x, dx, err);
}

int bk__grad_append(struct bk_tape *tape, struct bk_tensor *x, const struct bk_tensor *dx, struct bk_error *err)
{
    if (!x || !x->grad)
        return BK_OK;
    struct bk_tensor *p = x->grad->persistent, *converted;
    uint32_t dtype = p ? p->dtype : x->grad->dtype;
    if (dx->dtype != dtype) {
        BK_TRY(bk_tape_tensor(tape, dtype, x->rank, x->dim, &converted, err));
        BK_TRY(bk_tensor_copy(converted, dx, err));
        dx = converted;
    }
    if (!p)
        return note_addend(tape, x, dx, err);
    x->grad->touched = true;
    return bk_blend(p, 1, dx, 1, err);
}

/* ---- backward ------------------------------------------------------------------------------------ */

static int seed(struct bk_tape *tape, struct bk_tensor *loss, double scale, struct bk_error *err)
{
    char buf[96];
    struct bk_tensor *d;
    if (bk_tensor_numel(loss) != 1 || (loss->dtype != BK_F32 && loss->dtype != BK_F64))
        return bk_fail(err, BK_ESHAPE, "the loss is %s; it must be one f32 or f64 value",
                       bk_tensor_describe(loss, buf));
    if (!loss->grad || loss->grad->persistent)
        return bk_fail(err, BK_ESTATE, "the loss depends on no parameter that was recorded");
    BK_TRY(bk_tape_tensor(tape, loss->dtype, loss->rank, loss->dim, &d, err));
    BK_TRY(bk_tensor_write_f64(d, &scale, err));
    return note_addend(tape, loss, d, err);
}

static int walk(struct bk_tape *tape, struct bk_error *err)
{
    for (size_t i = tape->n_nodes; i-- > 0;) {
        const struct bk_node *node = &tape->node[i];
        if (!node->y->grad || !node->y->grad->n)
            continue;
        BK_TRY(node->backward(tape, node, err));
        BK_TRY(fold_pending(tape, err));
    }
    return BK_OK;
}

int bk_tape_backward(struct bk_tape *tape, struct bk_tensor *loss, double scale, struct bk_error *err)
{
    tape->n_pending = 0;
    int rc = seed(tape, loss, scale, err);
    if (!rc)
        rc = walk(tape, err);
    tape->n_nodes = 0;
    if (rc)
        bk_context(err, "backward pass");
    return rc;
}
