// The durable list of what the database consists of: a chain of checksummed edits, all-or-nothing,
// that begins with a snapshot (architecture, section 11). The layout of the file stands at the head
// of manifest_format.c.
//
// `struct catalog` is that list in memory: immutable, counted, with every table open. An edit makes
// the next catalog. Writing order: manifest_append (durable) first, then the caller publishes.
//
// Thread rule: one caller at a time (the database's edit lock).
#ifndef MANIFEST_MANIFEST_H
#define MANIFEST_MANIFEST_H

#include "base/buffer.h"
#include "manifest/tree.h"
#include "os/file.h"
#include "value/value.h"

// Commits of one second, for "as of a time".
struct commit_second {
    uint64_t first_commit;
    int64_t first_time_us; // of first_commit
    int64_t last_time_us;  // of the last commit before the next entry's first
};

struct catalog_space {
    uint64_t number;
    char *name;
    strata_keyspace_options options; // every member resolved: no zeros that mean "default"
    uint64_t created_commit;
    uint64_t floor; // reads as of an older commit are STRATA_TRIMMED; 0: nothing was trimmed
    struct tree *live;
    struct tree *history;
};

// What the trees refer to in one logical value file, and which physical file holds it.
struct catalog_value {
    uint64_t file; // logical
    struct value_file *in;
    uint64_t stored_bytes;  // raw bytes of its values in `in`
    uint64_t live_bytes;    // of those, referred to by live trees
    uint64_t history_bytes; // and by history trees; together at most stored_bytes
    // The same as table_meta.uses count it: a table that was narrowed counts as a whole.
    uint64_t live_uses, history_uses;
};

struct catalog {
    _Atomic uint64_t refs;
    uint64_t edits;       // since the database was made; the snapshot carries the count on
    uint64_t incarnation; // of the open that wrote last
    uint64_t next_file;   // every file number below was or may have been used
    uint64_t next_run;
    uint64_t next_keyspace;
    uint64_t flushed_commit;    // every commit up to it is in tables
    uint64_t log_first_segment; // recovery reads log segments from this number on
    uint32_t space_count;
    struct catalog_space *spaces; // by number
    size_t second_count;
    struct commit_second *seconds; // ascending, no two within one second of the clock
    uint32_t value_file_count;
    struct value_file **value_files; // physical, finished, by number; held
    uint32_t value_count;
    struct catalog_value *values; // logical, by number
};

// The logical value file, or NULL.
const struct catalog_value *catalog_value_find(const struct catalog *c, uint64_t logical);

void catalog_ref(struct catalog *c);
void catalog_unref(struct catalog *c); // NULL is ignored; not inside an epoch
// Its keyspaces, with their trees, and the flushed commit, and nothing else: for whoever needs
// those for long and should not hold value files that have left.
strata_rc catalog_trees(const struct catalog *c, struct catalog **trees_out) STRATA_MUST_CHECK;
const struct catalog_space *catalog_space_find(const struct catalog *c, uint64_t number);
const struct catalog_space *catalog_space_named(const struct catalog *c, const char *name);

// What changes. Filled by a job, applied all or nothing. Zero-initialise; release after use.
struct edit_table {
    bool add;
    uint64_t keyspace;
    bool history;
    uint32_t level;         // add
    uint64_t run;           // add
    struct table_meta meta; // add: owned by the edit
    uint64_t file;          // remove
    struct table *table;    // add: the open table when the job has it (the edit holds a reference);
                            // NULL: the manifest opens it, or narrows the one that is open already
};

// A value file that comes or leaves. A rewrite takes physical files out and puts one in that holds
// what is left of their logical files, in one edit.
struct edit_value {
    bool add;
    uint64_t keyspace;
    uint64_t file;           // the physical file
    struct value_meta meta;  // add: owned by the edit
    struct value_file *open; // add: the open file when the job has it (the edit holds a reference)
};

struct edit_floor {
    uint64_t keyspace;
    uint64_t floor;
};

struct edit_space {
    bool drop;
    bool alter; // `number` and `options` only
    uint64_t number;
    char *name; // create: owned by the edit
    strata_keyspace_options options;
    uint64_t commit;
};

struct edit {
    uint64_t flushed_commit;                                  // 0: unchanged
    uint64_t log_first_segment;                               // 0: unchanged
    uint64_t next_file, next_run, next_keyspace, incarnation; // 0: unchanged; else they only grow
    struct edit_table *tables;
    size_t table_count, table_capacity;
    struct edit_space *spaces;
    size_t space_count, space_capacity;
    struct commit_second *seconds; // merged with the last one when they continue it
    size_t second_count, second_capacity;
    struct edit_value *values;
    size_t value_count, value_capacity;
    struct edit_floor *floors; // a lesser floor than the keyspace has changes nothing
    size_t floor_count, floor_capacity;
    // Snapshots at the head of a manifest only.
    uint64_t edits;    // how many edits it stands for, in its last part; 0: this is one edit
    bool snapshot_end; // the last part
};

void edit_release(struct edit *e);
// Takes its own copy of meta and, when given, a reference to the table.
strata_rc edit_add_table(struct edit *e, uint64_t keyspace, bool history, uint32_t level,
                         uint64_t run, const struct table_meta *meta,
                         struct table *table) STRATA_MUST_CHECK;
strata_rc edit_remove_table(struct edit *e, uint64_t keyspace, bool history,
                            uint64_t file) STRATA_MUST_CHECK;
strata_rc edit_create_space(struct edit *e, uint64_t number, const char *name,
                            const strata_keyspace_options *options,
                            uint64_t commit) STRATA_MUST_CHECK;
strata_rc edit_drop_space(struct edit *e, uint64_t number, uint64_t commit) STRATA_MUST_CHECK;
strata_rc edit_alter_space(struct edit *e, uint64_t number,
                           const strata_keyspace_options *options) STRATA_MUST_CHECK;
strata_rc edit_set_floor(struct edit *e, uint64_t keyspace, uint64_t floor) STRATA_MUST_CHECK;
// Takes its own copy of meta and, when given, a reference to the file.
strata_rc edit_add_value_file(struct edit *e, const struct value_meta *meta,
                              struct value_file *file) STRATA_MUST_CHECK;
strata_rc edit_remove_value_file(struct edit *e, uint64_t keyspace,
                                 uint64_t file) STRATA_MUST_CHECK;
// Seconds come in the order of their commits. One that lies in the same second of the clock as the
// last only moves the last one's end.
strata_rc edit_add_second(struct edit *e, const struct commit_second *second) STRATA_MUST_CHECK;
// Extends `last` when `next` lies in the same second of the clock; false when it does not.
bool commit_second_merge(struct commit_second *last, const struct commit_second *next);
// Takes out of the edit what belongs to keyspaces that the catalog does not have: a job may end
// after its keyspace was dropped, and then the files that it made go with it. Creations stay.
void edit_leave_out_dropped(struct edit *e, const struct catalog *catalog);
// The replay of a manifest without opening tables. `e` begins empty, takes the parts of the
// snapshot and then each edit, and is always what one snapshot edit of the present state would be.
// STRATA_CORRUPT when `next` does not fit, as in catalog_apply.
strata_rc edit_fold(struct edit *e, const struct edit *next) STRATA_MUST_CHECK;

// The catalog after the edit: keyspaces are created and altered first, then value files leave and
// come, then tables, then keyspaces are dropped, with every table and value file they have. Opens
// added tables that are not open. A file that the edit removes and does not add again is unlinked
// when its last holder lets go (table_delete_at_close, value_file_delete_at_close), but only once
// the caller has called edit_committed, after the edit is durable. STRATA_CORRUPT when the edit
// does not fit: an unknown keyspace or file, a name or number that is taken, tables of a run that
// overlap, a flushed commit that goes back, a table that refers to a logical value file that is not
// there, or one that is in two physical files.
strata_rc catalog_apply(struct catalog *old, const struct edit *e, const struct table_env *env,
                        struct catalog **catalog_out) STRATA_MUST_CHECK;
// The edit is durable and published: marks the files that left for deletion.
void edit_committed(const struct edit *e, const struct catalog *before);

// An empty catalog for a new database: no keyspaces, numbers begin at 1.
strata_rc catalog_new(struct catalog **catalog_out) STRATA_MUST_CHECK;

// ---- the file

struct manifest;

// Reads CURRENT and the manifest it names, replays every whole edit and opens every table; a torn
// last edit is left out, a bad edit before the last is STRATA_CORRUPT. STRATA_NOT_FOUND when there
// is no CURRENT. Verifies that every named file exists with its size. Writes nothing.
strata_rc manifest_load(const struct table_env *env, struct catalog **catalog_out,
                        uint64_t *manifest_number_out) STRATA_MUST_CHECK;

// Reads manifest `number` without opening tables and calls `visit` with each of its edits in order,
// the parts of the snapshot first, until it returns an error. For load, verify, dump and salvage.
struct manifest_facts {
    uint64_t incarnation; // of the open that made the manifest
    uint64_t records;
    uint64_t bytes;      // up to the end of the last whole record
    uint64_t torn_bytes; // behind it, left out
};
strata_rc manifest_read(struct os_dir *dir, uint64_t number,
                        strata_rc (*visit)(void *ctx, const struct edit *e), void *ctx,
                        struct manifest_facts *facts_out) STRATA_MUST_CHECK;
// The number in CURRENT. STRATA_NOT_FOUND when there is no such file.
strata_rc manifest_current(struct os_dir *dir, uint64_t *number_out) STRATA_MUST_CHECK;

// Writes a new manifest that begins with a snapshot of the catalog: sync, directory sync, CURRENT
// by rename, directory sync. `number` is a fresh file number, above every name in the directory (a
// crash may have left files whose numbers no manifest knows). When it fails both manifests must be
// kept: the error is final for the database.
strata_rc manifest_new(struct os_dir *dir, uint64_t number, const struct catalog *catalog,
                       struct manifest **manifest_out) STRATA_MUST_CHECK;
// Appends the edit as one checksummed, chained record and syncs. New tables' names must be durable
// before (directory sync). STRATA_NO_SPACE, NO_MEMORY and TOO_LARGE: nothing of the edit is on
// disk, and others may follow. After any other error the outcome is not known and the manifest is
// dead: every later append is STRATA_READ_ONLY.
strata_rc manifest_append(struct manifest *m, const struct edit *e) STRATA_MUST_CHECK;
uint64_t manifest_bytes(const struct manifest *m);
uint64_t manifest_number(const struct manifest *m);
strata_rc manifest_close(struct manifest *m); // NULL is ignored

// Encodes and decodes one edit; for the file, for verify and for dump.
strata_rc edit_encode(const struct edit *e, struct buffer *to) STRATA_MUST_CHECK;
strata_rc edit_decode(struct slice bytes, struct edit *edit_out) STRATA_MUST_CHECK;

// Resolves zeros of keyspace options to their defaults and checks ranges; STRATA_INVALID names the
// option, what was given and what is allowed. `given` NULL: every default. Only `compression` stays
// STRATA_COMPRESSION_DEFAULT: that is a rule over levels and trees, not one method.
strata_rc keyspace_options_resolve(const strata_keyspace_options *given,
                                   strata_keyspace_options *resolved_out) STRATA_MUST_CHECK;
// Resolved options with the live members that `change` gives (strata_keyspace_alter).
// STRATA_INVALID as above, and for members that are not live.
strata_rc keyspace_options_alter(const strata_keyspace_options *from,
                                 const strata_keyspace_options *change,
                                 strata_keyspace_options *altered_out) STRATA_MUST_CHECK;
// As stored in manifests and in the log (tagged; unknown optional tags are ignored).
strata_rc keyspace_options_encode(const strata_keyspace_options *o,
                                  struct buffer *to) STRATA_MUST_CHECK;
strata_rc keyspace_options_decode(struct slice bytes,
                                  strata_keyspace_options *out) STRATA_MUST_CHECK;

#endif
