/*
 * cuda_augment.cu: pixels of a batch of views from their plans (<bosskit/view.h>): one block a view.
 *
 * A block goes through its plan as the host would: window, resizing, flip, steps in 8 bits, normalising, erasing, with
 * barriers between. Its images are in scratch memory and small enough for the caches, and there are as many blocks as views,
 * so nothing is gained by more blocks a view. Steps whose result depends on a value alone become a table of levels first.
 *
 * The arithmetic is <bosskit/pixel.h>'s. This file is compiled without fused multiply-adds, so that views are the host's to
 * the bit; only noise may differ in the last one. Drawing is the host's, packing and uploading cuda_views.c's.
 */
#include "cuda_device.cuh"
#include "cuda_views.h"

static_assert(CUDA_BLOCK == 256, "a thread is a grey level");

struct view_tables {
    uint32_t count[3][256];
    uint8_t level[3][256];
    bk_hue hue[256];
    float value[3][256];
    bool is_mapped[3];
};

/* The view and the image that the next step may write to. */
struct view_state {
    const bk_view_plan *plan;
    uint8_t *p, *spare;
    int size, n;                /* pixels a line, pixels */
};

/* ---- window to view ---------------------------------------------------------------------------------- */

static __device__ void fill_weights(const bk_filter &axis, int at, int n_resized, int32_t *row)
{
    int32_t first, count;
    double sum = 0;
    row[1] = 0;
    if (at < 0 || at >= n_resized)
        return;
    bk_filter_range(&axis, at, &first, &count);
    for (int i = 0; i < count; i++)
        sum += bk_filter_weight(&axis, at, first + i);
    row[0] = first;
    row[1] = count;
    for (int i = 0; i < count; i++)
        row[2 + i] = bk_filter_fixed(bk_filter_weight(&axis, at, first + i), sum);
}

/* `count` pixels, `step` bytes apart. */
static __device__ __forceinline__ void weigh(const uint8_t *from, size_t step, const int32_t *row, uint8_t *out)
{
    int32_t r = BK_FILTER_HALF, g = r, b = r;
    for (int i = 0; i < row[1]; i++, from += step) {
        r += from[0] * row[2 + i];
        g += from[1] * row[2 + i];
        b += from[2] * row[2 + i];
    }
    out[0] = bk_filter_level(r), out[1] = bk_filter_level(g), out[2] = bk_filter_level(b);
}

/* Where the pixel goes. */
static __device__ __forceinline__ uint8_t *target(const view_state &v, int y, int x)
{
    return v.p + ((size_t)y * v.size + (v.plan->flip ? v.size - 1 - x : x)) * 3;
}

static __device__ __forceinline__ void black(uint8_t *out)
{
    out[0] = out[1] = out[2] = 0;
}

static __device__ void cut(const view_state &v, const uint8_t *window)
{
    const bk_view_plan &p = *v.plan;
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size, sy = y + p.top, sx = x + p.left;
        uint8_t *out = target(v, y, x);
        if (sy < 0 || sy >= p.height || sx < 0 || sx >= p.width) {
            black(out);
            continue;
        }
        const uint8_t *from = window + ((size_t)sy * p.width + sx) * 3;
        out[0] = from[0], out[1] = from[1], out[2] = from[2];
    }
}

static __device__ void resize(const view_state &v, const uint8_t *window, uint8_t *scratch)
{
    const bk_view_plan &p = *v.plan;
    const cuda_view_layout l = cuda_view_layout_make(&p);
    const int ax = 2 + l.across.taps, ay = 2 + l.down.taps, n_pass = l.n_lines * v.size;
    int32_t *across = reinterpret_cast<int32_t *>(scratch + l.across_at);
    int32_t *down = reinterpret_cast<int32_t *>(scratch + l.down_at);
    uint8_t *pass = scratch + l.pass_at;
    for (int o = threadIdx.x; o < v.size; o += CUDA_BLOCK) {
        fill_weights(l.across, p.left + o, p.resized_width, across + (size_t)o * ax);
        fill_weights(l.down, p.top + o, p.resized_height, down + (size_t)o * ay);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n_pass; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size;
        const int32_t *row = across + (size_t)x * ax;
        if (row[1])
            weigh(window + ((size_t)(l.line0 + y) * p.width + row[0]) * 3, 3, row, pass + (size_t)i * 3);
    }
    __syncthreads();
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size;
        const int32_t *row = down + (size_t)y * ay;
        if (row[1] && across[(size_t)x * ax + 1])
            weigh(pass + ((size_t)(row[0] - l.line0) * v.size + x) * 3, (size_t)v.size * 3, row, target(v, y, x));
        else
            black(target(v, y, x));
    }
}

/* ---- steps that look at one value: tables ------------------------------------------------------------ */

static __device__ int mean_luma(const view_state &v)
{
    double sum = 0;             /* of integers below 2^53: exact in any order */
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK)
        sum += bk_pixel_luma(v.p + (size_t)i * 3);
    return bk_pixel_mean(block_sum(sum), (double)v.n);
}

static __device__ void histogram_tables(const view_state &v, bool equalize, view_tables &t)
{
    const int thread = threadIdx.x;
    t.count[0][thread] = t.count[1][thread] = t.count[2][thread] = 0;
    __syncthreads();
    for (int i = thread; i < v.n; i += CUDA_BLOCK)
        for (int c = 0; c < 3; c++)
            atomicAdd(&t.count[c][v.p[(size_t)i * 3 + c]], 1u);
    __syncthreads();
    if (thread < 3)
        t.is_mapped[thread] = equalize ? bk_pixel_equalize(t.count[thread], (uint64_t)v.n, t.level[thread])
                                       : bk_pixel_autocontrast(t.count[thread], t.level[thread]);
    __syncthreads();
    for (int c = 0; c < 3; c++)
        if (!t.is_mapped[c])
            t.level[c][thread] = (uint8_t)thread;
}

/* Is the step one of these? Then its table is filled, and every thread has written its level. */
static __device__ bool fill_levels(const view_state &v, const bk_view_step &step, view_tables &t)
{
    const int grey = threadIdx.x;
    uint8_t level;
    switch (step.op) {
    case BK_VIEW_BRIGHTNESS:
        level = bk_pixel_blend(0, grey, (float)step.amount);
        break;
    case BK_VIEW_CONTRAST:
        level = bk_pixel_blend(mean_luma(v), grey, (float)step.amount);
        break;
    case BK_VIEW_SOLARIZE:
        level = bk_pixel_solarize(grey, step.level);
        break;
    case BK_VIEW_INVERT:
        level = (uint8_t)(255 - grey);
        break;
    case BK_VIEW_POSTERIZE:
        level = (uint8_t)(grey & bk_pixel_posterize_mask(step.level));
        break;
    case BK_VIEW_SOLARIZE_ADD:
        level = bk_pixel_solarize_add(grey, step.level, BK_VIEW_ADD_BELOW);
        break;
    case BK_VIEW_AUTOCONTRAST:
    case BK_VIEW_EQUALIZE:
        histogram_tables(v, step.op == BK_VIEW_EQUALIZE, t);
        return true;
    default:
        return false;
    }
    t.level[0][grey] = t.level[1][grey] = t.level[2][grey] = level;
    return true;
}

static __device__ void map_levels(const view_state &v, const view_tables &t)
{
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        uint8_t *p = v.p + (size_t)i * 3;
        p[0] = t.level[0][p[0]], p[1] = t.level[1][p[1]], p[2] = t.level[2][p[2]];
    }
}

/* ---- steps that look at one pixel -------------------------------------------------------------------- */

static __device__ void saturate(const view_state &v, float factor)
{
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        uint8_t *p = v.p + (size_t)i * 3;
        const int grey = bk_pixel_luma(p);
        for (int c = 0; c < 3; c++)
            p[c] = bk_pixel_blend(grey, p[c], factor);
    }
}

static __device__ void to_grey(const view_state &v)
{
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        uint8_t *p = v.p + (size_t)i * 3;
        p[0] = p[1] = p[2] = bk_pixel_luma(p);
    }
}

static __device__ void shift_hue(const view_state &v, double turns, view_tables &t)
{
    t.hue[threadIdx.x] = bk_hue_make((int)threadIdx.x, bk_hue_addend(turns));
    __syncthreads();
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK)
        bk_pixel_hue(t.hue, v.p + (size_t)i * 3);
}

/* ---- steps that look at neighbours: into the spare image ---------------------------------------------- */

static __device__ void swap_images(view_state &v)
{
    uint8_t *p = v.p;
    v.p = v.spare;
    v.spare = p;
}

/* One box along lines or columns; edges repeat. */
static __device__ void box_pass(const view_state &v, const bk_box &b, bool across)
{
    const size_t line = (size_t)v.size * 3, step = across ? 3 : line;
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size, at = across ? x : y;
        const uint8_t *from = v.p + (across ? y * line : (size_t)x * 3);
        const uint8_t *behind = from + bk_pixel_clamp(at - b.radius - 1, v.size) * step;
        const uint8_t *ahead = from + bk_pixel_clamp(at + b.radius + 1, v.size) * step;
        uint32_t red = 0, green = 0, blue = 0;
        for (int k = at - b.radius; k <= at + b.radius; k++) {
            const uint8_t *p = from + bk_pixel_clamp(k, v.size) * step;
            red += p[0], green += p[1], blue += p[2];
        }
        uint8_t *out = v.spare + (size_t)i * 3;
        out[0] = bk_box_level(&b, red, (uint32_t)behind[0] + ahead[0]);
        out[1] = bk_box_level(&b, green, (uint32_t)behind[1] + ahead[1]);
        out[2] = bk_box_level(&b, blue, (uint32_t)behind[2] + ahead[2]);
    }
}

static __device__ void blur(view_state &v, float sigma)
{
    const bk_box b = bk_box_make(sigma);
    for (int pass = 0; pass < 2 * BK_BLUR_PASSES && b.radius >= 0; pass++) {
        box_pass(v, b, pass < BK_BLUR_PASSES);
        swap_images(v);
        __syncthreads();
    }
}

static __device__ void sharpen(view_state &v, float factor)
{
    const size_t line = (size_t)v.size * 3;
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size;
        const bool edge = y == 0 || x == 0 || y == v.size - 1 || x == v.size - 1;
        for (int c = 0; c < 3; c++) {
            const uint8_t *own = v.p + (size_t)i * 3 + c;
            v.spare[(size_t)i * 3 + c] =
                edge ? *own : bk_pixel_blend(bk_pixel_smooth(own - line, own, own + line), *own, factor);
        }
    }
    swap_images(v);
}

static __device__ void map_pixels(view_state &v, const bk_view_step &step)
{
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size, x = i - y * v.size;
        bk_pixel_affine(v.p, v.size, v.size, step.map, v.plan->fill, x, y, v.spare + (size_t)i * 3);
    }
    swap_images(v);
}

/* ---- all --------------------------------------------------------------------------------------------- */

static __device__ void apply(view_state &v, const bk_view_step &step, view_tables &t)
{
    if (fill_levels(v, step, t)) {
        __syncthreads();
        map_levels(v, t);
    } else if (step.op == BK_VIEW_SATURATION) {
        saturate(v, (float)step.amount);
    } else if (step.op == BK_VIEW_HUE) {
        shift_hue(v, step.amount, t);
    } else if (step.op == BK_VIEW_GREY) {
        to_grey(v);
    } else if (step.op == BK_VIEW_BLUR) {
        blur(v, (float)step.amount);
    } else if (step.op == BK_VIEW_SHARPNESS) {
        sharpen(v, (float)step.amount);
    } else {
        map_pixels(v, step);
    }
}

template <typename T> static __device__ void finish(const view_state &v, view_tables &t, T *out)
{
    const bk_view_plan &p = *v.plan;
    for (int c = 0; c < 3; c++)
        t.value[c][threadIdx.x] = bk_pixel_normalize((int)threadIdx.x, p.mean[c], p.std[c]);
    __syncthreads();
    for (int i = threadIdx.x; i < v.n; i += CUDA_BLOCK) {
        const int y = i / v.size - p.erase_y, x = i % v.size - p.erase_x;
        const bool erased = y >= 0 && y < p.erase_height && x >= 0 && x < p.erase_width;
        for (int c = 0; c < 3; c++)
            put(out + (size_t)i * 3 + c, erased ? cuda_view_noise(&p, y, 3 * x + c) : t.value[c][v.p[(size_t)i * 3 + c]]);
    }
}

template <typename T> __global__ void __launch_bounds__(CUDA_BLOCK) views_kernel(const uint8_t *upload, uint8_t *scratch, T *out)
{
    __shared__ view_tables tables;
    const cuda_view_job job = reinterpret_cast<const cuda_view_job *>(upload)[blockIdx.x];
    view_state v;
    v.plan = reinterpret_cast<const bk_view_plan *>(upload + job.plan);
    v.size = v.plan->size;
    v.n = v.size * v.size;
    v.p = scratch + job.scratch;
    v.spare = v.p + cuda_view_align((uint64_t)v.n * 3);
    if (cuda_view_is_resized(v.plan))
        resize(v, upload + job.pixels, scratch + job.scratch);
    else
        cut(v, upload + job.pixels);
    for (int i = 0; i < v.plan->n_steps; i++) {
        __syncthreads();
        apply(v, v.plan->step[i], tables);
    }
    __syncthreads();
    finish(v, tables, out + (size_t)blockIdx.x * v.n * 3);
}

int cuda_launch_views(struct cuda *cuda, int n, const void *upload, void *scratch, struct bk_tensor *out, struct bk_error *err)
{
    const uint8_t *from = static_cast<const uint8_t *>(upload);
    uint8_t *room = static_cast<uint8_t *>(scratch);
    if (cuda_is_bf16(out))
        CUDA_LAUNCH(cuda, (unsigned)n, views_kernel<bf16_t>)(from, room, static_cast<bf16_t *>(out->data));
    else
        CUDA_LAUNCH(cuda, (unsigned)n, views_kernel<float>)(from, room, static_cast<float *>(out->data));
    return cuda_launched(cuda, "views", err);
}
