// Scripts of operations on a database: made from a seed, kept as text, run on a configuration, and
// compared with the model at every step. Each operation stands alone, so that any of them can be
// taken out: one that makes no sense where it stands is skipped.
#ifndef MODEL_SCRIPT_H
#define MODEL_SCRIPT_H

#include "model/config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SCRIPT_SPACES 4u
#define SCRIPT_SLOTS 3u
#define SCRIPT_KEYS 150u

enum script_kind {
    SCRIPT_PUT,         // space key bytes seed durability + 3 * expiry
    SCRIPT_DELETE,      // space key - - durability
    SCRIPT_RANGE,       // space key key - durability
    SCRIPT_BATCH,       // - count seed - durability
    SCRIPT_GET,         // space key - - when
    SCRIPT_GET_MANY,    // space count seed - when
    SCRIPT_SCAN,        // space key key flags when
    SCRIPT_WALK,        // space count seed flags when
    SCRIPT_HISTORY,     // space key key - when
    SCRIPT_KEY_HISTORY, // space key - - when
    SCRIPT_SNAPSHOT,    // slot: take, or release when it is taken
    SCRIPT_ITER,        // slot key - - space: open and seek, or close when it is open
    SCRIPT_STEP,        // slot count direction
    SCRIPT_CREATE,      // space
    SCRIPT_DROP,        // space
    SCRIPT_SYNC,
    SCRIPT_FLUSH,
    SCRIPT_COMPACT, // space; SCRIPT_SPACES: all
    SCRIPT_CRANK,   // steps
    SCRIPT_IDLE,
    SCRIPT_CHECK,
    SCRIPT_COMPARE, // everything, at `when`
    SCRIPT_REOPEN,
    SCRIPT_CRASH,  // policy seed
    SCRIPT_STREAM, // space key bytes seed durability + 3 * expiry: a put in pieces, or aborted
    SCRIPT_READER, // slot key - seed space: open on a key, then read pieces, at last close
    SCRIPT_ALTER,  // space what choice
    SCRIPT_CLOCK,  // seconds: both clocks go on
    SCRIPT_COMPACT_VALUES, // space; SCRIPT_SPACES: all
    SCRIPT_KINDS
};

// What the arguments mean is said above: a, b, c, d, e in that order. `when`: 0 now, 1 to
// SCRIPT_SLOTS a snapshot's commit, else a commit (modulo those that there are). Expiry: 0 what the
// keyspace says, 1 never, 2 the past, else so many seconds from now.
struct script_op {
    enum script_kind kind;
    uint64_t a, b, c, d, e;
};

struct script {
    struct script_op *ops;
    size_t count, capacity;
};

void script_make(struct script *s, uint64_t seed, uint64_t count);
void script_release(struct script *s);
void script_print(const struct script *s, FILE *to);
// test_fatal on a line that is not an operation.
void script_read(struct script *s, FILE *from);
const char *script_kind_name(enum script_kind kind);

#define SCRIPT_FAULT_BYTES 700u

// True when the run agrees with the model everywhere. Else fault_out says at which operation.
bool script_run(const struct script *s, const struct config *config, char *fault_out);

#endif
