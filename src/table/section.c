#include "table/section.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/endian.h"
#include "base/fail.h"
#include "base/hash.h"

void section_seal(uint8_t *image, uint64_t stored, uint64_t raw, enum section_kind kind,
                  enum compress_method method, uint64_t seed)
{
    ASSERT(method != COMPRESS_NONE || stored == raw);
    store_u64(image + 8, stored);
    store_u64(image + 16, raw);
    store_u32(image + 24, SECTION_MAGIC);
    image[28] = (uint8_t)kind;
    image[29] = (uint8_t)method;
    image[30] = SECTION_VERSION;
    image[31] = 0;
    store_u64(image, checksum64(seed, image + 8, (size_t)stored + SECTION_HEADER_BYTES - 8));
}

static strata_rc section_bad(const struct section_place *place, const char *what, uint64_t found,
                             uint64_t expected)
{
    return fail(STRATA_CORRUPT, "%s, offset %llu: %s is 0x%llx, expected 0x%llx", place->name,
                (unsigned long long)place->offset, what, (unsigned long long)found,
                (unsigned long long)expected);
}

strata_rc section_check(const uint8_t *image, const struct section_place *place,
                        enum section_kind kind, struct section_header *header_out)
{
    if (place->bytes < SECTION_HEADER_BYTES) {
        return section_bad(place, "size", place->bytes, SECTION_HEADER_BYTES);
    }
    uint64_t stored = place->bytes - SECTION_HEADER_BYTES;
    uint64_t said = load_u64(image + 8);
    if (said != stored) {
        return section_bad(place, "stored size", said, stored);
    }
    uint64_t seed = checksum_seed(place->file, place->offset);
    uint64_t sum = checksum64(seed, image + 8, (size_t)place->bytes - 8);
    if (load_u64(image) != sum) {
        return section_bad(place, "checksum", load_u64(image), sum);
    }
    if (load_u32(image + 24) != SECTION_MAGIC) {
        return section_bad(place, "magic", load_u32(image + 24), SECTION_MAGIC);
    }
    if (image[30] != SECTION_VERSION) {
        return fail(STRATA_VERSION, "%s, offset %llu: section version %u, this build reads %u",
                    place->name, (unsigned long long)place->offset, image[30], SECTION_VERSION);
    }
    if (image[28] != kind) {
        return section_bad(place, "kind", image[28], kind);
    }
    uint64_t raw = load_u64(image + 16);
    if (image[29] == COMPRESS_NONE ? raw != stored : raw > COMPRESS_BYTES_MAX) {
        return section_bad(place, "raw size", raw, stored);
    }
    if (image[29] >= COMPRESS_METHODS) {
        return fail(STRATA_VERSION, "%s, offset %llu: compression %u is not known", place->name,
                    (unsigned long long)place->offset, image[29]);
    }
    header_out->raw = raw;
    header_out->method = (enum compress_method)image[29];
    return STRATA_OK;
}

strata_rc section_unpack(const uint8_t *image, const struct section_place *place,
                         const struct section_header *header, uint8_t *to)
{
    size_t stored = (size_t)place->bytes - SECTION_HEADER_BYTES;
    if (header->method == COMPRESS_NONE) {
        memcpy(to, image + SECTION_HEADER_BYTES, stored);
        return STRATA_OK;
    }
    strata_rc rc = decompress_bytes(header->method, slice_of(image + SECTION_HEADER_BYTES, stored),
                                    to, (size_t)header->raw);
    return rc == STRATA_OK
               ? rc
               : fail_in(rc, "%s, offset %llu", place->name, (unsigned long long)place->offset);
}

strata_rc section_read(struct os_file *file, const struct section_place *place,
                       enum section_kind kind, uint8_t **payload_out, size_t *bytes_out)
{
    uint8_t *payload = NULL;
    struct section_header header = {0};
    if (place->bytes > SIZE_MAX / 2) {
        return section_bad(place, "size", place->bytes, SIZE_MAX / 2);
    }
    uint8_t *image = alloc_array((size_t)place->bytes, 1);
    if (image == NULL) {
        return alloc_failed("a section of a table", (size_t)place->bytes);
    }
    strata_rc rc = os_file_read(file, place->offset, image, (size_t)place->bytes);
    if (rc == STRATA_OK) {
        rc = section_check(image, place, kind, &header);
    }
    if (rc != STRATA_OK) {
        goto done;
    }
    payload = alloc_aligned(64, (size_t)header.raw + 64);
    if (payload == NULL) {
        rc = alloc_failed("a section of a table", (size_t)header.raw);
        goto done;
    }
    memset(payload + header.raw, 0, 64);
    rc = section_unpack(image, place, &header, payload);
    if (rc == STRATA_OK) {
        *payload_out = payload;
        *bytes_out = (size_t)header.raw;
        payload = NULL;
    }
done:
    free(payload);
    free(image);
    return rc;
}
