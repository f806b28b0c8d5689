#include "lib/test_lib.h"

#include "lib/alloc_fault.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double parsed_at;
static char label[512];

// Of a sanitizer's runtime, when there is one.
__attribute__((weak)) void __sanitizer_set_death_callback(void (*callback)(void));

void test_print_label(void)
{
    size_t bytes = strlen(label);
    if (bytes > 0 && write(STDERR_FILENO, label, bytes) > 0) {
        label[0] = '\0';
    }
}

static void on_abort(int signal_number)
{
    test_print_label();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void on_alarm(int signal_number)
{
    static const char hang[] = "FAILED: a call does not return\n";
    (void)signal_number;
    if (write(STDERR_FILENO, hang, sizeof hang - 1) > 0) {
        test_print_label();
    }
    _exit(1);
}

void test_watchdog(unsigned seconds)
{
    signal(SIGALRM, on_alarm);
    alarm(seconds);
}

void test_label(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(label, sizeof label - 1, format, args);
    va_end(args);
    size_t bytes = strlen(label);
    label[bytes] = '\n';
    label[bytes + 1] = '\0';
}

void test_fatal(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("harness: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    test_print_label();
    exit(2);
}

void *test_alloc(size_t count, size_t bytes)
{
    alloc_fault_pause();
    void *p = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);
    alloc_fault_resume();
    if (p == NULL) {
        test_fatal("no memory for %zu * %zu bytes", count, bytes);
    }
    return p;
}

void *test_resize(void *old, size_t count, size_t bytes)
{
    void *p = NULL;
    size_t total;
    if (!__builtin_mul_overflow(count, bytes, &total)) {
        alloc_fault_pause();
        p = realloc(old, total == 0 ? 1 : total);
        alloc_fault_resume();
    }
    if (p == NULL) {
        test_fatal("no memory for %zu * %zu bytes", count, bytes);
    }
    return p;
}

char *test_strdup(const char *text)
{
    size_t bytes = strlen(text) + 1;
    char *copy = test_alloc(bytes, 1);
    memcpy(copy, text, bytes);
    return copy;
}

void test_grow(void **items, size_t *capacity, size_t count, size_t bytes)
{
    if (count < *capacity) {
        return;
    }
    *capacity = *capacity == 0 ? 16 : *capacity * 2;
    *items = test_resize(*items, *capacity, bytes);
}

double test_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static const char *option_value(int argc, char **argv, int *i)
{
    if (*i + 1 >= argc) {
        test_fatal("%s needs a value", argv[*i]);
    }
    (*i)++;
    return argv[*i];
}

static uint64_t option_number(int argc, char **argv, int *i)
{
    const char *name = argv[*i];
    const char *text = option_value(argc, argv, i);
    char *end;
    uint64_t n = strtoull(text, &end, 0);
    if (end == text || *end != '\0') {
        test_fatal("%s: '%s' is not a number", name, text);
    }
    return n;
}

void test_options_parse(struct test_options *o, int argc, char **argv)
{
    *o = (struct test_options){.seed = 1, .boundary = UINT64_MAX, .policy = -1};
    parsed_at = test_seconds();
    signal(SIGABRT, on_abort);
    if (__sanitizer_set_death_callback != NULL) {
        __sanitizer_set_death_callback(test_print_label);
    }
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--seed") == 0) {
            o->seed = option_number(argc, argv, &i);
        } else if (strcmp(name, "--count") == 0) {
            o->count = option_number(argc, argv, &i);
        } else if (strcmp(name, "--ops") == 0) {
            o->ops = option_number(argc, argv, &i);
        } else if (strcmp(name, "--seconds") == 0) {
            o->seconds = strtod(option_value(argc, argv, &i), NULL);
        } else if (strcmp(name, "--until") == 0) {
            o->until = option_number(argc, argv, &i);
        } else if (strcmp(name, "--boundary") == 0) {
            o->boundary = option_number(argc, argv, &i);
        } else if (strcmp(name, "--policy") == 0) {
            o->policy = (int)option_number(argc, argv, &i);
        } else if (strcmp(name, "--mutant") == 0) {
            o->mutant = option_value(argc, argv, &i);
        } else if (strcmp(name, "--script") == 0) {
            o->script = option_value(argc, argv, &i);
        } else if (strcmp(name, "--verbose") == 0) {
            o->verbose = true;
        } else {
            test_fatal("unknown option '%s'", name);
        }
    }
}

bool test_time_is_up(const struct test_options *o)
{
    return o->seconds > 0 && test_seconds() - parsed_at >= o->seconds;
}
