// The rule is judged by a model: random commits of points and range deletes over a few keys,
// flushes, merges of key slices of runs, moves and merges of history; every key is read at every
// commit and compared with a list of all that was written. The runs are arrays; everything that
// decides about a version is the module under test.
#include "compact/eject.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/prng.h"

#define KEYS 5u
#define VERSIONS_MAX 400u
#define RUNS_MAX 120u
#define RANGES_MAX 700u

struct version {
    uint64_t commit, end;
    uint8_t kind;
};

struct versions {
    struct version list[VERSIONS_MAX];
    uint32_t count;
};

struct range {
    uint32_t begin, end;
    uint64_t commit;
};

struct model_run {
    struct version point[KEYS]; // commit 0: none
    struct range ranges[RANGES_MAX];
    uint32_t range_count;
};

struct history_run {
    struct versions of[KEYS];
};

struct model {
    struct prng random;
    bool retain_all;
    uint64_t commit;
    struct versions naive[KEYS];  // newest last; a range delete has its own place before points
    struct versions memory[KEYS]; // newest last
    struct range memory_ranges[RANGES_MAX];
    uint32_t memory_range_count;
    struct model_run *runs[RUNS_MAX]; // newest first
    uint32_t run_count;
    struct history_run *history[RUNS_MAX];
    uint32_t history_count;
    uint64_t snapshots[64];
    uint32_t snapshot_count;
    bool wrong;
};

// Key i is one letter; bounds go up to the letter after the last key.
static const char letters[] = "abcdefghi";

static struct slice letter(uint32_t i)
{
    return slice_of(letters + i, 1);
}

static uint32_t letter_index(struct slice s)
{
    assert_int_equal(s.bytes, 1);
    return (uint32_t)(s.data[0] - 'a');
}

static uint32_t below(struct model *m, uint32_t n)
{
    return (uint32_t)prng_below(&m->random, n);
}

static void push(struct versions *v, uint64_t commit, uint64_t end, uint8_t kind)
{
    assert_true(v->count < VERSIONS_MAX);
    v->list[v->count++] = (struct version){commit, end, kind};
}

// ---- writes

static void write_range(struct model *m, struct version points[KEYS])
{
    uint32_t begin = below(m, KEYS);
    uint32_t end = begin + 1 + below(m, KEYS - begin);
    assert_true(m->memory_range_count < RANGES_MAX);
    m->memory_ranges[m->memory_range_count++] = (struct range){begin, end, m->commit};
    for (uint32_t k = begin; k < end; k++) {
        points[k].commit = 0;
        struct versions *v = &m->naive[k];
        if (v->count == 0 || v->list[v->count - 1].commit != m->commit) {
            push(v, m->commit, 0, KV_RANGE_DELETE);
        }
    }
}

static void write_batch(struct model *m)
{
    m->commit++;
    struct version points[KEYS] = {{0}};
    uint32_t ops = prng_below(&m->random, 10) < 6 ? 1 : 2 + below(m, 3);
    for (uint32_t i = 0; i < ops; i++) {
        uint32_t dice = below(m, 20);
        if (dice >= 15) {
            write_range(m, points);
            continue;
        }
        points[below(m, KEYS)] =
            (struct version){m->commit, 0, dice < 11 ? (uint8_t)KV_PUT : (uint8_t)KV_DELETE};
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        if (points[k].commit != 0) {
            push(&m->memory[k], m->commit, 0, points[k].kind);
            push(&m->naive[k], m->commit, 0, points[k].kind);
        }
    }
}

// ---- merges

static bool model_keep(const struct model *m, uint64_t begin, uint64_t end)
{
    for (uint32_t i = 0; i < m->snapshot_count; i++) {
        if (begin <= m->snapshots[i] && m->snapshots[i] < end) {
            return true;
        }
    }
    return m->retain_all;
}

static void add_older(const struct model_run *r, struct eject_older *older, bool hull)
{
    uint32_t least = KEYS;
    uint32_t greatest = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        bool held = r->point[k].commit != 0;
        for (uint32_t i = 0; i < r->range_count; i++) {
            held |= r->ranges[i].begin <= k && k < r->ranges[i].end;
        }
        if (held) {
            least = k < least ? k : least;
            greatest = k + 1;
            if (!hull) {
                assert_int_equal(eject_older_add(older, letter(k), letter(k + 1)), STRATA_OK);
            }
        }
    }
    if (hull && greatest != 0) {
        assert_int_equal(eject_older_add(older, letter(least), letter(greatest)), STRATA_OK);
    }
}

// What a merge takes in: points of each key newest first, and range deletes.
struct inputs {
    struct versions of[KEYS];
    struct range_del ranges[RANGES_MAX * 2];
    size_t range_count;
};

static void take_range(struct inputs *in, const struct range *r)
{
    assert_true(in->range_count < RANGES_MAX * 2);
    in->ranges[in->range_count++] = (struct range_del){letter(r->begin), letter(r->end), r->commit};
}

static void write_pieces(struct eject_ranges *ranges, const struct eject_older *older,
                         struct slice limit, struct model_run *out)
{
    struct range_fragment piece;
    strata_rc rc;
    while ((rc = eject_ranges_next(ranges, older, limit, &piece)) == STRATA_OK) {
        for (uint32_t i = 0; i < piece.count; i++) {
            assert_true(out->range_count < RANGES_MAX);
            out->ranges[out->range_count++] = (struct range){
                letter_index(piece.begin), letter_index(piece.end), piece.commits[i]};
        }
    }
    assert_int_equal(rc, STRATA_END);
}

// Merges the inputs into `out`; runs from `older_from` on are older.
static void combine(struct model *m, const struct inputs *in, uint32_t older_from,
                    struct model_run *out, struct history_run *history)
{
    struct eject_older older = {0};
    bool hull = prng_one_in(&m->random, 2);
    for (uint32_t i = older_from; i < m->run_count; i++) {
        add_older(m->runs[i], &older, hull);
    }
    eject_older_seal(&older);
    struct eject_ranges ranges;
    assert_int_equal(eject_ranges_init(&ranges, in->ranges, in->range_count), STRATA_OK);
    size_t older_at = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        if (prng_one_in(&m->random, 3)) {
            write_pieces(&ranges, &older, letter(k), out);
        }
        bool last = !eject_older_may_hold(&older, letter(k), &older_at);
        struct eject_key key;
        eject_key_begin(&key, eject_ranges_cover(&ranges, letter(k)));
        for (uint32_t i = 0; i < in->of[k].count; i++) {
            const struct version *v = &in->of[k].list[i];
            struct kv_entry e = {.commit = v->commit, .kind = v->kind};
            uint64_t end = 0;
            switch (eject_point(&key, &e, last, &end)) {
            case EJECT_KEEP:
                assert_true(out->point[k].commit == 0);
                out->point[k] = *v;
                break;
            case EJECT_HISTORY:
            case EJECT_RECEIPT:
                if (model_keep(m, v->commit, end)) {
                    push(&history->of[k], v->commit, end, v->kind);
                }
                break;
            case EJECT_BAD:
                m->wrong = true;
                break;
            case EJECT_DROP:
                break;
            }
        }
    }
    write_pieces(&ranges, &older, slice_of(NULL, 0), out);
    eject_ranges_release(&ranges);
    eject_older_release(&older);
}

static bool run_is_empty(const struct model_run *r)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        if (r->point[k].commit != 0) {
            return false;
        }
    }
    return r->range_count == 0;
}

static void drop_empty_runs(struct model *m)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < m->run_count; i++) {
        if (run_is_empty(m->runs[i])) {
            free(m->runs[i]);
        } else {
            m->runs[kept++] = m->runs[i];
        }
    }
    m->run_count = kept;
}

static void add_history(struct model *m, struct history_run *h)
{
    bool empty = true;
    for (uint32_t k = 0; k < KEYS; k++) {
        empty &= h->of[k].count == 0;
    }
    if (empty) {
        free(h);
        return;
    }
    assert_true(m->history_count < RUNS_MAX);
    m->history[m->history_count++] = h;
}

static void *zeroed(size_t bytes)
{
    void *p = calloc(1, bytes);
    assert_non_null(p);
    return p;
}

static void flush(struct model *m)
{
    struct inputs *in = zeroed(sizeof *in);
    struct model_run *out = zeroed(sizeof *out);
    struct history_run *history = zeroed(sizeof *history);
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint32_t i = m->memory[k].count; i-- > 0;) {
            in->of[k].list[in->of[k].count++] = m->memory[k].list[i];
        }
        m->memory[k].count = 0;
    }
    for (uint32_t i = 0; i < m->memory_range_count; i++) {
        take_range(in, &m->memory_ranges[i]);
    }
    m->memory_range_count = 0;
    combine(m, in, 0, out, history);
    assert_true(m->run_count < RUNS_MAX);
    memmove(&m->runs[1], &m->runs[0], m->run_count * sizeof m->runs[0]);
    m->runs[0] = out;
    m->run_count++;
    drop_empty_runs(m);
    add_history(m, history);
    free(in);
}

// Takes the slice [x, y) out of the run.
static void cut_run(struct model_run *r, uint32_t x, uint32_t y, struct inputs *in)
{
    for (uint32_t k = x; k < y; k++) {
        if (r->point[k].commit != 0) {
            push(&in->of[k], r->point[k].commit, 0, r->point[k].kind);
            r->point[k].commit = 0;
        }
    }
    uint32_t count = r->range_count;
    struct range old[RANGES_MAX];
    memcpy(old, r->ranges, count * sizeof old[0]);
    r->range_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct range a = old[i];
        struct range inner = {a.begin > x ? a.begin : x, a.end < y ? a.end : y, a.commit};
        if (inner.begin < inner.end) {
            take_range(in, &inner);
        }
        if (a.begin < x) {
            r->ranges[r->range_count++] = (struct range){a.begin, a.end < x ? a.end : x, a.commit};
        }
        if (a.end > y) {
            assert_true(r->range_count < RANGES_MAX);
            r->ranges[r->range_count++] =
                (struct range){a.begin > y ? a.begin : y, a.end, a.commit};
        }
    }
}

static void pick_slice(struct model *m, uint32_t *x, uint32_t *y)
{
    *x = 0;
    *y = KEYS;
    if (prng_below(&m->random, 10) >= 4) {
        *x = below(m, KEYS);
        *y = *x + 1 + below(m, KEYS - *x);
    }
}

static void merge_runs(struct model *m)
{
    if (m->run_count == 0) {
        return;
    }
    uint32_t i = below(m, m->run_count);
    uint32_t j = i + below(m, 4);
    j = j < m->run_count ? j : m->run_count - 1;
    uint32_t x, y;
    pick_slice(m, &x, &y);
    struct inputs *in = zeroed(sizeof *in);
    struct history_run *history = zeroed(sizeof *history);
    for (uint32_t r = i; r <= j; r++) {
        cut_run(m->runs[r], x, y, in);
    }
    combine(m, in, j + 1, m->runs[j], history);
    add_history(m, history);
    drop_empty_runs(m);
    free(in);
}

static void move_slice(struct model *m)
{
    if (m->run_count < 2) {
        return;
    }
    uint32_t i = below(m, m->run_count - 1);
    uint32_t j = i + 1 + below(m, m->run_count - 1 - i);
    uint32_t x, y;
    pick_slice(m, &x, &y);
    for (uint32_t r = i + 1; r <= j; r++) {
        for (uint32_t k = x; k < y; k++) {
            if (m->runs[r]->point[k].commit != 0) {
                return;
            }
        }
        for (uint32_t d = 0; d < m->runs[r]->range_count; d++) {
            if (m->runs[r]->ranges[d].begin < y && x < m->runs[r]->ranges[d].end) {
                return;
            }
        }
    }
    struct inputs *in = zeroed(sizeof *in);
    cut_run(m->runs[i], x, y, in);
    for (uint32_t k = x; k < y; k++) {
        if (in->of[k].count != 0) {
            m->runs[j]->point[k] = in->of[k].list[0];
        }
    }
    for (size_t d = 0; d < in->range_count; d++) {
        assert_true(m->runs[j]->range_count < RANGES_MAX);
        m->runs[j]->ranges[m->runs[j]->range_count++] =
            (struct range){letter_index(in->ranges[d].begin), letter_index(in->ranges[d].end),
                           in->ranges[d].commit};
    }
    drop_empty_runs(m);
    free(in);
}

static int compare_begins(const void *a, const void *b)
{
    const struct version *x = a;
    const struct version *y = b;
    return x->commit > y->commit ? -1 : x->commit < y->commit;
}

static void merge_history(struct model *m)
{
    if (m->history_count == 0) {
        return;
    }
    uint32_t n = 1 + below(m, m->history_count < 4 ? m->history_count : 4);
    struct history_run *all = zeroed(sizeof *all);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t at = below(m, m->history_count);
        for (uint32_t k = 0; k < KEYS; k++) {
            for (uint32_t v = 0; v < m->history[at]->of[k].count; v++) {
                struct version *q = &m->history[at]->of[k].list[v];
                push(&all->of[k], q->commit, q->end, q->kind);
            }
        }
        free(m->history[at]);
        m->history[at] = m->history[--m->history_count];
    }
    for (uint32_t k = 0; k < KEYS; k++) {
        struct versions *v = &all->of[k];
        qsort(v->list, v->count, sizeof v->list[0], compare_begins);
        struct eject_interval interval = {0};
        uint32_t kept = 0;
        for (uint32_t i = 0; i < v->count; i++) {
            struct kv_entry e = {
                .commit = v->list[i].commit, .end = v->list[i].end, .kind = v->list[i].kind};
            if (eject_interval(&interval, &e) && model_keep(m, e.commit, e.end)) {
                v->list[kept++] = (struct version){e.commit, e.end, e.kind};
            }
        }
        v->count = kept;
    }
    add_history(m, all);
}

// ---- reads

struct candidate {
    uint64_t commit; // 0: none
    uint8_t kind;
    bool skipped;
};

static void offer(struct candidate *c, uint64_t commit, uint8_t kind, uint64_t at)
{
    if (commit > at) {
        c->skipped = true;
    } else if (commit > c->commit ||
               (commit == c->commit && c->kind == KV_RANGE_DELETE && kind != KV_RANGE_DELETE)) {
        c->commit = commit;
        c->kind = kind;
    }
}

static void offer_ranges(struct candidate *c, const struct range *ranges, uint32_t count,
                         uint32_t k, uint64_t at)
{
    for (uint32_t i = 0; i < count; i++) {
        if (ranges[i].begin <= k && k < ranges[i].end) {
            offer(c, ranges[i].commit, KV_RANGE_DELETE, at);
        }
    }
}

// The commit of the put that key k shows at commit `at`; 0: absent.
static uint64_t model_get(const struct model *m, uint32_t k, uint64_t at)
{
    struct candidate c = {0};
    for (uint32_t i = 0; i < m->memory[k].count; i++) {
        offer(&c, m->memory[k].list[i].commit, m->memory[k].list[i].kind, at);
    }
    offer_ranges(&c, m->memory_ranges, m->memory_range_count, k, at);
    for (uint32_t r = 0; r < m->run_count && c.commit == 0; r++) {
        if (m->runs[r]->point[k].commit != 0) {
            offer(&c, m->runs[r]->point[k].commit, m->runs[r]->point[k].kind, at);
        }
        offer_ranges(&c, m->runs[r]->ranges, m->runs[r]->range_count, k, at);
    }
    if ((c.commit == 0 || c.skipped) && at != m->commit) {
        for (uint32_t h = 0; h < m->history_count; h++) {
            const struct versions *v = &m->history[h]->of[k];
            for (uint32_t i = 0; i < v->count; i++) {
                if (v->list[i].commit <= at && at < v->list[i].end) {
                    offer(&c, v->list[i].commit, v->list[i].kind, at);
                }
            }
        }
    }
    return c.kind == KV_PUT ? c.commit : 0;
}

static uint64_t naive_get(const struct model *m, uint32_t k, uint64_t at)
{
    struct candidate c = {0};
    for (uint32_t i = 0; i < m->naive[k].count; i++) {
        offer(&c, m->naive[k].list[i].commit, m->naive[k].list[i].kind, at);
    }
    return c.kind == KV_PUT ? c.commit : 0;
}

static bool is_held(const struct model *m, uint32_t k, uint64_t commit)
{
    for (uint32_t i = 0; i < m->memory[k].count; i++) {
        if (m->memory[k].list[i].commit == commit) {
            return true;
        }
    }
    for (uint32_t r = 0; r < m->run_count; r++) {
        if (m->runs[r]->point[k].commit == commit) {
            return true;
        }
    }
    for (uint32_t h = 0; h < m->history_count; h++) {
        for (uint32_t i = 0; i < m->history[h]->of[k].count; i++) {
            if (m->history[h]->of[k].list[i].commit == commit) {
                return true;
            }
        }
    }
    return false;
}

// In history no two intervals of one run overlap, and a run holds no point under its range deletes.
static bool runs_are_sound(const struct model *m, uint32_t k)
{
    for (uint32_t r = 0; r < m->run_count; r++) {
        const struct model_run *run = m->runs[r];
        struct candidate c = {0};
        offer_ranges(&c, run->ranges, run->range_count, k, UINT64_MAX);
        if (run->point[k].commit != 0 && run->point[k].commit < c.commit) {
            return false;
        }
    }
    for (uint32_t h = 0; h < m->history_count; h++) {
        const struct versions *v = &m->history[h]->of[k];
        for (uint32_t i = 1; i < v->count; i++) {
            if (v->list[i].commit >= v->list[i - 1].commit ||
                v->list[i].end > v->list[i - 1].commit) {
                return false;
            }
        }
    }
    return true;
}

static void model_check(struct model *m)
{
    for (uint32_t k = 0; k < KEYS; k++) {
        for (uint64_t at = 0; at <= m->commit; at++) {
            if ((m->retain_all || at == m->commit || model_keep(m, at, at + 1)) &&
                model_get(m, k, at) != naive_get(m, k, at)) {
                m->wrong = true;
            }
        }
        for (uint32_t i = 0; i < m->naive[k].count && m->retain_all; i++) {
            const struct version *v = &m->naive[k].list[i];
            m->wrong |= v->kind != KV_RANGE_DELETE && !is_held(m, k, v->commit);
        }
        m->wrong |= !runs_are_sound(m, k);
    }
}

static void model_step(struct model *m)
{
    uint32_t dice = below(m, 100);
    if (dice < 45) {
        write_batch(m);
    } else if (dice < 60) {
        flush(m);
    } else if (dice < 80) {
        merge_runs(m);
    } else if (dice < 86) {
        move_slice(m);
    } else if (dice < 95) {
        merge_history(m);
    } else if (!m->retain_all && m->snapshot_count < 64) {
        m->snapshots[m->snapshot_count++] = m->commit;
    }
}

static bool model_run_seed(uint64_t seed, bool retain_all)
{
    struct model *m = zeroed(sizeof *m);
    m->random.state = seed;
    m->retain_all = retain_all;
    for (uint32_t i = 0; i < 110 && !m->wrong; i++) {
        model_step(m);
        if (i % 12 == 0) {
            model_check(m);
        }
    }
    model_check(m);
    bool right = !m->wrong;
    for (uint32_t i = 0; i < m->run_count; i++) {
        free(m->runs[i]);
    }
    for (uint32_t i = 0; i < m->history_count; i++) {
        free(m->history[i]);
    }
    free(m);
    return right;
}

static void every_read_is_right_when_everything_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 600; seed++) {
        if (!model_run_seed(seed, true)) {
            fail_msg("seed %d", (int)seed);
        }
    }
}

static void snapshots_stay_right_when_nothing_else_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        if (!model_run_seed(seed, false)) {
            fail_msg("seed %d", (int)seed);
        }
    }
}

// ---- cases by hand

static struct kv_entry point_of(uint64_t commit, uint8_t kind)
{
    return (struct kv_entry){.commit = commit, .kind = kind};
}

static void a_point_at_the_commit_of_a_range_delete_is_newer(void **state)
{
    (void)state;
    const uint64_t commits[] = {7, 3};
    struct range_fragment cover = {.commits = commits, .count = 2};
    struct eject_key k;
    eject_key_begin(&k, &cover);
    struct kv_entry newest = point_of(7, KV_PUT);
    struct kv_entry middle = point_of(5, KV_PUT);
    struct kv_entry oldest = point_of(2, KV_DELETE);
    uint64_t end = 0;
    assert_int_equal(eject_point(&k, &newest, true, &end), EJECT_KEEP);
    assert_int_equal(eject_point(&k, &middle, true, &end), EJECT_HISTORY);
    assert_int_equal(end, 7);
    assert_int_equal(eject_point(&k, &oldest, false, &end), EJECT_HISTORY);
    assert_int_equal(end, 3);
}

static void a_newer_point_behind_an_older_one_is_bad(void **state)
{
    (void)state;
    struct eject_key k;
    eject_key_begin(&k, NULL);
    struct kv_entry first = point_of(5, KV_PUT);
    struct kv_entry second = point_of(6, KV_PUT);
    uint64_t end = 0;
    assert_int_equal(eject_point(&k, &first, true, &end), EJECT_KEEP);
    assert_int_equal(eject_point(&k, &second, true, &end), EJECT_BAD);
}

static void a_delete_with_nothing_older_is_a_receipt(void **state)
{
    (void)state;
    struct eject_key k;
    eject_key_begin(&k, NULL);
    struct kv_entry newest = point_of(7, KV_DELETE);
    struct kv_entry older = point_of(5, KV_DELETE);
    uint64_t end = 0;
    assert_int_equal(eject_point(&k, &newest, true, &end), EJECT_RECEIPT);
    assert_int_equal(end, 7);
    assert_int_equal(eject_point(&k, &older, true, &end), EJECT_RECEIPT);
    assert_int_equal(end, 5);
}

static void spans_that_touch_or_overlap_are_joined(void **state)
{
    (void)state;
    struct eject_older o = {0};
    assert_int_equal(eject_older_add(&o, letter(4), letter(5)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(1), letter(2)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(0), letter(1)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(0), letter(2)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(6), slice_of(NULL, 0)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(7), letter(8)), STRATA_OK);
    eject_older_seal(&o);
    static const bool expected[] = {true, true, false, false, true, false, true, true};
    size_t at = 0;
    for (uint32_t k = 0; k < 8; k++) {
        assert_int_equal(eject_older_may_hold(&o, letter(k), &at), expected[k]);
    }
    eject_older_release(&o);
}

static void a_range_of_keys_is_covered_by_one_span_or_not(void **state)
{
    (void)state;
    struct eject_older o = {0};
    assert_int_equal(eject_older_add(&o, letter(1), letter(4)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(6), slice_of(NULL, 0)), STRATA_OK);
    eject_older_seal(&o);
    for (uint32_t first = 0; first < 9; first++) {
        for (uint32_t last = first; last < 9; last++) {
            size_t at = 0;
            bool expected = (first >= 1 && last < 4) || first >= 6;
            assert_int_equal(eject_older_covers(&o, letter(first), letter(last), &at), expected);
        }
    }
    eject_older_release(&o);
}

static void a_range_of_keys_is_touched_by_any_fragment_over_it(void **state)
{
    (void)state;
    const struct range_del list[] = {{letter(2), letter(4), 5}, {letter(6), letter(7), 9}};
    struct eject_ranges r;
    for (uint32_t first = 0; first < 9; first++) {
        assert_int_equal(eject_ranges_init(&r, list, 2), STRATA_OK);
        for (uint32_t last = first; last < 9; last++) {
            bool expected = (first < 4 && last >= 2) || (first < 7 && last >= 6);
            assert_int_equal(eject_ranges_touch(&r, letter(first), letter(last)), expected);
        }
        eject_ranges_release(&r);
    }
    assert_int_equal(eject_ranges_init(&r, NULL, 0), STRATA_OK);
    assert_false(eject_ranges_touch(&r, letter(0), letter(8)));
    eject_ranges_release(&r);
}

static void a_fragment_is_dropped_only_where_nothing_is_older(void **state)
{
    (void)state;
    struct eject_older o = {0};
    assert_int_equal(eject_older_add(&o, letter(1), letter(3)), STRATA_OK);
    assert_int_equal(eject_older_add(&o, letter(5), letter(6)), STRATA_OK);
    eject_older_seal(&o);
    struct range_del list[] = {{letter(0), letter(7), 9}};
    struct eject_ranges r;
    assert_int_equal(eject_ranges_init(&r, list, 1), STRATA_OK);
    struct range_fragment piece;
    // A cut in the middle of a kept piece: the rest comes behind it.
    assert_int_equal(eject_ranges_next(&r, &o, letter(2), &piece), STRATA_OK);
    assert_true(slice_equal(piece.begin, letter(1)) && slice_equal(piece.end, letter(2)));
    assert_int_equal(eject_ranges_next(&r, &o, letter(2), &piece), STRATA_END);
    assert_int_equal(eject_ranges_next(&r, &o, slice_of(NULL, 0), &piece), STRATA_OK);
    assert_true(slice_equal(piece.begin, letter(2)) && slice_equal(piece.end, letter(3)));
    assert_int_equal(eject_ranges_next(&r, &o, slice_of(NULL, 0), &piece), STRATA_OK);
    assert_true(slice_equal(piece.begin, letter(5)) && slice_equal(piece.end, letter(6)));
    assert_int_equal(eject_ranges_next(&r, &o, slice_of(NULL, 0), &piece), STRATA_END);
    eject_ranges_release(&r);
    eject_older_release(&o);
}

static void a_version_twice_in_history_is_kept_once(void **state)
{
    (void)state;
    struct eject_interval k = {0};
    struct kv_entry e = {.commit = 5, .end = 8, .kind = KV_PUT};
    assert_true(eject_interval(&k, &e));
    assert_false(eject_interval(&k, &e));
    struct kv_entry older = {.commit = 3, .end = 9, .kind = KV_PUT};
    assert_true(eject_interval(&k, &older));
    assert_int_equal(older.end, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_point_at_the_commit_of_a_range_delete_is_newer),
        cmocka_unit_test(a_newer_point_behind_an_older_one_is_bad),
        cmocka_unit_test(a_delete_with_nothing_older_is_a_receipt),
        cmocka_unit_test(spans_that_touch_or_overlap_are_joined),
        cmocka_unit_test(a_range_of_keys_is_covered_by_one_span_or_not),
        cmocka_unit_test(a_range_of_keys_is_touched_by_any_fragment_over_it),
        cmocka_unit_test(a_fragment_is_dropped_only_where_nothing_is_older),
        cmocka_unit_test(a_version_twice_in_history_is_kept_once),
        cmocka_unit_test(every_read_is_right_when_everything_is_kept),
        cmocka_unit_test(snapshots_stay_right_when_nothing_else_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
