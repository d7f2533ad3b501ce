/*
 * base/memory.c: the one place through which host memory is allocated.
 *
 * bk_alloc_fail_after() lets a test make the n-th allocation fail, so that every clean-up path can be walked. This
 * file is not an arena and does no accounting.
 */
#include <bosskit/base.h>

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* 0: never fail; n > 1: n - 1 allocations succeed from now; 1: all fail. */
static atomic_long allowance;

void bk_alloc_fail_after(long n)
{
    atomic_store(&allowance, n > 0 ? n : 0);
}

static bool must_fail(void)
{
    long n = atomic_load_explicit(&allowance, memory_order_relaxed);

    while (n > 1) {
        if (atomic_compare_exchange_weak(&allowance, &n, n - 1))
            return false;
    }
    return n == 1;
}

void *bk_alloc(size_t nbytes)
{
    return must_fail() ? NULL : malloc(nbytes ? nbytes : 1);
}

void *bk_zalloc(size_t nbytes)
{
    return must_fail() ? NULL : calloc(1, nbytes ? nbytes : 1);
}

void *bk_realloc(void *p, size_t nbytes)
{
    return must_fail() ? NULL : realloc(p, nbytes ? nbytes : 1);
}

void bk_free(void *p)
{
    free(p);
}

char *bk_strdup(const char *s)
{
    size_t nbytes = strlen(s) + 1;
    char *copy = bk_alloc(nbytes);

    if (copy)
        memcpy(copy, s, nbytes);
    return copy;
}

void *bk_alloc_aligned(size_t nbytes)
{
    size_t rounded = (nbytes + 63) & ~(size_t)63;

    if (rounded < nbytes || must_fail())
        return NULL;
    return aligned_alloc(64, rounded ? rounded : 64);
}

void bk_free_aligned(void *p)
{
    free(p);
}
