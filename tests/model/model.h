// The model of a database: every version of every key, in plain sorted arrays. What it answers is
// what a database must answer.
//
// Invariants: commits are dense from 1; points of a key ascend by commit, at most one a commit;
// range deletes of a keyspace ascend by commit; at one commit a point is newer than a range delete.
// One thread. Memory never runs out (lib/test_lib.h).
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_SPACES_MAX 64u
#define MODEL_NAME_BYTES 32u

enum model_kind { MODEL_PUT = 1, MODEL_DELETE = 2, MODEL_DELETE_RANGE = 3 };

// One operation of a batch.
struct model_op {
    enum model_kind kind;
    size_t space;       // index into model.spaces
    struct slice key;   // begin of a range
    struct slice value; // end of a range
};

struct model_version {
    uint64_t commit;
    enum model_kind kind; // PUT or DELETE
    struct slice value;   // owned
};

struct model_key {
    struct slice key; // owned
    struct model_version *versions;
    size_t count, capacity;
};

struct model_range {
    uint64_t commit;
    struct slice begin, end; // owned
};

struct model_space {
    char name[MODEL_NAME_BYTES];
    uint64_t created;       // commit; 0: always there
    uint64_t dropped;       // commit; 0: alive
    struct model_key *keys; // ascending
    size_t key_count, key_capacity;
    struct model_range *ranges;
    size_t range_count, range_capacity;
};

struct model {
    uint64_t newest;
    struct model_space spaces[MODEL_SPACES_MAX]; // [0] is "default"
    size_t space_count;
};

struct model *model_new(void);
void model_free(struct model *m); // NULL is ignored

// Each is one commit and returns its number.
uint64_t model_commit(struct model *m, const struct model_op *ops, size_t count);
uint64_t model_space_create(struct model *m, const char *name);
uint64_t model_space_drop(struct model *m, size_t space);
// A commit without effect: what an engine does for itself when it creates a database.
uint64_t model_commit_nothing(struct model *m);
// Forgets every commit above `commit`.
void model_cut(struct model *m, uint64_t commit);

bool model_space_is_there(const struct model *m, size_t space, uint64_t at);
// The keyspace of that name as of a commit; SIZE_MAX when there is none.
size_t model_space_named(const struct model *m, const char *name, uint64_t at);

// The index of the first key >= `key`.
size_t model_key_index(const struct model_space *s, struct slice key);
// The version of a key as of a commit that gives it a value, or NULL.
const struct model_version *model_value_at(const struct model_space *s, const struct model_key *k,
                                           uint64_t at);
const struct model_version *model_get(const struct model_space *s, struct slice key, uint64_t at);

// A version as the history of a key shows it.
struct model_seen {
    uint64_t commit;
    uint64_t end; // the next newer version's commit; 0 when it stands
    enum model_kind kind;
    struct slice value; // the model's
    // A range delete that ended no value: a database may show it or not.
    bool optional;
};

// Versions of a key up to commit `at`, newest first, in a new array (free it); range deletes are
// there once for each commit.
size_t model_history(const struct model_space *s, const struct model_key *k, uint64_t at,
                     struct model_seen **seen_out);

#endif
