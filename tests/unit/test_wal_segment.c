#include "unit/test_wal_world.h"

#include "wal/wal_private.h"

#include <errno.h>

static void new_segment_is_zeros_on_disk(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct wal_segment *s;
    assert_int_equal(wal_segment_create(&world->config, 32768, &s), STRATA_OK);
    assert_int_equal(wal_segment_fill(&world->config, s, 8192), STRATA_OK);
    assert_int_equal(s->filled, 8192);
    assert_null(s->map);
    assert_int_equal(wal_segment_fill(&world->config, s, UINT64_MAX), STRATA_OK);
    assert_int_equal(s->filled, 32768);
    assert_non_null(s->map);
    // Nothing of it is lost in a crash.
    struct sim_disk *left = sim_disk_survive(world->disk, SIM_SURVIVE_NOTHING, 1);
    struct sim_inode *inode = sim_dir_find(sim_disk_dir(left, "/db", false), "000001.log");
    assert_non_null(inode);
    assert_int_equal(inode->current->bytes, 32768);
    for (size_t i = 0; i < 32768; i++) {
        assert_int_equal(inode->current->data[i], 0);
    }
    sim_disk_free(left);
    assert_int_equal(wal_segment_close(s), STRATA_OK);
    assert_int_equal(wal_segment_close(NULL), STRATA_OK);
    world_free(world);
}

struct writes {
    uint64_t count;
    size_t largest;
};

static void note_write(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    (void)m;
    struct writes *writes = ctx;
    if (e->op == SIM_OP_WRITE) {
        writes->count++;
        writes->largest = e->bytes > writes->largest ? e->bytes : writes->largest;
    }
}

static void zeros_are_written_in_pieces_of_a_page(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct writes writes = {0};
    world->machine.observe = note_write;
    world->machine.observe_ctx = &writes;
    struct wal_segment *s;
    assert_int_equal(wal_segment_create(&world->config, 1u << 20, &s), STRATA_OK);
    assert_int_equal(wal_segment_fill(&world->config, s, UINT64_MAX), STRATA_OK);
    assert_int_equal(writes.count, 256);
    assert_int_equal(writes.largest, 4096);
    assert_int_equal(wal_segment_close(s), STRATA_OK);
    world_free(world);
}

static void spare_takes_a_new_number_for_good(void **state)
{
    (void)state;
    struct world *world = world_new(false);
    struct wal_segment *s;
    assert_int_equal(wal_segment_create(&world->config, 8192, &s), STRATA_OK);
    assert_int_equal(wal_segment_fill(&world->config, s, UINT64_MAX), STRATA_OK);
    struct wal_spare spare = {s->number, s->bytes};
    assert_int_equal(wal_segment_close(s), STRATA_OK);
    assert_int_equal(wal_segment_reuse(&world->config, &spare, &s), STRATA_OK);
    assert_int_equal(s->number, 2);
    assert_int_equal(s->filled, 8192);
    assert_null(s->map); // appended to with pwrite
    struct sim_disk *left = sim_disk_survive(world->disk, SIM_SURVIVE_NOTHING, 1);
    assert_null(sim_dir_find(sim_disk_dir(left, "/db", false), "000001.log"));
    assert_non_null(sim_dir_find(sim_disk_dir(left, "/db", false), "000002.log"));
    sim_disk_free(left);
    wal_segment_discard(&world->config, s);
    assert_null(sim_dir_find(sim_disk_dir(world->disk, "/db", false), "000002.log"));
    wal_segment_discard(&world->config, NULL);
    world_free(world);
}

static void spare_that_is_gone_is_an_error(void **state)
{
    (void)state;
    struct world *world = world_new(true);
    struct wal_spare spare = {77, 8192};
    struct wal_segment *s = NULL;
    assert_int_equal(wal_segment_reuse(&world->config, &spare, &s), STRATA_IO);
    assert_null(s);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_segment_is_zeros_on_disk),
        cmocka_unit_test(zeros_are_written_in_pieces_of_a_page),
        cmocka_unit_test(spare_takes_a_new_number_for_good),
        cmocka_unit_test(spare_that_is_gone_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
