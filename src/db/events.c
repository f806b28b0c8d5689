// Events: what the database tells a program that gave it a callback. Emitted without any lock held.
#include "db/db.h"

static const strata_event event_texts[EVENT_COUNT] = {
#define COUNTER(name, unit, help)
#define GAUGE(name, unit, help)
#define EVENT(id, value1, value2, value3, sentence)                                                \
    {.name = #id, .help = (sentence), .value_names = {value1, value2, value3}},
#include "db/metrics.def"
#undef COUNTER
#undef GAUGE
#undef EVENT
};

void db_emit(strata_db *db, enum event which, uint64_t value1, uint64_t value2, uint64_t value3,
             const char *text)
{
    if (db->options.event == NULL) {
        return;
    }
    strata_event e = event_texts[which];
    e.values[0] = value1;
    e.values[1] = value2;
    e.values[2] = value3;
    e.text = text;
    e.unix_us = db->machine->clock->wall_us(db->machine->clock);
    db->options.event(db->options.event_ctx, &e);
}

void db_emit_error(strata_db *db)
{
    char text[sizeof db->mu.error_text];
    os_mutex_lock(&db->mu.lock);
    bool fresh = db->mu.error != STRATA_OK && !db->mu.error_told;
    strata_rc error = db->mu.error;
    db->mu.error_told = db->mu.error_told || fresh;
    memcpy(text, db->mu.error_text, sizeof text);
    os_mutex_unlock(&db->mu.lock);
    if (fresh) {
        db_emit(db, EVENT_read_only, (uint64_t)(int64_t)error, 0, 0, text);
    }
}
