// The index of a value file by itself: any set of ordinals, in several logical files, is found as
// it was put in, and nothing else.
#include "value/value_index.h"

#include "base/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define NUMBER 6
#define BEGIN ((uint64_t)1 << 30)
#define ENTRIES_MAX 20000

struct entries {
    uint32_t ordinals[ENTRIES_MAX];
    uint32_t offsets[ENTRIES_MAX];
    size_t count;
};

static struct value_index_builder builder;

// Steps between ordinals as the shape says: 0 none missing, 1 few missing, 2 most, 3 in patches.
static uint32_t step_of(int shape, struct prng *rng)
{
    switch (shape) {
    case 0:
        return 1;
    case 1:
        return prng_one_in(rng, 10) ? 3 : 1;
    case 2:
        return 1 + (uint32_t)prng_below(rng, 3000);
    default:
        return prng_one_in(rng, 300) ? 1 + (uint32_t)prng_below(rng, 100000) : 1;
    }
}

static void fill(struct entries *e, int shape, size_t count, struct prng *rng)
{
    uint64_t ordinal = prng_below(rng, 1000);
    for (e->count = 0; e->count < count && ordinal < UINT32_MAX; e->count++) {
        e->ordinals[e->count] = (uint32_t)ordinal;
        e->offsets[e->count] = (uint32_t)(64 + prng_below(rng, BEGIN / 8 - 70));
        ordinal += step_of(shape, rng);
    }
}

static void add_logical(const struct entries *e, uint64_t file)
{
    for (size_t i = 0; i < e->count; i++) {
        assert_int_equal(value_index_add(&builder, e->ordinals[i], e->offsets[i]), STRATA_OK);
    }
    assert_int_equal(value_index_logical(&builder, file, file + 7, e->count, e->count * 10),
                     STRATA_OK);
}

static const uint8_t *bytes_at(uint64_t offset)
{
    return builder.blocks.data + (offset - BEGIN);
}

static struct value_index *open_sealed(void)
{
    struct value_index *index;
    struct value_footer footer;
    uint64_t at = BEGIN + builder.blocks.bytes - VALUE_FOOTER_BYTES;
    assert_int_equal(value_footer_decode(bytes_at(at), NUMBER, at, &footer), STRATA_OK);
    assert_int_equal(footer.keyspace, 2);
    assert_int_equal(footer.incarnation, 3);
    assert_int_equal(value_index_open(NUMBER, &footer, bytes_at(footer.directory_offset), &index),
                     STRATA_OK);
    for (uint32_t i = 0; i < index->block_count; i++) {
        assert_true(value_index_block_bytes(&index->blocks[i]) <= VALUE_BLOCK_BYTES_MAX);
        assert_int_equal(value_index_check(index, i, bytes_at(index->blocks[i].offset)), STRATA_OK);
    }
    return index;
}

static bool find(const struct value_index *index, uint64_t file, uint32_t ordinal,
                 uint64_t *offset_out)
{
    uint32_t block;
    uint64_t limit;
    const struct value_index_logical *l = value_index_find(index, file);
    if (l == NULL || !value_index_block_of(index, l, ordinal, &block) ||
        !value_index_lookup(index, block, bytes_at(index->blocks[block].offset), ordinal,
                            offset_out, &limit)) {
        return false;
    }
    assert_true(limit > *offset_out && limit <= BEGIN);
    return true;
}

static void check_entries(const struct value_index *index, uint64_t file, const struct entries *e)
{
    uint64_t offset;
    for (size_t i = 0; i < e->count; i++) {
        assert_true(find(index, file, e->ordinals[i], &offset));
        assert_int_equal(offset, (uint64_t)e->offsets[i] * VALUE_RECORD_ALIGN);
        uint32_t next = e->ordinals[i] + 1;
        bool there = i + 1 < e->count && e->ordinals[i + 1] == next;
        assert_true(find(index, file, next, &offset) == there);
    }
    if (e->count == 0 || e->ordinals[0] > 0) {
        assert_false(find(index, file, 0, &offset));
    }
    assert_false(find(index, file, UINT32_MAX, &offset));
}

static void any_set_of_ordinals_is_found_and_nothing_else(void **state)
{
    (void)state;
    static struct entries e[3];
    struct prng rng = {5};
    for (int round = 0; round < 60; round++) {
        value_index_begin(&builder, NUMBER, BEGIN);
        size_t all = 0;
        for (uint64_t i = 0; i < 3; i++) {
            size_t count = (size_t)prng_below(&rng, round % 5 == 0 ? ENTRIES_MAX : 1100);
            fill(&e[i], (round + (int)i) % 4, count, &rng);
            add_logical(&e[i], 10 + i * 5);
            all += e[i].count;
        }
        assert_int_equal(value_index_seal(&builder, 2, 3, false), STRATA_OK);
        struct value_index *index = open_sealed();
        assert_int_equal(index->logical_count, 3);
        for (uint64_t i = 0; i < 3; i++) {
            const struct value_index_logical *l = value_index_find(index, 10 + i * 5);
            assert_int_equal(l->records, e[i].count);
            assert_int_equal(l->raw_bytes, e[i].count * 10);
            assert_int_equal(l->stamp, 17 + i * 5);
            check_entries(index, 10 + i * 5, &e[i]);
        }
        assert_null(value_index_find(index, 11));
        assert_null(value_index_find(index, UINT64_MAX));
        // 8 bytes an entry, 24 for a block and its place in the directory, and the rest.
        assert_true(builder.blocks.bytes < all * 8 + (all / 300 + 4) * 24 + 400);
        value_index_free(index);
        value_index_release(&builder);
    }
}

static void neighbours_cost_four_bytes_each(void **state)
{
    (void)state;
    static struct entries e;
    struct prng rng = {5};
    fill(&e, 0, ENTRIES_MAX, &rng);
    value_index_begin(&builder, NUMBER, BEGIN);
    add_logical(&e, 1);
    assert_int_equal(value_index_seal(&builder, 2, 3, false), STRATA_OK);
    assert_true(builder.blocks.bytes < ENTRIES_MAX * 4 + ENTRIES_MAX / 30);
    value_index_release(&builder);
}

static void a_block_of_another_place_is_refused(void **state)
{
    (void)state;
    static struct entries e;
    struct prng rng = {5};
    fill(&e, 0, VALUE_DENSE_MAX * 3, &rng);
    value_index_begin(&builder, NUMBER, BEGIN);
    add_logical(&e, 1);
    assert_int_equal(value_index_seal(&builder, 2, 3, false), STRATA_OK);
    struct value_index *index = open_sealed();
    assert_int_equal(index->block_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t j = 0; j < 3; j++) {
            assert_int_equal(value_index_check(index, i, bytes_at(index->blocks[j].offset)),
                             i == j ? STRATA_OK : STRATA_CORRUPT);
        }
    }
    value_index_free(index);
    value_index_release(&builder);
}

static void a_file_without_values_has_an_index(void **state)
{
    (void)state;
    uint64_t offset;
    value_index_begin(&builder, NUMBER, BEGIN);
    assert_int_equal(value_index_logical(&builder, 4, 1, 0, 0), STRATA_OK);
    assert_int_equal(value_index_seal(&builder, 2, 3, false), STRATA_OK);
    struct value_index *index = open_sealed();
    assert_int_equal(index->block_count, 0);
    assert_false(find(index, 4, 0, &offset));
    value_index_free(index);
    value_index_release(&builder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_set_of_ordinals_is_found_and_nothing_else),
        cmocka_unit_test(neighbours_cost_four_bytes_each),
        cmocka_unit_test(a_block_of_another_place_is_refused),
        cmocka_unit_test(a_file_without_values_has_an_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
