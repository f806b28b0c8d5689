#include "shape/shape_space.h"

#include "base/assert.h"
#include "base/fail.h"

#define INPUTS_MAX 64
#define FRAGMENTS_ASKED 256u // of one table; each of more stands for several
#define DELETES_LEAST 1024u  // fewer cost a scan nothing
#define SEAL_MOST (256u << 20)
#define SEAL_LEAST (256u << 10)
#define SMALL_FILES_MAX 64u
#define FILE_BYTES (64ull << 20) // value files are about so large

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t greatest(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t part(uint64_t bytes, double share)
{
    double p = (double)bytes * share;
    return p >= 1.8e19 ? UINT64_MAX : (uint64_t)p;
}

struct shape_budget shape_budget_of(uint32_t bound_percent, const struct shape_needed *needed,
                                    uint64_t memtable_bytes, uint64_t slice_most)
{
    double slack = bound_percent <= 100 ? 0 : (bound_percent - 100) / 100.0;
    double total = (double)needed->table_bytes + (double)needed->value_bytes;
    double tables = total > 0 ? (double)needed->table_bytes / total : 1;
    uint64_t bytes = needed->table_bytes + needed->value_bytes;
    double slack_most = slack < 1 ? slack : 1;
    struct shape_budget b;
    // A merge of keys alone is cheap beside the values that it gives free; one that carries the
    // values costs all that is there. Rewrites of value files cost what is live in them.
    b.superseded_max = part(bytes, slack * (0.125 + 0.125 * tables)) + memtable_bytes / 8;
    b.dead_value_max = part(bytes, slack * 0.33 * (1 - tables)) + memtable_bytes / 8;
    // Writers go on while the work is done that gives space back.
    b.excess_soft = b.superseded_max + b.dead_value_max + part(bytes, slack * 0.1);
    b.excess_hard = b.excess_soft + part(bytes, slack * 0.1) + memtable_bytes / 4;
    // One generation is being written and one flushed.
    b.seal_bytes = greatest(part(needed->value_bytes, slack_most / 16), memtable_bytes / 4);
    b.seal_bytes = least(b.seal_bytes, greatest(4 * memtable_bytes, SEAL_MOST));
    b.slice_bytes = greatest(part(bytes, slack_most / 16), 1);
    b.slice_bytes = least(b.slice_bytes, slice_most);
    return b;
}

uint64_t shape_seal_bytes(uint32_t bound_percent, uint64_t needed, uint64_t memtable_bytes)
{
    if (bound_percent == UINT32_MAX) {
        return memtable_bytes;
    }
    double slack = bound_percent <= 100 ? 0 : (bound_percent - 100) / 100.0;
    uint64_t bytes = part(needed, (slack < 1 ? slack : 1) / 8);
    return least(greatest(greatest(bytes, memtable_bytes / 16), SEAL_LEAST), memtable_bytes);
}

// ---- what is superseded

// The oldest run: that of the last level, or the oldest on level 0 while there is no other.
static struct run *oldest_run(const struct tree *t)
{
    if (t->level_count == 0) {
        return NULL;
    }
    const struct level *l = &t->levels[t->level_count - 1];
    return l->runs[l->count - 1];
}

struct overlap {
    uint64_t entries, table_bytes, value_bytes;
};

// What tables of the run hold that overlap [lower, upper): the sums of whole tables.
static void overlap_add(const struct run *r, struct slice lower, struct slice upper,
                        struct overlap *o)
{
    for (uint32_t i = run_find_from(r, lower); i < r->count; i++) {
        const struct table_meta *m = table_meta(r->tables[i]);
        if (slice_compare(m->lower, upper) >= 0) {
            break;
        }
        o->entries += m->entries;
        o->table_bytes += m->bytes;
        o->value_bytes += m->value_bytes;
    }
}

// Adds what range deletes of the table cover in the run.
static void add_covered(const struct table *t, const struct run *r, uint64_t floor,
                        struct shape_superseded *s)
{
    const struct range_dels *dels = table_range_dels(t);
    size_t count = range_dels_count(dels);
    size_t step = count / FRAGMENTS_ASKED + 1;
    for (size_t i = 0; i < count; i += step) {
        const struct range_fragment *f = range_dels_at(dels, i);
        bool newer = false;
        if (range_fragment_newest(f, floor, &newer) == 0) {
            continue;
        }
        for (uint32_t k = run_find_from(r, f->begin); k < r->count; k++) {
            const struct table_meta *m = table_meta(r->tables[k]);
            if (slice_compare(m->lower, f->end) >= 0) {
                break;
            }
            double share = table_share(r->tables[k], f->begin, f->end) * (double)step;
            s->table_bytes += part(m->bytes, share);
            s->value_bytes += part(m->value_bytes, share);
        }
    }
}

static void add_superseded(const struct table *t, const struct run *oldest, uint64_t floor,
                           struct shape_superseded *s)
{
    const struct table_meta *m = table_meta(t);
    struct overlap o = {0, 0, 0};
    if (m->range_fragments > 0) {
        add_covered(t, oldest, floor, s);
    }
    if (m->commit_greatest <= floor) {
        overlap_add(oldest, m->lower, m->upper, &o);
    }
    if (o.entries > 0) {
        double share = (double)least(m->entries, o.entries) / (double)o.entries;
        s->table_bytes += part(o.table_bytes, share);
        s->value_bytes += part(o.value_bytes, share);
    }
}

struct shape_superseded shape_superseded_of(const struct tree *live, uint64_t floor)
{
    struct shape_superseded s = {0, 0};
    const struct run *oldest = oldest_run(live);
    for (uint32_t l = 0; floor > 0 && l < live->level_count; l++) {
        for (uint32_t r = 0; r < live->levels[l].count; r++) {
            const struct run *run = live->levels[l].runs[r];
            for (uint32_t i = 0; run != oldest && i < run->count; i++) {
                add_superseded(run->tables[i], oldest, floor, &s);
            }
        }
    }
    // No more than there is.
    s.table_bytes = oldest == NULL ? 0 : least(s.table_bytes, live->bytes);
    s.value_bytes = oldest == NULL ? 0 : least(s.value_bytes, live->value_bytes);
    return s;
}

uint64_t shape_delete_bytes(const struct tree *live)
{
    uint64_t bytes = 0;
    for (uint32_t l = 0; l < live->level_count; l++) {
        for (uint32_t r = 0; r < live->levels[l].count; r++) {
            const struct run *run = live->levels[l].runs[r];
            uint64_t all = run->entries + run->range_fragments;
            uint64_t deletes = run->deletes + run->range_fragments;
            // A delete has no value: it is taken for a fourth of an entry's bytes, unless the run
            // holds little else.
            double share = all == 0 ? 0 : (double)deletes / (double)all;
            bytes += part(run->bytes, share > 0.75 ? share : share / 4);
        }
    }
    return bytes;
}

// ---- merges of live trees

// The runs of a tree, newest first over all levels.
struct order {
    uint32_t count;
    uint32_t first_free; // the runs from here on to the oldest are not claimed
    bool any_claimed;
    struct run *runs[INPUTS_MAX * 2];
    uint32_t levels[INPUTS_MAX * 2];
};

static bool claimed(const struct shape_claims *claims, const struct run *r)
{
    for (size_t i = 0; claims != NULL && i < claims->count; i++) {
        if (claims->runs[i] == r->number) {
            return true;
        }
    }
    return false;
}

// False when there are too many runs: then merges for the tree's shape are due anyway.
static bool order_make(const struct tree *t, const struct shape_claims *claims, struct order *o)
{
    o->count = 0;
    o->first_free = 0;
    o->any_claimed = false;
    if (t->run_count > INPUTS_MAX * 2) {
        return false;
    }
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            o->runs[o->count] = t->levels[l].runs[r];
            o->levels[o->count++] = l;
            if (claimed(claims, t->levels[l].runs[r])) {
                o->any_claimed = true;
                o->first_free = o->count;
            }
        }
    }
    return o->count > 0;
}

// The job of runs [first, count) into one in the place of the oldest, not above level 1.
static bool order_job(const struct order *o, uint32_t first, double score, struct shape_job *job)
{
    first = first < o->first_free ? o->first_free : first;
    if (o->count - first > INPUTS_MAX) {
        first = o->count - INPUTS_MAX;
    }
    uint32_t inputs = o->count - first;
    // One run alone is rewritten in its place: nothing may be filling it.
    if (inputs == 0 || (inputs == 1 && o->any_claimed)) {
        return false;
    }
    *job = (struct shape_job){.score = score, .to_last = true, .rewrite = inputs == 1};
    for (uint32_t i = first; i < o->count; i++) {
        job->inputs[job->input_count] = o->runs[i];
        job->input_levels[job->input_count++] = o->levels[i];
    }
    uint32_t last = o->levels[o->count - 1];
    job->output_level = last == 0 ? 1 : last;
    job->output_run = last == 0 ? 0 : o->runs[o->count - 1]->number;
    return true;
}

// Is the table made of deletes?
static bool is_dense(const struct table_meta *m)
{
    return m->deletes >= DELETES_LEAST && m->deletes >= m->entries / 2;
}

static bool has_dense(const struct run *r)
{
    bool dense = false;
    for (uint32_t i = 0; r->deletes >= DELETES_LEAST && !dense && i < r->count; i++) {
        dense = is_dense(table_meta(r->tables[i]));
    }
    return dense;
}

static bool dense_overlaps(const struct run *r, const struct table_meta *below)
{
    for (uint32_t i = run_find_from(r, below->lower); i < r->count; i++) {
        const struct table_meta *m = table_meta(r->tables[i]);
        if (slice_compare(m->lower, below->upper) >= 0) {
            return false;
        }
        if (is_dense(m)) {
            return true;
        }
    }
    return false;
}

struct dense {
    uint64_t deletes; // of the tables that are made of them
    uint64_t below;   // entries of other tables that those overlap
};

// Of the runs from `first` on.
static struct dense order_dense(const struct order *o, uint32_t first)
{
    struct dense d = {0, 0};
    for (uint32_t i = first; i < o->count; i++) {
        for (uint32_t t = 0; t < o->runs[i]->count; t++) {
            const struct table_meta *m = table_meta(o->runs[i]->tables[t]);
            if (is_dense(m)) {
                d.deletes += m->deletes;
                continue;
            }
            for (uint32_t newer = first; newer < i; newer++) {
                if (o->runs[newer]->deletes >= DELETES_LEAST && dense_overlaps(o->runs[newer], m)) {
                    d.below += m->entries;
                    break;
                }
            }
        }
    }
    return d;
}

// Where a merge that ends deletes begins: at the newest run from which on the tables made of
// deletes hide at least a fourth of what they overlap. o->count: there is none to do.
static uint32_t order_deletes(const struct order *o, double *score)
{
    const struct run *oldest = o->runs[o->count - 1];
    for (uint32_t i = o->first_free; i + 1 < o->count; i++) {
        if (!has_dense(o->runs[i])) {
            continue;
        }
        struct dense d = order_dense(o, i);
        if (d.deletes >= d.below / 4) {
            *score = 1.0 + (double)d.deletes / (double)(d.below + d.deletes);
            return i;
        }
    }
    // Deletes of the last run hide nothing.
    if (oldest->deletes >= DELETES_LEAST && oldest->deletes >= oldest->entries / 16) {
        *score = 1.0 + (double)oldest->deletes / (double)(oldest->entries + 1);
        return o->count - 1;
    }
    return o->count;
}

bool shape_pick_space(const struct tree *live, const struct shape_claims *claims, uint64_t floor,
                      uint64_t superseded_max, struct shape_job *job_out)
{
    struct order o;
    *job_out = (struct shape_job){0};
    if (!order_make(live, claims, &o)) {
        return false;
    }
    // Nothing is superseded that is not claimed already, unless two runs are free.
    if (floor > 0 && o.count - o.first_free >= 2) {
        struct shape_superseded s = shape_superseded_of(live, floor);
        uint64_t bytes = s.table_bytes + s.value_bytes;
        if (bytes > superseded_max) {
            double score = (double)bytes / (double)(superseded_max == 0 ? 1 : superseded_max);
            return order_job(&o, 0, score, job_out);
        }
    }
    double score = 1.0;
    uint32_t first = order_deletes(&o, &score);
    return first < o.count && order_job(&o, first, score, job_out);
}

// ---- merges of history

double shape_trimmed_share(const struct run *history, uint64_t since, uint64_t floor)
{
    uint64_t begin = UINT64_MAX;
    uint64_t end = 0;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct table_meta *m = table_meta(history->tables[i]);
        begin = least(begin, m->commit_least);
        end = greatest(end, m->end_greatest);
    }
    begin = greatest(begin, since);
    if (floor >= end) {
        return begin < end ? 1 : 0;
    }
    return floor <= begin ? 0 : (double)(floor - begin) / (double)(end - begin);
}

static uint64_t rewritten_at(const struct shape_history_need *need, uint64_t run)
{
    for (size_t i = 0; i < need->rewritten_count; i++) {
        if (need->rewritten[i].run == run) {
            return need->rewritten[i].floor;
        }
    }
    return 0;
}

// The last versions are kept: what came to level 0 was not compared with what lies below.
static bool pick_versions(const struct order *o, const struct shape_history_need *need,
                          struct shape_job *job)
{
    uint64_t fresh = 0;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < o->count; i++) {
        uint64_t bytes = o->runs[i]->bytes + o->runs[i]->value_bytes;
        if (o->levels[i] == 0) {
            fresh += bytes;
        } else {
            seen += bytes;
        }
    }
    uint64_t room = part(seen + need->live_bytes, need->slack_percent / 400.0);
    if (fresh <= room || !order_job(o, 0, (double)fresh / (double)(room + 1), job)) {
        return false;
    }
    job->rewrite = true;
    return true;
}

bool shape_pick_history(const struct tree *history, const struct shape_claims *claims,
                        const struct shape_history_need *need, struct shape_job *job_out)
{
    struct order o;
    *job_out = (struct shape_job){0};
    if (!order_make(history, claims, &o)) {
        return false;
    }
    if (need->versions > 0 && pick_versions(&o, need, job_out)) {
        return true;
    }
    uint64_t retained = history->bytes + history->value_bytes + need->live_bytes;
    uint64_t gain_least = part(retained, need->slack_percent / 1600.0);
    double best = 0;
    for (uint32_t i = 0; need->floor > 0 && i < o.count; i++) {
        struct run *run = o.runs[i];
        double share = shape_trimmed_share(run, rewritten_at(need, run->number), need->floor);
        uint64_t gain = part(run->bytes + run->value_bytes, share);
        // At a fourth a byte that goes costs three that are written again.
        if (share < 0.25 || gain <= gain_least || (double)gain <= best || claimed(claims, run)) {
            continue;
        }
        best = (double)gain;
        *job_out = (struct shape_job){.input_count = 1,
                                      .inputs = {run},
                                      .input_levels = {o.levels[i]},
                                      .output_level = o.levels[i],
                                      .output_run = run->number,
                                      .to_last = i + 1 == o.count,
                                      .rewrite = true,
                                      .score = 1.0 + share};
    }
    return job_out->input_count > 0;
}

// ---- value files

uint64_t shape_dead_bytes(const struct shape_value_file *f)
{
    if (f->used_bytes == 0) {
        return f->bytes;
    }
    if (f->used_bytes >= f->stored_bytes) {
        return 0;
    }
    return f->bytes - part(f->bytes, (double)f->used_bytes / (double)f->stored_bytes);
}

static size_t pick_unused(const struct shape_value_file *files, size_t count, uint64_t *victims)
{
    size_t picked = 0;
    for (size_t i = 0; i < count && picked < SHAPE_VICTIMS_MAX; i++) {
        if (files[i].used_bytes == 0) {
            victims[picked++] = files[i].file;
        }
    }
    return picked;
}

// Joins the oldest small files, while what comes out is no larger than one rewrite should write.
static size_t pick_small(const struct shape_value_file *files, size_t count,
                         const struct shape_value_need *need, uint64_t *victims)
{
    uint64_t most = least(need->live_max, FILE_BYTES);
    size_t small = 0;
    for (size_t i = 0; i < count; i++) {
        small += files[i].bytes < most / 4;
    }
    if (small <= SMALL_FILES_MAX) {
        return 0;
    }
    size_t picked = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < count && picked < SHAPE_VICTIMS_MAX; i++) {
        if (files[i].bytes < most / 4 && bytes + files[i].bytes <= most) {
            victims[picked++] = files[i].file;
            bytes += files[i].bytes;
        }
    }
    return picked < 2 ? 0 : picked;
}

static double dead_share(const struct shape_value_file *f)
{
    return f->bytes == 0 ? 0 : (double)shape_dead_bytes(f) / (double)f->bytes;
}

// The worst files, as long as there are more dead bytes than allowed: the first whatever it is,
// others while they are not much better and all that is live in them fits.
static size_t pick_worst(const struct shape_value_file *files, size_t count,
                         const struct shape_value_need *need, uint64_t *victims)
{
    uint64_t dead = 0;
    uint64_t live = 0;
    double share_before = 2;
    double share_first = 0;
    size_t before = count; // the one picked last
    size_t picked = 0;
    for (size_t i = 0; i < count; i++) {
        dead += shape_dead_bytes(&files[i]);
    }
    while (picked < SHAPE_VICTIMS_MAX && dead > need->dead_max) {
        // The next in the order of falling shares; of equal ones in the order of the list.
        size_t worst = count;
        double worst_share = 0;
        for (size_t i = 0; i < count; i++) {
            double share = dead_share(&files[i]);
            bool behind = share < share_before || (share == share_before && i > before);
            if (behind && before != i && share > worst_share) {
                worst = i;
                worst_share = share;
            }
        }
        if (worst == count || worst_share < share_first / 2) {
            break;
        }
        uint64_t bytes = files[worst].bytes - shape_dead_bytes(&files[worst]);
        if (picked > 0 && live + bytes > need->live_max) {
            break;
        }
        live += bytes;
        dead -= files[worst].bytes - bytes;
        share_first = picked == 0 ? worst_share : share_first;
        share_before = worst_share;
        before = worst;
        victims[picked++] = files[worst].file;
    }
    return picked;
}

size_t shape_pick_values(const struct shape_value_file *files, size_t count,
                         const struct shape_value_need *need,
                         uint64_t victims_out[SHAPE_VICTIMS_MAX])
{
    size_t picked = pick_unused(files, count, victims_out);
    if (picked == 0) {
        picked = pick_worst(files, count, need, victims_out);
    }
    return picked > 0 ? picked : pick_small(files, count, need, victims_out);
}

// ---- the bound

strata_rc shape_bound_check(const strata_keyspace_options *options)
{
    if (options->retention == STRATA_RETENTION_ALL ||
        options->retention == STRATA_RETENTION_DEFAULT) {
        return STRATA_OK;
    }
    uint32_t ratio = options->size_ratio;
    ASSERT(ratio >= 2);
    uint32_t needs = (100 * ratio + ratio - 2) / (ratio - 1); // rounded up
    if (options->space_bound_percent >= needs) {
        return STRATA_OK;
    }
    return fail(STRATA_INVALID,
                "option space_bound_percent is %u, but a tree with size_ratio %u needs %u: its "
                "upper levels may hold %u %% of the last one's bytes in superseded versions",
                options->space_bound_percent, ratio, needs, needs - 100);
}
