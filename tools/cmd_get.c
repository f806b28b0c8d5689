// strata get.
#include "tools/commands.h"

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"

static void print_value(const struct cli_args *args, strata_slice key, const strata_value *value)
{
    struct text line = {0};
    strata_slice bytes = {value->data, value->bytes};
    if (args_has(args, OPT_JSON)) {
        text_append_str(&line, "{\"key\":");
        text_append_json(&line, key);
        text_append_str(&line, ",\"value\":");
        text_append_json(&line, bytes);
        text_append_format(&line, ",\"commit\":%llu}\n", (unsigned long long)value->commit);
    } else if (args_has(args, OPT_HEX)) {
        text_append_hex(&line, bytes);
        text_append_str(&line, "\n");
    } else {
        text_append(&line, bytes.data, bytes.bytes);
        if (!args_has(args, OPT_RAW)) {
            text_append_str(&line, "\n");
        }
    }
    out_text(&line);
    text_release(&line);
}

static int get_from(const struct session *session, strata_slice key)
{
    strata_read how;
    int code = session_read(session, &how);
    if (code != CLI_OK) {
        return code;
    }
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(session->db, &how, key, &value);
    if (rc == STRATA_OK) {
        print_value(session->args, key, &value);
        code = out_end(CLI_OK);
    } else if (rc == STRATA_NOT_FOUND) {
        struct text shown = {0};
        text_append_escaped(&shown, key);
        code = cli_problem(CLI_NOT_FOUND, "the key \"%.*s\" has no value%s", (int)shown.bytes,
                           shown.data, args_has(session->args, OPT_AS_OF) ? " as of then" : "");
        text_release(&shown);
    } else {
        code = cli_failed(rc);
    }
    strata_value_release(&value);
    return code;
}

int cmd_get(const struct cli_args *args)
{
    struct text key = {0};
    struct session session = {0};
    int code = args_append(args, "key", args->operand[1], &key);
    if (code == CLI_OK && args_has(args, OPT_RAW) &&
        (args_has(args, OPT_JSON) || args_has(args, OPT_HEX))) {
        code = args_usage(args, "--raw goes with neither --json nor --hex");
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
