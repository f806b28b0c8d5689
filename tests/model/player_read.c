// The reads of a script that begin and end in one operation.
#include "lib/test_lib.h"
#include "model/player.h"

void player_get(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (player_find_read(p, op->a, op->e, &c)) {
        compare_get(&c, player_key(p->key, op->b), p->fault);
    }
}

void player_get_many(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (player_find_read(p, op->a, op->e, &c)) {
        compare_all_gets(&c, p->fault);
    }
}

static bool show_some(void *ctx, strata_slice key, strata_slice value)
{
    (void)ctx;
    const uint8_t *k = key.data;
    return (k[key.bytes - 1] + value.bytes) % 3 != 0;
}

static void set_flags(struct compare *c, uint64_t flags, struct slice lower, struct slice upper)
{
    if ((flags & 1) != 0) {
        c->how.lower = player_public(lower);
    }
    if ((flags & 2) != 0) {
        c->how.upper = player_public(upper);
    }
    if ((flags & 12) == 12) {
        c->how.filter = show_some;
    }
    if ((flags & 48) == 48) {
        c->how.step_budget = 1 + (flags >> 10) % 5;
    }
    c->how.cache_bypass = (flags & 64) != 0;
}

// Bounds the right way round: an interval that ends before it begins is not asked for.
static bool set_bounds(struct player *p, struct compare *c, const struct script_op *op)
{
    struct slice lower = player_key(p->key, op->b);
    struct slice upper = player_key(p->key_too, op->c);
    bool turned = slice_compare(lower, upper) > 0;
    set_flags(c, op->d, turned ? upper : lower, turned ? lower : upper);
    return true;
}

void player_scan(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (player_find_read(p, op->a, op->e, &c) && set_bounds(p, &c, op)) {
        compare_scan(&c, (op->d & 128) != 0, p->fault);
    }
}

void player_history(struct player *p, const struct script_op *op)
{
    struct compare c;
    if (!player_find_read(p, op->a, op->e, &c)) {
        return;
    }
    if (op->kind == SCRIPT_KEY_HISTORY) {
        compare_history_key(&c, player_key(p->key, op->b), p->fault);
    } else if (set_bounds(p, &c, op)) {
        c.how.filter = NULL;
        c.how.step_budget = 0;
        compare_history(&c, p->fault);
    }
}

void player_walk(struct player *p, const struct script_op *op)
{
    struct compare c;
    struct walker w;
    if (!player_find_read(p, op->a, op->e, &c)) {
        return;
    }
    struct prng random = {op->c};
    struct script_op bounds = *op;
    bounds.b = prng_next(&random);
    bounds.c = prng_next(&random);
    set_bounds(p, &c, &bounds);
    if (!walker_open(&w, &c, p->fault)) {
        return;
    }
    for (uint64_t i = 0; i < op->b && p->fault[0] == '\0'; i++) {
        static const enum walker_move moves[] = {
            WALKER_FIRST, WALKER_LAST, WALKER_SEEK, WALKER_SEEK_BEFORE, WALKER_NEXT,
            WALKER_PREV,  WALKER_NEXT, WALKER_PREV, WALKER_NEXT,        WALKER_PREV,
        };
        enum walker_move move = moves[prng_below(&random, sizeof moves / sizeof moves[0])];
        walker_move(&w, move, player_key(p->key, prng_next(&random)), p->fault);
    }
    walker_close(&w);
}
