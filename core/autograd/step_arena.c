/*
 * autograd/step_arena.c: chunks of device memory cut from the front; see the header for the picture.
 *
 * Nothing here knows what is stored. Chunks behind the current one are always entirely free, so a request that does
 * not fit goes to the first of them that is large enough, which is swapped next to the current one.
 */
#include "autograd/step_arena.h"
#include "device/device.h"

#if defined(__SANITIZE_ADDRESS__)
#define WATCHED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WATCHED 1
#endif
#endif
#ifndef WATCHED
#define WATCHED 0
#endif
#if WATCHED
#include <sanitizer/asan_interface.h>
#endif

#define ALIGNMENT ((size_t)256)
#define MIN_CHUNK ((size_t)64 << 20)
#define MAX_GROWTH ((size_t)1 << 30)
#define RED_ZONE (WATCHED ? ALIGNMENT : (size_t)0)

static void forbid(const struct bk__step_arena *a, void *p, size_t nbytes)
{
#if WATCHED
    if (a->host_memory)
        ASAN_POISON_MEMORY_REGION(p, nbytes);
#else
    (void)a, (void)p, (void)nbytes;
#endif
}

static void allow(const struct bk__step_arena *a, void *p, size_t nbytes)
{
#if WATCHED
    if (a->host_memory)
        ASAN_UNPOISON_MEMORY_REGION(p, nbytes);
#else
    (void)a, (void)p, (void)nbytes;
#endif
}

void bk__step_arena_init(struct bk__step_arena *a, struct bk_device *device)
{
    *a = (struct bk__step_arena){ .device = device, .host_memory = bk__device_is_host(device) };
}

void bk__step_arena_release(struct bk__step_arena *a)
{
    for (size_t i = 0; i < a->n_chunks; i++) {
        allow(a, a->chunk[i].base, a->chunk[i].size);
        bk_device_dealloc(a->device, a->chunk[i].base, a->chunk[i].size);
    }
    bk_free(a->chunk);
    *a = (struct bk__step_arena){ 0 };
}

/* A chunk for at least `need` bytes at the end of the list; grows with what is held, so that there are few. */
static int add_chunk(struct bk__step_arena *a, size_t need, struct bk_error *err)
{
    size_t size = a->held < MIN_CHUNK ? MIN_CHUNK : a->held < MAX_GROWTH ? a->held : MAX_GROWTH;
    if (size < need)
        size = need;
    if (a->n_chunks == a->cap_chunks) {
        size_t cap = a->cap_chunks ? 2 * a->cap_chunks : 8;
        struct bk__chunk *list = bk_realloc(a->chunk, cap * sizeof *list);
        if (!list)
            return bk_fail(err, BK_ENOMEM, "no memory for the list of step memory");
        a->chunk = list;
        a->cap_chunks = cap;
    }
    void *base;
    /* The growth is a wish, the need is not: a nearly full device gives less, in few pieces all the same. */
    for (; bk_device_alloc(a->device, size, &base, err); size = size / 2 > need ? size / 2 : need)
        if (size == need) {
            bk_context(err, "step region, %zu MiB held", a->held >> 20);
            return BK_ENOMEM;
        }
    bk__device_take_refusal(a->device);
    a->chunk[a->n_chunks++] = (struct bk__chunk){ base, size, 0 };
    a->held += size;
    forbid(a, base, size);
    return BK_OK;
}

/* Make a chunk with room for `need` bytes the current one. */
static int enter_chunk(struct bk__step_arena *a, size_t need, struct bk_error *err)
{
    size_t next = a->n_chunks ? a->current + 1 : 0, i = next;
    size_t before = a->n_chunks ? a->chunk[a->current].before + a->offset : 0;
    while (i < a->n_chunks && a->chunk[i].size < need)
        i++;
    if (i == a->n_chunks)
        BK_TRY(add_chunk(a, need, err));
    struct bk__chunk found = a->chunk[i];
    a->chunk[i] = a->chunk[next];
    a->chunk[next] = found;
    a->chunk[next].before = before;
    a->current = next;
    a->offset = 0;
    return BK_OK;
}

int bk__step_arena_take(struct bk__step_arena *a, size_t nbytes, void **out, struct bk_error *err)
{
    size_t need = ((nbytes ? nbytes : 1) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + RED_ZONE;
    if (!a->n_chunks || a->chunk[a->current].size - a->offset < need)
        BK_TRY(enter_chunk(a, need, err));
    struct bk__chunk *c = &a->chunk[a->current];
    *out = c->base + a->offset;
    allow(a, *out, nbytes);
    a->offset += need;
    if (c->before + a->offset > a->peak)
        a->peak = c->before + a->offset;
    return BK_OK;
}

void bk__step_arena_rewind(struct bk__step_arena *a, size_t chunk, size_t offset)
{
    if (!a->n_chunks)
        return;
    for (size_t i = chunk; i <= a->current && WATCHED; i++) {
        size_t from = i == chunk ? offset : 0;
        forbid(a, a->chunk[i].base + from, a->chunk[i].size - from);
    }
    a->current = chunk;
    a->offset = offset;
}
