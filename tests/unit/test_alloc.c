#include "base/alloc.h"

#include "base/fail.h"
#include "lib/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void sizes_that_overflow_are_no_memory(void **state)
{
    (void)state;
    assert_null(alloc_array(SIZE_MAX / 2 + 2, 2));
    assert_null(alloc_zeroed(SIZE_MAX / 8 + 1, 16));
    char *old = alloc_array(4, 1);
    assert_non_null(old);
    memcpy(old, "abc", 4);
    assert_null(alloc_resize(old, SIZE_MAX / 2 + 2, 2));
    assert_string_equal(old, "abc"); // still there
    free(old);
    assert_null(alloc_aligned(4096, SIZE_MAX - 100));
}

static void no_bytes_are_an_allocation_too(void **state)
{
    (void)state;
    void *a = alloc_array(0, 8);
    void *b = alloc_zeroed(8, 0);
    void *c = alloc_resize(NULL, 0, 0);
    void *d = alloc_aligned(64, 0);
    assert_non_null(a);
    assert_non_null(b);
    assert_non_null(c);
    assert_non_null(d);
    c = alloc_resize(c, 0, 8); // not a free
    assert_non_null(c);
    free(a);
    free(b);
    free(c);
    free(d);
}

static void zeroed_memory_is_zero(void **state)
{
    (void)state;
    uint8_t *p = alloc_zeroed(100, 30);
    assert_non_null(p);
    for (size_t i = 0; i < 3000; i++) {
        assert_int_equal(p[i], 0);
    }
    free(p);
}

static void resizing_keeps_the_bytes(void **state)
{
    (void)state;
    uint32_t *p = alloc_array(3, sizeof *p);
    assert_non_null(p);
    p[0] = 1;
    p[2] = 3;
    uint32_t *grown = alloc_resize(p, 30000, sizeof *p);
    assert_non_null(grown);
    assert_int_equal(grown[0], 1);
    assert_int_equal(grown[2], 3);
    free(grown);
}

static void aligned_memory_is_aligned_to_its_last_byte(void **state)
{
    (void)state;
    for (size_t alignment = 8; alignment <= 65536; alignment *= 2) {
        uint8_t *p = alloc_aligned(alignment, 5000);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % alignment, 0);
        memset(p, 1, 5000);
        free(p);
    }
}

static void the_error_says_what_the_memory_was_for(void **state)
{
    (void)state;
    assert_int_equal(alloc_failed("a block", 4096), STRATA_NO_MEMORY);
    assert_string_equal(fail_text(), "no memory for a block (4096 bytes)");
}

static void every_kind_of_allocation_can_be_made_to_fail(void **state)
{
    (void)state;
    alloc_fault_arm(1, 4);
    void *good = alloc_array(1, 8);
    void *bad[] = {alloc_array(1, 8), alloc_zeroed(1, 8), alloc_resize(NULL, 1, 8),
                   alloc_aligned(64, 8)};
    void *good_again = alloc_array(1, 8);
    assert_int_equal(alloc_fault_disarm(), 4);
    assert_non_null(good);
    assert_non_null(good_again);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(bad[i]);
    }
    free(good);
    free(good_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_overflow_are_no_memory),
        cmocka_unit_test(no_bytes_are_an_allocation_too),
        cmocka_unit_test(zeroed_memory_is_zero),
        cmocka_unit_test(resizing_keeps_the_bytes),
        cmocka_unit_test(aligned_memory_is_aligned_to_its_last_byte),
        cmocka_unit_test(the_error_says_what_the_memory_was_for),
        cmocka_unit_test(every_kind_of_allocation_can_be_made_to_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
