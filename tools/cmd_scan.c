// strata scan and strata export: key<TAB>value lines of a keyspace, in flat memory.
#include "tools/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"

struct scan {
    struct text from;
    struct text to;
    bool to_given;
    bool reverse;
    uint64_t limit;
    const char *path; // of export's file; NULL: standard output
    strata_read how;
    struct progress progress;
};

static void append_entry(const struct cli_args *args, const strata_iter *iter, struct text *line)
{
    strata_slice key = strata_iter_key(iter);
    strata_slice value = strata_iter_value(iter);
    if (args_has(args, OPT_JSON)) {
        text_append_str(line, "{\"key\":");
        text_append_json(line, key);
        text_append_str(line, ",\"value\":");
        text_append_json(line, value);
        text_append_format(line, ",\"commit\":%llu}\n",
                           (unsigned long long)strata_iter_commit(iter));
        return;
    }
    void (*append)(struct text *, strata_slice) =
        args_has(args, OPT_HEX) ? text_append_hex : text_append_escaped;
    append(line, key);
    text_append_str(line, "\t");
    append(line, value);
    text_append_str(line, "\n");
}

static int scan_run(const struct session *session, struct scan *scan)
{
    strata_iter *iter;
    strata_rc rc = strata_iter_open(session->db, &scan->how, &iter);
    if (rc != STRATA_OK) {
        return session_failed(session, rc);
    }
    struct text line = {0};
    uint64_t bytes = 0;
    uint64_t count = 0;
    bool going = scan->limit > 0;
    while (going) {
        if (count == 0) {
            rc = scan->reverse ? strata_iter_last(iter) : strata_iter_first(iter);
        } else {
            rc = scan->reverse ? strata_iter_prev(iter) : strata_iter_next(iter);
        }
        if (rc != STRATA_OK) {
            break;
        }
        append_entry(session->args, iter, &line);
        rc = strata_iter_value_error(iter);
        if (rc != STRATA_OK) {
            break;
        }
        bytes += line.bytes;
        count++;
        going = out_text(&line) && count < scan->limit;
        progress_update(&scan->progress, bytes, count);
    }
    progress_clear(&scan->progress);
    int code = rc == STRATA_OK || rc == STRATA_END ? CLI_OK : session_failed(session, rc);
    strata_iter_close(iter);
    text_release(&line);
    return out_end(code);
}

// Bounds from --from, --to and --prefix.
static int scan_bounds(const struct cli_args *args, struct scan *scan)
{
    const char *from = args->option[OPT_FROM];
    const char *to = args->option[OPT_TO];
    const char *prefix = args->option[OPT_PREFIX];
    if (prefix != NULL && (from != NULL || to != NULL)) {
        return args_usage(args, "--prefix goes with neither --from nor --to");
    }
    int code = CLI_OK;
    scan->to_given = to != NULL;
    if (prefix != NULL) {
        code = args_append(args, "prefix", prefix, &scan->from);
        scan->to_given = code == CLI_OK && text_prefix_end(&scan->to, text_slice(&scan->from));
    }
    if (from != NULL) {
        code = args_append(args, "key", from, &scan->from);
    }
    if (to != NULL && code == CLI_OK) {
        code = args_append(args, "key", to, &scan->to);
    }
    return code;
}

static bool scan_is_empty(const struct scan *scan)
{
    if (!scan->to_given) {
        return false;
    }
    size_t common = scan->from.bytes < scan->to.bytes ? scan->from.bytes : scan->to.bytes;
    int order = common > 0 ? memcmp(scan->from.data, scan->to.data, common) : 0;
    return order > 0 || (order == 0 && scan->from.bytes >= scan->to.bytes);
}

static int scan_open(const struct cli_args *args, struct scan *scan)
{
    struct session session = {0};
    int code = session_open(&session, args, SESSION_READ);
    if (code != CLI_OK) {
        return code;
    }
    code = session_read(&session, &scan->how);
    // The file becomes standard output.
    if (code == CLI_OK && scan->path != NULL && freopen(scan->path, "w", stdout) == NULL) {
        code = cli_problem(CLI_FAILED, "cannot write %s: %s", scan->path, strerror(errno));
    }
    if (code == CLI_OK && !scan_is_empty(scan)) {
        if (scan->from.bytes > 0) {
            scan->how.lower = text_slice(&scan->from);
        }
        if (scan->to_given) {
            scan->how.upper = text_slice(&scan->to);
        }
        scan->how.cache_bypass = scan->limit == UINT64_MAX;
        code = scan_run(&session, scan);
    }
    return session_close(&session, code);
}

int cmd_scan(const struct cli_args *args)
{
    struct scan scan = {.limit = UINT64_MAX, .reverse = args_has(args, OPT_REVERSE)};
    int code = args_number(args, OPT_LIMIT, 0, UINT64_MAX, &scan.limit);
    if (code == CLI_OK) {
        code = scan_bounds(args, &scan);
    }
    if (code == CLI_OK) {
        code = scan_open(args, &scan);
    }
    text_release(&scan.from);
    text_release(&scan.to);
    return code;
}

int cmd_export(const struct cli_args *args)
{
    struct scan scan = {.limit = UINT64_MAX};
    if (args->operand_count > 1 && strcmp(args->operand[1], "-") != 0) {
        scan.path = args->operand[1];
    }
    if (scan.path != NULL || isatty(STDOUT_FILENO) != 1) {
        progress_begin(&scan.progress, "exporting", "lines", 0);
    }
    return scan_open(args, &scan);
}
