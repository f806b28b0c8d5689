#include "api/api_check.h"

#include "base/fail.h"
#include "kv/entry.h"

strata_rc api_null(const char *function, const char *argument)
{
    return fail(STRATA_INVALID, "%s: %s is NULL", function, argument);
}

strata_rc api_check_key(strata_slice key)
{
    if (key.data == NULL || key.bytes == 0) {
        return fail(STRATA_INVALID, "a key must have at least 1 byte");
    }
    if (key.bytes > KV_KEY_BYTES_MAX) {
        return fail(STRATA_TOO_LARGE, "a key of %zu bytes is over %u", key.bytes, KV_KEY_BYTES_MAX);
    }
    return STRATA_OK;
}

strata_rc api_check_value(strata_slice value)
{
    if (value.data == NULL && value.bytes != 0) {
        return fail(STRATA_INVALID, "a value of %zu bytes has no data", value.bytes);
    }
    if (value.bytes > KV_VALUE_BYTES_MAX) {
        return fail(STRATA_TOO_LARGE, "a value of %zu bytes is over %u", value.bytes,
                    KV_VALUE_BYTES_MAX);
    }
    return STRATA_OK;
}

strata_rc api_check_range(strata_slice begin, strata_slice end)
{
    strata_rc rc = api_check_key(begin);
    if (rc == STRATA_OK) {
        rc = api_check_key(end);
    }
    if (rc == STRATA_OK && slice_compare(api_slice(begin), api_slice(end)) >= 0) {
        rc = fail(STRATA_INVALID, "the range is empty: its begin must be less than its end");
    }
    return rc;
}

strata_rc api_check_write(const strata_write *how)
{
    if (how == NULL) {
        return STRATA_OK;
    }
    if (how->struct_bytes != sizeof *how) {
        return fail(STRATA_INVALID,
                    "strata_write.struct_bytes is %zu, this library has %zu: begin with "
                    "STRATA_WRITE_INIT",
                    how->struct_bytes, sizeof *how);
    }
    if ((unsigned)how->durability > STRATA_SYNC_NONE) {
        return fail(STRATA_INVALID, "strata_write.durability is %d, which is no strata_durability",
                    (int)how->durability);
    }
    if ((how->flags & ~(uint32_t)STRATA_NO_WAIT) != 0) {
        return fail(STRATA_INVALID, "strata_write.flags has unknown bits 0x%x", how->flags);
    }
    return STRATA_OK;
}
