#include "kv/file_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"

static void expect_name(enum file_kind kind, uint64_t number, const char *expected)
{
    char name[FILE_NAME_BYTES];
    memset(name, 'x', sizeof name);
    file_name_make(name, kind, number);
    assert_string_equal(name, expected);

    enum file_kind parsed_kind = 0;
    uint64_t parsed = 77;
    assert_true(file_name_parse(name, &parsed_kind, &parsed));
    assert_int_equal(parsed_kind, kind);
    bool numbered = kind != FILE_CURRENT && kind != FILE_LOCK;
    assert_true(parsed == (numbered ? number : 0));
}

static void names_are_made_and_parsed(void **state)
{
    (void)state;
    expect_name(FILE_CURRENT, 0, "CURRENT");
    expect_name(FILE_LOCK, 5, "LOCK");
    expect_name(FILE_MANIFEST, 1, "000001.manifest");
    expect_name(FILE_LOG, 0, "000000.log");
    expect_name(FILE_LOG, 999999, "999999.log");
    expect_name(FILE_TABLE, 1000000, "1000000.table");
    expect_name(FILE_VALUE, 123456789, "123456789.value");
    expect_name(FILE_TMP, 42, "000042.tmp");
    expect_name(FILE_MANIFEST, UINT64_MAX, "18446744073709551615.manifest");
}

static void names_that_are_not_ours_do_not_parse(void **state)
{
    (void)state;
    static const char *const foreign[] = {
        "",
        ".",
        "..",
        "current",
        "CURRENT ",
        "CURRENT.tmp",
        "LOCKS",
        "LOC",
        "1.log",
        "00001.log",
        "0000001.log",
        "0123456.log",
        "000001.LOG",
        "000001.log ",
        "000001.logx",
        "000001.lo",
        "000001",
        "000001.",
        "000001..log",
        " 000001.log",
        "+00001.log",
        "-00001.log",
        "00000x.log",
        "000001.log/",
        "../000001.log",
        "18446744073709551616.log",
        "99999999999999999999.log",
        "184467440737095516150.log",
        "000000000000000000000000000000000000000000000000000000001.log",
        "\xd9\xa1\xd9\xa1\xd9\xa1.log",
    };
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        enum file_kind kind;
        uint64_t number;
        if (file_name_parse(foreign[i], &kind, &number)) {
            fail_msg("\"%s\" parsed", foreign[i]);
        }
    }
}

static void what_parses_is_what_make_gives(void **state)
{
    (void)state;
    static const char letters[] = "0011239.logtabevnumiCURNTLK";
    struct prng rng = {7};
    for (int round = 0; round < 200000; round++) {
        char name[FILE_NAME_BYTES] = {0};
        static const char *const ends[] = {".log", ".table", ".tmp", "", "log"};
        size_t bytes = prng_below(&rng, 12);
        for (size_t i = 0; i < bytes; i++) {
            size_t range = prng_one_in(&rng, 16) ? sizeof letters - 1 : 7;
            name[i] = letters[prng_below(&rng, range)];
        }
        strcat(name, ends[prng_below(&rng, 5)]);
        enum file_kind kind;
        uint64_t number;
        if (file_name_parse(name, &kind, &number)) {
            char again[FILE_NAME_BYTES];
            file_name_make(again, kind, number);
            assert_string_equal(again, name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_made_and_parsed),
        cmocka_unit_test(names_that_are_not_ours_do_not_parse),
        cmocka_unit_test(what_parses_is_what_make_gives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
