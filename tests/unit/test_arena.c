#include "base/arena.h"

#include "base/prng.h"
#include "lib/alloc_fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { PIECES = 2000 };

static void pieces_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct arena a;
    struct prng random = {11};
    static uint8_t *piece[PIECES];
    static size_t bytes[PIECES];
    arena_init(&a, 1000); // not a multiple of the alignment
    for (size_t i = 0; i < PIECES; i++) {
        bytes[i] = prng_one_in(&random, 20) ? prng_below(&random, 5000) : prng_below(&random, 40);
        piece[i] = arena_alloc(&a, bytes[i]);
        assert_non_null(piece[i]);
        assert_int_equal((uintptr_t)piece[i] % 8, 0);
        memset(piece[i], (int)(i & 0xff), bytes[i]);
    }
    size_t total = 0;
    for (size_t i = 0; i < PIECES; i++) {
        total += bytes[i];
        for (size_t n = 0; n < bytes[i]; n++) {
            assert_int_equal(piece[i][n], i & 0xff);
        }
    }
    assert_true(a.reserved_bytes >= total);
    assert_true(a.reserved_bytes < 3 * total);
    arena_release(&a);
    assert_int_equal(a.reserved_bytes, 0);
}

static void pieces_of_no_bytes_have_addresses_of_their_own(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 256);
    const void *first = arena_alloc(&a, 0);
    const void *second = arena_alloc(&a, 0);
    assert_non_null(first);
    assert_non_null(second);
    assert_ptr_not_equal(first, second);
    arena_release(&a);
}

static void a_large_piece_does_not_end_the_chunk_being_filled(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 4096);
    uint8_t *first = arena_alloc(&a, 16);
    assert_non_null(arena_alloc(&a, 100000));
    uint8_t *second = arena_alloc(&a, 16);
    assert_ptr_equal(second, first + 16);
    arena_release(&a);
}

static void a_copy_is_the_same_bytes_elsewhere(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 256);
    char text[] = "a key";
    struct slice copy = arena_copy(&a, slice_of(text, 5));
    memset(text, 0, sizeof text);
    assert_true(slice_equal(copy, slice_of("a key", 5)));
    struct slice empty = arena_copy(&a, slice_of(NULL, 0));
    assert_non_null(empty.data);
    assert_int_equal(empty.bytes, 0);
    arena_release(&a);
}

static void an_arena_can_be_used_again_after_its_release(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 256);
    assert_non_null(arena_alloc(&a, 10));
    arena_release(&a);
    assert_non_null(arena_alloc(&a, 10));
    arena_release(&a);
    arena_release(&a);
}

static void no_memory_is_null_and_the_arena_goes_on(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 256);
    uint8_t *first = arena_alloc(&a, 8);
    alloc_fault_arm(0, 1);
    assert_null(arena_alloc(&a, 5000));
    assert_int_equal(alloc_fault_disarm(), 1);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 7));
    assert_non_null(first);
    assert_non_null(arena_alloc(&a, 5000));
    arena_release(&a);
}

static void a_copy_without_memory_is_an_empty_null(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, 256);
    alloc_fault_arm(0, 1);
    struct slice copy = arena_copy(&a, slice_of("key", 3));
    assert_int_equal(alloc_fault_disarm(), 1);
    assert_null(copy.data);
    assert_int_equal(copy.bytes, 0);
    arena_release(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_do_not_overlap),
        cmocka_unit_test(pieces_of_no_bytes_have_addresses_of_their_own),
        cmocka_unit_test(a_large_piece_does_not_end_the_chunk_being_filled),
        cmocka_unit_test(a_copy_is_the_same_bytes_elsewhere),
        cmocka_unit_test(an_arena_can_be_used_again_after_its_release),
        cmocka_unit_test(no_memory_is_null_and_the_arena_goes_on),
        cmocka_unit_test(a_copy_without_memory_is_an_empty_null),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
