// Processes killed in the middle of their work: a child opens the database, commits from one to
// three threads with every durability and acknowledges through a pipe; it gets SIGKILL after 0 to
// 60 ms; then the parent looks at what is left. The death of a process loses nothing that was
// acknowledged, whatever its durability.
//
// What thread t commits as its s-th commit follows from the seed, t and s alone, and no two threads
// share a key. So the number of commits that survived of each thread gives the whole contents, and
// it is compared in both directions. The commit number of every batch is in the version of one of
// its keys: all numbers from the first to the newest must be there, so the survivors are a prefix.
//
//   keyspace "default"   r/T/SSSSSSSS = SSSSSSSS    one a commit
//   keyspace "orders"    c/T = SSSSSSSS             the thread's last commit
//   both                 h/T/KK                     overwritten and deleted; many values are long
//                                                   enough to be separated
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREADS_MAX 3u
#define HOT_KEYS 40u
#define HOT_OPS_MAX 6u
#define KEY_BYTES 24u
#define SPACES_COMMIT 1u // the commit that makes the keyspace "orders"
#define KILLS_OF_ONE_MAX 8u
#define LIFE_MS_MAX 60u

enum hot_kind { HOT_PUT, HOT_DELETE, HOT_DELETE_RANGE };

struct hot_op {
    enum hot_kind kind;
    bool orders; // the keyspace
    uint32_t key, end;
    uint32_t value_bytes;
};

struct plan {
    uint32_t op_count;
    struct hot_op ops[HOT_OPS_MAX];
    strata_durability durability;
};

struct ack {
    uint32_t thread;
    uint32_t seq;
    uint64_t commit;
};

// The lives of one directory.
struct world {
    uint64_t seed;
    char *path;
    strata_options options;
    uint32_t threads;
    struct ack *acks;
    size_t ack_count, ack_capacity;
};

struct total {
    uint64_t kills, commits, acked, opened, reads_only;
};

static struct plan plan_of(const struct world *w, uint32_t thread, uint32_t seq)
{
    struct prng p = {prng_mix(w->seed + thread) ^ ((uint64_t)seq << 20)};
    struct plan plan = {.op_count = (uint32_t)prng_below(&p, HOT_OPS_MAX + 1)};
    uint64_t durability = prng_below(&p, 12);
    plan.durability = durability == 0  ? STRATA_SYNC
                      : durability < 7 ? STRATA_SYNC_BACKGROUND
                                       : STRATA_SYNC_NONE;
    for (uint32_t i = 0; i < plan.op_count; i++) {
        struct hot_op *op = &plan.ops[i];
        uint64_t kind = prng_below(&p, 16);
        op->kind = kind == 0 ? HOT_DELETE_RANGE : kind < 4 ? HOT_DELETE : HOT_PUT;
        op->orders = prng_one_in(&p, 3);
        op->key = (uint32_t)prng_below(&p, HOT_KEYS);
        op->end = op->key + 1 + (uint32_t)prng_below(&p, 5);
        op->value_bytes = (uint32_t)prng_below(&p, 200);
        if (prng_one_in(&p, 60)) {
            op->value_bytes = (uint32_t)prng_below(&p, 30000);
        }
    }
    return plan;
}

static strata_slice hot_key(char *text, uint32_t thread, uint32_t key)
{
    snprintf(text, KEY_BYTES, "h/%u/%02u", thread, key);
    return strata_str(text);
}

static strata_slice seq_key(char *text, uint32_t thread, uint32_t seq)
{
    snprintf(text, KEY_BYTES, "r/%u/%08u", thread, seq);
    return strata_str(text);
}

// The number in the value of a counter; 0 when it is not one.
static uint32_t number_of(const strata_value *value)
{
    char text[KEY_BYTES] = {0};
    memcpy(text, value->data, value->bytes < KEY_BYTES ? value->bytes : KEY_BYTES - 1);
    return (uint32_t)strtoul(text, NULL, 10);
}

// The value of a hot key is known by who wrote it.
static strata_slice hot_value(char *buffer, uint32_t thread, uint32_t seq, uint32_t op,
                              uint32_t bytes)
{
    struct prng p = {((uint64_t)thread << 60) ^ ((uint64_t)seq << 8) ^ op};
    for (uint32_t i = 0; i < bytes; i += 8) {
        uint64_t word = prng_next(&p);
        memcpy(buffer + i, &word, 8);
    }
    return (strata_slice){buffer, bytes};
}

// ---- the child

struct writer {
    const struct world *w;
    strata_db *db;
    strata_keyspace *orders;
    uint32_t thread;
    int pipe_end;
    pthread_t id;
};

static void fill_batch(const struct writer *r, strata_batch *batch, const struct plan *plan,
                       uint32_t seq)
{
    static _Thread_local char value[32768];
    char key[KEY_BYTES];
    char end[KEY_BYTES];
    char text[KEY_BYTES];
    strata_batch_reset(batch);
    snprintf(text, sizeof text, "%08u", seq);
    MUST(strata_batch_put(batch, NULL, seq_key(key, r->thread, seq), strata_str(text)));
    for (uint32_t i = 0; i < plan->op_count; i++) {
        const struct hot_op *op = &plan->ops[i];
        strata_keyspace *space = op->orders ? r->orders : NULL;
        strata_slice k = hot_key(key, r->thread, op->key);
        if (op->kind == HOT_PUT) {
            MUST(strata_batch_put(batch, space, k,
                                  hot_value(value, r->thread, seq, i, op->value_bytes)));
        } else if (op->kind == HOT_DELETE) {
            MUST(strata_batch_delete(batch, space, k));
        } else {
            MUST(strata_batch_delete_range(batch, space, k, hot_key(end, r->thread, op->end)));
        }
    }
    snprintf(key, sizeof key, "c/%u", r->thread);
    MUST(strata_batch_put(batch, r->orders, strata_str(key), strata_str(text)));
}

static void *write_until_killed(void *arg)
{
    const struct writer *r = arg;
    strata_batch *batch;
    char key[KEY_BYTES];
    strata_value value = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    uint32_t seq = 0;
    how.keyspace = r->orders;
    snprintf(key, sizeof key, "c/%u", r->thread);
    strata_rc rc = strata_get(r->db, &how, strata_str(key), &value);
    if (rc == STRATA_OK) {
        seq = number_of(&value);
    } else {
        MUST_BE(rc, STRATA_NOT_FOUND);
    }
    strata_value_release(&value);
    MUST(strata_batch_new(r->db, &batch));
    for (;;) {
        seq++;
        struct plan plan = plan_of(r->w, r->thread, seq);
        struct ack ack = {.thread = r->thread, .seq = seq};
        strata_write write_how = STRATA_WRITE_INIT;
        write_how.durability = plan.durability;
        fill_batch(r, batch, &plan, seq);
        MUST(strata_commit(r->db, &write_how, batch, &ack.commit));
        if (write(r->pipe_end, &ack, sizeof ack) != (ssize_t)sizeof ack) {
            _exit(3); // the parent is gone
        }
    }
}

// Opens, says so by an acknowledgement of nothing, and works until it is killed.
static void child_run(const struct world *w, int pipe_end)
{
    static struct writer writers[THREADS_MAX];
    strata_db *db;
    strata_keyspace *orders;
    MUST(strata_open(w->path, &w->options, &db));
    strata_rc rc = strata_keyspace_open(db, "orders", &orders);
    if (rc == STRATA_NOT_FOUND) {
        rc = strata_keyspace_create(db, "orders", &w->options.keyspace, &orders);
    }
    MUST(rc);
    struct ack opened = {.thread = UINT32_MAX};
    if (write(pipe_end, &opened, sizeof opened) != (ssize_t)sizeof opened) {
        _exit(3);
    }
    for (uint32_t t = 0; t < w->threads; t++) {
        writers[t] = (struct writer){w, db, orders, t, pipe_end, 0};
        if (pthread_create(&writers[t].id, NULL, write_until_killed, &writers[t]) != 0) {
            _exit(3);
        }
    }
    struct prng p = {w->seed ^ (uint64_t)getpid()};
    for (;;) {
        usleep((useconds_t)(1000 + prng_below(&p, 20000)));
        if (prng_one_in(&p, 2)) {
            MUST(strata_flush(db));
        } else {
            MUST(strata_compact(db, NULL, NULL, NULL));
        }
    }
}

// ---- the parent: kill

static void take_ack(struct world *w, const struct ack *ack, struct total *total)
{
    test_grow((void **)&w->acks, &w->ack_capacity, w->ack_count, sizeof *w->acks);
    w->acks[w->ack_count++] = *ack;
    total->acked++;
}

// Reads acknowledgements until the deadline, or to the end when it is 0. True: the child is open.
static bool drain(struct world *w, int pipe_end, double deadline, struct total *total)
{
    bool opened = false;
    for (;;) {
        struct ack acks[64];
        if (deadline > 0) {
            double left = deadline - test_seconds();
            struct pollfd poll_end = {.fd = pipe_end, .events = POLLIN};
            if (left <= 0 || poll(&poll_end, 1, (int)(left * 1000) + 1) <= 0) {
                return opened;
            }
        }
        ssize_t got = read(pipe_end, acks, sizeof acks);
        if (got <= 0) {
            return opened;
        }
        // Writes of one acknowledgement are atomic, so whole ones are read.
        EVIDENCE((size_t)got % sizeof *acks == 0, "%zd bytes of acknowledgements", got);
        for (size_t i = 0; i < (size_t)got / sizeof *acks; i++) {
            if (acks[i].thread == UINT32_MAX) {
                opened = true;
            } else {
                take_ack(w, &acks[i], total);
            }
        }
        if (opened && deadline < 0) {
            return true;
        }
    }
}

static void live_and_kill(struct world *w, struct prng *p, struct total *total)
{
    int ends[2];
    EVIDENCE(pipe(ends) == 0, "pipe: %s", strerror(errno));
    fflush(NULL);
    pid_t child = fork();
    EVIDENCE(child >= 0, "fork: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        child_run(w, ends[1]);
    }
    close(ends[1]);
    bool opened = false;
    double life = (double)prng_below(p, LIFE_MS_MAX * 1000) * 1e-6;
    // One in three may die during its open.
    if (prng_one_in(p, 3)) {
        life /= 20;
    } else {
        opened = drain(w, ends[0], -1, total);
    }
    opened = drain(w, ends[0], test_seconds() + life, total) || opened;
    kill(child, SIGKILL);
    opened = drain(w, ends[0], 0, total) || opened;
    close(ends[0]);
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    EVIDENCE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL,
             "the child ended by itself with status 0x%x", (unsigned)status);
    total->kills++;
    total->opened += opened;
}

// ---- the parent: look

struct expected {
    bool there;
    uint32_t seq, op, value_bytes;
};

// Compares the hot keys of a thread with what `seqs` commits leave.
static void check_hot(const struct world *w, strata_iter *iter, bool orders, uint32_t thread,
                      uint32_t seqs)
{
    static char value[32768];
    char key[KEY_BYTES];
    struct expected all[HOT_KEYS] = {{0}};
    for (uint32_t s = 1; s <= seqs; s++) {
        struct plan plan = plan_of(w, thread, s);
        for (uint32_t i = 0; i < plan.op_count; i++) {
            const struct hot_op *op = &plan.ops[i];
            if (op->orders != orders) {
                continue;
            }
            uint32_t end = op->kind == HOT_DELETE_RANGE ? op->end : op->key + 1;
            for (uint32_t k = op->key; k < end && k < HOT_KEYS; k++) {
                all[k] = (struct expected){op->kind == HOT_PUT, s, i, op->value_bytes};
            }
        }
    }
    strata_rc rc = strata_iter_seek(iter, hot_key(key, thread, 0));
    for (uint32_t k = 0; k < HOT_KEYS; k++) {
        strata_slice want = hot_key(key, thread, k);
        bool here = rc == STRATA_OK && strata_iter_key(iter).bytes == want.bytes &&
                    memcmp(strata_iter_key(iter).data, want.data, want.bytes) == 0;
        EVIDENCE(here == all[k].there, "%s after %u commits: %s", key, seqs,
                 here ? "is back" : "is missing");
        if (here) {
            strata_slice v = hot_value(value, thread, all[k].seq, all[k].op, all[k].value_bytes);
            strata_slice got = strata_iter_value(iter);
            MUST(strata_iter_value_error(iter));
            EVIDENCE(got.bytes == v.bytes && memcmp(got.data, v.data, v.bytes) == 0,
                     "%s after %u commits: not the value of commit %u", key, seqs, all[k].seq);
            rc = strata_iter_next(iter);
        }
    }
    snprintf(key, sizeof key, "h/%u", thread + 1);
    EVIDENCE(rc == STRATA_END ||
                 (rc == STRATA_OK && memcmp(strata_iter_key(iter).data, key, 3) >= 0),
             "an extra key of thread %u", thread);
}

// The versions of the keys r/T/... backwards: every commit number is there once.
static void check_sequences(const struct world *w, strata_db *db, const uint32_t *seqs)
{
    uint64_t newest = strata_newest_commit(db);
    uint8_t *seen = test_alloc(newest + 1, 1);
    strata_iter *iter;
    char key[KEY_BYTES];
    strata_read how = STRATA_READ_INIT;
    how.lower = strata_str("r/");
    how.upper = strata_str("r0");
    MUST(strata_iter_open(db, &how, &iter));
    strata_rc rc = strata_iter_last(iter);
    for (uint32_t t = w->threads; t-- > 0;) {
        for (uint32_t s = seqs[t]; s > 0; s--) {
            strata_slice want = seq_key(key, t, s);
            EVIDENCE(rc == STRATA_OK && strata_iter_key(iter).bytes == want.bytes &&
                         memcmp(strata_iter_key(iter).data, want.data, want.bytes) == 0,
                     "%s is missing; the counter is %u", key, seqs[t]);
            uint64_t commit = strata_iter_commit(iter);
            EVIDENCE(commit > SPACES_COMMIT && commit <= newest && !seen[commit],
                     "%s has commit %llu of %llu", key, (unsigned long long)commit,
                     (unsigned long long)newest);
            seen[commit] = 1;
            rc = strata_iter_prev(iter);
        }
    }
    EVIDENCE(rc == STRATA_END, "there are more batches than the counters say");
    strata_iter_close(iter);
    for (uint64_t c = SPACES_COMMIT + 1; c <= newest; c++) {
        EVIDENCE(seen[c], "commit %llu of %llu is a hole", (unsigned long long)c,
                 (unsigned long long)newest);
    }
    free(seen);
}

static void check_acks(const struct world *w, strata_db *db, const uint32_t *seqs)
{
    char key[KEY_BYTES];
    strata_value value = STRATA_VALUE_INIT;
    for (size_t i = 0; i < w->ack_count; i++) {
        const struct ack *a = &w->acks[i];
        EVIDENCE(a->seq <= seqs[a->thread],
                 "commit %llu, the %u-th of thread %u, was acknowledged; %u are left",
                 (unsigned long long)a->commit, a->seq, a->thread, seqs[a->thread]);
        MUST(strata_get(db, NULL, seq_key(key, a->thread, a->seq), &value));
        EVIDENCE(value.commit == a->commit, "%s was acknowledged as commit %llu, is in %llu", key,
                 (unsigned long long)a->commit, (unsigned long long)value.commit);
    }
    strata_value_release(&value);
}

static void check_contents(const struct world *w, strata_db *db, struct total *total)
{
    uint32_t seqs[THREADS_MAX] = {0};
    strata_keyspace *orders;
    strata_rc rc = strata_keyspace_open(db, "orders", &orders);
    if (rc == STRATA_NOT_FOUND) {
        EVIDENCE(w->ack_count == 0 && strata_newest_commit(db) == 0, "the keyspace is gone");
        return;
    }
    MUST(rc);
    strata_value value = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    how.keyspace = orders;
    for (uint32_t t = 0; t < w->threads; t++) {
        char key[KEY_BYTES];
        snprintf(key, sizeof key, "c/%u", t);
        rc = strata_get(db, &how, strata_str(key), &value);
        EVIDENCE(rc == STRATA_OK || rc == STRATA_NOT_FOUND, "the counter of thread %u", t);
        seqs[t] = rc == STRATA_OK ? number_of(&value) : 0;
        total->commits += seqs[t];
    }
    strata_value_release(&value);
    check_sequences(w, db, seqs);
    check_acks(w, db, seqs);
    for (int o = 0; o < 2; o++) {
        strata_iter *iter;
        how.keyspace = o == 1 ? orders : NULL;
        MUST(strata_iter_open(db, &how, &iter));
        for (uint32_t t = 0; t < w->threads; t++) {
            check_hot(w, iter, o == 1, t, seqs[t]);
        }
        strata_iter_close(iter);
    }
}

static void look(struct world *w, struct prng *p, struct total *total)
{
    strata_db *db;
    strata_options options = w->options;
    bool read_only = prng_one_in(p, 3);
    if (read_only) {
        options.flags = STRATA_OPEN_READ_ONLY;
    }
    strata_rc rc = strata_open(w->path, &options, &db);
    if (rc == STRATA_NOT_FOUND && read_only) {
        EVIDENCE(w->ack_count == 0, "the database is gone");
        return;
    }
    MUST(rc);
    total->reads_only += read_only;
    check_contents(w, db, total);
    MUST(strata_check(db));
    MUST(strata_close(db));
}

// ---- worlds

static strata_options options_of(struct prng *p)
{
    strata_options o = STRATA_OPTIONS_INIT;
    o.flags = STRATA_OPEN_CREATE;
    o.memory_bytes = 16u << 20;
    o.memtable_bytes = (64u << 10) << prng_below(p, 4);
    o.log_segment_bytes = (64u << 10) << prng_below(p, 5);
    o.log_append = (strata_log_append)prng_below(p, 3);
    o.background_threads = 1 + (uint32_t)prng_below(p, 3);
    o.keyspace.shape = (strata_shape)prng_below(p, 3);
    o.keyspace.level0_runs_max = 4 + (uint32_t)prng_below(p, 8);
    o.keyspace.separation = prng_one_in(p, 5) ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
    o.keyspace.separate_bytes = 64u << prng_below(p, 3);
    o.keyspace.value_compression = (strata_compression)prng_below(p, 4);
    return o;
}

static void world_live(uint64_t seed, uint64_t kills_left, struct total *total)
{
    struct prng p = {prng_mix(seed)};
    bool in_memory = prng_one_in(&p, 4) && access("/dev/shm", W_OK) == 0;
    struct world w = {.seed = prng_next(&p),
                      .path = scratch_new(in_memory ? "/dev/shm" : NULL),
                      .options = options_of(&p),
                      .threads = 1 + (uint32_t)prng_below(&p, THREADS_MAX)};
    uint64_t kills = 1 + prng_below(&p, KILLS_OF_ONE_MAX);
    for (uint64_t i = 0; i < kills && i < kills_left; i++) {
        test_label("t_kill --seed %llu --count 1: in %s, kill %llu", (unsigned long long)seed,
                   w.path, (unsigned long long)i + 1);
        test_watchdog(60);
        live_and_kill(&w, &p, total);
        look(&w, &p, total);
    }
    test_watchdog(0);
    free(w.acks);
    scratch_remove(w.path);
}

int main(int argc, char **argv)
{
    struct test_options o;
    struct total total = {0};
    test_options_parse(&o, argc, argv);
    uint64_t kills = o.ops > 0 ? o.ops : 300;
    uint64_t worlds = o.count > 0 ? o.count : UINT64_MAX;
    for (uint64_t i = 0; i < worlds && total.kills < kills && !test_time_is_up(&o); i++) {
        world_live(o.seed + i, kills - total.kills, &total);
    }
    printf("%llu processes killed, %llu of them open; %llu acknowledged commits, none missing\n",
           (unsigned long long)total.kills, (unsigned long long)total.opened,
           (unsigned long long)total.acked);
    printf("%llu commits compared; %llu looks without recovery on disk (read-only)\n",
           (unsigned long long)total.commits, (unsigned long long)total.reads_only);
    printf("cases: %llu\n", (unsigned long long)total.kills);
    return 0;
}
