// Records of a file or pipe, one by one, in flat memory: lines, or CSV records whose quoted fields
// hold line ends.
//
// A record longer than the limit is passed over. SIGINT and SIGTERM, which the caller has blocked
// and turned into a signal descriptor, end the reading between two records.
#ifndef TOOLS_IMPORT_LINES_H
#define TOOLS_IMPORT_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <strata.h>

enum lines_result {
    LINES_RECORD,
    LINES_TOO_LONG, // a record over the limit was passed over
    LINES_IDLE,     // nothing more has come for a while; call again
    LINES_END,
    LINES_STOPPED, // by a signal
    LINES_FAILED   // errno says why
};

struct lines {
    int descriptor;
    int signal_descriptor; // -1: none
    size_t limit;
    bool csv;       // record ends inside quotes do not count
    uint64_t first; // number of the record's first line, from 1
    uint64_t last;  // and of its last: as many lines have been passed
    uint64_t bytes_read;
    // private
    char *buffer;
    size_t begin, scanned, end, capacity;
    uint64_t inner_lines; // line ends inside the record that is being looked at
    int csv_state;
    bool at_end;
    bool passing; // over the rest of a record that is too long
};

void lines_init(struct lines *lines, int descriptor, int signal_descriptor, size_t limit, bool csv);
void lines_release(struct lines *lines);

// The next record without its line end, valid until the next call.
enum lines_result lines_next(struct lines *lines, strata_slice *record_out);

#endif
