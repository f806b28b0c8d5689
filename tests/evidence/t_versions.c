// A hundred overwrites of each of a hundred thousand keys. After full compaction and a reopen every
// version is read as of its commit, and the present costs no more than in a database that never
// had a past: at most 1.2 times the processor time (median of interleaved pairs) and 1.1 times the
// instructions (counted by valgrind), for a scan, a get and a seek.
//
// Batch b of round v writes version v of every key i with i mod batches = b, so the commit of a
// version is known by itself: 1 + v * batches + i mod batches.
//
//   t_versions                            everything; --ops N: another number of keys
//   t_versions measure DIRECTORY N WHAT   one measured loop, for valgrind
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define VERSIONS 100u
#define BATCH_KEYS 1000u
#define KEY_BYTES 16u
#define VALUE_BYTES 32u
#define PAIRS 21u
#define TIME_RATIO_MAX 1.2
#define INSTRUCTION_RATIO_MAX 1.1

enum what { GET, SEEK, SCAN, WHATS };
static const char *const what_names[WHATS] = {"get", "seek", "scan"};

void measured_loop(strata_db *db, enum what what, uint64_t keys, uint64_t ops, uint64_t seed);

static strata_slice key_of(char *to, uint64_t i)
{
    char text[24];
    snprintf(text, sizeof text, "k%015llu", (unsigned long long)i);
    memcpy(to, text, KEY_BYTES);
    return (strata_slice){to, KEY_BYTES};
}

static strata_slice value_of(uint64_t *to, uint64_t i, uint64_t version)
{
    to[0] = i;
    to[1] = version;
    to[2] = prng_mix(i * 1000 + version + 1);
    to[3] = prng_mix(to[2]);
    return (strata_slice){to, VALUE_BYTES};
}

static bool is_value(strata_slice got, uint64_t i, uint64_t version)
{
    uint64_t want[4];
    value_of(want, i, version);
    return got.bytes == VALUE_BYTES && memcmp(got.data, want, VALUE_BYTES) == 0;
}

struct past {
    const char *path;
    strata_db *db;
    uint64_t keys, batches;
};

static uint64_t commit_of(const struct past *p, uint64_t i, uint64_t version)
{
    return 1 + version * p->batches + i % p->batches;
}

// The version of key i at a commit; -1: none yet.
static int64_t version_at(const struct past *p, uint64_t i, uint64_t commit)
{
    int64_t version = (int64_t)((commit - 1) / p->batches);
    return i % p->batches <= (commit - 1) % p->batches ? version : version - 1;
}

// ---- making

static strata_options options_of(void)
{
    strata_options o = STRATA_OPTIONS_INIT;
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 256u << 20;
    o.memtable_bytes = 16u << 20;
    return o;
}

// Writes versions [first, end) of every key.
static void fill(struct past *p, uint64_t first, uint64_t end)
{
    strata_batch *batch;
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_BACKGROUND;
    MUST(strata_batch_new(p->db, &batch));
    for (uint64_t v = first; v < end; v++) {
        for (uint64_t b = 0; b < p->batches; b++) {
            uint64_t commit;
            strata_batch_reset(batch);
            for (uint64_t i = b; i < p->keys; i += p->batches) {
                char key[KEY_BYTES];
                uint64_t value[4];
                MUST(strata_batch_put(batch, NULL, key_of(key, i), value_of(value, i, v)));
            }
            MUST(strata_commit(p->db, &how, batch, &commit));
            EVIDENCE(commit == 1 + (v - first) * p->batches + b, "commit %llu",
                     (unsigned long long)commit);
        }
    }
    strata_batch_free(batch);
}

static void make(struct past *p, const char *path, uint64_t keys, uint64_t first)
{
    strata_options o = options_of();
    double began = test_seconds();
    *p = (struct past){.path = path, .keys = keys, .batches = (keys + BATCH_KEYS - 1) / BATCH_KEYS};
    MUST(strata_open(path, &o, &p->db));
    fill(p, first, VERSIONS);
    double filled = test_seconds();
    MUST(strata_compact(p->db, NULL, NULL, NULL));
    MUST(strata_check(p->db));
    double compacted = test_seconds();
    MUST(strata_close(p->db));
    MUST(strata_open(path, &o, &p->db));
    printf("%llu versions of %llu keys: written in %.1f s, compacted and checked in %.1f s; "
           "live %.1f MB, history %.1f MB\n",
           (unsigned long long)(VERSIONS - first), (unsigned long long)keys, filled - began,
           compacted - filled, (double)metric_of(p->db, "live_bytes") / 1e6,
           (double)metric_of(p->db, "history_bytes") / 1e6);
    fflush(stdout);
}

// ---- every version

// One pass over the history of all keys.
static uint64_t check_all_versions(struct past *p)
{
    strata_history *history;
    strata_version_info v;
    char key[KEY_BYTES];
    uint64_t count = 0;
    MUST(strata_history_open(p->db, NULL, &history));
    for (uint64_t i = 0; i < p->keys; i++) {
        key_of(key, i);
        for (uint64_t n = VERSIONS; n-- > 0; count++) {
            MUST(strata_history_next(history, &v));
            uint64_t end = n + 1 < VERSIONS ? commit_of(p, i, n + 1) : 0;
            EVIDENCE(v.key.bytes == KEY_BYTES && memcmp(v.key.data, key, KEY_BYTES) == 0 &&
                         v.kind == STRATA_VERSION_PUT && v.commit == commit_of(p, i, n) &&
                         v.end == end && is_value(v.value, i, n),
                     "version %llu of key %llu: commit %llu, end %llu", (unsigned long long)n,
                     (unsigned long long)i, (unsigned long long)v.commit,
                     (unsigned long long)v.end);
        }
    }
    MUST_BE(strata_history_next(history, &v), STRATA_END);
    strata_history_close(history);
    return count;
}

// A whole scan as of a commit.
static uint64_t check_scan(struct past *p, uint64_t commit, bool forward)
{
    strata_read how = STRATA_READ_INIT;
    strata_iter *iter;
    char key[KEY_BYTES];
    uint64_t count = 0;
    how.as_of = commit;
    how.cache_bypass = true;
    MUST(strata_iter_open(p->db, &how, &iter));
    strata_rc rc = forward ? strata_iter_first(iter) : strata_iter_last(iter);
    for (uint64_t n = 0; n < p->keys; n++) {
        uint64_t i = forward ? n : p->keys - 1 - n;
        int64_t version = version_at(p, i, commit);
        if (version < 0) {
            continue;
        }
        key_of(key, i);
        EVIDENCE(rc == STRATA_OK && strata_iter_key(iter).bytes == KEY_BYTES &&
                     memcmp(strata_iter_key(iter).data, key, KEY_BYTES) == 0 &&
                     is_value(strata_iter_value(iter), i, (uint64_t)version) &&
                     strata_iter_commit(iter) == commit_of(p, i, (uint64_t)version),
                 "scan as of %llu: key %llu, version %lld: %s", (unsigned long long)commit,
                 (unsigned long long)i, (long long)version, strata_rc_name(rc));
        count++;
        rc = forward ? strata_iter_next(iter) : strata_iter_prev(iter);
    }
    EVIDENCE(rc == STRATA_END, "scan as of %llu: more than every key", (unsigned long long)commit);
    strata_iter_close(iter);
    return count;
}

static void check_gets(struct past *p, struct prng *random, uint64_t count)
{
    strata_value value = STRATA_VALUE_INIT;
    for (uint64_t n = 0; n < count; n++) {
        char key[KEY_BYTES];
        strata_read how = STRATA_READ_INIT;
        uint64_t i = prng_below(random, p->keys);
        how.as_of = 1 + prng_below(random, p->batches * VERSIONS);
        int64_t version = version_at(p, i, how.as_of);
        strata_rc rc = strata_get(p->db, &how, key_of(key, i), &value);
        EVIDENCE(rc == (version < 0 ? STRATA_NOT_FOUND : STRATA_OK), "get of %llu as of %llu: %s",
                 (unsigned long long)i, (unsigned long long)how.as_of, strata_rc_name(rc));
        EVIDENCE(version < 0 ||
                     (is_value((strata_slice){value.data, value.bytes}, i, (uint64_t)version) &&
                      value.commit == commit_of(p, i, (uint64_t)version)),
                 "get of %llu as of %llu: commit %llu", (unsigned long long)i,
                 (unsigned long long)how.as_of, (unsigned long long)value.commit);
    }
    strata_value_release(&value);
}

static void check_histories(struct past *p, struct prng *random, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        char key[KEY_BYTES];
        strata_history *history;
        strata_version_info v;
        strata_read how = STRATA_READ_INIT;
        uint64_t i = prng_below(random, p->keys);
        how.as_of = 1 + prng_below(random, p->batches * VERSIONS);
        MUST(strata_history_open_key(p->db, &how, key_of(key, i), &history));
        for (int64_t version = version_at(p, i, how.as_of); version >= 0; version--) {
            MUST(strata_history_next(history, &v));
            EVIDENCE(v.commit == commit_of(p, i, (uint64_t)version) &&
                         is_value(v.value, i, (uint64_t)version),
                     "history of %llu as of %llu: commit %llu", (unsigned long long)i,
                     (unsigned long long)how.as_of, (unsigned long long)v.commit);
        }
        MUST_BE(strata_history_next(history, &v), STRATA_END);
        strata_history_close(history);
    }
}

static uint64_t check_past(struct past *p, uint64_t seed)
{
    struct prng random = {prng_mix(seed)};
    double began = test_seconds();
    uint64_t cases = check_all_versions(p);
    double versions = test_seconds();
    uint64_t scanned = 0;
    for (uint64_t v = 0; v < VERSIONS; v++) {
        uint64_t commit = 1 + v * p->batches + prng_below(&random, p->batches);
        scanned += check_scan(p, commit, v % 4 != 0);
    }
    scanned += check_scan(p, VERSIONS * p->batches, true) + check_scan(p, 1, false);
    double scans = test_seconds();
    check_gets(p, &random, 200000);
    double gets = test_seconds();
    check_histories(p, &random, 500);
    printf("%llu versions by one pass in %.1f s; %llu by %u scans as of commits in %.1f s; "
           "200000 gets as of commits in %.1f s\n",
           (unsigned long long)cases, versions - began, (unsigned long long)scanned, VERSIONS + 2,
           scans - versions, gets - scans);
    fflush(stdout);
    return cases + scanned + 200000 + 500;
}

// ---- the price of the past

// Not inlined and visible: valgrind counts inside of it.
__attribute__((noinline)) void measured_loop(strata_db *db, enum what what, uint64_t keys,
                                             uint64_t ops, uint64_t seed)
{
    struct prng random = {seed};
    char key[KEY_BYTES];
    strata_iter *iter = NULL;
    strata_value value = STRATA_VALUE_INIT;
    if (what != GET) {
        MUST(strata_iter_open(db, NULL, &iter));
    }
    if (what == SCAN) {
        uint64_t n = 0;
        strata_rc rc;
        for (rc = strata_iter_first(iter); rc == STRATA_OK; rc = strata_iter_next(iter)) {
            n += strata_iter_value(iter).bytes == VALUE_BYTES;
        }
        EVIDENCE(rc == STRATA_END && n == keys, "a scan of %llu keys", (unsigned long long)n);
    }
    for (uint64_t n = 0; what != SCAN && n < ops; n++) {
        strata_slice k = key_of(key, prng_below(&random, keys));
        if (what == GET) {
            MUST(strata_get(db, NULL, k, &value));
        } else {
            MUST(strata_iter_seek(iter, k));
        }
    }
    strata_value_release(&value);
    strata_iter_close(iter);
}

static double time_of(struct past *p, enum what what, uint64_t ops, uint64_t seed)
{
    double began = thread_seconds();
    measured_loop(p->db, what, p->keys, ops, seed);
    return thread_seconds() - began;
}

static bool compare_times(struct past *past, struct past *fresh, enum what what)
{
    double ratios[PAIRS];
    double with[PAIRS];
    uint64_t ops = what == SCAN ? past->keys : past->keys / 3 + 1;
    time_of(past, what, ops, 1);
    time_of(fresh, what, ops, 1);
    for (uint32_t i = 0; i < PAIRS; i++) {
        // By turns, so that a change of the machine's speed falls on both.
        double first = time_of(i % 2 == 0 ? past : fresh, what, ops, i);
        double second = time_of(i % 2 == 0 ? fresh : past, what, ops, i);
        with[i] = i % 2 == 0 ? first : second;
        ratios[i] = i % 2 == 0 ? first / second : second / first;
    }
    double ratio = median_of(ratios, PAIRS);
    printf("%-4s %7.0f ns with a past; %.3f times the time without\n", what_names[what],
           median_of(with, PAIRS) / (double)ops * 1e9, ratio);
    fflush(stdout);
    return ratio <= TIME_RATIO_MAX;
}

// Instructions of the measured loop in a program of its own; 0: no valgrind.
static uint64_t instructions_of(const struct past *p, enum what what)
{
    char out[600];
    char file[640];
    char keys[24];
    char self[512] = "";
    snprintf(out, sizeof out, "%s.callgrind", p->path);
    snprintf(file, sizeof file, "--callgrind-out-file=%s", out);
    snprintf(keys, sizeof keys, "%llu", (unsigned long long)p->keys);
    EVIDENCE(readlink("/proc/self/exe", self, sizeof self - 1) > 0, "readlink");
    fflush(NULL);
    pid_t child = fork();
    EVIDENCE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, STDERR_FILENO);
        execlp("valgrind", "valgrind", "--tool=callgrind", "--toggle-collect=measured_loop", file,
               self, "measure", p->path, keys, what_names[what], (char *)NULL);
        _exit(127);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return 0;
    }
    EVIDENCE(WIFEXITED(status) && WEXITSTATUS(status) == 0, "valgrind: status 0x%x",
             (unsigned)status);
    unsigned long long total = 0;
    char line[256];
    FILE *f = fopen(out, "r");
    EVIDENCE(f != NULL, "no %s", out);
    while (fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "totals:", 7) == 0 || strncmp(line, "summary:", 8) == 0) {
            total = strtoull(strchr(line, ':') + 1, NULL, 10);
        }
    }
    fclose(f);
    unlink(out);
    EVIDENCE(total > 0, "valgrind counted nothing");
    return total;
}

static bool compare_instructions(const struct past *past, const struct past *fresh, enum what what)
{
    uint64_t with = instructions_of(past, what);
    uint64_t without = with == 0 ? 0 : instructions_of(fresh, what);
    if (without == 0) {
        printf("%-4s skipped: instructions are not counted, valgrind is not installed\n",
               what_names[what]);
        return true;
    }
    uint64_t ops = what == SCAN ? past->keys : past->keys / 10;
    double ratio = (double)with / (double)without;
    printf("%-4s %7.0f instructions with a past; %.3f times those without\n", what_names[what],
           (double)with / (double)ops, ratio);
    fflush(stdout);
    return ratio <= INSTRUCTION_RATIO_MAX;
}

// For valgrind: one loop, with everything in the cache.
static int measure(const char *path, uint64_t keys, const char *name)
{
    strata_db *db;
    strata_options o = options_of();
    o.flags = 0;
    MUST(strata_open(path, &o, &db));
    strata_iter *iter;
    MUST(strata_iter_open(db, NULL, &iter));
    strata_rc rc = strata_iter_first(iter);
    while (rc == STRATA_OK) {
        rc = strata_iter_next(iter);
    }
    MUST_BE(rc, STRATA_END);
    strata_iter_close(iter);
    for (int what = 0; what < WHATS; what++) {
        if (strcmp(name, what_names[what]) == 0) {
            measured_loop(db, (enum what)what, keys, keys / 10, 1);
        }
    }
    MUST(strata_close(db));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "measure") == 0) {
        return measure(argv[2], strtoull(argv[3], NULL, 10), argv[4]);
    }
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t keys = o.ops > 0 ? o.ops : 100000;
    struct past past;
    struct past fresh;
    char *past_path = scratch_new(NULL);
    char *fresh_path = scratch_new(NULL);
    test_label("t_versions --seed %llu --ops %llu: in %s", (unsigned long long)o.seed,
               (unsigned long long)keys, past_path);
    make(&past, past_path, keys, 0);
    uint64_t cases = check_past(&past, o.seed);
    make(&fresh, fresh_path, keys, VERSIONS - 1);
    bool good = true;
    for (int what = 0; what < WHATS; what++) {
        good = compare_times(&past, &fresh, (enum what)what) && good;
    }
    MUST(strata_close(past.db));
    MUST(strata_close(fresh.db));
    for (int what = 0; what < WHATS; what++) {
        good = compare_instructions(&past, &fresh, (enum what)what) && good;
    }
    EVIDENCE(good,
             "the present costs more than %.1f times the time or %.1f times the "
             "instructions of a database without a past",
             TIME_RATIO_MAX, INSTRUCTION_RATIO_MAX);
    scratch_remove(past_path);
    scratch_remove(fresh_path);
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
