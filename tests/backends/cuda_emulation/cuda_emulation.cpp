/*
 * cuda_emulation.cpp: a block of 256 threads as 256 stacks that take turns on the thread of the caller.
 *
 * A thread runs until it reaches a barrier that others have not reached yet, then the next one runs. A thread that has returned no
 * longer counts at barriers, as on a GPU. A block in which nobody can go on ends the program: that is a barrier which some threads do
 * not reach. x86-64 only: switching stacks is fifteen instructions here, and ucontext's system calls would take most of the time.
 */
#include <cuda_runtime_api.h>
#include <memory>
#include <stdio.h>
#include <vector>

enum { THREADS = 256, WARP = 32, STACK = 64 << 10 };

struct emulated_index threadIdx, blockIdx, gridDim;
double emulated_exchange[THREADS];
size_t emulated_used;

/* Who takes part in a barrier, how many have arrived, how often all had. */
struct meeting {
    int members, arrived, rounds;
};

static struct {
    char *stacks;
    void *stack_pointer[THREADS], *caller;
    bool is_done[THREADS];
    int current, alive, progress;
    meeting block, warp[THREADS / WARP];
    void (*thread)(void *);
    void *context;
} run;

extern "C" void emulated_switch(void **save, void *to);
asm(".text\n"
    ".globl emulated_switch\n"
    ".hidden emulated_switch\n"
    ".type emulated_switch, @function\n"
    "emulated_switch:\n"
    "    push %rbx\n    push %rbp\n    push %r12\n    push %r13\n    push %r14\n    push %r15\n"
    "    mov %rsp, (%rdi)\n    mov %rsi, %rsp\n"
    "    pop %r15\n    pop %r14\n    pop %r13\n    pop %r12\n    pop %rbp\n    pop %rbx\n"
    "    ret\n"
    ".size emulated_switch, . - emulated_switch\n");

static void open_if_complete(meeting *m)
{
    if (m->members && m->arrived == m->members) {
        m->arrived = 0;
        m->rounds++;
        run.progress++;
    }
}

static void leave(meeting *m)
{
    m->members--;
    open_if_complete(m);
}

static void first_step()
{
    const int me = run.current;
    run.thread(run.context);
    run.is_done[me] = true;
    run.alive--;
    run.progress++;
    leave(&run.warp[me / WARP]);
    leave(&run.block);
    emulated_switch(&run.stack_pointer[me], run.caller);
    abort();                    /* nobody switches to a thread that is done */
}

void emulated_barrier(bool of_warp)
{
    const int me = run.current;
    meeting *m = of_warp ? &run.warp[me / WARP] : &run.block;
    const int round = m->rounds;
    m->arrived++;
    open_if_complete(m);
    while (m->rounds == round)
        emulated_switch(&run.stack_pointer[me], run.caller);
}

static void run_block()
{
    run.alive = THREADS;
    run.block = { THREADS, 0, 0 };
    for (meeting &w : run.warp)
        w = { WARP, 0, 0 };
    for (int i = 0; i < THREADS; i++) {
        void **top = reinterpret_cast<void **>(run.stacks + (size_t)(i + 1) * STACK);
        *--top = nullptr;       /* keeps the stack aligned as after a call */
        *--top = reinterpret_cast<void *>(first_step);
        for (int k = 0; k < 6; k++)
            *--top = nullptr;
        run.stack_pointer[i] = top;
        run.is_done[i] = false;
    }
    while (run.alive) {
        const int before = run.progress;
        for (int i = 0; i < THREADS; i++)
            if (!run.is_done[i]) {
                run.current = i;
                threadIdx = { (unsigned)i, 0, 0 };
                emulated_switch(&run.caller, run.stack_pointer[i]);
            }
        if (run.progress == before) {
            fprintf(stderr, "a barrier is not reached by every thread of a block\n");
            abort();
        }
    }
}

void emulated_launch(dim3 grid, void (*thread)(void *), void *context)
{
    if (!run.stacks)
        run.stacks = static_cast<char *>(aligned_alloc(4096, (size_t)THREADS * STACK));
    if (!run.stacks)
        abort();
    run.thread = thread;
    run.context = context;
    gridDim = { grid.x, grid.y, grid.z };
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                blockIdx = { x, y, z };
                run_block();
            }
}

/* ---- graphs ---------------------------------------------------------------------------------------- */

struct emulated_graph {
    std::vector<std::shared_ptr<emulated_work>> work;
};

static emulated_graph *capturing;
static bool is_spoiled;

extern "C" __attribute__((visibility("default"))) emulated_graph_counts emulated_graphs;
emulated_graph_counts emulated_graphs;

bool emulated_is_capturing(void)
{
    return capturing != nullptr;
}

cudaError_t emulated_spoil(void)
{
    is_spoiled = is_spoiled || capturing;
    return capturing ? cudaErrorStreamCaptureUnsupported : 0;
}

void emulated_capture(emulated_work *work)
{
    capturing->work.emplace_back(work);
}

void emulated_capture_copy(void *to, const void *from, int value, size_t n)
{
    auto copy = [=] {
        if (from)
            memcpy(to, from, n);
        else
            memset(to, value, n);
    };
    emulated_capture(new emulated_work_of<decltype(copy)>(copy));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t, int)
{
    if (capturing)
        abort();
    capturing = new emulated_graph;
    is_spoiled = false;
    return 0;
}

cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph)
{
    *graph = capturing;
    capturing = nullptr;
    if (!is_spoiled && !emulated_graphs.fail_captures)
        return 0;
    delete *graph;
    *graph = nullptr;
    return cudaErrorStreamCaptureUnsupported;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long)
{
    *exec = new emulated_graph(*graph);
    emulated_graphs.captured++;
    emulated_graphs.alive++;
    return 0;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t)
{
    for (const std::shared_ptr<emulated_work> &work : exec->work)
        work->run();
    emulated_graphs.launched++;
    return 0;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    delete exec;
    emulated_graphs.alive--;
    return 0;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    delete graph;
    return 0;
}
