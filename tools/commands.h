// The commands, one function each: takes the arguments, does everything, returns the exit code.
#ifndef TOOLS_COMMANDS_H
#define TOOLS_COMMANDS_H

#include "tools/cli_args.h"

int cmd_put(const struct cli_args *args);
int cmd_get(const struct cli_args *args);
int cmd_delete(const struct cli_args *args);
int cmd_delete_range(const struct cli_args *args);
int cmd_scan(const struct cli_args *args);
int cmd_history(const struct cli_args *args);
int cmd_keyspace(const struct cli_args *args);
int cmd_retain(const struct cli_args *args);
int cmd_import(const struct cli_args *args);
int cmd_export(const struct cli_args *args);
int cmd_stats(const struct cli_args *args);
int cmd_tree(const struct cli_args *args);
int cmd_check(const struct cli_args *args);
int cmd_verify(const struct cli_args *args);
int cmd_compact(const struct cli_args *args);

#endif
