// Opening, appending, closing. The layout of segments, pages and records is in wal_format.h.
//
// Invariants:
//   1. A byte of a segment is stored once. A record that could not be stored whole ends its
//   segment:
//      the next one's header says where the last whole record ended, and is on disk before a commit
//      of it is acknowledged.
//   2. Commits are appended in dense order, and the order of segments is that of their numbers.
//   3. No record goes into the last page of a segment: behind a sync there is always room for the
//      mark that says so, at the latest at close.
//   4. Bytes behind `at` in the active segment belong to an earlier use of the file.
#include "wal/wal_private.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"

#define WAL_MARK_ROOM (WAL_RECORD_HEADER_BYTES + WAL_MARK_BYTES)

// Where a record, and a mark before it, go.
struct wal_placing {
    uint64_t from; // of the first byte that is stored: a page header, or the mark, or the record
    uint64_t mark; // 0: no mark
    uint64_t record;
    uint64_t end;
};

// ---- storing

// Bytes of the segment at `offset` are at `offset - skip` of the mapping: of the file's own, or of
// the one that stands for it while a record is gathered for pwrite.
struct wal_sink {
    struct os_map *map;
    uint64_t skip;
    uint64_t seed;
    uint64_t incarnation;
};

static inline void wal_store(const struct wal_sink *sink, uint64_t offset, const void *from,
                             size_t bytes)
{
    os_map_store(sink->map, (size_t)(offset - sink->skip), from, bytes);
}

// `end` is where the record ends that is flowing into the page, or begins it.
static void wal_store_page_header(const struct wal_sink *sink, uint64_t page, uint64_t end)
{
    uint8_t header[WAL_PAGE_HEADER_BYTES];
    uint64_t next = wal_record_begin(end);
    uint32_t first = next < page + WAL_PAGE_BYTES ? (uint32_t)(next - page) : 0;
    wal_page_header_encode(header, sink->seed, page, sink->incarnation, first);
    wal_store(sink, page, header, sizeof header);
}

static void wal_store_record(const struct wal_sink *sink, uint64_t at,
                             const struct wal_record_header *h, struct slice payload)
{
    uint8_t header[WAL_RECORD_HEADER_BYTES];
    wal_record_header_encode(header, sink->seed, at, h, payload);
    if (at % WAL_PAGE_BYTES == WAL_PAGE_HEADER_BYTES) {
        uint64_t page = at - WAL_PAGE_HEADER_BYTES;
        wal_store_page_header(sink, page, page);
    }
    uint64_t end = wal_flow_end(at, sizeof header + payload.bytes);
    wal_store(sink, at, header, sizeof header);
    at += sizeof header;
    size_t done = 0;
    while (done < payload.bytes) {
        if (at % WAL_PAGE_BYTES == 0) {
            wal_store_page_header(sink, at, end);
            at += WAL_PAGE_HEADER_BYTES;
        }
        size_t room = (size_t)(WAL_PAGE_BYTES - at % WAL_PAGE_BYTES);
        size_t piece = payload.bytes - done < room ? payload.bytes - done : room;
        wal_store(sink, at, payload.data + done, piece);
        at += piece;
        done += piece;
    }
    ASSERT(at == end);
}

static void wal_store_mark(const struct wal_sink *sink, uint64_t at, uint64_t commit,
                           const struct wal_mark *mark)
{
    uint8_t payload[WAL_MARK_BYTES];
    wal_mark_encode(payload, mark);
    struct wal_record_header h = {
        .payload_bytes = sizeof payload, .commit = commit, .kind = WAL_MARK};
    wal_store_record(sink, at, &h, slice_of(payload, sizeof payload));
}

// ---- placing

static struct wal_mark wal_news_locked(const struct wal *w)
{
    return (struct wal_mark){atomic_load_explicit(&w->synced_commit, memory_order_relaxed),
                             w->mu.edits};
}

static bool wal_mark_due_locked(const struct wal *w)
{
    struct wal_mark news = wal_news_locked(w);
    return news.synced_commit > w->mu.marked.synced_commit || news.edits > w->mu.marked.edits;
}

// `record_bytes` 0: a mark only.
static inline struct wal_placing wal_place_locked(const struct wal *w, uint64_t record_bytes)
{
    struct wal_placing p = {0};
    uint64_t begin = wal_record_begin(w->mu.at);
    p.from =
        begin % WAL_PAGE_BYTES == WAL_PAGE_HEADER_BYTES ? begin - WAL_PAGE_HEADER_BYTES : begin;
    p.end = begin;
    if (wal_mark_due_locked(w)) {
        p.mark = begin;
        p.end = wal_flow_end(begin, WAL_MARK_ROOM);
    }
    if (record_bytes != 0) {
        p.record = p.mark == 0 ? begin : wal_record_begin(p.end);
        p.end = wal_flow_end(p.record, record_bytes);
    }
    return p;
}

// Stores what was placed into memory. `h` NULL: a mark only.
static void wal_store_placed(struct wal *w, const struct wal_sink *sink,
                             const struct wal_placing *p, const struct wal_record_header *h,
                             struct slice payload)
{
    if (p->mark != 0) {
        struct wal_mark mark = wal_news_locked(w);
        wal_store_mark(sink, p->mark, w->mu.commit, &mark);
    }
    if (h != NULL) {
        wal_store_record(sink, p->record, h, payload);
    }
}

// Appends with one pwrite.
static strata_rc wal_write_placed(struct wal *w, const struct wal_placing *p,
                                  const struct wal_record_header *h, struct slice payload)
{
    struct wal_segment *s = w->mu.active;
    size_t bytes = (size_t)(p->end - p->from);
    if (bytes > w->gather.bytes) {
        size_t room = bytes < 2 * WAL_PAGE_BYTES ? 2 * WAL_PAGE_BYTES : bytes;
        uint8_t *data = alloc_resize(w->gather.base, room, 1);
        if (data == NULL) {
            return alloc_failed("appending to the log", room);
        }
        w->gather.base = data;
        w->gather.bytes = room;
    }
    if (p->mark != 0 && h != NULL) {
        // The few bytes between the mark and the record.
        uint64_t gap = wal_flow_end(p->mark, WAL_MARK_ROOM);
        memset(w->gather.base + (gap - p->from), 0, (size_t)(p->record - gap));
    }
    struct wal_sink sink = {&w->gather, p->from, s->seed, w->config.incarnation};
    wal_store_placed(w, &sink, p, h, payload);
    strata_rc rc = os_file_write(s->file, p->from, w->gather.base, bytes);
    if (rc != STRATA_OK) {
        w->mu.cut = !MUTANT(42);
        w->mu.at = MUTANT(42) ? p->end : w->mu.at;
        // The record may be there whole in spite of the error: its header is wiped, so that it
        // does not come back before a header has recorded the cut.
        static const uint8_t zeros[WAL_RECORD_HEADER_BYTES];
        uint64_t at = h != NULL ? p->record : p->mark;
        (void)(os_file_write(s->file, at, zeros, sizeof zeros) == STRATA_OK);
    }
    return rc;
}

static strata_rc wal_append_placed(struct wal *w, const struct wal_placing *p,
                                   const struct wal_record_header *h, struct slice payload)
{
    struct wal_segment *s = w->mu.active;
    ASSERT(p->end <= s->bytes && !w->mu.cut);
    if (s->map != NULL) {
        struct wal_sink sink = {s->map, 0, s->seed, w->config.incarnation};
        wal_store_placed(w, &sink, p, h, payload);
    } else {
        strata_rc rc = wal_write_placed(w, p, h, payload);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (p->mark != 0) {
        w->mu.marked = wal_news_locked(w);
    }
    w->mu.stats.appended_bytes += p->end - p->from;
    w->mu.at = p->end;
    w->mu.record_end = p->end;
    return STRATA_OK;
}

strata_rc wal_mark_locked(struct wal *w)
{
    struct wal_placing p = wal_place_locked(w, 0);
    if (p.mark == 0 || w->mu.cut || p.end > w->mu.active->bytes) {
        return STRATA_OK;
    }
    return wal_append_placed(w, &p, NULL, slice_of(NULL, 0));
}

// ---- the next segment

static strata_rc wal_header_store(struct wal *w, struct wal_segment *s,
                                  const struct wal_segment_header *h)
{
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    wal_segment_header_encode(bytes, h);
    if (s->map != NULL) {
        os_map_store(s->map, 0, bytes, sizeof bytes);
    } else {
        strata_rc rc = os_file_write(s->file, 0, bytes, sizeof bytes);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (h->predecessor != 0 && !w->mu.cut) {
        return STRATA_OK;
    }
    strata_rc rc = os_file_sync(s->file, true);
    s->header_synced = rc == STRATA_OK;
    return rc;
}

// Makes s the active segment; on an error s is removed.
static strata_rc wal_activate_locked(struct wal *w, struct wal_segment *s)
{
    struct wal_segment *before = w->mu.active;
    struct wal_mark news = wal_news_locked(w);
    struct wal_segment_header h = {
        .incarnation = w->config.incarnation,
        .segment = s->number,
        .chain = before == NULL ? s->number : w->mu.chain,
        .predecessor = before == NULL ? 0 : before->number,
        .predecessor_end = before == NULL ? 0 : w->mu.record_end,
        .commit = w->mu.commit,
        .synced_commit = news.synced_commit,
        .edits = news.edits,
        .segment_bytes = s->bytes,
    };
    strata_rc rc = wal_header_store(w, s, &h);
    if (rc != STRATA_OK) {
        wal_segment_discard(&w->config, s);
        return rc;
    }
    if (before == NULL) {
        w->mu.chain = s->number;
        w->mu.oldest = s;
    } else {
        ASSERT(s->number > before->number);
        before->closed = true;
        before->last_commit = w->mu.commit;
        before->next = s;
    }
    w->mu.active = s;
    w->mu.cut = false;
    w->mu.marked = news;
    w->mu.at = WAL_PAGE_BYTES;
    w->mu.record_end = WAL_PAGE_BYTES;
    w->mu.prepare_above = s->bytes / 2;
    if (w->mu.next_bytes < w->config.segment_bytes_max) {
        w->mu.next_bytes *= 2;
    }
    return STRATA_OK;
}

static strata_rc wal_next_segment_locked(struct wal *w, uint64_t record_bytes)
{
    // In a fresh segment, and with a mark before it (news can come while the lock is given back).
    uint64_t mark_end = wal_flow_end(wal_record_begin(WAL_PAGE_BYTES), WAL_MARK_ROOM);
    uint64_t bytes_min = wal_page_up(wal_flow_end(wal_record_begin(mark_end), record_bytes)) +
                         WAL_PAGE_BYTES; // the last page is not for records
    struct wal_segment *s;
    strata_rc rc = wal_prepare_take_locked(w, bytes_min, &s);
    return rc == STRATA_OK ? wal_activate_locked(w, s) : rc;
}

// ---- appending

static strata_rc wal_append_locked(struct wal *w, const struct wal_record *record)
{
    if (w->mu.dead) {
        return wal_dead_locked(w, STRATA_READ_ONLY);
    }
    ASSERT(record->commit == w->mu.commit + 1);
    uint64_t record_bytes = WAL_RECORD_HEADER_BYTES + record->payload.bytes;
    struct wal_placing p = wal_place_locked(w, record_bytes);
    if (w->mu.cut || p.end > w->mu.active->bytes - (MUTANT(49) ? 0 : WAL_PAGE_BYTES)) {
        strata_rc rc = wal_next_segment_locked(w, record_bytes);
        if (rc != STRATA_OK) {
            return rc;
        }
        p = wal_place_locked(w, record_bytes);
    }
    struct wal_record_header h = {
        .count = record->count,
        .payload_bytes = record->payload.bytes,
        .commit = record->commit,
        .time_us = record->time_us,
        .kind = WAL_BATCH,
    };
    strata_rc rc = wal_append_placed(w, &p, &h, record->payload);
    if (rc != STRATA_OK) {
        return rc;
    }
    w->mu.commit = record->commit;
    w->mu.stats.records++;
    if (p.end > w->mu.prepare_above) {
        wal_prepare_ahead_locked(w);
    }
    return STRATA_OK;
}

strata_rc wal_append(struct wal *w, const struct wal_record *record)
{
    if (record->payload.bytes > WAL_PAYLOAD_BYTES_MAX) {
        return fail(STRATA_TOO_LARGE, "a log record of %zu bytes", record->payload.bytes);
    }
    os_mutex_lock(&w->mu.lock);
    strata_rc rc = wal_append_locked(w, record);
    os_mutex_unlock(&w->mu.lock);
    return rc;
}

// ---- opening and closing

static void wal_free(struct wal *w)
{
    struct wal_segment *s = w->mu.oldest;
    while (s != NULL) {
        struct wal_segment *next = s->next;
        (void)wal_segment_close(s);
        s = next;
    }
    os_cond_release(&w->mu.changed);
    os_mutex_release(&w->mu.lock);
    free(w->gather.base);
    free(w);
}

strata_rc wal_open(const struct wal_config *config, uint64_t first_commit, struct wal **wal_out)
{
    ASSERT(first_commit >= 1);
    ASSERT(config->segment_bytes_first >= 2 * WAL_PAGE_BYTES &&
           config->segment_bytes_first <= config->segment_bytes_max);
    ASSERT((config->segment_bytes_first & (config->segment_bytes_first - 1)) == 0 &&
           (config->segment_bytes_max & (config->segment_bytes_max - 1)) == 0);
    struct wal *w = alloc_zeroed(1, sizeof *w);
    if (w == NULL) {
        return alloc_failed("the log", sizeof *w);
    }
    w->config = *config;
    w->task = (struct os_task){.step = wal_prepare_step, .priority = OS_PRIORITY_FLUSH};
    os_mutex_init(&w->mu.lock);
    os_cond_init(&w->mu.changed);
    w->mu.commit = first_commit - 1;
    w->mu.ticked_commit = w->mu.commit;
    w->mu.next_bytes = config->segment_bytes_first;
    atomic_init(&w->synced_commit, first_commit - 1);

    os_mutex_lock(&w->mu.lock);
    strata_rc rc = wal_next_segment_locked(w, WAL_RECORD_HEADER_BYTES);
    os_mutex_unlock(&w->mu.lock);
    if (rc != STRATA_OK) {
        wal_free(w);
        return rc;
    }
    *wal_out = w;
    return STRATA_OK;
}

static void wal_task_end(struct wal *w)
{
    if (w->config.executor != NULL) {
        w->config.executor->retire(w->config.executor, &w->task);
    }
}

strata_rc wal_close(struct wal *w)
{
    wal_task_end(w);
    os_mutex_lock(&w->mu.lock);
    strata_rc rc = STRATA_OK;
    if (w->mu.dead) {
        rc = wal_dead_locked(w, STRATA_UNKNOWN_OUTCOME);
    } else {
        rc = wal_sync_all_locked(w);
    }
    if (rc == STRATA_OK && wal_mark_due_locked(w)) {
        rc = wal_mark_locked(w);
        if (rc == STRATA_OK) {
            rc = wal_sync_all_locked(w);
        }
    }
    os_mutex_unlock(&w->mu.lock);
    wal_prepare_release(w, rc == STRATA_OK);
    wal_free(w);
    return rc;
}

void wal_abandon(struct wal *w)
{
    wal_task_end(w);
    wal_prepare_release(w, false);
    wal_free(w);
}
