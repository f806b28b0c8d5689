// strata tree: draws keyspaces, their live and history trees, levels and runs.
//
// Under each keyspace stands also what its value files take, which belong to both of its trees.
//
// Tables arrive in order, so each line of the drawing is complete when a table of another keyspace,
// tree, level or run arrives. Lines are kept until the end because the columns are aligned and a
// branch is drawn by what follows it.
#include "tools/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"
#include "tools/cli_out.h"
#include "tools/cli_progress.h"
#include "tools/cli_session.h"

enum row_depth { ROW_KEYSPACE, ROW_TREE, ROW_LEVEL, ROW_RUN, ROW_TABLE, ROW_DEPTHS };

#define KEY_CHARACTERS_MAX 24

struct row {
    enum row_depth depth;
    bool values; // of the value files: only the size counts
    char name[STRATA_KEYSPACE_NAME_BYTES_MAX + 16];
    uint32_t number;
    uint64_t tables;
    uint64_t bytes;
    uint64_t entries;
    uint64_t range_deletes;
    uint64_t commit_least;
    uint64_t commit_greatest;
    struct text key_least;
    struct text key_greatest;
};

struct drawing {
    const struct cli_args *args;
    struct row *rows;
    size_t count;
    size_t capacity;
    size_t open[ROW_DEPTHS]; // row of each depth that the last table belongs to
    struct text line;
};

static struct row *row_add(struct drawing *drawing, enum row_depth depth)
{
    if (drawing->count == drawing->capacity) {
        size_t capacity = drawing->capacity == 0 ? 64 : drawing->capacity * 2;
        struct row *rows = realloc(drawing->rows, capacity * sizeof *rows);
        if (rows == NULL) {
            exit(cli_problem(CLI_FAILED, "there is no memory for %zu lines", capacity));
        }
        drawing->rows = rows;
        drawing->capacity = capacity;
    }
    drawing->open[depth] = drawing->count;
    struct row *row = &drawing->rows[drawing->count++];
    *row = (struct row){.depth = depth, .commit_least = UINT64_MAX};
    return row;
}

static bool slice_before(strata_slice a, strata_slice b)
{
    size_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
    int order = common > 0 ? memcmp(a.data, b.data, common) : 0;
    return order < 0 || (order == 0 && a.bytes < b.bytes);
}

static void row_count(struct row *row, const strata_table_info *table)
{
    if (row->tables == 0 || slice_before(table->key_least, text_slice(&row->key_least))) {
        text_clear(&row->key_least);
        text_append(&row->key_least, table->key_least.data, table->key_least.bytes);
    }
    if (row->tables == 0 || slice_before(text_slice(&row->key_greatest), table->key_greatest)) {
        text_clear(&row->key_greatest);
        text_append(&row->key_greatest, table->key_greatest.data, table->key_greatest.bytes);
    }
    row->tables++;
    row->bytes += table->bytes;
    row->entries += table->entries;
    row->range_deletes += table->range_deletes;
    if (table->commit_least < row->commit_least) {
        row->commit_least = table->commit_least;
    }
    if (table->commit_greatest > row->commit_greatest) {
        row->commit_greatest = table->commit_greatest;
    }
}

// The outermost depth at which this table begins a new row.
static enum row_depth first_new_depth(const struct drawing *drawing, const strata_table_info *table)
{
    if (drawing->count == 0) {
        return ROW_KEYSPACE;
    }
    const struct row *rows = drawing->rows;
    if (strcmp(rows[drawing->open[ROW_KEYSPACE]].name, table->keyspace) != 0) {
        return ROW_KEYSPACE;
    }
    if (rows[drawing->open[ROW_TREE]].number != (uint32_t)table->history) {
        return ROW_TREE;
    }
    if (rows[drawing->open[ROW_LEVEL]].number != table->level) {
        return ROW_LEVEL;
    }
    return rows[drawing->open[ROW_RUN]].number != table->run ? ROW_RUN : ROW_TABLE;
}

// With --keyspace the tables of others are passed over.
static bool is_asked_for(const struct drawing *drawing, const strata_table_info *table)
{
    const char *keyspace = drawing->args->option[OPT_KEYSPACE];
    return keyspace == NULL || strcmp(keyspace, table->keyspace) == 0;
}

static bool draw_table(void *ctx, const strata_table_info *table)
{
    struct drawing *drawing = ctx;
    if (!is_asked_for(drawing, table)) {
        return true;
    }
    bool tables = args_has(drawing->args, OPT_TABLES);
    for (int depth = (int)first_new_depth(drawing, table); depth < ROW_DEPTHS; depth++) {
        if (depth == ROW_TABLE && !tables) {
            break;
        }
        struct row *row = row_add(drawing, (enum row_depth)depth);
        if (depth == ROW_KEYSPACE) {
            snprintf(row->name, sizeof row->name, "%s", table->keyspace);
        } else if (depth == ROW_TREE) {
            row->number = table->history;
            snprintf(row->name, sizeof row->name, table->history ? "history" : "live");
        } else if (depth == ROW_TABLE) {
            snprintf(row->name, sizeof row->name, "table %llu", (unsigned long long)table->file);
        } else {
            row->number = depth == ROW_LEVEL ? table->level : table->run;
            snprintf(row->name, sizeof row->name, depth == ROW_LEVEL ? "level %u" : "run %u",
                     row->number);
        }
    }
    for (int depth = 0; depth < (tables ? ROW_DEPTHS : ROW_TABLE); depth++) {
        row_count(&drawing->rows[drawing->open[depth]], table);
    }
    return true;
}

static bool json_table(void *ctx, const strata_table_info *table)
{
    struct drawing *drawing = ctx;
    struct text *line = &drawing->line;
    if (!is_asked_for(drawing, table)) {
        return true;
    }
    text_append_str(line, "{\"keyspace\":");
    text_append_json(line, strata_str(table->keyspace));
    text_append_format(line,
                       ",\"tree\":\"%s\",\"level\":%u,\"run\":%u,\"file\":%llu,\"bytes\":%llu,"
                       "\"entries\":%llu,\"range_deletes\":%llu,\"commit_least\":%llu,"
                       "\"commit_greatest\":%llu,\"key_least\":",
                       table->history ? "history" : "live", table->level, table->run,
                       (unsigned long long)table->file, (unsigned long long)table->bytes,
                       (unsigned long long)table->entries, (unsigned long long)table->range_deletes,
                       (unsigned long long)table->commit_least,
                       (unsigned long long)table->commit_greatest);
    text_append_json(line, table->key_least);
    text_append_str(line, ",\"key_greatest\":");
    text_append_json(line, table->key_greatest);
    text_append_str(line, "}\n");
    return out_text(line);
}

// Whether another row follows at this depth before one further out does.
static bool has_sibling(const struct drawing *drawing, size_t index, int depth)
{
    for (size_t i = index + 1; i < drawing->count; i++) {
        if ((int)drawing->rows[i].depth <= depth) {
            return (int)drawing->rows[i].depth == depth;
        }
    }
    return false;
}

// Appends the branches and the name. Returns the columns they take.
static int append_branches(const struct drawing *drawing, size_t index, struct text *line,
                           bool utf8)
{
    const struct row *row = &drawing->rows[index];
    int columns = 0;
    for (int depth = 1; depth <= (int)row->depth; depth++) {
        bool sibling = has_sibling(drawing, index, depth);
        if (depth < (int)row->depth) {
            text_append_str(line, !sibling ? "   " : utf8 ? "│  " : "|  ");
        } else if (utf8) {
            text_append_str(line, sibling ? "├─ " : "└─ ");
        } else {
            text_append_str(line, sibling ? "|- " : "`- ");
        }
        columns += 3;
    }
    size_t before = line->bytes;
    text_append_escaped(line, strata_str(row->name));
    for (size_t i = before; i < line->bytes; i++) {
        columns += ((unsigned char)line->data[i] & 0xc0) != 0x80;
    }
    return columns;
}

static void append_key(struct text *line, const struct text *key)
{
    struct text shown = {0};
    text_append_escaped(&shown, text_slice(key));
    size_t at = 0;
    for (int i = 0; i < KEY_CHARACTERS_MAX && at < shown.bytes; i++) {
        size_t length = text_utf8_bytes((unsigned char *)shown.data + at, shown.bytes - at);
        at += length > 0 ? length : 1;
    }
    text_append(line, shown.data, at);
    text_append_str(line, at < shown.bytes ? "..." : "");
    text_release(&shown);
}

#define NAME_COLUMNS 24

static void append_row(const struct drawing *drawing, size_t index, struct text *line, bool utf8,
                       bool colours)
{
    const struct row *row = &drawing->rows[index];
    const char *bold = colours && row->depth <= ROW_TREE ? "\033[1m" : "";
    text_append_str(line, bold);
    int columns = append_branches(drawing, index, line, utf8);
    text_append_str(line, bold[0] != '\0' ? "\033[0m" : "");
    text_append_format(line, "%*s", columns < NAME_COLUMNS ? NAME_COLUMNS - columns : 1, "");
    char size[32];
    progress_size_text(row->bytes, size, sizeof size);
    if (row->values) {
        text_append_format(line, "%7s  %10s\n", "", size);
        return;
    }
    text_append_format(line, "%7llu  %10s  %11llu  %6llu  ", (unsigned long long)row->tables, size,
                       (unsigned long long)row->entries, (unsigned long long)row->range_deletes);
    char commits[48];
    snprintf(commits, sizeof commits, "%llu-%llu", (unsigned long long)row->commit_least,
             (unsigned long long)row->commit_greatest);
    text_append_str(line, commits);
    if (row->depth >= ROW_LEVEL) {
        text_append_format(line, "%*s", 19 - (int)strlen(commits), "");
        append_key(line, &row->key_least);
        text_append_str(line, " .. ");
        append_key(line, &row->key_greatest);
    }
    text_append_str(line, "\n");
}

// Adds a row for the value files of the keyspace whose rows end before `index`.
static strata_rc values_add(struct drawing *drawing, strata_db *db, size_t keyspace_row,
                            size_t index)
{
    strata_keyspace *keyspace;
    strata_space space = {0};
    strata_rc rc = strata_keyspace_open(db, drawing->rows[keyspace_row].name, &keyspace);
    if (rc == STRATA_OK) {
        rc = strata_space_of(db, keyspace, &space);
    }
    if (rc != STRATA_OK || space.value_bytes == 0) {
        return rc == STRATA_NOT_FOUND ? STRATA_OK : rc; // dropped meanwhile
    }
    row_add(drawing, ROW_TREE);
    struct row *rows = drawing->rows;
    memmove(rows + index + 1, rows + index, (drawing->count - 1 - index) * sizeof *rows);
    rows[index] = (struct row){
        .depth = ROW_TREE, .values = true, .name = "values", .bytes = space.value_bytes};
    return STRATA_OK;
}

static strata_rc values_add_all(struct drawing *drawing, strata_db *db)
{
    size_t end = drawing->count;
    strata_rc rc = STRATA_OK;
    for (size_t i = drawing->count; rc == STRATA_OK && i-- > 0;) {
        if (drawing->rows[i].depth == ROW_KEYSPACE) {
            rc = values_add(drawing, db, i, end);
            end = i;
        }
    }
    return rc;
}

static int print_drawing(struct drawing *drawing)
{
    bool utf8 = out_utf8();
    bool colours = out_colours(1);
    struct text *line = &drawing->line;
    if (drawing->count == 0) {
        text_append_str(line, "no tables yet: everything is in the log and in memory\n");
    } else {
        text_append_format(line, "%-*s%7s  %10s  %11s  %6s  %-17s  %s\n", NAME_COLUMNS, "keyspace",
                           "tables", "size", "entries", "ranges", "commits", "keys");
    }
    bool going = out_text(line);
    for (size_t i = 0; going && i < drawing->count; i++) {
        append_row(drawing, i, line, utf8, colours);
        going = out_text(line);
    }
    return out_end(CLI_OK);
}

int cmd_tree(const struct cli_args *args)
{
    struct session session;
    int code = session_open(&session, args, SESSION_READ);
    if (code != CLI_OK) {
        return code;
    }
    struct drawing drawing = {.args = args};
    bool json = args_has(args, OPT_JSON);
    strata_rc rc = strata_tree(session.db, json ? json_table : draw_table, &drawing);
    if (rc == STRATA_OK && !json) {
        rc = values_add_all(&drawing, session.db);
    }
    if (rc != STRATA_OK) {
        code = cli_failed(rc);
    } else {
        code = json ? out_end(CLI_OK) : print_drawing(&drawing);
    }
    for (size_t i = 0; i < drawing.count; i++) {
        text_release(&drawing.rows[i].key_least);
        text_release(&drawing.rows[i].key_greatest);
    }
    free(drawing.rows);
    text_release(&drawing.line);
    return session_close(&session, code);
}
