// What a crash of the simulated disk may and may not leave.
#include "sim/sim_disk.h"

#include "lib/test_lib.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct sim_disk *disk;
    struct sim_dir *dir;
};

static struct fixture fixture_new(void)
{
    struct fixture x = {sim_disk_new(), NULL};
    x.dir = sim_disk_dir(x.disk, "db", true);
    return x;
}

static struct sim_inode *write_file(struct fixture *x, const char *name, const char *text)
{
    struct sim_inode *inode = sim_dir_find(x->dir, name);
    if (inode == NULL) {
        inode = sim_dir_create(x->disk, x->dir, name);
    }
    sim_inode_write(x->disk, inode, 0, text, strlen(text));
    return inode;
}

static bool survivor_has(const struct sim_disk *disk, const char *name, const char *text)
{
    struct sim_inode *inode = sim_dir_find(disk->dirs[0], name);
    return inode != NULL && inode->current->bytes == strlen(text) &&
           memcmp(inode->current->data, text, strlen(text)) == 0;
}

static void synced_file_survives_every_policy(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "a", "alpha"));
    sim_dir_sync(x.disk, x.dir);
    for (int policy = 0; policy < SIM_SURVIVE_POLICIES; policy++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct sim_disk *after = sim_disk_survive(x.disk, (enum sim_survive)policy, seed);
            assert_true(survivor_has(after, "a", "alpha"));
            assert_int_equal(sim_disk_hash(after), sim_disk_hash(x.disk));
            sim_disk_free(after);
        }
    }
    sim_disk_free(x.disk);
}

static void file_sync_keeps_no_name(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "a", "alpha"));
    assert_false(sim_dir_name_is_durable(x.dir, "a"));
    struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NAMES_LOST, 1);
    assert_null(sim_dir_find(after->dirs[0], "a"));
    sim_disk_free(after);
    after = sim_disk_survive(x.disk, SIM_SURVIVE_DATA_LOST, 1);
    assert_true(survivor_has(after, "a", "alpha"));
    sim_disk_free(after);
    sim_disk_free(x.disk);
}

static void dir_sync_keeps_no_data(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    write_file(&x, "a", "alpha");
    sim_dir_sync(x.disk, x.dir);
    assert_true(sim_dir_name_is_durable(x.dir, "a"));
    struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    assert_true(survivor_has(after, "a", ""));
    sim_disk_free(after);
    after = sim_disk_survive(x.disk, SIM_SURVIVE_DATA_LOST, 1);
    struct sim_inode *inode = sim_dir_find(after->dirs[0], "a");
    assert_int_equal(inode->current->bytes, 5);
    assert_memory_equal(inode->current->data, "\0\0\0\0\0", 5);
    sim_disk_free(after);
    sim_disk_free(x.disk);
}

// Every value a sector had since the sync comes out of some seed, and nothing else does.
static void any_earlier_value_of_a_sector_can_survive(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "a", "0"));
    sim_dir_sync(x.disk, x.dir);
    write_file(&x, "a", "1");
    write_file(&x, "a", "2");
    write_file(&x, "a", "3");
    unsigned met = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_SECTORS, seed);
        char value = (char)sim_dir_find(after->dirs[0], "a")->current->data[0];
        assert_in_range(value, '0', '3');
        met |= 1u << (value - '0');
        sim_disk_free(after);
    }
    assert_int_equal(met, 15);
    sim_disk_free(x.disk);
}

static void sectors_of_one_write_survive_each_on_its_own(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    char zeros[1024] = {0};
    char ones[1024];
    memset(ones, 1, sizeof ones);
    struct sim_inode *inode = sim_dir_create(x.disk, x.dir, "a");
    sim_inode_write(x.disk, inode, 0, zeros, sizeof zeros);
    sim_inode_sync(x.disk, inode);
    sim_dir_sync(x.disk, x.dir);
    sim_inode_write(x.disk, inode, 0, ones, sizeof ones);
    unsigned met = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_SECTORS, seed);
        const uint8_t *data = sim_dir_find(after->dirs[0], "a")->current->data;
        assert_int_equal(data[0], data[511]);
        assert_int_equal(data[512], data[1023]);
        met |= 1u << (data[0] * 2 + data[512]);
        sim_disk_free(after);
    }
    assert_int_equal(met, 15);
    sim_disk_free(x.disk);
}

static void torn_write_ends_inside_a_sector(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    struct sim_inode *inode = sim_dir_create(x.disk, x.dir, "a");
    char zeros[512] = {0};
    char ones[512];
    memset(ones, 1, sizeof ones);
    sim_inode_write(x.disk, inode, 0, zeros, sizeof zeros);
    sim_inode_sync(x.disk, inode);
    sim_dir_sync(x.disk, x.dir);
    sim_inode_write(x.disk, inode, 0, ones, sizeof ones);
    size_t torn = 0;
    for (uint64_t seed = 0; seed < 500; seed++) {
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_TORN, seed);
        const uint8_t *data = sim_dir_find(after->dirs[0], "a")->current->data;
        torn += data[0] == 1 && data[511] == 0 ? 1 : 0;
        sim_disk_free(after);
    }
    assert_true(torn > 0);
    sim_disk_free(x.disk);
}

static void renames_survive_apart_from_each_other(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "t1", "one"));
    sim_inode_sync(x.disk, write_file(&x, "t2", "two"));
    sim_dir_sync(x.disk, x.dir);
    sim_dir_rename(x.disk, x.dir, "t1", "a");
    sim_dir_rename(x.disk, x.dir, "t2", "b");
    unsigned met = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_SECTORS, seed);
        bool a = survivor_has(after, "a", "one");
        bool b = survivor_has(after, "b", "two");
        assert_int_equal(a, sim_dir_find(after->dirs[0], "t1") == NULL);
        assert_int_equal(b, sim_dir_find(after->dirs[0], "t2") == NULL);
        met |= 1u << ((a ? 2 : 0) + (b ? 1 : 0));
        sim_disk_free(after);
    }
    assert_int_equal(met, 15);
    sim_disk_free(x.disk);
}

static void unsynced_unlink_can_come_back(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "a", "alpha"));
    sim_dir_sync(x.disk, x.dir);
    sim_dir_unlink(x.disk, x.dir, "a");
    struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    assert_true(survivor_has(after, "a", "alpha"));
    sim_disk_free(after);
    sim_dir_sync(x.disk, x.dir);
    after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    assert_null(sim_dir_find(after->dirs[0], "a"));
    sim_disk_free(after);
    sim_disk_free(x.disk);
}

static void lost_extension_shows_old_bytes(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    char old[1024];
    char fresh[1024];
    memset(old, 'o', sizeof old);
    memset(fresh, 'f', sizeof fresh);
    struct sim_inode *inode = sim_dir_create(x.disk, x.dir, "old");
    sim_inode_write(x.disk, inode, 0, old, sizeof old);
    sim_dir_unlink(x.disk, x.dir, "old");
    inode = sim_dir_create(x.disk, x.dir, "a");
    sim_dir_sync(x.disk, x.dir);
    sim_inode_write(x.disk, inode, 0, fresh, sizeof fresh);
    size_t olds = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_OLD_TAIL, seed);
        const struct sim_bytes *b = sim_dir_find(after->dirs[0], "a")->current;
        assert_int_equal(b->bytes, sizeof fresh);
        assert_true(b->data[0] == 'o' || b->data[0] == 'f');
        olds += b->data[0] == 'o' ? 1 : 0;
        sim_disk_free(after);
    }
    assert_in_range(olds, 5, 45);
    sim_disk_free(x.disk);
}

static void survivor_is_apart_from_its_source(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    sim_inode_sync(x.disk, write_file(&x, "a", "alpha"));
    sim_dir_sync(x.disk, x.dir);
    struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, 1);
    sim_inode_write(after, sim_dir_find(after->dirs[0], "a"), 0, "A", 1);
    assert_true(survivor_has(after, "a", "Alpha"));
    assert_true(survivor_has(x.disk, "a", "alpha"));
    write_file(&x, "a", "other");
    assert_true(survivor_has(after, "a", "Alpha"));
    assert_null(sim_disk_check(x.disk));
    assert_null(sim_disk_check(after));
    sim_disk_free(after);
    sim_disk_free(x.disk);
}

static void failed_sync_is_not_made_good_by_the_next(void **state)
{
    (void)state;
    size_t lost = 0;
    for (uint64_t seed = 0; seed < 30; seed++) {
        struct fixture x = fixture_new();
        struct sim_inode *inode = write_file(&x, "a", "alpha");
        sim_dir_sync(x.disk, x.dir);
        sim_inode_sync_fails(x.disk, inode, SIM_SYNC_KEEPS, seed);
        assert_true(survivor_has(x.disk, "a", "alpha"));
        sim_inode_sync(x.disk, inode);
        struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_NOTHING, seed);
        lost += survivor_has(after, "a", "alpha") ? 0 : 1;
        sim_disk_free(after);
        sim_disk_free(x.disk);
    }
    assert_in_range(lost, 1, 29);
}

static void same_seed_leaves_the_same_disk(void **state)
{
    (void)state;
    struct fixture x = fixture_new();
    char page[4096];
    struct sim_inode *inode = sim_dir_create(x.disk, x.dir, "a");
    sim_inode_truncate(x.disk, inode, 65536);
    sim_inode_sync(x.disk, inode);
    sim_dir_sync(x.disk, x.dir);
    for (int i = 0; i < 16; i++) {
        memset(page, i + 1, sizeof page);
        sim_inode_write(x.disk, inode, (uint64_t)i * sizeof page, page, sizeof page);
    }
    double start = test_seconds();
    uint64_t hashes[2] = {0, 0};
    size_t states = 0;
    for (int round = 0; round < 2; round++) {
        for (uint64_t seed = 0; seed < 2000; seed++) {
            struct sim_disk *after = sim_disk_survive(x.disk, SIM_SURVIVE_SECTORS, seed);
            hashes[round] = hashes[round] * 31 + sim_disk_hash(after);
            sim_disk_free(after);
            states++;
        }
    }
    print_message("survivors of 64 KiB a second, with hash: %.0f\n",
                  (double)states / (test_seconds() - start));
    assert_int_equal(hashes[0], hashes[1]);
    sim_disk_free(x.disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_file_survives_every_policy),
        cmocka_unit_test(file_sync_keeps_no_name),
        cmocka_unit_test(dir_sync_keeps_no_data),
        cmocka_unit_test(any_earlier_value_of_a_sector_can_survive),
        cmocka_unit_test(sectors_of_one_write_survive_each_on_its_own),
        cmocka_unit_test(torn_write_ends_inside_a_sector),
        cmocka_unit_test(renames_survive_apart_from_each_other),
        cmocka_unit_test(unsynced_unlink_can_come_back),
        cmocka_unit_test(lost_extension_shows_old_bytes),
        cmocka_unit_test(survivor_is_apart_from_its_source),
        cmocka_unit_test(failed_sync_is_not_made_good_by_the_next),
        cmocka_unit_test(same_seed_leaves_the_same_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
