// Standard output: written through one buffer, and every failure of it is noticed.
//
// When the reader of a pipe goes away (strata scan | head) the command stops quietly with the exit
// code it would have had.
#ifndef TOOLS_CLI_OUT_H
#define TOOLS_CLI_OUT_H

#include <stdbool.h>

#include "tools/cli_text.h"

// Writes `text` and empties it. False when nothing more can be written; then stop and call out_end.
bool out_text(struct text *text);

// Writes what is left. Returns `code`, or CLI_FAILED with a sentence when the output is incomplete.
int out_end(int code);

// Whether colours are welcome on this stream: a terminal, and NO_COLOR is not set.
bool out_colours(int descriptor);
// Whether the locale's characters are UTF-8.
bool out_utf8(void);

#endif
