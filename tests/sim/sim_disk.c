#include "sim/sim_disk.h"

#include "base/prng.h"
#include "lib/test_lib.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- bytes

struct sim_bytes *sim_bytes_new(size_t bytes)
{
    struct sim_bytes *b = test_alloc(1, sizeof *b);
    b->refs = 1;
    b->bytes = bytes;
    b->capacity = bytes;
    b->data = test_alloc(bytes, 1);
    return b;
}

struct sim_bytes *sim_bytes_ref(struct sim_bytes *b)
{
    b->refs++;
    return b;
}

void sim_bytes_unref(struct sim_bytes *b)
{
    if (b != NULL && --b->refs == 0) {
        free(b->data);
        free(b);
    }
}

struct sim_bytes *sim_bytes_own(struct sim_bytes *b)
{
    if (b->refs > 1) {
        struct sim_bytes *own = test_alloc(1, sizeof *own);
        own->refs = 1;
        own->bytes = b->bytes;
        own->capacity = b->bytes;
        own->data = test_resize(NULL, b->bytes, 1);
        memcpy(own->data, b->data, b->bytes);
        b->refs--;
        b = own;
    }
    b->hash = 0;
    return b;
}

void sim_bytes_resize(struct sim_bytes *b, size_t bytes)
{
    if (bytes > b->capacity) {
        size_t capacity = b->capacity * 2 > bytes ? b->capacity * 2 : bytes;
        b->data = test_resize(b->data, capacity, 1);
        b->capacity = capacity;
    }
    if (bytes > b->bytes) {
        memset(b->data + b->bytes, 0, bytes - b->bytes);
    }
    b->bytes = bytes;
}

// ---- inodes

struct sim_inode *sim_inode_new(struct sim_disk *disk, struct sim_bytes *bytes)
{
    struct sim_inode *inode = test_alloc(1, sizeof *inode);
    inode->number = ++disk->inode_next;
    inode->current = bytes;
    inode->durable = sim_bytes_ref(bytes);
    test_grow((void **)&disk->inodes, &disk->inode_capacity, disk->inode_count,
              sizeof(struct sim_inode *));
    disk->inodes[disk->inode_count++] = inode;
    return inode;
}

static void inode_free(struct sim_inode *inode)
{
    sim_bytes_unref(inode->current);
    sim_bytes_unref(inode->durable);
    free(inode->changes);
    free(inode->change_data);
    free(inode);
}

void sim_inode_own_current(struct sim_inode *inode)
{
    if (inode->current->refs > 1) {
        if (inode->maps > 0) {
            test_fatal("the bytes of a mapped file are shared");
        }
        inode->current = sim_bytes_own(inode->current);
    }
    inode->current->hash = 0;
}

static struct sim_change *inode_add_change(struct sim_disk *disk, struct sim_inode *inode)
{
    test_grow((void **)&inode->changes, &inode->change_capacity, inode->change_count,
              sizeof(struct sim_change));
    struct sim_change *c = &inode->changes[inode->change_count++];
    *c = (struct sim_change){.seq = ++disk->seq};
    return c;
}

static void inode_record(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                         const void *from, size_t bytes)
{
    size_t needed = inode->change_data_bytes + bytes;
    if (needed > inode->change_data_capacity) {
        inode->change_data_capacity = needed * 2;
        inode->change_data = test_resize(inode->change_data, needed * 2, 1);
    }
    memcpy(inode->change_data + inode->change_data_bytes, from, bytes);
    struct sim_change *c = inode_add_change(disk, inode);
    c->offset = offset;
    c->bytes = bytes;
    c->data_at = inode->change_data_bytes;
    c->size_after = offset + bytes > inode->current->bytes ? offset + bytes : inode->current->bytes;
    inode->change_data_bytes = needed;
}

static void inode_resize_current(struct sim_inode *inode, size_t bytes)
{
    if (inode->maps > 0 && bytes > inode->current->capacity) {
        test_fatal("a mapped file of %zu bytes grows to %zu", inode->current->bytes, bytes);
    }
    sim_bytes_resize(inode->current, bytes);
}

void sim_inode_write(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                     const void *from, size_t bytes)
{
    sim_inode_own_current(inode);
    inode_record(disk, inode, offset, from, bytes);
    if (offset + bytes > inode->current->bytes) {
        inode_resize_current(inode, (size_t)offset + bytes);
    }
    memcpy(inode->current->data + offset, from, bytes);
}

void sim_inode_record_store(struct sim_disk *disk, struct sim_inode *inode, uint64_t offset,
                            const void *from, size_t bytes)
{
    if (offset + bytes > inode->current->bytes) {
        test_fatal("a store of %zu bytes at %llu is past the end of the mapped file (%zu bytes)",
                   bytes, (unsigned long long)offset, inode->current->bytes);
    }
    inode->current->hash = 0;
    inode_record(disk, inode, offset, from, bytes);
}

void sim_inode_truncate(struct sim_disk *disk, struct sim_inode *inode, uint64_t bytes)
{
    sim_inode_own_current(inode);
    struct sim_change *c = inode_add_change(disk, inode);
    c->truncate = true;
    c->offset = bytes;
    c->size_after = bytes;
    inode_resize_current(inode, (size_t)bytes);
}

static void inode_forget_changes(struct sim_inode *inode)
{
    inode->change_count = 0;
    inode->change_data_bytes = 0;
}

static void apply_changes(const struct sim_inode *inode, struct sim_bytes *to)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *c = &inode->changes[i];
        if (c->truncate) {
            sim_bytes_resize(to, (size_t)c->offset);
            continue;
        }
        if (c->offset + c->bytes > to->bytes) {
            sim_bytes_resize(to, (size_t)c->offset + c->bytes);
        }
        memcpy(to->data + c->offset, inode->change_data + c->data_at, c->bytes);
    }
}

void sim_inode_sync(struct sim_disk *disk, struct sim_inode *inode)
{
    disk->seq++;
    if (inode->change_count == 0) {
        return;
    }
    inode->durable = sim_bytes_own(inode->durable);
    apply_changes(inode, inode->durable);
    inode_forget_changes(inode);
}

// Readers see the old bytes, or zeros, where the changes were.
static void inode_lose_changes(struct sim_inode *inode, const struct sim_bytes *before, bool zeros)
{
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct sim_change *c = &inode->changes[i];
        for (uint64_t at = c->offset; !c->truncate && at < c->offset + c->bytes; at++) {
            if (at < inode->current->bytes) {
                bool known = !zeros && at < before->bytes;
                inode->current->data[at] = known ? before->data[at] : 0;
            }
        }
    }
}

void sim_inode_sync_fails(struct sim_disk *disk, struct sim_inode *inode,
                          enum sim_sync_failure model, uint64_t seed)
{
    struct prng random = {seed};
    struct sim_bytes *before = sim_bytes_ref(inode->durable);
    disk->seq++;
    inode->sync_failed = true;
    uint64_t outcome = prng_below(&random, 3);
    if (outcome != 0 && inode->change_count > 0) {
        inode->durable = sim_bytes_own(inode->durable);
        size_t count = inode->change_count;
        if (outcome == 2) {
            inode->change_count = prng_below(&random, count + 1);
        }
        apply_changes(inode, inode->durable);
        inode->change_count = count;
    }
    if (model != SIM_SYNC_KEEPS) {
        sim_inode_own_current(inode);
        inode_lose_changes(inode, before, model == SIM_SYNC_ZEROES);
    }
    sim_bytes_unref(before);
    inode_forget_changes(inode);
}

// ---- names

static struct sim_entry *names_find(const struct sim_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].name, name) == 0) {
            return &names->entries[i];
        }
    }
    return NULL;
}

static void name_copy(char *to, const char *name)
{
    int n = snprintf(to, SIM_NAME_BYTES, "%s", name);
    if (n >= (int)SIM_NAME_BYTES) {
        test_fatal("the file name '%s' is too long for the simulated disk", name);
    }
}

void sim_names_set(struct sim_names *names, const char *name, struct sim_inode *inode)
{
    struct sim_entry *e = names_find(names, name);
    if (e == NULL) {
        test_grow((void **)&names->entries, &names->capacity, names->count,
                  sizeof(struct sim_entry));
        e = &names->entries[names->count++];
        name_copy(e->name, name);
    }
    e->inode = inode;
}

void sim_names_remove(struct sim_names *names, const char *name, const struct sim_inode *inode)
{
    struct sim_entry *e = names_find(names, name);
    if (e != NULL && e->inode == inode) {
        *e = names->entries[--names->count];
    }
}

struct sim_inode *sim_dir_find(const struct sim_dir *dir, const char *name)
{
    const struct sim_entry *e = names_find(&dir->current, name);
    return e == NULL ? NULL : e->inode;
}

bool sim_dir_name_is_durable(const struct sim_dir *dir, const char *name)
{
    const struct sim_entry *now = names_find(&dir->current, name);
    const struct sim_entry *kept = names_find(&dir->durable, name);
    if (now == NULL || kept == NULL || now->inode != kept->inode) {
        return false;
    }
    for (size_t i = 0; i < dir->change_count; i++) {
        const struct sim_name_change *c = &dir->changes[i];
        if (strcmp(c->name, name) == 0 || strcmp(c->to, name) == 0) {
            return false;
        }
    }
    return true;
}

static struct sim_name_change *dir_add_change(struct sim_disk *disk, struct sim_dir *dir,
                                              enum sim_name_kind kind, const char *name)
{
    test_grow((void **)&dir->changes, &dir->change_capacity, dir->change_count,
              sizeof(struct sim_name_change));
    struct sim_name_change *c = &dir->changes[dir->change_count++];
    *c = (struct sim_name_change){.seq = ++disk->seq, .kind = kind};
    name_copy(c->name, name);
    return c;
}

struct sim_inode *sim_dir_create(struct sim_disk *disk, struct sim_dir *dir, const char *name)
{
    struct sim_inode *inode = sim_inode_new(disk, sim_bytes_new(0));
    dir_add_change(disk, dir, SIM_NAME_CREATE, name)->inode = inode;
    sim_names_set(&dir->current, name, inode);
    return inode;
}

void sim_dir_rename(struct sim_disk *disk, struct sim_dir *dir, const char *from, const char *to)
{
    struct sim_inode *inode = sim_dir_find(dir, from);
    struct sim_name_change *c = dir_add_change(disk, dir, SIM_NAME_RENAME, from);
    c->inode = inode;
    name_copy(c->to, to);
    sim_names_remove(&dir->current, from, inode);
    sim_names_set(&dir->current, to, inode);
}

void sim_dir_unlink(struct sim_disk *disk, struct sim_dir *dir, const char *name)
{
    struct sim_inode *inode = sim_dir_find(dir, name);
    dir_add_change(disk, dir, SIM_NAME_UNLINK, name)->inode = inode;
    sim_names_remove(&dir->current, name, inode);
}

// ---- the disk

struct sim_disk *sim_disk_new(void)
{
    return test_alloc(1, sizeof(struct sim_disk));
}

void sim_disk_free(struct sim_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    for (size_t i = 0; i < disk->dir_count; i++) {
        free(disk->dirs[i]->current.entries);
        free(disk->dirs[i]->durable.entries);
        free(disk->dirs[i]->changes);
        free(disk->dirs[i]);
    }
    for (size_t i = 0; i < disk->inode_count; i++) {
        inode_free(disk->inodes[i]);
    }
    free(disk->dirs);
    free(disk->inodes);
    sim_bytes_unref(disk->old);
    free(disk);
}

struct sim_dir *sim_disk_dir(struct sim_disk *disk, const char *path, bool create)
{
    for (size_t i = 0; i < disk->dir_count; i++) {
        if (strcmp(disk->dirs[i]->path, path) == 0) {
            return disk->dirs[i];
        }
    }
    if (!create) {
        return NULL;
    }
    struct sim_dir *dir = test_alloc(1, sizeof *dir);
    snprintf(dir->path, sizeof dir->path, "%s", path);
    test_grow((void **)&disk->dirs, &disk->dir_capacity, disk->dir_count, sizeof(struct sim_dir *));
    disk->dirs[disk->dir_count++] = dir;
    return dir;
}

static bool names_hold(const struct sim_names *names, const struct sim_inode *inode)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->entries[i].inode == inode) {
            return true;
        }
    }
    return false;
}

static bool disk_needs(const struct sim_disk *disk, const struct sim_inode *inode)
{
    if (inode->handles > 0 || inode->maps > 0) {
        return true;
    }
    for (size_t i = 0; i < disk->dir_count; i++) {
        const struct sim_dir *dir = disk->dirs[i];
        if (names_hold(&dir->current, inode) || names_hold(&dir->durable, inode)) {
            return true;
        }
        for (size_t j = 0; j < dir->change_count; j++) {
            if (dir->changes[j].inode == inode) {
                return true;
            }
        }
    }
    return false;
}

// Keeps the bytes of a dead file as what a lost extension may show.
static void disk_keep_old(struct sim_disk *disk, struct sim_bytes *bytes)
{
    if (bytes->bytes >= SIM_SECTOR_BYTES) {
        sim_bytes_unref(disk->old);
        disk->old = sim_bytes_ref(bytes);
    }
}

void sim_dir_sync(struct sim_disk *disk, struct sim_dir *dir)
{
    disk->seq++;
    if (dir->change_count == 0) {
        return;
    }
    dir->change_count = 0;
    dir->durable.count = 0;
    for (size_t i = 0; i < dir->current.count; i++) {
        sim_names_set(&dir->durable, dir->current.entries[i].name, dir->current.entries[i].inode);
    }
    size_t kept = 0;
    for (size_t i = 0; i < disk->inode_count; i++) {
        struct sim_inode *inode = disk->inodes[i];
        if (disk_needs(disk, inode)) {
            disk->inodes[kept++] = inode;
        } else {
            disk_keep_old(disk, inode->current);
            inode_free(inode);
        }
    }
    disk->inode_count = kept;
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (size_t i = 0; i < disk->inode_count; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        bool named = inode->handles > 0;
        for (size_t d = 0; d < disk->dir_count && !named; d++) {
            named = names_hold(&disk->dirs[d]->current, inode);
        }
        used += named ? inode->current->bytes : 0;
    }
    return used;
}

const char *sim_disk_check(const struct sim_disk *disk)
{
    const char *broken = NULL;
    for (size_t i = 0; i < disk->inode_count && broken == NULL; i++) {
        const struct sim_inode *inode = disk->inodes[i];
        if (inode->sync_failed) {
            continue;
        }
        struct sim_bytes *expected = sim_bytes_own(sim_bytes_ref(inode->durable));
        apply_changes(inode, expected);
        if (expected->bytes != inode->current->bytes) {
            broken = "a file has another size than its changes give";
        } else if (memcmp(expected->data, inode->current->data, expected->bytes) != 0) {
            broken = "a file was changed behind the simulated disk's back";
        }
        sim_bytes_unref(expected);
    }
    return broken;
}
