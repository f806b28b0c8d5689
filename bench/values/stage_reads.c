// Point reads of a database ten times the memory, and scans, with nothing of it in the system's
// cache: how many requests the device gets, and how fast a scan is against the device's own reads.
#include "values.h"

#include <stdlib.h>

#define GETS_MOST 100000u
#define SCAN_BYTES_MOST (1ull << 30)

struct gets_result {
    uint64_t gets;
    double seconds;
    struct disk_counters disk;
    uint64_t process_bytes; // that the process had read
};

struct scan_result {
    uint64_t entries;
    double seconds;
    double cpu_seconds;
    struct disk_counters disk;
};

struct reads_result {
    struct gets_result first; // with an empty cache
    struct gets_result later;
    struct scan_result scan;
    bool gathered;
    struct scan_result scan_gathered;
};

struct reads {
    const struct plan *plan;
    const struct engine *engine;
    struct reads_result *result; // shared
};

static void run_gets(const struct reads *reads, struct engine_db *db, const uint32_t *order,
                     uint32_t count, struct gets_result *result_out)
{
    const struct plan *plan = reads->plan;
    struct disk_counters start = disk_counters_now(&plan->disk);
    uint64_t process = disk_process_read();
    double begun = wall_now();
    for (uint32_t i = 0; i < count; i++) {
        char key[KEY_BYTES];
        uint64_t stamp;
        size_t bytes;
        make_key(key, order[i]);
        if (!reads->engine->get(db, key, &stamp, &bytes) || stamp != order[i] ||
            bytes != plan->value_bytes) {
            die("%s: a wrong value for %u", reads->engine->name, order[i]);
        }
    }
    *result_out =
        (struct gets_result){count, wall_now() - begun, disk_counters_since(&plan->disk, &start),
                             disk_process_read() - process};
}

static void run_scan(const struct reads *reads, struct engine_db *db,
                     struct scan_result *result_out)
{
    const struct plan *plan = reads->plan;
    uint64_t limit = SCAN_BYTES_MOST / plan->value_bytes;
    limit = limit < plan->count ? limit : plan->count;
    struct disk_counters start = disk_counters_now(&plan->disk);
    double begun = wall_now();
    double cpu = cpu_now();
    uint64_t sum;
    uint64_t entries = reads->engine->scan(db, NULL, limit, &sum);
    *result_out = (struct scan_result){entries, wall_now() - begun, cpu_now() - cpu,
                                       disk_counters_since(&plan->disk, &start)};
    if (entries != limit || sum != limit * (limit - 1) / 2) {
        die("%s: a scan has wrong values", reads->engine->name);
    }
}

static void reads_one(void *ctx)
{
    const struct reads *reads = ctx;
    const struct plan *plan = reads->plan;
    const struct engine *engine = reads->engine;
    struct reads_result *result = reads->result;
    char dir[4096];
    struct load_result load;
    fresh_dir(plan, engine, dir, sizeof(dir));
    struct engine_db *db = engine->open(dir, &plan->setup);
    load_run(plan, engine, db, dir, &load);
    engine->close(db);
    disk_forget(dir);
    db = engine->open(dir, &plan->setup);
    engine->settle(db);
    uint32_t *order = make_order(plan->count, 11);
    uint32_t gets = plan->count / 4 < GETS_MOST ? plan->count / 4 : GETS_MOST;
    run_gets(reads, db, order, gets / 2, &result->first);
    run_gets(reads, db, order + gets / 2, gets, &result->later);
    disk_forget(dir);
    run_scan(reads, db, &result->scan);
    if (engine->gather != NULL) {
        engine->gather(db);
        engine->settle(db);
        engine->sync(db);
        disk_forget(dir);
        run_scan(reads, db, &result->scan_gathered);
        result->gathered = true;
    }
    engine->close(db);
    free(order);
    disk_remove_dir(dir);
}

static void print_gets(const char *name, const char *when, const struct gets_result *g)
{
    double gets = (double)g->gets;
    double requests = (double)g->disk.reads;
    printf("| %s, %s | %.0f | %.3f | %.2f | %.2f | %.2f | %.1f |\n", name, when, gets,
           requests / gets, requests > 0 ? (double)g->disk.read_bytes / requests / 1024 : 0,
           (double)g->disk.read_bytes / gets / 1024, (double)g->process_bytes / gets / 1024,
           g->seconds * 1e6 / gets);
}

static void print_scan(const struct plan *plan, const char *name, const char *when,
                       const struct scan_result *s, double device)
{
    double values = (double)s->entries * (double)plan->value_bytes;
    double speed = values / s->seconds;
    printf("| %s, %s | %.0f | %.2f | %.2f | %.1f | %.3f | %.2f |\n", name, when, speed / MIB,
           speed / device, s->cpu_seconds / s->seconds,
           s->disk.reads > 0 ? (double)s->disk.read_bytes / (double)s->disk.reads / 1024 : 0,
           (double)s->disk.reads / (double)s->entries, (double)s->disk.read_bytes / values);
}

static void print_results(const struct plan *plan, const struct reads_result *const results[])
{
    printf("%.2f GiB as above, every engine with %.0f MiB of memory, opened anew with nothing in "
           "the system's cache; no key is asked for twice.\n\n",
           (double)plan->bytes / MIB / 1024, (double)plan->setup.memory_bytes / MIB);
    printf("| point reads | gets | requests a get | KiB a request | KiB a get | of these by the "
           "process | us a get |\n|---|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        print_gets(plan->engines[i]->name, "from an empty cache on", &results[i]->first);
        print_gets(plan->engines[i]->name, "after those", &results[i]->later);
    }
    note("reads: the device by itself");
    fio_lay_out(plan, plan->bytes < (2ull << 30) ? plan->bytes : 2ull << 30);
    double random = fio_read(plan, false, plan->value_bytes, plan->depth);
    double random_one = fio_read(plan, false, plan->value_bytes, 1);
    double sequential = fio_read(plan, true, 1u << 20, 4);
    fio_remove(plan);
    printf("\nThe device by itself (fio, direct I/O): random reads of %zu bytes %.0f MiB/s with %u "
           "in flight, %.0f MiB/s one by one (%.0f us each); sequential reads %.0f MiB/s.\n\n",
           plan->value_bytes, random / MIB, plan->depth, random_one / MIB,
           (double)plan->value_bytes / random_one * 1e6, sequential / MIB);
    printf("| cold scans | MiB/s of values | of the device | processors used | KiB a request | "
           "requests a value | read, a byte of value |\n|---|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        print_scan(plan, plan->engines[i]->name, "against random reads", &results[i]->scan, random);
        if (results[i]->gathered) {
            print_scan(plan, plan->engines[i]->name,
                       "after strata_compact_values, against sequential reads",
                       &results[i]->scan_gathered, sequential);
        }
    }
}

void stage_reads(const struct plan *plan)
{
    const struct reads_result *results[ENGINES_MAX];
    for (size_t i = 0; i < plan->engine_count; i++) {
        struct reads reads = {plan, plan->engines[i], shared_memory(sizeof(struct reads_result))};
        results[i] = reads.result;
        note("reads: %s", plan->engines[i]->name);
        in_child(reads_one, &reads);
    }
    print_results(plan, results);
}
