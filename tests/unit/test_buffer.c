#include "base/buffer.h"

#include "base/reader.h"
#include "lib/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void appends_grow_and_keep_what_was_there(void **state)
{
    (void)state;
    struct buffer b = {0};
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(buffer_append_u32(&b, i), STRATA_OK);
        assert_true(b.bytes <= b.capacity);
    }
    struct reader r = reader_of(buffer_slice(&b));
    for (uint32_t i = 0; i < 5000; i++) {
        assert_int_equal(reader_u32(&r), i);
    }
    assert_int_equal(reader_left(&r), 0);
    buffer_release(&b);
    assert_null(b.data);
    assert_int_equal(b.bytes, 0);
}

static void reserved_room_is_used_without_moving(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_int_equal(buffer_reserve(&b, 1000), STRATA_OK);
    assert_true(b.capacity >= 1000);
    assert_int_equal(b.bytes, 0);
    const uint8_t *before = b.data;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buffer_append_u8(&b, (uint8_t)i), STRATA_OK);
    }
    assert_ptr_equal(b.data, before);
    buffer_release(&b);
}

static void clearing_keeps_the_memory(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_int_equal(buffer_append(&b, "abc", 3), STRATA_OK);
    const uint8_t *before = b.data;
    buffer_clear(&b);
    assert_int_equal(buffer_slice(&b).bytes, 0);
    assert_int_equal(buffer_append(&b, "x", 1), STRATA_OK);
    assert_ptr_equal(b.data, before);
    buffer_release(&b);
}

static void appending_nothing_to_nothing_is_fine(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_int_equal(buffer_append(&b, NULL, 0), STRATA_OK);
    assert_int_equal(b.bytes, 0);
    assert_int_equal(buffer_append_prefixed(&b, slice_of(NULL, 0)), STRATA_OK);
    assert_int_equal(b.bytes, 1);
    buffer_release(&b);
    buffer_release(&b);
}

static void a_failed_append_leaves_the_buffer_as_it_was(void **state)
{
    (void)state;
    struct buffer b = {0};
    char large[100];
    memset(large, 'x', sizeof large);
    assert_int_equal(buffer_append(&b, "abc", 3), STRATA_OK);

    alloc_fault_arm(0, UINT64_MAX);
    strata_rc plain = buffer_append(&b, large, sizeof large);
    strata_rc prefixed = buffer_append_prefixed(&b, slice_of(large, sizeof large));
    strata_rc reserve = buffer_reserve(&b, 1000);
    assert_int_equal(alloc_fault_disarm(), 3);

    assert_int_equal(plain, STRATA_NO_MEMORY);
    assert_int_equal(prefixed, STRATA_NO_MEMORY);
    assert_int_equal(reserve, STRATA_NO_MEMORY);
    assert_true(slice_equal(buffer_slice(&b), slice_of("abc", 3)));
    buffer_release(&b);
}

static void a_sum_of_sizes_over_the_address_space_is_no_memory(void **state)
{
    (void)state;
    struct buffer b = {0};
    assert_int_equal(buffer_append(&b, "abc", 3), STRATA_OK);
    assert_int_equal(buffer_reserve(&b, SIZE_MAX - 2), STRATA_NO_MEMORY);
    assert_int_equal(b.bytes, 3);
    buffer_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_grow_and_keep_what_was_there),
        cmocka_unit_test(reserved_room_is_used_without_moving),
        cmocka_unit_test(clearing_keeps_the_memory),
        cmocka_unit_test(appending_nothing_to_nothing_is_fine),
        cmocka_unit_test(a_failed_append_leaves_the_buffer_as_it_was),
        cmocka_unit_test(a_sum_of_sizes_over_the_address_space_is_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
