// strata check, verify, compact.
#include "tools/commands.h"

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"

static int print_text(const char *text)
{
    struct text line = {0};
    text_append_str(&line, text);
    out_text(&line);
    text_release(&line);
    return out_end(CLI_OK);
}

int cmd_check(const struct cli_args *args)
{
    struct session session;
    int code = session_open(&session, args, SESSION_READ);
    if (code != CLI_OK) {
        return code;
    }
    strata_rc rc = strata_check(session.db);
    if (rc == STRATA_OK) {
        code = print_text(args_has(args, OPT_JSON) ? "{\"ok\":true}\n"
                                                   : "ok: every invariant holds\n");
    } else {
        code = cli_failed(rc);
    }
    return session_close(&session, code);
}

struct verify_output {
    bool json;
    uint64_t faults;
    struct text line;
};

static void print_fault(void *ctx, const char *text)
{
    struct verify_output *output = ctx;
    output->faults++;
    if (output->json) {
        text_append_str(&output->line, "{\"fault\":");
        text_append_json(&output->line, strata_str(text));
        text_append_str(&output->line, "}\n");
    } else {
        text_append_format(&output->line, "fault: %s\n", text);
    }
    out_text(&output->line);
}

static void append_report(struct text *line, const strata_verify_report *report, bool json)
{
    text_append_format(line,
                       json ? "{\"files\":%llu,\"bytes\":%llu,\"blocks\":%llu,\"records\":%llu,"
                              "\"faults\":%llu}\n"
                            : "%llu files, %llu bytes, %llu blocks and %llu records read: "
                              "%llu faults\n",
                       (unsigned long long)report->files, (unsigned long long)report->bytes,
                       (unsigned long long)report->blocks, (unsigned long long)report->records,
                       (unsigned long long)report->faults);
}

int cmd_verify(const struct cli_args *args)
{
    const char *path = args->operand[0];
    if (path[0] == '\0') {
        return args_usage(args, "the name of the directory is empty");
    }
    struct verify_output output = {.json = args_has(args, OPT_JSON)};
    strata_verify_report report = {0};
    strata_rc rc = strata_verify(path, print_fault, &output, &report);
    int code = CLI_OK;
    if (rc == STRATA_OK || rc == STRATA_CORRUPT) {
        append_report(&output.line, &report, output.json);
        out_text(&output.line);
    }
    if (rc == STRATA_NOT_FOUND) {
        code = cli_problem(CLI_FAILED, "there is no database in %s", path);
    } else if (rc == STRATA_CORRUPT && output.faults > 0) {
        code = cli_problem(CLI_CORRUPT,
                           "%s is damaged; nothing was changed: keep a copy, then restore the "
                           "damaged files from a backup",
                           path);
    } else if (rc != STRATA_OK) {
        code = cli_failed(rc);
    }
    text_release(&output.line);
    return out_end(code);
}

static bool show_compaction(void *ctx, uint64_t bytes_done, uint64_t bytes_total)
{
    struct progress *progress = ctx;
    progress->total = bytes_total;
    progress_update(progress, bytes_done, 0);
    return true;
}

int cmd_compact(const struct cli_args *args)
{
    struct session session;
    int code = session_open(&session, args, SESSION_WRITE);
    if (code != CLI_OK) {
        return code;
    }
    struct progress progress;
    progress_begin(&progress, "compacting", NULL, 0);
    strata_keyspace *keyspace = args_has(args, OPT_KEYSPACE) ? session.keyspace : NULL;
    strata_rc rc = args_has(args, OPT_VALUES)
                       ? strata_compact_values(session.db, keyspace, show_compaction, &progress)
                       : strata_compact(session.db, keyspace, show_compaction, &progress);
    progress_clear(&progress);
    return session_close(&session, rc == STRATA_OK ? CLI_OK : cli_failed(rc));
}
