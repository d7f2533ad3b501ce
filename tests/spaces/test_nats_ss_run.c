/*
 * NATS-SS networks against a plain composition written here from the definition of the cells, in double: unfused
 * ReLU, convolution with explicitly sliced kernels, batch norm with its own statistics. On the `ref` device in f64.
 */
#include "plain_maps.h"

static struct map half(struct map x)
{
    struct map y = new_map(x.n, x.h / 2, x.w / 2, x.c);
    for (int n = 0; n < y.n; n++)
        for (int i = 0; i < y.h; i++)
            for (int j = 0; j < y.w; j++)
                for (int c = 0; c < y.c; c++)
                    at(y, n, i, j)[c] = (at(x, n, 2 * i, 2 * j)[c] + at(x, n, 2 * i + 1, 2 * j)[c] +
                                         at(x, n, 2 * i, 2 * j + 1)[c] + at(x, n, 2 * i + 1, 2 * j + 1)[c]) / 4;
    return y;
}

/* Names of the norm of a position: "<conv>.norm<width>" in the supernet, "<conv>.norm" alone. */
static struct map conv_norm(struct bk_weights *w, bool alone, const char *name, struct map x, int co, int stride)
{
    char full[96];
    if (alone)
        snprintf(full, sizeof full, "%s.norm", name);
    else
        snprintf(full, sizeof full, "%s.norm%d", name, co);
    return norm(w, full, conv(w, name, x, co, stride));
}

static struct map f_of(struct bk_weights *w, bool alone, const char *cell, const char *f, struct map x, int co, int stride)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s", cell, f);
    return conv_norm(w, alone, name, relu(x), co, stride);
}

static struct map plain_cell(struct bk_weights *w, bool alone, const char *cell, bool reduction, struct map n0, int co)
{
    char name[96];
    if (reduction) {
        struct map a = f_of(w, alone, cell, "conv_a", n0, co, 2), b = f_of(w, alone, cell, "conv_b", a, co, 1);
        snprintf(name, sizeof name, "%s.shortcut", cell);
        return add(conv(w, name, half(n0), co, 1), b);
    }
    struct map n1 = f_of(w, alone, cell, "f1", n0, co, 1);
    struct map n2 = add(f_of(w, alone, cell, "f2", n0, co, 1), f_of(w, alone, cell, "f3", n1, co, 1));
    struct map skip = n0;
    snprintf(name, sizeof name, "%s.skip", cell);
    if (n0.c != co)
        skip = conv_norm(w, alone, name, alone ? n0 : relu(n0), co, 1);
    return add(skip, add(f_of(w, alone, cell, "f4", n1, co, 1), f_of(w, alone, cell, "f5", n2, co, 1)));
}

/* ---- the tests ------------------------------------------------------------------------------------------ */

static void set_up_nats(struct setup *s)
{
    set_up(s, "nats_ss", OPTIONS("widths=[2,3,5]", "pooled_width=7"), 8);
}

/* All three blocks in a row along `text`, block outputs and pooled outputs. */
static void check_supernet(struct setup *s, const char *text)
{
    static const int first[4] = { 0, 2, 4, 5 }, width[3] = { 2, 3, 5 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_forward f = forward_of(s, 0);
    struct bk_arch arch;
    BK_ASSERT_OK(bk_space_parse(&s->space, text, &arch, &err));
    struct bk_tensor *y = s->images, *p;
    int entry = 0;
    struct map m = conv_norm(s->w, false, "block0.stem", s->x, width[arch.block[0].op[0]], 1);
    for (int k = 0; k < 3; k++) {
        char name[64];
        BK_ASSERT_OK(bk_space_run_block(&s->space, &f, k, entry, &arch.block[k], y, &y, &err));
        for (int l = 0; l < arch.block[k].n; l++) {
            int g = first[k] + l;
            snprintf(name, sizeof name, "block%d.cell%d", k, g);
            m = plain_cell(s->w, false, name, g == 1 || g == 3, m, width[arch.block[k].op[l]]);
        }
        check_equal(y, m);
        int c = width[arch.block[k].op[arch.block[k].n - 1]];
        BK_ASSERT_OK(s->space.iface->pool(s->space.state, &f, k, &arch.block[k], y, &p, &err));
        snprintf(name, sizeof name, "adapter%d.width%d", k, c);
        check_equal(p, pooled(conv_norm(s->w, true, name, m, 7, 1)));
        entry = s->space.iface->exit(s->space.state, k, entry, &arch.block[k]);
    }
    bk_tape_reset(s->tape);
}

static void test_supernet(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct setup s;
    set_up_nats(&s);
    BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
    make_weights(&s);
    check_supernet(&s, "5:5:5:5:5");    /* full width: nothing is sliced */
    check_supernet(&s, "2:5:3:2:3");
    check_supernet(&s, "3:3:3:5:5");
    check_supernet(&s, "5:2:5:3:2");
    tear_down(&s);
}

static void test_other_norms_stay(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct setup s;
    struct bk_path path = { 2, { 0, 2 } };
    struct bk_tensor *y;
    set_up_nats(&s);
    BK_ASSERT_OK(s.space.iface->supernet(s.space.state, &s.net, &err));
    make_weights(&s);
    struct bk_forward f = forward_of(&s, 0.1);
    BK_ASSERT_OK(bk_space_run_block(&s.space, &f, 0, 0, &path, s.images, &y, &err));
    int moved = 0;
    for (int32_t i = 0; i < s.net.n; i++) {
        const struct bk_slot *slot = &s.net.slot[i];
        if (slot->role != BK_ROLE_RUNNING_VAR || slot->part != BK_PART_BACKBONE)
            continue;
        double v[64];
        BK_ASSERT_OK(bk_tensor_read_f64(bk_weights_get(s.w, i), v, &err));
        bool used = strstr(slot->name, "block0.stem.norm2.") || strstr(slot->name, "cell0.f") || strstr(slot->name, "cell1.conv");
        used = used && (strstr(slot->name, "cell1") ? strstr(slot->name, ".norm5.") : strstr(slot->name, ".norm2."));
        bool changed = false;
        for (int64_t c = 0; c < slot->dim[0]; c++)
            changed |= v[c] != 1;
        CU_ASSERT_EQUAL(changed, used);
        moved += changed;
    }
    CU_ASSERT_EQUAL(moved, 1 + 5 + 2);
    tear_down(&s);
}

static void test_alone(void)
{
    static const char *const archs[] = { "5:5:5:5:5", "2:5:3:2:3", "3:3:2:5:5" };
    struct bk_error err = BK_ERROR_INIT;
    for (size_t a = 0; a < BK_ARRAY_LEN(archs); a++) {
        struct setup s;
        struct bk_arch arch;
        struct bk_tensor *y;
        int c[5];
        set_up_nats(&s);
        BK_ASSERT_OK(bk_space_parse(&s.space, archs[a], &arch, &err));
        BK_ASSERT_OK(s.space.iface->alone(s.space.state, &arch, 4, &s.net, &err));
        make_weights(&s);
        struct bk_forward f = forward_of(&s, 0);
        BK_ASSERT_OK(s.space.iface->alone_run(s.space.state, &f, &arch, 4, s.images, &y, &err));
        CU_ASSERT_EQUAL_FATAL(sscanf(archs[a], "%d:%d:%d:%d:%d", &c[0], &c[1], &c[2], &c[3], &c[4]), 5);
        struct map m = norm(s.w, "stem.norm", conv(s.w, "stem", s.x, c[0], 1));
        for (int g = 0; g < 5; g++) {
            char name[16];
            snprintf(name, sizeof name, "cell%d", g);
            m = plain_cell(s.w, true, name, g == 1 || g == 3, m, c[g]);
        }
        m = pooled(relu(norm(s.w, "head.norm", m)));
        check_equal(y, linear(s.w, "classifier", m));
        struct values b = read_slot(s.w, "classifier.bias");
        double bound = 1 / sqrt(c[4]), most = 0;
        for (int i = 0; i < 4; i++)
            most = fmax(most, fabs(b.v[i]));
        CU_ASSERT(most > 0 && most <= bound);
        tear_down(&s);
    }
}

BK_SUITE({ "supernet", test_supernet }, { "norms of other widths stay", test_other_norms_stay },
         { "stand-alone network", test_alone })
