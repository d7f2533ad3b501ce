/*
 * Convergence: correlation of summed block ratings with the truth against the epochs that every block had been trained
 * for (Figures 7 and 9 of BossNAS), as a line plot a row and as one CSV for all rows.
 */
#include "report/report.h"

#include <math.h>
#include <stdio.h>

#define W 480.0
#define H 320.0
#define LEFT 56.0
#define RIGHT 60.0
#define TOP 30.0
#define BOTTOM 46.0

static double value(const struct bk_report_epoch *e, int i)
{
    const double v[3] = { e->corr.kendall_tau, e->corr.spearman_rho, e->corr.pearson_r };
    return v[i];
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
    double step = x->step < 1 ? 1 : x->step;    /* epochs are whole */
    char label[32];
    for (double v = 0; v <= x->high; v += step)
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"middle\">%.0f</text>\n",
                     px(x, v), TOP, px(x, v), H - BOTTOM, px(x, v), H - BOTTOM + 16, v);
    for (double v = ceil(y->low / y->step) * y->step; v <= y->high; v += y->step) {
        bk__axis_label(y, v, label);
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"end\">%s</text>\n",
                     LEFT, py(y, v), W - RIGHT, py(y, v), LEFT - 6, py(y, v) + 4, label);
    }
}

static void add_line(struct bk_text *out, const struct bk_report_entry *e, int which, const struct bk__axis *x,
                     const struct bk__axis *y)
{
    static const char *const colour[3] = { "#2b6cb0", "#c05621", "#2f855a" };
    bk_text_addf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour[which]);
    for (size_t i = 0; i < e->n_epochs; i++)
        if (isfinite(value(&e->epoch[i], which)))
            bk_text_addf(out, "%.1f,%.1f ", px(x, (double)e->epoch[i].epoch), py(y, value(&e->epoch[i], which)));
    bk_text_add(out, "\"/>\n");
    for (size_t i = 0; i < e->n_epochs; i++)
        if (isfinite(value(&e->epoch[i], which)))
            bk_text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"%s\"/>", px(x, (double)e->epoch[i].epoch),
                         py(y, value(&e->epoch[i], which)), colour[which]);
    bk_text_add(out, "\n");
}

/** Names and last values in the corner. */
static void add_key(struct bk_text *out, const struct bk_report_entry *e)
{
    static const char *const name[3] = { "tau", "rho", "R" }, *const colour[3] = { "#2b6cb0", "#c05621", "#2f855a" };
    const struct bk_report_epoch *last = &e->epoch[e->n_epochs - 1];
    for (int k = 0; k < 3; k++) {
        char number[32];
        bk__report_number(value(last, k), 2, number);
        bk_text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"%s\">%s %s</text>\n", W - RIGHT + 6, TOP + 12 + 16.0 * k, colour[k],
                     name[k], number);
    }
}

void bk__report_curve(const struct bk_report_entry *e, struct bk_text *out)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < e->n_epochs; i++) {
        for (int k = 0; k < 3; k++) {
            low = fmin(low, value(&e->epoch[i], k));
            high = fmax(high, value(&e->epoch[i], k));
        }
    }
    struct bk__axis x = bk__axis_make(0, (double)e->epoch[e->n_epochs - 1].epoch), y = bk__axis_make(low, high);
    bk__svg_open(out, W, H);
    add_ticks(out, &x, &y);
    bk_text_addf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"none\" stroke=\"#888\"/>\n", LEFT, TOP,
                 W - LEFT - RIGHT, H - TOP - BOTTOM);
    for (int k = 0; k < 3; k++)
        add_line(out, e, k, &x, &y);
    add_key(out, e);
    bk_text_addf(out, "<text x=\"%.1f\" y=\"18\" font-weight=\"bold\">", LEFT);
    bk__report_escape(out, e->name);
    bk_text_addf(out, "</text>\n<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">epochs of every block</text>\n",
                 (LEFT + W - RIGHT) / 2, H - 10);
    bk_text_addf(out, "<text transform=\"translate(14 %.1f) rotate(-90)\" text-anchor=\"middle\">correlation with truth</text>\n"
                      "</svg>\n",
                 (TOP + H - BOTTOM) / 2);
}

void bk__curves_csv(const struct bk_report *r, struct bk_text *out)
{
    for (size_t i = 0; i < r->n; i++) {
        const struct bk_report_entry *e = &r->entry[i];
        for (size_t j = 0; j < e->n_epochs; j++) {
            if (!out->len)
                bk_text_add(out, "row,epoch,n,kendall_tau,spearman_rho,pearson_r\n");
            bk__csv_field(out, e->name);
            bk_text_addf(out, ",%lld,%zu", (long long)e->epoch[j].epoch, e->epoch[j].corr.n);
            for (int k = 0; k < 3; k++)
                bk__csv_number(out, value(&e->epoch[j], k));
            bk_text_add(out, "\n");
        }
    }
}
