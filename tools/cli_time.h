// Points in time as people write them: what --as-of takes and what history prints.
#ifndef TOOLS_CLI_TIME_H
#define TOOLS_CLI_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define TIME_TEXT_BYTES 48

enum time_kind { TIME_COMMIT, TIME_MOMENT };

struct time_point {
    enum time_kind kind;
    uint64_t commit; // of TIME_COMMIT
    int64_t unix_us; // of TIME_MOMENT
};

// Reads digits (a commit), @SECONDS (Unix time, with a fraction if need be) or RFC 3339: a date,
// then 'T' or a space and a time whose seconds, fraction and zone may be left out; without a zone
// it is the local one, without a time midnight. False for anything else.
bool time_parse(const char *text, struct time_point *point_out);

// RFC 3339 with microseconds, in the local zone; time_parse reads it back exactly.
void time_format(int64_t unix_us, char text_out[TIME_TEXT_BYTES]);

// Reads a length of time: numbers with units, w d h m s, such as 7d or 1h30m. False for anything
// else, for none at all and for more than `most` seconds.
bool time_parse_duration(const char *text, uint64_t most, uint64_t *seconds_out);
// The same form: "7d", "1h30m", "0s".
void time_format_duration(uint64_t seconds, char text_out[TIME_TEXT_BYTES]);

int64_t time_now_us(void);
// A clock that only goes forward, for rates and waits.
int64_t time_steady_us(void);

#endif
