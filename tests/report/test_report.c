/*
 * Reports as files: what is saved is read back to the same bytes, and every form of the tables carries every value,
 * published ones beside measured ones. The numbers are written here by hand.
 */
#include "report/report.h"
#include "unit.h"

#include <bosskit/file.h>
#include <unistd.h>

static char dir[200];

static char *dup_text(const char *s)
{
    char *copy = bk_strdup(s);
    CU_ASSERT_PTR_NOT_NULL_FATAL(copy);
    return copy;
}

static struct bk_correlation corr(double tau, double rho, double r, size_t n)
{
    return (struct bk_correlation){ .n = n, .kendall_tau = tau, .spearman_rho = rho, .pearson_r = r };
}

static void fill_row(struct bk_report_entry *e, const char *name)
{
    static const char *const arch[4] = { "8:8", "8:16", "16:8", "16:16" };
    static const double rating[4] = { -3.25, -3.5, NAN, -3 }, truth[4] = { 91.5, 90.25, 92, 93.29 };
    *e = (struct bk_report_entry){ .name = dup_text(name), .rater = dup_text("population_center"),
                                   .better = dup_text("lower"), .settings = dup_text("seed 0"), .has_ci = true, .n = 3,
                                   .n_excluded = 1, .corr = corr(0.534, 0.734, 0.718, 3),
                                   .ci = { { 0.51, 0.56 }, { 0.7, 0.76 }, { 0.69, 0.74 } },
                                   .top = { 0.5, 0.25, 0.125, 92.5 }, .top_k = 2, .found_arch = dup_text("16:16"),
                                   .found_score = -9.5, .found_params = 5e5, .found_macs = 2.4e8, .found_truth = 93.31,
                                   .found_published = NAN };
    e->point = bk_zalloc(4 * sizeof *e->point);
    for (; e->n_points < 4; e->n_points++)
        e->point[e->n_points] = (struct bk_report_point){ dup_text(arch[e->n_points]), rating[e->n_points], truth[e->n_points] };
}

static void fill_archs(struct bk_report *r)
{
    static const struct { const char *label; int block, scale, width; } layer[3] = {
        { "ResConv", 0, 4, 256 }, { "ResAtt", 0, 16, 1024 }, { "ResConv", 1, 32, 2048 } };
    r->arch = bk_zalloc(2 * sizeof *r->arch);
    r->n_archs = 2;
    r->arch[0] = (struct bk_report_arch){ .row = dup_text("a & b"), .name = dup_text("T0"), .arch = dup_text("530"),
                                          .counter_name = dup_text("HyTra"), .source = dup_text("Table 1"),
                                          .params = 38415936, .macs = 3442978304., .counter = 3447304192., .top1 = 80.8,
                                          .top5 = 95.2, .published_params = NAN, .published_madds = 3.4e9 };
    r->arch[0].layer = bk_zalloc(3 * sizeof *r->arch[0].layer);
    for (; r->arch[0].n_layers < 3; r->arch[0].n_layers++) {
        struct bk_drawn_layer *l = &r->arch[0].layer[r->arch[0].n_layers];
        *l = (struct bk_drawn_layer){ .block = layer[r->arch[0].n_layers].block, .scale = layer[r->arch[0].n_layers].scale,
                                      .width = layer[r->arch[0].n_layers].width };
        snprintf(l->label, sizeof l->label, "%s", layer[r->arch[0].n_layers].label);
    }
    r->arch[1] = (struct bk_report_arch){ .row = dup_text("a & b"), .name = dup_text("DeiT_S"), .source = dup_text(""),
                                          .params = NAN, .macs = NAN, .counter = NAN, .top1 = 79.75, .top5 = NAN,
                                          .published_params = NAN, .published_madds = 10.1e9 };
}

/* A row with everything, a quoted one, a failed one and a baseline. */
static void fill(struct bk_report *r)
{
    *r = (struct bk_report){ .name = dup_text("t"), .title = dup_text("Title <1>"), .version = dup_text("0"),
                             .device = dup_text("cpu"), .entry = bk_zalloc(4 * sizeof *r->entry), .n = 4 };
    fill_row(&r->entry[0], "a & b");
    struct bk_report_entry *e = &r->entry[0];
    for (int i = 0; i < 3; i++)
        e->has_published[i] = true;
    e->published[0] = 0.51, e->published[1] = 0.77, e->published[2] = 0.79;
    e->found_published = 93.27;
    e->published_source = dup_text("Table 6");
    e->n_blocks = 2;
    e->block[0] = (struct bk_report_block){ .n_paths = 64, .best = "74", .best_rating = -3.25, .worst_rating = -3.125, .reliability = 0.3125 };
    e->block[1] = (struct bk_report_block){ .n_paths = 8, .best = "6", .best_rating = -2.5, .worst_rating = -2.25, .reliability = NAN };
    e->epoch = bk_zalloc(2 * sizeof *e->epoch);
    e->n_epochs = 2;
    e->epoch[0] = (struct bk_report_epoch){ 5, corr(0.25, 0.375, 0.4375, 3) };
    e->epoch[1] = (struct bk_report_epoch){ 10, e->corr };
    r->entry[1] = (struct bk_report_entry){ .name = dup_text("FBNet_v2"), .rater = dup_text(""), .settings = dup_text(""),
                                            .uncorrelated = true, .found_truth = NAN, .found_published = 93.14,
                                            .has_published = { true }, .published = { 0.42 } };
    r->entry[2] = (struct bk_report_entry){ .name = dup_text("bad"), .rater = dup_text("x"), .settings = dup_text(""),
                                            .failure = dup_text("no luck"), .found_truth = NAN, .found_published = NAN };
    fill_row(&r->entry[3], "params");
    r->entry[3].is_baseline = true;
    r->pair = bk_zalloc(sizeof *r->pair);
    r->n_pairs = 1;
    r->pair[0] = (struct bk_report_pair){ dup_text("a & b"), dup_text("c"), 3,
                                          { corr(-0.125, 0.0625, 0.5, 3), { { -0.2, -0.1 }, { 0, 0.1 }, { 0.4, 0.6 } }, 0.03, 0.4,
                                            0.002 } };
    fill_archs(r);
}

static char *read_at(const char *sub, const char *name)
{
    char path[400], *data = NULL;
    size_t n;
    snprintf(path, sizeof path, "%s/%s/%s", dir, sub, name);
    int rc = bk_file_read(path, 1u << 20, &data, &n, NULL);
    if (rc)
        printf("\n    no '%s'\n", path);
    CU_ASSERT_EQUAL_FATAL(rc, BK_OK);
    return data;
}

static bool has(const char *text, const char *wanted)
{
    bool yes = text && strstr(text, wanted);
    if (!yes)
        printf("\n    wanted '%s' in: %.3000s\n", wanted, text ? text : "(nothing)");
    return yes;
}

static void save_and_render(const struct bk_report *r, const char *sub)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, sub);
    BK_ASSERT_OK(bk_make_dirs(path, &err));
    BK_ASSERT_OK(bk_report_save(r, path, &err));
    BK_ASSERT_OK(bk_report_render(r, path, &err));
}

static bool open_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/bosskit-report-XXXXXX");
    return mkdtemp(dir) != NULL;
}

static void close_dir(void)
{
    struct bk_error err = BK_ERROR_INIT;
    BK_ASSERT_OK(bk_remove_tree(dir, &err));
}

/* The report of fill(), as files below "x". */
static void open_report(struct bk_report *r)
{
    CU_ASSERT_FATAL(open_dir());
    fill(r);
    save_and_render(r, "x");
}

static void test_there_and_back(void)
{
    static const char *const files[] = { "run.json", "MANIFEST.sha256", "report.html", "tables/results.md", "tables/results.csv",
                                         "tables/results.tex", "tables/pairs.csv", "tables/architectures.csv",
                                         "tables/blocks.csv", "tables/convergence.csv", "plots/convergence-a___b.svg", "plots/arch-a___b-T0.svg" };
    struct bk_error err = BK_ERROR_INIT;
    struct bk_report r, again = { 0 };
    struct bk_text a = BK_TEXT_INIT, b = BK_TEXT_INIT;
    char path[300];

    CU_ASSERT_FATAL(open_dir());
    fill(&r);
    save_and_render(&r, "one");
    snprintf(path, sizeof path, "%s/one", dir);
    BK_ASSERT_OK(bk_report_load(path, &again, &err));
    save_and_render(&again, "two");
    for (size_t i = 0; i < BK_ARRAY_LEN(files); i++) {
        char *x = read_at("one", files[i]), *y = read_at("two", files[i]);
        CU_ASSERT_STRING_EQUAL(x, y);
        bk_free(x);
        bk_free(y);
    }
    bk_report_text(&r, &a);
    bk_report_text(&again, &b);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&a), bk_text_get(&b));
    bk_text_release(&a);
    bk_text_release(&b);
    bk_report_release(&r);
    bk_report_release(&again);
    close_dir();
}

/* Every form says what was measured, what was published, what two rows differ by, and what architectures cost. */
static void test_every_form(void)
{
    static const char *const values[] = { "0.534", "0.734", "0.718", "0.51", "0.77", "0.79", "0.42", "93.31", "93.27", "93.14",
                                          "-0.125", "80.8", "95.2", "79.75", "T0" };
    static const char *const forms[] = { "tables/results.md", "tables/results.tex", "report.html", NULL };
    struct bk_report r;
    struct bk_text terminal = BK_TEXT_INIT;
    open_report(&r);
    bk_report_text(&r, &terminal);
    for (int f = 0; f < 4; f++) {
        char *text = forms[f] ? read_at("x", forms[f]) : dup_text(bk_text_get(&terminal));
        for (size_t i = 0; i < BK_ARRAY_LEN(values); i++)
            CU_ASSERT(has(text, values[i]));
        CU_ASSERT(has(text, f == 1 ? "a \\& b" : f == 2 ? "a &amp; b" : "a & b"));
        bk_free(text);
    }
    char *csv = read_at("x", "tables/results.csv"), *pairs = read_at("x", "tables/pairs.csv");
    char *archs = read_at("x", "tables/architectures.csv"), *curve = read_at("x", "tables/convergence.csv");
    CU_ASSERT(has(csv, "a & b,0,population_center,3,1,0.534,0.51,0.56,0.734,0.7,0.76,0.718,0.69,0.74,0.51,0.77,0.79,2,"));
    CU_ASSERT(has(csv, "16:16,-9.5,5e+05,2.4e+08,93.31,93.27,\n") || has(csv, "16:16,-9.5,500000,240000000,93.31,93.27,\n"));
    CU_ASSERT(has(csv, "FBNet_v2,0,,0,0,,,,,,,,,,0.42,,,0,,,,,,,,,,93.14,\n"));
    CU_ASSERT(has(pairs, "a & b,c,3,-0.125,-0.2,-0.1,0.03,0.0625,0,0.1,0.4,0.5,0.4,0.6,0.002\n"));
    CU_ASSERT(has(archs, "a & b,T0,530,38415936,3442978304,3447304192,80.8,95.2,,3400000000\n"));
    CU_ASSERT(has(archs, "a & b,DeiT_S,,,,,79.75,,,10100000000\n"));
    CU_ASSERT(has(curve, "a & b,5,3,0.25,0.375,0.4375\na & b,10,3,0.534,0.734,0.718\n"));
    bk_free(csv);
    bk_free(pairs);
    bk_free(archs);
    bk_free(curve);
    bk_text_release(&terminal);
    bk_report_release(&r);
    close_dir();
}

static size_t count(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

/* Every line of a CSV has the fields of its head; every line of a LaTeX table the columns that were declared. */
static void test_shapes_of_tables(void)
{
    static const char *const csv[] = { "tables/results.csv", "tables/pairs.csv", "tables/architectures.csv",
                                       "tables/blocks.csv", "tables/convergence.csv" };
    struct bk_report r;
    open_report(&r);
    for (size_t i = 0; i < BK_ARRAY_LEN(csv); i++) {
        char *text = read_at("x", csv[i]), *save = NULL, *line = strtok_r(text, "\n", &save);
        size_t wanted = count(line, ",");
        for (; line; line = strtok_r(NULL, "\n", &save))
            CU_ASSERT_EQUAL(count(line, ","), wanted);
        bk_free(text);
    }
    char *tex = read_at("x", "tables/results.tex"), *save = NULL;
    size_t columns = 0, n_rows = 0;
    CU_ASSERT_EQUAL(count(tex, "\\begin{tabular}"), 3);
    for (char *line = strtok_r(tex, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        if (strncmp(line, "\\begin{tabular}{", 16) == 0)
            columns = strlen(line + 16) - 1;
        if (!strstr(line, "\\\\"))
            continue;
        /* \multicolumn{3} stands for two more; "\&" is text */
        CU_ASSERT_EQUAL(count(line, "&") - count(line, "\\&") + 1 + 2 * count(line, "\\multicolumn{3}"), columns);
        n_rows++;
    }
    CU_ASSERT_EQUAL(n_rows, 2 + 4 + 2 + 3);
    bk_free(tex);
    bk_report_release(&r);
    close_dir();
}

/* Ratings of blocks: all in the files, on a terminal those alone that are mostly noise. */
static void test_blocks(void)
{
    struct bk_report r;
    struct bk_text terminal = BK_TEXT_INIT;
    open_report(&r);
    bk_report_text(&r, &terminal);
    char *csv = read_at("x", "tables/blocks.csv"), *html = read_at("x", "report.html"), *md = read_at("x", "tables/results.md");
    CU_ASSERT(has(csv, "a & b,0,64,74,-3.25,-3.125,0.3125\na & b,1,8,6,-2.5,-2.25,\n"));
    CU_ASSERT(has(html, "<td>0</td><td>64</td><td><code>74</code></td><td>-3.25000</td><td>-3.12500</td><td>0.31</td>"));
    CU_ASSERT(has(md, "| a & b | 1 | 8 | 6 | -2.50000 | -2.25000 | - |"));
    CU_ASSERT(has(bk_text_get(&terminal), "a & b: ratings are mostly noise in block 0 (reliability 0.31); more"));
    r.entry[0].block[0].reliability = 0.5;
    bk_text_release(&terminal);
    bk_report_text(&r, &terminal);
    CU_ASSERT_PTR_NULL(strstr(bk_text_get(&terminal), "noise"));
    bk_free(csv);
    bk_free(html);
    bk_free(md);
    bk_text_release(&terminal);
    bk_report_release(&r);
    close_dir();
}

/* Drawings: a disc a layer and one a label of the legend; plots are closed texts. */
static void test_pictures(void)
{
    static const char *const plots[] = { "plots/a___b.svg", "plots/convergence-a___b.svg", "plots/arch-a___b-T0.svg" };
    struct bk_report r;
    open_report(&r);
    for (size_t i = 0; i < BK_ARRAY_LEN(plots); i++) {
        char *svg = read_at("x", plots[i]);
        CU_ASSERT_EQUAL(count(svg, "<text"), count(svg, "</text>"));
        CU_ASSERT_EQUAL(count(svg, "<title>"), count(svg, "</title>"));
        CU_ASSERT_EQUAL(count(svg, "<svg"), 1);
        CU_ASSERT(has(svg, "</svg>\n"));
        CU_ASSERT(!strstr(svg, "nan") && !strstr(svg, "inf"));
        if (i == 0) {
            CU_ASSERT_EQUAL(count(svg, "<circle"), 3 + 1);      /* three points, a ring around the found one */
            CU_ASSERT(has(svg, "y=\"36\">tau "));               /* below the name, however long it is */
        }
        if (i == 1)
            CU_ASSERT_EQUAL(count(svg, "<circle"), 3 * 2);
        if (i == 2) {
            CU_ASSERT_EQUAL(count(svg, "<circle"), 3 + 2);
            CU_ASSERT(has(svg, "1/16") && has(svg, ">1024<"));
        }
        bk_free(svg);
    }
    bk_report_release(&r);
    close_dir();
}

/* Many points: all of them are drawn, in a few paths. */
static void test_many_points(void)
{
    struct bk_report r = { .name = dup_text("t"), .title = dup_text(""), .version = dup_text("0"), .device = dup_text("cpu"),
                           .entry = bk_zalloc(sizeof *r.entry), .n = 1 };
    enum { N = 4000 };
    CU_ASSERT_FATAL(open_dir());
    fill_row(&r.entry[0], "big");
    for (size_t i = 0; i < r.entry[0].n_points; i++)
        bk_free(r.entry[0].point[i].arch);
    bk_free(r.entry[0].point);
    r.entry[0].point = bk_zalloc(N * sizeof *r.entry[0].point);
    r.entry[0].n_points = N;
    for (int i = 0; i < N; i++)
        r.entry[0].point[i] = (struct bk_report_point){ dup_text("x"), i < N / 2 ? 0.5 : i / (double)N, i < N / 2 ? 1 : (i * 7) % 97 };
    save_and_render(&r, "x");
    char *svg = read_at("x", "plots/big.svg");
    CU_ASSERT_EQUAL(count(svg, "h0"), N);
    CU_ASSERT(count(svg, "<path") >= 2 && count(svg, "<path") <= 6);
    bk_free(svg);
    bk_report_release(&r);
    close_dir();
}

BK_SUITE({ "there and back", test_there_and_back }, { "every form", test_every_form },
         { "shapes of tables", test_shapes_of_tables }, { "blocks", test_blocks }, { "pictures", test_pictures }, { "many points", test_many_points })
