#include "model/crash.h"

#include "base/fail.h"
#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>

#define NESTED_ONE_IN 8

// What recovery made of a disk, by its hash: equal disks are opened once.
struct known {
    uint64_t hash; // 0: free
    uint64_t newest;
    bool pending;      // waits to be looked at
    uint64_t required; // while it waits: the greatest synced commit of its equals
};

struct run {
    const struct crash_config *config;
    struct crash_result *result;
    struct sim_disk *disk;
    struct sim_machine machine;
    struct store *store;
    struct model *model;
    struct scenario scenario;
    struct step step;
    uint64_t synced; // the last commit that must survive
    bool created;    // the first open returned
    const char *step_name;
    uint64_t recovery_boundaries; // of the latest recovery
    struct known *known;
    size_t known_count, known_capacity;
    struct state *states; // that wait until the call of the store returns
    size_t state_count, state_capacity;
};

// A crash state, with what held at its boundary.
struct state {
    struct run *run;
    uint64_t boundary;
    enum sim_op op;
    enum sim_survive policy;
    const char *step_name;
    bool created;
    int64_t wall_us;
    uint64_t synced, under_way; // least and greatest commit that may come out
    uint64_t hash;
    struct prng random;
    struct sim_disk *disk;
    uint64_t nested_at; // boundary of the recovery; 0: none
    struct sim_disk *nested;
};

// ---- the disks of all runs of the process

static struct {
    uint64_t *hashes; // 0: free
    size_t count, capacity;
} all_disks;

static bool all_disks_add(uint64_t hash)
{
    if (all_disks.count * 2 >= all_disks.capacity) {
        uint64_t *old = all_disks.hashes;
        size_t count = all_disks.capacity;
        all_disks.capacity = count == 0 ? 1024 : count * 2;
        all_disks.hashes = test_alloc(all_disks.capacity, sizeof *all_disks.hashes);
        all_disks.count = 0;
        for (size_t i = 0; i < count; i++) {
            if (old[i] != 0) {
                all_disks_add(old[i]);
            }
        }
        free(old);
    }
    size_t at = (size_t)hash & (all_disks.capacity - 1);
    while (all_disks.hashes[at] != 0 && all_disks.hashes[at] != hash) {
        at = (at + 1) & (all_disks.capacity - 1);
    }
    bool is_new = all_disks.hashes[at] == 0;
    all_disks.hashes[at] = hash;
    all_disks.count += is_new ? 1 : 0;
    return is_new;
}

// ---- known disks

static struct known *known_slot(struct run *r, uint64_t hash)
{
    size_t at = (size_t)hash & (r->known_capacity - 1);
    while (r->known[at].hash != 0 && r->known[at].hash != hash) {
        at = (at + 1) & (r->known_capacity - 1);
    }
    return &r->known[at];
}

static struct known *known_add(struct run *r, uint64_t hash)
{
    if (r->known_count * 2 >= r->known_capacity) {
        struct known *old = r->known;
        size_t count = r->known_capacity;
        r->known_capacity = count == 0 ? 1024 : count * 2;
        r->known = test_alloc(r->known_capacity, sizeof(struct known));
        for (size_t i = 0; i < count; i++) {
            if (old[i].hash != 0) {
                *known_slot(r, old[i].hash) = old[i];
            }
        }
        free(old);
    }
    struct known *k = known_slot(r, hash);
    *k = (struct known){.hash = hash, .pending = true};
    r->known_count++;
    return k;
}

static struct known *known_find(struct run *r, uint64_t hash)
{
    if (r->known_capacity == 0) {
        return NULL;
    }
    struct known *k = known_slot(r, hash);
    return k->hash == hash ? k : NULL;
}

// ---- faults

static void run_failed(struct run *r, const char *what)
{
    if (r->result->fault[0] == '\0') {
        snprintf(r->result->fault, sizeof r->result->fault, "--seed %llu: step %s: %.700s",
                 (unsigned long long)r->config->seed, r->step_name, what);
    }
}

static void state_failed(const struct state *s, const char *what)
{
    struct run *r = s->run;
    if (r->result->fault[0] == '\0') {
        snprintf(
            r->result->fault, sizeof r->result->fault,
            "--seed %llu --boundary %llu --policy %d (%s; before a %s in step %s; synced %llu, "
            "under way %llu): %.600s",
            (unsigned long long)r->config->seed, (unsigned long long)s->boundary, (int)s->policy,
            sim_survive_name(s->policy), sim_op_name(s->op), r->step_name,
            (unsigned long long)r->synced, (unsigned long long)r->model->newest, what);
    }
}

static void state_failed_rc(const struct state *s, const char *what, strata_rc rc)
{
    char text[700];
    snprintf(text, sizeof text, "%s: %d, %s", what, (int)rc, fail_text());
    state_failed(s, text);
}

// ---- looking at a crash state

static strata_rc open_on(const struct run *r, struct sim_machine *m, struct sim_disk *disk,
                         struct state *s, struct store **store_out)
{
    sim_machine_init(m, disk, prng_next(&s->random));
    m->wall_us = s->wall_us;
    m->map_is_bad = r->config->map_is_bad;
    snprintf(m->label, sizeof m->label, "%.200s", r->machine.label);
    return r->config->ops->open(&m->base, &r->config->store, store_out);
}

static bool newest_is_legal(const struct state *s, uint64_t newest)
{
    char text[120];
    if (!s->created ? newest <= 2 : newest >= s->synced && newest <= s->under_way) {
        return true;
    }
    snprintf(text, sizeof text, "recovered to commit %llu", (unsigned long long)newest);
    state_failed(s, text);
    return false;
}

// Any commit, or the oldest that retention promises of a keyspace.
static uint64_t past_commit(const struct model *m, struct prng *random, uint64_t newest,
                            int64_t wall_us)
{
    uint64_t any = prng_below(random, newest + 1);
    size_t space = (size_t)prng_below(random, m->space_count);
    uint64_t floor = model_floor(m, space, wall_us);
    return floor > 0 && floor <= newest && prng_one_in(random, 2) ? floor : any;
}

static bool state_agrees(struct state *s, struct store *store, uint64_t newest)
{
    struct run *r = s->run;
    char text[STORE_FAULT_BYTES] = {0};
    uint64_t at = s->created ? newest : 0;
    bool deep = prng_one_in(&s->random, 8) != 0;
    bool agrees = r->config->ops->agrees(store, r->model, at, deep, text);
    if (agrees && s->created && prng_one_in(&s->random, 4)) {
        agrees = r->config->ops->agrees(
            store, r->model, past_commit(r->model, &s->random, newest, s->wall_us), false, text);
    }
    if (!agrees) {
        char all[STORE_FAULT_BYTES + 80];
        snprintf(all, sizeof all, "recovered to commit %llu, but %s", (unsigned long long)newest,
                 text);
        state_failed(s, all);
        return false;
    }
    if (prng_one_in(&s->random, 16)) {
        strata_rc rc = r->config->ops->check(store);
        if (rc != STRATA_OK) {
            state_failed_rc(s, "the check after recovery", rc);
            return false;
        }
    }
    return true;
}

// Opens what is left of a recovery; it must come to the same commit.
static void look_at_second(struct state *s, struct sim_disk *disk, uint64_t newest,
                           const char *when)
{
    struct run *r = s->run;
    struct sim_machine m;
    struct store *store = NULL;
    char text[700];
    strata_rc rc = open_on(r, &m, disk, s, &store);
    if (rc != STRATA_OK) {
        snprintf(text, sizeof text, "crashed again %s, then not opened: %d, %.500s", when, (int)rc,
                 fail_text());
        state_failed(s, text);
        sim_machine_release(&m);
        return;
    }
    uint64_t second = r->config->ops->newest(store);
    if (second != newest && s->created) {
        snprintf(text, sizeof text, "recovered to commit %llu; crashed again %s: to %llu",
                 (unsigned long long)newest, when, (unsigned long long)second);
        state_failed(s, text);
    } else {
        state_agrees(s, store, second);
    }
    r->config->ops->close(store);
    sim_machine_release(&m);
}

static void nested_boundary(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct state *s = ctx;
    (void)e;
    if (m->boundaries == s->nested_at && s->nested == NULL) {
        enum sim_survive policy = (enum sim_survive)prng_below(&s->random, SIM_SURVIVE_POLICIES);
        s->nested = sim_disk_survive(s->disk, policy, prng_next(&s->random));
    }
}

// A commit after recovery must be taken and survive.
static void write_after_recovery(struct state *s, struct store *store, uint64_t newest)
{
    struct run *r = s->run;
    uint64_t commit = 0;
    struct model_op op = {MODEL_PUT, 0, slice_of("after", 5), slice_of("crash", 5), 0};
    strata_rc rc = r->config->ops->commit(store, r->model, &op, 1, STRATA_SYNC, false, &commit);
    if (rc != STRATA_OK) {
        state_failed_rc(s, "a commit after recovery", rc);
    } else if (commit != newest + 1) {
        state_failed(s, "the commit after recovery has another number than the next");
    }
}

static void look_at_opened(struct state *s, struct sim_machine *m, struct store *store,
                           uint64_t *newest_out)
{
    struct run *r = s->run;
    uint64_t newest = r->config->ops->newest(store);
    *newest_out = newest;
    r->recovery_boundaries = m->boundaries;
    if (!newest_is_legal(s, newest) || !state_agrees(s, store, newest)) {
        return;
    }
    m->boundary = NULL;
    if (prng_one_in(&s->random, NESTED_ONE_IN)) {
        // What recovery has shown to readers must not be lost by the next crash.
        struct sim_disk *after = sim_disk_survive(s->disk, SIM_SURVIVE_NOTHING, 0);
        look_at_second(s, after, newest, "just after recovery");
        sim_disk_free(after);
        r->result->nested++;
    } else if (prng_one_in(&s->random, NESTED_ONE_IN)) {
        write_after_recovery(s, store, newest);
    }
}

static void look_at_state(struct state *s, uint64_t *newest_out)
{
    struct run *r = s->run;
    struct sim_machine m;
    struct store *store = NULL;
    uint64_t seed = prng_next(&s->random);
    if (prng_one_in(&s->random, NESTED_ONE_IN) && r->recovery_boundaries > 0) {
        s->nested_at = 1 + prng_below(&s->random, r->recovery_boundaries);
    }
    sim_machine_init(&m, s->disk, seed);
    m.wall_us = s->wall_us;
    m.map_is_bad = r->config->map_is_bad;
    snprintf(m.label, sizeof m.label, "%.200s, boundary %llu, policy %d", r->machine.label,
             (unsigned long long)s->boundary, (int)s->policy);
    m.boundary = s->nested_at > 0 ? nested_boundary : NULL;
    m.boundary_ctx = s;
    strata_rc rc = r->config->ops->open(&m.base, &r->config->store, &store);
    if (rc != STRATA_OK) {
        state_failed_rc(s, "not opened", rc);
        sim_machine_release(&m);
        return;
    }
    look_at_opened(s, &m, store, newest_out);
    m.boundary = NULL;
    rc = r->config->ops->close(store);
    if (rc != STRATA_OK) {
        state_failed_rc(s, "closing after recovery", rc);
    }
    sim_machine_release(&m);
    if (s->nested != NULL && r->result->fault[0] == '\0') {
        look_at_second(s, s->nested, *newest_out, "in recovery");
        r->result->nested++;
    }
}

// Makes the state and keeps it until the call of the store returns: another store is not opened in
// the middle of it.
static void crash_now(struct run *r, uint64_t boundary, enum sim_op op, enum sim_survive policy)
{
    struct state s = {.run = r,
                      .boundary = boundary,
                      .op = op,
                      .policy = policy,
                      .step_name = r->step_name,
                      .created = r->created,
                      .synced = r->synced,
                      .under_way = r->model->newest};
    s.random.state = prng_mix(r->config->seed + 1000003 * boundary + (uint64_t)policy);
    // One in four comes up hours later.
    s.wall_us = r->machine.wall_us +
                (prng_one_in(&s.random, 4) ? (int64_t)prng_below(&s.random, 7200) * 1000000 : 0);
    s.disk = sim_disk_survive(r->disk, policy, prng_next(&s.random));
    s.hash = sim_disk_hash(s.disk) | 1;
    struct known *known = known_find(r, s.hash);
    r->result->states++;
    if (known != NULL) {
        if (known->pending) {
            known->required = known->required > s.synced ? known->required : s.synced;
        } else {
            newest_is_legal(&s, known->newest);
        }
        sim_disk_free(s.disk);
        return;
    }
    known_add(r, s.hash)->required = s.synced;
    r->result->distinct += all_disks_add(s.hash) ? 1 : 0;
    test_grow((void **)&r->states, &r->state_capacity, r->state_count, sizeof s);
    r->states[r->state_count++] = s;
}

// Looks at the states that the latest step left.
static void look_at_states(struct run *r)
{
    char said[STORE_FAULT_BYTES];
    snprintf(said, sizeof said, "%s", fail_text());
    for (size_t i = 0; i < r->state_count; i++) {
        struct state *s = &r->states[i];
        uint64_t newest = 0;
        if (r->result->fault[0] == '\0') {
            test_watchdog(30);
            test_label("repeat with --seed %llu --ops %llu --boundary %llu --policy %d",
                       (unsigned long long)r->config->seed, (unsigned long long)r->config->steps,
                       (unsigned long long)s->boundary, (int)s->policy);
            look_at_state(s, &newest);
            struct known *known = known_find(r, s->hash);
            known->pending = false;
            known->newest = newest;
            if (r->result->fault[0] == '\0' && known->required > s->synced) {
                s->synced = known->required;
                newest_is_legal(s, newest);
            }
        }
        sim_disk_free(s->nested);
        sim_disk_free(s->disk);
    }
    r->state_count = 0;
    fail_restore(said);
}

static void at_boundary(void *ctx, struct sim_machine *m, const struct sim_event *e)
{
    struct run *r = ctx;
    const struct crash_config *c = r->config;
    if (c->only_boundary != UINT64_MAX && c->only_boundary != m->boundaries) {
        return;
    }
    for (int p = 0; p < SIM_SURVIVE_POLICIES && r->result->fault[0] == '\0'; p++) {
        if (c->only_policy < 0 || c->only_policy == p) {
            crash_now(r, m->boundaries, e->op, (enum sim_survive)p);
        }
    }
}

// ---- the work

static void run_failed_rc(struct run *r, const char *what, strata_rc rc)
{
    char text[700];
    snprintf(text, sizeof text, "%s: %d, %s", what, (int)rc, fail_text());
    run_failed(r, text);
}

static void open_store(struct run *r)
{
    strata_rc rc = r->config->ops->open(&r->machine.base, &r->config->store, &r->store);
    if (rc != STRATA_OK) {
        r->store = NULL;
        run_failed_rc(r, "open", rc);
    }
}

static void commit_step(struct run *r)
{
    const struct store_ops *ops = r->config->ops;
    const char *name = r->step.name;
    char dropped[MODEL_NAME_BYTES];
    if (r->step.kind == STEP_SPACE_DROP) {
        snprintf(dropped, sizeof dropped, "%s", r->model->spaces[r->step.space].name);
        name = dropped;
    }
    uint64_t expected =
        step_apply(&r->step, r->model, &r->config->store.options.keyspace, r->machine.wall_us);
    uint64_t commit = 0;
    strata_rc rc;
    if (r->step.kind == STEP_COMMIT) {
        rc = ops->commit(r->store, r->model, r->step.ops, r->step.op_count, r->step.durability,
                         r->step.streamed, &commit);
    } else {
        rc = r->step.kind == STEP_SPACE_CREATE ? ops->space_create(r->store, name)
                                               : ops->space_drop(r->store, name);
        commit = ops->newest(r->store);
    }
    if (rc != STRATA_OK) {
        run_failed_rc(r, "a commit", rc);
    } else if (commit != expected) {
        char text[120];
        snprintf(text, sizeof text, "commit %llu was expected to be %llu",
                 (unsigned long long)commit, (unsigned long long)expected);
        run_failed(r, text);
    } else {
        model_set_time(r->model, ops->time_of(r->store, commit));
    }
    if (r->step.kind != STEP_COMMIT || r->step.durability == STRATA_SYNC) {
        r->synced = expected;
    }
}

static void start_machine(struct run *r)
{
    sim_machine_init(&r->machine, r->disk, prng_mix(r->config->seed ^ 0xC4A5));
    snprintf(r->machine.label, sizeof r->machine.label, "--seed %llu",
             (unsigned long long)r->config->seed);
    r->machine.map_is_bad = r->config->map_is_bad;
    r->machine.boundary = at_boundary;
    r->machine.boundary_ctx = r;
}

// The machine dies between two calls; work goes on with what is left.
static void crash_step(struct run *r)
{
    uint64_t boundaries = r->machine.boundaries;
    uint64_t trace = r->machine.trace;
    int64_t wall_us = r->machine.wall_us;
    r->machine.dead = true;
    (void)r->config->ops->close(r->store);
    r->store = NULL;
    sim_machine_release(&r->machine);
    enum sim_survive policy =
        (enum sim_survive)prng_below(&r->scenario.random, SIM_SURVIVE_POLICIES);
    struct sim_disk *left = sim_disk_survive(r->disk, policy, prng_next(&r->scenario.random));
    sim_disk_free(r->disk);
    r->disk = left;
    start_machine(r);
    r->machine.boundaries = boundaries;
    r->machine.trace = trace;
    r->machine.wall_us = wall_us;
    open_store(r);
    if (r->store == NULL) {
        return;
    }
    uint64_t newest = r->config->ops->newest(r->store);
    if (newest < r->synced || newest > r->model->newest) {
        char text[160];
        snprintf(text, sizeof text, "policy %d: recovered to commit %llu, synced %llu", (int)policy,
                 (unsigned long long)newest, (unsigned long long)r->synced);
        run_failed(r, text);
        return;
    }
    look_at_states(r);
    model_cut(r->model, newest);
    r->synced = newest;
    r->known_count = 0; // equal disks may now stand for other commits
    if (r->known != NULL) {
        memset(r->known, 0, r->known_capacity * sizeof(struct known));
    }
}

static strata_rc alter_step(struct run *r)
{
    step_apply(&r->step, r->model, NULL, r->machine.wall_us);
    return r->config->ops->space_alter(r->store, r->model->spaces[r->step.space].name,
                                       &r->step.change);
}

static void do_step(struct run *r)
{
    const struct store_ops *ops = r->config->ops;
    strata_rc rc = STRATA_OK;
    r->step_name = step_kind_name(r->step.kind);
    switch (r->step.kind) {
    case STEP_SYNC:
        rc = ops->sync(r->store);
        r->synced = r->model->newest;
        break;
    case STEP_FLUSH:
        rc = ops->flush(r->store);
        break;
    case STEP_COMPACT:
    case STEP_COMPACT_VALUES:
        rc = ops->compact(r->store, r->step.kind == STEP_COMPACT_VALUES);
        break;
    case STEP_ALTER:
        rc = alter_step(r);
        break;
    case STEP_CLOCK:
        sim_machine_step_clock(&r->machine, (int64_t)r->step.seconds * 1000000,
                               r->step.seconds * 1000000000);
        break;
    case STEP_CRASH:
        crash_step(r);
        break;
    case STEP_CRANK:
        sim_machine_crank(&r->machine, prng_below(&r->scenario.random, 40));
        break;
    case STEP_REOPEN:
        rc = ops->close(r->store);
        r->store = NULL;
        r->synced = r->model->newest;
        if (rc == STRATA_OK && r->result->fault[0] == '\0') {
            open_store(r);
        }
        break;
    default:
        commit_step(r);
        break;
    }
    if (rc != STRATA_OK) {
        run_failed_rc(r, "the step", rc);
    }
}

static void begin(struct run *r, const struct crash_config *config, struct crash_result *result)
{
    *result = (struct crash_result){.states = 0};
    *r = (struct run){.config = config, .result = result, .step_name = "open"};
    r->disk = sim_disk_new();
    r->model = model_new();
    start_machine(r);
    scenario_init(&r->scenario, config->seed);
}

// The store itself, at the newest and at a few older commits.
static void look_at_the_end(struct run *r)
{
    char text[STORE_FAULT_BYTES] = {0};
    uint64_t at = r->model->newest;
    for (int i = 0; i < 4 && text[0] == '\0'; i++) {
        if (!r->config->ops->agrees(r->store, r->model, at, true, text)) {
            run_failed(r, text);
        }
        at = past_commit(r->model, &r->scenario.random, r->model->newest, r->machine.wall_us);
    }
}

void crash_run(const struct crash_config *config, struct crash_result *result_out)
{
    struct run r;
    begin(&r, config, result_out);
    open_store(&r);
    look_at_states(&r);
    if (r.store != NULL) {
        while (r.model->newest < config->ops->newest(r.store)) {
            model_commit_nothing(r.model);
            model_set_time(r.model, config->ops->time_of(r.store, r.model->newest));
        }
        model_set_policy(r.model, 0, model_policy_of(&config->store.options.keyspace),
                         r.machine.wall_us);
        r.synced = r.model->newest;
        r.created = true;
        r.known_count = 0;
        if (r.known != NULL) {
            memset(r.known, 0, r.known_capacity * sizeof(struct known));
        }
    }
    for (uint64_t i = 0; i < config->steps && r.store != NULL && result_out->fault[0] == '\0';
         i++) {
        if (config->stop != NULL && config->stop(config->stop_ctx)) {
            break;
        }
        model_advance(r.model, r.machine.wall_us);
        scenario_next(&r.scenario, r.model, r.machine.wall_us, &r.step);
        if (config->verbose) {
            printf("step %llu %s, boundary %llu, newest %llu", (unsigned long long)i,
                   step_kind_name(r.step.kind), (unsigned long long)r.machine.boundaries,
                   (unsigned long long)r.model->newest);
            if (r.step.kind == STEP_ALTER) {
                printf(", keyspace %zu to retention %d (%u versions, %u s), separation %d",
                       r.step.space, (int)r.step.change.retention, r.step.change.retention_versions,
                       r.step.change.retention_seconds, (int)r.step.change.separation);
            }
            printf("\n");
        }
        test_label("repeat with --seed %llu --ops %llu", (unsigned long long)config->seed,
                   (unsigned long long)config->steps);
        test_watchdog(30);
        do_step(&r);
        look_at_states(&r);
    }
    if (r.store != NULL && result_out->fault[0] == '\0') {
        look_at_the_end(&r);
    }
    r.step_name = "close";
    if (r.store != NULL) {
        config->ops->close(r.store);
    }
    look_at_states(&r);
    const char *broken = sim_disk_check(r.disk);
    if (broken != NULL) {
        run_failed(&r, broken);
    }
    result_out->boundaries = r.machine.boundaries;
    result_out->trace = r.machine.trace;
    sim_machine_release(&r.machine);
    step_release(&r.step);
    model_free(r.model);
    sim_disk_free(r.disk);
    free(r.known);
    free(r.states);
}

bool crash_rc_is_typed(strata_rc rc)
{
    return rc == STRATA_IO || rc == STRATA_NO_SPACE || rc == STRATA_READ_ONLY ||
           rc == STRATA_UNKNOWN_OUTCOME || rc == STRATA_NO_MEMORY || rc == STRATA_BUSY;
}
