// Bytes as text and back: the escapes of the command's lines, hex digits and JSON strings.
//
// Escapes. Tab, newline and backslash are \t \n \\ ; every other byte that does not print is \xHH
// with two hex digits. Valid UTF-8 is left as it is. Reading accepts the same escapes (hex digits
// of either case) and takes every other byte as it stands, so that escaping and unescaping together
// never change a byte.
//
// JSON. Bytes that are valid UTF-8 are a JSON string; any others are an object with one member,
// {"hex":"ff00"}, so that a reader can tell the two apart.
//
// Functions that append end the process with exit code 4 when there is no memory.
#ifndef TOOLS_CLI_TEXT_H
#define TOOLS_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include <strata.h>

// A growing run of bytes. All zero is an empty one.
struct text {
    char *data;
    size_t bytes;
    size_t capacity;
};

void text_release(struct text *text);
void text_clear(struct text *text);
strata_slice text_slice(const struct text *text);

// Room for `more` bytes behind those that are there.
void text_reserve(struct text *text, size_t more);
void text_append(struct text *text, const void *data, size_t bytes);
void text_append_str(struct text *text, const char *string);
void text_append_format(struct text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void text_append_escaped(struct text *text, strata_slice bytes);
void text_append_hex(struct text *text, strata_slice bytes);
void text_append_json(struct text *text, strata_slice bytes);

// False, with *problem_out a few words, when `escaped` is not what text_append_escaped writes.
bool text_append_unescaped(struct text *text, strata_slice escaped, const char **problem_out);
bool text_append_unhex(struct text *text, strata_slice digits, const char **problem_out);

// Bytes of the UTF-8 character that `data` begins with; 0 when it begins with none.
size_t text_utf8_bytes(const unsigned char *data, size_t bytes);
bool text_is_utf8(strata_slice bytes);

// The first byte string after all that begin with `prefix`; false when there is none.
bool text_prefix_end(struct text *end, strata_slice prefix);

#endif
