// Snapshots: a commit that a user holds on to, registered with the database until it is released.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"

struct strata_snapshot {
    strata_db *db;
    uint64_t commit;
};

strata_rc snapshot_take(strata_db *db, strata_snapshot **snapshot_out)
{
    strata_snapshot *s = alloc_array(1, sizeof *s);
    *snapshot_out = NULL;
    if (s == NULL) {
        return alloc_failed("a snapshot", sizeof *s);
    }
    db_reader_enter(db);
    *s = (strata_snapshot){db, atomic_load_explicit(&db->visible, memory_order_acquire)};
    *snapshot_out = s;
    return STRATA_OK;
}

uint64_t snapshot_commit(const strata_snapshot *s)
{
    return s->commit;
}

strata_db *snapshot_db(const strata_snapshot *s)
{
    return s->db;
}

void snapshot_release(strata_snapshot *s)
{
    if (s != NULL) {
        db_reader_leave(s->db);
        free(s);
    }
}
