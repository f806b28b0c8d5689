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
#include "model/live_history.h"

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

// ---- reads

struct search {
    bool found, skipped;
    struct version best;
};

static void consider(struct search *s, struct version v, uint64_t at, bool skips)
{
    if (v.commit > at) {
        s->skipped = s->skipped || skips;
    } else if (live_history_is_newer(v, s->found ? &s->best : NULL)) {
        s->best = v;
        s->found = true;
    }
}

static void search_ranges(const struct db *db, struct search *s, const struct ranges *r, int key,
                          uint64_t at)
{
    for (size_t i = 0; i < r->count; i++) {
        if (live_history_covers(&r->at[i], key)) {
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
    bool hidden = v->expiry != 0 && v->expiry <= live_history_time(at);
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
        if (v->commit <= at && live_history_is_newer(*v, best)) {
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
        live_history_write(db);
    } else if (x < 58) {
        live_history_flush(db);
    } else if (x < (db->deletes ? 68 : 76)) {
        live_history_merge(db);
    } else if (x < 82) {
        live_history_move(db);
    } else if (x < 89) {
        live_history_excise(db);
    } else if (x < 96) {
        live_history_merge_history(db);
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
