#include "tools/import_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void expect_record(struct format *format, const char *record, const char *key,
                          const char *value)
{
    struct text key_text = {0};
    struct text value_text = {0};
    if (!format_record(format, strata_str(record), &key_text, &value_text)) {
        fail_msg("\"%s\": %s", record, format->problem);
    }
    assert_int_equal(key_text.bytes, strlen(key));
    assert_memory_equal(text_slice(&key_text).data, key, key_text.bytes);
    assert_int_equal(value_text.bytes, strlen(value));
    assert_memory_equal(text_slice(&value_text).data, value, value_text.bytes);
    text_release(&key_text);
    text_release(&value_text);
}

static void expect_bad(struct format *format, const char *record, const char *problem)
{
    struct text key = {0};
    struct text value = {0};
    format->problem[0] = '\0';
    if (format_record(format, strata_str(record), &key, &value)) {
        fail_msg("\"%s\" was taken", record);
    }
    if (strstr(format->problem, problem) == NULL) {
        fail_msg("\"%s\": %s; expected %s", record, format->problem, problem);
    }
    text_release(&key);
    text_release(&value);
}

static void kinds_by_name(void **state)
{
    (void)state;
    assert_int_equal(format_of_path("a.csv"), FORMAT_CSV);
    assert_int_equal(format_of_path("a.b.tsv"), FORMAT_TSV);
    assert_int_equal(format_of_path("a.jsonl"), FORMAT_JSONL);
    assert_int_equal(format_of_path("a.ndjson"), FORMAT_JSONL);
    assert_int_equal(format_of_path("-"), FORMAT_TEXT);
    assert_int_equal(format_of_path("csv"), FORMAT_TEXT);
}

static void text_lines(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_TEXT};
    expect_record(&format, "k\tv", "k", "v");
    expect_record(&format, "k\t", "k", "");
    expect_record(&format, "k\tv\tw", "k", "v\tw");
    expect_record(&format, "\\x6b\\t\ta\\\\b\\n", "k\t", "a\\b\n");
    expect_record(&format, "", "", "");
    expect_bad(&format, "k", "no tab");
    expect_bad(&format, "\tv", "key is empty");
    expect_bad(&format, "\\q\tv", "the key has");
    expect_bad(&format, "k\t\\", "the value has");
    format.hex = true;
    expect_record(&format, "6B\t7677", "k", "vw");
    expect_bad(&format, "6\t76", "odd number");
}

static void a_key_that_is_too_long(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_TEXT};
    char *line = malloc(70000);
    assert_non_null(line);
    memset(line, 'k', 65536);
    memcpy(line + 65536, "\tv", 3);
    expect_bad(&format, line, "65536 bytes");
    struct text key = {0};
    struct text value = {0};
    assert_true(format_record(&format, strata_str(line + 1), &key, &value));
    assert_int_equal(key.bytes, 65535);
    text_release(&key);
    text_release(&value);
    free(line);
}

static void csv_fields(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_CSV, .key_name = "id", .value_name = "v"};
    assert_true(format_header(&format, strata_str("\xef\xbb\xbfv,\"id\",other\r")));
    expect_record(&format, "x,1,", "1", "x");
    expect_record(&format, "\"a,\"\"b\"\"\n\",\"2\",y\r", "2", "a,\"b\"\n");
    expect_record(&format, ",3,", "3", "");
    expect_record(&format, "5\" pipe,4,", "4", "5\" pipe");
    expect_bad(&format, "1,2", "2 fields where the header has 3");
    expect_bad(&format, "1,2,3,4", "4 fields");
    expect_bad(&format, "\"open,1,2", "not closed");
    expect_bad(&format, "\"a\"b,1,2", "no comma");
    expect_bad(&format, "x,,y", "key is empty");
    format.value_name = NULL;
    format.key_name = NULL;
    assert_true(format_header(&format, strata_str("a,b")));
    expect_record(&format, "k,\"v\"\r", "k", "k,\"v\"");
    format.key_name = "b";
    format.value_name = "b";
    assert_true(format_header(&format, strata_str("a,b")));
    expect_record(&format, "1,2", "2", "2");
    format.key_name = "absent";
    assert_false(format_header(&format, strata_str("a,b")));
}

static void tsv_fields(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_TSV, .key_name = "k", .value_name = "v"};
    assert_true(format_header(&format, strata_str("k\tv")));
    expect_record(&format, "a\t\"b\\", "a", "\"b\\");
    expect_bad(&format, "a", "1 fields where the header has 2");
}

static void json_lines(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_JSONL, .key_name = "k"};
    expect_record(&format, "{\"k\": \"a\", \"x\": 1}\r", "a", "{\"k\": \"a\", \"x\": 1}");
    expect_record(&format, "{\"k\":12}", "12", "{\"k\":12}");
    expect_bad(&format, "{\"k\":1.5}", "is no key");
    expect_bad(&format, "{\"k\":null}", "is no key");
    expect_bad(&format, "{\"k\":{\"x\":\"61\"}}", "is no key");
    expect_bad(&format, "{\"k\":\"\"}", "key is empty");
    expect_bad(&format, "{\"x\":1}", "no field \"k\"");
    expect_bad(&format, "[1]", "no object");
    expect_bad(&format, "{\"k\":", "no JSON");
    format.value_name = "v";
    expect_record(&format, "{\"k\":\"a\",\"v\":\"x\\ny\\u00fc\"}", "a", "x\ny\xc3\xbc");
    expect_record(&format, "{\"k\":{\"hex\":\"6b\"},\"v\":{\"hex\":\"76\"}}", "k", "v");
    expect_record(&format, "{\"k\":\"a\",\"v\":{\"b\": [1, 1.10, null]}}", "a",
                  "{\"b\":[1,1.1,null]}");
    expect_record(&format, "{\"k\":\"a\",\"v\":0.30000000000000004}", "a", "0.30000000000000004");
    expect_bad(&format, "{\"k\":\"a\"}", "no field \"v\"");
    expect_bad(&format, "{\"k\":\"a\",\"v\":{\"hex\":\"7\"}}", "odd number");
}

static void json_keeps_nul(void **state)
{
    (void)state;
    struct format format = {.kind = FORMAT_JSONL, .key_name = "k", .value_name = "v"};
    struct text key = {0};
    struct text value = {0};
    assert_true(format_record(&format, strata_str("{\"k\":\"a\\u0000b\",\"v\":\"\\u0000\"}"), &key,
                              &value));
    assert_int_equal(key.bytes, 3);
    assert_memory_equal(key.data, "a\0b", 3);
    assert_int_equal(value.bytes, 1);
    text_release(&key);
    text_release(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_by_name),
        cmocka_unit_test(text_lines),
        cmocka_unit_test(a_key_that_is_too_long),
        cmocka_unit_test(csv_fields),
        cmocka_unit_test(tsv_fields),
        cmocka_unit_test(json_lines),
        cmocka_unit_test(json_keeps_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
