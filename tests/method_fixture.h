/*
 * tests/method_fixture.h: plugins as the host makes them, for tests of spaces, samplers, trainers, raters, searchers.
 *
 * Instances are opened through the registry with options as "key=value" texts; everything is closed by
 * fixture_close(). Not a test itself.
 */
#ifndef BK_TESTS_METHOD_FIXTURE_H
#define BK_TESTS_METHOD_FIXTURE_H

#include "plugin/registry.h"
#include "unit.h"
#include <bosskit/method.h>

enum { FIXTURE_MAX = 16 };

struct fixture {
    struct bk_registry *registry;
    struct bk_instance *instance[FIXTURE_MAX];
    int n;
    struct bk_error err;
};

static inline void fixture_open(struct fixture *f)
{
    memset(f, 0, sizeof *f);
    if (bk_registry_open(NULL, 0, &f->registry, &f->err)) {
        printf("\n    %s\n", f->err.text);
        CU_FAIL_FATAL("cannot open the registry");
    }
}

static inline void fixture_close(struct fixture *f)
{
    while (f->n)
        bk_instance_close(f->instance[--f->n]);
    bk_registry_close(f->registry);
}

/* `options`: NULL-ended texts such as "widths=[8,16]". NULL when the plugin refuses them (the sentence is in f->err). */
static inline struct bk_instance *fixture_try(struct fixture *f, uint32_t kind, const char *name,
                                              const char *const *options)
{
    struct bk_instance *i = NULL;
    struct bk_value *group = bk_zalloc(sizeof *group);
    CU_ASSERT_PTR_NOT_NULL_FATAL(group);
    CU_ASSERT_FATAL(f->n < FIXTURE_MAX);
    group->type = BK_VALUE_GROUP;
    int rc = BK_OK;
    for (; !rc && options && *options; options++)
        rc = bk_value_override(group, *options, &f->err);
    if (!rc)
        rc = bk_instance_open(f->registry, kind, name, group, NULL, bk_kind_name(kind), NULL, &i, &f->err);
    bk_value_free(group);
    if (rc)
        return NULL;
    return f->instance[f->n++] = i;
}

static inline struct bk_instance *fixture_get(struct fixture *f, uint32_t kind, const char *name,
                                              const char *const *options)
{
    struct bk_instance *i = fixture_try(f, kind, name, options);
    if (!i)
        printf("\n    %s '%s': %s\n", bk_kind_name(kind), name, f->err.text);
    CU_ASSERT_PTR_NOT_NULL_FATAL(i);
    return i;
}

static inline void fixture_space(struct fixture *f, const char *name, const char *const *options,
                                 struct bk_space *out)
{
    struct bk_instance *i = fixture_get(f, BK_KIND_SPACE, name, options);
    memset(out, 0, sizeof *out);
    out->iface = bk_instance_iface(i);
    out->state = i->state;
    out->name = name;
    out->info.struct_size = sizeof out->info;
    CU_ASSERT_EQUAL_FATAL(out->iface->info(out->state, &out->info, &f->err), BK_OK);
}

#define OPTIONS(...) ((const char *const[]){ __VA_ARGS__, NULL })

#endif
