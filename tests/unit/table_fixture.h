// A directory in memory whose files' bytes tests may change, and small helpers around tables.
#ifndef UNIT_TABLE_FIXTURE_H
#define UNIT_TABLE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/prng.h"
#include "kv/file_name.h"
#include "lib/alloc_fault.h"
#include "table/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEM_FILES 64

struct mem_content {
    char name[64];
    uint8_t *data;
    size_t bytes, capacity;
    bool used;
};

struct mem_dir {
    struct os_dir base;
    struct mem_content files[MEM_FILES];
    int reads_until_error; // 0: never
    int writes_until_error;
    _Atomic uint64_t reads;
};

struct mem_file {
    struct os_file base;
    struct mem_dir *dir;
    struct mem_content *content;
};

static inline int mem_pread(struct os_file *base, uint64_t offset, void *to, size_t bytes,
                            size_t *done_out)
{
    struct mem_file *f = (struct mem_file *)base;
    f->dir->reads++;
    if (f->dir->reads_until_error > 0 && --f->dir->reads_until_error == 0) {
        return -EIO;
    }
    size_t left = offset < f->content->bytes ? f->content->bytes - (size_t)offset : 0;
    bytes = bytes < left ? bytes : left;
    if (bytes != 0) {
        memcpy(to, f->content->data + offset, bytes);
    }
    *done_out = bytes;
    return 0;
}

static inline int mem_pwrite(struct os_file *base, uint64_t offset, const void *from, size_t bytes,
                             size_t *done_out)
{
    struct mem_file *f = (struct mem_file *)base;
    struct mem_content *c = f->content;
    if (f->dir->writes_until_error > 0 && --f->dir->writes_until_error == 0) {
        return -ENOSPC;
    }
    size_t end = (size_t)offset + bytes;
    if (end > c->capacity) {
        c->capacity = end * 2;
        alloc_fault_pause();
        c->data = realloc(c->data, c->capacity);
        alloc_fault_resume();
        assert_non_null(c->data);
    }
    memcpy(c->data + offset, from, bytes);
    c->bytes = end > c->bytes ? end : c->bytes;
    *done_out = bytes;
    return 0;
}

static inline int mem_sync(struct os_file *f, bool data_only)
{
    (void)f;
    (void)data_only;
    return 0;
}

static inline int mem_size(struct os_file *base, uint64_t *bytes_out)
{
    *bytes_out = ((struct mem_file *)base)->content->bytes;
    return 0;
}

static inline int mem_close(struct os_file *f)
{
    free(f);
    return 0;
}

static const struct os_file_ops mem_file_ops = {
    .pread = mem_pread,
    .pwrite = mem_pwrite,
    .sync = mem_sync,
    .size = mem_size,
    .close = mem_close,
};

static inline struct mem_content *mem_find(struct mem_dir *d, const char *name)
{
    for (size_t i = 0; i < MEM_FILES; i++) {
        if (d->files[i].used && strcmp(d->files[i].name, name) == 0) {
            return &d->files[i];
        }
    }
    return NULL;
}

static inline int mem_open(struct os_dir *base, const char *name, unsigned flags,
                           struct os_file **file_out)
{
    struct mem_dir *d = (struct mem_dir *)base;
    struct mem_content *c = mem_find(d, name);
    if (c != NULL && (flags & OS_OPEN_EXCLUSIVE) != 0) {
        return -EEXIST;
    }
    for (size_t i = 0; c == NULL && (flags & OS_OPEN_CREATE) != 0 && i < MEM_FILES; i++) {
        if (!d->files[i].used) {
            c = &d->files[i];
            *c = (struct mem_content){.used = true};
            snprintf(c->name, sizeof c->name, "%s", name);
        }
    }
    if (c == NULL) {
        return -ENOENT;
    }
    alloc_fault_pause();
    struct mem_file *f = calloc(1, sizeof *f);
    alloc_fault_resume();
    assert_non_null(f);
    f->base.ops = &mem_file_ops;
    snprintf(f->base.name, sizeof f->base.name, "%s", name);
    f->dir = d;
    f->content = c;
    *file_out = &f->base;
    return 0;
}

static inline int mem_unlink(struct os_dir *base, const char *name)
{
    struct mem_content *c = mem_find((struct mem_dir *)base, name);
    if (c == NULL) {
        return -ENOENT;
    }
    free(c->data);
    *c = (struct mem_content){0};
    return 0;
}

static const struct os_dir_ops mem_dir_ops = {.open = mem_open, .unlink = mem_unlink};

static inline void mem_dir_init(struct mem_dir *d)
{
    *d = (struct mem_dir){.base = {.ops = &mem_dir_ops, .path = "memory"}};
}

static inline void mem_dir_release(struct mem_dir *d)
{
    for (size_t i = 0; i < MEM_FILES; i++) {
        free(d->files[i].data);
    }
    mem_dir_init(d);
}

// ---- a world for tables

struct world {
    struct mem_dir dir;
    struct os_memory memory;
    struct cache *cache;
    struct os_file_cache *files;
    struct table_env env;
};

static inline void world_init(struct world *w, size_t budget)
{
    mem_dir_init(&w->dir);
    os_memory_init(&w->memory, budget);
    assert_int_equal(cache_new(&w->memory, &w->cache), STRATA_OK);
    assert_int_equal(os_file_cache_new(&w->dir.base, 2, &w->files), STRATA_OK);
    w->env = (struct table_env){&w->dir.base, w->cache, &w->memory, w->files};
}

// Everything that was charged must have been given back.
static inline void world_release(struct world *w)
{
    os_epoch_drain();
    assert_int_equal(os_memory_used(&w->memory), 0);
    cache_free(w->cache);
    os_file_cache_free(w->files);
    mem_dir_release(&w->dir);
}

static inline struct table_options world_options(void)
{
    return (struct table_options){
        .keyspace = 7,
        .keyspace_name = "seven",
        .level = 2,
        .incarnation = 5,
        .block_bytes = 512,
        .compression = STRATA_COMPRESSION_NONE,
        .filter_bits = 10,
    };
}

static inline struct slice text_slice(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline struct kv_entry entry_of(struct slice key, struct slice value, uint64_t commit)
{
    return (struct kv_entry){
        .key = key.data,
        .value = value.data,
        .key_bytes = (uint32_t)key.bytes,
        .value_bytes = (uint32_t)value.bytes,
        .commit = commit,
        .kind = KV_PUT,
    };
}

#endif
