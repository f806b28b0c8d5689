#include "tools/cli_time.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static void set_zone(const char *zone)
{
    setenv("TZ", zone, 1);
    tzset();
}

static void expect_moment(const char *text, int64_t unix_us)
{
    struct time_point point;
    assert_true(time_parse(text, &point));
    assert_int_equal(point.kind, TIME_MOMENT);
    assert_int_equal(point.unix_us, unix_us);
}

static void digits_are_a_commit(void **state)
{
    (void)state;
    struct time_point point;
    assert_true(time_parse("0", &point));
    assert_int_equal(point.kind, TIME_COMMIT);
    assert_int_equal(point.commit, 0);
    assert_true(time_parse("18446744073709551615", &point));
    assert_true(point.commit == UINT64_MAX);
    assert_false(time_parse("18446744073709551616", &point));
}

static void at_is_unix_time(void **state)
{
    (void)state;
    expect_moment("@0", 0);
    expect_moment("@1700000000", 1700000000000000);
    expect_moment("@1700000000.25", 1700000000250000);
    expect_moment("@1.1234567", 1123456);
    expect_moment("@-1.5", -1500000);
}

static void zones_and_fractions(void **state)
{
    (void)state;
    set_zone("UTC");
    expect_moment("2001-09-09T01:46:40Z", 1000000000000000);
    expect_moment("2001-09-09t01:46:40z", 1000000000000000);
    expect_moment("2001-09-09 01:46:40.5Z", 1000000000500000);
    expect_moment("2001-09-09T03:46:40+02:00", 1000000000000000);
    expect_moment("2001-09-08T20:16:40-05:30", 1000000000000000);
    expect_moment("2001-09-09T01:46Z", 999999960000000);
    expect_moment("2000-02-29T00:00:00Z", 951782400000000);
}

static void no_zone_is_the_local_one(void **state)
{
    (void)state;
    set_zone("EST5EDT");
    expect_moment("2001-01-01T00:00:00", 978325200000000);
    expect_moment("2001-01-01", 978325200000000);
    expect_moment("2001-07-01T00:00", 993960000000000);
    set_zone("UTC");
}

static void wrong_times_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",
                                        "@",
                                        "@x",
                                        "@1.",
                                        "@1x",
                                        "now",
                                        "-1",
                                        "1x",
                                        "2001-13-01",
                                        "2001-00-01",
                                        "2001-02-29",
                                        "2001-02-30",
                                        "2001-01-00",
                                        "2001-1-1",
                                        "2001-01-01T",
                                        "2001-01-01T24:00:00Z",
                                        "2001-01-01T00:60:00Z",
                                        "2001-01-01T00:00:61Z",
                                        "2001-01-01T00:00:00.Z",
                                        "2001-01-01T00:00:00+1",
                                        "2001-01-01T00:00:00+24:00",
                                        "2001-01-01T00:00:00Zx",
                                        "1900-02-29",
                                        "@99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct time_point point;
        if (time_parse(wrong[i], &point)) {
            fail_msg("\"%s\" was taken for a time", wrong[i]);
        }
    }
}

static void what_is_printed_is_read_back(void **state)
{
    (void)state;
    static const int64_t moments[] = {0, 1, -1, 999999, 1700000000123456, 4102444800000000};
    static const char *const zones[] = {"UTC", "EST5EDT", "IST-5:30"};
    for (size_t z = 0; z < 3; z++) {
        set_zone(zones[z]);
        for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
            char text[TIME_TEXT_BYTES];
            time_format(moments[i], text);
            expect_moment(text, moments[i]);
        }
    }
    set_zone("UTC");
    char text[TIME_TEXT_BYTES];
    time_format(1000000000000001, text);
    assert_string_equal(text, "2001-09-09T01:46:40.000001+00:00");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_a_commit),     cmocka_unit_test(at_is_unix_time),
        cmocka_unit_test(zones_and_fractions),     cmocka_unit_test(no_zone_is_the_local_one),
        cmocka_unit_test(wrong_times_are_refused), cmocka_unit_test(what_is_printed_is_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
