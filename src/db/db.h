// The database: what open, commit, read, background work and recovery share. Each .c file of this
// folder is one of those activities; this header holds their common structures and says which lock
// guards what.
//
// Locks, in the order in which they are taken:
//   commit.lock  one writer: commit numbers, the log's tail, the active memtables
//   edit.lock    one edit: the manifest and the next catalog
//   mu.lock      the lists: generations, the published view, keyspaces, jobs; never held over I/O
//   times.lock   commit times
// Readers take none of them: they enter an epoch, load `view` and `visible`, and pin the view when
// they outlive one bounded step.
#ifndef DB_DB_H
#define DB_DB_H

#include "base/buffer.h"
#include "cache/cache.h"
#include "compact/compact.h"
#include "db/metrics.h"
#include "kv/file_name.h"
#include "manifest/manifest.h"
#include "memtable/memtable.h"
#include "memtable/memtable_pool.h"
#include "os/machine.h"
#include "shape/shape_space.h"
#include "wal/wal.h"

#include <stdatomic.h>
#include <sys/types.h>

#define DB_MAGIC 0x5354524154414442u       // "STRATADB"
#define DB_SPACES_MAX 65536u               // keyspaces made during one open of a database
#define DB_SEALED_MAX 3u                   // generations that may wait for their flush
#define DB_MERGE_SLICE_BYTES (64ull << 20) // output of one slice of a merge
#define DB_RELOG_BYTES_MAX (128u << 10)    // a longer log tail is flushed at open, not logged again
#define DB_MANIFEST_BYTES_MAX (1ull << 20) // a longer manifest is rewritten
#define DB_GENERATION_VALUE_FILES_MAX 64u  // then it is sealed
#define DB_HISTORY_REWRITES 32u

// What a keyspace takes on disk beyond tables of live and retained data; computed after every
// change of trees (space.c). Bytes of values are shares of the sizes of their files.
struct space_sums {
    uint64_t live_table_bytes, history_table_bytes;                   // of whole files
    uint64_t value_file_count, value_file_bytes;                      // files of the catalog
    uint64_t live_value_bytes, history_value_bytes, dead_value_bytes; // in those
    struct shape_superseded superseded;
    uint64_t delete_bytes;
    struct shape_budget budget;
    uint64_t excess_bytes; // superseded and dead, as far as it is known
};

// A keyspace while the database is open. Never freed before close, so that handles stay valid.
struct strata_keyspace {
    struct strata_db *db;
    uint64_t number;
    uint32_t slot; // index into generations and views; never reused
    char name[STRATA_KEYSPACE_NAME_BYTES_MAX + 1];
    strata_keyspace_options options; // resolved
    struct shape shape_live, shape_history;
    _Atomic bool dropped;
    // Background work alone, under mu.lock: the floor at which a run of history was last rewritten
    // for what retention had let go.
    struct shape_rewritten history_rewritten[DB_HISTORY_REWRITES];
    struct space_sums sums; // under mu.lock
    // Changed by strata_keyspace_alter under edit.lock; read from anywhere. 0: not separated.
    _Atomic uint32_t separate_bytes;
    _Atomic uint32_t value_compression;
    _Atomic uint32_t expire_seconds;
    // Reads of whoever registers a commit below it are STRATA_TRIMMED. Published before registered
    // commits are looked at; at least the catalog's floor, which is what has been made durable.
    _Atomic uint64_t floor;
    // The value file that the next separated value goes to; under values.lock.
    struct value_file *value_file;
};

// A value file of a generation.
struct generation_value {
    uint64_t number;
    uint64_t keyspace;
    struct value_file *file; // a reference
};

// The memtables that are sealed together: one per keyspace that was written, by slot.
struct generation {
    _Atomic uint64_t refs;  // of views and lists: memtables and value files
    _Atomic uint64_t holds; // of the memtables alone; all refs together are one of them
    uint64_t sealed_commit; // 0 while active; set under commit.lock and mu.lock
    uint32_t capacity;
    _Atomic size_t bytes; // charged to the budget
    // The value files that its memtables refer to, and nothing else does: the active generation's
    // files are left behind when it is sealed, and its flush finishes them and hands them to the
    // catalog. In the order in which they came; added under values.lock, the count stored last
    // (release). The array is made with the first of them.
    struct generation_value *value_files;
    uint32_t value_file_capacity;
    uint32_t stores; // values on their way to them; under values.lock
    _Atomic uint32_t value_file_count;
    _Atomic uint64_t value_bytes;           // of values in them
    _Atomic(struct memtable *) memtables[]; // by slot; made at the first write, never replaced
};

// A commit that somebody reads at beyond one call. Embedded in snapshots, iterators and readers.
struct registration {
    uint64_t commit;
    struct registration *next, *before; // under readers.lock
    // Gives the view of an idle reader back when its catalog is not `present`, else NULL; called
    // with readers.lock held. NULL: the reader has none. (db/seat.h)
    struct view *(*give_back)(struct registration *r, const struct catalog *present);
};

// What a reader sees. Immutable but for the contents of the active memtables.
struct view_space {
    struct strata_keyspace *keyspace; // NULL: dropped, or not in this view
    struct tree *live;
    struct tree *history;
    uint64_t floor; // of this view's catalog: it holds all that reads from there on need
};

struct view {
    struct strata_db *db;
    _Atomic uint64_t refs;
    struct os_retired retired;
    struct catalog *catalog; // holds the trees
    uint32_t generation_count;
    struct generation *generations[DB_SEALED_MAX + 2]; // newest first
    uint32_t space_count;
    struct view_space spaces[]; // by slot
};

struct merge_worker {
    struct os_task task;
    struct strata_db *db;
    struct merge *merge; // NULL: looks for a job at its next step
    struct strata_keyspace *keyspace;
    uint64_t claims[65]; // run numbers: inputs, and the history run that it ejects into; mu.lock
    uint32_t claim_count;
    uint64_t began_ns;
};

#define DB_MERGE_WORKERS_MAX 8u

struct strata_db {
    uint64_t magic;
    pid_t pid;
    uint32_t forks;      // db_forks() at open
    _Atomic bool broken; // mu.error is set
    struct os_machine *machine;
    strata_options options; // resolved
    bool read_only;         // opened so
    struct os_dir *dir;
    struct os_executor *executor;
    struct os_memory memory;
    struct memtable_pool memtables; // their memory
    struct cache *cache;
    struct table_env tables;
    uint64_t incarnation;

    // Keyspaces by slot: DB_SPACES_MAX places that never move. Added under mu.lock; the count is
    // stored last (release) and loaded first (acquire), so no lock is needed to look one up.
    struct strata_keyspace **spaces;
    _Atomic uint32_t space_count;
    struct strata_keyspace *default_space;

    // Readers.
    _Atomic(struct view *) view;
    _Atomic uint64_t visible;  // the newest commit that is applied whole
    _Atomic uint64_t promised; // the newest commit that is to be synced in the background

    struct {
        struct os_mutex lock;
        uint64_t last_commit;
        int64_t last_time_us;
        struct generation *active; // changes under mu.lock and values.lock, too
    } commit;

    struct {
        struct os_mutex lock;
        struct manifest *manifest;
        struct catalog *catalog; // also read under mu.lock
    } edit;

    struct {
        struct os_mutex lock;
        struct os_cond changed;                       // a flush or merge ended, a state changed
        struct os_cond tick;                          // wakes the ticker early, at close
        struct generation *sealed[DB_SEALED_MAX + 1]; // oldest first
        uint32_t sealed_count;
        uint32_t compacting; // explicit compactions asked for: automatic merges stand back
        bool full_running;   // one of them is at work
        bool flush_running;
        uint32_t merges_running;
        bool space_running;    // the space task decides, or has a job
        uint64_t space_sleeps; // how often it found nothing more to do
        bool excising;         // it looks for tables that leave unread: no merge begins meanwhile
        strata_rc error;       // sticky: the database is read-only; its text below
        char error_text[512];
        bool error_told;       // the event was emitted
        strata_rc retry_error; // the last background failure, when it will be tried again (no
                               // space, no memory); cleared by the next success
        char retry_text[512];
        bool ticking;
    } mu;

    struct {
        struct os_mutex lock;
        struct commit_second *seconds; // the last_time_us of the last one is `newest_us`
        size_t count, capacity;
        size_t thin_count; // of them are a second long
    } times;
    _Atomic int64_t newest_us;      // time of the newest commit
    _Atomic int64_t moment_ends_us; // a commit from then on begins a new moment

    struct {
        struct os_mutex lock;   // after commit.lock and mu.lock; nothing is taken under it
        struct os_cond changed; // a store ended
        uint64_t seals;         // changes of commit.active, plus 1; also read under commit.lock
        uint32_t streams;       // that are open
    } values;

    struct {
        struct os_mutex lock; // nothing is taken under it
        struct registration *first;
        uint32_t count; // live iterators, history readers, value readers, snapshots
        // Retention by age: how far the floor may advance (retention.c).
        int64_t age_now_us;
        uint64_t age_monotonic_ns;
        bool age_held; // the clock has jumped further than that, and the event was emitted
    } readers;

    struct wal *wal;
    bool log_mapped;
    uint64_t log_segment_bytes_first;
    uint64_t log_bytes_found; // by a read-only open, which has no `wal`
    _Atomic uint64_t next_file;
    _Atomic uint64_t next_run;
    uint64_t next_keyspace;        // under edit.lock
    uint64_t manifest_first_bytes; // of the present manifest's snapshot; under edit.lock

    _Atomic bool stopping; // background work ends at its next step
    struct os_task flush_task;
    struct flush *flush; // of flush_task, with the trees that it holds on to
    uint64_t flush_began_ns, flush_commit;
    struct catalog *flush_catalog;
    struct merge_worker workers[DB_MERGE_WORKERS_MAX];
    uint32_t worker_count;
    struct os_task space_task;  // excises, value rewrites: space.c
    _Atomic bool space_pending; // it was submitted and has not looked since
    struct value_rewrite *rewrite;
    struct strata_keyspace *rewrite_space;
    uint64_t rewrite_began_ns;
    // A generation is sealed when its memtables hold so many bytes (at most memtable_bytes): less
    // in a small database that lets versions go, so that what one flush supersedes stays small
    // beside what is there. Computed by space.c, read by commits.
    _Atomic uint64_t seal_bytes;
    // And when it refers to so many bytes of separated values: what is garbage
    // among them is not known before its flush. Computed by space.c, read by commits.
    _Atomic uint64_t seal_value_bytes;
    _Atomic bool seal_wanted; // a scan passed over many dead entries, maybe in memtables
    struct os_thread ticker;
    // For the write path, computed when the trees change.
    _Atomic bool seal_waits;          // a commit waits for a flush, with commit.lock held
    _Atomic bool admission_wait;      // level 0 of some keyspace is at its hard bound
    _Atomic uint64_t admission_price; // delay in nanoseconds for a MiB of writes
    _Atomic uint64_t admission_debt;  // bytes that merges owe
    _Atomic uint64_t merge_rate;      // bytes a second, smoothed

    struct metrics metrics;
};

// ---- open.c, recover.c, recover_values.c, files.c

// As strata_open, on any machine.
strata_rc db_open(struct os_machine *machine, const char *path, const strata_options *options,
                  strata_db **db_out) STRATA_MUST_CHECK;
strata_rc db_close(strata_db *db);
strata_rc db_options_resolve(const strata_options *given, strata_options *out) STRATA_MUST_CHECK;
// The cache of table descriptors of a directory, at most `most` and not all that the process may
// have.
strata_rc db_file_cache_new(struct os_machine *machine, struct os_dir *dir, uint32_t most,
                            struct os_file_cache **cache_out) STRATA_MUST_CHECK;
// Recovers the log into memtables and tables and leaves the database ready to be published.
strata_rc db_recover(strata_db *db) STRATA_MUST_CHECK;
// recover_values.c: the first reading of the log. Puts the value files that it names into the
// active generation; *last_out is the last commit whose values are all there. *any_out is false
// when there is no value file but the catalog's, so that every other value is missing; the log is
// not read.
strata_rc db_recover_values(strata_db *db, uint64_t *last_out, bool *any_out) STRATA_MUST_CHECK;
bool catalog_names_value_file(const struct catalog *c, uint64_t number); // physical
// STRATA_CORRUPT when manifest (`edits` of it) and log prove each other incomplete: a mark in the
// log names more edits, or a keyspace was created, by a commit that was synced first, behind its
// end.
strata_rc db_compare_log(const struct os_dir *dir, const struct catalog *catalog, uint64_t edits,
                         const struct wal_recovery *found) STRATA_MUST_CHECK;
// Removes files with our names that nothing refers to.
strata_rc db_remove_obsolete(strata_db *db) STRATA_MUST_CHECK;
// Bytes of all log files in the directory.
strata_rc db_log_bytes(strata_db *db, uint64_t *bytes_out) STRATA_MUST_CHECK;
// The greatest number in any of our names in the directory; and whether it holds logs or tables.
strata_rc db_scan_directory(strata_db *db, uint64_t *number_max_out,
                            bool *data_out) STRATA_MUST_CHECK;
uint64_t db_new_file_number(void *db);
uint64_t db_new_run_number(void *db);

// ---- state.c

// Makes the database read-only for good and keeps the thread's error text. Returns rc.
strata_rc db_fail(strata_db *db, strata_rc rc);
// STRATA_READ_ONLY, with the text of the error that made it so, or STRATA_OK; under mu.lock. What
// every wait for background work asks before it goes on waiting.
strata_rc db_sticky_error_locked(const strata_db *db) STRATA_MUST_CHECK;
// STRATA_OK, or why nothing can be written (sticky error, read-only, wrong process, broken ASSERT).
strata_rc db_writable(strata_db *db) STRATA_MUST_CHECK;
// STRATA_INVALID for NULL, closed or inherited handles.
strata_rc db_usable(const strata_db *db) STRATA_MUST_CHECK;
// How often the process was forked off since the library was first used; db_forks() sees to it
// that it is counted.
uint32_t db_forks(void);
extern uint32_t db_fork_count;

// ---- view.c

strata_rc generation_new(uint32_t slots, struct generation **generation_out) STRATA_MUST_CHECK;
void generation_ref(struct generation *g);
void generation_unref(struct generation *g, struct os_memory *memory);
// Keeps the memtables alone, for cursors over them; with a reference or another hold.
void generation_hold(struct generation *g);
void generation_drop(struct generation *g, struct os_memory *memory);
// The generation's memtable of a slot, or NULL.
static inline struct memtable *generation_memtable(const struct generation *g, uint32_t slot)
{
    if (slot >= g->capacity) {
        return NULL;
    }
    // Pairs with the release store in db_memtable_for().
    return atomic_load_explicit(&g->memtables[slot], memory_order_acquire);
}

// Builds a view of the present lists; under mu.lock.
strata_rc view_build_locked(strata_db *db, struct catalog *catalog,
                            struct view **view_out) STRATA_MUST_CHECK;
// Swaps it in; under mu.lock. Returns the one before, for view_retire once the lock is free.
struct view *view_publish_locked(strata_db *db, struct view *view) STRATA_MUST_CHECK;
// Without mu.lock: what is freed on the way may close and remove files. NULL is ignored.
void view_retire(struct view *before);
void view_ref(struct view *v);                  // in an epoch, or with a reference held
void view_unref(strata_db *db, struct view *v); // not in an epoch
// The view and the newest commit that it can be read at; in an epoch.
struct view *view_load(strata_db *db, uint64_t *visible_out);
// The same, with a reference, from outside of epochs.
struct view *view_pin(strata_db *db, uint64_t *visible_out);

// ---- keyspace.c

strata_rc space_resolve(strata_db *db, const strata_keyspace *given,
                        struct strata_keyspace **space_out) STRATA_MUST_CHECK;
// Adds the in-memory keyspace of a catalog entry; under mu.lock.
strata_rc space_adopt_locked(strata_db *db, const struct catalog_space *from,
                             struct strata_keyspace **space_out) STRATA_MUST_CHECK;
struct strata_keyspace *space_by_number(strata_db *db, uint64_t number); // any thread; or NULL
strata_rc db_keyspace_create(strata_db *db, const char *name,
                             const strata_keyspace_options *options,
                             struct strata_keyspace **space_out) STRATA_MUST_CHECK;
strata_rc db_keyspace_open(strata_db *db, const char *name,
                           struct strata_keyspace **space_out) STRATA_MUST_CHECK;
strata_rc db_keyspace_drop(strata_db *db, const char *name) STRATA_MUST_CHECK;
strata_rc db_keyspace_list(strata_db *db,
                           bool (*visit)(void *ctx, const strata_keyspace_info *info),
                           void *ctx) STRATA_MUST_CHECK;

// ---- commit.c, seal.c, times.c

// Commits `count` encoded operations (kv/batch.h). Lengths were checked by the caller.
strata_rc db_commit(strata_db *db, const strata_write *how, struct slice ops, uint32_t count,
                    uint64_t *commit_out) STRATA_MUST_CHECK;
strata_rc db_commit_one(strata_db *db, const strata_write *how, enum kv_kind kind, struct slice key,
                        struct slice value) STRATA_MUST_CHECK;
// When a put expires that is made now: `given` as in strata_write.expires_unix_us. 0: never.
strata_rc db_expiry(strata_db *db, const struct strata_keyspace *space, int64_t given,
                    uint64_t *expiry_out) STRATA_MUST_CHECK;
// put_stream.c
strata_rc put_stream_begin(strata_db *db, const strata_write *how, struct slice key,
                           strata_put_stream **stream_out) STRATA_MUST_CHECK;
strata_rc put_stream_append(strata_put_stream *s, struct slice bytes) STRATA_MUST_CHECK;
strata_rc put_stream_finish(strata_put_stream *s);
void put_stream_abort(strata_put_stream *s);
strata_db *put_stream_db(const strata_put_stream *s);
// Appends and applies the commit that creates or drops a keyspace; commit.lock and edit.lock held.
strata_rc db_commit_space_locked(strata_db *db, struct slice ops,
                                 uint64_t *commit_out) STRATA_MUST_CHECK;
uint64_t db_batch_bytes_max(const strata_db *db);
// Memory for a batch of `count` ops in the active generation; sees to its memtables. commit.lock
// held.
strata_rc db_memtable_for(strata_db *db, struct generation *g, struct strata_keyspace *space,
                          struct memtable **memtable_out) STRATA_MUST_CHECK;
// Applies normalised ops at `commit` to a generation, whose memory is reserved here first.
struct batch_op;
strata_rc db_reserve_ops(strata_db *db, struct generation *g, const struct batch_op *ops,
                         uint32_t count) STRATA_MUST_CHECK;
void db_apply_ops(strata_db *db, struct generation *g, const struct batch_op *ops, uint32_t count,
                  uint64_t commit);
bool generation_is_empty(const struct generation *g); // of commits
// Seals the active generation when it holds anything; commit.lock held. May wait for a flush.
strata_rc db_seal_locked(strata_db *db) STRATA_MUST_CHECK;
bool db_seal_must_wait(strata_db *db); // for the flush of an earlier one
// Seals when a scan asked for it and there is enough to make a run of; does not wait.
void db_seal_if_wanted(strata_db *db);
strata_rc db_flush(strata_db *db) STRATA_MUST_CHECK;
strata_rc db_sync(strata_db *db) STRATA_MUST_CHECK;
void times_add(strata_db *db, uint64_t commit, int64_t time_us);
int64_t times_of(void *db, uint64_t commit); // 0: not known
// Joins the moments of commits up to `upto`, which are flushed, to seconds.
void times_thin(strata_db *db, uint64_t upto);
strata_rc times_init(strata_db *db, const struct catalog *catalog) STRATA_MUST_CHECK;
// Adds the seconds with commits in (after, upto] to the edit.
strata_rc times_into_edit(strata_db *db, uint64_t after, uint64_t upto,
                          struct edit *e) STRATA_MUST_CHECK;
strata_rc db_commit_at_time(strata_db *db, int64_t unix_us, uint64_t *commit_out) STRATA_MUST_CHECK;
strata_rc db_commit_time(strata_db *db, uint64_t commit, int64_t *unix_us_out) STRATA_MUST_CHECK;

// ---- values.c: separated values on their way in

struct value_placed {
    struct value_place place;
    uint64_t seals; // what it lies in is the active generation's while db->values.seals is this
};
// Stores the value in the keyspace's present value file. Without commit.lock; when the generation
// has been sealed by the time that lock is held, the value is stored again. STRATA_YIELD: the
// generation has no place for another file and must be sealed.
strata_rc values_store(strata_db *db, struct strata_keyspace *space, struct slice value,
                       struct value_placed *placed_out) STRATA_MUST_CHECK;
// A value file made for one value: of no generation before its commit.
struct value_own {
    struct value_file *file; // finished; a reference
    uint64_t number, keyspace;
    uint64_t bytes; // of the value
};
strata_rc values_new_file(strata_db *db, uint64_t keyspace, uint64_t *number_out,
                          struct value_file **file_out) STRATA_MUST_CHECK;
// Sees to a place for it in the active generation, and puts it there once its commit is in the log;
// both under one hold of commit.lock.
strata_rc values_make_place_locked(strata_db *db) STRATA_MUST_CHECK;
void values_attach_locked(strata_db *db, const struct value_own *own);
// Puts every stored value on disk; what the log calls before each of its syncs.
strata_rc values_sync(void *db);
// Finishes the generation's value files and adds them to the edit of its flush.
strata_rc values_into_edit(strata_db *db, struct generation *g, struct edit *e) STRATA_MUST_CHECK;
// Only finishes them, which takes long; once that is done, doing it again costs nothing.
strata_rc values_finish(strata_db *db, struct generation *g) STRATA_MUST_CHECK;
// commit.active was changed: the keyspaces' present files are left behind. commit.lock and
// values.lock held.
void values_switch_locked(strata_db *db);
// Nothing will refer to the generation's files.
void values_discard(struct generation *g);
// How many value files the generation has; those are there whole.
uint32_t generation_value_files(const struct generation *g);
void generation_release_values(struct generation *g); // at its end
// The file that holds a logical value file: of the view's generations, else of its catalog, with a
// reference. STRATA_CORRUPT when it is not there. In an epoch or with the view pinned.
strata_rc view_value_file(const struct view *v, uint64_t logical,
                          struct value_file **file_out) STRATA_MUST_CHECK;
strata_rc db_value_file(void *db, uint64_t logical,
                        struct value_file **file_out); // compact_env.value_file

// ---- retention.c, registered.c

// Registers `commit` for reads in `space` (NULL: every keyspace), then checks the floor:
// STRATA_TRIMMED, and not registered, when it lies above. STRATA_NOW: the newest visible commit.
strata_rc register_commit(strata_db *db, const struct strata_keyspace *space, uint64_t commit,
                          struct registration *r) STRATA_MUST_CHECK;
// The same for a commit that is registered already, and stays so during the call: nothing to check.
void register_commit_again(strata_db *db, uint64_t commit, struct registration *r);
void unregister_commit(strata_db *db, struct registration *r);
uint32_t registered_count(strata_db *db);
// The registered commits, ascending, each once; the caller frees the array (NULL: none). The floor
// was published before and a fence passed (register_commit has the other half).
strata_rc registered_copy(strata_db *db, uint64_t **commits_out,
                          size_t *count_out) STRATA_MUST_CHECK;
// Takes the views of readers that are in no call back, so that files which left the catalog can go;
// each finds its place again at its registered commit. Without locks held, not in an epoch.
void db_reseat_idle(strata_db *db);
strata_rc db_trim(void *db, uint64_t keyspace, struct compact_trim *trim_out); // compact_env.trim
// Before background work begins: the time that retention by age goes on from.
void retention_init(strata_db *db);
// The same for the flush of what was sealed at db->flush_commit.
strata_rc db_trim_flush(void *db, uint64_t keyspace, struct compact_trim *trim_out);
// The engine's time, in microseconds: the greater of the wall clock and the newest commit's.
int64_t db_now_us(strata_db *db);
// The same in whole seconds rounded down. Expiry is judged by it, and by time_of_commit_s for reads
// as of a commit.
int64_t db_now_s(strata_db *db);
int64_t time_of_commit_s(strata_db *db, uint64_t commit);
static inline bool is_expired(uint64_t expiry, int64_t time_s)
{
    return expiry != 0 && (int64_t)expiry <= time_s;
}
strata_rc db_keyspace_alter(strata_db *db, struct strata_keyspace *space,
                            const strata_keyspace_options *change) STRATA_MUST_CHECK;
strata_rc db_oldest_commit(strata_db *db, struct strata_keyspace *space,
                           uint64_t *commit_out) STRATA_MUST_CHECK;

// ---- space.c, space_jobs.c

// Computes the sums of every keyspace, and when generations are sealed for their values; after
// every change of trees, under mu.lock.
void space_update_locked(strata_db *db);
// The merge that gives most space back in a keyspace, when one is due; under mu.lock.
bool space_find_merge_locked(const struct catalog_space *in, struct strata_keyspace *space,
                             bool history, const struct shape_claims *claims,
                             struct shape_job *job_out);
// A merge of one run of history that it found has begun.
void space_merge_begun_locked(struct strata_keyspace *space, const struct tree *history,
                              const struct shape_job *job);
// A finished value file as shape looks at it.
struct shape_value_file space_value_file(const struct catalog *c, const struct value_file *f);
// A step of the task that lets tables leave unread and rewrites value files.
bool space_task_step(struct os_task *task);
void space_stop(strata_db *db); // the task is retired
// Of one keyspace, or (NULL) of all.
void space_total(strata_db *db, const struct strata_keyspace *only, strata_space *out);
strata_rc db_space(strata_db *db, struct strata_keyspace *space,
                   strata_space *space_out) STRATA_MUST_CHECK;

// ---- background.c, install.c, compact_full.c

// A background job ended with an error: what passes by itself is tried again by the ticker,
// anything else makes the database read-only.
void background_failed(strata_db *db, strata_rc rc);
void background_succeeded(strata_db *db);
void background_schedule_merges(strata_db *db); // and nothing else
// Every claimed run of every worker; mu.lock held.
size_t background_claims_locked(const strata_db *db, uint64_t *runs, size_t capacity);
#define DB_CLAIMS_MAX (65u * DB_MERGE_WORKERS_MAX)
strata_rc background_start(strata_db *db) STRATA_MUST_CHECK;
void background_stop(strata_db *db);
void background_schedule(strata_db *db); // after any change of trees or generations
struct compact_env db_compact_env(strata_db *db);
// Begins the flush of a sealed generation into the trees of `catalog`.
strata_rc db_flush_begin(strata_db *db, const struct compact_env *env, struct generation *g,
                         struct catalog *catalog, struct flush **flush_out) STRATA_MUST_CHECK;
void merge_count(strata_db *db, const struct merge *merge); // adds a finished merge to the metrics
strata_rc db_install(void *db, struct edit *e);             // compact_env.install while running
// The same with edit.lock held already.
strata_rc db_install_edit_locked(strata_db *db, struct edit *e) STRATA_MUST_CHECK;
// `values`: separated values are written anew in key order.
strata_rc db_compact(strata_db *db, struct strata_keyspace *space, bool values,
                     bool (*progress)(void *ctx, uint64_t done, uint64_t total),
                     void *ctx) STRATA_MUST_CHECK;
strata_rc db_wait_idle(strata_db *db) STRATA_MUST_CHECK;
// Holds a write of `bytes` up as admission says; STRATA_BUSY with STRATA_NO_WAIT.
strata_rc db_admit(strata_db *db, const strata_write *how, size_t bytes) STRATA_MUST_CHECK;
void admission_update_locked(strata_db *db); // after every change of trees or generations

// ---- read.c, iter.c, history.c, snapshot.c

// Where and when a read reads: resolved from strata_read.
struct read_at {
    struct strata_keyspace *space;
    uint64_t commit; // STRATA_NOW: the newest when the read begins
    bool keep_blocks;
    bool registered; // by a snapshot: not below any floor
};
// Registers the commit of a read that outlives the call. Before its view is pinned.
strata_rc read_register(strata_db *db, const struct read_at *at,
                        struct registration *r) STRATA_MUST_CHECK;
strata_rc read_resolve(strata_db *db, const strata_read *how,
                       struct read_at *at_out) STRATA_MUST_CHECK;
strata_rc db_get(strata_db *db, const struct read_at *at, struct slice key,
                 strata_value *value_out) STRATA_MUST_CHECK;
strata_rc db_get_many(strata_db *db, const struct read_at *at, size_t count,
                      const strata_slice *keys, strata_value *values_out,
                      strata_rc *rc_out) STRATA_MUST_CHECK;
strata_rc value_assign(strata_value *v, struct slice bytes, uint64_t commit) STRATA_MUST_CHECK;
// Where the value of a key is. STRATA_NOT_FOUND when it has none.
struct value_found {
    struct value_file *file; // separated: with a reference, for the caller to give back; or NULL
    struct kv_value_ref ref;
    strata_value value; // not separated; the caller's to begin and to release
    uint64_t commit;
};
strata_rc db_find_value(strata_db *db, const struct read_at *at, struct slice key,
                        struct value_found *out) STRATA_MUST_CHECK;

strata_rc iter_open(strata_db *db, const strata_read *how,
                    strata_iter **iter_out) STRATA_MUST_CHECK;
void iter_close(strata_iter *it);
strata_rc iter_first(strata_iter *it) STRATA_MUST_CHECK;
strata_rc iter_last(strata_iter *it) STRATA_MUST_CHECK;
strata_rc iter_seek(strata_iter *it, struct slice key) STRATA_MUST_CHECK;
strata_rc iter_seek_before(strata_iter *it, struct slice key) STRATA_MUST_CHECK;
strata_rc iter_next(strata_iter *it) STRATA_MUST_CHECK;
strata_rc iter_prev(strata_iter *it) STRATA_MUST_CHECK;
strata_rc iter_resume(strata_iter *it) STRATA_MUST_CHECK;
const struct kv_entry *iter_entry(const strata_iter *it); // NULL when it stands on none
// The value of its entry, read if it is separated; empty when that fails, for the reason that
// iter_value_error gives.
struct slice iter_value(strata_iter *it);
strata_rc iter_value_error(const strata_iter *it);
strata_db *iter_db(const strata_iter *it);
strata_rc history_open(strata_db *db, const strata_read *how, const strata_slice *key,
                       strata_history **history_out) STRATA_MUST_CHECK;
strata_rc history_next(strata_history *h, strata_version_info *out) STRATA_MUST_CHECK;
void history_close(strata_history *h);
strata_db *history_db(const strata_history *h);
strata_rc snapshot_take(strata_db *db, strata_snapshot **snapshot_out) STRATA_MUST_CHECK;
// value_read.c
strata_rc value_reader_open(strata_db *db, const struct read_at *at, struct slice key,
                            strata_value_reader **reader_out) STRATA_MUST_CHECK;
strata_rc value_reader_read(strata_value_reader *r, uint64_t offset, void *to, size_t bytes,
                            size_t *read_out) STRATA_MUST_CHECK;
uint64_t value_reader_bytes(const strata_value_reader *r);
uint64_t value_reader_commit(const strata_value_reader *r);
void value_reader_close(strata_value_reader *r);
strata_db *value_reader_db(const strata_value_reader *r);
uint64_t snapshot_commit(const strata_snapshot *s);
strata_db *snapshot_db(const strata_snapshot *s);
void snapshot_release(strata_snapshot *s);

// ---- events.c: without locks held

void db_emit(strata_db *db, enum event which, uint64_t value1, uint64_t value2, uint64_t value3,
             const char *text);
// Emits the event of the sticky error, once. An error may be born under locks, so this is called by
// the ticker, by jobs that end and by close.
void db_emit_error(strata_db *db);

// ---- stats.c, check.c, verify.c

strata_rc db_stats(strata_db *db, strata_metric *out, size_t capacity,
                   size_t *count_out) STRATA_MUST_CHECK;
strata_rc db_tree(strata_db *db, bool (*visit)(void *ctx, const strata_table_info *info),
                  void *ctx) STRATA_MUST_CHECK;
strata_rc db_check(strata_db *db) STRATA_MUST_CHECK;
strata_rc db_verify(struct os_machine *machine, const char *path,
                    void (*fault)(void *ctx, const char *text), void *ctx,
                    strata_verify_report *report_out) STRATA_MUST_CHECK;

#endif
