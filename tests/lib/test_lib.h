// What the test programs share: memory that never runs out, and the options by which a run is
// repeated. A harness has no use for an error it cannot act on, so its own faults end the process
// with a sentence.
#ifndef LIB_TEST_LIB_H
#define LIB_TEST_LIB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Prints the sentence to standard error and exits with 2: the harness itself is broken or misused.
void test_fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

// Zeroed memory; test_fatal when there is none.
void *test_alloc(size_t count, size_t bytes);
void *test_resize(void *old, size_t count, size_t bytes);
char *test_strdup(const char *text);

// Makes room for one more element of `bytes` bytes in a growing array.
void test_grow(void **items, size_t *capacity, size_t count, size_t bytes);

// How to repeat what runs now; printed when the process is aborted. Cut if long.
void test_label(const char *format, ...) __attribute__((format(printf, 1, 2)));
void test_print_label(void);

// Ends the process, with the label, when the next `seconds` pass without another call. 0: no more.
void test_watchdog(unsigned seconds);

struct test_options {
    uint64_t seed;      // --seed N: the first seed
    uint64_t count;     // --count N: how many seeds; 0: the program's default
    uint64_t ops;       // --ops N: operations of one run; 0: the program's default
    double seconds;     // --seconds S: stop after this time; 0: no limit
    uint64_t until;     // --until N: stop once N cases were run; 0: no limit
    uint64_t boundary;  // --boundary N: only this crash boundary; UINT64_MAX: all
    int policy;         // --policy N: only this survival policy; -1: all
    const char *mutant; // --mutant NAME: a planted fault
    const char *script; // --script FILE: run this instead of random operations
    bool verbose;       // --verbose
};

// Reads the options above; test_fatal on an unknown one.
void test_options_parse(struct test_options *o, int argc, char **argv);

// Seconds since an arbitrary moment.
double test_seconds(void);
// True when the options' time is used up, counted from the parse.
bool test_time_is_up(const struct test_options *o);

#endif
