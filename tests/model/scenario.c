#include "model/scenario.h"

#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>

const char *step_kind_name(enum step_kind kind)
{
    static const char *const names[STEP_KINDS] = {"commit", "create",  "drop",   "sync",
                                                  "flush",  "compact", "reopen", "crash",
                                                  "crank",  "alter",   "clock",  "compact_values"};
    return kind < STEP_KINDS ? names[kind] : "?";
}

void scenario_init(struct scenario *s, uint64_t seed)
{
    // Mostly writes; what else there is differs from seed to seed.
    static const uint64_t base[STEP_KINDS] = {60, 1, 1, 3, 3, 1, 1, 1, 6, 2, 3, 1};
    *s = (struct scenario){.random = {prng_mix(seed)}};
    for (int i = 0; i < STEP_KINDS; i++) {
        uint64_t scale = i == STEP_COMMIT ? 1 : prng_below(&s->random, 3);
        s->weights[i] = base[i] * scale;
    }
    static const uint64_t value_maxes[] = {8, 60, 400, 4000};
    s->keys = 4 + prng_below(&s->random, 40);
    s->value_max = value_maxes[prng_below(&s->random, 4)];
    s->sync_one_in = 1 + prng_below(&s->random, 6);
    s->expires = prng_one_in(&s->random, 2);
}

#define LARGE_VALUE_BYTES ((1u << 20) + 5000)

static struct slice keep_bytes(struct step *step, const void *data, size_t bytes)
{
    if (step->byte_count + bytes > step->byte_capacity) {
        test_fatal("a step holds more than %zu bytes", step->byte_capacity);
    }
    uint8_t *to = step->bytes + step->byte_count;
    if (bytes > 0) {
        memcpy(to, data, bytes);
    }
    step->byte_count += bytes;
    return slice_of(to, bytes);
}

static struct slice random_key(struct scenario *s, struct step *step, uint64_t extra)
{
    char text[64];
    uint64_t n = prng_below(&s->random, s->keys) + extra;
    int bytes = snprintf(text, sizeof text, "key%03llu", (unsigned long long)n);
    if (n % 7 == 3) {
        bytes = snprintf(text, sizeof text, "key%03llu/with/a/longer/tail/of/its/own",
                         (unsigned long long)n);
    }
    return keep_bytes(step, text, (size_t)bytes);
}

static struct slice random_value(struct scenario *s, struct step *step)
{
    static uint8_t value[LARGE_VALUE_BYTES];
    size_t bytes = (size_t)prng_below(&s->random, s->value_max);
    bytes = prng_one_in(&s->random, 60) ? 6000 : bytes;
    // Once in a step, and seldom: more than a chunk of a value file.
    bytes = step->byte_count < 100 && prng_one_in(&s->random, 3000) ? sizeof value : bytes;
    struct prng fill = {prng_next(&s->random)};
    for (size_t i = 0; i < bytes; i++) {
        value[i] = (uint8_t)('a' + prng_next(&fill) % 16);
    }
    return keep_bytes(step, value, bytes);
}

static size_t random_space(struct scenario *s, const struct model *m)
{
    size_t space = (size_t)prng_below(&s->random, m->space_count);
    return model_space_is_there(m, space, m->newest) ? space : 0;
}

static int64_t random_expiry(struct scenario *s, int64_t wall_us)
{
    if (!s->expires || !prng_one_in(&s->random, 3)) {
        return 0;
    }
    return wall_us + (int64_t)prng_below(&s->random, 600) * 1000000;
}

static void random_op(struct scenario *s, const struct model *m, int64_t wall_us, struct step *step)
{
    struct model_op *op = &step->ops[step->op_count++];
    uint64_t x = prng_below(&s->random, 100);
    op->space = random_space(s, m);
    op->expires_us = 0;
    if (x < 72) {
        op->kind = MODEL_PUT;
        op->key = random_key(s, step, 0);
        op->value = random_value(s, step);
        op->expires_us = random_expiry(s, wall_us);
    } else if (x < 90) {
        op->kind = MODEL_DELETE;
        op->key = random_key(s, step, 0);
        op->value = slice_of(NULL, 0);
    } else {
        op->kind = MODEL_DELETE_RANGE;
        op->key = random_key(s, step, 0);
        op->value = random_key(s, step, 1 + prng_below(&s->random, 4));
        if (slice_compare(op->key, op->value) >= 0) {
            op->kind = MODEL_DELETE;
        }
    }
}

static enum step_kind random_kind(struct scenario *s)
{
    uint64_t sum = 0;
    for (int i = 0; i < STEP_KINDS; i++) {
        sum += s->weights[i];
    }
    uint64_t x = prng_below(&s->random, sum);
    for (int i = 0; i < STEP_KINDS; i++) {
        if (x < s->weights[i]) {
            return (enum step_kind)i;
        }
        x -= s->weights[i];
    }
    return STEP_COMMIT;
}

static void random_alter(struct scenario *s, const struct model *m, struct step *step)
{
    strata_keyspace_options *o = &step->change;
    uint64_t x = prng_below(&s->random, 3);
    *o = (strata_keyspace_options)STRATA_KEYSPACE_OPTIONS_INIT;
    step->space = random_space(s, m);
    if (x == 0) {
        o->separation = prng_one_in(&s->random, 4) ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
        o->separate_bytes = prng_one_in(&s->random, 2) ? 64 : 300;
        return;
    }
    o->retention = (strata_retention)(1 + prng_below(&s->random, 4));
    o->retention_versions = 1 + (uint32_t)prng_below(&s->random, 3);
    o->retention_seconds = 1 + (uint32_t)prng_below(&s->random, 300);
}

void scenario_next(struct scenario *s, const struct model *m, int64_t wall_us, struct step *step)
{
    if (step->bytes == NULL) {
        step->byte_capacity = (size_t)SCENARIO_OPS_MAX * 8400 + LARGE_VALUE_BYTES;
        step->bytes = test_alloc(step->byte_capacity, 1);
    }
    step->byte_count = 0;
    step->op_count = 0;
    step->streamed = false;
    step->kind = random_kind(s);
    if (step->kind == STEP_CLOCK) {
        step->seconds = 1 + prng_below(&s->random, 200);
        return;
    }
    if (step->kind == STEP_ALTER) {
        random_alter(s, m, step);
        return;
    }
    if (step->kind == STEP_SPACE_CREATE) {
        // Few names, so that a dropped one comes back.
        snprintf(step->name, sizeof step->name, "space%llu",
                 (unsigned long long)prng_below(&s->random, 3));
        if (m->space_count < MODEL_SPACES_MAX &&
            model_space_named(m, step->name, m->newest) == SIZE_MAX) {
            return;
        }
        step->kind = STEP_COMMIT;
    }
    if (step->kind == STEP_SPACE_DROP) {
        step->space = random_space(s, m);
        if (step->space != 0) {
            return;
        }
        step->kind = STEP_COMMIT;
    }
    if (step->kind == STEP_COMMIT) {
        bool synced = prng_one_in(&s->random, s->sync_one_in) != 0;
        step->durability = synced ? STRATA_SYNC : STRATA_SYNC_NONE;
        uint64_t ops =
            prng_one_in(&s->random, 3) ? 1 + prng_below(&s->random, SCENARIO_OPS_MAX) : 1;
        while (step->op_count < ops) {
            random_op(s, m, wall_us, step);
        }
        step->streamed = ops == 1 && step->ops[0].kind == MODEL_PUT && prng_one_in(&s->random, 6);
    }
}

void step_release(struct step *step)
{
    free(step->bytes);
    *step = (struct step){.bytes = NULL};
}

bool step_commits(const struct step *step)
{
    return step->kind == STEP_COMMIT || step->kind == STEP_SPACE_CREATE ||
           step->kind == STEP_SPACE_DROP;
}

static struct model_policy altered(struct model_policy p, const strata_keyspace_options *change)
{
    if (change->retention != STRATA_RETENTION_DEFAULT) {
        p.retention = change->retention;
        p.versions = change->retention_versions;
        p.age_seconds = change->retention_seconds;
    }
    return p;
}

uint64_t step_apply(const struct step *step, struct model *m,
                    const strata_keyspace_options *keyspace, int64_t wall_us)
{
    switch (step->kind) {
    case STEP_COMMIT:
        return model_commit(m, step->ops, step->op_count);
    case STEP_SPACE_CREATE:
        model_space_create(m, step->name);
        model_set_policy(m, m->space_count - 1, model_policy_of(keyspace), wall_us);
        return m->newest;
    case STEP_SPACE_DROP:
        return model_space_drop(m, step->space);
    case STEP_ALTER:
        model_set_policy(m, step->space, altered(m->spaces[step->space].policy, &step->change),
                         wall_us);
        return m->newest;
    default:
        return m->newest;
    }
}
