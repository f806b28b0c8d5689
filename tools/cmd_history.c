// strata history: a line for each version of a key, newest first.
#include "tools/commands.h"

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"
#include "tools/cli_time.h"

static const char *kind_name(strata_version_kind kind)
{
    switch (kind) {
    case STRATA_VERSION_PUT:
        return "put";
    case STRATA_VERSION_DELETE:
        return "delete";
    case STRATA_VERSION_DELETE_RANGE:
        return "delete-range";
    }
    return "unknown";
}

// Cuts `text` after `width` characters, counted from `begin`, and says so with three dots.
static void cut_to_width(struct text *text, size_t begin, uint64_t width)
{
    size_t at = begin;
    for (uint64_t i = 0; i < width && at < text->bytes; i++) {
        size_t length = text_utf8_bytes((unsigned char *)text->data + at, text->bytes - at);
        at += length > 0 ? length : 1;
    }
    if (at < text->bytes) {
        text->bytes = at;
        text_append_str(text, "...");
    }
}

static void append_version_json(struct text *line, const strata_version_info *version,
                                const char *time)
{
    text_append_str(line, "{\"key\":");
    text_append_json(line, version->key);
    text_append_format(line, ",\"commit\":%llu,\"time\":\"%s\",\"kind\":\"%s\"",
                       (unsigned long long)version->commit, time, kind_name(version->kind));
    if (version->end != 0) {
        text_append_format(line, ",\"end\":%llu", (unsigned long long)version->end);
    }
    if (version->kind == STRATA_VERSION_PUT) {
        text_append_str(line, ",\"value\":");
        text_append_json(line, version->value);
    }
    text_append_str(line, "}\n");
}

static void append_version(const struct cli_args *args, struct text *line, uint64_t width,
                           const strata_version_info *version, const char *time)
{
    if (args_has(args, OPT_JSON)) {
        append_version_json(line, version, time);
        return;
    }
    text_append_format(line, "%llu\t%s\t%s\t", (unsigned long long)version->commit, time,
                       kind_name(version->kind));
    size_t begin = line->bytes;
    if (args_has(args, OPT_HEX)) {
        text_append_hex(line, version->value);
    } else {
        text_append_escaped(line, version->value);
    }
    if (width > 0) {
        cut_to_width(line, begin, width);
    }
    text_append_str(line, "\n");
}

struct history_request {
    struct text key;
    uint64_t limit;
    uint64_t width;
};

static int history_run(const struct session *session, const struct history_request *request)
{
    strata_read how;
    int code = session_read(session, &how);
    if (code != CLI_OK) {
        return code;
    }
    strata_history *history;
    strata_rc rc = strata_history_open_key(session->db, &how, text_slice(&request->key), &history);
    if (rc != STRATA_OK) {
        return session_failed(session, rc);
    }
    struct text line = {0};
    uint64_t count = 0;
    for (bool going = true; going && count < request->limit;) {
        strata_version_info version;
        rc = strata_history_next(history, &version);
        if (rc != STRATA_OK) {
            break;
        }
        char time[TIME_TEXT_BYTES] = "-";
        int64_t unix_us;
        if (strata_commit_time(session->db, version.commit, &unix_us) == STRATA_OK) {
            time_format(unix_us, time);
        }
        append_version(session->args, &line, request->width, &version, time);
        going = out_text(&line);
        count++;
    }
    strata_history_close(history);
    text_clear(&line);
    if (rc != STRATA_OK && rc != STRATA_END) {
        code = session_failed(session, rc);
    } else if (count == 0 && request->limit > 0) {
        text_append_escaped(&line, text_slice(&request->key));
        code = cli_problem(CLI_NOT_FOUND, "the key \"%.*s\" has no version%s", (int)line.bytes,
                           line.data, args_has(session->args, OPT_AS_OF) ? " as of then" : "");
    }
    text_release(&line);
    return out_end(code);
}

int cmd_history(const struct cli_args *args)
{
    struct history_request request = {.limit = UINT64_MAX};
    struct session session = {0};
    int code = args_append(args, "key", args->operand[1], &request.key);
    if (code == CLI_OK) {
        code = args_number(args, OPT_LIMIT, 0, UINT64_MAX, &request.limit);
    }
    if (code == CLI_OK) {
        code = args_number(args, OPT_WIDTH, 1, UINT64_MAX, &request.width);
    }
    if (code == CLI_OK) {
        code = session_open(&session, args, SESSION_READ);
    }
    if (code == CLI_OK) {
        code = session_close(&session, history_run(&session, &request));
    }
    text_release(&request.key);
    return code;
}
