// The files of a database directory: numbers for new ones, and the removal of what nothing names.
#include "db/db.h"

#include "base/alloc.h"
#include "base/fail.h"
#include "base/mutant.h"

uint64_t db_new_file_number(void *ctx)
{
    strata_db *db = ctx;
    return atomic_fetch_add_explicit(&db->next_file, 1, memory_order_relaxed);
}

uint64_t db_new_run_number(void *ctx)
{
    strata_db *db = ctx;
    return atomic_fetch_add_explicit(&db->next_run, 1, memory_order_relaxed);
}

struct scan {
    uint64_t number_max;
    bool data;
};

static bool scan_name(void *ctx, const char *name, bool regular)
{
    struct scan *scan = ctx;
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number) && kind != FILE_CURRENT &&
        kind != FILE_LOCK) {
        scan->number_max = number > scan->number_max ? number : scan->number_max;
        scan->data = scan->data || kind == FILE_LOG || kind == FILE_TABLE || kind == FILE_VALUE;
    }
    return true;
}

strata_rc db_scan_directory(strata_db *db, uint64_t *number_max_out, bool *data_out)
{
    struct scan scan = {0};
    strata_rc rc = os_dir_list(db->dir, scan_name, &scan);
    *number_max_out = scan.number_max;
    *data_out = scan.data;
    return rc;
}

struct log_sizes {
    strata_db *db;
    uint64_t bytes;
    strata_rc rc;
};

static bool add_log_size(void *ctx, const char *name, bool regular)
{
    struct log_sizes *sizes = ctx;
    enum file_kind kind;
    uint64_t number;
    if (!regular || !file_name_parse(name, &kind, &number) || kind != FILE_LOG) {
        return true;
    }
    struct os_file *file;
    uint64_t bytes = 0;
    sizes->rc = os_file_open(sizes->db->dir, name, OS_OPEN_READ, &file);
    if (sizes->rc == STRATA_OK) {
        sizes->rc = os_file_size(file, &bytes);
        (void)os_file_close(file); // nothing was written through it
    }
    sizes->bytes += bytes;
    return sizes->rc == STRATA_OK;
}

strata_rc db_log_bytes(strata_db *db, uint64_t *bytes_out)
{
    struct log_sizes sizes = {.db = db};
    strata_rc rc = os_dir_list(db->dir, add_log_size, &sizes);
    *bytes_out = sizes.bytes;
    return rc == STRATA_OK ? sizes.rc : rc;
}

struct obsolete {
    strata_db *db;
    uint64_t below; // only files that were there when the open began
    uint64_t manifest;
    uint64_t log_first;
    uint64_t *tables; // numbers in use, ascending
    size_t table_count;
    const struct generation *recovered; // its value files are in use, too
    struct buffer names;                // NUL-terminated, one after the other
    strata_rc rc;
};

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_recovered(const struct generation *g, uint64_t number)
{
    uint32_t count = generation_value_files(g);
    for (uint32_t i = 0; i < count; i++) {
        if (g->value_files[i].number == number) {
            return true;
        }
    }
    return false;
}

static bool is_obsolete(const struct obsolete *o, enum file_kind kind, uint64_t number)
{
    if (number >= o->below) {
        return false;
    }
    switch (kind) {
    case FILE_MANIFEST:
        return number != o->manifest;
    case FILE_LOG:
        return number < o->log_first;
    case FILE_TABLE:
        return bsearch(&number, o->tables, o->table_count, sizeof *o->tables, compare_numbers) ==
               NULL;
    case FILE_VALUE:
        return !catalog_names_value_file(o->db->edit.catalog, number) &&
               (!is_recovered(o->recovered, number) || MUTANT(53));
    case FILE_TMP:
        return true;
    default:
        return false; // CURRENT, LOCK
    }
}

static bool obsolete_name(void *ctx, const char *name, bool regular)
{
    struct obsolete *o = ctx;
    enum file_kind kind;
    uint64_t number;
    if (regular && file_name_parse(name, &kind, &number) && is_obsolete(o, kind, number)) {
        o->rc = buffer_append(&o->names, name, strlen(name) + 1);
    }
    return o->rc == STRATA_OK;
}

static size_t tables_of(const struct tree *t, uint64_t *numbers)
{
    size_t count = 0;
    for (uint32_t l = 0; l < t->level_count; l++) {
        for (uint32_t r = 0; r < t->levels[l].count; r++) {
            const struct run *run = t->levels[l].runs[r];
            for (uint32_t i = 0; i < run->count; i++, count++) {
                if (numbers != NULL) {
                    numbers[count] = table_meta(run->tables[i])->file;
                }
            }
        }
    }
    return count;
}

static strata_rc used_tables(const struct catalog *catalog, struct obsolete *o)
{
    size_t count = 0;
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        count += tables_of(catalog->spaces[i].live, NULL);
        count += tables_of(catalog->spaces[i].history, NULL);
    }
    o->tables = alloc_array(count, sizeof *o->tables);
    if (o->tables == NULL) {
        return alloc_failed("a list of tables", count * sizeof *o->tables);
    }
    for (uint32_t i = 0; i < catalog->space_count; i++) {
        o->table_count += tables_of(catalog->spaces[i].live, o->tables + o->table_count);
        if (!MUTANT(34)) {
            o->table_count += tables_of(catalog->spaces[i].history, o->tables + o->table_count);
        }
    }
    qsort(o->tables, o->table_count, sizeof *o->tables, compare_numbers);
    return STRATA_OK;
}

strata_rc db_remove_obsolete(strata_db *db)
{
    struct obsolete o = {.db = db,
                         .below = db->edit.catalog->next_file,
                         .manifest = manifest_number(db->edit.manifest),
                         .recovered = db->commit.active,
                         .log_first = db->edit.catalog->log_first_segment};
    strata_rc rc = used_tables(db->edit.catalog, &o);
    if (rc == STRATA_OK) {
        rc = os_dir_list(db->dir, obsolete_name, &o);
    }
    if (rc == STRATA_OK) {
        rc = o.rc;
    }
    for (size_t at = 0; rc == STRATA_OK && at < o.names.bytes;) {
        const char *name = (const char *)o.names.data + at;
        rc = os_dir_unlink(db->dir, name);
        at += strlen(name) + 1;
    }
    buffer_release(&o.names);
    free(o.tables);
    return rc;
}
