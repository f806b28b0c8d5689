// A bar with rate and time left on standard error, while that is a terminal; else nothing.
#ifndef TOOLS_CLI_PROGRESS_H
#define TOOLS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool shown;
    bool coloured;
    const char *verb; // "importing"
    const char *noun; // "lines"; NULL: only bytes are counted
    uint64_t total;   // bytes; 0: unknown
    int64_t begun_us;
    int64_t drawn_us;
};

void progress_begin(struct progress *progress, const char *verb, const char *noun, uint64_t total);
// Draws anew when the last drawing is a tenth of a second old.
void progress_update(struct progress *progress, uint64_t bytes_done, uint64_t count);
// Removes the line, so that other text can be printed; a later update draws it again.
void progress_clear(struct progress *progress);

// "1.5 MiB"
void progress_size_text(uint64_t bytes, char *text, int capacity);

#endif
