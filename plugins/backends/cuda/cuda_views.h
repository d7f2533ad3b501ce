/*
 * cuda_views.h: how a batch of views lies in memory, and index arithmetic that the host and the kernel share.
 *
 * An upload is n jobs, then plans (steps that are not set left out), then the pixels of every view's window, line after line
 * without gaps. Scratch of a view is two images of its size and, where it is resized, the weights of both axes and the
 * window after the horizontal pass.
 */
#ifndef CUDA_VIEWS_H
#define CUDA_VIEWS_H

#include "cuda_shared.h"
#include <bosskit/pixel.h>
#include <bosskit/view.h>

/* Offsets in bytes: of the plan and the pixels in the upload, of the scratch. */
struct cuda_view_job {
    uint64_t plan, pixels, scratch;
};

#define CUDA_VIEW_ALIGN 16

CUDA_HD uint64_t cuda_view_align(uint64_t nbytes)
{
    return (nbytes + CUDA_VIEW_ALIGN - 1) / CUDA_VIEW_ALIGN * CUDA_VIEW_ALIGN;
}

CUDA_HD bool cuda_view_is_resized(const struct bk_view_plan *p)
{
    return p->resized_width != p->width || p->resized_height != p->height;
}

/* Scratch: the view at 0. A row of weights is first, count and `taps` weights of one column (or line) of the view. */
struct cuda_view_layout {
    struct bk_filter across, down;
    int32_t line0, n_lines;     /* of the window, that the view needs */
    uint64_t spare;             /* a second view */
    uint64_t across_at, down_at, pass_at;
    uint64_t nbytes;
};

CUDA_HD struct cuda_view_layout cuda_view_layout_make(const struct bk_view_plan *p)
{
    struct cuda_view_layout l;
    const uint64_t size = (uint64_t)p->size;
    l.across = bk_filter_make(p->width, p->resized_width, p->linear != 0);
    l.down = bk_filter_make(p->height, p->resized_height, p->linear != 0);
    l.line0 = l.n_lines = 0;
    l.spare = cuda_view_align(size * size * 3);
    l.across_at = 2 * l.spare;
    l.down_at = l.pass_at = l.nbytes = l.across_at;
    if (!cuda_view_is_resized(p))
        return l;
    int32_t begin = p->top > 0 ? p->top : 0, end = p->top + p->size, first, count;
    end = end < p->resized_height ? end : p->resized_height;
    if (begin < end) {
        bk_filter_range(&l.down, begin, &l.line0, &count);
        bk_filter_range(&l.down, end - 1, &first, &count);
        l.n_lines = first + count - l.line0;
    }
    l.down_at = l.across_at + cuda_view_align(size * (uint64_t)(2 + l.across.taps) * 4);
    l.pass_at = l.down_at + cuda_view_align(size * (uint64_t)(2 + l.down.taps) * 4);
    l.nbytes = l.pass_at + cuda_view_align((uint64_t)l.n_lines * size * 3);
    return l;
}

/* ---- noise of an erased box --------------------------------------------------------------------------- */

/* Word i of the sequence that r is a cursor in, counted from the cursor. */
CUDA_HD uint32_t cuda_random_word(const struct bk_random *r, uint64_t i)
{
    uint32_t word[4];
    i += (uint64_t)r->counter[0] * 4 + r->used - 4;
    cuda_philox((uint32_t)(i >> 2), r->counter[1], r->counter[2], r->counter[3], r->key[0], r->key[1], word);
    return i & 2 ? (i & 1 ? word[3] : word[2]) : i & 1 ? word[1] : word[0];
}

/* As bk_random_f64(), the i-th from the cursor. */
CUDA_HD double cuda_random_f64(const struct bk_random *r, uint64_t i)
{
    uint64_t high = cuda_random_word(r, 2 * i) >> 5, low = cuda_random_word(r, 2 * i + 1) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

/* Value k of line y of the box. */
CUDA_HD float cuda_view_noise(const struct bk_view_plan *p, int y, int k)
{
    float a, b;
    const uint64_t pair = (uint64_t)y * (uint64_t)((3 * p->erase_width + 1) / 2) + (uint64_t)(k / 2);
    bk_pixel_noise(cuda_random_f64(&p->noise, 2 * pair), cuda_random_f64(&p->noise, 2 * pair + 1), &a, &b);
    return k & 1 ? b : a;
}

#endif
