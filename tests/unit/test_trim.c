// What retention lets go, compared with a look at every commit that may still be asked for, for
// every floor, set of registered commits, interval and expiry in a small world.
#include "compact/compact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COMMITS 8u // 1 .. 8 are registered or not; the floor is one of 0 .. 8
#define NEWEST 11u
#define EXPIRIES 7u

struct small_world {
    uint64_t floor;
    uint32_t registered; // bit c - 1: commit c
    struct compact_trim trim;
    uint64_t commits[COMMITS];
    int64_t times_us[COMMITS];
};

// Two commits share a time.
static int64_t time_of(uint64_t commit)
{
    return (int64_t)((commit + 1) / 2 * 10);
}

static void world_make(struct small_world *w, uint64_t floor, uint32_t registered, int64_t earlier)
{
    *w = (struct small_world){.floor = floor, .registered = registered};
    w->trim = (struct compact_trim){.floor = floor,
                                    .floor_time_us = floor == 0 ? 0 : time_of(floor) - earlier,
                                    .commits = w->commits,
                                    .times_us = w->times_us};
    for (uint64_t c = 1; c <= COMMITS; c++) {
        if ((registered >> (c - 1) & 1) != 0) {
            w->commits[w->trim.count] = c;
            w->times_us[w->trim.count++] = time_of(c) - earlier;
        }
    }
}

static bool is_registered(const struct small_world *w, uint64_t commit)
{
    return commit >= 1 && commit <= COMMITS && (w->registered >> (commit - 1) & 1) != 0;
}

// Does anybody who may ask see a put of [begin, end)?
static bool is_seen(const struct small_world *w, uint64_t begin, uint64_t end, uint64_t expiry)
{
    for (uint64_t c = begin; c < end; c++) {
        bool asked = c >= w->floor || is_registered(w, c);
        if (asked && (expiry == 0 || time_of(c) < (int64_t)expiry)) {
            return true;
        }
    }
    return false;
}

static bool oracle_keeps(const struct small_world *w, uint64_t begin, uint64_t end, uint64_t expiry)
{
    // The time of a commit above the floor is not known: what began there stays.
    return begin > w->floor || is_seen(w, begin, end, expiry);
}

static bool oracle_expired(const struct small_world *w, uint64_t begin, uint64_t expiry)
{
    return expiry != 0 && begin <= w->floor && !is_seen(w, begin, NEWEST + 1, expiry);
}

typedef void interval_check(const struct small_world *w, uint64_t begin, uint64_t end,
                            uint64_t expiry);

static void each_case(int64_t earlier, interval_check *check)
{
    struct small_world w;
    for (uint64_t floor = 0; floor <= COMMITS; floor++) {
        for (uint32_t registered = 0; registered < 1u << COMMITS; registered++) {
            world_make(&w, floor, registered, earlier);
            for (uint64_t begin = 1; begin <= COMMITS + 1; begin++) {
                for (uint64_t end = begin; end <= NEWEST; end++) {
                    for (uint64_t x = 0; x < EXPIRIES; x++) {
                        check(&w, begin, end, x * 10);
                    }
                }
            }
        }
    }
}

static void check_exact(const struct small_world *w, uint64_t begin, uint64_t end, uint64_t expiry)
{
    assert_int_equal(compact_trim_keeps(&w->trim, begin, end, expiry),
                     oracle_keeps(w, begin, end, expiry));
    assert_int_equal(compact_trim_expired(&w->trim, begin, expiry),
                     oracle_expired(w, begin, expiry));
    bool any = false;
    for (uint64_t c = begin; c < end; c++) {
        any |= is_registered(w, c);
    }
    assert_int_equal(compact_trim_registered(&w->trim, begin, end), any);
}

static void everything_is_as_a_look_at_every_commit_says(void **state)
{
    (void)state;
    each_case(0, check_exact);
}

static void check_safe(const struct small_world *w, uint64_t begin, uint64_t end, uint64_t expiry)
{
    if (oracle_keeps(w, begin, end, expiry)) {
        assert_true(compact_trim_keeps(&w->trim, begin, end, expiry));
    }
    if (compact_trim_expired(&w->trim, begin, expiry)) {
        assert_true(oracle_expired(w, begin, expiry));
    }
}

static void times_that_are_too_early_keep_more(void **state)
{
    (void)state;
    each_case(10, check_safe);
    each_case(3, check_safe);
}

static void a_receipt_stays_while_the_floor_is_below_it(void **state)
{
    (void)state;
    struct small_world w;
    world_make(&w, 4, 1u << 4 | 1u << 2, 0); // commits 5 and 3
    assert_true(compact_trim_keeps(&w.trim, 5, 5, 0));
    assert_false(compact_trim_keeps(&w.trim, 4, 4, 0));
    assert_false(compact_trim_keeps(&w.trim, 3, 3, 0)); // no read as of a commit meets it
}

static void without_a_floor_everything_stays(void **state)
{
    (void)state;
    struct compact_trim t = {0};
    assert_true(compact_trim_keeps(&t, 1, 2, 1));
    assert_true(compact_trim_keeps(&t, 1, 1, 0));
    assert_false(compact_trim_expired(&t, 1, 1));
    assert_false(compact_trim_registered(&t, 0, UINT64_MAX));
}

static void a_released_trim_is_empty(void **state)
{
    (void)state;
    struct compact_trim t = {.floor = 3, .count = 1};
    t.commits = calloc(1, sizeof *t.commits);
    t.times_us = calloc(1, sizeof *t.times_us);
    assert_non_null(t.commits);
    assert_non_null(t.times_us);
    compact_trim_release(&t);
    assert_true(t.commits == NULL && t.times_us == NULL && t.count == 0 && t.floor == 0);
    compact_trim_release(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_as_a_look_at_every_commit_says),
        cmocka_unit_test(times_that_are_too_early_keep_more),
        cmocka_unit_test(a_receipt_stays_while_the_floor_is_below_it),
        cmocka_unit_test(without_a_floor_everything_stays),
        cmocka_unit_test(a_released_trim_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
