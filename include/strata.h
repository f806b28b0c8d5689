// strata: an embedded, versioned, log-structured storage engine.
//
// A database is a directory that holds an ordered map from byte strings to byte strings. Every
// write is part of a commit; commits are numbered 1, 2, 3 ... and every version of every key is
// kept, so that any read can ask for the state "as of" an earlier commit.
//
// Rules that hold for the whole interface:
//   - Every function that can fail returns a strata_rc: 0 is success, a positive code is an
//     ordinary outcome (not found, end of iteration), a negative code is an error. After an error
//     strata_error_text() gives one sentence for people, in the calling thread.
//   - `how` and `options` arguments may be NULL: that means every default. Structs that are passed
//     in begin with `struct_bytes`, set by their ..._INIT macro; a zero in any other member means
//     the default of that member.
//   - Database, keyspace and snapshot handles may be used from any thread at once. An iterator, a
//     history reader and a batch belong to one thread at a time.
//   - Keys have 1 to 65,535 bytes and are ordered bytewise. Values have 0 to 4 GiB - 1 bytes; a
//     batch, and a value that is not separated, must fit in a quarter of the memory budget.
//   - Slices passed in need to live only until the call returns, unless a comment says otherwise.
//   - In a child process after fork() every call on an inherited handle fails with STRATA_INVALID.
#ifndef STRATA_H
#define STRATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define STRATA_VERSION_TEXT "0.1.0"

#if defined(__GNUC__)
#define STRATA_API __attribute__((visibility("default")))
#define STRATA_MUST_CHECK __attribute__((warn_unused_result))
#else
#define STRATA_API
#define STRATA_MUST_CHECK
#endif

// ---------------------------------------------------------------------------------------------
// Outcomes

typedef enum strata_rc {
    STRATA_OK = 0,

    STRATA_NOT_FOUND = 1, // the key has no value at the commit that was read
    STRATA_END = 2,       // the iteration is past its last entry
    STRATA_YIELD = 3,     // the step budget is used up; call again to go on

    STRATA_INVALID = -1,          // an argument or option is wrong; nothing was changed
    STRATA_TOO_LARGE = -2,        // over a stated limit; nothing was changed
    STRATA_NO_MEMORY = -3,        // an allocation failed; the call was undone
    STRATA_IO = -4,               // the operating system reported an error
    STRATA_NO_SPACE = -5,         // the disk is full; writes resume when there is space again
    STRATA_CORRUPT = -6,          // stored bytes are not what was written; the text says where
    STRATA_LOCKED = -7,           // another handle or process has the database open
    STRATA_BUSY = -8,             // not now: live handles at close, or STRATA_NO_WAIT
    STRATA_CONFLICT = -9,         // the thing exists already, or a transaction lost
    STRATA_TRIMMED = -10,         // the commit is older than what retention keeps
    STRATA_READ_ONLY = -11,       // opened read-only, or read-only after an earlier error
    STRATA_UNKNOWN_OUTCOME = -12, // a sync failed: the commit may or may not survive a crash
    STRATA_VERSION = -13,         // the directory was written by another format version
    STRATA_UNSUPPORTED = -14,     // this build or this release cannot do it
    STRATA_INTERNAL = -15         // a broken invariant inside strata: a bug, please report it
} strata_rc;

// The code as text, e.g. "STRATA_NOT_FOUND". Never NULL.
STRATA_API const char *strata_rc_name(strata_rc rc);

// One sentence about the last error in this thread: what failed, on which file and offset, what was
// expected and what was found. Valid until the thread's next strata call that fails. Never NULL.
STRATA_API const char *strata_error_text(void);

// The release of the library that is linked, e.g. "0.1.0".
STRATA_API const char *strata_version(void);

typedef struct strata_slice {
    const void *data;
    size_t bytes;
} strata_slice;

// The slice of a NUL-terminated string, without its NUL.
STRATA_API strata_slice strata_str(const char *text);

typedef struct strata_db strata_db;
typedef struct strata_keyspace strata_keyspace;
typedef struct strata_snapshot strata_snapshot;
typedef struct strata_batch strata_batch;
typedef struct strata_iter strata_iter;
typedef struct strata_history strata_history;

// ---------------------------------------------------------------------------------------------
// Opening and closing

typedef enum strata_shape {
    STRATA_SHAPE_DEFAULT = 0, // lazy leveling
    STRATA_SHAPE_LAZY = 1,    // several runs on each upper level, one on the last: cheap writes
    STRATA_SHAPE_LEVELED = 2  // one run on every level: cheap reads
} strata_shape;

typedef enum strata_compression {
    STRATA_COMPRESSION_DEFAULT = 0, // LZ4; Zstandard for history and for the last level
    STRATA_COMPRESSION_NONE = 1,
    STRATA_COMPRESSION_LZ4 = 2,
    STRATA_COMPRESSION_ZSTD = 3
} strata_compression;

// Which past versions a keyspace keeps. A snapshot keeps its own commit readable whatever is said
// here; what falls outside is dropped by background work, and a read that would need it is
// STRATA_TRIMMED.
typedef enum strata_retention {
    STRATA_RETENTION_DEFAULT = 0,  // all
    STRATA_RETENTION_ALL = 1,      // every version, for ever
    STRATA_RETENTION_VERSIONS = 2, // of each key at least the last `retention_versions`
    STRATA_RETENTION_AGE = 3,      // every commit of the last `retention_seconds`
    STRATA_RETENTION_NONE = 4      // the present, and what snapshots and iterators need
} strata_retention;

typedef enum strata_separation {
    STRATA_SEPARATION_DEFAULT = 0, // on
    STRATA_SEPARATION_ON = 1,      // values of `separate_bytes` or more go to value files
    STRATA_SEPARATION_OFF = 2      // every value stands beside its key
} strata_separation;

// Options of one keyspace, stored with it when it is created. Options given for a keyspace that
// exists already are not looked at. Those under "live" can be changed by strata_keyspace_alter.
typedef struct strata_keyspace_options {
    size_t struct_bytes;
    strata_shape shape;
    strata_compression compression;
    uint32_t filter_bits;         // filter bits per key; default 10; range 1-32
    bool filter_off;              // keep no filters (for keys that are only scanned)
    uint32_t block_bytes;         // live blocks before compression; default 4 KiB; 1 KiB - 64 KiB
    uint32_t history_block_bytes; // default 32 KiB; 1 KiB - 256 KiB
    uint32_t level0_runs_max;     // hard bound on runs of level 0; default 20; 4 - 256
    uint32_t size_ratio;          // bytes of a level over bytes of the one above; default 8; 2 - 64
    // Live.
    strata_separation separation;
    uint32_t separate_bytes;              // default 2 KiB; 64 - 1 MiB
    strata_compression value_compression; // of separated values; default none
    strata_retention retention;
    uint32_t retention_versions;  // for RETENTION_VERSIONS; default 1; the present one counts
    uint32_t retention_seconds;   // for RETENTION_AGE; default 86,400 (a day)
    uint32_t expire_seconds;      // a put without an expiry of its own expires after so long;
                                  // default 0: never
    uint32_t space_bound_percent; // disk use is kept under this share of what is live and retained,
                                  // plus the log and a memtable; default 150; 110 - 1000
} strata_keyspace_options;
#define STRATA_KEYSPACE_OPTIONS_INIT                                                               \
    {                                                                                              \
        .struct_bytes = sizeof(strata_keyspace_options)                                            \
    }

typedef enum strata_log_append {
    STRATA_LOG_AUTO = 0,   // mapped where the file system is known to be good at it
    STRATA_LOG_MAPPED = 1, // through a shared mapping: no system call per commit
    STRATA_LOG_PWRITE = 2  // one pwrite per commit
} strata_log_append;

enum {
    STRATA_OPEN_CREATE = 1u << 0,    // create the database when the directory holds none
    STRATA_OPEN_NEW = 1u << 1,       // with CREATE: STRATA_CONFLICT when there is one already
    STRATA_OPEN_READ_ONLY = 1u << 2, // shared lock, replay into memory, write nothing
};

// Something that happened inside the database; valid during the callback.
typedef struct strata_event {
    const char *name;           // e.g. "flush_end"; static memory
    const char *help;           // one sentence
    const char *value_names[3]; // "": not used
    uint64_t values[3];
    const char *text; // of an error, or NULL
    int64_t unix_us;
} strata_event;

typedef struct strata_options {
    size_t struct_bytes;
    uint32_t flags;          // STRATA_OPEN_...
    uint64_t memory_bytes;   // the one memory budget: memtables, cached blocks, indexes, filters
                             // and jobs; default: the lesser of 256 MiB and an eighth of the
                             // machine's or cgroup's memory; least 8 MiB
    uint64_t memtable_bytes; // a memtable is sealed at this size; default: an eighth of the
                             // budget, at most 64 MiB; 64 KiB - half of the budget
    uint32_t background_threads; // default 2; 1 - 64
    uint32_t open_files_max;     // descriptors for tables; default 512; least 16
    strata_log_append log_append;
    uint64_t log_segment_bytes; // greatest size of a log segment; default 64 MiB; 16 KiB - 1 GiB
    uint64_t log_bytes_max;     // seal memtables when the log holds more; default 4 segments
    strata_keyspace_options keyspace; // of the keyspace "default", when it is created
    // When not NULL: called for every event, from whatever thread it happens in, without locks
    // held. It must be quick and must not close the database.
    void (*event)(void *ctx, const strata_event *event);
    void *event_ctx;
} strata_options;
#define STRATA_OPTIONS_INIT                                                                        \
    {                                                                                              \
        .struct_bytes = sizeof(strata_options), .keyspace = STRATA_KEYSPACE_OPTIONS_INIT           \
    }

// Opens the database in directory `path`. Without STRATA_OPEN_CREATE a directory that holds no
// database is STRATA_NOT_FOUND. What a crash left is recovered before the call returns.
// STRATA_LOCKED names the process that has it open. *db_out is NULL unless STRATA_OK is returned.
STRATA_API strata_rc strata_open(const char *path, const strata_options *options,
                                 strata_db **db_out) STRATA_MUST_CHECK;

// Syncs, stops background work and frees the handle. STRATA_BUSY, with the handle still open, while
// iterators, readers, snapshots or put streams are alive. Any other error is about the last sync:
// the handle is freed all the same.
STRATA_API strata_rc strata_close(strata_db *db);

// ---------------------------------------------------------------------------------------------
// Keyspaces: named maps with options of their own, in one commit order

#define STRATA_KEYSPACE_NAME_BYTES_MAX 255

// A handle stays valid until the database is closed, also after the keyspace is dropped (every
// call with it is then STRATA_INVALID). "default" always exists. Names: 1 to 255 bytes, no NUL.
STRATA_API strata_rc strata_keyspace_create(strata_db *db, const char *name,
                                            const strata_keyspace_options *options,
                                            strata_keyspace **keyspace_out) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_keyspace_open(strata_db *db, const char *name,
                                          strata_keyspace **keyspace_out) STRATA_MUST_CHECK;
// Changes the live options of a keyspace (NULL: "default"); a zero leaves a member as it is, and
// members that are not live must be zero. Durable when the call returns; old data follows as it is
// compacted. What an earlier retention let go does not come back. To end a default expiry give
// STRATA_NEVER_SECONDS.
#define STRATA_NEVER_SECONDS UINT32_MAX
STRATA_API strata_rc strata_keyspace_alter(strata_db *db, strata_keyspace *keyspace,
                                           const strata_keyspace_options *options)
    STRATA_MUST_CHECK;
// Ends the keyspace's present and its past. The name may be used again; the number is not.
STRATA_API strata_rc strata_keyspace_drop(strata_db *db, const char *name) STRATA_MUST_CHECK;

typedef struct strata_keyspace_info {
    uint64_t number;
    char name[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
    strata_keyspace_options options;
} strata_keyspace_info;

// Calls `visit` for each keyspace in the order of their names; stops when it returns false.
STRATA_API strata_rc strata_keyspace_list(strata_db *db,
                                          bool (*visit)(void *ctx,
                                                        const strata_keyspace_info *info),
                                          void *ctx) STRATA_MUST_CHECK;

// ---------------------------------------------------------------------------------------------
// Writing

typedef enum strata_durability {
    STRATA_SYNC = 0,            // on disk when the call returns
    STRATA_SYNC_BACKGROUND = 1, // returns at once, on disk within 100 ms
    STRATA_SYNC_NONE = 2        // the operating system decides; survives the death of the process
} strata_durability;

enum {
    STRATA_NO_WAIT = 1u << 0, // STRATA_BUSY instead of waiting for background work
};

typedef struct strata_write {
    size_t struct_bytes;
    strata_keyspace *keyspace; // default: "default"; not looked at by strata_commit
    strata_durability durability;
    uint32_t flags;       // STRATA_NO_WAIT
    uint64_t *commit_out; // when not NULL: receives the number of the commit
    // Of puts: when the value ceases to be, in microseconds since 1970; 0: what the keyspace says;
    // STRATA_NEVER: never. Rounded up to a whole second; it may lie in the past. A read now hides
    // what has expired by now, a read as of a commit judges by the time of that commit. Not looked
    // at by strata_commit.
    int64_t expires_unix_us;
} strata_write;
#define STRATA_NEVER INT64_MAX
#define STRATA_WRITE_INIT                                                                          \
    {                                                                                              \
        .struct_bytes = sizeof(strata_write)                                                       \
    }

STRATA_API strata_rc strata_put(strata_db *db, const strata_write *how, strata_slice key,
                                strata_slice value) STRATA_MUST_CHECK;

// Deleting a key that has no value is a commit like any other.
STRATA_API strata_rc strata_delete(strata_db *db, const strata_write *how,
                                   strata_slice key) STRATA_MUST_CHECK;

// Deletes every key in [begin, end) in constant time. STRATA_INVALID unless begin < end.
STRATA_API strata_rc strata_delete_range(strata_db *db, const strata_write *how, strata_slice begin,
                                         strata_slice end) STRATA_MUST_CHECK;

// A batch is applied as one commit: all of it or nothing, across keyspaces. When it names a key
// twice, the later operation wins. A batch can be committed once; reset it to fill it again. A
// failed call on a batch leaves it as it was.
STRATA_API strata_rc strata_batch_new(strata_db *db, strata_batch **batch_out) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_batch_put(strata_batch *batch, strata_keyspace *keyspace,
                                      strata_slice key, strata_slice value) STRATA_MUST_CHECK;
// As strata_batch_put, with strata_write.expires_unix_us. (What a keyspace says of expiry counts
// from the moment at which the batch is filled.)
STRATA_API strata_rc strata_batch_put_expiring(strata_batch *batch, strata_keyspace *keyspace,
                                               strata_slice key, strata_slice value,
                                               int64_t expires_unix_us) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_batch_delete(strata_batch *batch, strata_keyspace *keyspace,
                                         strata_slice key) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_batch_delete_range(strata_batch *batch, strata_keyspace *keyspace,
                                               strata_slice begin,
                                               strata_slice end) STRATA_MUST_CHECK;
STRATA_API uint64_t strata_batch_count(const strata_batch *batch);
STRATA_API void strata_batch_reset(strata_batch *batch);
STRATA_API void strata_batch_free(strata_batch *batch); // NULL is ignored

// STRATA_INVALID for an empty batch. *commit_out (may be NULL) is the commit's number.
STRATA_API strata_rc strata_commit(strata_db *db, const strata_write *how, strata_batch *batch,
                                   uint64_t *commit_out) STRATA_MUST_CHECK;

// Writing one value piece by piece, in flat memory, up to 4 GiB - 1 bytes: nothing is visible
// before strata_put_finish, which is one commit. `how` is as for strata_put and copied, but its
// pointers must live until the end. One thread at a time. In a keyspace without separation a value
// that is written so is separated all the same when it is longer than a MiB.
typedef struct strata_put_stream strata_put_stream;
STRATA_API strata_rc strata_put_begin(strata_db *db, const strata_write *how, strata_slice key,
                                      strata_put_stream **stream_out) STRATA_MUST_CHECK;
// After an error the stream can only be aborted.
STRATA_API strata_rc strata_put_append(strata_put_stream *stream, const void *data,
                                       size_t bytes) STRATA_MUST_CHECK;
// Commits and frees the stream, whatever is returned.
STRATA_API strata_rc strata_put_finish(strata_put_stream *stream) STRATA_MUST_CHECK;
STRATA_API void strata_put_abort(strata_put_stream *stream); // frees it; NULL is ignored

// Waits until every commit acknowledged so far is on disk.
STRATA_API strata_rc strata_sync(strata_db *db) STRATA_MUST_CHECK;

// ---------------------------------------------------------------------------------------------
// Reading

// Decides, before anything is copied, whether an iterator shows an entry.
typedef bool (*strata_filter_fn)(void *ctx, strata_slice key, strata_slice value);

#define STRATA_NOW UINT64_MAX

typedef struct strata_read {
    size_t struct_bytes;
    strata_keyspace *keyspace; // default: "default"
    strata_snapshot *snapshot; // read at this snapshot's commit
    uint64_t as_of;            // or at this commit; 0 and STRATA_NOW: the newest.
                               // To read "before commit 1" there is as_of_zero.
    bool as_of_zero;           // read the empty state before the first commit
    strata_slice lower;        // iterators: first key, inclusive; data NULL: unbounded
    strata_slice upper;        // iterators: end key, exclusive; data NULL: unbounded
    strata_filter_fn filter;   // iterators: show only entries for which this is true
    void *filter_ctx;
    uint64_t step_budget; // iterators: entries looked at before STRATA_YIELD; 0: no limit
    bool cache_bypass;    // do not keep blocks that this read loads (large scans)
} strata_read;
#define STRATA_READ_INIT                                                                           \
    {                                                                                              \
        .struct_bytes = sizeof(strata_read)                                                        \
    }

// A value that was read. Begin with STRATA_VALUE_INIT; one struct may serve any number of reads in
// turn and reuses its memory; release it in the end.
typedef struct strata_value {
    const void *data;
    size_t bytes;
    uint64_t commit; // the commit that wrote it
    void *owner[3];  // private
} strata_value;
#define STRATA_VALUE_INIT                                                                          \
    {                                                                                              \
        .data = NULL                                                                               \
    }
STRATA_API void strata_value_release(strata_value *value);

// STRATA_NOT_FOUND when the key has no value at the commit read; *value_out is then empty.
STRATA_API strata_rc strata_get(strata_db *db, const strata_read *how, strata_slice key,
                                strata_value *value_out) STRATA_MUST_CHECK;

// `count` gets at one commit, faster than one by one. rc_out[i] is the outcome for keys[i]; the
// function's own result is the first negative outcome, else STRATA_OK.
STRATA_API strata_rc strata_get_many(strata_db *db, const strata_read *how, size_t count,
                                     const strata_slice *keys, strata_value *values_out,
                                     strata_rc *rc_out) STRATA_MUST_CHECK;

// Reading one value piece by piece, in flat memory. STRATA_NOT_FOUND as for strata_get. The reader
// goes on reading that version, whatever happens to the key. One thread at a time.
typedef struct strata_value_reader strata_value_reader;
STRATA_API strata_rc strata_value_open(strata_db *db, const strata_read *how, strata_slice key,
                                       strata_value_reader **reader_out) STRATA_MUST_CHECK;
STRATA_API uint64_t strata_value_reader_bytes(const strata_value_reader *reader);
STRATA_API uint64_t strata_value_reader_commit(const strata_value_reader *reader);
// Up to `bytes` bytes from `offset` on; *read_out is less only at the end of the value.
STRATA_API strata_rc strata_value_read(strata_value_reader *reader, uint64_t offset, void *to,
                                       size_t bytes, size_t *read_out) STRATA_MUST_CHECK;
STRATA_API void strata_value_close(strata_value_reader *reader); // NULL is ignored

// An iterator shows the live entries of one keyspace in key order, at one commit (and, where
// entries expire, as of one moment). It begins nowhere: position it with first, last, seek or
// seek_before. Bounds are copied. The positioning calls return STRATA_OK on an entry, STRATA_END
// past either end, STRATA_YIELD when the step budget is used up (call strata_iter_resume to go on
// with a new budget). After STRATA_END any positioning call may follow; next after STRATA_END at
// the end and prev at the beginning stay there.
STRATA_API strata_rc strata_iter_open(strata_db *db, const strata_read *how,
                                      strata_iter **iter_out) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_first(strata_iter *iter) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_last(strata_iter *iter) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_seek(strata_iter *iter, strata_slice key) STRATA_MUST_CHECK;
// The last entry with a key less than `key`.
STRATA_API strata_rc strata_iter_seek_before(strata_iter *iter, strata_slice key) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_next(strata_iter *iter) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_prev(strata_iter *iter) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_iter_resume(strata_iter *iter) STRATA_MUST_CHECK;
// Valid while the iterator stands on an entry, until its next call. Empty slices elsewhere.
STRATA_API strata_slice strata_iter_key(const strata_iter *iter);
// A separated value that is not in memory yet is read when it is asked for; if that fails the slice
// is empty and strata_iter_value_error says why.
STRATA_API strata_slice strata_iter_value(const strata_iter *iter);
// STRATA_OK, or why the last strata_iter_value could not give the value.
STRATA_API strata_rc strata_iter_value_error(const strata_iter *iter);
STRATA_API uint64_t strata_iter_commit(const strata_iter *iter); // that wrote the entry
STRATA_API void strata_iter_close(strata_iter *iter);            // NULL is ignored

// ---------------------------------------------------------------------------------------------
// Time: commits, snapshots, versions

// A snapshot keeps one commit readable, whatever retention says, while the process lives.
STRATA_API strata_rc strata_snapshot_take(strata_db *db,
                                          strata_snapshot **snapshot_out) STRATA_MUST_CHECK;
STRATA_API uint64_t strata_snapshot_commit(const strata_snapshot *snapshot);
STRATA_API void strata_snapshot_release(strata_snapshot *snapshot); // NULL is ignored

// The newest commit that readers see; 0 in an empty database.
STRATA_API uint64_t strata_newest_commit(strata_db *db);

// The oldest commit that retention promises of a keyspace (NULL: "default"): reads as of an older
// one are STRATA_TRIMMED. 0: the whole past is kept. With RETENTION_VERSIONS it says nothing of
// single keys.
STRATA_API strata_rc strata_oldest_commit(strata_db *db, strata_keyspace *keyspace,
                                          uint64_t *commit_out) STRATA_MUST_CHECK;

// The last commit at or before a Unix time in microseconds; 0 when there is none. Kept to a second
// for commits that are no longer in memory; it then names the last commit of that second or
// earlier.
STRATA_API strata_rc strata_commit_at_time(strata_db *db, int64_t unix_us,
                                           uint64_t *commit_out) STRATA_MUST_CHECK;
// The time of a commit, as closely as it is kept. STRATA_NOT_FOUND for a commit that is not there.
STRATA_API strata_rc strata_commit_time(strata_db *db, uint64_t commit,
                                        int64_t *unix_us_out) STRATA_MUST_CHECK;

typedef enum strata_version_kind {
    STRATA_VERSION_PUT = 1,
    STRATA_VERSION_DELETE = 2,
    STRATA_VERSION_DELETE_RANGE = 3 // the key lay in a range that was deleted
} strata_version_kind;

typedef struct strata_version_info {
    strata_slice key;
    strata_slice value; // empty for deletes
    uint64_t commit;    // that wrote this version
    uint64_t end;       // the commit that superseded it; 0 for the version that stands
    strata_version_kind kind;
} strata_version_info;

// Every version of every key in [how->lower, how->upper), by key, newest first within a key, up to
// the commit that `how` names. Range deletes appear as a version of each key they ended. What
// expired is shown. Of each key nothing is shown that is older than what stood at the oldest commit
// that is kept (strata_oldest_commit). For one key use strata_history_open_key.
STRATA_API strata_rc strata_history_open(strata_db *db, const strata_read *how,
                                         strata_history **history_out) STRATA_MUST_CHECK;
STRATA_API strata_rc strata_history_open_key(strata_db *db, const strata_read *how,
                                             strata_slice key,
                                             strata_history **history_out) STRATA_MUST_CHECK;
// The next version, valid until the next call on `history`. STRATA_END after the last.
STRATA_API strata_rc strata_history_next(strata_history *history,
                                         strata_version_info *version_out) STRATA_MUST_CHECK;
STRATA_API void strata_history_close(strata_history *history); // NULL is ignored

// ---------------------------------------------------------------------------------------------
// Maintenance and insight

// Writes every memtable to tables.
STRATA_API strata_rc strata_flush(strata_db *db) STRATA_MUST_CHECK;

// Merges a keyspace (NULL: every keyspace) until each level holds one run and all live data is on
// its last level; history too. `progress` (may be NULL) is called now and then without locks held;
// when it returns false the compaction stops with STRATA_BUSY and loses nothing.
STRATA_API strata_rc strata_compact(strata_db *db, strata_keyspace *keyspace,
                                    bool (*progress)(void *ctx, uint64_t bytes_done,
                                                     uint64_t bytes_total),
                                    void *ctx) STRATA_MUST_CHECK;

// As strata_compact, and writes the keyspace's separated values anew in key order, so that scans
// read their files from front to back.
STRATA_API strata_rc strata_compact_values(strata_db *db, strata_keyspace *keyspace,
                                           bool (*progress)(void *ctx, uint64_t bytes_done,
                                                            uint64_t bytes_total),
                                           void *ctx) STRATA_MUST_CHECK;

// Where a keyspace's bytes on disk are, by cause. Those of tables are shares of whole files,
// estimated from counts; sums are exact.
typedef struct strata_space {
    uint64_t live_bytes;       // keys and values of the present, as far as merges know
    uint64_t history_bytes;    // retained versions and receipts
    uint64_t superseded_bytes; // older versions, and deletes, that merges will take out of the live
                               // tree: estimated
    uint64_t delete_bytes;     // of those, deletes and range deletes
    uint64_t dead_value_bytes; // in value files, referenced by nothing any more
    uint64_t table_bytes;      // all table files
    uint64_t value_bytes;      // all value files, also those being written
    uint64_t log_bytes;        // of the database: log segments, spare ones included
    uint64_t memtable_bytes;   // of the database: one memtable, as allowed for by the bound
    uint64_t disk_bytes;       // table_bytes + value_bytes + log_bytes
    uint64_t bound_bytes;      // space_bound x (live + history) + log + memtable
    uint64_t debt_bytes;       // that background work will give back to stay under the bound
} strata_space;
STRATA_API strata_rc strata_space_of(strata_db *db, strata_keyspace *keyspace,
                                     strata_space *space_out) STRATA_MUST_CHECK;

// Waits until background work has nothing to do.
STRATA_API strata_rc strata_wait_idle(strata_db *db) STRATA_MUST_CHECK;

typedef enum strata_metric_kind {
    STRATA_METRIC_COUNTER = 1, // only grows while the database is open
    STRATA_METRIC_GAUGE = 2    // a value of this moment
} strata_metric_kind;

typedef struct strata_metric {
    const char *name; // e.g. "commit_count"; static memory
    const char *unit; // e.g. "bytes", "count", "us"
    const char *help; // one sentence
    strata_metric_kind kind;
    uint64_t value;
} strata_metric;

// Fills up to `capacity` metrics; *count_out is how many there are. capacity 0 just counts.
STRATA_API strata_rc strata_stats(strata_db *db, strata_metric *metrics_out, size_t capacity,
                                  size_t *count_out) STRATA_MUST_CHECK;

typedef struct strata_table_info {
    const char *keyspace;
    bool history;   // of the history tree, not the live one
    uint32_t level; // 0 is the newest
    uint32_t run;   // within the level, 0 is the newest
    uint64_t file;  // number in the file's name
    uint64_t bytes;
    uint64_t entries;
    uint64_t range_deletes;
    uint64_t commit_least, commit_greatest;
    strata_slice key_least, key_greatest; // both inclusive
} strata_table_info;

// Visits every table of every tree, by keyspace, live before history, level, run and key, as of one
// moment. Stops when `visit` returns false.
STRATA_API strata_rc strata_tree(strata_db *db,
                                 bool (*visit)(void *ctx, const strata_table_info *info),
                                 void *ctx) STRATA_MUST_CHECK;

// Checks every numbered invariant of the open trees (docs/invariants.md), reading every block.
// STRATA_CORRUPT or STRATA_INTERNAL with the number and place of the first one that does not hold.
STRATA_API strata_rc strata_check(strata_db *db) STRATA_MUST_CHECK;

typedef struct strata_verify_report {
    uint64_t files, bytes, blocks, records;
    uint64_t faults; // damaged places found
} strata_verify_report;

// Reads every byte of a database that nobody has open and checks every checksum, order and
// reference. `fault` (may be NULL) is called with one sentence for each fault. Writes nothing.
// STRATA_CORRUPT when there was any.
STRATA_API strata_rc strata_verify(const char *path, void (*fault)(void *ctx, const char *text),
                                   void *ctx, strata_verify_report *report_out) STRATA_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
