// The arguments of a command: options in any place, then operands.
//
// An option is --name, or --name VALUE or --name=VALUE where it takes one; "--" ends the options,
// so that a key may begin with "-"; a lone "-" is an operand. Each command says which options it
// knows. All helpers print what is wrong and return CLI_USAGE, or CLI_OK.
#ifndef TOOLS_CLI_ARGS_H
#define TOOLS_CLI_ARGS_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/cli_text.h"

enum cli_option {
    OPT_AGE,
    OPT_ALL,
    OPT_AS_OF,
    OPT_BATCH,
    OPT_BLOCK_BYTES,
    OPT_COMPRESSION,
    OPT_EXPIRES_AT,
    OPT_EXPIRES_IN,
    OPT_EXPIRE_AFTER,
    OPT_FILE,
    OPT_FILTER_BITS,
    OPT_FORMAT,
    OPT_FROM,
    OPT_HELP,
    OPT_HEX,
    OPT_HISTORY_BLOCK_BYTES,
    OPT_JSON,
    OPT_KEY,
    OPT_KEYSPACE,
    OPT_LEVEL0_RUNS,
    OPT_LIMIT,
    OPT_LINE_MAX,
    OPT_MEMORY,
    OPT_NAME,
    OPT_NONE,
    OPT_ON_BAD,
    OPT_OUTPUT,
    OPT_PREFIX,
    OPT_RAW,
    OPT_RESUME,
    OPT_RETAIN,
    OPT_REVERSE,
    OPT_SEPARATE_BYTES,
    OPT_SEPARATION,
    OPT_SHAPE,
    OPT_SIZE_RATIO,
    OPT_SKIP,
    OPT_SPACE_BOUND,
    OPT_TABLES,
    OPT_TO,
    OPT_VALUE,
    OPT_VALUES,
    OPT_VALUE_COMPRESSION,
    OPT_VERSIONS,
    OPT_WIDTH,
    OPT_COUNT
};

#define OPT_BIT(option) (1ull << (option))
static_assert(OPT_COUNT <= 64, "a set of options is one word");

struct cli_option_spec {
    const char *name;  // without the dashes
    const char *value; // what stands for the value in a usage; NULL: takes none
    const char *help;
};
extern const struct cli_option_spec cli_options[OPT_COUNT];

#define CLI_OPERANDS_MAX 4

struct cli_args;
struct cli_command {
    const char *name;
    const char *operands; // as a usage line shows them
    const char *summary;  // one line
    const char *details;  // paragraphs of --help; may be NULL
    uint64_t options;     // OPT_BIT of each
    int operands_min;
    int operands_max;
    int (*run)(const struct cli_args *args);
};

struct cli_args {
    const struct cli_command *command;
    const char *option[OPT_COUNT]; // NULL: not given; "" for options without a value
    const char *operand[CLI_OPERANDS_MAX];
    int operand_count;
};

// Splits argv, which begins after the name of the command.
int args_parse(struct cli_args *args, const struct cli_command *command, int argc, char **argv);

static inline bool args_has(const struct cli_args *args, enum cli_option option)
{
    return args->option[option] != NULL;
}

// A wrong use of this command: the sentence, and where help is.
int args_usage(const struct cli_args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// Decimal digits; *number_out keeps its value when the option is not given.
int args_number(const struct cli_args *args, enum cli_option option, uint64_t least, uint64_t most,
                uint64_t *number_out);
// The same with a unit: 64K, 64KiB, 256M, 1G.
int args_bytes(const struct cli_args *args, enum cli_option option, uint64_t least, uint64_t most,
               uint64_t *bytes_out);
// One of `count` words; *index_out keeps its value when the option is not given.
int args_choice(const struct cli_args *args, enum cli_option option, const char *const *words,
                int count, int *index_out);
// A length of time such as 7d, from a second on.
int args_duration(const struct cli_args *args, enum cli_option option, uint64_t most,
                  uint64_t *seconds_out);
// Appends the bytes that an argument stands for: its own, or with --hex those of its hex digits.
int args_append(const struct cli_args *args, const char *what, const char *argument,
                struct text *out);

#endif
