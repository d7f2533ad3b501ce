/*
 * autograd/step_memory.c: see the header. Parameters and workspace count as they are when the step fails: what is free then, and
 * what the step region holds, is what a smaller batch can have.
 */
#include "autograd/step_memory.h"
#include "autograd/step_arena.h"
#include "device/device.h"

#define ENDLESS (SIZE_MAX / 4)

/* Bytes of step memory that `step` uses at once, as far as it gets. The tape is empty afterwards. */
static size_t measure(struct bk_tape *tape, bk__step_fn step, void *user)
{
    struct bk__step_arena *arena = bk__tape_arena(tape), kept = *arena;
    struct bk__chunk nothing = { (char *)(uintptr_t)4096, ENDLESS, 0 };
    struct bk_error ignored = BK_ERROR_INIT;
    *arena = (struct bk__step_arena){ .device = kept.device, .chunk = &nothing, .n_chunks = 1, .cap_chunks = 1, .held = ENDLESS };
    bk__device_set_dry(kept.device, true);
    (void)!step(user, &ignored);
    bk__device_set_dry(kept.device, false);
    size_t peak = arena->peak;
    *arena = kept;
    bk_tape_reset(tape);
    return peak;
}

/* Chunks are not filled to the end: an eighth is left for that. */
static int64_t batch_that_fits(int64_t batch, size_t need, size_t room)
{
    int64_t fits = (int64_t)((double)batch * 0.875 * (double)room / (double)need);
    int64_t most = batch - (batch + 7) / 8;     /* this one did not fit, whatever was in the way */
    return fits < most ? fits : most;
}

static int explain(struct bk_tape *tape, int64_t batch, bk__step_fn step, void *user, struct bk_error *err)
{
    size_t room, need = measure(tape, step, user);
    if (!need)
        return BK_ENOMEM;
    bk_fail(err, BK_ENOMEM, "%s; a step of %lld images needs %zu MiB of step memory", err->text, (long long)batch,
            (need + ((size_t)1 << 20) - 1) >> 20);
    if (!bk__device_available(bk_tape_device(tape), &room))
        return BK_ENOMEM;
    int64_t fits = batch_that_fits(batch, need, room + bk__tape_arena(tape)->held);
    if (fits < 1)
        return bk_fail(err, BK_ENOMEM, "%s, and not one image fits", err->text);
    return bk_fail(err, BK_ENOMEM, "%s; a batch of about %lld would fit", err->text, (long long)fits);
}

int bk__step_run(struct bk_tape *tape, int64_t batch, bk__step_fn step, void *user, struct bk_error *err)
{
    struct bk_device *device = bk_tape_device(tape);
    bool recording = bk_tape_is_recording(tape);
    bk__device_take_refusal(device);
    int rc = step(user, err);
    if (rc != BK_ENOMEM || !bk__device_take_refusal(device) || !err)
        return rc;
    bk_tape_set_recording(tape, recording);
    rc = explain(tape, batch, step, user, err);
    bk_tape_set_recording(tape, recording);
    return rc;
}
