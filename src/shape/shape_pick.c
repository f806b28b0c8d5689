// Which merge comes next.
//
// The runs of a tree, newest first over all levels, are one sequence in age. Every job takes an
// unbroken piece of it, none of whose runs is claimed, and puts its result at the place of the
// piece:
//
//   down        the oldest runs of a full level become a new run, the newest of the next level
//   into        the same, together with all runs of the next level, in the place of the oldest;
//   when
//               the next level is to hold one run only
//   within      runs of one level become one, in the place of the oldest
//   sink        a single run that is too large for its level becomes, unread, the newest run of the
//               next (relabel)
//
// A piece that goes down always includes the oldest run of its level, so that no older run stays
// above the result. When that run is claimed, a merge from this level to the next is under way, and
// the newer runs wait for it or are merged within the level.
//
// Every job either makes fewer runs (two or more inputs) or moves one run to a deeper level;
// results never rise. So the sum over runs of (32 - level) falls with every job, and picking ends.
//
// Claims name the inputs of the jobs under way. A new run that such a job is filling, slice of keys
// by slice, may be picked as an input: what the job adds to it later has other keys and is newer
// than whatever is older. It must not be picked as the place of a result, which would overlap what
// comes. For live runs the rule of the oldest run sees to that: whoever fills a run on a level has
// claimed the oldest runs of the level above. A history run is filled by a live merge, so no job of
// a tiered tree puts its result in the place of a run.
#include "shape/shape.h"

#include "base/assert.h"

#define INPUTS_MAX 64
#define DEEPEST (TREE_LEVELS_MAX - 1)

struct pick {
    const struct tree *tree;
    const struct shape *shape;
    const struct shape_claims *claims;
};

static bool run_claimed(const struct pick *p, const struct run *r)
{
    for (size_t i = 0; p->claims != NULL && i < p->claims->count; i++) {
        if (p->claims->runs[i] == r->number) {
            return true;
        }
    }
    return false;
}

static bool level_claimed(const struct pick *p, uint32_t level)
{
    const struct level *l = &p->tree->levels[level];
    for (uint32_t i = 0; i < l->count; i++) {
        if (run_claimed(p, l->runs[i])) {
            return true;
        }
    }
    return false;
}

// Index of the newest run of the unclaimed runs at the old end of the level; its count when the
// oldest is claimed.
static uint32_t oldest_unclaimed(const struct pick *p, uint32_t level)
{
    const struct level *l = &p->tree->levels[level];
    uint32_t first = l->count;
    while (first > 0 && !run_claimed(p, l->runs[first - 1])) {
        first--;
    }
    return first;
}

static void job_add(struct shape_job *job, struct run *r, uint32_t level)
{
    ASSERT(job->input_count < INPUTS_MAX);
    job->inputs[job->input_count] = r;
    job->input_levels[job->input_count] = level;
    job->input_count++;
}

// Takes runs [first, end) of the level, at most as many as fit: the oldest of them.
static void job_add_runs(struct shape_job *job, const struct level *l, uint32_t level,
                         uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++) {
        job_add(job, l->runs[i], level);
    }
}

static void job_close(const struct pick *p, struct shape_job *job)
{
    const struct tree *t = p->tree;
    uint32_t level = job->input_levels[job->input_count - 1];
    const struct level *l = &t->levels[level];
    job->to_last =
        level + 1 == t->level_count && l->runs[l->count - 1] == job->inputs[job->input_count - 1];
    ASSERT(job->input_count > 1 || job->output_level > level);
    ASSERT(job->output_level >= level);
}

// Two or more runs [first, end) of a level become one in their place.
static bool pick_within(const struct pick *p, uint32_t level, uint32_t first, uint32_t end,
                        struct shape_job *job)
{
    if (end - first > INPUTS_MAX) {
        first = end - INPUTS_MAX;
    }
    if (end - first < 2) {
        return false;
    }
    const struct level *l = &p->tree->levels[level];
    job_add_runs(job, l, level, first, end);
    job->output_level = level;
    job->output_run = l->runs[end - 1]->number;
    return true;
}

// Takes runs [first, count) of the level down as a new run; a single one goes unread.
static bool pick_down(const struct pick *p, uint32_t level, uint32_t first, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[level];
    if (l->count - first > INPUTS_MAX) {
        first = l->count - INPUTS_MAX;
    }
    if (first == l->count) {
        return false;
    }
    job_add_runs(job, l, level, first, l->count);
    job->output_level = level + 1;
    job->output_run = 0;
    job->relabel = job->input_count == 1;
    return true;
}

// Takes runs [first, count) of the level into the newest run of the next level, while the two are
// within its share of that level's bytes; else down.
static bool pick_grow(const struct pick *p, uint32_t level, uint32_t first, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[level];
    const struct level *next = &p->tree->levels[level + 1];
    uint64_t share = shape_level_at(p->shape, level + 1).bytes_max /
                     shape_runs_max(p->tree, p->shape, level + 1);
    if (next->count == 0 || run_claimed(p, next->runs[0]) || l->count - first >= INPUTS_MAX) {
        return pick_down(p, level, first, job);
    }
    uint64_t bytes = next->runs[0]->bytes;
    for (uint32_t i = first; i < l->count; i++) {
        bytes += l->runs[i]->bytes;
    }
    if (bytes > share) {
        return pick_down(p, level, first, job);
    }
    job_add_runs(job, l, level, first, l->count);
    job_add(job, next->runs[0], level + 1);
    job->output_level = level + 1;
    job->output_run = next->runs[0]->number;
    return true;
}

// Takes runs [first, count) of the level into the next level, which becomes one run.
static bool pick_into(const struct pick *p, uint32_t level, uint32_t first, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[level];
    const struct level *next = &p->tree->levels[level + 1];
    if (next->count == 0) {
        return pick_down(p, level, first, job);
    }
    if (level_claimed(p, level + 1)) {
        // Level 0 never waits for a deep merge.
        return level == 0 && pick_down(p, level, first, job);
    }
    if (next->count >= INPUTS_MAX) {
        return pick_within(p, level + 1, 0, next->count, job);
    }
    if (l->count - first > INPUTS_MAX - next->count) {
        first = l->count - (INPUTS_MAX - next->count);
    }
    if (first == l->count) {
        return false;
    }
    job_add_runs(job, l, level, first, l->count);
    job_add_runs(job, next, level + 1, 0, next->count);
    job->output_level = level + 1;
    job->output_run = next->runs[next->count - 1]->number;
    return true;
}

// Too many runs with few bytes (small flushes): the two neighbours nearest in size become one. That
// keeps sizes apart by a factor, so that a byte is rewritten a logarithmic number of times.
static bool pick_small(const struct pick *p, uint32_t level, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[level];
    uint32_t best = l->count;
    double best_ratio = 0;
    for (uint32_t i = 0; i + 1 < l->count; i++) {
        if (run_claimed(p, l->runs[i]) || run_claimed(p, l->runs[i + 1])) {
            continue;
        }
        double ratio = (double)(l->runs[i + 1]->bytes + 1) / (double)(l->runs[i]->bytes + 1);
        if (best == l->count || ratio < best_ratio) {
            best = i;
            best_ratio = ratio;
        }
    }
    return best < l->count && pick_within(p, level, best, best + 2, job);
}

// Level 0 is behind while its oldest runs are being merged: what came since becomes one run, before
// writers have to wait for the bound.
static bool pick_relief(const struct pick *p, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[0];
    uint32_t end = 0;
    while (end < l->count && !run_claimed(p, l->runs[end])) {
        end++;
    }
    uint32_t soft = shape_level_at(p->shape, 0).runs_max;
    uint32_t hard = p->shape->level0_runs_max;
    bool behind =
        p->shape->last_runs_max == 1 && hard > soft && l->count > soft + (hard - soft) / 2;
    return behind && end > soft && pick_within(p, 0, 0, end, job);
}

// Tiered levels: runs that are too large for the level sink one by one; smaller ones are merged.
static bool pick_tiered(const struct pick *p, uint32_t level, uint32_t first, struct shape_job *job)
{
    const struct level *l = &p->tree->levels[level];
    uint64_t large = shape_level_at(p->shape, level).bytes_max / 2;
    if (first == l->count) {
        return false;
    }
    if (l->runs[l->count - 1]->bytes > large) {
        return pick_down(p, level, l->count - 1, job);
    }
    uint32_t from = l->count;
    while (from > first && l->runs[from - 1]->bytes <= large) {
        from--;
    }
    return pick_down(p, level, from, job);
}

// The job of a full level.
static bool pick_level(const struct pick *p, uint32_t level, struct shape_job *job)
{
    const struct tree *t = p->tree;
    const struct level *l = &t->levels[level];
    uint32_t runs_max = shape_runs_max(t, p->shape, level);
    uint32_t first = oldest_unclaimed(p, level);
    if (first == l->count) {
        return level == 0 && pick_relief(p, job);
    }
    if (l->count > runs_max && runs_max > 1 && shape_level_small(t, p->shape, level) &&
        pick_small(p, level, job)) {
        return true;
    }
    bool too_large = l->bytes > shape_level_at(p->shape, level).bytes_max;
    bool one_run = runs_max == 1 && l->count > 1;
    if (level == DEEPEST || (one_run && (!too_large || level == shape_last_level(t)))) {
        return l->count > runs_max && pick_within(p, level, first, l->count, job);
    }
    if (level >= shape_last_level(t) && level > 0 && runs_max == 1) {
        // The last level has outgrown its bytes: its run sinks and is the last again.
        return pick_down(p, level, first, job);
    }
    bool to_last = level + 1 >= shape_last_level(t);
    uint32_t next_runs_max = to_last && level + 1 >= t->level_count
                                 ? p->shape->last_runs_max
                                 : shape_runs_max(t, p->shape, level + 1);
    if (next_runs_max <= 1) {
        return pick_into(p, level, first, job);
    }
    return p->shape->last_runs_max > 1 ? pick_tiered(p, level, first, job)
                                       : pick_grow(p, level, first, job);
}

bool shape_pick(const struct tree *tree, const struct shape *shape,
                const struct shape_claims *claims, struct shape_job *job_out)
{
    const struct pick p = {tree, shape, claims};
    *job_out = (struct shape_job){0};
    for (uint32_t level = 0; level < tree->level_count; level++) {
        double score = shape_fullness(tree, shape, level);
        // Level 0 goes first: writers wait for it. Below, the fullest.
        if (score <= 1.0 || (job_out->input_count > 0 && job_out->score >= score)) {
            continue;
        }
        struct shape_job job = {.score = score};
        if (!pick_level(&p, level, &job)) {
            continue;
        }
        job_close(&p, &job);
        *job_out = job;
        if (level == 0) {
            break;
        }
    }
    return job_out->input_count > 0;
}

// ---- full compaction

// Would rewriting the only run drop anything? Deletes have nothing to hide on the last level.
static bool run_has_deletes(const struct run *r)
{
    for (uint32_t i = 0; i < r->count; i++) {
        const struct table_meta *meta = table_meta(r->tables[i]);
        if (!meta->history && (meta->deletes > 0 || meta->range_fragments > 0)) {
            return true;
        }
    }
    return false;
}

bool shape_pick_full(const struct tree *tree, const struct shape *shape,
                     const struct shape_claims *claims, bool rewrite_last,
                     struct shape_job *job_out)
{
    const struct pick p = {tree, shape, claims};
    *job_out = (struct shape_job){.score = 1.0};
    if (tree->run_count == 0) {
        return false;
    }
    uint32_t oldest_level = 0, newest_level = TREE_LEVELS_MAX;
    for (uint32_t level = 0; level < tree->level_count; level++) {
        const struct level *l = &tree->levels[level];
        if (level_claimed(&p, level)) {
            return false;
        }
        // More runs than a job can take: the newest, down to the last that fits; then again.
        for (uint32_t i = 0; i < l->count && job_out->input_count < INPUTS_MAX; i++) {
            job_add(job_out, l->runs[i], level);
            oldest_level = level;
            newest_level = newest_level < level ? newest_level : level;
        }
    }
    bool all = job_out->input_count == tree->run_count;
    uint32_t target = oldest_level;
    while (all && target < DEEPEST &&
           (target == 0 || shape_level_at(shape, target).bytes_max < tree->bytes)) {
        target++;
    }
    struct run *oldest = job_out->inputs[job_out->input_count - 1];
    bool gains = rewrite_last || run_has_deletes(oldest);
    if (tree->run_count == 1 && newest_level > 0 && !gains) {
        *job_out = (struct shape_job){0};
        return false;
    }
    job_out->output_level = target;
    job_out->output_run = target == oldest_level ? oldest->number : 0;
    job_out->to_last = all;
    job_out->relabel = tree->run_count == 1 && !gains;
    return true;
}
