/**
 * store/store.h: finished stages, found again by what they were made from.
 *
 * A stage is a directory <root>/store/<kind>/<key>/ with its outputs and manifest.json (sizes and SHA-256 of every
 * file, and the identity the key was hashed from). It is made in <key>.partial/ under flock, its manifest is written
 * last, and a rename publishes it: a directory with a matching manifest is complete, nothing else is. A killed owner
 * gives up its lock by dying. Nothing here knows what a stage computes.
 */
#ifndef BOSSKIT_STORE_STORE_H
#define BOSSKIT_STORE_STORE_H

#include <bosskit/base.h>
#include <jansson.h>

struct bk_store;

/** `root` NULL: $BOSSKIT_CACHE, else $XDG_CACHE_HOME/bosskit, else ~/.cache/bosskit. Makes no directory yet. */
BK_API int bk_store_open(const char *root, struct bk_store **out, struct bk_error *err) BK_MUST_USE;
BK_API void bk_store_close(struct bk_store *s);
BK_API const char *bk_store_root(const struct bk_store *s);

enum bk_stage_state {
    BK_STAGE_INVALID = 0,
    BK_STAGE_HIT,       /* complete */
    BK_STAGE_RESUME,    /* a partial directory with a checkpoint */
    BK_STAGE_RUN,       /* from the start */
};
BK_API const char *bk_stage_state_name(enum bk_stage_state state);

/** Files of these names are checkpoints: they survive when a partial directory is taken up; publishing removes them. */
#define BK_CHECKPOINT_PREFIX "checkpoint-"
#define BK_CHECKPOINT_SUFFIX ".safetensors"

/** Files of these names survive too, and are published with the stage: what it has finished on the way to its end. */
#define BK_KEPT_PREFIX "epoch-"

/** SHA-256 over the canonical text of `identity` (sorted members, compact). */
BK_API int bk_store_key(const json_t *identity, char key[65], struct bk_error *err) BK_MUST_USE;

/** State without taking a lock. With `digests` a HIT has had every file's SHA-256 checked, else sizes alone. */
BK_API enum bk_stage_state bk_store_look(const struct bk_store *s, const char *kind, const char *key, bool digests);

/**
 * Why a stage is no HIT: the first member of `identity` that differs from the most similar complete stage of the kind
 * ("trainer.options.epochs is 3, was 2"), or that there is none. `out` gets one phrase.
 */
BK_API void bk_store_explain(const struct bk_store *s, const char *kind, const json_t *identity, struct bk_text *out);

/** Call `see` for every complete stage of a kind, in order of keys: its identity and how it was made (NULL: not noted). */
BK_API void bk_store_scan(const struct bk_store *s, const char *kind,
                          void (*see)(void *user, const json_t *identity, const json_t *made), void *user);

/** Path of the complete stage; free with bk_free(). NULL when out of memory. */
BK_API char *bk_store_path(const struct bk_store *s, const char *kind, const char *key);

struct bk_claim {
    enum bk_stage_state state;  /* HIT: complete, nothing is locked; RUN, RESUME: `dir` is ours */
    char *dir;                  /* the published directory (HIT) or the partial one */
    int lock;                   /* descriptor of the locked directory; -1 for HIT. Children may inherit it */
    char *kind;
    char key[65];
    const struct bk_store *store;
};

#define BK_CLAIM_INIT { .lock = -1 }

/**
 * Take a stage: wait for whoever is making it (logged once), then HIT or a locked partial directory. A complete stage
 * whose files no longer match its manifest is removed with a warning and made again. `stop` (may be NULL) ends the
 * wait with BK_EINTERRUPTED.
 */
BK_API int bk_store_claim(const struct bk_store *s, const char *kind, const char *key, bool (*stop)(void),
                          struct bk_claim *out, struct bk_error *err) BK_MUST_USE;
/** Write the manifest and publish. `made` (may be NULL, borrowed) is noted in the manifest. The claim becomes a HIT. */
BK_API int bk_store_publish(struct bk_claim *c, const json_t *identity, const json_t *made,
                            struct bk_error *err) BK_MUST_USE;
/** Unlock, free; a partial directory stays for a later RESUME. */
BK_API void bk_claim_release(struct bk_claim *c);

/* ---- manifest (store_manifest.c) ---------------------------------------------------------------- */

#define BK_MANIFEST "manifest.json"

BK_API int bk__manifest_write(const char *dir, const char *kind, const char *key, const json_t *identity,
                              const json_t *made, struct bk_error *err) BK_MUST_USE;
/** BK_EDATA names the first file that does not match. */
BK_API int bk__manifest_check(const char *dir, const char *key, bool digests, struct bk_error *err) BK_MUST_USE;
/** The manifest of a directory (a new reference), or NULL. */
json_t *bk__manifest_read(const char *dir);

#endif
