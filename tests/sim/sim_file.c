// Files and mappings of the simulated machine.
#include "lib/test_lib.h"
#include "sim/sim_machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_file {
    struct os_file base; // first
    struct sim_machine *machine;
    struct sim_inode *inode;
    bool writable;
};

struct sim_map {
    struct os_map base; // first
    struct sim_machine *machine;
    struct sim_inode *inode;
    char name[64];
};

static struct sim_file *self(struct os_file *f)
{
    return (struct sim_file *)f;
}

static struct sim_event event_of(const struct sim_file *f, enum sim_op op, uint64_t offset,
                                 size_t bytes)
{
    return (struct sim_event){op, f->base.name, "", offset, bytes};
}

static int file_pread(struct os_file *base, uint64_t offset, void *to, size_t bytes,
                      size_t *done_out)
{
    struct sim_file *f = self(base);
    struct sim_event e = event_of(f, SIM_OP_READ, offset, bytes);
    *done_out = 0;
    int rc = sim_machine_call(f->machine, &e, &bytes, NULL);
    if (rc != 0) {
        return rc;
    }
    const struct sim_bytes *b = f->inode->current;
    if (offset < b->bytes) {
        size_t there = b->bytes - (size_t)offset;
        *done_out = bytes < there ? bytes : there;
        memcpy(to, b->data + offset, *done_out);
    }
    return 0;
}

// How many of `bytes` fit on the disk.
static size_t room_for(const struct sim_file *f, uint64_t offset, size_t bytes)
{
    const struct sim_disk *disk = f->machine->disk;
    uint64_t size = f->inode->current->bytes;
    if (disk->capacity == 0 || offset + bytes <= size) {
        return bytes;
    }
    uint64_t used = sim_disk_used(disk);
    uint64_t room = disk->capacity > used ? disk->capacity - used : 0;
    uint64_t end = size + room;
    return end <= offset ? 0 : (size_t)(end - offset < bytes ? end - offset : bytes);
}

static int file_pwrite(struct os_file *base, uint64_t offset, const void *from, size_t bytes,
                       size_t *done_out)
{
    struct sim_file *f = self(base);
    struct sim_machine *m = f->machine;
    struct sim_event e = event_of(f, SIM_OP_WRITE, offset, bytes);
    *done_out = 0;
    if (!f->writable) {
        return -EBADF;
    }
    int rc = sim_machine_call(m, &e, &bytes, NULL);
    if (rc != 0) {
        // A failed write may have written a part.
        if (!m->dead && prng_one_in(&m->random, 2)) {
            size_t part = (size_t)prng_below(&m->random, bytes + 1);
            part = room_for(f, offset, part);
            if (part > 0) {
                sim_inode_write(m->disk, f->inode, offset, from, part);
            }
        }
        return rc;
    }
    size_t room = room_for(f, offset, bytes);
    if (room == 0 && bytes > 0) {
        return -ENOSPC;
    }
    sim_inode_write(m->disk, f->inode, offset, from, room);
    *done_out = room;
    return 0;
}

static int file_sync(struct os_file *base, bool data_only)
{
    struct sim_file *f = self(base);
    (void)data_only;
    struct sim_event e = event_of(f, SIM_OP_SYNC, 0, 0);
    struct sim_fault *rule = NULL;
    int rc = sim_machine_call(f->machine, &e, NULL, &rule);
    if (rc != 0) {
        if (rule != NULL) {
            sim_inode_sync_fails(f->machine->disk, f->inode, rule->sync_model,
                                 prng_next(&f->machine->random));
        }
        return rc;
    }
    sim_inode_sync(f->machine->disk, f->inode);
    return 0;
}

static int file_truncate(struct os_file *base, uint64_t bytes)
{
    struct sim_file *f = self(base);
    struct sim_event e = event_of(f, SIM_OP_TRUNCATE, bytes, 0);
    if (!f->writable) {
        return -EINVAL;
    }
    int rc = sim_machine_call(f->machine, &e, NULL, NULL);
    if (rc == 0) {
        sim_inode_truncate(f->machine->disk, f->inode, bytes);
    }
    return rc;
}

static int file_size(struct os_file *base, uint64_t *bytes_out)
{
    struct sim_file *f = self(base);
    struct sim_event e = event_of(f, SIM_OP_SIZE, 0, 0);
    int rc = sim_machine_call(f->machine, &e, NULL, NULL);
    *bytes_out = rc == 0 ? f->inode->current->bytes : 0;
    return rc;
}

static int file_close(struct os_file *base)
{
    struct sim_file *f = self(base);
    struct sim_event e = event_of(f, SIM_OP_CLOSE, 0, 0);
    int rc = sim_machine_call(f->machine, &e, NULL, NULL);
    f->inode->handles--;
    free(f);
    return rc;
}

static void map_before_store(struct os_map *base, size_t offset, const void *from, size_t bytes)
{
    struct sim_map *map = (struct sim_map *)base;
    struct sim_machine *m = map->machine;
    struct sim_event e = {SIM_OP_STORE, map->name, "", offset, bytes};
    if (map->inode->current->data != base->base) {
        test_fatal("the bytes of the mapped file %s moved; %s", map->name, m->label);
    }
    if (sim_machine_call(m, &e, NULL, NULL) == 0) {
        sim_inode_record_store(m->disk, map->inode, offset, from, bytes);
    }
}

static void map_close(struct os_map *base)
{
    struct sim_map *map = (struct sim_map *)base;
    map->inode->maps--;
    free(map);
}

static int file_map(struct os_file *base, size_t bytes, struct os_map **map_out)
{
    struct sim_file *f = self(base);
    struct sim_event e = event_of(f, SIM_OP_MAP, 0, bytes);
    int rc = sim_machine_call(f->machine, &e, NULL, NULL);
    if (rc != 0) {
        return rc;
    }
    if (bytes != f->inode->current->bytes) {
        test_fatal("%s has %zu bytes and is mapped as %zu; %s", base->name,
                   f->inode->current->bytes, bytes, f->machine->label);
    }
    sim_inode_own_current(f->inode);
    f->inode->maps++;
    struct sim_map *map = test_alloc(1, sizeof *map);
    map->base = (struct os_map){f->inode->current->data, bytes, map_before_store, map_close};
    map->machine = f->machine;
    map->inode = f->inode;
    snprintf(map->name, sizeof map->name, "%s", base->name);
    *map_out = &map->base;
    return 0;
}

int sim_file_new(struct sim_machine *m, struct sim_inode *inode, const char *name, bool writable,
                 struct os_file **file_out)
{
    static const struct os_file_ops ops = {
        file_pread, file_pwrite, file_sync, file_truncate, file_size, file_close, file_map, NULL,
    };
    struct sim_file *f = test_alloc(1, sizeof *f);
    f->base.ops = &ops;
    snprintf(f->base.name, sizeof f->base.name, "%s", name);
    f->machine = m;
    f->inode = inode;
    f->writable = writable;
    inode->handles++;
    *file_out = &f->base;
    return 0;
}
