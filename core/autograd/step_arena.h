/**
 * autograd/step_arena.h: the memory of one training step.
 *
 *     chunk 0            chunk 1            chunk 2
 *     [#########...]     [####........]     [............]
 *                             ^ offset in the current chunk
 *
 * Blocks are cut one after another and released together by going back to an earlier position. Chunks are kept, so
 * that a step as large as an earlier one allocates nothing. Requirements that led to this: no allocation in a
 * steady-state step, tensors of a rewound path reuse the same (warm) memory, device memory that the host cannot touch.
 * Where the host can, AddressSanitizer sees freed ranges and the red zone behind each block. Memory is not zeroed.
 */
#ifndef BK_AUTOGRAD_STEP_ARENA_H
#define BK_AUTOGRAD_STEP_ARENA_H

#include <bosskit/tape.h>

struct bk__chunk {
    char *base;
    size_t size;
    size_t before;              /* bytes in use in earlier chunks when this one was entered */
};

struct bk__step_arena {
    struct bk_device *device;
    struct bk__chunk *chunk;
    size_t n_chunks, cap_chunks;
    size_t current, offset;     /* meaningless while n_chunks is 0 */
    size_t held, peak;          /* bytes of all chunks; most ever in use */
    bool host_memory;
};

void bk__step_arena_init(struct bk__step_arena *a, struct bk_device *device);
void bk__step_arena_release(struct bk__step_arena *a);
/** A block of `nbytes`, aligned to 256. Errors: BK_ENOMEM. */
int bk__step_arena_take(struct bk__step_arena *a, size_t nbytes, void **out, struct bk_error *err) BK_MUST_USE;
/** Give back everything taken since the position was (chunk, offset). */
void bk__step_arena_rewind(struct bk__step_arena *a, size_t chunk, size_t offset);

/** That of a tape. */
struct bk__step_arena *bk__tape_arena(struct bk_tape *tape);

#endif
