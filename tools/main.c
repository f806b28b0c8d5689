// strata: the command. Finds the command in the table, reads its arguments and runs it.
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include <strata.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"
#include "tools/commands.h"

#define PRINTS (SESSION_OPTIONS | OPT_BIT(OPT_JSON))

static const struct cli_command commands[] = {
    {"put", "DIR KEY VALUE|-", "store a value; creates the database",
     "Prints the number of the commit. - takes the value from standard input, --file FILE from a\n"
     "file, byte for byte and in little memory, up to 4 GiB - 1. The commit is on disk when the\n"
     "command ends.",
     PRINTS | OPT_BIT(OPT_FILE) | OPT_BIT(OPT_HEX) | OPT_BIT(OPT_EXPIRES_IN) |
         OPT_BIT(OPT_EXPIRES_AT),
     2, 3, cmd_put},
    {"get", "DIR KEY", "print the value of a key, now or as of an earlier commit",
     "Prints the value's bytes and a newline; with --raw the bytes alone, with --output into a\n"
     "file. Ends with 1 when the key has no value.",
     PRINTS | OPT_BIT(OPT_AS_OF) | OPT_BIT(OPT_HEX) | OPT_BIT(OPT_RAW) | OPT_BIT(OPT_OUTPUT), 2, 2,
     cmd_get},
    {"delete", "DIR KEY", "delete a key",
     "Prints the number of the commit; deleting a key that has no value is a commit too. What the\n"
     "key was before stays readable with get --as-of.",
     PRINTS | OPT_BIT(OPT_HEX), 2, 2, cmd_delete},
    {"delete-range", "DIR FROM TO", "delete every key from FROM to before TO, in one commit",
     "The range may also be given as --from FROM --to TO or as --prefix BYTES.",
     PRINTS | OPT_BIT(OPT_HEX) | OPT_BIT(OPT_FROM) | OPT_BIT(OPT_TO) | OPT_BIT(OPT_PREFIX), 1, 3,
     cmd_delete_range},
    {"scan", "DIR", "print key<TAB>value lines in the order of keys",
     "Bytes that do not print are \\t \\n \\\\ \\xHH. Ends with 0 also when nothing is there.",
     PRINTS | OPT_BIT(OPT_AS_OF) | OPT_BIT(OPT_HEX) | OPT_BIT(OPT_FROM) | OPT_BIT(OPT_TO) |
         OPT_BIT(OPT_PREFIX) | OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_REVERSE),
     1, 1, cmd_scan},
    {"history", "DIR KEY", "print every version of a key, newest first",
     "A line is: commit, time, put, delete or delete-range, value. Ends with 1 for a key that "
     "never\n"
     "was.",
     PRINTS | OPT_BIT(OPT_AS_OF) | OPT_BIT(OPT_HEX) | OPT_BIT(OPT_LIMIT) | OPT_BIT(OPT_WIDTH), 2, 2,
     cmd_history},
    {"keyspace", "list|create|alter|drop DIR [NAME]", "list, create, change or drop keyspaces",
     "A keyspace is a map of its own with options of its own; commits go across all of them.\n"
     "Dropping one ends its present and its past. alter changes --separation, --separate-bytes,\n"
     "--value-compression, --retain, --expire-after and --space-bound; stored data follows as it "
     "is\n"
     "compacted. The other options are fixed when a keyspace is created.",
     SESSION_OPTIONS | OPT_BIT(OPT_JSON) | OPT_BIT(OPT_SHAPE) | OPT_BIT(OPT_COMPRESSION) |
         OPT_BIT(OPT_FILTER_BITS) | OPT_BIT(OPT_BLOCK_BYTES) | OPT_BIT(OPT_HISTORY_BLOCK_BYTES) |
         OPT_BIT(OPT_LEVEL0_RUNS) | OPT_BIT(OPT_SIZE_RATIO) | OPT_BIT(OPT_SEPARATION) |
         OPT_BIT(OPT_SEPARATE_BYTES) | OPT_BIT(OPT_VALUE_COMPRESSION) | OPT_BIT(OPT_RETAIN) |
         OPT_BIT(OPT_EXPIRE_AFTER) | OPT_BIT(OPT_SPACE_BOUND),
     2, 3, cmd_keyspace},
    {"retain", "DIR [KEYSPACE]", "show or change which past versions are kept",
     "Without an option it shows what each keyspace keeps and its oldest commit. A change counts\n"
     "from now on and asks nothing; it says what becomes unreadable. What was let go does not "
     "come\n"
     "back.",
     PRINTS | OPT_BIT(OPT_ALL) | OPT_BIT(OPT_NONE) | OPT_BIT(OPT_VERSIONS) | OPT_BIT(OPT_AGE), 1, 2,
     cmd_retain},
    {"import", "DIR FILE|-", "store the records of a file; creates the database",
     "Formats: text (key<TAB>value lines as export prints them), csv and tsv (with a header "
     "line),\n"
     "jsonl. Each batch of lines is one commit. After Ctrl-C, or with --resume after a kill, it\n"
     "says the last line that is committed.",
     PRINTS | OPT_BIT(OPT_FORMAT) | OPT_BIT(OPT_KEY) | OPT_BIT(OPT_VALUE) | OPT_BIT(OPT_SKIP) |
         OPT_BIT(OPT_RESUME) | OPT_BIT(OPT_ON_BAD) | OPT_BIT(OPT_LINE_MAX) | OPT_BIT(OPT_BATCH) |
         OPT_BIT(OPT_NAME) | OPT_BIT(OPT_HEX),
     2, 2, cmd_import},
    {"export", "DIR [FILE|-]", "print a whole keyspace, so that import gives the same bytes back",
     NULL, PRINTS | OPT_BIT(OPT_AS_OF) | OPT_BIT(OPT_HEX), 1, 2, cmd_export},
    {"stats", "DIR", "print where the bytes are, and every counter and gauge",
     "With --keyspace the space of that keyspace only.", PRINTS, 1, 1, cmd_stats},
    {"tree", "DIR", "draw the levels and runs of the database",
     "With --keyspace only that keyspace.", PRINTS | OPT_BIT(OPT_TABLES), 1, 1, cmd_tree},
    {"check", "DIR", "check every invariant of the open database", NULL, PRINTS, 1, 1, cmd_check},
    {"verify", "DIR", "read every byte of a database that nobody has open, changing nothing",
     "Prints a line for each damaged place, and ends with 3 when there is any.",
     OPT_BIT(OPT_HELP) | OPT_BIT(OPT_JSON), 1, 1, cmd_verify},
    {"compact", "DIR", "merge everything until each level holds one run",
     "With --keyspace only that keyspace. With --values scans read value files from front to back\n"
     "afterwards.",
     SESSION_OPTIONS | OPT_BIT(OPT_VALUES), 1, 1, cmd_compact},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static void append_usage(struct text *text)
{
    text_append_str(text, "strata keeps an ordered map of bytes in a directory, with every version "
                          "of every key.\n\nusage: strata COMMAND DIR ...\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        text_append_format(text, "  %-13s %s\n", commands[i].name, commands[i].summary);
    }
    text_append_str(text,
                    "\nstrata COMMAND --help says more; strata --version prints the version.\n"
                    "Exit codes: 0 found or done, 1 not found, 2 wrong usage, 3 damaged data, "
                    "4 any other failure.\n");
}

static int print_usage(void)
{
    struct text text = {0};
    append_usage(&text);
    out_text(&text);
    text_release(&text);
    return out_end(CLI_OK);
}

static int print_command_help(const struct cli_command *command)
{
    struct text text = {0};
    text_append_format(&text, "usage: strata %s [OPTIONS] %s\n\n%s\n", command->name,
                       command->operands, command->summary);
    text_append_format(&text, "%s%s%s\n", command->details != NULL ? "\n" : "",
                       command->details != NULL ? command->details : "",
                       command->details != NULL ? "\n" : "");
    for (int i = 0; i < OPT_COUNT; i++) {
        if ((command->options & OPT_BIT(i)) == 0) {
            continue;
        }
        char form[40];
        snprintf(form, sizeof form, "--%s %s", cli_options[i].name,
                 cli_options[i].value != NULL ? cli_options[i].value : "");
        text_append_format(&text, "  %-29s %s\n", form, cli_options[i].help);
    }
    out_text(&text);
    text_release(&text);
    return out_end(CLI_OK);
}

static int print_version(void)
{
    struct text text = {0};
    text_append_format(&text, "strata %s\n", strata_version());
    out_text(&text);
    text_release(&text);
    return out_end(CLI_OK);
}

static const struct cli_command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    // A pipe whose reader went away is noticed where it is written to.
    signal(SIGPIPE, SIG_IGN);
    if (argc < 2) {
        struct text text = {0};
        append_usage(&text);
        fwrite(text.data, 1, text.bytes, stderr);
        text_release(&text);
        return cli_problem(CLI_USAGE, "which command?");
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0) {
        return print_version();
    }
    bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || (help && argc == 2)) {
        return print_usage();
    }
    const struct cli_command *command = find_command(help ? argv[2] : name);
    if (command == NULL) {
        return cli_problem(CLI_USAGE, "there is no command \"%s\"; strata --help lists them all",
                           help ? argv[2] : name);
    }
    struct cli_args args;
    int code = help ? CLI_OK : args_parse(&args, command, argc - 2, argv + 2);
    if (code != CLI_OK) {
        return code;
    }
    if (help || args_has(&args, OPT_HELP)) {
        return print_command_help(command);
    }
    return command->run(&args);
}
