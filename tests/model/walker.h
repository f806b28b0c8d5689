// An iterator of the database that is moved about beside a cursor over the model.
#ifndef MODEL_WALKER_H
#define MODEL_WALKER_H

#include "model/compare.h"

#define WALKER_KEY_BYTES 1024u

enum walker_place { WALKER_NOWHERE, WALKER_ON, WALKER_AT_END, WALKER_AT_BEGIN, WALKER_TRIMMED };

// An iterator at the present judges expiry by one moment from its opening on: the first at which it
// has to. The moments that are possible so far are kept, and each must explain every move.
#define WALKER_TIMES_MAX 16u

struct walker {
    struct compare c;  // where and when; the bounds in c.how are the walker's own
    strata_iter *iter; // NULL: closed
    enum walker_place place;
    uint8_t key[WALKER_KEY_BYTES]; // that it stands on
    size_t key_bytes;
    bool now;
    int64_t times[WALKER_TIMES_MAX]; // whole seconds
    size_t time_count;
    uint8_t lower[WALKER_KEY_BYTES], upper[WALKER_KEY_BYTES];
};

enum walker_move {
    WALKER_FIRST,
    WALKER_LAST,
    WALKER_SEEK,
    WALKER_SEEK_BEFORE,
    WALKER_NEXT,
    WALKER_PREV,
    WALKER_MOVES
};

// Opens the iterator that `c` describes; its bounds are copied. False, without a fault, when its
// commit may be trimmed and is.
bool walker_open(struct walker *w, const struct compare *c, char *fault_out);
// Moves both and compares. Once it met what may be trimmed and is, it stays where it is. A next or
// prev from nowhere, or away from an end, becomes a first or last.
bool walker_move(struct walker *w, enum walker_move move, struct slice key, char *fault_out);
// Before a move: what time it is.
void walker_note_time(struct walker *w, int64_t now_s);
void walker_close(struct walker *w);

#endif
