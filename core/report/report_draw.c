/*
 * An architecture as a trace through scales, as Figures 5 and 10 of BossNAS draw it: layers from left to right, finer
 * scales above coarser ones, a disc a layer, coloured by op and with its width below. What the layers are is said by the
 * space; spaces without draw() have no drawings.
 */
#include "report/report.h"

#include <stdio.h>
#include <string.h>

#define LEFT 62.0
#define TOP 40.0
#define STEP_X 40.0
#define STEP_Y 58.0
#define DISC 12.0
#define MAX_KINDS 64

static const char *const palette[] = { "#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756",
                                       "#72b7b2", "#eeca3b", "#9d755d", "#ff9da6", "#5f6b7a" };

/** Distinct labels of all drawings in alphabetical order, so that colours agree, and scales of this one. */
struct kinds {
    const char *label[MAX_KINDS];
    bool is_used[MAX_KINDS];    /* in this drawing */
    int n_labels;
    int32_t scale[MAX_KINDS];   /* ascending */
    int n_scales;
};

static int label_of(const struct kinds *k, const char *label)
{
    for (int i = 0; i < k->n_labels; i++)
        if (strcmp(k->label[i], label) == 0)
            return i;
    return -1;
}

static int scale_of(const struct kinds *k, int32_t scale)
{
    for (int i = 0; i < k->n_scales; i++)
        if (k->scale[i] == scale)
            return i;
    return -1;
}

static void add_label(struct kinds *k, const char *label)
{
    if (label_of(k, label) >= 0 || k->n_labels == MAX_KINDS)
        return;
    int at = k->n_labels++;
    for (; at > 0 && strcmp(k->label[at - 1], label) > 0; at--)
        k->label[at] = k->label[at - 1];
    k->label[at] = label;
}

static void add_scale(struct kinds *k, int32_t scale)
{
    if (scale_of(k, scale) >= 0 || k->n_scales == MAX_KINDS)
        return;
    int at = k->n_scales++;
    for (; at > 0 && k->scale[at - 1] > scale; at--)
        k->scale[at] = k->scale[at - 1];
    k->scale[at] = scale;
}

static void collect(const struct bk_report *r, const struct bk_report_arch *a, struct kinds *k)
{
    memset(k, 0, sizeof *k);
    for (size_t j = 0; j < r->n_archs; j++)
        for (int32_t i = 0; i < r->arch[j].n_layers; i++)
            add_label(k, r->arch[j].layer[i].label);
    for (int32_t i = 0; i < a->n_layers; i++) {
        int kind = label_of(k, a->layer[i].label);
        add_scale(k, a->layer[i].scale);
        if (kind >= 0)
            k->is_used[kind] = true;
    }
}

/** Labels beyond MAX_KINDS share a colour. */
static const char *colour_of(int kind)
{
    return palette[(size_t)(kind < 0 ? MAX_KINDS : kind) % BK_ARRAY_LEN(palette)];
}

static double px(int32_t layer)
{
    return LEFT + STEP_X * (layer + 0.5);
}

static double py(const struct kinds *k, int32_t scale)
{
    return TOP + STEP_Y * (scale_of(k, scale) + 0.5);
}

static void add_grid(const struct bk_report_arch *a, const struct kinds *k, struct bk_text *out)
{
    double right = LEFT + STEP_X * a->n_layers, bottom = TOP + STEP_Y * k->n_scales;
    for (int i = 0; i < k->n_scales; i++)
        bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"g\"/><text x=\"%.1f\" y=\"%.1f\" "
                          "text-anchor=\"end\">1/%d</text>\n",
                     LEFT, py(k, k->scale[i]), right, py(k, k->scale[i]), LEFT - 8, py(k, k->scale[i]) + 4, (int)k->scale[i]);
    for (int32_t i = 0; i < a->n_layers; i++) {
        bk_text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" fill=\"#777\">%d</text>\n", px(i), bottom + 16,
                     (int)i + 1);
        if (i > 0 && a->layer[i].block != a->layer[i - 1].block)
            bk_text_addf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#aaa\" "
                              "stroke-dasharray=\"3 4\"/>\n",
                         px(i) - STEP_X / 2, TOP, px(i) - STEP_X / 2, bottom);
    }
    bk_text_addf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">layer</text>\n<text transform=\"translate(16 %.1f) "
                      "rotate(-90)\" text-anchor=\"middle\">scale</text>\n",
                 (LEFT + right) / 2, bottom + 33, (TOP + bottom) / 2);
}

static void add_trace(const struct bk_report_arch *a, const struct kinds *k, struct bk_text *out)
{
    bk_text_add(out, "<polyline fill=\"none\" stroke=\"#555\" stroke-width=\"1.5\" points=\"");
    for (int32_t i = 0; i < a->n_layers; i++)
        bk_text_addf(out, "%s%.1f,%.1f", i ? " " : "", px(i), py(k, a->layer[i].scale));
    bk_text_add(out, "\"/>\n");
    for (int32_t i = 0; i < a->n_layers; i++) {
        const struct bk_drawn_layer *l = &a->layer[i];
        bk_text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" stroke=\"#333\"><title>", px(i),
                     py(k, l->scale), DISC, colour_of(label_of(k, l->label)));
        bk__report_escape(out, l->label);
        bk_text_addf(out, ", %d channels</title></circle>\n<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\" font-size=\"9\" "
                          "fill=\"#555\">%d</text>\n",
                     (int)l->width, px(i), py(k, l->scale) + DISC + 10, (int)l->width);
    }
}

/** Colours in columns below the trace. */
static double add_legend(const struct kinds *k, double width, double y, struct bk_text *out)
{
    double x = LEFT;
    for (int i = 0; i < k->n_labels; i++) {
        double need = 30 + 7.0 * (double)strlen(k->label[i]);
        if (!k->is_used[i])
            continue;
        if (x + need > width && x > LEFT) {
            x = LEFT;
            y += 20;
        }
        if (out) {
            bk_text_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"6\" fill=\"%s\" stroke=\"#333\"/><text x=\"%.1f\" y=\"%.1f\">",
                         x + 6, y, colour_of(i), x + 17, y + 4);
            bk__report_escape(out, k->label[i]);
            bk_text_add(out, "</text>\n");
        }
        x += need;
    }
    return y;
}

void bk__report_drawing(const struct bk_report *r, const struct bk_report_arch *a, struct bk_text *out)
{
    struct kinds k;
    collect(r, a, &k);
    double width = LEFT + STEP_X * a->n_layers + 20, legend = TOP + STEP_Y * k.n_scales + 55;
    if (width < 360)
        width = 360;
    bk__svg_open(out, width, add_legend(&k, width, legend, NULL) + 20);
    bk_text_addf(out, "<text x=\"%.1f\" y=\"20\" font-weight=\"bold\">", LEFT);
    bk__report_escape(out, a->name);
    bk_text_add(out, "</text>\n");
    add_grid(a, &k, out);
    add_trace(a, &k, out);
    add_legend(&k, width, legend, out);
    bk_text_add(out, "</svg>\n");
}
