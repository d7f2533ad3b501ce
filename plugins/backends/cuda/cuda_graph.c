/*
 * cuda_graph.c: sequences of kernels that come again are replayed as CUDA graphs. Off unless option `graphs` asks for it.
 *
 * Kernels, copies and clearings are not submitted at once but written down, arguments by value, until the core says that a
 * section ends (the tape goes back: a path is done) or something needs the stream: a copy from or to the host, waiting, freeing.
 * What was written down is the key: only the very same kernels on the very same memory are replayed, so a replay computes what
 * submitting would, whatever the trainer does. Addresses repeat because the step arena gives them in the order of asking.
 *
 *   first time      submitted as it is; every plan and all scratch memory exist from then on
 *   second time     captured, launched, kept
 *   from then on    one launch
 *
 * What changes from step to step without changing what is launched (rates, moving averages, draws of dropout) is not in the key:
 * it is uploaded before the launch, and the kernels read it from device memory (struct cuda_live). A captured graph holds
 * addresses of scratch memory; when that moves all graphs are dropped. The least recently used goes when there are too many.
 * A sequence that cannot be captured is submitted as it is, and so are those after it.
 */
#include "cuda_state.h"
#include <math.h>
#include <string.h>

#define SEEN 8192               /* hashes of sequences that came once */
#define MOST_CALLS 4096         /* of a sequence */
#define FEWEST_CALLS 4          /* below, launching a graph gains nothing */
#define ATTR_WORDS 16

enum { CALL_COPY = BK_KERNEL_COUNT, CALL_ZERO };

/* A call as it is written down: this, its tensors, its attributes. Written without padding: the bytes are compared. */
struct call {
    uint32_t kind;              /* a kernel, CALL_COPY or CALL_ZERO */
    uint32_t n_in, n_out, attr_words;
    uint32_t has_in, has_out;   /* bits of the tensors that are present */
};

struct argument {
    uint32_t dtype, rank;
    int64_t dim[BK_MAX_RANK];   /* CALL_COPY, CALL_ZERO: [0] bytes */
    void *data;
};

struct attributes {
    uint64_t word[ATTR_WORDS];
};

struct graph {
    uint64_t hash, last_used;
    unsigned char *key;
    size_t nbytes;
    cudaGraphExec_t exec;
    struct cuda_live *live;     /* device memory, n_live of them */
    size_t n_live;
};

struct cuda_graphs {
    struct graph *graph;
    size_t n, most;
    uint64_t clock, seen[SEEN];
    unsigned char *bytes;       /* the sequence so far */
    size_t n_bytes, cap_bytes, n_calls;
    struct attributes *live;    /* full attributes of its calls that have changing ones */
    struct cuda_live *now;      /* what is uploaded of them; as many places */
    size_t n_live, cap_live;
    bool running;               /* calls are being submitted */
    bool refused;               /* capturing failed once: not tried again */
    int failed;                 /* of a section end, told at the next call */
    struct bk_error why;
};

/* ---- attributes ---------------------------------------------------------------------------------------- */

/* Bytes of a kernel's attributes; -1 for a kernel this table does not know to have any. */
static int attr_bytes(uint32_t kernel)
{
    switch (kernel) {
    case BK_K_CONV2D:
    case BK_K_CONV2D_DX:
    case BK_K_CONV2D_DW:
        return sizeof(struct bk_conv2d_attr);
    case BK_K_BATCH_NORM:
    case BK_K_BATCH_NORM_DX:
    case BK_K_POOLED_HEAD:
    case BK_K_POOLED_HEAD_DX:
        return sizeof(struct bk_batch_norm_attr);
    case BK_K_ADD:
        return sizeof(struct bk_add_attr);
    case BK_K_AVG_POOL2D:
    case BK_K_AVG_POOL2D_DX:
    case BK_K_MAX_POOL2D:
    case BK_K_MAX_POOL2D_DX:
        return sizeof(struct bk_pool2d_attr);
    case BK_K_BLEND:
        return sizeof(struct bk_blend_attr);
    case BK_K_CROSS_ENTROPY:
    case BK_K_CROSS_ENTROPY_DX:
        return sizeof(struct bk_cross_entropy_attr);
    case BK_K_SGD_STEP:
    case BK_K_LARS_STEP:
    case BK_K_ADAMW_STEP:
    case BK_K_RMSPROP_STEP:
        return sizeof(struct bk_optim_attr);
    case BK_K_ACTIVATION:
    case BK_K_ACTIVATION_DX:
        return sizeof(struct bk_activation_attr);
    case BK_K_ATTENTION:
    case BK_K_ATTENTION_DX:
        return sizeof(struct bk_attention_attr);
    case BK_K_DROPOUT:
        return sizeof(struct bk_dropout_attr);
    default:
        return -1;
    }
}

/* Does the kernel read changing attributes from struct cuda_live? Then take them out of `attr`. */
static bool take_live(uint32_t kernel, struct attributes *attr)
{
    void *p = attr->word;
    switch (kernel) {
    case BK_K_BLEND:
        memset(p, 0, sizeof(struct bk_blend_attr));
        return true;
    case BK_K_DROPOUT: {
        struct bk_dropout_attr *a = p;
        a->seed = a->step = 0;
        return true;
    }
    case BK_K_SGD_STEP:
    case BK_K_LARS_STEP:
    case BK_K_ADAMW_STEP:
    case BK_K_RMSPROP_STEP: {
        struct bk_optim_attr *a = p;
        a->lr = a->bias1 = a->bias2 = 0;
        a->first = 0;
        return true;
    }
    default:
        return false;
    }
}

struct cuda_live cuda_live_of(uint32_t kernel, const void *attr)
{
    struct cuda_live live;
    memset(&live, 0, sizeof live);
    if (kernel == BK_K_BLEND) {
        const struct bk_blend_attr *a = attr;
        live.a = (float)a->a;
        live.b = (float)a->b;
    } else if (kernel == BK_K_DROPOUT) {
        const struct bk_dropout_attr *a = attr;
        live.seed = a->seed;
        live.step = a->step;
    } else {
        const struct bk_optim_attr *a = attr;
        live.lr = (float)a->lr;
        live.bias1 = (float)a->bias1;
        live.root_bias2 = (float)sqrt(a->bias2);
        live.first = a->first;
    }
    return live;
}

/* ---- writing down ---------------------------------------------------------------------------------------- */

static bool room(struct cuda_graphs *g, size_t nbytes)
{
    if (g->n_bytes + nbytes > g->cap_bytes) {
        size_t cap = 2 * (g->n_bytes + nbytes) + 65536;
        unsigned char *p = bk_realloc(g->bytes, cap);
        if (!p)
            return false;
        g->bytes = p;
        g->cap_bytes = cap;
    }
    if (g->n_live == g->cap_live) {
        size_t cap = 2 * g->cap_live + 64;
        struct attributes *p = bk_realloc(g->live, cap * sizeof *p);
        struct cuda_live *now = p ? bk_realloc(g->now, cap * sizeof *now) : NULL;
        g->live = p ? p : g->live;
        if (!now)
            return false;
        g->now = now;
        g->cap_live = cap;
    }
    return true;
}

static void put(struct cuda_graphs *g, const void *p, size_t nbytes)
{
    memcpy(g->bytes + g->n_bytes, p, nbytes);
    g->n_bytes += nbytes;
}

static void put_tensor(struct cuda_graphs *g, const struct bk_tensor *t)
{
    struct argument a = { .dtype = t->dtype, .rank = t->rank, .data = t->data };
    memcpy(a.dim, t->dim, t->rank * sizeof a.dim[0]);
    put(g, &a, sizeof a);
}

static uint32_t present(const struct bk_tensor *const *t, uint32_t n)
{
    uint32_t bits = 0;
    for (uint32_t i = 0; i < n; i++)
        bits |= (uint32_t)(t[i] != NULL) << i;
    return bits;
}

/* False when there is no memory for it or its attributes are not known: it is to be submitted at once. */
static bool write_kernel(struct cuda_graphs *g, uint32_t kernel, const struct bk_kernel_args *args)
{
    int nbytes = args->attr ? attr_bytes(kernel) : 0;
    struct call c = { .kind = kernel, .n_in = args->n_in, .n_out = args->n_out };
    struct attributes attr = { { 0 } };
    if (nbytes < 0 || nbytes > (int)sizeof attr || !room(g, sizeof c + 2 * BK_KERNEL_MAX_ARGS * sizeof(struct argument) + sizeof attr))
        return false;
    c.attr_words = (uint32_t)(nbytes + 7) / 8;
    c.has_in = present(args->in, args->n_in);
    c.has_out = present((const struct bk_tensor *const *)args->out, args->n_out);
    put(g, &c, sizeof c);
    for (uint32_t i = 0; i < args->n_in; i++)
        if (args->in[i])
            put_tensor(g, args->in[i]);
    for (uint32_t i = 0; i < args->n_out; i++)
        if (args->out[i])
            put_tensor(g, args->out[i]);
    if (nbytes) {
        memcpy(attr.word, args->attr, (size_t)nbytes);
        g->live[g->n_live] = attr;
        if (take_live(kernel, &attr)) {
            g->now[g->n_live] = cuda_live_of(kernel, args->attr);
            g->n_live++;
        }
        put(g, attr.word, 8 * c.attr_words);
    }
    g->n_calls++;
    return true;
}

static bool write_memory(struct cuda_graphs *g, uint32_t kind, void *dst, const void *src, size_t nbytes)
{
    struct call c = { .kind = kind, .n_out = 1, .has_out = 1, .n_in = src ? 1 : 0, .has_in = src ? 1 : 0 };
    struct argument from = { .dim = { (int64_t)nbytes } }, to = { .dim = { (int64_t)nbytes }, .data = dst };
    if (!room(g, sizeof c + 2 * sizeof from))
        return false;
    from.data = (void *)(uintptr_t)src;
    put(g, &c, sizeof c);
    if (src)
        put(g, &from, sizeof from);
    put(g, &to, sizeof to);
    g->n_calls++;
    return true;
}

/* ---- submitting ------------------------------------------------------------------------------------------- */

static const unsigned char *get_tensors(const unsigned char *at, uint32_t n, uint32_t bits, struct bk_tensor *store,
                                        struct bk_tensor **list)
{
    for (uint32_t i = 0; i < n; i++) {
        struct argument a;
        if (!(bits >> i & 1))
            continue;
        memcpy(&a, at, sizeof a);
        at += sizeof a;
        store[i] = (struct bk_tensor){ .dtype = a.dtype, .rank = a.rank, .data = a.data };
        memcpy(store[i].dim, a.dim, sizeof a.dim);
        list[i] = &store[i];
    }
    return at;
}

/* Submit the call at *at, whose full attributes are *live if it has changing ones; both move on. */
static int submit(struct cuda *cuda, const unsigned char **at, const struct attributes **live, struct bk_error *err)
{
    struct bk_tensor store[2 * BK_KERNEL_MAX_ARGS], *in[BK_KERNEL_MAX_ARGS] = { NULL };
    struct bk_kernel_args args = { .attr = NULL };
    struct attributes attr;
    struct call c;
    memcpy(&c, *at, sizeof c);
    *at = get_tensors(*at + sizeof c, c.n_in, c.has_in, store, in);
    *at = get_tensors(*at, c.n_out, c.has_out, store + BK_KERNEL_MAX_ARGS, args.out);
    if (c.kind == CALL_COPY)
        return cuda_copy(cuda, args.out[0]->data, in[0]->data, (size_t)args.out[0]->dim[0], err);
    if (c.kind == CALL_ZERO)
        return cuda_zero(cuda, args.out[0]->data, (size_t)args.out[0]->dim[0], err);
    for (uint32_t i = 0; i < c.n_in; i++)
        args.in[i] = in[i];
    args.n_in = c.n_in;
    args.n_out = c.n_out;
    memcpy(attr.word, *at, 8 * c.attr_words);
    *at += 8 * c.attr_words;
    if (c.attr_words)
        args.attr = attr.word;
    bool changing = c.attr_words && take_live(c.kind, &attr);
    if (changing)
        attr = *(*live)++;
    int rc = cuda_run_kernel(cuda, c.kind, &args, err);
    if (changing && cuda->live)
        cuda->live++;
    return rc ? bk_context(err, "kernel %s", bk_kernel_name(c.kind)) : BK_OK;
}

/* All of them; `live` is device memory for what changes, or NULL: attributes go by value. */
static int submit_all(struct cuda *cuda, struct cuda_live *live, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    const unsigned char *at = g->bytes;
    const struct attributes *attr = g->live;
    int rc = BK_OK;
    g->running = true;
    cuda->live = live;
    while (!rc && at < g->bytes + g->n_bytes)
        rc = submit(cuda, &at, &attr, err);
    cuda->live = NULL;
    g->running = false;
    return rc;
}

/* ---- graphs ------------------------------------------------------------------------------------------------ */

static uint64_t hash_of(const unsigned char *p, size_t n)
{
    uint64_t h = 14695981039346656037u;         /* FNV-1a over words: calls are multiples of 8 bytes */
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word;
        memcpy(&word, p + i, 8);
        h = (h ^ word) * 1099511628211u;
        h ^= h >> 29;
    }
    return h ? h : 1;
}

static void drop(struct cuda *cuda, struct graph *graph)
{
    if (graph->exec)
        cudaGraphExecDestroy(graph->exec);
    if (graph->live)
        cuda_dealloc(cuda, graph->live, graph->n_live * sizeof *graph->live);
    bk_free(graph->key);
    *graph = (struct graph){ 0 };
}

void cuda_graphs_forget(struct cuda *cuda)
{
    struct cuda_graphs *g = cuda->graphs;
    for (size_t i = 0; g && i < g->n; i++)
        drop(cuda, &g->graph[i]);
    if (g)
        g->n = 0;
}

static struct graph *find(struct cuda_graphs *g, uint64_t hash)
{
    for (size_t i = 0; i < g->n; i++) {
        struct graph *graph = &g->graph[i];
        if (graph->hash == hash && graph->nbytes == g->n_bytes && !memcmp(graph->key, g->bytes, g->n_bytes))
            return graph;
    }
    return NULL;
}

/* A free place, by dropping the one that was not used for longest. */
static struct graph *place(struct cuda *cuda)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g->n < g->most)
        return &g->graph[g->n++];
    struct graph *oldest = &g->graph[0];
    for (size_t i = 1; i < g->n; i++)
        if (g->graph[i].last_used < oldest->last_used)
            oldest = &g->graph[i];
    drop(cuda, oldest);         /* one that still runs is destroyed when it is done */
    return oldest;
}

static int launch(struct cuda *cuda, struct graph *graph, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g->n_live)
        BK_TRY(cuda_copy_in(cuda, graph->live, g->now, g->n_live * sizeof *g->now, err));
    graph->last_used = ++g->clock;
    cudaError_t rc = cudaGraphLaunch(graph->exec, cuda->stream);
    return rc ? cuda_fail(cuda, rc, "launching a graph", err) : BK_OK;
}

/* The sequence as a graph, not launched yet. Whatever goes wrong, the stream is as it was. */
static int capture(struct cuda *cuda, struct graph *graph, struct bk_error *err)
{
    cudaGraph_t captured = NULL;
    cudaError_t rc = cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeRelaxed);
    if (rc)
        return cuda_fail(cuda, rc, "starting to capture", err);
    cuda->capturing = true;
    int failed = submit_all(cuda, graph->live, err);
    cuda->capturing = false;
    rc = cudaStreamEndCapture(cuda->stream, &captured);
    if (!rc && !failed)
        rc = cudaGraphInstantiate(&graph->exec, captured, 0);
    if (captured)
        cudaGraphDestroy(captured);
    cudaGetLastError();
    return failed ? failed : rc ? cuda_fail(cuda, rc, "capturing", err) : BK_OK;
}

/* Keep the sequence as a graph; NULL when that does not work, with the reason logged. */
static struct graph *make(struct cuda *cuda, uint64_t hash)
{
    struct cuda_graphs *g = cuda->graphs;
    struct bk_error why = BK_ERROR_INIT;
    struct graph *graph = place(cuda);
    void *live = NULL;
    *graph = (struct graph){ .hash = hash, .nbytes = g->n_bytes, .n_live = g->n_live, .key = bk_alloc(g->n_bytes) };
    int rc = graph->key ? BK_OK : bk_fail(&why, BK_ENOMEM, "no host memory");
    if (!rc && g->n_live)
        rc = cuda_alloc(cuda, g->n_live * sizeof(struct cuda_live), &live, &why);
    graph->live = live;
    if (!rc)
        rc = capture(cuda, graph, &why);
    if (!rc) {
        memcpy(graph->key, g->bytes, g->n_bytes);
        return graph;
    }
    drop(cuda, graph);
    *graph = g->graph[--g->n];
    g->refused = true;
    bk_log(BK_LOG_WARN, "cuda: a sequence of kernels cannot be a graph (%s); none are made from here on", why.text);
    return NULL;
}

static int submit_or_launch(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g->n_calls < FEWEST_CALLS)
        return submit_all(cuda, NULL, err);
    uint64_t hash = hash_of(g->bytes, g->n_bytes), *seen = &g->seen[hash % SEEN];
    struct graph *graph = find(g, hash);
    if (!graph && *seen == hash && !g->refused)
        graph = make(cuda, hash);
    *seen = hash;
    return graph ? launch(cuda, graph, err) : submit_all(cuda, NULL, err);
}

/* ---- for cuda_backend.c -------------------------------------------------------------------------------------- */

int cuda_graphs_flush(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    if (!g || g->running)
        return BK_OK;
    int rc = g->failed;
    if (rc) {
        g->failed = BK_OK;
        bk_fail(err, rc, "%s", g->why.text);
    } else if (g->n_calls) {
        rc = submit_or_launch(cuda, err);
    }
    g->n_bytes = g->n_calls = g->n_live = 0;
    return rc;
}

void cuda_graphs_section(struct cuda *cuda)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g && !g->failed)
        g->failed = cuda_graphs_flush(cuda, &g->why);
}

int cuda_graphs_kernel(struct cuda *cuda, uint32_t kernel, const struct bk_kernel_args *args, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g->failed || g->n_calls == MOST_CALLS)
        BK_TRY(cuda_graphs_flush(cuda, err));
    if (write_kernel(g, kernel, args))
        return BK_OK;
    BK_TRY(cuda_graphs_flush(cuda, err));
    return cuda_run_kernel(cuda, kernel, args, err);
}

int cuda_graphs_memory(struct cuda *cuda, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    struct cuda_graphs *g = cuda->graphs;
    if (g->failed || g->n_calls == MOST_CALLS)
        BK_TRY(cuda_graphs_flush(cuda, err));
    if (write_memory(g, src ? CALL_COPY : CALL_ZERO, dst, src, nbytes))
        return BK_OK;
    BK_TRY(cuda_graphs_flush(cuda, err));
    return src ? cuda_copy(cuda, dst, src, nbytes, err) : cuda_zero(cuda, dst, nbytes, err);
}

int cuda_graphs_open(struct cuda *cuda, struct bk_error *err)
{
    if (!cuda->graphs_option || cuda->wait)
        return BK_OK;           /* waiting after every kernel and graphs exclude each other */
    struct cuda_graphs *g = bk_zalloc(sizeof *g);
    if (!g)
        return bk_fail(err, BK_ENOMEM, "no memory for the table of graphs");
    g->most = (size_t)cuda->graphs_option;
    g->graph = bk_zalloc(g->most * sizeof *g->graph);
    if (!g->graph) {
        bk_free(g);
        return bk_fail(err, BK_ENOMEM, "no memory for the table of graphs");
    }
    cuda->graphs = g;
    return BK_OK;
}

void cuda_graphs_close(struct cuda *cuda)
{
    struct cuda_graphs *g = cuda->graphs;
    if (!g)
        return;
    cuda_graphs_forget(cuda);
    bk_free(g->graph);
    bk_free(g->bytes);
    bk_free(g->live);
    bk_free(g->now);
    bk_free(g);
    cuda->graphs = NULL;
}
