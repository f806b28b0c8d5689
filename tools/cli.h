// What every file of the command shares: exit codes and how a problem is told.
#ifndef TOOLS_CLI_H
#define TOOLS_CLI_H

#include <strata.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_NOT_FOUND = 1, // the key has no value, or no version
    CLI_USAGE = 2,     // the command was asked for something wrong
    CLI_CORRUPT = 3,   // stored bytes are damaged
    CLI_FAILED = 4     // anything else
};

// Prints "strata: " and one sentence on standard error, and returns `code`.
int cli_problem(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

// Prints the engine's error text and returns the exit code that stands for `rc`.
int cli_failed(strata_rc rc);

#endif
