/*
 * nn/bundle.c: named tensors and text in host memory.
 *
 * Entries are kept sorted by name. Adding one is linear in the number of entries, which are some thousands at most
 * and are mostly added in order. The file format is in safetensors.c.
 */
#include "nn/bundle_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- lists ------------------------------------------------------------------------------------- */

/* Position of `name`, or where it belongs. */
static size_t entry_position(const struct bk_bundle *b, const char *name, bool *found)
{
    size_t low = 0, high = b->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(b->entry[mid].name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = low < b->n && !strcmp(b->entry[low].name, name);
    return low;
}

static size_t text_position(const struct bk_bundle *b, const char *key, bool *found)
{
    size_t low = 0, high = b->n_text;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(b->text[mid].key, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    *found = low < b->n_text && !strcmp(b->text[low].key, key);
    return low;
}

/* Room for one more element of `size` bytes. */
static bool grow(void **list, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    size_t more = *cap ? *cap * 2 : 16;
    void *p = bk_realloc(*list, more * size);
    if (!p)
        return false;
    *list = p;
    *cap = more;
    return true;
}

int bk_bundle_new(struct bk_bundle **out, struct bk_error *err)
{
    struct bk_bundle *b = bk_zalloc(sizeof *b);

    if (!b)
        return bk_fail(err, BK_ENOMEM, "cannot make a bundle: out of memory");
    *out = b;
    return BK_OK;
}

void bk_bundle_free(struct bk_bundle *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < b->n; i++) {
        bk_free((char *)b->entry[i].name);
        bk_free_aligned((void *)b->entry[i].data);
    }
    for (size_t i = 0; i < b->n_text; i++) {
        bk_free(b->text[i].key);
        bk_free(b->text[i].value);
    }
    bk_free(b->entry);
    bk_free(b->text);
    bk_free(b);
}

/* ---- tensors ------------------------------------------------------------------------------------- */

static int entry_nbytes(const char *name, uint32_t dtype, uint32_t rank, const int64_t *dim,
                        size_t *nbytes, struct bk_error *err)
{
    size_t n = bk_dtype_size(dtype);

    if (!*name || !strcmp(name, "__metadata__"))
        return bk_fail(err, BK_EINVAL, "bundle: '%s' cannot name an entry", name);
    if (!n)
        return bk_fail(err, BK_EINVAL, "bundle entry '%s': unknown type %" PRIu32, name, dtype);
    if (rank > BK_MAX_RANK)
        return bk_fail(err, BK_EINVAL, "bundle entry '%s': rank %" PRIu32 " is outside 0..%d",
                       name, rank, BK_MAX_RANK);
    for (uint32_t i = 0; i < rank; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(n, (size_t)dim[i], &n) || n > PTRDIFF_MAX)
            return bk_fail(err, BK_EINVAL, "bundle entry '%s': dimension %" PRIu32 " of %" PRId64
                           " is not possible", name, i, dim[i]);
    *nbytes = n;
    return BK_OK;
}

int bk__bundle_make(struct bk_bundle *b, const char *name, uint32_t dtype, uint32_t rank,
                    const int64_t *dim, struct bk_bundle_entry **out, struct bk_error *err)
{
    struct bk_bundle_entry e = { .dtype = dtype, .rank = rank };
    bool found;

    BK_TRY(entry_nbytes(name, dtype, rank, dim, &e.nbytes, err));
    if (rank)
        memcpy(e.dim, dim, rank * sizeof *dim);
    e.data = bk_alloc_aligned(e.nbytes ? e.nbytes : 1);
    if (!e.data)
        goto no_memory;
    size_t at = entry_position(b, name, &found);
    if (found) {
        e.name = b->entry[at].name;
        bk_free_aligned((void *)b->entry[at].data);
    } else {
        e.name = bk_strdup(name);
        if (!e.name || !grow((void **)&b->entry, b->n, &b->cap, sizeof e)) {
            bk_free((char *)e.name);
            goto no_memory;
        }
        memmove(b->entry + at + 1, b->entry + at, (b->n - at) * sizeof e);
        b->n++;
    }
    b->entry[at] = e;
    *out = &b->entry[at];
    return BK_OK;
no_memory:
    bk_free_aligned((void *)e.data);
    return bk_fail(err, BK_ENOMEM, "bundle entry '%s': no memory for %zu bytes", name, e.nbytes);
}

int bk_bundle_put(struct bk_bundle *b, const char *name, uint32_t dtype, uint32_t rank,
                  const int64_t *dim, const void *data, struct bk_error *err)
{
    struct bk_bundle_entry *e;

    BK_TRY(bk__bundle_make(b, name, dtype, rank, dim, &e, err));
    if (e->nbytes)
        memcpy((void *)e->data, data, e->nbytes);
    return BK_OK;
}

static void remove_entry(struct bk_bundle *b, const struct bk_bundle_entry *e)
{
    size_t at = (size_t)(e - b->entry);

    bk_free((char *)e->name);
    bk_free_aligned((void *)e->data);
    memmove(b->entry + at, b->entry + at + 1, (b->n - at - 1) * sizeof *b->entry);
    b->n--;
}

int bk_bundle_put_tensor(struct bk_bundle *b, const char *name, const struct bk_tensor *t,
                         struct bk_error *err)
{
    struct bk_bundle_entry *e;

    BK_TRY(bk__bundle_make(b, name, t->dtype, t->rank, t->dim, &e, err));
    if (!bk_tensor_read(t, (void *)e->data, err))
        return BK_OK;
    remove_entry(b, e);
    return bk_context(err, "bundle entry '%s'", name);
}

int bk_bundle_get_tensor(const struct bk_bundle *b, const char *name, struct bk_tensor *t,
                         struct bk_error *err)
{
    const struct bk_bundle_entry *e = bk_bundle_find(b, name);
    char want[96], have[96];

    if (!e)
        return bk_fail(err, BK_EDATA, "bundle entry '%s' is missing", name);
    if (e->dtype != t->dtype || e->rank != t->rank ||
        memcmp(e->dim, t->dim, e->rank * sizeof *e->dim)) {
        struct bk_tensor shape = { .dtype = e->dtype, .rank = e->rank };
        memcpy(shape.dim, e->dim, sizeof shape.dim);
        return bk_fail(err, BK_EDATA, "bundle entry '%s' is %s where %s is wanted", name,
                       bk_tensor_describe(&shape, have), bk_tensor_describe(t, want));
    }
    if (bk_tensor_write(t, e->data, err))
        return bk_context(err, "bundle entry '%s'", name);
    return BK_OK;
}

const struct bk_bundle_entry *bk_bundle_find(const struct bk_bundle *b, const char *name)
{
    bool found;
    size_t at = entry_position(b, name, &found);

    return found ? &b->entry[at] : NULL;
}

size_t bk_bundle_count(const struct bk_bundle *b)
{
    return b->n;
}

const struct bk_bundle_entry *bk_bundle_at(const struct bk_bundle *b, size_t i)
{
    return i < b->n ? &b->entry[i] : NULL;
}

/* ---- text ------------------------------------------------------------------------------------------ */

int bk_bundle_put_text(struct bk_bundle *b, const char *key, const char *value,
                       struct bk_error *err)
{
    bool found;
    size_t at = text_position(b, key, &found);
    struct bk__bundle_text t = { NULL, bk_strdup(value) };

    if (!t.value)
        goto no_memory;
    if (found) {
        bk_free(b->text[at].value);
        b->text[at].value = t.value;
        return BK_OK;
    }
    t.key = bk_strdup(key);
    if (!t.key || !grow((void **)&b->text, b->n_text, &b->cap_text, sizeof t))
        goto no_memory;
    memmove(b->text + at + 1, b->text + at, (b->n_text - at) * sizeof t);
    b->text[at] = t;
    b->n_text++;
    return BK_OK;
no_memory:
    bk_free(t.key);
    bk_free(t.value);
    return bk_fail(err, BK_ENOMEM, "bundle text '%s': out of memory", key);
}

int bk_bundle_put_i64(struct bk_bundle *b, const char *key, int64_t value, struct bk_error *err)
{
    char buf[24];

    snprintf(buf, sizeof buf, "%" PRId64, value);
    return bk_bundle_put_text(b, key, buf, err);
}

const char *bk_bundle_text(const struct bk_bundle *b, const char *key)
{
    bool found;
    size_t at = text_position(b, key, &found);

    return found ? b->text[at].value : NULL;
}

int bk_bundle_i64(const struct bk_bundle *b, const char *key, int64_t *out, struct bk_error *err)
{
    const char *text = bk_bundle_text(b, key);

    if (!text)
        return bk_fail(err, BK_EDATA, "bundle text '%s' is missing", key);
    if (!bk_parse_i64(text, out))
        return bk_fail(err, BK_EDATA, "bundle text '%s' is '%.40s' where an integer is wanted", key,
                       text);
    return BK_OK;
}
