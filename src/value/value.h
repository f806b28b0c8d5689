// Value files: separated values, written once on the way in (WiscKey: L. Lu et al., FAST 2016). The
// layout of a file is at the head of value_format.c.
//
// A *logical* file is a number that references name (kv/value_ref.h); a *physical* file is what
// lies in the directory. A file is born as both under one number. A rewrite makes a new physical
// file that holds the values of one or more logical files that are still referenced, under their
// old ordinals: no reference changes.
//
// A file is being written, then finished: an index from (logical file, ordinal) to offset is put
// behind its values, and from then on it never changes. Only finished files are named by the
// manifest. One object serves a file through both states; it is counted, and is read by any thread
// while it is being written.
//
// Thread rule: everything from any thread, but value_file_finish and value_file_recover_*: one
// thread, and no append may be running or follow. No function here may be called in an epoch, but
// value_file_ref.
#ifndef VALUE_VALUE_H
#define VALUE_VALUE_H

#include "cache/cache.h"
#include "kv/value_ref.h"
#include "os/file_cache.h"

struct value_file;

// What values are made of; of a table's environment.
struct value_env {
    struct os_dir *dir;
    struct cache *cache;
    struct os_memory *memory;
    struct os_file_cache *files; // of `dir`: a finished file has a descriptor only while it is read
};

// A logical file within a physical one.
struct value_logical {
    uint64_t file;
    uint64_t records;   // chunks stored
    uint64_t raw_bytes; // of values, before compression
};

// What the manifest keeps of a finished file.
struct value_meta {
    uint64_t file;  // number of the physical file, in its name
    uint64_t bytes; // of the file
    uint64_t keyspace;
    struct value_logical *logicals; // ascending by file
    uint32_t logical_count;
};
strata_rc value_meta_copy(const struct value_meta *from,
                          struct value_meta *to_out) STRATA_MUST_CHECK;
void value_meta_release(struct value_meta *m);

// ---- writing on the way in

// Creates the file, which must not exist, as logical and physical file `number`.
strata_rc value_file_new(const struct value_env *env, uint64_t number, uint64_t keyspace,
                         uint64_t incarnation, struct value_file **file_out) STRATA_MUST_CHECK;

struct value_place {
    struct kv_value_ref ref;
    uint64_t offset; // of the first chunk
};
// Stores a value of at least one byte, all its chunks: a reservation under a short lock, then
// writes outside of it. When it returns the bytes survive the death of the process. After an error
// nothing refers to what was written, and value_file_is_full is true: the next value goes to
// another file. (STRATA_BUSY: the file cannot take any more, by far; another one can.) A value of
// several chunks keeps others from being appended meanwhile, but not from being read or synced.
strata_rc value_file_append(struct value_file *f, struct slice value,
                            strata_compression compression,
                            struct value_place *place_out) STRATA_MUST_CHECK;
// For a value that comes in pieces, into a file of its own: one chunk at a time, in order, each but
// the last of KV_VALUE_CHUNK_BYTES. The caller makes the reference: ordinals from the first's on.
strata_rc value_file_append_chunk(struct value_file *f, struct slice chunk,
                                  strata_compression compression,
                                  struct value_place *place_out) STRATA_MUST_CHECK;
// Should the next value go to another file? At 64 MiB, or after a failed append.
bool value_file_is_full(const struct value_file *f);
// Bytes reserved so far.
uint64_t value_file_bytes(const struct value_file *f);
uint64_t value_file_keyspace(const struct value_file *f);
// Puts every append that returned before the call on disk, with the file's name. Cheap when there
// is nothing to do. Calls are joined. After a failed sync it fails for ever
// (STRATA_UNKNOWN_OUTCOME).
strata_rc value_file_sync(struct value_file *f) STRATA_MUST_CHECK;
// Syncs, writes the index behind the values, syncs again. Nothing to do when it is finished
// already.
strata_rc value_file_finish(struct value_file *f) STRATA_MUST_CHECK;
// The same for a file to which nothing refers yet, and will only after this has succeeded: when the
// log refers to it, it is known to be on disk, and recovery has no need to write it anew.
strata_rc value_file_finish_alone(struct value_file *f) STRATA_MUST_CHECK;
bool value_file_is_finished(const struct value_file *f);

// ---- recovery of files that the log refers to

// Opens a file that the manifest does not name. A valid index makes it finished. Without one
// nothing of it counts before value_file_recover_add. STRATA_NOT_FOUND: there is no such file, or
// its header is not good: then no value of it was ever synced, and every commit that refers to it
// is missing.
strata_rc value_file_recover(const struct value_env *env, uint64_t number,
                             struct value_file **file_out) STRATA_MUST_CHECK;
// The log refers to a value. Unfinished: reads and verifies all its chunks from `offset` on, and
// takes them into the index. Finished: they must be in the index. STRATA_NOT_FOUND when a chunk is
// not there, torn or bad: the commit is missing.
strata_rc value_file_recover_add(struct value_file *f, const struct kv_value_ref *ref,
                                 uint64_t offset) STRATA_MUST_CHECK;
// value_file_finish is then called on it, also when it was found finished: it is written anew under
// its name, without what lies behind the last value that was taken; unless it was finished by
// value_file_finish_alone. (Not for a read-only open.)

// ---- finished files

// Opens a file that the manifest names: checks its size and header; the index is read with the
// first value. STRATA_CORRUPT when it is not what the meta says.
strata_rc value_file_open(const struct value_env *env, const struct value_meta *meta,
                          struct value_file **file_out) STRATA_MUST_CHECK;
const struct value_meta *value_file_meta(const struct value_file *f); // finished only

void value_file_ref(struct value_file *f); // also in an epoch
// NULL is ignored. At the last one the file is closed, and removed when value_file_delete_at_close
// was called. Not in an epoch.
void value_file_unref(struct value_file *f);
void value_file_delete_at_close(struct value_file *f);

// ---- reading

// Reads `bytes` bytes from `offset` of the value, which must lie inside of it, and verifies the
// chunks they lie in. A value of one chunk is read with one request. STRATA_CORRUPT, with file and
// offset, when the value is not what was written or not there.
strata_rc value_file_read(struct value_file *f, const struct kv_value_ref *ref, uint64_t offset,
                          void *to, size_t bytes) STRATA_MUST_CHECK;

// Many values at once, with their requests in flight together. `to` has room for ref.bytes.
struct value_read {
    struct value_file *file;
    struct kv_value_ref ref;
    void *to;
    strata_rc rc; // its outcome
    bool begun;   // value_will_read was called for it
};
// The first outcome that is not STRATA_OK, else STRATA_OK. Values that lie next to each other are
// read with one request.
strata_rc value_read_many(struct value_read *reads, size_t count) STRATA_MUST_CHECK;
// These values will be read soon: their requests are started, and nothing is waited for but what
// finds the values (index blocks that are not in memory). `to` and `rc` are not looked at. For
// whoever works through one batch while the device fetches the next: will_read(next),
// read_many(present), and so on. To read without it, or not to read after it, is no error.
void value_will_read(const struct value_read *reads, size_t count);

// ---- rewriting

// A new physical file in the making, from chunks of finished files. Not seen by readers before it
// is opened by value_writer_finish.
struct value_writer;
strata_rc value_writer_new(const struct value_env *env, uint64_t number, uint64_t keyspace,
                           uint64_t incarnation,
                           struct value_writer **writer_out) STRATA_MUST_CHECK;
// Takes over `chunks` chunks of a logical file, from `ordinal` on, verified under the old place and
// written under the new. Any order of ordinals; the same one only once.
strata_rc value_writer_copy(struct value_writer *w, struct value_file *from, uint64_t logical,
                            uint32_t ordinal, uint32_t chunks) STRATA_MUST_CHECK;
// These chunks (of the first MiB of them) will be copied, in the order of these calls, and `from`
// lives as long as the writer: their requests are started. What lies close together becomes one
// request, so the last ones told of may still wait for more.
void value_writer_will_copy(struct value_writer *w, struct value_file *from, uint64_t logical,
                            uint32_t ordinal, uint32_t chunks);
uint64_t value_writer_bytes(const struct value_writer *w);
// Writes the index, syncs, frees the writer whatever is returned, and opens the file. On failure it
// is removed. Its name is durable after a directory sync, which is the caller's.
strata_rc value_writer_finish(struct value_writer *w,
                              struct value_file **file_out) STRATA_MUST_CHECK;
void value_writer_abandon(struct value_writer *w); // removes the file, frees. NULL is ignored

// Reads every byte of a finished file and checks every checksum and the index against the records.
// The text of each fault goes to `fault`; STRATA_CORRUPT when there was any. The ordinals of
// a logical file are reported to `visit` (may be NULL), ascending.
strata_rc value_file_verify(struct value_file *f, void (*fault)(void *ctx, const char *text),
                            void (*visit)(void *ctx, uint64_t logical, uint32_t ordinal),
                            void *ctx) STRATA_MUST_CHECK;
// Is this chunk in the finished file's index?
strata_rc value_file_holds(struct value_file *f, uint64_t logical, uint32_t ordinal,
                           bool *holds_out) STRATA_MUST_CHECK;

#endif
