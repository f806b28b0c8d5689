// Loading from empty: how much the device writes for each byte that was given, and how long it
// takes, against what the device and one processor could do.
#include "values.h"

struct load {
    const struct plan *plan;
    const struct engine *engine;
    struct load_result *result; // shared
};

static void load_one(void *ctx)
{
    struct load *load = ctx;
    char dir[4096];
    fresh_dir(load->plan, load->engine, dir, sizeof(dir));
    struct engine_db *db = load->engine->open(dir, &load->plan->setup);
    load_run(load->plan, load->engine, db, dir, load->result);
    load->engine->close(db);
    disk_remove_dir(dir);
}

static void print_setup(const struct plan *plan, double speed, double noise)
{
    printf("%u keys of %d bytes with values of %zu bytes, half compressible, in random order into "
           "an empty database: %.2f GiB given. Acknowledged without a sync; then until background "
           "work is done and everything is synced.\n\n",
           plan->count, KEY_BYTES, plan->value_bytes, (double)plan->bytes / MIB / 1024);
    for (size_t i = 0; i < plan->engine_count; i++) {
        printf("- ");
        plan->engines[i]->describe(&plan->setup, stdout);
        printf("\n");
    }
    printf("\nThe device %s (%s) by itself: %.0f MiB/s of sequential direct writes, before the "
           "first engine. Others wrote %.2f MiB/s on it before the run.\n\n",
           plan->disk.name, plan->disk.directory, speed / MIB, noise / MIB);
}

void stage_load(const struct plan *plan)
{
    disk_sync(plan->dir);
    double noise = disk_noise(&plan->disk);
    double speed = disk_write_speed(plan->dir, plan->bytes / 4);
    print_setup(plan, speed, noise);
    printf(
        "| engine | device wrote, a byte given | the process wrote, a byte given | puts, s | idle "
        "and synced, s | at the device's speed, s | CPU, s | CPU a put, us | disk after, a byte "
        "given |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        struct load load = {plan, plan->engines[i], shared_memory(sizeof(struct load_result))};
        note("load: %s", plan->engines[i]->name);
        in_child(load_one, &load);
        const struct load_result *r = load.result;
        double given = (double)plan->count * (double)(KEY_BYTES + plan->value_bytes);
        printf("| %s | %.3f | %.3f | %.1f | %.1f | %.1f | %.1f | %.2f | %.3f |\n",
               plan->engines[i]->name, (double)r->written_bytes / given,
               (double)r->process_bytes / given, r->put_seconds, r->idle_seconds, given / speed,
               r->cpu_seconds, r->cpu_seconds * 1e6 / plan->count, (double)r->disk_bytes / given);
        (void)fflush(stdout);
    }
    speed = disk_write_speed(plan->dir, plan->bytes / 4);
    printf("\nAfterwards: %.0f MiB/s of sequential direct writes; others wrote %.2f MiB/s.\n",
           speed / MIB, disk_noise(&plan->disk) / MIB);
}
