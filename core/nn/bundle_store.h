/*
 * nn/bundle_store.h: how a bundle keeps its entries, shared by bundle.c (in memory) and safetensors.c (on disk).
 *
 * Both lists are sorted by name, so that a search is a bisection and equal bundles are written as equal bytes.
 * Not for users of bundles: they include <bosskit/bundle.h>.
 */
#ifndef BOSSKIT_NN_BUNDLE_STORE_H
#define BOSSKIT_NN_BUNDLE_STORE_H

#include <bosskit/bundle.h>

struct bk__bundle_text {
    char *key, *value;
};

struct bk_bundle {
    struct bk_bundle_entry *entry;      /* name and data are owned */
    size_t n, cap;
    struct bk__bundle_text *text;
    size_t n_text, cap_text;
};

/**
 * Make room for an entry and return it with uninitialised data to be filled by the caller; an entry of that name is
 * replaced. Valid until the next addition.
 * Errors: BK_EINVAL for a name or shape that a file cannot hold, BK_ENOMEM
 */
int bk__bundle_make(struct bk_bundle *b, const char *name, uint32_t dtype, uint32_t rank,
                    const int64_t *dim, struct bk_bundle_entry **out,
                    struct bk_error *err) BK_MUST_USE;

#endif
