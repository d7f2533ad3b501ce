/*
 * cuda_memory.c: device memory in three regions, and data that enters the device without waiting.
 *
 *   parameters   blocks up to 1 MiB are cut from slabs and recycled by size class: a weight set is hundreds of small
 *                tensors, and cudaMalloc for each would take milliseconds and 2 MiB apiece
 *   step         what the tape's arena asks for in large chunks, and tensors above 1 MiB: one cudaMalloc each, kept whole
 *   workspace    scratch pieces of the kernels, each as large as any call has wanted
 *
 * A block freed and cut again is used on the same stream, hence after its former user. Nothing here runs kernels.
 */
#include "cuda_state.h"
#include <string.h>

#define SLAB ((size_t)32 << 20)
#define STAGING_PIECE ((size_t)2 << 20)

/* ---- out of memory --------------------------------------------------------------------------------- */

int cuda_memory(struct cuda *cuda, size_t *available, size_t *total, struct bk_error *err)
{
    cudaError_t rc = cudaMemGetInfo(available, total);
    return rc ? cuda_fail(cuda, rc, "asking for the free memory", err) : BK_OK;
}

/* Whose region it is the core says: it knows parameters from step memory. */
int cuda_out_of_memory(struct cuda *cuda, cudaError_t rc, size_t nbytes, struct bk_error *err)
{
    const struct cuda_memory *m = &cuda->memory;
    size_t available = 0, total = 0;
    if (rc != cudaErrorMemoryAllocation)
        return cuda_fail(cuda, rc, "allocating device memory", err);
    cudaGetLastError();         /* handled here: the next launch must not be blamed */
    if (cuda_memory(cuda, &available, &total, err))
        return BK_EPLUGIN;
    return bk_fail(err, BK_ENOMEM,
                   "out of memory on CUDA device %d: %zu MiB asked for, %zu of %zu MiB free; in use are %zu MiB of small "
                   "parameters, %zu MiB of large ones and step memory, %zu MiB of workspace",
                   cuda->device, (nbytes + ((size_t)1 << 20) - 1) >> 20, available >> 20, total >> 20, m->slab_bytes >> 20,
                   m->large_bytes >> 20, m->scratch_bytes >> 20);
}

/* ---- parameters and large blocks -------------------------------------------------------------------- */

static int add_slab(struct cuda *cuda, size_t nbytes, struct bk_error *err)
{
    struct cuda_memory *m = &cuda->memory;
    if (m->n_slabs == m->cap_slabs) {
        size_t cap = m->cap_slabs ? 2 * m->cap_slabs : 16;
        void **list = bk_realloc(m->slab, cap * sizeof *list);
        if (!list)
            return bk_fail(err, BK_ENOMEM, "no host memory for the list of parameter slabs");
        m->slab = list;
        m->cap_slabs = cap;
    }
    void *p;
    size_t size = SLAB;
    cudaError_t rc = cudaMalloc(&p, size);
    if (rc == cudaErrorMemoryAllocation) {      /* a whole slab was a wish, the block is not */
        cudaGetLastError();
        size = nbytes;
        rc = cudaMalloc(&p, size);
    }
    if (rc)
        return cuda_out_of_memory(cuda, rc, nbytes, err);
    m->slab[m->n_slabs++] = p;
    m->slab_bytes += size;
    m->next = p;
    m->end = m->next + size;
    return BK_OK;
}

static int alloc_small(struct cuda *cuda, size_t nbytes, void **out, struct bk_error *err)
{
    struct cuda_memory *m = &cuda->memory;
    size_t size;
    struct cuda_free_list *list = &m->list[cuda_size_class(nbytes, &size)];
    if (list->n) {
        *out = list->at[--list->n];
        return BK_OK;
    }
    if ((size_t)(m->end - m->next) < size)
        BK_TRY(add_slab(cuda, size, err));
    *out = m->next;
    m->next += size;
    return BK_OK;
}

static void dealloc_small(struct cuda *cuda, void *p, size_t nbytes)
{
    size_t size;
    struct cuda_free_list *list = &cuda->memory.list[cuda_size_class(nbytes, &size)];
    if (list->n == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : 16;
        void **at = bk_realloc(list->at, cap * sizeof *at);
        if (!at)
            return;             /* the block comes back with its slab when the device is closed */
        list->at = at;
        list->cap = cap;
    }
    list->at[list->n++] = p;
}

int cuda_alloc(struct cuda *cuda, size_t nbytes, void **out, struct bk_error *err)
{
    if (nbytes <= CUDA_SMALL_MAX)
        return alloc_small(cuda, nbytes, out, err);
    cudaError_t rc = cudaMalloc(out, nbytes);
    if (rc)
        return cuda_out_of_memory(cuda, rc, nbytes, err);
    cuda->memory.large_bytes += nbytes;
    return BK_OK;
}

void cuda_dealloc(struct cuda *cuda, void *p, size_t nbytes)
{
    if (nbytes <= CUDA_SMALL_MAX) {
        dealloc_small(cuda, p, nbytes);
        return;
    }
    if (!cuda->lost)
        cuda_graphs_section(cuda);  /* kernels that use the block may not have been submitted */
    if (cudaFree(p))            /* waits for work that still uses the block */
        cudaGetLastError();
    cuda->memory.large_bytes -= nbytes;
}

/* ---- workspace ------------------------------------------------------------------------------------- */

int cuda_scratch(struct cuda *cuda, enum cuda_scratch_slot slot, size_t nbytes, void **out, struct bk_error *err)
{
    void **ptr = &cuda->scratch[slot].ptr;
    size_t *held = &cuda->scratch[slot].nbytes;
    if (nbytes > *held || !*ptr) {
        if (cuda->capturing)
            return bk_fail(err, BK_ESTATE, "scratch memory would have to grow");
        cuda_graphs_forget(cuda);
        if (*ptr && cudaFree(*ptr))     /* waits for kernels that still use it; growth is rare */
            cudaGetLastError();
        cuda->memory.scratch_bytes -= *held;
        *ptr = NULL;
        *held = 0;
        size_t size = (nbytes + nbytes / 4 + ((size_t)1 << 20)) >> 16 << 16;
        cudaError_t rc = cudaMalloc(ptr, size);
        if (rc == cudaErrorMemoryAllocation && size > nbytes) {
            cudaGetLastError();
            size = nbytes ? nbytes : 1;
            rc = cudaMalloc(ptr, size);
        }
        if (rc) {
            *ptr = NULL;
            rc = cuda_out_of_memory(cuda, rc, nbytes, err);
            bk_context(err, "workspace region");
            return rc;
        }
        *held = size;
        cuda->memory.scratch_bytes += size;
    }
    *out = *ptr;
    return BK_OK;
}

/* ---- from the host --------------------------------------------------------------------------------- */

int cuda_staging_open(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_staging *s = &cuda->staging;
    cudaError_t rc = cudaMallocHost((void **)&s->base, CUDA_STAGING_PIECES * STAGING_PIECE);
    if (rc) {
        s->base = NULL;
        return cuda_fail(cuda, rc, "allocating pinned host memory", err);
    }
    for (int i = 0; i < CUDA_STAGING_PIECES; i++) {
        rc = cudaEventCreateWithFlags(&s->done[i], cudaEventDisableTiming);
        if (rc)
            return cuda_fail(cuda, rc, "creating an event", err);
    }
    return BK_OK;
}

/* Close the current piece and wait until the next one, used one round ago, has been read by the device. */
static int next_piece(struct cuda *cuda, struct bk_error *err)
{
    struct cuda_staging *s = &cuda->staging;
    cudaError_t rc = cudaEventRecord(s->done[s->piece], cuda->stream);
    if (rc)
        return cuda_fail(cuda, rc, "recording an event", err);
    s->submitted[s->piece] = true;
    s->piece = (s->piece + 1) % CUDA_STAGING_PIECES;
    s->used = 0;
    if (!s->submitted[s->piece])
        return BK_OK;
    rc = cudaEventSynchronize(s->done[s->piece]);
    return rc ? cuda_fail(cuda, rc, "waiting for the device to read its input", err) : BK_OK;
}

int cuda_copy_in(struct cuda *cuda, void *dst, const void *src_host, size_t nbytes, struct bk_error *err)
{
    struct cuda_staging *s = &cuda->staging;
    for (size_t at = 0; at < nbytes;) {
        if (s->used == STAGING_PIECE)
            BK_TRY(next_piece(cuda, err));
        size_t n = nbytes - at < STAGING_PIECE - s->used ? nbytes - at : STAGING_PIECE - s->used;
        char *through = s->base + (size_t)s->piece * STAGING_PIECE + s->used;
        memcpy(through, (const char *)src_host + at, n);
        cudaError_t rc = cudaMemcpyAsync((char *)dst + at, through, n, cudaMemcpyHostToDevice, cuda->stream);
        if (rc)
            return cuda_fail(cuda, rc, "copying to the device", err);
        at += n;
        s->used += (n + 63) / 64 * 64;  /* pieces are multiples of 64 */
    }
    return BK_OK;
}

int cuda_copy(struct cuda *cuda, void *dst, const void *src, size_t nbytes, struct bk_error *err)
{
    cudaError_t rc = cudaMemcpyAsync(dst, src, nbytes, cudaMemcpyDeviceToDevice, cuda->stream);
    return rc ? cuda_fail(cuda, rc, "copying on the device", err) : BK_OK;
}

int cuda_zero(struct cuda *cuda, void *dst, size_t nbytes, struct bk_error *err)
{
    cudaError_t rc = cudaMemsetAsync(dst, 0, nbytes, cuda->stream);
    return rc ? cuda_fail(cuda, rc, "clearing device memory", err) : BK_OK;
}

/* ---- end ------------------------------------------------------------------------------------------- */

void cuda_memory_close(struct cuda *cuda)
{
    struct cuda_memory *m = &cuda->memory;
    for (int i = 0; i < CUDA_SCRATCH_COUNT; i++) {
        cudaFree(cuda->scratch[i].ptr);
        cuda->scratch[i].ptr = NULL;
        cuda->scratch[i].nbytes = 0;
    }
    for (size_t i = 0; i < m->n_slabs; i++)
        cudaFree(m->slab[i]);
    bk_free(m->slab);
    for (int i = 0; i < CUDA_SIZE_CLASSES; i++)
        bk_free(m->list[i].at);
    for (int i = 0; i < CUDA_STAGING_PIECES; i++)
        if (cuda->staging.done[i])
            cudaEventDestroy(cuda->staging.done[i]);
    if (cuda->staging.base)
        cudaFreeHost(cuda->staging.base);
    memset(m, 0, sizeof *m);
    memset(&cuda->staging, 0, sizeof cuda->staging);
    cudaGetLastError();
}
