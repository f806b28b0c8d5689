// Retention as text.
#include "tools/cli_retention.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static const char *const forms[] = {"all", "none", "1", "3", "4294967295", "1s", "2d", "1h30m"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
        char text[TIME_TEXT_BYTES];
        assert_true(retention_parse(forms[i], &options));
        retention_format(&options, text);
        assert_string_equal(text, forms[i]);
    }
}

static void what_each_form_means(void **state)
{
    (void)state;
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    assert_true(retention_parse("3", &options));
    assert_int_equal(options.retention, STRATA_RETENTION_VERSIONS);
    assert_int_equal(options.retention_versions, 3);
    assert_true(retention_parse("2h", &options));
    assert_int_equal(options.retention, STRATA_RETENTION_AGE);
    assert_int_equal(options.retention_seconds, 7200);
    assert_true(retention_parse("none", &options));
    assert_int_equal(options.retention, STRATA_RETENTION_NONE);
    assert_true(retention_parse("all", &options));
    assert_int_equal(options.retention, STRATA_RETENTION_ALL);
}

static void the_default_keeps_everything(void **state)
{
    (void)state;
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    char text[TIME_TEXT_BYTES];
    retention_format(&options, text);
    assert_string_equal(text, "all");
}

static void wrong_forms_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"",   "0",   "0s", "-1",  "4294967296",
                                        "al", "ALL", "3x", "7d ", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
        if (retention_parse(wrong[i], &options)) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
    }
}

static void expect_description(const char *form, const char *expected)
{
    strata_keyspace_options options = STRATA_KEYSPACE_OPTIONS_INIT;
    struct text text = {0};
    assert_true(retention_parse(form, &options));
    retention_describe(&options, &text);
    text_append(&text, "", 1);
    assert_string_equal(text.data, expected);
    text_release(&text);
}

static void in_words(void **state)
{
    (void)state;
    expect_description("all", "every version");
    expect_description("none", "the present only");
    expect_description("1", "the last version of each key");
    expect_description("3", "the last 3 versions of each key");
    expect_description("36h", "every commit of the last 1d12h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(what_each_form_means),
        cmocka_unit_test(the_default_keeps_everything),
        cmocka_unit_test(wrong_forms_are_refused),
        cmocka_unit_test(in_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
