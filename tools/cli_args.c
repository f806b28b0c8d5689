// The arguments of a command.
#include "tools/cli_args.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_time.h"

const struct cli_option_spec cli_options[OPT_COUNT] = {
    [OPT_AGE] = {"age", "TIME", "keep every commit of so long a time, e.g. 7d or 12h"},
    [OPT_ALL] = {"all", NULL, "keep every version for ever"},
    [OPT_AS_OF] = {"as-of", "X", "read the state of an earlier commit or time"},
    [OPT_BATCH] = {"batch", "LINES", "lines that become one commit (default 1000)"},
    [OPT_BLOCK_BYTES] = {"block-bytes", "BYTES", "size of live blocks (default 4K)"},
    [OPT_COMPRESSION] = {"compression", "KIND", "none, lz4 or zstd"},
    [OPT_EXPIRES_AT] = {"expires-at", "TIME",
                        "the value ceases to be then: @1700000000, RFC 3339; or never"},
    [OPT_EXPIRES_IN] = {"expires-in", "TIME",
                        "the value ceases to be after so long, e.g. 90s, 1h30m or 7d"},
    [OPT_EXPIRE_AFTER] = {"expire-after", "TIME",
                          "how long a value lives by default, e.g. 30d; or never"},
    [OPT_FILE] = {"file", "FILE", "take the value from a file"},
    [OPT_FILTER_BITS] = {"filter-bits", "N", "filter bits for each key (default 10; 0: no filter)"},
    [OPT_FORMAT] = {"format", "F", "text, csv, tsv or jsonl (default: by the name of FILE)"},
    [OPT_FROM] = {"from", "KEY", "begin at this key"},
    [OPT_HELP] = {"help", NULL, "show this text"},
    [OPT_HEX] = {"hex", NULL, "keys and values are hex digits, on both sides"},
    [OPT_HISTORY_BLOCK_BYTES] = {"history-block-bytes", "BYTES",
                                 "size of history blocks (default 32K)"},
    [OPT_JSON] = {"json", NULL, "print JSON"},
    [OPT_KEY] = {"key", "NAME", "the column or field that is the key"},
    [OPT_KEYSPACE] = {"keyspace", "NAME", "use this keyspace, not \"default\""},
    [OPT_LEVEL0_RUNS] = {"level0-runs", "N", "hard bound on runs of level 0 (default 20)"},
    [OPT_LIMIT] = {"limit", "N", "stop after N lines"},
    [OPT_LINE_MAX] = {"line-max", "BYTES", "a longer line is a bad line (default 64M)"},
    [OPT_MEMORY] = {"memory", "BYTES", "memory budget, e.g. 64M"},
    [OPT_NAME] = {"name", "NAME", "what --resume knows this input by (default: its path)"},
    [OPT_NONE] = {"none", NULL, "keep the present only"},
    [OPT_ON_BAD] = {"on-bad", "stop|skip", "what to do at a bad line (default stop)"},
    [OPT_OUTPUT] = {"output", "FILE", "write exactly the value's bytes to a file"},
    [OPT_PREFIX] = {"prefix", "BYTES", "only keys that begin with this"},
    [OPT_RAW] = {"raw", NULL, "print exactly the value's bytes, no newline after them"},
    [OPT_RESUME] = {"resume", NULL, "go on after the last line that an earlier import committed"},
    [OPT_RETAIN] = {"retain", "WHAT",
                    "past versions to keep: all, none, N of each key, or an age like 7d"},
    [OPT_REVERSE] = {"reverse", NULL, "from the last key to the first"},
    [OPT_SEPARATE_BYTES] = {"separate-bytes", "BYTES",
                            "values of so many bytes go to value files (default 2K)"},
    [OPT_SEPARATION] = {"separation", "on|off",
                        "keep large values apart from their keys (default on)"},
    [OPT_SHAPE] = {"shape", "SHAPE", "lazy (cheap writes, the default) or leveled (cheap reads)"},
    [OPT_SIZE_RATIO] = {"size-ratio", "N", "bytes of a level over the one above (default 8)"},
    [OPT_SKIP] = {"skip", "N", "begin after line N of the input"},
    [OPT_SPACE_BOUND] = {"space-bound", "PERCENT",
                         "disk use over what is live and kept (default 150)"},
    [OPT_TABLES] = {"tables", NULL, "show every table"},
    [OPT_TO] = {"to", "KEY", "end before this key"},
    [OPT_VALUE] = {"value", "NAME", "the column or field that is the value (default: the record)"},
    [OPT_VALUES] = {"values", NULL, "also write separated values anew, in the order of keys"},
    [OPT_VALUE_COMPRESSION] = {"value-compression", "KIND",
                               "of separated values: none (default), lz4 or zstd"},
    [OPT_VERSIONS] = {"versions", "N",
                      "keep the last N versions of each key; the present one counts"},
    [OPT_WIDTH] = {"width", "N", "cut values after N characters"},
};

int args_usage(const struct cli_args *args, const char *format, ...)
{
    va_list arguments;
    fputs("strata: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fprintf(stderr, "; see strata %s --help\n", args->command->name);
    return CLI_USAGE;
}

// The option that `name` is, when the command knows it; OPT_COUNT otherwise.
static enum cli_option option_find(const struct cli_command *command, const char *name,
                                   size_t length)
{
    for (int i = 0; i < OPT_COUNT; i++) {
        if ((command->options & OPT_BIT(i)) != 0 && strlen(cli_options[i].name) == length &&
            memcmp(cli_options[i].name, name, length) == 0) {
            return (enum cli_option)i;
        }
    }
    return OPT_COUNT;
}

// Takes the option at argv[*index], and its value, which may be the next argument.
static int option_take(struct cli_args *args, int argc, char **argv, int *index)
{
    const char *given = argv[*index];
    if (strcmp(given, "-h") == 0) {
        args->option[OPT_HELP] = "";
        return CLI_OK;
    }
    if (given[1] != '-') {
        return args_usage(args, "unknown option %s (an operand that begins with - comes after --)",
                          given);
    }
    const char *name = given + 2;
    const char *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    enum cli_option option = option_find(args->command, name, length);
    if (option == OPT_COUNT) {
        return args_usage(args, "%s knows no option --%.*s", args->command->name, (int)length,
                          name);
    }
    if (args->option[option] != NULL) {
        return args_usage(args, "--%s is given twice", cli_options[option].name);
    }
    if (cli_options[option].value == NULL) {
        if (equals != NULL) {
            return args_usage(args, "--%s takes no value", cli_options[option].name);
        }
        args->option[option] = "";
    } else if (equals != NULL) {
        args->option[option] = equals + 1;
    } else if (*index + 1 < argc) {
        args->option[option] = argv[++*index];
    } else {
        return args_usage(args, "--%s needs a value: --%s %s", cli_options[option].name,
                          cli_options[option].name, cli_options[option].value);
    }
    return CLI_OK;
}

int args_parse(struct cli_args *args, const struct cli_command *command, int argc, char **argv)
{
    *args = (struct cli_args){.command = command};
    bool options_ended = false;
    int extra = 0;
    for (int i = 0; i < argc; i++) {
        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
        } else if (!options_ended && argv[i][0] == '-' && argv[i][1] != '\0') {
            int code = option_take(args, argc, argv, &i);
            if (code != CLI_OK) {
                return code;
            }
        } else if (args->operand_count < command->operands_max) {
            args->operand[args->operand_count++] = argv[i];
        } else if (extra == 0) {
            extra = i + 1;
        }
    }
    if (args_has(args, OPT_HELP)) {
        return CLI_OK;
    }
    if (extra > 0) {
        return args_usage(args, "\"%s\" is one argument too many: strata %s %s", argv[extra - 1],
                          command->name, command->operands);
    }
    if (args->operand_count < command->operands_min) {
        return args_usage(args, "an argument is missing: strata %s %s", command->name,
                          command->operands);
    }
    return CLI_OK;
}

// Reads the digits that `text` begins with; false when there are none or too many.
static bool read_digits(const char *text, uint64_t *number_out, const char **end_out)
{
    if (!isdigit((unsigned char)text[0])) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    *number_out = number;
    *end_out = end;
    return errno == 0;
}

static int check_range(const struct cli_args *args, enum cli_option option, uint64_t number,
                       uint64_t least, uint64_t most)
{
    if (number >= least && number <= most) {
        return CLI_OK;
    }
    const char *name = cli_options[option].name;
    if (most == UINT64_MAX) {
        return args_usage(args, "--%s %s: it must be at least %llu", name, args->option[option],
                          (unsigned long long)least);
    }
    return args_usage(args, "--%s %s: it must be %llu to %llu", name, args->option[option],
                      (unsigned long long)least, (unsigned long long)most);
}

int args_number(const struct cli_args *args, enum cli_option option, uint64_t least, uint64_t most,
                uint64_t *number_out)
{
    const char *text = args->option[option];
    if (text == NULL) {
        return CLI_OK;
    }
    const char *end;
    if (!read_digits(text, number_out, &end) || *end != '\0') {
        return args_usage(args, "--%s %s: it must be a number", cli_options[option].name, text);
    }
    return check_range(args, option, *number_out, least, most);
}

// The factor of a unit, e.g. "K", "KB" or "KiB"; 0 for none that is known.
static uint64_t unit_factor(const char *unit)
{
    static const char letters[] = "KMGT";
    if (unit[0] == '\0' || strcmp(unit, "B") == 0) {
        return 1;
    }
    const char *letter = strchr(letters, toupper((unsigned char)unit[0]));
    if (letter == NULL ||
        !(unit[1] == '\0' || strcmp(unit + 1, "B") == 0 || strcmp(unit + 1, "iB") == 0)) {
        return 0;
    }
    return 1ull << (10 * (letter - letters + 1));
}

int args_bytes(const struct cli_args *args, enum cli_option option, uint64_t least, uint64_t most,
               uint64_t *bytes_out)
{
    const char *text = args->option[option];
    if (text == NULL) {
        return CLI_OK;
    }
    const char *end;
    uint64_t number;
    uint64_t factor = read_digits(text, &number, &end) ? unit_factor(end) : 0;
    if (factor == 0 || number > UINT64_MAX / factor) {
        return args_usage(args, "--%s %s: it must be a number of bytes, e.g. 65536, 64K or 256M",
                          cli_options[option].name, text);
    }
    *bytes_out = number * factor;
    return check_range(args, option, *bytes_out, least, most);
}

int args_choice(const struct cli_args *args, enum cli_option option, const char *const *words,
                int count, int *index_out)
{
    const char *text = args->option[option];
    if (text == NULL) {
        return CLI_OK;
    }
    char known[128] = "";
    for (int i = 0; i < count; i++) {
        if (strcmp(words[i], text) == 0) {
            *index_out = i;
            return CLI_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", words[i]);
    }
    return args_usage(args, "--%s %s: it must be one of %s", cli_options[option].name, text, known);
}

int args_duration(const struct cli_args *args, enum cli_option option, uint64_t most,
                  uint64_t *seconds_out)
{
    const char *text = args->option[option];
    if (text == NULL) {
        return CLI_OK;
    }
    if (!time_parse_duration(text, most, seconds_out) || *seconds_out == 0) {
        return args_usage(args, "--%s %s: it must be a length of time, e.g. 90s, 1h30m or 7d",
                          cli_options[option].name, text);
    }
    return CLI_OK;
}

int args_append(const struct cli_args *args, const char *what, const char *argument,
                struct text *out)
{
    if (!args_has(args, OPT_HEX)) {
        text_append_str(out, argument);
        return CLI_OK;
    }
    const char *problem;
    if (!text_append_unhex(out, strata_str(argument), &problem)) {
        return args_usage(args, "%s \"%s\" has %s, and --hex was given", what, argument, problem);
    }
    return CLI_OK;
}
