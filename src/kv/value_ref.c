#include "kv/value_ref.h"

#include "base/fail.h"
#include "base/reader.h"
#include "base/varint.h"

uint32_t kv_value_ref_encode(const struct kv_value_ref *ref, uint8_t *to)
{
    uint8_t *at = varint_encode(to, ref->file);
    at = varint_encode(at, ref->ordinal);
    at = varint_encode(at, ref->bytes);
    return (uint32_t)(at - to);
}

strata_rc kv_value_ref_decode(struct slice from, struct kv_value_ref *ref_out)
{
    struct reader r = reader_of(from);
    uint64_t file = reader_varint(&r);
    uint64_t ordinal = reader_varint(&r);
    uint64_t bytes = reader_varint(&r);
    if (r.bad || reader_left(&r) != 0 || file == 0 || bytes == 0 || bytes > UINT32_MAX ||
        ordinal + kv_value_chunks(bytes) > UINT32_MAX || ordinal > UINT32_MAX) {
        return fail(STRATA_CORRUPT, "a reference to a separated value is malformed");
    }
    *ref_out = (struct kv_value_ref){file, (uint32_t)ordinal, (uint32_t)bytes};
    return STRATA_OK;
}
