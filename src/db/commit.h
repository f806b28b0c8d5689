// What the commits of values beside their keys and those of separated values share.
#ifndef DB_COMMIT_H
#define DB_COMMIT_H

#include "db/db.h"
#include "kv/batch.h"

// A batch on its way: its encoding, and its operations decoded and normalised.
struct incoming {
    struct slice payload;
    uint32_t count; // of operations in the payload
    uint32_t kept;  // of those in `ops`
    const struct batch_op *ops;
    // Its separated values were stored while db->values.seals was this; 0: it has none there.
    uint64_t seals;
    const struct value_own *own; // the file of its only value, when it has one of its own
};

// Appends, applies and publishes; commit.lock held. STRATA_YIELD: the generation that its values
// were stored for has been sealed, nothing was done.
strata_rc commit_locked(strata_db *db, const strata_write *how, const struct incoming *in,
                        uint64_t *commit_out) STRATA_MUST_CHECK;
// Makes the commit durable as asked, counts it and reports its number.
strata_rc commit_finish(strata_db *db, const strata_write *how, uint64_t commit,
                        size_t bytes) STRATA_MUST_CHECK;
// Seals at once, if that need not wait, when the active generation's value files are full: a crash
// makes a recovery write them anew. commit.lock held.
void commit_seal_values_locked(strata_db *db);

// Separates what is long enough among normalised ops. `separate_ops` says whether there is any.
bool separate_ops(strata_db *db, struct batch_op *ops, uint32_t count);
// Commits ops of which some are separated; they are changed. *commit_out is the commit's number, 0
// when there is none: so in the functions below.
strata_rc commit_separated(strata_db *db, const strata_write *how, struct batch_op *ops,
                           uint32_t count, uint64_t *commit_out) STRATA_MUST_CHECK;
// Commits one put of a value that may be of any length.
strata_rc commit_long_value(strata_db *db, const strata_write *how, struct strata_keyspace *space,
                            const struct batch_op *put, uint64_t *commit_out) STRATA_MUST_CHECK;
// Commits a put whose value is in a file of its own, which is finished. `op` names its place.
strata_rc commit_own_value(strata_db *db, const strata_write *how, const struct batch_op *op,
                           const struct value_own *own, uint64_t *commit_out) STRATA_MUST_CHECK;

#endif
