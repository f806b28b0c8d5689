// Sealing: the active memtables of all keyspaces become read-only together, at one commit, and wait
// for their flush; and admission, which slows writers down before that is ever needed in a hurry.
#include "db/db.h"

#include "base/assert.h"
#include "base/fail.h"

#include <time.h>

#define GENERATION_SLOTS_LEAST 16u
#define SCAN_SEAL_SHARE 16u       // of a memtable: less is passed over in a millisecond or two
#define DELAY_SLEEP_NS 200000u    // shorter delays are saved up
#define DELAY_MOST_NS 1000000000u // of one write, however large: as shape_delay has it

bool generation_is_empty(const struct generation *g)
{
    for (uint32_t i = 0; i < g->capacity; i++) {
        const struct memtable *m = generation_memtable(g, i);
        if (m != NULL && !memtable_is_empty(m)) {
            return false;
        }
    }
    return true;
}

bool db_seal_must_wait(strata_db *db)
{
    os_mutex_lock(&db->mu.lock);
    bool full = db->mu.sealed_count >= DB_SEALED_MAX;
    os_mutex_unlock(&db->mu.lock);
    return full;
}

// Waits under mu.lock until a sealed generation may be added.
static strata_rc wait_for_place_locked(strata_db *db)
{
    uint64_t began = 0;
    strata_rc rc = STRATA_OK;
    while (db->mu.sealed_count >= DB_SEALED_MAX) {
        rc = db_sticky_error_locked(db);
        if (rc != STRATA_OK) {
            break;
        }
        if (db->mu.retry_error != STRATA_OK) {
            db->executor->submit(db->executor, &db->flush_task); // for the next writer
            rc = fail(db->mu.retry_error, "the write buffers are full and cannot be flushed: %s",
                      db->mu.retry_text);
            break;
        }
        if (began == 0) {
            began = db->machine->clock->monotonic_ns(db->machine->clock);
            atomic_store_explicit(&db->seal_waits, true, memory_order_relaxed);
            metrics_add(&db->metrics, METRIC_commit_waits, 1);
        }
        db->executor->submit(db->executor, &db->flush_task);
        db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
    }
    if (began != 0) {
        uint64_t now = db->machine->clock->monotonic_ns(db->machine->clock);
        metrics_add(&db->metrics, METRIC_commit_wait_us, (now - began) / 1000);
        atomic_store_explicit(&db->seal_waits, false, memory_order_relaxed);
    }
    return rc;
}

// Puts a fresh generation in the place of the active one, which is listed for its flush unless it
// is empty; mu.lock and commit.lock held. On an error nothing has changed.
static strata_rc switch_generation_locked(strata_db *db, struct generation *fresh, bool empty,
                                          struct view **before_out)
{
    struct generation *full = db->commit.active;
    struct view *view = NULL;
    // Under this lock nothing is stored into a file of either of them before it is decided.
    os_mutex_lock(&db->values.lock);
    if (!empty) {
        db->mu.sealed[db->mu.sealed_count++] = full;
    }
    db->commit.active = fresh;
    strata_rc rc = view_build_locked(db, db->edit.catalog, &view);
    if (rc == STRATA_OK) {
        values_switch_locked(db);
    } else {
        db->mu.sealed_count -= !empty;
        db->commit.active = full;
    }
    os_mutex_unlock(&db->values.lock);
    if (rc == STRATA_OK) {
        full->sealed_commit = db->commit.last_commit;
        *before_out = view_publish_locked(db, view);
        metrics_add(&db->metrics, METRIC_seals, 1);
    }
    return rc;
}

strata_rc db_seal_locked(strata_db *db)
{
    struct generation *full = db->commit.active;
    uint32_t spaces = atomic_load_explicit(&db->space_count, memory_order_acquire);
    bool empty = generation_is_empty(full);
    if (empty && full->capacity >= spaces && generation_value_files(full) == 0) {
        return STRATA_OK;
    }
    uint32_t slots = spaces + spaces / 2;
    struct generation *fresh;
    struct view *before = NULL;
    strata_rc rc =
        generation_new(slots < GENERATION_SLOTS_LEAST ? GENERATION_SLOTS_LEAST : slots, &fresh);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->mu.lock);
    rc = empty ? STRATA_OK : wait_for_place_locked(db);
    if (rc == STRATA_OK) {
        rc = switch_generation_locked(db, fresh, empty, &before);
    }
    os_mutex_unlock(&db->mu.lock);
    if (rc != STRATA_OK) {
        generation_unref(fresh, &db->memory);
        return rc;
    }
    view_retire(before);
    if (empty) { // values that no commit came to refer to
        values_discard(full);
        generation_unref(full, &db->memory);
    }
    background_schedule(db);
    return STRATA_OK;
}

void db_seal_if_wanted(strata_db *db)
{
    if (!atomic_exchange_explicit(&db->seal_wanted, false, memory_order_relaxed) ||
        db_writable(db) != STRATA_OK) {
        return;
    }
    os_mutex_lock(&db->commit.lock);
    uint64_t bytes = atomic_load_explicit(&db->commit.active->bytes, memory_order_relaxed);
    if (bytes >= db->options.memtable_bytes / SCAN_SEAL_SHARE && !db_seal_must_wait(db)) {
        // Without memory nothing is sealed: the next scan asks again.
        (void)!db_seal_locked(db);
    }
    os_mutex_unlock(&db->commit.lock);
}

strata_rc db_flush(strata_db *db)
{
    strata_rc rc = db_writable(db);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->commit.lock);
    uint64_t upto = db->commit.last_commit;
    rc = db_seal_locked(db);
    os_mutex_unlock(&db->commit.lock);
    if (rc != STRATA_OK) {
        return rc;
    }
    os_mutex_lock(&db->mu.lock);
    while (db->mu.sealed_count > 0 && db->mu.sealed[0]->sealed_commit <= upto) {
        rc = db_sticky_error_locked(db);
        if (rc != STRATA_OK) {
            break;
        }
        db->executor->submit(db->executor, &db->flush_task);
        if (db->mu.retry_error != STRATA_OK) {
            rc = fail(db->mu.retry_error, "%s", db->mu.retry_text);
            break;
        }
        db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
    }
    os_mutex_unlock(&db->mu.lock);
    return rc;
}

// Holds the thread up for `delay_ns`, saved up until it is worth a sleep.
static void delay(strata_db *db, uint64_t delay_ns)
{
    static _Thread_local uint64_t owed_ns;
    owed_ns += delay_ns;
    if (owed_ns >= DELAY_SLEEP_NS && db->machine->has_threads) {
        struct timespec pause = {.tv_sec = (time_t)(owed_ns / 1000000000u),
                                 .tv_nsec = (long)(owed_ns % 1000000000u)};
        metrics_add(&db->metrics, METRIC_commit_delays, 1);
        nanosleep(&pause, NULL);
        owed_ns = 0;
    }
}

// Waits until level 0 is below its hard bound again.
static strata_rc wait_for_level0(strata_db *db, const strata_write *how)
{
    if (how != NULL && (how->flags & STRATA_NO_WAIT) != 0) {
        return fail(STRATA_BUSY, "level 0 is full; background merges are behind");
    }
    strata_rc rc = STRATA_OK;
    metrics_add(&db->metrics, METRIC_commit_waits, 1);
    os_mutex_lock(&db->mu.lock);
    while (atomic_load_explicit(&db->admission_wait, memory_order_relaxed)) {
        rc = db_sticky_error_locked(db);
        if (rc != STRATA_OK) {
            break;
        }
        for (uint32_t i = 0; i < db->worker_count; i++) {
            db->executor->submit(db->executor, &db->workers[i].task);
        }
        if (db->mu.retry_error != STRATA_OK) {
            rc = fail(db->mu.retry_error, "%s", db->mu.retry_text);
            break;
        }
        db->executor->wait(db->executor, &db->mu.changed, &db->mu.lock);
    }
    os_mutex_unlock(&db->mu.lock);
    return rc;
}

strata_rc db_admit(strata_db *db, const strata_write *how, size_t bytes)
{
    if (__builtin_expect(atomic_load_explicit(&db->admission_wait, memory_order_relaxed), 0)) {
        return wait_for_level0(db, how);
    }
    if (how != NULL && (how->flags & STRATA_NO_WAIT) != 0 &&
        atomic_load_explicit(&db->seal_waits, memory_order_relaxed)) {
        return fail(STRATA_BUSY, "a commit waits for the flush of full write buffers");
    }
    // Nanoseconds for a MiB, computed when the trees change (admission_update).
    uint64_t price = atomic_load_explicit(&db->admission_price, memory_order_relaxed);
    if (__builtin_expect(price != 0, 0)) {
        double ns = (double)price * (double)bytes / (double)(1u << 20);
        delay(db, ns < DELAY_MOST_NS ? (uint64_t)ns : DELAY_MOST_NS);
    }
    return STRATA_OK;
}

void admission_update_locked(strata_db *db)
{
    struct shape_pressure p = {.sealed_memtables = db->mu.sealed_count,
                               .sealed_memtables_max = DB_SEALED_MAX + 1,
                               .level0_runs_max = UINT32_MAX,
                               .level0_runs_soft = UINT32_MAX,
                               .debt_bytes_soft = 64 * db->options.memtable_bytes,
                               .bytes_per_second = atomic_load(&db->merge_rate)};
    uint64_t worst = 0;
    uint64_t debt = 0;
    bool wait = false;
    const struct catalog *catalog = db->edit.catalog;
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        const struct catalog_space *s = &catalog->spaces[i];
        const struct strata_keyspace *space = space_by_number(db, s->number);
        if (space == NULL) {
            continue;
        }
        p.level0_runs = s->live->levels[0].count;
        p.level0_runs_max = space->shape_live.level0_runs_max;
        p.level0_runs_soft = space->shape_live.levels[0].runs_max * 2;
        p.debt_bytes = shape_debt_bytes(s->live, &space->shape_live);
        p.excess_bytes = space->sums.excess_bytes;
        p.excess_soft = space->sums.budget.excess_soft;
        p.excess_hard = space->sums.budget.excess_hard;
        debt += p.debt_bytes;
        uint64_t delay_ns = shape_delay(&p, 1u << 20);
        // Over the bound, not at it: at the bound a small level is not full yet, and nobody would
        // merge what the writers wait for.
        wait = wait || p.level0_runs > p.level0_runs_max;
        worst = delay_ns != UINT64_MAX && delay_ns > worst ? delay_ns : worst;
    }
    atomic_store_explicit(&db->admission_wait, wait, memory_order_relaxed);
    atomic_store_explicit(&db->admission_price, worst, memory_order_relaxed);
    atomic_store_explicit(&db->admission_debt, debt, memory_order_relaxed);
}
