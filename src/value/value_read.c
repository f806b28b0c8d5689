// Reading values. A chunk is read and verified as a whole, whatever part of it is asked for: small
// ones with one request by way of the stack, large ones straight to where they are wanted.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "value/value_file.h"

// ---- records

// Is the header one of the chunk that is wanted, with a payload of at most `room` bytes?
static bool header_fits(const uint8_t *header, const struct value_want *want, uint64_t room,
                        struct value_record *record_out)
{
    return value_record_decode(header, record_out) && record_out->raw == want->raw &&
           record_out->stored <= room;
}

// Gives what is wanted of a verified payload.
static strata_rc unpack(const struct value_record *record, const uint8_t *payload,
                        const struct value_want *want)
{
    if (want->bytes == 0) {
        return STRATA_OK;
    }
    if (record->method == COMPRESS_NONE) {
        memcpy(want->to, payload + want->from, want->bytes);
        return STRATA_OK;
    }
    struct slice from = slice_of(payload, record->stored);
    if (want->bytes == record->raw) {
        return decompress_bytes(record->method, from, want->to, record->raw);
    }
    uint8_t *raw = alloc_array(record->raw, 1);
    if (raw == NULL) {
        return alloc_failed("a decompressed value", record->raw);
    }
    strata_rc rc = decompress_bytes(record->method, from, raw, record->raw);
    if (rc == STRATA_OK) {
        memcpy(want->to, raw + want->from, want->bytes);
    }
    free(raw);
    return rc;
}

strata_rc value_record_open(const uint8_t *image, uint64_t bytes, const struct value_want *want)
{
    struct value_record record;
    const uint8_t *payload = image + VALUE_RECORD_HEADER_BYTES;
    if (bytes <= VALUE_RECORD_HEADER_BYTES ||
        !header_fits(image, want, bytes - VALUE_RECORD_HEADER_BYTES, &record) ||
        !value_record_is_good(image, want->seed, slice_of(payload, record.stored))) {
        return STRATA_NOT_FOUND;
    }
    return unpack(&record, payload, want);
}

static strata_rc read_small_record(struct os_file *file, uint64_t offset, uint64_t room,
                                   const struct value_want *want, struct value_record *record_out)
{
    uint8_t image[VALUE_RECORD_HEADER_BYTES + VALUE_SMALL_BYTES];
    uint8_t *payload = image + VALUE_RECORD_HEADER_BYTES;
    uint64_t most = VALUE_RECORD_HEADER_BYTES + (uint64_t)want->raw;
    size_t done;
    strata_rc rc = os_file_read_some(file, offset, image, room < most ? room : most, &done);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (done <= VALUE_RECORD_HEADER_BYTES ||
        !header_fits(image, want, done - VALUE_RECORD_HEADER_BYTES, record_out) ||
        !value_record_is_good(image, want->seed, slice_of(payload, record_out->stored))) {
        return STRATA_NOT_FOUND;
    }
    return unpack(record_out, payload, want);
}

static strata_rc read_large_record(struct os_file *file, uint64_t offset, uint64_t room,
                                   const struct value_want *want, struct value_record *record_out)
{
    uint8_t header[VALUE_RECORD_HEADER_BYTES];
    size_t done;
    strata_rc rc = os_file_read_some(file, offset, header, sizeof header, &done);
    if (rc != STRATA_OK) {
        return rc;
    }
    if (done < sizeof header ||
        !header_fits(header, want, room - VALUE_RECORD_HEADER_BYTES, record_out)) {
        return STRATA_NOT_FOUND;
    }
    bool direct = record_out->method == COMPRESS_NONE && want->bytes == want->raw;
    uint8_t *payload = direct ? want->to : alloc_array(record_out->stored, 1);
    if (payload == NULL) {
        return alloc_failed("a separated value", record_out->stored);
    }
    rc = os_file_read_some(file, offset + sizeof header, payload, record_out->stored, &done);
    if (rc == STRATA_OK &&
        (done < record_out->stored ||
         !value_record_is_good(header, want->seed, slice_of(payload, record_out->stored)))) {
        rc = STRATA_NOT_FOUND;
    }
    if (rc == STRATA_OK && !direct) {
        rc = unpack(record_out, payload, want);
    }
    if (!direct) {
        free(payload);
    }
    return rc;
}

strata_rc value_record_read(struct os_file *file, uint64_t offset, uint64_t limit,
                            const struct value_want *want, struct value_record *record_out)
{
    ASSERT(want->raw > 0 && want->raw <= KV_VALUE_CHUNK_BYTES);
    ASSERT(want->from <= want->raw && want->bytes <= want->raw - want->from);
    if (limit <= offset || limit - offset <= VALUE_RECORD_HEADER_BYTES) {
        return STRATA_NOT_FOUND;
    }
    return want->raw <= VALUE_SMALL_BYTES
               ? read_small_record(file, offset, limit - offset, want, record_out)
               : read_large_record(file, offset, limit - offset, want, record_out);
}

// ---- values

strata_rc value_is_damaged(const struct value_file *f, const struct kv_value_ref *ref,
                           uint32_t ordinal, uint64_t offset)
{
    return fail(STRATA_CORRUPT, "%s, offset %llu: value %llu/%u of %u bytes is damaged (chunk %u)",
                f->name, (unsigned long long)offset, (unsigned long long)ref->file, ref->ordinal,
                ref->bytes, ordinal);
}

strata_rc value_is_absent(const struct value_file *f, const struct kv_value_ref *ref,
                          uint32_t ordinal)
{
    return fail(STRATA_CORRUPT, "%s: value %llu/%u of %u bytes is not there (chunk %u)", f->name,
                (unsigned long long)ref->file, ref->ordinal, ref->bytes, ordinal);
}

strata_rc value_file_read(struct value_file *f, const struct kv_value_ref *ref, uint64_t offset,
                          void *to, size_t bytes)
{
    ASSERT(offset <= ref->bytes && bytes <= ref->bytes - offset);
    strata_rc rc = STRATA_OK;
    uint8_t *at = to;
    while (rc == STRATA_OK && bytes > 0) {
        uint32_t chunk = (uint32_t)(offset / KV_VALUE_CHUNK_BYTES);
        uint64_t begin = (uint64_t)chunk * KV_VALUE_CHUNK_BYTES;
        uint64_t left = ref->bytes - begin;
        struct value_want want = {.to = at};
        want.raw = left < KV_VALUE_CHUNK_BYTES ? (uint32_t)left : KV_VALUE_CHUNK_BYTES;
        want.from = (uint32_t)(offset - begin);
        want.bytes = bytes < want.raw - want.from ? (uint32_t)bytes : want.raw - want.from;
        uint32_t ordinal = ref->ordinal + chunk;
        struct value_spot spot;
        struct value_record record;
        rc = value_spot_find(f, ref->file, ordinal, &spot);
        if (rc == STRATA_NOT_FOUND) {
            return value_is_absent(f, ref, ordinal);
        }
        if (rc == STRATA_OK) {
            if (bytes > want.bytes) {
                // The next chunk most likely follows.
                os_file_will_read(spot.file, spot.offset, 2 * (uint64_t)KV_VALUE_CHUNK_BYTES);
            }
            want.seed = spot.seed;
            rc = value_record_read(spot.file, spot.offset, spot.limit, &want, &record);
            value_spot_release(f, &spot);
            rc = rc == STRATA_NOT_FOUND || rc == STRATA_CORRUPT
                     ? value_is_damaged(f, ref, ordinal, spot.offset)
                     : rc;
        }
        at += want.bytes;
        offset += want.bytes;
        bytes -= want.bytes;
    }
    return rc;
}

strata_rc value_file_holds(struct value_file *f, uint64_t logical, uint32_t ordinal,
                           bool *holds_out)
{
    struct value_spot spot;
    strata_rc rc = value_spot_find(f, logical, ordinal, &spot);
    *holds_out = rc == STRATA_OK;
    if (rc == STRATA_OK) {
        value_spot_release(f, &spot);
    }
    return rc == STRATA_NOT_FOUND ? STRATA_OK : rc;
}
