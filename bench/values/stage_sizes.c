// Which values are worth separating: loads, point reads and scans at five sizes of value, beside
// their keys and apart.
#include "values.h"

#include <stdlib.h>

#define GETS_MOST 20000u

struct size_result {
    struct load_result load;
    double overwrite_written; // a byte given
    double overwrite_seconds;
    double cold_get_us;
    double warm_get_us;
    double cold_scan_seconds;
    double warm_scan_seconds;
};

struct size_run {
    struct plan plan;
    struct size_result *result; // shared
};

static double time_gets(struct engine_db *db, const uint32_t *order, uint32_t count)
{
    double begun = wall_now();
    for (uint32_t i = 0; i < count; i++) {
        char key[KEY_BYTES];
        uint64_t stamp;
        size_t bytes;
        make_key(key, order[i]);
        if (!engine_strata.get(db, key, &stamp, &bytes) || stamp != order[i]) {
            die("a wrong value for %u", order[i]);
        }
    }
    return (wall_now() - begun) * 1e6 / count;
}

static double time_scan(const struct plan *plan, struct engine_db *db)
{
    double begun = wall_now();
    uint64_t sum;
    if (engine_strata.scan(db, NULL, UINT64_MAX, &sum) != plan->count ||
        sum != (uint64_t)plan->count * (plan->count - 1) / 2) {
        die("a scan has wrong values");
    }
    return wall_now() - begun;
}

// Once over everything again, in another order.
static void overwrite(const struct plan *plan, struct engine_db *db, struct size_result *result)
{
    char key[KEY_BYTES];
    char *value = malloc(plan->value_bytes);
    uint32_t *order = make_order(plan->count, 13);
    if (value == NULL) {
        die("out of memory");
    }
    struct disk_counters start = disk_counters_now(&plan->disk);
    double begun = wall_now();
    for (uint32_t i = 0; i < plan->count; i++) {
        make_key(key, order[i]);
        make_value(value, plan->value_bytes, order[i], 1);
        engine_strata.put(db, key, value, plan->value_bytes);
    }
    engine_strata.settle(db);
    engine_strata.sync(db);
    disk_sync(plan->dir);
    result->overwrite_seconds = wall_now() - begun;
    result->overwrite_written = (double)disk_counters_since(&plan->disk, &start).written_bytes /
                                ((double)plan->count * (double)(KEY_BYTES + plan->value_bytes));
    free(order);
    free(value);
}

static void size_one(void *ctx)
{
    const struct size_run *run = ctx;
    const struct plan *plan = &run->plan;
    struct size_result *result = run->result;
    char dir[4096];
    fresh_dir(plan, &engine_strata, dir, sizeof(dir));
    struct engine_db *db = engine_strata.open(dir, &plan->setup);
    load_run(plan, &engine_strata, db, dir, &result->load);
    engine_strata.close(db);
    disk_forget(dir);
    db = engine_strata.open(dir, &plan->setup);
    engine_strata.settle(db);
    uint32_t *order = make_order(plan->count, 11);
    uint32_t gets = plan->count / 4 < GETS_MOST ? plan->count / 4 : GETS_MOST;
    (void)time_gets(db, order, gets / 4); // indexes and filters are in memory then
    result->cold_get_us = time_gets(db, order + gets / 4, gets);
    disk_forget(dir);
    result->cold_scan_seconds = time_scan(plan, db);
    result->warm_scan_seconds = time_scan(plan, db);
    result->warm_get_us = time_gets(db, order, gets);
    overwrite(plan, db, result);
    engine_strata.close(db);
    free(order);
    disk_remove_dir(dir);
}

static void print_size(const struct size_run *run)
{
    const struct size_result *r = run->result;
    const struct plan *plan = &run->plan;
    double given = (double)plan->count * (double)(KEY_BYTES + plan->value_bytes);
    double values = (double)plan->count * (double)plan->value_bytes / MIB;
    printf("| %zu | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.1f | %.2f | %.0f | %.0f |\n",
           plan->value_bytes, plan->setup.separate_bytes > 0 ? "apart" : "beside keys",
           (double)r->load.written_bytes / given, r->load.idle_seconds, r->load.cpu_seconds,
           r->overwrite_written, r->overwrite_seconds, r->cold_get_us, r->warm_get_us,
           values / r->cold_scan_seconds, values / r->warm_scan_seconds);
    (void)fflush(stdout);
}

void stage_sizes(const struct plan *plan)
{
    static const size_t sizes[] = {512, 1024, 2048, 4096, 8192};
    printf("strata, %.2f GiB for each line in random order, memory a tenth of it, background "
           "threads 2, no compression, nothing of the past kept; an overwrite of everything at the "
           "end. Cold: nothing in the system's cache. Warm: what the memory does not hold is in "
           "the system's cache.\n\n",
           (double)plan->bytes / MIB / 1024);
    printf("| value, bytes | where | load: written, a byte given | load, s | load: CPU, s | "
           "overwrite: written, a byte given | overwrite, s | cold get, us | warm get, us | cold "
           "scan, MiB/s | warm scan, MiB/s "
           "|\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (int apart = 0; apart <= 1; apart++) {
            struct size_run run = {*plan, shared_memory(sizeof(struct size_result))};
            run.plan.value_bytes = sizes[i];
            run.plan.count = (uint32_t)(plan->bytes / (KEY_BYTES + sizes[i]));
            run.plan.setup.memory_bytes =
                plan->bytes / 10 > (16u << 20) ? plan->bytes / 10 : 16u << 20;
            run.plan.setup.write_buffer_bytes = run.plan.setup.memory_bytes / 8;
            run.plan.setup.separate_bytes = apart ? 64 : 0;
            run.plan.setup.present_only = true;
            note("sizes: %zu bytes, %s", sizes[i], apart ? "apart" : "beside keys");
            in_child(size_one, &run);
            print_size(&run);
        }
    }
}
