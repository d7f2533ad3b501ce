/*
 * A scatter plot as SVG: truth to the right, rating upwards, one dot an architecture, correlations above. The
 * file is self-contained and the same for the same points. Many points are drawn as a few paths, darker where they are dense.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define W 480.0
#define H 416.0
#define LEFT 70.0
#define RIGHT 15.0
#define TOP 46.0
#define BOTTOM 50.0
#define SQUARE 5.0              /* of the density */
#define N_SQUARES 96            /* W / SQUARE */
#define N_LEVELS 6
#define FEW 500                 /* points drawn one by one */
#define LONG_NAME 52            /* characters that fit in the full size */

void bk__report_escape(struct bk_text *out, const char *s)
{
    for (; s && *s; s++) {
        if (*s == '<')
            bk_text_add(out, "&lt;");
        else if (*s == '>')
            bk_text_add(out, "&gt;");
        else if (*s == '&')
            bk_text_add(out, "&amp;");
        else if (*s == '"')
            bk_text_add(out, "&quot;");
        else
            bk_text_addn(out, s, 1);
    }
}

void bk__svg_open(struct bk_text *out, double w, double h)
{
    bk_text_addf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
                      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
                      "<style>.g{stroke:#ddd;stroke-width:1}</style>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                 w, h, w, h);
}

struct bk__axis bk__axis_make(double low, double high)
{
    struct bk__axis a;
    if (!(high > low)) {
        double half = low != 0 ? fabs(low) * 0.05 : 1;
        low -= half;
        high += half;
    }
    double raw = (high - low) / 5, power = pow(10, floor(log10(raw))), m = raw / power;
    a.step = power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
    double margin = (high - low) * 0.04;
    a.low = low - margin;
    a.high = high + margin;
    return a;
}

void bk__axis_label(const struct bk__axis *a, double v, char buf[32])
{
    int decimals = (int)ceil(-log10(a->step) - 1e-9);
    if (decimals > 9 || a->step >= 1e6)
        snprintf(buf, 32, "%.6g", v);
    else
        snprintf(buf, 32, "%.*f", decimals > 0 ? decimals : 0, fabs(v) < a->step / 1e6 ? 0 : v);
}

static bool drawn(const struct bk_report_point *p)
{
    return isfinite(p->rating) && isfinite(p->truth);
}

static double px(const struct bk__axis *a, double v)
{
    return LEFT + (v - a->low) / (a->high - a->low) * (W - LEFT - RIGHT);
}

static double py(const struct bk__axis *a, double v)
{
    return H - BOTTOM - (v - a->low) / (a->high - a->low) * (H - TOP - BOTTOM);
}

static void add_ticks(struct bk_text *out, const struct bk__axis *x, const struct bk__axis *y)
{
    char label[32];
    for (double v = ceil(x->low / x->step) * x->step; v <= x->high; v += x->step) {
        bk__axis_label(x, v, label);
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"middle\">%s</text>\n",
                     px(x, v), TOP, px(x, v), H - BOTTOM, px(x, v), H - BOTTOM + 16, label);
    }
    for (double v = ceil(y->low / y->step) * y->step; v <= y->high; v += y->step) {
        bk__axis_label(y, v, label);
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"end\">%s</text>\n",
                     LEFT, py(y, v), W - RIGHT, py(y, v), LEFT - 6, py(y, v) + 4, label);
    }
}

/* ---- points ------------------------------------------------------------------------------------------------- */

/** How many points lie in each small square: what many points on top of each other would otherwise hide. */
struct density {
    uint32_t count[N_SQUARES * N_SQUARES];
    uint32_t most;
};

static uint32_t *square_of(struct density *d, double at_x, double at_y)
{
    int i = (int)(at_x / SQUARE), j = (int)(at_y / SQUARE);
    return &d->count[(j < 0 ? 0 : j >= N_SQUARES ? N_SQUARES - 1 : j) * N_SQUARES +
                     (i < 0 ? 0 : i >= N_SQUARES ? N_SQUARES - 1 : i)];
}

static void measure(struct density *d, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y)
{
    memset(d, 0, sizeof *d);
    for (size_t i = 0; i < e->n_points; i++) {
        if (!drawn(&e->point[i]))
            continue;
        uint32_t *n = square_of(d, px(x, e->point[i].truth), py(y, e->point[i].rating));
        d->most = ++*n > d->most ? *n : d->most;
    }
}

/** 0 for lonely points, N_LEVELS - 1 for the fullest square; equal ratios of density are equal steps. */
static int level_of(const struct density *d, uint32_t n)
{
    int level = (int)(N_LEVELS * log((double)n) / (log((double)d->most) + 1e-9));
    return level < N_LEVELS ? level : N_LEVELS - 1;
}

/** Dense places last and darker, one path a level. */
static void add_many(struct bk_text *out, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y,
                     double size)
{
    static const char *const colour[N_LEVELS] = { "#93b7e0", "#6b9bd1", "#4a7fbd", "#2f63a3", "#1a4785", "#0a2c63" };
    struct density d;
    measure(&d, e, x, y);
    for (int level = 0; level < N_LEVELS; level++) {
        bool any = false;
        for (size_t i = 0; i < e->n_points; i++) {
            const struct bk_report_point *p = &e->point[i];
            if (!drawn(p) || level_of(&d, *square_of(&d, px(x, p->truth), py(y, p->rating))) != level)
                continue;
            bk_text_addf(out, "%sM%.1f %.1fh0", any ? "" : "<path d=\"", px(x, p->truth), py(y, p->rating));
            any = true;
        }
        if (any)
            bk_text_addf(out, "\" stroke=\"%s\" stroke-width=\"%.1f\" stroke-linecap=\"round\" fill=\"none\"/>\n",
                         colour[level], size);
    }
}

static void add_few(struct bk_text *out, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y)
{
    for (size_t i = 0; i < e->n_points; i++) {
        const struct bk_report_point *p = &e->point[i];
        if (!drawn(p))
            continue;
        bk_text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"#2b6cb0\" fill-opacity=\"0.75\"><title>",
                     px(x, p->truth), py(y, p->rating));
        bk__report_escape(out, p->arch);
        bk_text_add(out, "</title></circle>\n");
    }
}

/** A ring around what the search found, if it is among the points. */
static void add_found(struct bk_text *out, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y)
{
    for (size_t i = 0; e->found_arch && i < e->n_points; i++) {
        const struct bk_report_point *p = &e->point[i];
        if (drawn(p) && strcmp(p->arch, e->found_arch) == 0)
            bk_text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"6\" fill=\"none\" stroke=\"#c05621\" stroke-width=\"2\">"
                              "<title>found</title></circle>\n",
                         px(x, p->truth), py(y, p->rating));
    }
}

static void add_points(struct bk_text *out, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y)
{
    if (e->n_points > FEW)
        add_many(out, e, x, y, e->n_points > 5000 ? 1.6 : 3);
    else
        add_few(out, e, x, y);
    add_found(out, e, x, y);
}

static void add_caption(struct bk_text *out, const struct bk_report_entry *e)
{
    char tau[32], rho[32], r[32];
    bk__report_number(e->corr.kendall_tau, 3, tau);
    bk__report_number(e->corr.spearman_rho, 3, rho);
    bk__report_number(e->corr.pearson_r, 3, r);
    size_t length = strlen(e->name);
    bk_text_addf(out, "<text x=\"%.1f\" y=\"18\" font-weight=\"bold\" font-size=\"%.1f\">", LEFT,
                 length > LONG_NAME ? 12. * LONG_NAME / (double)length : 12.);
    bk__report_escape(out, e->name);
    bk_text_addf(out, "</text>\n<text x=\"%.1f\" y=\"36\">tau %s, rho %s, R %s, N %zu</text>\n", LEFT, tau, rho, r, e->n);
    bk_text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">truth</text>\n", (LEFT + W - RIGHT) / 2, H - 12);
    bk_text_addf(out, "<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">rating%s</text>\n",
                 (TOP + H - BOTTOM) / 2, e->better && strcmp(e->better, "lower") == 0 ? " (sign turned)" : "");
}

void bk__report_scatter(const struct bk_report_entry *e, struct bk_text *out)
{
    double tl = INFINITY, th = -INFINITY, rl = INFINITY, rh = -INFINITY;
    for (size_t i = 0; i < e->n_points; i++) {
        const struct bk_report_point *p = &e->point[i];
        if (!drawn(p))
            continue;
        tl = fmin(tl, p->truth);
        th = fmax(th, p->truth);
        rl = fmin(rl, p->rating);
        rh = fmax(rh, p->rating);
    }
    if (!isfinite(tl))
        tl = rl = 0, th = rh = 1;
    struct bk__axis x = bk__axis_make(tl, th), y = bk__axis_make(rl, rh);
    bk__svg_open(out, W, H);
    add_ticks(out, &x, &y);
    bk_text_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#888\"/>\n", LEFT,
                 TOP, W - LEFT - RIGHT, H - TOP - BOTTOM);
    add_points(out, e, &x, &y);
    add_caption(out, e);
    bk_text_add(out, "</svg>\n");
}
