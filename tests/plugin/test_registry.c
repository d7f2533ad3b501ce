/*
 * Tests of discovery, instances and `describe` with plugins that are good; bad ones are in test_bad_plugins.c.
 *
 * Every plugin of the build tree must be found and accepted.
 */
#include "plugin/describe.h"
#include "plugin/registry.h"
#include "unit.h"

#include <bosskit/file.h>
#include <bosskit/method.h>
#include <jansson.h>
#include <unistd.h>

static void variant_dir(const char *name, char out[512])
{
    snprintf(out, 512, "%s/bad_plugins/%s", bk_test_env("BK_TEST_BINARY"), name);
}

static struct bk_registry *open_steady(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = NULL;
    char path[512];
    const char *dirs[] = { path };
    variant_dir("steady", path);
    BK_ASSERT_OK(bk_registry_open(dirs, 1, &r, &err));
    return r;
}

static void test_kinds(void)
{
    CU_ASSERT_STRING_EQUAL(bk_kind_name(BK_KIND_SPACE), "space");
    CU_ASSERT_STRING_EQUAL(bk_kind_name(BK_KIND_BACKEND), "backend");
    CU_ASSERT_PTR_NULL(bk_kind_name(0));
    CU_ASSERT_PTR_NULL(bk_kind_name(8));
    CU_ASSERT_EQUAL(bk_kind_from_name("dataset"), BK_KIND_DATASET);
    CU_ASSERT_EQUAL(bk_kind_from_name("datasets"), BK_KIND_INVALID);
}

/* Sorted, and nothing of the build tree is refused. */
static void test_build_tree(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = NULL;
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &r, &err));
    for (size_t i = 0; i < bk_registry_refused_count(r); i++)
        printf("\n    %s: %s\n", bk_registry_refused_at(r, i)->path, bk_registry_refused_at(r, i)->reason);
    CU_ASSERT_EQUAL(bk_registry_refused_count(r), 0);
    for (size_t i = 1; i < bk_registry_count(r); i++) {
        const struct bk_plugin *a = bk_registry_at(r, i - 1)->plugin, *b = bk_registry_at(r, i)->plugin;
        CU_ASSERT(a->kind < b->kind || (a->kind == b->kind && strcmp(a->name, b->name) < 0));
        CU_ASSERT_EQUAL(strlen(bk_registry_at(r, i)->digest), 64);
    }
    bk_registry_close(r);
}

/* A directory is searched itself and in its subdirectories named after kinds, in no others; other names are passed over. */
static void test_search(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char top[] = "/tmp/bk_registry_XXXXXX", from[600], steady[512], path[512], saved[4096];
    const struct bk_found_plugin *f = NULL;
    struct bk_registry *r = NULL;
    static const char *const places[] = { "raters/steady.so", "other/steady.so", "raters/notes.txt", "raters/.x.so" };

    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(top));
    variant_dir("steady", steady);
    snprintf(from, sizeof from, "%s/steady.so", steady);
    for (size_t i = 0; i < BK_ARRAY_LEN(places); i++) {
        snprintf(path, sizeof path, "%s/%.*s", top, (int)strcspn(places[i], "/"), places[i]);
        BK_ASSERT_OK(bk_make_dirs(path, &err));
        snprintf(path, sizeof path, "%s/%s", top, places[i]);
        CU_ASSERT_EQUAL(symlink(from, path), 0);
    }
    snprintf(saved, sizeof saved, "%s", bk_test_env("BOSSKIT_PLUGIN_PATH"));
    snprintf(path, sizeof path, "/nowhere:%s:", top);
    setenv("BOSSKIT_PLUGIN_PATH", path, 1);
    bk_log_set_level(BK_LOG_ERROR);
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &r, &err));
    setenv("BOSSKIT_PLUGIN_PATH", saved, 1);
    BK_ASSERT_OK(bk_registry_find(r, BK_KIND_RATER, "steady", &f, &err));
    CU_ASSERT_PTR_NOT_NULL(strstr(f->path, "/raters/steady.so"));
    bk_registry_close(r);
    BK_ASSERT_OK(bk_remove_tree(top, &err));
}

/* The layout of bad_plugin.c's state. */
struct steady {
    int64_t n;
    int32_t how;
    bool on;
    struct bk_ints widths;
};

static void test_instance(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = open_steady();
    struct bk_value *group = NULL;
    struct bk_instance *i = NULL, *k = NULL;
    char path[] = "/tmp/bk_instance_XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "plugin = \"steady\";\nn = 7;\nlabel = \"mine\";\n";

    CU_ASSERT_EQUAL_FATAL(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    close(fd);
    BK_ASSERT_OK(bk_value_read(path, &group, &err));
    unlink(path);
    BK_ASSERT_OK(bk_instance_open(r, BK_KIND_RATER, "steady", group, (const char *const[]){ "label", NULL }, "rater",
                                  NULL, &i, &err));
    const struct steady *s = i->state;
    CU_ASSERT(s->n == 7 && s->how == 1 && s->on && s->widths.n == 2 && s->widths.at[1] == 16);
    const struct bk_rater_iface *t = bk_instance_iface(i);
    double score = 1;
    BK_ASSERT_OK(t->rate_archs(i->state, NULL, NULL, 1, &score, &err));
    CU_ASSERT_EQUAL(score, 0);
    CU_ASSERT_FALSE(i->host.cancelled(i->host.ctx));
    CU_ASSERT_EQUAL(bk_instance_open(r, BK_KIND_RATER, "steady", group, NULL, "rater", NULL, &k, &err), BK_ECONFIG);
    struct bk_host host = { .struct_size = sizeof host, .seed = 9, .log = i->host.log };
    BK_ASSERT_OK(bk_instance_open(r, BK_KIND_RATER, "steady", NULL, NULL, "rater", &host, &k, &err));
    CU_ASSERT_EQUAL(k->host.seed, 9);
    bk_instance_close(k);
    bk_instance_close(i);
    bk_instance_close(NULL);
    bk_value_free(group);
    bk_registry_close(r);
    bk_registry_close(NULL);
}

static void test_describe(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = open_steady();
    const struct bk_found_plugin *f = NULL;
    struct bk_text t = BK_TEXT_INIT;
    json_error_t je;

    BK_ASSERT_OK(bk_registry_find(r, BK_KIND_RATER, "steady", &f, &err));
    bk_describe_text(f, &t);
    CU_ASSERT_PTR_NOT_NULL(strstr(bk_text_get(&t), "rater/steady 1.0.0   scores of zero\nneeds: nothing   gives: a score "
                                                   "an architecture (higher is better)\n"
                                                   "  n       integer   1        1..100        number\n"
                                                   "  how     choice    a        a | b         manner\n"));
    bk_text_release(&t);
    bk_describe_json(f, &t);
    json_t *j = json_loads(bk_text_get(&t), 0, &je);
    CU_ASSERT_PTR_NOT_NULL_FATAL(j);
    json_t *n = json_array_get(json_object_get(j, "options"), 0);
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(n, "max")), 100);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(n, "type")), "integer");
    CU_ASSERT_EQUAL(json_array_size(json_object_get(json_array_get(json_object_get(j, "options"), 3), "default")), 2);
    json_decref(j);
    bk_text_release(&t);
    bk_registry_close(r);
}

/* Every plugin's stanza, read back, binds to the defaults; every JSON description parses. */
static void test_stanzas(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_registry *r = NULL;
    char path[] = "/tmp/bk_stanza_XXXXXX";
    close(mkstemp(path));
    BK_ASSERT_OK(bk_registry_open(NULL, 0, &r, &err));
    for (size_t i = 0; i < bk_registry_count(r); i++) {
        const struct bk_found_plugin *f = bk_registry_at(r, i);
        const struct bk_plugin *p = f->plugin;
        struct bk_text t = BK_TEXT_INIT, a = BK_TEXT_INIT, b = BK_TEXT_INIT;
        struct bk_instance *x = NULL, *y = NULL;
        struct bk_value *v = NULL;
        json_error_t je;
        bk_describe_cfg(f, &t);
        BK_ASSERT_OK(bk_file_write(path, bk_text_get(&t), t.len, &err));
        bk_text_release(&t);
        BK_ASSERT_OK(bk_value_read(path, &v, &err));
        BK_ASSERT_OK(bk_instance_bind(r, p->kind, p->name, NULL, NULL, "x", &x, &err));
        BK_ASSERT_OK(bk_instance_bind(r, p->kind, p->name, v->child[0], NULL, "x", &y, &err));
        CU_ASSERT_EQUAL(bk_options_canonical(p->options, x->state, false, &a), BK_OK);
        CU_ASSERT_EQUAL(bk_options_canonical(p->options, y->state, false, &b), BK_OK);
        CU_ASSERT_STRING_EQUAL(bk_text_get(&a), bk_text_get(&b));
        bk_describe_json(f, &t);
        json_t *j = json_loads(bk_text_get(&t), 0, &je);
        CU_ASSERT_PTR_NOT_NULL(j);
        json_decref(j);
        bk_instance_close(x);
        bk_instance_close(y);
        bk_value_free(v);
        bk_text_release(&t);
        bk_text_release(&a);
        bk_text_release(&b);
    }
    bk_registry_close(r);
    unlink(path);
}

BK_SUITE({ "kinds", test_kinds }, { "build tree", test_build_tree }, { "where it looks", test_search },
         { "instance", test_instance }, { "describe", test_describe }, { "stanzas", test_stanzas })
