// Snapshots: a commit that a user holds on to, registered with the database until it is released.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"

struct strata_snapshot {
    strata_db *db;
    struct registration registration;
};

strata_rc snapshot_take(strata_db *db, strata_snapshot **snapshot_out)
{
    strata_snapshot *s = alloc_zeroed(1, sizeof *s);
    *snapshot_out = NULL;
    if (s == NULL) {
        return alloc_failed("a snapshot", sizeof *s);
    }
    s->db = db;
    strata_rc rc = register_commit(db, NULL, STRATA_NOW, &s->registration);
    if (rc != STRATA_OK) {
        free(s);
        return rc;
    }
    *snapshot_out = s;
    return STRATA_OK;
}

uint64_t snapshot_commit(const strata_snapshot *s)
{
    return s->registration.commit;
}

strata_db *snapshot_db(const strata_snapshot *s)
{
    return s->db;
}

void snapshot_release(strata_snapshot *s)
{
    if (s != NULL) {
        unregister_commit(s->db, &s->registration);
        free(s);
    }
}
