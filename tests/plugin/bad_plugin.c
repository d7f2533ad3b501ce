/*
 * A rater plugin with one fault, chosen at compile time (-DFAULT_...): test_bad_plugins.c loads every variant.
 *
 * Without a fault it is a good plugin (rater "steady"): the control of the experiment.
 */
#include <bosskit/method.h>

#if defined(FAULT_NAME)
#define NAME FAULT_NAME
#else
#define NAME "steady"
#endif

struct state {
    int64_t n;
    int32_t how;
    bool on;
    struct bk_ints widths;
};

#ifdef FAULT_UNRESOLVED
int nobody_defines_this(void);
#endif

static int rate_archs(void *state, const struct bk_env *env, const struct bk_arch *archs, size_t n,
                      double *scores, struct bk_error *err)
{
    (void)state, (void)env, (void)archs, (void)err;
    for (size_t i = 0; i < n; i++)
        scores[i] = 0;
#ifdef FAULT_UNRESOLVED
    return nobody_defines_this();
#else
    return BK_OK;
#endif
}

#ifdef FAULT_INIT
static int init(void *state, const struct bk_host *host, struct bk_error *err)
{
    (void)state, (void)host;
    return bk_fail(err, BK_EINVAL, "'n' and 'how' do not go together");
}

/* A free() without a successful init() would crash here. */
static void release(void *state)
{
    (void)state;
    __builtin_trap();
}
#endif

static const struct bk_choice hows[] = {
#ifdef FAULT_CHOICE_TWICE
    { "a", 1 }, { "a", 2 },
#else
    { "a", 1 }, { "b", 2 },
#endif
    { NULL, 0 },
};

static const struct bk_opt options[] = {
#if defined(FAULT_DEFAULT)
    BK_INT("n", struct state, n, 101, 1, 100, "", "number"),
#elif defined(FAULT_BOUNDS)
    BK_INT("n", struct state, n, 1, 100, 1, "", "number"),
#elif defined(FAULT_FRACTION)
    BK_INT("n", struct state, n, 1.5, 1, 100, "", "number"),
#elif defined(FAULT_OFFSET)
    { "n", BK_OPT_INT, 1u << 20, 0, 0, 1, 1, 100, NULL, NULL, "", "number" },
#elif defined(FAULT_TYPE)
    { "n", 99, 0, 0, 0, 1, 1, 100, NULL, NULL, "", "number" },
#elif defined(FAULT_OPTION_NAME)
    BK_INT("Big-N", struct state, n, 1, 1, 100, "", "number"),
#elif defined(FAULT_RESERVED_NAME)
    BK_INT("plugin", struct state, n, 1, 1, 100, "", "number"),
#else
    BK_INT("n", struct state, n, 1, 1, 100, "", "number"),
#endif
#ifdef FAULT_TWICE
    BK_INT("n", struct state, n, 1, 1, 100, "", "number"),
#endif
#ifdef FAULT_ENUM_DEFAULT
    BK_ENUM("how", struct state, how, 7, hows, "manner"),
#else
    BK_ENUM("how", struct state, how, 1, hows, "manner"),
#endif
    BK_BOOL("on", struct state, on, true, "switch"),
#ifdef FAULT_INTS_DEFAULT
    BK_INTS("widths", struct state, widths, "8;16", 1, 64, "", "widths"),
#else
    BK_INTS("widths", struct state, widths, "8,16", 1, 64, "", "widths"),
#endif
    BK_OPT_END,
};

static const struct bk_rater_iface iface = {
#ifdef FAULT_TABLE_SIZE
    .struct_size = 4,
#else
    .struct_size = sizeof(struct bk_rater_iface),
#endif
#ifdef FAULT_FLAGS
    .flags = 0,
#else
    .flags = BK_RATER_ARCHS,
#endif
#ifdef FAULT_BETTER
    .better = 0,
#else
    .better = BK_HIGHER_IS_BETTER,
#endif
#ifdef FAULT_MEMBER
    .rate_archs = sizeof(struct state) ? NULL : rate_archs,
#else
    .rate_archs = rate_archs,
#endif
};

#ifdef FAULT_NEWER
/* What a later minor version appends, in use. */
static const struct {
    struct bk_plugin p;
    uint64_t later;
} newer = { {
                .struct_size = sizeof(struct bk_plugin) + 8,
                .kind = BK_KIND_RATER,
                .name = NAME,
                .version = "1",
                .summary = "newer",
                .options = options,
                .state_size = sizeof(struct state),
                .iface = &iface,
            },
            1 };
#define PLUGIN newer.p
#else
static const struct bk_plugin plugin = {
#ifdef FAULT_SIZE
    .struct_size = 0,
#else
    .struct_size = sizeof(struct bk_plugin),
#endif
#ifdef FAULT_KIND
    .kind = 42,
#else
    .kind = BK_KIND_RATER,
#endif
    .name = NAME,
    .version = "1.0.0",
    .summary = "scores of zero",
    .source_digest = BK_SOURCE_DIGEST,
    .options = options,
    .state_size = sizeof(struct state),
#ifdef FAULT_INIT
    .init = init,
    .free = release,
#endif
#ifdef FAULT_IFACE
    .iface = sizeof iface ? NULL : &iface,
#else
    .iface = &iface,
#endif
};
#define PLUGIN plugin
#endif

#if defined(FAULT_NO_MODULE)
BK_API int bk_modul(void);
int bk_modul(void)
{
    return PLUGIN.kind == 0;
}
#elif defined(FAULT_ABI) || defined(FAULT_MODULE_SIZE) || defined(FAULT_EMPTY)
static const struct bk_plugin *const plugins[] = {
#ifndef FAULT_EMPTY
    &PLUGIN,
#endif
    NULL,
};
BK_API extern const struct bk_module bk_module;
const struct bk_module bk_module = {
#ifdef FAULT_MODULE_SIZE
    .struct_size = 0,
#else
    .struct_size = sizeof(struct bk_module),
#endif
#ifdef FAULT_ABI
    .abi_major = BK_ABI_MAJOR + 1,
    .abi_minor = 3,
#else
    .abi_major = BK_ABI_MAJOR,
#endif
    .built_with = "a test",
    .plugins = plugins,
};
#ifdef FAULT_EMPTY
const void *bk_unused(void);
const void *bk_unused(void)
{
    return &PLUGIN;
}
#endif
#else
BK_MODULE(&PLUGIN);
#endif
