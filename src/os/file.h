// Files and directories as the engine sees them: an interface with a POSIX implementation
// (file_posix.c) and a simulated disk in the tests (tests/sim). All names are relative to an open
// directory; nothing above this layer ever sees a path.
//
// The wrappers below are what the engine calls: they loop over short transfers, treat a transfer of
// 0 bytes as an error, and give errors their text. The ops are what an implementation provides; an
// op may transfer fewer bytes than asked, and returns 0 or a negative errno.
//
// Thread rule: pread, pwrite and sync of one file may run at once in several threads; a directory's
// ops may too. close only when no other call is running.
#ifndef OS_FILE_H
#define OS_FILE_H

#include "base/slice.h"
#include "strata.h"

struct os_file;
struct os_dir;
struct os_map;

enum os_open_flags {
    OS_OPEN_READ = 0,            // must exist, be a regular file, and not be a link
    OS_OPEN_WRITE = 1u << 0,     // read and write
    OS_OPEN_CREATE = 1u << 1,    // with WRITE: create if absent, mode 0600
    OS_OPEN_EXCLUSIVE = 1u << 2, // with CREATE: fail (EEXIST) if present
    OS_OPEN_TRUNCATE = 1u << 3,  // with WRITE: empty it
    OS_OPEN_RANDOM = 1u << 4,    // small reads anywhere: the system shall not read ahead unasked
};

enum os_lock_mode { OS_LOCK_SHARED = 1, OS_LOCK_EXCLUSIVE = 2 };

struct os_file_ops {
    int (*pread)(struct os_file *f, uint64_t offset, void *to, size_t bytes, size_t *done_out);
    int (*pwrite)(struct os_file *f, uint64_t offset, const void *from, size_t bytes,
                  size_t *done_out);
    int (*sync)(struct os_file *f, bool data_only); // fdatasync or fsync
    int (*truncate)(struct os_file *f, uint64_t bytes);
    int (*size)(struct os_file *f, uint64_t *bytes_out);
    int (*close)(struct os_file *f); // frees f whatever it returns
    // Maps the whole file, which has `bytes` bytes, shared and writable.
    int (*map)(struct os_file *f, size_t bytes, struct os_map **map_out);
    // Begins to bring these bytes into the system's cache and returns; advice, may be NULL.
    void (*will_read)(struct os_file *f, uint64_t offset, uint64_t bytes);
};

struct os_file {
    const struct os_file_ops *ops;
    char name[64]; // for error texts
};

// A shared mapping of a log file. Stores go through os_map_store so that a simulated disk sees
// each.
struct os_map {
    uint8_t *base;
    size_t bytes;
    // NULL for a real mapping; a simulated disk is told before a store is made.
    void (*before_store)(struct os_map *map, size_t offset, const void *from, size_t bytes);
    void (*close)(struct os_map *map); // unmaps and frees; before the file's close
};

static inline void os_map_store(struct os_map *map, size_t offset, const void *from, size_t bytes)
{
    if (__builtin_expect(map->before_store != NULL, 0)) {
        map->before_store(map, offset, from, bytes);
    }
    memcpy(map->base + offset, from, bytes);
}

// What the log wants to know about a directory's file system.
struct os_fs_facts {
    char kind[16];    // "ext4", "xfs", "tmpfs", "overlay", "sim" ... or "0x1234" when unknown
    bool map_is_good; // on the list of file systems whose shared mappings are safe and cheap
};

struct os_dir_ops {
    // -ELOOP for a link, -EISDIR for anything else that is not a regular file.
    int (*open)(struct os_dir *d, const char *name, unsigned flags, struct os_file **file_out);
    int (*rename)(struct os_dir *d, const char *from, const char *to);
    int (*unlink)(struct os_dir *d, const char *name);
    // Calls visit for every entry but "." and "..", until it returns false; `regular` says that it
    // is a regular file.
    int (*list)(struct os_dir *d, bool (*visit)(void *ctx, const char *name, bool regular),
                void *ctx);
    int (*sync)(struct os_dir *d);
    // Takes the lock file `name` (created if absent and mode is exclusive). -EWOULDBLOCK when held;
    // holder_out (64 bytes) then says by whom, as far as known ("process 4711").
    int (*lock)(struct os_dir *d, const char *name, enum os_lock_mode mode, char *holder_out);
    int (*space)(struct os_dir *d, uint64_t *free_bytes_out);
    void (*facts)(struct os_dir *d, struct os_fs_facts *facts_out);
    void (*close)(struct os_dir *d); // gives the lock back and frees d
};

struct os_dir {
    const struct os_dir_ops *ops;
    char path[256]; // for error texts, cut if longer
};

// ---- what the engine calls

// STRATA_IO when there is no such file or, with EXCLUSIVE, when there is one; STRATA_CORRUPT when
// it is not a regular file.
strata_rc os_file_open(struct os_dir *d, const char *name, unsigned flags,
                       struct os_file **file_out) STRATA_MUST_CHECK;
// The same, and *errno_out says why the system refused; 0 when it did not.
strata_rc os_file_open_errno(struct os_dir *d, const char *name, unsigned flags,
                             struct os_file **file_out, int *errno_out) STRATA_MUST_CHECK;
// STRATA_NOT_FOUND (no error text) when there is no such file.
strata_rc os_file_open_if_there(struct os_dir *d, const char *name, unsigned flags,
                                struct os_file **file_out) STRATA_MUST_CHECK;
// All `bytes` or an error; a file that ends before is STRATA_CORRUPT.
strata_rc os_file_read(struct os_file *f, uint64_t offset, void *to,
                       size_t bytes) STRATA_MUST_CHECK;
// As much as there is, *done_out bytes; 0 at the end of the file.
strata_rc os_file_read_some(struct os_file *f, uint64_t offset, void *to, size_t bytes,
                            size_t *done_out) STRATA_MUST_CHECK;
// These bytes will be read soon: the device starts now, the call does not wait for it. Whoever has
// many reads to make tells of them first, so that they are in flight together.
static inline void os_file_will_read(struct os_file *f, uint64_t offset, uint64_t bytes)
{
    if (f->ops->will_read != NULL) {
        f->ops->will_read(f, offset, bytes);
    }
}
strata_rc os_file_write(struct os_file *f, uint64_t offset, const void *from,
                        size_t bytes) STRATA_MUST_CHECK;
strata_rc os_file_sync(struct os_file *f, bool data_only) STRATA_MUST_CHECK;
strata_rc os_file_truncate(struct os_file *f, uint64_t bytes) STRATA_MUST_CHECK;
strata_rc os_file_size(struct os_file *f, uint64_t *bytes_out) STRATA_MUST_CHECK;
strata_rc os_file_map(struct os_file *f, size_t bytes, struct os_map **map_out) STRATA_MUST_CHECK;
// NULL is ignored. The error of a close matters only for files that were written.
strata_rc os_file_close(struct os_file *f);

strata_rc os_dir_rename(struct os_dir *d, const char *from, const char *to) STRATA_MUST_CHECK;
// A file that is not there is success.
strata_rc os_dir_unlink(struct os_dir *d, const char *name) STRATA_MUST_CHECK;
strata_rc os_dir_list(struct os_dir *d, bool (*visit)(void *ctx, const char *name, bool regular),
                      void *ctx) STRATA_MUST_CHECK;
strata_rc os_dir_sync(struct os_dir *d) STRATA_MUST_CHECK;
// STRATA_LOCKED, with the holder in the text, when it is held elsewhere. A shared lock does not
// make its file: STRATA_NOT_FOUND when there is none.
strata_rc os_dir_lock(struct os_dir *d, const char *name, enum os_lock_mode mode) STRATA_MUST_CHECK;
strata_rc os_dir_space(struct os_dir *d, uint64_t *free_bytes_out) STRATA_MUST_CHECK;
void os_dir_facts(struct os_dir *d, struct os_fs_facts *facts_out);
void os_dir_close(struct os_dir *d); // NULL is ignored

#endif
