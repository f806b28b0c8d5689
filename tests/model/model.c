#include "model/model.h"

#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>

#define SECOND_US 1000000

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
    m->spaces[0].policy.retention = STRATA_RETENTION_ALL;
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
    free(m->times);
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

static int64_t second_up(int64_t time_us)
{
    return (time_us + SECOND_US - 1) / SECOND_US * SECOND_US;
}

static int64_t second_down(int64_t time_us)
{
    return time_us / SECOND_US * SECOND_US;
}

// What the database gave by itself is not known before the time of the commit is.
#define EXPIRY_BY_DEFAULT INT64_MIN

static int64_t expiry_of(const struct model_space *s, const struct model_op *op)
{
    if (op->kind != MODEL_PUT || op->expires_us == STRATA_NEVER) {
        return 0;
    }
    if (op->expires_us != 0) {
        return second_up(op->expires_us);
    }
    return s->policy.expire_seconds == 0 ? 0 : EXPIRY_BY_DEFAULT;
}

static void apply_point(struct model_space *s, const struct model_op *op, uint64_t commit)
{
    struct model_key *k = find_or_add_key(s, op->key);
    if (k->count > 0 && k->versions[k->count - 1].commit == commit) {
        drop_newest_version(k);
    }
    test_grow((void **)&k->versions, &k->capacity, k->count, sizeof(struct model_version));
    struct slice value = op->kind == MODEL_PUT ? op->value : slice_of(NULL, 0);
    k->versions[k->count++] =
        (struct model_version){commit, op->kind, own_slice(value), expiry_of(s, op)};
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

static uint64_t next_commit(struct model *m)
{
    int64_t before = m->newest == 0 ? 0 : m->times[m->newest];
    m->newest++;
    while (m->newest >= m->time_capacity) {
        test_grow((void **)&m->times, &m->time_capacity, m->time_capacity, sizeof *m->times);
    }
    m->times[0] = 0;
    m->times[m->newest] = before;
    return m->newest;
}

uint64_t model_commit(struct model *m, const struct model_op *ops, size_t count)
{
    uint64_t commit = next_commit(m);
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
    return next_commit(m);
}

void model_set_time(struct model *m, int64_t time_us)
{
    m->times[m->newest] = time_us;
    for (size_t i = 0; i < m->space_count; i++) {
        struct model_space *s = &m->spaces[i];
        for (size_t k = 0; k < s->key_count && s->policy.expire_seconds != 0; k++) {
            struct model_key *key = &s->keys[k];
            struct model_version *v = key->count == 0 ? NULL : &key->versions[key->count - 1];
            if (v != NULL && v->expiry_us == EXPIRY_BY_DEFAULT) {
                v->expiry_us = second_up(time_us + (int64_t)s->policy.expire_seconds * SECOND_US);
            }
        }
    }
}

uint64_t model_space_create(struct model *m, const char *name)
{
    if (m->space_count == MODEL_SPACES_MAX) {
        test_fatal("the model has no room for another keyspace");
    }
    struct model_space *s = &m->spaces[m->space_count++];
    *s = (struct model_space){.created = next_commit(m), .policy = {STRATA_RETENTION_ALL, 0, 0, 0}};
    snprintf(s->name, sizeof s->name, "%s", name);
    return m->newest;
}

uint64_t model_space_drop(struct model *m, size_t space)
{
    m->spaces[space].dropped = next_commit(m);
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
    s->floor = s->floor < commit ? s->floor : commit;
    for (size_t i = 0; i < s->stretch_count; i++) {
        uint64_t *until = &s->stretches[i].until;
        *until = *until <= commit || *until == UINT64_MAX ? *until : commit;
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

// ---- retention

struct model_policy model_policy_of(const strata_keyspace_options *o)
{
    struct model_policy p = {o->retention, o->retention_versions, o->retention_seconds,
                             o->expire_seconds == STRATA_NEVER_SECONDS ? 0 : o->expire_seconds};
    p.retention = p.retention == STRATA_RETENTION_DEFAULT ? STRATA_RETENTION_ALL : p.retention;
    p.versions = p.versions == 0 ? 1 : p.versions;
    p.age_seconds = p.age_seconds == 0 ? 86400 : p.age_seconds;
    return p;
}

int64_t model_time_s(const struct model *m, uint64_t commit)
{
    return commit == 0 ? 0 : second_down(m->times[commit]);
}

int64_t model_now_s(const struct model *m, int64_t wall_us)
{
    int64_t newest = m->newest == 0 ? 0 : m->times[m->newest];
    return second_down(wall_us > newest ? wall_us : newest);
}

// The last commit at or before a time.
static uint64_t commit_at(const struct model *m, int64_t time_us)
{
    uint64_t low = 0;
    uint64_t high = m->newest;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (m->times[middle] <= time_us) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

uint64_t model_floor(const struct model *m, size_t space, int64_t now_us)
{
    const struct model_space *s = &m->spaces[space];
    uint64_t allowed = 0;
    if (s->policy.retention == STRATA_RETENTION_NONE) {
        allowed = m->newest;
    } else if (s->policy.retention == STRATA_RETENTION_AGE) {
        int64_t newest = m->newest == 0 ? 0 : m->times[m->newest];
        int64_t now = now_us > newest ? now_us : newest;
        allowed = commit_at(m, now - (int64_t)s->policy.age_seconds * SECOND_US);
    }
    return allowed > s->floor ? allowed : s->floor;
}

void model_advance(struct model *m, int64_t now_us)
{
    for (size_t i = 0; i < m->space_count; i++) {
        m->spaces[i].floor = model_floor(m, i, now_us);
    }
}

void model_set_policy(struct model *m, size_t space, struct model_policy policy, int64_t now_us)
{
    struct model_space *s = &m->spaces[space];
    model_advance(m, now_us);
    if (s->policy.retention == STRATA_RETENTION_VERSIONS) {
        size_t i = 0;
        while (i < s->stretch_count && s->stretches[i].versions != s->policy.versions) {
            i++;
        }
        if (i == MODEL_STRETCHES_MAX) {
            test_fatal("the model has no room for another number of versions");
        }
        s->stretches[i] = (struct model_stretch){s->policy.versions, m->newest};
        s->stretch_count = i == s->stretch_count ? i + 1 : s->stretch_count;
    }
    s->policy = policy;
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
                                           uint64_t at, int64_t time_us)
{
    size_t i = k->count;
    while (i > 0 && k->versions[i - 1].commit > at) {
        i--;
    }
    if (i == 0 || k->versions[i - 1].kind != MODEL_PUT) {
        return NULL;
    }
    const struct model_version *v = &k->versions[i - 1];
    if (v->expiry_us != 0 && v->expiry_us <= time_us) {
        return NULL;
    }
    for (size_t r = s->range_count; r > 0 && s->ranges[r - 1].commit > v->commit; r--) {
        if (s->ranges[r - 1].commit <= at && range_covers(&s->ranges[r - 1], k->key)) {
            return NULL;
        }
    }
    return v;
}

const struct model_version *model_get(const struct model_space *s, struct slice key, uint64_t at,
                                      int64_t time_us)
{
    size_t i = model_key_index(s, key);
    if (i == s->key_count || !slice_equal(s->keys[i].key, key)) {
        return NULL;
    }
    return model_value_at(s, &s->keys[i], at, time_us);
}

// How many versions of the key, range deletes among them, lie in (after, upto].
static uint64_t versions_between(const struct model_space *s, const struct model_key *k,
                                 uint64_t after, uint64_t upto)
{
    uint64_t count = 0;
    for (size_t i = 0; i < k->count; i++) {
        count += k->versions[i].commit > after && k->versions[i].commit <= upto ? 1 : 0;
    }
    for (size_t i = s->range_count; i > 0 && s->ranges[i - 1].commit > after; i--) {
        const struct model_range *r = &s->ranges[i - 1];
        count += r->commit <= upto && range_covers(r, k->key) ? 1 : 0;
    }
    return count;
}

bool model_may_forget(const struct model *m, const struct model_space *s, const struct model_key *k,
                      uint64_t at, bool is_delete)
{
    bool rule = s->policy.retention == STRATA_RETENTION_VERSIONS || s->stretch_count > 0;
    uint64_t more = is_delete ? 1 : 0;
    if (!rule || k->count == 0 || k->versions[0].commit > at) {
        return false;
    }
    if (s->policy.retention == STRATA_RETENTION_VERSIONS &&
        versions_between(s, k, at, m->newest) + more >= s->policy.versions) {
        return true;
    }
    for (size_t i = 0; i < s->stretch_count; i++) {
        const struct model_stretch *old = &s->stretches[i];
        if (at <= old->until && versions_between(s, k, at, old->until) + more >= old->versions) {
            return true;
        }
    }
    return false;
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
            next.expiry_us = v->expiry_us;
            // One that may have expired before is perhaps not known any more.
            if (v->kind == MODEL_PUT && v->expiry_us == 0 && count > 0 &&
                seen[count - 1].kind == MODEL_DELETE_RANGE) {
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
