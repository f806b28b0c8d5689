// Lookups and scans of one table in several threads, with a cache that holds a few of its blocks.
#include "unit/table_fixture.h"

#include "os/thread.h"

#include <stdatomic.h>

#define KEYS 2000
#define STEPS 4000

struct shared {
    struct world w;
    struct table *table;
    _Atomic uint64_t seeds;
    _Atomic uint64_t wrong;
};

static struct slice key_of(uint64_t i, char to[16])
{
    return slice_of(to, (size_t)snprintf(to, 16, "key%06u", (unsigned)i));
}

static bool value_is(const struct kv_entry *e, uint64_t i)
{
    return e->value_bytes == sizeof i && memcmp(e->value, &i, sizeof i) == 0 && e->commit == i + 1;
}

static bool look_up(struct shared *s, uint64_t i)
{
    char text[16];
    struct slice key = key_of(i, text);
    struct kv_lookup lookup = {.key = key, .hash = hash_key(key), .at = UINT64_MAX - 1};
    struct table_stats_delta delta = {0};
    uint32_t cold;
    os_epoch_enter();
    enum table_answer answer = table_get(s->table, &lookup, &cold, &delta);
    bool right = answer == TABLE_FOUND && value_is(&lookup.entry, i);
    os_epoch_leave();
    if (answer == TABLE_COLD) {
        struct cache_block *b;
        if (table_load(s->table, cold, true, &b) != STRATA_OK) {
            return false;
        }
        right = table_get_in(s->table, b, &lookup) == TABLE_FOUND && value_is(&lookup.entry, i);
        cache_unpin(s->w.cache, b);
    }
    return right;
}

static bool scan(struct shared *s, uint64_t from, bool backward, uint32_t ahead)
{
    struct kv_cursor *c;
    char text[16];
    if (run_cursor_open(s->w.cache, &s->table, 1, true, ahead, &c) != STRATA_OK) {
        return false;
    }
    uint64_t i = backward ? from - 1 : from;
    strata_rc rc = kv_cursor_seek(c, key_of(from, text), backward);
    bool right = rc == (backward && from == 0 ? STRATA_END : STRATA_OK);
    for (int step = 0; right && rc == STRATA_OK && step < 100; step++) {
        right = value_is(c->at, i);
        i = backward ? i - 1 : i + 1;
        rc = kv_cursor_next(c);
    }
    kv_cursor_close(c);
    return right;
}

static void *reader_run(void *ctx)
{
    struct shared *s = ctx;
    struct prng r = {atomic_fetch_add(&s->seeds, 1)};
    for (int i = 0; i < STEPS; i++) {
        uint64_t n = prng_below(&r, KEYS);
        bool right = prng_one_in(&r, 8)
                         ? scan(s, n, prng_one_in(&r, 2), prng_one_in(&r, 2) ? 2048 : 0)
                         : look_up(s, n);
        if (!right) {
            atomic_fetch_add(&s->wrong, 1);
        }
    }
    return NULL;
}

static void readers_share_a_small_cache(void **state)
{
    (void)state;
    static struct shared s;
    world_init(&s.w, 64 << 10);
    struct table_options o = world_options();
    struct table_writer *writer;
    struct table_meta meta;
    assert_int_equal(table_writer_new(&s.w.dir.base, 1, &o, &writer), STRATA_OK);
    for (uint64_t i = 0; i < KEYS; i++) {
        char text[16];
        struct kv_entry e = entry_of(key_of(i, text), slice_of(&i, sizeof i), i + 1);
        assert_int_equal(table_writer_add(writer, &e, hash_key(kv_key(&e))), STRATA_OK);
    }
    assert_int_equal(table_writer_finish(writer, &meta), STRATA_OK);
    assert_int_equal(table_open(&s.w.env, &meta, &s.table), STRATA_OK);
    s.w.memory.budget_bytes = os_memory_used(&s.w.memory) + 8000; // some eight blocks
    struct os_thread threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(os_thread_start(&threads[i], "reader", reader_run, &s), STRATA_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(s.wrong, 0);
    struct cache_stats stats;
    cache_stats(s.w.cache, &stats);
    assert_true(stats.evictions > 100);
    table_unref(s.table);
    table_meta_release(&meta);
    world_release(&s.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_share_a_small_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
