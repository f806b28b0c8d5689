#include "kv/batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

static struct batch_op op_of(enum batch_kind kind, uint64_t keyspace, const char *key,
                             const char *value)
{
    struct batch_op op = {.kind = kind, .keyspace = keyspace, .key = text(key)};
    if (value != NULL) {
        op.value = text(value);
    }
    return op;
}

static void append(struct buffer *b, struct batch_op op)
{
    assert_int_equal(batch_append(b, &op), STRATA_OK);
}

static void expect_op(const struct batch_op *a, const struct batch_op *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_true(a->keyspace == b->keyspace);
    assert_true(a->expiry == b->expiry);
    assert_true(slice_equal(a->key, b->key));
    assert_true(slice_equal(a->value, b->value));
    assert_true(a->ref.file == b->ref.file && a->ref.ordinal == b->ref.ordinal &&
                a->ref.bytes == b->ref.bytes && a->value_offset == b->value_offset);
}

static struct batch_op separated(const char *key, uint64_t file, uint32_t ordinal, uint32_t bytes)
{
    return (struct batch_op){.kind = BATCH_PUT_SEPARATED,
                             .keyspace = 7,
                             .key = text(key),
                             .ref = {file, ordinal, bytes},
                             .value_offset = 4096};
}

static void every_kind_comes_back(void **state)
{
    (void)state;
    struct batch_op ops[] = {
        op_of(BATCH_PUT, 0, "key", "value"),
        op_of(BATCH_PUT, 300, "k", ""),
        op_of(BATCH_DELETE, 1, "gone", NULL),
        op_of(BATCH_RANGE_DELETE, 2, "a", "b"),
        op_of(BATCH_RANGE_DELETE, 2, "", "b"),
        {.kind = BATCH_PUT_EXPIRING, .expiry = INT64_MAX, .key = text("e"), .value = text("v")},
        separated("s", 1, 0, 1),
        separated("s", UINT64_MAX, UINT32_MAX - 4096, UINT32_MAX),
        {.kind = BATCH_PUT_SEPARATED,
         .expiry = INT64_MAX,
         .key = text("e"),
         .ref = {3, 2, 1},
         .value_offset = INT64_MAX},
        op_of(BATCH_KEYSPACE_CREATE, UINT64_MAX, "name", "options"),
        op_of(BATCH_KEYSPACE_DROP, 9, "", NULL),
    };
    struct buffer b = {0};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        append(&b, ops[i]);
    }
    const uint8_t *at = b.data;
    const uint8_t *end = b.data + b.bytes;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct batch_op got;
        assert_int_equal(batch_decode(&at, end, &got), STRATA_OK);
        expect_op(&got, &ops[i]);
    }
    assert_ptr_equal(at, end);
    buffer_release(&b);
}

static void encoding_of_a_put_is_as_documented(void **state)
{
    (void)state;
    struct buffer b = {0};
    append(&b, op_of(BATCH_PUT, 200, "ab", "c"));
    static const uint8_t expected[] = {1, 0xc8, 1, 2, 'a', 'b', 1, 'c'};
    assert_int_equal(b.bytes, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buffer_release(&b);
}

static void encoding_of_a_separated_put_is_as_documented(void **state)
{
    (void)state;
    struct buffer b = {0};
    append(&b, (struct batch_op){.kind = BATCH_PUT_SEPARATED,
                                 .keyspace = 200,
                                 .key = text("ab"),
                                 .expiry = 6,
                                 .ref = {9, 5, 300},
                                 .value_offset = 128});
    static const uint8_t expected[] = {4, 0xc8, 1, 9, 5, 0xac, 2, 0x80, 1, 6, 2, 'a', 'b'};
    assert_int_equal(b.bytes, sizeof expected);
    assert_memory_equal(b.data, expected, sizeof expected);
    buffer_release(&b);
}

static strata_rc decode_copy(const uint8_t *bytes, size_t count)
{
    // A heap copy of the exact size, so that a read past it is seen.
    uint8_t *copy = malloc(count);
    assert_non_null(copy);
    memcpy(copy, bytes, count);
    const uint8_t *at = copy;
    struct batch_op op;
    strata_rc rc = batch_decode(&at, copy + count, &op);
    free(copy);
    return rc;
}

static void op_cut_anywhere_is_corrupt(void **state)
{
    (void)state;
    struct batch_op ops[] = {
        op_of(BATCH_PUT, 300, "key", "value"),
        op_of(BATCH_DELETE, 1, "gone", NULL),
        op_of(BATCH_RANGE_DELETE, 2, "a", "b"),
        {.kind = BATCH_PUT_EXPIRING, .expiry = 1u << 20, .key = text("e"), .value = text("v")},
        separated("key", 1u << 20, 300, 1u << 30),
        op_of(BATCH_KEYSPACE_CREATE, 3, "name", "options"),
        op_of(BATCH_KEYSPACE_DROP, 300, "", NULL),
    };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        struct buffer b = {0};
        append(&b, ops[i]);
        assert_int_equal(decode_copy(b.data, b.bytes), STRATA_OK);
        for (size_t cut = 1; cut < b.bytes; cut++) {
            assert_int_equal(decode_copy(b.data, cut), STRATA_CORRUPT);
        }
        buffer_release(&b);
    }
}

static void illegal_lengths_are_corrupt(void **state)
{
    (void)state;
    static uint8_t long_key[KV_KEY_BYTES_MAX + 1];
    struct batch_op op = {.kind = BATCH_PUT, .key = slice_of(long_key, KV_KEY_BYTES_MAX)};
    struct buffer b = {0};
    append(&b, op);
    assert_int_equal(decode_copy(b.data, b.bytes), STRATA_OK);
    op.key.bytes++;
    buffer_clear(&b);
    append(&b, op);
    assert_int_equal(decode_copy(b.data, b.bytes), STRATA_CORRUPT);
    op.kind = BATCH_DELETE;
    buffer_clear(&b);
    append(&b, op);
    assert_int_equal(decode_copy(b.data, b.bytes), STRATA_CORRUPT);
    buffer_clear(&b);
    append(&b, op_of(BATCH_PUT, 0, "", "v"));
    assert_int_equal(decode_copy(b.data, b.bytes), STRATA_CORRUPT);
    buffer_clear(&b);
    append(&b, op_of(BATCH_KEYSPACE_CREATE, 1, "", "v"));
    assert_int_equal(decode_copy(b.data, b.bytes), STRATA_CORRUPT);
    buffer_release(&b);
    // A length that would wrap a pointer.
    static const uint8_t wraps[] = {2,    0,    0xff, 0xff, 0xff, 0xff, 0xff,
                                    0xff, 0xff, 0xff, 0xff, 0x01, 'k'};
    assert_int_equal(decode_copy(wraps, sizeof wraps), STRATA_CORRUPT);
}

static strata_rc decode_op(struct batch_op op)
{
    struct buffer b = {0};
    append(&b, op);
    strata_rc rc = decode_copy(b.data, b.bytes);
    buffer_release(&b);
    return rc;
}

// kind, keyspace, then the numbers given, then the key "k".
static strata_rc decode_numbers(const uint64_t *numbers, size_t count)
{
    struct buffer b = {0};
    assert_int_equal(buffer_append_u8(&b, BATCH_PUT_SEPARATED), STRATA_OK);
    assert_int_equal(buffer_append_varint(&b, 1), STRATA_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(buffer_append_varint(&b, numbers[i]), STRATA_OK);
    }
    assert_int_equal(buffer_append_prefixed(&b, text("k")), STRATA_OK);
    strata_rc rc = decode_copy(b.data, b.bytes);
    buffer_release(&b);
    return rc;
}

static void place_that_cannot_be_is_corrupt(void **state)
{
    (void)state;
    const uint64_t good[] = {1, 2, 3, 4, 5};
    assert_int_equal(decode_numbers(good, 5), STRATA_OK);
    static const struct {
        size_t at;
        uint64_t number;
    } bad[] = {
        {0, 0},
        {1, (uint64_t)UINT32_MAX + 1},
        {1, UINT32_MAX},
        {2, 0},
        {2, (uint64_t)UINT32_MAX + 1},
        {2, UINT64_MAX},
        {3, UINT64_MAX},
        {4, UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t numbers[5];
        memcpy(numbers, good, sizeof numbers);
        numbers[bad[i].at] = bad[i].number;
        assert_int_equal(decode_numbers(numbers, 5), STRATA_CORRUPT);
    }
    assert_int_equal(decode_op(separated("s", 1, UINT32_MAX - 4095, UINT32_MAX)), STRATA_CORRUPT);
    struct batch_op op = separated("", 1, 2, 3);
    assert_int_equal(decode_op(op), STRATA_CORRUPT);
}

static void expiry_beyond_every_clock_is_corrupt(void **state)
{
    (void)state;
    struct batch_op op = op_of(BATCH_PUT_EXPIRING, 1, "k", "v");
    op.expiry = INT64_MAX;
    assert_int_equal(decode_op(op), STRATA_OK);
    op.expiry++;
    assert_int_equal(decode_op(op), STRATA_CORRUPT);
}

static void range_with_begin_not_before_end_is_corrupt(void **state)
{
    (void)state;
    static const char *const bounds[][2] = {{"b", "a"}, {"a", "a"}, {"", ""}, {"ab", "a"}};
    for (size_t i = 0; i < 4; i++) {
        struct buffer b = {0};
        append(&b, op_of(BATCH_RANGE_DELETE, 0, bounds[i][0], bounds[i][1]));
        assert_int_equal(decode_copy(b.data, b.bytes), STRATA_CORRUPT);
        buffer_release(&b);
    }
}

static void unknown_kind_is_another_version(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 256; kind++) {
        uint8_t bytes[] = {(uint8_t)kind, 0, 1, 'a', 1, 'b', 0, 0};
        strata_rc rc = decode_copy(bytes, sizeof bytes);
        bool known = (kind >= 1 && kind <= 4) || (kind >= 16 && kind <= 18);
        assert_int_equal(rc == STRATA_VERSION, !known);
    }
}

static void batch_of_another_count_is_corrupt(void **state)
{
    (void)state;
    struct buffer b = {0};
    append(&b, op_of(BATCH_PUT, 0, "a", "1"));
    append(&b, op_of(BATCH_PUT, 0, "b", "2"));
    struct batch_op ops[3];
    uint32_t kept;
    assert_int_equal(batch_normalise(buffer_slice(&b), 1, ops, &kept), STRATA_CORRUPT);
    assert_int_equal(batch_normalise(buffer_slice(&b), 3, ops, &kept), STRATA_CORRUPT);
    assert_int_equal(batch_normalise(buffer_slice(&b), 2, ops, &kept), STRATA_OK);
    assert_int_equal(kept, 2);
    assert_int_equal(batch_normalise(slice_of(NULL, 0), 0, ops, &kept), STRATA_OK);
    assert_int_equal(kept, 0);
    buffer_release(&b);
}

static void later_op_wins(void **state)
{
    (void)state;
    struct buffer b = {0};
    append(&b, op_of(BATCH_PUT, 0, "a", "1"));
    append(&b, op_of(BATCH_PUT, 1, "a", "2"));
    append(&b, op_of(BATCH_PUT, 0, "c", "3"));
    append(&b, op_of(BATCH_RANGE_DELETE, 0, "b", "d"));
    append(&b, op_of(BATCH_PUT, 0, "bb", "4"));
    append(&b, op_of(BATCH_DELETE, 0, "a", NULL));
    append(&b, op_of(BATCH_PUT, 0, "d", "5"));
    struct batch_op ops[7];
    uint32_t kept;
    assert_int_equal(batch_normalise(buffer_slice(&b), 7, ops, &kept), STRATA_OK);
    assert_int_equal(kept, 5);
    expect_op(&ops[0], &(struct batch_op){
                           .kind = BATCH_PUT, .keyspace = 1, .key = text("a"), .value = text("2")});
    assert_int_equal(ops[1].kind, BATCH_RANGE_DELETE);
    assert_true(slice_equal(ops[2].key, text("bb")));
    assert_int_equal(ops[3].kind, BATCH_DELETE);
    assert_true(slice_equal(ops[4].key, text("d")));
    buffer_release(&b);
}

static bool covered_by(const struct batch_op *later, const struct batch_op *op)
{
    if (later->keyspace != op->keyspace || later->kind >= BATCH_KEYSPACE_CREATE) {
        return false;
    }
    if (later->kind == BATCH_RANGE_DELETE) {
        return slice_compare(later->key, op->key) <= 0 && slice_compare(op->key, later->value) < 0;
    }
    return slice_equal(later->key, op->key);
}

// Every batch against the sentence of the definition, with many sizes and shares of range deletes.
static void random_batches_equal_the_definition(void **state)
{
    (void)state;
    struct prng rng = {11};
    static struct batch_op made[400];
    static struct batch_op ops[400];
    static char keys[800][4];
    for (int round = 0; round < 3000; round++) {
        uint32_t count = 1 + (uint32_t)prng_below(&rng, round % 10 == 0 ? 400 : 60);
        uint64_t keyspaces = 1 + prng_below(&rng, 3);
        uint64_t ranges = prng_below(&rng, 3) == 0 ? 2 : 12;
        uint64_t space = 1 + prng_below(&rng, 900);
        struct buffer b = {0};
        for (uint32_t i = 0; i < count; i++) {
            uint64_t x = prng_below(&rng, space);
            uint64_t y = x + 1 + prng_below(&rng, 40);
            snprintf(keys[2 * i], 4, "%03u", (unsigned)x);
            snprintf(keys[2 * i + 1], 4, "%03u", (unsigned)(y > 999 ? 999 : y));
            struct batch_op op = {.keyspace = prng_below(&rng, keyspaces),
                                  .key = text(keys[2 * i])};
            if (prng_one_in(&rng, ranges)) {
                op.kind = BATCH_RANGE_DELETE;
                op.value = text(keys[2 * i + 1]);
            } else if (prng_one_in(&rng, 5)) {
                op.kind = BATCH_DELETE;
            } else if (prng_one_in(&rng, 20)) {
                op.kind = BATCH_KEYSPACE_CREATE;
            } else if (prng_one_in(&rng, 5)) {
                op.kind = BATCH_PUT_SEPARATED;
                op.ref = (struct kv_value_ref){1 + y, i, 1};
            } else {
                op.kind = prng_one_in(&rng, 4) ? BATCH_PUT_EXPIRING : BATCH_PUT;
                op.expiry = op.kind == BATCH_PUT_EXPIRING ? 5 : 0;
                op.value = text(keys[2 * i + 1]);
            }
            made[i] = op;
            append(&b, op);
        }
        uint32_t kept;
        assert_int_equal(batch_normalise(buffer_slice(&b), count, ops, &kept), STRATA_OK);
        uint32_t at = 0;
        for (uint32_t i = 0; i < count; i++) {
            bool point = made[i].kind != BATCH_RANGE_DELETE && made[i].kind < BATCH_KEYSPACE_CREATE;
            bool covered = false;
            for (uint32_t j = i + 1; j < count && point; j++) {
                covered |= covered_by(&made[j], &made[i]);
            }
            if (!covered) {
                assert_true(at < kept);
                expect_op(&ops[at++], &made[i]);
            }
        }
        assert_int_equal(at, kept);
        buffer_release(&b);
    }
}

static void random_bytes_never_read_out_of_bounds(void **state)
{
    (void)state;
    struct prng rng = {3};
    for (int round = 0; round < 200000; round++) {
        uint8_t bytes[24];
        size_t count = 1 + prng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < count; i++) {
            uint64_t small = prng_below(&rng, 20);
            bytes[i] = (uint8_t)(prng_one_in(&rng, 4) ? prng_next(&rng) : small);
        }
        strata_rc rc = decode_copy(bytes, count);
        assert_true(rc == STRATA_OK || rc == STRATA_CORRUPT || rc == STRATA_VERSION);
    }
}

static void big_batch_of_ranges_and_points_is_not_quadratic(void **state)
{
    (void)state;
    enum { COUNT = 100000 };
    struct buffer b = {0};
    for (uint32_t i = 0; i < COUNT; i++) {
        char key[16], end[16];
        snprintf(key, sizeof key, "%08u", i);
        snprintf(end, sizeof end, "%08u", i + COUNT / 2);
        append(&b, op_of(i % 2 == 0 ? BATCH_RANGE_DELETE : BATCH_PUT, 0, key, end));
    }
    struct batch_op *ops = malloc(COUNT * sizeof *ops);
    assert_non_null(ops);
    uint32_t kept;
    assert_int_equal(batch_normalise(buffer_slice(&b), COUNT, ops, &kept), STRATA_OK);
    assert_int_equal(kept, COUNT); // every range begins behind the points before it
    free(ops);
    buffer_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_comes_back),
        cmocka_unit_test(encoding_of_a_put_is_as_documented),
        cmocka_unit_test(encoding_of_a_separated_put_is_as_documented),
        cmocka_unit_test(op_cut_anywhere_is_corrupt),
        cmocka_unit_test(illegal_lengths_are_corrupt),
        cmocka_unit_test(place_that_cannot_be_is_corrupt),
        cmocka_unit_test(expiry_beyond_every_clock_is_corrupt),
        cmocka_unit_test(range_with_begin_not_before_end_is_corrupt),
        cmocka_unit_test(unknown_kind_is_another_version),
        cmocka_unit_test(batch_of_another_count_is_corrupt),
        cmocka_unit_test(later_op_wins),
        cmocka_unit_test(random_batches_equal_the_definition),
        cmocka_unit_test(random_bytes_never_read_out_of_bounds),
        cmocka_unit_test(big_batch_of_ranges_and_points_is_not_quadratic),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
