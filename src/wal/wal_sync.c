// Syncs, marks in idle times, and the end of segments.
//
// Order of syncs. Segments are synced oldest first, and a sync of one begins only after that of all
// before it, so that what is on disk is a prefix. One thread syncs at a time; what is appended
// meanwhile is the next group, and the first of its waiters that wakes syncs for all of them.
//
// Isolation. When a sync takes its target, the tail moves to a new page, under the lock under which
// records are copied: no byte is stored later into a page that holds a record of the target. So a
// page that is torn while it is written never holds what was acknowledged, and a mark never speaks
// of a record that a later write can damage.
#include "wal/wal_private.h"

#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

#include <stdio.h>

strata_rc wal_dead_locked(const struct wal *w, strata_rc rc)
{
    return fail(rc, "the log ended with a failed sync: %s", w->mu.dead_text);
}

static void wal_die_locked(struct wal *w)
{
    w->mu.dead = true;
    snprintf(w->mu.dead_text, sizeof w->mu.dead_text, "%s", fail_text());
}

static void wal_synced_up_to_locked(struct wal *w, uint64_t commit)
{
    if (commit > atomic_load_explicit(&w->synced_commit, memory_order_relaxed)) {
        // Pairs with the acquire load in wal_synced_commit.
        atomic_store_explicit(&w->synced_commit, commit, memory_order_release);
    }
}

// Puts on disk what the records appended so far refer to: the one place behind which commits are
// called synced by marks, headers and acknowledgements. Lock held, and given back meanwhile.
static strata_rc wal_before_sync_locked(struct wal *w)
{
    if (w->config.before_sync == NULL || MUTANT(50)) {
        return STRATA_OK;
    }
    os_mutex_unlock(&w->mu.lock);
    strata_rc rc = w->config.before_sync(w->config.ctx);
    os_mutex_lock(&w->mu.lock);
    if (rc != STRATA_OK) {
        wal_die_locked(w);
        return wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
    }
    return STRATA_OK;
}

// The caller has the token `syncing`.
static strata_rc wal_sync_files_locked(struct wal *w)
{
    uint64_t target = w->mu.commit;
    struct wal_segment *last = w->mu.active;
    w->mu.at = wal_page_up(w->mu.at);
    uint64_t started = w->config.clock->monotonic_ns(w->config.clock);
    strata_rc before_rc = wal_before_sync_locked(w);
    if (before_rc != STRATA_OK) {
        return before_rc;
    }
    struct wal_segment *s = w->mu.oldest;
    while (true) {
        bool closed = s->closed;
        if (!s->synced && (s == last || !MUTANT(35))) {
            // No segment leaves the list while the token is held.
            os_mutex_unlock(&w->mu.lock);
            strata_rc rc = os_file_sync(s->file, true);
            os_mutex_lock(&w->mu.lock);
            if (rc != STRATA_OK && !MUTANT(43)) {
                wal_die_locked(w);
                return wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
            }
            s->header_synced = true;
            s->synced = closed;
            w->mu.stats.syncs++;
        }
        if (s == last) {
            break;
        }
        s = s->next;
    }
    w->mu.stats.sync_ns += w->config.clock->monotonic_ns(w->config.clock) - started;
    wal_synced_up_to_locked(w, target + MUTANT(48));
    return STRATA_OK;
}

// Waits until nobody syncs; then the token is the caller's, unless the log is dead.
static strata_rc wal_sync_token_locked(struct wal *w)
{
    while (w->mu.syncing) {
        os_cond_wait(&w->mu.changed, &w->mu.lock);
    }
    if (w->mu.dead) {
        return wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
    }
    w->mu.syncing = true;
    return STRATA_OK;
}

static void wal_sync_token_back_locked(struct wal *w)
{
    ASSERT(w->mu.syncing);
    w->mu.syncing = false;
    os_cond_wake_all(&w->mu.changed);
}

strata_rc wal_sync_all_locked(struct wal *w)
{
    strata_rc rc = wal_sync_token_locked(w);
    if (rc == STRATA_OK) {
        rc = wal_sync_files_locked(w);
        wal_sync_token_back_locked(w);
    }
    return rc;
}

uint64_t wal_synced_commit(const struct wal *w)
{
    // Pairs with the release store in wal_synced_up_to_locked.
    return atomic_load_explicit(&w->synced_commit, memory_order_acquire);
}

strata_rc wal_sync(struct wal *w, uint64_t commit)
{
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&w->mu.lock);
    ASSERT(commit <= w->mu.commit);
    while (rc == STRATA_OK && (w->mu.dead || wal_synced_commit(w) < commit)) {
        if (w->mu.dead) {
            rc = wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
        } else if (w->mu.syncing) {
            os_cond_wait(&w->mu.changed, &w->mu.lock);
        } else {
            rc = wal_sync_all_locked(w);
        }
    }
    os_mutex_unlock(&w->mu.lock);
    return rc;
}

void wal_note_edits(struct wal *w, uint64_t edits_synced)
{
    os_mutex_lock(&w->mu.lock);
    if (edits_synced > w->mu.edits) {
        w->mu.edits = edits_synced;
    }
    os_mutex_unlock(&w->mu.lock);
}

strata_rc wal_tick(struct wal *w)
{
    strata_rc rc = STRATA_OK;
    os_mutex_lock(&w->mu.lock);
    bool idle = w->mu.ticked_commit == w->mu.commit;
    w->mu.ticked_commit = w->mu.commit;
    if (w->mu.dead) {
        rc = wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
    } else if (wal_synced_commit(w) < w->mu.commit) {
        rc = wal_sync_all_locked(w);
    } else if (idle) {
        uint64_t before = w->mu.record_end;
        rc = wal_mark_locked(w);
        if (rc == STRATA_OK && w->mu.record_end != before) {
            rc = wal_sync_all_locked(w);
        }
    }
    os_mutex_unlock(&w->mu.lock);
    return rc;
}

// ---- retiring

// Is there a segment, but the active one, that holds nothing newer?
static bool wal_has_retired_locked(const struct wal *w, uint64_t flushed_commit)
{
    const struct wal_segment *s = w->mu.oldest;
    return s->closed && s->last_commit <= flushed_commit;
}

// Takes the oldest segment off the list, whose file becomes a spare, or is removed.
static strata_rc wal_retire_one_locked(struct wal *w)
{
    struct wal_segment *s = w->mu.oldest;
    w->mu.oldest = s->next;
    struct wal_spare spare = {s->number, s->bytes};
    bool keep = w->mu.spare_count < WAL_SPARES_MAX && spare.bytes >= w->mu.next_bytes &&
                spare.bytes <= w->config.segment_bytes_max;
    os_mutex_unlock(&w->mu.lock);
    strata_rc rc = wal_segment_close(s);
    if (!keep) {
        wal_segment_remove(&w->config, spare.number);
    }
    os_mutex_lock(&w->mu.lock);
    if (keep) {
        // Only here are spares added, and the caller has the token.
        w->mu.spares[w->mu.spare_count++] = spare;
    }
    return rc;
}

// Segments get longer, so that a spare can become too short to be of use.
static void wal_spares_trim_locked(struct wal *w)
{
    size_t kept = 0;
    for (size_t i = 0; i < w->mu.spare_count; i++) {
        if (w->mu.spares[i].bytes >= w->mu.next_bytes) {
            w->mu.spares[kept++] = w->mu.spares[i];
        } else {
            wal_segment_remove(&w->config, w->mu.spares[i].number);
        }
    }
    w->mu.spare_count = kept;
}

strata_rc wal_retire(struct wal *w, uint64_t flushed_commit)
{
    os_mutex_lock(&w->mu.lock);
    ASSERT(flushed_commit <= w->mu.commit);
    strata_rc rc = wal_sync_token_locked(w);
    if (rc != STRATA_OK) {
        goto done;
    }
    // What is in tables need not be in the log as well.
    wal_synced_up_to_locked(w, flushed_commit);
    while (rc == STRATA_OK && wal_has_retired_locked(w, flushed_commit)) {
        // The log must not lose its first header: the next one has to be on disk before.
        if (!w->mu.oldest->next->header_synced && !MUTANT(39)) {
            rc = wal_sync_files_locked(w);
        } else {
            rc = wal_retire_one_locked(w);
        }
    }
    wal_spares_trim_locked(w);
    wal_sync_token_back_locked(w);
done:
    os_mutex_unlock(&w->mu.lock);
    return rc;
}

uint64_t wal_oldest_segment(const struct wal *w)
{
    struct os_mutex *lock = (struct os_mutex *)(uintptr_t)&w->mu.lock;
    os_mutex_lock(lock);
    uint64_t number = w->mu.oldest->number;
    os_mutex_unlock(lock);
    return number;
}

void wal_stats(const struct wal *w, struct wal_stats *stats_out)
{
    struct os_mutex *lock = (struct os_mutex *)(uintptr_t)&w->mu.lock;
    os_mutex_lock(lock);
    *stats_out = w->mu.stats;
    for (const struct wal_segment *s = w->mu.oldest; s != NULL; s = s->next) {
        stats_out->live_bytes += s->bytes;
    }
    stats_out->held_bytes = stats_out->live_bytes;
    for (size_t i = 0; i < w->mu.spare_count; i++) {
        stats_out->held_bytes += w->mu.spares[i].bytes;
    }
    stats_out->held_bytes += w->mu.ready == NULL ? 0 : w->mu.ready->bytes;
    stats_out->held_bytes += w->mu.filling == NULL ? 0 : w->mu.filling->bytes;
    stats_out->mapped = w->config.mapped;
    os_mutex_unlock(lock);
}
