// The log: durable, ordered, recycled (architecture, section 4). The head of wal_format.h gives the
// layout of segments, pages and records; that of wal_recover.c the rule of recovery.
//
// Thread rule: wal_append is called under the caller's commit lock; wal_sync, wal_retire, wal_tick
// and the getters from any thread.
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "base/slice.h"
#include "os/machine.h"
#include "strata.h"

struct wal;

struct wal_config {
    struct os_dir *dir;
    struct os_executor *executor; // prepares segments; NULL: prepared when they are needed
    struct os_clock *clock;
    uint64_t incarnation;         // of this open of the database: seeds every checksum
    bool mapped;                  // append through a shared mapping, else pwrite
    uint64_t segment_bytes_first; // power of two; 256 KiB
    uint64_t segment_bytes_max;   // power of two; 64 MiB
    // The next number for a file of the directory; any thread, never the same twice.
    uint64_t (*new_file_number)(void *ctx);
    // Called before each sync of records, outside of locks: puts on disk what they refer to (value
    // files), so that a commit that counts as synced is whole. Its error counts as that of the
    // sync. NULL: nothing to do.
    strata_rc (*before_sync)(void *ctx);
    void *ctx;
};

// Starts a log whose first record will be commit `first_commit`, in a new segment: created, written
// in full, synced, and the directory synced, before the call returns. Every commit before it must
// be on disk, or be on its way to the log by wal_append before the manifest names this log.
strata_rc wal_open(const struct wal_config *config, uint64_t first_commit,
                   struct wal **wal_out) STRATA_MUST_CHECK;
// Syncs, appends a mark, syncs, closes, and removes the files that hold nothing. The handle is
// freed whatever is returned. No other call may be running.
strata_rc wal_close(struct wal *w);
// Frees the handle without writing anything more (the database is read-only after an error).
void wal_abandon(struct wal *w);

// What a record holds beside its payload.
struct wal_record {
    uint64_t commit;
    int64_t time_us;
    uint32_t count;       // ops of the batch
    struct slice payload; // the batch's encoding
};

// Appends a record whose commit is the last one's + 1. Not on disk before a sync, but it survives
// the death of the process. On an error nothing was appended and the same commit number may be
// appended again (into a new segment whose header records the cut). STRATA_READ_ONLY after a failed
// sync.
strata_rc wal_append(struct wal *w, const struct wal_record *record) STRATA_MUST_CHECK;

// Returns when every record up to `commit` is on disk. Callers share syncs: one does it, the others
// wait. After a failed sync this and every later sync is STRATA_UNKNOWN_OUTCOME: the log is dead.
strata_rc wal_sync(struct wal *w, uint64_t commit) STRATA_MUST_CHECK;
uint64_t wal_synced_commit(const struct wal *w);
// The number of manifest edits known to be on disk, to be written into the next mark.
void wal_note_edits(struct wal *w, uint64_t edits_synced);
// Called about every 100 ms from background work: syncs what is not synced, writes an idle mark.
strata_rc wal_tick(struct wal *w) STRATA_MUST_CHECK;

// Every commit up to `flushed_commit` is in tables now: segments that hold nothing newer are
// recycled or removed.
strata_rc wal_retire(struct wal *w, uint64_t flushed_commit) STRATA_MUST_CHECK;
// Number of the oldest segment that may hold a commit > the last one given to wal_retire.
uint64_t wal_oldest_segment(const struct wal *w);

struct wal_stats {
    uint64_t live_bytes; // in segments that are not retired
    uint64_t held_bytes; // on disk, spare segments included
    uint64_t appended_bytes, records, syncs, sync_ns, segments_created, segments_recycled;
    bool mapped;
};
void wal_stats(const struct wal *w, struct wal_stats *stats_out);

// ---- recovery

struct wal_recovery {
    uint64_t last_commit;     // the last accepted; flushed_commit when none is newer
    int64_t last_time_us;     // of the last good record, flushed or not; 0 when there is none
    uint64_t records;         // applied
    uint64_t payload_bytes;   // of those
    uint64_t cut_bytes;       // about: behind the end of what was accepted, torn or never synced
    uint64_t edits_marked;    // greatest number of manifest edits that a mark or header names
    uint64_t incarnation_max; // greatest in any valid header of any log file; 0: there is none
    uint64_t segments;        // whose records were read
};

// Reads the log that begins with segment `first_segment` and calls `apply` for each commit above
// flushed_commit, in dense order from flushed_commit + 1, until the first that is missing or bad.
// STRATA_CORRUPT when a mark or header, also behind that stop, proves that the stop lies below a
// synced commit, when the log begins after flushed_commit + 1, or when no segment of it is there.
// Writes nothing. An error of `apply` ends it; STRATA_NOT_FOUND of `apply` says that the commit is
// missing (a value that it refers to is not there): recovery ends before it as before a bad record.
//
// `first_segment` is what wal_oldest_segment gave when the open that started the log completed, as
// the manifest keeps it: the logs of other opens are not looked at. With 0 it is not known: the
// newest log that reaches back to flushed_commit + 1 is read, also that of an open which did not
// complete; no segment at all is then an empty log. (For salvage and for a new database.)
strata_rc wal_recover(struct os_dir *dir, uint64_t flushed_commit, uint64_t first_segment,
                      strata_rc (*apply)(void *ctx, const struct wal_record *record), void *ctx,
                      struct wal_recovery *recovery_out) STRATA_MUST_CHECK;

#endif
