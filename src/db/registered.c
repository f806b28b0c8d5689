// Registered commits: who reads beyond one call says at which commit, so that what it needs stays
// (architecture, section 8). Trimming publishes a floor and then reads the list; a reader enters
// the list and then looks at the floor. Both pass readers.lock between their two steps, so either
// the reader is seen, or it sees the floor.
#include "db/db.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

#define TAKEN_AT_ONCE 16u // views, by one pass over the list

static void enlist_locked(strata_db *db, struct registration *r)
{
    r->before = NULL;
    r->next = db->readers.first;
    if (r->next != NULL) {
        r->next->before = r;
    }
    db->readers.first = r;
    db->readers.count++;
}

static void delist_locked(strata_db *db, struct registration *r)
{
    ASSERT(db->readers.count > 0);
    if (r->next != NULL) {
        r->next->before = r->before;
    }
    if (r->before != NULL) {
        r->before->next = r->next;
    } else {
        db->readers.first = r->next;
    }
    db->readers.count--;
}

// The greatest floor that the commit must not lie below.
static uint64_t published_floor(strata_db *db, const struct strata_keyspace *space)
{
    if (space != NULL) {
        return atomic_load_explicit(&space->floor, memory_order_acquire);
    }
    uint64_t greatest = 0;
    uint32_t count = atomic_load_explicit(&db->space_count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t floor = atomic_load_explicit(&db->spaces[i]->floor, memory_order_acquire);
        greatest = floor > greatest ? floor : greatest;
    }
    return greatest;
}

// The newest visible commit, which no floor passes: whoever publishes a floor has seen it, so one
// that is greater than the commit found says that there is a newer one by now. (After a crash that
// lost commits a floor may lie above all that are left; then the newest is the newest.)
static uint64_t newest_above_floor(strata_db *db, const struct strata_keyspace *space)
{
    uint64_t commit = atomic_load_explicit(&db->visible, memory_order_acquire);
    for (;;) {
        uint64_t floor = published_floor(db, space);
        uint64_t again = atomic_load_explicit(&db->visible, memory_order_acquire);
        if (floor <= commit || again == commit) {
            return commit;
        }
        commit = again;
    }
}

strata_rc register_commit(strata_db *db, const struct strata_keyspace *space, uint64_t commit,
                          struct registration *r)
{
    uint64_t floor = 0;
    os_mutex_lock(&db->readers.lock);
    if (commit == STRATA_NOW) {
        commit = newest_above_floor(db, space);
    } else {
        floor = published_floor(db, space);
    }
    r->commit = commit;
    if (commit >= floor || MUTANT(81)) {
        enlist_locked(db, r);
    }
    os_mutex_unlock(&db->readers.lock);
    if (commit < floor && !MUTANT(81)) {
        return fail(STRATA_TRIMMED, "commit %llu lies before %llu, the oldest that is kept",
                    (unsigned long long)commit, (unsigned long long)floor);
    }
    return STRATA_OK;
}

void register_commit_again(strata_db *db, uint64_t commit, struct registration *r)
{
    os_mutex_lock(&db->readers.lock);
    r->commit = commit;
    enlist_locked(db, r);
    os_mutex_unlock(&db->readers.lock);
}

void unregister_commit(strata_db *db, struct registration *r)
{
    os_mutex_lock(&db->readers.lock);
    delist_locked(db, r);
    os_mutex_unlock(&db->readers.lock);
}

uint32_t registered_count(strata_db *db)
{
    os_mutex_lock(&db->readers.lock);
    uint32_t count = db->readers.count;
    os_mutex_unlock(&db->readers.lock);
    return count;
}

static int compare_commits(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// Copies the list to `to`, which has room for `capacity`; returns how many there are.
static size_t copy_list(strata_db *db, uint64_t *to, size_t capacity)
{
    os_mutex_lock(&db->readers.lock);
    size_t count = db->readers.count;
    size_t i = 0;
    for (const struct registration *r = db->readers.first; r != NULL && count <= capacity;
         r = r->next) {
        to[i++] = r->commit;
    }
    os_mutex_unlock(&db->readers.lock);
    return count;
}

strata_rc registered_copy(strata_db *db, uint64_t **commits_out, size_t *count_out)
{
    uint64_t *commits = NULL;
    size_t count = registered_count(db);
    size_t capacity = 0;
    *commits_out = NULL;
    *count_out = 0;
    while (count > capacity) {
        capacity = count + 16;
        free(commits);
        commits = alloc_array(capacity, sizeof *commits);
        if (commits == NULL) {
            return alloc_failed("registered commits", capacity * sizeof *commits);
        }
        count = copy_list(db, commits, capacity);
    }
    if (count == 0) {
        free(commits);
        return STRATA_OK;
    }
    qsort(commits, count, sizeof *commits, compare_commits);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        if (commits[kept - 1] != commits[i]) {
            commits[kept++] = commits[i];
        }
    }
    *commits_out = commits;
    *count_out = kept;
    return STRATA_OK;
}

void db_reseat_idle(strata_db *db)
{
    struct view *taken[TAKEN_AT_ONCE];
    uint32_t count;
    uint64_t visible;
    struct view *now = view_pin(db, &visible);
    do {
        count = 0;
        os_mutex_lock(&db->readers.lock);
        for (struct registration *r = db->readers.first; r != NULL && count < TAKEN_AT_ONCE;
             r = r->next) {
            struct view *v = r->give_back == NULL ? NULL : r->give_back(r, now->catalog);
            if (v != NULL) {
                taken[count++] = v;
            }
        }
        os_mutex_unlock(&db->readers.lock);
        for (uint32_t i = 0; i < count; i++) {
            view_unref(db, taken[i]);
        }
    } while (count == TAKEN_AT_ONCE);
    view_unref(db, now);
}
