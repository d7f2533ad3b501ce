/*
 * A scatter plot as SVG: truth to the right, rating upwards, one dot an architecture, correlations in the corner. The
 * file is self-contained and the same for the same points. Many points are drawn as one path to keep files small.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define W 480.0
#define H 400.0
#define LEFT 70.0
#define RIGHT 15.0
#define TOP 30.0
#define BOTTOM 50.0

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
    for (double v = ceil(x->low / x->step) * x->step; v <= x->high; v += x->step)
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"middle\">%.6g</text>\n",
                     px(x, v), TOP, px(x, v), H - BOTTOM, px(x, v), H - BOTTOM + 16, fabs(v) < x->step / 1e6 ? 0 : v);
    for (double v = ceil(y->low / y->step) * y->step; v <= y->high; v += y->step)
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"end\">%.6g</text>\n",
                     LEFT, py(y, v), W - RIGHT, py(y, v), LEFT - 6, py(y, v) + 4, fabs(v) < y->step / 1e6 ? 0 : v);
}

static void add_points(struct bk_text *out, const struct bk_report_entry *e, const struct bk__axis *x, const struct bk__axis *y)
{
    double size = e->n_points > 5000 ? 1.2 : e->n_points > 500 ? 2.5 : 5;
    double opacity = e->n_points > 5000 ? 0.25 : e->n_points > 500 ? 0.5 : 0.8;
    bk_text_addf(out, "<path d=\"");
    for (size_t i = 0; i < e->n_points; i++) {
        if (drawn(&e->point[i]))
            bk_text_addf(out, "M%.1f %.1fh0", px(x, e->point[i].truth), py(y, e->point[i].rating));
    }
    bk_text_addf(out, "\" stroke=\"#2b6cb0\" stroke-width=\"%.1f\" stroke-linecap=\"round\" stroke-opacity=\"%.2f\" "
                      "fill=\"none\"/>\n",
                 size, opacity);
}

static void add_caption(struct bk_text *out, const struct bk_report_entry *e)
{
    char tau[32], rho[32], r[32];
    bk__report_number(e->corr.kendall_tau, 3, tau);
    bk__report_number(e->corr.spearman_rho, 3, rho);
    bk__report_number(e->corr.pearson_r, 3, r);
    bk_text_addf(out, "<text x=\"%.1f\" y=\"18\" font-weight=\"bold\">", LEFT);
    bk__report_escape(out, e->name);
    bk_text_addf(out, "</text>\n<text x=\"%.1f\" y=\"18\" text-anchor=\"end\">tau %s, rho %s, R %s, N %zu</text>\n",
                 W - RIGHT, tau, rho, r, e->n);
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
