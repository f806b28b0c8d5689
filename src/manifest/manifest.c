// The manifest file: CURRENT, reading and replay, the new manifest, the append. The bytes are
// described at the head of manifest_format.c.
//
// Order of a new manifest: its file is synced, then the directory, so that its name is there before
// CURRENT can say it; then CURRENT by rename of a synced file; then the directory again. Nothing is
// ever deleted here, so that after a failure at any of these steps both outcomes are whole.
//
// Thread rule: one caller at a time.
#include "manifest/manifest.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "kv/file_name.h"
#include "manifest/manifest_format.h"

#include <inttypes.h>
#include <stdio.h>

#define CURRENT_BYTES_MAX 21 // 20 digits and a newline
#define SNAPSHOT_TABLES_PER_RECORD 2048
#define SNAPSHOT_VALUE_FILES_PER_RECORD 4096
#define SNAPSHOT_SECONDS_PER_RECORD 65536

struct manifest {
    struct os_file *file;
    struct manifest_chain next;
    bool dead;            // a write or sync failed: nothing may follow
    struct buffer record; // reused
};

// ---- CURRENT

strata_rc manifest_current(struct os_dir *dir, uint64_t *number_out)
{
    struct os_file *f = NULL;
    char name[FILE_NAME_BYTES];
    *number_out = 0;
    file_name_make(name, FILE_CURRENT, 0);
    strata_rc rc = os_file_open_if_there(dir, name, OS_OPEN_READ, &f);
    if (rc == STRATA_NOT_FOUND) {
        return fail(rc, "%s: no file %s, so no database", dir->path, name);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    char text[CURRENT_BYTES_MAX + 1];
    size_t bytes = 0;
    rc = os_file_read_some(f, 0, text, sizeof text, &bytes);
    os_file_close(f);
    if (rc != STRATA_OK) {
        return rc;
    }
    uint64_t number = 0;
    bool good =
        bytes >= 2 && bytes <= CURRENT_BYTES_MAX && text[bytes - 1] == '\n' && text[0] != '0';
    for (size_t i = 0; good && i < bytes - 1; i++) {
        good = text[i] >= '0' && text[i] <= '9' && !__builtin_mul_overflow(number, 10u, &number) &&
               !__builtin_add_overflow(number, (uint64_t)(text[i] - '0'), &number);
    }
    if (!good) {
        return fail(STRATA_CORRUPT, "%s: %zu bytes that are not the number of a manifest", name,
                    bytes);
    }
    *number_out = number;
    return STRATA_OK;
}

static strata_rc current_write(struct os_dir *dir, uint64_t number)
{
    char tmp[FILE_NAME_BYTES], current[FILE_NAME_BYTES], text[CURRENT_BYTES_MAX + 1];
    file_name_make(tmp, FILE_TMP, number);
    file_name_make(current, FILE_CURRENT, 0);
    int bytes = snprintf(text, sizeof text, "%" PRIu64 "\n", number);
    ASSERT(bytes > 1 && bytes <= CURRENT_BYTES_MAX);
    struct os_file *f = NULL;
    strata_rc rc = os_file_open(dir, tmp, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_TRUNCATE, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = os_file_write(f, 0, text, (size_t)bytes);
    if (rc == STRATA_OK) {
        rc = os_file_sync(f, false);
    }
    strata_rc close_rc = os_file_close(f);
    rc = rc == STRATA_OK ? close_rc : rc;
    if (rc == STRATA_OK) {
        rc = os_dir_rename(dir, tmp, current);
    }
    if (rc == STRATA_OK && !MUTANT(45)) {
        rc = os_dir_sync(dir);
    }
    return rc;
}

// ---- reading

// A manifest being read: one record at a time in `payload`.
struct manifest_reader {
    struct os_file *file;
    uint64_t file_bytes;
    struct manifest_chain next;
    uint8_t head[MANIFEST_RECORD_BYTES];
    struct buffer payload;
};

// Reads the record at `offset` into head and payload. *whole_out is false when no record of this
// manifest stands there; that is not an error.
static strata_rc reader_record_at(struct manifest_reader *r, uint64_t offset, bool *whole_out)
{
    *whole_out = false;
    if (r->file_bytes < MANIFEST_RECORD_BYTES || offset > r->file_bytes - MANIFEST_RECORD_BYTES) {
        return STRATA_OK;
    }
    strata_rc rc = os_file_read(r->file, offset, r->head, sizeof r->head);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct manifest_record record = manifest_record_of(r->head);
    uint64_t room = r->file_bytes - offset - MANIFEST_RECORD_BYTES;
    bool plausible = record.payload_bytes <= room && record.sequence >= r->next.sequence;
    if (!plausible) {
        return STRATA_OK;
    }
    buffer_clear(&r->payload);
    rc = buffer_reserve(&r->payload, record.payload_bytes);
    if (rc == STRATA_OK && record.payload_bytes > 0) {
        rc = os_file_read(r->file, offset + MANIFEST_RECORD_BYTES, r->payload.data,
                          record.payload_bytes);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    r->payload.bytes = record.payload_bytes;
    *whole_out = manifest_record_whole(r->head, buffer_slice(&r->payload), r->next.number, offset);
    return STRATA_OK;
}

// The next record of the chain, *there_out false at its end. STRATA_CORRUPT when the chain is
// broken but goes on behind.
static strata_rc reader_next(struct manifest_reader *r, bool *there_out)
{
    *there_out = false;
    uint64_t stop = r->next.offset;
    for (uint64_t offset = stop; offset < r->file_bytes; offset += MANIFEST_PAGE_BYTES) {
        bool whole;
        strata_rc rc = reader_record_at(r, offset, &whole);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (!whole) {
            continue;
        }
        struct manifest_record record = manifest_record_of(r->head);
        if (offset != stop || record.sequence != r->next.sequence ||
            record.before != r->next.checksum) {
            return fail(STRATA_CORRUPT,
                        "offset %" PRIu64 ": record %" PRIu32 " is damaged, record %" PRIu32
                        " at offset %" PRIu64 " is not",
                        stop, r->next.sequence, record.sequence, offset);
        }
        r->next.offset =
            offset + manifest_pages((uint64_t)MANIFEST_RECORD_BYTES + record.payload_bytes);
        r->next.sequence++;
        r->next.checksum = record.checksum;
        *there_out = true;
        return STRATA_OK;
    }
    return STRATA_OK;
}

static strata_rc reader_open(struct os_dir *dir, const char *name, struct manifest_reader *r,
                             uint64_t *incarnation_out)
{
    strata_rc rc = os_file_open_if_there(dir, name, OS_OPEN_READ, &r->file);
    if (rc == STRATA_NOT_FOUND) {
        return fail(STRATA_CORRUPT, "the file is not there");
    }
    if (rc == STRATA_OK) {
        rc = os_file_size(r->file, &r->file_bytes);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    if (r->file_bytes < MANIFEST_HEADER_BYTES) {
        return fail(STRATA_CORRUPT, "%" PRIu64 " bytes, a header has %u", r->file_bytes,
                    MANIFEST_HEADER_BYTES);
    }
    uint8_t header[MANIFEST_HEADER_BYTES];
    rc = os_file_read(r->file, 0, header, sizeof header);
    if (rc == STRATA_OK) {
        rc = manifest_header_decode(header, r->next.number, incarnation_out, &r->next.checksum);
    }
    r->next.offset = MANIFEST_PAGE_BYTES;
    r->next.sequence = 1;
    return rc;
}

strata_rc manifest_read(struct os_dir *dir, uint64_t number,
                        strata_rc (*visit)(void *ctx, const struct edit *e), void *ctx,
                        struct manifest_facts *facts_out)
{
    struct manifest_reader r = {.next.number = number};
    char name[FILE_NAME_BYTES];
    bool there = false;
    bool snapshot_whole = false;
    *facts_out = (struct manifest_facts){0};
    file_name_make(name, FILE_MANIFEST, number);
    strata_rc rc = reader_open(dir, name, &r, &facts_out->incarnation);
    while (rc == STRATA_OK) {
        uint64_t offset = r.next.offset;
        rc = reader_next(&r, &there);
        if (rc != STRATA_OK || !there) {
            break;
        }
        struct edit e;
        rc = edit_decode(buffer_slice(&r.payload), &e);
        if (rc == STRATA_OK) {
            snapshot_whole = snapshot_whole || e.snapshot_end;
            rc = visit(ctx, &e);
            edit_release(&e);
        }
        if (rc != STRATA_OK) {
            rc = fail_in(rc, "record at offset %" PRIu64, offset);
        }
    }
    facts_out->records = r.next.sequence - 1;
    facts_out->bytes = r.next.offset < r.file_bytes ? r.next.offset : r.file_bytes;
    facts_out->torn_bytes = r.file_bytes - facts_out->bytes;
    if (rc == STRATA_OK && !snapshot_whole) {
        rc = fail(STRATA_CORRUPT, "offset %" PRIu64 ": the snapshot at the head is not whole",
                  facts_out->bytes);
    }
    if (rc != STRATA_OK) {
        rc = fail_in(rc, "%s", name);
    }
    os_file_close(r.file);
    buffer_release(&r.payload);
    return rc;
}

// ---- load

// STRATA_CORRUPT unless the file is there with its size.
static strata_rc check_file(struct os_dir *dir, enum file_kind kind, uint64_t number,
                            uint64_t bytes_named)
{
    char name[FILE_NAME_BYTES];
    struct os_file *f = NULL;
    uint64_t bytes = 0;
    file_name_make(name, kind, number);
    strata_rc rc = os_file_open_if_there(dir, name, OS_OPEN_READ, &f);
    if (rc == STRATA_NOT_FOUND) {
        return fail(STRATA_CORRUPT, "%s: the manifest names it, but it is not there", name);
    }
    if (rc == STRATA_OK) {
        rc = os_file_size(f, &bytes);
    }
    os_file_close(f);
    if (rc == STRATA_OK && bytes != bytes_named) {
        rc = fail(STRATA_CORRUPT, "%s: %" PRIu64 " bytes, the manifest says %" PRIu64, name, bytes,
                  bytes_named);
    }
    return rc;
}

static strata_rc check_files(struct os_dir *dir, const struct edit *all)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < all->table_count; i++) {
        const struct table_meta *meta = &all->tables[i].meta;
        rc = check_file(dir, FILE_TABLE, meta->file, meta->bytes);
    }
    for (size_t i = 0; rc == STRATA_OK && i < all->value_count; i++) {
        const struct value_meta *meta = &all->values[i].meta;
        rc = check_file(dir, FILE_VALUE, meta->file, meta->bytes);
    }
    return rc;
}

static strata_rc load_edit(void *ctx, const struct edit *e)
{
    return edit_fold(ctx, e);
}

strata_rc manifest_load(const struct table_env *env, struct catalog **catalog_out,
                        uint64_t *manifest_number_out)
{
    struct edit all = {0};
    struct catalog *empty = NULL;
    struct manifest_facts facts;
    *catalog_out = NULL;
    strata_rc rc = manifest_current(env->dir, manifest_number_out);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = manifest_read(env->dir, *manifest_number_out, load_edit, &all, &facts);
    if (rc == STRATA_OK) {
        rc = check_files(env->dir, &all);
    }
    if (rc == STRATA_OK) {
        rc = catalog_new(&empty);
    }
    if (rc == STRATA_OK) {
        rc = catalog_apply(empty, &all, env, catalog_out);
    }
    catalog_unref(empty);
    edit_release(&all);
    return rc;
}

// ---- writing

// Cuts off what a write that met a full disk may have left behind the last record. True when it is
// certain that nothing of it comes back. Keeps the error's text.
static bool manifest_take_back(struct manifest *m)
{
    char text[512];
    snprintf(text, sizeof text, "%s", fail_text());
    strata_rc rc = os_file_truncate(m->file, m->next.offset);
    if (rc == STRATA_OK) {
        rc = os_file_sync(m->file, false);
    }
    fail_restore(text);
    return rc == STRATA_OK;
}

static strata_rc manifest_write(struct manifest *m, const struct edit *e)
{
    struct buffer *to = &m->record;
    static const uint8_t zeros[MANIFEST_PAGE_BYTES];
    buffer_clear(to);
    strata_rc rc = buffer_append(to, zeros, MANIFEST_RECORD_BYTES);
    if (rc == STRATA_OK) {
        rc = edit_encode(e, to);
    }
    if (rc == STRATA_OK && to->bytes > UINT32_MAX) {
        rc = fail(STRATA_TOO_LARGE, "an edit of %zu bytes", to->bytes);
    }
    size_t record_bytes = to->bytes;
    size_t padding = (size_t)manifest_pages(record_bytes) - record_bytes;
    if (rc == STRATA_OK) {
        rc = buffer_append(to, zeros, padding);
    }
    if (rc != STRATA_OK) {
        return rc; // nothing was written: the manifest lives
    }
    struct slice payload =
        slice_of(to->data + MANIFEST_RECORD_BYTES, record_bytes - MANIFEST_RECORD_BYTES);
    uint64_t checksum = manifest_record_seal(to->data, payload, &m->next);
    rc = os_file_write(m->file, m->next.offset, to->data, to->bytes);
    if (rc != STRATA_OK) {
        m->dead = (rc != STRATA_NO_SPACE || !manifest_take_back(m)) && !MUTANT(44);
        return rc;
    }
    m->next.offset += to->bytes;
    m->next.sequence++;
    m->next.checksum = checksum;
    return STRATA_OK;
}

strata_rc manifest_append(struct manifest *m, const struct edit *e)
{
    ASSERT(!e->snapshot_end);
    if (m->dead) {
        return fail(STRATA_READ_ONLY, "%s: an earlier write or sync failed", m->file->name);
    }
    strata_rc rc = manifest_write(m, e);
    if (rc == STRATA_OK) {
        rc = os_file_sync(m->file, true);
        m->dead = rc != STRATA_OK;
    }
    if (m->dead && rc == STRATA_NO_SPACE) {
        rc = fail_in(STRATA_IO, "the outcome is not known");
    }
    return rc;
}

// Writes the tables of a tree, a record for every so many.
static strata_rc snapshot_tree(struct manifest *m, const struct catalog_space *space, bool history,
                               struct edit *part)
{
    const struct tree *t = history ? space->history : space->live;
    strata_rc rc = STRATA_OK;
    for (uint32_t level = 0; level < t->level_count; level++) {
        for (uint32_t i = 0; i < t->levels[level].count; i++) {
            const struct run *r = t->levels[level].runs[i];
            for (uint32_t k = 0; rc == STRATA_OK && k < r->count; k++) {
                rc = edit_add_table(part, space->number, history, level, r->number,
                                    table_meta(r->tables[k]), NULL);
                if (rc == STRATA_OK && part->table_count == SNAPSHOT_TABLES_PER_RECORD) {
                    rc = manifest_write(m, part);
                    edit_release(part);
                }
            }
        }
    }
    return rc;
}

static strata_rc snapshot_value_files(struct manifest *m, const struct catalog *c,
                                      struct edit *part)
{
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; rc == STRATA_OK && i < c->value_file_count; i++) {
        rc = edit_add_value_file(part, value_file_meta(c->value_files[i]), NULL);
        if (rc == STRATA_OK && part->value_count == SNAPSHOT_VALUE_FILES_PER_RECORD) {
            rc = manifest_write(m, part);
            edit_release(part);
        }
    }
    return rc;
}

// Writes what `part` holds so far, then the seconds in records of their own.
static strata_rc snapshot_seconds(struct manifest *m, const struct catalog *c, struct edit *part)
{
    strata_rc rc = STRATA_OK;
    for (size_t i = 0; rc == STRATA_OK && i < c->second_count; i++) {
        rc = edit_add_second(part, &c->seconds[i]);
        if (rc == STRATA_OK && part->second_count == SNAPSHOT_SECONDS_PER_RECORD) {
            rc = manifest_write(m, part);
            edit_release(part);
        }
    }
    return rc;
}

static strata_rc snapshot_write(struct manifest *m, const struct catalog *c)
{
    struct edit part = {0};
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; rc == STRATA_OK && i < c->space_count; i++) {
        const struct catalog_space *s = &c->spaces[i];
        rc = edit_create_space(&part, s->number, s->name, &s->options, s->created_commit);
        if (rc == STRATA_OK && s->floor != 0) {
            rc = edit_set_floor(&part, s->number, s->floor);
        }
    }
    if (rc == STRATA_OK) {
        rc = snapshot_value_files(m, c, &part);
    }
    for (uint32_t i = 0; rc == STRATA_OK && i < c->space_count; i++) {
        rc = snapshot_tree(m, &c->spaces[i], false, &part);
        if (rc == STRATA_OK) {
            rc = snapshot_tree(m, &c->spaces[i], true, &part);
        }
    }
    if (rc == STRATA_OK) {
        rc = snapshot_seconds(m, c, &part);
    }
    if (rc == STRATA_OK) {
        part.flushed_commit = c->flushed_commit;
        part.log_first_segment = c->log_first_segment;
        part.next_file = c->next_file;
        part.next_run = c->next_run;
        part.next_keyspace = c->next_keyspace;
        part.incarnation = c->incarnation;
        part.edits = c->edits;
        part.snapshot_end = true;
        rc = manifest_write(m, &part);
    }
    edit_release(&part);
    return rc;
}

// Creates the file. A leftover of a crash with that name goes first, unless CURRENT names it.
static strata_rc manifest_create(struct os_dir *dir, uint64_t number, struct os_file **file_out)
{
    uint64_t current = 0;
    strata_rc rc = manifest_current(dir, &current);
    if (rc != STRATA_OK && rc != STRATA_NOT_FOUND) {
        return rc;
    }
    char name[FILE_NAME_BYTES];
    file_name_make(name, FILE_MANIFEST, number);
    if (rc == STRATA_OK && current == number) {
        return fail(STRATA_INTERNAL, "%s: CURRENT names it already", name);
    }
    struct os_file *old = NULL;
    rc = os_file_open_if_there(dir, name, OS_OPEN_READ, &old);
    if (rc == STRATA_OK) {
        os_file_close(old);
        rc = os_dir_unlink(dir, name);
    } else if (rc == STRATA_NOT_FOUND) {
        rc = STRATA_OK;
    }
    if (rc == STRATA_OK) {
        rc = os_file_open(dir, name, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_EXCLUSIVE, file_out);
    }
    return rc;
}

strata_rc manifest_new(struct os_dir *dir, uint64_t number, const struct catalog *catalog,
                       struct manifest **manifest_out)
{
    ASSERT(number > 0);
    *manifest_out = NULL;
    uint8_t page[MANIFEST_PAGE_BYTES] = {0};
    struct manifest *m = alloc_zeroed(1, sizeof *m);
    if (m == NULL) {
        return alloc_failed("a manifest", sizeof *m);
    }
    strata_rc rc = manifest_create(dir, number, &m->file);
    if (rc == STRATA_OK) {
        manifest_header_encode(page, number, catalog->incarnation);
        m->next.number = number;
        m->next.offset = sizeof page;
        m->next.sequence = 1;
        m->next.checksum = load_u64(page + MANIFEST_HEADER_BYTES - 8);
        rc = os_file_write(m->file, 0, page, sizeof page);
    }
    if (rc == STRATA_OK) {
        rc = snapshot_write(m, catalog);
    }
    if (rc == STRATA_OK && !MUTANT(29)) {
        rc = os_file_sync(m->file, false);
    }
    if (rc == STRATA_OK) {
        rc = os_dir_sync(dir);
    }
    if (rc == STRATA_OK) {
        rc = current_write(dir, number);
    }
    if (rc != STRATA_OK) {
        (void)manifest_close(m);
        return rc;
    }
    *manifest_out = m;
    return STRATA_OK;
}

uint64_t manifest_bytes(const struct manifest *m)
{
    return m->next.offset;
}

uint64_t manifest_number(const struct manifest *m)
{
    return m->next.number;
}

strata_rc manifest_close(struct manifest *m)
{
    if (m == NULL) {
        return STRATA_OK;
    }
    strata_rc rc = os_file_close(m->file);
    buffer_release(&m->record);
    free(m);
    return rc;
}
