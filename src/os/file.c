#include "os/file.h"

#include "base/assert.h"
#include "base/fail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

// A transfer that is interrupted without any progress this many times in a row is an error: a loop
// in the engine has a bound.
#define INTERRUPTS_MAX 1000

// ---- texts

static strata_rc transfer_failed(const struct os_file *f, int error, const char *verb,
                                 uint64_t offset, size_t bytes)
{
    char what[96];
    snprintf(what, sizeof what, "%s %zu bytes at offset %" PRIu64 " of", verb, bytes, offset);
    return fail_errno(error, what, f->name);
}

static strata_rc entry_failed(const struct os_dir *d, int error, const char *what, const char *name)
{
    char path[sizeof d->path + 80];
    snprintf(path, sizeof path, "%s/%.72s", d->path, name);
    if (error == ELOOP || error == EISDIR) {
        return fail(STRATA_CORRUPT, "%s %s: not a regular file", what, path);
    }
    return fail_errno(error, what, path);
}

// ---- files

// 0 or a negative errno.
static int file_open_raw(struct os_dir *d, const char *name, unsigned flags,
                         struct os_file **file_out)
{
    ASSERT((flags & OS_OPEN_WRITE) != 0 || (flags & ~(unsigned)OS_OPEN_RANDOM) == OS_OPEN_READ);
    ASSERT((flags & OS_OPEN_CREATE) != 0 || (flags & OS_OPEN_EXCLUSIVE) == 0);
    *file_out = NULL;
    int error = -EINTR;
    for (int tries = 0; error == -EINTR && tries < INTERRUPTS_MAX; tries++) {
        error = d->ops->open(d, name, flags, file_out);
    }
    ASSERT(error != 0 || *file_out != NULL);
    if (error != 0) {
        *file_out = NULL;
    }
    return error;
}

static strata_rc file_open_failed(const struct os_dir *d, const char *name, unsigned flags,
                                  int error)
{
    return entry_failed(d, -error, (flags & OS_OPEN_CREATE) != 0 ? "create" : "open", name);
}

strata_rc os_file_open_errno(struct os_dir *d, const char *name, unsigned flags,
                             struct os_file **file_out, int *errno_out)
{
    int error = file_open_raw(d, name, flags, file_out);
    *errno_out = -error;
    return error == 0 ? STRATA_OK : file_open_failed(d, name, flags, error);
}

strata_rc os_file_open(struct os_dir *d, const char *name, unsigned flags,
                       struct os_file **file_out)
{
    int error;
    return os_file_open_errno(d, name, flags, file_out, &error);
}

strata_rc os_file_open_if_there(struct os_dir *d, const char *name, unsigned flags,
                                struct os_file **file_out)
{
    int error = file_open_raw(d, name, flags, file_out);
    if (error == -ENOENT) {
        return STRATA_NOT_FOUND;
    }
    return error == 0 ? STRATA_OK : file_open_failed(d, name, flags, error);
}

strata_rc os_file_read_some(struct os_file *f, uint64_t offset, void *to, size_t bytes,
                            size_t *done_out)
{
    *done_out = 0;
    // Offsets may come from a damaged file: no file reaches beyond INT64_MAX.
    if (offset > INT64_MAX || bytes > INT64_MAX - offset) {
        return STRATA_OK;
    }
    size_t done = 0;
    int interrupts = 0;
    while (done < bytes) {
        size_t now = 0;
        int error = f->ops->pread(f, offset + done, (uint8_t *)to + done, bytes - done, &now);
        if (error == -EINTR && ++interrupts < INTERRUPTS_MAX) {
            continue;
        }
        if (error != 0) {
            return transfer_failed(f, -error, "read", offset + done, bytes - done);
        }
        if (now == 0) {
            break;
        }
        ASSERT(now <= bytes - done);
        interrupts = 0;
        done += now;
    }
    *done_out = done;
    return STRATA_OK;
}

strata_rc os_file_read(struct os_file *f, uint64_t offset, void *to, size_t bytes)
{
    size_t done;
    strata_rc rc = os_file_read_some(f, offset, to, bytes, &done);
    if (rc == STRATA_OK && done < bytes) {
        rc = fail(STRATA_CORRUPT,
                  "%s ends too early: %zu bytes expected at offset %" PRIu64 ", %zu found", f->name,
                  bytes, offset, done);
    }
    return rc;
}

strata_rc os_file_write(struct os_file *f, uint64_t offset, const void *from, size_t bytes)
{
    ASSERT(offset <= INT64_MAX && bytes <= INT64_MAX - offset);
    size_t done = 0;
    int interrupts = 0;
    while (done < bytes) {
        size_t now = 0;
        int error =
            f->ops->pwrite(f, offset + done, (const uint8_t *)from + done, bytes - done, &now);
        if (error == -EINTR && ++interrupts < INTERRUPTS_MAX) {
            continue;
        }
        if (error == 0 && now == 0) {
            return fail(STRATA_IO, "write %zu bytes at offset %" PRIu64 " of %s: no progress",
                        bytes - done, offset + done, f->name);
        }
        if (error != 0) {
            return transfer_failed(f, -error, "write", offset + done, bytes - done);
        }
        ASSERT(now <= bytes - done);
        interrupts = 0;
        done += now;
    }
    return STRATA_OK;
}

strata_rc os_file_sync(struct os_file *f, bool data_only)
{
    // Resumed only when it was interrupted, which reports nothing. After any other error a second
    // sync may succeed without the lost pages.
    int error = -EINTR;
    for (int tries = 0; error == -EINTR && tries < INTERRUPTS_MAX; tries++) {
        error = f->ops->sync(f, data_only);
    }
    return error == 0 ? STRATA_OK : fail_errno(-error, "sync", f->name);
}

strata_rc os_file_truncate(struct os_file *f, uint64_t bytes)
{
    ASSERT(bytes <= INT64_MAX);
    int error = -EINTR;
    for (int tries = 0; error == -EINTR && tries < INTERRUPTS_MAX; tries++) {
        error = f->ops->truncate(f, bytes);
    }
    if (error != 0) {
        char what[64];
        snprintf(what, sizeof what, "truncate to %" PRIu64 " bytes", bytes);
        return fail_errno(-error, what, f->name);
    }
    return STRATA_OK;
}

strata_rc os_file_size(struct os_file *f, uint64_t *bytes_out)
{
    *bytes_out = 0;
    int error = f->ops->size(f, bytes_out);
    return error == 0 ? STRATA_OK : fail_errno(-error, "stat", f->name);
}

strata_rc os_file_map(struct os_file *f, size_t bytes, struct os_map **map_out)
{
    ASSERT(bytes > 0);
    *map_out = NULL;
    int error = f->ops->map(f, bytes, map_out);
    if (error != 0) {
        *map_out = NULL;
        return fail_errno(-error, "map", f->name);
    }
    ASSERT(*map_out != NULL && (*map_out)->bytes == bytes);
    return STRATA_OK;
}

strata_rc os_file_close(struct os_file *f)
{
    if (f == NULL) {
        return STRATA_OK;
    }
    char name[sizeof f->name];
    memcpy(name, f->name, sizeof name);
    int error = f->ops->close(f);
    return error == 0 ? STRATA_OK : fail_errno(-error, "close", name);
}

// ---- directories

strata_rc os_dir_rename(struct os_dir *d, const char *from, const char *to)
{
    int error = d->ops->rename(d, from, to);
    if (error != 0) {
        char what[96];
        snprintf(what, sizeof what, "rename %.72s to", from);
        return entry_failed(d, -error, what, to);
    }
    return STRATA_OK;
}

strata_rc os_dir_unlink(struct os_dir *d, const char *name)
{
    int error = d->ops->unlink(d, name);
    if (error != 0 && error != -ENOENT) {
        return entry_failed(d, -error, "remove", name);
    }
    return STRATA_OK;
}

strata_rc os_dir_list(struct os_dir *d, bool (*visit)(void *ctx, const char *name, bool regular),
                      void *ctx)
{
    int error = d->ops->list(d, visit, ctx);
    return error == 0 ? STRATA_OK : fail_errno(-error, "list directory", d->path);
}

strata_rc os_dir_sync(struct os_dir *d)
{
    int error = -EINTR;
    for (int tries = 0; error == -EINTR && tries < INTERRUPTS_MAX; tries++) {
        error = d->ops->sync(d);
    }
    return error == 0 ? STRATA_OK : fail_errno(-error, "sync directory", d->path);
}

strata_rc os_dir_lock(struct os_dir *d, const char *name, enum os_lock_mode mode)
{
    ASSERT(mode == OS_LOCK_SHARED || mode == OS_LOCK_EXCLUSIVE);
    char holder[64] = "";
    int error = d->ops->lock(d, name, mode, holder);
    if (error == -EWOULDBLOCK) {
        return fail(STRATA_LOCKED, "%s is in use by %s", d->path,
                    holder[0] != '\0' ? holder : "another process");
    }
    if (error == -ENOENT && mode == OS_LOCK_SHARED) {
        return fail(STRATA_NOT_FOUND, "%s has no file %s: it holds no database, or not all of one",
                    d->path, name);
    }
    return error == 0 ? STRATA_OK : entry_failed(d, -error, "lock", name);
}

strata_rc os_dir_space(struct os_dir *d, uint64_t *free_bytes_out)
{
    *free_bytes_out = 0;
    int error = d->ops->space(d, free_bytes_out);
    return error == 0 ? STRATA_OK : fail_errno(-error, "ask free space of", d->path);
}

void os_dir_facts(struct os_dir *d, struct os_fs_facts *facts_out)
{
    d->ops->facts(d, facts_out);
}

void os_dir_close(struct os_dir *d)
{
    if (d != NULL) {
        d->ops->close(d);
    }
}
