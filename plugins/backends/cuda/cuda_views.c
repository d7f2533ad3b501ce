/*
 * cuda_views.c: uploads of images and plans, and the call that makes views of them on the device.
 *
 * The windows of a batch and what is to be done with them are packed into pinned memory and copied by a stream of their own,
 * so that they arrive while the device computes an earlier step. CUDA_UPLOADS batches may be under way; the host waits only
 * when it is further ahead than that, or when a batch is larger than any before. The compute stream waits for the copy, the
 * next copy into the same memory for the kernel. The kernel is in cuda_augment.cu.
 */
#include "cuda_state.h"
#include "cuda_views.h"
#include <string.h>

/* ---- uploads ------------------------------------------------------------------------------------------- */

static int open_uploads(struct cuda *cuda, struct bk_error *err)
{
    cudaError_t rc = cudaStreamCreateWithFlags(&cuda->upload_stream, cudaStreamNonBlocking);
    for (int i = 0; !rc && i < CUDA_UPLOADS; i++) {
        struct cuda_upload *u = &cuda->upload[i];
        rc = cudaEventCreateWithFlags(&u->copied, cudaEventDisableTiming);
        if (!rc)
            rc = cudaEventCreateWithFlags(&u->used, cudaEventDisableTiming);
    }
    if (!rc)
        return BK_OK;
    cuda_views_close(cuda);
    return cuda_fail(cuda, rc, "creating the stream of uploads", err);
}

static void free_upload(struct cuda *cuda, struct cuda_upload *u)
{
    if (u->device && cudaFree(u->device))       /* waits for a kernel that still reads it */
        cudaGetLastError();
    if (u->host)
        cudaFreeHost(u->host);
    cuda->memory.scratch_bytes -= u->nbytes;
    u->host = u->device = NULL;
    u->nbytes = 0;
}

static int grow_upload(struct cuda *cuda, struct cuda_upload *u, size_t nbytes, struct bk_error *err)
{
    void *device, *host;
    size_t size = (nbytes + nbytes / 4 + ((size_t)1 << 16)) >> 16 << 16;
    free_upload(cuda, u);
    cudaError_t rc = cudaMalloc(&device, size);
    if (rc) {
        int failed = cuda_out_of_memory(cuda, rc, size, err);
        bk_context(err, "workspace region");
        return failed;
    }
    u->device = device;
    u->nbytes = size;
    cuda->memory.scratch_bytes += size;
    rc = cudaMallocHost(&host, size);
    if (rc) {
        free_upload(cuda, u);
        return cuda_fail(cuda, rc, "allocating pinned host memory", err);
    }
    u->host = host;
    return BK_OK;
}

/* The next upload in turn, its pinned memory free to be written. */
static int take_upload(struct cuda *cuda, size_t nbytes, struct cuda_upload **out, struct bk_error *err)
{
    if (!cuda->upload_stream)
        BK_TRY(open_uploads(cuda, err));
    struct cuda_upload *u = &cuda->upload[cuda->next_upload];
    cudaError_t rc = u->is_under_way ? cudaEventSynchronize(u->copied) : 0;
    if (rc)
        return cuda_fail(cuda, rc, "waiting for the device to read its input", err);
    if (nbytes > u->nbytes)
        BK_TRY(grow_upload(cuda, u, nbytes, err));
    cuda->next_upload = (cuda->next_upload + 1) % CUDA_UPLOADS;
    *out = u;
    return BK_OK;
}

/* Copy it, after the kernel that read the one before; kernels submitted from now on find it. */
static int send_upload(struct cuda *cuda, struct cuda_upload *u, size_t nbytes, struct bk_error *err)
{
    cudaError_t rc = u->is_under_way ? cudaStreamWaitEvent(cuda->upload_stream, u->used, 0) : 0;
    if (!rc)
        rc = cudaMemcpyAsync(u->device, u->host, nbytes, cudaMemcpyHostToDevice, cuda->upload_stream);
    if (!rc)
        rc = cudaEventRecord(u->copied, cuda->upload_stream);
    if (!rc)
        rc = cudaStreamWaitEvent(cuda->stream, u->copied, 0);
    return rc ? cuda_fail(cuda, rc, "copying images to the device", err) : BK_OK;
}

void cuda_views_close(struct cuda *cuda)
{
    if (cuda->upload_stream)
        cudaStreamSynchronize(cuda->upload_stream);
    for (int i = 0; i < CUDA_UPLOADS; i++) {
        struct cuda_upload *u = &cuda->upload[i];
        free_upload(cuda, u);
        if (u->copied)
            cudaEventDestroy(u->copied);
        if (u->used)
            cudaEventDestroy(u->used);
    }
    if (cuda->upload_stream)
        cudaStreamDestroy(cuda->upload_stream);
    memset(cuda->upload, 0, sizeof cuda->upload);
    cuda->upload_stream = NULL;
    cuda->next_upload = 0;
}

/* ---- packing ------------------------------------------------------------------------------------------- */

static size_t plan_bytes(const struct bk_view_plan *p)
{
    return offsetof(struct bk_view_plan, step) + (size_t)p->n_steps * sizeof p->step[0];
}

/* Fill the jobs of n views (NULL: only measure); the sizes of upload and scratch. */
static void lay_out(const struct bk_view_plan *plan, int32_t n, struct cuda_view_job *job, size_t *upload, size_t *scratch)
{
    uint64_t at = cuda_view_align((uint64_t)n * sizeof *job), room = 0;
    for (int32_t i = 0; i < n; i++) {
        const struct bk_view_plan *p = &plan[i];
        struct cuda_view_job j = { .plan = at, .pixels = at + cuda_view_align(plan_bytes(p)), .scratch = room };
        at = j.pixels + cuda_view_align((uint64_t)p->width * (uint64_t)p->height * 3);
        room += cuda_view_layout_make(p).nbytes;
        if (job)
            job[i] = j;
    }
    *upload = at;
    *scratch = room;
}

static void pack_view(const struct bk_view_plan *p, const struct cuda_view_job *job, char *upload)
{
    const size_t line = (size_t)p->width * 3, stride = (size_t)p->image.width * 3;
    const uint8_t *from = p->image.rgb + (size_t)p->y * stride + (size_t)p->x * 3;
    char *to = upload + job->pixels;
    memcpy(upload + job->plan, p, plan_bytes(p));
    for (int32_t y = 0; y < p->height; y++)
        memcpy(to + (size_t)y * line, from + (size_t)y * stride, line);
}

static void pack(const struct bk_view_plan *plan, int32_t n, char *upload)
{
    size_t nbytes, scratch;
    struct cuda_view_job *job = (void *)upload;
    lay_out(plan, n, job, &nbytes, &scratch);
    for (int32_t i = 0; i < n; i++)
        pack_view(&plan[i], &job[i], upload);
}

int cuda_make_views(struct cuda *cuda, const struct bk_view_plan *plan, int32_t n, struct bk_tensor *out, struct bk_error *err)
{
    struct cuda_upload *u = NULL;
    size_t nbytes, scratch_bytes;
    void *scratch;

    lay_out(plan, n, NULL, &nbytes, &scratch_bytes);
    BK_TRY(cuda_scratch(cuda, CUDA_SCRATCH_VIEWS, scratch_bytes, &scratch, err));
    BK_TRY(take_upload(cuda, nbytes, &u, err));
    pack(plan, n, u->host);
    BK_TRY(send_upload(cuda, u, nbytes, err));
    u->is_under_way = true;
    int rc = cuda_launch_views(cuda, n, u->device, scratch, out, err);
    cudaError_t event = cudaEventRecord(u->used, cuda->stream);
    if (!rc && event)
        rc = cuda_fail(cuda, event, "recording an event", err);
    return rc;
}
