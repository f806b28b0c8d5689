// A day in a minute: a million operations on a simulated machine whose clock goes through a day,
// with retention by age of one hour, values that expire and values apart. Reads are right
// throughout: every key now, and as of every commit of the last hour; what is older is trimmed or
// right. The memory budget in use, the files and the bytes on the disk stay flat: from the third
// hour on, a line through the samples rises by less than a tenth of their mean over the whole day.
#include "base/prng.h"
#include "db/db.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define AGE_SECONDS 3600
#define KEYS 4000u
#define KEY_BYTES 12u
#define VALUE_MOST 3000u
#define SAMPLES_MOST 300u
#define FLAT_SHARE 0.10

struct version {
    uint64_t commit;
    int64_t expiry_us; // 0: never
    uint64_t write;    // 0: a delete
};

struct key {
    struct version *versions; // ascending
    size_t count, capacity;
};

enum series { MEMORY, FILES, DISK, SERIES };
static const char *const series_names[SERIES] = {"bytes of memory charged", "files",
                                                 "bytes on the disk"};

struct day {
    struct prng random;
    struct sim_disk *disk;
    struct sim_machine machine;
    strata_db *db;
    strata_options options;
    int64_t began_us;
    struct key keys[KEYS];
    int64_t *times; // of commits
    size_t time_capacity;
    uint64_t newest, writes;
    double samples[SERIES][SAMPLES_MOST];
    size_t sample_count;
    uint64_t gets, past_gets, trimmed, scanned, expired;
};

static strata_slice key_of(char *to, uint64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "sensor/%05llu", (unsigned long long)i);
    memcpy(to, text, KEY_BYTES);
    return (strata_slice){to, KEY_BYTES};
}

// Two in three are long enough to stand apart.
static strata_slice value_of(uint8_t *to, uint64_t write)
{
    uint64_t x = prng_mix(write);
    size_t bytes = x % 3 == 0 ? 16 + (x >> 8) % 200 : 300 + (x >> 8) % (VALUE_MOST - 300);
    struct prng fill = {x};
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = prng_next(&fill);
        memcpy(to + i, &word, bytes - i < 8 ? bytes - i : 8);
    }
    return (strata_slice){to, bytes};
}

static int64_t second_down(int64_t us)
{
    return us / SECOND * SECOND;
}

// ---- the model: of each key the versions of the last hour, and the one before them

// The first commit that retention must keep.
static uint64_t oldest_kept(const struct day *d)
{
    uint64_t low = 1;
    uint64_t high = d->newest;
    int64_t limit = d->machine.wall_us - AGE_SECONDS * SECOND;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (d->times[middle] >= limit) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static void forget_old(const struct day *d, struct key *k)
{
    uint64_t oldest = oldest_kept(d);
    size_t gone = 0;
    while (gone + 1 < k->count && k->versions[gone + 1].commit <= oldest) {
        gone++;
    }
    if (gone > 0) {
        memmove(k->versions, k->versions + gone, (k->count - gone) * sizeof *k->versions);
        k->count -= gone;
    }
}

static void add_version(struct day *d, uint64_t i, struct version v)
{
    struct key *k = &d->keys[i];
    if (k->count > 32) {
        forget_old(d, k);
    }
    test_grow((void **)&k->versions, &k->capacity, k->count, sizeof v);
    k->versions[k->count++] = v;
}

// The version that a read at a commit shows, or NULL.
static const struct version *version_at(const struct key *k, uint64_t at, int64_t time_us)
{
    size_t i = k->count;
    while (i > 0 && k->versions[i - 1].commit > at) {
        i--;
    }
    const struct version *v = i == 0 ? NULL : &k->versions[i - 1];
    bool shown = v != NULL && v->write != 0 && (v->expiry_us == 0 || v->expiry_us > time_us);
    return shown ? v : NULL;
}

static int64_t now_s(const struct day *d)
{
    return second_down(d->machine.wall_us);
}

// ---- writing

static void note_commit(struct day *d, uint64_t commit)
{
    int64_t time_us;
    EVIDENCE(commit == d->newest + 1, "commit %llu after %llu", (unsigned long long)commit,
             (unsigned long long)d->newest);
    d->newest = commit;
    MUST(strata_commit_time(d->db, commit, &time_us));
    while (d->time_capacity <= commit) {
        test_grow((void **)&d->times, &d->time_capacity, d->time_capacity, sizeof *d->times);
    }
    d->times[commit] = time_us;
}

static strata_write write_how(uint64_t *commit)
{
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    how.commit_out = commit;
    return how;
}

static void put(struct day *d)
{
    static uint8_t bytes[VALUE_MOST];
    char key[KEY_BYTES];
    uint64_t commit = 0;
    strata_write how = write_how(&commit);
    uint64_t i = prng_below(&d->random, KEYS);
    struct version v = {.write = ++d->writes};
    if (prng_one_in(&d->random, 3)) {
        v.expiry_us =
            second_down(d->machine.wall_us) + (int64_t)(1 + prng_below(&d->random, 7200)) * SECOND;
        how.expires_unix_us = v.expiry_us;
    }
    MUST(strata_put(d->db, &how, key_of(key, i), value_of(bytes, v.write)));
    note_commit(d, commit);
    v.commit = commit;
    add_version(d, i, v);
}

static void delete_some(struct day *d)
{
    char begin[KEY_BYTES];
    char end[KEY_BYTES];
    uint64_t commit = 0;
    strata_write how = write_how(&commit);
    uint64_t first = prng_below(&d->random, KEYS);
    uint64_t past = first + 1;
    if (prng_one_in(&d->random, 20)) {
        past = first + 1 + prng_below(&d->random, 20);
        past = past > KEYS ? KEYS : past;
        MUST(strata_delete_range(d->db, &how, key_of(begin, first), key_of(end, past)));
    } else {
        MUST(strata_delete(d->db, &how, key_of(begin, first)));
    }
    note_commit(d, commit);
    for (uint64_t i = first; i < past; i++) {
        add_version(d, i, (struct version){.commit = commit});
    }
}

// ---- reading

static void check_got(struct day *d, const struct version *want, uint64_t i, strata_rc rc,
                      strata_slice got, const char *what)
{
    static uint8_t bytes[VALUE_MOST];
    strata_slice value = want == NULL ? (strata_slice){bytes, 0} : value_of(bytes, want->write);
    bool same = want == NULL ? rc == STRATA_NOT_FOUND
                             : rc == STRATA_OK && got.bytes == value.bytes &&
                                   memcmp(got.data, value.data, value.bytes) == 0;
    EVIDENCE(same, "%s of key %llu at commit %llu: %s, %s expected", what, (unsigned long long)i,
             (unsigned long long)d->newest, strata_rc_name(rc),
             want == NULL ? "nothing was" : "a value was");
}

static void get_at(struct day *d, uint64_t at)
{
    static strata_value value = STRATA_VALUE_INIT;
    char key[KEY_BYTES];
    uint64_t i = prng_below(&d->random, KEYS);
    strata_read how = STRATA_READ_INIT;
    int64_t time_us = at == 0 ? now_s(d) : second_down(d->times[at]);
    how.as_of = at;
    strata_rc rc = strata_get(d->db, &how, key_of(key, i), &value);
    check_got(d, version_at(&d->keys[i], at == 0 ? d->newest : at, time_us), i, rc,
              (strata_slice){value.data, value.bytes}, at == 0 ? "get" : "get as of the past");
}

static void get_past(struct day *d)
{
    uint64_t oldest = oldest_kept(d);
    get_at(d, oldest + prng_below(&d->random, d->newest - oldest + 1));
    d->past_gets++;
    // Two hours ago: trimmed by now, mostly.
    if (oldest > 20000 && prng_one_in(&d->random, 10)) {
        static strata_value value = STRATA_VALUE_INIT;
        char key[KEY_BYTES];
        strata_read how = STRATA_READ_INIT;
        how.as_of = oldest / 2 + 1;
        strata_rc rc = strata_get(d->db, &how, key_of(key, prng_below(&d->random, KEYS)), &value);
        EVIDENCE(rc == STRATA_OK || rc == STRATA_NOT_FOUND || rc == STRATA_TRIMMED,
                 "a get as of long ago: %s", strata_rc_name(rc));
        d->trimmed += rc == STRATA_TRIMMED;
    }
}

static void scan_some(struct day *d, uint64_t first, uint64_t count)
{
    char text[KEY_BYTES];
    strata_iter *iter;
    int64_t time_us = now_s(d);
    MUST(strata_iter_open(d->db, NULL, &iter));
    strata_rc rc = strata_iter_seek(iter, key_of(text, first));
    for (uint64_t i = first; i < first + count && i < KEYS; i++) {
        const struct version *want = version_at(&d->keys[i], d->newest, time_us);
        if (want == NULL) {
            d->expired += d->keys[i].count > 0 && d->keys[i].versions[d->keys[i].count - 1].write;
            continue;
        }
        key_of(text, i);
        strata_slice key = strata_iter_key(iter);
        EVIDENCE(rc == STRATA_OK && key.bytes == KEY_BYTES &&
                     memcmp(key.data, text, KEY_BYTES) == 0,
                 "a scan is at %.*s (%s) instead of %.*s", (int)key.bytes, (const char *)key.data,
                 strata_rc_name(rc), (int)KEY_BYTES, text);
        check_got(d, want, i, rc, strata_iter_value(iter), "scan");
        rc = strata_iter_next(iter);
        d->scanned++;
    }
    strata_iter_close(iter);
}

// ---- the day

// Busier and calmer by the hour, so that the day as a whole is level.
static int64_t pause_us(struct day *d, uint64_t ops)
{
    int64_t in_hour = (d->machine.wall_us - d->began_us) % (3600 * SECOND);
    double mean = (double)DAY / (double)ops;
    double wave = in_hour < 1800 * SECOND ? 0.625 : 2.5;
    return (int64_t)(mean * wave * (0.5 + (double)prng_below(&d->random, 1000) / 1000.0));
}

static void take_sample(struct day *d)
{
    const struct sim_dir *dir = sim_disk_dir(d->disk, "db", false);
    size_t n = d->sample_count++;
    EVIDENCE(n < SAMPLES_MOST, "more than %u samples", SAMPLES_MOST);
    d->samples[MEMORY][n] = (double)metric_of(d->db, "memory_used");
    d->samples[FILES][n] = (double)dir->current.count;
    d->samples[DISK][n] = (double)sim_disk_used(d->disk);
}

// How much a straight line through the samples from `first` on rises, over their mean.
static double rise_of(const double *y, size_t first, size_t count, double *mean_out)
{
    double n = (double)(count - first);
    double sum_x = 0;
    double sum_y = 0;
    double sum_xx = 0;
    double sum_xy = 0;
    for (size_t i = first; i < count; i++) {
        double x = (double)(i - first);
        sum_x += x;
        sum_y += y[i];
        sum_xx += x * x;
        sum_xy += x * y[i];
    }
    double slope = (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
    *mean_out = sum_y / n;
    return slope * n / *mean_out;
}

static void check_flat(const struct day *d)
{
    size_t first = d->sample_count / 8; // the third hour
    for (int s = 0; s < SERIES; s++) {
        double mean;
        double most = 0;
        double rise = rise_of(d->samples[s], first, d->sample_count, &mean);
        for (size_t i = 0; i < d->sample_count; i++) {
            most = d->samples[s][i] > most ? d->samples[s][i] : most;
        }
        printf("%s: mean %.0f, most %.0f, rise over the day %+.1f %%\n", series_names[s], mean,
               most, rise * 100);
        EVIDENCE(rise < FLAT_SHARE, "%s rise by %.1f %% over the day", series_names[s], rise * 100);
    }
}

static void one_operation(struct day *d)
{
    uint64_t x = prng_below(&d->random, 100);
    if (x < 50) {
        put(d);
    } else if (x < 58) {
        delete_some(d);
    } else if (x < 90) {
        get_at(d, 0);
        d->gets++;
    } else if (x < 98) {
        get_past(d);
    } else {
        scan_some(d, prng_below(&d->random, KEYS), 20);
    }
}

static void live_through(struct day *d, uint64_t ops)
{
    int64_t sample_at = d->began_us;
    for (uint64_t n = 0; n < ops; n++) {
        int64_t pause = pause_us(d, ops);
        sim_machine_step_clock(&d->machine, pause, (uint64_t)pause * 1000);
        // No operation crosses the end of a second.
        if (d->machine.wall_us % SECOND > SECOND - 20000) {
            sim_machine_step_clock(&d->machine, 20000, 20000000);
        }
        test_watchdog(60);
        one_operation(d);
        sim_machine_crank(&d->machine, 2);
        if (n % 500 == 499) {
            MUST(strata_sync(d->db));
        }
        if (d->machine.wall_us >= sample_at) {
            take_sample(d);
            sample_at += DAY / 288;
        }
    }
}

static void open_db(struct day *d)
{
    MUST(db_open(&d->machine.base, "db", &d->options, &d->db));
}

static void begin_day(struct day *d, uint64_t seed)
{
    d->random.state = prng_mix(seed);
    d->options = (strata_options)STRATA_OPTIONS_INIT;
    d->options.flags = STRATA_OPEN_CREATE;
    d->options.memory_bytes = 16 << 20;
    d->options.memtable_bytes = 1 << 20;
    d->options.log_segment_bytes = 1 << 20;
    d->options.keyspace.separate_bytes = 256;
    d->options.keyspace.retention = STRATA_RETENTION_AGE;
    d->options.keyspace.retention_seconds = AGE_SECONDS;
    d->disk = sim_disk_new();
    sim_machine_init(&d->machine, d->disk, seed);
    d->began_us = d->machine.wall_us;
    open_db(d);
    while (d->newest < strata_newest_commit(d->db)) {
        note_commit(d, d->newest + 1);
    }
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t ops = o.ops > 0 ? o.ops : 1000000;
    struct day *d = test_alloc(1, sizeof *d);
    test_label("t_day --seed %llu --ops %llu", (unsigned long long)o.seed, (unsigned long long)ops);
    begin_day(d, o.seed);
    double began = test_seconds();
    live_through(d, ops);
    printf("%llu operations in %.1f simulated hours, %.1f s: %llu commits, %llu gets now, %llu as "
           "of the last hour, %llu trimmed of those before, %llu entries scanned, %llu times an "
           "expired one was not there\n",
           (unsigned long long)ops,
           (double)(d->machine.wall_us - d->began_us) / (3600.0 * (double)SECOND),
           test_seconds() - began, (unsigned long long)d->newest, (unsigned long long)d->gets,
           (unsigned long long)d->past_gets, (unsigned long long)d->trimmed,
           (unsigned long long)d->scanned, (unsigned long long)d->expired);
    EVIDENCE(d->trimmed > 0 && d->expired > 0, "nothing was trimmed, or nothing expired");
    scan_some(d, 0, KEYS);
    MUST(strata_check(d->db));
    check_flat(d);
    MUST(strata_close(d->db));
    open_db(d);
    scan_some(d, 0, KEYS);
    MUST(strata_close(d->db));
    sim_machine_release(&d->machine);
    sim_disk_free(d->disk);
    for (size_t i = 0; i < KEYS; i++) {
        free(d->keys[i].versions);
    }
    free(d->times);
    free(d);
    printf("cases: %llu\n", (unsigned long long)ops);
    return 0;
}
