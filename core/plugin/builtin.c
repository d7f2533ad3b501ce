/*
 * plugin/builtin.c: what the core registers as if it came from a file: the reference backend.
 */
#include "plugin/loader.h"

#include <bosskit/backend.h>

static const struct bk_plugin ref_plugin = {
    .struct_size = sizeof(struct bk_plugin),
    .kind = BK_KIND_BACKEND,
    .name = "ref",
    .version = BK_VERSION,
    .summary = "reference kernels: plain loops, slow and obviously right",
    .help = "Built into libbosskit. One thread, f32, bf16 and f64. It is what the other backends are tested against and "
            "what determinism = \"reference\" runs on.",
    .source_digest = BK_SOURCE_DIGEST,
    .state_size = 1,
    .iface = &bk_ref_backend,
};

const struct bk_plugin *const bk__builtin_plugins[] = { &ref_plugin, NULL };
