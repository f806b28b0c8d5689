// What the files of the log share: a segment's file, and the log itself.
//
// One mutex guards everything of `mu`. It is held while a record is copied into the mapping, and
// never during a sync, nor while a segment's file is made. Two tokens say who works outside of it:
// `syncing` for syncs and for the removal of segments, `preparing` for the making of segments.
#ifndef WAL_WAL_PRIVATE_H
#define WAL_WAL_PRIVATE_H

#include "base/buffer.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

#include <stdatomic.h>

#define WAL_SPARES_MAX 2

// A file of the log, open.
struct wal_segment {
    struct wal_segment *next; // younger
    uint64_t number;
    uint64_t bytes;
    uint64_t seed;
    uint64_t filled; // bytes written in full so far, while it is being made
    struct os_file *file;
    struct os_map *map;   // NULL when appended to with pwrite
    uint64_t last_commit; // when closed: no record of it is newer
    bool closed;          // nothing more is appended
    bool header_synced;
    bool synced; // closed, and all of it is on disk
};

// A file without an owner: written in full and of the past; reused under a new number.
struct wal_spare {
    uint64_t number;
    uint64_t bytes;
};

struct wal {
    struct wal_config config;
    struct os_task task;            // prepares the next segment
    struct os_map gather;           // pwrite: stands for the mapping of what is being appended
    _Atomic uint64_t synced_commit; // all up to it are on disk
    struct {
        struct os_mutex lock;
        struct os_cond changed; // a token was given back

        // The tail.
        struct wal_segment *oldest, *active; // the list
        uint64_t chain;                      // number of the first segment
        uint64_t at;            // where the next record may begin in the active segment
        uint64_t record_end;    // of the last record in the active segment
        uint64_t commit;        // the last one appended
        uint64_t prepare_above; // an append that ends behind it starts the making of a segment
        bool cut; // an append failed: the active segment is closed for good at record_end
        struct wal_mark marked; // by the last mark or header
        uint64_t edits;         // for the next
        uint64_t ticked_commit; // the last one appended when wal_tick ran

        bool syncing;
        bool dead; // a sync failed
        char dead_text[256];

        // The next segment.
        bool preparing; // somebody is at it, outside of the lock
        uint64_t next_bytes;
        struct wal_segment *filling, *ready;
        struct wal_spare spares[WAL_SPARES_MAX];
        size_t spare_count;

        struct wal_stats stats;
    } mu;
};

// ---- wal_segment.c: one file, no locks

// A new file, still empty, with a number of its own.
strata_rc wal_segment_create(const struct wal_config *config, uint64_t bytes,
                             struct wal_segment **segment_out) STRATA_MUST_CHECK;
// Writes up to `bytes` more zeros, 4 KiB at a time; the last call also makes the file durable and
// maps it: then segment->filled == segment->bytes.
strata_rc wal_segment_fill(const struct wal_config *config, struct wal_segment *segment,
                           uint64_t bytes) STRATA_MUST_CHECK;
// Gives a spare file a new number, durably, and maps it. On an error either name may be there.
strata_rc wal_segment_reuse(const struct wal_config *config, const struct wal_spare *spare,
                            struct wal_segment **segment_out) STRATA_MUST_CHECK;
// Unmaps, closes, frees. NULL is ignored.
strata_rc wal_segment_close(struct wal_segment *segment);
// The same, and removes the file, in so far as that is possible. NULL is ignored.
void wal_segment_discard(const struct wal_config *config, struct wal_segment *segment);
void wal_segment_remove(const struct wal_config *config, uint64_t number);

// ---- wal_prepare.c: the next segment

// Asks for the next segment in the background. Lock held.
void wal_prepare_ahead_locked(struct wal *w);
// Waits or works until a segment of at least `bytes_min` is there; the caller owns it. Lock held,
// and given back meanwhile.
strata_rc wal_prepare_take_locked(struct wal *w, uint64_t bytes_min,
                                  struct wal_segment **segment_out) STRATA_MUST_CHECK;
bool wal_prepare_step(struct os_task *task);
// Closes what nobody waits for, and removes its files when asked to. No other user of the log.
void wal_prepare_release(struct wal *w, bool remove);

// ---- wal.c

// Appends a mark when there is news for one and room in the active segment. Lock held. An error
// leaves the segment cut.
strata_rc wal_mark_locked(struct wal *w) STRATA_MUST_CHECK;

// ---- wal_sync.c

// Syncs everything appended so far. Lock held, and given back meanwhile; takes the token.
strata_rc wal_sync_all_locked(struct wal *w) STRATA_MUST_CHECK;
// The error of a dead log.
strata_rc wal_dead_locked(const struct wal *w, strata_rc rc);

#endif
