/*
 * Bad configurations: every case is a file or an override, the status BK_ECONFIG, and the sentence the user reads.
 *
 * A '@' in the wanted sentence stands for the directory of the files, a '~' for '@' itself. Good ones are in test_config.c.
 */
#include "config/config.h"
#include "unit.h"

#include <bosskit/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static const char *path_of(const char *name, char buf[256])
{
    snprintf(buf, 256, "%s/%s", dir, name);
    return buf;
}

static void put(const char *name, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[256];
    BK_ASSERT_OK(bk_file_write(path_of(name, path), text, strlen(text), &err));
}

/* Fill in '@' and '~', so that sentences can be written down. */
static void expand(const char *s, char out[2048])
{
    size_t n = 0;
    for (; *s && n < 1900; s++)
        n += (size_t)(*s == '@' ? snprintf(out + n, 2048 - n, "%s/", dir)
                                : snprintf(out + n, 2048 - n, "%c", *s == '~' ? '@' : *s));
    out[n] = '\0';
}

static void expect(int rc, const struct bk_error *err, const char *wanted)
{
    char sentence[2048];
    expand(wanted, sentence);
    if (rc != BK_ECONFIG || strcmp(err->text, sentence) != 0)
        printf("\n    got %d '%s'\n    wanted '%s'\n", rc, err->text, sentence);
    CU_ASSERT_EQUAL(rc, BK_ECONFIG);
    CU_ASSERT_EQUAL(err->code, BK_ECONFIG);
    CU_ASSERT_STRING_EQUAL(err->text, sentence);
}

/* ---- files that cannot be read ------------------------------------------------------------------- */

static void refuse_file(const char *text, const char *wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    put("bad.cfg", text);
    int rc = bk_value_read(path_of("bad.cfg", path), &v, &err);
    bk_value_free(v);
    expect(rc, &err, wanted);
}

static void test_start(void)
{
    strcpy(dir, "/tmp/bk_bad_config_XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
}

static void test_syntax(void)
{
    refuse_file("a = 1;\nb = ;\n", "@bad.cfg:2: syntax error in or before 'b = ;'");
}

static void test_unclosed_group(void)
{
    refuse_file("a = 1;\ng = {\n  b = 2;\n", "@bad.cfg:4: syntax error");
}

static void test_duplicate_key(void)
{
    refuse_file("a = 1;\nb = 2;\na = 3;\n", "@bad.cfg:3: duplicate setting name in or before 'a = 3;'");
}

static void test_mixed_array(void)
{
    refuse_file("a = [1, \"x\"];\n",
                "@bad.cfg:1: mismatched element type in array in or before 'a = [1, \"x\"];'");
}

static void test_unclosed_string(void)
{
    refuse_file("a = 1;\nb = \"open;\nc = 2;\n", "@bad.cfg:2: string without closing quote");
}

static void test_unclosed_comment(void)
{
    refuse_file("a = 1; /* open\n", "@bad.cfg:1: comment without closing */");
}

static void test_hexadecimal(void)
{
    refuse_file("a = 1;\nb = 0xFF;\n",
                "@bad.cfg:2: hexadecimal '0xFF' is not accepted, write it in decimal");
}

static void test_overflow(void)
{
    refuse_file("seed = 9223372036854775808;\n",
                "@bad.cfg:1: integer '9223372036854775808' does not fit into 64 bits, legal: "
                "-9223372036854775808..9223372036854775807");
}

static void test_infinite_real(void)
{
    refuse_file("lr = 1e999;\n",
                "@bad.cfg:1: real '1e999' is not a finite double, legal: up to 1.79e308 in size");
}

static void test_malformed_number(void)
{
    refuse_file("a = 12abc;\n", "@bad.cfg:1: '12abc' is not a number");
}

static void test_binary_number(void)
{
    refuse_file("a = 0b11;\n", "@bad.cfg:1: '0b11' is not a number");
}

static void test_two_points(void)
{
    refuse_file("a = 1.2.3;\n", "@bad.cfg:1: '1.2.3' is not a number");
}

static void test_stray_at(void)
{
    refuse_file("a = @b;\n", "@bad.cfg:1: '~' starts no value, legal: ~include \"file\"");
}

static void test_missing_file(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    int rc = bk_value_read(path_of("nowhere.cfg", path), &v, &err);
    expect(rc, &err, "cannot read '@nowhere.cfg': No such file or directory");
}

static void test_binary_file(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    BK_ASSERT_OK(bk_file_write(path_of("nul.cfg", path), "a = 1;\0b", 8, &err));
    int rc = bk_value_read(path, &v, &err);
    expect(rc, &err, "'@nul.cfg' holds a NUL byte, it is no text file");
}

static void test_directory(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    int rc = bk_value_read(dir, &v, &err);
    CU_ASSERT_EQUAL(rc, BK_ECONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, dir));
}

/* ---- includes ------------------------------------------------------------------------------------- */

static void refuse_include(const char *name, const char *wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    int rc = bk_value_read(path_of(name, path), &v, &err);
    bk_value_free(v);
    expect(rc, &err, wanted);
}

static void test_missing_include(void)
{
    put("inc.cfg", "a = 1;\n@include \"gone.cfg\"\n");
    refuse_include("inc.cfg", "@inc.cfg:2: cannot read '@gone.cfg': No such file or directory");
}

static void test_include_cycle(void)
{
    put("c1.cfg", "@include \"c2.cfg\"\n");
    put("c2.cfg", "\n\n@include \"c1.cfg\"\n");
    refuse_include("c1.cfg", "@c2.cfg:3: include cycle: '@c2.cfg' includes '@c1.cfg', which is being read already");
}

static void test_include_itself(void)
{
    put("self.cfg", "@include \"self.cfg\"\n");
    refuse_include("self.cfg",
                   "@self.cfg:1: include cycle: '@self.cfg' includes '@self.cfg', which is being read already");
}

static void test_include_in_list(void)
{
    put("g.cfg", "g = (\n@include \"c2.cfg\"\n);\n");
    refuse_include("g.cfg", "@g.cfg:2: ~include inside a list, legal: at the top level of a file or in a group");
    put("g2.cfg", "g = {\n\n@include \"gone.cfg\"\n};\n");
    refuse_include("g2.cfg", "@g2.cfg:3: cannot read '@gone.cfg': No such file or directory");
    put("g3.cfg", "*include*1 = \"gone.cfg\";\n");
    refuse_include("g3.cfg", "@g3.cfg:1: a name cannot start with '*include*'");
}

static void test_include_unquoted(void)
{
    put("u.cfg", "@include c2.cfg\n");
    refuse_include("u.cfg", "@u.cfg:1: ~include needs a file name in double quotes");
}

static void test_error_inside_include(void)
{
    put("outer.cfg", "a = 1;\n@include \"inner.cfg\"\n");
    put("inner.cfg", "x = 1;\ny = 0x1;\n");
    refuse_include("outer.cfg", "@inner.cfg:2: hexadecimal '0x1' is not accepted, write it in decimal");
}

/* ---- overrides -------------------------------------------------------------------------------------- */

static void refuse_override(const char *assignment, const char *wanted)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_value *v = NULL;
    char path[256];
    put("ok.cfg", "seed = 1;\ng = { a = 1; };\n");
    BK_ASSERT_OK(bk_value_read(path_of("ok.cfg", path), &v, &err));
    int rc = bk_value_override(v, assignment, &err);
    bk_value_free(v);
    expect(rc, &err, wanted);
}

static void test_override_without_value(void)
{
    refuse_override("seed", "override 'seed': legal is key=value with a key such as trainer.epochs");
}

static void test_override_bad_key(void)
{
    refuse_override("g..a=1", "override 'g..a=1': legal is key=value with a key such as trainer.epochs");
    refuse_override("=1", "override '=1': legal is key=value with a key such as trainer.epochs");
    refuse_override("g.=1", "override 'g.=1': legal is key=value with a key such as trainer.epochs");
}

static void test_override_through_scalar(void)
{
    refuse_override("seed.x=1", "override 'seed.x=1': 'seed' is not a group (@ok.cfg:1)");
}

static void test_override_overflow(void)
{
    refuse_override("seed=99999999999999999999",
                    "override 'seed=99999999999999999999': integer '99999999999999999999' does not fit into "
                    "64 bits, legal: -9223372036854775808..9223372036854775807");
}

static void test_override_hexadecimal(void)
{
    refuse_override("seed=0x10",
                    "override 'seed=0x10': hexadecimal '0x10' is not accepted, write it in decimal");
}

static void test_override_bad_list(void)
{
    refuse_override("g.a=[1,", "override 'g.a=[1,': command line:1: syntax error in or before '[1,'");
}

static void test_override_two_values(void)
{
    refuse_override("g.a=[1]; b=[2]", "override 'g.a=[1]; b=[2]': one value is wanted, '[1]; b=[2]' holds more");
}

/* ---- options ------------------------------------------------------------------------------------------ */

struct state {
    int64_t batch;
    double lr;
    bool on;
    int32_t how;
    const char *name;
    struct bk_ints widths;
};

static const struct bk_choice hows[] = { { "cosine", 1 }, { "step", 2 }, { NULL, 0 } };
static const struct bk_opt options[] = {
    BK_INT("batch", struct state, batch, 64, 1, 65536, "images", "images a step"),
    BK_REAL("lr", struct state, lr, 0.5, 0, 10, "", "rate"),
    BK_BOOL("on", struct state, on, true, "switch"),
    BK_ENUM("how", struct state, how, 2, hows, "schedule"),
    BK_TEXT("name", struct state, name, NULL, "name"),
    BK_INTS("widths", struct state, widths, "8,16", 1, 64, "", "widths"),
    BK_OPT_END,
};

static void refuse_option(const char *text, const char *wanted)
{
    static const char *const also[] = { "plugin", NULL };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_owned *owned = NULL;
    struct bk_value *v = NULL;
    struct state s;
    char file[512], path[256];
    snprintf(file, sizeof file, "trainer = {\n%s\n};\n", text);
    put("o.cfg", file);
    BK_ASSERT_OK(bk_value_read(path_of("o.cfg", path), &v, &err));
    int rc = bk_options_bind(options, &s, bk_value_find(v, "trainer"), "trainer", also, &owned, &err);
    bk_owned_free(owned);
    bk_value_free(v);
    expect(rc, &err, wanted);
}

static void test_unknown_near(void)
{
    refuse_option("bacth = 3;", "@o.cfg:2: trainer.bacth: unknown option (nearest: 'batch'), legal: batch, lr, "
                                "on, how, name, widths, plugin");
}

static void test_unknown_far(void)
{
    refuse_option("momentum = 3;", "@o.cfg:2: trainer.momentum: unknown option, legal: batch, lr, on, how, name, "
                                   "widths, plugin");
}

static void test_text_for_int(void)
{
    refuse_option("batch = \"64\";", "@o.cfg:2: trainer.batch: text \"64\" where an integer is wanted, legal: "
                                     "1..65536 images");
}

static void test_real_for_int(void)
{
    refuse_option("batch = 64.0;", "@o.cfg:2: trainer.batch: real 64.0 where an integer is wanted, legal: "
                                   "1..65536 images");
}

static void test_int_too_small(void)
{
    refuse_option("\nbatch = 0;", "@o.cfg:3: trainer.batch: 0 is out of range, legal: 1..65536 images");
}

static void test_int_that_would_wrap(void)
{
    refuse_option("batch = 4294967297;",
                  "@o.cfg:2: trainer.batch: 4294967297 is out of range, legal: 1..65536 images");
}

static void test_real_too_large(void)
{
    refuse_option("lr = 10.5;", "@o.cfg:2: trainer.lr: 10.5 is out of range, legal: 0..10");
}

static void test_inexact_real(void)
{
    refuse_option("lr = 9007199254740993;",
                  "@o.cfg:2: trainer.lr: integer is not exact as a real, legal: 0..10");
}

static void test_bool_for_real(void)
{
    refuse_option("lr = true;", "@o.cfg:2: trainer.lr: boolean true where a real is wanted, legal: 0..10");
}

static void test_text_for_bool(void)
{
    refuse_option("on = \"true\";",
                  "@o.cfg:2: trainer.on: text \"true\" where true or false is wanted, legal: true | false");
}

static void test_int_for_bool(void)
{
    refuse_option("on = 1;", "@o.cfg:2: trainer.on: integer 1 where true or false is wanted, legal: true | false");
}

static void test_bad_choice(void)
{
    refuse_option("how = \"cosin\";",
                  "@o.cfg:2: trainer.how: 'cosin' is not a choice (nearest: 'cosine'), legal: cosine | step");
}

static void test_int_for_choice(void)
{
    refuse_option("how = 1;", "@o.cfg:2: trainer.how: integer 1 where one choice is wanted, legal: cosine | step");
}

static void test_int_for_text(void)
{
    refuse_option("name = 5;", "@o.cfg:2: trainer.name: integer 5 where text in double quotes is wanted");
}

static void test_scalar_for_list(void)
{
    refuse_option("widths = 8;", "@o.cfg:2: trainer.widths: integer 8 where a list of integers is wanted, legal: 1..64");
}

static void test_bad_element(void)
{
    refuse_option("widths = (8, \"x\");",
                  "@o.cfg:2: trainer.widths: text \"x\" where a list of integers is wanted, legal: 1..64");
    refuse_option("widths = [8, 65];", "@o.cfg:2: trainer.widths: 65 is out of range, legal: 1..64");
}

static void test_group_for_int(void)
{
    refuse_option("batch = { a = 1; };",
                  "@o.cfg:2: trainer.batch: a group where an integer is wanted, legal: 1..65536 images");
}

static void test_scalar_for_group(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_owned *owned = NULL;
    struct bk_value *v = NULL;
    struct state s;
    char path[256];
    put("s.cfg", "trainer = 5;\n");
    BK_ASSERT_OK(bk_value_read(path_of("s.cfg", path), &v, &err));
    int rc = bk_options_bind(options, &s, bk_value_find(v, "trainer"), "trainer", NULL, &owned, &err);
    bk_value_free(v);
    expect(rc, &err, "@s.cfg:1: trainer: a group is wanted, legal: trainer = { ... }");
}

static void test_end(void)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* clang-format off */
BK_SUITE({ "start", test_start },
         { "syntax error", test_syntax }, { "unclosed group", test_unclosed_group },
         { "duplicate key", test_duplicate_key }, { "mixed array", test_mixed_array },
         { "unclosed string", test_unclosed_string }, { "unclosed comment", test_unclosed_comment },
         { "hexadecimal", test_hexadecimal }, { "integer overflow", test_overflow },
         { "infinite real", test_infinite_real }, { "malformed number", test_malformed_number },
         { "binary number", test_binary_number }, { "two points", test_two_points },
         { "stray @", test_stray_at }, { "missing file", test_missing_file },
         { "binary file", test_binary_file }, { "a directory", test_directory },
         { "missing include", test_missing_include }, { "include cycle", test_include_cycle },
         { "include of itself", test_include_itself }, { "include in a list", test_include_in_list },
         { "include without quotes", test_include_unquoted },
         { "error inside an include", test_error_inside_include },
         { "override without value", test_override_without_value },
         { "override with a bad key", test_override_bad_key },
         { "override through a scalar", test_override_through_scalar },
         { "override overflow", test_override_overflow },
         { "override hexadecimal", test_override_hexadecimal },
         { "override with a bad list", test_override_bad_list },
         { "override with two values", test_override_two_values },
         { "unknown option, near", test_unknown_near }, { "unknown option, far", test_unknown_far },
         { "text for an integer", test_text_for_int }, { "real for an integer", test_real_for_int },
         { "integer too small", test_int_too_small }, { "integer that would wrap", test_int_that_would_wrap },
         { "real too large", test_real_too_large }, { "inexact real", test_inexact_real },
         { "boolean for a real", test_bool_for_real }, { "text for a boolean", test_text_for_bool },
         { "integer for a boolean", test_int_for_bool }, { "bad choice", test_bad_choice },
         { "integer for a choice", test_int_for_choice }, { "integer for text", test_int_for_text },
         { "scalar for a list", test_scalar_for_list }, { "bad element of a list", test_bad_element },
         { "group for an integer", test_group_for_int }, { "scalar for a group", test_scalar_for_group },
         { "end", test_end })
/* clang-format on */
