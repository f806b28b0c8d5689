// Overwriting everything three times, with nothing kept of the past: is the disk use ever over its
// bound, and how long does a write wait? No call of maintenance is made.
//
// Two threads stand beside the writer: one adds up the directory's blocks every 100 ms, one writes
// and syncs a page of another file and says how long that took. Where that took more than 20 ms the
// device itself was held up: writes that overlap such a window are counted apart.
#include "values.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 3
#define SAMPLE_SECONDS 0.1
#define PROBE_SECONDS 0.01
#define PROBE_SLOW_NS 20000000u
#define WINDOWS_MAX 65536
#define BOUND_PERCENT 150
#define OVER_NOTED 5

struct window {
    uint64_t begin;
    uint64_t end;
};

struct latency {
    uint64_t begin_ns;
    uint32_t ns; // capped
    bool voided;
};

struct samples {
    uint64_t count;
    uint64_t over;        // the bound that is computed here
    uint64_t over_engine; // the bound that the engine says
    double worst;         // disk over bound
    double worst_share;   // disk over live
    uint64_t disk_most;
};

struct bound_result {
    struct samples samples;
    double seconds;
    double idle_seconds;
    uint64_t voided;
    uint64_t windows;
    double voided_seconds;
    double all_ms[5]; // p50 p99 p99.9 p99.99 greatest
    double kept_ms[5];
    uint64_t disk_idle;
    uint64_t written_bytes;
};

struct bound {
    const struct plan *plan;
    const struct engine *engine;
    struct bound_result *result; // shared
    char dir[4096];
    struct engine_db *db;
    _Atomic uint64_t live; // bytes of keys and values of the present
    _Atomic bool stopping;
    struct window windows[WINDOWS_MAX];
    uint32_t window_count;
    struct latency *latencies;
    uint64_t latency_count;
};

static void *sample_thread(void *ctx)
{
    struct bound *bound = ctx;
    struct samples *s = &bound->result->samples;
    while (!atomic_load(&bound->stopping)) {
        // What is live only grows, and is loaded first: the bound is never too generous.
        uint64_t live = atomic_load(&bound->live);
        struct disk_use use = disk_use_of(bound->dir);
        struct engine_space said = bound->engine->space(bound->db);
        uint64_t limit =
            live / 100 * BOUND_PERCENT + use.log_bytes + bound->plan->setup.write_buffer_bytes;
        s->count++;
        if (use.bytes > limit && s->over++ < OVER_NOTED) {
            note("bound: %s: %.1f MiB on disk (%.1f of log, %.1f of values), live %.1f, bound %.1f",
                 bound->engine->name, (double)use.bytes / MIB, (double)use.log_bytes / MIB,
                 (double)use.value_bytes / MIB, (double)live / MIB, (double)limit / MIB);
        }
        s->over_engine += said.bound_bytes > 0 && said.disk_bytes > said.bound_bytes;
        double share = (double)use.bytes / (double)limit;
        s->worst = share > s->worst ? share : s->worst;
        double of_live = live > 0 ? (double)(use.bytes - use.log_bytes) / (double)live : 0;
        if (live > bound->plan->bytes / 2 && of_live > s->worst_share) {
            s->worst_share = of_live;
        }
        s->disk_most = use.bytes > s->disk_most ? use.bytes : s->disk_most;
        sleep_seconds(SAMPLE_SECONDS);
    }
    return NULL;
}

static void *probe_thread(void *ctx)
{
    struct bound *bound = ctx;
    char path[4200];
    char page[4096];
    memset(page, 1, sizeof(page));
    (void)snprintf(path, sizeof(path), "%s/probe.tmp", bound->plan->dir);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file < 0 || pwrite(file, page, sizeof(page), 0) != sizeof(page) || fsync(file) != 0) {
        die("cannot write %s", path);
    }
    while (!atomic_load(&bound->stopping)) {
        uint64_t begin = wall_ns();
        if (pwrite(file, page, sizeof(page), 0) != sizeof(page) || fdatasync(file) != 0) {
            die("cannot write %s", path);
        }
        uint64_t end = wall_ns();
        if (end - begin > PROBE_SLOW_NS && bound->window_count < WINDOWS_MAX) {
            bound->windows[bound->window_count++] = (struct window){begin, end};
        }
        sleep_seconds(PROBE_SECONDS);
    }
    (void)close(file);
    (void)unlink(path);
    return NULL;
}

static void overwrite(struct bound *bound)
{
    const struct plan *plan = bound->plan;
    char key[KEY_BYTES];
    char *value = malloc(plan->value_bytes);
    if (value == NULL) {
        die("out of memory");
    }
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint32_t *order = make_order(plan->count, 100 + round);
        for (uint32_t i = 0; i < plan->count; i++) {
            make_key(key, order[i]);
            make_value(value, plan->value_bytes, order[i], round);
            uint64_t begin = wall_ns();
            bound->engine->put(bound->db, key, value, plan->value_bytes);
            uint64_t ns = wall_ns() - begin;
            bound->latencies[bound->latency_count++] =
                (struct latency){begin, ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX, false};
        }
        free(order);
        note("bound: %s: round %llu of %d done", bound->engine->name, (unsigned long long)round,
             ROUNDS);
    }
    free(value);
}

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = ((const struct latency *)a)->ns;
    uint32_t y = ((const struct latency *)b)->ns;
    return (x > y) - (x < y);
}

// Both are in the order of time; a slow probe spans any number of writes.
static void mark_voided(struct bound *bound)
{
    uint32_t at = 0;
    for (uint64_t i = 0; i < bound->latency_count; i++) {
        struct latency *l = &bound->latencies[i];
        while (at < bound->window_count && bound->windows[at].end < l->begin_ns) {
            at++;
        }
        l->voided = at < bound->window_count && bound->windows[at].begin <= l->begin_ns + l->ns;
        bound->result->voided += l->voided;
    }
    bound->result->windows = bound->window_count;
    for (uint32_t i = 0; i < bound->window_count; i++) {
        bound->result->voided_seconds +=
            (double)(bound->windows[i].end - bound->windows[i].begin) / 1e9;
    }
}

static void percentiles(const struct latency *sorted, uint64_t count, double ms_out[5])
{
    static const double shares[] = {0.5, 0.99, 0.999, 0.9999, 1};
    for (size_t i = 0; i < 5 && count > 0; i++) {
        uint64_t at = (uint64_t)(shares[i] * (double)count);
        ms_out[i] = (double)sorted[at < count ? at : count - 1].ns / 1e6;
    }
}

static void sum_up(struct bound *bound)
{
    mark_voided(bound);
    qsort(bound->latencies, bound->latency_count, sizeof(*bound->latencies), compare_latencies);
    percentiles(bound->latencies, bound->latency_count, bound->result->all_ms);
    uint64_t kept = 0;
    for (uint64_t i = 0; i < bound->latency_count; i++) {
        if (!bound->latencies[i].voided) {
            bound->latencies[kept++] = bound->latencies[i];
        }
    }
    percentiles(bound->latencies, kept, bound->result->kept_ms);
}

static void fill(struct bound *bound)
{
    const struct plan *plan = bound->plan;
    char key[KEY_BYTES];
    char *value = malloc(plan->value_bytes);
    uint32_t *order = make_order(plan->count, 7);
    if (value == NULL) {
        die("out of memory");
    }
    for (uint32_t i = 0; i < plan->count; i++) {
        make_key(key, order[i]);
        make_value(value, plan->value_bytes, order[i], 0);
        bound->engine->put(bound->db, key, value, plan->value_bytes);
        atomic_fetch_add(&bound->live, KEY_BYTES + plan->value_bytes);
    }
    free(order);
    free(value);
}

static void bound_one(void *ctx)
{
    struct bound *bound = ctx;
    const struct plan *plan = bound->plan;
    struct bound_result *result = bound->result;
    struct engine_setup setup = plan->setup;
    setup.present_only = true;
    fresh_dir(plan, bound->engine, bound->dir, sizeof(bound->dir));
    bound->db = bound->engine->open(bound->dir, &setup);
    bound->latencies = malloc((size_t)plan->count * ROUNDS * sizeof(*bound->latencies));
    pthread_t sampler;
    pthread_t probe;
    if (bound->latencies == NULL || pthread_create(&sampler, NULL, sample_thread, bound) != 0) {
        die("out of memory");
    }
    fill(bound);
    if (pthread_create(&probe, NULL, probe_thread, bound) != 0) {
        die("no thread");
    }
    struct disk_counters start = disk_counters_now(&plan->disk);
    double begun = wall_now();
    overwrite(bound);
    result->seconds = wall_now() - begun;
    bound->engine->settle(bound->db);
    bound->engine->sync(bound->db);
    result->idle_seconds = wall_now() - begun;
    atomic_store(&bound->stopping, true);
    (void)pthread_join(sampler, NULL);
    (void)pthread_join(probe, NULL);
    disk_sync(plan->dir);
    result->written_bytes = disk_counters_since(&plan->disk, &start).written_bytes;
    result->disk_idle = disk_use_of(bound->dir).bytes;
    sum_up(bound);
    bound->engine->close(bound->db);
    free(bound->latencies);
    disk_remove_dir(bound->dir);
}

static void print_latencies(const char *name, const char *which, const double ms[5])
{
    printf("| %s, %s | %.3f | %.2f | %.2f | %.1f | %.1f |\n", name, which, ms[0], ms[1], ms[2],
           ms[3], ms[4]);
}

static void print_results(const struct plan *plan, const struct bound_result *const results[])
{
    double given = (double)plan->count * (double)(KEY_BYTES + plan->value_bytes);
    printf("| engine | samples | over the bound | most, of the bound | most without logs, of what "
           "is live | over the bound it states itself | overwriting, s | idle and synced, s | "
           "device wrote, a byte given | disk when idle, of what is live |\n"
           "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        const struct bound_result *r = results[i];
        printf("| %s | %llu | %llu | %.3f | %.3f | %llu | %.1f | %.1f | %.3f | %.3f |\n",
               plan->engines[i]->name, (unsigned long long)r->samples.count,
               (unsigned long long)r->samples.over, r->samples.worst, r->samples.worst_share,
               (unsigned long long)r->samples.over_engine, r->seconds, r->idle_seconds,
               (double)r->written_bytes / given / ROUNDS, (double)r->disk_idle / given);
    }
    printf("\n| a write, ms | p50 | p99 | p99.9 | p99.99 | greatest |\n"
           "|---|---:|---:|---:|---:|---:|\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        print_latencies(plan->engines[i]->name, "all", results[i]->all_ms);
        print_latencies(plan->engines[i]->name, "voided windows left out", results[i]->kept_ms);
    }
    printf("\n");
    for (size_t i = 0; i < plan->engine_count; i++) {
        const struct bound_result *r = results[i];
        printf("- %s: %llu windows voided, %.1f s of %.1f s, with %llu of %llu writes\n",
               plan->engines[i]->name, (unsigned long long)r->windows, r->voided_seconds,
               r->idle_seconds, (unsigned long long)r->voided,
               (unsigned long long)plan->count * ROUNDS);
    }
}

void stage_bound(const struct plan *plan)
{
    const struct bound_result *results[ENGINES_MAX];
    for (size_t i = 0; i < plan->engine_count; i++) {
        struct bound *bound = calloc(1, sizeof(*bound));
        if (bound == NULL) {
            die("out of memory");
        }
        bound->plan = plan;
        bound->engine = plan->engines[i];
        bound->result = shared_memory(sizeof(*bound->result));
        results[i] = bound->result;
        note("bound: %s", plan->engines[i]->name);
        in_child(bound_one, bound);
        free(bound);
    }
    printf("%.2f GiB as above, overwritten %d times in random order as fast as one thread can, "
           "nothing of the past kept, no call of maintenance. Every 100 ms the disk use (blocks of "
           "the directory's files) against %d %% of what is live, plus log files, plus a write "
           "buffer of %.0f MiB. A window is voided when a bare 4 KiB pwrite and fdatasync on "
           "another file took over 20 ms.\n\n",
           (double)plan->bytes / MIB / 1024, ROUNDS, BOUND_PERCENT,
           (double)plan->setup.write_buffer_bytes / MIB);
    print_results(plan, results);
}
