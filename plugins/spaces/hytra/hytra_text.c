/*
 * HyTra architectures as text. Written: 16 digits in blocks, "5433 3230 0010 0000". Read: the same with or without
 * spaces; the lists of the retraining code, one a scale from 1/4 to 1/32 with 1 = ResConv and 0 = ResAtt,
 * "[1] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0,0]"; the names of published architectures.
 *
 * Read are all architectures of the fabric, 2,818,103 of them, of which the supernet of default options has 1,615,872.
 */
#include "hytra.h"

#include <stdio.h>
#include <string.h>

/* Li et al., ICCV 2021, table 1. BossNet-T1 is T0 with last_stride = 1. */
static const struct {
    const char *name, *digits;
} known[] = {
    { "BossNet-T0", "5433323000100000" }, { "BossNet-T1", "5433323000100000" }, { "R50-T", "5554444333333111" },
    { "BoT50-T", "5554444333333000" },    { "ViT-T/16", "2222222222222222" },   { "ViT-T/32", "0000000000000000" },
    { "Random-T", "2333223233201011" },   { "DNA-T", "5444323333230111" },      { "UnNAS-T", "4331110000100110" },
};

static int bad_text(const char *text, const char *what, struct bk_error *err)
{
    return bk_fail(err, BK_EINVAL, "architecture '%.80s' %s; legal are 16 operations 0..5 as '5433 3230 0010 0000', four "
                   "lists as '[1] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0,0]', and names as 'BossNet-T0'", text, what);
}

static const char *find_name(const char *text)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++)
        if (!strcmp(text, known[i].name))
            return known[i].digits;
    return text;
}

static int add_op(struct bk_arch *arch, int n, int op)
{
    if (n >= N_BLOCKS * N_LAYERS)
        return -1;
    struct bk_path *p = &arch->block[n / N_LAYERS];
    p->op[p->n++] = (uint8_t)op;
    return n + 1;
}

/* Returns the number of operations read, -1 when the text is none. A space stands between all blocks or between none. */
static int read_digits(const char *p, struct bk_arch *arch)
{
    bool spaces = strchr(p, ' ') != NULL;
    int n = 0;
    for (; *p; p++) {
        if (spaces && n && n % N_LAYERS == 0 && *p++ != ' ')
            return -1;
        if (*p < '0' || *p >= '0' + N_OPS)
            return -1;
        n = add_op(arch, n, *p - '0');
        if (n < 0)
            return -1;
    }
    return n;
}

static const char *skip_spaces(const char *p)
{
    while (*p == ' ')
        p++;
    return p;
}

/* One list "[1,0,1]" of `depth`; *n counts operations. NULL when it is none. */
static const char *read_list(const char *p, int32_t depth, struct bk_arch *arch, int *n)
{
    if (*p++ != '[')
        return NULL;
    for (bool first = true; *(p = skip_spaces(p)) != ']'; first = false) {
        if (!first && *p++ != ',')
            return NULL;
        p = skip_spaces(p);
        if (*p != '1' && (*p != '0' || depth > 1))
            return NULL;
        *n = add_op(arch, *n, depth > 1 ? depth + 2 : 2 * depth + (*p - '0'));
        if (*n < 0)
            return NULL;
        p++;
    }
    return p + 1;
}

static int read_lists(const char *p, struct bk_arch *arch)
{
    int n = 0;
    for (int32_t depth = N_DEPTHS - 1; depth >= 0; depth--) {
        p = read_list(p, depth, arch, &n);
        if (!p)
            return -1;
        p = skip_spaces(p);
    }
    return *p ? -1 : n;
}

int hytra_check_block(int32_t block, int32_t entry, const struct bk_path *path, struct bk_error *err)
{
    int32_t before = block ? entry - 1 : N_DEPTHS;
    if (path->n != N_LAYERS)
        return bk_fail(err, BK_EINVAL, "block %d has %d layers, not %d", (int)block, N_LAYERS, (int)path->n);
    for (int32_t i = 0; i < N_LAYERS; i++) {
        if (path->op[i] >= N_OPS)
            return bk_fail(err, BK_EINVAL, "operation %d of block %d is outside 0..%d", (int)path->op[i], (int)block, N_OPS - 1);
        int32_t depth = op_depth(path->op[i]);
        if (before < N_DEPTHS && depth != before && depth != before - 1)
            return bk_fail(err, BK_EINVAL, "layer %d of block %d goes from scale 1/%d to 1/%d, but scales stay or halve", (int)i,
                           (int)block, 32 >> before, 32 >> depth);
        before = depth;
    }
    return BK_OK;
}

int hytra_check(const void *state, const struct bk_arch *arch, struct bk_error *err)
{
    int32_t entry = 0;
    (void)state;
    if (arch->n_blocks != N_BLOCKS)
        return bk_fail(err, BK_EINVAL, "an architecture of this space has %d blocks, not %u", N_BLOCKS,
                       (unsigned)arch->n_blocks);
    for (int32_t k = 0; k < N_BLOCKS; k++) {
        BK_TRY(hytra_check_block(k, entry, &arch->block[k], err));
        entry = 1 + op_depth(arch->block[k].op[N_LAYERS - 1]);
    }
    return BK_OK;
}

int hytra_parse(const void *state, const char *text, struct bk_arch *out, struct bk_error *err)
{
    struct bk_arch arch = { .n_blocks = N_BLOCKS };
    const char *t = find_name(text);
    int n = *t == '[' ? read_lists(t, &arch) : read_digits(t, &arch);
    if (n < 0)
        return bad_text(text, "cannot be read", err);
    if (n != N_BLOCKS * N_LAYERS)
        return bad_text(text, "does not have 16 operations", err);
    BK_TRY(hytra_check(state, &arch, err));
    *out = arch;
    return BK_OK;
}

int hytra_format(const void *state, const struct bk_arch *arch, char *buf, size_t size, struct bk_error *err)
{
    char block[N_BLOCKS][BK_MAX_LAYERS + 1];
    BK_TRY(hytra_check(state, arch, err));
    for (int32_t k = 0; k < N_BLOCKS; k++)
        bk_path_format(&arch->block[k], block[k]);
    int n = snprintf(buf, size, "%s %s %s %s", block[0], block[1], block[2], block[3]);
    return n >= 0 && (size_t)n < size ? BK_OK : bk_fail(err, BK_EINVAL, "%zu bytes are too few for an architecture", size);
}
