/*
 * cuda_emulation/cuda_runtime_api.h: stands in for NVIDIA's header of that name, so that the sources of the cuda backend compile
 * with gcc and their kernels run as plain loops on the host.
 *
 * Device memory is host memory filled with NaN, a stream is nothing, and a launch runs block after block, each with 256 threads that
 * take turns on one stack each until all have reached a barrier (cuda_emulation.cpp). What this shows: index arithmetic, alignment of
 * indices, sums, barriers and shuffles in the kernels, the drivers around them. What it does not show: races between warps that no
 * barrier orders, asynchrony, cuDNN, cuBLASLt, anything about speed.
 */
#ifndef CUDA_EMULATION_RUNTIME_H
#define CUDA_EMULATION_RUNTIME_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef int cudaError_t;
typedef struct emulated_stream *cudaStream_t;
typedef struct emulated_event *cudaEvent_t;
typedef struct emulated_graph *cudaGraph_t, *cudaGraphExec_t;

enum {
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorECCUncorrectable = 214,
    cudaErrorIllegalAddress = 700,
    cudaErrorLaunchTimeout = 702,
    cudaErrorAssert = 710,
    cudaErrorHardwareStackError = 714,
    cudaErrorIllegalInstruction = 715,
    cudaErrorMisalignedAddress = 716,
    cudaErrorInvalidAddressSpace = 717,
    cudaErrorInvalidPc = 718,
    cudaErrorLaunchFailure = 719,
    cudaErrorStreamCaptureUnsupported = 900,
};
enum { cudaStreamCaptureModeRelaxed = 2 };
enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum { cudaEventDisableTiming = 2, cudaStreamNonBlocking = 1 };
enum { cudaDevAttrComputeCapabilityMajor = 75, cudaDevAttrComputeCapabilityMinor = 76, cudaDevAttrMultiProcessorCount = 16 };

struct cudaDeviceProp {
    char name[256];
    int major, minor;
    size_t totalGlobalMem;
};

#define EMULATED_MEMORY ((size_t)4 << 30)
#define EMULATED_NAN ((size_t)4 << 20)      /* this much of a block is filled: touching whole arenas takes seconds */

#ifdef __cplusplus
extern "C" {
#endif

extern size_t emulated_used;                /* bytes of device memory */

/*
 * Graphs: what a stream is given while it captures is put into a list, arguments by value, and run when the graph is launched; memory
 * of the host is read then. Waiting and asking for memory spoil a capture.
 */
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
bool emulated_is_capturing(void);
cudaError_t emulated_spoil(void);           /* an error while capturing, which then fails; else 0 */
void emulated_capture_copy(void *to, const void *from, int value, size_t n);        /* from NULL: set to value */

/* What a test may ask the module for; `fail_captures` refuses them. */
struct emulated_graph_counts {
    int captured, launched, alive, fail_captures;
};

#ifdef __cplusplus
}
#endif

/* The size stands in front of the block. */
static inline cudaError_t cudaMalloc(void **p, size_t n)
{
    if (emulated_spoil())
        return cudaErrorStreamCaptureUnsupported;
    char *block = n <= EMULATED_MEMORY - emulated_used ? (char *)aligned_alloc(256, (n + 511) / 256 * 256) : NULL;
    if (!block)
        return cudaErrorMemoryAllocation;
    memcpy(block, &n, sizeof n);
    emulated_used += n;
    *p = block + 256;
    memset(*p, 0xff, n < EMULATED_NAN ? n : EMULATED_NAN);
    return 0;
}

static inline cudaError_t cudaFree(void *p)
{
    size_t n = 0;
    if (!p)
        return 0;
    if (emulated_spoil())
        return cudaErrorStreamCaptureUnsupported;
    memcpy(&n, (char *)p - 256, sizeof n);
    emulated_used -= n;
    free((char *)p - 256);
    return 0;
}

static inline cudaError_t cudaMallocHost(void **p, size_t n)
{
    *p = malloc(n);
    return *p ? 0 : cudaErrorMemoryAllocation;
}

static inline cudaError_t cudaMemGetInfo(size_t *available, size_t *total)
{
    *available = EMULATED_MEMORY - emulated_used;
    *total = EMULATED_MEMORY;
    return 0;
}

static inline cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, int kind, cudaStream_t stream)
{
    (void)kind, (void)stream;
    if (emulated_is_capturing())
        emulated_capture_copy(to, from, 0, n);
    else
        memcpy(to, from, n);
    return 0;
}

static inline cudaError_t cudaMemsetAsync(void *to, int value, size_t n, cudaStream_t stream)
{
    (void)stream;
    if (emulated_is_capturing())
        emulated_capture_copy(to, NULL, value, n);
    else
        memset(to, value, n);
    return 0;
}

/* Calls that have nothing to do here: `call` says what they leave in their first argument. */
#define EMULATED(name, parameters, call)                                                 \
    static inline cudaError_t name parameters                                            \
    {                                                                                    \
        call;                                                                            \
        return 0;                                                                        \
    }
EMULATED(cudaFreeHost, (void *p), free(p))
EMULATED(cudaGetLastError, (void), (void)0)
EMULATED(cudaSetDevice, (int device), (void)device)
EMULATED(cudaGetDeviceCount, (int *n), *n = 1)
EMULATED(cudaDriverGetVersion, (int *version), *version = 13000)
EMULATED(cudaRuntimeGetVersion, (int *version), *version = 13000)
EMULATED(cudaEventCreateWithFlags, (cudaEvent_t *e, unsigned flags), (void)flags; *e = NULL)
EMULATED(cudaEventDestroy, (cudaEvent_t e), (void)e)
EMULATED(cudaEventRecord, (cudaEvent_t e, cudaStream_t s), (void)e; (void)s)
EMULATED(cudaEventSynchronize, (cudaEvent_t e), (void)e)
EMULATED(cudaStreamCreateWithFlags, (cudaStream_t *s, unsigned flags), (void)flags; *s = NULL)
EMULATED(cudaStreamWaitEvent, (cudaStream_t s, cudaEvent_t e, unsigned flags), (void)s; (void)e; (void)flags)
EMULATED(cudaStreamDestroy, (cudaStream_t s), (void)s)
EMULATED(cudaDeviceGetAttribute, (int *value, int attribute, int device), (void)device;
         *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9 : 4)
EMULATED(cudaGetDeviceProperties, (struct cudaDeviceProp *p, int device), (void)device; memset(p, 0, sizeof *p); p->major = 9)
#undef EMULATED

static inline cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return emulated_spoil();
}

static inline const char *cudaGetErrorString(cudaError_t rc)
{
    return rc ? "an emulated error" : "no error";
}

/* ---- the language -------------------------------------------------------------------------------- */

#ifdef __cplusplus

#define __CUDACC__ 1
#define __host__
#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __shared__ static           /* blocks run one after the other */
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};
struct float4 {
    float x, y, z, w;
};
struct uint4 {
    unsigned x, y, z, w;
};
struct uint2 {
    unsigned x, y;
};

static inline float4 make_float4(float x, float y, float z, float w)
{
    return { x, y, z, w };
}

static inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w)
{
    return { x, y, z, w };
}

static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return { x, y };
}

static inline unsigned __float_as_uint(float f)
{
    unsigned u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float __uint_as_float(unsigned u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* The thread that runs at the moment. */
extern struct emulated_index {
    unsigned x, y, z;
} threadIdx, blockIdx, gridDim;

extern double emulated_exchange[256];
void emulated_barrier(bool of_warp);
void emulated_launch(dim3 grid, void (*thread)(void *), void *context);

/* A launch with its arguments, put aside. */
struct emulated_work {
    virtual void run() = 0;
    virtual ~emulated_work()
    {
    }
};
void emulated_capture(emulated_work *work);

template <typename F> struct emulated_work_of : emulated_work {
    F f;
    explicit emulated_work_of(const F &f_) : f(f_)
    {
    }
    void run() override
    {
        f();
    }
};

#define __syncthreads() emulated_barrier(false)

static inline int __syncthreads_or(int v)
{
    int any = 0;
    emulated_exchange[threadIdx.x] = v != 0;
    emulated_barrier(false);
    for (int i = 0; i < 256; i++)
        any |= emulated_exchange[i] != 0;
    emulated_barrier(false);
    return any;
}

template <typename T> static inline T __shfl_xor_sync(unsigned, T v, int distance)
{
    emulated_exchange[threadIdx.x] = (double)v;
    emulated_barrier(true);
    T other = (T)emulated_exchange[threadIdx.x ^ (unsigned)distance];
    emulated_barrier(true);
    return other;
}

static inline unsigned atomicAdd(unsigned *p, unsigned v)      /* threads take turns at barriers alone */
{
    const unsigned old = *p;
    *p += v;
    return old;
}

template <typename F> struct emulated_kernel {
    dim3 grid;
    F call;
    template <typename... A> void operator()(A... arguments)
    {
        auto launch = [grid = grid, call = call, arguments...] {
            auto body = [&] { call(arguments...); };
            emulated_launch(grid, [](void *context) { (*static_cast<decltype(body) *>(context))(); }, &body);
        };
        if (emulated_is_capturing())
            emulated_capture(new emulated_work_of<decltype(launch)>(launch));
        else
            launch();
    }
};

template <typename F> static inline emulated_kernel<F> emulated_kernel_of(dim3 grid, F call)
{
    return { grid, call };
}

#define CUDA_LAUNCH(cuda, grid, ...) emulated_kernel_of(dim3(grid), [=](auto... a_) { __VA_ARGS__(a_...); })

#endif
#endif
