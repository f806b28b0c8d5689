// The model of live and history: its state, and the steps that change it. The rules and the faults
// planted in them are in live_history.c; reads, checks and random histories in t_live_history.c.
#ifndef MODEL_LIVE_HISTORY_H
#define MODEL_LIVE_HISTORY_H

#include "base/prng.h"
#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEYS = 5, LAST_N = 2, STEPS = 110, CHECK_EVERY = 12, COMMITS_A_SECOND = 2 };

enum kind { PUT, DELETE, RANGE, FLOOR };
enum retention { KEEP_ALL, KEEP_AGE, KEEP_NONE, KEEP_LAST, RETENTIONS };
enum mutant {
    MUTANT_NONE,
    SAME_BATCH,         // a range delete does not remove earlier points of its own batch
    NO_SNAPSHOT,        // trimming does not look at registered commits
    NO_RECEIPT,         // a dropped delete leaves nothing in history
    LAST_LEVEL_MULTI,   // "last" is judged by the level: the last two runs
    DROP_OVER_RANGE,    // older range deletes do not count as holding the key
    NEWEST_RANGE,       // only the newest range delete over a fragment is kept
    EXCISE_RANGE,       // a table that holds a range delete is excised
    EXCISE_NEWEST,      // the newest covering range delete gives the default end
    EXCISE_NAIVE,       // newer sources are not asked for older commits
    NO_FLOOR_RECORD,    // "last N" trims without a floor record
    RANGE_NOT_SKIPPED,  // a range delete newer than the read does not count as skipped
    FLOOR_UNPUBLISHED,  // a job trims by the newest commit, but readers go on at the floor before
    FLOOR_RECORD_ANY,   // "last N" also replaces what a registered commit needs
    FLOOR_JOIN_ANY,     // floors are joined although another file holds a version between
    FLOOR_BY_BEGIN,     // a floor wins over live by its begin only
    FLOOR_NOT_CUT,      // a floor is not cut at the begin of a newer version
    EXPIRED_DROPPED,    // an expired put leaves live without a trace
    EXPIRED_FORGOTTEN,  // an expired version leaves history without a trace
    EXPIRED_FOR_NOW,    // expiry asks the newest commit's time instead of the floor's
    EXPIRED_TO_ALL,     // expiry does not look at registered commits
    UNREAD_BY_GREATEST, // a table leaves unread although registered commits need its older versions
    UNREAD_ONE_KEY,     // a table leaves unread that is not covered whole
    TURN_GAP,           // deletes are turned although an older run holds a key between them
    TURN_OLDER,         // or older runs hold something newer than the oldest of them
    TURN_NEWER,         // newer runs are not asked for something older
    TURN_ASKED,         // nor anybody whether he asks for a commit between them
    MUTANTS
};

struct version {
    uint64_t commit;
    enum kind kind;
    uint64_t value;
    uint64_t expiry; // a time; 0: never
};

struct range {
    int begin, end;
    uint64_t commit;
};

struct record {
    int key;
    uint64_t begin, end;
    enum kind kind;
    uint64_t value;
    uint64_t expiry;
};

struct versions {
    struct version *at;
    size_t count, capacity;
};

struct ranges {
    struct range *at;
    size_t count, capacity;
};

struct records {
    struct record *at;
    size_t count, capacity;
};

struct run {
    bool has[KEYS];
    struct version point[KEYS];
    struct ranges ranges;
};

struct runs {
    struct run *at; // newest first
    size_t count, capacity;
};

struct history {
    struct records *at; // files
    size_t count, capacity;
};

struct trim {
    uint64_t floor;
    bool registered[STEPS + 2]; // by commit
};

struct db {
    struct prng random;
    enum retention retention;
    enum mutant mutant;
    bool deletes; // are frequent
    uint64_t newest;
    struct versions all[KEYS]; // the truth
    struct versions memtable[KEYS];
    struct ranges memtable_ranges;
    struct runs runs;
    struct history history;
    uint64_t floor;           // as published
    uint64_t wanted;          // floor of retention by age
    bool snapshot[STEPS + 2]; // by commit
    struct trim trim;         // of the job in work
    char fault[160];          // the first difference
};

bool live_history_covers(const struct range *r, int key);
// At one commit a point is newer than a range delete. `than` may be NULL.
bool live_history_is_newer(struct version x, const struct version *than);
uint64_t live_history_time(uint64_t commit); // by which expiry is judged

// The steps. What they do is drawn from db->random.
void live_history_write(struct db *db);
void live_history_flush(struct db *db);
void live_history_merge(struct db *db);
void live_history_move(struct db *db);
void live_history_excise(struct db *db);
void live_history_merge_history(struct db *db);

#endif
