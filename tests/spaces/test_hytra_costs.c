/*
 * HyTra: text, legal paths, sizes and costs, against the published multiply-adds (Li et al., ICCV 2021, table 1), the
 * counts of the released counter and network definitions, and the released supernet's parameter counts.
 */
#include "method_fixture.h"

static const char t0[] = "5433 3230 0010 0000";

/* ---- costs ------------------------------------------------------------------------------------------- */

struct row {
    const char *arch, *options[4];
    double params, macs, counter;
};

/* Counter 0: not published. "no" is without squeeze and excitation, as the baselines of table 1 were trained. */
#define NO_SE "se=false"
static const struct row rows[] = {
    { t0, { NO_SE, "activation=relu" }, 37319080, 3441888768, 3441888768 },
    { t0, { NULL }, 38415960, 3442978304, 3447303680 },
    { t0, { "input_size=288" }, 38415960, 5731872256, 5736197632 },
    { t0, { "last_stride=1" }, 38415960, 7944442880, 7948768256 },
    { t0, { "last_stride=1", "input_size=256" }, 38415960, 10509148160, 10513473536 },
    { "R50-T", { NO_SE }, 25594792, 4101602816, 4101602816 },
    { "R50-T", { NULL }, 28125784, 4104117760, 4104117760 },
    { "BoT50-T", { NO_SE }, 20876200, 3877767680, 3877767680 },
    { "BoT50-T", { NULL }, 0, 0, 3880282624 },
    { "DNA-T", { NO_SE }, 29519272, 3908801536, 3908801536 },
    { "DNA-T", { NULL }, 0, 0, 3912053760 },
    { "ViT-T/16", { NULL }, 34285352, 5168971776, 3205775360 },
    { "ViT-T/32", { NULL }, 56002344, 4889993216, 2933088256 },
    { "Random-T", { NO_SE }, 34903336, 4879330816, 0 },
    { "Random-T", { NULL }, 0, 0, 3727339008 },
    { "UnNAS-T", { NO_SE }, 53869096, 4021220864, 0 },
    { "UnNAS-T", { NULL }, 0, 0, 3681515008 },
};

static void test_published_costs(void)
{
    struct bk_error err = BK_ERROR_INIT;
    for (size_t i = 0; i < BK_ARRAY_LEN(rows); i++) {
        const struct row *r = &rows[i];
        struct fixture f;
        struct bk_space s;
        struct bk_arch arch;
        struct bk_cost c;
        fixture_open(&f);
        fixture_space(&f, "hytra", r->options, &s);
        BK_ASSERT_OK(bk_space_parse(&s, r->arch, &arch, &err));
        BK_ASSERT_OK(bk_space_cost(&s, &arch, 1000, &c, &err));
        CU_ASSERT(r->params == 0 || c.params == r->params);
        CU_ASSERT(r->macs == 0 || c.macs == r->macs);
        CU_ASSERT(r->counter == 0 || c.counter == r->counter);
        fixture_close(&f);
    }
}

/* The stand-alone network has exactly the parameters that cost() counts, also outside the supernet. */
static void test_alone_sizes(void)
{
    static const char *const options[][4] = { { NULL }, { NO_SE }, { "avg_down=false", "last_stride=1" }, { "width=32" } };
    static const char *const archs[] = { t0, "ViT-T/16", "UnNAS-T", "5555 5555 5555 5555", "4444 3333 2222 3333" };
    struct bk_error err = BK_ERROR_INIT;
    for (size_t o = 0; o < BK_ARRAY_LEN(options); o++) {
        struct fixture f;
        struct bk_space s;
        fixture_open(&f);
        fixture_space(&f, "hytra", options[o], &s);
        for (size_t i = 0; i < BK_ARRAY_LEN(archs); i++) {
            struct bk_net net = BK_NET_INIT;
            struct bk_arch arch;
            struct bk_cost c;
            BK_ASSERT_OK(bk_space_parse(&s, archs[i], &arch, &err));
            BK_ASSERT_OK(bk_space_cost(&s, &arch, 100, &c, &err));
            BK_ASSERT_OK(s.iface->alone(s.state, &arch, 100, &net, &err));
            CU_ASSERT_EQUAL(bk_net_count(&net, 0, -2), (int64_t)c.params);
            bk_net_release(&net);
        }
        fixture_close(&f);
    }
}

static int64_t count_prefix(const struct bk_net *net, const char *prefix)
{
    int64_t total = 0;
    for (int32_t i = 0; i < net->n; i++) {
        const struct bk_slot *s = &net->slot[i];
        if (strncmp(s->name, prefix, strlen(prefix)) || s->role == BK_ROLE_RUNNING_MEAN || s->role == BK_ROLE_RUNNING_VAR)
            continue;
        int64_t n = 1;
        for (uint32_t d = 0; d < s->rank; d++)
            n *= s->dim[d];
        total += n;
    }
    return total;
}

/* Layers of BossNet-T0: sizes of the released network's modules. */
static void test_layers_of_t0(void)
{
    static const int64_t plain[16] = { 75648,   380672,  1515008, 1119744, 1119744, 726528,  1119744, 4471808,
                                       2894848, 2894848, 4467712, 2894848, 2894848, 2894848, 2894848, 2894848 };
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    for (int se = 0; se < 2; se++) {
        struct bk_net net = BK_NET_INIT;
        int64_t stage[4] = { 0 };
        fixture_open(&f);
        fixture_space(&f, "hytra", OPTIONS(se ? "se=true" : "se=false"), &s);
        BK_ASSERT_OK(bk_space_parse(&s, t0, &arch, &err));
        BK_ASSERT_OK(s.iface->alone(s.state, &arch, 1000, &net, &err));
        for (int j = 0; j < 16; j++) {
            char prefix[16];
            snprintf(prefix, sizeof prefix, "op%d.", j);
            stage[j < 2 ? j : j < 7 ? 2 : 3] += count_prefix(&net, prefix);
            CU_ASSERT(se || count_prefix(&net, prefix) == plain[j]);
        }
        CU_ASSERT_EQUAL(count_prefix(&net, "stem"), 9408 + 128);
        CU_ASSERT_EQUAL(count_prefix(&net, "classifier"), 2049000);
        CU_ASSERT_EQUAL(stage[0], se ? 84112 : 75648);
        CU_ASSERT_EQUAL(stage[1], se ? 413984 : 380672);
        CU_ASSERT_EQUAL(stage[2], se ? 6129408 : 5600768);
        CU_ASSERT_EQUAL(stage[3], se ? 29729920 : 29203456);
        bk_net_release(&net);
        fixture_close(&f);
    }
}

static const struct bk_slot *slot_of(const struct bk_net *net, const char *name)
{
    int32_t id = bk_net_find(net, name);
    CU_ASSERT_FATAL(id >= 0);
    return &net->slot[id];
}

static void test_initial_values(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    BK_ASSERT_OK(bk_space_parse(&s, t0, &arch, &err));
    BK_ASSERT_OK(s.iface->alone(s.state, &arch, 1000, &net, &err));
    CU_ASSERT_EQUAL(slot_of(&net, "op0.peg.weight")->init, BK_INIT_NORMAL);
    BK_ASSERT_CLOSE(slot_of(&net, "op0.peg.weight")->init_scale, sqrt(2. / (9 * 64)), 1e-12);
    BK_ASSERT_CLOSE(slot_of(&net, "op0.peg.bias")->init_scale, 1. / 3, 1e-12);
    BK_ASSERT_CLOSE(slot_of(&net, "stem.weight")->init_scale, sqrt(2. / (64 * 49)), 1e-12);
    BK_ASSERT_CLOSE(slot_of(&net, "classifier.bias")->init_scale, 1 / sqrt(2048.), 1e-12);
    CU_ASSERT_EQUAL(slot_of(&net, "op5.expand.norm.scale")->init, BK_INIT_ZERO);
    CU_ASSERT_EQUAL(slot_of(&net, "op5.norm.scale")->init, BK_INIT_ONE);
    bk_net_release(&net);
    BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
    CU_ASSERT_EQUAL(slot_of(&net, "block0.layer0.op5.same.peg.weight")->init, BK_INIT_UNIFORM);
    BK_ASSERT_CLOSE(slot_of(&net, "block0.layer0.op5.same.peg.weight")->init_scale, 1. / 3, 1e-12);
    BK_ASSERT_CLOSE(slot_of(&net, "block0.entry0.patch.weight")->init_scale, 1. / 8, 1e-12);
    CU_ASSERT_EQUAL(slot_of(&net, "block3.layer3.op0.expand.norm.scale")->init, BK_INIT_ZERO);
    bk_net_release(&net);
    fixture_close(&f);
}

/* ---- the supernet ---------------------------------------------------------------------------------------- */

/* Parameters of an operation inside, in the first layer, and entered by down-sampling; MACs at 224 in millions. */
static const struct {
    int64_t same, first, down;
    double macs_same, macs_first, macs_down;
} sizes[6] = { { 2894848, 3161088, 21249024, 143.980, 156.825, 1120.204 },
               { 4467712, 4733952, 22821888, 218.592, 231.437, 1194.816 },
               { 726528, 794112, 5316096, 161.416, 174.261, 1137.640 },
               { 1119744, 1187328, 5709312, 218.818, 231.663, 1195.042 },
               { 281344, 298752, 1429248, 219.269, 232.114, 1195.493 },
               { 71040, 75648, 0, 220.172, 233.017, 0 } };

static int64_t operation_size(const struct bk_net *net, int block, int layer, int op, const char *entry)
{
    char prefix[48];
    int64_t total = 0;
    static const char *const shared[] = { "spatial", "qkv", "norm", "expand" };
    for (size_t i = 0; i < BK_ARRAY_LEN(shared); i++) {
        snprintf(prefix, sizeof prefix, "block%d.layer%d.op%d.%s.", block, layer, op, shared[i]);
        total += count_prefix(net, prefix);
    }
    snprintf(prefix, sizeof prefix, "block%d.layer%d.op%d.%s.", block, layer, op, entry);
    int64_t own = count_prefix(net, prefix);
    return own ? total + own : 0;
}

static void test_supernet_sizes(void)
{
    static const int64_t block[4] = { 237972672, 232070144, 192106496, 192106496 }, unreachable = 49742336;
    static const int64_t layer0[4] = { 60062016, 58017536, 48026624, 48026624 }, layer1[4] = { 59303552, 58017536, 48026624, 48026624 };
    static const int depths[4] = { 4, 3, 2, 2 };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct fixture f;
    struct bk_space s;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
    CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, -2), 854265344 - unreachable);
    CU_ASSERT_EQUAL(count_prefix(&net, "block0.stem"), 9536);
    CU_ASSERT_EQUAL(count_prefix(&net, "block0.entry0"), 37888);
    CU_ASSERT_EQUAL(count_prefix(&net, "block0.entry1"), 17920);
    CU_ASSERT_EQUAL(count_prefix(&net, "block0.entry2"), 8704);
    CU_ASSERT_EQUAL(count_prefix(&net, "block0.entry3"), 4288);
    for (int k = 0; k < 4; k++) {
        int64_t less = k ? 0 : unreachable;
        char prefix[32];
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_BACKBONE, k), block[k] - less + (k ? 0 : 9536));
        CU_ASSERT_EQUAL(bk_net_count(&net, BK_PART_ADAPTER, k), 2105344 + 1060864 + 544768);
        for (int l = 0; l < 4; l++) {
            bool first = k == 0 && l == 0;
            int64_t entries = first ? 4288 + 8704 + 17920 + 37888 : 0;
            snprintf(prefix, sizeof prefix, "block%d.layer%d.", k, l);
            CU_ASSERT_EQUAL(count_prefix(&net, prefix) + entries, first ? layer0[k] - less : layer1[k]);
            for (int op = 0; op < 6; op++) {
                int d = op < 4 ? op / 2 : op - 2;
                int64_t same = d < depths[k] ? first ? sizes[op].first : sizes[op].same : 0;
                CU_ASSERT_EQUAL(operation_size(&net, k, l, op, "same"), same);
                CU_ASSERT_EQUAL(operation_size(&net, k, l, op, "down"), d < depths[k] - 1 && !first ? sizes[op].down : 0);
            }
        }
    }
    bk_net_release(&net);
    fixture_close(&f);
}

/* Of the release's 343 norm scales LARS by name adapts 210; 10 of them are unreachable. */
static void test_by_name_scales(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_net net = BK_NET_INIT;
    struct fixture f;
    struct bk_space s;
    int n = 0, adapted = 0, zero = 0;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    BK_ASSERT_OK(s.iface->supernet(s.state, &net, &err));
    for (int32_t i = 0; i < net.n; i++) {
        const struct bk_slot *slot = &net.slot[i];
        if (slot->role != BK_ROLE_NORM_SCALE)
            continue;
        bool by_name = slot->flags & BK_SLOT_BY_NAME_ADAPTED;
        if (slot->part == BK_PART_ADAPTER) {
            CU_ASSERT(by_name);
            continue;
        }
        n++;
        adapted += by_name;
        zero += slot->init == BK_INIT_ZERO;
        CU_ASSERT(!by_name || slot->init != BK_INIT_ZERO || strstr(slot->name, ".op0.") || strstr(slot->name, ".op2."));
    }
    CU_ASSERT_EQUAL(n, 343 - 10);
    CU_ASSERT_EQUAL(adapted, 210 - 10);
    CU_ASSERT_EQUAL(zero, 4 * (6 + 5 + 4 + 4));
    bk_net_release(&net);
    fixture_close(&f);
}

static void test_supernet_macs(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    fixture_open(&f);
    fixture_space(&f, "hytra", OPTIONS("paths=full", "stage_depths=[4,4,4,4]"), &s);
    for (int i = 0; i < 500; i++) {
        struct bk_arch arch;
        double macs, wanted = 118.014, c;
        int before = -1;
        BK_ASSERT_OK(bk_space_sample(&s, 3, (uint64_t)i, &arch, &err));
        for (int j = 0; j < 16; j++) {
            int op = arch.block[j / 4].op[j % 4], d = op < 4 ? op / 2 : op - 2;
            if (j == 0) {
                double positions = pow(7 << d, 2);
                c = 64 * pow(8 >> d, 2) * positions + 64 * (512 >> d) * positions;     /* entry down-sampler */
                wanted += c / 1e6 + sizes[op].macs_first;
            } else {
                wanted += d == before ? sizes[op].macs_same : sizes[op].macs_down;
            }
            before = d;
        }
        BK_ASSERT_OK(s.iface->score(s.state, "supernet_macs", &arch, &macs, &err));
        CU_ASSERT(fabs(macs / 1e6 - wanted) < 17 * 0.0005 + 1e-6);
    }
    struct bk_arch arch;
    double x;
    BK_ASSERT_OK(bk_space_parse(&s, "ViT-T/32", &arch, &err));
    CU_ASSERT_EQUAL(s.iface->score(s.state, "width_sum", &arch, &x, &err), BK_ENOTFOUND);
    fixture_close(&f);
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    CU_ASSERT_EQUAL(s.iface->score(s.state, "supernet_macs", &(struct bk_arch){ .n_blocks = 3 }, &x, &err), BK_EINVAL);
    BK_ASSERT_OK(bk_space_parse(&s, "5554 4444 4444 3333", &arch, &err));
    CU_ASSERT_EQUAL(s.iface->score(s.state, "supernet_macs", &arch, &x, &err), BK_EINVAL);      /* block 2 has no 1/8 */
    fixture_close(&f);
}

/* ---- paths -------------------------------------------------------------------------------------------------- */

static size_t count_paths(struct bk_space *s, int block, int entry)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_path *path;
    size_t n;
    BK_ASSERT_OK(bk_space_paths(s, block, entry, &path, &n, &err));
    for (size_t i = 0; i < n; i++) {
        CU_ASSERT_EQUAL(path[i].n, 4);
        int op = path[i].op[3];
        CU_ASSERT_EQUAL(s->iface->exit(s->state, block, entry, &path[i]), op < 4 ? op / 2 + 1 : op - 1);
    }
    bk_free(path);
    return n;
}

/* The lengths of the released lists, by stage depth; the first block of a space of that depth is such a list. */
static void test_path_lists(void)
{
    static const struct {
        const char *depths;
        size_t restricted, full;
    } lists[] = { { "stage_depths=[4,4,4,4]", 51, 131 },
                  { "stage_depths=[3,3,3,3]", 99, 115 },
                  { "stage_depths=[2,2,2,2]", 80, 80 },
                  { "stage_depths=[1,1,1,1]", 16, 16 } };
    struct fixture f;
    struct bk_space s;
    for (size_t i = 0; i < BK_ARRAY_LEN(lists); i++)
        for (int full = 0; full < 2; full++) {
            fixture_open(&f);
            fixture_space(&f, "hytra", OPTIONS(lists[i].depths, full ? "paths=full" : "paths=restricted"), &s);
            CU_ASSERT_EQUAL(count_paths(&s, 0, 0), full ? lists[i].full : lists[i].restricted);
            fixture_close(&f);
        }
}

/* Default supernet: what the next block cannot go on from is no choice. */
static void test_available_paths(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_path *path, p = { .n = 0 };
    uint8_t out[BK_MAX_CHOICES];
    int32_t k;
    size_t n;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    CU_ASSERT_EQUAL(count_paths(&s, 0, 0), 50);                 /* 51 but for 5555 */
    CU_ASSERT_EQUAL(count_paths(&s, 1, 3), 98);                 /* 99 but for 4444 */
    CU_ASSERT_EQUAL(count_paths(&s, 1, 2), 80);
    CU_ASSERT_EQUAL(count_paths(&s, 1, 1), 16);
    for (int block = 2; block < 4; block++) {
        CU_ASSERT_EQUAL(count_paths(&s, block, 2), 80);
        CU_ASSERT_EQUAL(count_paths(&s, block, 1), 16);
        CU_ASSERT_EQUAL(s.iface->choices(s.state, block, 3, &p, out, &k), BK_EINVAL);
    }
    CU_ASSERT_EQUAL(s.iface->choices(s.state, 1, 4, &p, out, &k), BK_EINVAL);
    CU_ASSERT_EQUAL(s.iface->choices(s.state, 1, 0, &p, out, &k), BK_EINVAL);
    CU_ASSERT_EQUAL(s.iface->choices(s.state, 0, 1, &p, out, &k), BK_EINVAL);
    int ends[5] = { 0 };
    BK_ASSERT_OK(bk_space_paths(&s, 0, 0, &path, &n, &err));
    for (size_t i = 0; i < n; i++)
        ends[s.iface->exit(s.state, 0, 0, &path[i])]++;
    bk_free(path);
    CU_ASSERT(ends[1] == 24 && ends[2] == 22 && ends[3] == 4 && ends[4] == 0);
    BK_ASSERT_OK(bk_path_parse("5555", &p, &err));
    CU_ASSERT_EQUAL(bk_space_check_path(&s, 0, 0, &p, &err), BK_EINVAL);
    fixture_close(&f);
}

/* Ways through all blocks by the depth they end with; ways[0] is unused. */
static void count_ways(struct bk_space *s, double ways[5])
{
    struct bk_error err = BK_ERROR_INIT;
    double now[5] = { 1 };
    for (int block = 0; block < 4; block++) {
        double next[5] = { 0 };
        for (int entry = 0; entry < 5; entry++) {
            struct bk_path *path;
            size_t n;
            if (now[entry] == 0)
                continue;
            BK_ASSERT_OK(bk_space_paths(s, block, entry, &path, &n, &err));
            for (size_t i = 0; i < n; i++)
                next[s->iface->exit(s->state, block, entry, &path[i])] += now[entry];
            bk_free(path);
        }
        memcpy(now, next, sizeof now);
    }
    memcpy(ways, now, sizeof now);
}

static void test_whole_counts(void)
{
    struct fixture f;
    struct bk_space s;
    double w[5];
    fixture_open(&f);
    fixture_space(&f, "hytra", OPTIONS("paths=full", "stage_depths=[4,4,4,4]"), &s);
    count_ways(&s, w);
    CU_ASSERT(w[1] == 2621512 && w[2] == 196574 && w[3] == 16 && w[4] == 1);
    BK_ASSERT_CLOSE(s.info.log10_size, log10(2818103.), 1e-12);
    fixture_close(&f);
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    count_ways(&s, w);
    CU_ASSERT_EQUAL(w[1] + w[2] + w[3] + w[4], 1615872);
    BK_ASSERT_CLOSE(s.info.log10_size, log10(1615872.), 1e-12);
    fixture_close(&f);
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

/* Published architectures: digits, lists a scale, and whether the supernet has them. */
static const struct {
    const char *name, *digits, *lists;
    bool in_supernet;
} known[] = {
    { "BossNet-T0", "5433 3230 0010 0000", "[1] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0,0]", true },
    { "BossNet-T1", "5433 3230 0010 0000", "[1][1][1,1,1,0,1][0,0,0,1,0,0,0,0,0]", true },
    { "R50-T", "5554 4443 3333 3111", "[1,1,1] [1,1,1,1] [1,1,1,1,1,1] [1,1,1]", true },
    { "BoT50-T", "5554 4443 3333 3000", "[1, 1, 1] [1, 1, 1, 1] [1, 1, 1, 1, 1, 1] [0, 0, 0]", true },
    { "ViT-T/16", "2222 2222 2222 2222", "[] [] [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0] []", false },
    { "ViT-T/32", "0000 0000 0000 0000", "[] [] [] [0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]", false },
    { "Random-T", "2333 2232 3320 1011", "[] [] [0,1,1,1,0,0,1,0,1,1,0] [0,1,0,1,1]", false },
    { "DNA-T", "5444 3233 3323 0111", "[1] [1,1,1] [1,0,1,1,1,1,0,1] [0,1,1,1]", true },
    { "UnNAS-T", "4331 1100 0010 0110", "[] [1] [1,1] [1,1,1,0,0,0,0,1,0,0,1,1,0]", true },
};

static bool in_supernet(struct bk_space *s, const struct bk_arch *arch)
{
    struct bk_error err = BK_ERROR_INIT;
    int32_t entry = 0;
    for (int k = 0; k < 4; k++) {
        if (bk_space_check_path(s, k, entry, &arch->block[k], &err))
            return false;
        entry = s->iface->exit(s->state, k, entry, &arch->block[k]);
    }
    return true;
}

static void test_texts(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    for (size_t i = 0; i < BK_ARRAY_LEN(known); i++) {
        const char *forms[3] = { known[i].name, known[i].digits, known[i].lists };
        char text[64];
        for (int j = 0; j < 3; j++) {
            BK_ASSERT_OK(bk_space_parse(&s, forms[j], &arch, &err));
            BK_ASSERT_OK(bk_space_format(&s, &arch, text, sizeof text, &err));
            CU_ASSERT_STRING_EQUAL(text, known[i].digits);
        }
        CU_ASSERT_EQUAL(in_supernet(&s, &arch), known[i].in_supernet);
    }
    BK_ASSERT_OK(bk_space_parse(&s, "5433323000100000", &arch, &err));
    for (int i = 0; i < 2000; i++) {
        struct bk_arch a, b;
        char text[64];
        BK_ASSERT_OK(bk_space_sample(&s, 1, (uint64_t)i, &a, &err));
        CU_ASSERT(in_supernet(&s, &a));
        BK_ASSERT_OK(bk_space_format(&s, &a, text, sizeof text, &err));
        BK_ASSERT_OK(bk_space_parse(&s, text, &b, &err));
        for (int k = 0; k < 4; k++)
            CU_ASSERT(bk_path_equal(&a.block[k], &b.block[k]));
    }
    fixture_close(&f);
}

static void test_refusals(void)
{
    static const char *const bad[] = {
        "", "5433 3230 0010 000", "5433 3230 0010 00000", "5433  3230 0010 0000", "5433 3230 00100000", " 5433 3230 0010 0000",
        "5433 3230 0010 0000 ", "6433 3230 0010 0000", "5333 3230 0010 0000", "5530 0000 0000 0000", "0002 0000 0000 0000",
        "bossnet-t0", "[1] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0]", "[1] [1] [1,1,1,0,1]", "[0] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0,0]",
        "[1] [1] [1,1,1,0,1] [0,0,0,1,0,0,0,0,0] x", "[1] [] [1,1,1,0,1,1] [0,0,0,1,0,0,0,0,0]", "[1,] [] [] []", "[" };
    static const char *const options[][3] = { { "stage_depths=[4,3,2]", NULL, "4" },
                                              { "stage_depths=[3,4,2,2]", NULL, "grow" },
                                              { "width=40", NULL, "16" },
                                              { "input_size=100", NULL, "32" } };
    struct fixture f;
    struct bk_space s;
    struct bk_arch arch;
    fixture_open(&f);
    fixture_space(&f, "hytra", NULL, &s);
    for (size_t i = 0; i < BK_ARRAY_LEN(bad); i++)
        if (bk_space_parse(&s, bad[i], &arch, &f.err) != BK_EINVAL) {
            printf("\n    '%s' was taken\n", bad[i]);
            CU_FAIL("a bad text was taken");
        }
    for (size_t i = 0; i < BK_ARRAY_LEN(options); i++) {
        CU_ASSERT_PTR_NULL(fixture_try(&f, BK_KIND_SPACE, "hytra", options[i]));
        CU_ASSERT_PTR_NOT_NULL(strstr(f.err.text, options[i][2]));
    }
    fixture_close(&f);
}

BK_SUITE({ "published costs", test_published_costs }, { "stand-alone sizes", test_alone_sizes },
         { "layers of BossNet-T0", test_layers_of_t0 }, { "initial values", test_initial_values },
         { "supernet sizes", test_supernet_sizes }, { "norm scales that LARS adapts by name", test_by_name_scales },
         { "supernet MACs", test_supernet_macs }, { "path lists", test_path_lists }, { "available paths", test_available_paths },
         { "whole counts", test_whole_counts }, { "texts", test_texts }, { "refusals", test_refusals })
