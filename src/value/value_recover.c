// Value files that the manifest does not name: what a crash left of them.
//
// The index is written when the values are on disk. So a file whose footer, directory and blocks
// are all good is finished, and all others count as unfinished, whatever it is that stands behind
// their values: of those only chunks count that the log refers to and whose checksums hold. A crash
// in the middle of value_file_finish therefore leaves a file that recovers as it did before.
//
// After a sync that failed the system may show bytes that are not on the disk, and say nothing at
// the next sync. So a recovered file is not synced but written anew: into NNNNNN.tmp, synced, and
// renamed to the old name. Every byte of it keeps its place. Only a file that was
// finished alone is known to be on disk: the log refers to it since all its syncs succeeded.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "base/mutant.h"
#include "value/value_file.h"

// Everything that is wrong with an index means that there is none yet.
static strata_rc absent_if_bad(strata_rc rc)
{
    return rc == STRATA_CORRUPT || rc == STRATA_VERSION ? STRATA_NOT_FOUND : rc;
}

// STRATA_NOT_FOUND unless every block of the index is good.
static strata_rc check_blocks(struct os_file *file, const struct value_index *index)
{
    strata_rc rc = STRATA_OK;
    for (uint32_t i = 0; rc == STRATA_OK && i < index->block_count && !MUTANT(64); i++) {
        uint8_t image[VALUE_BLOCK_BYTES_MAX];
        const struct value_index_block *b = &index->blocks[i];
        rc = os_file_read(file, b->offset, image, value_index_block_bytes(b));
        if (rc == STRATA_OK) {
            rc = value_index_check(index, i, image);
        }
    }
    return absent_if_bad(rc);
}

// Finds the index of `file`. STRATA_NOT_FOUND when there is none.
static strata_rc find_index(struct value_file *f, struct os_file *file, struct value_meta *meta_out)
{
    struct value_footer footer = {0};
    struct value_index *index = NULL;
    uint64_t bytes;
    strata_rc rc = os_file_size(file, &bytes);
    if (rc == STRATA_OK) {
        rc = absent_if_bad(value_file_read_index(file, f->number, bytes, &footer, &index));
    }
    if (rc == STRATA_OK) {
        rc = footer.keyspace == f->keyspace && footer.incarnation == f->incarnation
                 ? check_blocks(file, index)
                 : STRATA_NOT_FOUND;
    }
    if (rc == STRATA_OK) {
        rc = value_meta_of_index(f, index, bytes, meta_out);
        f->mu.alone = footer.alone;
    }
    value_index_free(index);
    return rc;
}

// A header that is not good was never synced: no value behind it was.
static strata_rc read_header(struct value_file *f, struct os_file *file)
{
    uint8_t image[VALUE_HEADER_BYTES];
    size_t done;
    struct value_header header;
    strata_rc rc = os_file_read_some(file, 0, image, sizeof image, &done);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = done < sizeof image ? STRATA_CORRUPT : value_header_decode(image, f->number, &header);
    if (rc == STRATA_VERSION) {
        return fail(rc, "%s was written by another format version", f->name);
    }
    if (rc != STRATA_OK) {
        return STRATA_NOT_FOUND;
    }
    f->keyspace = header.keyspace;
    f->incarnation = header.incarnation;
    return STRATA_OK;
}

strata_rc value_file_recover(const struct value_env *env, uint64_t number,
                             struct value_file **file_out)
{
    struct value_file *f;
    struct value_meta meta;
    strata_rc rc = value_file_alloc(env, number, &f);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct os_file *file = NULL;
    rc = os_file_open_if_there(env->dir, f->name, OS_OPEN_READ, &file);
    if (rc == STRATA_OK) {
        rc = read_header(f, file);
    }
    if (rc == STRATA_OK) {
        rc = find_index(f, file, &meta);
        if (rc == STRATA_OK) {
            f->mu.recovered = true;
            value_file_publish(f, meta);
        } else if (rc == STRATA_NOT_FOUND) {
            f->mu.recovered = true;
            f->mu.file = file;
            file = NULL;
            atomic_store_explicit(&f->is_full, true, memory_order_relaxed);
            rc = STRATA_OK;
        }
    }
    (void)os_file_close(file); // nothing was written through it
    if (rc != STRATA_OK) {
        value_file_unref(f);
        return rc;
    }
    *file_out = f;
    return STRATA_OK;
}

// ---- values that the log names

// Takes a verified chunk into the index of an unfinished file.
static strata_rc take_chunk(struct value_file *f, uint32_t ordinal, uint64_t offset,
                            const struct value_record *record)
{
    os_mutex_lock(&f->mu.lock);
    strata_rc rc = value_file_grow_locked(f, ordinal + 1);
    if (rc == STRATA_OK) {
        while (f->mu.count <= ordinal) {
            f->mu.offsets[f->mu.count++] = 0;
        }
        uint64_t end =
            value_round_up(offset + VALUE_RECORD_HEADER_BYTES + record->stored, VALUE_RECORD_ALIGN);
        if (f->mu.offsets[ordinal] == 0) {
            f->mu.records++;
            f->mu.raw_bytes += record->raw;
        }
        f->mu.offsets[ordinal] = (uint32_t)(offset / VALUE_RECORD_ALIGN);
        f->mu.reserved++;
        f->mu.end = end > f->mu.end ? end : f->mu.end;
        atomic_store_explicit(&f->bytes, f->mu.end, memory_order_relaxed);
    }
    os_mutex_unlock(&f->mu.lock);
    return rc;
}

static strata_rc add_unfinished(struct value_file *f, const struct kv_value_ref *ref,
                                uint64_t offset)
{
    uint64_t at = offset;
    for (uint32_t left = ref->bytes, ordinal = ref->ordinal; left > 0; ordinal++) {
        if (ordinal >= VALUE_FILE_ORDINALS_MAX || at % VALUE_RECORD_ALIGN != 0 ||
            at < VALUE_HEADER_BYTES || at > VALUE_RECORDS_END_MAX) {
            return STRATA_NOT_FOUND;
        }
        struct value_record record;
        struct value_want want = {
            .seed = value_record_seed(f->number, f->incarnation, ordinal),
            .raw = left < KV_VALUE_CHUNK_BYTES ? left : KV_VALUE_CHUNK_BYTES,
        };
        strata_rc rc = value_record_read(f->mu.file, at, UINT64_MAX, &want, &record);
        if (rc == STRATA_OK) {
            rc = take_chunk(f, ordinal, at, &record);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
        left -= want.raw;
        at = value_round_up(at + VALUE_RECORD_HEADER_BYTES + record.stored, VALUE_SECTOR_BYTES);
    }
    return STRATA_OK;
}

strata_rc value_file_recover_add(struct value_file *f, const struct kv_value_ref *ref,
                                 uint64_t offset)
{
    if (ref->file != f->number) {
        return STRATA_NOT_FOUND;
    }
    if (!value_file_is_finished(f)) {
        return add_unfinished(f, ref, offset);
    }
    for (uint32_t i = 0; i < kv_value_chunks(ref->bytes); i++) {
        bool holds;
        strata_rc rc = value_file_holds(f, ref->file, ref->ordinal + i, &holds);
        if (rc != STRATA_OK) {
            return rc;
        }
        if (!holds) {
            return STRATA_NOT_FOUND;
        }
    }
    f->mu.referred = true;
    return STRATA_OK;
}

// ---- finishing

#define COPY_BYTES ((size_t)1 << 20)

// Copies the first `bytes` bytes of `from`; what it does not have stays a hole.
static strata_rc copy_bytes(struct os_file *from, struct os_file *to, uint64_t bytes)
{
    uint8_t *buffer = alloc_array(COPY_BYTES, 1);
    if (buffer == NULL) {
        return alloc_failed("a recovered value file", COPY_BYTES);
    }
    strata_rc rc = STRATA_OK;
    for (uint64_t at = 0; rc == STRATA_OK && at < bytes;) {
        size_t now = bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES;
        size_t done;
        rc = os_file_read_some(from, at, buffer, now, &done);
        if (rc == STRATA_OK && done == 0) {
            break;
        }
        if (rc == STRATA_OK) {
            rc = os_file_write(to, at, buffer, done);
        }
        at += done;
    }
    free(buffer);
    return rc;
}

// Writes the file anew: the first `bytes` bytes of `from`, then the index. What is on disk under
// the old name is whole at any time.
static strata_rc write_anew(struct value_file *f, struct os_file *from, uint64_t bytes,
                            struct slice index)
{
    char tmp[FILE_NAME_BYTES];
    struct os_file *to;
    file_name_make(tmp, FILE_TMP, f->number);
    strata_rc rc =
        os_file_open(f->env.dir, tmp, OS_OPEN_WRITE | OS_OPEN_CREATE | OS_OPEN_TRUNCATE, &to);
    if (rc != STRATA_OK) {
        return rc;
    }
    rc = copy_bytes(from, to, bytes);
    if (rc == STRATA_OK && index.bytes > 0) {
        rc = os_file_write(to, bytes, index.data, index.bytes);
    }
    if (rc == STRATA_OK && !MUTANT(65)) {
        rc = os_file_sync(to, false);
    }
    strata_rc closed = os_file_close(to);
    rc = rc == STRATA_OK ? closed : rc;
    if (rc == STRATA_OK) {
        rc = os_dir_rename(f->env.dir, tmp, f->name);
    }
    if (rc != STRATA_OK) {
        (void)!os_dir_unlink(f->env.dir, tmp);
        return rc;
    }
    return os_dir_sync(f->env.dir);
}

static strata_rc finish_unfinished(struct value_file *f, struct value_index_builder *b)
{
    uint64_t begin = value_round_up(f->mu.end, VALUE_SECTOR_BYTES);
    strata_rc rc = value_file_build_index(f, begin, false, b);
    if (rc != STRATA_OK) {
        return rc;
    }
    struct value_logical *logical = alloc_array(1, sizeof *logical);
    if (logical == NULL) {
        return alloc_failed("the record of a value file", sizeof *logical);
    }
    rc = write_anew(f, f->mu.file, begin, buffer_slice(&b->blocks));
    if (rc != STRATA_OK) {
        free(logical);
        return rc;
    }
    *logical = (struct value_logical){f->number, f->mu.records, f->mu.raw_bytes};
    struct value_meta meta = {f->number, begin + b->blocks.bytes, f->keyspace, logical, 1};
    value_file_publish(f, meta);
    value_file_leave_writing(f);
    return STRATA_OK;
}

strata_rc value_file_finish_recovered(struct value_file *f)
{
    strata_rc rc = STRATA_OK;
    if (value_file_is_finished(f) && f->mu.alone && f->mu.referred) {
        f->mu.recovered = false;
    } else if (value_file_is_finished(f)) {
        struct os_file *file;
        rc = os_cached_file_lease(f->env.files, &f->descriptor, &file);
        if (rc == STRATA_OK) {
            rc = write_anew(f, file, f->meta.bytes, slice_of(NULL, 0));
            os_cached_file_return(f->env.files, &f->descriptor);
            os_cached_file_drop(f->env.files, &f->descriptor); // of what had the name before
        }
    } else {
        struct value_index_builder *b = alloc_array(1, sizeof *b);
        if (b == NULL) {
            return alloc_failed("the index of a value file", sizeof *b);
        }
        rc = finish_unfinished(f, b);
        value_index_release(b);
        free(b);
    }
    f->mu.recovered = rc != STRATA_OK;
    return rc;
}
