// Range deletes against the list they were built from.
#include "kv/range_dels.h"

#include "base/prng.h"
#include "lib/alloc_fault.h"

// cmocka.h wants these before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define KEYS 64

static uint8_t letters[KEYS + 1][2];

static struct slice key_of(size_t i)
{
    letters[i][0] = (uint8_t)(i >> 3);
    letters[i][1] = (uint8_t)(i & 7);
    // Keys of one byte as well: a prefix sorts before what it is a prefix of.
    return slice_of(letters[i], i % 8 == 0 ? 1 : 2);
}

static struct slice text(const char *s)
{
    return slice_of(s, strlen(s));
}

static struct range_dels *build(const struct range_del *list, size_t count)
{
    struct range_dels *d = NULL;
    assert_int_equal(range_dels_build(list, count, &d), STRATA_OK);
    return d;
}

// The answer by looking at every range delete.
static uint64_t newest_by_list(const struct range_del *list, size_t count, struct slice key,
                               uint64_t at, bool *newer_out)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < count; i++) {
        if (slice_compare(list[i].begin, key) <= 0 && slice_compare(key, list[i].end) < 0) {
            if (list[i].commit > at) {
                *newer_out = true;
            } else if (list[i].commit > newest) {
                newest = list[i].commit;
            }
        }
    }
    return newest;
}

static void check_fragments(const struct range_dels *d)
{
    for (size_t i = 0; i < range_dels_count(d); i++) {
        const struct range_fragment *f = range_dels_at(d, i);
        assert_true(slice_compare(f->begin, f->end) < 0);
        assert_true(f->count > 0);
        for (uint32_t j = 1; j < f->count; j++) {
            assert_true(f->commits[j] < f->commits[j - 1]);
        }
        if (i > 0) {
            assert_true(slice_compare(range_dels_at(d, i - 1)->end, f->begin) <= 0);
        }
    }
}

static void check_against_list(const struct range_dels *d, const struct range_del *list,
                               size_t count, uint64_t commit_max)
{
    check_fragments(d);
    for (size_t k = 0; k < KEYS; k++) {
        struct slice key = key_of(k);
        const struct range_fragment *f = range_dels_cover(d, key);
        for (uint64_t at = 0; at <= commit_max; at++) {
            bool newer = false;
            bool newer_expected = false;
            uint64_t expected = newest_by_list(list, count, key, at, &newer_expected);
            uint64_t got = f == NULL ? 0 : range_fragment_newest(f, at, &newer);
            assert_int_equal(got, expected);
            assert_int_equal(newer, newer_expected);
        }
    }
}

static void null_and_empty_list_have_no_fragments(void **state)
{
    (void)state;
    assert_int_equal(range_dels_count(NULL), 0);
    assert_int_equal(range_dels_bytes(NULL), 0);
    assert_null(range_dels_cover(NULL, text("a")));
    assert_false(range_dels_overlap(NULL, text("a"), slice_of(NULL, 0)));
    struct range_dels *d = build(NULL, 0);
    assert_non_null(d);
    assert_int_equal(range_dels_count(d), 0);
    assert_int_equal(range_dels_find(d, text("a")), 0);
    range_dels_free(d);
    range_dels_free(NULL);
}

static void overlap_is_cut_at_every_boundary(void **state)
{
    (void)state;
    struct range_del list[] = {{text("c"), text("g"), 9}, {text("a"), text("e"), 4}};
    struct range_dels *d = build(list, 2);
    assert_int_equal(range_dels_count(d), 3);
    const struct range_fragment *middle = range_dels_at(d, 1);
    assert_true(slice_equal(middle->begin, text("c")) && slice_equal(middle->end, text("e")));
    assert_int_equal(middle->count, 2);
    assert_int_equal(middle->commits[0], 9);
    assert_int_equal(middle->commits[1], 4);
    assert_int_equal(range_dels_at(d, 0)->count, 1);
    assert_int_equal(range_dels_at(d, 2)->commits[0], 9);
    assert_null(range_dels_cover(d, text("g")));
    assert_non_null(range_dels_cover(d, text("fzz")));
    range_dels_free(d);
}

static void bytes_are_copied(void **state)
{
    (void)state;
    char begin[] = "b";
    char end[] = "d";
    struct range_del one = {text(begin), text(end), 3};
    struct range_dels *d = build(&one, 1);
    begin[0] = 'x';
    end[0] = 'z';
    assert_non_null(range_dels_cover(d, text("c")));
    assert_null(range_dels_cover(d, text("y")));
    assert_true(range_dels_bytes(d) > 2);
    range_dels_free(d);
}

static void same_commit_twice_is_one_entry_of_the_stack(void **state)
{
    (void)state;
    struct range_del list[] = {{text("a"), text("e"), 4}, {text("c"), text("g"), 4}};
    struct range_dels *d = build(list, 2);
    for (size_t i = 0; i < range_dels_count(d); i++) {
        assert_int_equal(range_dels_at(d, i)->count, 1);
    }
    assert_non_null(range_dels_cover(d, text("f")));
    range_dels_free(d);
}

static void overlap_of_a_span_sees_gaps(void **state)
{
    (void)state;
    struct range_del list[] = {{text("b"), text("c"), 1}, {text("f"), text("h"), 2}};
    struct range_dels *d = build(list, 2);
    assert_false(range_dels_overlap(d, text("a"), text("b")));
    assert_true(range_dels_overlap(d, text("a"), text("bb")));
    assert_false(range_dels_overlap(d, text("c"), text("f")));
    assert_true(range_dels_overlap(d, text("c"), slice_of(NULL, 0)));
    assert_false(range_dels_overlap(d, text("h"), slice_of(NULL, 0)));
    assert_int_equal(range_dels_find(d, text("d")), 1);
    assert_int_equal(range_dels_find(d, text("h")), 2);
    range_dels_free(d);
}

static void random_lists_agree_with_looking_at_every_range(void **state)
{
    (void)state;
    struct prng p = {7};
    for (size_t round = 0; round < 400; round++) {
        struct range_del list[24];
        size_t count = prng_below(&p, 24);
        uint64_t commit_max = 1 + prng_below(&p, 20);
        for (size_t i = 0; i < count; i++) {
            size_t a = prng_below(&p, KEYS);
            size_t b = a + 1 + prng_below(&p, KEYS - a);
            list[i] = (struct range_del){key_of(a), key_of(b), 1 + prng_below(&p, commit_max)};
        }
        struct range_dels *d = build(list, count);
        check_against_list(d, list, count, commit_max + 1);
        range_dels_free(d);
    }
}

// Shapes whose stacks would take quadratic memory if each were stored apart.
static void sliding_and_nested_ranges_take_linear_memory(void **state)
{
    (void)state;
    enum { RANGES = 10000, WIDTH = 2000 };
    static uint8_t numbers[RANGES + WIDTH + 1][4];
    static struct range_del list[RANGES];
    for (uint32_t i = 0; i <= RANGES + WIDTH; i++) {
        uint32_t big = __builtin_bswap32(i);
        memcpy(numbers[i], &big, 4);
    }
    for (uint32_t i = 0; i < RANGES; i++) {
        list[i] =
            (struct range_del){slice_of(numbers[i], 4), slice_of(numbers[i + WIDTH], 4), i + 1};
    }
    struct range_dels *d = build(list, RANGES);
    assert_true(range_dels_bytes(d) < (size_t)4 << 20);
    assert_int_equal(range_dels_cover(d, slice_of(numbers[RANGES / 2], 4))->count, WIDTH);
    range_dels_free(d);

    for (uint32_t i = 0; i < RANGES / 2; i++) {
        list[i] =
            (struct range_del){slice_of(numbers[i], 4), slice_of(numbers[RANGES - i], 4), i + 1};
    }
    d = build(list, RANGES / 2);
    assert_true(range_dels_bytes(d) < (size_t)4 << 20);
    const struct range_fragment *f = range_dels_cover(d, slice_of(numbers[RANGES / 2 - 1], 4));
    assert_int_equal(f->count, RANGES / 2);
    assert_int_equal(f->commits[0], RANGES / 2);
    range_dels_free(d);
}

static void no_memory_leaves_nothing(void **state)
{
    (void)state;
    struct range_del list[] = {{text("a"), text("e"), 4}, {text("c"), text("g"), 2}};
    for (uint64_t n = 0;; n++) {
        struct range_dels *d = NULL;
        alloc_fault_arm(n, 1);
        strata_rc rc = range_dels_build(list, 2, &d);
        if (alloc_fault_disarm() == 0) {
            assert_int_equal(rc, STRATA_OK);
            range_dels_free(d);
            assert_true(n > 2);
            break;
        }
        assert_int_equal(rc, STRATA_NO_MEMORY);
        assert_null(d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(null_and_empty_list_have_no_fragments),
        cmocka_unit_test(overlap_is_cut_at_every_boundary),
        cmocka_unit_test(bytes_are_copied),
        cmocka_unit_test(same_commit_twice_is_one_entry_of_the_stack),
        cmocka_unit_test(overlap_of_a_span_sees_gaps),
        cmocka_unit_test(random_lists_agree_with_looking_at_every_range),
        cmocka_unit_test(sliding_and_nested_ranges_take_linear_memory),
        cmocka_unit_test(no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
