// Points in time as people write them.
#include "tools/cli_time.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define US_PER_SECOND 1000000
// Far enough from the ends of an int64_t of microseconds that no sum below overflows.
#define SECONDS_MAX 9000000000000ll

// Reads exactly `count` digits into *number_out and moves *text behind them.
static bool take_digits(const char **text, int count, int *number_out)
{
    int number = 0;
    for (int i = 0; i < count; i++) {
        if (!isdigit((unsigned char)(*text)[i])) {
            return false;
        }
        number = number * 10 + ((*text)[i] - '0');
    }
    *text += count;
    *number_out = number;
    return true;
}

static bool take_char(const char **text, char c)
{
    if (**text != c) {
        return false;
    }
    (*text)++;
    return true;
}

// An optional fraction of a second; digits after the sixth are cut off.
static bool take_fraction(const char **text, int *us_out)
{
    *us_out = 0;
    if (!take_char(text, '.')) {
        return true;
    }
    int digits = 0;
    for (; isdigit((unsigned char)**text); (*text)++, digits++) {
        if (digits < 6) {
            *us_out = *us_out * 10 + (**text - '0');
        }
    }
    for (int i = digits; i < 6; i++) {
        *us_out *= 10;
    }
    return digits > 0;
}

static bool parse_unix(const char *text, int64_t *unix_us_out)
{
    bool negative = take_char(&text, '-');
    if (!isdigit((unsigned char)*text)) {
        return false;
    }
    char *end;
    errno = 0;
    long long seconds = strtoll(text, &end, 10);
    if (errno != 0 || seconds > SECONDS_MAX) {
        return false;
    }
    text = end;
    int us;
    if (!take_fraction(&text, &us) || *text != '\0') {
        return false;
    }
    int64_t unix_us = seconds * US_PER_SECOND + us;
    *unix_us_out = negative ? -unix_us : unix_us;
    return true;
}

// HH:MM with optional seconds and fraction.
static bool take_clock(const char **text, struct tm *tm, int *us_out)
{
    *us_out = 0;
    if (!take_digits(text, 2, &tm->tm_hour) || !take_char(text, ':') ||
        !take_digits(text, 2, &tm->tm_min)) {
        return false;
    }
    if (take_char(text, ':') &&
        !(take_digits(text, 2, &tm->tm_sec) && take_fraction(text, us_out))) {
        return false;
    }
    return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

// Z, +HH:MM or -HH:MM; *zoned_out is false when there is none.
static bool take_zone(const char **text, bool *zoned_out, int *offset_seconds_out)
{
    *zoned_out = **text != '\0';
    *offset_seconds_out = 0;
    if (!*zoned_out || take_char(text, 'Z') || take_char(text, 'z')) {
        return true;
    }
    int sign = **text == '-' ? -1 : 1;
    int hours;
    int minutes;
    if (!take_char(text, '+') && !take_char(text, '-')) {
        return false;
    }
    if (!take_digits(text, 2, &hours) || !take_char(text, ':') || !take_digits(text, 2, &minutes) ||
        hours > 23 || minutes > 59) {
        return false;
    }
    *offset_seconds_out = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool parse_rfc3339(const char *text, int64_t *unix_us_out)
{
    struct tm tm = {.tm_isdst = -1};
    int year;
    int us = 0;
    int offset_seconds = 0;
    bool zoned = false;
    if (!take_digits(&text, 4, &year) || !take_char(&text, '-') ||
        !take_digits(&text, 2, &tm.tm_mon) || !take_char(&text, '-') ||
        !take_digits(&text, 2, &tm.tm_mday)) {
        return false;
    }
    if (*text != '\0') {
        if (!take_char(&text, 'T') && !take_char(&text, 't') && !take_char(&text, ' ')) {
            return false;
        }
        if (!take_clock(&text, &tm, &us) || !take_zone(&text, &zoned, &offset_seconds)) {
            return false;
        }
    }
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (*text != '\0' || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 ||
        tm.tm_mday > days[tm.tm_mon - 1] + (tm.tm_mon == 2 && leap ? 1 : 0)) {
        return false;
    }
    tm.tm_year = year - 1900;
    tm.tm_mon--;
    int64_t seconds = zoned ? (int64_t)timegm(&tm) - offset_seconds : (int64_t)mktime(&tm);
    *unix_us_out = seconds * US_PER_SECOND + us;
    return true;
}

bool time_parse(const char *text, struct time_point *point_out)
{
    *point_out = (struct time_point){.kind = TIME_MOMENT};
    size_t length = strlen(text);
    if (length > 0 && strspn(text, "0123456789") == length) {
        point_out->kind = TIME_COMMIT;
        errno = 0;
        point_out->commit = strtoull(text, NULL, 10);
        return errno == 0;
    }
    if (text[0] == '@') {
        return parse_unix(text + 1, &point_out->unix_us);
    }
    return parse_rfc3339(text, &point_out->unix_us);
}

void time_format(int64_t unix_us, char text_out[TIME_TEXT_BYTES])
{
    int64_t us = unix_us % US_PER_SECOND;
    if (us < 0) {
        us += US_PER_SECOND;
    }
    time_t seconds = (time_t)((unix_us - us) / US_PER_SECOND);
    struct tm tm;
    if (localtime_r(&seconds, &tm) == NULL) {
        snprintf(text_out, TIME_TEXT_BYTES, "@%lld.%06d", (long long)seconds, (int)us);
        return;
    }
    char date[32];
    if (strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        date[0] = '\0';
    }
    long minutes = tm.tm_gmtoff / 60;
    snprintf(text_out, TIME_TEXT_BYTES, "%s.%06d%c%02ld:%02ld", date, (int)us,
             minutes < 0 ? '-' : '+', labs(minutes) / 60, labs(minutes) % 60);
}

static const struct {
    char letter;
    uint64_t seconds;
} duration_units[] = {{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
#define DURATION_UNITS (sizeof duration_units / sizeof duration_units[0])

// The number and the unit at *text, as seconds; false when there are none or they are over `most`.
static bool take_duration_part(const char **text, uint64_t most, uint64_t *seconds_out)
{
    if (!isdigit((unsigned char)**text)) {
        return false;
    }
    char *end;
    errno = 0;
    unsigned long long number = strtoull(*text, &end, 10);
    for (size_t i = 0; errno == 0 && i < DURATION_UNITS; i++) {
        if (*end == duration_units[i].letter && number <= most / duration_units[i].seconds) {
            *seconds_out = number * duration_units[i].seconds;
            *text = end + 1;
            return true;
        }
    }
    return false;
}

bool time_parse_duration(const char *text, uint64_t most, uint64_t *seconds_out)
{
    uint64_t sum = 0;
    do {
        uint64_t part;
        if (!take_duration_part(&text, most - sum, &part)) {
            return false;
        }
        sum += part;
    } while (*text != '\0');
    *seconds_out = sum;
    return true;
}

void time_format_duration(uint64_t seconds, char text_out[TIME_TEXT_BYTES])
{
    int used = 0;
    text_out[0] = '\0';
    for (size_t i = 1; i < DURATION_UNITS; i++) { // no weeks: 10d, not 1w3d
        uint64_t number = seconds / duration_units[i].seconds;
        if (number > 0) {
            used += snprintf(text_out + used, TIME_TEXT_BYTES - (size_t)used, "%llu%c",
                             (unsigned long long)number, duration_units[i].letter);
            seconds %= duration_units[i].seconds;
        }
    }
    if (used == 0) {
        snprintf(text_out, TIME_TEXT_BYTES, "0s");
    }
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    return clock_gettime(clock, &now) == 0 ? now.tv_sec * US_PER_SECOND + now.tv_nsec / 1000 : 0;
}

int64_t time_now_us(void)
{
    return read_clock(CLOCK_REALTIME);
}

int64_t time_steady_us(void)
{
    return read_clock(CLOCK_MONOTONIC);
}
