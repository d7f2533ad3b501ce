/*
 * cli/cli_latency.c: bosskit latency: milliseconds of every path of every block on this machine, as the tables that searcher
 * "traversal" takes for its limit.
 *
 * What is timed is the block of the supernet along the path, with fixed statistics of its norms, behind the first prefix
 * that leads to the entry: the median of repeated runs. The stem belongs to block 0; head and classifier are not timed.
 * Blocks that every prefix enters in the same way have one table, the others one an entry.
 *
 * Not here: searching; the time of whole networks, in which neighbouring blocks share caches.
 */
#include "cli/cli.h"
#include "cli/cli_util.h"

#include <bosskit/file.h>
#include <bosskit/net.h>
#include <bosskit/tape.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct bk__cli_opt options[] = {
    { "option", 'o', BK__CLI_EACH, "KEY=VALUE", "option of the space" },
    { "out", 0, BK__CLI_ONE, "DIR", "folder for latency_{block}.csv or latency_{block}_{entry}.csv" },
    { "backend", 0, BK__CLI_ONE, "BACKEND", "what computes (cpu)" },
    { "dtype", 0, BK__CLI_ONE, "TYPE", "of activations: f32 or bf16 (f32)" },
    { "batch", 0, BK__CLI_ONE, "N", "images at once (1)" },
    { "size", 0, BK__CLI_ONE, "N", "side of the images (the space's)" },
    { "seconds", 0, BK__CLI_ONE, "X", "time for each path, after a run to warm up (0.05)" },
    { 0 },
};

enum { MAX_ENTRIES = 256, MIN_RUNS = 3, MAX_RUNS = 1000 };

/* A way to an entry of a block. */
struct way {
    int32_t entry;
    struct bk_path prefix[BK_MAX_BLOCKS];
};

struct timing {
    struct bk_space space;
    struct bk_device *device;
    struct bk_net net;
    struct bk_weights *weights;
    struct bk_tape *tape;
    uint32_t dtype;
    int64_t batch, size;
    double seconds;
    const char *out;
    struct way way[MAX_ENTRIES], next[MAX_ENTRIES];
    int32_t n_ways, n_next;
    double run[MAX_RUNS];
};

/* ---- one path -------------------------------------------------------------------------------- */

static struct bk_forward forward(const struct timing *t)
{
    return (struct bk_forward){ .tape = t->tape, .weights = t->weights, .dtype = t->dtype, .norm_mode = BK_NORM_RUNNING,
                                .norm_eps = 1e-5 };
}

static int run_once(struct timing *t, int32_t block, const struct way *w, const struct bk_path *path, struct bk_tensor *x,
                    double *seconds, struct bk_error *err)
{
    struct bk_forward f = forward(t);
    struct bk_tape_mark mark = bk_tape_mark(t->tape);
    struct bk_tensor *y;
    double start = bk_now();
    BK_TRY(bk_space_run_block(&t->space, &f, block, w->entry, path, x, &y, err));
    BK_TRY(bk_device_synchronize(t->device, err));
    *seconds = bk_now() - start;
    bk_tape_rewind(t->tape, mark);
    return BK_OK;
}

static int compare_real(const void *pa, const void *pb)
{
    double a = *(const double *)pa, b = *(const double *)pb;
    return a < b ? -1 : a > b;
}

/* Median of the runs that fit into the time, at least three. */
static int time_path(struct timing *t, int32_t block, const struct way *w, const struct bk_path *path, struct bk_tensor *x,
                     double *ms, struct bk_error *err)
{
    double sum = 0;
    int n = 0;
    BK_TRY(run_once(t, block, w, path, x, &t->run[0], err));
    while (n < MAX_RUNS && (n < MIN_RUNS || sum < t->seconds)) {
        BK_TRY(run_once(t, block, w, path, x, &t->run[n], err));
        sum += t->run[n++];
    }
    qsort(t->run, (size_t)n, sizeof *t->run, compare_real);
    *ms = 1e3 * (n % 2 ? t->run[n / 2] : (t->run[n / 2 - 1] + t->run[n / 2]) / 2);
    return BK_OK;
}

/* ---- one block ------------------------------------------------------------------------------- */

/* What the block is fed with, on the tape. */
static int make_input(struct timing *t, int32_t block, const struct way *w, struct bk_tensor **x, struct bk_error *err)
{
    int64_t dim[4] = { t->batch, t->size, t->size, 3 };
    struct bk_forward f = forward(t);
    bk_tape_reset(t->tape);
    BK_TRY(bk_tape_tensor(t->tape, t->dtype, 4, dim, x, err));
    size_t n = (size_t)bk_tensor_numel(*x);
    float *v = bk_alloc(n * sizeof *v);
    if (!v)
        return bk_fail(err, BK_ENOMEM, "out of memory for %zu values", n);
    for (size_t i = 0; i < n; i++)
        v[i] = (float)((i * 2654435761u) % 1024) / 512 - 1;
    int rc = bk_tensor_write_f32(*x, v, err);
    bk_free(v);
    return rc ? rc : bk_space_run_prefix(&t->space, &f, block, w->prefix, *x, x, err);
}

/* Remember how the next block is entered behind this path. */
static int follow(struct timing *t, int32_t block, const struct way *w, const struct bk_path *path, struct bk_error *err)
{
    int32_t exit = t->space.iface->exit(t->space.state, block, w->entry, path);
    for (int32_t i = 0; i < t->n_next; i++)
        if (t->next[i].entry == exit)
            return BK_OK;
    if (t->n_next == MAX_ENTRIES)
        return bk_fail(err, BK_EINVAL, "block %d can be entered in more than %d ways", (int)block + 1, MAX_ENTRIES);
    t->next[t->n_next] = *w;
    t->next[t->n_next].entry = exit;
    t->next[t->n_next++].prefix[block] = *path;
    return BK_OK;
}

static int write_table(const struct timing *t, int32_t block, const struct way *w, const struct bk_text *rows, size_t n,
                       struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT, line = BK_TEXT_INIT;
    bk_text_addf(&path, "%s/latency_%d", t->out, (int)block);
    if (t->n_ways > 1)
        bk_text_addf(&path, "_%d", (int)w->entry);
    bk_text_add(&path, ".csv");
    int rc = path.failed || rows->failed ? bk_fail(err, BK_ENOMEM, "out of memory for latencies")
                                         : bk_file_write(bk_text_get(&path), bk_text_get(rows), rows->len, err);
    bk_text_addf(&line, "%s: %zu paths\n", bk_text_get(&path), n);
    if (!rc)
        rc = bk__cli_print(&line, err);
    bk_text_release(&line);
    bk_text_release(&path);
    return rc;
}

static int time_entry(struct timing *t, int32_t block, const struct way *w, struct bk_error *err)
{
    struct bk_text rows = BK_TEXT_INIT;
    struct bk_path *path = NULL;
    struct bk_tensor *x;
    char text[BK_MAX_LAYERS + 1];
    size_t n = 0;
    int rc = bk_space_paths(&t->space, block, w->entry, &path, &n, err);
    if (!rc)
        rc = make_input(t, block, w, &x, err);
    bk_text_add(&rows, "path,score\n");
    for (size_t i = 0; i < n && !rc; i++) {
        double ms;
        rc = time_path(t, block, w, &path[i], x, &ms, err);
        if (rc)
            break;
        bk_path_format(&path[i], text);
        bk_text_addf(&rows, "%s,%.6f\n", text, ms);
        rc = follow(t, block, w, &path[i], err);
    }
    if (!rc)
        rc = write_table(t, block, w, &rows, n, err);
    bk_free(path);
    bk_text_release(&rows);
    return rc;
}

static int time_blocks(struct timing *t, struct bk_error *err)
{
    t->n_ways = 1;
    for (int32_t k = 0; k < t->space.info.n_blocks; k++) {
        t->n_next = 0;
        for (int32_t i = 0; i < t->n_ways; i++)
            BK_TRY(time_entry(t, k, &t->way[i], err));
        memcpy(t->way, t->next, sizeof t->way);
        t->n_ways = t->n_next;
    }
    return BK_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int time_space(struct timing *t, struct bk_error *err)
{
    uint32_t accum = bk_dtype_accum(t->dtype);
    BK_TRY(bk_make_dirs(t->out, err));
    BK_TRY(t->space.iface->supernet(t->space.state, &t->net, err));
    BK_TRY(bk_weights_new(t->device, &t->net, accum, &t->weights, err));
    BK_TRY(bk_weights_init(t->weights, 0, err));
    BK_TRY(bk_tape_new(t->device, &t->tape, err));
    bk_tape_set_recording(t->tape, false);
    return time_blocks(t, err);
}

static int read_options(const struct bk__cli_args *args, struct timing *t, struct bk_error *err)
{
    const char *dtype = bk__cli_text(args, "dtype");
    if (args->n != 1)
        return bk_fail(err, BK_EUSAGE, "latency: one space is needed");
    if (dtype && strcmp(dtype, "f32") && strcmp(dtype, "bf16"))
        return bk_fail(err, BK_EUSAGE, "latency: option '--dtype': '%s' is neither f32 nor bf16", dtype);
    t->dtype = dtype && !strcmp(dtype, "bf16") ? BK_BF16 : BK_F32;
    BK_TRY(bk__cli_need(args, "out", &t->out, err));
    BK_TRY(bk__cli_int(args, "batch", 1, 1, 65536, &t->batch, err));
    BK_TRY(bk__cli_int(args, "size", 0, 0, 8192, &t->size, err));
    return bk__cli_real(args, "seconds", 0.05, 0, 3600, &t->seconds, err);
}

static int run(const struct bk__cli_args *args, struct timing *t, struct bk_error *err)
{
    const char *backend = bk__cli_text(args, "backend");
    struct bk_instance *space = NULL, *device = NULL;
    struct bk_registry *registry = NULL;

    int rc = read_options(args, t, err);
    if (!rc)
        rc = bk__cli_registry(&registry, err);
    if (!rc)
        rc = bk__cli_space(registry, args->word[0], args, "option", &space, &t->space, err);
    if (!rc)
        rc = bk_instance_open(registry, BK_KIND_BACKEND, backend ? backend : "cpu", NULL, NULL, "backend", NULL, &device, err);
    const struct bk_backend_iface *iface = rc ? NULL : bk_instance_iface(device);
    if (!rc && iface->probe)
        rc = iface->probe(device->state, err);
    if (!rc)
        rc = bk_device_open(iface, device->state, 0, BK_FAST, bk_threads(), &t->device, err);
    if (!rc && !t->size)
        t->size = t->space.info.input_size;
    if (!rc)
        rc = time_space(t, err);
    bk_tape_free(t->tape);
    bk_weights_free(t->weights);
    bk_net_release(&t->net);
    bk_device_close(t->device);
    bk_instance_close(device);
    bk_instance_close(space);
    bk_registry_close(registry);
    return rc;
}

int bk__cli_latency(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;

    int rc = bk__cli_parse(argc, argv, options, &args, err);
    struct timing *t = bk_zalloc(sizeof *t);
    if (!rc && !t)
        rc = bk_fail(err, BK_ENOMEM, "out of memory");
    if (!rc && !args.helped)
        rc = run(&args, t, err);
    bk_free(t);
    bk__cli_release(&args);
    return rc;
}
