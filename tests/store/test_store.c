/*
 * The store: keys, publishing, damage, locks, explanations.
 */
#include "unit.h"

#include "store/store.h"
#include <bosskit/file.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[] = "/tmp/bosskit-store-XXXXXX";

static struct bk_store *open_store(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_store *s = NULL;
    snprintf(root, sizeof root, "/tmp/bosskit-store-XXXXXX");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    BK_ASSERT_OK(bk_store_open(root, &s, &err));
    return s;
}

static void close_store(struct bk_store *s)
{
    struct bk_error err = BK_ERROR_INIT;
    bk_store_close(s);
    BK_ASSERT_OK(bk_remove_tree(root, &err));
}

static void put(const char *dir, const char *name, const char *text)
{
    struct bk_error err = BK_ERROR_INIT;
    char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    BK_ASSERT_OK(bk_file_write(path, text, strlen(text), &err));
}

static json_t *identity(int epochs)
{
    return json_pack("{s:s,s:{s:s,s:i}}", "stage", "train", "trainer", "plugin", "x", "epochs", epochs);
}

/** SHA-256 of the canonical text, computed by coreutils. */
static void test_key(void)
{
    struct bk_error err = BK_ERROR_INIT;
    json_t *a = json_pack("{s:i,s:s}", "b", 1, "a", "x"), *b = json_pack("{s:s,s:i}", "a", "x", "b", 1);
    char ka[65], kb[65];
    BK_ASSERT_OK(bk_store_key(a, ka, &err));
    BK_ASSERT_OK(bk_store_key(b, kb, &err));
    CU_ASSERT_STRING_EQUAL(ka, kb);
    struct bk_sha256 s;
    char wanted[65];
    bk_sha256_init(&s);
    bk_sha256_add(&s, "{\"a\":\"x\",\"b\":1}", 15);
    bk_sha256_hex(&s, wanted);
    CU_ASSERT_STRING_EQUAL(ka, wanted);
    json_object_set_new(b, "b", json_integer(2));
    BK_ASSERT_OK(bk_store_key(b, kb, &err));
    CU_ASSERT_STRING_NOT_EQUAL(ka, kb);
    json_decref(a);
    json_decref(b);
}

static void publish(struct bk_store *s, json_t *id, char key[65])
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_claim c = BK_CLAIM_INIT;
    BK_ASSERT_OK(bk_store_key(id, key, &err));
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    CU_ASSERT_EQUAL(c.state, BK_STAGE_RUN);
    put(c.dir, "out.txt", "hello");
    put(c.dir, "checkpoint-000000000001.safetensors", "state");
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, false), BK_STAGE_RESUME);
    BK_ASSERT_OK(bk_store_publish(&c, id, NULL, &err));
    CU_ASSERT_EQUAL(c.state, BK_STAGE_HIT);
    bk_claim_release(&c);
}

static void test_publish(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_store *s = open_store();
    struct bk_claim c = BK_CLAIM_INIT;
    json_t *id = identity(3);
    char key[65], path[400];
    publish(s, id, key);
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, true), BK_STAGE_HIT);
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    CU_ASSERT_EQUAL(c.state, BK_STAGE_HIT);
    CU_ASSERT_EQUAL(c.lock, -1);
    snprintf(path, sizeof path, "%s/checkpoint-000000000001.safetensors", c.dir);
    CU_ASSERT(!bk_file_exists(path));           /* checkpoints are not part of a finished stage */
    bk_claim_release(&c);
    json_decref(id);
    close_store(s);
}

/** A released claim without publishing leaves checkpoints and nothing else. */
static void test_leftovers(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_store *s = open_store();
    struct bk_claim c = BK_CLAIM_INIT;
    json_t *id = identity(4);
    char key[65], path[400];
    BK_ASSERT_OK(bk_store_key(id, key, &err));
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    put(c.dir, "half.txt", "hal");
    put(c.dir, "checkpoint-000000000001.safetensors", "state");
    put(c.dir, "checkpoint-000000000002.safetensors.12.tmp", "torn");
    bk_claim_release(&c);
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    CU_ASSERT_EQUAL(c.state, BK_STAGE_RESUME);
    snprintf(path, sizeof path, "%s/half.txt", c.dir);
    CU_ASSERT(!bk_file_exists(path));
    snprintf(path, sizeof path, "%s/checkpoint-000000000002.safetensors.12.tmp", c.dir);
    CU_ASSERT(!bk_file_exists(path));
    bk_claim_release(&c);
    json_decref(id);
    close_store(s);
}

/** Truncation is seen by size, a changed byte by digest; either way the stage is made again. */
static void check_damage(const char *content, bool seen_by_size)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_store *s = open_store();
    struct bk_claim c = BK_CLAIM_INIT;
    json_t *id = identity(5);
    char key[65], *dir;
    publish(s, id, key);
    dir = bk_store_path(s, "train", key);
    put(dir, "out.txt", content);
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, false), seen_by_size ? BK_STAGE_RUN : BK_STAGE_HIT);
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, true), BK_STAGE_RUN);
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    CU_ASSERT_EQUAL(c.state, BK_STAGE_RUN);
    put(c.dir, "out.txt", "hello");
    BK_ASSERT_OK(bk_store_publish(&c, id, NULL, &err));
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, true), BK_STAGE_HIT);
    bk_claim_release(&c);
    bk_free(dir);
    json_decref(id);
    close_store(s);
}

static void test_damage(void)
{
    bk_log_set_level(BK_LOG_ERROR);
    check_damage("hell", true);
    check_damage("jello", false);
    bk_log_set_level(BK_LOG_INFO);
}

static void test_bad_manifest(void)
{
    struct bk_store *s = open_store();
    json_t *id = identity(6);
    char key[65], *dir;
    publish(s, id, key);
    dir = bk_store_path(s, "train", key);
    put(dir, "manifest.json", "{\"files\": [");
    CU_ASSERT_EQUAL(bk_store_look(s, "train", key, false), BK_STAGE_RUN);
    bk_free(dir);
    json_decref(id);
    close_store(s);
}

/** Another process holds the lock and publishes: the waiting claim becomes a HIT. */
static void test_wait(void)
{
    struct bk_error err = BK_ERROR_INIT;
    struct bk_store *s = open_store();
    struct bk_claim c = BK_CLAIM_INIT;
    json_t *id = identity(7);
    char key[65];
    int ready[2], status = 0;
    char byte = 0;
    BK_ASSERT_OK(bk_store_key(id, key, &err));
    CU_ASSERT_EQUAL_FATAL(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct bk_claim mine = BK_CLAIM_INIT;
        int rc = bk_store_claim(s, "train", key, NULL, &mine, &err);
        rc = rc ? rc : write(ready[1], "x", 1) != 1;
        usleep(200 * 1000);
        put(mine.dir, "out.txt", "theirs");
        _exit(rc || bk_store_publish(&mine, id, NULL, &err) ? 1 : 0);
    }
    CU_ASSERT_EQUAL(read(ready[0], &byte, 1), 1);
    bk_log_set_level(BK_LOG_ERROR);
    BK_ASSERT_OK(bk_store_claim(s, "train", key, NULL, &c, &err));
    bk_log_set_level(BK_LOG_INFO);
    CU_ASSERT_EQUAL(c.state, BK_STAGE_HIT);
    (void)waitpid(pid, &status, 0);
    CU_ASSERT_EQUAL(status, 0);
    bk_claim_release(&c);
    json_decref(id);
    close(ready[0]);
    close(ready[1]);
    close_store(s);
}

static void test_explain(void)
{
    struct bk_store *s = open_store();
    struct bk_text why = BK_TEXT_INIT;
    json_t *a = identity(8), *b = identity(9);
    char key[65];
    bk_store_explain(s, "train", a, &why);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&why), "never made here");
    bk_text_release(&why);
    publish(s, a, key);
    bk_store_explain(s, "train", b, &why);
    CU_ASSERT_STRING_EQUAL(bk_text_get(&why), "trainer.epochs is 9, was 8");
    bk_text_release(&why);
    json_decref(a);
    json_decref(b);
    close_store(s);
}

BK_SUITE({ "keys", test_key }, { "publish", test_publish }, { "leftovers", test_leftovers }, { "damage", test_damage },
         { "bad manifest", test_bad_manifest }, { "waiting for another process", test_wait },
         { "why not a hit", test_explain })
