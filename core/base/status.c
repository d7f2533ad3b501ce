/*
 * base/status.c: status codes and the one-sentence error.
 *
 * An error is built where it is found and prefixed once on the way up. Nothing here prints or ends the process; that
 * is the program's business.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <bosskit/base.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

const char *bk_status_text(int status)
{
    switch (status) {
    case BK_OK:
        return "ok";
#define STATUS_TEXT(name, value, text, code)                                             \
    case name:                                                                           \
        return text;
        BK_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "unknown status";
    }
}

int bk_status_exit_code(int status)
{
    switch (status) {
    case BK_OK:
        return 0;
#define STATUS_EXIT(name, value, text, code)                                             \
    case name:                                                                           \
        return code;
        BK_STATUS_LIST(STATUS_EXIT)
#undef STATUS_EXIT
    default:
        return 1;
    }
}

int bk_fail(struct bk_error *err, int code, const char *fmt, ...)
{
    va_list args;

    if (!err)
        return code;
    /* The arguments may borrow err->text, so the sentence is built beside it. */
    char text[sizeof err->text];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    err->code = code;
    memcpy(err->text, text, sizeof text);
    return code;
}

int bk_fail_errno(struct bk_error *err, int code, const char *fmt, ...)
{
    int number = errno;
    char text[sizeof err->text], reason[128];
    va_list args;

    if (!err)
        return code;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const char *why = strerror_r(number, reason, sizeof reason);
    return bk_fail(err, code, "%s: %s", text, why);
}

int bk_context(struct bk_error *err, const char *fmt, ...)
{
    char text[sizeof err->text];
    va_list args;

    if (!err)
        return BK_EINVAL;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return bk_fail(err, err->code, "%s: %s", text, err->text);
}
