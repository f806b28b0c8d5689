// Tables that leave without being read, by an edit alone. Of a history table nothing must stay when
// nobody can ask for a commit of any of its intervals. Of a live table, when each of its keys lies
// under a newer range delete and nobody can ask for a commit from the table's oldest version up to
// it: what the key was then, nobody sees, and from there on it is the range delete or newer. What
// newer runs hold of such a key does not matter; the model says so
// (tests/model/t_live_history.c).
//
// Memtables are not looked at: all they hold is newer than every table.
#include "compact/compact.h"

#include "base/mutant.h"

struct excise {
    const struct compact_trim *trim;
    const struct catalog_space *space;
    const struct shape_claims *claims;
    struct edit *edit;
    uint64_t bytes;
};

static bool excise_is_claimed(const struct excise *x, const struct run *run)
{
    for (size_t i = 0; x->claims != NULL && i < x->claims->count; i++) {
        if (x->claims->runs[i] == run->number) {
            return true;
        }
    }
    return false;
}

static strata_rc excise_table(struct excise *x, const struct table *t)
{
    const struct table_meta *meta = table_meta(t);
    strata_rc rc = STRATA_OK;
    if (x->bytes == 0) {
        rc = edit_set_floor(x->edit, x->space->number, x->trim->floor);
    }
    if (rc == STRATA_OK) {
        rc = edit_remove_table(x->edit, x->space->number, meta->history, meta->file);
    }
    x->bytes += meta->bytes;
    return rc;
}

// ---- live

// The end of a range delete in the run that covers `key` and hides all of the table from everybody
// who may ask; empty when there is none.
static struct slice excise_covered_by(const struct excise *x, const struct run *run,
                                      struct slice key, const struct table_meta *of)
{
    const struct table *t = run->range_fragments == 0 ? NULL : run_find(run, key);
    const struct range_fragment *f = t == NULL ? NULL : range_dels_cover(table_range_dels(t), key);
    uint32_t i = f == NULL ? 0 : f->count;
    while (i > 0 && f->commits[i - 1] <= of->commit_greatest) {
        i--;
    }
    if (i == 0 || compact_trim_keeps(x->trim, of->commit_least, f->commits[i - 1], 0)) {
        return slice_of(NULL, 0);
    }
    struct slice upper = table_meta(t)->upper;
    return slice_compare(f->end, upper) < 0 ? f->end : upper;
}

// Do range deletes of the runs that are newer than run `index` of `level` cover the whole table?
static bool excise_is_covered(const struct excise *x, uint32_t level, uint32_t index,
                              const struct table_meta *of)
{
    const struct tree *tree = x->space->live;
    struct slice at = of->lower;
    while (slice_compare(at, of->upper) < 0) {
        struct slice end = {0};
        for (uint32_t l = 0; l <= level && end.data == NULL; l++) {
            uint32_t count = l == level ? index : tree->levels[l].count;
            for (uint32_t r = 0; r < count && end.data == NULL; r++) {
                end = excise_covered_by(x, tree->levels[l].runs[r], at, of);
            }
        }
        if (end.data == NULL) {
            return false;
        }
        at = MUTANT(75) ? of->upper : end;
    }
    return true;
}

// Bounds of the floor that need no look at any range delete.
static bool excise_may_leave(const struct excise *x, const struct table_meta *meta)
{
    return meta->range_fragments == 0 && meta->commit_greatest < x->trim->floor;
}

static strata_rc excise_live(struct excise *x)
{
    const struct tree *tree = x->space->live;
    bool ranges = false; // in any run so far
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count; r++) {
            const struct run *run = tree->levels[l].runs[r];
            bool looks = ranges && !excise_is_claimed(x, run);
            for (uint32_t i = 0; looks && i < run->count; i++) {
                const struct table_meta *meta = table_meta(run->tables[i]);
                if (!excise_may_leave(x, meta) || !excise_is_covered(x, l, r, meta)) {
                    continue;
                }
                strata_rc rc = excise_table(x, run->tables[i]);
                if (rc != STRATA_OK) {
                    return rc;
                }
            }
            ranges |= run->range_fragments != 0;
        }
    }
    return STRATA_OK;
}

// ---- history

static strata_rc excise_history(struct excise *x)
{
    const struct tree *tree = x->space->history;
    for (uint32_t l = 0; l < tree->level_count; l++) {
        for (uint32_t r = 0; r < tree->levels[l].count; r++) {
            const struct run *run = tree->levels[l].runs[r];
            bool looks = !excise_is_claimed(x, run);
            for (uint32_t i = 0; looks && i < run->count; i++) {
                const struct table_meta *meta = table_meta(run->tables[i]);
                if (compact_trim_keeps(x->trim, meta->commit_least, meta->end_greatest, 0)) {
                    continue;
                }
                strata_rc rc = excise_table(x, run->tables[i]);
                if (rc != STRATA_OK) {
                    return rc;
                }
            }
        }
    }
    return STRATA_OK;
}

strata_rc compact_excise(const struct compact_trim *trim, const struct catalog_space *space,
                         const struct shape_claims *claims, struct edit *e, uint64_t *bytes_out)
{
    struct excise x = {.trim = trim, .space = space, .claims = claims, .edit = e};
    *bytes_out = 0;
    if (trim->floor == 0) {
        return STRATA_OK;
    }
    strata_rc rc = excise_history(&x);
    if (rc == STRATA_OK) {
        rc = excise_live(&x);
    }
    *bytes_out = x.bytes;
    return rc;
}
