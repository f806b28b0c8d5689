#include "model/fault.h"

#include "base/fail.h"
#include "lib/alloc_fault.h"
#include "lib/test_lib.h"
#include "model/crash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct run {
    const struct fault_config *config;
    struct fault_result *result;
    struct sim_disk *disk;
    struct sim_machine machine;
    struct store *store;
    struct model *model;
    struct scenario scenario;
    struct step step;
    const struct sim_fault *rule;
    const char *step_name;
    uint64_t synced;        // the last commit acknowledged as synced
    bool created;           // an open returned success
    uint64_t errors_before; // errors before the present open
    bool stop;              // what is there is not known well enough to go on
    bool maybe;             // the latest commit failed: it may be there after a crash
};

static void run_failed(struct run *r, const char *what)
{
    if (r->result->fault[0] == '\0') {
        snprintf(r->result->fault, sizeof r->result->fault, "step %s: %.800s", r->step_name, what);
    }
}

static bool fails_memory(const struct run *r)
{
    return r->config->rule.error == ENOMEM;
}

static uint64_t faults_fired(const struct run *r)
{
    return fails_memory(r) ? alloc_fault_failed() : r->rule->fired;
}

// Faults begin.
static void arm(struct run *r)
{
    const struct sim_fault *rule = &r->config->rule;
    if (fails_memory(r)) {
        alloc_fault_arm(rule->index, rule->sticky ? UINT64_MAX : 1);
    } else {
        r->rule = sim_machine_fail(&r->machine, *rule);
    }
}

// An error of the store: it must be a typed one and the fault must have fired.
static void note_error(struct run *r, strata_rc rc)
{
    char text[600];
    r->result->errors++;
    if (!crash_rc_is_typed(rc)) {
        snprintf(text, sizeof text, "an injected fault became %d, %.400s", (int)rc, fail_text());
        run_failed(r, text);
    } else if (fail_text()[0] == '\0') {
        run_failed(r, "an error without a text");
    } else if (faults_fired(r) == 0) {
        snprintf(text, sizeof text, "an error without a fault: %d, %.400s", (int)rc, fail_text());
        run_failed(r, text);
    }
}

// A failed sync may have taken bytes of separated values with it (what readers see of a file then
// is the operating system's choice): in the store that was open they may be STRATA_CORRUPT.
static bool may_be_lost(const struct run *r, const char *text)
{
    const struct sim_fault *rule = r->rule;
    bool syncs = (rule->ops & SIM_OP_BIT(SIM_OP_SYNC)) != 0 && rule->error != 0;
    return syncs && rule->fired > 0 && rule->sync_model != SIM_SYNC_KEEPS &&
           strstr(text, "rc -6") != NULL;
}

static bool try_open(struct run *r)
{
    strata_rc rc = r->config->ops->open(&r->machine.base, &r->config->store, &r->store);
    if (rc != STRATA_OK) {
        note_error(r, rc);
        r->store = NULL;
        return false;
    }
    return true;
}

// What is open must be between the last synced commit and the newest one.
static void check_opened(struct run *r, const char *when)
{
    char text[STORE_FAULT_BYTES] = {0};
    uint64_t newest = r->config->ops->newest(r->store);
    uint64_t limit = r->model->newest + (r->maybe ? 1 : 0);
    if (!r->created) {
        while (r->model->newest < newest && r->model->newest < 2) {
            model_commit_nothing(r->model);
            model_set_time(r->model, r->machine.wall_us);
        }
        model_set_policy(r->model, 0, model_policy_of(&r->config->store.options.keyspace),
                         r->machine.wall_us);
        r->created = true;
        r->synced = newest;
        return;
    }
    if (newest < r->synced || newest > limit) {
        snprintf(text, sizeof text, "%s: commit %llu, synced %llu, newest %llu", when,
                 (unsigned long long)newest, (unsigned long long)r->synced,
                 (unsigned long long)limit);
        run_failed(r, text);
        return;
    }
    // A commit that failed but is there has contents that the model gave up: look below it.
    uint64_t at = newest < r->model->newest ? newest : r->model->newest;
    r->machine.faults_off = true;
    alloc_fault_pause();
    bool agrees = r->config->ops->agrees(r->store, r->model, at, false, text);
    r->machine.faults_off = false;
    alloc_fault_resume();
    if (!agrees) {
        char all[STORE_FAULT_BYTES + 60];
        snprintf(all, sizeof all, "%s: %s", when, text);
        run_failed(r, all);
    }
    if (newest <= r->model->newest) {
        model_cut(r->model, newest);
        r->maybe = false;
    }
}

static void note_time(struct run *r)
{
    r->machine.faults_off = true;
    alloc_fault_pause();
    model_set_time(r->model, r->config->ops->time_of(r->store, r->model->newest));
    alloc_fault_resume();
    r->machine.faults_off = false;
}

static void commit_step(struct run *r)
{
    const struct store_ops *ops = r->config->ops;
    char name[MODEL_NAME_BYTES];
    snprintf(name, sizeof name, "%s",
             r->step.kind == STEP_SPACE_DROP ? r->model->spaces[r->step.space].name : r->step.name);
    uint64_t expected =
        step_apply(&r->step, r->model, &r->config->store.options.keyspace, r->machine.wall_us);
    uint64_t commit = 0;
    strata_rc rc = r->step.kind == STEP_COMMIT
                       ? ops->commit(r->store, r->model, r->step.ops, r->step.op_count,
                                     r->step.durability, r->step.streamed, &commit)
                   : r->step.kind == STEP_SPACE_CREATE ? ops->space_create(r->store, name)
                                                       : ops->space_drop(r->store, name);
    uint64_t newest = ops->newest(r->store);
    if (rc == STRATA_OK) {
        r->maybe = false;
        if (newest != expected) {
            run_failed(r, "an acknowledged commit is not the newest");
        }
        note_time(r);
        if (r->step.kind != STEP_COMMIT || r->step.durability == STRATA_SYNC) {
            r->synced = expected;
        }
        return;
    }
    note_error(r, rc);
    if (newest == expected) {
        note_time(r);
    }
    if (newest == expected && r->step.kind != STEP_COMMIT) {
        r->stop = true; // the commit is there, but the open store need not show it
    } else if (newest == expected - 1) {
        model_cut(r->model, expected - 1);
        r->maybe = r->maybe || rc != STRATA_READ_ONLY;
    } else if (newest != expected) {
        run_failed(r, "after a failed commit the newest is another one");
    }
}

static void reopen_step(struct run *r)
{
    strata_rc rc = r->config->ops->close(r->store);
    r->store = NULL;
    if (rc != STRATA_OK) {
        note_error(r, rc);
    } else if (r->result->errors == r->errors_before) {
        r->synced = r->model->newest; // after an error the close of a read-only store says nothing
    }
    r->errors_before = r->result->errors;
    if (!try_open(r) && !try_open(r)) {
        return; // sticky: healed at the end
    }
    check_opened(r, "after a reopen");
}

// An alter that failed may have become durable: from then on both policies are allowed.
static strata_rc alter_step(struct run *r)
{
    struct model_space *space = &r->model->spaces[r->step.space];
    step_apply(&r->step, r->model, NULL, r->machine.wall_us);
    strata_rc rc = r->config->ops->space_alter(r->store, space->name, &r->step.change);
    if (rc != STRATA_OK) {
        struct model_policy any = space->policy;
        any.retention = STRATA_RETENTION_NONE;
        model_set_policy(r->model, r->step.space, any, r->machine.wall_us);
        for (size_t i = 0; i < space->stretch_count; i++) {
            space->stretches[i].until = UINT64_MAX;
        }
    }
    return rc;
}

static void do_step(struct run *r)
{
    const struct store_ops *ops = r->config->ops;
    strata_rc rc = STRATA_OK;
    r->step_name = step_kind_name(r->step.kind);
    switch (r->step.kind) {
    case STEP_SYNC:
        rc = ops->sync(r->store);
        r->synced = rc == STRATA_OK ? r->model->newest : r->synced;
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
    case STEP_CRANK:
        sim_machine_crank(&r->machine, prng_below(&r->scenario.random, 40));
        break;
    case STEP_REOPEN:
        reopen_step(r);
        break;
    default:
        commit_step(r);
        break;
    }
    if (rc != STRATA_OK) {
        note_error(r, rc);
    }
}

// There is space again: a write must be taken, if need be after some background work.
static void write_again(struct run *r)
{
    struct model_op op = {MODEL_PUT, 0, slice_of("again", 5), slice_of("space", 5), 0};
    strata_rc rc = STRATA_NO_SPACE;
    for (int attempt = 0; attempt < 5 && rc != STRATA_OK; attempt++) {
        uint64_t commit = 0;
        sim_machine_step_clock(&r->machine, 200000, 200000000);
        sim_machine_crank(&r->machine, 200);
        rc = r->config->ops->commit(r->store, r->model, &op, 1, STRATA_SYNC, false, &commit);
    }
    if (rc != STRATA_OK) {
        char text[STORE_FAULT_BYTES];
        snprintf(text, sizeof text, "writes do not go on once there is space: %d, %.400s", (int)rc,
                 fail_text());
        run_failed(r, text);
        return;
    }
    r->synced = model_commit(r->model, &op, 1);
    note_time(r);
    r->maybe = false;
}

// Without faults: the open store reads well, then the machine dies and what is left is opened.
static void end_run(struct run *r)
{
    char text[STORE_FAULT_BYTES] = {0};
    r->result->seen = r->rule->seen;
    r->result->fired = faults_fired(r);
    alloc_fault_disarm();
    sim_machine_heal(&r->machine);
    r->step_name = "end";
    if (r->store != NULL && !r->stop && r->result->fault[0] == '\0' &&
        !r->config->ops->agrees(r->store, r->model, r->model->newest, true, text) &&
        !may_be_lost(r, text)) {
        run_failed(r, text);
    }
    if (r->store != NULL && !r->stop && r->config->resumes && r->result->fault[0] == '\0') {
        write_again(r);
    }
    struct sim_disk *left = sim_disk_survive(r->disk, r->config->policy, r->config->seed);
    r->machine.dead = true;
    if (r->store != NULL) {
        (void)r->config->ops->close(r->store);
    }
    sim_machine_release(&r->machine);
    sim_disk_free(r->disk);
    r->disk = left;
    int64_t wall_us = r->machine.wall_us;
    sim_machine_init(&r->machine, left, r->config->seed);
    r->machine.wall_us = wall_us;
    r->machine.map_is_bad = r->config->map_is_bad;
    strata_rc rc = r->config->ops->open(&r->machine.base, &r->config->store, &r->store);
    if (rc != STRATA_OK) {
        snprintf(text, sizeof text, "not opened after the crash: %d, %.400s", (int)rc, fail_text());
        run_failed(r, text);
    } else {
        check_opened(r, "after the crash");
        rc = r->config->ops->check(r->store);
        if (rc != STRATA_OK) {
            snprintf(text, sizeof text, "the check at the end: %d, %.400s", (int)rc, fail_text());
            run_failed(r, text);
        }
        (void)r->config->ops->close(r->store);
    }
    sim_machine_release(&r->machine);
    sim_disk_free(r->disk);
}

void fault_run(const struct fault_config *config, struct fault_result *result_out)
{
    struct run r = {.config = config, .result = result_out, .step_name = "open"};
    *result_out = (struct fault_result){.seen = 0};
    test_watchdog(30);
    r.disk = sim_disk_new();
    r.model = model_new();
    sim_machine_init(&r.machine, r.disk, prng_mix(config->seed ^ 0xFA17));
    r.machine.map_is_bad = config->map_is_bad;
    snprintf(r.machine.label, sizeof r.machine.label, "--seed %llu --boundary %llu",
             (unsigned long long)config->seed, (unsigned long long)config->rule.index);
    scenario_init(&r.scenario, config->seed);
    r.rule = &config->rule;
    alloc_fault_disarm();
    if (!config->created_first) {
        arm(&r);
    }
    if (try_open(&r) || try_open(&r)) {
        check_opened(&r, "after the first open");
    }
    if (config->created_first) {
        arm(&r);
    }
    for (uint64_t i = 0;
         i < config->steps && r.store != NULL && !r.stop && result_out->fault[0] == '\0'; i++) {
        model_advance(r.model, r.machine.wall_us);
        scenario_next(&r.scenario, r.model, r.machine.wall_us, &r.step);
        if (config->verbose) {
            printf("step %llu %s, calls %llu, newest %llu, fired %llu\n", (unsigned long long)i,
                   step_kind_name(r.step.kind), (unsigned long long)r.rule->seen,
                   (unsigned long long)r.model->newest, (unsigned long long)faults_fired(&r));
        }
        do_step(&r);
    }
    end_run(&r);
    step_release(&r.step);
    model_free(r.model);
}
