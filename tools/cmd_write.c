// strata put, delete, delete-range.
#include "tools/commands.h"

#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"
#include "tools/cli_time.h"
#include "tools/value_source.h"

#define KEY_BYTES_MAX 65535u

// One write, as its arguments say.
struct request {
    struct text key; // or where a range begins
    struct text end; // of a range
    struct value_source value;
    int64_t expires_unix_us;
};

static void request_release(struct request *request)
{
    text_release(&request->key);
    text_release(&request->end);
    value_source_release(&request->value);
}

static int print_commit(const struct cli_args *args, uint64_t commit)
{
    struct text line = {0};
    text_append_format(&line, args_has(args, OPT_JSON) ? "{\"commit\":%llu}\n" : "commit %llu\n",
                       (unsigned long long)commit);
    out_text(&line);
    text_release(&line);
    return out_end(CLI_OK);
}

// Opens the database, lets `write` do its one write and prints the number of the commit.
static int write_once(const struct cli_args *args, enum session_mode mode, struct request *request,
                      int (*write)(strata_db *db, const strata_write *how, struct request *request))
{
    struct session session = {0};
    uint64_t commit = 0;
    int code = session_open(&session, args, mode);
    if (code == CLI_OK) {
        strata_write how = STRATA_WRITE_INIT;
        how.keyspace = session.keyspace;
        how.commit_out = &commit;
        how.expires_unix_us = request->expires_unix_us;
        code = session_close(&session, write(session.db, &how, request));
    }
    return code == CLI_OK ? print_commit(args, commit) : code;
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

// --expires-in and --expires-at; without them the keyspace says it.
static int take_expiry(const struct cli_args *args, int64_t *expires_out)
{
    const char *at = args->option[OPT_EXPIRES_AT];
    const char *in = args->option[OPT_EXPIRES_IN];
    if (at != NULL && in != NULL) {
        return args_usage(args, "give --expires-in or --expires-at, not both");
    }
    const char *given = at != NULL ? at : in;
    if (given != NULL && strcmp(given, "never") == 0) {
        *expires_out = STRATA_NEVER;
        return CLI_OK;
    }
    if (in != NULL) {
        uint64_t seconds = 0;
        int code = args_duration(args, OPT_EXPIRES_IN, UINT32_MAX, &seconds);
        *expires_out = time_now_us() + (int64_t)seconds * 1000000;
        return code;
    }
    if (at != NULL) {
        struct time_point point;
        if (!time_parse(at, &point) || point.kind != TIME_MOMENT) {
            return args_usage(args,
                              "--expires-at %s: it must be Unix time (@1700000000), a time "
                              "like 2026-11-22T17:30:00Z, or never",
                              at);
        }
        if (point.unix_us <= time_now_us()) {
            return args_usage(args, "--expires-at %s is in the past", at);
        }
        *expires_out = point.unix_us;
    }
    return CLI_OK;
}

// ---------------------------------------------------------------------------------------------
// put

// A value that has not ended with its first piece goes to the engine piece by piece.
static int put_pieces(strata_db *db, const strata_write *how, struct request *request)
{
    struct value_source *value = &request->value;
    struct progress progress;
    strata_put_stream *stream;
    progress_begin(&progress, "storing", NULL, value->bytes_known);
    strata_rc rc = strata_put_begin(db, how, text_slice(&request->key), &stream);
    if (rc != STRATA_OK) {
        return cli_failed(rc);
    }
    uint64_t done = 0;
    int code = CLI_OK;
    while (code == CLI_OK && rc == STRATA_OK && value->piece.bytes > 0) {
        rc = strata_put_append(stream, value->piece.data, value->piece.bytes);
        done += value->piece.bytes;
        progress_update(&progress, done, 0);
        if (rc == STRATA_OK) {
            code = value_source_next(value);
        }
    }
    progress_clear(&progress);
    if (code != CLI_OK || rc != STRATA_OK) {
        code = code != CLI_OK ? code : cli_failed(rc);
        strata_put_abort(stream);
        return code;
    }
    rc = strata_put_finish(stream);
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

static int put(strata_db *db, const strata_write *how, struct request *request)
{
    if (request->value.more) {
        return put_pieces(db, how, request);
    }
    strata_rc rc =
        strata_put(db, how, text_slice(&request->key), text_slice(&request->value.piece));
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

int cmd_put(const struct cli_args *args)
{
    struct request request = {.value.descriptor = -1};
    int code = take_key(args, "key", args->operand[1], &request.key);
    if (code == CLI_OK) {
        code = take_expiry(args, &request.expires_unix_us);
    }
    if (code == CLI_OK) {
        code = value_source_open(&request.value, args);
    }
    if (code == CLI_OK) {
        code = write_once(args, SESSION_CREATE, &request, put);
    }
    request_release(&request);
    return code;
}

// ---------------------------------------------------------------------------------------------
// delete and delete-range

static int delete (strata_db *db, const strata_write *how, struct request *request)
{
    strata_rc rc = strata_delete(db, how, text_slice(&request->key));
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

int cmd_delete(const struct cli_args *args)
{
    struct request request = {.value.descriptor = -1};
    int code = take_key(args, "key", args->operand[1], &request.key);
    if (code == CLI_OK) {
        code = write_once(args, SESSION_WRITE, &request, delete);
    }
    request_release(&request);
    return code;
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

static int delete_range(strata_db *db, const strata_write *how, struct request *request)
{
    strata_rc rc =
        strata_delete_range(db, how, text_slice(&request->key), text_slice(&request->end));
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

int cmd_delete_range(const struct cli_args *args)
{
    struct request request = {.value.descriptor = -1};
    int code = take_range(args, &request.key, &request.end);
    if (code == CLI_OK) {
        code = write_once(args, SESSION_WRITE, &request, delete_range);
    }
    request_release(&request);
    return code;
}
