// The steps of the model of live and history: writes, flushes, merges, moves, excises.
#include "model/live_history.h"

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

bool live_history_covers(const struct range *r, int key)
{
    return r->begin <= key && key < r->end;
}

static bool run_covers(const struct run *run, int key)
{
    for (size_t i = 0; i < run->ranges.count; i++) {
        if (live_history_covers(&run->ranges.at[i], key)) {
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

bool live_history_is_newer(struct version x, const struct version *than)
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

uint64_t live_history_time(uint64_t commit)
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

void live_history_write(struct db *db)
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
            point[k].expiry = 1 + live_history_time(commit) + prng_below(&db->random, 12);
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
    if (expiry == 0 || begin > floor || expiry > live_history_time(floor)) {
        return false;
    }
    uint64_t first = first_registered(db, begin, end);
    return first == end || live_history_time(first) >= expiry || db->mutant == EXPIRED_TO_ALL;
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
        if (live_history_covers(&ranges->at[i], key)) {
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

void live_history_flush(struct db *db)
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

void live_history_merge(struct db *db)
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

void live_history_move(struct db *db)
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
            if (r->at[x].commit == commit && live_history_covers(&r->at[x], key)) {
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
            if (live_history_covers(r, k) && r->commit < c) {
                return true;
            }
        }
        for (size_t i = 0; i < run; i++) {
            const struct run *u = &db->runs.at[i];
            if (u->has[k] && u->point[k].commit < c) {
                return true;
            }
            for (size_t x = 0; x < u->ranges.count; x++) {
                if (live_history_covers(&u->ranges.at[x], k) && u->ranges.at[x].commit < c) {
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

void live_history_excise(struct db *db)
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

void live_history_merge_history(struct db *db)
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
