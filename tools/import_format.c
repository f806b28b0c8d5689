// What a record of an input file says.
#include "tools/import_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#define KEY_BYTES_MAX 65535u

const char *const format_names[FORMAT_COUNT] = {"text", "csv", "tsv", "jsonl"};

__attribute__((format(printf, 2, 3))) static bool bad(struct format *format, const char *text, ...)
{
    va_list arguments;
    va_start(arguments, text);
    vsnprintf(format->problem, sizeof format->problem, text, arguments);
    va_end(arguments);
    return false;
}

enum format_kind format_of_path(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (dot == NULL) {
        return FORMAT_TEXT;
    }
    if (strcmp(dot, ".csv") == 0) {
        return FORMAT_CSV;
    }
    if (strcmp(dot, ".tsv") == 0) {
        return FORMAT_TSV;
    }
    bool json =
        strcmp(dot, ".jsonl") == 0 || strcmp(dot, ".ndjson") == 0 || strcmp(dot, ".json") == 0;
    return json ? FORMAT_JSONL : FORMAT_TEXT;
}

bool format_has_header(const struct format *format)
{
    return format->kind == FORMAT_CSV || format->kind == FORMAT_TSV;
}

// ---- fields of CSV and TSV

struct fields {
    const char *at;
    const char *end;
    bool csv;
    bool more; // there is another field
};

// Appends the field in quotes whose opening quote is at fields->at.
static bool quoted_field(struct format *format, struct fields *fields, struct text *out)
{
    const char *at = fields->at + 1;
    for (;;) {
        const char *quote = memchr(at, '"', (size_t)(fields->end - at));
        if (quote == NULL) {
            return bad(format, "a quote that is not closed");
        }
        text_append(out, at, (size_t)(quote - at));
        at = quote + 1;
        if (at == fields->end || *at != '"') {
            break;
        }
        text_append(out, "\"", 1);
        at++;
    }
    if (at < fields->end && *at != ',') {
        return bad(format, "a closing quote that no comma follows");
    }
    fields->at = at;
    return true;
}

// Appends the next field to `out`.
static bool next_field(struct format *format, struct fields *fields, struct text *out)
{
    if (fields->csv && fields->at < fields->end && *fields->at == '"') {
        if (!quoted_field(format, fields, out)) {
            return false;
        }
    } else {
        size_t left = (size_t)(fields->end - fields->at);
        const char *end = left > 0 ? memchr(fields->at, fields->csv ? ',' : '\t', left) : NULL;
        end = end != NULL ? end : fields->end;
        text_append(out, fields->at, (size_t)(end - fields->at));
        fields->at = end;
    }
    fields->more = fields->at < fields->end;
    fields->at += fields->more ? 1 : 0;
    return true;
}

static struct fields fields_of(const struct format *format, strata_slice record)
{
    const char *data = record.data;
    return (struct fields){data, data + record.bytes, format->kind == FORMAT_CSV, true};
}

// Lines may end in CR LF, and a file may begin with a byte order mark.
static strata_slice without_return(strata_slice record)
{
    const char *data = record.data;
    if (record.bytes > 0 && data[record.bytes - 1] == '\r') {
        record.bytes--;
    }
    return record;
}

static strata_slice without_mark(strata_slice record)
{
    if (record.bytes >= 3 && memcmp(record.data, "\xef\xbb\xbf", 3) == 0) {
        record.data = (const char *)record.data + 3;
        record.bytes -= 3;
    }
    return record;
}

static bool is_name(const struct text *text, const char *name)
{
    return strlen(name) == text->bytes &&
           (text->bytes == 0 || memcmp(text->data, name, text->bytes) == 0);
}

bool format_header(struct format *format, strata_slice record)
{
    record = without_mark(without_return(record));
    struct fields fields = fields_of(format, record);
    struct text name = {0};
    bool good = true;
    format->columns = 0;
    format->key_column = format->key_name == NULL ? 0 : SIZE_MAX;
    format->value_column = SIZE_MAX;
    while (good && fields.more) {
        text_clear(&name);
        good = next_field(format, &fields, &name);
        if (format->key_name != NULL && is_name(&name, format->key_name)) {
            format->key_column = format->columns;
        }
        if (format->value_name != NULL && is_name(&name, format->value_name)) {
            format->value_column = format->columns;
        }
        format->columns++;
    }
    text_release(&name);
    if (good && format->key_column == SIZE_MAX) {
        return bad(format, "no column is named \"%s\"", format->key_name);
    }
    if (good && format->value_name != NULL && format->value_column == SIZE_MAX) {
        return bad(format, "no column is named \"%s\"", format->value_name);
    }
    return good;
}

static bool columns_record(struct format *format, strata_slice record, struct text *key,
                           struct text *value)
{
    struct fields fields = fields_of(format, record);
    struct text other = {0};
    size_t column = 0;
    bool good = true;
    for (; good && fields.more; column++) {
        struct text *out = column == format->key_column ? key : &other;
        text_clear(&other);
        if (column == format->value_column) {
            out = value;
        }
        good = next_field(format, &fields, out);
        if (out == value && format->key_column == format->value_column) {
            text_append(key, value->data, value->bytes);
        }
    }
    text_release(&other);
    if (good && column != format->columns) {
        return bad(format, "%zu fields where the header has %zu", column, format->columns);
    }
    if (good && format->value_name == NULL) {
        text_append(value, record.data, record.bytes);
    }
    return good;
}

// ---- text

static bool text_record(struct format *format, strata_slice record, struct text *key,
                        struct text *value)
{
    const char *data = record.data;
    const char *tab = memchr(data, '\t', record.bytes);
    if (tab == NULL) {
        return bad(format, "no tab between key and value");
    }
    strata_slice left = {data, (size_t)(tab - data)};
    strata_slice right = {tab + 1, record.bytes - left.bytes - 1};
    bool (*append)(struct text *, strata_slice, const char **) =
        format->hex ? text_append_unhex : text_append_unescaped;
    const char *problem;
    if (!append(key, left, &problem)) {
        return bad(format, "the key has %s", problem);
    }
    if (!append(value, right, &problem)) {
        return bad(format, "the value has %s", problem);
    }
    return true;
}

// ---- JSON

// A JSON text of `member` that means the same; the shorter one where numbers have fractions.
static char *json_text_of(const json_t *member)
{
    char *text = json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_t *again = text != NULL ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    bool same = again != NULL && json_equal(again, member) != 0;
    json_decref(again);
    if (same) {
        return text;
    }
    free(text);
    return json_dumps(member, JSON_ENCODE_ANY | JSON_COMPACT);
}

// Appends the bytes of a string or of {"hex": "..."}. *known_out is false for anything else.
static bool json_bytes(struct format *format, const json_t *member, struct text *out,
                       bool *known_out)
{
    *known_out = true;
    if (json_is_string(member)) {
        text_append(out, json_string_value(member), json_string_length(member));
        return true;
    }
    const json_t *hex = json_object_size(member) == 1 ? json_object_get(member, "hex") : NULL;
    if (json_is_string(hex)) {
        strata_slice digits = {json_string_value(hex), json_string_length(hex)};
        const char *problem;
        return text_append_unhex(out, digits, &problem) ||
               bad(format, "a hex field has %s", problem);
    }
    *known_out = false;
    return true;
}

static bool json_key(struct format *format, const json_t *object, struct text *key)
{
    const json_t *member = json_object_get(object, format->key_name);
    if (member == NULL) {
        return bad(format, "no field \"%s\"", format->key_name);
    }
    bool known;
    if (!json_bytes(format, member, key, &known)) {
        return false;
    }
    if (!known && !json_is_integer(member)) {
        return bad(format, "the field \"%s\" is no key: it must be text or a whole number",
                   format->key_name);
    }
    if (!known) {
        text_append_format(key, "%lld", (long long)json_integer_value(member));
    }
    return true;
}

static bool json_value(struct format *format, const json_t *object, struct text *value)
{
    const json_t *member = json_object_get(object, format->value_name);
    if (member == NULL) {
        return bad(format, "no field \"%s\"", format->value_name);
    }
    bool known;
    if (!json_bytes(format, member, value, &known)) {
        return false;
    }
    char *text = known ? NULL : json_text_of(member);
    if (!known && text == NULL) {
        return bad(format, "the field \"%s\" cannot be written as JSON", format->value_name);
    }
    if (text != NULL) {
        text_append_str(value, text);
        free(text);
    }
    return true;
}

static bool jsonl_record(struct format *format, strata_slice record, struct text *key,
                         struct text *value)
{
    json_error_t error;
    json_t *object = json_loadb(record.data, record.bytes, JSON_ALLOW_NUL, &error);
    if (object == NULL) {
        return bad(format, "no JSON: %s", error.text);
    }
    bool good = json_is_object(object) ? json_key(format, object, key)
                                       : bad(format, "the line is JSON but no object");
    if (good && format->value_name != NULL) {
        good = json_value(format, object, value);
    } else if (good) {
        text_append(value, record.data, record.bytes);
    }
    json_decref(object);
    return good;
}

// ----

bool format_record(struct format *format, strata_slice record, struct text *key, struct text *value)
{
    text_clear(key);
    text_clear(value);
    if (format->kind != FORMAT_TEXT) {
        record = without_return(record);
    }
    if (format->kind == FORMAT_JSONL) {
        record = without_mark(record);
    }
    if (record.bytes == 0) {
        return true;
    }
    bool good;
    switch (format->kind) {
    case FORMAT_TEXT:
        good = text_record(format, record, key, value);
        break;
    case FORMAT_JSONL:
        good = jsonl_record(format, record, key, value);
        break;
    default:
        good = columns_record(format, record, key, value);
    }
    if (good && key->bytes == 0) {
        return bad(format, "the key is empty");
    }
    if (good && key->bytes > KEY_BYTES_MAX) {
        return bad(format, "the key has %zu bytes; %u are the limit", key->bytes, KEY_BYTES_MAX);
    }
    return good;
}
