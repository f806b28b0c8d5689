// One import: what it was asked for, where it stands and what it has committed.
#ifndef TOOLS_IMPORT_H
#define TOOLS_IMPORT_H

#include "tools/cli_progress.h"
#include "tools/cli_session.h"
#include "tools/import_format.h"
#include "tools/import_lines.h"

struct import {
    const struct cli_args *args;
    struct session session;
    struct format format;
    struct lines lines;
    struct progress progress;
    bool skip_bad;
    uint64_t batch_lines_max;
    uint64_t skip; // lines of the input that are passed over
    // of the batch that is being filled
    strata_batch *batch;
    uint64_t batch_bytes;
    uint64_t batch_records;
    uint64_t batch_line; // last line in it
    // of what is committed
    strata_keyspace *marks;
    struct text mark_key;
    uint64_t records;
    uint64_t bad;
    uint64_t line;
    uint64_t line_synced; // known to be on disk
    uint64_t commit;
    int64_t synced_us;
    bool broken; // the engine failed: nothing more is written
    // of one record
    struct text key;
    struct text value;
};

// With the input and the database open: everything up to the report. Returns the exit code.
int import_into(struct import *import);

#endif
