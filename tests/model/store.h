// What the crash and fault tests drive: a versioned store on a simulated machine. One
// implementation is the database, the other a small log-only store with planted bugs by which the
// tests themselves are tested.
#ifndef MODEL_STORE_H
#define MODEL_STORE_H

#include "model/model.h"
#include "os/machine.h"
#include "strata.h"

#define STORE_FAULT_BYTES 512u

struct store_config {
    strata_options options; // of the database
    int toy_bug;            // of the toy: enum toy_bug
};

struct store {
    const struct store_ops *ops;
};

struct store_ops {
    const char *name;
    // Creates the store when there is none.
    strata_rc (*open)(struct os_machine *machine, const struct store_config *config,
                      struct store **store_out);
    strata_rc (*close)(struct store *s); // frees s whatever it returns
    // `m` gives the names of the keyspaces in `ops`. A put of `streamed` is written in pieces.
    strata_rc (*commit)(struct store *s, const struct model *m, const struct model_op *ops,
                        size_t count, strata_durability durability, bool streamed,
                        uint64_t *commit_out);
    strata_rc (*space_create)(struct store *s, const char *name);
    strata_rc (*space_drop)(struct store *s, const char *name);
    // Only the live members of `change` that are not zero.
    strata_rc (*space_alter)(struct store *s, const char *name,
                             const strata_keyspace_options *change);
    strata_rc (*sync)(struct store *s);
    strata_rc (*flush)(struct store *s);
    strata_rc (*compact)(struct store *s, bool values);
    strata_rc (*check)(struct store *s);
    uint64_t (*newest)(struct store *s);
    int64_t (*time_of)(struct store *s, uint64_t commit); // 0 when it is not known
    // True when the store shows exactly what the model held at commit `at`, or that it was trimmed
    // where retention allows it; `deep`: histories too. Else fault_out (STORE_FAULT_BYTES) says
    // what is different.
    bool (*agrees)(struct store *s, const struct model *m, uint64_t at, bool deep, char *fault_out);
};

extern const struct store_ops store_strata;
extern const struct store_ops store_toy;

// Bugs of the toy.
enum toy_bug {
    TOY_CORRECT,
    TOY_NO_SYNC,         // a synced commit is not synced
    TOY_ACK_FIRST,       // the sync comes after the acknowledgement
    TOY_NO_DIR_SYNC,     // the directory is not synced before the new log is trusted
    TOY_NO_CURRENT_SYNC, // CURRENT is renamed into place without a sync of its bytes
    TOY_TORN_BATCH,      // a record is accepted operation by operation
    TOY_HOLE,            // recovery goes on behind a bad record
    TOY_TRUST_TAIL,      // what recovery accepted is not made durable
    TOY_UNLINK_FIRST,    // the old log goes before the rename is durable
    TOY_SHARED_SECTOR,   // acknowledged bytes share a sector with bytes being written
    TOY_VALUE_NO_SYNC,   // a log record is synced before the values that it refers to
    TOY_VALUE_UNCHECKED, // recovery takes a separated value as it is
    TOY_VALUE_LEFT_OUT,  // rewriting the values leaves one out
    TOY_KEY_REWRITTEN,   // rewriting the values writes their keys again: deleted ones are back
    TOY_EXPIRY_LOST,     // recovery forgets when a value expires
    TOY_FLOOR_LOST,      // what was trimmed is forgotten: reads below the floor answer
    TOY_TRIM_EARLY,      // retention by age trims one commit too many
    TOY_BUGS
};
const char *toy_bug_name(enum toy_bug bug);

#endif
