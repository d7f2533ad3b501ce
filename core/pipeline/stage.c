/*
 * The child's side of a stage: read the specification, open the same plugins the parent planned with, run one stage
 * function, say how it ended. The parent publishes; this process only writes files into the directory it was given.
 */
#include "pipeline/child.h"
#include "pipeline/plain_host.h"

#include <bosskit/file.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- talking to the parent --------------------------------------------------------------------------------- */

void bk__say_progress(double done, double total, const char *unit, const char *note)
{
    fprintf(stderr, "\x01P%.17g %.17g %s\t%s\n", done, total, unit ? unit : "", note ? note : "");
}

void bk__say_result(const char *json)
{
    fprintf(stderr, "\x01J%s\n", json);
}

static void sink(void *user, enum bk_log_level level, const char *line)
{
    (void)user;
    fprintf(stderr, "\x01L%d%s\n", (int)level, line);
}

static void host_progress(void *ctx, double done, double total, const char *unit, const char *note)
{
    double *last = ctx, now = bk_now();
    if (now - *last < 0.2 && done < total)      /* plugins may call as often as they like */
        return;
    *last = now;
    bk__say_progress(done, total, unit, note);
}

/* ---- opening -------------------------------------------------------------------------------------------------- */

static const char *text_of(const json_t *spec, const char *key)
{
    const char *s = json_string_value(json_object_get(spec, key));
    return s ? s : "";
}

static int int_of(const json_t *spec, const char *key)
{
    return (int)json_integer_value(json_object_get(spec, key));
}

static int open_registry(struct bk_stage_job *job, struct bk_error *err)
{
    const json_t *dirs = json_object_get(job->spec, "plugin_dirs");
    size_t n = json_array_size(dirs);
    const char **dir = bk_zalloc((n + 1) * sizeof *dir);
    if (!dir)
        return bk_fail(err, BK_ENOMEM, "out of memory for a stage");
    for (size_t i = 0; i < n; i++)
        dir[i] = json_string_value(json_array_get(dirs, i));
    int rc = bk_registry_open(dir, n, &job->registry, err);
    bk_free(dir);
    return rc;
}

/** A plugin rebuilt while the experiment runs must not answer under the old key. */
static int check_digests(const struct bk_stage_job *job, struct bk_error *err)
{
    for (int i = 0; i < BK_N_SLOTS; i++) {
        const struct bk_instance *part = job->row->part[i];
        const char *planned = json_string_value(json_object_get(json_object_get(job->spec, "digests"), bk__slot_key[i]));
        if (part && planned && strcmp(part->found->digest, planned) != 0)
            return bk_fail(err, BK_EPLUGIN, "%s '%s' changed on disk while the experiment runs; start again",
                           bk__slot_key[i], part->found->plugin->name);
    }
    return BK_OK;
}

static int open_row(struct bk_stage_job *job, const struct bk_host *host, struct bk_error *err)
{
    struct bk_text path = BK_TEXT_INIT;
    struct bk_row_tree tree = { (char *)(uintptr_t)text_of(job->spec, "row"), NULL, 0 };

    bk_text_addf(&path, "%s/row.cfg", job->dir);
    int rc = bk_value_read(bk_text_get(&path), &tree.tree, err);
    if (!rc)
        rc = bk_row_open(job->registry, &tree, host, &job->row, err);
    if (!rc)
        rc = check_digests(job, err);
    bk_value_free(tree.tree);
    bk_text_release(&path);
    return rc;
}

static int read_prefix(struct bk_stage_job *job, struct bk_error *err)
{
    const json_t *prefix = json_object_get(job->spec, "prefix");
    for (size_t i = 0; i < json_array_size(prefix) && i < BK_MAX_BLOCKS; i++)
        BK_TRY(bk_path_parse(json_string_value(json_array_get(prefix, i)), &job->env->prefix[i], err));
    job->env->block = int_of(job->spec, "block");
    job->env->entry = bk_space_entry(&job->row->space, job->env->block, job->env->prefix);
    return BK_OK;
}

/** data.augment_on = "device" is a wish: a backend that makes no views leaves them to the host, from the same draws. */
static void choose_augment_place(struct bk_stage_job *job)
{
    if (job->row->data.augment_on != BK_AUGMENT_ON_DEVICE)
        return;
    job->data.data.plan_only = bk_device_makes_views(job->env->device);
    if (!job->data.data.plan_only)
        bk_log(BK_LOG_INFO, "data.augment_on: the backend makes no views, so the host does");
}

static int open_env(struct bk_stage_job *job, struct bk_error *err)
{
    struct bk_env *env = job->env;
    const struct bk_instance *sampler = job->row->part[BK_SLOT_SAMPLER];

    env->struct_size = sizeof *env;
    env->dtype = (uint32_t)int_of(job->spec, "dtype");
    env->host = &job->row->host;
    env->space = &job->row->space;
    env->seed = (uint64_t)job->row->top.seed;
    job->checkpoint_s = job->row->top.checkpoint_s;
    if (json_is_true(json_object_get(job->spec, "needs_data"))) {
        BK_TRY(bk__row_data_open(job->row, text_of(job->spec, "data_cache"), &job->data, err));
    } else {            /* the number of classes is known without opening any images */
        job->data.data.info.struct_size = sizeof job->data.data.info;
        job->data.data.info.n_classes = int_of(job->spec, "n_classes");
    }
    env->data = &job->data.data;
    if (json_is_true(json_object_get(job->spec, "needs_device"))) {
        BK_TRY(bk__row_device_open(job->registry, job->row, text_of(job->spec, "backend"),
                                   (uint32_t)int_of(job->spec, "determinism"), int_of(job->spec, "threads"),
                                   &job->device, err));
        env->device = job->device.device;
        choose_augment_place(job);
    }
    if (sampler) {
        job->sampler.iface = bk_instance_iface(sampler);
        job->sampler.state = sampler->state;
        job->sampler.name = sampler->found->plugin->name;
        env->sampler = &job->sampler;
    }
    return read_prefix(job, err);
}

/* ---- the stages --------------------------------------------------------------------------------------------------- */

/** What is this device? Its own small stage, so that the parent need not touch it. */
static int stage_probe(struct bk_stage_job *job, struct bk_error *err)
{
    struct bk_backend_info info = { .struct_size = sizeof info };

    BK_TRY(bk__row_device_open(job->registry, job->row, text_of(job->spec, "backend"),
                               (uint32_t)int_of(job->spec, "determinism"), int_of(job->spec, "threads"), &job->device,
                               err));
    BK_TRY(bk_device_info(job->device.device, &info, err));
    json_t *o = json_pack("{s:b,s:s,s:s}", "fast_bf16", (int)info.fast_bf16, "device", info.device_name, "libraries",
                          info.libraries);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    if (text)
        bk__say_result(text);
    free(text);
    json_decref(o);
    return BK_OK;
}

static int run_stage(struct bk_stage_job *job, struct bk_error *err)
{
    static const struct {
        const char *name;
        int (*run)(struct bk_stage_job *job, struct bk_error *err);
    } stages[] = {
        { "train", bk__stage_train }, { "rate", bk__stage_rate },     { "score", bk__stage_score },
        { "search", bk__stage_search }, { "alone", bk__stage_alone },
        { "retrain", bk__stage_retrain }, { "test", bk__stage_test },
    };
    const char *name = text_of(job->spec, "stage");

    if (strcmp(name, "probe") == 0)
        return stage_probe(job, err);
    for (size_t i = 0; i < BK_ARRAY_LEN(stages); i++) {
        if (strcmp(name, stages[i].name) == 0) {
            BK_TRY(open_env(job, err));
            return stages[i].run(job, err);
        }
    }
    return bk_fail(err, BK_EUSAGE, "'%s' is no stage", name);
}

static int read_spec(const char *path, struct bk_stage_job *job, json_t **spec, struct bk_error *err)
{
    char *text = NULL, *slash;
    size_t n = 0;

    BK_TRY(bk_file_read(path, 64u << 20, &text, &n, err));
    *spec = json_loadb(text, n, 0, NULL);
    bk_free(text);
    job->spec = *spec;
    job->dir = bk_strdup(path);
    slash = job->dir ? strrchr(job->dir, '/') : NULL;
    if (!*spec || !slash)
        return bk_fail(err, BK_EUSAGE, "'%s' is no stage specification", path);
    *slash = 0;
    return BK_OK;
}

int bk_stage_main(const char *spec_path, struct bk_error *err)
{
    struct bk_env env = { 0 };
    struct bk_stage_job job = { .env = &env };
    double last = 0;
    struct bk_host host = bk__plain_host;
    host.ctx = &last;
    host.progress = host_progress;
    json_t *spec = NULL;

    bk__interrupt_install();
    setvbuf(stderr, NULL, _IOLBF, 0);
    bk_log_set_sink(sink, NULL);
    int rc = read_spec(spec_path, &job, &spec, err);
    if (!rc)
        rc = open_registry(&job, err);
    if (!rc)
        rc = open_row(&job, &host, err);
    if (!rc)
        rc = run_stage(&job, err);
    if (rc)
        fprintf(stderr, "\x01" "E%d %s\n", rc, err && err->text[0] ? err->text : bk_status_text(rc));
    bk__row_device_close(&job.device);
    bk_row_close(job.row);
    bk_registry_close(job.registry);
    bk_log_set_sink(NULL, NULL);
    json_decref(spec);
    bk_free(job.dir);
    return rc;
}
