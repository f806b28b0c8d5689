// strata stats: where the bytes of each keyspace are, by cause, then every counter and gauge with
// its unit and what it means.
#include "tools/commands.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"

struct cause {
    const char *name; // in JSON with _bytes behind it
    size_t offset;
    const char *help;
};

#define CAUSE(member) #member, offsetof(strata_space, member##_bytes)

// In the order in which they add up: what is wanted, what is garbage, what that makes on disk.
static const struct cause causes[] = {
    {CAUSE(live), "keys and values of the present"},
    {CAUSE(history), "past versions that are kept"},
    {CAUSE(superseded), "older versions and deletes that merges will take out (estimated)"},
    {CAUSE(delete), "of those, deletes"},
    {CAUSE(dead_value), "in value files, referenced by nothing any more"},
    {CAUSE(table), "all table files"},
    {CAUSE(value), "all value files"},
    {CAUSE(log), "log files of the database, spare ones included"},
    {CAUSE(memtable), "one memtable, as the bound allows for"},
    {CAUSE(disk), "on disk: tables, values and log"},
    {CAUSE(bound), "what disk is kept under"},
    {CAUSE(debt), "that background work will give back"},
};
#define CAUSE_COUNT (sizeof causes / sizeof causes[0])

static uint64_t cause_bytes(const strata_space *space, const struct cause *cause)
{
    uint64_t bytes;
    memcpy(&bytes, (const char *)space + cause->offset, sizeof bytes);
    return bytes;
}

struct stats {
    const struct cli_args *args;
    strata_db *db;
    strata_rc rc;
    struct text line;
};

static void append_space_json(struct text *line, const char *keyspace, const strata_space *space)
{
    text_append_str(line, "{\"keyspace\":");
    text_append_json(line, strata_str(keyspace));
    for (size_t i = 0; i < CAUSE_COUNT; i++) {
        text_append_format(line, ",\"%s_bytes\":%llu", causes[i].name,
                           (unsigned long long)cause_bytes(space, &causes[i]));
    }
    text_append_str(line, "}\n");
}

static void append_space(struct text *line, const char *keyspace, const strata_space *space)
{
    text_append_str(line, "space of ");
    text_append_escaped(line, strata_str(keyspace));
    text_append_str(line, "\n");
    for (size_t i = 0; i < CAUSE_COUNT; i++) {
        char size[32];
        uint64_t bytes = cause_bytes(space, &causes[i]);
        progress_size_text(bytes, size, sizeof size);
        size_t begin = line->bytes;
        text_append_format(line, "  %-11s %11s  %s", causes[i].name, size, causes[i].help);
        char *underscore = memchr(line->data + begin, '_', line->bytes - begin);
        if (underscore != NULL) {
            *underscore = ' ';
        }
        if (causes[i].offset == offsetof(strata_space, bound_bytes) && bytes > 0) {
            text_append_format(line, ": %.0f %% of it is used",
                               100.0 * (double)space->disk_bytes / (double)bytes);
        }
        text_append_str(line, "\n");
    }
    text_append_str(line, "\n");
}

static bool space_one(void *ctx, const strata_keyspace_info *info)
{
    struct stats *stats = ctx;
    const char *only = stats->args->option[OPT_KEYSPACE];
    if (only != NULL && strcmp(only, info->name) != 0) {
        return true;
    }
    strata_keyspace *keyspace;
    strata_space space;
    stats->rc = strata_keyspace_open(stats->db, info->name, &keyspace);
    if (stats->rc == STRATA_OK) {
        stats->rc = strata_space_of(stats->db, keyspace, &space);
    }
    if (stats->rc != STRATA_OK) {
        return false;
    }
    if (args_has(stats->args, OPT_JSON)) {
        append_space_json(&stats->line, info->name, &space);
    } else {
        append_space(&stats->line, info->name, &space);
    }
    return out_text(&stats->line);
}

static void append_metric_json(struct text *line, const strata_metric *metric)
{
    text_append_str(line, "{\"name\":");
    text_append_json(line, strata_str(metric->name));
    text_append_format(line, ",\"value\":%llu,\"unit\":", (unsigned long long)metric->value);
    text_append_json(line, strata_str(metric->unit));
    text_append_format(line, ",\"kind\":\"%s\",\"help\":",
                       metric->kind == STRATA_METRIC_COUNTER ? "counter" : "gauge");
    text_append_json(line, strata_str(metric->help));
    text_append_str(line, "}\n");
}

static void print_metrics(struct stats *stats, const strata_metric *metrics, size_t count)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(metrics[i].name);
        width = length > width ? length : width;
    }
    bool going = true;
    for (size_t i = 0; going && i < count; i++) {
        if (args_has(stats->args, OPT_JSON)) {
            append_metric_json(&stats->line, &metrics[i]);
        } else {
            text_append_format(&stats->line, "%-*s %14llu %-6s %s\n", (int)width, metrics[i].name,
                               (unsigned long long)metrics[i].value, metrics[i].unit,
                               metrics[i].help);
        }
        going = out_text(&stats->line);
    }
}

static int print_all(struct stats *stats)
{
    strata_rc rc = strata_keyspace_list(stats->db, space_one, stats);
    rc = rc == STRATA_OK ? stats->rc : rc;
    size_t count = 0;
    if (rc == STRATA_OK) {
        rc = strata_stats(stats->db, NULL, 0, &count);
    }
    if (rc != STRATA_OK) {
        return out_end(cli_failed(rc));
    }
    strata_metric *metrics = calloc(count > 0 ? count : 1, sizeof *metrics);
    if (metrics == NULL) {
        return cli_problem(CLI_FAILED, "there is no memory for the list");
    }
    size_t capacity = count;
    rc = strata_stats(stats->db, metrics, capacity, &count);
    if (rc == STRATA_OK) {
        print_metrics(stats, metrics, count < capacity ? count : capacity);
    }
    free(metrics);
    return out_end(rc == STRATA_OK ? CLI_OK : cli_failed(rc));
}

int cmd_stats(const struct cli_args *args)
{
    struct session session;
    int code = session_open(&session, args, SESSION_READ);
    if (code != CLI_OK) {
        return code;
    }
    struct stats stats = {.args = args, .db = session.db};
    code = print_all(&stats);
    text_release(&stats.line);
    return session_close(&session, code);
}
