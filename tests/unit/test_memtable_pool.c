// The memory of flushed memtables: what is kept, for how long, and what it counts.
#include "memtable/memtable_pool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#undef fail // of cmocka
#include "base/alloc.h"
#include "base/hash.h"
#include "memtable/memtable.h"

#define MIB ((size_t)1 << 20)

struct fixture {
    struct os_memory memory;
    struct memtable_pool pool;
};

static void open_pool(struct fixture *f, size_t most)
{
    os_memory_init(&f->memory, 64 * MIB);
    memtable_pool_init(&f->pool, &f->memory, most);
}

static void *fresh(void)
{
    void *chunk = alloc_aligned(MEMTABLE_CHUNK_MOST, MEMTABLE_CHUNK_MOST);
    assert_non_null(chunk);
    return chunk;
}

static void close_pool(struct fixture *f)
{
    memtable_pool_release(&f->pool);
    assert_int_equal(os_memory_used(&f->memory), 0);
}

static void a_chunk_comes_back_and_is_charged_meanwhile(void **state)
{
    (void)state;
    struct fixture f;
    open_pool(&f, 8 * MIB);
    assert_null(memtable_pool_take(&f.pool));
    void *chunk = fresh();
    memtable_pool_give(&f.pool, chunk);
    assert_int_equal(os_memory_used(&f.memory), 2 * MIB);
    assert_ptr_equal(memtable_pool_take(&f.pool), chunk);
    assert_int_equal(os_memory_used(&f.memory), 0);
    memtable_pool_give(&f.pool, chunk);
    close_pool(&f);
}

static void no_more_is_kept_than_was_allowed(void **state)
{
    (void)state;
    struct fixture f;
    open_pool(&f, 5 * MIB);
    for (int i = 0; i < 4; i++) {
        memtable_pool_give(&f.pool, fresh());
    }
    assert_int_equal(os_memory_used(&f.memory), 4 * MIB);
    close_pool(&f);
}

static void what_nobody_needs_goes_back(void **state)
{
    (void)state;
    struct fixture f;
    open_pool(&f, 16 * MIB);
    for (int i = 0; i < 6; i++) {
        memtable_pool_give(&f.pool, fresh());
    }
    memtable_pool_trim(&f.pool); // six came since the call before, when there were none
    assert_int_equal(os_memory_used(&f.memory), 12 * MIB);
    void *one = memtable_pool_take(&f.pool);
    void *other = memtable_pool_take(&f.pool);
    memtable_pool_give(&f.pool, one);
    memtable_pool_give(&f.pool, other);
    memtable_pool_trim(&f.pool); // four were never needed
    assert_int_equal(os_memory_used(&f.memory), 4 * MIB);
    memtable_pool_trim(&f.pool);
    assert_int_equal(os_memory_used(&f.memory), 0);
    close_pool(&f);
}

static void fill(struct memtable *m, uint32_t count)
{
    uint8_t value[1000] = {0};
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[4] = {(uint8_t)(i >> 24), (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i};
        struct kv_entry e = {.key = key,
                             .key_bytes = sizeof key,
                             .value = value,
                             .value_bytes = sizeof value,
                             .commit = i + 1,
                             .kind = KV_PUT};
        assert_int_equal(memtable_reserve(m, 1, sizeof key + sizeof value), STRATA_OK);
        memtable_add(m, &e, hash_key(slice_of(key, sizeof key)));
    }
}

static void a_memtable_lives_on_what_another_left(void **state)
{
    (void)state;
    struct fixture f;
    struct memtable *m;
    open_pool(&f, 64 * MIB);
    assert_int_equal(memtable_new(&f.pool, &m), STRATA_OK);
    fill(m, 20000);
    memtable_free(m);
    size_t kept = os_memory_used(&f.memory);
    assert_true(kept >= 16 * MIB);
    assert_int_equal(memtable_new(&f.pool, &m), STRATA_OK);
    fill(m, 20000);
    assert_int_equal(os_memory_used(&f.memory), 0);
    assert_int_equal(memtable_check(m), STRATA_OK);
    memtable_free(m);
    assert_int_equal(os_memory_used(&f.memory), kept);
    close_pool(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunk_comes_back_and_is_charged_meanwhile),
        cmocka_unit_test(no_more_is_kept_than_was_allowed),
        cmocka_unit_test(what_nobody_needs_goes_back),
        cmocka_unit_test(a_memtable_lives_on_what_another_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
