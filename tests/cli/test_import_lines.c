#include "tools/import_lines.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cmocka.h>

// A pipe that holds `content`; the other end is closed unless it is asked for.
static int pipe_with(const char *content, size_t bytes, int *other_out)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], content, bytes), (ssize_t)bytes);
    if (other_out != NULL) {
        *other_out = ends[1];
    } else {
        close(ends[1]);
    }
    return ends[0];
}

struct expected {
    enum lines_result result;
    const char *record; // NULL: not looked at
    uint64_t first;
    uint64_t last;
};

static void expect_lines(const char *content, size_t limit, bool csv,
                         const struct expected *expected, size_t count)
{
    struct lines lines;
    int descriptor = pipe_with(content, strlen(content), NULL);
    lines_init(&lines, descriptor, -1, limit, csv);
    for (size_t i = 0; i < count; i++) {
        strata_slice record;
        assert_int_equal(lines_next(&lines, &record), expected[i].result);
        if (expected[i].record != NULL) {
            assert_int_equal(record.bytes, strlen(expected[i].record));
            assert_memory_equal(record.data, expected[i].record, record.bytes);
        }
        if (expected[i].result != LINES_END) {
            assert_int_equal(lines.first, expected[i].first);
            assert_int_equal(lines.last, expected[i].last);
        }
    }
    lines_release(&lines);
    close(descriptor);
}

static void lines_are_numbered(void **state)
{
    (void)state;
    const struct expected expected[] = {{LINES_RECORD, "one", 1, 1},
                                        {LINES_RECORD, "", 2, 2},
                                        {LINES_RECORD, "three", 3, 3},
                                        {LINES_END, "", 0, 0},
                                        {LINES_END, "", 0, 0}};
    expect_lines("one\n\nthree\n", 100, false, expected, 5);
    expect_lines("one\n\nthree", 100, false, expected, 5);
    const struct expected nothing[] = {{LINES_END, "", 0, 0}};
    expect_lines("", 100, false, nothing, 1);
}

static void quotes_hold_line_ends(void **state)
{
    (void)state;
    const struct expected expected[] = {{LINES_RECORD, "a,\"b\nc\n\",d", 1, 3},
                                        {LINES_RECORD, "\"\"\"\n\"", 4, 5},
                                        {LINES_RECORD, "5\" pipe,x", 6, 6},
                                        {LINES_RECORD, "end", 7, 7},
                                        {LINES_END, "", 0, 0}};
    expect_lines("a,\"b\nc\n\",d\n\"\"\"\n\"\n5\" pipe,x\nend\n", 100, true, expected, 5);
}

static void long_lines_are_passed_over(void **state)
{
    (void)state;
    const struct expected expected[] = {{LINES_RECORD, "12345", 1, 1},
                                        {LINES_TOO_LONG, NULL, 2, 2},
                                        {LINES_RECORD, "x", 3, 3},
                                        {LINES_TOO_LONG, NULL, 4, 4},
                                        {LINES_END, "", 0, 0}};
    expect_lines("12345\n123456\nx\n1234567", 5, false, expected, 5);
}

static void a_huge_line_takes_little_memory(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    for (int i = 0; i < 4096; i++) {
        char chunk[4096];
        memset(chunk, 'x', sizeof chunk);
        assert_int_equal(fwrite(chunk, 1, sizeof chunk, file), sizeof chunk);
    }
    fputs("\nend", file);
    rewind(file);
    struct lines lines;
    strata_slice record;
    lines_init(&lines, fileno(file), -1, 1000, false);
    assert_int_equal(lines_next(&lines, &record), LINES_TOO_LONG);
    assert_int_equal(lines_next(&lines, &record), LINES_RECORD);
    assert_int_equal(record.bytes, 3);
    assert_int_equal(lines.first, 2);
    assert_in_range(lines.capacity, 0, 1u << 20);
    lines_release(&lines);
    fclose(file);
}

static void records_longer_than_a_read(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    assert_non_null(file);
    const size_t bytes = 3000000;
    for (int line = 0; line < 3; line++) {
        for (size_t i = 0; i < bytes; i++) {
            fputc('a' + line, file);
        }
        fputc('\n', file);
    }
    rewind(file);
    struct lines lines;
    lines_init(&lines, fileno(file), -1, bytes, false);
    for (int line = 0; line < 3; line++) {
        strata_slice record;
        assert_int_equal(lines_next(&lines, &record), LINES_RECORD);
        assert_int_equal(record.bytes, bytes);
        assert_int_equal(((const char *)record.data)[bytes - 1], 'a' + line);
    }
    lines_release(&lines);
    fclose(file);
}

static void a_slow_pipe_is_idle(void **state)
{
    (void)state;
    int other;
    struct lines lines;
    strata_slice record;
    int descriptor = pipe_with("one\ntw", 6, &other);
    lines_init(&lines, descriptor, -1, 100, false);
    assert_int_equal(lines_next(&lines, &record), LINES_RECORD);
    assert_int_equal(lines_next(&lines, &record), LINES_IDLE);
    assert_int_equal(write(other, "o\n", 2), 2);
    assert_int_equal(lines_next(&lines, &record), LINES_RECORD);
    assert_int_equal(record.bytes, 3);
    assert_memory_equal(record.data, "two", 3);
    close(other);
    assert_int_equal(lines_next(&lines, &record), LINES_END);
    lines_release(&lines);
    close(descriptor);
}

static void a_signal_stops(void **state)
{
    (void)state;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    assert_int_equal(sigprocmask(SIG_BLOCK, &signals, NULL), 0);
    int signal_descriptor = signalfd(-1, &signals, SFD_CLOEXEC);
    int other;
    struct lines lines;
    strata_slice record;
    int descriptor = pipe_with("one\n", 4, &other);
    lines_init(&lines, descriptor, signal_descriptor, 100, false);
    assert_int_equal(lines_next(&lines, &record), LINES_RECORD);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(lines_next(&lines, &record), LINES_STOPPED);
    lines_release(&lines);
    close(other);
    close(descriptor);
    close(signal_descriptor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_numbered),
        cmocka_unit_test(quotes_hold_line_ends),
        cmocka_unit_test(long_lines_are_passed_over),
        cmocka_unit_test(a_huge_line_takes_little_memory),
        cmocka_unit_test(records_longer_than_a_read),
        cmocka_unit_test(a_slow_pipe_is_idle),
        cmocka_unit_test(a_signal_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
