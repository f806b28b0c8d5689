// Value files while they are written, when they are finished, and rewritten ones.
#include "unit/value_world.h"

static const size_t sizes[] = {1,     8,      63,      64,      100,     4096,    65535,  65536,
                               65537, 200000, 1048575, 1048576, 1048577, 2097152, 3000001};
#define SIZES (sizeof sizes / sizeof sizes[0])

static void values_of_all_sizes_are_read_in_both_states(void **state)
{
    (void)state;
    for (int how = STRATA_COMPRESSION_DEFAULT; how <= STRATA_COMPRESSION_ZSTD; how++) {
        struct world w;
        struct value_place places[SIZES * 2];
        uint64_t raw = 0;
        world_begin(&w);
        struct value_file *f = world_new(&w, 9);
        for (size_t i = 0; i < SIZES * 2; i++) {
            places[i] = append(f, i, sizes[i / 2], (strata_compression)how);
            raw += sizes[i / 2];
            check(f, &places[i].ref, i);
            if (i % 5 == 0) {
                assert_int_equal(value_file_sync(f), STRATA_OK);
            }
        }
        assert_false(value_file_is_finished(f));
        assert_int_equal(value_file_finish(f), STRATA_OK);
        assert_int_equal(value_file_finish(f), STRATA_OK);
        assert_true(value_file_is_finished(f));
        for (int round = 0; round < 2; round++) {
            const struct value_meta *meta = value_file_meta(f);
            assert_int_equal(meta->file, 9);
            assert_int_equal(meta->keyspace, WORLD_KEYSPACE);
            assert_int_equal(meta->logical_count, 1);
            assert_int_equal(meta->logicals[0].file, 9);
            assert_int_equal(meta->logicals[0].raw_bytes, raw);
            assert_int_equal(meta->bytes, value_file_bytes(f));
            for (size_t i = 0; i < SIZES * 2; i++) {
                check(f, &places[i].ref, i);
            }
            f = world_reopen(&w, f);
        }
        struct faults faults = {0};
        assert_int_equal(value_file_verify(f, count_fault, count_visit, &faults), STRATA_OK);
        assert_int_equal(faults.visited, value_file_meta(f)->logicals[0].records);
        value_file_unref(f);
        world_end(&w);
    }
}

static void compression_makes_files_smaller(void **state)
{
    (void)state;
    uint64_t bytes[2];
    for (int how = 0; how < 2; how++) {
        struct world w;
        world_begin(&w);
        struct value_file *f = world_new(&w, 2);
        append(f, 1, 400000, how == 0 ? STRATA_COMPRESSION_NONE : STRATA_COMPRESSION_ZSTD);
        append(f, 1, 1500000, how == 0 ? STRATA_COMPRESSION_NONE : STRATA_COMPRESSION_LZ4);
        bytes[how] = value_file_bytes(f);
        value_file_unref(f);
        world_end(&w);
    }
    assert_true(bytes[1] < bytes[0] - bytes[0] / 5);
}

static void a_page_of_value_costs_under_32_bytes_more(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 2);
    for (uint64_t i = 0; i < 3000; i++) {
        append(f, i, 4096, STRATA_COMPRESSION_NONE);
    }
    assert_int_equal(value_file_finish(f), STRATA_OK);
    assert_true(value_file_meta(f)->bytes < 3000 * (4096 + 32));
    value_file_unref(f);
    world_end(&w);
}

// Counts reads of the value file and the 4 KiB pages they touch.
struct reads {
    uint64_t count, pages;
};

static void observe_read(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct reads *r = ctx;
    (void)m;
    if (e->op == SIM_OP_READ) {
        r->count++;
        r->pages += (e->offset + e->bytes - 1) / 4096 - e->offset / 4096 + 1;
    }
}

static void a_page_of_value_is_one_read_of_two_pages(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct kv_value_ref refs[600];
    struct value_file *f = world_new(&w, 2);
    for (uint64_t i = 0; i < 600; i++) {
        refs[i] = append(f, i, 4096, STRATA_COMPRESSION_LZ4).ref;
    }
    assert_int_equal(value_file_finish(f), STRATA_OK);
    check(f, &refs[0], 0); // the index is in memory now
    struct reads reads = {0};
    w.machine.observe = observe_read;
    w.machine.observe_ctx = &reads;
    for (uint64_t i = 0; i < 600; i++) {
        check(f, &refs[i], i);
    }
    w.machine.observe = NULL;
    assert_int_equal(reads.count, 600);
    assert_true(reads.pages <= 600 * 2 + 6);
    value_file_unref(f);
    world_end(&w);
}

// Reads some values together, in a random order, some twice.
static void read_some(struct world *w, struct value_file *f[2], const struct kv_value_ref *refs,
                      uint64_t values, struct prng *rng)
{
    static struct value_read reads[300];
    uint64_t which[300];
    size_t count = 1 + (size_t)prng_below(rng, prng_one_in(rng, 4) ? 300 : 20);
    for (size_t i = 0; i < count; i++) {
        uint64_t n = prng_below(rng, values);
        which[i] = prng_one_in(rng, 2) && i > 0 ? (which[i - 1] + 1) % values : n;
        const struct kv_value_ref *ref = &refs[which[i]];
        reads[i] =
            (struct value_read){f[ref->file - 4], *ref, malloc(ref->bytes), STRATA_BUSY, false};
        assert_non_null(reads[i].to);
    }
    if (prng_one_in(rng, 3)) {
        cache_shrink(w->env.cache, w->memory.budget_bytes);
    }
    if (prng_one_in(rng, 3)) {
        value_will_read(reads, count);
    }
    assert_int_equal(value_read_many(reads, count), STRATA_OK);
    for (size_t i = 0; i < count; i++) {
        uint8_t *v = value_bytes(which[i], reads[i].ref.bytes);
        assert_int_equal(reads[i].rc, STRATA_OK);
        assert_memory_equal(reads[i].to, v, reads[i].ref.bytes);
        free(v);
        free(reads[i].to);
    }
}

static void many_values_are_read_together(void **state)
{
    (void)state;
    struct world w;
    struct kv_value_ref refs[700];
    world_begin(&w);
    struct value_file *f[2] = {world_new(&w, 4), world_new(&w, 5)};
    for (uint64_t i = 0; i < 700; i++) {
        size_t bytes = i == 300 ? 2500000 : i % 90 == 7 ? 70000 : 1 + (i * 131) % 5000;
        refs[i] = append(f[i / 8 % 2], i, bytes, STRATA_COMPRESSION_LZ4).ref;
    }
    struct prng rng = {17};
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 40; i++) {
            read_some(&w, f, refs, 700, &rng);
        }
        assert_int_equal(value_file_finish(f[round]), STRATA_OK);
        for (int i = 0; i < 40; i++) {
            read_some(&w, f, refs, 700, &rng);
        }
    }
    value_file_unref(f[0]);
    value_file_unref(f[1]);
    world_end(&w);
}

static void neighbours_are_one_request(void **state)
{
    (void)state;
    struct world w;
    struct value_read reads[60] = {0};
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    uint8_t *to = malloc(60 * 1000);
    assert_non_null(to);
    for (uint64_t i = 0; i < 60; i++) {
        reads[i].file = f;
        reads[i].ref = append(f, i, 1000, STRATA_COMPRESSION_NONE).ref;
        reads[i].to = to + i * 1000;
    }
    assert_int_equal(value_file_finish(f), STRATA_OK);
    check(f, &reads[0].ref, 0);
    struct reads seen = {0};
    w.machine.observe = observe_read;
    w.machine.observe_ctx = &seen;
    assert_int_equal(value_read_many(reads, 60), STRATA_OK);
    assert_int_equal(seen.count, 1);
    assert_int_equal(value_read_many(reads, 20), STRATA_OK);
    assert_int_equal(seen.count, 2);
    // With a gap that is not worth reading.
    memmove(reads + 20, reads + 40, 20 * sizeof reads[0]);
    assert_int_equal(value_read_many(reads, 40), STRATA_OK);
    assert_int_equal(seen.count, 4);
    w.machine.observe = NULL;
    free(to);
    value_file_unref(f);
    world_end(&w);
}

static void one_bad_value_of_many_is_told_and_the_others_are_read(void **state)
{
    (void)state;
    struct world w;
    struct value_read reads[30];
    uint64_t offset = 0;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    uint8_t *to = malloc(30 * 1000);
    assert_non_null(to);
    for (uint64_t i = 0; i < 30; i++) {
        struct value_place p = append(f, i, 1000, STRATA_COMPRESSION_NONE);
        reads[i] = (struct value_read){f, p.ref, to + i * 1000, STRATA_BUSY, false};
        offset = i == 11 ? p.offset : offset;
    }
    assert_int_equal(value_file_finish(f), STRATA_OK);
    struct sim_inode *inode = sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000004.value");
    sim_inode_own_current(inode);
    inode->current->data[offset + 500] ^= 1;
    reads[5].ref.ordinal = 500;
    char text[64];
    assert_int_equal(value_read_many(reads, 30), STRATA_CORRUPT);
    assert_non_null(strstr(fail_text(), "4/500"));
    assert_int_equal(value_read_many(reads + 6, 24), STRATA_CORRUPT);
    snprintf(text, sizeof text, "000004.value, offset %llu", (unsigned long long)offset);
    assert_non_null(strstr(fail_text(), text));
    for (uint64_t i = 0; i < 30; i++) {
        uint8_t *v = value_bytes(i, 1000);
        assert_int_equal(reads[i].rc, i == 5 || i == 11 ? STRATA_CORRUPT : STRATA_OK);
        assert_true(reads[i].rc != STRATA_OK || memcmp(v, reads[i].to, 1000) == 0);
        free(v);
    }
    free(to);
    value_file_unref(f);
    world_end(&w);
}

static void every_part_of_a_value_can_be_read(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    for (int how = STRATA_COMPRESSION_NONE; how <= STRATA_COMPRESSION_LZ4; how++) {
        struct value_file *f = world_new(&w, 4 + (uint64_t)how);
        size_t bytes = 2 * KV_VALUE_CHUNK_BYTES + 777;
        struct kv_value_ref ref = append(f, 1, bytes, (strata_compression)how).ref;
        struct kv_value_ref small = append(f, 3, 5000, (strata_compression)how).ref;
        assert_int_equal(value_file_finish(f), STRATA_OK);
        uint8_t *v = value_bytes(1, bytes);
        uint8_t *v3 = value_bytes(3, 5000);
        uint8_t *got = malloc(bytes);
        struct prng rng = {11};
        for (int i = 0; i < 60; i++) {
            size_t from = (size_t)prng_below(&rng, bytes);
            size_t count = (size_t)prng_below(&rng, bytes - from + 1);
            assert_int_equal(value_file_read(f, &ref, from, got, count), STRATA_OK);
            assert_memory_equal(got, v + from, count);
            from %= 5000;
            count %= 5001 - from;
            assert_int_equal(value_file_read(f, &small, from, got, count), STRATA_OK);
            assert_memory_equal(got, v3 + from, count);
        }
        free(got);
        free(v);
        free(v3);
        value_file_unref(f);
    }
    world_end(&w);
}

static void a_stream_is_read_as_one_value(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    size_t bytes = 3 * KV_VALUE_CHUNK_BYTES + 5;
    uint8_t *v = value_bytes(1, bytes);
    struct value_place first;
    for (size_t at = 0; at < bytes; at += KV_VALUE_CHUNK_BYTES) {
        size_t left = bytes - at;
        struct slice chunk =
            slice_of(v + at, left < KV_VALUE_CHUNK_BYTES ? left : KV_VALUE_CHUNK_BYTES);
        struct value_place place;
        assert_int_equal(value_file_append_chunk(f, chunk, STRATA_COMPRESSION_LZ4, &place),
                         STRATA_OK);
        assert_int_equal(place.offset % VALUE_SECTOR_BYTES, 0);
        assert_int_equal(value_file_sync(f), STRATA_OK);
        first = at == 0 ? place : first;
    }
    free(v);
    first.ref.bytes = (uint32_t)bytes;
    check(f, &first.ref, 1);
    assert_int_equal(value_file_finish(f), STRATA_OK);
    check(f, &first.ref, 1);
    value_file_unref(f);
    world_end(&w);
}

static void a_file_is_full_at_64_mib(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    uint8_t *v = value_bytes(2, 1 << 20);
    struct value_place place;
    for (int i = 0; i < 63; i++) {
        assert_int_equal(
            value_file_append(f, slice_of(v, 1 << 20), STRATA_COMPRESSION_NONE, &place), STRATA_OK);
    }
    assert_false(value_file_is_full(f));
    assert_int_equal(value_file_append(f, slice_of(v, 1 << 20), STRATA_COMPRESSION_NONE, &place),
                     STRATA_OK);
    assert_true(value_file_is_full(f));
    free(v);
    value_file_unref(f);
    world_end(&w);
}

static void what_is_not_there_is_corrupt(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    struct kv_value_ref ref = append(f, 1, 100, STRATA_COMPRESSION_NONE).ref;
    append(f, 2, 100, STRATA_COMPRESSION_NONE);
    for (int round = 0; round < 2; round++) {
        struct kv_value_ref wrong[] = {
            {5, ref.ordinal, ref.bytes},     {4, ref.ordinal + 2, ref.bytes},
            {4, ref.ordinal, ref.bytes + 1}, {4, ref.ordinal, ref.bytes - 1},
            {4, UINT32_MAX - 1, 1},          {4, ref.ordinal, KV_VALUE_CHUNK_BYTES + 5},
        };
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            assert_int_equal(try_read(f, &wrong[i], 1), STRATA_CORRUPT);
            assert_non_null(strstr(fail_text(), "000004.value"));
        }
        bool holds;
        assert_int_equal(value_file_holds(f, 4, 1, &holds), STRATA_OK);
        assert_true(holds);
        assert_int_equal(value_file_holds(f, 4, 2, &holds), STRATA_OK);
        assert_false(holds);
        assert_int_equal(value_file_holds(f, 7, 0, &holds), STRATA_OK);
        assert_false(holds);
        assert_int_equal(value_file_finish(f), STRATA_OK);
    }
    value_file_unref(f);
    world_end(&w);
}

static void a_deleted_file_goes_with_its_last_reference(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    struct kv_value_ref ref = append(f, 1, 100, STRATA_COMPRESSION_NONE).ref;
    assert_int_equal(value_file_finish(f), STRATA_OK);
    value_file_ref(f);
    value_file_delete_at_close(f);
    value_file_unref(f);
    check(f, &ref, 1);
    assert_non_null(sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000004.value"));
    value_file_unref(f);
    assert_null(sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000004.value"));
    world_end(&w);
}

// ---- rewrites

static void a_rewrite_keeps_references(void **state)
{
    (void)state;
    struct world w;
    struct kv_value_ref refs[3][400];
    struct value_file *from[3];
    world_begin(&w);
    for (uint64_t i = 0; i < 3; i++) {
        from[i] = world_new(&w, 10 + i);
        for (uint64_t j = 0; j < 400; j++) {
            size_t bytes = j == 77 ? 2500000 : 10 + (j * 37) % 900;
            refs[i][j] = append(from[i], i * 1000 + j, bytes, STRATA_COMPRESSION_LZ4).ref;
        }
        assert_int_equal(value_file_finish(from[i]), STRATA_OK);
    }
    struct value_writer *writer;
    struct value_file *to;
    assert_int_equal(value_writer_new(&w.env, 20, WORLD_KEYSPACE, 8, &writer), STRATA_OK);
    for (uint64_t i = 3; i-- > 0;) {
        for (uint64_t j = 0; j < 400; j += i == 1 ? 1 : 7) {
            const struct kv_value_ref *r = &refs[i][j];
            assert_int_equal(
                value_writer_copy(writer, from[i], r->file, r->ordinal, kv_value_chunks(r->bytes)),
                STRATA_OK);
        }
    }
    assert_int_equal(value_writer_finish(writer, &to), STRATA_OK);
    // And of the rewritten file once more.
    for (int round = 0; round < 2; round++) {
        assert_int_equal(value_file_meta(to)->logical_count, 3);
        uint64_t raw = 0;
        for (uint64_t i = 0; i < 3; i++) {
            for (uint64_t j = 0; j < 400; j += i == 1 ? 1 : 7) {
                check(to, &refs[i][j], i * 1000 + j);
                raw += refs[i][j].bytes;
            }
            raw -= value_file_meta(to)->logicals[i].raw_bytes;
            assert_int_equal(value_file_meta(to)->logicals[i].file, 10 + i);
        }
        assert_int_equal(raw, 0);
        assert_int_equal(try_read(to, &refs[0][1], 1), STRATA_CORRUPT);
        struct faults faults = {0};
        assert_int_equal(value_file_verify(to, count_fault, count_visit, &faults), STRATA_OK);
        if (round == 0) {
            struct value_file *again;
            assert_int_equal(value_writer_new(&w.env, 21, WORLD_KEYSPACE, 9, &writer), STRATA_OK);
            for (uint64_t i = 0; i < 3; i++) {
                for (uint64_t j = 0; j < 400; j += i == 1 ? 1 : 7) {
                    const struct kv_value_ref *r = &refs[i][j];
                    assert_int_equal(value_writer_copy(writer, to, r->file, r->ordinal,
                                                       kv_value_chunks(r->bytes)),
                                     STRATA_OK);
                }
            }
            assert_int_equal(value_writer_finish(writer, &again), STRATA_OK);
            value_file_unref(to);
            to = again;
        }
    }
    value_file_unref(to);
    for (int i = 0; i < 3; i++) {
        value_file_unref(from[i]);
    }
    world_end(&w);
}

static void an_abandoned_rewrite_leaves_no_file(void **state)
{
    (void)state;
    struct world w;
    struct value_writer *writer;
    world_begin(&w);
    assert_int_equal(value_writer_new(&w.env, 20, WORLD_KEYSPACE, 8, &writer), STRATA_OK);
    assert_non_null(sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000020.value"));
    value_writer_abandon(writer);
    value_writer_abandon(NULL);
    assert_null(sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000020.value"));
    world_end(&w);
}

static void the_index_is_evicted_and_read_again(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    struct kv_value_ref refs[5000];
    for (uint64_t i = 0; i < 5000; i++) {
        refs[i] = append(f, i, 20, STRATA_COMPRESSION_NONE).ref;
    }
    assert_int_equal(value_file_finish(f), STRATA_OK);
    for (uint64_t i = 0; i < 5000; i += 100) {
        check(f, &refs[i], i);
        struct cache_stats stats;
        cache_stats(w.env.cache, &stats);
        assert_true(stats.blocks > 0);
        cache_shrink(w.env.cache, w.memory.budget_bytes);
        cache_stats(w.env.cache, &stats);
        assert_int_equal(stats.blocks, 0);
    }
    value_file_unref(f);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_all_sizes_are_read_in_both_states),
        cmocka_unit_test(compression_makes_files_smaller),
        cmocka_unit_test(a_page_of_value_costs_under_32_bytes_more),
        cmocka_unit_test(a_page_of_value_is_one_read_of_two_pages),
        cmocka_unit_test(many_values_are_read_together),
        cmocka_unit_test(neighbours_are_one_request),
        cmocka_unit_test(one_bad_value_of_many_is_told_and_the_others_are_read),
        cmocka_unit_test(every_part_of_a_value_can_be_read),
        cmocka_unit_test(a_stream_is_read_as_one_value),
        cmocka_unit_test(a_file_is_full_at_64_mib),
        cmocka_unit_test(what_is_not_there_is_corrupt),
        cmocka_unit_test(a_deleted_file_goes_with_its_last_reference),
        cmocka_unit_test(a_rewrite_keeps_references),
        cmocka_unit_test(an_abandoned_rewrite_leaves_no_file),
        cmocka_unit_test(the_index_is_evicted_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
