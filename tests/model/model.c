#include "model/model.h"

#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>

static struct slice own_slice(struct slice from)
{
    uint8_t *copy = test_alloc(from.bytes, 1);
    if (from.bytes > 0) {
        memcpy(copy, from.data, from.bytes);
    }
    return slice_of(copy, from.bytes);
}

static void free_slice(struct slice s)
{
    free((void *)(uintptr_t)s.data);
}

struct model *model_new(void)
{
    struct model *m = test_alloc(1, sizeof *m);
    m->space_count = 1;
    snprintf(m->spaces[0].name, MODEL_NAME_BYTES, "default");
    return m;
}

static void free_key(struct model_key *k)
{
    for (size_t i = 0; i < k->count; i++) {
        free_slice(k->versions[i].value);
    }
    free(k->versions);
    free_slice(k->key);
}

static void free_space(struct model_space *s)
{
    for (size_t i = 0; i < s->key_count; i++) {
        free_key(&s->keys[i]);
    }
    for (size_t i = 0; i < s->range_count; i++) {
        free_slice(s->ranges[i].begin);
        free_slice(s->ranges[i].end);
    }
    free(s->keys);
    free(s->ranges);
}

void model_free(struct model *m)
{
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->space_count; i++) {
        free_space(&m->spaces[i]);
    }
    free(m);
}

size_t model_key_index(const struct model_space *s, struct slice key)
{
    size_t low = 0;
    size_t high = s->key_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(s->keys[middle].key, key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct model_key *find_or_add_key(struct model_space *s, struct slice key)
{
    size_t at = model_key_index(s, key);
    if (at < s->key_count && slice_equal(s->keys[at].key, key)) {
        return &s->keys[at];
    }
    test_grow((void **)&s->keys, &s->key_capacity, s->key_count, sizeof(struct model_key));
    memmove(&s->keys[at + 1], &s->keys[at], (s->key_count - at) * sizeof(struct model_key));
    s->key_count++;
    s->keys[at] = (struct model_key){.key = own_slice(key)};
    return &s->keys[at];
}

static void drop_newest_version(struct model_key *k)
{
    k->count--;
    free_slice(k->versions[k->count].value);
}

static void apply_point(struct model_space *s, const struct model_op *op, uint64_t commit)
{
    struct model_key *k = find_or_add_key(s, op->key);
    if (k->count > 0 && k->versions[k->count - 1].commit == commit) {
        drop_newest_version(k);
    }
    test_grow((void **)&k->versions, &k->capacity, k->count, sizeof(struct model_version));
    struct slice value = op->kind == MODEL_PUT ? op->value : slice_of(NULL, 0);
    k->versions[k->count++] = (struct model_version){commit, op->kind, own_slice(value)};
}

static void apply_range(struct model_space *s, const struct model_op *op, uint64_t commit)
{
    for (size_t i = model_key_index(s, op->key); i < s->key_count; i++) {
        struct model_key *k = &s->keys[i];
        if (slice_compare(k->key, op->value) >= 0) {
            break;
        }
        if (k->count > 0 && k->versions[k->count - 1].commit == commit) {
            drop_newest_version(k);
        }
    }
    test_grow((void **)&s->ranges, &s->range_capacity, s->range_count, sizeof(struct model_range));
    s->ranges[s->range_count++] =
        (struct model_range){commit, own_slice(op->key), own_slice(op->value)};
}

uint64_t model_commit(struct model *m, const struct model_op *ops, size_t count)
{
    uint64_t commit = ++m->newest;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind == MODEL_DELETE_RANGE) {
            apply_range(&m->spaces[ops[i].space], &ops[i], commit);
        } else {
            apply_point(&m->spaces[ops[i].space], &ops[i], commit);
        }
    }
    return commit;
}

uint64_t model_commit_nothing(struct model *m)
{
    return ++m->newest;
}

uint64_t model_space_create(struct model *m, const char *name)
{
    if (m->space_count == MODEL_SPACES_MAX) {
        test_fatal("the model has no room for another keyspace");
    }
    struct model_space *s = &m->spaces[m->space_count++];
    *s = (struct model_space){.created = ++m->newest};
    snprintf(s->name, sizeof s->name, "%s", name);
    return m->newest;
}

uint64_t model_space_drop(struct model *m, size_t space)
{
    m->spaces[space].dropped = ++m->newest;
    return m->newest;
}

static void cut_space(struct model_space *s, uint64_t commit)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->key_count; i++) {
        struct model_key *k = &s->keys[i];
        while (k->count > 0 && k->versions[k->count - 1].commit > commit) {
            drop_newest_version(k);
        }
        if (k->count > 0) {
            s->keys[kept++] = *k;
        } else {
            free_key(k);
        }
    }
    s->key_count = kept;
    while (s->range_count > 0 && s->ranges[s->range_count - 1].commit > commit) {
        s->range_count--;
        free_slice(s->ranges[s->range_count].begin);
        free_slice(s->ranges[s->range_count].end);
    }
    if (s->dropped > commit) {
        s->dropped = 0;
    }
}

void model_cut(struct model *m, uint64_t commit)
{
    while (m->space_count > 1 && m->spaces[m->space_count - 1].created > commit) {
        free_space(&m->spaces[--m->space_count]);
    }
    for (size_t i = 0; i < m->space_count; i++) {
        cut_space(&m->spaces[i], commit);
    }
    m->newest = commit < m->newest ? commit : m->newest;
}

bool model_space_is_there(const struct model *m, size_t space, uint64_t at)
{
    const struct model_space *s = &m->spaces[space];
    return space < m->space_count && s->created <= at && (s->dropped == 0 || s->dropped > at);
}

size_t model_space_named(const struct model *m, const char *name, uint64_t at)
{
    for (size_t i = 0; i < m->space_count; i++) {
        if (model_space_is_there(m, i, at) && strcmp(m->spaces[i].name, name) == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

static bool range_covers(const struct model_range *r, struct slice key)
{
    return slice_compare(r->begin, key) <= 0 && slice_compare(key, r->end) < 0;
}

const struct model_version *model_value_at(const struct model_space *s, const struct model_key *k,
                                           uint64_t at)
{
    size_t i = k->count;
    while (i > 0 && k->versions[i - 1].commit > at) {
        i--;
    }
    if (i == 0 || k->versions[i - 1].kind != MODEL_PUT) {
        return NULL;
    }
    const struct model_version *v = &k->versions[i - 1];
    for (size_t r = s->range_count; r > 0 && s->ranges[r - 1].commit > v->commit; r--) {
        if (s->ranges[r - 1].commit <= at && range_covers(&s->ranges[r - 1], k->key)) {
            return NULL;
        }
    }
    return v;
}

const struct model_version *model_get(const struct model_space *s, struct slice key, uint64_t at)
{
    size_t i = model_key_index(s, key);
    if (i == s->key_count || !slice_equal(s->keys[i].key, key)) {
        return NULL;
    }
    return model_value_at(s, &s->keys[i], at);
}

size_t model_history(const struct model_space *s, const struct model_key *k, uint64_t at,
                     struct model_seen **seen_out)
{
    size_t count = 0;
    struct model_seen *seen = test_alloc(k->count + s->range_count, sizeof *seen);
    size_t r = s->range_count;
    uint64_t newer = 0; // the commit of the next newer version, as of the end of time
    for (size_t i = k->count; i > 0 || r > 0;) {
        uint64_t point = i > 0 ? k->versions[i - 1].commit : 0;
        struct model_seen next = {.end = newer};
        if (r > 0 && s->ranges[r - 1].commit > point) {
            const struct model_range *range = &s->ranges[--r];
            if (!range_covers(range, k->key) || range->commit == newer) {
                continue;
            }
            next.commit = range->commit;
            next.kind = MODEL_DELETE_RANGE;
            // It ended a value when the next older version is a put.
            next.optional = true;
        } else if (i > 0) {
            const struct model_version *v = &k->versions[--i];
            next.commit = v->commit;
            next.kind = v->kind;
            next.value = v->value;
            if (v->kind == MODEL_PUT && count > 0 && seen[count - 1].kind == MODEL_DELETE_RANGE) {
                seen[count - 1].optional = false;
            }
        } else {
            r--;
            continue;
        }
        newer = next.commit;
        if (next.commit <= at) {
            seen[count++] = next;
        }
    }
    *seen_out = seen;
    return count;
}
