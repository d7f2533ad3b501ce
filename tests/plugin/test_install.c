/*
 * What a stranger does: install bosskit, build plugins against the installed tree in both documented ways, use them.
 *
 * Everything happens below one temporary directory. The plugins are tests/plugins/mini_<kind>.c. Needs a complete
 * build, cmake, pkg-config and a C compiler; skipped where one of the tools is missing.
 */
#include "plugin/registry.h"
#include "unit.h"

#include <bosskit/file.h>
#include <bosskit/method.h>
#include <unistd.h>

static char top[64];
static const char *const kinds[] = { "space", "trainer", "rater", "searcher", "sampler", "dataset", "backend" };

/* Run a shell command in `top`; its output is shown when it fails. */
static bool shell(const char *fmt, ...)
{
    char command[4096], line[4400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    snprintf(line, sizeof line, "cd %s && unset BOSSKIT_PLUGIN_PATH && ( %s ) >log 2>&1 || { cat log; false; }", top, command);
    return system(line) == 0;
}

/* Is `text` in the output of the last command? */
static bool printed(const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[128], *log;
    size_t n;
    snprintf(path, sizeof path, "%s/log", top);
    if (bk_file_read(path, 1u << 24, &log, &n, &err))
        return false;
    bool found = strstr(log, text) != NULL;
    bk_free(log);
    return found;
}

static void test_install(void)
{
    strcpy(top, "/tmp/bk_install_XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(top));
    if (!shell("cmake --version && pkg-config --version && cc --version")) {
        rmdir(top);
        top[0] = '\0';
        BK_SKIP("cmake, pkg-config or cc is missing");
    }
    CU_ASSERT_FATAL(shell("cmake --install %s --prefix %s/first", bk_test_env("BK_TEST_BINARY"), top));
    /* An installed tree may be moved. */
    CU_ASSERT_FATAL(shell("mv first prefix"));
    CU_ASSERT(shell("prefix/bin/bosskit --version"));
    CU_ASSERT(shell("prefix/bin/bosskit doctor") && printed("/prefix/"));
}

static void test_by_hand(void)
{
    if (!top[0])
        BK_SKIP("not installed");
    for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++)
        CU_ASSERT_FATAL(shell("mkdir -p hand/%ss && export PKG_CONFIG_PATH=$(dirname $(find prefix -name bosskit.pc)) && "
                              "cc -O2 -Wall -Werror -shared -fPIC -fvisibility=hidden -Wl,-z,defs "
                              "%s/tests/plugins/mini_%s.c $(pkg-config --cflags --libs bosskit) -lm -o hand/%ss/mini.so",
                              kinds[i], bk_test_env("BK_TEST_SOURCE"), kinds[i], kinds[i]));
    CU_ASSERT(shell("pkg-config --variable=plugindir $(find $PWD/prefix -name bosskit.pc)") && printed("/bosskit"));
}

static void test_by_cmake(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_text t = BK_TEXT_INIT;
    char path[128];

    if (!top[0])
        BK_SKIP("not installed");
    bk_text_add(&t, "cmake_minimum_required(VERSION 3.22)\nproject(mine C)\nfind_package(bosskit 0.1 REQUIRED)\n");
    for (size_t i = 0; i < BK_ARRAY_LEN(kinds); i++)
        bk_text_addf(&t, "bosskit_add_plugin(mini KIND %s SOURCES %s/tests/plugins/mini_%s.c LIBRARIES m)\n", kinds[i],
                     bk_test_env("BK_TEST_SOURCE"), kinds[i]);
    BK_ASSERT_OK(bk_make_dirs((snprintf(path, sizeof path, "%s/mine", top), path), &err));
    snprintf(path, sizeof path, "%s/mine/CMakeLists.txt", top);
    BK_ASSERT_OK(bk_file_write(path, bk_text_get(&t), t.len, &err));
    bk_text_release(&t);
    CU_ASSERT_FATAL(shell("cmake -S mine -B made -DCMAKE_PREFIX_PATH=$PWD/prefix && cmake --build made"));
    /* One export, and the digest of the source. */
    CU_ASSERT(shell("nm -D --defined-only made/plugins/raters/mini.so | grep -v bk_module | grep -q . && exit 1; true"));
    CU_ASSERT(shell("prefix/bin/bosskit --plugin-path made/plugins list --json") && printed("\"name\": \"mini\""));
    CU_ASSERT(!printed("\"refused\": [\n    {"));
}

static void test_program(void)
{
    if (!top[0])
        BK_SKIP("not installed");
    CU_ASSERT(shell("prefix/bin/bosskit --plugin-path hand list") && printed("trainer/mini") && printed("backend/ref"));
    CU_ASSERT(!printed("refused"));
    CU_ASSERT(shell("prefix/bin/bosskit --plugin-path hand describe rater/mini") && printed("factor of the score"));
    /* The same plugin from two directories. */
    CU_ASSERT(shell("! prefix/bin/bosskit --plugin-path hand --plugin-path made/plugins describe rater/mini"));
    CU_ASSERT(printed("is offered by two files"));
}

/* ---- using them ------------------------------------------------------------------------------------ */

static struct bk_registry *registry;

static struct bk_instance *instance(uint32_t kind)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_instance *i = NULL;
    if (!registry) {
        char hand[128];
        const char *dirs[] = { hand };
        snprintf(hand, sizeof hand, "%s/hand", top);
        BK_ASSERT_OK(bk_registry_open(dirs, 1, &registry, &err));
    }
    BK_ASSERT_OK(bk_instance_open(registry, kind, "mini", NULL, NULL, bk_kind_name(kind), NULL, &i, &err));
    return i;
}

static struct bk_space space_of(const struct bk_instance *i)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_space s = { bk_instance_iface(i), i->state, "mini", { .struct_size = sizeof s.info } };
    BK_ASSERT_OK(s.iface->info(s.state, &s.info, &err));
    return s;
}

/*
 * Width 8, images 16 x 16, all 3 x 3: stem 3*3*3*8, layers 2 * 3*3*8*8, then 3*3*8*16 and 3*3*16*16 at 8 x 8, and
 * a classifier 16 -> 10.
 */
static void test_space(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_arch arch;
    struct bk_cost c;
    char text[16];

    if (!top[0])
        BK_SKIP("not installed");
    struct bk_instance *i = instance(BK_KIND_SPACE);
    struct bk_space s = space_of(i);
    BK_ASSERT_OK(bk_space_parse(&s, "11-11", &arch, &err));
    BK_ASSERT_OK(bk_space_format(&s, &arch, text, sizeof text, &err));
    CU_ASSERT_STRING_EQUAL(text, "11-11");
    BK_ASSERT_OK(bk_space_cost(&s, &arch, 10, &c, &err));
    double macs = 256 * (216 + 2 * 576) + 64 * (1152 + 2304) + 160;
    double params = 216 + 16 + 2 * (576 + 16) + 1152 + 32 + 2304 + 32 + 170;
    CU_ASSERT_EQUAL(c.macs, macs);
    CU_ASSERT_EQUAL(c.params, params);
    CU_ASSERT_EQUAL(bk_space_parse(&s, "11-12", &arch, &err), BK_EINVAL);
    /* The description agrees with the cost: parameters of the stand-alone network. */
    struct bk_net net = BK_NET_INIT;
    BK_ASSERT_OK(bk_space_parse(&s, "11-11", &arch, &err));
    BK_ASSERT_OK(s.iface->alone(s.state, &arch, 10, &net, &err));
    CU_ASSERT_EQUAL((double)bk_net_count(&net, 0, -2), params);
    bk_net_release(&net);
    bk_instance_close(i);
}

static void test_rater_and_searcher(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_block_table table[2];
    struct bk_found found;
    char text[16];

    if (!top[0])
        BK_SKIP("not installed");
    struct bk_instance *i = instance(BK_KIND_SPACE), *r = instance(BK_KIND_RATER), *q = instance(BK_KIND_SEARCHER);
    struct bk_space s = space_of(i);
    const struct bk_rater_iface *rater = bk_instance_iface(r);
    const struct bk_searcher_iface *searcher = bk_instance_iface(q);
    for (int32_t b = 0; b < 2; b++) {
        struct bk_env env = { .struct_size = sizeof env, .space = &s, .block = b };
        BK_ASSERT_OK(rater->rate_block(r->state, &env, NULL, &table[b], &err));
        CU_ASSERT_EQUAL(table[b].n, 4);
        CU_ASSERT_EQUAL(table[b].score[3], 2.0);
    }
    table[1].score[2] = 5;              /* path 10 */
    struct bk_search_task task = { .struct_size = sizeof task, .better = rater->better, .space = &s, .table = table,
                                   .n_classes = 10 };
    BK_ASSERT_OK(searcher->solve(q->state, &task, &found, &err));
    BK_ASSERT_OK(bk_space_format(&s, &found.arch, text, sizeof text, &err));
    CU_ASSERT_STRING_EQUAL(text, "11-10");
    CU_ASSERT_EQUAL(found.score, 7.0);
    bk_block_table_release(&table[0]);
    bk_block_table_release(&table[1]);
    bk_instance_close(q);
    bk_instance_close(r);
    bk_instance_close(i);
}

static void test_backend(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_device *device = NULL;
    struct bk_tensor *x = NULL, *y = NULL;
    struct bk_tape *tape = NULL;
    float out[3];

    if (!top[0])
        BK_SKIP("not installed");
    struct bk_instance *i = instance(BK_KIND_BACKEND);
    BK_ASSERT_OK(bk_device_open(bk_instance_iface(i), i->state, 0, BK_FAST, 1, &device, &err));
    BK_ASSERT_OK(bk_tape_new(device, &tape, &err));
    BK_ASSERT_OK(bk_tensor_new(device, BK_F32, 2, (const int64_t[]){ 1, 3 }, &x, &err));
    BK_ASSERT_OK(bk_tensor_write_f32(x, (const float[]){ -1, 2, 3 }, &err));
    BK_ASSERT_OK(bk_relu(tape, x, &y, &err));
    BK_ASSERT_OK(bk_tensor_read_f32(y, out, &err));
    CU_ASSERT(out[0] == 0 && out[1] == 2 && out[2] == 3);
    CU_ASSERT_EQUAL(bk_unit(tape, x, &y, &err), BK_ENOTSUP);
    bk_tensor_free(x);
    bk_tape_free(tape);
    bk_device_close(device);
    bk_instance_close(i);
}

/* ---- a training, straight through and in two halves ----------------------------------------------------- */

struct lab {
    struct bk_instance *space, *sampler, *dataset, *trainer, *ref;
    struct bk_space s;
    struct bk_sampler sm;
    struct bk_data data;
    struct bk_env env;
    struct bk_device *device;
};

static void open_lab(struct lab *l)
{
    struct bk_error err = BK_ERROR_INIT;
    char cache[128];

    *l = (struct lab){ .space = instance(BK_KIND_SPACE), .sampler = instance(BK_KIND_SAMPLER) };
    l->dataset = instance(BK_KIND_DATASET);
    l->trainer = instance(BK_KIND_TRAINER);
    l->s = space_of(l->space);
    l->sm = (struct bk_sampler){ bk_instance_iface(l->sampler), l->sampler->state, "mini" };
    const struct bk_dataset_iface *d = bk_instance_iface(l->dataset);
    snprintf(cache, sizeof cache, "%s/cache", top);
    BK_ASSERT_OK(d->open(l->dataset->state, cache, &err));
    l->data.info.struct_size = sizeof l->data.info;
    BK_ASSERT_OK(d->info(l->dataset->state, &l->data.info, &err));
    BK_ASSERT_OK(d->split(l->dataset->state, "train", &l->data.train, &err));
    CU_ASSERT_EQUAL(l->data.train.n, 32);
    CU_ASSERT_EQUAL(d->split(l->dataset->state, "tests", &l->data.test, &err), BK_ENOTFOUND);
    BK_ASSERT_OK(bk_augment_named("none", l->data.info.size, &l->data.alone, &err));
    for (int c = 0; c < 3; c++) {
        l->data.alone.mean[c] = l->data.info.mean[c];
        l->data.alone.std[c] = l->data.info.std[c];
    }
    BK_ASSERT_OK(bk_device_open(&bk_ref_backend, NULL, 0, BK_REFERENCE, 1, &l->device, &err));
    l->env = (struct bk_env){ .struct_size = sizeof l->env, .dtype = BK_F32, .device = l->device,
                              .host = &l->trainer->host, .space = &l->s, .data = &l->data, .sampler = &l->sm, .seed = 3 };
}

static void close_lab(struct lab *l)
{
    bk_device_close(l->device);
    bk_instance_close(l->trainer);
    bk_instance_close(l->dataset);
    bk_instance_close(l->sampler);
    bk_instance_close(l->space);
}

static bool same_bundles(const struct bk_bundle *a, const struct bk_bundle *b)
{
    if (bk_bundle_count(a) != bk_bundle_count(b))
        return false;
    for (size_t i = 0; i < bk_bundle_count(a); i++) {
        const struct bk_bundle_entry *x = bk_bundle_at(a, i), *y = bk_bundle_find(b, x->name);
        if (!y || x->nbytes != y->nbytes || memcmp(x->data, y->data, x->nbytes) != 0)
            return false;
    }
    return true;
}

static void test_training(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_progress p = { .struct_size = sizeof p };
    struct bk_bundle *half, *whole, *resumed;
    double first = 0;
    struct lab l;

    if (!top[0])
        BK_SKIP("not installed");
    open_lab(&l);
    const struct bk_trainer_iface *t = bk_instance_iface(l.trainer);
    void *state = l.trainer->state;
    BK_ASSERT_OK(bk_bundle_new(&half, &err));
    BK_ASSERT_OK(bk_bundle_new(&whole, &err));
    BK_ASSERT_OK(bk_bundle_new(&resumed, &err));
    BK_ASSERT_OK(t->begin(state, &l.env, NULL, &err));
    for (int i = 0; i < 10; i++) {              /* one step a call */
        BK_ASSERT_OK(t->advance(state, 0, &p, &err));
        first = i ? first : p.loss;
    }
    CU_ASSERT(p.step == 10 && !p.done);
    BK_ASSERT_OK(t->save(state, half, &err));
    while (!p.done)
        BK_ASSERT_OK(t->advance(state, 0, &p, &err));
    CU_ASSERT(p.loss < first);
    BK_ASSERT_OK(t->result(state, whole, &err));
    t->end(state);
    /* Again from the middle: the same bytes. */
    BK_ASSERT_OK(t->begin(state, &l.env, NULL, &err));
    BK_ASSERT_OK(t->load(state, half, &err));
    do
        BK_ASSERT_OK(t->advance(state, 100, &p, &err));
    while (!p.done);
    BK_ASSERT_OK(t->result(state, resumed, &err));
    t->end(state);
    CU_ASSERT(same_bundles(whole, resumed));
    /* Block 1 on top of it. */
    l.env.block = 1;
    l.env.prefix[0] = (struct bk_path){ 2, { 0, 1 } };
    BK_ASSERT_OK(t->begin(state, &l.env, whole, &err));
    BK_ASSERT_OK(t->advance(state, 0, &p, &err));
    t->end(state);
    bk_bundle_free(half);
    bk_bundle_free(whole);
    bk_bundle_free(resumed);
    close_lab(&l);
}

static void test_clean_up(void)
{
    struct bk_error err = BK_ERROR_INIT;
    bk_registry_close(registry);
    if (top[0])
        BK_ASSERT_OK(bk_remove_tree(top, &err));
}

BK_SUITE({ "install", test_install }, { "build by hand", test_by_hand }, { "build by cmake", test_by_cmake },
         { "the installed program", test_program }, { "space", test_space },
         { "rater and searcher", test_rater_and_searcher }, { "backend", test_backend },
         { "dataset, sampler, trainer", test_training }, { "clean up", test_clean_up })
