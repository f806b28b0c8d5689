// Trees without tables, from text, for tests of shape: a line for each level that is not empty,
// "LEVEL RUN:BYTES RUN:BYTES ...", newest first; a "*" behind the bytes means that a job has
// claimed the run.
#ifndef UNIT_SHAPE_TREE_H
#define UNIT_SHAPE_TREE_H

#include "shape/shape.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SHAPE_TREE_RUNS 400

struct shape_tree {
    struct tree tree;
    struct run runs[SHAPE_TREE_RUNS];
    struct run *order[TREE_LEVELS_MAX][SHAPE_TREE_RUNS];
    uint64_t claimed[SHAPE_TREE_RUNS];
    struct shape_claims claims;
};

// Makes the sums of the tree from the runs that stand in its levels.
static inline void shape_tree_count(struct shape_tree *s)
{
    struct tree *t = &s->tree;
    t->level_count = t->run_count = 0;
    t->bytes = 0;
    for (uint32_t level = 0; level < TREE_LEVELS_MAX; level++) {
        struct level *l = &t->levels[level];
        l->runs = s->order[level];
        l->bytes = 0;
        for (uint32_t i = 0; i < l->count; i++) {
            l->bytes += l->runs[i]->bytes;
        }
        t->bytes += l->bytes;
        t->run_count += l->count;
        t->level_count = l->count > 0 ? level + 1 : t->level_count;
    }
}

static inline void shape_tree_parse(struct shape_tree *s, const char *text)
{
    size_t runs = 0;
    memset(s, 0, sizeof *s);
    s->claims.runs = s->claimed;
    uint32_t level = 0;
    while (*text != '\0') {
        char *end;
        uint64_t number = strtoull(text, &end, 10);
        if (*end != ':') {
            level = (uint32_t)number;
            text = end;
        } else {
            struct run *r = &s->runs[runs++];
            r->number = number;
            r->bytes = strtoull(end + 1, &end, 10);
            struct level *l = &s->tree.levels[level];
            s->order[level][l->count++] = r;
            if (*end == '*') {
                s->claimed[s->claims.count++] = r->number;
                end++;
            }
            text = end;
        }
        text += strspn(text, " \n");
    }
    shape_tree_count(s);
}

// "0:9 0:8 1:3 > 1:3 last", "> 2:new", "relabel"; "none".
static inline void shape_job_print(const struct shape_job *job, bool there, char *to, size_t room)
{
    size_t at = 0;
    if (!there) {
        snprintf(to, room, "none");
        return;
    }
    for (uint32_t i = 0; i < job->input_count && at < room; i++) {
        at += (size_t)snprintf(to + at, room - at, "%" PRIu32 ":%" PRIu64 " ", job->input_levels[i],
                               job->inputs[i]->number);
    }
    char run[24] = "new";
    if (job->output_run != 0) {
        snprintf(run, sizeof run, "%" PRIu64, job->output_run);
    }
    if (at < room) {
        snprintf(to + at, room - at, "> %" PRIu32 ":%s%s%s", job->output_level, run,
                 job->to_last ? " last" : "", job->relabel ? " relabel" : "");
    }
}

#endif
