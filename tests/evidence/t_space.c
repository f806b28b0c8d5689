// Disk space stays under its bound, without a call that asks for it: values, separated or beside
// their keys, are loaded and overwritten three times, evenly and with a few keys taking most of it,
// with retention none, while a second thread adds up the sizes of the files in the directory. The
// bound is computed from what the program itself knows to be live. Then everything is deleted; a
// range of separated values is deleted without being read; and a scan crosses a sea of deletes.
//
//   t_space [--count N]    N MiB of values; 48
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define MEMTABLE_BYTES MIB
#define BOUND_PERCENT 150u
#define LEAST_LIVE (8 * MIB)
#define KEY_BYTES 16u
#define OVERWRITES 3u
#define SAMPLE_NS 20000000
#define CROSSING_SECONDS 0.0005 // thread time
#define SETTLING_MOST 10u       // looks, a second apart
#define SEA 10000000u           // adjacent deletes
#define CROSSINGS 5u

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

// ---- what the directory holds

struct disk {
    uint64_t log, other; // bytes
};

static bool ends_with(const char *name, const char *end)
{
    size_t bytes = strlen(name);
    size_t end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(name + bytes - end_bytes, end) == 0;
}

static struct disk disk_of(const char *path)
{
    struct disk d = {0, 0};
    DIR *dir = opendir(path);
    EVIDENCE(dir != NULL, "cannot list %s", path);
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        char file[512];
        struct stat s;
        snprintf(file, sizeof file, "%s/%s", path, e->d_name);
        // A file may leave meanwhile.
        if (stat(file, &s) == 0 && S_ISREG(s.st_mode)) {
            *(ends_with(e->d_name, ".log") ? &d.log : &d.other) += (uint64_t)s.st_size;
        }
    }
    closedir(dir);
    return d;
}

struct sampler {
    const char *path;
    _Atomic uint64_t live; // bytes of keys and values
    _Atomic bool stop;
    uint64_t samples;
    double worst; // disk over bound
    uint64_t worst_disk, worst_bound;
    pthread_t thread;
};

static uint64_t bound_of(uint64_t live)
{
    return live * BOUND_PERCENT / 100 + MEMTABLE_BYTES;
}

// A listing is no moment: files come and leave while it is made, so that one which is over the
// bound is made again. Nothing is asked of less than LEAST_LIVE: tables of a MiB, in the making and
// on their way out, are most of that.
static void sample(struct sampler *s)
{
    double ratio = 2;
    struct disk d = {0, 0};
    uint64_t bound = 1;
    if (atomic_load(&s->live) < LEAST_LIVE) {
        return;
    }
    for (int tries = 0; tries < 3 && ratio > 1; tries++) {
        d = disk_of(s->path);
        bound = bound_of(atomic_load(&s->live));
        ratio = (double)d.other / (double)bound;
    }
    if (ratio > s->worst) {
        s->worst = ratio;
        s->worst_disk = d.other;
        s->worst_bound = bound;
    }
    s->samples++;
    evidence_cases++;
}

static void *sampler_run(void *ctx)
{
    struct sampler *s = ctx;
    const struct timespec pause = {.tv_nsec = SAMPLE_NS};
    while (!atomic_load(&s->stop)) {
        sample(s);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

// ---- the load

struct load {
    const char *name;
    bool separated, skewed;
    uint32_t value_bytes;
    strata_retention retention;
};

struct run {
    const struct load *load;
    strata_db *db;
    char *path;
    struct prng random;
    uint64_t keys;
    uint8_t *value;
    struct sampler sampler;
    uint64_t *latencies;
    uint64_t writes;
};

static void set_up(struct run *r, const struct load *load, uint64_t bytes)
{
    strata_options o = STRATA_OPTIONS_INIT;
    *r = (struct run){.load = load, .path = scratch_new(NULL), .random = {.state = 7}};
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 32 * MIB;
    o.memtable_bytes = MEMTABLE_BYTES;
    o.keyspace.retention = load->retention;
    o.keyspace.space_bound_percent = BOUND_PERCENT;
    o.keyspace.compression = STRATA_COMPRESSION_NONE;
    o.keyspace.separation = load->separated ? STRATA_SEPARATION_ON : STRATA_SEPARATION_OFF;
    MUST(strata_open(r->path, &o, &r->db));
    r->keys = bytes / load->value_bytes;
    r->value = test_alloc(load->value_bytes, 1);
    r->latencies = test_alloc(r->keys * (OVERWRITES + 1), sizeof *r->latencies);
    for (uint32_t i = 0; i < load->value_bytes; i++) {
        r->value[i] = (uint8_t)prng_next(&r->random); // of which the first bytes change
    }
}

static void tear_down(struct run *r)
{
    MUST(strata_check(r->db));
    MUST(strata_close(r->db));
    strata_verify_report report;
    MUST(strata_verify(r->path, NULL, NULL, &report));
    scratch_remove(r->path);
    free(r->value);
    free(r->latencies);
}

static strata_slice key_of(char *to, uint64_t i)
{
    char text[32];
    snprintf(text, sizeof text, "key-%012llu", (unsigned long long)i);
    memcpy(to, text, KEY_BYTES);
    return (strata_slice){to, KEY_BYTES};
}

static void put(struct run *r, uint64_t i)
{
    char key[KEY_BYTES];
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    uint64_t stamp = prng_next(&r->random);
    memcpy(r->value, &stamp, sizeof stamp);
    uint64_t began = now_ns();
    MUST(strata_put(r->db, &how, key_of(key, i), (strata_slice){r->value, r->load->value_bytes}));
    r->latencies[r->writes++] = now_ns() - began;
}

static void load_all(struct run *r)
{
    for (uint64_t i = 0; i < r->keys; i++) {
        // Any order without memory: the multiplier has no factor in common with the count.
        put(r, r->keys % 7919 == 0 ? i : i * 7919 % r->keys);
        atomic_fetch_add(&r->sampler.live, KEY_BYTES + r->load->value_bytes);
    }
}

static uint64_t some_key(struct run *r)
{
    uint64_t few = r->keys / 10;
    return r->load->skewed && prng_below(&r->random, 10) > 0 ? prng_below(&r->random, few)
                                                             : prng_below(&r->random, r->keys);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void delete_all(struct run *r)
{
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    for (uint64_t i = 0; i < r->keys; i++) {
        char key[KEY_BYTES];
        MUST(strata_delete(r->db, &how, key_of(key, i)));
    }
    MUST(strata_flush(r->db));
    MUST(strata_wait_idle(r->db));
    struct disk d = disk_of(r->path);
    printf("  everything deleted: %.2f MiB left beside the log\n", (double)d.other / MIB);
    EVIDENCE(d.other < 2 * MEMTABLE_BYTES, "%llu bytes are left", (unsigned long long)d.other);
}

static void overwrite(const struct load *load, uint64_t bytes)
{
    struct run r;
    set_up(&r, load, bytes);
    r.sampler.path = r.path;
    EVIDENCE(pthread_create(&r.sampler.thread, NULL, sampler_run, &r.sampler) == 0, "no thread");
    uint64_t began = now_ns();
    load_all(&r);
    for (uint64_t i = 0; i < OVERWRITES * r.keys; i++) {
        put(&r, some_key(&r));
    }
    double seconds = (double)(now_ns() - began) / 1e9;
    MUST(strata_wait_idle(r.db));
    atomic_store(&r.sampler.stop, true);
    pthread_join(r.sampler.thread, NULL);
    sample(&r.sampler);
    strata_space space;
    MUST(strata_space_of(r.db, NULL, &space));
    qsort(r.latencies, r.writes, sizeof *r.latencies, compare_u64);
    printf(
        "%s: %.1f s, %.1f MB/s; disk at most %.3f of the bound (%.1f of %.1f MiB; %llu samples); "
        "at rest %.1f MiB\n"
        "  written for values %.2f times what was put; p99.99 of a put %.2f ms, longest %.2f ms; "
        "%llu delayed\n",
        load->name, seconds, (double)(r.writes * load->value_bytes) / 1e6 / seconds,
        r.sampler.worst, (double)r.sampler.worst_disk / MIB, (double)r.sampler.worst_bound / MIB,
        (unsigned long long)r.sampler.samples, (double)disk_of(r.path).other / MIB,
        1.0 + (double)metric_of(r.db, "value_rewrite_bytes_written") /
                  (double)(r.writes * load->value_bytes),
        (double)r.latencies[r.writes - 1 - r.writes / 10000] / 1e6,
        (double)r.latencies[r.writes - 1] / 1e6,
        (unsigned long long)metric_of(r.db, "commit_delays"));
    EVIDENCE(r.sampler.worst <= 1, "the disk was over its bound");
    EVIDENCE(space.disk_bytes <= space.bound_bytes, "the gauge says %llu of %llu",
             (unsigned long long)space.disk_bytes, (unsigned long long)space.bound_bytes);
    EVIDENCE(space.table_bytes + space.value_bytes == space.live_bytes + space.history_bytes +
                                                          space.superseded_bytes +
                                                          space.dead_value_bytes,
             "the parts of the gauge do not add up");
    delete_all(&r);
    tear_down(&r);
}

// ---- a range of separated values

static void range_delete(uint64_t bytes)
{
    static const struct load load = {"range", true, false, 4096, STRATA_RETENTION_NONE};
    struct run r;
    char begin[KEY_BYTES];
    char end[KEY_BYTES];
    set_up(&r, &load, bytes);
    for (uint64_t i = 0; i < r.keys; i++) {
        put(&r, i);
    }
    MUST(strata_flush(r.db));
    MUST(strata_wait_idle(r.db));
    uint64_t before = disk_of(r.path).other;
    uint64_t read = metric_of(r.db, "value_rewrite_bytes_read");
    MUST(strata_delete_range(r.db, NULL, key_of(begin, r.keys / 4), key_of(end, r.keys * 3 / 4)));
    MUST(strata_flush(r.db));
    MUST(strata_wait_idle(r.db));
    uint64_t after = disk_of(r.path).other;
    read = metric_of(r.db, "value_rewrite_bytes_read") - read;
    printf("half of the values deleted by range: %.1f MiB before, %.1f after; %.2f MiB of values "
           "read\n",
           (double)before / MIB, (double)after / MIB, (double)read / MIB);
    EVIDENCE(after < before * 55 / 100, "the space did not come back");
    EVIDENCE(read <= 2 * MIB, "%llu bytes were read for it", (unsigned long long)read);
    evidence_cases++;
    tear_down(&r);
}

// ---- a sea of deletes

static double cross(struct run *r, const char *when)
{
    strata_iter *it;
    char key[KEY_BYTES];
    char other[KEY_BYTES];
    double best = 1e9;
    uint64_t steps = metric_of(r->db, "iterator_steps");
    key_of(other, SEA + 1);
    for (uint32_t i = 0; i < CROSSINGS; i++) {
        MUST(strata_iter_open(r->db, NULL, &it));
        double began = thread_seconds();
        MUST(strata_iter_seek(it, key_of(key, 0)));
        MUST(strata_iter_next(it));
        double took = thread_seconds() - began;
        best = took < best ? took : best;
        strata_slice got = strata_iter_key(it);
        EVIDENCE(got.bytes == KEY_BYTES && memcmp(got.data, other, KEY_BYTES) == 0,
                 "the scan did not come to the other side");
        strata_iter_close(it);
    }
    steps = (metric_of(r->db, "iterator_steps") - steps) / CROSSINGS;
    printf("  across %u deletes %s: %.0f us, %llu entries looked at\n", SEA, when, best * 1e6,
           (unsigned long long)steps);
    return best;
}

static void sea_of_deletes(void)
{
    static const struct load load = {"sea", false, false, 64, STRATA_RETENTION_ALL};
    struct run r;
    set_up(&r, &load, (SEA + 2) * 64ull);
    for (uint64_t i = 0; i < SEA + 2; i++) {
        put(&r, i);
    }
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    for (uint64_t i = 1; i <= SEA; i++) {
        char key[KEY_BYTES];
        MUST(strata_delete(r.db, &how, key_of(key, i)));
    }
    // Nobody flushes: the scan itself has what it passed over leave the memtables.
    double took = cross(&r, "at once");
    for (uint32_t i = 0; took >= CROSSING_SECONDS && i < SETTLING_MOST; i++) {
        sleep(1);
        MUST(strata_wait_idle(r.db));
        took = cross(&r, "settling");
    }
    EVIDENCE(took < CROSSING_SECONDS, "it costs more than a few seeks");
    MUST(strata_flush(r.db));
    MUST(strata_wait_idle(r.db));
    took = cross(&r, "settled");
    EVIDENCE(took < CROSSING_SECONDS, "it costs more than a few seeks");
    evidence_cases += 2;
    tear_down(&r);
}

int main(int argc, char **argv)
{
    static const struct load loads[] = {
        {"inline, evenly", false, false, 1000, STRATA_RETENTION_NONE},
        {"inline, skewed", false, true, 1000, STRATA_RETENTION_NONE},
        {"separated, evenly", true, false, 4096, STRATA_RETENTION_NONE},
        {"separated, skewed", true, true, 4096, STRATA_RETENTION_NONE},
    };
    uint64_t bytes =
        (argc > 2 && strcmp(argv[1], "--count") == 0 ? strtoull(argv[2], NULL, 10) : 48) * MIB;
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++) {
        overwrite(&loads[i], bytes);
    }
    range_delete(bytes);
    sea_of_deletes();
    printf("cases: %llu\n", (unsigned long long)evidence_cases);
    return 0;
}
