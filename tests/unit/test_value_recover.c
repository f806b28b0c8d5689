// What crashes leave of value files: every boundary of a life, under every policy of survival, and
// crashes in the middle of what recovery does.
#include "unit/value_world.h"

#define APPENDS_MAX 32

struct life {
    struct world w;
    struct value_place places[APPENDS_MAX];
    uint8_t *bytes[APPENDS_MAX];
    bool synced[APPENDS_MAX];
    uint32_t count; // that returned
    uint64_t boundary;
    uint64_t recoveries;
};

static struct life life;

static void check_life(struct value_file *f, uint32_t i)
{
    const struct kv_value_ref *ref = &life.places[i].ref;
    uint8_t *got = malloc(ref->bytes);
    assert_non_null(got);
    assert_int_equal(value_file_read(f, ref, 0, got, ref->bytes), STRATA_OK);
    assert_int_equal(memcmp(got, life.bytes[i], ref->bytes), 0);
    free(got);
}

// One recovery on a disk of its own. `must`: what has to be found; UINT32_MAX bits of `only` say
// what may be found. Returns what was found, and leaves the disk finished.
static uint32_t recover(struct sim_disk *disk, uint32_t must, uint32_t only,
                        void (*boundary)(void *ctx, struct sim_machine *m,
                                         const struct sim_event *e),
                        void *ctx)
{
    struct world w;
    struct value_file *f;
    uint32_t found = 0;
    world_begin_on(&w, disk);
    strata_rc rc = value_file_recover(&w.env, 9, &f);
    life.recoveries++;
    if (rc == STRATA_NOT_FOUND) {
        assert_int_equal(must, 0);
        world_end(&w);
        return 0;
    }
    assert_int_equal(rc, STRATA_OK);
    for (uint32_t i = 0; i < life.count; i++) {
        rc = value_file_recover_add(f, &life.places[i].ref, life.places[i].offset);
        if (rc == STRATA_OK) {
            found |= 1u << i;
            check_life(f, i);
        } else {
            assert_int_equal(rc, STRATA_NOT_FOUND);
        }
    }
    assert_int_equal(must & ~found, 0);
    assert_int_equal(found & ~only, 0);
    w.machine.boundary = boundary;
    w.machine.boundary_ctx = ctx;
    assert_int_equal(value_file_finish(f), STRATA_OK);
    w.machine.boundary = NULL;
    struct faults faults = {0};
    assert_int_equal(value_file_verify(f, count_fault, NULL, &faults), STRATA_OK);
    for (uint32_t i = 0; i < life.count; i++) {
        bool holds;
        assert_int_equal(value_file_holds(f, 9, life.places[i].ref.ordinal, &holds), STRATA_OK);
        assert_true(holds || (found >> i & 1) == 0);
    }
    value_file_unref(f);
    world_end(&w);
    return found;
}

struct nested {
    uint32_t found; // by the recovery that is cut off
    bool set;
    uint64_t seed;
};

// A crash in the middle of a recovery: what it found was on the disk, so the next finds the same.
static void nested_boundary(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct nested *n = ctx;
    (void)e;
    enum sim_survive policy = (enum sim_survive)(n->seed++ % SIM_SURVIVE_POLICIES);
    struct sim_disk *left = sim_disk_survive(m->disk, policy, n->seed);
    // sim_disk_survive of the disk of a survivor: the durable part is all that the first found.
    recover(left, n->found, n->found, NULL, NULL);
}

static uint32_t synced_mask(void)
{
    uint32_t must = 0;
    for (uint32_t i = 0; i < life.count; i++) {
        must |= (uint32_t)life.synced[i] << i;
    }
    return must;
}

static void crash_here(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)ctx;
    (void)e;
    uint32_t must = synced_mask();
    life.boundary++;
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        enum sim_survive how = (enum sim_survive)policy;
        uint64_t seed = life.boundary * 97;
        uint32_t found =
            recover(sim_disk_survive(m->disk, how, seed), must, UINT32_MAX, NULL, NULL);
        // The same survivor again, crashed while it recovers.
        struct nested n = {.found = found, .seed = seed};
        recover(sim_disk_survive(m->disk, how, seed), found, found, nested_boundary, &n);
    }
}

static void life_append(struct value_file *f, size_t bytes, strata_compression how)
{
    struct value_place place;
    life.bytes[life.count] = value_bytes(life.count, bytes);
    struct slice value = slice_of(life.bytes[life.count], bytes);
    assert_int_equal(value_file_append(f, value, how, &place), STRATA_OK);
    life.places[life.count++] = place;
}

static void life_sync(struct value_file *f)
{
    assert_int_equal(value_file_sync(f), STRATA_OK);
    for (uint32_t i = 0; i < life.count; i++) {
        life.synced[i] = true;
    }
}

// What was synced is found after every crash, and nothing wrong ever.
static void every_crash_of_a_life_recovers(void **state)
{
    (void)state;
    life = (struct life){0};
    world_begin(&life.w);
    life.w.machine.boundary = crash_here;
    struct value_file *f = world_new(&life.w, 9);
    life_append(f, 100, STRATA_COMPRESSION_NONE);
    life_append(f, 700, STRATA_COMPRESSION_LZ4);
    life_sync(f);
    life_append(f, 40, STRATA_COMPRESSION_NONE);
    life_append(f, 4096, STRATA_COMPRESSION_LZ4);
    life_append(f, 600, STRATA_COMPRESSION_NONE);
    life_append(f, KV_VALUE_CHUNK_BYTES + 3000, STRATA_COMPRESSION_LZ4);
    life_append(f, 9, STRATA_COMPRESSION_NONE);
    life_sync(f);
    life_append(f, 2000, STRATA_COMPRESSION_NONE);
    life_append(f, 10, STRATA_COMPRESSION_NONE);
    assert_int_equal(value_file_finish(f), STRATA_OK);
    for (uint32_t i = 0; i < life.count; i++) {
        life.synced[i] = true;
    }
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        recover(sim_disk_survive(life.w.disk, (enum sim_survive)policy, 1), synced_mask(),
                UINT32_MAX, NULL, NULL);
    }
    value_file_unref(f);
    life.w.machine.boundary = NULL;
    world_end(&life.w);
    for (uint32_t i = 0; i < life.count; i++) {
        free(life.bytes[i]);
    }
    assert_true(life.boundary >= 14);
    assert_true(life.recoveries > 600);
}

// A record that lies on the disk from an earlier file of the same name is not taken for a value.
static void an_older_file_of_the_name_is_not_believed(void **state)
{
    (void)state;
    struct world w;
    struct value_file *f;
    world_begin(&w);
    assert_int_equal(value_file_new(&w.env, 9, WORLD_KEYSPACE, 4, &f), STRATA_OK);
    struct value_place old = append(f, 1, 600, STRATA_COMPRESSION_NONE);
    assert_int_equal(value_file_sync(f), STRATA_OK);
    struct sim_inode *inode = sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000009.value");
    size_t bytes = inode->current->bytes;
    uint8_t *image = malloc(bytes);
    assert_non_null(image);
    memcpy(image, inode->current->data, bytes);
    value_file_delete_at_close(f);
    value_file_unref(f);
    f = world_new(&w, 9);
    struct value_place place = append(f, 2, 600, STRATA_COMPRESSION_NONE);
    assert_int_equal(place.offset, old.offset);
    value_file_unref(f);
    // The header came to the disk, the value did not.
    inode = sim_dir_find(sim_disk_dir(w.disk, "/db", false), "000009.value");
    sim_inode_write(w.disk, inode, VALUE_HEADER_BYTES, image + VALUE_HEADER_BYTES,
                    bytes - VALUE_HEADER_BYTES);
    assert_int_equal(value_file_recover(&w.env, 9, &f), STRATA_OK);
    assert_int_equal(value_file_recover_add(f, &place.ref, place.offset), STRATA_NOT_FOUND);
    value_file_unref(f);
    free(image);
    world_end(&w);
}

static void a_file_that_is_not_there_is_not_found(void **state)
{
    (void)state;
    struct world w;
    struct value_file *f;
    world_begin(&w);
    assert_int_equal(value_file_recover(&w.env, 9, &f), STRATA_NOT_FOUND);
    world_end(&w);
}

static void references_that_cannot_be_are_not_found(void **state)
{
    (void)state;
    struct world w;
    struct value_file *f;
    world_begin(&w);
    f = world_new(&w, 9);
    struct value_place p = append(f, 1, 1000, STRATA_COMPRESSION_NONE);
    struct value_place q = append(f, 2, 1000, STRATA_COMPRESSION_NONE);
    value_file_unref(f);
    assert_int_equal(value_file_recover(&w.env, 9, &f), STRATA_OK);
    const struct value_place wrong[] = {
        {{8, p.ref.ordinal, 1000}, p.offset},
        {{9, p.ref.ordinal + 1, 1000}, p.offset},
        {{9, p.ref.ordinal, 999}, p.offset},
        {{9, p.ref.ordinal, 1001}, p.offset},
        {{9, p.ref.ordinal, KV_VALUE_CHUNK_BYTES + 1}, p.offset},
        {{9, p.ref.ordinal, 1000}, p.offset + 1},
        {{9, p.ref.ordinal, 1000}, p.offset + 8},
        {{9, p.ref.ordinal, 1000}, 0},
        {{9, p.ref.ordinal, 1000}, UINT64_MAX - 7},
        {{9, p.ref.ordinal, 1000}, 1 << 30},
        {{9, UINT32_MAX - 1, 1000}, p.offset},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(value_file_recover_add(f, &wrong[i].ref, wrong[i].offset),
                         STRATA_NOT_FOUND);
    }
    assert_int_equal(value_file_recover_add(f, &q.ref, q.offset), STRATA_OK);
    assert_int_equal(value_file_recover_add(f, &q.ref, q.offset), STRATA_OK);
    assert_int_equal(try_read(f, &p.ref, 1), STRATA_CORRUPT);
    assert_int_equal(value_file_finish(f), STRATA_OK);
    assert_int_equal(value_file_meta(f)->logicals[0].records, 1);
    assert_int_equal(value_file_meta(f)->logicals[0].raw_bytes, 1000);
    assert_int_equal(value_file_recover_add(f, &q.ref, q.offset), STRATA_OK);
    assert_int_equal(value_file_recover_add(f, &p.ref, p.offset), STRATA_NOT_FOUND);
    check(f, &q.ref, 2);
    value_file_unref(f);
    world_end(&w);
}

static void a_stream_recovers_over_its_syncs(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    size_t bytes = 2 * KV_VALUE_CHUNK_BYTES + 5;
    uint8_t *v = value_bytes(1, bytes);
    struct value_place first;
    for (size_t at = 0; at < bytes; at += KV_VALUE_CHUNK_BYTES) {
        size_t left = bytes - at;
        size_t now = left < KV_VALUE_CHUNK_BYTES ? left : KV_VALUE_CHUNK_BYTES;
        struct value_place place;
        assert_int_equal(
            value_file_append_chunk(f, slice_of(v + at, now), STRATA_COMPRESSION_LZ4, &place),
            STRATA_OK);
        assert_int_equal(value_file_sync(f), STRATA_OK);
        first = at == 0 ? place : first;
    }
    free(v);
    first.ref.bytes = (uint32_t)bytes;
    value_file_unref(f);
    assert_int_equal(value_file_recover(&w.env, 4, &f), STRATA_OK);
    assert_int_equal(value_file_recover_add(f, &first.ref, first.offset), STRATA_OK);
    check(f, &first.ref, 1);
    assert_int_equal(value_file_finish(f), STRATA_OK);
    check(f, &first.ref, 1);
    value_file_unref(f);
    world_end(&w);
}

// After a failed sync the process may see what is not on the disk. What is recovered then must be
// there after the next crash all the same.
static void what_is_recovered_after_a_failed_sync_stays(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 2 * SIM_SYNC_FAILURES * 8; i++) {
        struct world w;
        world_begin(&w);
        w.machine.random.state += i * 7;
        struct value_file *f = world_new(&w, 4);
        struct value_place p[2] = {append(f, 0, 5000, STRATA_COMPRESSION_NONE),
                                   append(f, 1, 5000, STRATA_COMPRESSION_ZSTD)};
        sim_machine_fail(&w.machine, (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_SYNC),
                                                        .index = i % 2,
                                                        .error = 5,
                                                        .sync_model = (enum sim_sync_failure)(
                                                            i / 2 % SIM_SYNC_FAILURES)});
        assert_int_equal(value_file_finish(f), STRATA_UNKNOWN_OUTCOME);
        sim_machine_heal(&w.machine);
        assert_false(value_file_is_finished(f));
        assert_int_equal(value_file_finish(f), STRATA_UNKNOWN_OUTCOME);
        assert_int_equal(value_file_sync(f), STRATA_UNKNOWN_OUTCOME);
        assert_true(value_file_is_full(f));
        value_file_unref(f);
        // The disk goes on.
        bool found[2] = {false};
        strata_rc rc = value_file_recover(&w.env, 4, &f);
        assert_true(rc == STRATA_OK || rc == STRATA_NOT_FOUND);
        if (rc == STRATA_OK) {
            for (uint64_t j = 0; j < 2; j++) {
                rc = value_file_recover_add(f, &p[j].ref, p[j].offset);
                assert_true(rc == STRATA_OK || rc == STRATA_NOT_FOUND);
                found[j] = rc == STRATA_OK;
            }
            assert_int_equal(value_file_finish(f), STRATA_OK);
            value_file_unref(f);
        }
        struct sim_disk *left = sim_disk_survive(w.disk, SIM_SURVIVE_NOTHING, 1);
        world_end(&w);
        world_begin_on(&w, left);
        if (found[0] || found[1]) {
            assert_int_equal(value_file_recover(&w.env, 4, &f), STRATA_OK);
            assert_true(value_file_is_finished(f));
            for (uint64_t j = 0; j < 2; j++) {
                if (found[j]) {
                    check(f, &p[j].ref, j);
                }
            }
            value_file_unref(f);
        }
        world_end(&w);
    }
}

static void count_changes(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)m;
    (void)e;
    ++*(int *)ctx;
}

static void a_file_that_was_finished_alone_is_not_written_again(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    for (uint64_t i = 0; i < 2; i++) {
        struct value_file *f = world_new(&w, 4 + i);
        struct value_place p = append(f, 1, 5000, STRATA_COMPRESSION_LZ4);
        assert_int_equal(i == 0 ? value_file_finish_alone(f) : value_file_finish(f), STRATA_OK);
        value_file_unref(f);
        int changes = 0;
        assert_int_equal(value_file_recover(&w.env, 4 + i, &f), STRATA_OK);
        assert_int_equal(value_file_recover_add(f, &p.ref, p.offset), STRATA_OK);
        w.machine.boundary = count_changes;
        w.machine.boundary_ctx = &changes;
        assert_int_equal(value_file_finish(f), STRATA_OK);
        w.machine.boundary = NULL;
        assert_true((changes == 0) == (i == 0));
        check(f, &p.ref, 1);
        value_file_unref(f);
    }
    world_end(&w);
}

// Read-only opens finish nothing.
static void an_unfinished_file_is_read_without_being_changed(void **state)
{
    (void)state;
    struct world w;
    world_begin(&w);
    struct value_file *f = world_new(&w, 4);
    struct value_place p = append(f, 1, 5000, STRATA_COMPRESSION_ZSTD);
    value_file_unref(f);
    uint64_t before = sim_disk_hash(w.disk);
    assert_int_equal(value_file_recover(&w.env, 4, &f), STRATA_OK);
    assert_int_equal(value_file_recover_add(f, &p.ref, p.offset), STRATA_OK);
    check(f, &p.ref, 1);
    value_file_unref(f);
    assert_true(before == sim_disk_hash(w.disk));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_of_a_life_recovers),
        cmocka_unit_test(an_older_file_of_the_name_is_not_believed),
        cmocka_unit_test(a_file_that_is_not_there_is_not_found),
        cmocka_unit_test(references_that_cannot_be_are_not_found),
        cmocka_unit_test(a_stream_recovers_over_its_syncs),
        cmocka_unit_test(what_is_recovered_after_a_failed_sync_stays),
        cmocka_unit_test(a_file_that_was_finished_alone_is_not_written_again),
        cmocka_unit_test(an_unfinished_file_is_read_without_being_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
