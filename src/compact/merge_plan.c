// Tables whose bounds overlap, directly or through others, form a group that must be rewritten. A
// table that overlaps nothing moves unread, unless
//   - it holds deletes that end here because no run is older, or
//   - it is made of deletes that may become range deletes, or
//   - it may hold something that retention lets go: expired puts where no run is older, or old
//     versions in history; what is in the output run already was looked at when it came there, and
//     is read again only when all of it has expired, or when the merge is of that run alone, or
//   - it is small: then it is rewritten, so that small tables melt together. A small table that
//     is in the output run already is rewritten only beside a group that is.
// A small group that is rewritten takes the table behind it along, else it would leave a small one.
// Rewritten groups that follow each other are one.
#include "compact/merge_plan.h"

#include "base/alloc.h"
#include "base/assert.h"

// A table with less than this share of the size for outputs is small.
#define MERGE_SMALL_SHARE 8u

static int merge_table_compare(const void *a, const void *b)
{
    const struct merge_table *x = a;
    const struct merge_table *y = b;
    return slice_compare(table_meta(x->table)->lower, table_meta(y->table)->lower);
}

static strata_rc merge_plan_list(struct merge_plan *p, const struct shape_job *job)
{
    size_t count = 0;
    for (uint32_t i = 0; i < job->input_count; i++) {
        count += job->inputs[i]->count;
    }
    p->tables = alloc_array(count, sizeof *p->tables);
    p->groups = alloc_array(count, sizeof *p->groups);
    if (p->tables == NULL || p->groups == NULL) {
        return alloc_failed("the plan of a merge", count * sizeof *p->tables);
    }
    for (uint32_t i = 0; i < job->input_count; i++) {
        const struct run *r = job->inputs[i];
        for (uint32_t t = 0; t < r->count; t++) {
            p->tables[p->table_count++] = (struct merge_table){r->tables[t], i, false};
            p->bytes += table_meta(r->tables[t])->bytes;
        }
    }
    qsort(p->tables, p->table_count, sizeof *p->tables, merge_table_compare);
    return STRATA_OK;
}

// How many tables from `first` on overlap each other, directly or through others.
static size_t merge_plan_cluster(const struct merge_plan *p, size_t first)
{
    struct slice upper = table_meta(p->tables[first].table)->upper;
    size_t end = first + 1;
    while (end < p->table_count) {
        const struct table_meta *next = table_meta(p->tables[end].table);
        if (slice_compare(next->lower, upper) >= 0) {
            break;
        }
        if (slice_compare(next->upper, upper) > 0) {
            upper = next->upper;
        }
        end++;
    }
    return end - first;
}

static uint64_t merge_group_bytes(const struct merge_plan *p, const struct merge_group *g)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < g->count; i++) {
        bytes += table_meta(p->tables[g->first + i].table)->bytes;
    }
    return bytes;
}

// Is everything in the table a put that has expired?
static bool merge_plan_expired(const struct merge_plan_rules *rules, const struct table_meta *meta)
{
    return rules->expired_us != 0 && meta->expiring == meta->entries &&
           meta->range_fragments == 0 && meta->time_greatest_us <= rules->expired_us;
}

// Is the table made of deletes that may become range deletes?
static bool merge_plan_turns(const struct merge_plan_rules *rules, const struct table_meta *meta)
{
    return rules->turn_deletes != 0 && meta->deletes >= rules->turn_deletes &&
           meta->deletes >= meta->entries / 4 * 3;
}

static enum merge_group_kind merge_plan_kind(const struct merge_plan *p,
                                             const struct shape_job *job,
                                             const struct merge_group *g,
                                             const struct merge_plan_rules *rules)
{
    if (g->count > 1 || rules->read_all) {
        return MERGE_REWRITE;
    }
    const struct merge_table *t = &p->tables[g->first];
    const struct table_meta *meta = table_meta(t->table);
    bool ends = job->to_last && !rules->history;
    if (ends &&
        (meta->deletes != 0 || meta->range_fragments != 0 || merge_plan_expired(rules, meta))) {
        return MERGE_REWRITE;
    }
    if (job->inputs[t->input]->number == job->output_run &&
        job->input_levels[t->input] == job->output_level) {
        bool again = job->input_count == 1 && ends && rules->expires && meta->expiring != 0;
        return again ? MERGE_REWRITE : MERGE_STAY;
    }
    if (rules->read_moved || (ends && rules->expires && meta->expiring != 0) ||
        merge_plan_turns(rules, meta)) {
        return MERGE_REWRITE;
    }
    return meta->bytes < rules->table_bytes / MERGE_SMALL_SHARE ? MERGE_REWRITE : MERGE_MOVE;
}

// A table that could stay or move is rewritten after all when it is small beside a rewritten group,
// or a move right behind a small rewritten group.
static bool merge_plan_absorbs(const struct merge_plan *p, const struct merge_group *rewritten,
                               const struct merge_group *g, uint64_t small_bytes)
{
    if (g->kind == MERGE_STAY) {
        return merge_group_bytes(p, g) < small_bytes;
    }
    return g->first > rewritten->first && merge_group_bytes(p, rewritten) < small_bytes;
}

// Joins neighbours into rewritten groups, in place.
static void merge_plan_join(struct merge_plan *p, uint64_t small_bytes)
{
    size_t kept = 0;
    for (size_t i = 0; i < p->group_count; i++) {
        struct merge_group g = p->groups[i];
        struct merge_group *before = kept == 0 ? NULL : &p->groups[kept - 1];
        bool joins = false;
        if (before != NULL && before->kind == MERGE_REWRITE) {
            joins = g.kind == MERGE_REWRITE || merge_plan_absorbs(p, before, &g, small_bytes);
        } else if (before != NULL && g.kind == MERGE_REWRITE && before->kind == MERGE_STAY) {
            joins = merge_plan_absorbs(p, &g, before, small_bytes);
        }
        if (joins) {
            before->kind = MERGE_REWRITE;
            before->count += g.count;
        } else {
            p->groups[kept++] = g;
        }
    }
    p->group_count = kept;
}

strata_rc merge_plan_make(struct merge_plan *p, const struct shape_job *job,
                          const struct merge_plan_rules *rules)
{
    ASSERT(job->input_count > 0 && p->tables == NULL);
    strata_rc rc = merge_plan_list(p, job);
    if (rc != STRATA_OK) {
        return rc;
    }
    for (size_t first = 0; first < p->table_count;) {
        struct merge_group g = {.first = first, .count = merge_plan_cluster(p, first)};
        g.kind = merge_plan_kind(p, job, &g, rules);
        p->groups[p->group_count++] = g;
        first += g.count;
    }
    merge_plan_join(p, rules->table_bytes / MERGE_SMALL_SHARE);
    return STRATA_OK;
}

void merge_plan_read_all(struct merge_plan *p)
{
    if (p->table_count != 0) {
        p->groups[0] = (struct merge_group){MERGE_REWRITE, 0, p->table_count};
        p->group_count = 1;
    }
}

void merge_plan_release(struct merge_plan *p)
{
    free(p->tables);
    free(p->groups);
    *p = (struct merge_plan){0};
}
