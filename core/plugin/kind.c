/*
 * plugin/kind.c: names and directories of the kinds, derived from BK_KIND_LIST.
 */
#include "plugin/loader.h"

#include <string.h>

const char *bk_kind_name(uint32_t kind)
{
    switch (kind) {
#define KIND_CASE(suffix, number, name, dir)                                             \
    case number:                                                                         \
        return name;
        BK_KIND_LIST(KIND_CASE)
#undef KIND_CASE
    default:
        return NULL;
    }
}

uint32_t bk_kind_from_name(const char *name)
{
#define KIND_MATCH(suffix, number, text, dir)                                            \
    if (strcmp(name, text) == 0)                                                         \
        return number;
    BK_KIND_LIST(KIND_MATCH)
#undef KIND_MATCH
    return BK_KIND_INVALID;
}

const char *bk__kind_dir(uint32_t kind)
{
    switch (kind) {
#define KIND_DIR(suffix, number, name, dir)                                              \
    case number:                                                                         \
        return dir;
        BK_KIND_LIST(KIND_DIR)
#undef KIND_DIR
    default:
        return NULL;
    }
}
