#include "manifest/manifest_format.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/prng.h"
#include "unit/fake_table.h"
#include "unit/fake_value.h"

static void full_edit(struct edit *e)
{
    strata_keyspace_options options;
    strata_keyspace_options given = STRATA_KEYSPACE_OPTIONS_INIT;
    given.shape = STRATA_SHAPE_LEVELED;
    given.filter_off = true;
    assert_int_equal(keyspace_options_resolve(&given, &options), STRATA_OK);
    *e = (struct edit){.flushed_commit = 1000,
                       .log_first_segment = 12,
                       .next_file = 90,
                       .next_run = 80,
                       .next_keyspace = 7,
                       .incarnation = 3,
                       .edits = UINT64_MAX,
                       .snapshot_end = true};
    assert_int_equal(edit_create_space(e, 5, "k\xff", &options, 900), STRATA_OK);
    assert_int_equal(edit_drop_space(e, 4, 901), STRATA_OK);
    struct table_meta meta = fake_meta(77, "abc", "abd");
    meta.keyspace = 5;
    meta.history = true;
    meta.end_greatest = 1234567;
    meta.time_least_us = INT64_MIN;
    meta.time_greatest_us = INT64_MAX;
    assert_int_equal(edit_add_table(e, 5, true, 3, 70, &meta, NULL), STRATA_OK);
    struct table_value_use uses[] = {{3, 9, 1u << 20}, {300, 1, UINT32_MAX}};
    meta.file = 78;
    meta.expiring = 5;
    meta.uses = uses;
    meta.use_count = 2;
    meta.value_bytes = uses[0].bytes + uses[1].bytes;
    assert_int_equal(edit_add_table(e, 5, true, 3, 71, &meta, NULL), STRATA_OK);
    struct value_logical logicals[2];
    struct value_meta value = fake_value_meta(301, 5, logicals, 3, 300);
    assert_int_equal(edit_add_value_file(e, &value, NULL), STRATA_OK);
    assert_int_equal(edit_remove_value_file(e, 5, 299), STRATA_OK);
    assert_int_equal(edit_set_floor(e, 5, UINT64_MAX), STRATA_OK);
    options.separation = STRATA_SEPARATION_OFF;
    assert_int_equal(edit_alter_space(e, 5, &options), STRATA_OK);
    assert_int_equal(edit_remove_table(e, 5, false, 76), STRATA_OK);
    struct commit_second seconds[] = {
        {1, -5000000, -4999999}, {9, 0, 10}, {900, 77000000, 77000000}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(edit_add_second(e, &seconds[i]), STRATA_OK);
    }
}

static void an_edit_comes_back_as_it_was(void **state)
{
    (void)state;
    struct edit e, back;
    struct buffer bytes = {0}, again = {0};
    full_edit(&e);
    assert_int_equal(edit_encode(&e, &bytes), STRATA_OK);
    assert_int_equal(edit_decode(buffer_slice(&bytes), &back), STRATA_OK);
    assert_int_equal(back.flushed_commit, 1000);
    assert_int_equal(back.log_first_segment, 12);
    assert_int_equal(back.next_file, 90);
    assert_int_equal(back.next_run, 80);
    assert_int_equal(back.next_keyspace, 7);
    assert_int_equal(back.incarnation, 3);
    assert_true(back.edits == UINT64_MAX && back.snapshot_end);
    assert_int_equal(back.space_count, 3);
    assert_string_equal(back.spaces[0].name, "k\xff");
    assert_int_equal(back.spaces[0].options.shape, STRATA_SHAPE_LEVELED);
    assert_true(back.spaces[0].options.filter_off);
    assert_true(back.spaces[1].drop);
    assert_true(back.spaces[2].alter && back.spaces[2].number == 5);
    assert_int_equal(back.spaces[2].options.separation, STRATA_SEPARATION_OFF);
    assert_int_equal(back.table_count, 3);
    const struct table_meta *u = &back.tables[1].meta;
    assert_int_equal(u->expiring, 5);
    assert_int_equal(u->use_count, 2);
    assert_true(u->uses[1].file == 300 && u->uses[1].records == 1);
    assert_int_equal(u->value_bytes, (1u << 20) + (uint64_t)UINT32_MAX);
    assert_int_equal(back.value_count, 2);
    const struct edit_value *v = &back.values[0];
    assert_true(v->add && v->keyspace == 5 && v->file == 301 && v->meta.file == 301);
    assert_true(v->meta.bytes == 2301 && v->meta.keyspace == 5 && v->meta.logical_count == 2);
    assert_memory_equal(v->meta.logicals, e.values[0].meta.logicals, 2 * sizeof *v->meta.logicals);
    assert_true(!back.values[1].add && back.values[1].file == 299 && back.values[1].keyspace == 5);
    assert_int_equal(back.floor_count, 1);
    assert_true(back.floors[0].keyspace == 5 && back.floors[0].floor == UINT64_MAX);
    const struct table_meta *m = &back.tables[0].meta;
    assert_true(m->file == 77 && m->history && m->keyspace == 5 && m->end_greatest == 1234567);
    assert_true(m->time_least_us == INT64_MIN && m->time_greatest_us == INT64_MAX);
    assert_int_equal(m->commit_greatest, 84);
    assert_int_equal(back.second_count, 3);
    assert_memory_equal(back.seconds, e.seconds, 3 * sizeof *e.seconds);
    assert_int_equal(edit_encode(&back, &again), STRATA_OK);
    assert_true(slice_equal(buffer_slice(&bytes), buffer_slice(&again)));
    buffer_release(&bytes);
    buffer_release(&again);
    edit_release(&e);
    edit_release(&back);
}

static void an_empty_edit_has_no_bytes(void **state)
{
    (void)state;
    struct edit e = {0}, back;
    struct buffer bytes = {0};
    assert_int_equal(edit_encode(&e, &bytes), STRATA_OK);
    assert_int_equal(bytes.bytes, 0);
    assert_int_equal(edit_decode(buffer_slice(&bytes), &back), STRATA_OK);
    edit_release(&back);
    buffer_release(&bytes);
}

static strata_rc decode_text(const char *bytes, size_t count)
{
    struct edit e;
    strata_rc rc = edit_decode(slice_of(bytes, count), &e);
    edit_release(&e);
    return rc;
}

static void unknown_fields_are_refused_only_when_required(void **state)
{
    (void)state;
    assert_int_equal(decode_text("\x50\x02xy", 4), STRATA_OK);      // field 40, optional
    assert_int_equal(decode_text("\x51\x02xy", 4), STRATA_VERSION); // field 40, required
    assert_int_equal(decode_text("\x00\x00", 2), STRATA_OK);
}

static void malformed_edits_are_corrupt(void **state)
{
    (void)state;
    assert_int_equal(decode_text("\x03", 1), STRATA_CORRUPT);                     // no body
    assert_int_equal(decode_text("\x03\x05\x01", 3), STRATA_CORRUPT);             // a cut body
    assert_int_equal(decode_text("\x03\x02\x01\x01", 4), STRATA_CORRUPT);         // too long a body
    assert_int_equal(decode_text("\x03\x01\x01\x03\x01\x02", 6), STRATA_CORRUPT); // twice
    assert_int_equal(decode_text("\x11\x01\x01", 3), STRATA_CORRUPT); // an end that is not empty
    assert_int_equal(decode_text("\x17\x03\x01\x02\x03", 5), STRATA_CORRUPT);     // history 2
    assert_int_equal(decode_text("\x13\x04\x01\x01\x00\x00", 6), STRATA_CORRUPT); // no name
    assert_int_equal(decode_text("\x1f\x01\x01", 3), STRATA_CORRUPT); // a file without a number
    assert_int_equal(decode_text("\x23\x01\x01", 3), STRATA_CORRUPT); // a keyspace's floor
    assert_int_equal(decode_text("\x25\x01\x01", 3), STRATA_CORRUPT); // no options
    // Value files that say they hold 100 logical files, and one twice.
    assert_int_equal(decode_text("\x21\x07\x01\x02\x03\x64\x01\x01\x01", 9), STRATA_CORRUPT);
    assert_int_equal(decode_text("\x21\x0a\x01\x02\x03\x02\x01\x01\x01\x00\x01\x01", 12),
                     STRATA_CORRUPT);
    // Seconds that say there are 2^63 of them.
    assert_int_equal(decode_text("\x1b\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12),
                     STRATA_CORRUPT);
}

static void damaged_bytes_never_decode_to_nonsense(void **state)
{
    (void)state;
    struct edit e;
    struct buffer bytes = {0};
    full_edit(&e);
    assert_int_equal(edit_encode(&e, &bytes), STRATA_OK);
    edit_release(&e);
    struct prng random = {7};
    for (int round = 0; round < 100000; round++) {
        uint8_t copy[1024];
        assert_true(bytes.bytes <= sizeof copy);
        memcpy(copy, bytes.data, bytes.bytes);
        size_t count = prng_one_in(&random, 4) ? prng_below(&random, bytes.bytes) : bytes.bytes;
        for (uint64_t changes = prng_below(&random, 4); changes > 0; changes--) {
            copy[prng_below(&random, bytes.bytes)] = (uint8_t)prng_next(&random);
        }
        strata_rc rc = edit_decode(slice_of(copy, count), &e);
        assert_true(rc == STRATA_OK || rc == STRATA_CORRUPT || rc == STRATA_VERSION);
        for (size_t i = 0; i < e.table_count; i++) {
            assert_true(!e.tables[i].add || e.tables[i].level < TREE_LEVELS_MAX);
        }
        struct buffer again = {0};
        assert_int_equal(edit_encode(&e, &again), STRATA_OK); // what was accepted can be written
        buffer_release(&again);
        edit_release(&e);
    }
    buffer_release(&bytes);
}

static void a_record_holds_only_in_its_place(void **state)
{
    (void)state;
    uint8_t head[MANIFEST_RECORD_BYTES];
    struct slice payload = slice_of("payload", 7);
    struct manifest_chain at = {.number = 3, .offset = 8192, .checksum = 99, .sequence = 2};
    uint64_t checksum = manifest_record_seal(head, payload, &at);
    struct manifest_record record = manifest_record_of(head);
    assert_int_equal(record.payload_bytes, 7);
    assert_int_equal(record.sequence, 2);
    assert_int_equal(record.before, 99);
    assert_true(record.checksum == checksum);
    assert_true(manifest_record_whole(head, payload, 3, 8192));
    assert_false(manifest_record_whole(head, payload, 4, 8192));
    assert_false(manifest_record_whole(head, payload, 3, 12288));
    assert_false(manifest_record_whole(head, slice_of("payloae", 7), 3, 8192));
    assert_false(manifest_record_whole(head, slice_of("payloa", 6), 3, 8192));
    for (size_t i = 0; i < sizeof head; i++) {
        head[i] ^= 1;
        assert_false(manifest_record_whole(head, payload, 3, 8192));
        head[i] ^= 1;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_comes_back_as_it_was),
        cmocka_unit_test(an_empty_edit_has_no_bytes),
        cmocka_unit_test(unknown_fields_are_refused_only_when_required),
        cmocka_unit_test(malformed_edits_are_corrupt),
        cmocka_unit_test(damaged_bytes_never_decode_to_nonsense),
        cmocka_unit_test(a_record_holds_only_in_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
