/**
 * bosskit/option.h: options are a table.
 *
 * A plugin declares what can be configured as an array of rows. Parsing, defaults, bounds, error
 * sentences, `bosskit describe`, cache keys and the documentation are derived from the rows. The
 * host fills the plugin's state before `init` runs; `init` checks only combinations.
 *
 *     struct sgd { double lr; int64_t epochs; int32_t schedule; };
 *     static const struct bk_choice schedules[] = { {"cosine", 1}, {"step", 2}, {NULL, 0} };
 *     static const struct bk_opt options[] = {
 *         BK_INT ("epochs",   struct sgd, epochs,   20,   1, 10000, "epochs", "passes over the data"),
 *         BK_REAL("lr",       struct sgd, lr,       0.05, 0, 10,    "",       "peak learning rate"),
 *         BK_ENUM("schedule", struct sgd, schedule, 1, schedules,   "how the rate decays"),
 *         BK_OPT_END
 *     };
 *
 * The field's C type is checked at compile time: int64_t for BK_INT, double for BK_REAL, bool for
 * BK_BOOL, int32_t for BK_ENUM, const char * for BK_TEXT and BK_PATH, struct bk_ints for BK_INTS.
 */
#ifndef BOSSKIT_OPTION_H
#define BOSSKIT_OPTION_H

#include <bosskit/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum bk_opt_type {
    BK_OPT_INVALID = 0,
    BK_OPT_INT,    /* int64_t      */
    BK_OPT_REAL,   /* double       */
    BK_OPT_BOOL,   /* bool         */
    BK_OPT_ENUM,   /* int32_t      */
    BK_OPT_TEXT,   /* const char * */
    BK_OPT_PATH,   /* const char *, relative paths count from the file that sets it; not part of keys */
    BK_OPT_INTS,   /* struct bk_ints: a list of integers, each within the bounds */
};

/** A list of integers owned by the host. */
struct bk_ints {
    const int64_t *at;
    int64_t n;
};

struct bk_choice {
    const char *name;
    int32_t value;
};

enum bk_opt_flags {
    BK_OPT_NOKEY = 1,      /* cannot change a result (worker threads, log interval): stays out of cache keys */
};

struct bk_opt {
    const char *name;                   /* lower case, digits and '_' */
    uint32_t type, offset, flags, reserved;
    double def, min, max;               /* inclusive; integers up to 2^53 */
    const char *def_text;               /* BK_OPT_TEXT, BK_OPT_PATH: NULL = unset; BK_OPT_INTS: "8,16,24" */
    const struct bk_choice *choices;    /* BK_OPT_ENUM, ended by a NULL name */
    const char *unit, *help;
};

#define BK_FIELD(T, f, ctype) _Generic(((T *)0)->f, ctype : offsetof(T, f))

#define BK_INT_F(name, T, f, def, min, max, unit, help, flags)                           \
    { name, BK_OPT_INT, BK_FIELD(T, f, int64_t), flags, 0, def, min, max, NULL, NULL, unit, help }
#define BK_INT(name, T, f, def, min, max, unit, help)                                    \
    BK_INT_F(name, T, f, def, min, max, unit, help, 0)
#define BK_REAL(name, T, f, def, min, max, unit, help)                                   \
    { name, BK_OPT_REAL, BK_FIELD(T, f, double), 0, 0, def, min, max, NULL, NULL, unit, help }
#define BK_BOOL(name, T, f, def, help)                                                   \
    { name, BK_OPT_BOOL, BK_FIELD(T, f, bool), 0, 0, def, 0, 1, NULL, NULL, "", help }
#define BK_ENUM(name, T, f, def, choices, help)                                          \
    { name, BK_OPT_ENUM, BK_FIELD(T, f, int32_t), 0, 0, def, 0, 0, NULL, choices, "", help }
#define BK_TEXT(name, T, f, def, help)                                                   \
    { name, BK_OPT_TEXT, BK_FIELD(T, f, const char *), 0, 0, 0, 0, 0, def, NULL, "", help }
#define BK_PATH(name, T, f, def, help)                                                   \
    { name, BK_OPT_PATH, BK_FIELD(T, f, const char *), BK_OPT_NOKEY, 0, 0, 0, 0, def, NULL, "", help }
#define BK_INTS(name, T, f, def, min, max, unit, help)                                   \
    { name, BK_OPT_INTS, BK_FIELD(T, f, struct bk_ints), 0, 0, 0, min, max, def, NULL, unit, help }
#define BK_OPT_END { NULL, 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL }

#ifdef __cplusplus
}
#endif
#endif
