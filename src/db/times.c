// Commit times: for each moment in which there were commits, the first commit, its time, and the
// time of the last. A moment is a millisecond for commits that are still in memtables and, from
// their flush on, a second: that is what the manifest keeps; the log has the rest exactly. A commit
// takes the lock only when it begins a moment.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"

#define MOMENT_US 1000

// Rounded down.
static int64_t whole_second(int64_t time_us)
{
    return time_us - time_us % 1000000;
}

// When a moment that begins then ends at the latest. It lies within one second of the clock, so
// that the second of a commit never changes.
static int64_t moment_end(int64_t time_us)
{
    int64_t second_ends = whole_second(time_us) + 1000000;
    return time_us + MOMENT_US < second_ends ? time_us + MOMENT_US : second_ends;
}

strata_rc times_init(strata_db *db, const struct catalog *catalog)
{
    size_t count = catalog->second_count;
    struct commit_second *seconds = alloc_array(count + 64, sizeof *seconds);
    if (seconds == NULL) {
        return alloc_failed("commit times", (count + 64) * sizeof *seconds);
    }
    if (count > 0) {
        memcpy(seconds, catalog->seconds, count * sizeof *seconds);
    }
    db->times.seconds = seconds;
    db->times.count = count;
    db->times.capacity = count + 64;
    db->times.thin_count = count;
    atomic_init(&db->newest_us, count == 0 ? 0 : seconds[count - 1].last_time_us);
    atomic_init(&db->moment_ends_us, count == 0 ? 0 : moment_end(seconds[count - 1].first_time_us));
    return STRATA_OK;
}

// The last commit before the next second's first, or the newest of all; times.lock held.
static int64_t last_time_locked(const strata_db *db, size_t index)
{
    return index + 1 == db->times.count ? atomic_load_explicit(&db->newest_us, memory_order_relaxed)
                                        : db->times.seconds[index].last_time_us;
}

static void begin_moment(strata_db *db, uint64_t commit, int64_t time_us)
{
    os_mutex_lock(&db->times.lock);
    size_t count = db->times.count;
    if (count == db->times.capacity) {
        struct commit_second *more = alloc_resize(db->times.seconds, count * 2 + 64, sizeof *more);
        if (more == NULL) {
            // Times only get coarser: the present moment is stretched.
            os_mutex_unlock(&db->times.lock);
            return;
        }
        db->times.seconds = more;
        db->times.capacity = count * 2 + 64;
    }
    if (count > 0) {
        db->times.seconds[count - 1].last_time_us = last_time_locked(db, count - 1);
    }
    db->times.seconds[count] = (struct commit_second){commit, time_us, time_us};
    db->times.count = count + 1;
    atomic_store_explicit(&db->newest_us, time_us, memory_order_relaxed);
    atomic_store_explicit(&db->moment_ends_us, moment_end(time_us), memory_order_relaxed);
    os_mutex_unlock(&db->times.lock);
}

void times_add(strata_db *db, uint64_t commit, int64_t time_us)
{
    if (time_us >= atomic_load_explicit(&db->moment_ends_us, memory_order_relaxed)) {
        begin_moment(db, commit, time_us);
    }
    atomic_store_explicit(&db->newest_us, time_us, memory_order_relaxed);
}

// Index of the last second with first_commit <= commit, or -1; times.lock held.
static ptrdiff_t second_of_commit_locked(const strata_db *db, uint64_t commit)
{
    size_t low = 0;
    size_t high = db->times.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (db->times.seconds[middle].first_commit <= commit) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return (ptrdiff_t)low - 1;
}

// The time of a commit in second `index`: exact for its first commit, else that of the last.
static int64_t time_in_second_locked(const strata_db *db, size_t index, uint64_t commit)
{
    const struct commit_second *s = &db->times.seconds[index];
    return commit == s->first_commit ? s->first_time_us : last_time_locked(db, index);
}

int64_t times_of(void *ctx, uint64_t commit)
{
    strata_db *db = ctx;
    os_mutex_lock(&db->times.lock);
    ptrdiff_t index = second_of_commit_locked(db, commit);
    int64_t time_us = index < 0 ? 0 : time_in_second_locked(db, (size_t)index, commit);
    os_mutex_unlock(&db->times.lock);
    return time_us;
}

strata_rc times_into_edit(strata_db *db, uint64_t after, uint64_t upto, struct edit *e)
{
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&db->times.lock);
    ptrdiff_t index = second_of_commit_locked(db, after + 1);
    for (size_t i = index < 0 ? 0 : (size_t)index; i < db->times.count && rc == STRATA_OK; i++) {
        if (db->times.seconds[i].first_commit > upto) {
            break;
        }
        struct commit_second second = db->times.seconds[i];
        second.last_time_us = last_time_locked(db, i);
        rc = edit_add_second(e, &second);
    }
    os_mutex_unlock(&db->times.lock);
    return rc;
}

void times_thin(strata_db *db, uint64_t upto)
{
    os_mutex_lock(&db->times.lock);
    struct commit_second *list = db->times.seconds;
    size_t count = db->times.count;
    size_t kept = db->times.thin_count;
    // The newest moment stays as it is: it may still grow.
    for (size_t i = kept; i + 1 < count; i++) {
        bool thin = list[i].first_commit <= upto;
        if (!thin || kept == 0 || !commit_second_merge(&list[kept - 1], &list[i])) {
            list[kept++] = list[i];
        }
        if (thin) {
            db->times.thin_count = kept;
        }
    }
    if (count > 0 && kept < count) {
        list[kept++] = list[count - 1];
    }
    db->times.count = kept;
    os_mutex_unlock(&db->times.lock);
}

strata_rc db_commit_at_time(strata_db *db, int64_t unix_us, uint64_t *commit_out)
{
    uint64_t newest = atomic_load_explicit(&db->visible, memory_order_acquire);
    uint64_t commit = 0;
    os_mutex_lock(&db->times.lock);
    size_t low = 0;
    size_t high = db->times.count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (db->times.seconds[middle].first_time_us <= unix_us) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low > 0) {
        const struct commit_second *s = &db->times.seconds[low - 1];
        // All of the second when it was over by then, else only what is certain: its first commit.
        if (unix_us < last_time_locked(db, low - 1)) {
            commit = s->first_commit;
        } else {
            commit = low < db->times.count ? db->times.seconds[low].first_commit - 1 : newest;
        }
    }
    os_mutex_unlock(&db->times.lock);
    *commit_out = commit < newest ? commit : newest;
    return STRATA_OK;
}

strata_rc db_commit_time(strata_db *db, uint64_t commit, int64_t *unix_us_out)
{
    *unix_us_out = 0;
    if (commit == 0 || commit > atomic_load_explicit(&db->visible, memory_order_acquire)) {
        return STRATA_NOT_FOUND;
    }
    *unix_us_out = times_of(db, commit);
    return *unix_us_out == 0 ? STRATA_NOT_FOUND : STRATA_OK;
}

int64_t time_of_commit_s(strata_db *db, uint64_t commit)
{
    return whole_second(times_of(db, commit));
}

int64_t db_now_us(strata_db *db)
{
    int64_t now = db->machine->clock->wall_us(db->machine->clock);
    int64_t newest = atomic_load_explicit(&db->newest_us, memory_order_relaxed);
    return now > newest ? now : newest;
}

int64_t db_now_s(strata_db *db)
{
    return whole_second(db_now_us(db));
}
