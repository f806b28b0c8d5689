#include "tools/cli_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_escaped(const char *bytes, size_t count, const char *expected)
{
    struct text text = {0};
    struct text back = {0};
    const char *problem;
    text_append_escaped(&text, (strata_slice){bytes, count});
    text_append(&text, "", 1);
    assert_string_equal(text.data, expected);
    text.bytes--;
    assert_true(text_append_unescaped(&back, text_slice(&text), &problem));
    assert_int_equal(back.bytes, count);
    assert_memory_equal(text_slice(&back).data, bytes, count);
    text_release(&text);
    text_release(&back);
}

static void bytes_that_do_not_print_are_escaped(void **state)
{
    (void)state;
    expect_escaped("a\tb\nc\\d", 7, "a\\tb\\nc\\\\d");
    expect_escaped("\0\x1f\x7f\r", 4, "\\x00\\x1f\\x7f\\x0d");
    expect_escaped("", 0, "");
    expect_escaped("plain text", 10, "plain text");
}

static void valid_utf8_stands_as_it_is(void **state)
{
    (void)state;
    expect_escaped("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f");
    expect_escaped("\xe2\x82\xac \xf0\x9f\x98\x80", 8, "\xe2\x82\xac \xf0\x9f\x98\x80");
}

static void broken_utf8_is_escaped(void **state)
{
    (void)state;
    expect_escaped("\xff", 1, "\\xff");
    expect_escaped("\xc3", 1, "\\xc3");
    expect_escaped("\xc3(", 2, "\\xc3(");
    expect_escaped("\xc0\xaf", 2, "\\xc0\\xaf");          // overlong
    expect_escaped("\xed\xa0\x80", 3, "\\xed\\xa0\\x80"); // a surrogate
    expect_escaped("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80");
    expect_escaped("\xc2\x85", 2, "\\xc2\\x85"); // a control character
}

static void any_bytes_come_back(void **state)
{
    (void)state;
    unsigned seed = 1;
    for (int round = 0; round < 2000; round++) {
        unsigned char bytes[64];
        size_t count = (size_t)(rand_r(&seed) % 64);
        for (size_t i = 0; i < count; i++) {
            bytes[i] = (unsigned char)(rand_r(&seed) >> 7);
        }
        struct text text = {0};
        struct text back = {0};
        const char *problem;
        text_append_escaped(&text, (strata_slice){bytes, count});
        assert_null(memchr(text_slice(&text).data, '\t', text.bytes));
        assert_null(memchr(text_slice(&text).data, '\n', text.bytes));
        assert_true(text_append_unescaped(&back, text_slice(&text), &problem));
        assert_int_equal(back.bytes, count);
        assert_memory_equal(text_slice(&back).data, bytes, count);
        text_clear(&text);
        text_clear(&back);
        text_append_hex(&text, (strata_slice){bytes, count});
        assert_true(text_append_unhex(&back, text_slice(&text), &problem));
        assert_int_equal(back.bytes, count);
        assert_memory_equal(text_slice(&back).data, bytes, count);
        text_release(&text);
        text_release(&back);
    }
}

static void unknown_escapes_are_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"\\", "\\q", "\\x", "\\x1", "\\x1g", "a\\T"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct text text = {0};
        const char *problem = NULL;
        assert_false(text_append_unescaped(&text, strata_str(wrong[i]), &problem));
        assert_non_null(problem);
        text_release(&text);
    }
}

static void wrong_hex_is_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {"1", "123", "gg", "0x", "1 "};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct text text = {0};
        const char *problem = NULL;
        assert_false(text_append_unhex(&text, strata_str(wrong[i]), &problem));
        assert_non_null(problem);
        text_release(&text);
    }
}

static void expect_json(const char *bytes, size_t count, const char *expected)
{
    struct text text = {0};
    text_append_json(&text, (strata_slice){bytes, count});
    text_append(&text, "", 1);
    assert_string_equal(text.data, expected);
    text_release(&text);
}

static void json_tells_text_from_other_bytes(void **state)
{
    (void)state;
    expect_json("a\"b\\c\n\t\x01", 8, "\"a\\\"b\\\\c\\n\\t\\u0001\"");
    expect_json("\0", 1, "\"\\u0000\"");
    expect_json("\xc3\xbc", 2, "\"\xc3\xbc\"");
    expect_json("a\xff", 2, "{\"hex\":\"61ff\"}");
    expect_json("", 0, "\"\"");
}

static void prefix_end_is_the_next_string(void **state)
{
    (void)state;
    struct text end = {0};
    assert_true(text_prefix_end(&end, strata_str("ab")));
    assert_int_equal(end.bytes, 2);
    assert_memory_equal(end.data, "ac", 2);
    text_clear(&end);
    assert_true(text_prefix_end(&end, (strata_slice){"a\xff\xff", 3}));
    assert_int_equal(end.bytes, 1);
    assert_memory_equal(end.data, "b", 1);
    text_clear(&end);
    assert_false(text_prefix_end(&end, (strata_slice){"\xff\xff", 2}));
    assert_false(text_prefix_end(&end, strata_str("")));
    text_release(&end);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_that_do_not_print_are_escaped),
        cmocka_unit_test(valid_utf8_stands_as_it_is),
        cmocka_unit_test(broken_utf8_is_escaped),
        cmocka_unit_test(any_bytes_come_back),
        cmocka_unit_test(unknown_escapes_are_refused),
        cmocka_unit_test(wrong_hex_is_refused),
        cmocka_unit_test(json_tells_text_from_other_bytes),
        cmocka_unit_test(prefix_end_is_the_next_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
