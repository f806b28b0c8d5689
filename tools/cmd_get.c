// strata get: prints a value, or writes it to a file, piece by piece: one of any size takes the
// same little memory. As JSON it is one piece.
#include "tools/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"
#include "tools/value_source.h"

static int not_found(const struct session *session, strata_slice key)
{
    struct text shown = {0};
    text_append_escaped(&shown, key);
    int code = cli_problem(CLI_NOT_FOUND, "the key \"%.*s\" has no value%s", (int)shown.bytes,
                           shown.data, args_has(session->args, OPT_AS_OF) ? " as of then" : "");
    text_release(&shown);
    return code;
}

static int get_json(const struct session *session, const strata_read *how, strata_slice key)
{
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(session->db, how, key, &value);
    int code;
    if (rc == STRATA_OK) {
        struct text line = {0};
        text_append_str(&line, "{\"key\":");
        text_append_json(&line, key);
        text_append_str(&line, ",\"value\":");
        text_append_json(&line, (strata_slice){value.data, value.bytes});
        text_append_format(&line, ",\"commit\":%llu}\n", (unsigned long long)value.commit);
        out_text(&line);
        text_release(&line);
        code = out_end(CLI_OK);
    } else {
        code = rc == STRATA_NOT_FOUND ? not_found(session, key) : session_failed(session, rc);
    }
    strata_value_release(&value);
    return code;
}

static strata_rc print_pieces(const struct cli_args *args, strata_value_reader *reader)
{
    uint64_t bytes = strata_value_reader_bytes(reader);
    struct progress progress = {0};
    if (args_has(args, OPT_OUTPUT)) {
        progress_begin(&progress, "writing", NULL, bytes);
    }
    struct text piece = {0};
    struct text digits = {0};
    strata_rc rc = STRATA_OK;
    bool going = true;
    text_reserve(&piece, VALUE_PIECE_BYTES);
    for (uint64_t at = 0; going && at < bytes;) {
        rc = strata_value_read(reader, at, piece.data, VALUE_PIECE_BYTES, &piece.bytes);
        if (rc != STRATA_OK || piece.bytes == 0) {
            break;
        }
        at += piece.bytes;
        if (args_has(args, OPT_HEX)) {
            text_append_hex(&digits, text_slice(&piece));
        }
        going = out_text(args_has(args, OPT_HEX) ? &digits : &piece);
        progress_update(&progress, at, 0);
    }
    if (rc == STRATA_OK && !args_has(args, OPT_RAW) && !args_has(args, OPT_OUTPUT)) {
        text_clear(&piece);
        text_append_str(&piece, "\n");
        out_text(&piece);
    }
    progress_clear(&progress);
    text_release(&piece);
    text_release(&digits);
    return rc;
}

static int get_pieces(const struct session *session, const strata_read *how, strata_slice key)
{
    const char *path = session->args->option[OPT_OUTPUT];
    strata_value_reader *reader;
    strata_rc rc = strata_value_open(session->db, how, key, &reader);
    if (rc != STRATA_OK) {
        return rc == STRATA_NOT_FOUND ? not_found(session, key) : session_failed(session, rc);
    }
    int code = CLI_OK;
    // The file becomes standard output; it is made when the value is known to be there.
    if (path != NULL && strcmp(path, "-") != 0 && freopen(path, "w", stdout) == NULL) {
        code = cli_problem(CLI_FAILED, "cannot write %s: %s", path, strerror(errno));
    } else {
        rc = print_pieces(session->args, reader);
        code = out_end(rc == STRATA_OK ? CLI_OK : session_failed(session, rc));
    }
    strata_value_close(reader);
    return code;
}

static int get_from(const struct session *session, strata_slice key)
{
    strata_read how;
    int code = session_read(session, &how);
    if (code != CLI_OK) {
        return code;
    }
    return args_has(session->args, OPT_JSON) ? get_json(session, &how, key)
                                             : get_pieces(session, &how, key);
}

int cmd_get(const struct cli_args *args)
{
    struct text key = {0};
    struct session session = {0};
    int code = args_append(args, "key", args->operand[1], &key);
    bool exact = args_has(args, OPT_RAW) || args_has(args, OPT_OUTPUT);
    if (code == CLI_OK && exact && (args_has(args, OPT_JSON) || args_has(args, OPT_HEX))) {
        code = args_usage(args, "--%s goes with neither --json nor --hex",
                          args_has(args, OPT_RAW) ? "raw" : "output");
    }
    if (code == CLI_OK) {
        code = session_open(&session, args, SESSION_READ);
    }
    if (code == CLI_OK) {
        code = session_close(&session, get_from(&session, text_slice(&key)));
    }
    text_release(&key);
    return code;
}
