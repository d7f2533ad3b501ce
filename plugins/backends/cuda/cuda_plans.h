/**
 * What cuDNN and cuBLASLt were asked to prepare, by shape: a table of plans that are never dropped before the end.
 *
 * A plan begins with its key, a structure of `nbytes` bytes that is zeroed before it is filled, so that padding compares.
 * Owner     the plans are the caller's; cuda_plans_release() frees the table alone
 */
#ifndef BOSSKIT_CUDA_PLANS_H
#define BOSSKIT_CUDA_PLANS_H

#include <bosskit/base.h>
#include <string.h>

#define CUDA_PLANS_START 256

struct cuda_plans {
    void **at;                  /* open addressing; NULL or a plan */
    size_t n, cap;              /* plans; entries: 0 or a power of two, at most half of them used */
};

/* FNV-1a. */
static inline size_t cuda_plans_hash(const void *key, size_t nbytes)
{
    const unsigned char *p = (const unsigned char *)key;
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < nbytes; i++)
        h = (h ^ p[i]) * 1099511628211u;
    return (size_t)(h ^ h >> 32);
}

static inline void **cuda_plans_find(void **at, size_t cap, const void *key, size_t nbytes)
{
    size_t i = cuda_plans_hash(key, nbytes) & (cap - 1);
    while (at[i] && memcmp(at[i], key, nbytes) != 0)
        i = (i + 1) & (cap - 1);
    return &at[i];
}

static inline bool cuda_plans_grow(struct cuda_plans *t, size_t nbytes)
{
    size_t cap = t->cap ? 2 * t->cap : CUDA_PLANS_START;
    void **at = (void **)bk_zalloc(cap * sizeof *at);
    if (!at)
        return false;
    for (size_t i = 0; i < t->cap; i++) {
        if (t->at[i])
            *cuda_plans_find(at, cap, t->at[i], nbytes) = t->at[i];
    }
    bk_free(t->at);
    t->at = at;
    t->cap = cap;
    return true;
}

/** The place of the plan with this key: NULL in it when there is none yet (fill it and count t->n up). NULL: out of memory */
static inline void **cuda_plans_place(struct cuda_plans *t, const void *key, size_t nbytes)
{
    if (2 * (t->n + 1) > t->cap && !cuda_plans_grow(t, nbytes))
        return NULL;
    return cuda_plans_find(t->at, t->cap, key, nbytes);
}

static inline void cuda_plans_release(struct cuda_plans *t)
{
    bk_free(t->at);
    memset(t, 0, sizeof *t);
}

#endif
