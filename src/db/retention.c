// Retention: which versions background work may let go (architecture, section 8).
#include "db/db.h"

strata_rc db_trim(void *ctx, uint64_t keyspace, struct compact_trim *trim_out)
{
    (void)ctx;
    (void)keyspace;
    *trim_out = (struct compact_trim){0}; // everything stays
    return STRATA_OK;
}
