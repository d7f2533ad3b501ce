/*
 * The host of planning, checking and, but for progress, of stages.
 */
#include "pipeline/plain_host.h"
#include "pipeline/child.h"

static void host_log(void *ctx, int32_t level, const char *line)
{
    (void)ctx;
    bk_log(level >= BK_LOG_ERROR && level <= BK_LOG_TRACE ? (enum bk_log_level)level : BK_LOG_INFO, "%s", line);
}

static void host_progress(void *ctx, double done, double total, const char *unit, const char *note)
{
    (void)ctx, (void)done, (void)total, (void)unit, (void)note;
}

static bool host_cancelled(void *ctx)
{
    (void)ctx;
    return bk__interrupted();
}

static const void *host_extension(void *ctx, const char *id)
{
    (void)ctx, (void)id;
    return NULL;
}

const struct bk_host bk__plain_host = {
    .struct_size = sizeof(struct bk_host),
    .abi_minor = BK_ABI_MINOR,
    .log = host_log,
    .progress = host_progress,
    .cancelled = host_cancelled,
    .get_extension = host_extension,
};
