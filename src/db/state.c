// The state of an open database: usable or not, writable or not.
#include "db/db.h"

#include "base/assert.h"
#include "base/fail.h"

#include <pthread.h>
#include <string.h>

// A system call less for every operation than getpid().
uint32_t db_fork_count;

static void count_fork(void)
{
    db_fork_count++;
}

static void watch_forks(void)
{
    // Without memory for the handler forks go unnoticed; nothing else depends on it.
    (void)pthread_atfork(NULL, NULL, count_fork);
}

uint32_t db_forks(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return db_fork_count;
}

strata_rc db_usable(const strata_db *db)
{
    if (db == NULL || db->magic != DB_MAGIC) {
        return fail(STRATA_INVALID, "the database handle is NULL or closed");
    }
    if (db->forks != db_fork_count) {
        return fail(STRATA_INVALID,
                    "the database was opened by process %ld; after fork() open it again",
                    (long)db->pid);
    }
    return STRATA_OK;
}

strata_rc db_fail(strata_db *db, strata_rc rc)
{
    os_mutex_lock(&db->mu.lock);
    if (db->mu.error == STRATA_OK) {
        db->mu.error = rc;
        strncpy(db->mu.error_text, fail_text(), sizeof db->mu.error_text - 1);
        // Relaxed: whoever sees it takes mu.lock to read the rest.
        atomic_store_explicit(&db->broken, true, memory_order_relaxed);
    }
    os_cond_wake_all(&db->mu.changed);
    os_mutex_unlock(&db->mu.lock);
    return rc;
}

strata_rc db_sticky_error_locked(const strata_db *db)
{
    return db->mu.error == STRATA_OK
               ? STRATA_OK
               : fail(STRATA_READ_ONLY, "read-only after an earlier error: %s", db->mu.error_text);
}

strata_rc db_writable(strata_db *db)
{
    if (db->read_only) {
        return fail(STRATA_READ_ONLY, "the database was opened read-only");
    }
    const char *broken = assert_broken();
    if (broken != NULL) {
        return db_fail(db, fail(STRATA_INTERNAL, "read-only after a broken invariant: %s", broken));
    }
    if (!atomic_load_explicit(&db->broken, memory_order_relaxed)) {
        return STRATA_OK;
    }
    os_mutex_lock(&db->mu.lock);
    strata_rc rc = db_sticky_error_locked(db);
    os_mutex_unlock(&db->mu.lock);
    return rc;
}
