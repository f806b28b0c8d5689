#include "model/player.h"

#include "lib/test_lib.h"

#include <stdlib.h>

bool player_failed(struct player *p, const char *what, strata_rc rc)
{
    if (rc != STRATA_OK && p->fault[0] == '\0') {
        snprintf(p->fault, sizeof p->fault, "%s: %d, %.400s", what, (int)rc,
                 rc < 0 ? strata_error_text() : "");
    }
    return p->fault[0] != '\0';
}

// ---- names, keys, values

const char *player_space_name(uint64_t i)
{
    static const char *const names[SCRIPT_SPACES] = {"default", "accounts", "b", "zoo"};
    return names[i % SCRIPT_SPACES];
}

// Keys of many lengths with long shared prefixes, and bytes of every kind.
struct slice player_key(uint8_t *to, uint64_t number)
{
    uint64_t n = number % SCRIPT_KEYS;
    char text[32];
    size_t bytes = (size_t)snprintf(text, sizeof text, "%03llu", (unsigned long long)n);
    size_t used = 0;
    if (n % 4 == 1) {
        memset(to, 'p', 40);
        used = 40;
    }
    memcpy(to + used, text, bytes);
    used += bytes;
    if (n % 5 == 2) {
        to[used++] = 0;
        to[used++] = 0xff;
    }
    if (n % 23 == 7) {
        memset(to + used, 'x', 250);
        used += 250;
    }
    return slice_of(to, used);
}

struct slice player_value(uint8_t *to, uint64_t bytes, uint64_t seed, size_t most)
{
    size_t n = (size_t)(bytes % (most + 1));
    struct prng random = {seed};
    uint64_t range = seed % 3 == 0 ? 256 : 1 + seed % 5; // some compress, some do not
    size_t i = 0;
    for (; i < n && i < 1000; i++) {
        to[i] = (uint8_t)('a' + prng_below(&random, range));
    }
    for (; i < n; i += 8) {
        uint64_t word = seed % 3 == 0 ? prng_next(&random) : seed;
        memcpy(to + i, &word, n - i < 8 ? n - i : 8);
    }
    return slice_of(to, n);
}

// As strata_write.expires_unix_us.
int64_t player_expiry(const struct player *p, uint64_t n)
{
    if (n == 0) {
        return 0;
    }
    int64_t now = p->machine.wall_us;
    return n == 1   ? STRATA_NEVER
           : n == 2 ? now - PLAYER_SECOND_US
                    : now + (int64_t)(n % 5000) * PLAYER_SECOND_US;
}

strata_slice player_public(struct slice s)
{
    return (strata_slice){s.data, s.bytes};
}

// The handle and the model's index of a keyspace; false when it is not there.
bool player_find_space(struct player *p, uint64_t i, strata_keyspace **keyspace_out,
                       size_t *space_out)
{
    *space_out = model_space_named(p->model, player_space_name(i), p->model->newest);
    *keyspace_out = NULL;
    strata_rc rc = strata_keyspace_open(p->db, player_space_name(i), keyspace_out);
    if (*space_out == SIZE_MAX) {
        player_failed(p, "keyspace_open of one that is not there",
                      rc == STRATA_NOT_FOUND ? STRATA_OK
                      : rc == STRATA_OK      ? STRATA_INTERNAL
                                             : rc);
        return false;
    }
    return !player_failed(p, "keyspace_open", rc);
}

// Where and when an operation reads; false when the keyspace is not there.
bool player_find_read(struct player *p, uint64_t space, uint64_t when, struct compare *c)
{
    strata_keyspace *keyspace;
    size_t i;
    if (!player_find_space(p, space, &keyspace, &i)) {
        return false;
    }
    uint64_t at = p->model->newest;
    strata_snapshot *snapshot = NULL;
    if (when > SCRIPT_SLOTS) {
        // Half of them are among the latest, where most of the versions are.
        uint64_t w = when - SCRIPT_SLOTS - 1;
        at = w % 2 == 0 || at < 40 ? w / 2 % (at + 1) : at - w / 2 % 40;
    } else if (when > 0 && p->snapshots[when - 1].handle != NULL) {
        snapshot = p->snapshots[when - 1].handle;
        at = p->snapshots[when - 1].commit;
    }
    if (when > SCRIPT_SLOTS) {
        compare_init(c, p->db, keyspace, p->model, i, at, p->machine.wall_us);
    } else if (snapshot != NULL) {
        compare_init_snapshot(c, p->db, keyspace, p->model, i, at, snapshot);
    } else {
        compare_init_now(c, p->db, keyspace, p->model, i, p->machine.wall_us);
    }
    c->trimmed_below = &p->trimmed_below[i];
    return compare_oldest(c, p->fault);
}

// ---- commits

// The time of the newest commit, which must be that of the clock while it was written.
static void note_time(struct player *p)
{
    int64_t time_us = 0;
    int64_t before = p->model->newest < 2 ? 0 : p->model->times[p->model->newest - 1];
    if (player_failed(p, "commit_time", strata_commit_time(p->db, p->model->newest, &time_us))) {
        return;
    }
    int64_t least = p->op_began_us > before ? p->op_began_us : before;
    int64_t most = p->machine.wall_us > before ? p->machine.wall_us : before;
    if (time_us < least || time_us > most) {
        snprintf(p->fault, sizeof p->fault, "commit %llu has time %lld, expected %lld to %lld",
                 (unsigned long long)p->model->newest, (long long)time_us, (long long)least,
                 (long long)most);
        return;
    }
    model_set_time(p->model, time_us);
}

void player_note_commit(struct player *p, const struct script_op *op, strata_rc rc, uint64_t commit)
{
    if (player_failed(p, "a commit", rc)) {
        return;
    }
    if (commit != p->model->newest) {
        snprintf(p->fault, sizeof p->fault, "commit %llu, expected %llu",
                 (unsigned long long)commit, (unsigned long long)p->model->newest);
        return;
    }
    note_time(p);
    if (op->e % 3 == STRATA_SYNC) {
        p->synced = commit;
    }
}

// ---- keyspaces

void player_create(struct player *p, const struct script_op *op)
{
    strata_keyspace *keyspace = NULL;
    const char *name = player_space_name(op->a);
    bool there = model_space_named(p->model, name, p->model->newest) != SIZE_MAX;
    if (!there && p->model->space_count == MODEL_SPACES_MAX) {
        return;
    }
    strata_keyspace_options options = config_keyspace(p->config->number, op->a % SCRIPT_SPACES);
    strata_rc rc = strata_keyspace_create(p->db, name, &options, &keyspace);
    if (there) {
        player_failed(p, "creating a keyspace twice",
                      rc == STRATA_CONFLICT ? STRATA_OK
                      : rc == STRATA_OK     ? STRATA_INTERNAL
                                            : rc);
        return;
    }
    model_space_create(p->model, name);
    model_set_policy(p->model, p->model->space_count - 1, model_policy_of(&options),
                     p->machine.wall_us);
    player_note_commit(p, &(struct script_op){.e = STRATA_SYNC}, rc, strata_newest_commit(p->db));
}

void player_drop(struct player *p, const struct script_op *op)
{
    const char *name = player_space_name(op->a);
    size_t space = model_space_named(p->model, name, p->model->newest);
    if (strcmp(name, "default") == 0) {
        return;
    }
    for (size_t i = 0; i < SCRIPT_SLOTS; i++) {
        if (space != SIZE_MAX && p->walkers[i].c.space == &p->model->spaces[space]) {
            walker_close(&p->walkers[i]);
        }
    }
    strata_rc rc = strata_keyspace_drop(p->db, name);
    if (space == SIZE_MAX) {
        player_failed(p, "dropping what is not there",
                      rc == STRATA_NOT_FOUND ? STRATA_OK
                      : rc == STRATA_OK      ? STRATA_INTERNAL
                                             : rc);
        return;
    }
    model_space_drop(p->model, space);
    player_note_commit(p, &(struct script_op){.e = STRATA_SYNC}, rc, strata_newest_commit(p->db));
}

// Changes one of the live options.
void player_alter(struct player *p, const struct script_op *op)
{
    strata_keyspace_options o = STRATA_KEYSPACE_OPTIONS_INIT;
    strata_keyspace *keyspace;
    size_t space;
    if (!player_find_space(p, op->a, &keyspace, &space)) {
        return;
    }
    static const uint32_t thresholds[] = {64, 100, 500, 4000};
    struct model_policy policy = p->model->spaces[space].policy;
    if (op->b < 2) {
        o.separation = op->c % 4 == 0 ? STRATA_SEPARATION_OFF : STRATA_SEPARATION_ON;
        o.separate_bytes = thresholds[op->c / 4 % 4];
    } else if (op->b == 2) {
        o.value_compression = (strata_compression)(1 + op->c % 3);
    } else if (op->b == 3) {
        o.space_bound_percent = 400 + (uint32_t)(op->c % 500);
    } else if (op->b == 4) {
        o.expire_seconds = op->c % 2 == 0 ? STRATA_NEVER_SECONDS : 1 + (uint32_t)(op->c % 3000);
        policy.expire_seconds = op->c % 2 == 0 ? 0 : o.expire_seconds;
    } else {
        o.retention = (strata_retention)(1 + op->c % 4);
        o.retention_versions = 1 + (uint32_t)(op->c / 4 % 4);
        o.retention_seconds = 1 + (uint32_t)(op->c / 4 % 4000);
        policy.retention = o.retention;
        policy.versions = o.retention_versions;
        policy.age_seconds = o.retention_seconds;
    }
    if (!player_failed(p, "alter", strata_keyspace_alter(p->db, keyspace, &o))) {
        model_set_policy(p->model, space, policy, p->machine.wall_us);
    }
}
