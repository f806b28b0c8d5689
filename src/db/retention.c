// Retention: which versions background work may let go (architecture, section 8).
//
// The floor of a keyspace is the commit up to which ended versions may go. It follows the policy
// and never falls. It never passes what is flushed (or, for a flush, what it is flushing): every
// end that a job can meet lies there, and after a crash there are no fewer commits than that, so
// the newest commit is never below its own floor.
//
// Retention by age asks the clock, and a clock can be wrong by years. The time that it asks for is
// taken to go on from the newest commit that the open found, at most as fast as the monotonic clock
// plus one day; what lies beyond is held and reported. (Commits that were made under a wrong clock
// carry its time: the next open goes on from there.)
#include "db/db.h"

#include "base/alloc.h"
#include "base/mutant.h"

#define DAY_US (86400 * INT64_C(1000000))

void retention_init(strata_db *db)
{
    struct os_clock *clock = db->machine->clock;
    int64_t newest = db->commit.last_time_us;
    os_mutex_lock(&db->readers.lock);
    db->readers.age_now_us = newest > 0 ? newest : clock->wall_us(clock);
    db->readers.age_monotonic_ns = clock->monotonic_ns(clock);
    db->readers.age_held = false;
    os_mutex_unlock(&db->readers.lock);
}

// The time that retention by age goes by.
static int64_t retention_now(strata_db *db)
{
    struct os_clock *clock = db->machine->clock;
    int64_t now = clock->wall_us(clock);
    uint64_t monotonic = clock->monotonic_ns(clock);
    os_mutex_lock(&db->readers.lock);
    uint64_t passed = (monotonic - db->readers.age_monotonic_ns) / 1000;
    int64_t latest = db->readers.age_now_us + (int64_t)passed + DAY_US;
    bool held = now > latest;
    bool tell = held && !db->readers.age_held;
    db->readers.age_held = held;
    os_mutex_unlock(&db->readers.lock);
    if (tell) {
        db_emit(db, EVENT_clock_held, (uint64_t)(now / 1000000), (uint64_t)(latest / 1000000), 0,
                NULL);
    }
    return held ? latest : now;
}

// The floor that the policy asks for now, not above `cap`.
static strata_rc policy_floor(strata_db *db, const strata_keyspace_options *options, uint64_t cap,
                              uint64_t *floor_out)
{
    uint64_t floor = 0;
    strata_rc rc = STRATA_OK;
    if (options->retention == STRATA_RETENTION_NONE) {
        floor = atomic_load_explicit(&db->visible, memory_order_acquire);
    } else if (options->retention == STRATA_RETENTION_AGE) {
        int64_t age_us = (int64_t)options->retention_seconds * 1000000;
        rc = db_commit_at_time(db, retention_now(db) - age_us, &floor);
    }
    *floor_out = floor < cap ? floor : cap;
    return rc;
}

// Raises the floor; returns what it is then. Whoever publishes it passes readers.lock before it
// looks who is registered: no fence is needed (registered.c).
static uint64_t publish_floor(struct strata_keyspace *space, uint64_t floor)
{
    uint64_t before = atomic_load_explicit(&space->floor, memory_order_relaxed);
    // Release: pairs with the acquire loads of whoever registers a commit.
    while (before < floor &&
           !atomic_compare_exchange_weak_explicit(&space->floor, &before, floor,
                                                  memory_order_seq_cst, memory_order_relaxed)) {
    }
    return before < floor ? floor : before;
}

static strata_rc fill_registered(strata_db *db, struct compact_trim *trim)
{
    strata_rc rc = registered_copy(db, &trim->commits, &trim->count);
    if (rc != STRATA_OK || trim->count == 0) {
        return rc;
    }
    trim->times_us = alloc_array(trim->count, sizeof *trim->times_us);
    if (trim->times_us == NULL) {
        return alloc_failed("registered commits", trim->count * sizeof *trim->times_us);
    }
    for (size_t i = 0; i < trim->count; i++) {
        trim->times_us[i] = time_of_commit_s(db, trim->commits[i]);
    }
    return STRATA_OK;
}

// `flushing`: the commit that a flush has sealed its memtables at; 0: what is flushed.
static strata_rc trim_upto(strata_db *db, uint64_t keyspace, uint64_t flushing,
                           struct compact_trim *trim_out)
{
    struct compact_trim trim = {0};
    strata_keyspace_options options;
    *trim_out = trim;
    struct strata_keyspace *space = space_by_number(db, keyspace);
    os_mutex_lock(&db->mu.lock);
    const struct catalog_space *in = catalog_space_find(db->edit.catalog, keyspace);
    uint64_t cap = flushing != 0 ? flushing : db->edit.catalog->flushed_commit;
    if (in != NULL) {
        options = in->options;
        trim.floor = in->floor;
    }
    os_mutex_unlock(&db->mu.lock);
    if (space == NULL || in == NULL) {
        return STRATA_OK; // dropped: what the job makes is left out
    }
    uint64_t floor;
    strata_rc rc = policy_floor(db, &options, cap, &floor);
    if (rc != STRATA_OK) {
        return rc;
    }
    floor = floor > trim.floor ? floor : trim.floor;
    floor = publish_floor(space, floor);
    trim.floor = floor < cap ? floor : cap;
    trim.floor_time_us = trim.floor == 0 ? 0 : time_of_commit_s(db, trim.floor);
    trim.versions = options.retention == STRATA_RETENTION_VERSIONS ? options.retention_versions : 0;
    if ((trim.floor != 0 || trim.versions != 0) && !MUTANT(71)) {
        rc = fill_registered(db, &trim);
    }
    if (rc != STRATA_OK) {
        compact_trim_release(&trim);
        return rc;
    }
    *trim_out = trim;
    return STRATA_OK;
}

strata_rc db_trim(void *ctx, uint64_t keyspace, struct compact_trim *trim_out)
{
    return trim_upto(ctx, keyspace, 0, trim_out);
}

strata_rc db_trim_flush(void *ctx, uint64_t keyspace, struct compact_trim *trim_out)
{
    strata_db *db = ctx;
    return trim_upto(db, keyspace, db->flush_commit, trim_out);
}

strata_rc db_oldest_commit(strata_db *db, struct strata_keyspace *space, uint64_t *commit_out)
{
    *commit_out = 0;
    strata_rc rc = space_resolve(db, space, &space);
    if (rc == STRATA_OK) {
        *commit_out = atomic_load_explicit(&space->floor, memory_order_acquire);
    }
    return rc;
}
