#define FAIL_IS_BEING_COMPILED
#include "base/fail.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FAIL_TEXT_BYTES 512

static _Thread_local char text[FAIL_TEXT_BYTES];

strata_rc fail_at(const char *source_file, int source_line, strata_rc rc, const char *format, ...)
{
    (void)source_file;
    (void)source_line;
    // Arguments may point into the present text: format beside it, then copy.
    char next[FAIL_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(next, sizeof next, format, args);
    va_end(args);
    memcpy(text, next, sizeof text);
    return rc;
}

strata_rc fail_in(strata_rc rc, const char *format, ...)
{
    char context[FAIL_TEXT_BYTES];
    char next[2 * FAIL_TEXT_BYTES + 2];
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
    snprintf(next, sizeof next, "%s: %s", context, text);
    next[FAIL_TEXT_BYTES - 1] = '\0';
    memcpy(text, next, FAIL_TEXT_BYTES);
    return rc;
}

strata_rc fail_errno(int error_number, const char *what, const char *name)
{
    strata_rc rc = STRATA_IO;
    if (error_number == ENOSPC || error_number == EDQUOT) {
        rc = STRATA_NO_SPACE;
    } else if (error_number == ENOMEM) {
        rc = STRATA_NO_MEMORY;
    }
    char reason[128];
    // The GNU strerror_r returns the text; it need not use the buffer.
    const char *said = strerror_r(error_number, reason, sizeof reason);
    return fail(rc, "%s %s: %s", what, name, said);
}

const char *fail_text(void)
{
    return text;
}

void fail_restore(const char *other)
{
    size_t bytes = strlen(other);
    if (bytes >= FAIL_TEXT_BYTES) {
        bytes = FAIL_TEXT_BYTES - 1;
    }
    memmove(text, other, bytes);
    text[bytes] = '\0';
}
