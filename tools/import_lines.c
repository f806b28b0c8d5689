// Records of a file or pipe.
#include "tools/import_lines.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES (256u * 1024)
#define IDLE_MS 200

// Where in a CSV record a byte stands.
enum { CSV_FIELD_BEGIN, CSV_PLAIN, CSV_QUOTED, CSV_QUOTE_IN_QUOTED };

void lines_init(struct lines *lines, int descriptor, int signal_descriptor, size_t limit, bool csv)
{
    *lines = (struct lines){.descriptor = descriptor,
                            .signal_descriptor = signal_descriptor,
                            .limit = limit,
                            .csv = csv};
}

void lines_release(struct lines *lines)
{
    free(lines->buffer);
    lines->buffer = NULL;
}

// Moves what is left to the front and makes room for one read.
static bool make_room(struct lines *lines)
{
    if (lines->begin > 0) {
        memmove(lines->buffer, lines->buffer + lines->begin, lines->end - lines->begin);
        lines->scanned -= lines->begin;
        lines->end -= lines->begin;
        lines->begin = 0;
    }
    if (lines->capacity - lines->end >= READ_BYTES) {
        return true;
    }
    size_t capacity = lines->capacity == 0 ? 2 * READ_BYTES : lines->capacity * 2;
    char *buffer = realloc(lines->buffer, capacity);
    if (buffer == NULL) {
        errno = ENOMEM;
        return false;
    }
    lines->buffer = buffer;
    lines->capacity = capacity;
    return true;
}

// Reads more. LINES_RECORD stands for "look again".
static enum lines_result fill(struct lines *lines)
{
    if (!make_room(lines)) {
        return LINES_FAILED;
    }
    struct pollfd polled[2] = {{.fd = lines->descriptor, .events = POLLIN},
                               {.fd = lines->signal_descriptor, .events = POLLIN}};
    int ready = poll(polled, 2, IDLE_MS);
    if (ready < 0 && errno != EINTR) {
        return LINES_FAILED;
    }
    if (ready > 0 && polled[1].revents != 0) {
        return LINES_STOPPED;
    }
    if (ready <= 0) {
        return LINES_IDLE;
    }
    ssize_t got = read(lines->descriptor, lines->buffer + lines->end, READ_BYTES);
    if (got < 0) {
        return errno == EINTR || errno == EAGAIN ? LINES_IDLE : LINES_FAILED;
    }
    lines->at_end = got == 0;
    lines->end += (size_t)got;
    lines->bytes_read += (uint64_t)got;
    return LINES_RECORD;
}

static int csv_step(int state, char c)
{
    switch (state) {
    case CSV_QUOTED:
        return c == '"' ? CSV_QUOTE_IN_QUOTED : CSV_QUOTED;
    case CSV_QUOTE_IN_QUOTED:
        if (c == '"') {
            return CSV_QUOTED;
        }
        return c == ',' ? CSV_FIELD_BEGIN : CSV_PLAIN;
    case CSV_FIELD_BEGIN:
        if (c == '"') {
            return CSV_QUOTED;
        }
        return c == ',' ? CSV_FIELD_BEGIN : CSV_PLAIN;
    default:
        return c == ',' ? CSV_FIELD_BEGIN : CSV_PLAIN;
    }
}

// Looks for the end of the record in what is not looked at yet; false when it is not there.
static bool find_end(struct lines *lines)
{
    if (!lines->csv || lines->passing) {
        char *newline = NULL;
        if (lines->end > lines->scanned) {
            newline = memchr(lines->buffer + lines->scanned, '\n', lines->end - lines->scanned);
        }
        lines->scanned = newline != NULL ? (size_t)(newline - lines->buffer) : lines->end;
        return newline != NULL;
    }
    for (; lines->scanned < lines->end; lines->scanned++) {
        char c = lines->buffer[lines->scanned];
        if (c == '\n') {
            if (lines->csv_state != CSV_QUOTED) {
                return true;
            }
            lines->inner_lines++;
        }
        lines->csv_state = csv_step(lines->csv_state, c);
    }
    return false;
}

// The record ends where `scanned` stands; the line end, if there is one, goes with it.
static enum lines_result take_record(struct lines *lines, size_t line_end_bytes,
                                     strata_slice *record_out)
{
    bool too_long = lines->passing || lines->scanned - lines->begin > lines->limit;
    *record_out = (strata_slice){lines->buffer + lines->begin, lines->scanned - lines->begin};
    lines->last += lines->inner_lines + 1;
    lines->begin = lines->scanned + line_end_bytes;
    lines->scanned = lines->begin;
    lines->inner_lines = 0;
    lines->csv_state = CSV_FIELD_BEGIN;
    lines->passing = false;
    return too_long ? LINES_TOO_LONG : LINES_RECORD;
}

enum lines_result lines_next(struct lines *lines, strata_slice *record_out)
{
    *record_out = (strata_slice){"", 0};
    if (!lines->passing) {
        lines->first = lines->last + 1;
    }
    for (;;) {
        if (find_end(lines)) {
            return take_record(lines, 1, record_out);
        }
        if (lines->at_end) {
            return lines->begin < lines->end || lines->passing ? take_record(lines, 0, record_out)
                                                               : LINES_END;
        }
        if (lines->passing || lines->end - lines->begin > lines->limit) {
            lines->passing = true;
            lines->begin = lines->end;
        }
        enum lines_result result = fill(lines);
        if (result != LINES_RECORD) {
            return result;
        }
    }
}
