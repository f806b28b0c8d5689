#include "unit/table_fixture.h"

#include "os/thread.h"
#include "table/table_file.h"

#define KEYS 20000
#define VALUE_BYTES 40

struct filtered {
    struct world w;
    struct table_meta meta;
    struct table *table;
};

// Key 2 * i is there, the odd ones are not.
static struct slice key_number(uint8_t buffer[16], uint32_t number)
{
    int bytes = snprintf((char *)buffer, 16, "k%08u", number);
    return slice_of(buffer, (size_t)bytes);
}

static void filtered_open(struct filtered *f, size_t budget)
{
    world_init(&f->w, budget);
    struct table_options options = world_options();
    struct table_writer *w;
    uint8_t value[VALUE_BYTES];
    memset(value, 'v', sizeof value);
    assert_int_equal(table_writer_new(&f->w.dir.base, 9, &options, &w), STRATA_OK);
    for (uint32_t i = 0; i < KEYS; i++) {
        uint8_t buffer[16];
        struct slice key = key_number(buffer, 2 * i);
        struct kv_entry e = entry_of(key, slice_of(value, sizeof value), 1 + i);
        assert_int_equal(table_writer_add(w, &e, hash_key(key)), STRATA_OK);
    }
    assert_int_equal(table_writer_finish(w, &f->meta), STRATA_OK);
    assert_int_equal(table_open(&f->w.env, &f->meta, &f->table), STRATA_OK);
}

static void filtered_close(struct filtered *f)
{
    table_unref(f->table);
    table_meta_release(&f->meta);
    world_release(&f->w);
}

static bool filter_is_there(struct filtered *f)
{
    return atomic_load(&f->table->file->filter_slot) != NULL;
}

// Was the answer right? `keep`: of the blocks that are loaded.
static bool get_number(struct filtered *f, uint32_t number, bool keep,
                       struct table_stats_delta *delta)
{
    uint8_t buffer[16];
    struct kv_lookup lookup = {.key = key_number(buffer, number), .at = UINT64_MAX};
    lookup.hash = hash_key(lookup.key);
    uint32_t cold;
    os_epoch_enter();
    table_prefetch(f->table, lookup.hash);
    enum table_answer answer = table_get(f->table, &lookup, &cold, delta);
    os_epoch_leave();
    if (answer == TABLE_COLD) {
        struct cache_block *b;
        if (table_load(f->table, cold, keep, &b) != STRATA_OK) {
            return false;
        }
        answer = table_get_in(f->table, b, &lookup);
        cache_unpin(f->w.cache, b);
    }
    return answer == (number % 2 == 0 ? TABLE_FOUND : TABLE_ABSENT);
}

static void filter_is_within_the_budget(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 1 << 20);
    assert_true(filter_is_there(&f));
    size_t blocks = atomic_load(&f.w.memory.used[OS_MEMORY_BLOCKS]);
    assert_in_range(blocks, KEYS * 10 / 8, KEYS * 10 / 8 + 1024);
    struct table_stats_delta delta = {0};
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(get_number(&f, 2 * i + 1, true, &delta));
    }
    assert_in_range(delta.filter_negative, 970, 1000);
    assert_int_equal(delta.filter_negative + delta.filter_positive, 1000);
    filtered_close(&f);
}

static void answers_are_the_same_without_the_filter(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 1 << 20);
    cache_shrink(f.w.cache, SIZE_MAX);
    assert_false(filter_is_there(&f));
    assert_int_equal(atomic_load(&f.w.memory.used[OS_MEMORY_BLOCKS]), 0);
    struct table_stats_delta delta = {0};
    for (uint32_t i = 0; i < 2000; i++) {
        assert_true(get_number(&f, i, false, &delta)); // keeps nothing, so the filter stays away
    }
    assert_false(filter_is_there(&f));
    assert_int_equal(delta.filter_negative + delta.filter_positive, 0);
    filtered_close(&f);
}

static void filter_returns_after_as_many_bytes_of_blocks(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 1 << 20);
    cache_shrink(f.w.cache, SIZE_MAX);
    struct table_stats_delta delta = {0};
    uint64_t read = 0;
    uint32_t number = 0;
    while (!filter_is_there(&f)) {
        uint64_t before = f.w.dir.reads;
        assert_true(get_number(&f, number, true, &delta));
        read += f.w.dir.reads != before ? 512 : 0; // a block of about that size
        number += 37;
        assert_true(number < 2 * KEYS);
    }
    assert_in_range(read, KEYS * 10 / 8 / 2, KEYS * 10 / 8 * 2);
    assert_int_equal(delta.filter_negative, 0);
    assert_true(get_number(&f, 1, true, &delta));
    assert_int_equal(delta.filter_negative + delta.filter_positive, 1);
    filtered_close(&f);
}

static void nothing_exceeds_a_small_budget(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 1 << 20);
    size_t index = atomic_load(&f.w.memory.used[OS_MEMORY_INDEXES]);
    filtered_close(&f);
    const size_t rooms[] = {2000, 30000, 60000}; // less than the filter; it and little more
    for (size_t r = 0; r < 3; r++) {
        size_t budget = index + rooms[r];
        filtered_open(&f, budget);
        struct table_stats_delta delta = {0};
        for (uint32_t i = 0; i < 4000; i++) {
            assert_true(get_number(&f, i * 7919 % (2 * KEYS), true, &delta));
            assert_true(os_memory_used(&f.w.memory) <= budget);
        }
        filtered_close(&f);
    }
}

static void count_fault(void *ctx, const char *text)
{
    assert_non_null(strstr(text, "000009.table"));
    ++*(uint64_t *)ctx;
}

static void another_filter_in_its_place_is_corrupt(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 1 << 20);
    cache_shrink(f.w.cache, SIZE_MAX);
    struct table_file *tf = f.table->file;
    struct cache_block *b = NULL;
    tf->filter.line_count++; // the one in the file is shorter than what was there
    assert_int_equal(table_load_filter(tf, &b), STRATA_CORRUPT);
    tf->filter.line_count--;
    mem_find(&f.w.dir, tf->name)->data[tf->footer.filter.offset + 100] ^= 1;
    assert_int_equal(table_load_filter(tf, &b), STRATA_CORRUPT);
    assert_null(b);
    assert_int_equal(atomic_load(&f.w.memory.used[OS_MEMORY_BLOCKS]), 0);
    uint64_t blocks;
    uint64_t faults = 0;
    assert_int_equal(table_verify(f.table, count_fault, &faults, &blocks), STRATA_CORRUPT);
    assert_int_equal(faults, 1);
    filtered_close(&f);
}

// ---- threads

struct asker {
    struct os_thread thread;
    struct filtered *f;
    uint32_t seed;
    uint64_t wrong;
};

static void *run_asker(void *ctx)
{
    struct asker *a = ctx;
    struct prng p = {.state = a->seed};
    struct table_stats_delta delta = {0};
    for (uint32_t i = 0; i < 3000; i++) {
        a->wrong += !get_number(a->f, (uint32_t)prng_below(&p, 2 * KEYS), true, &delta);
        if (prng_one_in(&p, 100)) {
            cache_shrink(a->f->w.cache, SIZE_MAX);
        }
    }
    return NULL;
}

static void threads_ask_while_the_filter_comes_and_goes(void **state)
{
    (void)state;
    struct filtered f;
    filtered_open(&f, 2 << 20);
    struct asker askers[4] = {0};
    for (uint32_t t = 0; t < 4; t++) {
        askers[t].f = &f;
        askers[t].seed = t + 1;
        assert_int_equal(os_thread_start(&askers[t].thread, "asker", run_asker, &askers[t]),
                         STRATA_OK);
    }
    for (uint32_t t = 0; t < 4; t++) {
        os_thread_join(&askers[t].thread);
        assert_int_equal(askers[t].wrong, 0);
    }
    filtered_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_is_within_the_budget),
        cmocka_unit_test(answers_are_the_same_without_the_filter),
        cmocka_unit_test(filter_returns_after_as_many_bytes_of_blocks),
        cmocka_unit_test(nothing_exceeds_a_small_budget),
        cmocka_unit_test(another_filter_in_its_place_is_corrupt),
        cmocka_unit_test(threads_ask_while_the_filter_comes_and_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
