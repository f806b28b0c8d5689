// Where put takes its value from: an argument, or a file or standard input, which is read piece by
// piece so that a value of any size takes the same little memory.
#ifndef TOOLS_VALUE_SOURCE_H
#define TOOLS_VALUE_SOURCE_H

#include "tools/cli_args.h"

#define VALUE_PIECE_BYTES ((size_t)1 << 20)

struct value_source {
    struct text piece;    // the value, or its first piece
    bool more;            // the file has not ended with the first piece
    const char *path;     // of the file, as messages name it; NULL: there is none
    int descriptor;       // -1: none, or it has ended
    uint64_t bytes_known; // the file's size; 0: unknown
};

// Takes the value that the arguments name; of a file its first piece, so that most mistakes show
// before a database is created. With --hex the value is whole.
int value_source_open(struct value_source *source, const struct cli_args *args);
void value_source_release(struct value_source *source);

// Puts the next piece into source->piece; an empty one: there is no more.
int value_source_next(struct value_source *source);

#endif
