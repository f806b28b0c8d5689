// Opening a database for a command, and telling what went wrong.
#include "tools/cli_session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_time.h"

int cli_problem(int code, const char *format, ...)
{
    va_list arguments;
    fputs("strata: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return code;
}

static int exit_of(strata_rc rc)
{
    switch (rc) {
    case STRATA_OK:
        return CLI_OK;
    case STRATA_NOT_FOUND:
        return CLI_NOT_FOUND;
    case STRATA_INVALID:
    case STRATA_TOO_LARGE:
        return CLI_USAGE;
    case STRATA_CORRUPT:
        return CLI_CORRUPT;
    default:
        return CLI_FAILED;
    }
}

// What somebody at a terminal can do about it; "" where the engine's sentence says it all.
static const char *advice_for(strata_rc rc)
{
    switch (rc) {
    case STRATA_CORRUPT:
        return "; strata verify DIR lists every damaged place, and changes nothing";
    case STRATA_LOCKED:
        return "; try again when that one has ended";
    case STRATA_NO_SPACE:
        return "; free some space and try again";
    case STRATA_NO_MEMORY:
        return "; try a smaller --memory";
    case STRATA_VERSION:
        return "; export it with that version of strata and import it with this one";
    case STRATA_INTERNAL:
        return "; please report this as a bug in strata";
    default:
        return "";
    }
}

int cli_failed(strata_rc rc)
{
    const char *text = strata_error_text();
    return cli_problem(exit_of(rc), "%s%s", text[0] != '\0' ? text : strata_rc_name(rc),
                       advice_for(rc));
}

int session_failed(const struct session *session, strata_rc rc)
{
    if (rc != STRATA_TRIMMED) {
        return cli_failed(rc);
    }
    struct text text = {0};
    text_append_str(&text, strata_error_text());
    const char *path = session->args->operand[0];
    uint64_t oldest = 0;
    if (strata_oldest_commit(session->db, session->keyspace, &oldest) == STRATA_OK && oldest > 0) {
        int64_t unix_us;
        text_append_format(&text, "; the oldest commit that can be read is %llu",
                           (unsigned long long)oldest);
        if (strata_commit_time(session->db, oldest, &unix_us) == STRATA_OK) {
            char time[TIME_TEXT_BYTES];
            time_format(unix_us, time);
            text_append_format(&text, " (%s)", time);
        }
    }
    int code = cli_problem(CLI_FAILED, "%.*s; strata retain %s shows and changes what is kept",
                           (int)text.bytes, text.data, path);
    text_release(&text);
    return code;
}

static int open_failed(const struct cli_args *args, strata_rc rc)
{
    const char *path = args->operand[0];
    if (rc == STRATA_NOT_FOUND) {
        return cli_problem(CLI_FAILED,
                           "there is no database in %s; strata put and strata import create one",
                           path);
    }
    return cli_failed(rc);
}

static int open_keyspace(struct session *session)
{
    const char *name = session->args->option[OPT_KEYSPACE];
    name = name != NULL ? name : "default";
    strata_rc rc = strata_keyspace_open(session->db, name, &session->keyspace);
    if (rc == STRATA_NOT_FOUND) {
        return cli_problem(CLI_USAGE,
                           "there is no keyspace \"%s\"; strata keyspace create %s \"%s\" makes it",
                           name, session->args->operand[0], name);
    }
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

int session_open(struct session *session, const struct cli_args *args, enum session_mode mode)
{
    *session = (struct session){.args = args};
    const char *path = args->operand[0];
    strata_options options = STRATA_OPTIONS_INIT;
    int code = args_bytes(args, OPT_MEMORY, 8u << 20, UINT64_MAX / 4, &options.memory_bytes);
    if (code != CLI_OK) {
        return code;
    }
    if (path[0] == '\0') {
        return args_usage(args, "the name of the directory is empty");
    }
    options.flags = mode == SESSION_READ ? STRATA_OPEN_READ_ONLY : 0;
    strata_rc rc = strata_open(path, &options, &session->db);
    const char *keyspace = args->option[OPT_KEYSPACE];
    if (rc == STRATA_NOT_FOUND && mode == SESSION_CREATE &&
        (keyspace == NULL || strcmp(keyspace, "default") == 0)) {
        options.flags = STRATA_OPEN_CREATE;
        rc = strata_open(path, &options, &session->db);
        session->created = rc == STRATA_OK;
    }
    if (rc != STRATA_OK) {
        session->db = NULL;
        return open_failed(args, rc);
    }
    if (session->created) {
        fprintf(stderr, "strata: created the database %s\n", path);
    }
    code = open_keyspace(session);
    return code == CLI_OK ? CLI_OK : session_close(session, code);
}

int session_close(struct session *session, int code)
{
    if (session->db == NULL) {
        return code;
    }
    strata_rc rc = strata_close(session->db);
    session->db = NULL;
    if (rc != STRATA_OK) {
        int failed = cli_failed(rc);
        return code == CLI_OK ? failed : code;
    }
    return code;
}

// The commit that --as-of names.
static int resolve_commit(const struct session *session, uint64_t *commit_out)
{
    const char *text = session->args->option[OPT_AS_OF];
    uint64_t newest = strata_newest_commit(session->db);
    struct time_point point;
    if (!time_parse(text, &point)) {
        return args_usage(session->args,
                          "--as-of %s: it must be a commit (17), Unix time (@1700000000) or a time "
                          "like 2026-11-22T17:30:00Z",
                          text);
    }
    if (point.kind == TIME_COMMIT) {
        *commit_out = point.commit;
        if (point.commit > newest) {
            return args_usage(session->args,
                              "--as-of %s is in the future: the newest commit is %llu", text,
                              (unsigned long long)newest);
        }
        return CLI_OK;
    }
    if (point.unix_us > time_now_us()) {
        return args_usage(session->args, "--as-of %s is in the future", text);
    }
    strata_rc rc = strata_commit_at_time(session->db, point.unix_us, commit_out);
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

int session_read(const struct session *session, strata_read *read_out)
{
    *read_out = (strata_read)STRATA_READ_INIT;
    read_out->keyspace = session->keyspace;
    if (!args_has(session->args, OPT_AS_OF)) {
        return CLI_OK;
    }
    int code = resolve_commit(session, &read_out->as_of);
    read_out->as_of_zero = code == CLI_OK && read_out->as_of == 0;
    return code;
}
