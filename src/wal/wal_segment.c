// The files of the log.
//
// A segment is written in full before its first use, so that a sync of records never has to write
// metadata, and no record can meet a full disk. The zeros are written in pieces of 4 KiB: a larger
// write makes the page cache use large folios, and then a store through the mapping dirties, and a
// sync writes, the whole folio instead of one page.
#include "wal/wal_private.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/file_name.h"

// Numbers that are tried before a directory full of foreign names is given up.
#define WAL_NUMBER_TRIES_MAX 1000

static const uint8_t wal_zero_page[WAL_PAGE_BYTES];

static struct wal_segment *wal_segment_new(const struct wal_config *config, uint64_t number,
                                           uint64_t bytes)
{
    struct wal_segment *s = alloc_zeroed(1, sizeof *s);
    if (s != NULL) {
        s->number = number;
        s->bytes = bytes;
        s->seed = wal_segment_seed(config->incarnation, number);
    }
    return s;
}

// A number whose name is free, and the name. What is there under a name is not ours to overwrite.
static strata_rc wal_segment_name(const struct wal_config *config, uint64_t *number_out,
                                  char name[FILE_NAME_BYTES])
{
    for (int tries = 0; tries < WAL_NUMBER_TRIES_MAX; tries++) {
        *number_out = config->new_file_number(config->ctx);
        file_name_make(name, FILE_LOG, *number_out);
        struct os_file *present = NULL;
        strata_rc rc = os_file_open_if_there(config->dir, name, OS_OPEN_READ, &present);
        if (rc == STRATA_OK) {
            rc = os_file_close(present);
        } else if (rc == STRATA_NOT_FOUND) {
            return STRATA_OK;
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return fail(STRATA_IO, "%s: no free name for a log segment", config->dir->path);
}

strata_rc wal_segment_create(const struct wal_config *config, uint64_t bytes,
                             struct wal_segment **segment_out)
{
    ASSERT(bytes % WAL_PAGE_BYTES == 0 && bytes >= 2 * WAL_PAGE_BYTES);
    char name[FILE_NAME_BYTES];
    uint64_t number;
    strata_rc rc = wal_segment_name(config, &number, name);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct wal_segment *s = wal_segment_new(config, number, bytes);
    if (s == NULL) {
        return alloc_failed("a log segment", sizeof *s);
    }
    rc = os_file_open(config->dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE,
                      &s->file);
    if (rc != STRATA_OK) {
        free(s);
        return rc;
    }
    *segment_out = s;
    return STRATA_OK;
}

static strata_rc wal_segment_map(const struct wal_config *config, struct wal_segment *s)
{
    ASSERT(s->map == NULL);
    return config->mapped ? os_file_map(s->file, (size_t)s->bytes, &s->map) : STRATA_OK;
}

strata_rc wal_segment_fill(const struct wal_config *config, struct wal_segment *s, uint64_t bytes)
{
    ASSERT(s->filled < s->bytes);
    uint64_t end = bytes < s->bytes - s->filled ? s->filled + bytes : s->bytes;
    uint64_t at = s->filled;
    for (; at < end; at += WAL_PAGE_BYTES) {
        strata_rc rc = os_file_write(s->file, at, wal_zero_page, WAL_PAGE_BYTES);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    if (at == s->bytes) {
        strata_rc rc = os_file_sync(s->file, false);
        if (rc == STRATA_OK && !MUTANT(38)) {
            rc = os_dir_sync(config->dir);
        }
        if (rc == STRATA_OK) {
            rc = wal_segment_map(config, s);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    s->filled = at;
    return STRATA_OK;
}

strata_rc wal_segment_reuse(const struct wal_config *config, const struct wal_spare *spare,
                            struct wal_segment **segment_out)
{
    char old_name[FILE_NAME_BYTES];
    char name[FILE_NAME_BYTES];
    uint64_t number;
    file_name_make(old_name, FILE_LOG, spare->number);
    strata_rc rc = wal_segment_name(config, &number, name);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct wal_segment *s = wal_segment_new(config, number, spare->bytes);
    if (s == NULL) {
        return alloc_failed("a log segment", sizeof *s);
    }
    s->filled = s->bytes;
    rc = os_dir_rename(config->dir, old_name, name);
    if (rc == STRATA_OK) {
        rc = os_dir_sync(config->dir);
    }
    if (rc == STRATA_OK) {
        rc = os_file_open(config->dir, name, OS_OPEN_WRITE, &s->file);
    }
    if (rc == STRATA_OK) {
        rc = wal_segment_map(config, s);
    }
    if (rc != STRATA_OK) {
        wal_segment_discard(config, s);
        return rc;
    }
    *segment_out = s;
    return STRATA_OK;
}

strata_rc wal_segment_close(struct wal_segment *s)
{
    if (s == NULL) {
        return STRATA_OK;
    }
    if (s->map != NULL) {
        s->map->close(s->map);
    }
    strata_rc rc = os_file_close(s->file);
    free(s);
    return rc;
}

void wal_segment_remove(const struct wal_config *config, uint64_t number)
{
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_LOG, number);
    // A file that stays is removed by the next open of the database.
    strata_rc rc = os_dir_unlink(config->dir, name);
    (void)rc;
}

void wal_segment_discard(const struct wal_config *config, struct wal_segment *s)
{
    if (s != NULL) {
        uint64_t number = s->number;
        // Nothing of the file is wanted any more.
        (void)wal_segment_close(s);
        wal_segment_remove(config, number);
    }
}
