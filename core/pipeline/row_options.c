/*
 * The option tables of the pipeline itself. Everything an experiment file may say outside plugins is a row here; the
 * checks, the error sentences, cache keys and `bosskit check` follow from it.
 */
#include "pipeline/experiment.h"

#include <bosskit/backend.h>

/* clang-format off */
static const struct bk_choice dtypes[] = { { "auto", 0 }, { "f32", BK_F32 }, { "bf16", BK_BF16 }, { NULL, 0 } };
static const struct bk_choice levels[] = {
    { "fast", BK_FAST }, { "repeatable", BK_REPEATABLE }, { "reference", BK_REFERENCE }, { NULL, 0 } };
static const struct bk_choice sources[] = { { "file", BK_TRUTH_FILE }, { "standalone", BK_TRUTH_STANDALONE }, { NULL, 0 } };
static const struct bk_choice augments[] = {
    { "cifar", BK_AUGMENT_CIFAR }, { "imagenet", BK_AUGMENT_IMAGENET }, { "byol", BK_AUGMENT_BYOL },
    { "none", BK_AUGMENT_NONE }, { NULL, 0 } };

static const struct bk_choice augment_places[] = {
    { "host", BK_AUGMENT_ON_HOST }, { "device", BK_AUGMENT_ON_DEVICE }, { NULL, 0 } };

const struct bk_opt bk__top_table[] = {
    BK_TEXT ("name",         struct bk_top_options, name,         NULL, "name of the run directory; default: the file's name"),
    BK_TEXT ("title",        struct bk_top_options, title,        "",   "heading of the report"),
    BK_INT  ("seed",         struct bk_top_options, seed,         0, 0, 9007199254740992.0, "", "root of all randomness of a row"),
    BK_ENUM ("dtype",        struct bk_top_options, dtype,        0, dtypes, "type of activations; auto: bf16 where the device is fast at it"),
    BK_ENUM ("determinism",  struct bk_top_options, determinism,  BK_FAST, levels, "how much may differ between two runs"),
    BK_INT_F("threads",      struct bk_top_options, threads,      0, 0, 4096, "threads", "threads that compute; 0: all cores", BK_OPT_NOKEY),
    BK_INT_F("checkpoint_s", struct bk_top_options, checkpoint_s, 100, 0, 86400, "s", "time between checkpoints", BK_OPT_NOKEY),
    BK_INT  ("n_classes",    struct bk_top_options, n_classes,    10, 1, 100000, "classes", "of stand-alone networks, where no data set says it"),
    BK_TEXT ("supernet",     struct bk_top_options, supernet,     NULL, "another row of the grid: its trained supernet is rated here, every block behind that row's own best paths, and searches combine those ratings"),
    BK_BOOL ("quoted",       struct bk_top_options, quoted,       0, "nothing is computed: the row shows report.published alone"),
    BK_OPT_END
};

const struct bk_opt bk__truth_table[] = {
    BK_ENUM("source",       struct bk_truth_options, source,       BK_TRUTH_FILE, sources, "a table, or training every architecture alone"),
    BK_PATH("file",         struct bk_truth_options, file,         NULL, "file: the table (CSV, or the YAML mapping of the BossNAS release)"),
    BK_TEXT("column",       struct bk_truth_options, column,       NULL, "file: column of the values in a CSV table"),
    BK_TEXT("hint",         struct bk_truth_options, hint,         NULL, "file: where to get the table, said when it is missing"),
    BK_INT ("n",            struct bk_truth_options, n,            0, 0, 10000000, "architectures", "how many; file: 0 means all of the table"),
    BK_INT ("seed",         struct bk_truth_options, seed,         0, 0, 9007199254740992.0, "", "of the sample of architectures and of stand-alone training"),
    BK_OPT_END
};

const struct bk_opt bk__retrain_table[] = {
    BK_TEXT ("arch",       struct bk_retrain_options, arch,       "found", "architecture to train alone, or \"found\": what the search finds"),
    BK_INT  ("seed",       struct bk_retrain_options, seed,       0, 0, 9007199254740992.0, "", "of weights, order, views and dropout"),
    BK_INT  ("eval_size",  struct bk_retrain_options, eval_size,  0, 0, 8192, "pixels", "side of test images; 0: as in training"),
    BK_INT_F("eval_batch", struct bk_retrain_options, eval_batch, 0, 0, 65536, "images", "test images at once; 0: as in training", BK_OPT_NOKEY),
    BK_OPT_END
};

const struct bk_opt bk__published_retrain_table[] = {
    BK_REAL("top1",   struct bk_published_retrain, top1,   0, 0, 100, "%", "published top-1 accuracy"),
    BK_REAL("top5",   struct bk_published_retrain, top5,   0, 0, 100, "%", "published top-5 accuracy"),
    BK_REAL("params", struct bk_published_retrain, params, 0, 0, 1e15, "", "published number of parameters"),
    BK_REAL("madds",  struct bk_published_retrain, madds,  0, 0, 1e18, "", "published multiply-adds"),
    BK_TEXT("source", struct bk_published_retrain, source, "", "where it was published"),
    BK_OPT_END
};

const struct bk_opt bk__report_table[] = {
    BK_INT ("bootstrap", struct bk_report_options, bootstrap, 1000, 0, 1000000, "resamples", "of the 95 % intervals; 0: no intervals"),
    BK_INT ("top_k",     struct bk_report_options, top_k,     10, 1, 1000000, "architectures", "size of the top in precision, regret and top tau"),
    BK_REAL("tolerance", struct bk_report_options, tolerance, 0, 0, 2, "", "largest allowed distance to the published values; unset: not checked"),
    BK_OPT_END
};

const struct bk_opt bk__published_table[] = {
    BK_REAL("kendall_tau",  struct bk_published, kendall_tau,  0, -1, 1, "", "published Kendall tau, higher rating is better"),
    BK_REAL("spearman_rho", struct bk_published, spearman_rho, 0, -1, 1, "", "published Spearman rho"),
    BK_REAL("pearson_r",    struct bk_published, pearson_r,    0, -1, 1, "", "published Pearson R"),
    BK_REAL("found_truth",  struct bk_published, found_truth,  0, -1e9, 1e9, "", "published truth (accuracy) of the architecture that is found"),
    BK_TEXT("source",       struct bk_published, source,       "", "where it was published"),
    BK_OPT_END
};

const struct bk_opt bk__data_table[] = {
    BK_ENUM ("augment",        struct bk_data_options, augment,        BK_AUGMENT_CIFAR, augments, "named pipelines of training, rating and stand-alone views"),
    BK_INT_F("loader_threads", struct bk_data_options, loader_threads, 1, 0, 256, "threads", "workers that make views; 0: none", BK_OPT_NOKEY),
    { "augment_on", BK_OPT_ENUM, BK_FIELD(struct bk_data_options, augment_on, int32_t), BK_OPT_NOKEY, BK_AUGMENT_ON_HOST, 0, 0, 0, NULL,
      augment_places, "", "where the pixels of views are made; device: on the backend's where it can, from the same draws" },
    BK_OPT_END
};

const struct bk_opt bk__rater_table[] = {
    BK_REAL("offset",         struct bk_rater_options, offset,         0, -1000, 1000, "", "added to every block's rating before summing"),
    BK_INT ("round_decimals", struct bk_rater_options, round_decimals, -1, -1, 15, "decimals", "round summed ratings as the BossNAS release does (4); -1: never"),
    BK_OPT_END
};

const struct bk_opt bk__trainer_table[] = {
    BK_INT ("rate_every",     struct bk_trainer_options, rate_every,   0, 0, 100000, "epochs", "rate the block during its training, for curves of convergence; 0: at its end alone"),
    BK_TEXT("prefix",         struct bk_trainer_options, prefix,       "found", "what later blocks are trained and rated behind: the best path of each block, or this architecture's"),
    BK_OPT_END
};

const struct bk_opt bk__named_table[] = {
    BK_TEXT("name",   struct bk_named_arch, name,   NULL, "what it is called; default: its text"),
    BK_TEXT("arch",   struct bk_named_arch, arch,   NULL, "the architecture in the space's text; unset: published values alone"),
    BK_REAL("top1",   struct bk_named_arch, top1,   0, 0, 100, "%", "published top-1 accuracy"),
    BK_REAL("top5",   struct bk_named_arch, top5,   0, 0, 100, "%", "published top-5 accuracy"),
    BK_REAL("params", struct bk_named_arch, params, 0, 0, 1e18, "parameters", "published number of parameters"),
    BK_REAL("madds",  struct bk_named_arch, madds,  0, 0, 1e18, "multiply-adds", "published multiply-adds"),
    BK_TEXT("source", struct bk_named_arch, source, "", "where that was published"),
    BK_OPT_END
};

const char *const bk__slot_key[BK_N_SLOTS] = { "backend", "space", "data", "trainer", "sampler", "rater", "searcher" };
const uint32_t bk__slot_kind[BK_N_SLOTS] = { BK_KIND_BACKEND, BK_KIND_SPACE, BK_KIND_DATASET, BK_KIND_TRAINER,
                                             BK_KIND_SAMPLER, BK_KIND_RATER, BK_KIND_SEARCHER };
const char *const bk__top_sections[] = { "backend", "space", "data", "trainer", "sampler", "rater", "searcher", "truth",
                                         "retrain", "report", "baselines", "architectures", "profile", "profiles", "grid", NULL };
const char *const bk__data_keys[] = { "augment", "loader_threads", "augment_on", NULL };
const char *const bk__trainer_keys[] = { "rate_every", "prefix", NULL };
const char *const bk__rater_keys[] = { "block_weights", "offset", "round_decimals", NULL };
/* clang-format on */
