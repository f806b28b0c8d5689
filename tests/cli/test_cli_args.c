#include "tools/cli_args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/cli.h"

static const struct cli_command command = {.name = "test",
                                           .operands = "DIR KEY",
                                           .options = OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_MEMORY) |
                                                      OPT_BIT(OPT_JSON) | OPT_BIT(OPT_HEX) |
                                                      OPT_BIT(OPT_SHAPE) | OPT_BIT(OPT_HELP),
                                           .operands_min = 1,
                                           .operands_max = 2};

// Splits words that a single space separates. The words live until the next call.
static int parse(struct cli_args *args, const char *line)
{
    static char words[256];
    char *argv[16];
    int argc = 0;
    assert_true(strlen(line) < sizeof words);
    strcpy(words, line);
    for (char *word = strtok(words, " "); word != NULL; word = strtok(NULL, " ")) {
        argv[argc++] = word;
    }
    return args_parse(args, &command, argc, argv);
}

static void options_stand_anywhere(void **state)
{
    (void)state;
    struct cli_args args;
    assert_int_equal(parse(&args, "--limit 5 dir --json key"), CLI_OK);
    assert_string_equal(args.operand[0], "dir");
    assert_string_equal(args.operand[1], "key");
    assert_string_equal(args.option[OPT_LIMIT], "5");
    assert_true(args_has(&args, OPT_JSON));
    assert_int_equal(parse(&args, "dir --limit=5"), CLI_OK);
    assert_string_equal(args.option[OPT_LIMIT], "5");
    assert_int_equal(args.operand_count, 1);
    assert_int_equal(parse(&args, "dir --limit="), CLI_OK);
    assert_string_equal(args.option[OPT_LIMIT], "");
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    struct cli_args args;
    assert_int_equal(parse(&args, "dir -- --json"), CLI_OK);
    assert_string_equal(args.operand[1], "--json");
    assert_false(args_has(&args, OPT_JSON));
    assert_int_equal(parse(&args, "dir -"), CLI_OK);
    assert_string_equal(args.operand[1], "-");
    assert_int_equal(parse(&args, "dir -- --"), CLI_OK);
    assert_string_equal(args.operand[1], "--");
}

static void wrong_options_are_refused(void **state)
{
    (void)state;
    struct cli_args args;
    static const char *const wrong[] = {"dir --unknown",
                                        "dir --reverse",
                                        "dir --limit",
                                        "dir --json=1",
                                        "dir --json --json",
                                        "dir -x",
                                        "dir key extra",
                                        "",
                                        "--json",
                                        "dir --limi 5"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        if (parse(&args, wrong[i]) != CLI_USAGE) {
            fail_msg("\"%s\" was taken", wrong[i]);
        }
    }
    assert_int_equal(parse(&args, "--help"), CLI_OK);
    assert_int_equal(parse(&args, "-h"), CLI_OK);
}

static void numbers_have_ranges(void **state)
{
    (void)state;
    struct cli_args args;
    uint64_t number = 7;
    assert_int_equal(parse(&args, "dir"), CLI_OK);
    assert_int_equal(args_number(&args, OPT_LIMIT, 1, 10, &number), CLI_OK);
    assert_int_equal(number, 7);
    assert_int_equal(parse(&args, "dir --limit 10"), CLI_OK);
    assert_int_equal(args_number(&args, OPT_LIMIT, 1, 10, &number), CLI_OK);
    assert_int_equal(number, 10);
    static const char *const wrong[] = {
        "dir --limit 0", "dir --limit 11", "dir --limit -1",  "dir --limit 1x",
        "dir --limit=",  "dir --limit +1", "dir --limit 0x5", "dir --limit 18446744073709551616"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(parse(&args, wrong[i]), CLI_OK);
        assert_int_equal(args_number(&args, OPT_LIMIT, 1, 10, &number), CLI_USAGE);
    }
}

static void bytes_have_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {{"dir --memory 5", 5},         {"dir --memory 5B", 5},
                {"dir --memory 2k", 2048},     {"dir --memory 2K", 2048},
                {"dir --memory 2KiB", 2048},   {"dir --memory 3M", 3u << 20},
                {"dir --memory 1GB", 1 << 30}, {"dir --memory 1T", 1ull << 40}};
    struct cli_args args;
    uint64_t bytes;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(parse(&args, good[i].text), CLI_OK);
        assert_int_equal(args_bytes(&args, OPT_MEMORY, 1, UINT64_MAX, &bytes), CLI_OK);
        assert_true(bytes == good[i].bytes);
    }
    static const char *const wrong[] = {"dir --memory M", "dir --memory 5X", "dir --memory 5Kx",
                                        "dir --memory 99999999999T", "dir --memory 1.5M"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(parse(&args, wrong[i]), CLI_OK);
        assert_int_equal(args_bytes(&args, OPT_MEMORY, 1, UINT64_MAX, &bytes), CLI_USAGE);
    }
}

static void choices_and_hex(void **state)
{
    (void)state;
    static const char *const words[] = {"round", "square"};
    struct cli_args args;
    int index = 0;
    assert_int_equal(parse(&args, "dir --shape square"), CLI_OK);
    assert_int_equal(args_choice(&args, OPT_SHAPE, words, 2, &index), CLI_OK);
    assert_int_equal(index, 1);
    assert_int_equal(parse(&args, "dir --shape flat"), CLI_OK);
    assert_int_equal(args_choice(&args, OPT_SHAPE, words, 2, &index), CLI_USAGE);
    struct text text = {0};
    assert_int_equal(parse(&args, "dir 6b6c --hex"), CLI_OK);
    assert_int_equal(args_append(&args, "key", args.operand[1], &text), CLI_OK);
    assert_int_equal(text.bytes, 2);
    assert_memory_equal(text.data, "kl", 2);
    assert_int_equal(args_append(&args, "key", "xyz", &text), CLI_USAGE);
    text_release(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),    cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(wrong_options_are_refused), cmocka_unit_test(numbers_have_ranges),
        cmocka_unit_test(bytes_have_units),          cmocka_unit_test(choices_and_hex),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
