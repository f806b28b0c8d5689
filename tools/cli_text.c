// Bytes as text and back.
#include "tools/cli_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/cli.h"

static const char HEX_DIGITS[] = "0123456789abcdef";

void text_release(struct text *text)
{
    free(text->data);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    text->bytes = 0;
}

strata_slice text_slice(const struct text *text)
{
    return (strata_slice){text->data != NULL ? text->data : "", text->bytes};
}

void text_reserve(struct text *text, size_t more)
{
    if (more <= text->capacity - text->bytes) {
        return;
    }
    size_t capacity = text->capacity < 128 ? 256 : text->capacity * 2;
    if (capacity - text->bytes < more) {
        capacity = text->bytes + more;
    }
    char *data = capacity > text->bytes ? realloc(text->data, capacity) : NULL;
    if (data == NULL) {
        fprintf(stderr, "strata: there is no memory for a text of %zu bytes\n", capacity);
        exit(CLI_FAILED);
    }
    text->data = data;
    text->capacity = capacity;
}

void text_append(struct text *text, const void *data, size_t bytes)
{
    if (bytes > 0) {
        text_reserve(text, bytes);
        memcpy(text->data + text->bytes, data, bytes);
        text->bytes += bytes;
    }
}

void text_append_str(struct text *text, const char *string)
{
    text_append(text, string, strlen(string));
}

void text_append_format(struct text *text, const char *format, ...)
{
    char small[256];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(small, sizeof small, format, arguments);
    va_end(arguments);
    if (length < 0) {
        return;
    }
    if ((size_t)length < sizeof small) {
        text_append(text, small, (size_t)length);
        return;
    }
    text_reserve(text, (size_t)length + 1);
    va_start(arguments, format);
    vsnprintf(text->data + text->bytes, (size_t)length + 1, format, arguments);
    va_end(arguments);
    text->bytes += (size_t)length;
}

// ---- UTF-8

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t text_utf8_bytes(const unsigned char *data, size_t bytes)
{
    if (bytes == 0) {
        return 0;
    }
    unsigned char first = data[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || bytes < length) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if (!is_continuation(data[i])) {
            return 0;
        }
    }
    // Overlong forms, surrogates and what is above U+10FFFF.
    if ((first == 0xe0 && data[1] < 0xa0) || (first == 0xed && data[1] > 0x9f) ||
        (first == 0xf0 && data[1] < 0x90) || (first == 0xf4 && data[1] > 0x8f)) {
        return 0;
    }
    return length;
}

bool text_is_utf8(strata_slice bytes)
{
    const unsigned char *data = bytes.data;
    for (size_t at = 0; at < bytes.bytes;) {
        size_t length = text_utf8_bytes(data + at, bytes.bytes - at);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

// Characters of two bytes from C2 80 to C2 9F are control characters, which do not print.
static bool is_printing(const unsigned char *data, size_t length)
{
    if (length == 1) {
        return data[0] >= 0x20 && data[0] != 0x7f;
    }
    return length > 1 && !(data[0] == 0xc2 && data[1] < 0xa0);
}

// ---- escapes

void text_append_escaped(struct text *text, strata_slice bytes)
{
    const unsigned char *data = bytes.data;
    size_t plain = 0; // where the run of bytes begins that stand for themselves
    for (size_t at = 0; at < bytes.bytes;) {
        size_t length = text_utf8_bytes(data + at, bytes.bytes - at);
        if (is_printing(data + at, length) && data[at] != '\\') {
            at += length;
            continue;
        }
        text_append(text, data + plain, at - plain);
        unsigned char byte = data[at];
        if (byte == '\t' || byte == '\n' || byte == '\\') {
            const char escape[2] = {'\\', byte == '\t' ? 't' : byte == '\n' ? 'n' : '\\'};
            text_append(text, escape, 2);
        } else {
            const char escape[4] = {'\\', 'x', HEX_DIGITS[byte >> 4], HEX_DIGITS[byte & 15]};
            text_append(text, escape, 4);
        }
        at++;
        plain = at;
    }
    text_append(text, data + plain, bytes.bytes - plain);
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

// Reads the escape that `data`, after its backslash, begins with. Returns its bytes; 0: none.
static size_t unescape_one(const char *data, size_t bytes, char *byte_out)
{
    if (bytes == 0) {
        return 0;
    }
    switch (data[0]) {
    case 't':
        *byte_out = '\t';
        return 1;
    case 'n':
        *byte_out = '\n';
        return 1;
    case '\\':
        *byte_out = '\\';
        return 1;
    case 'x':
        if (bytes >= 3 && hex_value(data[1]) >= 0 && hex_value(data[2]) >= 0) {
            *byte_out = (char)(hex_value(data[1]) * 16 + hex_value(data[2]));
            return 3;
        }
        return 0;
    default:
        return 0;
    }
}

bool text_append_unescaped(struct text *text, strata_slice escaped, const char **problem_out)
{
    const char *data = escaped.data;
    const char *end = data + escaped.bytes;
    while (data < end) {
        const char *backslash = memchr(data, '\\', (size_t)(end - data));
        if (backslash == NULL) {
            text_append(text, data, (size_t)(end - data));
            break;
        }
        text_append(text, data, (size_t)(backslash - data));
        char byte;
        size_t length = unescape_one(backslash + 1, (size_t)(end - backslash - 1), &byte);
        if (length == 0) {
            *problem_out = "a backslash that begins none of \\t \\n \\\\ \\xHH";
            return false;
        }
        text_append(text, &byte, 1);
        data = backslash + 1 + length;
    }
    return true;
}

void text_append_hex(struct text *text, strata_slice bytes)
{
    const unsigned char *data = bytes.data;
    text_reserve(text, bytes.bytes * 2);
    for (size_t i = 0; i < bytes.bytes; i++) {
        const char digits[2] = {HEX_DIGITS[data[i] >> 4], HEX_DIGITS[data[i] & 15]};
        text_append(text, digits, 2);
    }
}

bool text_append_unhex(struct text *text, strata_slice digits, const char **problem_out)
{
    const char *data = digits.data;
    if (digits.bytes % 2 != 0) {
        *problem_out = "an odd number of hex digits";
        return false;
    }
    for (size_t i = 0; i < digits.bytes; i += 2) {
        int high = hex_value(data[i]);
        int low = hex_value(data[i + 1]);
        if (high < 0 || low < 0) {
            *problem_out = "a character that is no hex digit";
            return false;
        }
        char byte = (char)(high * 16 + low);
        text_append(text, &byte, 1);
    }
    return true;
}

// ---- JSON

static void append_json_byte(struct text *text, unsigned char byte)
{
    switch (byte) {
    case '"':
        text_append(text, "\\\"", 2);
        break;
    case '\\':
        text_append(text, "\\\\", 2);
        break;
    case '\n':
        text_append(text, "\\n", 2);
        break;
    case '\t':
        text_append(text, "\\t", 2);
        break;
    default:
        text_append_format(text, "\\u%04x", byte);
    }
}

void text_append_json(struct text *text, strata_slice bytes)
{
    if (!text_is_utf8(bytes)) {
        text_append_str(text, "{\"hex\":\"");
        text_append_hex(text, bytes);
        text_append_str(text, "\"}");
        return;
    }
    const unsigned char *data = bytes.data;
    size_t plain = 0;
    text_append(text, "\"", 1);
    for (size_t i = 0; i < bytes.bytes; i++) {
        if (data[i] < 0x20 || data[i] == '"' || data[i] == '\\' || data[i] == 0x7f) {
            text_append(text, data + plain, i - plain);
            append_json_byte(text, data[i]);
            plain = i + 1;
        }
    }
    text_append(text, data + plain, bytes.bytes - plain);
    text_append(text, "\"", 1);
}

bool text_prefix_end(struct text *end, strata_slice prefix)
{
    const unsigned char *data = prefix.data;
    size_t bytes = prefix.bytes;
    while (bytes > 0 && data[bytes - 1] == 0xff) {
        bytes--;
    }
    if (bytes == 0) {
        return false;
    }
    text_append(end, data, bytes);
    end->data[end->bytes - 1]++;
    return true;
}
