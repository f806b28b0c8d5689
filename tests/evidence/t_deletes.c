// A million keys deleted at random, among others that stay or come back, with range deletes in the
// mix and with flushes and compactions between. At five commits the whole contents are remembered
// as plain arrays; they are compared with scans in both directions and with gets of every key, as
// of each of the five, before and after a reopen: every expected key is found, nothing else is.
#include "base/prng.h"
#include "lib/evidence.h"
#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMITS 5u
#define BATCH_KEYS 1000u
#define KEY_BYTES 16u
#define VALUE_BYTES 24u
#define MANY 64u // keys of one get_many

// What key i holds: the number of the write that put it there; 0: nothing.
struct model {
    strata_db *db;
    struct prng random;
    uint64_t keys;
    uint32_t *now;
    uint32_t write; // of the last put
    uint32_t kept_count;
    struct {
        uint64_t commit;
        uint32_t *state;
    } kept[COMMITS];
    uint64_t compared, ranges, flushes, compactions, present;
};

static strata_slice key_of(char *to, uint64_t i)
{
    // The middle of the key moves fastest, so that heads and prefixes do not give keys away.
    char text[24];
    snprintf(text, sizeof text, "%06llu/key/%05llu", (unsigned long long)(i / 1000),
             (unsigned long long)(i % 1000));
    memcpy(to, text, KEY_BYTES);
    return (strata_slice){to, KEY_BYTES};
}

static strata_slice value_of(uint64_t *to, uint64_t i, uint32_t write)
{
    to[0] = i;
    to[1] = write;
    to[2] = prng_mix(i + ((uint64_t)write << 32));
    return (strata_slice){to, VALUE_BYTES};
}

static bool is_value(strata_slice got, uint64_t i, uint32_t write)
{
    uint64_t want[3];
    value_of(want, i, write);
    return got.bytes == VALUE_BYTES && memcmp(got.data, want, VALUE_BYTES) == 0;
}

// ---- writing

static void commit(struct model *m, strata_batch *batch)
{
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_NONE;
    MUST(strata_commit(m->db, &how, batch, NULL));
    strata_batch_reset(batch);
}

static void put(struct model *m, strata_batch *batch, uint64_t i)
{
    char key[KEY_BYTES];
    uint64_t value[3];
    m->now[i] = ++m->write;
    MUST(strata_batch_put(batch, NULL, key_of(key, i), value_of(value, i, m->write)));
}

static void delete_range(struct model *m, strata_batch *batch)
{
    char begin[KEY_BYTES];
    char end[KEY_BYTES];
    uint64_t first = prng_below(&m->random, m->keys);
    uint64_t past = first + 1 + prng_below(&m->random, 20);
    past = past > m->keys ? m->keys : past;
    MUST(strata_batch_delete_range(batch, NULL, key_of(begin, first), key_of(end, past)));
    memset(m->now + first, 0, (past - first) * sizeof *m->now);
    m->ranges++;
}

static void keep(struct model *m)
{
    uint32_t *state = test_alloc(m->keys, sizeof *state);
    memcpy(state, m->now, m->keys * sizeof *state);
    m->kept[m->kept_count].commit = strata_newest_commit(m->db);
    m->kept[m->kept_count].state = state;
    m->kept_count++;
}

static uint64_t *shuffled(struct model *m)
{
    uint64_t *order = test_alloc(m->keys, sizeof *order);
    for (uint64_t i = 0; i < m->keys; i++) {
        uint64_t j = prng_below(&m->random, i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static void upkeep(struct model *m, uint64_t batches)
{
    if (batches % 60 == 0) {
        MUST(strata_flush(m->db));
        m->flushes++;
    }
    if (batches % 300 == 150) {
        MUST(strata_compact(m->db, NULL, NULL, NULL));
        m->compactions++;
    }
}

// Puts every key, then deletes `deletes` of them in random order. One in fifty of those deleted
// before comes back and is deleted once more, or stays.
static void write_all(struct model *m, uint64_t deletes)
{
    strata_batch *batch;
    uint64_t *order = shuffled(m);
    uint64_t batches = 0;
    MUST(strata_batch_new(m->db, &batch));
    for (uint64_t n = 0; n < m->keys; n++) {
        put(m, batch, order[n]);
        if (n % BATCH_KEYS == BATCH_KEYS - 1 || n + 1 == m->keys) {
            commit(m, batch);
            upkeep(m, ++batches);
        }
    }
    keep(m);
    free(order);
    order = shuffled(m);
    for (uint64_t n = 0; n < deletes; n++) {
        char key[KEY_BYTES];
        MUST(strata_batch_delete(batch, NULL, key_of(key, order[n])));
        m->now[order[n]] = 0;
        if (prng_one_in(&m->random, 50)) {
            put(m, batch, order[prng_below(&m->random, n + 1)]);
        }
        if (prng_one_in(&m->random, 500)) {
            delete_range(m, batch);
        }
        if (n % BATCH_KEYS == BATCH_KEYS - 1 || n + 1 == deletes) {
            commit(m, batch);
            upkeep(m, ++batches);
        }
        if ((n + 1) * (COMMITS - 1) / deletes >= m->kept_count) {
            if (strata_batch_count(batch) > 0) {
                commit(m, batch);
            }
            keep(m);
        }
    }
    free(order);
    strata_batch_free(batch);
}

// ---- comparing

static void compare_scan(struct model *m, uint32_t which, bool forward)
{
    const uint32_t *state = m->kept[which].state;
    strata_read how = STRATA_READ_INIT;
    strata_iter *iter;
    char key[KEY_BYTES];
    how.as_of = m->kept[which].commit;
    MUST(strata_iter_open(m->db, &how, &iter));
    strata_rc rc = forward ? strata_iter_first(iter) : strata_iter_last(iter);
    for (uint64_t n = 0; n < m->keys; n++) {
        uint64_t i = forward ? n : m->keys - 1 - n;
        if (state[i] == 0) {
            continue;
        }
        key_of(key, i);
        EVIDENCE(rc == STRATA_OK && strata_iter_key(iter).bytes == KEY_BYTES &&
                     memcmp(strata_iter_key(iter).data, key, KEY_BYTES) == 0 &&
                     is_value(strata_iter_value(iter), i, state[i]),
                 "scan %s as of %llu at key %.*s: %s, key %.*s", forward ? "forwards" : "backwards",
                 (unsigned long long)how.as_of, (int)KEY_BYTES, key, strata_rc_name(rc),
                 (int)strata_iter_key(iter).bytes, (const char *)strata_iter_key(iter).data);
        rc = forward ? strata_iter_next(iter) : strata_iter_prev(iter);
        m->compared++;
    }
    EVIDENCE(rc == STRATA_END, "scan as of %llu: an extra key %.*s", (unsigned long long)how.as_of,
             (int)strata_iter_key(iter).bytes, (const char *)strata_iter_key(iter).data);
    strata_iter_close(iter);
}

// Every key by itself, there or not.
static void compare_gets(struct model *m, uint32_t which)
{
    static strata_value values[MANY];
    static char texts[MANY][KEY_BYTES];
    const uint32_t *state = m->kept[which].state;
    strata_slice keys[MANY];
    strata_rc rcs[MANY];
    strata_read how = STRATA_READ_INIT;
    how.as_of = m->kept[which].commit;
    for (uint64_t i = 0; i < m->keys; i += MANY) {
        uint64_t count = m->keys - i < MANY ? m->keys - i : MANY;
        for (uint64_t j = 0; j < count; j++) {
            keys[j] = key_of(texts[j], i + j);
        }
        MUST(strata_get_many(m->db, &how, count, keys, values, rcs));
        for (uint64_t j = 0; j < count; j++) {
            uint32_t want = state[i + j];
            EVIDENCE(rcs[j] == (want == 0 ? STRATA_NOT_FOUND : STRATA_OK) &&
                         (want == 0 ||
                          is_value((strata_slice){values[j].data, values[j].bytes}, i + j, want)),
                     "get of %.*s as of %llu: %s", (int)KEY_BYTES, texts[j],
                     (unsigned long long)how.as_of, strata_rc_name(rcs[j]));
        }
        m->compared += count;
    }
    for (uint32_t j = 0; j < MANY; j++) {
        strata_value_release(&values[j]);
    }
}

static void compare_all(struct model *m)
{
    double began = test_seconds();
    MUST(strata_check(m->db));
    for (uint32_t c = 0; c < m->kept_count; c++) {
        compare_scan(m, c, true);
        compare_scan(m, c, false);
        compare_gets(m, c);
    }
    printf("compared in %.1f s\n", test_seconds() - began);
    fflush(stdout);
}

static void open_again(struct model *m, const char *path, const strata_options *options)
{
    if (m->db != NULL) {
        MUST(strata_close(m->db));
    }
    MUST(strata_open(path, options, &m->db));
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t deletes = o.ops > 0 ? o.ops : 1000000;
    struct model m = {.random = {prng_mix(o.seed)}, .keys = deletes + deletes / 8};
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    options.memory_bytes = 64u << 20;
    options.memtable_bytes = 4u << 20;
    options.keyspace.shape = (strata_shape)(o.seed % 3);
    char *path = scratch_new(NULL);
    test_label("t_deletes --seed %llu --ops %llu: in %s", (unsigned long long)o.seed,
               (unsigned long long)deletes, path);
    m.now = test_alloc(m.keys, sizeof *m.now);
    double began = test_seconds();
    open_again(&m, path, &options);
    write_all(&m, deletes);
    EVIDENCE(m.kept_count == COMMITS, "%u states were kept", m.kept_count);
    for (uint64_t i = 0; i < m.keys; i++) {
        m.present += m.now[i] != 0;
    }
    printf("%llu keys, %llu deleted one by one and %llu ranges; %llu are left; %llu flushes and "
           "%llu compactions between; %.1f s\n",
           (unsigned long long)m.keys, (unsigned long long)deletes, (unsigned long long)m.ranges,
           (unsigned long long)m.present, (unsigned long long)m.flushes,
           (unsigned long long)m.compactions, test_seconds() - began);
    fflush(stdout);
    compare_all(&m);
    open_again(&m, path, &options);
    compare_all(&m);
    MUST(strata_compact(m.db, NULL, NULL, NULL));
    open_again(&m, path, &options);
    compare_all(&m);
    MUST(strata_close(m.db));
    for (uint32_t c = 0; c < m.kept_count; c++) {
        free(m.kept[c].state);
    }
    free(m.now);
    scratch_remove(path);
    printf("cases: %llu\n", (unsigned long long)m.compared);
    return 0;
}
