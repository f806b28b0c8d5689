#include "wal/wal_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct wal_segment_header sample = {
    .incarnation = 7,
    .segment = 42,
    .chain = 40,
    .predecessor = 41,
    .predecessor_end = 65432,
    .commit = 1000,
    .synced_commit = 990,
    .edits = 5,
    .segment_bytes = 262144,
    .stream = 0,
};

static void segment_header_comes_back(void **state)
{
    (void)state;
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    struct wal_segment_header h;
    wal_segment_header_encode(bytes, &sample);
    assert_int_equal(wal_segment_header_decode(bytes, &h), STRATA_OK);
    assert_int_equal(h.incarnation, 7);
    assert_int_equal(h.segment, 42);
    assert_int_equal(h.chain, 40);
    assert_int_equal(h.predecessor, 41);
    assert_int_equal(h.predecessor_end, 65432);
    assert_int_equal(h.commit, 1000);
    assert_int_equal(h.synced_commit, 990);
    assert_int_equal(h.edits, 5);
    assert_int_equal(h.segment_bytes, 262144);
}

static void segment_header_with_any_bit_flipped_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    struct wal_segment_header h;
    wal_segment_header_encode(bytes, &sample);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(wal_segment_header_decode(bytes, &h), STRATA_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(wal_segment_header_decode(bytes, &h), STRATA_CORRUPT);
}

static void page_header_belongs_to_its_place(void **state)
{
    (void)state;
    uint8_t bytes[WAL_PAGE_HEADER_BYTES];
    uint64_t seed = wal_segment_seed(3, 9);
    uint32_t first = 0;
    wal_page_header_encode(bytes, seed, 8192, 3, 200);
    assert_true(wal_page_header_decode(bytes, seed, 8192, &first));
    assert_int_equal(first, 200);
    assert_false(wal_page_header_decode(bytes, seed, 4096, &first));
    assert_false(wal_page_header_decode(bytes, wal_segment_seed(3, 10), 8192, &first));
    assert_false(wal_page_header_decode(bytes, wal_segment_seed(4, 9), 8192, &first));
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(wal_page_header_decode(bytes, seed, 8192, &first));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    // A first record whose header would leave the page cannot be, whatever the check says.
    wal_page_header_encode(bytes, seed, 8192, 3, WAL_PAGE_BYTES - 8);
    assert_false(wal_page_header_decode(bytes, seed, 8192, &first));
}

static void record_belongs_to_its_place(void **state)
{
    (void)state;
    struct slice payload = slice_of("payload", 7);
    struct wal_record_header h = {
        .count = 3, .payload_bytes = 7, .commit = UINT64_MAX - 1, .time_us = -5, .kind = WAL_BATCH};
    struct wal_record_header got;
    uint8_t bytes[WAL_RECORD_HEADER_BYTES];
    uint64_t seed = wal_segment_seed(3, 9);
    wal_record_header_encode(bytes, seed, 4112, &h, payload);
    wal_record_header_decode(bytes, &got);
    assert_int_equal(got.count, 3);
    assert_int_equal(got.payload_bytes, 7);
    assert_true(got.commit == UINT64_MAX - 1);
    assert_true(got.time_us == -5);
    assert_int_equal(got.kind, WAL_BATCH);
    assert_true(wal_record_is_good(bytes, seed, 4112, payload));
    assert_false(wal_record_is_good(bytes, seed, 4113, payload));
    assert_false(wal_record_is_good(bytes, wal_segment_seed(3, 8), 4112, payload));
    assert_false(wal_record_is_good(bytes, seed, 4112, slice_of("paylOad", 7)));
    assert_false(wal_record_is_good(bytes, seed, 4112, slice_of("payloa", 6)));
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(wal_record_is_good(bytes, seed, 4112, payload));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

// The two ways to walk over pages: in one jump, and byte by byte.
static void flow_skips_page_headers(void **state)
{
    (void)state;
    static const uint64_t begins[] = {4112, 4113, 5000, 8192 - 32};
    for (size_t b = 0; b < sizeof begins / sizeof begins[0]; b++) {
        uint64_t at = begins[b];
        for (uint64_t bytes = 1; bytes < 20000; bytes++) {
            at = at % WAL_PAGE_BYTES == 0 ? at + WAL_PAGE_HEADER_BYTES : at;
            at++;
            assert_int_equal(wal_flow_end(begins[b], bytes), at);
        }
    }
}

static void record_header_lies_in_one_page(void **state)
{
    (void)state;
    for (uint64_t at = 4096; at < 3 * 4096; at++) {
        uint64_t begin = wal_record_begin(at);
        uint64_t in_page = begin % WAL_PAGE_BYTES;
        assert_true(begin >= at && begin < at + WAL_RECORD_HEADER_BYTES + WAL_PAGE_HEADER_BYTES);
        assert_true(in_page >= (at % WAL_PAGE_BYTES != 0 && begin == at ? 1 : 16));
        assert_true(in_page + WAL_RECORD_HEADER_BYTES <= WAL_PAGE_BYTES);
    }
    assert_int_equal(wal_record_begin(4096), 4112);
    assert_int_equal(wal_record_begin(8192 - 32), 8192 - 32);
    assert_int_equal(wal_record_begin(8192 - 31), 8192 + 16);
    assert_int_equal(wal_page_up(4096), 4096);
    assert_int_equal(wal_page_up(4097), 8192);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_header_comes_back),
        cmocka_unit_test(segment_header_with_any_bit_flipped_is_refused),
        cmocka_unit_test(page_header_belongs_to_its_place),
        cmocka_unit_test(record_belongs_to_its_place),
        cmocka_unit_test(flow_skips_page_headers),
        cmocka_unit_test(record_header_lies_in_one_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
