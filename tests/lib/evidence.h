// What the programs of tests/evidence share: databases in scratch directories, and checks that end
// the program with a sentence. A failed check leaves the directory behind, for a look at it.
#ifndef LIB_EVIDENCE_H
#define LIB_EVIDENCE_H

#include "strata.h"

#include <stdint.h>

// Prints "FAILED FILE:LINE: sentence", the error text of the thread and the label of the run, and
// ends the process with 1. From any thread.
void evidence_failed(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#define EVIDENCE(condition, ...)                                                                   \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            evidence_failed(__FILE__, __LINE__, __VA_ARGS__);                                      \
        }                                                                                          \
    } while (0)

// The call returned STRATA_OK, or exactly another code.
#define MUST(call) MUST_BE(call, STRATA_OK)
#define MUST_BE(call, expected)                                                                    \
    do {                                                                                           \
        strata_rc must_rc = (call);                                                                \
        if (must_rc != (expected)) {                                                               \
            evidence_failed(__FILE__, __LINE__, "%s is %s, not %s", #call,                         \
                            strata_rc_name(must_rc), strata_rc_name(expected));                    \
        }                                                                                          \
    } while (0)

// Cases of a matrix: a call and the code that it must return, with a sentence when that is an
// error; or a condition. They are counted.
extern uint64_t evidence_cases;
void evidence_case(strata_rc got, strata_rc want, const char *call, const char *file, int line);
#define CASE(call, want) evidence_case(call, want, #call, __FILE__, __LINE__)
#define TRUE(condition)                                                                            \
    do {                                                                                           \
        evidence_cases++;                                                                          \
        EVIDENCE(condition, "%s", #condition);                                                     \
    } while (0)

// A new, empty directory in `base`; NULL: in $TMPDIR, else /tmp. Freed by scratch_remove.
char *scratch_new(const char *base);
// Removes the directory with all that is in it, and frees the path.
void scratch_remove(char *path);
// Removes what is in it.
void scratch_empty(const char *path);

// Processor time of the calling thread, in seconds.
double thread_seconds(void);
double median_of(double *values, uint32_t count); // sorts them

// The metric of this name.
uint64_t metric_of(strata_db *db, const char *name);

#endif
