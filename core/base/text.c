/*
 * base/text.c: growing strings, nearest words, numbers as text.
 *
 * Numbers are read and written in the C locale whatever the host program set: a configuration or a CSV file must mean
 * the same everywhere. Nothing here knows about files.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bosskit/base.h>

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing strings ------------------------------------------------------------------------- */

static bool text_reserve(struct bk_text *t, size_t more)
{
    if (t->failed)
        return false;
    size_t need = t->len + more + 1;
    if (need <= t->cap)
        return true;
    size_t cap = t->cap ? t->cap : 64;
    while (cap < need)
        cap += cap / 2 + 16;
    char *p = bk_realloc(t->ptr, cap);
    if (!p) {
        t->failed = true;
        return false;
    }
    t->ptr = p;
    t->cap = cap;
    return true;
}

void bk_text_addn(struct bk_text *t, const char *s, size_t n)
{
    if (!text_reserve(t, n))
        return;
    if (n)
        memcpy(t->ptr + t->len, s, n);
    t->len += n;
    t->ptr[t->len] = '\0';
}

void bk_text_add(struct bk_text *t, const char *s)
{
    bk_text_addn(t, s, strlen(s));
}

void bk_text_addf(struct bk_text *t, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0)
        t->failed = true;
    if (n >= 0 && text_reserve(t, (size_t)n)) {
        vsnprintf(t->ptr + t->len, (size_t)n + 1, fmt, again);
        t->len += (size_t)n;
    }
    va_end(again);
}

const char *bk_text_get(const struct bk_text *t)
{
    return t->ptr ? t->ptr : "";
}

char *bk_text_take(struct bk_text *t)
{
    char *p = NULL;

    if (!t->ptr)
        bk_text_add(t, "");
    if (!t->failed) {
        p = t->ptr;
        t->ptr = NULL;
    }
    bk_text_release(t);
    return p;
}

void bk_text_release(struct bk_text *t)
{
    bk_free(t->ptr);
    *t = (struct bk_text)BK_TEXT_INIT;
}

/* ---- nearest word ---------------------------------------------------------------------------- */

#define MAX_WORD 64

/* Edits (insert, delete, replace, swap of neighbours) that turn a into b; both at most MAX_WORD long. */
static size_t edit_distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint8_t d[3][MAX_WORD + 1];
    uint8_t *before = d[0], *last = d[1], *row = d[2];

    memset(before, 0, sizeof d[0]);
    for (size_t j = 0; j <= nb; j++)
        last[j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1u < best)
                best = last[j] + 1u;
            if (row[j - 1] + 1u < best)
                best = row[j - 1] + 1u;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1u < best)
                best = before[j - 2] + 1u;
            row[j] = (uint8_t)best;
        }
        uint8_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[nb];
}

const char *bk_nearest_word(const char *word, const char *const *candidates, size_t n)
{
    size_t length = strlen(word), best_distance = SIZE_MAX;
    const char *best = NULL;

    if (length > MAX_WORD)
        return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = strlen(candidates[i]);
        if (m > MAX_WORD)
            continue;
        size_t distance = edit_distance(word, length, candidates[i], m);
        size_t longer = m > length ? m : length;
        if (distance * 3 <= longer && distance < best_distance) {
            best_distance = distance;
            best = candidates[i];
        }
    }
    return best;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static locale_t get_c_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, make_c_locale);
    return c_locale;
}

static bool starts_like_number(const char *s)
{
    return *s && !strchr(" \t\n\v\f\r", *s);
}

bool bk_parse_i64(const char *s, int64_t *out)
{
    char *end;

    if (!starts_like_number(s))
        return false;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end || end == s)
        return false;
    *out = v;
    return true;
}

bool bk_parse_f64(const char *s, double *out)
{
    char *end;

    if (!starts_like_number(s))
        return false;
    errno = 0;
    double v = strtod_l(s, &end, get_c_locale());
    if (*end || end == s || (errno == ERANGE && isinf(v)))
        return false;
    *out = v;
    return true;
}

void bk_format_f64(double v, char buf[32])
{
    if (!isfinite(v)) {
        strcpy(buf, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    locale_t c = get_c_locale(), caller = uselocale(c);
    /* A decimal of at most 15 digits survives the way through a normal double, so nothing shorter exists. */
    for (int digits = isnormal(v) ? 15 : 1; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, v);
        if (strtod_l(buf, NULL, c) == v)
            break;
    }
    uselocale(caller);
}
