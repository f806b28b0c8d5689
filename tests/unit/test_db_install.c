// Edits on a full disk, on the simulated machine.
#include "db/db.h"
#include "sim/sim_machine.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static strata_rc write_and_flush(strata_db *db, const char *value)
{
    strata_rc rc = strata_put(db, NULL, strata_str("k"), strata_str(value));
    return rc == STRATA_OK ? strata_flush(db) : rc;
}

// A long manifest that cannot be rewritten now grows on.
static void full_disk_at_the_rewrite_of_the_manifest(void **state)
{
    (void)state;
    struct sim_disk *disk = sim_disk_new();
    struct sim_machine machine;
    strata_db *db;
    strata_options options = STRATA_OPTIONS_INIT;
    options.flags = STRATA_OPEN_CREATE;
    sim_machine_init(&machine, disk, 1);
    assert_int_equal(db_open(&machine.base, "db", &options, &db), STRATA_OK);
    uint64_t before = manifest_number(db->edit.manifest);
    // The bound is DB_MANIFEST_BYTES_MAX and twice this: 0, so that every edit is over it.
    db->manifest_first_bytes = 0 - (uint64_t)DB_MANIFEST_BYTES_MAX / 2;
    struct sim_fault full = {
        .ops = SIM_OP_BIT(SIM_OP_CREATE), .glob = "*.manifest", .sticky = true, .error = ENOSPC};
    struct sim_fault *rule = sim_machine_fail(&machine, full);
    assert_int_equal(write_and_flush(db, "first"), STRATA_OK);
    assert_int_equal(write_and_flush(db, "second"), STRATA_OK);
    assert_true(rule->fired > 0);
    assert_true(manifest_number(db->edit.manifest) == before);
    sim_machine_heal(&machine);
    assert_int_equal(write_and_flush(db, "third"), STRATA_OK);
    assert_true(manifest_number(db->edit.manifest) != before);
    assert_int_equal(strata_close(db), STRATA_OK);

    assert_int_equal(db_open(&machine.base, "db", &options, &db), STRATA_OK);
    strata_value v = STRATA_VALUE_INIT;
    assert_int_equal(strata_get(db, NULL, strata_str("k"), &v), STRATA_OK);
    assert_memory_equal(v.data, "third", 5);
    strata_value_release(&v);
    assert_int_equal(strata_close(db), STRATA_OK);
    sim_machine_release(&machine);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_disk_at_the_rewrite_of_the_manifest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
