// Threads at work on one database: two writers with batches over two keyspaces, three readers, and
// one thread that flushes, compacts, checks and makes and drops keyspaces. Built with
// ThreadSanitizer too. What must hold at every commit, now and in the past:
//
//   1. pair/W/K has the same value and the same commit in both keyspaces, or is in neither.
//   2. The balances acct/W/KK of a writer add up to what they began with.
//   3. counter/W is the number of the writer's batches; its versions count down one by one and each
//      ends where the next newer began.
//   4. log/W/SSSSSSSS in keyspace "b" are the numbers up to the counter without a gap; a range
//      delete cuts the old ones off, and `first/W` says where they begin.
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WRITERS 2u
#define READERS 3u
#define PAIRS 32u
#define ACCOUNTS 24u
#define BALANCE 1000u
#define LOG_MOST 60u
#define KEY_BYTES 32u
#define VALUE_BYTES 96u

struct world {
    strata_db *db;
    strata_keyspace *b;
    uint64_t seed;
    uint64_t first_commit; // when everything had been set up
    _Atomic bool stop;
    _Atomic uint64_t batches, reads, works;
};

struct actor {
    struct world *w;
    uint32_t number;
    pthread_t id;
};

static strata_slice key_of(char *text, const char *kind, uint32_t writer, uint64_t number)
{
    snprintf(text, KEY_BYTES, "%s/%u/%08llu", kind, writer, (unsigned long long)number);
    return strata_str(text);
}

static strata_slice counter_key(char *text, const char *kind, uint32_t writer)
{
    snprintf(text, KEY_BYTES, "%s/%u", kind, writer);
    return strata_str(text);
}

static uint64_t number_in(strata_slice value)
{
    char text[VALUE_BYTES] = {0};
    memcpy(text, value.data, value.bytes < VALUE_BYTES ? value.bytes : VALUE_BYTES - 1);
    return strtoull(text, NULL, 10);
}

// A number, and filling that makes memtables and blocks full.
static strata_slice value_of(char *text, uint64_t number)
{
    snprintf(text, VALUE_BYTES, "%llu %060llu", (unsigned long long)number,
             (unsigned long long)number);
    return strata_str(text);
}

// ---- writers

struct writer_state {
    uint64_t count, log_first;
    uint64_t balances[ACCOUNTS];
    struct prng random;
};

static void put_number(strata_batch *batch, strata_keyspace *space, strata_slice key, uint64_t n)
{
    char text[VALUE_BYTES];
    MUST(strata_batch_put(batch, space, key, value_of(text, n)));
}

static void fill_batch(struct actor *a, struct writer_state *s, strata_batch *batch)
{
    struct world *w = a->w;
    char key[KEY_BYTES];
    char end[KEY_BYTES];
    uint32_t from = (uint32_t)prng_below(&s->random, ACCOUNTS);
    uint32_t to = (from + 1 + (uint32_t)prng_below(&s->random, ACCOUNTS - 1)) % ACCOUNTS;
    uint64_t amount = prng_below(&s->random, s->balances[from] + 1);
    uint32_t pair = (uint32_t)prng_below(&s->random, PAIRS);
    s->count++;
    s->balances[from] -= amount;
    s->balances[to] += amount;
    strata_batch_reset(batch);
    put_number(batch, NULL, counter_key(key, "counter", a->number), s->count);
    put_number(batch, NULL, key_of(key, "acct", a->number, from), s->balances[from]);
    put_number(batch, NULL, key_of(key, "acct", a->number, to), s->balances[to]);
    strata_slice k = key_of(key, "pair", a->number, pair);
    if (prng_one_in(&s->random, 4)) {
        MUST(strata_batch_delete(batch, NULL, k));
        MUST(strata_batch_delete(batch, w->b, k));
    } else {
        put_number(batch, NULL, k, s->count);
        put_number(batch, w->b, k, s->count);
    }
    put_number(batch, w->b, key_of(key, "log", a->number, s->count), s->count);
    if (s->count - s->log_first > LOG_MOST) {
        uint64_t keep = s->count - prng_below(&s->random, LOG_MOST);
        MUST(strata_batch_delete_range(batch, w->b, key_of(key, "log", a->number, s->log_first),
                                       key_of(end, "log", a->number, keep)));
        s->log_first = keep;
        put_number(batch, w->b, counter_key(key, "first", a->number), keep);
    }
}

static void writer_begin(struct actor *a, struct writer_state *s, strata_batch *batch)
{
    char key[KEY_BYTES];
    *s = (struct writer_state){.log_first = 1, .random = {a->w->seed + a->number}};
    strata_batch_reset(batch);
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        s->balances[i] = BALANCE;
        put_number(batch, NULL, key_of(key, "acct", a->number, i), BALANCE);
    }
    put_number(batch, NULL, counter_key(key, "counter", a->number), 0);
    put_number(batch, a->w->b, counter_key(key, "first", a->number), 1);
    MUST(strata_commit(a->w->db, NULL, batch, NULL));
}

static void *write_on(void *arg)
{
    struct actor *a = arg;
    struct writer_state s = {.log_first = 1, .random = {a->w->seed + a->number}};
    strata_batch *batch;
    uint64_t last = 0;
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        s.balances[i] = BALANCE;
    }
    MUST(strata_batch_new(a->w->db, &batch));
    while (!atomic_load(&a->w->stop)) {
        uint64_t commit = 0;
        strata_write how = STRATA_WRITE_INIT;
        how.durability = a->number == 0 ? STRATA_SYNC_BACKGROUND : STRATA_SYNC_NONE;
        if (prng_one_in(&s.random, 40)) {
            how.durability = STRATA_SYNC;
        }
        fill_batch(a, &s, batch);
        MUST(strata_commit(a->w->db, &how, batch, &commit));
        EVIDENCE(commit > last && strata_newest_commit(a->w->db) >= commit,
                 "commit %llu after %llu", (unsigned long long)commit, (unsigned long long)last);
        last = commit;
        atomic_fetch_add(&a->w->batches, 1);
    }
    strata_batch_free(batch);
    return NULL;
}

// ---- readers

// Where a reader looks: now by a snapshot, or at a commit of the past.
struct moment {
    strata_snapshot *snapshot;
    strata_read how;
    uint64_t commit;
};

static struct moment moment_choose(struct world *w, struct prng *p)
{
    struct moment m = {.how = STRATA_READ_INIT};
    if (prng_one_in(p, 2)) {
        MUST(strata_snapshot_take(w->db, &m.snapshot));
        m.how.snapshot = m.snapshot;
        m.commit = strata_snapshot_commit(m.snapshot);
    } else {
        uint64_t newest = strata_newest_commit(w->db);
        m.commit = w->first_commit + prng_below(p, newest - w->first_commit + 1);
        m.how.as_of = m.commit;
    }
    m.how.cache_bypass = prng_one_in(p, 4);
    return m;
}

static uint64_t read_number(struct world *w, const struct moment *m, strata_keyspace *space,
                            strata_slice key)
{
    strata_value value = STRATA_VALUE_INIT;
    strata_read how = m->how;
    how.keyspace = space;
    MUST(strata_get(w->db, &how, key, &value));
    uint64_t n = number_in((strata_slice){value.data, value.bytes});
    EVIDENCE(value.commit <= m->commit, "a value of commit %llu at commit %llu",
             (unsigned long long)value.commit, (unsigned long long)m->commit);
    strata_value_release(&value);
    return n;
}

static void check_pairs(struct world *w, const struct moment *m, uint32_t writer)
{
    char keys[PAIRS][KEY_BYTES];
    strata_slice slices[PAIRS];
    strata_value values[2][PAIRS];
    strata_rc rcs[2][PAIRS];
    strata_read how = m->how;
    for (uint32_t i = 0; i < PAIRS; i++) {
        slices[i] = key_of(keys[i], "pair", writer, i);
        values[0][i] = values[1][i] = (strata_value)STRATA_VALUE_INIT;
    }
    for (int space = 0; space < 2; space++) {
        how.keyspace = space == 0 ? NULL : w->b;
        MUST(strata_get_many(w->db, &how, PAIRS, slices, values[space], rcs[space]));
    }
    for (uint32_t i = 0; i < PAIRS; i++) {
        EVIDENCE(rcs[0][i] == rcs[1][i], "%s at commit %llu: %s and %s", keys[i],
                 (unsigned long long)m->commit, strata_rc_name(rcs[0][i]),
                 strata_rc_name(rcs[1][i]));
        EVIDENCE(rcs[0][i] != STRATA_OK ||
                     (values[0][i].commit == values[1][i].commit &&
                      values[0][i].bytes == values[1][i].bytes &&
                      memcmp(values[0][i].data, values[1][i].data, values[0][i].bytes) == 0),
                 "%s at commit %llu: commits %llu and %llu", keys[i], (unsigned long long)m->commit,
                 (unsigned long long)values[0][i].commit, (unsigned long long)values[1][i].commit);
        strata_value_release(&values[0][i]);
        strata_value_release(&values[1][i]);
    }
}

static void check_accounts(struct world *w, const struct moment *m, uint32_t writer, bool forward)
{
    char lower[KEY_BYTES];
    char upper[KEY_BYTES];
    strata_read how = m->how;
    strata_iter *iter;
    uint64_t sum = 0;
    uint32_t count = 0;
    how.lower = counter_key(lower, "acct", writer);
    how.upper = counter_key(upper, "acct", writer + 1);
    how.step_budget = 5;
    MUST(strata_iter_open(w->db, &how, &iter));
    strata_rc rc = forward ? strata_iter_first(iter) : strata_iter_last(iter);
    while (rc != STRATA_END) {
        if (rc == STRATA_YIELD) {
            rc = strata_iter_resume(iter);
            continue;
        }
        MUST(rc);
        sum += number_in(strata_iter_value(iter));
        count++;
        rc = forward ? strata_iter_next(iter) : strata_iter_prev(iter);
    }
    EVIDENCE(count == ACCOUNTS && sum == (uint64_t)ACCOUNTS * BALANCE,
             "%u accounts of writer %u at commit %llu hold %llu", count, writer,
             (unsigned long long)m->commit, (unsigned long long)sum);
    strata_iter_close(iter);
}

static void check_log(struct world *w, const struct moment *m, uint32_t writer, bool forward)
{
    char key[KEY_BYTES];
    char lower[KEY_BYTES];
    char upper[KEY_BYTES];
    strata_read how = m->how;
    strata_iter *iter;
    uint64_t last = read_number(w, m, NULL, counter_key(key, "counter", writer));
    uint64_t first = read_number(w, m, w->b, counter_key(key, "first", writer));
    how.keyspace = w->b;
    how.lower = counter_key(lower, "log", writer);
    how.upper = counter_key(upper, "log", writer + 1);
    MUST(strata_iter_open(w->db, &how, &iter));
    strata_rc rc = forward ? strata_iter_first(iter) : strata_iter_last(iter);
    for (uint64_t i = first; i <= last; i++) {
        uint64_t want = forward ? i : last - (i - first);
        EVIDENCE(rc == STRATA_OK && number_in(strata_iter_value(iter)) == want,
                 "log of writer %u at commit %llu: %s, not number %llu of %llu to %llu", writer,
                 (unsigned long long)m->commit, strata_rc_name(rc), (unsigned long long)want,
                 (unsigned long long)first, (unsigned long long)last);
        rc = forward ? strata_iter_next(iter) : strata_iter_prev(iter);
    }
    EVIDENCE(rc == STRATA_END, "log of writer %u at commit %llu goes on after %llu", writer,
             (unsigned long long)m->commit, (unsigned long long)last);
    strata_iter_close(iter);
}

static void check_versions(struct world *w, const struct moment *m, uint32_t writer)
{
    char key[KEY_BYTES];
    strata_slice k = counter_key(key, "counter", writer);
    uint64_t want = read_number(w, m, NULL, k);
    uint64_t end = 0;
    strata_history *history;
    strata_version_info v;
    MUST(strata_history_open_key(w->db, &m->how, k, &history));
    for (uint32_t i = 0; i < 40; i++) {
        strata_rc rc = strata_history_next(history, &v);
        if (rc == STRATA_END) {
            EVIDENCE(want == UINT64_MAX, "the history of %s ends before %llu", key,
                     (unsigned long long)want);
            break;
        }
        MUST(rc);
        EVIDENCE(v.kind == STRATA_VERSION_PUT && number_in(v.value) == want &&
                     (i == 0 || v.end == end),
                 "version %u of %s at commit %llu: %llu for %llu, ends in %llu for %llu", i, key,
                 (unsigned long long)m->commit, (unsigned long long)number_in(v.value),
                 (unsigned long long)want, (unsigned long long)v.end, (unsigned long long)end);
        end = v.commit;
        want--;
    }
    strata_history_close(history);
}

static void *read_on(void *arg)
{
    struct actor *a = arg;
    struct world *w = a->w;
    struct prng p = {w->seed ^ (100 + a->number)};
    while (!atomic_load(&w->stop)) {
        struct moment m = moment_choose(w, &p);
        uint32_t writer = (uint32_t)prng_below(&p, WRITERS);
        for (uint32_t i = 0; i < 3; i++) {
            bool forward = prng_one_in(&p, 2);
            switch (prng_below(&p, 4)) {
            case 0:
                check_pairs(w, &m, writer);
                break;
            case 1:
                check_accounts(w, &m, writer, forward);
                break;
            case 2:
                check_log(w, &m, writer, forward);
                break;
            default:
                check_versions(w, &m, writer);
                break;
            }
            atomic_fetch_add(&w->reads, 1);
        }
        strata_snapshot_release(m.snapshot);
    }
    return NULL;
}

// ---- upkeep

static bool go_on(void *ctx, uint64_t done, uint64_t total)
{
    struct world *w = ctx;
    EVIDENCE(done <= total, "%llu of %llu bytes compacted", (unsigned long long)done,
             (unsigned long long)total);
    return !atomic_load(&w->stop);
}

static bool count_table(void *ctx, const strata_table_info *info)
{
    uint64_t *entries = ctx;
    *entries += info->entries;
    return true;
}

static bool count_keyspace(void *ctx, const strata_keyspace_info *info)
{
    uint64_t *count = ctx;
    *count += info->number > 0;
    return true;
}

// A keyspace that lives a moment.
static void make_and_drop(struct world *w, struct prng *p)
{
    strata_keyspace *space;
    strata_keyspace *again;
    char value[VALUE_BYTES];
    strata_write how = STRATA_WRITE_INIT;
    MUST(strata_keyspace_create(w->db, "passing", NULL, &space));
    MUST_BE(strata_keyspace_create(w->db, "passing", NULL, &again), STRATA_CONFLICT);
    how.keyspace = space;
    how.durability = STRATA_SYNC_NONE;
    for (uint64_t i = 0; i < 30; i++) {
        char key[KEY_BYTES];
        MUST(strata_put(w->db, &how, key_of(key, "k", 0, i), value_of(value, i)));
    }
    if (prng_one_in(p, 2)) {
        MUST(strata_flush(w->db));
    }
    MUST(strata_keyspace_drop(w->db, "passing"));
    MUST_BE(strata_put(w->db, &how, strata_str("k"), strata_str("v")), STRATA_INVALID);
}

static void work_once(struct world *w, struct prng *p)
{
    uint64_t count = 0;
    uint64_t commit;
    int64_t time_us;
    strata_rc rc;
    switch (prng_below(p, 8)) {
    case 0:
        MUST(strata_flush(w->db));
        break;
    case 1:
        rc = strata_compact(w->db, prng_one_in(p, 2) ? w->b : NULL, go_on, w);
        EVIDENCE(rc == STRATA_OK || rc == STRATA_BUSY, "compact: %s", strata_rc_name(rc));
        break;
    case 2:
        MUST(strata_check(w->db));
        break;
    case 3:
        EVIDENCE(metric_of(w->db, "newest_commit") >= w->first_commit, "newest_commit");
        break;
    case 4:
        MUST(strata_tree(w->db, count_table, &count));
        break;
    case 5:
        MUST(strata_sync(w->db));
        MUST(strata_keyspace_list(w->db, count_keyspace, &count));
        EVIDENCE(count == 2, "%llu keyspaces", (unsigned long long)count);
        break;
    case 6:
        MUST(strata_commit_time(w->db, strata_newest_commit(w->db), &time_us));
        MUST(strata_commit_at_time(w->db, time_us + 1000000, &commit));
        EVIDENCE(commit >= w->first_commit, "commit %llu", (unsigned long long)commit);
        break;
    default:
        make_and_drop(w, p);
        break;
    }
}

static void *work_on(void *arg)
{
    struct actor *a = arg;
    struct prng p = {a->w->seed ^ 77};
    while (!atomic_load(&a->w->stop)) {
        work_once(a->w, &p);
        atomic_fetch_add(&a->w->works, 1);
    }
    return NULL;
}

// ---- one run

static strata_options run_options(struct prng *p)
{
    strata_options o = STRATA_OPTIONS_INIT;
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = (16u << 20) << prng_below(p, 3);
    o.memtable_bytes = (64u << 10) << prng_below(p, 4);
    o.log_segment_bytes = (64u << 10) << prng_below(p, 6);
    o.log_append = (strata_log_append)prng_below(p, 3);
    o.background_threads = 1 + (uint32_t)prng_below(p, 3);
    o.keyspace.shape = (strata_shape)prng_below(p, 3);
    o.keyspace.level0_runs_max = 4 + (uint32_t)prng_below(p, 12);
    o.keyspace.block_bytes = 1024u << prng_below(p, 3);
    return o;
}

static void set_up(struct world *w, const char *path, const strata_options *options)
{
    strata_batch *batch;
    MUST(strata_open(path, options, &w->db));
    MUST(strata_keyspace_create(w->db, "b", &options->keyspace, &w->b));
    MUST(strata_batch_new(w->db, &batch));
    for (uint32_t i = 0; i < WRITERS; i++) {
        struct actor a = {.w = w, .number = i};
        struct writer_state s;
        writer_begin(&a, &s, batch);
    }
    strata_batch_free(batch);
    w->first_commit = strata_newest_commit(w->db);
}

static void begin(struct actor *a, struct world *w, uint32_t number, void *(*run)(void *))
{
    *a = (struct actor){.w = w, .number = number};
    if (pthread_create(&a->id, NULL, run, a) != 0) {
        test_fatal("no thread");
    }
}

// Everything once more, alone, at many commits.
static void check_at_rest(struct world *w, struct prng *p)
{
    for (uint32_t i = 0; i < 20; i++) {
        struct moment m = moment_choose(w, p);
        for (uint32_t writer = 0; writer < WRITERS; writer++) {
            check_pairs(w, &m, writer);
            check_accounts(w, &m, writer, i % 2 == 0);
            check_log(w, &m, writer, i % 2 == 0);
            check_versions(w, &m, writer);
        }
        strata_snapshot_release(m.snapshot);
    }
}

static uint64_t run(uint64_t seed, double seconds)
{
    struct prng p = {prng_mix(seed)};
    struct world w = {.seed = prng_next(&p)};
    struct actor actors[WRITERS + READERS + 1];
    strata_options options = run_options(&p);
    char *path = scratch_new(NULL);
    test_watchdog((unsigned)seconds + 90);
    set_up(&w, path, &options);
    for (uint32_t i = 0; i < WRITERS; i++) {
        begin(&actors[i], &w, i, write_on);
    }
    for (uint32_t i = 0; i < READERS; i++) {
        begin(&actors[WRITERS + i], &w, i, read_on);
    }
    begin(&actors[WRITERS + READERS], &w, 0, work_on);
    double end = test_seconds() + seconds;
    while (test_seconds() < end) {
        struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
        nanosleep(&pause, NULL);
    }
    atomic_store(&w.stop, true);
    for (uint32_t i = 0; i < WRITERS + READERS + 1; i++) {
        pthread_join(actors[i].id, NULL);
    }
    MUST(strata_check(w.db));
    check_at_rest(&w, &p);
    MUST(strata_wait_idle(w.db));
    check_at_rest(&w, &p);
    MUST(strata_close(w.db));
    options.flags = 0;
    MUST(strata_open(path, &options, &w.db));
    MUST(strata_keyspace_open(w.db, "b", &w.b));
    check_at_rest(&w, &p);
    MUST(strata_check(w.db));
    MUST(strata_close(w.db));
    test_watchdog(0);
    scratch_remove(path);
    printf("seed %llu: %llu batches, %llu reads of several keys, %llu works\n",
           (unsigned long long)seed, (unsigned long long)w.batches, (unsigned long long)w.reads,
           (unsigned long long)w.works);
    fflush(stdout);
    return w.reads;
}

int main(int argc, char **argv)
{
    struct test_options o;
    uint64_t cases = 0;
    test_options_parse(&o, argc, argv);
    double seconds = o.seconds > 0 ? o.seconds : 20;
    uint64_t runs = o.count > 0 ? o.count : 4;
    for (uint64_t i = 0; i < runs; i++) {
        test_label("t_threads --seed %llu --count 1 --seconds %.1f",
                   (unsigned long long)(o.seed + i), seconds / (double)runs);
        cases += run(o.seed + i, seconds / (double)runs);
    }
    printf("cases: %llu\n", (unsigned long long)cases);
    return 0;
}
