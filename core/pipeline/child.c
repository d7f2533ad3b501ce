/*
 * The parent's side of a stage process: start it, relay what it says, say how it ended.
 */
#define _GNU_SOURCE
#include "pipeline/child.h"

#include <bosskit/file.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAIL_LINES 6
#define LINE_MAX_BYTES 4096

struct relay {
    struct bk_child *c;
    char line[LINE_MAX_BYTES];
    size_t len;
    char tail[TAIL_LINES][200];         /* last lines that were no progress */
    unsigned n_tail;
    struct bk_error error;              /* the child's final sentence */
};

/* ---- what the child says ------------------------------------------------------------------------------- */

static void remember(struct relay *r, const char *text)
{
    snprintf(r->tail[r->n_tail++ % TAIL_LINES], sizeof r->tail[0], "%.199s", text);
}

/** "P done total unit\tnote" */
static void take_progress(struct relay *r, char *s)
{
    double done = 0, total = 0;
    int used = 0;
    if (sscanf(s, "%lf %lf %n", &done, &total, &used) < 2 || !r->c->progress)
        return;
    char *unit = s + used, *tab = strchr(unit, '\t');
    if (tab)
        *tab = 0;
    r->c->progress(r->c->user, done, total, unit, tab && tab[1] ? tab + 1 : NULL);
}

static void take_line(struct relay *r, char *s)
{
    if (s[0] != '\x01') {
        if (s[0] && !r->error.code) {       /* after its last sentence the program repeats it for people */
            remember(r, s);
            bk_log(BK_LOG_WARN, "%s", s);
        }
    } else if (s[1] == 'P') {
        take_progress(r, s + 2);
    } else if (s[1] == 'L') {
        int level = s[2] >= '1' && s[2] <= '5' ? s[2] - '0' : BK_LOG_INFO;
        remember(r, s + 3);
        bk_log((enum bk_log_level)level, "%s", s + 3);
    } else if (s[1] == 'J') {
        bk_free(r->c->result);
        r->c->result = bk_strdup(s + 2);
    } else if (s[1] == 'E') {
        char *text = NULL;
        r->error.code = (int)strtol(s + 2, &text, 10);
        snprintf(r->error.text, sizeof r->error.text, "%s", text && *text ? text + 1 : "");
    }
}

static void take_bytes(struct relay *r, const char *data, ssize_t n)
{
    for (ssize_t i = 0; i < n; i++) {
        if (data[i] != '\n' && r->len < sizeof r->line - 1) {
            r->line[r->len++] = data[i];
        } else if (data[i] == '\n') {
            r->line[r->len] = 0;
            take_line(r, r->line);
            r->len = 0;
        }
    }
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

/** Between fork and exec: async-signal-safe calls only. */
static void become_stage(const char *program, const char *spec, int err_fd, int keep_fd, pid_t parent)
{
    char *const argv[] = { (char *)"bosskit", (char *)"stage", (char *)spec, NULL };
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);     /* a killed parent leaves no orphan: the stage checkpoints and ends */
    if (getppid() != parent)
        _exit(75);
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
    }
    (void)dup2(err_fd, STDERR_FILENO);
    if (keep_fd >= 0)
        (void)fcntl(keep_fd, F_SETFD, 0);
    execv(program, argv);
    _exit(127);
}

static int start(const struct bk_child *c, pid_t *pid, int *fd, struct bk_error *err)
{
    const char *program = getenv("BOSSKIT_PROGRAM");
    pid_t parent = getpid();
    int ends[2];

    if (!program || !program[0])
        program = "/proc/self/exe";
    /* short spinning at OpenMP barriers: with other work on the cores, spinning for long costs whole time slices */
    (void)setenv("GOMP_SPINCOUNT", "20000", 0);
    /* teams smaller than asked for stop oneDNN for ever */
    (void)setenv("OMP_DYNAMIC", "false", 1);
    if (pipe2(ends, O_CLOEXEC))
        return bk_fail_errno(err, BK_EIO, "cannot make a pipe");
    *pid = fork();
    if (*pid < 0) {
        close(ends[0]);
        close(ends[1]);
        return bk_fail_errno(err, BK_ECHILD, "cannot start a process");
    }
    if (*pid == 0)
        become_stage(program, c->spec_path, ends[1], c->keep_fd, parent);
    close(ends[1]);
    *fd = ends[0];
    return BK_OK;
}

/* ---- waiting -------------------------------------------------------------------------------------------------- */

/** The first signal asks the child to stop, the second ends it. */
static void forward_signals(pid_t pid, int *forwarded)
{
    int n = bk__interrupt_count();
    if (n > *forwarded) {
        (void)kill(pid, n > 1 ? SIGKILL : SIGTERM);
        *forwarded = n;
    }
}

static void relay_until_end(struct relay *r, pid_t pid, int fd)
{
    int forwarded = 0;
    char buf[4096];
    for (;;) {
        struct pollfd p = { fd, POLLIN, 0 };
        forward_signals(pid, &forwarded);
        int ready = poll(&p, 1, 200);
        if (ready <= 0)
            continue;
        ssize_t n = read(fd, buf, sizeof buf);
        if (n == 0)
            return;
        if (n > 0)
            take_bytes(r, buf, n);
        else if (errno != EINTR && errno != EAGAIN)
            return;
    }
}

static int describe_death(const struct relay *r, int status, struct bk_error *err)
{
    struct bk_text tail = BK_TEXT_INIT;
    unsigned first = r->n_tail > TAIL_LINES ? r->n_tail - TAIL_LINES : 0;
    for (unsigned i = first; i < r->n_tail; i++)
        bk_text_addf(&tail, "%s%s", i > first ? " | " : "; last lines: ", r->tail[i % TAIL_LINES]);
    int rc;
    if (WIFSIGNALED(status))
        rc = bk_fail(err, BK_ECHILD, "the stage's process was ended by signal %d (%s)%s", WTERMSIG(status),
                     strsignal(WTERMSIG(status)), bk_text_get(&tail));
    else
        rc = bk_fail(err, BK_ECHILD, "the stage's process ended with exit code %d%s", WEXITSTATUS(status),
                     bk_text_get(&tail));
    bk_text_release(&tail);
    return rc;
}

int bk__child_run(struct bk_child *c, struct bk_error *err)
{
    struct relay r = { .c = c };
    pid_t pid = -1;
    int fd = -1, status = 0;
    struct rusage usage = { 0 };

    BK_TRY(start(c, &pid, &fd, err));
    relay_until_end(&r, pid, fd);
    close(fd);
    while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
        continue;
    c->peak_bytes = (int64_t)usage.ru_maxrss * 1024;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return BK_OK;
    if (bk__interrupted() || (WIFEXITED(status) && WEXITSTATUS(status) == 75))
        return bk_fail(err, BK_EINTERRUPTED, "interrupted; the same command continues");
    if (WIFEXITED(status) && r.error.code)
        return bk_fail(err, r.error.code, "%s", r.error.text);
    return describe_death(&r, status, err);
}

/* ---- the specification of a stage ---------------------------------------------------------------------------- */

/** Directories the plugins of this process came from, so that the child finds the same ones. */
static json_t *plugin_dirs(const struct bk_registry *r)
{
    json_t *dirs = json_array();
    for (size_t i = 0; i < bk_registry_count(r); i++) {
        const char *path = bk_registry_at(r, i)->path, *slash = strrchr(path, '/');
        bool known = !slash;
        size_t j;
        json_t *d;
        json_array_foreach(dirs, j, d)
            known = known || (json_string_length(d) == (size_t)(slash - path) &&
                              strncmp(json_string_value(d), path, json_string_length(d)) == 0);
        if (!known)
            json_array_append_new(dirs, json_stringn(path, (size_t)(slash - path)));
    }
    return dirs;
}

/** Digests of the row's plugins as this process loaded them. */
static json_t *plugin_digests(const struct bk_row *row)
{
    json_t *o = json_object();
    for (int i = 0; i < BK_N_SLOTS; i++) {
        if (row->part[i])
            json_object_set_new(o, bk__slot_key[i], json_string(row->part[i]->found->digest));
    }
    return o;
}

int bk__spec_write(const char *dir, const struct bk_registry *r, const struct bk_row *row,
                   const struct bk_setting *setting, const char *data_cache, const json_t *extra, char **path,
                   struct bk_error *err)
{
    struct bk_text cfg = BK_TEXT_INIT, file = BK_TEXT_INIT, spec_path = BK_TEXT_INIT;
    json_t *spec = json_pack("{s:s,s:s,s:s,s:i,s:i,s:i,s:o,s:o}", "row", row->name, "data_cache", data_cache, "backend",
                             setting->backend, "dtype", (int)setting->dtype, "determinism", (int)setting->determinism,
                             "threads", (int)setting->threads, "plugin_dirs", plugin_dirs(r), "digests",
                             plugin_digests(row));
    char *text = NULL;
    int rc = spec ? bk_value_print(row->tree, &cfg) : BK_ENOMEM;

    if (spec && !rc) {
        json_object_update(spec, (json_t *)extra);
        text = json_dumps(spec, JSON_INDENT(1) | JSON_SORT_KEYS);
    }
    bk_text_addf(&file, "%s/row.cfg", dir);
    bk_text_addf(&spec_path, "%s/spec.json", dir);
    rc = text && !cfg.failed ? BK_OK : bk_fail(err, BK_ENOMEM, "out of memory for a stage");
    if (!rc)
        rc = bk_file_write(bk_text_get(&file), bk_text_get(&cfg), cfg.len, err);
    if (!rc)
        rc = bk_file_write(bk_text_get(&spec_path), text, strlen(text), err);
    if (!rc)
        *path = bk_text_take(&spec_path);
    free(text);
    json_decref(spec);
    bk_text_release(&cfg);
    bk_text_release(&file);
    bk_text_release(&spec_path);
    return rc;
}
