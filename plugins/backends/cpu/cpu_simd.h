/*
 * cpu_simd.h: sixteen floats at a time in gcc's generic vectors, and bf16 beside them.
 *
 * One vector is a zmm register, two ymm or four xmm, whatever the including file is compiled for; the few places where the
 * compiler does not find the masked or converting instruction by itself are spelled out. Loads and stores need
 * no alignment. `bf16` and `n` are compile-time constants after inlining wherever speed matters.
 */
#ifndef CPU_SIMD_H
#define CPU_SIMD_H

#include <stdint.h>
#include <string.h>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define VL 16
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef float vf_mem __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t vh __attribute__((vector_size(32)));
typedef uint16_t vh_mem __attribute__((vector_size(32), aligned(2), may_alias));

INLINE vf vset(float x)
{
    return x - (vf){ 0 };
}

INLINE vf vwiden(vh h)
{
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#else
    return (vf)(__builtin_convertvector(h, vu) << 16);
#endif
}

/* Round to nearest even; NaN stays NaN. */
INLINE vh vnarrow(vf v)
{
#if defined(__AVX512BF16__)
    return (vh)_mm512_cvtneps_pbh((__m512)v);   /* the same, but denormal numbers become zero */
#else
    vu u = (vu)v;
    vu r = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
#if defined(__AVX512F__)
    __mmask16 nan = _mm512_cmp_ps_mask((__m512)v, (__m512)v, _CMP_UNORD_Q);
    __m512i q = _mm512_mask_or_epi32((__m512i)r, nan, (__m512i)(u >> 16), _mm512_set1_epi32(0x40));
    return (vh)_mm512_cvtepi32_epi16(q);
#else
    vu nan = (vu)(v != v);
    r = (r & ~nan) | (((u >> 16) | 0x40u) & nan);
    return __builtin_convertvector(r, vh);
#endif
#endif
}

INLINE vf vload(const void *p, int64_t i, int bf16)
{
    if (bf16)
        return vwiden(*(const vh_mem *)((const uint16_t *)p + i));
    return *(const vf_mem *)((const float *)p + i);
}

INLINE void vstore(void *p, int64_t i, int bf16, vf v)
{
    if (bf16)
        *(vh_mem *)((uint16_t *)p + i) = vnarrow(v);
    else
        *(vf_mem *)((float *)p + i) = v;
}

/* The first n of 16 elements; zeros behind them. */
INLINE vf vload_n(const void *p, int64_t i, int bf16, int n)
{
    if (n == VL)
        return vload(p, i, bf16);
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    __mmask16 m = (__mmask16)((1u << n) - 1);
    if (bf16)
        return vwiden((vh)_mm256_maskz_loadu_epi16(m, (const uint16_t *)p + i));
    return (vf)_mm512_maskz_loadu_ps(m, (const float *)p + i);
#else
    if (bf16) {
        vh h = { 0 };
        memcpy(&h, (const uint16_t *)p + i, (size_t)n * 2);
        return vwiden(h);
    }
    vf v = { 0 };
    memcpy(&v, (const float *)p + i, (size_t)n * 4);
    return v;
#endif
}

INLINE void vstore_n(void *p, int64_t i, int bf16, vf v, int n)
{
    if (n == VL) {
        vstore(p, i, bf16, v);
        return;
    }
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    __mmask16 m = (__mmask16)((1u << n) - 1);
    if (bf16)
        _mm256_mask_storeu_epi16((uint16_t *)p + i, m, (__m256i)vnarrow(v));
    else
        _mm512_mask_storeu_ps((float *)p + i, m, (__m512)v);
#else
    if (bf16) {
        vh h = vnarrow(v);
        memcpy((uint16_t *)p + i, &h, (size_t)n * 2);
    } else {
        memcpy((float *)p + i, &v, (size_t)n * 4);
    }
#endif
}

/* v where y > 0, else 0, also where y is NaN. */
INLINE vf vwhere_positive(vf v, vf y)
{
#if defined(__AVX512F__)
    return (vf)_mm512_maskz_mov_ps(
        _mm512_cmp_ps_mask((__m512)y, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)v);
#else
    return (vf)((vu)v & (vu)(y > 0.0f));
#endif
}

/* x where x > y, else y; the first operand of equal ones is y. */
INLINE vf vmax(vf x, vf y)
{
#if defined(__AVX512F__)
    return (vf)_mm512_max_ps((__m512)x, (__m512)y);
#else
    vu m = (vu)(x > y);
    return (vf)(((vu)x & m) | ((vu)y & ~m));
#endif
}

/* NaN stays NaN: a ReLU that made it 0 would hide a training that has diverged. */
INLINE vf vrelu(vf v)
{
    return vmax(vset(0), v);
}

/* x clamped to lo..hi; NaN stays NaN. */
INLINE vf vclamp(vf x, float lo, float hi)
{
#if defined(__AVX512F__)
    return (vf)_mm512_min_ps(_mm512_set1_ps(hi), _mm512_max_ps(_mm512_set1_ps(lo), (__m512)x));
#else
    return -vmax(vset(-hi), -vmax(vset(lo), x));
#endif
}

/* 1 / x to about two units in the last place, for 1 <= x < 2^126. */
INLINE vf vreciprocal(vf x)
{
#if defined(__AVX512F__)
    vf y = (vf)_mm512_rcp14_ps((__m512)x);
    return y * (2.0f - x * y);          /* one step of Newton's doubles the 14 bits */
#else
    return 1.0f / x;
#endif
}

/*
 * e^x to about two units in the last place, x clamped to -87..88 (e^-87 is 1.6e-38). After Cody and Waite 1980, chapter 6:
 * x = n log 2 + r with log 2 in two parts; the polynomial of e^r is that of Moshier's Cephes, expf.c.
 */
INLINE vf vexp(vf x)
{
    x = vclamp(x, -87.0f, 88.0f);
    vf t = x * 1.44269504088896341f + 12582912.0f;      /* 1.5 * 2^23: n ends up in the low bits */
    vf n = t - 12582912.0f;
    vf r = x - n * 0.693359375f - n * -2.12194440e-4f;
    vf p = vset(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    return (vf)((vu)p + ((vu)t << 23));
}

INLINE vf vsigmoid(vf x)
{
    return vreciprocal(1.0f + vexp(-x));
}

#if defined(__AVX512DQ__)
/*
 * e^-x, relative error 3e-6: 2^t = 2^floor(t) times a polynomial in the fraction (least maximum of the relative error on 0..1).
 * At most 2^125, so that vreciprocal() can take one more than it.
 */
INLINE vf vexp_negative(vf x)
{
    vf t = x * -1.44269504088896341f;
    t = (vf)_mm512_min_ps(_mm512_set1_ps(125.0f), (__m512)t);  /* of NaN and a number the second operand, t */
    vf f = (vf)_mm512_reduce_ps((__m512)t, _MM_FROUND_TO_NEG_INF);
    vf p = vset(1.34273982e-02f);
    p = p * f + 5.22410236e-02f;
    p = p * f + 2.41281122e-01f;
    p = p * f + 6.93044662e-01f;
    p = p * f + 1.0f;
    return (vf)_mm512_scalef_ps((__m512)p, (__m512)t);
}
#endif

/* As vsigmoid() for results that become bf16: the relative error is under 1e-4, a fortieth of that rounding's. */
INLINE vf vsigmoid_rough(vf x)
{
#if defined(__AVX512DQ__)
    return (vf)_mm512_rcp14_ps((__m512)(1.0f + vexp_negative(x)));
#else
    return vsigmoid(x);
#endif
}

/* The same to 3e-6, for differences from 1. */
INLINE vf vsigmoid_fair(vf x)
{
#if defined(__AVX512DQ__)
    return vreciprocal(1.0f + vexp_negative(x));
#else
    return vsigmoid(x);
#endif
}

/* sum[i] += v[i] for the first n. */
INLINE void vflush(double *sum, vf v, int n)
{
    for (int i = 0; i < n; i++)
        sum[i] += (double)v[i];
}

INLINE double vtotal(vf v)
{
    double s = 0;
    for (int i = 0; i < VL; i++)
        s += (double)v[i];
    return s;
}

#endif
