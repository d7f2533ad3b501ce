/**
 * tests/fixture_bin.h: reading the records that tests/fixtures/make_augment.py writes.
 */
#ifndef BK_TESTS_FIXTURE_BIN_H
#define BK_TESTS_FIXTURE_BIN_H

#include "unit.h"

struct fixture {
    char name[24];
    double parameter;
    int32_t width, height;
    uint8_t *rgb;
};

/** Read the next record; false at the end. Free `rgb` with free(). */
static inline bool fixture_next(FILE *f, struct fixture *out)
{
    if (fread(out->name, 1, 24, f) != 24 || fread(&out->parameter, 8, 1, f) != 1 ||
        fread(&out->width, 4, 1, f) != 1 || fread(&out->height, 4, 1, f) != 1)
        return false;
    size_t n = (size_t)out->width * (size_t)out->height * 3;
    out->rgb = malloc(n);
    return out->rgb && fread(out->rgb, 1, n, f) == n;
}

static inline FILE *fixture_open(const char *name)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/tests/fixtures/%s", bk_test_env("BK_TEST_SOURCE"),
             name);
    return fopen(path, "rb");
}

/** Largest difference of two byte arrays. */
static inline int fixture_distance(const uint8_t *a, const uint8_t *b, size_t n)
{
    int worst = 0;
    for (size_t i = 0; i < n; i++)
        worst = abs(a[i] - b[i]) > worst ? abs(a[i] - b[i]) : worst;
    return worst;
}

#endif
