// Point reads whose blocks come and go, on the simulated machine.
#include "unit/db_world.h"

// Everything in the cache that nobody has pinned goes, and its memory too.
static void empty_cache_at_reads(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)m;
    struct world *w = ctx;
    if (e->op == SIM_OP_READ) {
        cache_shrink(w->db->cache, SIZE_MAX);
        cache_shrink(w->db->cache, SIZE_MAX);
        os_epoch_collect();
    }
}

// The candidate from the live tree lies in a cached block when a cold block of history must be
// read, outside of the epoch.
static void candidate_outlives_its_block(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    put(&w, "k", "first");
    put(&w, "k", "second, the one that is read");
    put(&w, "a", "first");
    put(&w, "a", "second");
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    put(&w, "k", "newest");

    strata_value v = STRATA_VALUE_INIT;
    assert_int_equal(strata_get(w.db, NULL, strata_str("a"), &v), STRATA_OK); // loads the block
    w.machine.observe = empty_cache_at_reads;
    w.machine.observe_ctx = &w;
    strata_read how = STRATA_READ_INIT;
    how.as_of = 2;
    assert_int_equal(strata_get(w.db, &how, strata_str("k"), &v), STRATA_OK);
    strata_slice keys[1] = {strata_str("k")};
    strata_rc rc;
    assert_int_equal(strata_get_many(w.db, &how, 1, keys, &v, &rc), STRATA_OK);
    w.machine.observe = NULL;
    assert_int_equal(rc, STRATA_OK);
    assert_int_equal(v.commit, 2);
    assert_int_equal(v.bytes, strlen("second, the one that is read"));
    assert_memory_equal(v.data, "second, the one that is read", v.bytes);
    strata_value_release(&v);
    world_close(&w);
}

static void snapshot_of_another_database_is_invalid(void **state)
{
    (void)state;
    struct world one, two;
    world_open(&one, NULL);
    world_open(&two, NULL);
    put(&two, "k", "v");
    strata_snapshot *snapshot;
    assert_int_equal(strata_snapshot_take(two.db, &snapshot), STRATA_OK);
    strata_value v = STRATA_VALUE_INIT;
    strata_read how = STRATA_READ_INIT;
    how.snapshot = snapshot;
    assert_int_equal(strata_get(one.db, &how, strata_str("k"), &v), STRATA_INVALID);
    assert_int_equal(strata_get(two.db, &how, strata_str("k"), &v), STRATA_OK);
    strata_value_release(&v);
    strata_snapshot_release(snapshot);
    world_close(&one);
    world_close(&two);
}

// ---- pieces

static void check_pieces(struct world *w, const strata_read *how, const char *key,
                         strata_slice expected, size_t piece)
{
    static uint8_t to[3u << 20];
    strata_value_reader *r;
    size_t got;
    assert_int_equal(strata_value_open(w->db, how, strata_str(key), &r), STRATA_OK);
    assert_int_equal(strata_value_reader_bytes(r), expected.bytes);
    memset(to, 0, sizeof to);
    size_t at = 0;
    do {
        assert_int_equal(strata_value_read(r, at, to + at, piece, &got), STRATA_OK);
        at += got;
    } while (got == piece);
    assert_int_equal(at, expected.bytes);
    assert_memory_equal(to, expected.data, expected.bytes);
    // Backwards, across the borders of chunks, and behind the end.
    for (size_t back = expected.bytes; back > 0; back -= back < 700001 ? back : 700001) {
        size_t from = back < 700001 ? 0 : back - 700001;
        assert_int_equal(strata_value_read(r, from, to, 1000, &got), STRATA_OK);
        assert_int_equal(got, expected.bytes - from < 1000 ? expected.bytes - from : 1000);
        assert_memory_equal(to, (const uint8_t *)expected.data + from, got);
    }
    assert_int_equal(strata_value_read(r, expected.bytes, to, 1, &got), STRATA_OK);
    assert_int_equal(got, 0);
    assert_int_equal(strata_value_read(r, UINT64_MAX, to, 1, &got), STRATA_OK);
    assert_int_equal(got, 0);
    // Memory is flat: a chunk at most.
    assert_true(atomic_load(&w->db->memory.used[OS_MEMORY_READERS]) <= KV_VALUE_CHUNK_BYTES);
    strata_value_close(r);
    assert_int_equal(atomic_load(&w->db->memory.used[OS_MEMORY_READERS]), 0);
}

static void values_are_read_in_pieces(void **state)
{
    (void)state;
    struct world w;
    static const size_t sizes[] = {1, 40, 2048, 70000, 1u << 20, (1u << 20) + 1, 1500000};
    char key[16];
    world_open(&w, NULL);
    for (int i = 0; i < 7; i++) {
        strata_slice value = big_value(i, 0, sizes[i]);
        snprintf(key, sizeof key, "key%d", i);
        put_bytes(&w, key, value.data, value.bytes);
    }
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 7; i++) {
            strata_slice value = big_value(i, 0, sizes[i]);
            snprintf(key, sizeof key, "key%d", i);
            check_pieces(&w, NULL, key, value, 999983);
            check_pieces(&w, NULL, key, value, 1u << 20);
            if (sizes[i] < 100000) {
                check_pieces(&w, NULL, key, value, 4099);
            }
        }
        assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    }
    strata_value_reader *r;
    assert_int_equal(strata_value_open(w.db, NULL, strata_str("none"), &r), STRATA_NOT_FOUND);
    assert_null(r);
    world_close(&w);
}

// The reader has its version for as long as it lives.
static void value_reader_outlives_its_version(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = STRATA_RETENTION_NONE;
    world_open(&w, &o);
    strata_slice value = big_value(1, 1, 100000);
    put_bytes(&w, "k", value.data, value.bytes);
    strata_value_reader *r;
    assert_int_equal(strata_value_open(w.db, NULL, strata_str("k"), &r), STRATA_OK);
    assert_int_equal(strata_value_reader_commit(r), 1);
    for (int i = 0; i < 3; i++) {
        value = big_value(1, 2 + i, 100000);
        put_bytes(&w, "k", value.data, value.bytes);
        assert_int_equal(strata_compact_values(w.db, NULL, NULL, NULL), STRATA_OK);
    }
    static uint8_t to[100000];
    size_t got;
    assert_int_equal(strata_value_read(r, 0, to, sizeof to, &got), STRATA_OK);
    value = big_value(1, 1, 100000);
    assert_int_equal(got, value.bytes);
    assert_memory_equal(to, value.data, got);
    strata_value_close(r);
    world_close(&w);
}

// ---- what was trimmed

static strata_rc get_rc(struct world *w, const strata_read *how, const char *key)
{
    strata_value v = STRATA_VALUE_INIT;
    strata_rc one = strata_get(w->db, how, strata_str(key), &v);
    strata_slice keys[1] = {strata_str(key)};
    strata_rc many;
    strata_rc worst = strata_get_many(w->db, how, 1, keys, &v, &many);
    assert_int_equal(many, one);
    assert_int_equal(worst, one < 0 ? one : STRATA_OK);
    strata_value_release(&v);
    return one;
}

static strata_rc scan_rc(struct world *w, const strata_read *how, bool backward)
{
    strata_iter *it;
    strata_rc rc = strata_iter_open(w->db, how, &it);
    if (rc == STRATA_OK) {
        rc = backward ? strata_iter_last(it) : strata_iter_first(it);
        while (rc == STRATA_OK) {
            rc = backward ? strata_iter_prev(it) : strata_iter_next(it);
        }
        strata_iter_close(it);
    }
    return rc;
}

// Retention none, with a snapshot in the middle of the past.
static void reads_below_the_floor_are_trimmed(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = STRATA_RETENTION_NONE;
    world_open(&w, &o);
    strata_snapshot *snapshot = NULL;
    for (int i = 1; i <= 8; i++) {
        char text[16];
        snprintf(text, sizeof text, "v%d", i);
        put(&w, "k", text); // commits 1, 3, 5 ...
        put(&w, text, "x");
        if (i == 4) {
            assert_int_equal(strata_snapshot_take(w.db, &snapshot), STRATA_OK);
        }
    }
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    for (uint64_t commit = 0; commit < 16; commit++) {
        strata_read how = read_as_of(commit);
        how.as_of_zero = commit == 0;
        assert_int_equal(get_rc(&w, &how, "k"), STRATA_TRIMMED);
        assert_int_equal(get_rc(&w, &how, "none"), STRATA_TRIMMED);
        assert_int_equal(scan_rc(&w, &how, false), STRATA_TRIMMED);
        assert_int_equal(scan_rc(&w, &how, true), STRATA_TRIMMED);
    }
    strata_read how = STRATA_READ_INIT;
    how.snapshot = snapshot;
    expect_get(&w, &how, "k", "v4");
    expect_get(&w, &how, "v4", "x");
    expect_get(&w, &how, "v5", NULL);
    assert_int_equal(scan_rc(&w, &how, false), STRATA_END);
    assert_int_equal(scan_rc(&w, &how, true), STRATA_END);
    expect_get(&w, NULL, "k", "v8");
    how = read_as_of(16);
    expect_get(&w, &how, "k", "v8");
    // Of the past the history shows what stood at the floor.
    strata_history *h;
    strata_version_info v;
    assert_int_equal(strata_history_open_key(w.db, NULL, strata_str("k"), &h), STRATA_OK);
    assert_int_equal(strata_history_next(h, &v), STRATA_OK);
    assert_int_equal(v.commit, 15);
    assert_int_equal(strata_history_next(h, &v), STRATA_END);
    strata_history_close(h);
    strata_snapshot_release(snapshot);
    world_close(&w);
}

// Versions below the floor whose files are still there are not shown as if they were all.
static void history_ends_at_the_floor(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, NULL);
    put(&w, "k", "v1");
    put(&w, "k", "v2");
    put(&w, "gone", "v1");
    delete_key(&w, "gone"); // 4
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = STRATA_RETENTION_NONE;
    assert_int_equal(strata_keyspace_alter(w.db, NULL, &o), STRATA_OK);
    put(&w, "k", "v3");
    put(&w, "k", "v4"); // 6
    assert_int_equal(strata_flush(w.db), STRATA_OK);
    put(&w, "k", "v5");
    uint64_t oldest;
    assert_int_equal(strata_oldest_commit(w.db, NULL, &oldest), STRATA_OK);
    assert_int_equal(oldest, 6);
    strata_history *h;
    strata_version_info v;
    assert_int_equal(strata_history_open(w.db, NULL, &h), STRATA_OK);
    assert_int_equal(strata_history_next(h, &v), STRATA_OK);
    assert_int_equal(v.commit, 7);
    assert_int_equal(strata_history_next(h, &v), STRATA_OK);
    expect_bytes(v.key, strata_str("k"));
    assert_int_equal(v.commit, 6);
    assert_int_equal(v.end, 7);
    assert_int_equal(strata_history_next(h, &v), STRATA_END);
    strata_history_close(h);
    world_close(&w);
}

// The last two versions of each key are kept: a read that meets what was let go says so.
static void reads_that_need_a_version_that_went_are_trimmed(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    o.retention = STRATA_RETENTION_VERSIONS;
    o.retention_versions = 2;
    world_open(&w, &o);
    put(&w, "a", "stays"); // 1
    for (int i = 1; i <= 6; i++) {
        char text[16];
        snprintf(text, sizeof text, "v%d", i);
        put(&w, "k", text); // 2 to 7
        assert_int_equal(strata_flush(w.db), STRATA_OK);
    }
    assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
    strata_read how;
    for (uint64_t commit = 1; commit <= 7; commit++) {
        how = read_as_of(commit);
        expect_get(&w, &how, "a", "stays");
        strata_rc expected = commit == 1 ? STRATA_NOT_FOUND : STRATA_OK;
        expected = commit > 1 && commit < 6 ? STRATA_TRIMMED : expected;
        assert_int_equal(get_rc(&w, &how, "k"), expected);
        strata_rc scanned = expected == STRATA_TRIMMED ? STRATA_TRIMMED : STRATA_END;
        assert_int_equal(scan_rc(&w, &how, false), scanned);
        assert_int_equal(scan_rc(&w, &how, true), scanned);
    }
    strata_history *h;
    strata_version_info v;
    assert_int_equal(strata_history_open_key(w.db, NULL, strata_str("k"), &h), STRATA_OK);
    for (uint64_t commit = 7; commit >= 6; commit--) {
        assert_int_equal(strata_history_next(h, &v), STRATA_OK);
        assert_int_equal(v.commit, commit);
    }
    assert_int_equal(strata_history_next(h, &v), STRATA_END);
    strata_history_close(h);
    world_close(&w);
}

// ---- history of separated values

static void history_reads_separated_values(void **state)
{
    (void)state;
    struct world w;
    strata_keyspace_options o = world_options(256);
    world_open(&w, &o);
    for (int version = 1; version <= 6; version++) {
        strata_slice value = big_value(1, version, version % 2 == 0 ? 100 : 5000);
        put_bytes(&w, "k", value.data, value.bytes);
    }
    delete_key(&w, "k");
    for (int round = 0; round < 3; round++) {
        strata_history *h;
        strata_version_info v;
        assert_int_equal(strata_history_open_key(w.db, NULL, strata_str("k"), &h), STRATA_OK);
        assert_int_equal(strata_history_next(h, &v), STRATA_OK);
        assert_int_equal(v.kind, STRATA_VERSION_DELETE);
        for (int version = 6; version >= 1; version--) {
            if (version == 4) {
                db_reseat_idle(w.db);
            }
            assert_int_equal(strata_history_next(h, &v), STRATA_OK);
            assert_int_equal(v.commit, version);
            assert_int_equal(v.end, version + 1);
            expect_bytes(v.value, big_value(1, version, version % 2 == 0 ? 100 : 5000));
            if (version == 5 && round == 0) {
                put(&w, "another", "x");
                assert_int_equal(strata_flush(w.db), STRATA_OK); // so the view is an old one
            }
        }
        assert_int_equal(strata_history_next(h, &v), STRATA_END);
        strata_history_close(h);
        delete_key(&w, "another");
        if (round == 1) {
            assert_int_equal(strata_compact(w.db, NULL, NULL, NULL), STRATA_OK);
        }
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(candidate_outlives_its_block),
        cmocka_unit_test(snapshot_of_another_database_is_invalid),
        cmocka_unit_test(values_are_read_in_pieces),
        cmocka_unit_test(value_reader_outlives_its_version),
        cmocka_unit_test(reads_below_the_floor_are_trimmed),
        cmocka_unit_test(history_ends_at_the_floor),
        cmocka_unit_test(reads_that_need_a_version_that_went_are_trimmed),
        cmocka_unit_test(history_reads_separated_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
