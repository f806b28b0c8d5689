// A model of the rule by which versions live in two trees (live and history), run on random
// histories and compared with a list of all versions, every key at every commit.
//
// It proves the rule, not the engine: writes with batches, range deletes and expiries, flushes,
// merges of adjacent runs over key slices, deletes that become range deletes, moves, excises with
// and without a default end, history merges, registered commits and four kinds of retention. Each
// simpler rule that looks right is a mutant here, and must fail.
//
// Retention: a job takes a trim, which publishes the floor and then notes the registered commits;
// what nobody can ask any more goes. A job may work by a trim that is older than the writes and the
// registrations since (not with "last N", whose inputs are as old as its trim in the engine, too).
// The promise: every key at every commit at or above the published floor, or registered, reads
// exactly; with "last N" a commit that was not registered when a merge saw it may be TRIMMED where
// the key has had N - 1 values between that version and the present one.
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

static const char *const retention_names[RETENTIONS] = {"all", "age", "none", "last"};
static const char *const mutant_names[MUTANTS] = {
    "",
    "same_batch",
    "no_snapshot",
    "no_receipt",
    "last_level_multi",
    "drop_over_range",
    "newest_range",
    "excise_range",
    "excise_newest",
    "excise_naive",
    "no_floor_record",
    "range_not_skipped",
    "floor_unpublished",
    "floor_record_any",
    "floor_join_any",
    "floor_by_begin",
    "floor_not_cut",
    "expired_dropped",
    "expired_forgotten",
    "expired_for_now",
    "expired_to_all",
    "unread_by_greatest",
    "unread_one_key",
    "turn_gap",
    "turn_older",
    "turn_newer",
    "turn_asked",
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

static void add_version(struct versions *v, struct version x)
{
    test_grow((void **)&v->at, &v->capacity, v->count, sizeof x);
    v->at[v->count++] = x;
}

static void add_range(struct ranges *r, struct range x)
{
    test_grow((void **)&r->at, &r->capacity, r->count, sizeof x);
    r->at[r->count++] = x;
}

static void add_record(struct records *r, struct record x)
{
    test_grow((void **)&r->at, &r->capacity, r->count, sizeof x);
    r->at[r->count++] = x;
}

static void add_file(struct db *db, struct records file)
{
    if (file.count == 0) {
        free(file.at);
        return;
    }
    struct history *h = &db->history;
    test_grow((void **)&h->at, &h->capacity, h->count, sizeof file);
    h->at[h->count++] = file;
}

static bool range_covers(const struct range *r, int key)
{
    return r->begin <= key && key < r->end;
}

static bool run_covers(const struct run *run, int key)
{
    for (size_t i = 0; i < run->ranges.count; i++) {
        if (range_covers(&run->ranges.at[i], key)) {
            return true;
        }
    }
    return false;
}

// At one commit a point is newer than a range delete.
static int newer_first(const void *a, const void *b)
{
    const struct version *x = a;
    const struct version *y = b;
    if (x->commit != y->commit) {
        return x->commit > y->commit ? -1 : 1;
    }
    return (int)(y->kind != RANGE) - (int)(x->kind != RANGE);
}

static bool is_newer(struct version x, const struct version *than)
{
    return than == NULL || newer_first(&x, than) < 0;
}

static void drop_empty_runs(struct db *db)
{
    size_t kept = 0;
    for (size_t i = 0; i < db->runs.count; i++) {
        struct run *r = &db->runs.at[i];
        bool holds = r->ranges.count > 0;
        for (int k = 0; k < KEYS; k++) {
            holds = holds || r->has[k];
        }
        if (holds) {
            db->runs.at[kept++] = *r;
        } else {
            free(r->ranges.at);
        }
    }
    db->runs.count = kept;
}

static uint64_t time_of(uint64_t commit)
{
    return commit / COMMITS_A_SECOND;
}

// ---- writes

static void truth_remove(struct versions *v, uint64_t commit, bool ranges_too)
{
    size_t kept = 0;
    for (size_t i = 0; i < v->count; i++) {
        if (v->at[i].commit != commit || (!ranges_too && v->at[i].kind == RANGE)) {
            v->at[kept++] = v->at[i];
        }
    }
    v->count = kept;
}

static void write_range(struct db *db, uint64_t commit, bool *has)
{
    int begin = (int)prng_below(&db->random, KEYS);
    int end = begin + 1 + (int)prng_below(&db->random, (uint64_t)(KEYS - begin));
    add_range(&db->memtable_ranges, (struct range){begin, end, commit});
    for (int k = begin; k < end; k++) {
        has[k] = has[k] && db->mutant == SAME_BATCH;
        truth_remove(&db->all[k], commit, true);
        add_version(&db->all[k], (struct version){commit, RANGE, 0, 0});
    }
}

static void write_batch(struct db *db)
{
    uint64_t commit = ++db->newest;
    uint64_t count = prng_below(&db->random, 10) < 6 ? 1 : 2 + prng_below(&db->random, 3);
    bool has[KEYS] = {false};
    struct version point[KEYS];
    for (uint64_t i = 0; i < count; i++) {
        uint64_t x = prng_below(&db->random, 100);
        if (x >= (db->deletes ? 92 : 75)) {
            write_range(db, commit, has);
            continue;
        }
        int k = (int)prng_below(&db->random, KEYS);
        has[k] = true;
        point[k] = (struct version){commit, x < (db->deletes ? 35 : 55) ? PUT : DELETE,
                                    commit * 10 + i, 0};
        if (x < 20) {
            point[k].expiry = 1 + time_of(commit) + prng_below(&db->random, 12);
        }
        truth_remove(&db->all[k], commit, false);
        add_version(&db->all[k], point[k]);
    }
    for (int k = 0; k < KEYS; k++) {
        if (has[k]) {
            add_version(&db->memtable[k], point[k]);
        }
    }
}

// ---- what retention lets go

// What a job begins with. The floor is published before the registered commits are noted.
static void take_trim(struct db *db)
{
    bool may_be_old = db->retention == KEEP_AGE || db->retention == KEEP_NONE;
    if (may_be_old && prng_one_in(&db->random, 2)) {
        return; // the job has its trim since a while
    }
    uint64_t floor = db->retention == KEEP_AGE    ? db->wanted
                     : db->retention == KEEP_NONE ? db->newest
                                                  : 0;
    db->trim.floor = floor;
    if (db->mutant != FLOOR_UNPUBLISHED) {
        db->floor = floor;
    }
    memcpy(db->trim.registered, db->snapshot, sizeof db->snapshot);
}

// The first registered commit in [begin, end); `end` when there is none.
static uint64_t first_registered(const struct db *db, uint64_t begin, uint64_t end)
{
    for (uint64_t c = begin; c < end && c < STEPS + 2; c++) {
        if (db->trim.registered[c] && db->mutant != NO_SNAPSHOT) {
            return c;
        }
    }
    return end;
}

// May somebody ask for a commit in [begin, end)? For a receipt: is it above the floor?
static bool is_kept(const struct db *db, uint64_t begin, uint64_t end)
{
    return end > db->trim.floor || begin > db->trim.floor ||
           first_registered(db, begin, end) != end;
}

// Is a put that was written at `begin` and ended at `end` absent for everybody who may still ask?
static bool is_expired(const struct db *db, uint64_t begin, uint64_t end, uint64_t expiry)
{
    uint64_t floor = db->mutant == EXPIRED_FOR_NOW ? db->newest : db->trim.floor;
    if (expiry == 0 || begin > floor || expiry > time_of(floor)) {
        return false;
    }
    uint64_t first = first_registered(db, begin, end);
    return first == end || time_of(first) >= expiry || db->mutant == EXPIRED_TO_ALL;
}

// ---- what a merge ejects

static void eject(const struct db *db, struct records *to, int key, const struct version *v,
                  uint64_t end)
{
    if (v->commit == end || !is_kept(db, v->commit, end)) {
        return;
    }
    bool expired = is_expired(db, v->commit, end, v->expiry);
    if (!expired || db->mutant != EXPIRED_FORGOTTEN) {
        add_record(to, (struct record){key, v->commit, end, expired ? DELETE : v->kind, v->value,
                                       v->expiry});
    }
}

static void give_receipt(const struct db *db, struct records *to, int key, const struct version *v)
{
    if (v->commit > db->trim.floor && db->mutant != NO_RECEIPT) {
        add_record(to, (struct record){key, v->commit, v->commit, DELETE, 0, 0});
    }
}

// No run older than `run` holds the key or a range delete over it.
static bool is_last(const struct db *db, int key, size_t run)
{
    if (db->mutant == LAST_LEVEL_MULTI) {
        return run + 2 >= db->runs.count;
    }
    for (size_t i = run + 1; i < db->runs.count; i++) {
        const struct run *r = &db->runs.at[i];
        if (r->has[key] || (db->mutant != DROP_OVER_RANGE && run_covers(r, key))) {
            return false;
        }
    }
    return true;
}

static void merge_key(const struct db *db, int key, const struct versions *points,
                      const struct ranges *ranges, size_t place, struct run *out,
                      struct records *ejected)
{
    struct versions all = {0};
    uint64_t newest_range = 0;
    for (size_t i = 0; i < points->count; i++) {
        struct version v = points->at[i];
        if (v.kind == PUT && is_expired(db, v.commit, UINT64_MAX, v.expiry)) {
            if (db->mutant == EXPIRED_DROPPED) {
                continue;
            }
            v = (struct version){v.commit, DELETE, 0, 0};
        }
        add_version(&all, v);
    }
    for (size_t i = 0; i < ranges->count; i++) {
        if (range_covers(&ranges->at[i], key)) {
            uint64_t c = ranges->at[i].commit;
            add_version(&all, (struct version){c, RANGE, 0, 0});
            newest_range = c > newest_range ? c : newest_range;
        }
    }
    if (all.count > 0) {
        qsort(all.at, all.count, sizeof all.at[0], newer_first);
    }
    bool last = is_last(db, key, place);
    for (size_t i = 0; i < all.count; i++) {
        const struct version *v = &all.at[i];
        if (v->kind == RANGE) {
            bool repeated =
                i > 0 && all.at[i - 1].kind == RANGE && all.at[i - 1].commit == v->commit;
            bool dropped = db->mutant == NEWEST_RANGE && v->commit != newest_range;
            if (!last && !repeated && !dropped) {
                add_range(&out->ranges, (struct range){key, key + 1, v->commit});
            }
        } else if (v->kind == DELETE && last) {
            give_receipt(db, ejected, key, v);
        } else if (i == 0) {
            out->has[key] = true;
            out->point[key] = *v;
        } else {
            eject(db, ejected, key, v, all.at[i - 1].commit);
        }
    }
    free(all.at);
}

static void flush(struct db *db)
{
    bool any = db->memtable_ranges.count > 0;
    for (int k = 0; k < KEYS; k++) {
        any = any || db->memtable[k].count > 0;
    }
    if (!any) {
        return;
    }
    take_trim(db);
    test_grow((void **)&db->runs.at, &db->runs.capacity, db->runs.count, sizeof(struct run));
    memmove(db->runs.at + 1, db->runs.at, db->runs.count * sizeof(struct run));
    db->runs.count++;
    db->runs.at[0] = (struct run){.ranges = {0}};
    struct run out = {.ranges = {0}};
    struct records ejected = {0};
    for (int k = 0; k < KEYS; k++) {
        merge_key(db, k, &db->memtable[k], &db->memtable_ranges, 0, &out, &ejected);
        db->memtable[k].count = 0;
    }
    db->memtable_ranges.count = 0;
    db->runs.at[0] = out;
    add_file(db, ejected);
    drop_empty_runs(db);
}

// ---- slices of runs

static void pick_slice(struct db *db, int *begin_out, int *end_out)
{
    *begin_out = 0;
    *end_out = KEYS;
    if (prng_below(&db->random, 10) >= 4) {
        *begin_out = (int)prng_below(&db->random, KEYS);
        *end_out = *begin_out + 1 + (int)prng_below(&db->random, (uint64_t)(KEYS - *begin_out));
    }
    if (db->deletes && *end_out - *begin_out < KEYS && prng_one_in(&db->random, 2)) {
        *end_out = *begin_out + 1;
    }
}

// Takes the slice's range deletes out of a run.
static void cut_ranges(struct run *run, int begin, int end, struct ranges *to)
{
    struct ranges rest = {0};
    for (size_t i = 0; i < run->ranges.count; i++) {
        struct range r = run->ranges.at[i];
        int low = r.begin > begin ? r.begin : begin;
        int high = r.end < end ? r.end : end;
        if (low >= high) {
            add_range(&rest, r);
            continue;
        }
        if (to != NULL) {
            add_range(to, (struct range){low, high, r.commit});
        }
        if (r.begin < low) {
            add_range(&rest, (struct range){r.begin, low, r.commit});
        }
        if (high < r.end) {
            add_range(&rest, (struct range){high, r.end, r.commit});
        }
    }
    free(run->ranges.at);
    run->ranges = rest;
}

// ---- deletes that become a range delete

// May what run `r` holds from key `first` to `last` lie above (below, when not `newer`) a range
// delete of the commit? Of older runs also: is each key that it holds one of the deleted?
static bool turn_allows(const struct db *db, size_t r, bool newer, int first, int last,
                        uint64_t commit, const struct run *deletes)
{
    const struct run *run = &db->runs.at[r];
    for (int k = first; k <= last; k++) {
        if (!newer && run->has[k] && !deletes->has[k] && db->mutant != TURN_GAP) {
            return false;
        }
        if (run->has[k] && (run->point[k].commit > commit) != newer) {
            return db->mutant == (newer ? TURN_NEWER : TURN_OLDER);
        }
    }
    for (size_t i = 0; i < run->ranges.count; i++) {
        const struct range *x = &run->ranges.at[i];
        if (x->begin <= last && first < x->end && (x->commit > commit) != newer) {
            return db->mutant == (newer ? TURN_NEWER : TURN_OLDER);
        }
    }
    return true;
}

// The run that a merge of runs i..j has made holds nothing but deletes from `first` to `last`, and
// there is no range delete over any. Do they become one? It has the commit of the oldest of them:
// what newer runs hold of a key is newer than its delete. Nobody may ask for a commit at which only
// some of them are there, and everything below must be older.
static void turn_deletes(struct db *db, size_t i, size_t j, int first, int last)
{
    struct run *run = &db->runs.at[j];
    uint64_t least = UINT64_MAX;
    uint64_t greatest = 0;
    for (int k = first; k <= last; k++) {
        if (run->has[k]) {
            uint64_t c = run->point[k].commit;
            least = c < least ? c : least;
            greatest = c > greatest ? c : greatest;
        }
    }
    if (is_kept(db, least, greatest) && db->mutant != TURN_ASKED) {
        return;
    }
    for (size_t r = 0; r < db->runs.count; r++) {
        if ((r < i || r > j) && !turn_allows(db, r, r < i, first, last, least, run)) {
            return;
        }
    }
    for (int k = first; k <= last; k++) {
        run->has[k] = false;
    }
    add_range(&run->ranges, (struct range){first, last + 1, least});
}

static bool is_bare_delete(const struct run *run, int key)
{
    return run->has[key] && run->point[key].kind == DELETE && !run_covers(run, key);
}

// Runs i..j were merged over [begin, end).
static void turn_all_deletes(struct db *db, size_t i, size_t j, int begin, int end)
{
    const struct run *run = &db->runs.at[j];
    for (int first = begin; first < end; first++) {
        if (!is_bare_delete(run, first)) {
            continue;
        }
        int last = first;
        for (int k = first + 1; k < end && !run_covers(run, k); k++) {
            if (run->has[k] && !is_bare_delete(run, k)) {
                break;
            }
            last = run->has[k] ? k : last;
        }
        if (last > first) {
            turn_deletes(db, i, j, first, last);
        }
        first = last;
    }
}

static void merge(struct db *db)
{
    size_t n = db->runs.count;
    if (n == 0) {
        return;
    }
    take_trim(db);
    size_t i = (size_t)prng_below(&db->random, n);
    size_t j = i + (size_t)prng_below(&db->random, 4);
    j = j < n ? j : n - 1;
    int begin;
    int end;
    pick_slice(db, &begin, &end);
    struct versions points[KEYS] = {{0}};
    struct ranges ranges = {0};
    for (size_t r = i; r <= j; r++) {
        struct run *run = &db->runs.at[r];
        cut_ranges(run, begin, end, &ranges);
        for (int k = begin; k < end; k++) {
            if (run->has[k]) {
                add_version(&points[k], run->point[k]);
                run->has[k] = false;
            }
        }
    }
    struct records ejected = {0};
    for (int k = begin; k < end; k++) {
        merge_key(db, k, &points[k], &ranges, j, &db->runs.at[j], &ejected);
        free(points[k].at);
    }
    free(ranges.at);
    add_file(db, ejected);
    if (prng_one_in(&db->random, 2)) {
        turn_all_deletes(db, i, j, begin, end);
    }
    drop_empty_runs(db);
}

static bool slice_overlaps(const struct run *r, int begin, int end)
{
    for (int k = begin; k < end; k++) {
        if (r->has[k] || run_covers(r, k)) {
            return true;
        }
    }
    return false;
}

static void move_down(struct db *db)
{
    size_t n = db->runs.count;
    if (n < 2) {
        return;
    }
    size_t i = (size_t)prng_below(&db->random, n - 1);
    size_t j = i + 1 + (size_t)prng_below(&db->random, n - 1 - i);
    int begin;
    int end;
    pick_slice(db, &begin, &end);
    for (size_t r = i + 1; r <= j; r++) {
        if (slice_overlaps(&db->runs.at[r], begin, end)) {
            return;
        }
    }
    struct run *from = &db->runs.at[i];
    struct run *to = &db->runs.at[j];
    cut_ranges(from, begin, end, &to->ranges);
    for (int k = begin; k < end; k++) {
        if (from->has[k]) {
            to->has[k] = true;
            to->point[k] = from->point[k];
            from->has[k] = false;
        }
    }
    drop_empty_runs(db);
}

// ---- excise

static bool commit_covers(const struct db *db, size_t newer_than, uint64_t commit, int key)
{
    for (size_t i = 0; i < newer_than; i++) {
        const struct ranges *r = &db->runs.at[i].ranges;
        for (size_t x = 0; x < r->count; x++) {
            if (r->at[x].commit == commit && range_covers(&r->at[x], key)) {
                return true;
            }
        }
    }
    return false;
}

// The range delete that covers all of [begin, end) and is newer than `than`: the oldest one, or the
// newest for the mutant. 0 when there is none.
static uint64_t excising_commit(const struct db *db, size_t run, int begin, int end, uint64_t than)
{
    uint64_t found = 0;
    for (uint64_t c = than + 1; c <= db->newest; c++) {
        bool all = true;
        for (int k = begin; k < end && all; k++) {
            all = commit_covers(db, run, c, k);
        }
        if (all && (found == 0 || db->mutant == EXCISE_NEWEST)) {
            found = c;
        }
    }
    return found;
}

static bool newer_holds_older_than(const struct db *db, size_t run, int begin, int end, uint64_t c)
{
    for (int k = begin; k < end; k++) {
        for (size_t i = 0; i < db->memtable[k].count; i++) {
            if (db->memtable[k].at[i].commit < c) {
                return true;
            }
        }
        for (size_t i = 0; i < db->memtable_ranges.count; i++) {
            const struct range *r = &db->memtable_ranges.at[i];
            if (range_covers(r, k) && r->commit < c) {
                return true;
            }
        }
        for (size_t i = 0; i < run; i++) {
            const struct run *u = &db->runs.at[i];
            if (u->has[k] && u->point[k].commit < c) {
                return true;
            }
            for (size_t x = 0; x < u->ranges.count; x++) {
                if (range_covers(&u->ranges.at[x], k) && u->ranges.at[x].commit < c) {
                    return true;
                }
            }
        }
    }
    return false;
}

// A slice of a run, as narrow as its points, leaves live by an edit alone. False: try another.
static bool excise_slice(struct db *db, size_t run_index, int begin, int end)
{
    struct run *run = &db->runs.at[run_index];
    uint64_t greatest = 0;
    bool holds_range = false;
    int first = KEYS;
    int stop = 0;
    for (int k = begin; k < end; k++) {
        holds_range = holds_range || run_covers(run, k);
        if (run->has[k]) {
            first = k < first ? k : first;
            stop = k + 1;
            greatest = run->point[k].commit > greatest ? run->point[k].commit : greatest;
        }
    }
    if (first >= stop || (holds_range && db->mutant != EXCISE_RANGE)) {
        return false;
    }
    for (size_t i = 0; i < run->ranges.count; i++) {
        const struct range *r = &run->ranges.at[i];
        if (r->begin < end && begin < r->end && r->commit > greatest) {
            greatest = r->commit;
        }
    }
    uint64_t c = excising_commit(db, run_index, first, stop, greatest);
    bool asks =
        db->mutant != EXCISE_NAIVE && db->mutant != EXCISE_NEWEST && db->mutant != EXCISE_RANGE;
    if (c == 0 || (asks && newer_holds_older_than(db, run_index, first, stop, c))) {
        return false;
    }
    struct records ejected = {0};
    for (int k = first; k < stop; k++) {
        if (run->has[k]) {
            eject(db, &ejected, k, &run->point[k], c);
        }
        run->has[k] = false;
    }
    cut_ranges(run, first, stop, NULL);
    add_file(db, ejected);
    drop_empty_runs(db);
    return true;
}

// The commit of the oldest range delete of newer runs over the key that is newer than `than`; 0:
// there is none.
static uint64_t covering_commit(const struct db *db, size_t run, int key, uint64_t than)
{
    for (uint64_t c = than + 1; c <= db->newest; c++) {
        if (commit_covers(db, run, c, key)) {
            return c;
        }
    }
    return 0;
}

// A slice of a run leaves live unread, and nothing of it goes to history: it holds no range delete,
// each of its keys lies under a newer range delete, and nobody can ask for a commit between its
// oldest version and that delete. Nothing is asked of newer runs.
static bool excise_unread(struct db *db, size_t run_index, int begin, int end)
{
    struct run *run = &db->runs.at[run_index];
    uint64_t least = UINT64_MAX;
    uint64_t greatest = 0;
    int covered = 0;
    for (int k = begin; k < end; k++) {
        if (run_covers(run, k)) {
            return false;
        }
        if (run->has[k]) {
            uint64_t c = run->point[k].commit;
            least = c < least ? c : least;
            greatest = c > greatest ? c : greatest;
        }
    }
    for (int k = begin; k < end && greatest != 0; k++) {
        uint64_t c = covering_commit(db, run_index, k, greatest);
        if (c == 0 && db->mutant == UNREAD_ONE_KEY && covered > 0) {
            continue;
        }
        if (c == 0 || is_kept(db, db->mutant == UNREAD_BY_GREATEST ? greatest : least, c)) {
            return false;
        }
        covered++;
    }
    for (int k = begin; k < end; k++) {
        run->has[k] = false;
    }
    drop_empty_runs(db);
    return greatest != 0;
}

static void excise(struct db *db)
{
    take_trim(db);
    bool unread = prng_one_in(&db->random, 2);
    for (int attempt = 0; attempt < 6 && db->runs.count >= 2; attempt++) {
        size_t i = 1 + (size_t)prng_below(&db->random, db->runs.count - 1);
        int begin;
        int end;
        pick_slice(db, &begin, &end);
        if (unread ? excise_unread(db, i, begin, end) : excise_slice(db, i, begin, end)) {
            return;
        }
    }
}

// ---- history merges

static int by_begin_descending(const void *a, const void *b)
{
    const struct record *x = a;
    const struct record *y = b;
    return x->begin == y->begin ? 0 : x->begin > y->begin ? -1 : 1;
}

// Does a file that the merge does not read hold a version of the key that began in (begin, end)?
static bool others_hold(const struct db *db, int key, uint64_t begin, uint64_t end)
{
    for (size_t f = 0; f < db->history.count; f++) {
        const struct records *file = &db->history.at[f];
        for (size_t i = 0; i < file->count; i++) {
            const struct record *q = &file->at[i];
            if (q->key == key && begin < q->begin && q->begin < end) {
                return true;
            }
        }
    }
    return false;
}

// Puts a floor behind the others; it joins the one before when they touch and nothing lies between.
static void add_floor(const struct db *db, struct records *out, struct record q)
{
    struct record *last = out->count == 0 ? NULL : &out->at[out->count - 1];
    if (last != NULL && last->kind == FLOOR && last->key == q.key && last->begin == q.end &&
        (db->mutant == FLOOR_JOIN_ANY || !others_hold(db, q.key, q.begin, last->end))) {
        last->begin = q.begin;
        return;
    }
    q.kind = FLOOR;
    q.value = 0;
    q.expiry = 0;
    add_record(out, q);
}

// "Last N": the newest N - 1 puts stay, and the deletes between them; of what is older only what a
// registered commit needs. Floors stand in the place of the rest.
static void merge_to_last(const struct db *db, const struct record *q, int *puts,
                          struct records *out)
{
    bool needed = q->begin != q->end && first_registered(db, q->begin, q->end) != q->end;
    if (*puts < LAST_N - 1 || (needed && db->mutant != FLOOR_RECORD_ANY)) {
        *puts += q->kind == PUT;
        add_record(out, *q);
    } else if (q->begin != q->end && db->mutant != NO_FLOOR_RECORD) {
        add_floor(db, out, *q);
    }
}

static void merge_history_key(const struct db *db, int key, const struct records *in,
                              struct records *out)
{
    struct records l = {0};
    int puts = 0;
    for (size_t i = 0; i < in->count; i++) {
        if (in->at[i].key == key) {
            add_record(&l, in->at[i]);
        }
    }
    if (l.count > 0) {
        qsort(l.at, l.count, sizeof l.at[0], by_begin_descending);
    }
    for (size_t i = 0; i < l.count; i++) {
        struct record *q = &l.at[i];
        bool cuts = q->kind != FLOOR || db->mutant != FLOOR_NOT_CUT;
        if (i > 0 && q->begin != q->end && l.at[i - 1].begin < q->end && cuts) {
            q->end = l.at[i - 1].begin;
        }
        if (!is_kept(db, q->begin, q->end)) {
            continue;
        }
        if (is_expired(db, q->begin, q->end, q->expiry)) {
            if (db->mutant == EXPIRED_FORGOTTEN) {
                continue;
            }
            q->kind = DELETE;
        }
        if (q->kind == FLOOR) {
            add_floor(db, out, *q);
        } else if (db->retention == KEEP_LAST) {
            merge_to_last(db, q, &puts, out);
        } else {
            add_record(out, *q);
        }
    }
    free(l.at);
}

static void merge_history(struct db *db)
{
    struct history *h = &db->history;
    if (h->count == 0) {
        return;
    }
    take_trim(db);
    uint64_t n = 1 + prng_below(&db->random, h->count < 4 ? h->count : 4);
    struct records in = {0};
    for (; n > 0; n--) {
        size_t pick = (size_t)prng_below(&db->random, h->count);
        for (size_t i = 0; i < h->at[pick].count; i++) {
            add_record(&in, h->at[pick].at[i]);
        }
        free(h->at[pick].at);
        h->at[pick] = h->at[--h->count];
    }
    struct records out = {0};
    for (int k = 0; k < KEYS; k++) {
        merge_history_key(db, k, &in, &out);
    }
    free(in.at);
    add_file(db, out);
}

// ---- reads

struct search {
    bool found, skipped;
    struct version best;
};

static void consider(struct search *s, struct version v, uint64_t at, bool skips)
{
    if (v.commit > at) {
        s->skipped = s->skipped || skips;
    } else if (is_newer(v, s->found ? &s->best : NULL)) {
        s->best = v;
        s->found = true;
    }
}

static void search_ranges(const struct db *db, struct search *s, const struct ranges *r, int key,
                          uint64_t at)
{
    for (size_t i = 0; i < r->count; i++) {
        if (range_covers(&r->at[i], key)) {
            consider(s, (struct version){r->at[i].commit, RANGE, 0, 0}, at,
                     db->mutant != RANGE_NOT_SKIPPED);
        }
    }
}

// The greatest begin wins. A floor that wins in history wins over live, too: what live holds may be
// newer than the floor's begin, when that stands for several versions, but it was superseded by one
// of them.
static void search_history(const struct db *db, struct search *s, int key, uint64_t at)
{
    struct search in = {0};
    for (size_t f = 0; f < db->history.count; f++) {
        const struct records *file = &db->history.at[f];
        for (size_t i = 0; i < file->count; i++) {
            const struct record *q = &file->at[i];
            if (q->key == key && q->begin <= at && at < q->end) {
                consider(&in, (struct version){q->begin, q->kind, q->value, q->expiry}, at, false);
            }
        }
    }
    if (in.found && in.best.kind == FLOOR && db->mutant != FLOOR_BY_BEGIN) {
        *s = in;
    } else if (in.found) {
        consider(s, in.best, at, false);
    }
}

// 0 is absence.
static uint64_t value_at(const struct version *v, uint64_t at)
{
    bool hidden = v->expiry != 0 && v->expiry <= time_of(at);
    return v->kind == PUT && !hidden ? v->value : 0;
}

// 0 is absence. False: TRIMMED.
static bool get(const struct db *db, int key, uint64_t at, uint64_t *value_out)
{
    struct search s = {0};
    for (size_t i = 0; i < db->memtable[key].count; i++) {
        consider(&s, db->memtable[key].at[i], at, true);
    }
    search_ranges(db, &s, &db->memtable_ranges, key, at);
    for (size_t i = 0; i < db->runs.count && !s.found; i++) {
        const struct run *r = &db->runs.at[i];
        if (r->has[key]) {
            consider(&s, r->point[key], at, true);
        }
        search_ranges(db, &s, &r->ranges, key, at);
    }
    if ((!s.found || s.skipped) && at != db->newest) {
        search_history(db, &s, key, at);
    }
    *value_out = s.found ? value_at(&s.best, at) : 0;
    return !s.found || s.best.kind != FLOOR;
}

// ---- checks

static const struct version *truth_at(const struct db *db, int key, uint64_t at)
{
    const struct version *best = NULL;
    for (size_t i = 0; i < db->all[key].count; i++) {
        const struct version *v = &db->all[key].at[i];
        if (v->commit <= at && is_newer(*v, best)) {
            best = v;
        }
    }
    return best;
}

// A read may be TRIMMED only where the key has had N - 1 values between the true version and the
// present one, whatever that is.
static bool may_be_trimmed(const struct db *db, int key, const struct version *truth)
{
    const struct version *present = truth_at(db, key, db->newest);
    int between = 0;
    for (size_t i = 0; i < db->all[key].count; i++) {
        const struct version *v = &db->all[key].at[i];
        between += v->kind == PUT && v != present && (truth == NULL || v->commit > truth->commit);
    }
    return db->retention == KEEP_LAST && between >= LAST_N - 1;
}

static void check_reads(struct db *db, int key)
{
    for (uint64_t at = 0; at <= db->newest; at++) {
        if (at < db->floor && !db->snapshot[at]) {
            continue;
        }
        const struct version *truth = truth_at(db, key, at);
        uint64_t expected = truth == NULL ? 0 : value_at(truth, at);
        uint64_t got;
        if (!get(db, key, at, &got)) {
            if (db->snapshot[at] || !may_be_trimmed(db, key, truth)) {
                snprintf(db->fault, sizeof db->fault, "key %d at %llu: trimmed inside retention",
                         key, (unsigned long long)at);
            }
        } else if (got != expected) {
            snprintf(db->fault, sizeof db->fault, "key %d at %llu: got %llu, expected %llu", key,
                     (unsigned long long)at, (unsigned long long)got, (unsigned long long)expected);
        }
    }
}

// With retention "all" every point is still somewhere: for the history of a key and for feeds.
static void check_versions(struct db *db, int key)
{
    bool have[STEPS + 2] = {false};
    size_t points = 0;
    for (size_t i = 0; i < db->memtable[key].count; i++) {
        have[db->memtable[key].at[i].commit] = true;
    }
    for (size_t i = 0; i < db->runs.count; i++) {
        if (db->runs.at[i].has[key]) {
            have[db->runs.at[i].point[key].commit] = true;
        }
    }
    for (size_t f = 0; f < db->history.count; f++) {
        for (size_t i = 0; i < db->history.at[f].count; i++) {
            const struct record *q = &db->history.at[f].at[i];
            have[q->key == key ? q->begin : 0] = true;
        }
    }
    for (size_t i = 0; i < db->all[key].count; i++) {
        const struct version *v = &db->all[key].at[i];
        if (v->kind == RANGE) {
            continue;
        }
        points++;
        if (!have[v->commit]) {
            snprintf(db->fault, sizeof db->fault, "key %d: the version of commit %llu is lost", key,
                     (unsigned long long)v->commit);
        }
    }
    size_t found = 0;
    for (uint64_t c = 1; c <= db->newest; c++) {
        found += have[c] ? 1 : 0;
    }
    if (found > points) {
        snprintf(db->fault, sizeof db->fault, "key %d: a version appears that was not written",
                 key);
    }
}

// In one file the intervals of a key do not overlap, or a reader could not stop at the first.
static void check_file(struct db *db, const struct records *file)
{
    for (size_t i = 0; i < file->count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct record *x = &file->at[i];
            const struct record *y = &file->at[j];
            if (x->key == y->key && x->begin < y->end && y->begin < x->end) {
                snprintf(db->fault, sizeof db->fault, "key %d: intervals of a file overlap",
                         x->key);
            }
        }
    }
}

static void check(struct db *db)
{
    for (int k = 0; k < KEYS; k++) {
        check_reads(db, k);
        if (db->retention == KEEP_ALL) {
            check_versions(db, k);
        }
    }
    for (size_t i = 0; i < db->history.count; i++) {
        check_file(db, &db->history.at[i]);
    }
    for (size_t i = 0; i < db->runs.count; i++) {
        const struct run *r = &db->runs.at[i];
        for (size_t x = 0; x < r->ranges.count; x++) {
            for (int k = r->ranges.at[x].begin; k < r->ranges.at[x].end; k++) {
                if (r->has[k] && r->ranges.at[x].commit > r->point[k].commit) {
                    snprintf(db->fault, sizeof db->fault,
                             "a run holds key %d and a newer range "
                             "delete over it",
                             k);
                }
            }
        }
    }
}

// ---- histories

static void change_registrations(struct db *db)
{
    if (db->retention == KEEP_ALL) {
        return;
    }
    if (prng_one_in(&db->random, 2)) {
        // The newest commit; or an older one that nothing was trimmed of yet.
        bool older = db->retention != KEEP_LAST && prng_one_in(&db->random, 2);
        uint64_t back = older ? prng_below(&db->random, db->newest - db->floor + 1) : 0;
        db->snapshot[db->newest - back] = true;
    } else {
        uint64_t from = prng_below(&db->random, db->newest + 1);
        for (uint64_t i = 0; i <= db->newest; i++) {
            uint64_t c = (from + i) % (db->newest + 1);
            if (db->snapshot[c]) {
                db->snapshot[c] = false;
                break;
            }
        }
    }
    if (db->retention == KEEP_AGE && prng_one_in(&db->random, 2)) {
        uint64_t floor = prng_below(&db->random, db->newest + 1);
        db->wanted = floor > db->wanted ? floor : db->wanted;
    }
}

static void step(struct db *db)
{
    uint64_t x = prng_below(&db->random, 100);
    if (x < 45) {
        write_batch(db);
    } else if (x < 58) {
        flush(db);
    } else if (x < (db->deletes ? 68 : 76)) {
        merge(db);
    } else if (x < 82) {
        move_down(db);
    } else if (x < 89) {
        excise(db);
    } else if (x < 96) {
        merge_history(db);
    } else {
        change_registrations(db);
    }
}

static void db_free_all(struct db *db)
{
    for (int k = 0; k < KEYS; k++) {
        free(db->all[k].at);
        free(db->memtable[k].at);
    }
    for (size_t i = 0; i < db->runs.count; i++) {
        free(db->runs.at[i].ranges.at);
    }
    for (size_t i = 0; i < db->history.count; i++) {
        free(db->history.at[i].at);
    }
    free(db->memtable_ranges.at);
    free(db->runs.at);
    free(db->history.at);
}

// False, with the reason in fault_out, when the history shows a difference.
static bool run_history(enum retention retention, enum mutant mutant, uint64_t seed,
                        char *fault_out)
{
    struct db db = {.retention = retention, .mutant = mutant};
    db.random.state = prng_mix(seed);
    db.deletes = prng_one_in(&db.random, 2);
    for (int t = 0; t < STEPS && db.fault[0] == '\0'; t++) {
        step(&db);
        if (t % CHECK_EVERY == 0) {
            check(&db);
        }
    }
    if (db.fault[0] == '\0') {
        check(&db);
    }
    memcpy(fault_out, db.fault, sizeof db.fault);
    db_free_all(&db);
    return fault_out[0] == '\0';
}

// True when some retention shows the mutant within `count` histories.
static bool mutant_is_caught(enum mutant mutant, uint64_t seed, uint64_t count, uint64_t *cases)
{
    char fault[160];
    for (uint64_t i = 0; i < count; i++) {
        for (int r = 0; r < RETENTIONS; r++) {
            (*cases)++;
            if (!run_history((enum retention)r, mutant, seed + i, fault)) {
                printf("mutant %-18s caught: retention %s, seed %llu: %s\n", mutant_names[mutant],
                       retention_names[r], (unsigned long long)(seed + i), fault);
                return true;
            }
        }
    }
    printf("mutant %s NOT caught in %llu histories of each retention\n", mutant_names[mutant],
           (unsigned long long)count);
    return false;
}

int main(int argc, char **argv)
{
    struct test_options o;
    test_options_parse(&o, argc, argv);
    uint64_t count = o.count > 0 ? o.count : 2000;
    uint64_t cases = 0;
    char fault[160];
    for (uint64_t i = 0; i < count && !test_time_is_up(&o); i++) {
        for (int r = 0; r < RETENTIONS; r++) {
            cases++;
            if (!run_history((enum retention)r, MUTANT_NONE, o.seed + i, fault)) {
                printf("FAILED: retention %s, seed %llu: %s\n", retention_names[r],
                       (unsigned long long)(o.seed + i), fault);
                return 1;
            }
        }
    }
    bool all_caught = true;
    for (int m = 1; m < MUTANTS; m++) {
        if (o.mutant == NULL || strcmp(o.mutant, mutant_names[m]) == 0) {
            all_caught = mutant_is_caught((enum mutant)m, o.seed, 20000, &cases) && all_caught;
        }
    }
    printf("seed %llu\ncases: %llu\n", (unsigned long long)o.seed, (unsigned long long)cases);
    return all_caught ? 0 : 1;
}
