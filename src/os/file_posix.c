// Files and directories on Linux.
//
// Rules that every descriptor here obeys:
//   1. It is closed on exec, and is not 0, 1 or 2: a program that closed its standard streams must
//      not print into a database.
//   2. Names are single components below an open directory, and links are not followed. What is
//      opened is a regular file, seen from the descriptor; opening never waits (a pipe would).
//   3. Files that are created have mode 0600 and directories 0700, whatever the umask.
//
// Locks. A lock is an flock on the lock file, which belongs to the open file description: closing
// some other descriptor of the file does not drop it, as it would drop a record lock of fcntl. On
// network file systems flock is imitated with record locks, which one process never refuses to
// itself; so a table of the locks of this process, by device and inode, is asked first. The lock
// file is never removed, since a process that waits at the removed file would hold nothing. It
// holds the number of the process that has the exclusive lock, for people only.
//
// A child made by fork inherits descriptors and the table. It never unlocks (that would take the
// lock from its parent): it only closes.
#include "os/file_posix.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HOLDER_BYTES 64
#define OPEN_TRIES 16

struct posix_file {
    struct os_file file;
    int fd;
};

// An entry of the table of this process's locks; part of the directory that holds the lock.
struct posix_lock {
    struct posix_lock *next;
    dev_t device;
    ino_t inode;
    enum os_lock_mode mode;
    pid_t pid;
    int fd; // -1: not locked
};

struct posix_dir {
    struct os_dir dir;
    int fd;
    struct posix_lock lock;
};

static pthread_mutex_t locks_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct posix_lock *locks_held;

static struct posix_file *posix_file_of(struct os_file *f)
{
    return (struct posix_file *)f;
}

static struct posix_dir *posix_dir_of(struct os_dir *d)
{
    return (struct posix_dir *)d;
}

// ---- descriptors

// Moves a descriptor above 2. Takes a descriptor or -1 with errno; returns one or a negative errno.
static int safe_descriptor(int fd)
{
    if (fd < 0) {
        return -errno;
    }
    if (fd > 2) {
        return fd;
    }
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = errno;
    close(fd);
    return moved < 0 ? -error : moved;
}

static bool posix_plain_name(const char *name)
{
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

// Opens one regular file below a directory; a descriptor or a negative errno.
static int open_regular(int dir_fd, const char *name, int system_flags)
{
    int fd = safe_descriptor(
        openat(dir_fd, name, system_flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, (mode_t)0600));
    if (fd < 0) {
        // ENXIO is a socket, or a pipe without a reader.
        return fd == -ENXIO ? -EISDIR : fd;
    }
    int error = 0;
    struct stat status;
    if (fstat(fd, &status) != 0) {
        error = -errno;
    } else if (!S_ISREG(status.st_mode)) {
        error = -EISDIR;
    } else if ((system_flags & O_EXCL) != 0 && fchmod(fd, 0600) != 0) {
        error = -errno;
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}

// As above with os_open_flags. Creation is always exclusive, so that it is known who sets the mode.
static int open_with_flags(int dir_fd, const char *name, unsigned flags)
{
    if (!posix_plain_name(name)) {
        return -EINVAL;
    }
    int access = (flags & OS_OPEN_WRITE) != 0 ? O_RDWR : O_RDONLY;
    int truncate = (flags & OS_OPEN_TRUNCATE) != 0 ? O_TRUNC : 0;
    int fd = -ENOENT;
    // Each round may lose a race against one that creates or removes the file.
    for (int tries = 0; tries < OPEN_TRIES; tries++) {
        fd = -ENOENT;
        if ((flags & OS_OPEN_EXCLUSIVE) == 0) {
            fd = open_regular(dir_fd, name, access | truncate);
        }
        if (fd != -ENOENT || (flags & OS_OPEN_CREATE) == 0) {
            return fd;
        }
        fd = open_regular(dir_fd, name, access | O_CREAT | O_EXCL);
        if (fd != -EEXIST || (flags & OS_OPEN_EXCLUSIVE) != 0) {
            return fd;
        }
    }
    return fd;
}

// ---- files

static int posix_pread(struct os_file *f, uint64_t offset, void *to, size_t bytes, size_t *done_out)
{
    ssize_t done = pread(posix_file_of(f)->fd, to, bytes, (off_t)offset);
    if (done < 0) {
        return -errno;
    }
    *done_out = (size_t)done;
    return 0;
}

static int posix_pwrite(struct os_file *f, uint64_t offset, const void *from, size_t bytes,
                        size_t *done_out)
{
    ssize_t done = pwrite(posix_file_of(f)->fd, from, bytes, (off_t)offset);
    if (done < 0) {
        return -errno;
    }
    *done_out = (size_t)done;
    return 0;
}

static void posix_will_read(struct os_file *f, uint64_t offset, uint64_t bytes)
{
    // Advice: what cannot be done now is done by the read.
    (void)posix_fadvise(posix_file_of(f)->fd, (off_t)offset, (off_t)bytes, POSIX_FADV_WILLNEED);
}

static int posix_sync(struct os_file *f, bool data_only)
{
    int fd = posix_file_of(f)->fd;
    return (data_only ? fdatasync(fd) : fsync(fd)) == 0 ? 0 : -errno;
}

static int posix_truncate(struct os_file *f, uint64_t bytes)
{
    return ftruncate(posix_file_of(f)->fd, (off_t)bytes) == 0 ? 0 : -errno;
}

static int posix_size(struct os_file *f, uint64_t *bytes_out)
{
    struct stat status;
    if (fstat(posix_file_of(f)->fd, &status) != 0) {
        return -errno;
    }
    *bytes_out = (uint64_t)status.st_size;
    return 0;
}

static int posix_close(struct os_file *f)
{
    // Linux gives the descriptor back whatever close says: to try again could close another's.
    int error = close(posix_file_of(f)->fd) == 0 || errno == EINTR ? 0 : -errno;
    free(f);
    return error;
}

static void posix_map_close(struct os_map *map)
{
    int error = munmap(map->base, map->bytes);
    ASSERT(error == 0);
    free(map);
}

static int posix_map(struct os_file *f, size_t bytes, struct os_map **map_out)
{
    int fd = posix_file_of(f)->fd;
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    // A store behind the end of the file would be a SIGBUS.
    if (bytes == 0 || status.st_size < 0 || (uint64_t)status.st_size < bytes) {
        return -EINVAL;
    }
    struct os_map *map = alloc_zeroed(1, sizeof *map);
    if (map == NULL) {
        return -ENOMEM;
    }
    void *base = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        int error = -errno;
        free(map);
        return error;
    }
    // Both are advice: a log is never read ahead, and a child must not write into it.
    (void)madvise(base, bytes, MADV_RANDOM);
    (void)madvise(base, bytes, MADV_DONTFORK);
    map->base = base;
    map->bytes = bytes;
    map->close = posix_map_close;
    *map_out = map;
    return 0;
}

static const struct os_file_ops posix_file_ops = {
    .pread = posix_pread,
    .pwrite = posix_pwrite,
    .sync = posix_sync,
    .truncate = posix_truncate,
    .size = posix_size,
    .close = posix_close,
    .map = posix_map,
    .will_read = posix_will_read,
};

// ---- directories

static int posix_dir_open_file(struct os_dir *d, const char *name, unsigned flags,
                               struct os_file **file_out)
{
    struct posix_file *f = alloc_zeroed(1, sizeof *f);
    if (f == NULL) {
        return -ENOMEM;
    }
    f->fd = open_with_flags(posix_dir_of(d)->fd, name, flags);
    if (f->fd < 0) {
        int error = f->fd;
        free(f);
        return error;
    }
    if ((flags & OS_OPEN_RANDOM) != 0) {
        (void)posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM); // advice
    }
    f->file.ops = &posix_file_ops;
    snprintf(f->file.name, sizeof f->file.name, "%s", name);
    *file_out = &f->file;
    return 0;
}

static int posix_dir_rename(struct os_dir *d, const char *from, const char *to)
{
    if (!posix_plain_name(from) || !posix_plain_name(to)) {
        return -EINVAL;
    }
    int fd = posix_dir_of(d)->fd;
    return renameat(fd, from, fd, to) == 0 ? 0 : -errno;
}

static int posix_dir_unlink(struct os_dir *d, const char *name)
{
    if (!posix_plain_name(name)) {
        return -EINVAL;
    }
    return unlinkat(posix_dir_of(d)->fd, name, 0) == 0 ? 0 : -errno;
}

static bool entry_is_regular(int dir_fd, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN) {
        return entry->d_type == DT_REG;
    }
    struct stat status;
    return fstatat(dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(status.st_mode);
}

static int posix_dir_list(struct os_dir *d,
                          bool (*visit)(void *ctx, const char *name, bool regular), void *ctx)
{
    // A descriptor of its own: the position in the directory is not shared with other listings.
    int fd = safe_descriptor(
        openat(posix_dir_of(d)->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (fd < 0) {
        return fd;
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        int error = -errno;
        close(fd);
        return error;
    }
    int error = 0;
    for (bool more = true; more;) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            error = -errno;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            more = visit(ctx, entry->d_name, entry_is_regular(fd, entry));
        }
    }
    closedir(stream);
    return error;
}

static int posix_dir_sync(struct os_dir *d)
{
    return fsync(posix_dir_of(d)->fd) == 0 ? 0 : -errno;
}

static int posix_dir_space(struct os_dir *d, uint64_t *free_bytes_out)
{
    struct statvfs status;
    if (fstatvfs(posix_dir_of(d)->fd, &status) != 0) {
        return -errno;
    }
    uint64_t bytes;
    if (__builtin_mul_overflow((uint64_t)status.f_bavail, (uint64_t)status.f_frsize, &bytes)) {
        bytes = UINT64_MAX;
    }
    *free_bytes_out = bytes;
    return 0;
}

static const struct posix_fs {
    uint32_t magic; // as in statfs(2)
    const char *kind;
    bool map_is_good;
} posix_fs_list[] = {
    {0x0000EF53, "ext4", true}, // ext2 and ext3 too
    {0x58465342, "xfs", true},
    {0x01021994, "tmpfs", true},
    // Copy on write: a store into a mapping of synced bytes allocates, and may find the disk full.
    {0x9123683E, "btrfs", false},
    {0x2FC12FC1, "zfs", false},
    {0xCA451A4E, "bcachefs", false},
    {0x794C7630, "overlay", false}, // what is below is not known
    {0xF2F52010, "f2fs", false},
    {0x858458F6, "ramfs", false},
    {0x65735546, "fuse", false},
    {0x01021997, "9p", false},
    {0x00006969, "nfs", false},
    {0xFF534D42, "cifs", false},
    {0xFE534D42, "smb2", false},
    {0x00C36400, "ceph", false},
};

static void posix_dir_facts(struct os_dir *d, struct os_fs_facts *facts_out)
{
    memset(facts_out, 0, sizeof *facts_out);
    struct statfs status;
    if (fstatfs(posix_dir_of(d)->fd, &status) != 0) {
        snprintf(facts_out->kind, sizeof facts_out->kind, "unknown");
        return;
    }
    uint32_t magic = (uint32_t)status.f_type;
    for (size_t i = 0; i < sizeof posix_fs_list / sizeof posix_fs_list[0]; i++) {
        if (posix_fs_list[i].magic == magic) {
            snprintf(facts_out->kind, sizeof facts_out->kind, "%s", posix_fs_list[i].kind);
            facts_out->map_is_good = posix_fs_list[i].map_is_good;
            return;
        }
    }
    snprintf(facts_out->kind, sizeof facts_out->kind, "0x%x", magic);
}

// ---- the lock

static void holder_is(char *holder_out, pid_t pid)
{
    if (pid == getpid()) {
        snprintf(holder_out, HOLDER_BYTES, "this process (%ld)", (long)pid);
    } else {
        snprintf(holder_out, HOLDER_BYTES, "process %ld", (long)pid);
    }
}

// Who has the lock, as the lock file says. A number that no living process has was left by one that
// was killed: then readers hold the lock now, and they do not write their names.
static void holder_from_file(int fd, char *holder_out)
{
    char text[24] = "";
    long pid = 0;
    if (pread(fd, text, sizeof text - 1, 0) > 0) {
        pid = strtol(text, NULL, 10);
    }
    if (pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM)) {
        holder_is(holder_out, (pid_t)pid);
    } else {
        snprintf(holder_out, HOLDER_BYTES, "another process");
    }
}

// Best effort: the text is for people.
static void write_holder(int fd, pid_t pid)
{
    char text[24];
    int bytes = snprintf(text, sizeof text, "%ld\n", (long)pid);
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)bytes, 0) != bytes) {
        return;
    }
}

static struct posix_lock *find_conflict(const struct stat *status, enum os_lock_mode mode)
{
    for (struct posix_lock *held = locks_held; held != NULL; held = held->next) {
        if (held->device == status->st_dev && held->inode == status->st_ino &&
            (held->mode == OS_LOCK_EXCLUSIVE || mode == OS_LOCK_EXCLUSIVE)) {
            return held;
        }
    }
    return NULL;
}

// With locks_mutex held. Takes over fd only when it returns 0.
static int lock_descriptor_locked(struct posix_lock *lock, int fd, enum os_lock_mode mode,
                                  char *holder_out)
{
    struct stat status;
    if (fstat(fd, &status) != 0) {
        return -errno;
    }
    const struct posix_lock *conflict = find_conflict(&status, mode);
    if (conflict != NULL) {
        holder_is(holder_out, conflict->pid);
        return -EWOULDBLOCK;
    }
    if (flock(fd, (mode == OS_LOCK_EXCLUSIVE ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0) {
        int error = -errno;
        if (error == -EWOULDBLOCK) {
            holder_from_file(fd, holder_out);
        }
        return error;
    }
    lock->device = status.st_dev;
    lock->inode = status.st_ino;
    lock->mode = mode;
    lock->pid = getpid();
    lock->fd = fd;
    lock->next = locks_held;
    locks_held = lock;
    if (mode == OS_LOCK_EXCLUSIVE) {
        write_holder(fd, lock->pid);
    }
    return 0;
}

static int posix_dir_lock(struct os_dir *d, const char *name, enum os_lock_mode mode,
                          char *holder_out)
{
    struct posix_dir *pd = posix_dir_of(d);
    ASSERT(pd->lock.fd < 0);
    holder_out[0] = '\0';
    unsigned flags = mode == OS_LOCK_EXCLUSIVE ? OS_OPEN_WRITE | OS_OPEN_CREATE : OS_OPEN_READ;
    int fd = open_with_flags(pd->fd, name, flags);
    if (fd < 0) {
        return fd;
    }
    pthread_mutex_lock(&locks_mutex);
    int error = lock_descriptor_locked(&pd->lock, fd, mode, holder_out);
    pthread_mutex_unlock(&locks_mutex);
    if (error != 0) {
        close(fd);
    }
    return error;
}

static void give_lock_back(struct posix_lock *lock)
{
    pthread_mutex_lock(&locks_mutex);
    struct posix_lock **at = &locks_held;
    while (*at != lock) {
        ASSERT(*at != NULL);
        at = &(*at)->next;
    }
    *at = lock->next;
    if (lock->pid == getpid()) {
        if (lock->mode == OS_LOCK_EXCLUSIVE && ftruncate(lock->fd, 0) != 0) {
            errno = 0; // the number stays behind, of a process that will be gone
        }
        // A child that still has the descriptor must not keep the lock.
        flock(lock->fd, LOCK_UN);
    }
    close(lock->fd);
    lock->fd = -1;
    pthread_mutex_unlock(&locks_mutex);
}

static void posix_dir_close(struct os_dir *d)
{
    struct posix_dir *pd = posix_dir_of(d);
    if (pd->lock.fd >= 0) {
        give_lock_back(&pd->lock);
    }
    close(pd->fd);
    free(pd);
}

static const struct os_dir_ops posix_dir_ops = {
    .open = posix_dir_open_file,
    .rename = posix_dir_rename,
    .unlink = posix_dir_unlink,
    .list = posix_dir_list,
    .sync = posix_dir_sync,
    .lock = posix_dir_lock,
    .space = posix_dir_space,
    .facts = posix_dir_facts,
    .close = posix_dir_close,
};

// ---- opening a directory

// Makes the directory's own name durable. Also for one that is there already: whoever made it may
// have died before its sync.
static int sync_parent(int dir_fd)
{
    int parent =
        safe_descriptor(openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (parent == -EACCES) {
        // A parent that may be written but not read: sync the file system that holds both.
        return syncfs(dir_fd) == 0 ? 0 : -errno;
    }
    if (parent < 0) {
        return parent;
    }
    int error = fsync(parent) == 0 ? 0 : -errno;
    close(parent);
    // Some file systems cannot sync a directory, and do not need to.
    return error == -EINVAL || error == -EROFS ? 0 : error;
}

// A descriptor, or a negative errno.
static int open_or_make_dir(const char *path, bool create)
{
    bool made = false;
    if (create) {
        made = mkdir(path, 0700) == 0;
        if (!made && errno != EEXIST) {
            return -errno;
        }
    }
    int fd = safe_descriptor(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0 || !create) {
        return fd;
    }
    int error = made && fchmod(fd, 0700) != 0 ? -errno : sync_parent(fd);
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}

strata_rc os_dir_open_posix(const char *path, bool create, struct os_dir **dir_out)
{
    *dir_out = NULL;
    struct posix_dir *pd = alloc_zeroed(1, sizeof *pd);
    if (pd == NULL) {
        return alloc_failed("a directory handle", sizeof *pd);
    }
    pd->fd = open_or_make_dir(path, create);
    if (pd->fd < 0) {
        int error = -pd->fd;
        free(pd);
        if (error == ENOENT) {
            return fail(STRATA_NOT_FOUND, "there is no directory %s", path);
        }
        if (error == ENOTDIR) {
            return fail(STRATA_INVALID, "%s is not a directory", path);
        }
        return fail_errno(error, create ? "create directory" : "open directory", path);
    }
    pd->dir.ops = &posix_dir_ops;
    pd->lock.fd = -1;
    snprintf(pd->dir.path, sizeof pd->dir.path, "%s", path);
    *dir_out = &pd->dir;
    return STRATA_OK;
}
