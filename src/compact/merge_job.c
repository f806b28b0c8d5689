// A merge of runs, live or history: the groups of its plan one after the other, in slices. A slice
// ends at a key: its edit takes out the inputs that lie before it, narrows those that straddle it,
// and adds what was written. After every edit the tree is whole; a merge that ends early, by an
// error or because it is freed, has done the part of its work that was installed.
#include "compact/compact.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/fail.h"
#include "compact/history_pass.h"
#include "compact/live_pass.h"
#include "compact/merge_plan.h"

#include <string.h>

#define MERGE_STEP_BYTES (1u << 20)
#define MERGE_READAHEAD_BYTES (256u << 10)
#define MERGE_READAHEAD_BYTES_LEAST (16u << 10)
#define MERGE_INPUTS_MAX 64u

struct merge {
    struct compact_env env;
    struct compact_progress progress;
    struct compact_trim trim;
    bool history;
    bool open;                           // a pass is running over the group
    struct catalog_space space;          // number, name and options only
    struct tree *tree;                   // what is not an input
    struct shape_job job;                // its inputs are those below
    struct run inputs[MERGE_INPUTS_MAX]; // by number: the runs themselves are let go
    bool holds_tables;                   // those of the plan that are not NULL
    uint64_t slice_bytes;
    uint64_t output_run;
    uint64_t ejected_run;
    uint64_t bytes_total;
    struct merge_plan plan;
    size_t group_at;
    size_t table_at;                                    // tables before it are taken
    struct table **group_tables;                        // of the group in work, by input
    struct live_pass_commits commits[MERGE_INPUTS_MAX]; // of the cursors over them
    size_t charged_bytes;                               // to the budget, for the group in work
    struct eject_older older;
    struct output_set set;
    struct separate separate; // of the values on the way
    struct output main;       // to the tree that is merged
    struct output ejected;    // of a live merge: to history
    struct turn turn;         // of a live merge
    struct live_pass live_pass;
    struct history_pass history_pass;
};

// ---- setting up

// Notes the bounds of all runs older than the inputs; the nearest of them is *neighbour_out.
static strata_rc merge_note_older(struct merge *m, const struct run **neighbour_out)
{
    uint64_t oldest = m->job.inputs[m->job.input_count - 1]->number;
    bool behind = false;
    *neighbour_out = NULL;
    for (uint32_t l = 0; l < m->tree->level_count; l++) {
        for (uint32_t r = 0; r < m->tree->levels[l].count; r++) {
            const struct run *run = m->tree->levels[l].runs[r];
            for (uint32_t t = 0; behind && t < run->count; t++) {
                const struct table_meta *meta = table_meta(run->tables[t]);
                strata_rc rc = eject_older_add(&m->older, meta->lower, meta->upper);
                if (rc != STRATA_OK) {
                    return rc;
                }
            }
            if (behind && *neighbour_out == NULL) {
                *neighbour_out = run;
            }
            behind |= run->number == oldest;
        }
    }
    ASSERT(behind);
    eject_older_seal(&m->older);
    return STRATA_OK;
}

static strata_rc merge_copy_space(struct merge *m, const struct catalog_space *space)
{
    size_t bytes = strlen(space->name) + 1;
    m->space.number = space->number;
    m->space.options = space->options;
    m->space.name = alloc_array(bytes, 1);
    if (m->space.name == NULL) {
        return alloc_failed("the name of a keyspace", bytes);
    }
    memcpy(m->space.name, space->name, bytes);
    return STRATA_OK;
}

static void merge_place_outputs(struct merge *m, const struct catalog_space *space,
                                const struct shape *shape, const struct run *neighbour)
{
    uint32_t levels = m->tree->level_count;
    if (levels <= m->job.output_level) {
        levels = m->job.output_level + 1;
    }
    struct output_place place = {
        .history = m->history,
        .last = m->job.to_last,
        .level = m->job.output_level,
        .levels = levels,
        .run = m->output_run,
        .table_bytes = shape->table_bytes,
        .size_ratio = shape->size_ratio,
        .neighbour = neighbour,
    };
    output_init(&m->main, &m->set, &m->space, &place);
    // All slices eject into one run.
    uint32_t history_levels = space->history == NULL ? 0 : space->history->level_count;
    struct output_place ejected = {
        .history = true,
        .levels = history_levels == 0 ? 1 : history_levels,
        .run = m->ejected_run,
        .table_bytes = shape->table_bytes,
        .size_ratio = shape->size_ratio,
    };
    output_init(&m->ejected, &m->set, &m->space, &ejected);
    separate_init(&m->separate, &m->set, &m->space);
    m->main.separate = m->ejected.separate = &m->separate;
}

// Deletes stay only where an older run may hold something, and become range deletes only where a
// part of the past may go.
static bool merge_turns(const struct merge *m)
{
    return !m->job.to_last && m->trim.floor != 0;
}

// A merge of one run of history in its place is there to let go what is no longer retained.
static bool merge_reads_all(const struct merge *m)
{
    return m->job.rewrite ||
           (m->history && m->job.input_count == 1 && m->job.inputs[0]->number == m->job.output_run);
}

static struct merge_plan_rules merge_rules(const struct merge *m, const struct shape *shape)
{
    struct merge_plan_rules rules = {.history = m->history,
                                     .read_all = merge_reads_all(m),
                                     .read_moved = m->history && m->trim.versions != 0,
                                     .expires = m->trim.floor != 0,
                                     .table_bytes = shape->table_bytes};
    if (!m->history && merge_turns(m)) {
        rules.turn_deletes = turn_enough(&m->env);
    }
    int64_t after_us = (int64_t)m->space.options.expire_seconds * 1000000;
    if (rules.expires && after_us != 0 && m->trim.floor_time_us > after_us) {
        rules.expired_us = m->trim.floor_time_us - after_us;
    }
    return rules;
}

static strata_rc merge_set_up(struct merge *m, const struct catalog_space *space,
                              const struct shape *shape)
{
    const struct run *neighbour;
    strata_rc rc = merge_copy_space(m, space);
    if (rc == STRATA_OK) {
        rc = merge_note_older(m, &neighbour);
    }
    if (rc == STRATA_OK) {
        struct merge_plan_rules rules = merge_rules(m, shape);
        rc = merge_plan_make(&m->plan, &m->job, &rules);
    }
    if (rc != STRATA_OK) {
        return rc;
    }
    m->bytes_total = m->plan.bytes;
    m->output_run = m->job.output_run;
    if (m->output_run == 0) {
        m->output_run = m->env.new_run_number(m->env.ctx);
    }
    m->ejected_run = m->history ? 0 : m->env.new_run_number(m->env.ctx);
    merge_place_outputs(m, space, shape, neighbour);
    if (!m->history && merge_turns(m)) {
        m->turn.env = &m->env;
        m->turn.trim = &m->trim;
        m->turn.out = &m->main;
        m->turn.keyspace = m->space.number;
        return turn_init(&m->turn, m->tree, &m->job);
    }
    return STRATA_OK;
}

// The merge lets go of the tree, and holds the tables that it reads one by one: each file leaves
// when the slice is installed that ends it, so that a merge never needs the space of all its inputs
// and all its outputs at once.
static strata_rc merge_hold_tables(struct merge *m)
{
    struct tree *rest;
    struct tree_change *changes = alloc_zeroed(m->plan.table_count, sizeof *changes);
    if (changes == NULL) {
        return alloc_failed("tables of a merge", m->plan.table_count * sizeof *changes);
    }
    for (size_t i = 0; i < m->plan.table_count; i++) {
        changes[i].file = table_meta(m->plan.tables[i].table)->file;
    }
    strata_rc rc = tree_apply(m->tree, changes, m->plan.table_count, &rest);
    free(changes);
    if (rc != STRATA_OK) {
        return rc;
    }
    for (size_t i = 0; i < m->plan.table_count; i++) {
        table_ref(m->plan.tables[i].table);
    }
    m->holds_tables = true;
    for (uint32_t i = 0; i < m->job.input_count; i++) {
        m->inputs[i].number = m->job.inputs[i]->number;
        m->job.inputs[i] = &m->inputs[i];
    }
    tree_unref(m->tree);
    m->tree = rest;
    return STRATA_OK;
}

// Lets go of the tables that are taken, or of all that are left.
static void merge_release_tables(struct merge *m, bool all)
{
    for (size_t i = m->table_at; m->holds_tables && i < m->plan.table_count; i++) {
        struct merge_table *t = &m->plan.tables[i];
        if (t->taken || all) {
            table_unref(t->table);
            t->table = NULL;
            m->table_at += i == m->table_at;
        }
    }
}

// NOLINTNEXTLINE(readability-function-size): what a merge is, told once
strata_rc merge_new(const struct compact_env *env, const struct catalog_space *space, bool history,
                    struct tree *tree, const struct shape_job *job, const struct shape *shape,
                    uint64_t slice_bytes, struct merge **merge_out)
{
    ASSERT(job->input_count > 0 && job->input_count <= MERGE_INPUTS_MAX);
    *merge_out = NULL;
    struct merge *m = alloc_zeroed(1, sizeof *m);
    if (m == NULL) {
        return alloc_failed("a merge", sizeof *m);
    }
    m->env = *env;
    m->history = history;
    m->job = *job;
    m->slice_bytes = slice_bytes;
    m->tree = tree;
    tree_ref(tree);
    output_set_init(&m->set, &m->env, &m->progress);
    // The tree is older than the trim: whoever registers later does so above what the tree holds,
    // or at the floor or above.
    strata_rc rc = m->env.trim(m->env.ctx, space->number, &m->trim);
    if (rc == STRATA_OK) {
        rc = merge_set_up(m, space, shape);
    }
    if (rc == STRATA_OK) {
        rc = merge_hold_tables(m);
    }
    if (rc != STRATA_OK) {
        merge_free(m);
        return rc;
    }
    *merge_out = m;
    return STRATA_OK;
}

// ---- edits

static strata_rc merge_edit_remove(struct merge *m, struct merge_table *t)
{
    const struct table_meta *meta = table_meta(t->table);
    t->taken = true;
    return edit_remove_table(&m->set.edit, m->space.number, m->history, meta->file);
}

// The table goes over to another level or run as it is.
static strata_rc merge_edit_move(struct merge *m, struct merge_table *t, uint32_t level,
                                 uint64_t run)
{
    strata_rc rc = merge_edit_remove(m, t);
    if (rc != STRATA_OK) {
        return rc;
    }
    m->progress.tables_moved++;
    return edit_add_table(&m->set.edit, m->space.number, m->history, level, run,
                          table_meta(t->table), t->table);
}

static strata_rc merge_edit_narrow(struct merge *m, const struct merge_table *t, struct slice lower)
{
    struct table_meta meta = *table_meta(t->table);
    strata_rc rc = edit_remove_table(&m->set.edit, m->space.number, m->history, meta.file);
    if (rc != STRATA_OK) {
        return rc;
    }
    meta.lower = lower;
    return edit_add_table(&m->set.edit, m->space.number, m->history, m->job.input_levels[t->input],
                          m->job.inputs[t->input]->number, &meta, NULL);
}

// Installs what was done before `limit`, the next key (data NULL: everything).
static strata_rc merge_install(struct merge *m, struct slice limit)
{
    for (size_t i = m->table_at; i < m->plan.table_count; i++) {
        struct merge_table *t = &m->plan.tables[i];
        if (t->taken) {
            continue;
        }
        const struct table_meta *meta = table_meta(t->table);
        if (limit.data != NULL && slice_compare(meta->lower, limit) >= 0) {
            break;
        }
        strata_rc rc;
        if (limit.data == NULL || slice_compare(meta->upper, limit) <= 0) {
            m->progress.bytes_read += meta->bytes;
            rc = merge_edit_remove(m, t);
        } else {
            rc = merge_edit_narrow(m, t, limit);
        }
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    strata_rc rc = separate_finish(&m->separate);
    if (rc == STRATA_OK) {
        rc = output_set_install(&m->set);
    }
    if (rc == STRATA_OK) {
        // No cursor stands in them: each is at the next key or behind it.
        merge_release_tables(m, false);
    }
    return rc;
}

// ---- a group that is rewritten

// What all keys of the group begin with: its bounds do.
static size_t merge_group_skip(const struct merge *m, const struct merge_group *g)
{
    struct slice lower = table_meta(m->plan.tables[g->first].table)->lower;
    struct slice upper = lower;
    for (size_t i = 0; i < g->count; i++) {
        const struct table_meta *meta = table_meta(m->plan.tables[g->first + i].table);
        if (slice_compare(meta->upper, upper) > 0) {
            upper = meta->upper;
        }
    }
    return slice_shared(lower, upper);
}

// All cursors together read ahead at most a sixteenth of the budget, as long as that is worth a
// read.
static uint32_t merge_readahead(const struct merge *m)
{
    size_t share = m->env.tables.memory->budget_bytes / 16 / m->job.input_count;
    if (share < MERGE_READAHEAD_BYTES_LEAST) {
        return MERGE_READAHEAD_BYTES_LEAST;
    }
    return share < MERGE_READAHEAD_BYTES ? (uint32_t)share : MERGE_READAHEAD_BYTES;
}

static struct live_pass_commits merge_commits(struct table *const *tables, size_t count)
{
    struct live_pass_commits all = {.least = UINT64_MAX};
    for (size_t i = 0; i < count; i++) {
        const struct table_meta *meta = table_meta(tables[i]);
        all.least = meta->commit_least < all.least ? meta->commit_least : all.least;
        all.greatest = meta->commit_greatest > all.greatest ? meta->commit_greatest : all.greatest;
    }
    return all;
}

static strata_rc merge_open_cursors(struct merge *m, const struct merge_group *g,
                                    struct kv_cursor **cursors, uint32_t *count_out)
{
    m->group_tables = alloc_array(g->count, sizeof(struct table *));
    if (m->group_tables == NULL) {
        return alloc_failed("tables of a merge", g->count * sizeof(struct table *));
    }
    uint32_t count = 0;
    size_t filled = 0;
    strata_rc rc = STRATA_OK;
    for (uint32_t input = 0; input < m->job.input_count && rc == STRATA_OK; input++) {
        size_t first = filled;
        for (size_t i = g->first; i < g->first + g->count; i++) {
            if (m->plan.tables[i].input == input) {
                m->group_tables[filled++] = m->plan.tables[i].table;
            }
        }
        if (filled != first) {
            m->commits[count] = merge_commits(m->group_tables + first, filled - first);
            rc = run_cursor_open(m->env.tables.cache, m->group_tables + first, filled - first,
                                 false, merge_readahead(m), &cursors[count]);
            count += rc == STRATA_OK;
        }
    }
    if (rc != STRATA_OK) {
        while (count > 0) {
            kv_cursor_close(cursors[--count]);
        }
    }
    *count_out = count;
    return rc;
}

static strata_rc merge_begin_live(struct merge *m, const struct merge_group *g,
                                  struct kv_cursor **cursors, uint32_t count)
{
    m->live_pass = (struct live_pass){.env = &m->env,
                                      .turn = merge_turns(m) ? &m->turn : NULL,
                                      .trim = &m->trim,
                                      .keyspace = m->space.number,
                                      .older = &m->older,
                                      .live = &m->main,
                                      .history = &m->ejected,
                                      .slice_bytes = m->slice_bytes,
                                      .commits = m->commits};
    struct live_pass_ranges ranges = {0};
    strata_rc rc = STRATA_OK;
    for (size_t i = g->first; i < g->first + g->count && rc == STRATA_OK; i++) {
        const struct table *t = m->plan.tables[i].table;
        const struct table_meta *meta = table_meta(t);
        rc = live_pass_collect(&ranges, table_range_dels(t), meta->lower, meta->upper);
    }
    if (rc != STRATA_OK) {
        for (uint32_t i = 0; i < count; i++) {
            kv_cursor_close(cursors[i]);
        }
    } else {
        rc = live_pass_begin(&m->live_pass, cursors, count, merge_group_skip(m, g), ranges.list,
                             ranges.count);
    }
    free(ranges.list);
    return rc;
}

static strata_rc merge_open_group(struct merge *m, const struct merge_group *g)
{
    struct kv_cursor *cursors[MERGE_INPUTS_MAX];
    uint32_t count;
    strata_rc rc = merge_open_cursors(m, g, cursors, &count);
    if (rc != STRATA_OK) {
        return rc;
    }
    m->open = true;
    m->charged_bytes = (size_t)count * merge_readahead(m);
    os_memory_charge(m->env.tables.memory, OS_MEMORY_JOBS, m->charged_bytes);
    if (!m->history) {
        return merge_begin_live(m, g, cursors, count);
    }
    m->history_pass = (struct history_pass){.env = &m->env,
                                            .trim = &m->trim,
                                            .tree = m->tree,
                                            .job = &m->job,
                                            .keyspace = m->space.number,
                                            .out = &m->main,
                                            .slice_bytes = m->slice_bytes};
    return history_pass_begin(&m->history_pass, cursors, count, merge_group_skip(m, g));
}

static void merge_close_group(struct merge *m)
{
    live_pass_release(&m->live_pass);
    history_pass_release(&m->history_pass);
    free(m->group_tables);
    m->group_tables = NULL;
    os_memory_refund(m->env.tables.memory, OS_MEMORY_JOBS, m->charged_bytes);
    m->charged_bytes = 0;
    m->open = false;
}

static strata_rc merge_rewrite_step(struct merge *m, const struct merge_group *g)
{
    strata_rc rc = m->open ? STRATA_OK : merge_open_group(m, g);
    if (rc != STRATA_OK) {
        return rc;
    }
    enum pass_stop stop = PASS_END;
    rc = m->history ? history_pass_run(&m->history_pass, MERGE_STEP_BYTES, &stop)
                    : live_pass_run(&m->live_pass, MERGE_STEP_BYTES, &stop);
    if (rc != STRATA_OK || stop == PASS_BUDGET) {
        return rc;
    }
    if (stop == PASS_SLICE) {
        return merge_install(m, m->history ? history_pass_next_key(&m->history_pass)
                                           : live_pass_next_key(&m->live_pass));
    }
    // The group behind may hold a table that moves: its keys lie behind what was written.
    rc = output_cut(&m->main);
    merge_close_group(m);
    m->group_at++;
    return rc;
}

// ---- groups that are not read

// A history table of which nothing must be kept just leaves.
static bool merge_is_trimmed(const struct merge *m, const struct table_meta *meta)
{
    return m->history && !compact_trim_keeps(&m->trim, meta->commit_least, meta->end_greatest, 0);
}

static strata_rc merge_edit_trim(struct merge *m, struct merge_table *t)
{
    m->progress.dropped += table_meta(t->table)->entries;
    strata_rc rc = merge_edit_remove(m, t);
    return rc == STRATA_OK ? output_set_trimmed(&m->set, m->space.number, &m->trim) : rc;
}

static strata_rc merge_pass_over(struct merge *m, const struct merge_group *g)
{
    ASSERT(g->count == 1);
    struct merge_table *t = &m->plan.tables[g->first];
    m->group_at++;
    if (merge_is_trimmed(m, table_meta(t->table))) {
        return merge_edit_trim(m, t);
    }
    if (g->kind == MERGE_STAY) {
        t->taken = true;
        return STRATA_OK;
    }
    return merge_edit_move(m, t, m->job.output_level, m->output_run);
}

// Every table goes over unread, also those with deletes.
static strata_rc merge_relabel(struct merge *m)
{
    ASSERT(m->job.input_count == 1);
    for (size_t i = 0; i < m->plan.table_count; i++) {
        struct merge_table *t = &m->plan.tables[i];
        strata_rc rc = merge_is_trimmed(m, table_meta(t->table))
                           ? merge_edit_trim(m, t)
                           : merge_edit_move(m, t, m->job.output_level, m->output_run);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    return output_set_install(&m->set);
}

// ---- the job

strata_rc merge_step(struct merge *m, bool *done_out)
{
    *done_out = false;
    if (m->env.stopping(m->env.ctx)) {
        return fail(STRATA_BUSY, "a merge in keyspace %s was stopped", m->space.name);
    }
    if (m->job.relabel) {
        strata_rc rc = merge_relabel(m);
        *done_out = rc == STRATA_OK;
        return rc;
    }
    while (m->group_at < m->plan.group_count) {
        const struct merge_group *g = &m->plan.groups[m->group_at];
        if (g->kind == MERGE_REWRITE) {
            return merge_rewrite_step(m, g);
        }
        strata_rc rc = merge_pass_over(m, g);
        if (rc != STRATA_OK) {
            return rc;
        }
    }
    strata_rc rc = output_cut(&m->ejected);
    if (rc == STRATA_OK) {
        rc = merge_install(m, slice_of(NULL, 0));
    }
    *done_out = rc == STRATA_OK;
    return rc;
}

void merge_rewrite_values(struct merge *m)
{
    ASSERT(m->group_at == 0 && m->table_at == 0 && !m->open);
    m->separate.rewrite = true;
    m->job.relabel = false;
    merge_plan_read_all(&m->plan);
}

const struct compact_progress *merge_progress(const struct merge *m)
{
    return &m->progress;
}

uint64_t merge_bytes_total(const struct merge *m)
{
    return m->bytes_total;
}

uint64_t merge_ejected_run(const struct merge *m)
{
    return m->ejected_run;
}

void merge_free(struct merge *m)
{
    if (m == NULL) {
        return;
    }
    merge_close_group(m);
    output_release(&m->main);
    output_release(&m->ejected);
    separate_release(&m->separate);
    output_set_release(&m->set);
    turn_release(&m->turn);
    eject_older_release(&m->older);
    compact_trim_release(&m->trim);
    free(m->space.name);
    merge_release_tables(m, true);
    merge_plan_release(&m->plan);
    tree_unref(m->tree);
    free(m);
}
