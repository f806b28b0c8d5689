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

static void lengths_of_time(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t seconds;
        const char *back; // NULL: the text itself
    } good[] = {{"0s", 0, NULL},
                {"90s", 90, "1m30s"},
                {"1h30m", 5400, NULL},
                {"7d", 604800, NULL},
                {"10d", 864000, NULL},
                {"2w", 1209600, "14d"},
                {"1w1d", 691200, "8d"},
                {"1d1d", 172800, "2d"},
                {"4294967295s", 4294967295u, "49710d6h28m15s"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t seconds;
        char text[TIME_TEXT_BYTES];
        assert_true(time_parse_duration(good[i].text, UINT32_MAX, &seconds));
        assert_int_equal(seconds, good[i].seconds);
        time_format_duration(seconds, text);
        assert_string_equal(text, good[i].back != NULL ? good[i].back : good[i].text);
        assert_true(time_parse_duration(text, UINT32_MAX, &seconds));
        assert_int_equal(seconds, good[i].seconds);
    }
    static const char *const wrong[] = {"",
                                        "7",
                                        "d",
                                        "7x",
                                        "-1s",
                                        "1h ",
                                        "1.5h",
                                        "1h30",
                                        "s1",
                                        "4294967296s",
                                        "7102w",
                                        "99999999999999999999s",
                                        "4294967295s1s"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        uint64_t seconds;
        if (time_parse_duration(wrong[i], UINT32_MAX, &seconds)) {
            fail_msg("\"%s\" was taken for a length of time", wrong[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits_are_a_commit),     cmocka_unit_test(at_is_unix_time),
        cmocka_unit_test(zones_and_fractions),     cmocka_unit_test(no_zone_is_the_local_one),
        cmocka_unit_test(wrong_times_are_refused), cmocka_unit_test(what_is_printed_is_read_back),
        cmocka_unit_test(lengths_of_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
