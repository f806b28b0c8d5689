// Options, and the last moments of a database.
#include "db/db.h"
#include "sim/sim_machine.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void zeroed_keyspace_options_are_the_defaults(void **state)
{
    (void)state;
    strata_options given = {.struct_bytes = sizeof given};
    strata_options resolved;
    assert_int_equal(db_options_resolve(&given, &resolved), STRATA_OK);
    assert_int_equal(resolved.keyspace.struct_bytes, sizeof resolved.keyspace);
    assert_int_equal(resolved.keyspace.filter_bits, 10);
    given.keyspace.filter_bits = 12;
    assert_int_equal(db_options_resolve(&given, &resolved), STRATA_OK);
    assert_int_equal(resolved.keyspace.filter_bits, 12);
    given.keyspace.struct_bytes = 3;
    assert_int_equal(db_options_resolve(&given, &resolved), STRATA_INVALID);
}

// A commit that was acknowledged before the error is owed its sync.
static void close_after_an_error_syncs_what_was_committed(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new();
    struct sim_machine machine;
    strata_db *db;
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    sim_machine_init(&machine, disk, 1);
    assert_int_equal(db_open(&machine.base, "db", &options, &db), STRATA_OK);
    strata_write how = STRATA_WRITE_INIT;
    how.durability = STRATA_SYNC_BACKGROUND;
    assert_int_equal(strata_put(db, &how, strata_str("k"), strata_str("v")), STRATA_OK);
    assert_int_equal(db_fail(db, STRATA_CORRUPT), STRATA_CORRUPT); // as a merge that met damage
    assert_int_equal(strata_put(db, &how, strata_str("k"), strata_str("w")), STRATA_READ_ONLY);
    assert_int_equal(strata_close(db), STRATA_OK);
    sim_machine_release(&machine);

    struct sim_disk *after = sim_disk_survive(disk, SIM_SURVIVE_NOTHING, 1);
    sim_disk_free(disk);
    sim_machine_init(&machine, after, 2);
    assert_int_equal(db_open(&machine.base, "db", &options, &db), STRATA_OK);
    strata_value v = STRATA_VALUE_INIT;
    assert_int_equal(strata_get(db, NULL, strata_str("k"), &v), STRATA_OK);
    assert_memory_equal(v.data, "v", 1);
    strata_value_release(&v);
    assert_int_equal(strata_close(db), STRATA_OK);
    sim_machine_release(&machine);
    sim_disk_free(after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeroed_keyspace_options_are_the_defaults),
        cmocka_unit_test(close_after_an_error_syncs_what_was_committed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
