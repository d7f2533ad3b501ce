/*
 * cli/cli_doctor.c: `bosskit doctor`: what this machine offers and what stands in the way.
 *
 * Everything is only looked at: no directory is made, no cache is touched.
 */
#include "cli/cli.h"
#include "cli/cli_backend.h"
#include "cli/cli_util.h"

#include <bosskit/file.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct bk__cli_opt opts[] = {
    { 0 },
};

/* The first line "<key> ...: value" of /proc/cpuinfo; "" when there is none. */
static void cpuinfo(const char *text, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    out[0] = '\0';
    for (const char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, n) == 0 && colon) {
            colon += strspn(colon, ": \t");
            snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
            return;
        }
    }
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    return false;
}

static void add_processor(struct bk_text *out)
{
    static const char *const interesting[] = { "sse4_2",       "avx2",        "fma",      "f16c",
                                               "avx512f",      "avx512bw",    "avx512vl", "avx512_vnni",
                                               "avx512_bf16",  "avx512_fp16", "amx_bf16", "amx_tile" };
    char model[256], flags[8192];
    FILE *f = fopen("/proc/cpuinfo", "r");      /* its size is said to be 0, so bk_file_read() is no help */
    static const size_t cap = 65536;
    char *text = bk_zalloc(cap);

    if (f && text && fread(text, 1, cap - 1, f) > 0) {
        cpuinfo(text, "model name", model, sizeof model);
        cpuinfo(text, "flags", flags, sizeof flags);
        bk_text_addf(out, "processor      %s\nfeatures      ", model[0] ? model : "unknown");
        for (size_t i = 0; i < BK_ARRAY_LEN(interesting); i++)
            if (has_word(flags, interesting[i]))
                bk_text_addf(out, " %s", interesting[i]);
        bk_text_add(out, "\n");
    } else {
        bk_text_add(out, "processor      unknown\n");
    }
    if (f)
        fclose(f);
    bk_free(text);
}

static void add_threads(struct bk_text *out)
{
    const char *omp = getenv("OMP_NUM_THREADS");
    bk_text_addf(out, "threads        %d (%ld processors online, OMP_NUM_THREADS %s)\n", bk_threads(),
                 sysconf(_SC_NPROCESSORS_ONLN), omp && *omp ? omp : "unset");
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0)
        bk_text_addf(out, "memory         %.1f GiB\n", (double)pages * (double)page / 0x1p30);
}

static void add_backends(const struct bk_registry *r, struct bk_text *out)
{
    for (size_t i = 0; i < bk_registry_count(r); i++) {
        const struct bk_plugin *p = bk_registry_at(r, i)->plugin;
        struct bk_backend_info info = { .struct_size = sizeof info };
        struct bk_error err = BK_ERROR_INIT;
        if (p->kind != BK_KIND_BACKEND)
            continue;
        bk_text_addf(out, "backend %-6s ", p->name);
        if (bk__cli_backend_info(r, p->name, &info, &err))
            bk_text_addf(out, "not available: %s\n", err.text);
        else
            bk_text_addf(out, "%s%s%s%s\n", info.device_name, info.libraries[0] ? "; " : "", info.libraries,
                         info.fast_bf16 ? "; bf16 is fast" : "");
    }
}

/* Could a file be written below `path`? Looks at the nearest directory that exists. */
static bool is_writable(const char *path)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    while (dir[0] && !bk_file_exists(dir)) {
        char *slash = strrchr(dir, '/');
        if (!slash)
            return access(".", W_OK) == 0;
        slash[slash == dir] = '\0';
    }
    return access(dir, W_OK | X_OK) == 0;
}

static void add_directory(const char *label, const char *variable, const char *fallback, struct bk_text *out)
{
    const char *value = getenv(variable);
    const char *path = value && *value ? value : fallback;
    bk_text_addf(out, "%-14s %s%s, %s\n", label, path, bk_file_exists(path) ? "" : " (not there yet)",
                 is_writable(path) ? "writable" : "NOT WRITABLE");
}

static void add_directories(struct bk_text *out)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME"), *data = getenv("BOSSKIT_DATA");
    char cache[PATH_MAX];

    if (xdg && *xdg)
        snprintf(cache, sizeof cache, "%s/bosskit", xdg);
    else
        snprintf(cache, sizeof cache, "%s/.cache/bosskit", home && *home ? home : ".");
    add_directory("cache", "BOSSKIT_CACHE", cache, out);
    add_directory("runs", "BOSSKIT_RUNS", "runs", out);
    if (!data || !*data)
        bk_text_add(out, "data           BOSSKIT_DATA is not set\n");
    else
        bk_text_addf(out, "data           %s%s\n", data,
                     access(data, R_OK | X_OK) == 0 ? "" : " (CANNOT BE READ)");
}

static void add_plugins(const struct bk_registry *r, struct bk_text *out)
{
    const char *path = getenv("BOSSKIT_PLUGIN_PATH");
    size_t n = bk_registry_refused_count(r);
    bk_text_addf(out, "plugins        %zu found, %zu refused (BOSSKIT_PLUGIN_PATH %s)\n", bk_registry_count(r), n,
                 path && *path ? path : "unset");
    for (size_t i = 0; i < n; i++) {
        const struct bk_refused_plugin *f = bk_registry_refused_at(r, i);
        bk_text_addf(out, "refused        %s: %s\n", f->path, f->reason);
    }
}

static int doctor(struct bk_error *err)
{
    struct bk_text out = BK_TEXT_INIT;
    struct bk_registry *r;

    BK_TRY(bk__cli_registry(&r, err));
    bk_text_addf(&out, "bosskit        %s, plugin ABI %d.%d\nlibrary        %s\n", BK_VERSION, BK_ABI_MAJOR,
                 BK_ABI_MINOR, bk_library_dir());
    add_processor(&out);
    add_threads(&out);
    add_backends(r, &out);
    add_directories(&out);
    add_plugins(r, &out);
    int rc = bk__cli_print(&out, err);
    bk_text_release(&out);
    bk_registry_close(r);
    return rc;
}

int bk__cli_doctor(int argc, char **argv, struct bk_error *err)
{
    struct bk__cli_args args;
    int rc = bk__cli_parse(argc, argv, opts, &args, err);
    if (rc == BK_OK && !args.helped)
        rc = doctor(err);
    bk__cli_release(&args);
    return rc;
}
