// Separated values on their way in, and where they are found.
#include "db/db.h"

#include "base/fail.h"

strata_rc db_value_file(void *ctx, uint64_t logical, struct value_file **file_out)
{
    (void)ctx;
    *file_out = NULL;
    return fail(STRATA_CORRUPT, "value file %llu is referred to, but not there",
                (unsigned long long)logical);
}
