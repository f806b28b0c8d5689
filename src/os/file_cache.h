// The open descriptors of the immutable files of one directory, as a cache: of all files that are
// known, at most `limit` are open at a time. A user leases a file's descriptor for the duration of
// a read; it is opened when it is not open, and descriptors that nobody leases are closed to make
// room, those first that were not used lately (a clock).
//
// When more files than the limit are leased at once, more are open until the leases end: a read
// never waits for a descriptor. When the process or the system has none left (EMFILE, ENFILE),
// some that nobody leases are closed and the open is tried once more.
//
// Files are known by name and size. A name must belong to the same file as long as it is known
// here: names are not used twice, and whoever removes the file drops it first.
//
// Thread rule: everything from any thread; os_cached_file_drop after the file's last lease.
#ifndef OS_FILE_CACHE_H
#define OS_FILE_CACHE_H

#include "os/file.h"

#include <stdatomic.h>

struct os_file_cache;

// A file that the cache may open and close; part of its owner, which must not move.
struct os_cached_file {
    const char *name; // the owner's
    uint64_t bytes;
    unsigned flags; // os_open_flags of a file that is read
    // The rest is private to file_cache.c.
    struct os_file *file;   // while it is open
    _Atomic uint32_t state; // leases, and whether it is open
    atomic_bool touched;
    struct os_cached_file *ring_next, *ring_prev;
};

// The directory must outlive the cache. `limit`: at least 1.
strata_rc os_file_cache_new(struct os_dir *dir, size_t limit,
                            struct os_file_cache **cache_out) STRATA_MUST_CHECK;
void os_file_cache_free(struct os_file_cache *c); // NULL is ignored; every file was dropped before

// A file that is not open. `bytes` is its size; `name` must live as long as `f`. `flags`:
// OS_OPEN_READ or OS_OPEN_RANDOM.
void os_cached_file_init(struct os_cached_file *f, const char *name, uint64_t bytes,
                         unsigned flags);
// A descriptor to read from until os_cached_file_return. STRATA_CORRUPT when the file does not
// have its size; otherwise errors as of os_file_open.
strata_rc os_cached_file_lease(struct os_file_cache *c, struct os_cached_file *f,
                               struct os_file **file_out) STRATA_MUST_CHECK;
void os_cached_file_return(struct os_file_cache *c, struct os_cached_file *f);
// Closes the file, if it is open: its owner goes away.
void os_cached_file_drop(struct os_file_cache *c, struct os_cached_file *f);

struct os_file_cache_stats {
    uint64_t limit, open; // `open` counts those that are being opened too
    uint64_t opens, evictions;
};
void os_file_cache_stats(const struct os_file_cache *c, struct os_file_cache_stats *stats_out);

#endif
