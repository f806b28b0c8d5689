#include "unit/table_fixture.h"

#include "os/thread.h"

#include <stdatomic.h>

#define CHARGE(bytes) ((bytes) + CACHE_BLOCK_HEAD_BYTES + CACHE_PADDING)

static struct cache_block *put_block(struct cache *c, cache_slot *slot, uint64_t bytes,
                                     uint8_t fill)
{
    struct cache_block *b = cache_block_new(c, bytes);
    assert_non_null(b);
    assert_ptr_equal(b->data, cache_block_data(b));
    assert_int_equal((uintptr_t)b->data % 64, 0);
    memset(b->data, fill, bytes);
    return cache_attach(c, slot, b, true);
}

static void attached_block_is_found(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    cache_slot slot = NULL;
    struct cache_block *b = put_block(w.cache, &slot, 100, 1);
    cache_unpin(w.cache, b);
    os_epoch_enter();
    assert_ptr_equal(cache_peek(&slot), b);
    os_epoch_leave();
    os_epoch_enter();
    assert_ptr_equal(cache_pin(&slot), b);
    os_epoch_leave();
    assert_int_equal(os_memory_used(&w.memory), CHARGE(100));
    struct cache_stats stats;
    cache_stats(w.cache, &stats);
    assert_int_equal(stats.blocks, 1);
    assert_int_equal(stats.bytes, 100);
    cache_drop(w.cache, &slot);
    assert_null(cache_peek(&slot));
    assert_int_equal(b->data[99], 1); // pinned: still readable
    assert_int_equal(os_memory_used(&w.memory), CHARGE(100));
    cache_unpin(w.cache, b);
    assert_int_equal(os_memory_used(&w.memory), 0);
    world_release(&w);
}

static void second_loader_gets_the_first_block(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    cache_slot slot = NULL;
    struct cache_block *first = put_block(w.cache, &slot, 100, 1);
    struct cache_block *second = put_block(w.cache, &slot, 100, 2);
    assert_ptr_equal(first, second);
    assert_int_equal(os_memory_used(&w.memory), CHARGE(100));
    cache_unpin(w.cache, first);
    cache_unpin(w.cache, second);
    cache_drop(w.cache, &slot);
    world_release(&w);
}

static void block_not_kept_goes_at_its_last_unpin(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 1 << 20);
    cache_slot slot = NULL;
    struct cache_block *b = cache_attach(w.cache, &slot, cache_block_new(w.cache, 10), false);
    assert_null(slot);
    cache_unpin(w.cache, b);
    assert_int_equal(os_memory_used(&w.memory), 0);
    world_release(&w);
}

static void full_budget_evicts_the_untouched(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 4 * CHARGE(1000));
    cache_slot slots[8] = {NULL};
    for (size_t i = 0; i < 4; i++) {
        cache_unpin(w.cache, put_block(w.cache, &slots[i], 1000, (uint8_t)i));
    }
    os_epoch_enter();
    assert_non_null(cache_peek(&slots[0])); // marked as used
    os_epoch_leave();
    cache_unpin(w.cache, put_block(w.cache, &slots[4], 1000, 4));
    assert_non_null(slots[0]);
    assert_null(slots[1]);
    assert_true(os_memory_used(&w.memory) <= w.memory.budget_bytes);
    struct cache_stats stats;
    cache_stats(w.cache, &stats);
    assert_int_equal(stats.evictions, 1);
    assert_int_equal(stats.blocks, 4);
    cache_shrink(w.cache, w.memory.budget_bytes);
    for (size_t i = 0; i < 8; i++) {
        assert_null(slots[i]);
    }
    world_release(&w);
}

static void pinned_blocks_are_not_evicted(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 2 * CHARGE(1000));
    cache_slot slots[3] = {NULL};
    struct cache_block *b[3];
    b[0] = put_block(w.cache, &slots[0], 1000, 0);
    b[1] = put_block(w.cache, &slots[1], 1000, 1);
    b[2] = put_block(w.cache, &slots[2], 1000, 2); // no room: given, not kept
    assert_ptr_equal(slots[0], b[0]);
    assert_ptr_equal(slots[1], b[1]);
    assert_null(slots[2]);
    struct cache_stats stats;
    cache_stats(w.cache, &stats);
    assert_int_equal(stats.bypasses, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(b[i]->data[500], i);
        cache_unpin(w.cache, b[i]);
    }
    assert_int_equal(os_memory_used(&w.memory), 2 * CHARGE(1000));
    cache_drop(w.cache, &slots[0]);
    cache_drop(w.cache, &slots[1]);
    world_release(&w);
}

// ---- threads

#define RACE_SLOTS 16
#define RACE_STEPS 20000

struct race {
    struct world w;
    cache_slot slots[RACE_SLOTS];
    _Atomic uint64_t seeds;
    _Atomic uint64_t wrong;
};

static bool block_is(const struct cache_block *b, uint64_t number)
{
    return b->data[0] == number && b->data[b->bytes - 1] == number;
}

static void *race_run(void *ctx)
{
    struct race *r = ctx;
    struct prng random = {atomic_fetch_add(&r->seeds, 1)};
    for (int i = 0; i < RACE_STEPS; i++) {
        uint64_t n = prng_below(&random, RACE_SLOTS);
        uint64_t what = prng_below(&random, 16);
        struct cache_block *b = NULL;
        os_epoch_enter();
        if (what < 6) {
            struct cache_block *seen = cache_peek(&r->slots[n]);
            if (seen != NULL && !block_is(seen, n)) {
                atomic_fetch_add(&r->wrong, 1);
            }
        } else if (what < 15) {
            b = cache_pin(&r->slots[n]);
        }
        os_epoch_leave();
        if (what == 15) {
            cache_drop(r->w.cache, &r->slots[n]);
        } else if (what >= 12 && b == NULL) {
            b = put_block(r->w.cache, &r->slots[n], 100 + n, (uint8_t)n);
        }
        if (b != NULL) {
            if (!block_is(b, n)) {
                atomic_fetch_add(&r->wrong, 1);
            }
            cache_unpin(r->w.cache, b);
        }
    }
    return NULL;
}

static void threads_pin_evict_and_drop(void **state)
{
    (void)state;
    static struct race r;
    world_init(&r.w, 5 * CHARGE(116)); // much less than all
    struct os_thread threads[4];
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(os_thread_start(&threads[i], "race", race_run, &r), STRATA_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(r.wrong, 0);
    struct cache_stats stats;
    cache_stats(r.w.cache, &stats);
    assert_true(stats.evictions > 0);
    for (size_t i = 0; i < RACE_SLOTS; i++) {
        cache_drop(r.w.cache, &r.slots[i]);
    }
    world_release(&r.w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attached_block_is_found),
        cmocka_unit_test(second_loader_gets_the_first_block),
        cmocka_unit_test(block_not_kept_goes_at_its_last_unpin),
        cmocka_unit_test(full_budget_evicts_the_untouched),
        cmocka_unit_test(pinned_blocks_are_not_evicted),
        cmocka_unit_test(threads_pin_evict_and_drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
