// The run of an import: batches of one commit each, and the mark of how far they reach.
//
// Each batch also stores, in the keyspace "strata.import" under "KEYSPACE<TAB>NAME OF THE INPUT",
// the number of the last line it holds, so that the commit and what is known about it are one:
// after a kill --resume goes on behind exactly the lines that are there. The value is "LINE" while
// lines may follow and "LINE complete" after the last one.
//
// Batches are acknowledged before they are on disk; a sync follows about once a second and at the
// end, before anything is said about what was committed.
#include "tools/import.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_time.h"

#define MARKS_KEYSPACE "strata.import"
#define BATCH_BYTES_MAX (1u << 20)
#define SYNC_EVERY_US 1000000

// ---- the mark of what is committed

static int import_open_marks(struct import *import)
{
    const char *path = import->args->operand[1];
    const char *name = import->args->option[OPT_NAME];
    const char *keyspace = import->args->option[OPT_KEYSPACE];
    char full[PATH_MAX];
    if (name == NULL) {
        name = strcmp(path, "-") != 0 && realpath(path, full) != NULL ? full : path;
    }
    text_append_format(&import->mark_key, "%s\t%s", keyspace != NULL ? keyspace : "default", name);
    strata_db *db = import->session.db;
    strata_rc rc = strata_keyspace_open(db, MARKS_KEYSPACE, &import->marks);
    if (rc == STRATA_NOT_FOUND) {
        rc = strata_keyspace_create(db, MARKS_KEYSPACE, NULL, &import->marks);
    }
    return rc == STRATA_OK ? CLI_OK : cli_failed(rc);
}

// What an earlier import of the same input left: where it can go on, or that it may.
static int import_look_back(struct import *import)
{
    strata_read how = STRATA_READ_INIT;
    how.keyspace = import->marks;
    strata_value value = STRATA_VALUE_INIT;
    strata_rc rc = strata_get(import->session.db, &how, text_slice(&import->mark_key), &value);
    bool resume = args_has(import->args, OPT_RESUME);
    if (rc == STRATA_OK) {
        char mark[64];
        snprintf(mark, sizeof mark, "%.*s", (int)(value.bytes < 60 ? value.bytes : 60),
                 (const char *)value.data);
        uint64_t line = strtoull(mark, NULL, 10);
        bool complete = strstr(mark, "complete") != NULL;
        if (resume) {
            import->skip = line;
            fprintf(stderr, "strata: going on after line %llu\n", (unsigned long long)line);
        } else if (!complete && !args_has(import->args, OPT_SKIP)) {
            fprintf(stderr,
                    "strata: an earlier import of this input ended after line %llu; --resume goes "
                    "on there, this one begins at the first line\n",
                    (unsigned long long)line);
        }
    } else if (rc == STRATA_NOT_FOUND && resume) {
        fprintf(stderr, "strata: no import of this input is known; beginning at the first line\n");
    }
    strata_value_release(&value);
    return rc == STRATA_OK || rc == STRATA_NOT_FOUND ? CLI_OK : cli_failed(rc);
}

// ---- batches

// The engine's failure: what the batch held is not committed, and nothing more is tried.
static int import_failed(struct import *import, strata_rc rc)
{
    progress_clear(&import->progress);
    import->broken = true;
    return cli_failed(rc);
}

static int import_sync(struct import *import)
{
    strata_rc rc = strata_sync(import->session.db);
    if (rc != STRATA_OK) {
        return import_failed(import, rc);
    }
    import->line_synced = import->line;
    import->synced_us = time_steady_us();
    return CLI_OK;
}

static void import_empty_batch(struct import *import)
{
    strata_batch_reset(import->batch);
    import->batch_bytes = 0;
    import->batch_records = 0;
}

// Commits what is in the batch, with the mark. `complete`: nothing follows.
static strata_rc import_try_commit(struct import *import, bool complete)
{
    char mark[64];
    snprintf(mark, sizeof mark, "%llu%s", (unsigned long long)import->batch_line,
             complete ? " complete" : "");
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_BACKGROUND;
    strata_rc rc = strata_batch_put(import->batch, import->marks, text_slice(&import->mark_key),
                                    strata_str(mark));
    uint64_t commit;
    if (rc == STRATA_OK) {
        rc = strata_commit(import->session.db, &how, import->batch, &commit);
    }
    if (rc == STRATA_OK) {
        import->commit = commit;
        import->line = import->batch_line;
        import->records += import->batch_records;
        import_empty_batch(import);
    }
    return rc;
}

static int import_commit(struct import *import, bool complete)
{
    if (!complete && import->batch_line == import->line) {
        return CLI_OK;
    }
    strata_rc rc = import_try_commit(import, complete);
    if (rc != STRATA_OK) {
        return import_failed(import, rc);
    }
    return time_steady_us() - import->synced_us > SYNC_EVERY_US ? import_sync(import) : CLI_OK;
}

// A line that holds no record: reported, and by choice the end of the import.
static int import_bad_line(struct import *import, const char *problem)
{
    progress_clear(&import->progress);
    cli_problem(CLI_FAILED, "line %llu: %s", (unsigned long long)import->lines.first, problem);
    if (!import->skip_bad) {
        return CLI_FAILED;
    }
    import->bad++;
    import->batch_line = import->lines.last;
    return CLI_OK;
}

// A record that alone is a batch: the engine may find it too large for its memory budget.
static int import_put_alone(struct import *import)
{
    uint64_t line_before = import->line;
    strata_rc rc = import_try_commit(import, false);
    if (rc == STRATA_TOO_LARGE) {
        import_empty_batch(import);
        import->batch_line = line_before;
        return import_bad_line(import, strata_error_text());
    }
    return rc == STRATA_OK ? CLI_OK : import_failed(import, rc);
}

static int import_put(struct import *import)
{
    uint64_t bytes = import->key.bytes + import->value.bytes;
    int code = CLI_OK;
    if (import->batch_records >= import->batch_lines_max ||
        (import->batch_records > 0 && import->batch_bytes + bytes > BATCH_BYTES_MAX)) {
        code = import_commit(import, false);
    }
    if (code != CLI_OK) {
        return code;
    }
    strata_rc rc = strata_batch_put(import->batch, import->session.keyspace,
                                    text_slice(&import->key), text_slice(&import->value));
    if (rc == STRATA_TOO_LARGE) {
        return import_bad_line(import, strata_error_text());
    }
    if (rc != STRATA_OK) {
        return import_failed(import, rc);
    }
    import->batch_bytes += bytes;
    import->batch_records++;
    import->batch_line = import->lines.last;
    return bytes > BATCH_BYTES_MAX ? import_put_alone(import) : CLI_OK;
}

// ---- the run

static int import_record(struct import *import, strata_slice record)
{
    if (!format_record(&import->format, record, &import->key, &import->value)) {
        return import_bad_line(import, import->format.problem);
    }
    if (import->key.bytes == 0) {
        import->batch_line = import->lines.last;
        return CLI_OK;
    }
    return import_put(import);
}

// Passes over the lines that --skip or --resume name.
static enum lines_result import_skip(struct import *import)
{
    enum lines_result result = LINES_RECORD;
    strata_slice record;
    import->lines.csv = false;
    while (import->lines.last < import->skip) {
        result = lines_next(&import->lines, &record);
        if (result != LINES_RECORD && result != LINES_IDLE && result != LINES_TOO_LONG) {
            break;
        }
        result = LINES_RECORD;
        progress_update(&import->progress, import->lines.bytes_read, import->lines.last);
    }
    import->lines.csv = import->format.kind == FORMAT_CSV;
    import->batch_line = import->lines.last;
    import->line = import->lines.last;
    import->line_synced = import->line;
    return result;
}

// Reads to the end of the input, a bad line or a signal. *result_out says which of them.
static int import_run(struct import *import, enum lines_result *result_out)
{
    int code = CLI_OK;
    *result_out = import_skip(import);
    if (*result_out == LINES_END) {
        return cli_problem(CLI_USAGE, "the input has only %llu lines, not the %llu to skip",
                           (unsigned long long)import->lines.last,
                           (unsigned long long)import->skip);
    }
    while (code == CLI_OK && *result_out == LINES_RECORD) {
        strata_slice record;
        *result_out = lines_next(&import->lines, &record);
        if (*result_out == LINES_RECORD) {
            code = import_record(import, record);
        } else if (*result_out == LINES_TOO_LONG) {
            char problem[80];
            snprintf(problem, sizeof problem, "longer than the %zu bytes of --line-max",
                     import->lines.limit);
            code = import_bad_line(import, problem);
            *result_out = LINES_RECORD;
        } else if (*result_out == LINES_IDLE) {
            code = import_commit(import, false);
            *result_out = LINES_RECORD;
        }
        progress_update(&import->progress, import->lines.bytes_read, import->lines.last);
    }
    if (*result_out == LINES_FAILED) {
        progress_clear(&import->progress);
        return cli_problem(CLI_FAILED, "cannot read the input: %s", strerror(errno));
    }
    return code;
}

// A second Ctrl-C ends the process at once, as if there were no handler.
static void import_unblock_signals(struct import *import)
{
    struct signalfd_siginfo info;
    while (read(import->lines.signal_descriptor, &info, sizeof info) < 0 && errno == EINTR) {
    }
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &signals, NULL);
}

static void import_report(const struct import *import, bool interrupted)
{
    const struct cli_args *args = import->args;
    struct text line = {0};
    if (interrupted) {
        fprintf(stderr,
                "strata: the last line committed is %llu; to go on after it: strata import %s %s "
                "--skip %llu (or --resume) and the options of before\n",
                (unsigned long long)import->line_synced, args->operand[0], args->operand[1],
                (unsigned long long)import->line_synced);
    }
    if (args_has(args, OPT_JSON)) {
        text_append_format(&line,
                           "{\"records\":%llu,\"bad\":%llu,\"last_line\":%llu,\"complete\":%s,"
                           "\"commit\":%llu}\n",
                           (unsigned long long)import->records, (unsigned long long)import->bad,
                           (unsigned long long)import->line, interrupted ? "false" : "true",
                           (unsigned long long)import->commit);
    } else {
        text_append_format(&line, "%llu records, %llu bad lines, last line %llu\ncommit %llu\n",
                           (unsigned long long)import->records, (unsigned long long)import->bad,
                           (unsigned long long)import->line, (unsigned long long)import->commit);
    }
    out_text(&line);
    text_release(&line);
}

// Commits what is left and brings it to disk. After a failure of the engine only the batches before
// it are looked after.
static int import_finish(struct import *import, int code)
{
    if (import->broken) {
        if (strata_sync(import->session.db) == STRATA_OK) {
            import->line_synced = import->line;
        }
        return code;
    }
    int finished = import_commit(import, code == CLI_OK);
    if (finished == CLI_OK) {
        finished = import_sync(import);
    }
    return code != CLI_OK ? code : finished;
}

// With the database open: everything that is left to do.
int import_into(struct import *import)
{
    enum lines_result result = LINES_RECORD;
    int code = import_open_marks(import);
    if (code == CLI_OK) {
        code = import_look_back(import);
    }
    strata_rc rc =
        code == CLI_OK ? strata_batch_new(import->session.db, &import->batch) : STRATA_OK;
    if (code != CLI_OK || rc != STRATA_OK) {
        return code != CLI_OK ? code : cli_failed(rc);
    }
    import->synced_us = time_steady_us();
    import->commit = strata_newest_commit(import->session.db);
    code = import_run(import, &result);
    progress_clear(&import->progress);
    if (import->lines.last < import->skip && result == LINES_END) {
        return code;
    }
    if (result == LINES_STOPPED) {
        import_unblock_signals(import);
        code = cli_problem(CLI_FAILED, "stopped by a signal");
    }
    code = import_finish(import, code);
    import_report(import, code != CLI_OK);
    return out_end(code);
}
