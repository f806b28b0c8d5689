#include "report.h"

#include <inttypes.h>
#include <stdlib.h>

struct spread {
    double median, least, greatest;
};

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct spread spread_of(double *values, size_t count)
{
    qsort(values, count, sizeof(values[0]), compare_doubles);
    double middle = values[count / 2];
    if (count % 2 == 0) {
        middle = (middle + values[count / 2 - 1]) / 2;
    }
    return (struct spread){middle, values[0], values[count - 1]};
}

enum measure { MEASURE_WALL, MEASURE_CPU };

static double figure(const struct report *r, size_t rep, size_t peer, enum row row, enum measure m)
{
    const struct row_result *result = &r->blocks[rep][peer].rows[row];
    if (m == MEASURE_WALL) {
        return result->wall;
    }
    return row_infos[row].writes ? result->cpu_settled : result->cpu;
}

static struct spread spread_row(const struct report *r, size_t peer, enum row row, enum measure m)
{
    double values[REPORT_REPS_MAX];
    for (size_t rep = 0; rep < r->reps; rep++) {
        values[rep] = figure(r, rep, peer, row, m);
    }
    return spread_of(values, r->reps);
}

// How many times the first engine's figure a peer's is, within each repetition.
static struct spread spread_ratio(const struct report *r, size_t peer, enum row row, enum measure m)
{
    double values[REPORT_REPS_MAX];
    for (size_t rep = 0; rep < r->reps; rep++) {
        double own = figure(r, rep, 0, row, m);
        values[rep] = own > 0 ? figure(r, rep, peer, row, m) / own : 0;
    }
    return spread_of(values, r->reps);
}

static bool has_row(const struct report *r, enum row row)
{
    return r->blocks[0][0].rows[row].ops > 0;
}

static void print_table(const struct report *r, enum measure m, FILE *out)
{
    fprintf(out, "| %-22s |", "row");
    for (size_t p = 0; p < r->peer_count; p++) {
        fprintf(out, " %22s |", r->peers[p]->name);
    }
    for (size_t p = 1; p < r->peer_count; p++) {
        char title[64];
        (void)snprintf(title, sizeof(title), "%s : %s", r->peers[p]->name, r->peers[0]->name);
        fprintf(out, " %20s |", title);
    }
    fprintf(out, "\n|%.24s|", "----------------------------------------");
    for (size_t p = 0; p < r->peer_count; p++) {
        fprintf(out, "%.23s:|", "----------------------------------------");
    }
    for (size_t p = 1; p < r->peer_count; p++) {
        fprintf(out, "%.21s:|", "----------------------------------------");
    }
    fputc('\n', out);
    for (enum row row = 0; row < ROW_COUNT; row++) {
        if (!has_row(r, row)) {
            continue;
        }
        fprintf(out, "| %-22s |", row_infos[row].name);
        for (size_t p = 0; p < r->peer_count; p++) {
            struct spread s = spread_row(r, p, row, m);
            char text[64];
            (void)snprintf(text, sizeof(text), "%.0f (%.0f-%.0f)", s.median, s.least, s.greatest);
            fprintf(out, " %22s |", text);
        }
        for (size_t p = 1; p < r->peer_count; p++) {
            struct spread s = spread_ratio(r, p, row, m);
            char text[64];
            (void)snprintf(text, sizeof(text), "%.2f (%.2f-%.2f)", s.median, s.least, s.greatest);
            fprintf(out, " %20s |", text);
        }
        fputc('\n', out);
    }
}

static double median_of_block(const struct report *r, size_t peer, size_t offset)
{
    double values[REPORT_REPS_MAX];
    for (size_t rep = 0; rep < r->reps; rep++) {
        const char *block = (const char *)&r->blocks[rep][peer];
        values[rep] = *(const double *)(const void *)(block + offset);
    }
    return spread_of(values, r->reps).median;
}

static void print_sizes(const struct report *r, FILE *out)
{
    const double mib = 1024 * 1024;
    fprintf(out, "| engine   | disk after the random fill | anonymous memory after the reads | "
                 "greatest resident size |\n|---|---:|---:|---:|\n");
    for (size_t p = 0; p < r->peer_count; p++) {
        fprintf(out, "| %-8s | %.0f MiB | %.0f MiB | %.0f MiB |\n", r->peers[p]->name,
                median_of_block(r, p, offsetof(struct block_result, disk_bytes)) / mib,
                median_of_block(r, p, offsetof(struct block_result, anonymous_bytes)) / mib,
                median_of_block(r, p, offsetof(struct block_result, peak_bytes)) / mib);
    }
}

static void print_conditions(const struct report *r, FILE *out)
{
    double others[REPORT_REPS_MAX * REPORT_PEERS_MAX];
    size_t count = 0;
    for (size_t rep = 0; rep < r->reps; rep++) {
        for (size_t p = 0; p < r->peer_count; p++) {
            others[count++] = r->blocks[rep][p].others * 100;
        }
    }
    struct spread s = spread_of(others, count);
    fprintf(
        out,
        "%" PRIu64 " keys, %zu repetition%s, engines in turn. Other processes had %.0f %% of "
        "the machine (%.0f-%.0f %%) while a block ran; %u blocks were voided and run again, and "
        "%u of %zu stayed disturbed after the last of %lu tries%s. The machine before the first "
        "block and after the "
        "last: memcpy %.0f and %.0f ns a KiB, a dependent load in 64 MiB %.0f and %.0f ns, "
        "fdatasync %.0f and %.0f us. The driver's own key and value cost %.0f ns of each "
        "put.\n",
        r->keys, r->reps, r->reps == 1 ? "" : "s", s.median, s.least, s.greatest, r->voided,
        r->kept, count, r->tries, r->kept > 0 ? ", so these figures are provisional" : "",
        r->machine[0].copy_ns, r->machine[1].copy_ns, r->machine[0].load_ns, r->machine[1].load_ns,
        r->machine[0].sync_us, r->machine[1].sync_us, r->driver_ns);
}

void report_print(const struct report *r, FILE *out)
{
    for (size_t p = 0; p < r->peer_count; p++) {
        fputs("- ", out);
        r->peers[p]->describe(&r->setup, out);
        fputc('\n', out);
    }
    fputc('\n', out);
    print_conditions(r, out);
    fputs("\nWall time, ns an operation: median (least-greatest); then how many times strata's the "
          "peer's is, median of the pairs.\n\n",
          out);
    print_table(r, MEASURE_WALL, out);
    fputs("\nCPU time of the whole process, ns an operation; rows that write include the "
          "background work until it is done.\n\n",
          out);
    print_table(r, MEASURE_CPU, out);
    fputc('\n', out);
    print_sizes(r, out);
}

// ---------------------------------------------------------------------------------------------
// JSON

static void json_block(const struct block_result *b, FILE *out)
{
    fprintf(out,
            "{\"disk_bytes\": %.0f, \"anonymous_bytes\": %.0f, \"peak_bytes\": %.0f,"
            " \"others\": %.3f, \"rows\": {",
            b->disk_bytes, b->anonymous_bytes, b->peak_bytes, b->others);
    const char *comma = "";
    for (enum row row = 0; row < ROW_COUNT; row++) {
        if (b->rows[row].ops > 0) {
            fprintf(out,
                    "%s\"%s\": {\"ops\": %.0f, \"wall_ns\": %.1f, \"cpu_ns\": %.1f,"
                    " \"cpu_settled_ns\": %.1f}",
                    comma, row_infos[row].name, b->rows[row].ops, b->rows[row].wall,
                    b->rows[row].cpu, b->rows[row].cpu_settled);
            comma = ", ";
        }
    }
    fputs("}}", out);
}

void report_json(const struct report *r, FILE *out)
{
    fprintf(out, "{\"keys\": %" PRIu64 ", \"memory_bytes\": %" PRIu64 ", \"driver_ns\": %.1f,\n",
            r->keys, r->setup.memory_bytes, r->driver_ns);
    fputs(" \"machine\": [", out);
    for (size_t i = 0; i < 2; i++) {
        fprintf(out, "%s{\"copy_ns\": %.1f, \"load_ns\": %.1f, \"sync_us\": %.1f}",
                i == 0 ? "" : ", ", r->machine[i].copy_ns, r->machine[i].load_ns,
                r->machine[i].sync_us);
    }
    fprintf(out, "],\n \"voided\": %u, \"disturbed\": %u,\n \"engines\": {", r->voided, r->kept);
    for (size_t p = 0; p < r->peer_count; p++) {
        fprintf(out, "%s\n  \"%s\": {\"options\": \"", p == 0 ? "" : ",", r->peers[p]->name);
        r->peers[p]->describe(&r->setup, out);
        fputs("\", \"blocks\": [", out);
        for (size_t rep = 0; rep < r->reps; rep++) {
            fputs(rep == 0 ? "\n   " : ",\n   ", out);
            json_block(&r->blocks[rep][p], out);
        }
        fputs("]}", out);
    }
    fputs("}}\n", out);
}
