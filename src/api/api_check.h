// The checks that every function of the interface begins with.
#ifndef API_API_CHECK_H
#define API_API_CHECK_H

#include "base/slice.h"
#include "strata.h"

// STRATA_INVALID for a NULL pointer with bytes, or a key of 0 bytes; STRATA_TOO_LARGE over the
// limit.
strata_rc api_check_key(strata_slice key) STRATA_MUST_CHECK;
strata_rc api_check_value(strata_slice value) STRATA_MUST_CHECK;
// Two keys with begin < end.
strata_rc api_check_range(strata_slice begin, strata_slice end) STRATA_MUST_CHECK;
strata_rc api_check_write(const strata_write *how) STRATA_MUST_CHECK;
// STRATA_INVALID with "FUNCTION: ARGUMENT is NULL".
strata_rc api_null(const char *function, const char *argument) STRATA_MUST_CHECK;

static inline struct slice api_slice(strata_slice s)
{
    return slice_of(s.data, s.bytes);
}

#endif
