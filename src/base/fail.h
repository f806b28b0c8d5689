// The one birthplace of errors: sets the calling thread's error text and returns the code, so that
// `return fail(STRATA_CORRUPT, "...", ...)` is the whole of error handling at the place of a fault,
// and a breakpoint on fail_at() stops at every error.
#ifndef BASE_FAIL_H
#define BASE_FAIL_H

#include "strata.h"

// Formats the text (at most 511 bytes), stores it for strata_error_text() and returns rc.
// The text names the file, the offset, what was expected and what was found.
strata_rc fail_at(const char *source_file, int source_line, strata_rc rc, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
#define fail(rc, ...) fail_at(__FILE__, __LINE__, (rc), __VA_ARGS__)

// Puts "CONTEXT: " before the thread's error text and returns rc; for adding a file's name on the
// way up.
strata_rc fail_in(strata_rc rc, const char *format, ...) __attribute__((format(printf, 2, 3)));

// STRATA_NO_SPACE for ENOSPC and EDQUOT, STRATA_NO_MEMORY for ENOMEM, else STRATA_IO; the text is
// "WHAT NAME: strerror".
strata_rc fail_errno(int error_number, const char *what, const char *name);

// What the static analyzer may take for granted: these return the code they were given, which is
// never STRATA_OK.
#if defined(__clang_analyzer__) && !defined(FAIL_IS_BEING_COMPILED)
#undef fail
#define fail(rc, ...) ((void)fail_at(__FILE__, __LINE__, (rc), __VA_ARGS__), (rc))
#define fail_in(rc, ...) ((void)fail_in((rc), __VA_ARGS__), (rc))
#define fail_errno(number, what, name) ((void)fail_errno((number), (what), (name)), STRATA_IO)
#endif

// The thread's last text; never NULL. Copied by callers that outlive the next failure.
const char *fail_text(void);
// Makes `text` the thread's last text, for an error that was born in another thread.
void fail_restore(const char *text);

#endif
