// strata put, delete, delete-range.
#include "tools/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"

#define READ_BYTES (64u * 1024)
#define KEY_BYTES_MAX 65535u
#define VALUE_BYTES_MAX ((size_t)UINT32_MAX)

static int print_commit(const struct cli_args *args, uint64_t commit)
{
    struct text line = {0};
    text_append_format(&line, args_has(args, OPT_JSON) ? "{\"commit\":%llu}\n" : "commit %llu\n",
                       (unsigned long long)commit);
    out_text(&line);
    text_release(&line);
    return out_end(CLI_OK);
}

// Checked before a database is opened or created for the key's sake.
static int take_key(const struct cli_args *args, const char *what, const char *argument,
                    struct text *key)
{
    int code = args_append(args, what, argument, key);
    if (code == CLI_OK && key->bytes == 0) {
        return args_usage(args, "the %s is empty; it must have 1 to %u bytes", what, KEY_BYTES_MAX);
    }
    if (code == CLI_OK && key->bytes > KEY_BYTES_MAX) {
        return args_usage(args, "the %s has %zu bytes; it must have 1 to %u", what, key->bytes,
                          KEY_BYTES_MAX);
    }
    return code;
}

static int read_whole(const char *path, int descriptor, struct text *out)
{
    char chunk[READ_BYTES];
    for (;;) {
        ssize_t got = read(descriptor, chunk, sizeof chunk);
        if (got == 0) {
            return CLI_OK;
        }
        if (got < 0 && errno != EINTR) {
            return cli_problem(CLI_FAILED, "cannot read %s: %s", path, strerror(errno));
        }
        if (got > 0) {
            text_append(out, chunk, (size_t)got);
        }
        if (out->bytes > VALUE_BYTES_MAX) {
            return cli_problem(CLI_USAGE, "%s is too long for a value, which has at most 4 GiB - 1",
                               path);
        }
    }
}

static int read_file(const char *path, struct text *out)
{
    if (strcmp(path, "-") == 0) {
        return read_whole("standard input", STDIN_FILENO, out);
    }
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return cli_problem(CLI_FAILED, "cannot open %s: %s", path, strerror(errno));
    }
    int code = read_whole(path, descriptor, out);
    close(descriptor);
    return code;
}

// The value that put is to store: an argument, a file or standard input. With --hex all of them
// hold hex digits; a newline at the end of a file is not one of them.
static int take_value(const struct cli_args *args, struct text *value)
{
    const char *argument = args->operand_count > 2 ? args->operand[2] : NULL;
    const char *path = args->option[OPT_FILE];
    if ((argument == NULL) == (path == NULL)) {
        return args_usage(args, argument == NULL ? "the value is missing: VALUE, - or --file FILE"
                                                 : "give VALUE or --file FILE, not both");
    }
    if (path == NULL && strcmp(argument, "-") != 0) {
        return args_append(args, "value", argument, value);
    }
    path = path != NULL ? path : "-";
    if (!args_has(args, OPT_HEX)) {
        return read_file(path, value);
    }
    struct text digits = {0};
    int code = read_file(path, &digits);
    while (digits.bytes > 0 && digits.data[digits.bytes - 1] == '\n') {
        digits.bytes--;
    }
    const char *problem;
    if (code == CLI_OK && !text_append_unhex(value, text_slice(&digits), &problem)) {
        code = args_usage(args, "%s has %s, and --hex was given", path, problem);
    }
    text_release(&digits);
    return code;
}

int cmd_put(const struct cli_args *args)
{
    struct text key = {0};
    struct text value = {0};
    struct session session = {0};
    uint64_t commit = 0;
    int code = take_key(args, "key", args->operand[1], &key);
    if (code == CLI_OK) {
        code = take_value(args, &value);
    }
    if (code == CLI_OK) {
        code = session_open(&session, args, SESSION_CREATE);
    }
    if (code == CLI_OK) {
        strata_write how = STRATA_WRITE_INIT;
        how.keyspace = session.keyspace;
        how.commit_out = &commit;
        strata_rc rc = strata_put(session.db, &how, text_slice(&key), text_slice(&value));
        code = session_close(&session, rc == STRATA_OK ? CLI_OK : cli_failed(rc));
    }
    text_release(&key);
    text_release(&value);
    return code == CLI_OK ? print_commit(args, commit) : code;
}

int cmd_delete(const struct cli_args *args)
{
    struct text key = {0};
    struct session session = {0};
    uint64_t commit = 0;
    int code = take_key(args, "key", args->operand[1], &key);
    if (code == CLI_OK) {
        code = session_open(&session, args, SESSION_WRITE);
    }
    if (code == CLI_OK) {
        strata_write how = STRATA_WRITE_INIT;
        how.keyspace = session.keyspace;
        how.commit_out = &commit;
        strata_rc rc = strata_delete(session.db, &how, text_slice(&key));
        code = session_close(&session, rc == STRATA_OK ? CLI_OK : cli_failed(rc));
    }
    text_release(&key);
    return code == CLI_OK ? print_commit(args, commit) : code;
}

// The range that the arguments name: two operands, --from and --to, or --prefix.
static int take_range(const struct cli_args *args, struct text *begin, struct text *end)
{
    const char *from = args->option[OPT_FROM];
    const char *to = args->option[OPT_TO];
    const char *prefix = args->option[OPT_PREFIX];
    bool operands = args->operand_count == 3;
    if (operands && from == NULL && to == NULL && prefix == NULL) {
        from = args->operand[1];
        to = args->operand[2];
    } else if (args->operand_count > 1 || (prefix != NULL) == (from != NULL || to != NULL)) {
        return args_usage(args,
                          "say what to delete: FROM TO, or --from FROM --to TO, or --prefix P");
    }
    if (prefix != NULL) {
        int code = take_key(args, "prefix", prefix, begin);
        if (code == CLI_OK && !text_prefix_end(end, text_slice(begin))) {
            return args_usage(args, "no key can be after all that begin with this prefix; use TO");
        }
        return code;
    }
    if (from == NULL || to == NULL) {
        return args_usage(args, "both ends of the range are needed");
    }
    int code = take_key(args, "begin of the range", from, begin);
    return code == CLI_OK ? take_key(args, "end of the range", to, end) : code;
}

int cmd_delete_range(const struct cli_args *args)
{
    struct text begin = {0};
    struct text end = {0};
    struct session session = {0};
    uint64_t commit = 0;
    int code = take_range(args, &begin, &end);
    if (code == CLI_OK) {
        code = session_open(&session, args, SESSION_WRITE);
    }
    if (code == CLI_OK) {
        strata_write how = STRATA_WRITE_INIT;
        how.keyspace = session.keyspace;
        how.commit_out = &commit;
        strata_rc rc = strata_delete_range(session.db, &how, text_slice(&begin), text_slice(&end));
        code = session_close(&session, rc == STRATA_OK ? CLI_OK : cli_failed(rc));
    }
    text_release(&begin);
    text_release(&end);
    return code == CLI_OK ? print_commit(args, commit) : code;
}
