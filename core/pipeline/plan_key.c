/*
 * Identities of stages as JSON. What can change a result is in here; paths, host names, dates and thread counts (but
 * for `repeatable`) are not. Reals are hexadecimal so that no digit is lost.
 */
#include "pipeline/plan.h"

#include <bosskit/file.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int out_of_memory(struct bk_error *err)
{
    return bk_fail(err, BK_ENOMEM, "out of memory for a stage key");
}

json_t *bk__json_real(double v)
{
    char hex[64];
    snprintf(hex, sizeof hex, "%a", v);
    return json_string(hex);
}

json_t *bk__json_options(const struct bk_opt *table, const void *state)
{
    struct bk_text text = BK_TEXT_INIT;
    json_t *o = json_object();
    char *line, *save = NULL, *all;

    if (o && table)
        (void)bk_options_canonical(table, state, false, &text);
    all = bk_text_take(&text);
    for (line = all ? strtok_r(all, "\n", &save) : NULL; o && line; line = strtok_r(NULL, "\n", &save)) {
        char *eq = strchr(line, '=');
        if (eq)
            *eq = 0;
        json_object_set_new(o, line, json_string(eq ? eq + 1 : ""));
    }
    bk_free(all);
    return o;
}

/* ---- files that options name --------------------------------------------------------------------------- */

static int visible(const struct dirent *e)
{
    return e->d_name[0] != '.';
}

/** Digest over names and digests of the regular files directly in `dir`. */
static int digest_dir(const char *dir, char out[65], struct bk_error *err)
{
    struct dirent **entry = NULL;
    struct bk_sha256 s;
    int n = scandir(dir, &entry, visible, alphasort), rc = BK_OK;

    if (n < 0)
        return bk_fail_errno(err, BK_EDATA, "cannot list '%s'", dir);
    bk_sha256_init(&s);
    for (int i = 0; i < n; i++) {
        struct bk_text path = BK_TEXT_INIT;
        struct stat st;
        char one[65];
        bk_text_addf(&path, "%s/%s", dir, entry[i]->d_name);
        if (!rc && stat(bk_text_get(&path), &st) == 0 && S_ISREG(st.st_mode)) {
            rc = bk_sha256_file(bk_text_get(&path), one, err);
            bk_sha256_add(&s, entry[i]->d_name, strlen(entry[i]->d_name) + 1);
            if (!rc)
                bk_sha256_add(&s, one, 65);
        }
        bk_text_release(&path);
        free(entry[i]);
    }
    free(entry);
    bk_sha256_hex(&s, out);
    return rc;
}

static const char *text_at(const struct bk_instance *i, const struct bk_opt *o)
{
    return *(const char *const *)(const void *)((const char *)i->state + o->offset);
}

/** A path of the configuration leads nowhere; an option `hint` of the plugin says where to get what should be there. */
static int missing_path(const struct bk_instance *i, const struct bk_opt *path, struct bk_error *err)
{
    const char *hint = NULL;
    int reason = errno;
    for (const struct bk_opt *o = i->found->plugin->options; o->name; o++) {
        if (o->type == BK_OPT_TEXT && strcmp(o->name, "hint") == 0)
            hint = text_at(i, o);
    }
    return bk_fail(err, BK_EDATA, "%s '%s': option %s names '%s': %s%s%s", bk_kind_name(i->found->plugin->kind),
                   i->found->plugin->name, path->name, text_at(i, path), strerror(reason), hint ? "; it should hold " : "",
                   hint ? hint : "");
}

static int add_path_digests(const struct bk_instance *i, json_t *files, struct bk_error *err)
{
    for (const struct bk_opt *o = i->found->plugin->options; o && o->name; o++) {
        const char *path = o->type == BK_OPT_PATH ? text_at(i, o) : NULL;
        struct stat st;
        char digest[65];
        if (!path || !path[0])
            continue;
        if (stat(path, &st))
            return missing_path(i, o, err);
        BK_TRY(S_ISDIR(st.st_mode) ? digest_dir(path, digest, err) : bk_sha256_file(path, digest, err));
        json_object_set_new(files, o->name, json_string(digest));
    }
    return BK_OK;
}

int bk__json_part(const struct bk_instance *i, bool files, json_t **out, struct bk_error *err)
{
    const struct bk_plugin *p = i->found->plugin;
    json_t *part = json_pack("{s:s,s:s,s:s,s:o}", "plugin", p->name, "version", p->version, "digest", i->found->digest,
                             "options", bk__json_options(p->options, i->state));
    json_t *named = json_object();
    int rc = part && named ? BK_OK : out_of_memory(err);

    if (!rc && files)
        rc = add_path_digests(i, named, err);
    if (!rc && json_object_size(named))
        json_object_set(part, "files", named);
    json_decref(named);
    if (rc)
        json_decref(part);
    else
        *out = part;
    return rc;
}

/* ---- pieces of an identity --------------------------------------------------------------------------------- */

static int add_part(json_t *id, const struct bk_row *row, int slot, struct bk_error *err)
{
    json_t *part = NULL;
    BK_TRY(bk__json_part(row->part[slot], slot != BK_SLOT_DATA, &part, err));
    return json_object_set_new(id, bk__slot_key[slot], part) ? out_of_memory(err) : BK_OK;
}

static json_t *json_reals(const double *v, int n)
{
    json_t *a = json_array();
    for (int i = 0; a && i < n; i++)
        json_array_append_new(a, bk__json_real(v[i]));
    return a;
}

/** Fingerprints, pipelines, normalisation; not where the images lie. */
static int add_data(json_t *id, const struct bk_plan_row *row, const char *a, const struct bk_split *sa, const char *b,
                    const struct bk_split *sb, struct bk_error *err)
{
    const struct bk_dataset_info *info = &row->data.data.info;
    json_t *d = json_pack("{s:s,s:s,s:o,s:i,s:i,s:o,s:o,s:o,s:o}", a, sa->fingerprint, b, sb->fingerprint, "options",
                          bk__json_options(bk__data_table, &row->row->data), "classes", (int)info->n_classes, "size",
                          (int)info->size, "mean", json_reals(info->mean, 3), "std", json_reals(info->std, 3),
                          "alone_mean", json_reals(info->alone_mean, 3), "alone_std", json_reals(info->alone_std, 3));
    if (d && row->row->data.augment_on == BK_AUGMENT_ON_DEVICE)     /* the host's to the bit, but for noise */
        json_object_set_new(d, "augment_on", json_string("device"));
    return !d || json_object_set_new(id, "data", d) ? out_of_memory(err) : BK_OK;
}

/** How numbers are computed. */
static int add_setting(json_t *id, const struct bk_plan_row *row, struct bk_error *err)
{
    static const char *const level[] = { "", "fast", "repeatable", "reference" };
    const struct bk_setting *s = &row->setting;
    const struct bk_instance *named = row->row->part[BK_SLOT_BACKEND];
    json_t *backend = json_pack("{s:s,s:s,s:s}", "plugin", s->backend, "version", s->found->plugin->version, "digest",
                                s->found->digest);
    if (!backend)
        return out_of_memory(err);
    if (named)
        json_object_set_new(backend, "options", bk__json_options(named->found->plugin->options, named->state));
    json_object_set_new(id, "backend", backend);
    json_object_set_new(id, "dtype", json_string(bk_dtype_name(s->dtype)));
    json_object_set_new(id, "determinism", json_string(level[s->determinism]));
    if (s->determinism == BK_REPEATABLE)
        json_object_set_new(id, "threads", json_integer(s->threads));
    return BK_OK;
}

static int add_inputs(json_t *id, const struct bk_stage *s, struct bk_error *err)
{
    json_t *a = json_array();
    for (int i = 0; a && i < s->n_in; i++)
        json_array_append_new(a, json_string(s->in[i]->key));
    return !a || json_object_set_new(id, "inputs", a) ? out_of_memory(err) : BK_OK;
}

/* ---- identities -------------------------------------------------------------------------------------------- */

static int identify_train(json_t *id, const struct bk_plan_row *p, struct bk_error *err)
{
    BK_TRY(add_part(id, p->row, BK_SLOT_TRAINER, err));
    BK_TRY(add_part(id, p->row, BK_SLOT_SAMPLER, err));
    BK_TRY(add_data(id, p, "train", &p->data.data.train, "val", &p->data.data.val, err));
    if (bk_row_rate_every(p->row)) {    /* ratings during training are outputs of the stage */
        json_object_set_new(id, "rate_every", json_integer(bk_row_rate_every(p->row)));
        BK_TRY(add_part(id, p->row, BK_SLOT_RATER, err));
    }
    return add_setting(id, p, err);
}

static int identify_rater(json_t *id, const struct bk_plan_row *p, const struct bk_instance *rater, struct bk_error *err)
{
    const struct bk_rater_iface *iface = bk_instance_iface(rater);
    json_t *part = NULL;

    BK_TRY(bk__json_part(rater, true, &part, err));
    if (json_object_set_new(id, "rater", part))
        return out_of_memory(err);
    if (iface->flags & (BK_RATER_NEEDS_DATA | BK_RATER_NEEDS_TRAINED))
        BK_TRY(add_data(id, p, "train", &p->data.data.train, "val", &p->data.data.val, err));
    return add_setting(id, p, err);
}

static int identify_search(json_t *id, const struct bk_plan_row *p, struct bk_error *err)
{
    const struct bk_row *row = p->row;
    BK_TRY(add_part(id, row, BK_SLOT_SEARCHER, err));
    json_object_set_new(id, "weights", json_reals(row->rater.weight, row->rater.n_weights));
    if (!(bk_row_rater(row)->flags & BK_RATER_BLOCKS) || bk_row_evolves(row))
        BK_TRY(identify_rater(id, p, row->part[BK_SLOT_RATER], err));
    return BK_OK;
}

static int identify_alone(json_t *id, const struct bk_plan_row *p, const struct bk_stage *s, struct bk_error *err)
{
    const struct bk_row *row = p->row;
    bool truth = s->kind == BK_STAGE_ALONE;
    json_t *recipe = bk__json_options(bk__recipe_table, truth ? &row->truth_recipe : &row->retrain_recipe);
    if (!recipe || json_object_set_new(id, "recipe", recipe))
        return out_of_memory(err);
    json_object_set_new(id, "arch", json_string(s->arch ? s->arch : "found"));
    json_object_set_new(id, "seed", json_integer(truth ? row->truth.seed : row->retrain.seed));
    BK_TRY(add_data(id, p, "full", &p->data.full, "test", &p->data.data.test, err));
    return add_setting(id, p, err);
}

static int identify(json_t *id, const struct bk_plan_row *p, struct bk_stage *s, struct bk_error *err)
{
    const struct bk_row *row = p->row;

    json_object_set_new(id, "stage", json_string(bk_stage_kind_name(s->kind)));
    json_object_set_new(id, "numerics", json_integer(BK_ENGINE_NUMERICS));
    if (s->kind == BK_STAGE_TRAIN || s->kind == BK_STAGE_RATE)
        json_object_set_new(id, "block", json_integer(s->block));
    if (s->kind != BK_STAGE_ALONE && s->kind != BK_STAGE_RETRAIN && s->kind != BK_STAGE_TEST)
        json_object_set_new(id, "seed", json_integer(row->top.seed));
    if (s->kind == BK_STAGE_SCORE || s->kind == BK_STAGE_SEARCH)
        json_object_set_new(id, "classes", json_integer(p->n_classes));
    if ((s->kind == BK_STAGE_TRAIN || s->kind == BK_STAGE_RATE) && s->block > 0 && row->trainer.has_prefix)
        json_object_set_new(id, "prefix", json_string(row->trainer.prefix));
    BK_TRY(add_part(id, row, BK_SLOT_SPACE, err));
    switch (s->kind) {
    case BK_STAGE_TRAIN:
        BK_TRY(identify_train(id, p, err));
        break;
    case BK_STAGE_RATE:
        BK_TRY(identify_rater(id, p, row->part[BK_SLOT_RATER], err));
        break;
    case BK_STAGE_SCORE:
        json_object_set_new(id, "archs", json_string(s->truth->digest));
        BK_TRY(identify_rater(id, p, s->baseline ? s->baseline->rater : row->part[BK_SLOT_RATER], err));
        break;
    case BK_STAGE_SEARCH:
        BK_TRY(identify_search(id, p, err));
        break;
    case BK_STAGE_TEST:
        json_object_set_new(id, "eval_size", json_integer(row->retrain.eval_size));
        BK_TRY(add_data(id, p, "full", &p->data.full, "test", &p->data.data.test, err));
        BK_TRY(add_setting(id, p, err));
        break;
    default:
        BK_TRY(identify_alone(id, p, s, err));
    }
    return add_inputs(id, s, err);
}

int bk__stage_identity(const struct bk_plan_row *row, struct bk_stage *s, struct bk_error *err)
{
    s->identity = json_object();
    if (!s->identity)
        return out_of_memory(err);
    BK_TRY(identify(s->identity, row, s, err));
    return bk_store_key(s->identity, s->key, err);
}
