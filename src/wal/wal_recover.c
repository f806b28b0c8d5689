// Recovery: what of the log counts.
//
// Which log. Every open of the database starts a log of its own: an incarnation, whose segments all
// name its first segment (`chain`). The manifest names the log that counts, from the moment the
// open that started it had completed: until then the log before it counts, whose segments an open
// leaves alone. So a new log that was not finished hides nothing, and an old one that was not yet
// removed brings nothing back. Of the log that counts, segments are removed from the oldest on, and
// only when the header of the next is on disk; any of the removed may reappear after a crash.
//
// Which segments. Reading begins in the youngest segment whose header's `commit` is at most
// flushed_commit, and goes on in the one that names it as its predecessor (the youngest, should an
// activation have failed half-way), up to the `predecessor end` that it states.
//
// Which records. Each commit must be the one before + 1. Where the next record is not good, the
// beginning of the next page is tried too, since a sync moves the tail to a new page. When that is
// not good either, reading stops: what is behind was torn, or never synced.
//
// A good record whose commit refers to something that is not there (`apply` says so) is as none.
//
// Unless there is proof: every mark and header that is valid, also behind the stop, says up to
// which commit everything was on disk. If that is beyond the last commit read and beyond
// flushed_commit, bytes were damaged that had been acknowledged: STRATA_CORRUPT. Proofs are looked
// for in every page with a valid header, of the rest of the segment, of the younger segments of the
// log, and of files whose header is not valid but whose first page belongs to the log.
#include "wal/wal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buffer.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/file_name.h"
#include "wal/wal_format.h"

#include <inttypes.h>
#include <stdio.h>

#define WAL_WINDOW_BYTES (64u * WAL_PAGE_BYTES)

// A file of the directory whose name is that of a segment.
struct wal_recover_file {
    uint64_t number;
    uint64_t bytes;
    bool valid; // the header is good and says this number
    struct wal_segment_header h;
};

struct wal_recoverer {
    struct os_dir *dir;
    uint64_t flushed_commit;
    struct wal_recovery *out;
    struct buffer numbers; // u64 each, while listing
    strata_rc list_rc;
    struct wal_recover_file *files; // by number
    size_t count;
    uint64_t incarnation;  // of the log that counts
    uint64_t commit;       // the last good one, flushed or not
    struct wal_mark proof; // the greatest of all valid marks and headers of the log
    uint64_t stop_segment, stop_offset;
    bool missing;           // `apply` had not what the next commit needs: no later one counts
    char missing_text[256]; // why
    uint8_t *window;
    struct buffer payload;
};

// One segment, read through a window of pages.
struct wal_recover_reader {
    struct wal_recoverer *rv;
    struct os_file *file;
    uint64_t bytes; // what lies behind does not count
    uint64_t seed;
    uint64_t window_at, window_bytes;
};

// ---- the directory

static bool wal_recover_visit(void *ctx, const char *name, bool regular)
{
    struct wal_recoverer *rv = ctx;
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number) && kind == FILE_LOG) {
        rv->list_rc = buffer_append_u64(&rv->numbers, number);
    }
    return rv->list_rc == STRATA_OK;
}

static int wal_recover_file_compare(const void *a, const void *b)
{
    const struct wal_recover_file *x = a;
    const struct wal_recover_file *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static strata_rc wal_recover_open(struct wal_recoverer *rv, uint64_t number,
                                  struct os_file **file_out)
{
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_LOG, number);
    return os_file_open(rv->dir, name, OS_OPEN_READ, file_out);
}

static strata_rc wal_recover_header(struct wal_recoverer *rv, struct wal_recover_file *f)
{
    struct os_file *file = NULL;
    uint8_t bytes[WAL_SEGMENT_HEADER_BYTES];
    size_t done = 0;
    strata_rc rc = wal_recover_open(rv, f->number, &file);
    if (rc == STRATA_OK) {
        rc = os_file_size(file, &f->bytes);
    }
    if (rc == STRATA_OK) {
        rc = os_file_read_some(file, 0, bytes, sizeof bytes, &done);
    }
    if (rc == STRATA_OK && done == sizeof bytes) {
        strata_rc header_rc = wal_segment_header_decode(bytes, &f->h);
        if (header_rc == STRATA_VERSION) {
            rc = fail(STRATA_VERSION, "%s: a log of another format", file->name);
        }
        f->valid = header_rc == STRATA_OK && (f->h.segment == f->number || MUTANT(23));
        if (header_rc == STRATA_OK && f->h.incarnation > rv->out->incarnation_max) {
            rv->out->incarnation_max = f->h.incarnation;
        }
    }
    strata_rc close_rc = os_file_close(file);
    return rc == STRATA_OK ? close_rc : rc;
}

static strata_rc wal_recover_list(struct wal_recoverer *rv)
{
    strata_rc rc = os_dir_list(rv->dir, wal_recover_visit, rv);
    if (rc != STRATA_OK || rv->list_rc != STRATA_OK) {
        return rc != STRATA_OK ? rc : rv->list_rc;
    }
    rv->count = rv->numbers.bytes / sizeof(uint64_t);
    rv->files = alloc_zeroed(rv->count, sizeof *rv->files);
    if (rv->files == NULL) {
        return alloc_failed("the list of log files", rv->count * sizeof *rv->files);
    }
    for (size_t i = 0; i < rv->count && rc == STRATA_OK; i++) {
        memcpy(&rv->files[i].number, rv->numbers.data + i * sizeof(uint64_t), sizeof(uint64_t));
        rc = wal_recover_header(rv, &rv->files[i]);
    }
    qsort(rv->files, rv->count, sizeof *rv->files, wal_recover_file_compare);
    return rc;
}

// ---- choosing

static bool wal_recover_is_ours(const struct wal_recoverer *rv, const struct wal_recover_file *f)
{
    return f->valid && f->h.incarnation == rv->incarnation;
}

// Finds the incarnation that counts; 0: there is none, which is an empty log.
static strata_rc wal_recover_choose(struct wal_recoverer *rv, uint64_t first_segment)
{
    bool any = false;
    rv->incarnation = 0;
    for (size_t i = 0; i < rv->count; i++) {
        const struct wal_recover_file *f = &rv->files[i];
        any |= f->valid;
        bool counts = first_segment != 0 && !MUTANT(40) ? f->h.chain == first_segment
                                                        : f->h.commit <= rv->flushed_commit;
        if (f->valid && counts && f->h.incarnation > rv->incarnation) {
            rv->incarnation = f->h.incarnation;
        }
    }
    if (rv->incarnation == 0 && first_segment != 0) {
        return fail(STRATA_CORRUPT,
                    "%s: no segment is left of the log that began with %06" PRIu64 ".log",
                    rv->dir->path, first_segment);
    }
    if (rv->incarnation == 0 && any) {
        return fail(STRATA_CORRUPT, "%s: every log begins after commit %" PRIu64, rv->dir->path,
                    rv->flushed_commit + 1);
    }
    return STRATA_OK;
}

static strata_rc wal_recover_begin(struct wal_recoverer *rv,
                                   const struct wal_recover_file **begin_out)
{
    const struct wal_recover_file *begin = NULL;
    const struct wal_recover_file *oldest = NULL;
    for (size_t i = 0; i < rv->count; i++) {
        const struct wal_recover_file *f = &rv->files[i];
        if (wal_recover_is_ours(rv, f)) {
            oldest = oldest == NULL ? f : oldest;
            begin = f->h.commit <= rv->flushed_commit ? f : begin;
        }
    }
    ASSERT(oldest != NULL);
    if (begin == NULL) {
        return fail(STRATA_CORRUPT,
                    "%06" PRIu64 ".log: the log begins with commit %" PRIu64 ", but %" PRIu64
                    " is needed",
                    oldest->number, oldest->h.commit + 1, rv->flushed_commit + 1);
    }
    *begin_out = begin;
    return STRATA_OK;
}

static const struct wal_recover_file *wal_recover_successor(const struct wal_recoverer *rv,
                                                            const struct wal_recover_file *of)
{
    const struct wal_recover_file *successor = NULL;
    for (size_t i = 0; i < rv->count; i++) {
        const struct wal_recover_file *f = &rv->files[i];
        if (wal_recover_is_ours(rv, f) && f->number > of->number &&
            f->h.predecessor == of->number) {
            successor = f;
        }
    }
    return successor;
}

// ---- reading

static void wal_recover_proof(struct wal_recoverer *rv, uint64_t synced_commit, uint64_t edits)
{
    if (synced_commit > rv->proof.synced_commit) {
        rv->proof.synced_commit = synced_commit;
    }
    if (edits > rv->proof.edits) {
        rv->proof.edits = edits;
    }
}

static strata_rc wal_recover_reader_open(struct wal_recoverer *rv, const struct wal_recover_file *f,
                                         uint64_t bytes, struct wal_recover_reader *r_out)
{
    *r_out = (struct wal_recover_reader){
        .rv = rv,
        .bytes = bytes / WAL_PAGE_BYTES * WAL_PAGE_BYTES,
        .seed = wal_segment_seed(rv->incarnation, f->number),
    };
    return wal_recover_open(rv, f->number, &r_out->file);
}

// The page at `offset`, or NULL when it is not of the log. Lives until the next call.
static strata_rc wal_recover_page(struct wal_recover_reader *r, uint64_t offset,
                                  const uint8_t **page_out, uint32_t *first_out)
{
    ASSERT(offset % WAL_PAGE_BYTES == 0);
    *page_out = NULL;
    if (offset >= r->bytes) {
        return STRATA_OK;
    }
    if (offset < r->window_at || offset >= r->window_at + r->window_bytes) {
        uint64_t left = r->bytes - offset;
        size_t bytes = left < WAL_WINDOW_BYTES ? (size_t)left : WAL_WINDOW_BYTES;
        r->window_bytes = 0;
        strata_rc rc = os_file_read(r->file, offset, r->rv->window, bytes);
        if (rc != STRATA_OK) {
            return rc;
        }
        r->window_at = offset;
        r->window_bytes = bytes;
    }
    const uint8_t *page = r->rv->window + (offset - r->window_at);
    if (wal_page_header_decode(page, r->seed, offset, first_out)) {
        *page_out = page;
    }
    return STRATA_OK;
}

// Reads the encoded header of a record that begins at `at`; *found_out is false when it cannot be
// one that ends at or before `end`.
static strata_rc wal_recover_record_header(struct wal_recover_reader *r, uint64_t at, uint64_t end,
                                           uint8_t raw_out[WAL_RECORD_HEADER_BYTES],
                                           bool *found_out)
{
    const uint8_t *page;
    uint32_t first;
    uint64_t in_page = at % WAL_PAGE_BYTES;
    ASSERT(in_page >= WAL_PAGE_HEADER_BYTES && in_page + WAL_RECORD_HEADER_BYTES <= WAL_PAGE_BYTES);
    *found_out = false;
    strata_rc rc = wal_recover_page(r, at - in_page, &page, &first);
    if (rc != STRATA_OK || page == NULL) {
        return rc;
    }
    memcpy(raw_out, page + in_page, WAL_RECORD_HEADER_BYTES);
    struct wal_record_header h;
    wal_record_header_decode(raw_out, &h);
    *found_out = h.payload_bytes <= end && (h.kind == WAL_BATCH || h.kind == WAL_MARK) &&
                 wal_flow_end(at, WAL_RECORD_HEADER_BYTES + h.payload_bytes) <= end;
    return STRATA_OK;
}

// Collects the payload in rv->payload and verifies the record whose header is `raw`.
static strata_rc wal_recover_payload(struct wal_recover_reader *r, uint64_t at,
                                     const uint8_t raw[WAL_RECORD_HEADER_BYTES], bool *good_out)
{
    struct wal_record_header h;
    wal_record_header_decode(raw, &h);
    struct buffer *payload = &r->rv->payload;
    buffer_clear(payload);
    *good_out = false;
    // The caller has compared the length with the file's.
    strata_rc rc = buffer_reserve(payload, (size_t)h.payload_bytes);
    uint64_t from = at + WAL_RECORD_HEADER_BYTES;
    while (rc == STRATA_OK && payload->bytes < h.payload_bytes) {
        const uint8_t *page;
        uint32_t first;
        uint64_t in_page = from % WAL_PAGE_BYTES;
        rc = wal_recover_page(r, from - in_page, &page, &first);
        if (rc != STRATA_OK || page == NULL) {
            return rc;
        }
        in_page = in_page == 0 ? WAL_PAGE_HEADER_BYTES : in_page;
        size_t left = (size_t)h.payload_bytes - payload->bytes;
        size_t room = WAL_PAGE_BYTES - (size_t)in_page;
        size_t piece = left < room ? left : room;
        rc = buffer_append(payload, page + in_page, piece);
        from = wal_page_up(from + 1);
    }
    if (rc == STRATA_OK) {
        *good_out = wal_record_is_good(raw, r->seed, at, buffer_slice(payload));
    }
    return rc;
}

struct wal_recover_apply {
    strata_rc (*call)(void *ctx, const struct wal_record *record);
    void *ctx;
};

static strata_rc wal_recover_apply_record(struct wal_recoverer *rv, const struct wal_record *record,
                                          const struct wal_recover_apply *apply)
{
    strata_rc rc = apply->call(apply->ctx, record);
    if (rc == STRATA_NOT_FOUND) {
        rv->missing = true;
        snprintf(rv->missing_text, sizeof rv->missing_text, ": %s", fail_text());
        return STRATA_OK;
    }
    rv->commit = record->commit;
    rv->out->last_time_us = record->time_us;
    rv->out->records++;
    rv->out->payload_bytes += record->payload.bytes;
    return rc;
}

// Accepts the record at `at` if it is the next; *end_out is then where it ends, else 0.
static strata_rc wal_recover_record(struct wal_recover_reader *r, uint64_t at, uint64_t end,
                                    const struct wal_recover_apply *apply, uint64_t *end_out)
{
    struct wal_recoverer *rv = r->rv;
    uint8_t raw[WAL_RECORD_HEADER_BYTES];
    bool good;
    *end_out = 0;
    strata_rc rc = wal_recover_record_header(r, at, end, raw, &good);
    if (rc != STRATA_OK || !good) {
        return rc;
    }
    struct wal_record_header h;
    wal_record_header_decode(raw, &h);
    bool fits = h.kind == WAL_MARK ? h.commit == rv->commit && h.payload_bytes == WAL_MARK_BYTES
                                   : h.commit == rv->commit + 1 || MUTANT(22);
    if (!fits) {
        return STRATA_OK;
    }
    rc = wal_recover_payload(r, at, raw, &good);
    if (rc != STRATA_OK || !good) {
        return rc;
    }
    if (h.kind == WAL_MARK) {
        struct wal_mark mark;
        wal_mark_decode(rv->payload.data, &mark);
        wal_recover_proof(rv, mark.synced_commit, mark.edits);
    } else if (h.commit > rv->flushed_commit) {
        struct wal_record record = {h.commit, h.time_us, h.count, buffer_slice(&rv->payload)};
        rc = wal_recover_apply_record(rv, &record, apply);
    } else {
        rv->commit = h.commit;
        rv->out->last_time_us = h.time_us;
    }
    if (rc == STRATA_OK && !rv->missing) {
        *end_out = wal_flow_end(at, WAL_RECORD_HEADER_BYTES + h.payload_bytes);
    }
    return rc;
}

// Reads the records of a segment up to `end`; *stop_out is where no further one was good.
static strata_rc wal_recover_records(struct wal_recover_reader *r, uint64_t end,
                                     const struct wal_recover_apply *apply, uint64_t *stop_out)
{
    uint64_t at = WAL_PAGE_BYTES;
    while (true) {
        uint64_t begin = wal_record_begin(at);
        uint64_t in_next_page = wal_record_begin(wal_page_up(at));
        uint64_t next = 0;
        *stop_out = begin;
        strata_rc rc = wal_recover_record(r, begin, end, apply, &next);
        if (rc == STRATA_OK && next == 0 && !r->rv->missing && in_next_page != begin) {
            rc = wal_recover_record(r, in_next_page, end, apply, &next);
        }
        if (rc != STRATA_OK || next == 0) {
            return rc;
        }
        at = next;
    }
}

static strata_rc wal_recover_read_segment(struct wal_recoverer *rv,
                                          const struct wal_recover_file *f,
                                          const struct wal_recover_file *successor,
                                          const struct wal_recover_apply *apply)
{
    if (f->bytes != f->h.segment_bytes) {
        return fail(STRATA_CORRUPT, "%06" PRIu64 ".log: %" PRIu64 " bytes, should be %" PRIu64,
                    f->number, f->bytes, f->h.segment_bytes);
    }
    uint64_t end = f->bytes;
    if (successor != NULL && successor->h.predecessor_end < end) {
        end = successor->h.predecessor_end;
    }
    struct wal_recover_reader r;
    strata_rc rc = wal_recover_reader_open(rv, f, f->bytes, &r);
    if (rc == STRATA_OK) {
        rc = wal_recover_records(&r, end, apply, &rv->stop_offset);
        rv->stop_segment = f->number;
        rv->out->segments++;
    }
    strata_rc close_rc = os_file_close(r.file);
    return rc == STRATA_OK ? close_rc : rc;
}

static strata_rc wal_recover_read(struct wal_recoverer *rv, const struct wal_recover_file *begin,
                                  const struct wal_recover_apply *apply)
{
    const struct wal_recover_file *f = begin;
    rv->commit = f->h.commit;
    while (f != NULL) {
        const struct wal_recover_file *successor = wal_recover_successor(rv, f);
        strata_rc rc = wal_recover_read_segment(rv, f, successor, apply);
        if (rc != STRATA_OK) {
            return rc;
        }
        bool whole =
            successor != NULL && !rv->missing && (successor->h.commit == rv->commit || MUTANT(22));
        f = whole ? successor : NULL;
    }
    return STRATA_OK;
}

// ---- proofs behind the stop

// Looks at the records that begin in one page. What is no mark is passed over by its length alone:
// the next page's header puts right what a bad length spoils, so each page is looked at once.
static strata_rc wal_recover_scan_page(struct wal_recover_reader *r, uint64_t page_at,
                                       uint32_t first)
{
    uint64_t at = page_at + first;
    while (at < page_at + WAL_PAGE_BYTES && at == wal_record_begin(at)) {
        uint8_t raw[WAL_RECORD_HEADER_BYTES];
        bool good;
        strata_rc rc = wal_recover_record_header(r, at, r->bytes, raw, &good);
        if (rc != STRATA_OK || !good) {
            return rc;
        }
        struct wal_record_header h;
        wal_record_header_decode(raw, &h);
        if (h.kind == WAL_MARK && h.payload_bytes == WAL_MARK_BYTES) {
            rc = wal_recover_payload(r, at, raw, &good);
            if (rc != STRATA_OK) {
                return rc;
            }
            if (good) {
                struct wal_mark mark;
                wal_mark_decode(r->rv->payload.data, &mark);
                wal_recover_proof(r->rv, mark.synced_commit, mark.edits);
            }
        }
        at = wal_flow_end(at, WAL_RECORD_HEADER_BYTES + h.payload_bytes);
    }
    return STRATA_OK;
}

// Scans the pages of a file from `from` on.
static strata_rc wal_recover_scan(struct wal_recoverer *rv, const struct wal_recover_file *f,
                                  uint64_t from)
{
    struct wal_recover_reader r;
    strata_rc rc = wal_recover_reader_open(rv, f, f->bytes, &r);
    for (uint64_t at = from; rc == STRATA_OK && at < r.bytes; at += WAL_PAGE_BYTES) {
        const uint8_t *page;
        uint32_t first;
        rc = wal_recover_page(&r, at, &page, &first);
        if (rc != STRATA_OK || page == NULL) {
            if (!f->valid && at == from) {
                break; // its first page is not of this log: none is
            }
            continue;
        }
        rv->out->cut_bytes += WAL_PAGE_BYTES;
        if (first != 0) {
            rc = wal_recover_scan_page(&r, at, first);
        }
    }
    strata_rc close_rc = os_file_close(r.file);
    return rc == STRATA_OK ? close_rc : rc;
}

static strata_rc wal_recover_prove(struct wal_recoverer *rv, uint64_t first_segment)
{
    for (size_t i = 0; i < rv->count; i++) {
        const struct wal_recover_file *f = &rv->files[i];
        if (f->number < rv->stop_segment || f->number < first_segment) {
            continue;
        }
        uint64_t from = WAL_PAGE_BYTES;
        if (f->number == rv->stop_segment) {
            from = wal_page_up(rv->stop_offset);
        } else if (wal_recover_is_ours(rv, f)) {
            wal_recover_proof(rv, f->h.synced_commit, f->h.edits);
        } else if (f->valid) {
            continue; // of another log
        }
        strata_rc rc = wal_recover_scan(rv, f, from);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    uint64_t held = rv->commit > rv->flushed_commit ? rv->commit : rv->flushed_commit;
    rv->out->last_commit = held;
    rv->out->edits_marked = rv->proof.edits;
    if (rv->proof.synced_commit > held || (MUTANT(41) && rv->out->cut_bytes > 0)) {
        return fail(STRATA_CORRUPT,
                    "%06" PRIu64 ".log: no good record of commit %" PRIu64 " at offset %" PRIu64
                    ", but commit %" PRIu64 " was synced%s",
                    rv->stop_segment, held + 1, rv->stop_offset, rv->proof.synced_commit,
                    rv->missing_text);
    }
    return STRATA_OK;
}

strata_rc wal_recover(struct os_dir *dir, uint64_t flushed_commit, uint64_t first_segment,
                      strata_rc (*call)(void *ctx, const struct wal_record *record), void *ctx,
                      struct wal_recovery *recovery_out)
{
    *recovery_out = (struct wal_recovery){.last_commit = flushed_commit};
    struct wal_recoverer rv = {.dir = dir, .flushed_commit = flushed_commit, .out = recovery_out};
    struct wal_recover_apply apply = {call, ctx};
    const struct wal_recover_file *begin = NULL;
    strata_rc rc = wal_recover_list(&rv);
    if (rc != STRATA_OK) {
        goto done;
    }
    rc = wal_recover_choose(&rv, first_segment);
    if (rc != STRATA_OK || rv.incarnation == 0) {
        goto done;
    }
    rv.window = alloc_array(WAL_WINDOW_BYTES, 1);
    if (rv.window == NULL) {
        rc = alloc_failed("reading the log", WAL_WINDOW_BYTES);
        goto done;
    }
    rc = wal_recover_begin(&rv, &begin);
    if (rc != STRATA_OK) {
        goto done;
    }
    wal_recover_proof(&rv, begin->h.synced_commit, begin->h.edits);
    rc = wal_recover_read(&rv, begin, &apply);
    if (rc == STRATA_OK) {
        rc = wal_recover_prove(&rv, first_segment);
    }
done:
    free(rv.window);
    free(rv.files);
    buffer_release(&rv.numbers);
    buffer_release(&rv.payload);
    return rc;
}
