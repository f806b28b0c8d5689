// Expiry as reads see it, on the simulated machine's clock.
#include "unit/db_world.h"

static void put_expiring(struct world *w, const char *key, const char *value, int64_t at_us)
{
    strata_write how = STRATA_WRITE_INIT;
    how.expires_unix_us = at_us;
    assert_int_equal(strata_put(w->db, &how, strata_str(key), strata_str(value)), STRATA_OK);
}

static void wait_until(struct world *w, int64_t us)
{
    sim_machine_step_clock(&w->machine, us - w->machine.wall_us, 0);
}

// The keys that an iterator shows, forwards or backwards, as one string.
static void expect_keys(struct world *w, const strata_read *how, const char *expected)
{
    char forward[64] = "";
    char backward[64] = "";
    strata_iter *it;
    assert_int_equal(strata_iter_open(w->db, how, &it), STRATA_OK);
    strata_rc rc;
    for (rc = strata_iter_first(it); rc == STRATA_OK; rc = strata_iter_next(it)) {
        strncat(forward, strata_iter_key(it).data, strata_iter_key(it).bytes);
    }
    assert_int_equal(rc, STRATA_END);
    for (rc = strata_iter_last(it); rc == STRATA_OK; rc = strata_iter_prev(it)) {
        memmove(backward + 1, backward, sizeof backward - 1); // keys of one letter
        backward[0] = *(const char *)strata_iter_key(it).data;
    }
    assert_int_equal(rc, STRATA_END);
    strata_iter_close(it);
    assert_string_equal(forward, expected);
    assert_string_equal(backward, expected);
}

// a: an old version that stays, then one that expires. b: never. c, d: at different times.
static void fill(struct world *w, int64_t start)
{
    wait_until(w, start);
    put(w, "a", "old");                              // 1
    put_expiring(w, "a", "new", start + 5 * SECOND); // 2
    put(w, "b", "stays");                            // 3
    put_expiring(w, "c", "c", start + 7 * SECOND);   // 4
    put_expiring(w, "d", "d", start + 5 * SECOND);   // 5
    wait_until(w, start + 6 * SECOND);
    put(w, "e", "later"); // 6, at +6
}

static void check(struct world *w, int64_t start)
{
    strata_read at2 = read_as_of(2);
    strata_read at5 = read_as_of(5);
    strata_read at6 = read_as_of(6);
    for (int64_t now = 6; now <= 8; now++) {
        wait_until(w, start + now * SECOND + 1);
        // What expired hides what is older.
        expect_get(w, NULL, "a", NULL);
        expect_get(w, NULL, "b", "stays");
        expect_get(w, NULL, "c", now < 7 ? "c" : NULL);
        expect_get(w, NULL, "d", NULL);
        expect_keys(w, NULL, now < 7 ? "bce" : "be");
        // Reads as of a commit judge by its time, whatever the clock says.
        expect_get(w, &at2, "a", "new");
        expect_get(w, &at5, "d", "d");
        expect_get(w, &at6, "d", NULL);
        expect_get(w, &at6, "c", "c");
        expect_keys(w, &at2, "a");
        expect_keys(w, &at5, "abcd");
        expect_keys(w, &at6, "bce");
    }
}

static void expired_is_absent_and_hides_what_is_older(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    fill(&w, start);
    check(&w, start);
    world_close(&w);
}

static void the_same_from_tables(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    fill(&w, start);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    check(&w, start);
    world_close(&w);
}

static void the_same_with_separated_values(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(64);
    world_open(&w, &o);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    char value[100];
    memset(value, 'x', sizeof value - 1);
    value[sizeof value - 1] = 0;
    wait_until(&w, start);
    put(&w, "a", value);
    put_expiring(&w, "b", value, start + 3 * SECOND);
    for (int round = 0; round < 2; round++) {
        expect_get(&w, NULL, "b", round == 0 ? value : NULL);
        expect_keys(&w, NULL, round == 0 ? "ab" : "a");
        strata_slice keys[2] = {strata_str("a"), strata_str("b")};
        strata_value values[2] = {STRATA_VALUE_INIT, STRATA_VALUE_INIT};
        strata_rc rcs[2];
        assert_int_equal(strata_get_many(w.db, NULL, 2, keys, values, rcs), STRATA_OK);
        assert_int_equal(rcs[0], STRATA_OK);
        assert_int_equal(rcs[1], round == 0 ? STRATA_OK : STRATA_NOT_FOUND);
        expect_bytes((strata_slice){values[0].data, values[0].bytes}, strata_str(value));
        strata_value_release(&values[0]);
        strata_value_release(&values[1]);
        strata_value_reader *r;
        assert_int_equal(strata_value_open(w.db, NULL, strata_str("b"), &r),
                         round == 0 ? STRATA_OK : STRATA_NOT_FOUND);
        strata_value_close(r);
        wait_until(&w, start + 3 * SECOND);
    }
    world_close(&w);
}

// An iterator judges by one moment, so what it shows does not change under way.
static void iterator_keeps_its_time(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    wait_until(&w, start);
    put_expiring(&w, "a", "1", start + SECOND);
    put_expiring(&w, "b", "1", start + SECOND);
    strata_iter *it;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    wait_until(&w, start + 2 * SECOND);
    assert_int_equal(strata_iter_next(it), STRATA_OK);
    assert_int_equal(strata_iter_next(it), STRATA_END);
    strata_iter_close(it);
    expect_keys(&w, NULL, "");
    world_close(&w);
}

// History shows what was written, expired or not.
static void history_shows_what_expired(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    int64_t start = (w.machine.wall_us / SECOND + 2) * SECOND;
    wait_until(&w, start);
    put(&w, "a", "old");
    put_expiring(&w, "a", "new", start + SECOND);
    wait_until(&w, start + 2 * SECOND);
    strata_history *h;
    strata_version_info v;
    assert_int_equal(strata_history_open(w.db, NULL, &h), STRATA_OK);
    assert_int_equal(strata_history_next(h, &v), STRATA_OK);
    assert_int_equal(v.commit, 2);
    expect_bytes(v.value, strata_str("new"));
    assert_int_equal(strata_history_next(h, &v), STRATA_OK);
    assert_int_equal(v.commit, 1);
    assert_int_equal(strata_history_next(h, &v), STRATA_END);
    strata_history_close(h);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expired_is_absent_and_hides_what_is_older),
        cmocka_unit_test(the_same_from_tables),
        cmocka_unit_test(the_same_with_separated_values),
        cmocka_unit_test(iterator_keeps_its_time),
        cmocka_unit_test(history_shows_what_expired),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
