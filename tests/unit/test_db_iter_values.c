// Iterators over separated values: on demand, read ahead, in both directions, and while their view
// is taken; against an array that says what they must show.
#include "base/prng.h"
#include "lib/alloc_fault.h"
#include "unit/db_world.h"

#define KEYS 400
#define VERSIONS 3

// What a version of a key holds. Some are deleted, some are short, some separated.
static size_t value_bytes(int key, int version)
{
    int kind = (key * 7 + version * 3) % 11;
    return kind == 0 ? 0 : kind < 4 ? 20 : kind == 10 ? 9000 : (size_t)(300 + key);
}

static void key_text(int key, char to[16])
{
    snprintf(to, 16, "key%05d", key);
}

// Version v of every key, in one batch each.
static uint64_t write_version(struct world *w, int version)
{
    uint64_t commit = 0;
    for (int k = 0; k < KEYS; k++) {
        char key[16];
        key_text(k, key);
        size_t bytes = value_bytes(k, version);
        strata_write how = STRATA_WRITE_INIT;
        how.commit_out = &commit;
        how.durability = STRATA_SYNC_NONE;
        assert_int_equal(
            bytes == 0 ? strata_delete(w->db, &how, strata_str(key))
                       : strata_put(w->db, &how, strata_str(key), big_value(k, version, bytes)),
            STRATA_OK);
    }
    return commit;
}

// The iterator stands on `key` with the value of `version`. Its key stays where it is while the
// value is read.
static void check_entry(strata_iter *it, int key, int version, bool ask)
{
    char text[16];
    key_text(key, text);
    strata_slice shown = strata_iter_key(it);
    expect_bytes(shown, strata_str(text));
    if (ask) {
        strata_slice expected = big_value(key, version, value_bytes(key, version));
        expect_bytes(strata_iter_value(it), expected);
        assert_int_equal(strata_iter_value_error(it), STRATA_OK);
        expect_bytes(strata_iter_value(it), expected);
        expect_bytes(shown, strata_str(text));
        assert_ptr_equal(strata_iter_key(it).data, shown.data);
    }
}

static int next_live(int key, int step, int version)
{
    do {
        key += step;
    } while (key >= 0 && key < KEYS && value_bytes(key, version) == 0);
    return key < 0 ? -1 : key > KEYS ? KEYS : key;
}

// A walk of the iterator: long runs in one direction, turns, seeks, values asked for or not.
static void walk(struct world *w, strata_iter *it, int version, uint64_t seed, bool reseat)
{
    struct prng random = {seed};
    int at = next_live(-1, 1, version);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    for (int leg = 0; leg < 60; leg++) {
        bool forward = prng_below(&random, 2) == 0;
        uint64_t steps = prng_below(&random, leg % 8 == 0 ? 300 : 12);
        uint64_t ask = prng_below(&random, 4); // 0: never, 1: sometimes, else always
        if (prng_below(&random, 5) == 0) {
            char text[16];
            int key = (int)prng_below(&random, KEYS);
            key_text(key, text);
            at = next_live(forward ? key - 1 : key, forward ? 1 : -1, version);
            strata_rc rc = forward ? strata_iter_seek(it, strata_str(text))
                                   : strata_iter_seek_before(it, strata_str(text));
            assert_int_equal(rc, at < 0 || at == KEYS ? STRATA_END : STRATA_OK);
        }
        for (uint64_t s = 0; s < steps; s++) {
            if (at >= 0 && at < KEYS) {
                bool asked = ask > 1 || (ask == 1 && prng_below(&random, 2) == 0);
                check_entry(it, at, version, asked);
            }
            if (reseat && prng_below(&random, 20) == 0) {
                if (prng_below(&random, 10) == 0) { // every value moves
                    assert_int_equal(strata_compact_values(w->db, NULL, NULL, NULL), STRATA_OK);
                }
                db_reseat_idle(w->db);
                if (at >= 0 && at < KEYS) {
                    check_entry(it, at, version, prng_below(&random, 2) == 0);
                }
            }
            bool out = forward ? at == KEYS : at < 0;
            at = out ? at : next_live(at, forward ? 1 : -1, version);
            strata_rc rc = forward ? strata_iter_next(it) : strata_iter_prev(it);
            assert_int_equal(rc, at < 0 || at == KEYS ? STRATA_END : STRATA_OK);
        }
    }
}

static void walk_all(struct world *w, const uint64_t commits[VERSIONS], uint64_t seed)
{
    for (int v = 0; v < VERSIONS; v++) {
        strata_read how = read_as_of(commits[v]);
        strata_iter *it;
        assert_int_equal(strata_iter_open(w->db, v + 1 == VERSIONS ? NULL : &how, &it), STRATA_OK);
        walk(w, it, v, seed * 10 + (uint64_t)v, false);
        strata_iter_close(it);
    }
}

static void walks_show_every_value(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    uint64_t commits[VERSIONS];
    world_open(&w, &o);
    for (int v = 0; v < VERSIONS; v++) {
        commits[v] = write_version(&w, v);
    }
    walk_all(&w, commits, 1);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    walk_all(&w, commits, 2);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    walk_all(&w, commits, 3);
    world_close(&w);
}

// Gets, many gets and pieces, of every version, wherever it lies.
static void check_reads(struct world *w, const uint64_t commits[VERSIONS])
{
    for (int v = 0; v < VERSIONS; v++) {
        strata_read how = read_as_of(commits[v]);
        char texts[33][16];
        strata_slice keys[33];
        strata_value values[33] = {{0}};
        strata_rc rcs[33];
        for (int k = 0; k < 33; k++) {
            key_text(k, texts[k]);
            keys[k] = strata_str(texts[k]);
        }
        assert_int_equal(strata_get_many(w->db, &how, 33, keys, values, rcs), STRATA_OK);
        for (int k = 0; k < 33; k++) {
            strata_slice expected = big_value(k, v, value_bytes(k, v));
            assert_int_equal(rcs[k], expected.bytes == 0 ? STRATA_NOT_FOUND : STRATA_OK);
            expect_bytes((strata_slice){values[k].data, values[k].bytes}, expected);
            uint64_t commit = values[k].commit;
            assert_int_equal(strata_get(w->db, &how, keys[k], &values[k]), rcs[k]);
            expect_bytes((strata_slice){values[k].data, values[k].bytes}, expected);
            assert_int_equal(values[k].commit, commit);
            strata_value_release(&values[k]);
        }
    }
}

static void gets_of_every_version(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    uint64_t commits[VERSIONS];
    world_open(&w, &o);
    for (int v = 0; v < VERSIONS; v++) {
        commits[v] = write_version(&w, v);
    }
    check_reads(&w, commits);
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    check_reads(&w, commits);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    check_reads(&w, commits);
    world_close(&w);
}

// Between calls the view is taken, while flushes and compactions replace everything.
static void walks_survive_the_loss_of_their_view(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    strata_iter *it[VERSIONS];
    world_open(&w, &o);
    for (int v = 0; v < VERSIONS; v++) {
        (void)write_version(&w, v);
        assert_int_equal(strata_iter_open(w.db, NULL, &it[v]), STRATA_OK);
        walk(&w, it[v], v, 20 + (uint64_t)v, true);
    }
    for (int round = 0; round < 4; round++) {
        for (int v = 0; v < VERSIONS; v++) {
            walk(&w, it[v], v, 30 + (uint64_t)(round * VERSIONS + v), true);
        }
        if (round == 1) {
            assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
        } else {
            (void)write_version(&w, round);
            assert_int_equal(strata_flush(w.db), STRATA_OK);
        }
        for (int v = 0; v < VERSIONS; v++) { // it stands on the first entry as its view goes
            int first = next_live(-1, 1, v);
            assert_int_equal(strata_iter_first(it[v]), STRATA_OK);
            db_reseat_idle(w.db);
            check_entry(it[v], first, v, true);
            assert_int_equal(strata_iter_next(it[v]), STRATA_OK);
            check_entry(it[v], next_live(first, 1, v), v, true);
        }
    }
    for (int v = 0; v < VERSIONS; v++) {
        strata_iter_close(it[v]);
    }
    world_close(&w);
}

// Once the views are taken, the files that a compaction left behind go.
static bool count_name(void *ctx, const char *name, bool regular)
{
    (void)name;
    *(size_t *)ctx += regular;
    return true;
}

static size_t files_in(struct world *w)
{
    size_t count = 0;
    assert_int_equal(os_dir_list(w->db->dir, count_name, &count), STRATA_OK);
    return count;
}

static void idle_readers_pin_no_files(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    (void)write_version(&w, 0);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    strata_iter *it;
    strata_history *h;
    strata_version_info version;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    assert_int_equal(strata_history_open(w.db, NULL, &h), STRATA_OK);
    assert_int_equal(strata_history_next(h, &version), STRATA_OK);
    (void)write_version(&w, 1);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    os_epoch_drain();
    size_t before = files_in(&w);
    db_reseat_idle(w.db);
    os_epoch_drain();
    size_t after = files_in(&w);
    assert_true(after < before);
    db_reseat_idle(w.db); // nothing more to take
    int at = next_live(-1, 1, 0);
    check_entry(it, at, 0, true);
    for (at = next_live(at, 1, 0); at < KEYS; at = next_live(at, 1, 0)) {
        assert_int_equal(strata_iter_next(it), STRATA_OK);
        check_entry(it, at, 0, true);
    }
    assert_int_equal(strata_iter_next(it), STRATA_END);
    uint64_t versions = 1;
    while (strata_history_next(h, &version) == STRATA_OK) {
        versions++;
        assert_true(version.commit <= KEYS);
    }
    assert_int_equal(versions, KEYS);
    strata_iter_close(it);
    strata_history_close(h);
    os_epoch_drain();
    assert_true(files_in(&w) <= after);
    world_close(&w);
}

// A budget that ends between entries is kept across the loss of the view.
static void yielded_iterator_goes_on_after_the_loss_of_its_view(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    (void)write_version(&w, 0);
    for (int backward = 0; backward < 2; backward++) {
        strata_read how = STRATA_READ_INIT;
        how.step_budget = 1;
        how.as_of = KEYS;
        strata_iter *it;
        assert_int_equal(strata_iter_open(w.db, &how, &it), STRATA_OK);
        (void)write_version(&w, 1);
        assert_int_equal(strata_flush(w.db), STRATA_OK);
        int at = backward ? KEYS : -1;
        strata_rc rc = backward ? strata_iter_last(it) : strata_iter_first(it);
        uint64_t yields = 0;
        while (rc != STRATA_END) {
            if (rc == STRATA_YIELD) {
                yields++;
                (void)write_version(&w, 1);
                assert_int_equal(strata_flush(w.db), STRATA_OK);
                db_reseat_idle(w.db);
                rc = strata_iter_resume(it);
                continue;
            }
            assert_int_equal(rc, STRATA_OK);
            at = next_live(at, backward ? -1 : 1, 0);
            check_entry(it, at, 0, true);
            rc = backward ? strata_iter_prev(it) : strata_iter_next(it);
            if (yields > 12) {
                break;
            }
        }
        assert_true(yields > 3);
        strata_iter_close(it);
    }
    world_close(&w);
}

static int key_number(strata_slice key)
{
    char text[16] = "";
    memcpy(text, key.data, key.bytes);
    return atoi(text + 3);
}

struct parity {
    uint64_t calls;
};

static bool long_values_only(void *ctx, strata_slice key, strata_slice value)
{
    struct parity *p = ctx;
    p->calls++;
    int k = key_number(key);
    expect_bytes(value, big_value(k, 0, value_bytes(k, 0)));
    return value.bytes > 256;
}

static void filter_sees_the_value(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    (void)write_version(&w, 0);
    struct parity p = {0};
    strata_read how = STRATA_READ_INIT;
    how.filter = long_values_only;
    how.filter_ctx = &p;
    strata_iter *it;
    assert_int_equal(strata_iter_open(w.db, &how, &it), STRATA_OK);
    int shown = 0;
    for (strata_rc rc = strata_iter_first(it); rc == STRATA_OK; rc = strata_iter_next(it)) {
        int k = key_number(strata_iter_key(it));
        expect_bytes(strata_iter_value(it), big_value(k, 0, value_bytes(k, 0)));
        shown++;
    }
    int expected = 0;
    for (int k = 0; k < KEYS; k++) {
        expected += value_bytes(k, 0) > 256;
    }
    assert_int_equal(shown, expected);
    assert_true(p.calls > (uint64_t)expected);
    strata_iter_close(it);
    world_close(&w);
}

// Asks for the value while every read of a value file fails. Is it told?
static bool fails_to_read(struct world *w, strata_iter *it, int key)
{
    struct sim_fault rule = {
        .ops = SIM_OP_BIT(SIM_OP_READ), .glob = "*.value", .sticky = true, .error = 5};
    (void)sim_machine_fail(&w->machine, rule);
    strata_slice value = strata_iter_value(it);
    strata_rc rc = strata_iter_value_error(it);
    sim_machine_heal(&w->machine);
    if (rc == STRATA_OK) { // it was in memory
        expect_bytes(value, big_value(key, 0, value_bytes(key, 0)));
        return false;
    }
    assert_int_equal(rc, STRATA_IO);
    assert_int_equal(value.bytes, 0);
    return true;
}

// A value that cannot be read says so; the iterator goes on.
static void unreadable_value_is_told_by_value_error(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    (void)write_version(&w, 0);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    strata_iter *it;
    assert_int_equal(strata_iter_open(w.db, NULL, &it), STRATA_OK);
    int failed_ahead = 0;
    assert_int_equal(strata_iter_first(it), STRATA_OK);
    for (int at = next_live(-1, 1, 0); at < KEYS; at = next_live(at, 1, 0)) {
        if (at % 90 == 50) { // a position of its own: nothing was read ahead
            char text[16];
            key_text(at, text);
            assert_int_equal(strata_iter_seek(it, strata_str(text)), STRATA_OK);
            assert_int_equal(fails_to_read(&w, it, at), value_bytes(at, 0) > 256);
        } else if (at % 90 >= 70) {
            failed_ahead += fails_to_read(&w, it, at);
        } else {
            check_entry(it, at, 0, true);
        }
        strata_rc rc = strata_iter_next(it);
        assert_int_equal(rc, next_live(at, 1, 0) == KEYS ? STRATA_END : STRATA_OK);
    }
    assert_true(failed_ahead > 0);
    strata_iter_close(it);
    world_close(&w);
}

// However many iterators read ahead, they stay within their share of the budget.
static void many_iterators_share_the_budget(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    enum { VALUES = 200, BYTES = 9000, ITERATORS = 24 };
    for (int k = 0; k < VALUES; k++) {
        char key[16];
        key_text(k, key);
        strata_slice value = big_value(k, 0, BYTES);
        put_bytes(&w, key, value.data, value.bytes);
    }
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    strata_iter *it[ITERATORS];
    for (int i = 0; i < ITERATORS; i++) {
        assert_int_equal(strata_iter_open(w.db, NULL, &it[i]), STRATA_OK);
        assert_int_equal(strata_iter_first(it[i]), STRATA_OK);
    }
    size_t most = 0;
    for (int k = 0; k < VALUES; k++) {
        strata_slice expected = big_value(k, 0, BYTES);
        for (int i = 0; i < ITERATORS; i++) {
            expect_bytes(strata_iter_value(it[i]), expected);
            assert_int_equal(strata_iter_next(it[i]), k + 1 < VALUES ? STRATA_OK : STRATA_END);
        }
        size_t used = atomic_load(&w.db->memory.used[OS_MEMORY_READERS]);
        most = used > most ? used : most;
    }
    assert_true(most > (8u << 20) / 16); // they did read ahead
    assert_true(most < (8u << 20) / 2);
    for (int i = 0; i < ITERATORS; i++) {
        strata_iter_close(it[i]);
    }
    world_close(&w);
}

// One allocation fails, at every place in turn: an error that may be answered by going on, and
// never a wrong value.
static void without_memory_nothing_wrong_is_shown(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    (void)write_version(&w, 0);
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    uint64_t failures = 0;
    for (uint64_t n = 0;; n++) {
        strata_iter *it;
        alloc_fault_arm(n, 1);
        strata_rc rc = strata_iter_open(w.db, NULL, &it);
        if (rc == STRATA_OK) {
            rc = strata_iter_first(it);
        }
        int shown = 0;
        int at = -1;
        while (rc == STRATA_OK && shown < 60) {
            alloc_fault_pause();
            at = next_live(at, 1, 0);
            strata_slice expected = big_value(at, 0, value_bytes(at, 0));
            alloc_fault_resume();
            strata_slice value = strata_iter_value(it);
            if (strata_iter_value_error(it) == STRATA_OK) {
                expect_bytes(value, expected);
            } else {
                assert_int_equal(strata_iter_value_error(it), STRATA_NO_MEMORY);
                assert_int_equal(value.bytes, 0);
            }
            if (shown == 30) {
                alloc_fault_pause();
                put(&w, "zzz", "a new view");
                assert_int_equal(strata_flush(w.db), STRATA_OK);
                db_reseat_idle(w.db);
                alloc_fault_resume();
            }
            shown++;
            rc = strata_iter_next(it);
        }
        uint64_t failed = alloc_fault_disarm();
        assert_true(rc == STRATA_OK || rc == STRATA_NO_MEMORY);
        if (rc == STRATA_NO_MEMORY && it != NULL) { // it can be positioned again
            assert_int_equal(failed, 1);
            assert_int_equal(strata_iter_first(it), STRATA_OK);
            check_entry(it, next_live(-1, 1, 0), 0, true);
        }
        strata_iter_close(it);
        assert_int_equal(atomic_load(&w.db->memory.used[OS_MEMORY_READERS]), 0);
        if (failed == 0) {
            break;
        }
        failures++;
    }
    assert_true(failures > 30);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walks_show_every_value),
        cmocka_unit_test(gets_of_every_version),
        cmocka_unit_test(walks_survive_the_loss_of_their_view),
        cmocka_unit_test(idle_readers_pin_no_files),
        cmocka_unit_test(yielded_iterator_goes_on_after_the_loss_of_its_view),
        cmocka_unit_test(filter_sees_the_value),
        cmocka_unit_test(unreadable_value_is_told_by_value_error),
        cmocka_unit_test(many_iterators_share_the_budget),
        cmocka_unit_test(without_memory_nothing_wrong_is_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
