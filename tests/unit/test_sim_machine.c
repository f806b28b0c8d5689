// The simulated machine through the interfaces that the engine uses.
#include "sim/sim_machine.h"

#include "lib/test_lib.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct sim_disk *disk;
    struct sim_machine machine;
    struct os_dir *dir;
};

static void fixture_open(struct fixture *x)
{
    x->disk = sim_disk_new();
    sim_machine_init(&x->machine, x->disk, 1);
    struct os_machine *m = &x->machine.base;
    assert_int_equal(m->open_dir(m, "db", true, &x->dir), STRATA_OK);
}

static void fixture_close(struct fixture *x)
{
    os_dir_close(x->dir);
    sim_machine_release(&x->machine);
    sim_disk_free(x->disk);
}

static struct os_file *create_file(struct fixture *x, const char *name)
{
    struct os_file *f = NULL;
    assert_int_equal(os_file_open(x->dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE, &f), STRATA_OK);
    return f;
}

static void absent_directory_is_not_found(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_dir *other = NULL;
    struct os_machine *m = &x.machine.base;
    assert_int_equal(m->open_dir(m, "nowhere", false, &other), STRATA_NOT_FOUND);
    fixture_close(&x);
}

static void written_bytes_are_read_back(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_file *f = create_file(&x, "a");
    char got[5];
    assert_int_equal(os_file_write(f, 3, "alpha", 5), STRATA_OK);
    assert_int_equal(os_file_read(f, 3, got, 5), STRATA_OK);
    assert_memory_equal(got, "alpha", 5);
    assert_int_equal(os_file_read(f, 6, got, 5), STRATA_CORRUPT);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(os_file_open(x.dir, "b", OS_OPEN_READ, &f), STRATA_IO);
    assert_int_equal(os_file_open_if_there(x.dir, "b", OS_OPEN_READ, &f), STRATA_NOT_FOUND);
    fixture_close(&x);
}

static void second_exclusive_lock_is_refused(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_dir *second = NULL;
    struct os_machine *m = &x.machine.base;
    assert_int_equal(m->open_dir(m, "db", false, &second), STRATA_OK);
    assert_int_equal(os_dir_lock(x.dir, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_OK);
    assert_int_equal(os_dir_lock(second, "LOCK", OS_LOCK_EXCLUSIVE), STRATA_LOCKED);
    assert_int_equal(os_dir_lock(second, "LOCK", OS_LOCK_SHARED), STRATA_LOCKED);
    os_dir_close(second);
    fixture_close(&x);
}

static void store_is_a_boundary_and_is_lost_without_sync(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_file *f = create_file(&x, "log");
    struct os_map *map = NULL;
    assert_int_equal(os_file_truncate(f, 4096), STRATA_OK);
    assert_int_equal(os_file_sync(f, false), STRATA_OK);
    assert_int_equal(os_dir_sync(x.dir), STRATA_OK);
    assert_int_equal(os_file_map(f, 4096, &map), STRATA_OK);
    uint64_t before = x.machine.boundaries;
    os_map_store(map, 10, "alpha", 5);
    assert_int_equal(x.machine.boundaries, before + 1);
    struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    assert_int_equal(sim_dir_find(after->dirs[0], "log")->current->data[10], 0);
    sim_disk_free(after);
    assert_int_equal(os_file_sync(f, true), STRATA_OK);
    after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    assert_memory_equal(sim_dir_find(after->dirs[0], "log")->current->data + 10, "alpha", 5);
    sim_disk_free(after);
    assert_null(sim_disk_check(x.disk));
    map->base[20] = 1; // past os_map_store
    assert_non_null(sim_disk_check(x.disk));
    map->close(map);
    assert_int_equal(os_file_close(f), STRATA_OK);
    fixture_close(&x);
}

static void fault_fires_once_or_from_then_on(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_file *f = create_file(&x, "a.log");
    struct sim_fault *once = sim_machine_fail(
        &x.machine,
        (struct sim_fault){
            .ops = SIM_OP_BIT(SIM_OP_WRITE), .glob = "*.log", .index = 1, .error = EIO});
    assert_int_equal(os_file_write(f, 0, "a", 1), STRATA_OK);
    assert_int_equal(os_file_write(f, 0, "b", 1), STRATA_IO);
    assert_int_equal(os_file_write(f, 0, "c", 1), STRATA_OK);
    assert_int_equal(once->fired, 1);
    sim_machine_heal(&x.machine);
    sim_machine_fail(&x.machine,
                     (struct sim_fault){.ops = SIM_OP_ANY, .error = ENOSPC, .sticky = true});
    assert_int_equal(os_file_write(f, 0, "d", 1), STRATA_NO_SPACE);
    assert_int_equal(os_file_sync(f, true), STRATA_NO_SPACE);
    assert_int_equal(sim_machine_faults_fired(&x.machine), 2);
    sim_machine_heal(&x.machine);
    assert_int_equal(os_file_close(f), STRATA_OK);
    fixture_close(&x);
}

static void short_transfers_are_made_whole(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_file *f = create_file(&x, "a");
    char got[6] = {0};
    sim_machine_fail(&x.machine,
                     (struct sim_fault){.ops = SIM_OP_BIT(SIM_OP_WRITE) | SIM_OP_BIT(SIM_OP_READ),
                                        .sticky = true,
                                        .short_bytes = 2});
    assert_int_equal(os_file_write(f, 0, "alpha", 5), STRATA_OK);
    assert_int_equal(os_file_read(f, 0, got, 5), STRATA_OK);
    assert_string_equal(got, "alpha");
    assert_int_equal(os_file_close(f), STRATA_OK);
    fixture_close(&x);
}

static void full_disk_is_no_space_until_something_goes(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    char page[4096] = {0};
    uint64_t free_bytes = 0;
    x.disk->capacity = 6000;
    struct os_file *f = create_file(&x, "a");
    struct os_file *g = create_file(&x, "b");
    assert_int_equal(os_file_write(f, 0, page, sizeof page), STRATA_OK);
    assert_int_equal(os_dir_space(x.dir, &free_bytes), STRATA_OK);
    assert_int_equal(free_bytes, 6000 - 4096);
    assert_int_equal(os_file_write(g, 0, page, sizeof page), STRATA_NO_SPACE);
    assert_int_equal(os_file_write(f, 0, page, sizeof page), STRATA_OK);
    assert_int_equal(os_file_close(f), STRATA_OK);
    assert_int_equal(os_dir_unlink(x.dir, "a"), STRATA_OK);
    assert_int_equal(os_file_write(g, 0, page, sizeof page), STRATA_OK);
    assert_int_equal(os_file_close(g), STRATA_OK);
    fixture_close(&x);
}

struct count_task {
    struct os_task task;
    int left;
    char *log;
    char letter;
};

static bool count_step(struct os_task *task)
{
    struct count_task *t = (struct count_task *)task;
    size_t n = strlen(t->log);
    t->log[n] = t->letter;
    return --t->left > 0;
}

static void run_two_tasks(uint64_t seed, char log[16])
{
    struct sim_disk *disk = sim_disk_new();
    struct sim_machine m;
    struct os_executor *e = NULL;
    sim_machine_init(&m, disk, seed);
    assert_int_equal(m.base.new_executor(&m.base, 2, &e), STRATA_OK);
    struct count_task a = {.task = {.step = count_step}, .left = 3, .log = log, .letter = 'a'};
    struct count_task b = {.task = {.step = count_step}, .left = 3, .log = log, .letter = 'b'};
    e->submit(e, &a.task);
    e->submit(e, &a.task);
    e->submit(e, &b.task);
    assert_int_equal(sim_machine_crank(&m, 4), 4);
    e->retire(e, &a.task);
    e->retire(e, &b.task);
    assert_int_equal(strlen(log), 6);
    e->close(e);
    sim_machine_release(&m);
    sim_disk_free(disk);
}

static void order_of_tasks_comes_from_the_seed(void **state)
{
    (void)state;
    size_t orders = 0;
    char last[16] = {0};
    for (uint64_t seed = 1; seed < 20; seed++) {
        char first[16] = {0};
        char second[16] = {0};
        run_two_tasks(seed, first);
        run_two_tasks(seed, second);
        assert_string_equal(first, second);
        orders += strcmp(first, last) != 0 ? 1 : 0;
        memcpy(last, first, sizeof last);
    }
    assert_true(orders > 3);
}

static void dead_machine_changes_nothing(void **state)
{
    (void)state;
    struct fixture x;
    fixture_open(&x);
    struct os_file *f = create_file(&x, "a");
    uint64_t before = x.machine.boundaries;
    x.machine.dead = true;
    assert_int_equal(os_file_write(f, 0, "a", 1), STRATA_IO);
    assert_int_equal(os_dir_sync(x.dir), STRATA_IO);
    assert_int_equal(x.machine.boundaries, before);
    assert_int_equal(os_file_close(f), STRATA_IO);
    fixture_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_directory_is_not_found),
        cmocka_unit_test(written_bytes_are_read_back),
        cmocka_unit_test(second_exclusive_lock_is_refused),
        cmocka_unit_test(store_is_a_boundary_and_is_lost_without_sync),
        cmocka_unit_test(fault_fires_once_or_from_then_on),
        cmocka_unit_test(short_transfers_are_made_whole),
        cmocka_unit_test(full_disk_is_no_space_until_something_goes),
        cmocka_unit_test(order_of_tasks_comes_from_the_seed),
        cmocka_unit_test(dead_machine_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
