/*
 * nn/safetensors.c: bundles as safetensors files.
 *
 * A file is: length of the header (8 bytes, little-endian), the header (a JSON object, padded with spaces to a
 * multiple of 8), the data without holes. Each key of the header is a tensor {"dtype","shape","data_offsets"}; the
 * optional key "__metadata__" maps texts to texts. Header entries are in name order. Data is laid out by element
 * size, largest first, and by name within a size, so that every tensor is aligned to its type, as other readers of
 * the format expect. Reading trusts nothing: every byte of the data belongs to exactly one entry.
 *
 * Format: https://github.com/huggingface/safetensors, README, section "Format". Hosts are little-endian.
 */
#include "nn/bundle_store.h"

#include <bosskit/file.h>

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_HEADER ((uint64_t)64 << 20)

/* clang-format off */
static const struct { uint32_t dtype; const char *name; } file_types[] = {
    { BK_F32, "F32" }, { BK_BF16, "BF16" }, { BK_I32, "I32" }, { BK_U8, "U8" }, { BK_F64, "F64" },
};
/* Types of the format that bundles do not hold. */
static const struct { const char *name; size_t size; } foreign_types[] = {
    { "I64", 8 }, { "U64", 8 }, { "U32", 4 }, { "F16", 2 }, { "I16", 2 }, { "U16", 2 }, { "I8", 1 }, { "BOOL", 1 },
    { "F8_E4M3", 1 }, { "F8_E5M2", 1 },
};
/* clang-format on */

static const char *file_type_name(uint32_t dtype)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(file_types); i++)
        if (file_types[i].dtype == dtype)
            return file_types[i].name;
    return "";
}

static uint32_t file_type_find(const char *name)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(file_types); i++)
        if (!strcmp(file_types[i].name, name))
            return file_types[i].dtype;
    return BK_DTYPE_INVALID;
}

static size_t foreign_size(const char *name)
{
    for (size_t i = 0; i < BK_ARRAY_LEN(foreign_types); i++)
        if (!strcmp(foreign_types[i].name, name))
            return foreign_types[i].size;
    return 0;
}

/* ---- writing ----------------------------------------------------------------------------------------- */

/* Element sizes in the order of the data section. */
static const size_t size_order[] = { 8, 4, 2, 1 };

/* offset[i] of entry i. */
static void lay_out(const struct bk_bundle *b, size_t *offset)
{
    size_t end = 0;

    for (size_t k = 0; k < BK_ARRAY_LEN(size_order); k++) {
        for (size_t i = 0; i < b->n; i++) {
            if (bk_dtype_size(b->entry[i].dtype) != size_order[k])
                continue;
            offset[i] = end;
            end += b->entry[i].nbytes;
        }
    }
}

static json_t *entry_to_json(const struct bk_bundle_entry *e, size_t offset)
{
    json_t *shape = json_array();

    for (uint32_t i = 0; i < e->rank; i++)
        json_array_append_new(shape, json_integer(e->dim[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", file_type_name(e->dtype), "shape", shape,
                     "data_offsets", (json_int_t)offset, (json_int_t)(offset + e->nbytes));
}

static int texts_to_json(const struct bk_bundle *b, json_t *header, struct bk_error *err)
{
    if (!b->n_text)
        return BK_OK;
    json_t *meta = json_object();
    if (json_object_set_new(header, "__metadata__", meta))
        return bk_fail(err, BK_ENOMEM, "out of memory");
    for (size_t i = 0; i < b->n_text; i++)
        if (json_object_set_new(meta, b->text[i].key, json_string(b->text[i].value)))
            return bk_fail(err, BK_EINVAL, "text '%s' is not valid UTF-8", b->text[i].key);
    return BK_OK;
}

/* *text is from the C library's malloc, as jansson gives it. */
static int header_text(const struct bk_bundle *b, const size_t *offset, char **text,
                       struct bk_error *err)
{
    json_t *header = json_object();
    int rc = texts_to_json(b, header, err);

    for (size_t i = 0; i < b->n && !rc; i++)
        if (json_object_set_new(header, b->entry[i].name, entry_to_json(&b->entry[i], offset[i])))
            rc = bk_fail(err, BK_EINVAL, "name of entry '%s' is not valid UTF-8", b->entry[i].name);
    if (!rc) {
        *text = json_dumps(header, JSON_COMPACT | JSON_SORT_KEYS);
        if (!*text)
            rc = bk_fail(err, BK_ENOMEM, "out of memory");
    }
    json_decref(header);
    return rc;
}

/* The file in parts: length, header, blanks, data in the order of lay_out(). part has room for 3 and one for each entry. */
static int assemble(const struct bk_bundle *b, const char *header, uint64_t *padded, struct bk_bytes *part, size_t *n_parts,
                    struct bk_error *err)
{
    size_t len = strlen(header), n = 0;

    *padded = (len + 7) / 8 * 8;
    if (*padded > MAX_HEADER)
        return bk_fail(err, BK_EINVAL, "its header has %zu bytes, more than 64 MiB", len);
    part[n++] = (struct bk_bytes){ padded, sizeof *padded };
    part[n++] = (struct bk_bytes){ header, len };
    part[n++] = (struct bk_bytes){ "        ", *padded - len };
    for (size_t k = 0; k < BK_ARRAY_LEN(size_order); k++)
        for (size_t i = 0; i < b->n; i++)
            if (bk_dtype_size(b->entry[i].dtype) == size_order[k])
                part[n++] = (struct bk_bytes){ b->entry[i].data, b->entry[i].nbytes };
    *n_parts = n;
    return BK_OK;
}

int bk_bundle_write(const struct bk_bundle *b, const char *path, struct bk_error *err)
{
    char *header = NULL;
    uint64_t padded;
    size_t n_parts = 0;
    int rc;

    size_t *offset = bk_alloc((b->n + 1) * sizeof *offset);
    struct bk_bytes *part = bk_alloc((b->n + 3) * sizeof *part);
    if (offset && part) {
        lay_out(b, offset);
        rc = header_text(b, offset, &header, err);
    } else {
        rc = bk_fail(err, BK_ENOMEM, "out of memory");
    }
    if (!rc)
        rc = assemble(b, header, &padded, part, &n_parts, err);
    if (rc)
        bk_context(err, "cannot write bundle '%s'", path);
    else
        rc = bk_file_write_parts(path, part, n_parts, err);
    free(header);
    bk_free(part);
    bk_free(offset);
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------------------- */

/* An entry of the header that was checked on its own. */
struct span {
    const char *name;           /* borrowed from the JSON tree */
    uint32_t dtype, rank;       /* dtype BK_DTYPE_INVALID: left out */
    int64_t dim[BK_MAX_RANK];
    uint64_t begin, end;        /* in the data section */
};

struct reader {
    FILE *f;
    uint64_t n_data;            /* bytes of the data section */
    bool known_only;            /* leave out what a bundle cannot hold */
    json_t *header;
    struct span *span;
    size_t n;
};

static int read_header(struct reader *r, struct bk_error *err)
{
    struct stat st;
    uint64_t len;
    json_error_t je;

    if (fstat(fileno(r->f), &st))
        return bk_fail_errno(err, BK_EIO, "cannot read its size");
    uint64_t size = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) || size < 8 || fread(&len, 8, 1, r->f) != 1)
        return bk_fail(err, BK_EDATA, "no safetensors file: it is shorter than 8 bytes");
    if (len > MAX_HEADER)
        return bk_fail(err, BK_EDATA, "header of %" PRIu64 " bytes is over 64 MiB", len);
    if (len > size - 8)
        return bk_fail(err, BK_EDATA, "truncated: header of %" PRIu64 " bytes in a file of %" PRIu64,
                       len, size);
    r->n_data = size - 8 - len;
    char *text = bk_alloc(len + 1);
    if (!text)
        return bk_fail(err, BK_ENOMEM, "no memory for its header");
    if (fread(text, 1, len, r->f) != len) {
        bk_free(text);
        return bk_fail_errno(err, BK_EIO, "cannot read its header");
    }
    r->header = json_loadb(text, len, JSON_REJECT_DUPLICATES, &je);
    bk_free(text);
    if (!r->header)
        return bk_fail(err, BK_EDATA, "bad header: %s", je.text);
    if (!json_is_object(r->header))
        return bk_fail(err, BK_EDATA, "bad header: not a JSON object");
    return BK_OK;
}

static int read_texts(struct bk_bundle *b, json_t *meta, struct bk_error *err)
{
    const char *key;
    json_t *v;

    if (!json_is_object(meta))
        return bk_fail(err, BK_EDATA, "entry '__metadata__' is not an object");
    json_object_foreach(meta, key, v) {
        if (!json_is_string(v))
            return bk_fail(err, BK_EDATA, "entry '__metadata__': '%s' is not a text", key);
        BK_TRY(bk_bundle_put_text(b, key, json_string_value(v), err));
    }
    return BK_OK;
}

/* An integer >= 0 of a JSON array; false when it is none. */
static bool get_count(const json_t *array, size_t i, uint64_t *out)
{
    const json_t *v = json_array_get(array, i);

    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static int parse_shape(struct span *s, const json_t *shape, size_t size, uint64_t *nbytes,
                       struct bk_error *err)
{
    uint64_t dim;

    if (!json_is_array(shape))
        return bk_fail(err, BK_EDATA, "entry '%s' has no shape", s->name);
    if (json_array_size(shape) > BK_MAX_RANK)
        return bk_fail(err, BK_EDATA, "entry '%s' has %zu dimensions, at most %d are supported",
                       s->name, json_array_size(shape), BK_MAX_RANK);
    s->rank = (uint32_t)json_array_size(shape);
    *nbytes = size;
    for (uint32_t i = 0; i < s->rank; i++) {
        if (!get_count(shape, i, &dim) || __builtin_mul_overflow(*nbytes, dim, nbytes))
            return bk_fail(err, BK_EDATA, "entry '%s': dimension %" PRIu32 " is not possible",
                           s->name, i);
        s->dim[i] = (int64_t)dim;
    }
    return BK_OK;
}

static int parse_entry(const struct reader *r, struct span *s, const json_t *v, struct bk_error *err)
{
    uint64_t nbytes = 0, n_data = r->n_data;

    if (!json_is_object(v) || json_object_size(v) != 3)
        return bk_fail(err, BK_EDATA, "entry '%s' is not an object of dtype, shape, data_offsets",
                       s->name);
    const char *type = json_string_value(json_object_get(v, "dtype"));
    if (!type)
        return bk_fail(err, BK_EDATA, "entry '%s' has no dtype", s->name);
    s->dtype = file_type_find(type);
    size_t size = s->dtype ? bk_dtype_size(s->dtype) : r->known_only ? foreign_size(type) : 0;
    if (!size)
        return bk_fail(err, BK_EDATA,
                       "entry '%s' has type '%.20s', legal: F32, BF16, I32, U8, F64", s->name, type);
    BK_TRY(parse_shape(s, json_object_get(v, "shape"), size, &nbytes, err));
    const json_t *range = json_object_get(v, "data_offsets");
    if (json_array_size(range) != 2 || !get_count(range, 0, &s->begin) ||
        !get_count(range, 1, &s->end) || s->begin > s->end)
        return bk_fail(err, BK_EDATA, "entry '%s' has no legal data_offsets", s->name);
    if (s->end > n_data)
        return bk_fail(err, BK_EDATA, "entry '%s' ends at byte %" PRIu64 " of %" PRIu64
                       ": truncated or out of range", s->name, s->end, n_data);
    if (s->end - s->begin != nbytes)
        return bk_fail(err, BK_EDATA, "entry '%s' has %" PRIu64 " bytes where its shape needs %"
                       PRIu64, s->name, s->end - s->begin, nbytes);
    return BK_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct span *x = a, *y = b;

    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return (x->end > y->end) - (x->end < y->end);       /* empty tensors first */
}

/* Together the entries cover the data section exactly once. */
static int check_cover(const struct reader *r, struct bk_error *err)
{
    uint64_t end = 0;

    for (size_t i = 0; i < r->n; i++) {
        const struct span *s = &r->span[i];
        if (s->begin < end)
            return bk_fail(err, BK_EDATA, "entry '%s' overlaps entry '%s'", s->name,
                           r->span[i - 1].name);
        if (s->begin > end)
            return bk_fail(err, BK_EDATA, "%" PRIu64 " bytes before entry '%s' belong to no entry",
                           s->begin - end, s->name);
        end = s->end;
    }
    if (end != r->n_data)
        return bk_fail(err, BK_EDATA, "%" PRIu64 " bytes after the last entry belong to no entry",
                       r->n_data - end);
    return BK_OK;
}

static int parse_header(struct reader *r, struct bk_bundle *b, struct bk_error *err)
{
    const char *name;
    json_t *v;

    r->span = bk_zalloc((json_object_size(r->header) + 1) * sizeof *r->span);
    if (!r->span)
        return bk_fail(err, BK_ENOMEM, "no memory for its header");
    json_object_foreach(r->header, name, v) {
        if (!strcmp(name, "__metadata__")) {
            BK_TRY(read_texts(b, v, err));
            continue;
        }
        struct span *s = &r->span[r->n++];
        s->name = name;
        BK_TRY(parse_entry(r, s, v, err));
    }
    qsort(r->span, r->n, sizeof *r->span, by_offset);
    return check_cover(r, err);
}

static int read_data(const struct reader *r, struct bk_bundle *b, struct bk_error *err)
{
    struct bk_bundle_entry *e;

    for (size_t i = 0; i < r->n; i++) {
        const struct span *s = &r->span[i];
        if (!s->dtype) {
            if (fseek(r->f, (long)(s->end - s->begin), SEEK_CUR))
                return bk_fail_errno(err, BK_EIO, "cannot read the data of entry '%s'", s->name);
            continue;
        }
        if (bk__bundle_make(b, s->name, s->dtype, s->rank, s->dim, &e, err)) {
            /* A name or size that bundles refuse is the file's fault; lack of memory is not. */
            if (err && err->code == BK_ENOMEM)
                return BK_ENOMEM;
            return bk_fail(err, BK_EDATA, "entry '%s' has a name or shape that is not supported",
                           s->name);
        }
        if (fread((void *)e->data, 1, e->nbytes, r->f) != e->nbytes)
            return bk_fail(err, BK_EIO, "cannot read the data of entry '%s'", s->name);
    }
    return BK_OK;
}

static int read_bundle(const char *path, bool known_only, struct bk_bundle **out, struct bk_error *err)
{
    struct bk_error local = BK_ERROR_INIT;
    struct reader r = { .known_only = known_only };
    struct bk_bundle *b = NULL;
    int rc;

    if (!err)
        err = &local;
    r.f = fopen(path, "rbe");
    if (!r.f)
        return bk_fail_errno(err, BK_EIO, "cannot open bundle '%s'", path);
    rc = bk_bundle_new(&b, err);
    if (!rc)
        rc = read_header(&r, err);
    if (!rc)
        rc = parse_header(&r, b, err);
    if (!rc)
        rc = read_data(&r, b, err);
    if (rc) {
        bk_context(err, "bundle '%s'", path);
        bk_bundle_free(b);
    } else {
        *out = b;
    }
    json_decref(r.header);
    bk_free(r.span);
    fclose(r.f);
    return rc;
}

int bk_bundle_read(const char *path, struct bk_bundle **out, struct bk_error *err)
{
    return read_bundle(path, false, out, err);
}

int bk_bundle_read_known(const char *path, struct bk_bundle **out, struct bk_error *err)
{
    return read_bundle(path, true, out, err);
}
