// strata stats: every counter and gauge with its unit and what it means.
#include "tools/commands.h"

#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_session.h"

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

static int print_metrics(const struct cli_args *args, const strata_metric *metrics, size_t count)
{
    size_t width = 0;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(metrics[i].name);
        width = length > width ? length : width;
    }
    struct text line = {0};
    bool going = true;
    for (size_t i = 0; going && i < count; i++) {
        if (args_has(args, OPT_JSON)) {
            append_metric_json(&line, &metrics[i]);
        } else {
            text_append_format(&line, "%-*s %14llu %-6s %s\n", (int)width, metrics[i].name,
                               (unsigned long long)metrics[i].value, metrics[i].unit,
                               metrics[i].help);
        }
        going = out_text(&line);
    }
    text_release(&line);
    return out_end(CLI_OK);
}

int cmd_stats(const struct cli_args *args)
{
    struct session session;
    int code = session_open(&session, args, SESSION_READ);
    if (code != CLI_OK) {
        return code;
    }
    size_t count = 0;
    strata_rc rc = strata_stats(session.db, NULL, 0, &count);
    strata_metric *metrics = calloc(count > 0 ? count : 1, sizeof *metrics);
    if (metrics == NULL) {
        return session_close(&session, cli_problem(CLI_FAILED, "there is no memory for the list"));
    }
    size_t capacity = count;
    if (rc == STRATA_OK) {
        rc = strata_stats(session.db, metrics, capacity, &count);
    }
    count = count < capacity ? count : capacity;
    code = rc == STRATA_OK ? print_metrics(args, metrics, count) : cli_failed(rc);
    free(metrics);
    return session_close(&session, code);
}
