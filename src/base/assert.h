// ASSERT(c): a programmer's error, cheap enough for every build. Debug builds abort at once.
// Release builds record the first broken invariant of the process and go on; the database notices
// at its next layer boundary (assert_broken), turns read-only and answers STRATA_INTERNAL.
// ASSERT_SLOW(c): checks over whole structures, in debug builds only.
// Neither is ever used on bytes from disk or on a caller's arguments.
#ifndef BASE_ASSERT_H
#define BASE_ASSERT_H

#include <assert.h>
#include <stdbool.h>

// The static analyzer may take it that every ASSERT holds.
#ifdef __clang_analyzer__
#define ASSERT_ENDS __attribute__((analyzer_noreturn))
#else
#define ASSERT_ENDS
#endif

void assert_failed(const char *condition, const char *file, int line) ASSERT_ENDS;

// The sentence about the first failed ASSERT of this process, or NULL.
const char *assert_broken(void);

#define ASSERT(c) ((c) ? (void)0 : assert_failed(#c, __FILE__, __LINE__))

#ifdef STRATA_DEBUG
#define ASSERT_SLOW(c) ASSERT(c)
#else
#define ASSERT_SLOW(c) ((void)0)
#endif

#endif
