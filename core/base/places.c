/*
 * base/places.c: where the program and the library lie, so that plugins can be found beside them.
 *
 * Looked up once and kept; both answers are "" on a system that cannot tell.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bosskit/file.h>

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char program_dir[PATH_MAX], library_dir[PATH_MAX];

/* Keep the directory of `path` ("/" for a file in the root). */
static void cut_name(char *path)
{
    char *slash = strrchr(path, '/');

    if (slash)
        slash[slash == path] = '\0';
}

static void find_program(void)
{
    ssize_t n = readlink("/proc/self/exe", program_dir, sizeof program_dir - 1);

    program_dir[n < 0 ? 0 : n] = '\0';
    cut_name(program_dir);
}

static void find_library(void)
{
    /* An address of data, because ISO C has no conversion from functions to void *. */
    static const char here;
    Dl_info info;

    if (!dladdr(&here, &info) || !info.dli_fname || !realpath(info.dli_fname, library_dir))
        library_dir[0] = '\0';
    cut_name(library_dir);
}

static void find_places(void)
{
    find_program();
    find_library();
}

static void find_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, find_places);
}

const char *bk_program_dir(void)
{
    find_once();
    return program_dir;
}

const char *bk_library_dir(void)
{
    find_once();
    return library_dir;
}
