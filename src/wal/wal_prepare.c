// The segment after the active one, made ahead by a task in steps of bounded work, so that an
// append does not wait for it. An append that needs it earlier takes the work over between two
// steps; an append whose record does not fit has a segment of the size it needs made at once.
//
// A file is known to one of: the list of the log, `ready`, `filling`, `spares`.
#include "wal/wal_private.h"

#include "base/assert.h"

#define WAL_STEP_BYTES (256u * 1024u)

// Takes the smallest spare that is large enough. False when there is none.
static bool wal_spare_take_locked(struct wal *w, uint64_t bytes_min, struct wal_spare *spare_out)
{
    size_t best = w->mu.spare_count;
    for (size_t i = 0; i < w->mu.spare_count; i++) {
        uint64_t bytes = w->mu.spares[i].bytes;
        if (bytes >= bytes_min && (best == w->mu.spare_count || bytes < w->mu.spares[best].bytes)) {
            best = i;
        }
    }
    if (best == w->mu.spare_count) {
        return false;
    }
    *spare_out = w->mu.spares[best];
    w->mu.spares[best] = w->mu.spares[--w->mu.spare_count];
    return true;
}

// One step towards a segment of at least `bytes_min` that writes at most `bytes_now`. The caller
// holds the lock, which is given back meanwhile, and nobody else is preparing.
static strata_rc wal_prepare_one_locked(struct wal *w, uint64_t bytes_min, uint64_t bytes_now)
{
    ASSERT(!w->mu.preparing && w->mu.ready == NULL);
    w->mu.preparing = true;
    struct wal_segment *s = w->mu.filling;
    w->mu.filling = NULL;
    struct wal_segment *too_small = NULL;
    if (s != NULL && s->bytes < bytes_min) {
        too_small = s;
        s = NULL;
    }
    struct wal_spare spare;
    bool have_spare = s == NULL && wal_spare_take_locked(w, bytes_min, &spare);
    uint64_t bytes = bytes_min > w->mu.next_bytes ? bytes_min : w->mu.next_bytes;
    os_mutex_unlock(&w->mu.lock);

    strata_rc rc = STRATA_OK;
    wal_segment_discard(&w->config, too_small);
    if (have_spare) {
        rc = wal_segment_reuse(&w->config, &spare, &s);
        if (rc != STRATA_OK) {
            wal_segment_remove(&w->config, spare.number);
        }
    } else if (s == NULL) {
        rc = wal_segment_create(&w->config, bytes, &s);
    }
    if (rc == STRATA_OK && s->filled < s->bytes) {
        rc = wal_segment_fill(&w->config, s, bytes_now);
    }
    if (rc != STRATA_OK) {
        wal_segment_discard(&w->config, s);
        s = NULL;
    }

    os_mutex_lock(&w->mu.lock);
    if (rc == STRATA_OK && s->filled == s->bytes) {
        w->mu.ready = s;
        w->mu.stats.segments_created += !have_spare;
        w->mu.stats.segments_recycled += have_spare;
    } else {
        w->mu.filling = s;
    }
    w->mu.preparing = false;
    os_cond_wake_all(&w->mu.changed);
    return rc;
}

bool wal_prepare_step(struct os_task *task)
{
    struct wal *w = (struct wal *)((char *)task - offsetof(struct wal, task));
    bool more = false;
    os_mutex_lock(&w->mu.lock);
    if (!w->mu.preparing && w->mu.ready == NULL && !w->mu.dead) {
        // What failed here is tried again, and reported, by the append that needs the segment.
        more = wal_prepare_one_locked(w, w->mu.next_bytes, WAL_STEP_BYTES) == STRATA_OK &&
               w->mu.ready == NULL;
    }
    os_mutex_unlock(&w->mu.lock);
    return more;
}

void wal_prepare_ahead_locked(struct wal *w)
{
    struct os_executor *executor = w->config.executor;
    w->mu.prepare_above = UINT64_MAX;
    if (executor != NULL) {
        executor->submit(executor, &w->task);
    }
}

strata_rc wal_prepare_take_locked(struct wal *w, uint64_t bytes_min,
                                  struct wal_segment **segment_out)
{
    struct wal_segment *too_small = NULL;
    strata_rc rc = STRATA_OK;
    while (rc == STRATA_OK) {
        if (w->mu.preparing) {
            os_cond_wait(&w->mu.changed, &w->mu.lock);
        } else if (w->mu.ready == NULL) {
            rc = wal_prepare_one_locked(w, bytes_min, UINT64_MAX);
        } else if (w->mu.ready->bytes < bytes_min) {
            too_small = w->mu.ready;
            w->mu.ready = NULL;
            os_mutex_unlock(&w->mu.lock);
            wal_segment_discard(&w->config, too_small);
            os_mutex_lock(&w->mu.lock);
        } else {
            *segment_out = w->mu.ready;
            w->mu.ready = NULL;
            return STRATA_OK;
        }
    }
    return rc;
}

static void wal_prepare_end(struct wal *w, struct wal_segment *s, bool remove)
{
    if (remove) {
        wal_segment_discard(&w->config, s);
    } else {
        (void)wal_segment_close(s);
    }
}

void wal_prepare_release(struct wal *w, bool remove)
{
    ASSERT(!w->mu.preparing);
    wal_prepare_end(w, w->mu.filling, remove);
    wal_prepare_end(w, w->mu.ready, remove);
    for (size_t i = 0; i < w->mu.spare_count && remove; i++) {
        wal_segment_remove(&w->config, w->mu.spares[i].number);
    }
    w->mu.filling = NULL;
    w->mu.ready = NULL;
    w->mu.spare_count = 0;
}
