/*
 * Tests of core/config: what good files and overrides turn into. Bad ones are in test_bad_configs.c.
 */
#include "config/config.h"
#include "unit.h"

#include <bosskit/file.h>
#include <unistd.h>

static char dir[64];

static void put(const char *name, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[256];
    if (!dir[0]) {
        strcpy(dir, "/tmp/bk_config_XXXXXX");
        CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    }
    snprintf(path, sizeof path, "%s/%s", dir, name);
    BK_ASSERT_OK(bk_file_write(path, text, strlen(text), &err));
}

static struct bk_value *get(const char *name)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    BK_ASSERT_OK(bk_value_read(path, &v, &err));
    return v;
}

static int64_t int_at(const struct bk_value *v, const char *path)
{
    const struct bk_value *x = bk_value_find(v, path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    CU_ASSERT_EQUAL(x->type, BK_VALUE_INT);
    return x->i;
}

static const char *text_at(const struct bk_value *v, const char *path)
{
    const struct bk_value *x = bk_value_find(v, path);
    CU_ASSERT_PTR_NOT_NULL_FATAL(x);
    CU_ASSERT_EQUAL_FATAL(x->type, BK_VALUE_TEXT);
    return x->text;
}

static bool ends_with(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* Integers beyond 32 bits are the trap of libconfig 1.5; octal that of later versions. */
static void test_literals(void)
{
    put("lit.cfg", "a = 3000000000;\nb = -9223372036854775808;\nc = 9223372036854775807L;\nd = 010;\n"
                   "e = [1, 4294967297];\nf = 1e3; g = .5; h = -2.5E-3; i = 5.;\n"
                   "t = \"0x1F 99999999999999999999 @include // # \\\"q\\\" \\x41\";\n"
                   "list = (1, \"two\", 3.0, true, { x = 4; });\nyes = TRUE; x1 = 7; a-b2 = 8;\n");
    struct bk_value *v = get("lit.cfg");
    CU_ASSERT_EQUAL(int_at(v, "a"), INT64_C(3000000000));
    CU_ASSERT_EQUAL(int_at(v, "b"), INT64_MIN);
    CU_ASSERT_EQUAL(int_at(v, "c"), INT64_MAX);
    CU_ASSERT_EQUAL(int_at(v, "d"), 10);
    CU_ASSERT_EQUAL(bk_value_find(v, "e")->child[1]->i, INT64_C(4294967297));
    CU_ASSERT_EQUAL(bk_value_find(v, "f")->r, 1000.0);
    CU_ASSERT_EQUAL(bk_value_find(v, "g")->r, 0.5);
    CU_ASSERT_EQUAL(bk_value_find(v, "h")->r, -0.0025);
    CU_ASSERT_EQUAL(bk_value_find(v, "i")->r, 5.0);
    CU_ASSERT_STRING_EQUAL(text_at(v, "t"), "0x1F 99999999999999999999 @include // # \"q\" A");
    const struct bk_value *list = bk_value_find(v, "list");
    CU_ASSERT_EQUAL(list->n, 5);
    CU_ASSERT_EQUAL(list->child[2]->type, BK_VALUE_REAL);
    CU_ASSERT_EQUAL(list->child[3]->type, BK_VALUE_BOOL);
    CU_ASSERT_EQUAL(bk_value_find(list->child[4], "x")->i, 4);
    CU_ASSERT_TRUE(bk_value_find(v, "yes")->b);
    CU_ASSERT_EQUAL(int_at(v, "x1"), 7);
    CU_ASSERT_EQUAL(int_at(v, "a-b2"), 8);
    bk_value_free(v);
}

static void test_origins(void)
{
    put("origin.cfg", "# first\n/* two\n   lines */ a = 1;\ng :\n{\n  b = 2; // x\n\n  c = \"s\";\n};\n");
    struct bk_value *v = get("origin.cfg");
    CU_ASSERT(ends_with(bk_value_find(v, "a")->origin, "origin.cfg:3"));
    CU_ASSERT(ends_with(bk_value_find(v, "g.b")->origin, "origin.cfg:6"));
    CU_ASSERT(ends_with(bk_value_find(v, "g.c")->origin, "origin.cfg:8"));
    bk_value_free(v);
}

/* Later wins, whether it comes from the file or from an include; groups merge. */
static void test_includes(void)
{
    struct bk_error err = BK_ERROR_INIT;
    char sub[128];
    put("base.cfg", "g = { a = 1; b = 1; }\nx = 1;\ny = 1;\n");
    snprintf(sub, sizeof sub, "%s/sub", dir);
    BK_ASSERT_OK(bk_make_dirs(sub, &err));
    put("sub/more.cfg", "@include \"../base.cfg\"\ny = 3; p = \"q\";\n");
    put("top.cfg", "x = 2;\n@include \"base.cfg\"\ng = { b = 5; c = 6; };\n@include \"sub/more.cfg\"\nz = 9;\n"
                   "g2 = { d = 1; };\n");
    struct bk_value *v = get("top.cfg");
    CU_ASSERT_EQUAL(int_at(v, "x"), 1);
    CU_ASSERT_EQUAL(int_at(v, "y"), 3);
    CU_ASSERT_EQUAL(int_at(v, "g.a"), 1);
    CU_ASSERT_EQUAL(int_at(v, "g.b"), 1);       /* more.cfg includes base.cfg again, after g.b = 5 */
    CU_ASSERT_EQUAL(int_at(v, "g.c"), 6);
    CU_ASSERT_EQUAL(int_at(v, "z"), 9);
    const struct bk_value *p = bk_value_find(v, "p");
    CU_ASSERT(ends_with(p->origin, "sub/more.cfg:2"));
    CU_ASSERT(ends_with(p->file_dir, "/sub"));
    bk_value_free(v);
}

/* An include in a group fills that group; what the group says before or after it merges in order. */
static void test_include_in_group(void)
{
    put("part.cfg", "t = { a = 1; b = 1; };\nx = 1;\n");
    put("group.cfg", "p = {\n  x = 0;\n  @include \"part.cfg\"\n  t = { b = 2; };\n};\nx = 7;\n"
                     "l = ({ @include \"part.cfg\" }, 3);\n");
    struct bk_value *v = get("group.cfg");
    CU_ASSERT_EQUAL(int_at(v, "p.x"), 1);
    CU_ASSERT_EQUAL(int_at(v, "p.t.a"), 1);
    CU_ASSERT_EQUAL(int_at(v, "p.t.b"), 2);
    CU_ASSERT_EQUAL(int_at(v, "x"), 7);
    CU_ASSERT(ends_with(bk_value_find(v, "p.t.a")->origin, "part.cfg:1"));
    CU_ASSERT(ends_with(bk_value_find(v, "p.t.b")->origin, "group.cfg:4"));
    const struct bk_value *l = bk_value_find(v, "l");
    CU_ASSERT_EQUAL_FATAL(l->n, 2);
    CU_ASSERT_EQUAL(int_at(l->child[0], "x"), 1);
    bk_value_free(v);
}

static void test_merge_label(void)
{
    struct bk_error err = BK_ERROR_INIT;
    put("m.cfg", "t = { a = 1; l = [1, 2]; };\np = { t = { a = 2; l = [3]; n = { k = 1; }; }; };\n");
    struct bk_value *v = get("m.cfg");
    struct bk_value *into = bk_value_dup(bk_value_find(v, "t"));
    BK_ASSERT_OK(bk_value_merge(into, bk_value_find(v, "p.t"), "profile 'small'", &err));
    CU_ASSERT_EQUAL(int_at(into, "a"), 2);
    CU_ASSERT_EQUAL(bk_value_find(into, "l")->n, 1);
    const char *origin = bk_value_find(into, "n.k")->origin;
    CU_ASSERT(strncmp(origin, "profile 'small' (", 17) == 0 && ends_with(origin, "m.cfg:2)"));
    bk_value_free(into);
    bk_value_free(v);
}

static void test_overrides(void)
{
    static const char *const good[] = { "trainer.plugin=naive_bootstrap", "seed=3", "space.widths=[8,16]",
                                        "data.root=/x/y", "lr=1e-3", "flag=true", "empty=", "q=\"a b\"",
                                        "big=3000000000", "url=http://a/b#c", "rows=({a=1;},{a=2;})",
                                        "date=2024-01-05", "name=3x", "seed=4" };
    struct bk_error err = BK_ERROR_INIT;
    put("o.cfg", "seed = 1;\n");
    struct bk_value *v = get("o.cfg");
    for (size_t i = 0; i < BK_ARRAY_LEN(good); i++)
        BK_ASSERT_OK(bk_value_override(v, good[i], &err));
    CU_ASSERT_EQUAL(int_at(v, "seed"), 4);
    CU_ASSERT_STRING_EQUAL(bk_value_find(v, "seed")->origin, "command line");
    CU_ASSERT_STRING_EQUAL(text_at(v, "trainer.plugin"), "naive_bootstrap");
    CU_ASSERT_EQUAL(bk_value_find(v, "space.widths")->child[1]->i, 16);
    CU_ASSERT_STRING_EQUAL(text_at(v, "data.root"), "/x/y");
    CU_ASSERT_EQUAL(bk_value_find(v, "lr")->r, 1e-3);
    CU_ASSERT_TRUE(bk_value_find(v, "flag")->b);
    CU_ASSERT_STRING_EQUAL(text_at(v, "empty"), "");
    CU_ASSERT_STRING_EQUAL(text_at(v, "q"), "a b");
    CU_ASSERT_EQUAL(int_at(v, "big"), INT64_C(3000000000));
    CU_ASSERT_STRING_EQUAL(text_at(v, "url"), "http://a/b#c");
    CU_ASSERT_EQUAL(bk_value_find(v, "rows")->child[1]->child[0]->i, 2);
    CU_ASSERT_STRING_EQUAL(text_at(v, "date"), "2024-01-05");
    CU_ASSERT_STRING_EQUAL(text_at(v, "name"), "3x");
    bk_value_free(v);
}

/* Printing and reading again gives the same text: nothing is lost but comments. */
static void test_print(void)
{
    struct bk_text a = BK_TEXT_INIT, b = BK_TEXT_INIT;
    put("p.cfg", "a = 1; r = 3.0; s = 1e300; q = 0.1; t = \"x\\\\y\\\"z\\n\"; f = false;\n"
                 "l = (1, 2.5, \"m\"); e = []; big = 3000000000; g = { h = { i = 1; }; };\n"
                 "rows = ({ a = 1; }, { b = [1, 2]; });\n");
    struct bk_value *v = get("p.cfg");
    CU_ASSERT_EQUAL(bk_value_print(v, &a), BK_OK);
    put("p2.cfg", bk_text_get(&a));
    struct bk_value *w = get("p2.cfg");
    for (char *c = a.ptr; (c = strstr(c, "p.cfg:"));)
        memset(c, ' ', strcspn(c, "\n"));
    CU_ASSERT_EQUAL(bk_value_print(w, &b), BK_OK);
    for (char *c = b.ptr; (c = strstr(c, "p2.cfg:"));)
        memset(c, ' ', strcspn(c, "\n"));
    char *x = a.ptr, *y = b.ptr;
    while (x && *x && y && *y) {        /* line by line up to the comment */
        size_t n = strcspn(x, "#\n"), m = strcspn(y, "#\n");
        CU_ASSERT(n == m && memcmp(x, y, n) == 0);
        x += strcspn(x, "\n") + 1;
        y += strcspn(y, "\n") + 1;
    }
    CU_ASSERT_EQUAL(bk_value_find(w, "s")->r, 1e300);
    CU_ASSERT_EQUAL(bk_value_find(w, "q")->r, 0.1);
    CU_ASSERT_STRING_EQUAL(text_at(w, "t"), "x\\y\"z\n");
    CU_ASSERT_EQUAL(bk_value_find(w, "r")->type, BK_VALUE_REAL);
    bk_text_release(&a);
    bk_text_release(&b);
    bk_value_free(v);
    bk_value_free(w);
}

/* ---- binding ------------------------------------------------------------------------------------ */

struct state {
    int64_t n;
    double lr;
    bool on;
    int32_t how;
    const char *name, *root;
    struct bk_ints widths;
};

static const struct bk_choice hows[] = { { "cosine", 1 }, { "step", 2 }, { NULL, 0 } };
static const struct bk_opt options[] = {
    BK_INT("n", struct state, n, 20, 1, 100, "images", "number"),
    BK_REAL("lr", struct state, lr, 0.5, 0, 10, "", "rate"),
    BK_BOOL("on", struct state, on, true, "switch"),
    BK_ENUM("how", struct state, how, 2, hows, "schedule"),
    BK_TEXT("name", struct state, name, NULL, "name"),
    BK_PATH("root", struct state, root, "/r", "where"),
    BK_INTS("widths", struct state, widths, "8,16", 1, 64, "", "widths"),
    BK_OPT_END,
};

static void test_bind(void)
{
    static const char *const also[] = { "plugin", NULL };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_owned *owned = NULL;
    struct state s;
    char root[128];

    BK_ASSERT_OK(bk_options_bind(options, &s, NULL, "x", NULL, &owned, &err));
    CU_ASSERT(s.n == 20 && s.lr == 0.5 && s.on && s.how == 2 && !s.name && s.widths.n == 2);
    CU_ASSERT(s.widths.at[0] == 8 && s.widths.at[1] == 16 && strcmp(s.root, "/r") == 0);
    bk_owned_free(owned);
    owned = NULL;

    put("b.cfg", "t = { plugin = \"p\"; n = 100; lr = 1; on = false; how = \"cosine\"; name = \"z\";\n"
                 "root = \"data/c\"; widths = (3, 5, 7); };\n");
    struct bk_value *v = get("b.cfg");
    BK_ASSERT_OK(bk_value_override(v, "t.name=17", &err));
    BK_ASSERT_OK(bk_options_bind(options, &s, bk_value_find(v, "t"), "t", also, &owned, &err));
    CU_ASSERT(s.n == 100 && s.lr == 1.0 && !s.on && s.how == 1 && s.widths.n == 3);
    CU_ASSERT(s.widths.at[2] == 7);
    CU_ASSERT_STRING_EQUAL(s.name, "17");
    snprintf(root, sizeof root, "%s/data/c", dir);
    CU_ASSERT_STRING_EQUAL(s.root, root);

    struct bk_text t = BK_TEXT_INIT;
    CU_ASSERT_EQUAL(bk_options_canonical(options, &s, false, &t), BK_OK);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&t), "how=cosine\nlr=0x1p+0\nn=100\nname=\"17\"\non=false\nwidths=3,5,7\n");
    bk_text_release(&t);
    CU_ASSERT_EQUAL(bk_options_canonical(options, &s, true, &t), BK_OK);
    CU_ASSERT_PTR_NOT_NULL(strstr(bk_text_get(&t), "root=\""));
    bk_text_release(&t);
    /* A second call adds to the same chain; what the first one made stays alive. */
    struct state again;
    BK_ASSERT_OK(bk_options_bind(options, &again, NULL, "u", NULL, &owned, &err));
    CU_ASSERT(s.widths.at[2] == 7 && again.widths.at[0] == 8);
    bk_owned_free(owned);
    bk_value_free(v);
}

/* Every allocation in turn fails; nothing leaks (the sanitizer build looks) and the status is right. */
static void test_out_of_memory(void)
{
    put("oom.cfg", "@include \"b.cfg\"\nx = [1, 2, 3, 4, 5, 6]; y = { z = \"s\"; };\n");
    char path[256];
    snprintf(path, sizeof path, "%s/oom.cfg", dir);
    for (long n = 1; n < 2000; n++) {
        struct bk_error err = BK_ERROR_INIT;
        struct bk_owned *owned = NULL;
        struct bk_value *v = NULL;
        struct state s;
        bk_alloc_fail_after(n);
        int rc = bk_value_read(path, &v, &err);
        if (rc == BK_OK)
            rc = bk_value_override(v, "t.widths=[1,2]", &err);
        if (rc == BK_OK)
            rc = bk_options_bind(options, &s, bk_value_find(v, "t"), "t",
                                 (const char *const[]){ "plugin", NULL }, &owned, &err);
        bk_alloc_fail_after(0);
        bk_owned_free(owned);
        bk_value_free(v);
        if (rc == BK_OK) {
            CU_ASSERT(n > 20);
            return;
        }
        CU_ASSERT_EQUAL(rc, BK_ENOMEM);
    }
    CU_FAIL("never succeeded");
}

static void test_clean_up(void)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

BK_SUITE({ "literals", test_literals }, { "origins", test_origins }, { "includes", test_includes }, { "include in a group", test_include_in_group },
         { "merge with a label", test_merge_label }, { "overrides", test_overrides },
         { "print and read again", test_print }, { "bind and canonical", test_bind },
         { "out of memory", test_out_of_memory }, { "clean up", test_clean_up })
