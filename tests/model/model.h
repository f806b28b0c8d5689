// The model of a database: every version of every key, in plain sorted arrays. What it answers is
// what a database must answer.
//
// Invariants: commits are dense from 1; points of a key ascend by commit, at most one a commit;
// range deletes of a keyspace ascend by commit; at one commit a point is newer than a range delete.
//
// Time: every commit has a time, in microseconds; what expires is judged by whole seconds. A
// keyspace has a policy of retention that changes with time. What a database may let go is the
// union of what each policy so far allowed while it was in force: a floor, and stretches under
// RETENTION_VERSIONS. The model itself forgets nothing. One thread. Memory never runs out
// (lib/test_lib.h).
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "base/slice.h"
#include "strata.h"

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
    int64_t expires_us; // of a put: as strata_write.expires_unix_us
};

struct model_version {
    uint64_t commit;
    enum model_kind kind; // PUT or DELETE
    struct slice value;   // owned
    int64_t expiry_us;    // a whole second; 0: never
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

struct model_policy {
    strata_retention retention; // not DEFAULT
    uint32_t versions;
    uint32_t age_seconds;
    uint32_t expire_seconds; // 0: never
};

// RETENTION_VERSIONS was in force up to commit `until`; UINT64_MAX: it may be to this day.
struct model_stretch {
    uint32_t versions;
    uint64_t until;
};

#define MODEL_STRETCHES_MAX 8u

struct model_space {
    char name[MODEL_NAME_BYTES];
    uint64_t created;       // commit; 0: always there
    uint64_t dropped;       // commit; 0: alive
    struct model_key *keys; // ascending
    size_t key_count, key_capacity;
    struct model_range *ranges;
    size_t range_count, range_capacity;
    struct model_policy policy;
    uint64_t floor; // the greatest that policies up to the last model_advance allowed
    struct model_stretch stretches[MODEL_STRETCHES_MAX]; // that are over
    size_t stretch_count;
};

struct model {
    uint64_t newest;
    int64_t *times; // of commits, by number; [0] is 0
    size_t time_capacity;
    struct model_space spaces[MODEL_SPACES_MAX]; // [0] is "default"
    size_t space_count;
};

struct model *model_new(void);
void model_free(struct model *m); // NULL is ignored

// Each is one commit and returns its number.
uint64_t model_commit(struct model *m, const struct model_op *ops, size_t count);
uint64_t model_space_create(struct model *m, const char *name);
uint64_t model_space_drop(struct model *m, size_t space);
// Sets the time of the newest commit, which is that of the commit before it until then. Expiries
// that a keyspace gives by default are counted from here.
void model_set_time(struct model *m, int64_t time_us);
// A commit without effect: what an engine does for itself when it creates a database.
uint64_t model_commit_nothing(struct model *m);
// Forgets every commit above `commit`.
void model_cut(struct model *m, uint64_t commit);

// ---- retention

struct model_policy model_policy_of(const strata_keyspace_options *options);
// From now on.
void model_set_policy(struct model *m, size_t space, struct model_policy policy, int64_t now_us);
// Takes down what the present policies allow at this moment, for later.
void model_advance(struct model *m, int64_t now_us);
// The greatest floor that a database may have had by now.
uint64_t model_floor(const struct model *m, size_t space, int64_t now_us);
// May the version of a key that stood at commit `at` be gone under RETENTION_VERSIONS? What is told
// of a delete is told of the version that it ended: it goes with that one.
bool model_may_forget(const struct model *m, const struct model_space *s, const struct model_key *k,
                      uint64_t at, bool is_delete);
int64_t model_time_s(const struct model *m, uint64_t commit); // whole seconds, in microseconds
// By what a read now judges expiry.
int64_t model_now_s(const struct model *m, int64_t wall_us);

bool model_space_is_there(const struct model *m, size_t space, uint64_t at);
// The keyspace of that name as of a commit; SIZE_MAX when there is none.
size_t model_space_named(const struct model *m, const char *name, uint64_t at);

// The index of the first key >= `key`.
size_t model_key_index(const struct model_space *s, struct slice key);
// The version of a key as of a commit that gives it a value, judged at a time, or NULL.
const struct model_version *model_value_at(const struct model_space *s, const struct model_key *k,
                                           uint64_t at, int64_t time_us);
const struct model_version *model_get(const struct model_space *s, struct slice key, uint64_t at,
                                      int64_t time_us);

// A version as the history of a key shows it.
struct model_seen {
    uint64_t commit;
    uint64_t end; // the next newer version's commit; 0 when it stands
    enum model_kind kind;
    struct slice value; // the model's
    int64_t expiry_us;
    // A range delete that ended no value: a database may show it or not.
    bool optional;
};

// Versions of a key up to commit `at`, newest first, in a new array (free it); range deletes are
// there once for each commit.
size_t model_history(const struct model_space *s, const struct model_key *k, uint64_t at,
                     struct model_seen **seen_out);

#endif
