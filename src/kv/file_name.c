#include "kv/file_name.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdio.h>

#define FILE_NUMBER_DIGITS_MIN 6
#define FILE_NUMBER_DIGITS_MAX 20

struct file_suffix {
    enum file_kind kind;
    const char *text;
};

static const struct file_suffix file_suffixes[] = {
    {FILE_MANIFEST, ".manifest"}, {FILE_LOG, ".log"}, {FILE_TABLE, ".table"},
    {FILE_VALUE, ".value"},       {FILE_TMP, ".tmp"},
};

#define FILE_SUFFIX_COUNT (sizeof file_suffixes / sizeof file_suffixes[0])

void file_name_make(char to[FILE_NAME_BYTES], enum file_kind kind, uint64_t number)
{
    const char *suffix = NULL;
    for (size_t i = 0; i < FILE_SUFFIX_COUNT; i++) {
        if (file_suffixes[i].kind == kind) {
            suffix = file_suffixes[i].text;
        }
    }
    int bytes;
    if (suffix != NULL) {
        bytes = snprintf(to, FILE_NAME_BYTES, "%06" PRIu64 "%s", number, suffix);
    } else {
        ASSERT(kind == FILE_CURRENT || kind == FILE_LOCK);
        bytes = snprintf(to, FILE_NAME_BYTES, "%s", kind == FILE_LOCK ? "LOCK" : "CURRENT");
    }
    ASSERT(bytes > 0 && bytes < FILE_NAME_BYTES);
}

// The number that the digits at `name` spell; *digits_out is how many there are, 0 when they are
// not what file_name_make writes or do not fit 64 bits.
static uint64_t file_name_number(const char *name, size_t *digits_out)
{
    uint64_t number = 0;
    size_t digits = 0;
    *digits_out = 0;
    for (; name[digits] >= '0' && name[digits] <= '9'; digits++) {
        if (digits == FILE_NUMBER_DIGITS_MAX || __builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(name[digits] - '0'), &number)) {
            return 0;
        }
    }
    bool padded = digits == FILE_NUMBER_DIGITS_MIN;
    bool full = digits > FILE_NUMBER_DIGITS_MIN && name[0] != '0';
    if (padded || full) {
        *digits_out = digits;
    }
    return number;
}

bool file_name_parse(const char *name, enum file_kind *kind_out, uint64_t *number_out)
{
    *number_out = 0;
    if (strcmp(name, "CURRENT") == 0) {
        *kind_out = FILE_CURRENT;
        return true;
    }
    if (strcmp(name, "LOCK") == 0) {
        *kind_out = FILE_LOCK;
        return true;
    }
    size_t digits;
    uint64_t number = file_name_number(name, &digits);
    if (digits == 0) {
        return false;
    }
    for (size_t i = 0; i < FILE_SUFFIX_COUNT; i++) {
        if (strcmp(name + digits, file_suffixes[i].text) == 0) {
            *kind_out = file_suffixes[i].kind;
            *number_out = number;
            return true;
        }
    }
    return false;
}
