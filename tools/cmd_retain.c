// strata retain: shows which past versions each keyspace keeps, or changes it for one.
#include "tools/commands.h"

#include <stdio.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_retention.h"
#include "tools/cli_session.h"

#define CHANGES (OPT_BIT(OPT_ALL) | OPT_BIT(OPT_NONE) | OPT_BIT(OPT_VERSIONS) | OPT_BIT(OPT_AGE))

struct retain {
    const struct cli_args *args;
    strata_db *db;
    const char *only; // this keyspace; NULL: every one
    strata_rc rc;
    struct text line;
};

// " (2026-11-22T17:30:00.000000+00:00)", when the time of the commit is known.
static void append_commit_time(strata_db *db, struct text *line, uint64_t commit)
{
    int64_t unix_us;
    if (strata_commit_time(db, commit, &unix_us) == STRATA_OK) {
        char time[TIME_TEXT_BYTES];
        time_format(unix_us, time);
        text_append_format(line, " (%s)", time);
    }
}

static void append_json(struct text *line, const strata_keyspace_info *info, uint64_t oldest)
{
    char what[TIME_TEXT_BYTES];
    retention_format(&info->options, what);
    text_append_str(line, "{\"keyspace\":");
    text_append_json(line, strata_str(info->name));
    text_append_format(line, ",\"retain\":\"%s\",\"oldest_commit\":%llu}\n", what,
                       (unsigned long long)oldest);
}

static void append_text(struct retain *retain, const strata_keyspace_info *info, uint64_t oldest)
{
    struct text *line = &retain->line;
    text_append_escaped(line, strata_str(info->name));
    text_append_str(line, "\tkeeps ");
    retention_describe(&info->options, line);
    if (oldest == 0) {
        text_append_str(line, info->options.retention == STRATA_RETENTION_VERSIONS
                                  ? "; no commit is wholly out of reach"
                                  : "; the whole past can be read");
    } else {
        text_append_format(line, "; the oldest commit that can be read is %llu",
                           (unsigned long long)oldest);
        append_commit_time(retain->db, line, oldest);
    }
    text_append_str(line, "\n");
}

static bool show_one(void *ctx, const strata_keyspace_info *info)
{
    struct retain *retain = ctx;
    if (retain->only != NULL && strcmp(retain->only, info->name) != 0) {
        return true;
    }
    strata_keyspace *keyspace;
    uint64_t oldest = 0;
    retain->rc = strata_keyspace_open(retain->db, info->name, &keyspace);
    if (retain->rc == STRATA_OK) {
        retain->rc = strata_oldest_commit(retain->db, keyspace, &oldest);
    }
    if (retain->rc != STRATA_OK) {
        return false;
    }
    if (args_has(retain->args, OPT_JSON)) {
        append_json(&retain->line, info, oldest);
    } else {
        append_text(retain, info, oldest);
    }
    return out_text(&retain->line);
}

static int show(struct retain *retain)
{
    strata_rc rc = strata_keyspace_list(retain->db, show_one, retain);
    rc = rc == STRATA_OK ? retain->rc : rc;
    return out_end(rc == STRATA_OK ? CLI_OK : cli_failed(rc));
}

// What --all, --none, --versions or --age ask for.
static int take_change(const struct cli_args *args, strata_keyspace_options *options)
{
    int given = 0;
    for (int i = 0; i < OPT_COUNT; i++) {
        given += (CHANGES & OPT_BIT(i)) != 0 && args_has(args, (enum cli_option)i);
    }
    if (given > 1) {
        return args_usage(args, "--all, --none, --versions and --age exclude each other");
    }
    uint64_t number = 1;
    int code = args_number(args, OPT_VERSIONS, 1, UINT32_MAX, &number);
    options->retention_versions = args_has(args, OPT_VERSIONS) ? (uint32_t)number : 0;
    if (code == CLI_OK) {
        code = args_duration(args, OPT_AGE, UINT32_MAX, &number);
        options->retention_seconds = args_has(args, OPT_AGE) ? (uint32_t)number : 0;
    }
    options->retention = args_has(args, OPT_ALL)        ? STRATA_RETENTION_ALL
                         : args_has(args, OPT_NONE)     ? STRATA_RETENTION_NONE
                         : args_has(args, OPT_VERSIONS) ? STRATA_RETENTION_VERSIONS
                         : args_has(args, OPT_AGE)      ? STRATA_RETENTION_AGE
                                                        : STRATA_RETENTION_DEFAULT;
    return code;
}

// Says on standard error what the change puts out of reach: background work lets it go from now on.
static strata_rc tell_consequence(const struct session *session,
                                  const strata_keyspace_options *options)
{
    uint64_t edge = 0;
    strata_rc rc = STRATA_OK;
    struct text line = {0};
    if (options->retention == STRATA_RETENTION_NONE) {
        edge = strata_newest_commit(session->db);
    } else if (options->retention == STRATA_RETENTION_AGE) {
        rc = strata_commit_at_time(
            session->db, time_now_us() - options->retention_seconds * INT64_C(1000000), &edge);
    }
    if (edge > 1) {
        text_append_format(&line, "what was before commit %llu", (unsigned long long)edge);
        append_commit_time(session->db, &line, edge);
        text_append_str(&line, " becomes unreadable and is let go in the background");
    } else if (options->retention == STRATA_RETENTION_VERSIONS) {
        text_append_str(&line, "all but ");
        retention_describe(options, &line);
        text_append_str(&line, " become unreadable and are let go in the background");
    } else if (options->retention == STRATA_RETENTION_ALL) {
        text_append_str(&line, "nothing becomes unreadable; what was let go before does not "
                               "come back");
    } else {
        text_append_str(&line, "nothing becomes unreadable now");
    }
    if (rc == STRATA_OK) {
        fprintf(stderr, "strata: %.*s\n", (int)line.bytes, line.data);
    }
    text_release(&line);
    return rc;
}

static int retain_run(const struct session *session, const strata_keyspace_options *change)
{
    struct retain retain = {
        .args = session->args, .db = session->db, .only = session->args->option[OPT_KEYSPACE]};
    strata_rc rc = STRATA_OK;
    if (change->retention != STRATA_RETENTION_DEFAULT) {
        retain.only = retain.only != NULL ? retain.only : "default";
        rc = tell_consequence(session, change);
        if (rc == STRATA_OK) {
            rc = strata_keyspace_alter(session->db, session->keyspace, change);
        }
    }
    int code = rc == STRATA_OK ? show(&retain) : cli_failed(rc);
    text_release(&retain.line);
    return code;
}

int cmd_retain(const struct cli_args *args)
{
    struct cli_args named = *args;
    if (args->operand_count > 1) {
        if (args_has(args, OPT_KEYSPACE)) {
            return args_usage(args, "give KEYSPACE or --keyspace, not both");
        }
        named.option[OPT_KEYSPACE] = args->operand[1];
    }
    strata_keyspace_options change = STRATA_KEYSPACE_OPTIONS_INIT;
    int code = take_change(args, &change);
    if (code != CLI_OK) {
        return code;
    }
    struct session session;
    code =
        session_open(&session, &named,
                     change.retention == STRATA_RETENTION_DEFAULT ? SESSION_READ : SESSION_WRITE);
    return code == CLI_OK ? session_close(&session, retain_run(&session, &change)) : code;
}
