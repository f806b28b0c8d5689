// Random work for a store: one step at a time, from a seed, with the model as its memory of what is
// there.
#ifndef MODEL_SCENARIO_H
#define MODEL_SCENARIO_H

#include "base/prng.h"
#include "model/model.h"
#include "strata.h"

#define SCENARIO_OPS_MAX 12u

enum step_kind {
    STEP_COMMIT,
    STEP_SPACE_CREATE,
    STEP_SPACE_DROP,
    STEP_SYNC,
    STEP_FLUSH,
    STEP_COMPACT,
    STEP_REOPEN,
    STEP_CRASH, // the machine dies; work goes on with what is left
    STEP_CRANK, // background work goes on for a while
    STEP_ALTER, // of a keyspace's options
    STEP_CLOCK, // both clocks go on
    STEP_COMPACT_VALUES,
    STEP_KINDS
};
const char *step_kind_name(enum step_kind kind);

struct step {
    enum step_kind kind;
    strata_durability durability;
    struct model_op ops[SCENARIO_OPS_MAX];
    size_t op_count;
    bool streamed;                  // a commit of one put, in pieces
    size_t space;                   // of a drop or an alter
    strata_keyspace_options change; // of an alter
    uint64_t seconds;               // of the clock
    char name[MODEL_NAME_BYTES];    // of a create
    uint8_t *bytes;                 // of keys and values
    size_t byte_count, byte_capacity;
};

// What a run of one seed is like.
struct scenario {
    struct prng random;
    uint64_t weights[STEP_KINDS];
    uint64_t keys;        // how many different keys there are
    uint64_t value_max;   // bytes of a usual value
    uint64_t sync_one_in; // commits that are synced
    bool expires;         // some puts expire
};

void scenario_init(struct scenario *s, uint64_t seed);
// The next step; its slices are valid until the next call with the same `step`.
void scenario_next(struct scenario *s, const struct model *m, int64_t wall_us, struct step *step);
void step_release(struct step *step);
// The model's part of a commit, create, drop or alter; returns the newest commit's number.
// `keyspace`: options of keyspaces that are created.
uint64_t step_apply(const struct step *step, struct model *m,
                    const strata_keyspace_options *keyspace, int64_t wall_us);
// Does the step make a commit?
bool step_commits(const struct step *step);

#endif
