// Runs one workload against strata, RocksDB and LevelDB, and prints what each operation costs.
//
//   peers_bench --dir DIR [--keys N] [--memory MIB] [--reps N] [--tries N] [--engines A,B,C]
//               [--rows A,B] [--repeat N] [--state FILE] [--json FILE] [--table FILE]
//               [--perf-fifo FILE]
//
//   --dir DIR      databases are made and removed in DIR
//   --keys N       default 2,000,000
//   --memory MIB   for each engine: two write buffers of an eighth each, the rest cache; 512
//   --reps N       repetitions of each engine, in turn; default 3
//   --tries N      a block during which the machine was disturbed is run again; default 2
//   --engines ...  default strata,rocksdb,leveldb; the first is the one compared with
//   --rows ...     only these rows, by name
//   --repeat N     N times the reads; default 1
//   --state FILE   keeps finished blocks, so that an interrupted run goes on where it was
//   --json FILE    every figure of every block
//   --table FILE   the table, as on standard output
//   --perf-fifo    the control FIFO of `perf record --delay -1 --control fifo:FILE`: only the rows
//                  that were asked for are recorded
//
// A block is one engine, once: a process of its own that fills two fresh databases and reads them.
#include "measure.h"
#include "report.h"
#include "workload.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OTHERS_MAX 0.10    // share of the machine that other processes may have
#define MACHINE_MOVED 1.15 // calibration after a block over calibration before it, or the reverse

struct run_options {
    struct workload workload;
    unsigned long tries;
    const char *state_path;
    const char *json_path;
    const char *table_path;
};

static const struct peer *const all_peers[] = {&peer_strata, &peer_rocksdb, &peer_leveldb};

// ---------------------------------------------------------------------------------------------
// One block

static void run_in_child(const struct workload *w, struct block_result *result_out)
{
    int ends[2];
    if (pipe(ends) != 0) {
        die("pipe failed");
    }
    pid_t child = fork();
    if (child == 0) {
        struct block_result result;
        (void)close(ends[0]);
        workload_run(w, &result);
        bool told = write(ends[1], &result, sizeof(result)) == (ssize_t)sizeof(result);
        // Through exit(): the peers have things to do there.
        exit(told ? 0 : 1);
    }
    (void)close(ends[1]);
    bool whole =
        child > 0 && read(ends[0], result_out, sizeof(*result_out)) == (ssize_t)sizeof(*result_out);
    int status = 0;
    (void)close(ends[0]);
    (void)waitpid(child, &status, 0);
    if (!whole) {
        die("the process of %s failed with status %d", w->peer->name, status);
    }
}

static bool moved(double before, double after)
{
    return before > after * MACHINE_MOVED || after > before * MACHINE_MOVED;
}

// Runs a block and says whether it may be used.
static bool run_block(const struct workload *w, struct block_result *result_out)
{
    struct calibration before = measure_machine(w->dir);
    double wall = moment_now().wall;
    double machine = measure_machine_cpu();
    double own = measure_children_cpu();
    run_in_child(w, result_out);
    wall = moment_now().wall - wall;
    machine = measure_machine_cpu() - machine;
    own = measure_children_cpu() - own;
    struct calibration after = measure_machine(w->dir);
    double share = (machine - own) / (wall * (double)sysconf(_SC_NPROCESSORS_ONLN));
    result_out->others = share > 0 ? share : 0;
    return result_out->others <= OTHERS_MAX && !moved(before.copy_ns, after.copy_ns) &&
           !moved(before.load_ns, after.load_ns);
}

// ---------------------------------------------------------------------------------------------
// Blocks that an earlier, interrupted run has finished

struct state_record {
    uint64_t keys, memory_bytes;
    uint32_t rows, rep;
    char peer[16];
    struct block_result result;
};

static struct state_record state_of(const struct workload *w, size_t rep)
{
    struct state_record record;
    memset(&record, 0, sizeof(record));
    record.keys = w->keys;
    record.memory_bytes = w->setup.memory_bytes;
    record.rows = w->rows;
    record.rep = (uint32_t)rep;
    (void)snprintf(record.peer, sizeof(record.peer), "%s", w->peer->name);
    return record;
}

static bool state_find(const char *path, const struct workload *w, size_t rep,
                       struct block_result *result_out)
{
    struct state_record wanted = state_of(w, rep);
    struct state_record record;
    bool found = false;
    FILE *file = path != NULL ? fopen(path, "rb") : NULL;
    while (file != NULL && !found && fread(&record, sizeof(record), 1, file) == 1) {
        found = memcmp(&record, &wanted, offsetof(struct state_record, result)) == 0;
    }
    if (found) {
        *result_out = record.result;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return found;
}

static void state_add(const char *path, const struct workload *w, size_t rep,
                      const struct block_result *result)
{
    if (path == NULL) {
        return;
    }
    struct state_record record = state_of(w, rep);
    record.result = *result;
    FILE *file = fopen(path, "ab");
    if (file == NULL || fwrite(&record, sizeof(record), 1, file) != 1 || fclose(file) != 0) {
        die("cannot write %s", path);
    }
}

// ---------------------------------------------------------------------------------------------
// The run

static void run_all(struct run_options *options, struct report *r)
{
    struct workload *w = &options->workload;
    r->machine[0] = measure_machine(w->dir);
    for (size_t rep = 0; rep < r->reps; rep++) {
        for (size_t p = 0; p < r->peer_count; p++) {
            struct block_result *block = &r->blocks[rep][p];
            w->peer = r->peers[p];
            if (state_find(options->state_path, w, rep, block)) {
                fprintf(stderr, "repetition %zu, %s: done before\n", rep + 1, w->peer->name);
                r->kept += block->disturbed;
                continue;
            }
            bool quiet = false;
            double start = moment_now().wall;
            for (unsigned long i = 0; i < options->tries && !quiet; i++) {
                struct block_result tried;
                quiet = run_block(w, &tried);
                // A quiet block stands, whatever the shares were.
                if (i == 0 || quiet || tried.others < block->others) {
                    *block = tried;
                }
                r->voided += !quiet && i + 1 < options->tries;
            }
            block->disturbed = !quiet;
            r->kept += !quiet;
            state_add(options->state_path, w, rep, block);
            fprintf(stderr, "repetition %zu, %s: %.0f s, others %.0f %%%s\n", rep + 1,
                    w->peer->name, moment_now().wall - start, block->others * 100,
                    quiet ? "" : ", disturbed");
        }
    }
    r->machine[1] = measure_machine(w->dir);
}

static void write_file(const char *path, const struct report *r,
                       void (*print)(const struct report *r, FILE *out))
{
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file != NULL) {
        print(r, file);
    }
    if (path != NULL && (file == NULL || fclose(file) != 0)) {
        die("cannot write %s", path);
    }
}

// ---------------------------------------------------------------------------------------------
// Arguments

static void parse_engines(char *list, struct report *r)
{
    r->peer_count = 0;
    for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
        const struct peer *found = NULL;
        for (size_t i = 0; i < sizeof(all_peers) / sizeof(all_peers[0]); i++) {
            found = strcmp(name, all_peers[i]->name) == 0 ? all_peers[i] : found;
        }
        if (found == NULL || r->peer_count == REPORT_PEERS_MAX) {
            die("no engine is named %s", name);
        }
        r->peers[r->peer_count++] = found;
    }
}

static uint32_t parse_rows(char *list)
{
    uint32_t rows = 0;
    for (char *name = strtok(list, ","); name != NULL; name = strtok(NULL, ",")) {
        uint32_t found = 0;
        for (unsigned row = 0; row < ROW_COUNT; row++) {
            // A comma in a name is not typed.
            char plain[64];
            size_t n = 0;
            for (const char *c = row_infos[row].name; *c != '\0'; c++) {
                if (*c != ',') {
                    plain[n++] = *c;
                }
            }
            plain[n] = '\0';
            found |= strcmp(name, plain) == 0 ? 1u << row : 0;
        }
        if (found == 0) {
            die("no row is named %s", name);
        }
        rows |= found;
    }
    return rows;
}

static unsigned long parse_number(const char *text, unsigned long least, unsigned long greatest)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end != '\0' || value < least || value > greatest) {
        die("%s is not a number from %lu to %lu", text, least, greatest);
    }
    return value;
}

static void parse(int argc, char **argv, struct run_options *options, struct report *r)
{
    static const struct option names[] = {
        {"dir", 1, NULL, 'd'},  {"keys", 1, NULL, 'k'},   {"memory", 1, NULL, 'm'},
        {"reps", 1, NULL, 'r'}, {"tries", 1, NULL, 't'},  {"engines", 1, NULL, 'e'},
        {"rows", 1, NULL, 'w'}, {"repeat", 1, NULL, 'n'}, {"state", 1, NULL, 's'},
        {"json", 1, NULL, 'j'}, {"table", 1, NULL, 'o'},  {"perf-fifo", 1, NULL, 'p'},
        {NULL, 0, NULL, 0},
    };
    struct workload *w = &options->workload;
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        switch (c) {
        case 'd':
            w->dir = optarg;
            break;
        case 'k':
            w->keys = parse_number(optarg, 1000, 400000000);
            break;
        case 'm':
            w->setup.memory_bytes = (uint64_t)parse_number(optarg, 8, 1 << 20) << 20;
            break;
        case 'r':
            r->reps = parse_number(optarg, 1, REPORT_REPS_MAX);
            break;
        case 't':
            options->tries = parse_number(optarg, 1, 100);
            break;
        case 'e':
            parse_engines(optarg, r);
            break;
        case 'w':
            w->rows = parse_rows(optarg);
            break;
        case 'n':
            w->repeat = parse_number(optarg, 1, 10000);
            break;
        case 's':
            options->state_path = optarg;
            break;
        case 'j':
            options->json_path = optarg;
            break;
        case 'o':
            options->table_path = optarg;
            break;
        case 'p':
            w->perf_fifo = optarg;
            break;
        default:
            exit(2);
        }
    }
    if (optind != argc || w->dir == NULL) {
        die("usage: peers_bench --dir DIR [options]; they are explained in the source");
    }
    w->setup.write_buffer_bytes = w->setup.memory_bytes / 8;
}

int main(int argc, char **argv)
{
    static struct report report = {
        .peers = {&peer_strata, &peer_rocksdb, &peer_leveldb}, .peer_count = 3, .reps = 3};
    struct run_options options = {
        .workload = {.keys = 2000000,
                     .rows = (1u << ROW_COUNT) - 1,
                     .repeat = 1,
                     .setup = {.memory_bytes = (uint64_t)512 << 20,
                               .background_threads = 2,
                               .filter_bits = 10,
                               .block_bytes = 4096}},
        .tries = 2,
    };
    parse(argc, argv, &options, &report);
    report.keys = options.workload.keys;
    report.setup = options.workload.setup;
    report.tries = options.tries;
    if (mkdir(options.workload.dir, 0700) != 0 && access(options.workload.dir, W_OK) != 0) {
        die("cannot write in %s", options.workload.dir);
    }
    report.driver_ns = workload_driver_ns(options.workload.keys);
    run_all(&options, &report);
    report_print(&report, stdout);
    write_file(options.table_path, &report, report_print);
    write_file(options.json_path, &report, report_json);
    return 0;
}
