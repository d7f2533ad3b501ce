/**
 * config/config_scan.c: a token scanner that runs before libconfig sees the text.
 *
 * libconfig 1.5 reads 3000000000 as -1294967296 and 4294967297 as 1 without an error, later versions take 010 for 8.
 * Therefore every integer outside strings and comments is checked here and handed on as a decimal 64-bit literal,
 * hexadecimals are refused, reals must be finite, and `@include "file"` becomes a setting for config_read.c. Newlines
 * survive, so that line numbers of libconfig's own errors stay right. It does not check the grammar.
 */
#include "config/value.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BRACKETS 256

struct scanner {
    const char *label, *s;
    int line, depth;
    char open[MAX_BRACKETS];            /* the brackets around the position, as far as they fit */
    struct bk__scan *out;
};

static bool is_name_start(char c)
{
    return isalpha((unsigned char)c) || c == '*';
}

static bool is_name(char c)
{
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '*';
}

static size_t digits(const char *s)
{
    size_t n = 0;
    while (isdigit((unsigned char)s[n]))
        n++;
    return n;
}

/* Length of sign, digits, point and exponent; *real tells which of the two forms it is. */
static size_t number_length(const char *s, bool *real)
{
    size_t n = *s == '+' || *s == '-', before = digits(s + n), after = 0;
    n += before;
    *real = false;
    if (s[n] == '.') {
        after = digits(s + n + 1);
        n += 1 + after;
        *real = true;
    }
    if (before + after == 0)
        return 0;
    if (s[n] == 'e' || s[n] == 'E') {
        size_t sign = s[n + 1] == '+' || s[n + 1] == '-', e = digits(s + n + 1 + sign);
        if (e) {
            n += 1 + sign + e;
            *real = true;
        }
    }
    return n;
}

static int check_integer(const char *word, size_t len, int64_t *i, struct bk_error *err)
{
    char *end;
    errno = 0;
    long long v = strtoll(word, &end, 10);
    if (errno == ERANGE)
        return bk_fail(err, BK_ECONFIG,
                       "integer '%.*s' does not fit into 64 bits, legal: "
                       "-9223372036854775808..9223372036854775807", (int)len, word);
    *i = v;
    return BK_OK;
}

static int check_real(const char *word, size_t len, double *r, struct bk_error *err)
{
    char buf[512];
    if (len >= sizeof buf)
        return bk_fail(err, BK_ECONFIG, "number '%.40s...' has more than %zu characters", word,
                       sizeof buf - 1);
    memcpy(buf, word, len);
    buf[len] = '\0';
    if (!bk_parse_f64(buf[0] == '+' ? buf + 1 : buf, r) || *r - *r != 0)
        return bk_fail(err, BK_ECONFIG, "real '%s' is not a finite double, legal: up to 1.79e308 "
                       "in size", buf);
    return BK_OK;
}

int bk__scan_number(const char *s, size_t *len, enum bk_value_type *type, int64_t *i, double *r,
                    struct bk_error *err)
{
    bool real;
    size_t sign = *s == '+' || *s == '-', n = number_length(s, &real), word;

    *len = n;
    if (n == 0)
        return BK_OK;
    for (word = n; is_name(s[word]) || s[word] == '.'; word++)
        ;
    if (s[sign] == '0' && (s[sign + 1] == 'x' || s[sign + 1] == 'X'))
        return bk_fail(err, BK_ECONFIG, "hexadecimal '%.*s' is not accepted, write it in decimal",
                       (int)(word < 40 ? word : 40), s);
    if (!real && s[n] == 'L')
        n += s[n + 1] == 'L' ? 2 : 1;
    if (n != word)
        return bk_fail(err, BK_ECONFIG, "'%.*s' is not a number", (int)(word < 40 ? word : 40), s);
    *type = real ? BK_VALUE_REAL : BK_VALUE_INT;
    int rc = real ? check_real(s, *len, r, err) : check_integer(s, *len, i, err);
    *len = n;
    return rc;
}

/* Hand on `n` characters; with `blank` only their newlines. */
static void pass(struct scanner *z, size_t n, bool blank)
{
    for (size_t i = 0; i < n; i++) {
        char c = z->s[i];
        if (c == '\n')
            z->line++;
        if (!blank || c == '\n')
            bk_text_addn(&z->out->text, &c, 1);
    }
    z->s += n;
}

static int scan_string(struct scanner *z, struct bk_error *err)
{
    size_t n = 1;
    while (z->s[n] && z->s[n] != '"')
        n += z->s[n] == '\\' && z->s[n + 1] ? 2 : 1;
    if (!z->s[n])
        return bk_fail(err, BK_ECONFIG, "%s:%d: string without closing quote", z->label, z->line);
    pass(z, n + 1, false);
    return BK_OK;
}

static int scan_comment(struct scanner *z, struct bk_error *err)
{
    if (z->s[0] == '/' && z->s[1] == '*') {
        const char *end = strstr(z->s + 2, "*/");
        if (!end)
            return bk_fail(err, BK_ECONFIG, "%s:%d: comment without closing */", z->label, z->line);
        pass(z, (size_t)(end + 2 - z->s), true);
        bk_text_add(&z->out->text, " ");
    } else {
        pass(z, strcspn(z->s, "\n"), true);
    }
    return BK_OK;
}

static int scan_number(struct scanner *z, struct bk_error *err)
{
    enum bk_value_type type = BK_VALUE_INVALID;
    int64_t i = 0;
    double r = 0;
    size_t len;

    int rc = bk__scan_number(z->s, &len, &type, &i, &r, err);
    if (rc) {
        bk_context(err, "%s:%d", z->label, z->line);
        return rc;
    }
    if (len == 0 || type == BK_VALUE_REAL) {
        pass(z, len ? len : 1, false);
    } else {
        bk_text_addf(&z->out->text, "%lldL", (long long)i);
        z->s += len;
    }
    return BK_OK;
}

/* May a setting stand here: at the top level or directly in a group? */
static bool in_group(const struct scanner *z)
{
    return z->depth == 0 || (z->depth <= MAX_BRACKETS && z->open[z->depth - 1] == '{');
}

static int scan_include(struct scanner *z, struct bk_error *err)
{
    static const char word[] = "@include";
    size_t n = sizeof word - 1, name;

    if (strncmp(z->s, word, n) != 0)
        return bk_fail(err, BK_ECONFIG, "%s:%d: '@' starts no value, legal: @include \"file\"",
                       z->label, z->line);
    n += strspn(z->s + n, " \t");
    name = z->s[n] == '"' ? strcspn(z->s + n + 1, "\"\\\n") : 0;
    if (name == 0 || z->s[n + 1 + name] != '"')
        return bk_fail(err, BK_ECONFIG, "%s:%d: @include needs a file name in double quotes",
                       z->label, z->line);
    if (!in_group(z))
        return bk_fail(err, BK_ECONFIG, "%s:%d: @include inside a list, legal: at the top level of "
                       "a file or in a group", z->label, z->line);
    bk_text_addf(&z->out->text, BK__INCLUDE_NAME "%zu = ", ++z->out->n_includes);
    z->s += n;
    pass(z, name + 2, false);
    bk_text_add(&z->out->text, ";");
    return BK_OK;
}

static void scan_bracket(struct scanner *z)
{
    if (strchr("{[(", *z->s)) {
        if (z->depth < MAX_BRACKETS)
            z->open[z->depth] = *z->s;
        z->depth++;
    } else if (z->depth > 0) {
        z->depth--;
    }
}

static int scan_token(struct scanner *z, struct bk_error *err)
{
    char c = *z->s;
    size_t n = 1;

    if (c == '"')
        return scan_string(z, err);
    if (c == '#' || (c == '/' && (z->s[1] == '/' || z->s[1] == '*')))
        return scan_comment(z, err);
    if (c == '@')
        return scan_include(z, err);
    if (isdigit((unsigned char)c) || c == '+' || c == '-' || c == '.')
        return scan_number(z, err);
    if (is_name_start(c))
        while (is_name(z->s[n]))
            n++;
    if (strncmp(z->s, BK__INCLUDE_NAME, sizeof BK__INCLUDE_NAME - 1) == 0)
        return bk_fail(err, BK_ECONFIG, "%s:%d: a name cannot start with '" BK__INCLUDE_NAME "'", z->label, z->line);
    if (strchr("{[()]}", c))
        scan_bracket(z);
    pass(z, n, false);
    return BK_OK;
}

int bk__scan_text(const char *label, const char *text, struct bk__scan *out, struct bk_error *err)
{
    struct scanner z = { .label = label, .s = text, .line = 1, .out = out };

    *out = (struct bk__scan){ BK_TEXT_INIT, 0 };
    while (*z.s) {
        int rc = scan_token(&z, err);
        if (rc) {
            bk__scan_release(out);
            return rc;
        }
    }
    if (out->text.failed) {
        bk__scan_release(out);
        return bk_fail(err, BK_ENOMEM, "out of memory for '%s'", label);
    }
    return BK_OK;
}

void bk__scan_release(struct bk__scan *s)
{
    bk_text_release(&s->text);
    *s = (struct bk__scan){ BK_TEXT_INIT, 0 };
}
