#include "table/value_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"
#include "kv/value_ref.h"
#include "lib/alloc_fault.h"

static strata_rc note(struct value_list *l, uint64_t file, uint32_t ordinal, uint32_t bytes)
{
    struct kv_value_ref ref = {file, ordinal, bytes};
    uint8_t raw[KV_VALUE_REF_BYTES_MAX];
    return value_list_note(l, slice_of(raw, kv_value_ref_encode(&ref, raw)));
}

#define SEEN_MAX 4096

struct seen { // the ordinals that were visited
    uint8_t bits[SEEN_MAX];
    uint32_t runs;
    uint32_t end; // of the last run
};

static strata_rc see(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    struct seen *s = ctx;
    assert_true(s->runs == 0 || ordinal > s->end); // ascending, and joined
    assert_true(chunks > 0 && ordinal + chunks <= SEEN_MAX);
    for (uint32_t i = 0; i < chunks; i++) {
        s->bits[ordinal + i] = 1;
    }
    s->runs++;
    s->end = ordinal + chunks;
    return STRATA_OK;
}

static void ordinals_come_out_sorted_and_joined(void **state)
{
    (void)state;
    struct value_list l = {0};
    assert_int_equal(note(&l, 9, 7, 100), STRATA_OK);
    assert_int_equal(note(&l, 4, 100, 1), STRATA_OK);
    assert_int_equal(note(&l, 9, 5, 10), STRATA_OK);
    assert_int_equal(note(&l, 9, 6, 10), STRATA_OK);
    assert_int_equal(note(&l, 9, 20, 3u << 20), STRATA_OK); // three chunks
    assert_int_equal(value_list_sort(&l), STRATA_OK);
    assert_int_equal(l.file_count, 2);
    assert_true(l.files[0].use.file == 4 && l.files[1].use.file == 9);
    assert_int_equal(l.files[0].use.records, 1);
    assert_int_equal(l.files[1].use.records, 6);
    assert_int_equal(l.files[1].use.bytes, 120 + (3u << 20));
    struct buffer b = {0};
    assert_int_equal(value_list_encode(&l, 1, &b), STRATA_OK);
    assert_int_equal(b.bytes, 4); // 5 3, 12 3
    assert_memory_equal(b.data, "\x05\x03\x0c\x03", 4);
    buffer_release(&b);
    value_list_release(&l);
}

static void random_lists_come_back(void **state)
{
    (void)state;
    struct prng r = {5};
    for (int round = 0; round < 200; round++) {
        static struct seen expected[20], found[20];
        uint64_t sums[20] = {0};
        struct value_list l = {0};
        memset(expected, 0, sizeof expected);
        memset(found, 0, sizeof found);
        uint64_t spread = 1 + prng_below(&r, SEEN_MAX - 4);
        for (uint64_t n = prng_below(&r, 2000); n > 0; n--) {
            uint32_t file = (uint32_t)prng_below(&r, 20);
            uint32_t ordinal = (uint32_t)prng_below(&r, spread);
            uint32_t bytes = prng_one_in(&r, 10) ? (2u << 20) + 1 : 700;
            assert_int_equal(note(&l, 1 + file * (UINT64_MAX / 40), ordinal, bytes), STRATA_OK);
            sums[file] += bytes;
            memset(expected[file].bits + ordinal, 1, kv_value_chunks(bytes));
        }
        assert_int_equal(value_list_sort(&l), STRATA_OK);
        struct buffer b = {0};
        for (uint32_t i = 0; i < l.file_count; i++) {
            uint64_t file = (l.files[i].use.file - 1) / (UINT64_MAX / 40);
            assert_true(i == 0 || l.files[i].use.file > l.files[i - 1].use.file);
            assert_int_equal(l.files[i].use.bytes, sums[file]);
            buffer_clear(&b);
            assert_int_equal(value_list_encode(&l, i, &b), STRATA_OK);
            uint64_t records = l.files[i].use.records;
            struct slice list = buffer_slice(&b);
            assert_int_equal(value_list_decode(list, records, see, &found[file]), STRATA_OK);
            struct seen again = {.runs = 0};
            assert_int_equal(value_list_decode(list, records + 1, see, &again), STRATA_CORRUPT);
        }
        for (int i = 0; i < 20; i++) {
            assert_memory_equal(found[i].bits, expected[i].bits, SEEN_MAX);
        }
        buffer_release(&b);
        value_list_release(&l);
    }
}

static void greatest_ordinals_fit(void **state)
{
    (void)state;
    struct value_list l = {0};
    struct buffer b = {0};
    assert_int_equal(note(&l, UINT64_MAX, UINT32_MAX - 1, 1), STRATA_OK);
    assert_int_equal(note(&l, UINT64_MAX, UINT32_MAX, 1), STRATA_CORRUPT);
    assert_int_equal(value_list_note(&l, slice_of("x", 1)), STRATA_CORRUPT);
    assert_int_equal(value_list_sort(&l), STRATA_OK);
    assert_int_equal(l.files[0].use.records, 1);
    assert_int_equal(value_list_encode(&l, 0, &b), STRATA_OK);
    assert_memory_equal(b.data, "\xfe\xff\xff\xff\x0f\x01", 6);
    buffer_release(&b);
    value_list_release(&l);
}

static strata_rc count_only(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    (void)ordinal;
    *(uint64_t *)ctx += chunks;
    return STRATA_OK;
}

static strata_rc refuse(void *ctx, uint32_t ordinal, uint32_t chunks)
{
    (void)chunks;
    *(uint32_t *)ctx = ordinal;
    return STRATA_BUSY;
}

static void malformed_lists_are_corrupt(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        uint64_t records;
    } bad[] = {
        {"\x01", 1, 1},                              // half a run
        {"\x01\x00", 2, 0},                          // an empty run
        {"\x00\x01\x00\x01", 4, 2},                  // runs that touch
        {"\xff\xff\xff\xff\x0f\x01", 6, 1},          // beyond the greatest ordinal
        {"\x01\xff\xff\xff\xff\x0f", 6, 0xffffffff}, // the same
        {"\x00\x02", 2, 3},                          // too few
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x01", 12, 1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t sum = 0;
        struct slice list = slice_of(bad[i].bytes, bad[i].count);
        assert_int_equal(value_list_decode(list, bad[i].records, count_only, &sum), STRATA_CORRUPT);
    }
    uint32_t first = 0;
    assert_int_equal(value_list_decode(slice_of("\x07\x01\x01\x01", 4), 2, refuse, &first),
                     STRATA_BUSY);
    assert_int_equal(first, 7);
}

static void every_allocation_can_fail(void **state)
{
    (void)state;
    uint64_t failed = 1;
    for (uint64_t n = 0; failed != 0; n++) {
        struct value_list l = {0};
        strata_rc rc = STRATA_OK;
        alloc_fault_arm(n, 1);
        for (uint32_t i = 0; rc == STRATA_OK && i < 3000; i++) {
            rc = note(&l, 1 + i % 40, 3000 - i, 10);
        }
        if (rc == STRATA_OK) {
            rc = value_list_sort(&l);
        }
        failed = alloc_fault_disarm();
        assert_int_equal(rc, failed == 0 ? STRATA_OK : STRATA_NO_MEMORY);
        value_list_release(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ordinals_come_out_sorted_and_joined),
        cmocka_unit_test(random_lists_come_back),
        cmocka_unit_test(greatest_ordinals_fit),
        cmocka_unit_test(malformed_lists_are_corrupt),
        cmocka_unit_test(every_allocation_can_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
