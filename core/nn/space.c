/*
 * nn/space.c: what follows for every search space from its table of functions.
 *
 * Paths as text, enumeration, legality, cost, sampling and running a block are written once here in terms of
 * choices(), exit(), cost() and layer(). Nothing here knows a particular space.
 */
#include <bosskit/method.h>
#include <bosskit/random.h>
#include <bosskit/space.h>

#include <inttypes.h>
#include <string.h>

#define MAX_PATHS ((size_t)1 << 22)

static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
#define N_DIGITS 36

/* ---- paths as text --------------------------------------------------------------------------------------- */

int bk_path_parse(const char *text, struct bk_path *out, struct bk_error *err)
{
    size_t n = strlen(text);
    struct bk_path p = { 0 };

    if (n < 1 || n > BK_MAX_LAYERS)
        return bk_fail(err, BK_EINVAL, "path '%.40s' has %zu layers, legal: 1..%d", text, n,
                       BK_MAX_LAYERS);
    for (size_t i = 0; i < n; i++) {
        const char *at = strchr(digits, text[i]);
        if (!at)
            return bk_fail(err, BK_EINVAL, "path '%s': layer %zu is '%c', legal: 0-9 and a-z", text,
                           i, text[i]);
        p.op[i] = (uint8_t)(at - digits);
    }
    p.n = (uint8_t)n;
    *out = p;
    return BK_OK;
}

/* Choices from 36 on have no digit and are shown as '?'. */
void bk_path_format(const struct bk_path *path, char buf[BK_MAX_LAYERS + 1])
{
    size_t n = path->n < BK_MAX_LAYERS ? path->n : BK_MAX_LAYERS;

    for (size_t i = 0; i < n; i++)
        buf[i] = path->op[i] < N_DIGITS ? digits[path->op[i]] : '?';
    buf[n] = '\0';
}

bool bk_path_equal(const struct bk_path *a, const struct bk_path *b)
{
    return a->n == b->n && !memcmp(a->op, b->op, a->n);
}

/* ---- the tree of choices ---------------------------------------------------------------------------------- */

static int get_choices(const struct bk_space *s, int32_t block, int32_t entry,
                       const struct bk_path *prefix, uint8_t out[BK_MAX_CHOICES], int32_t *n,
                       struct bk_error *err)
{
    char text[BK_MAX_LAYERS + 1];
    int rc = s->iface->choices(s->state, block, entry, prefix, out, n);

    bk_path_format(prefix, text);
    if (rc)
        return bk_fail(err, rc, "space '%s': no choices in block %" PRId32 " after '%s'", s->name,
                       block, text);
    if (*n < 0 || *n > BK_MAX_CHOICES || (*n && prefix->n >= BK_MAX_LAYERS))
        return bk_fail(err, BK_EPLUGIN, "space '%s': %" PRId32 " choices in block %" PRId32
                       " after '%s'", s->name, *n, block, text);
    return BK_OK;
}

static int check_block(const struct bk_space *s, int32_t block, struct bk_error *err)
{
    if (block < 0 || block >= s->info.n_blocks)
        return bk_fail(err, BK_EINVAL, "space '%s': block %" PRId32 " is outside 0..%" PRId32,
                       s->name, block, s->info.n_blocks - 1);
    return BK_OK;
}

struct path_list {
    struct bk_path *path;
    size_t n, cap;
};

static int add_path(struct path_list *list, const struct bk_path *p, struct bk_error *err)
{
    if (list->n == MAX_PATHS)
        return bk_fail(err, BK_EINVAL, "a block of more than %zu paths cannot be enumerated",
                       MAX_PATHS);
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        struct bk_path *q = bk_realloc(list->path, cap * sizeof *q);
        if (!q)
            return bk_fail(err, BK_ENOMEM, "no memory for %zu paths", cap);
        list->path = q;
        list->cap = cap;
    }
    list->path[list->n++] = *p;
    return BK_OK;
}

/* Depth at most BK_MAX_LAYERS. */
static int walk(const struct bk_space *s, int32_t block, int32_t entry, struct bk_path *prefix,
                struct path_list *list, struct bk_error *err)
{
    uint8_t choice[BK_MAX_CHOICES];
    int32_t n;

    BK_TRY(get_choices(s, block, entry, prefix, choice, &n, err));
    if (!n)
        return add_path(list, prefix, err);
    prefix->n++;
    for (int32_t i = 0; i < n; i++) {
        prefix->op[prefix->n - 1] = choice[i];
        BK_TRY(walk(s, block, entry, prefix, list, err));
    }
    prefix->n--;
    prefix->op[prefix->n] = 0;
    return BK_OK;
}

int bk_space_paths(const struct bk_space *s, int32_t block, int32_t entry, struct bk_path **out,
                   size_t *n, struct bk_error *err)
{
    struct path_list list = { NULL, 0, 0 };
    struct bk_path prefix = { 0 };

    BK_TRY(check_block(s, block, err));
    int rc = walk(s, block, entry, &prefix, &list, err);
    if (rc) {
        bk_free(list.path);
        return rc;
    }
    *out = list.path;
    *n = list.n;
    return BK_OK;
}

static bool has_choice(const uint8_t *choice, int32_t n, uint8_t op)
{
    return n > 0 && memchr(choice, op, (size_t)n) != NULL;
}

int bk_space_check_path(const struct bk_space *s, int32_t block, int32_t entry,
                        const struct bk_path *path, struct bk_error *err)
{
    uint8_t choice[BK_MAX_CHOICES];
    struct bk_path prefix = { 0 };
    char text[BK_MAX_LAYERS + 1];
    int32_t n;

    BK_TRY(check_block(s, block, err));
    bk_path_format(path, text);
    if (path->n > BK_MAX_LAYERS)
        return bk_fail(err, BK_EINVAL, "block %" PRId32 ": a path of %d layers, legal: 1..%d", block,
                       path->n, BK_MAX_LAYERS);
    for (; prefix.n < path->n; prefix.n++) {
        BK_TRY(get_choices(s, block, entry, &prefix, choice, &n, err));
        if (!n)
            return bk_fail(err, BK_EINVAL, "block %" PRId32 ": path '%s' goes on after layer %d, "
                           "where it is complete", block, text, prefix.n - 1);
        if (!has_choice(choice, n, path->op[prefix.n]))
            return bk_fail(err, BK_EINVAL, "block %" PRId32 ": path '%s' has illegal choice %d in "
                           "layer %d", block, text, path->op[prefix.n], prefix.n);
        prefix.op[prefix.n] = path->op[prefix.n];
    }
    BK_TRY(get_choices(s, block, entry, &prefix, choice, &n, err));
    if (n)
        return bk_fail(err, BK_EINVAL, "block %" PRId32 ": path '%s' ends before layer %d", block,
                       text, prefix.n);
    return BK_OK;
}

int32_t bk_space_entry(const struct bk_space *s, int32_t block, const struct bk_path *prefix)
{
    int32_t entry = 0;

    for (int32_t b = 0; b < block; b++)
        entry = s->iface->exit(s->state, b, entry, &prefix[b]);
    return entry;
}

/* ---- architectures ------------------------------------------------------------------------------------------ */

static int check_arch(const struct bk_space *s, const struct bk_arch *arch, struct bk_error *err)
{
    int32_t entry = 0;

    if (arch->n_blocks != (uint32_t)s->info.n_blocks)
        return bk_fail(err, BK_EINVAL, "an architecture of %" PRIu32 " blocks, space '%s' has %"
                       PRId32, arch->n_blocks, s->name, s->info.n_blocks);
    if (BK_HAS(s->iface, check) && s->iface->check)
        return s->iface->check(s->state, arch, err);
    for (int32_t b = 0; b < s->info.n_blocks; b++) {
        BK_TRY(bk_space_check_path(s, b, entry, &arch->block[b], err));
        entry = s->iface->exit(s->state, b, entry, &arch->block[b]);
    }
    return BK_OK;
}

int bk_space_cost(const struct bk_space *s, const struct bk_arch *arch, int32_t n_classes,
                  struct bk_cost *out, struct bk_error *err)
{
    struct bk_cost total = { 0 }, one;
    int32_t n = s->info.n_blocks, entry = 0;

    if (arch->n_blocks != (uint32_t)n)
        return bk_fail(err, BK_EINVAL, "an architecture of %" PRIu32 " blocks, space '%s' has %"
                       PRId32, arch->n_blocks, s->name, n);
    for (int32_t b = 0; b <= n; b++) {
        const struct bk_path *path = b < n ? &arch->block[b] : NULL;
        BK_TRY(s->iface->cost(s->state, b, entry, path, n_classes, &one, err));
        total.params += one.params;
        total.macs += one.macs;
        total.counter += one.counter;
        if (b < n)
            entry = s->iface->exit(s->state, b, entry, path);
    }
    *out = total;
    return BK_OK;
}

int bk_space_parse(const struct bk_space *s, const char *text, struct bk_arch *out,
                   struct bk_error *err)
{
    struct bk_arch arch = { 0 };

    BK_TRY(s->iface->parse(s->state, text, &arch, err));
    if (check_arch(s, &arch, err))
        return bk_context(err, "architecture '%.200s'", text);
    *out = arch;
    return BK_OK;
}

int bk_space_format(const struct bk_space *s, const struct bk_arch *arch, char *buf, size_t size,
                    struct bk_error *err)
{
    return s->iface->format(s->state, arch, buf, size, err);
}

int bk_space_run_block(const struct bk_space *s, struct bk_forward *f, int32_t block, int32_t entry,
                       const struct bk_path *path, struct bk_tensor *x, struct bk_tensor **y,
                       struct bk_error *err)
{
    struct bk_path part = *path;

    if (path->n < 1 || path->n > BK_MAX_LAYERS)
        return bk_fail(err, BK_EINVAL, "block %" PRId32 ": a path of %d layers cannot run", block,
                       path->n);
    for (uint8_t i = 1; i <= path->n; i++) {
        part.n = i;
        if (s->iface->layer(s->state, f, block, entry, &part, x, &x, err))
            return bk_context(err, "block %" PRId32 " layer %d", block, i - 1);
    }
    *y = x;
    return BK_OK;
}

int bk_space_run_prefix(const struct bk_space *s, struct bk_forward *f, int32_t n_blocks,
                        const struct bk_path *prefix, struct bk_tensor *images,
                        struct bk_tensor **y, struct bk_error *err)
{
    struct bk_tensor *x = images;
    int32_t entry = 0;

    for (int32_t b = 0; b < n_blocks; b++) {
        BK_TRY(bk_space_run_block(s, f, b, entry, &prefix[b], x, &x, err));
        entry = s->iface->exit(s->state, b, entry, &prefix[b]);
    }
    *y = x;
    return BK_OK;
}

static int sample_block(const struct bk_space *s, int32_t block, int32_t entry,
                        struct bk_random *r, struct bk_path *out, struct bk_error *err)
{
    uint8_t choice[BK_MAX_CHOICES];
    struct bk_path p = { 0 };
    int32_t n;

    for (;;) {
        BK_TRY(get_choices(s, block, entry, &p, choice, &n, err));
        if (!n)
            break;
        p.op[p.n++] = choice[bk_random_below(r, (uint32_t)n)];
    }
    *out = p;
    return BK_OK;
}

int bk_space_sample(const struct bk_space *s, uint64_t seed, uint64_t index, struct bk_arch *out,
                    struct bk_error *err)
{
    struct bk_arch arch = { .n_blocks = (uint32_t)s->info.n_blocks };
    struct bk_random r;
    int32_t entry = 0;

    bk_random_init(&r, seed, bk_random_stream("space.sample"), index, 0);
    for (int32_t b = 0; b < s->info.n_blocks; b++) {
        BK_TRY(sample_block(s, b, entry, &r, &arch.block[b], err));
        entry = s->iface->exit(s->state, b, entry, &arch.block[b]);
    }
    *out = arch;
    return BK_OK;
}

/* ---- tables of ratings --------------------------------------------------------------------------------------- */

void bk_block_table_release(struct bk_block_table *t)
{
    if (!t)
        return;
    bk_free(t->path);
    bk_free(t->score);
    t->path = NULL;
    t->score = NULL;
    t->n = 0;
}
