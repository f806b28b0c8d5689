// Every call and every allocation of a value file's life fails, once and from then on. What was
// stored without an error stays readable, and nothing leaks.
#include "unit/value_world.h"

#include "lib/alloc_fault.h"

#include <errno.h>

#define STEPS 12

struct run {
    struct world w;
    struct value_place places[STEPS];
    bool stored[STEPS];
    bool synced[STEPS];
    bool finished;
    uint64_t errors;
};

static size_t step_bytes(uint64_t i)
{
    return i == 5 ? KV_VALUE_CHUNK_BYTES + 70000 : i == 7 ? 90000 : 30 + (size_t)i * 400;
}

static bool is_expected(strata_rc rc)
{
    return rc == STRATA_OK || rc == STRATA_IO || rc == STRATA_NO_SPACE || rc == STRATA_NO_MEMORY ||
           rc == STRATA_UNKNOWN_OUTCOME;
}

static bool ok(struct run *r, strata_rc rc)
{
    assert_true(is_expected(rc));
    if (rc != STRATA_OK) {
        assert_true(fail_text()[0] != '\0');
        r->errors++;
    }
    return rc == STRATA_OK;
}

// A read may fail while calls fail, but never with wrong bytes, and never as damage.
static void read_stored(struct run *r, struct value_file *f)
{
    for (uint64_t i = 0; i < STEPS; i++) {
        if (r->stored[i]) {
            alloc_fault_pause();
            uint8_t *got = malloc(r->places[i].ref.bytes);
            uint8_t *v = value_bytes(i, r->places[i].ref.bytes);
            assert_non_null(got);
            alloc_fault_resume();
            if (ok(r, value_file_read(f, &r->places[i].ref, 0, got, r->places[i].ref.bytes))) {
                assert_memory_equal(got, v, r->places[i].ref.bytes);
            }
            free(got);
            free(v);
        }
    }
}

static void read_together(struct run *r, struct value_file *f)
{
    static uint8_t to[STEPS][KV_VALUE_CHUNK_BYTES + 70000];
    struct value_read reads[STEPS];
    size_t count = 0;
    for (uint64_t i = 0; i < STEPS; i++) {
        if (r->stored[i]) {
            reads[count++] = (struct value_read){f, r->places[i].ref, to[i], STRATA_BUSY, false};
        }
    }
    value_will_read(reads, count);
    if (count > 0) {
        ok(r, value_read_many(reads, count));
    }
    for (uint64_t i = 0, at = 0; i < STEPS; i++) {
        if (r->stored[i] && is_expected(reads[at].rc) && reads[at++].rc == STRATA_OK) {
            alloc_fault_pause();
            uint8_t *v = value_bytes(i, r->places[i].ref.bytes);
            alloc_fault_resume();
            assert_memory_equal(to[i], v, r->places[i].ref.bytes);
            free(v);
        }
    }
}

static struct value_file *live(struct run *r)
{
    struct value_file *f = NULL;
    if (!ok(r, value_file_new(&r->w.env, 9, WORLD_KEYSPACE, WORLD_INCARNATION, &f))) {
        return NULL;
    }
    for (uint64_t i = 0; i < STEPS; i++) {
        alloc_fault_pause();
        uint8_t *v = value_bytes(i, step_bytes(i));
        alloc_fault_resume();
        r->stored[i] = ok(r, value_file_append(f, slice_of(v, step_bytes(i)),
                                               STRATA_COMPRESSION_LZ4, &r->places[i]));
        free(v);
        assert_true(r->stored[i] || value_file_is_full(f));
        if (i % 4 == 3 && ok(r, value_file_sync(f))) {
            memcpy(r->synced, r->stored, sizeof r->synced);
        }
    }
    read_stored(r, f);
    read_together(r, f);
    // A flush tries again.
    for (int tries = 0; tries < 3 && !r->finished; tries++) {
        r->finished = ok(r, value_file_finish(f));
    }
    assert_true(r->finished == value_file_is_finished(f));
    if (r->finished) {
        memcpy(r->synced, r->stored, sizeof r->synced);
    }
    read_together(r, f);
    read_stored(r, f);
    return f;
}

// With nothing failing any more: what was stored is there, and what was synced survives a crash.
static void look_back(struct run *r, struct value_file *f)
{
    struct sim_disk *left = sim_disk_survive(r->w.disk, SIM_SURVIVE_NOTHING, 1);
    if (f != NULL) {
        uint64_t before = r->errors;
        read_stored(r, f);
        assert_true(r->errors == before);
        if (r->finished) {
            struct faults faults = {0};
            assert_int_equal(value_file_verify(f, count_fault, NULL, &faults), STRATA_OK);
        }
    }
    value_file_unref(f);
    world_end(&r->w);
    world_begin_on(&r->w, left);
    strata_rc rc = value_file_recover(&r->w.env, 9, &f);
    assert_true(rc == STRATA_OK || rc == STRATA_NOT_FOUND);
    for (uint64_t i = 0; i < STEPS; i++) {
        if (r->synced[i]) {
            assert_int_equal(rc, STRATA_OK);
            assert_int_equal(value_file_recover_add(f, &r->places[i].ref, r->places[i].offset),
                             STRATA_OK);
            check(f, &r->places[i].ref, i);
        }
    }
    if (rc == STRATA_OK) {
        assert_true(!r->finished || value_file_is_finished(f));
        value_file_unref(f);
    }
}

static void every_call_of_a_life_fails(void **state)
{
    (void)state;
    static const int errors[] = {EIO, ENOSPC, 0};
    for (size_t e = 0; e < 3; e++) {
        for (int sticky = 0; sticky < 2; sticky++) {
            for (uint64_t n = 0;; n++) {
                static struct run r;
                r = (struct run){0};
                world_begin(&r.w);
                struct sim_fault *rule = sim_machine_fail(
                    &r.w.machine,
                    (struct sim_fault){.ops = errors[e] == 0 ? SIM_OP_BIT(SIM_OP_READ) |
                                                                   SIM_OP_BIT(SIM_OP_WRITE)
                                                             : SIM_OP_ANY,
                                       .index = n,
                                       .sticky = sticky != 0 && errors[e] != 0,
                                       .error = errors[e],
                                       .short_bytes = 5});
                struct value_file *f = live(&r);
                uint64_t fired = rule->fired;
                sim_machine_heal(&r.w.machine);
                look_back(&r, f);
                world_end(&r.w);
                if (fired == 0) {
                    assert_int_equal(r.errors, 0);
                    assert_true(r.finished && n > 20);
                    break;
                }
                // A short transfer is no error.
                assert_true(errors[e] == 0 ? r.errors == 0 : true);
            }
        }
    }
}

static void every_allocation_of_a_life_fails(void **state)
{
    (void)state;
    for (int sticky = 0; sticky < 2; sticky++) {
        for (uint64_t n = 0;; n++) {
            static struct run r;
            r = (struct run){0};
            world_begin(&r.w);
            alloc_fault_arm(n, sticky != 0 ? UINT64_MAX : 1);
            struct value_file *f = live(&r);
            uint64_t failed = alloc_fault_disarm();
            look_back(&r, f);
            world_end(&r.w);
            if (failed == 0) {
                assert_int_equal(r.errors, 0);
                assert_true(n > 10);
                break;
            }
        }
    }
}

// ---- recovery and rewriting

static strata_rc recover_all(struct run *r, struct value_file **file_out)
{
    *file_out = NULL;
    strata_rc rc = value_file_recover(&r->w.env, 9, file_out);
    for (uint64_t i = 0; rc == STRATA_OK && i < STEPS; i++) {
        rc = value_file_recover_add(*file_out, &r->places[i].ref, r->places[i].offset);
    }
    return rc == STRATA_OK ? value_file_finish(*file_out) : rc;
}

static void check_recovered(struct run *r)
{
    struct value_file *f;
    assert_int_equal(recover_all(r, &f), STRATA_OK);
    for (uint64_t i = 0; i < STEPS; i++) {
        check(f, &r->places[i].ref, i);
    }
    value_file_unref(f);
    struct sim_disk *left = sim_disk_survive(r->w.disk, SIM_SURVIVE_NOTHING, 1);
    world_end(&r->w);
    world_begin_on(&r->w, left);
    assert_int_equal(value_file_recover(&r->w.env, 9, &f), STRATA_OK);
    assert_true(value_file_is_finished(f));
    value_file_unref(f);
    assert_null(sim_dir_find(sim_disk_dir(r->w.disk, "/db", false), "000009.tmp"));
}

// Fails call or allocation `n` of a recovery, of an unfinished file or of a finished one.
static bool recovery_fails_at(uint64_t n, bool finished, bool memory)
{
    static struct run r;
    r = (struct run){0};
    world_begin(&r.w);
    struct value_file *f = live(&r);
    assert_true(r.finished);
    value_file_unref(f);
    if (!finished) {
        struct sim_inode *inode =
            sim_dir_find(sim_disk_dir(r.w.disk, "/db", false), "000009.value");
        sim_inode_truncate(r.w.disk, inode, inode->current->bytes - 1);
        sim_inode_sync(r.w.disk, inode);
    }
    struct sim_fault *rule = NULL;
    if (memory) {
        alloc_fault_arm(n, 1);
    } else {
        rule = sim_machine_fail(&r.w.machine,
                                (struct sim_fault){.ops = SIM_OP_ANY, .index = n, .error = EIO});
    }
    strata_rc rc = recover_all(&r, &f);
    uint64_t fired = memory ? alloc_fault_disarm() : rule->fired;
    // Not the log's to say: a read that fails is no missing commit.
    assert_true(is_expected(rc));
    assert_true(rc == STRATA_OK || fired > 0);
    sim_machine_heal(&r.w.machine);
    if (f != NULL) {
        value_file_unref(f);
    }
    check_recovered(&r);
    world_end(&r.w);
    return fired > 0;
}

static void every_call_and_allocation_of_a_recovery_fails(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        uint64_t n = 0;
        while (recovery_fails_at(n, (kind & 1) != 0, (kind & 2) != 0)) {
            n++;
        }
        assert_true(n > 5);
    }
}

static bool rewrite_fails_at(uint64_t n, bool memory)
{
    static struct run r;
    r = (struct run){0};
    world_begin(&r.w);
    struct value_file *f = live(&r);
    struct value_file *to = NULL;
    struct value_writer *writer;
    struct sim_fault *rule = NULL;
    if (memory) {
        alloc_fault_arm(n, 1);
    } else {
        rule = sim_machine_fail(&r.w.machine,
                                (struct sim_fault){.ops = SIM_OP_ANY, .index = n, .error = EIO});
    }
    strata_rc rc = value_writer_new(&r.w.env, 10, WORLD_KEYSPACE, 6, &writer);
    bool made = rc == STRATA_OK;
    for (uint64_t i = 0; rc == STRATA_OK && i < STEPS; i += 2) {
        const struct kv_value_ref *ref = &r.places[i].ref;
        rc = value_writer_copy(writer, f, 9, ref->ordinal, kv_value_chunks(ref->bytes));
    }
    if (rc == STRATA_OK) {
        rc = value_writer_finish(writer, &to);
    } else if (made) {
        value_writer_abandon(writer);
    }
    uint64_t fired = memory ? alloc_fault_disarm() : rule->fired;
    sim_machine_heal(&r.w.machine);
    assert_true(rc == STRATA_OK || fired > 0);
    assert_true(is_expected(rc));
    if (rc == STRATA_OK) {
        for (uint64_t i = 0; i < STEPS; i += 2) {
            check(to, &r.places[i].ref, i);
        }
        value_file_unref(to);
    }
    value_file_unref(f);
    world_end(&r.w);
    return fired > 0;
}

static void every_call_and_allocation_of_a_rewrite_fails(void **state)
{
    (void)state;
    for (int memory = 0; memory < 2; memory++) {
        uint64_t n = 0;
        while (rewrite_fails_at(n, memory != 0)) {
            n++;
        }
        assert_true(n > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_a_life_fails),
        cmocka_unit_test(every_allocation_of_a_life_fails),
        cmocka_unit_test(every_call_and_allocation_of_a_recovery_fails),
        cmocka_unit_test(every_call_and_allocation_of_a_rewrite_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
