#include "sim/sim_machine.h"

#include "base/fail.h"
#include "base/hash.h"
#include "lib/test_lib.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_dir_handle {
    struct os_dir base; // first
    struct sim_machine *machine;
    struct sim_dir *dir;
    struct sim_lock *lock; // NULL: none held
};

const char *sim_op_name(enum sim_op op)
{
    static const char *const names[SIM_OPS] = {
        "open",   "read",   "write",  "sync", "truncate", "size", "close", "map",      "store",
        "create", "rename", "unlink", "list", "dir-sync", "lock", "space", "open-dir",
    };
    return op < SIM_OPS ? names[op] : "?";
}

// ---- calls

static bool op_changes(enum sim_op op)
{
    return op == SIM_OP_WRITE || op == SIM_OP_SYNC || op == SIM_OP_TRUNCATE || op == SIM_OP_STORE ||
           op == SIM_OP_CREATE || op == SIM_OP_RENAME || op == SIM_OP_UNLINK ||
           op == SIM_OP_DIR_SYNC;
}

void sim_machine_traced(struct sim_machine *m, uint64_t value)
{
    m->trace = prng_mix(m->trace + 0x9e3779b97f4a7c15u) ^ value;
}

static struct sim_fault *fault_for(struct sim_machine *m, const struct sim_event *e)
{
    struct sim_fault *hit = NULL;
    for (size_t i = 0; i < m->fault_count; i++) {
        struct sim_fault *f = &m->faults[i];
        if ((f->ops & SIM_OP_BIT(e->op)) == 0 || e->op == SIM_OP_STORE ||
            (f->glob != NULL && fnmatch(f->glob, e->name, 0) != 0)) {
            continue;
        }
        uint64_t number = f->seen++;
        bool fires = f->one_in > 0 ? prng_one_in(&m->random, f->one_in) != 0
                                   : number == f->index || (f->sticky && number > f->index);
        if (fires && hit == NULL) {
            f->fired++;
            hit = f;
        }
    }
    return hit;
}

int sim_machine_call(struct sim_machine *m, const struct sim_event *e, size_t *cut_inout,
                     struct sim_fault **rule_out)
{
    if (m->dead) {
        return -EIO;
    }
    m->calls++;
    sim_machine_traced(m, e->op + 31 * e->offset + 1009 * e->bytes);
    sim_machine_traced(m, checksum64(3, e->name, strlen(e->name)));
    if (m->observe != NULL) {
        m->observe(m->observe_ctx, m, e);
    }
    if (op_changes(e->op)) {
        m->boundaries++;
        if (m->boundary != NULL) {
            m->boundary(m->boundary_ctx, m, e);
        }
    }
    struct sim_fault *rule = m->fault_count == 0 || m->faults_off ? NULL : fault_for(m, e);
    if (rule == NULL) {
        return 0;
    }
    if (rule_out != NULL) {
        *rule_out = rule;
    }
    if (rule->error == 0) {
        if (cut_inout != NULL && *cut_inout > rule->short_bytes) {
            *cut_inout = rule->short_bytes;
        }
        return 0;
    }
    sim_machine_traced(m, (uint64_t)rule->error);
    return -rule->error;
}

struct sim_fault *sim_machine_fail(struct sim_machine *m, struct sim_fault rule)
{
    if (m->fault_count == SIM_FAULTS_MAX) {
        test_fatal("more than %d fault rules", SIM_FAULTS_MAX);
    }
    struct sim_fault *f = &m->faults[m->fault_count++];
    *f = rule;
    f->seen = 0;
    f->fired = 0;
    return f;
}

void sim_machine_heal(struct sim_machine *m)
{
    m->fault_count = 0;
}

uint64_t sim_machine_faults_fired(const struct sim_machine *m)
{
    uint64_t fired = 0;
    for (size_t i = 0; i < m->fault_count; i++) {
        fired += m->faults[i].fired;
    }
    return fired;
}

// ---- directories

static struct sim_dir_handle *self(struct os_dir *d)
{
    return (struct sim_dir_handle *)d;
}

static int dir_call(struct sim_dir_handle *h, enum sim_op op, const char *name, const char *to)
{
    struct sim_event e = {op, name, to, 0, 0};
    return sim_machine_call(h->machine, &e, NULL, NULL);
}

static int dir_open(struct os_dir *d, const char *name, unsigned flags, struct os_file **file_out)
{
    struct sim_dir_handle *h = self(d);
    struct sim_machine *m = h->machine;
    struct sim_inode *inode = sim_dir_find(h->dir, name);
    bool creates = inode == NULL && (flags & OS_OPEN_CREATE) != 0;
    *file_out = NULL;
    int rc = dir_call(h, creates ? SIM_OP_CREATE : SIM_OP_OPEN, name, "");
    if (rc != 0) {
        return rc;
    }
    if (inode == NULL && !creates) {
        return -ENOENT;
    }
    if (inode != NULL && (flags & OS_OPEN_EXCLUSIVE) != 0) {
        return -EEXIST;
    }
    if (creates) {
        inode = sim_dir_create(m->disk, h->dir, name);
    }
    if ((flags & OS_OPEN_TRUNCATE) != 0 && inode->current->bytes > 0) {
        rc = dir_call(h, SIM_OP_TRUNCATE, name, "");
        if (rc != 0) {
            return rc;
        }
        sim_inode_truncate(m->disk, inode, 0);
    }
    return sim_file_new(m, inode, name, (flags & OS_OPEN_WRITE) != 0, file_out);
}

static int dir_rename(struct os_dir *d, const char *from, const char *to)
{
    struct sim_dir_handle *h = self(d);
    int rc = dir_call(h, SIM_OP_RENAME, from, to);
    if (rc != 0) {
        return rc;
    }
    if (sim_dir_find(h->dir, from) == NULL) {
        return -ENOENT;
    }
    sim_dir_rename(h->machine->disk, h->dir, from, to);
    return 0;
}

static int dir_unlink(struct os_dir *d, const char *name)
{
    struct sim_dir_handle *h = self(d);
    int rc = dir_call(h, SIM_OP_UNLINK, name, "");
    if (rc != 0) {
        return rc;
    }
    if (sim_dir_find(h->dir, name) == NULL) {
        return -ENOENT;
    }
    sim_dir_unlink(h->machine->disk, h->dir, name);
    return 0;
}

static int dir_list(struct os_dir *d, bool (*visit)(void *ctx, const char *name, bool regular),
                    void *ctx)
{
    struct sim_dir_handle *h = self(d);
    int rc = dir_call(h, SIM_OP_LIST, "", "");
    if (rc != 0) {
        return rc;
    }
    // Over a copy: the visitor may change the directory.
    size_t count = h->dir->current.count;
    struct sim_entry *entries = test_alloc(count, sizeof *entries);
    if (count > 0) {
        memcpy(entries, h->dir->current.entries, count * sizeof *entries);
    }
    for (size_t i = 0; i < count && visit(ctx, entries[i].name, true); i++) {
    }
    free(entries);
    return 0;
}

static int dir_sync(struct os_dir *d)
{
    struct sim_dir_handle *h = self(d);
    int rc = dir_call(h, SIM_OP_DIR_SYNC, "", "");
    if (rc == 0) {
        sim_dir_sync(h->machine->disk, h->dir);
    }
    return rc;
}

static struct sim_lock *lock_named(struct sim_machine *m, const char *key)
{
    for (size_t i = 0; i < m->lock_count; i++) {
        if (strcmp(m->locks[i].key, key) == 0) {
            return &m->locks[i];
        }
    }
    if (m->lock_count == sizeof m->locks / sizeof m->locks[0]) {
        test_fatal("too many lock files on one machine");
    }
    struct sim_lock *l = &m->locks[m->lock_count++];
    *l = (struct sim_lock){.holders = 0};
    snprintf(l->key, sizeof l->key, "%s", key);
    return l;
}

static int dir_lock(struct os_dir *d, const char *name, enum os_lock_mode mode, char *holder_out)
{
    struct sim_dir_handle *h = self(d);
    char key[330];
    int rc = dir_call(h, SIM_OP_LOCK, name, "");
    if (rc != 0) {
        return rc;
    }
    snprintf(key, sizeof key, "%.200s/%.63s", h->dir->path, name);
    struct sim_lock *l = lock_named(h->machine, key);
    if (l->holders > 0 && (mode == OS_LOCK_EXCLUSIVE || l->mode == OS_LOCK_EXCLUSIVE)) {
        snprintf(holder_out, 64, "another simulated handle");
        return -EWOULDBLOCK;
    }
    if (sim_dir_find(h->dir, name) == NULL) {
        if (mode == OS_LOCK_SHARED) {
            return -ENOENT;
        }
        rc = dir_call(h, SIM_OP_CREATE, name, "");
        if (rc != 0) {
            return rc;
        }
        sim_dir_create(h->machine->disk, h->dir, name);
    }
    l->mode = mode;
    l->holders++;
    h->lock = l;
    return 0;
}

static int dir_space(struct os_dir *d, uint64_t *free_bytes_out)
{
    struct sim_dir_handle *h = self(d);
    const struct sim_disk *disk = h->machine->disk;
    int rc = dir_call(h, SIM_OP_SPACE, "", "");
    uint64_t used = disk->capacity == 0 ? 0 : sim_disk_used(disk);
    uint64_t capacity = disk->capacity == 0 ? (uint64_t)1 << 40 : disk->capacity;
    *free_bytes_out = rc != 0 || used > capacity ? 0 : capacity - used;
    return rc;
}

static void dir_facts(struct os_dir *d, struct os_fs_facts *facts_out)
{
    *facts_out = (struct os_fs_facts){.kind = "sim", .map_is_good = !self(d)->machine->map_is_bad};
}

static void dir_close(struct os_dir *d)
{
    struct sim_dir_handle *h = self(d);
    if (h->lock != NULL) {
        h->lock->holders--;
    }
    free(h);
}

static strata_rc machine_open_dir(struct os_machine *base, const char *path, bool create,
                                  struct os_dir **dir_out)
{
    static const struct os_dir_ops ops = {
        dir_open, dir_rename, dir_unlink, dir_list,  dir_sync,
        dir_lock, dir_space,  dir_facts,  dir_close,
    };
    struct sim_machine *m = (struct sim_machine *)base;
    struct sim_event e = {SIM_OP_OPEN_DIR, path, "", 0, 0};
    *dir_out = NULL;
    int rc = sim_machine_call(m, &e, NULL, NULL);
    if (rc != 0) {
        return fail_errno(-rc, "open directory", path);
    }
    struct sim_dir *dir = sim_disk_dir(m->disk, path, create);
    if (dir == NULL) {
        return fail(STRATA_NOT_FOUND, "there is no directory %s", path);
    }
    struct sim_dir_handle *h = test_alloc(1, sizeof *h);
    h->base.ops = &ops;
    snprintf(h->base.path, sizeof h->base.path, "%s", path);
    h->machine = m;
    h->dir = dir;
    *dir_out = &h->base;
    return STRATA_OK;
}

// ---- clock and life

static int64_t clock_wall_us(struct os_clock *c)
{
    struct sim_machine *m =
        (struct sim_machine *)(void *)((char *)c - offsetof(struct sim_machine, clock));
    return m->wall_us++;
}

static uint64_t clock_monotonic_ns(struct os_clock *c)
{
    struct sim_machine *m =
        (struct sim_machine *)(void *)((char *)c - offsetof(struct sim_machine, clock));
    m->monotonic_ns += 1000;
    return m->monotonic_ns;
}

void sim_machine_step_clock(struct sim_machine *m, int64_t wall_us, uint64_t monotonic_ns)
{
    m->wall_us += wall_us;
    m->monotonic_ns += monotonic_ns;
}

void sim_machine_init(struct sim_machine *m, struct sim_disk *disk, uint64_t seed)
{
    *m = (struct sim_machine){.disk = disk};
    m->random.state = seed;
    m->wall_us = (int64_t)1700000000 * 1000000;
    m->monotonic_ns = 1000000000;
    m->clock = (struct os_clock){clock_wall_us, clock_monotonic_ns};
    m->base = (struct os_machine){
        .open_dir = machine_open_dir, .clock = &m->clock, .new_executor = sim_executor_new};
    snprintf(m->label, sizeof m->label, "machine seed %llu", (unsigned long long)seed);
}

void sim_machine_release(struct sim_machine *m)
{
    if (m->executors != NULL) {
        test_fatal("a machine is released with an executor alive; %s", m->label);
    }
    for (size_t i = 0; i < m->lock_count; i++) {
        if (m->locks[i].holders > 0) {
            test_fatal("a machine is released with %s held; %s", m->locks[i].key, m->label);
        }
    }
}
