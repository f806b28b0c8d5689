#include "tools/value_source.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/cli.h"

#define READ_BYTES ((size_t)64 * 1024)
#define VALUE_BYTES_MAX ((uint64_t)UINT32_MAX)

static int too_long(const struct value_source *source)
{
    return cli_problem(CLI_USAGE, "%s is too long for a value, which has at most 4 GiB - 1",
                       source->path);
}

// Appends to source->piece until it has `bytes` bytes or the file ends, which closes it.
static int read_until(struct value_source *source, uint64_t bytes)
{
    char chunk[READ_BYTES];
    while (source->piece.bytes < bytes) {
        size_t room = bytes - source->piece.bytes;
        ssize_t got = read(source->descriptor, chunk, room < sizeof chunk ? room : sizeof chunk);
        if (got < 0 && errno != EINTR) {
            return cli_problem(CLI_FAILED, "cannot read %s: %s", source->path, strerror(errno));
        }
        if (got > 0) {
            text_append(&source->piece, chunk, (size_t)got);
        }
        if (got == 0) {
            if (source->descriptor != STDIN_FILENO) {
                close(source->descriptor);
            }
            source->descriptor = -1;
            source->more = false;
            return CLI_OK;
        }
    }
    source->more = true;
    return CLI_OK;
}

static int open_file(struct value_source *source, const char *path)
{
    struct stat st;
    bool standard = strcmp(path, "-") == 0;
    source->path = standard ? "standard input" : path;
    source->descriptor = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (source->descriptor < 0) {
        return cli_problem(CLI_FAILED, "cannot open %s: %s", path, strerror(errno));
    }
    if (fstat(source->descriptor, &st) == 0 && S_ISREG(st.st_mode)) {
        source->bytes_known = (uint64_t)st.st_size;
    }
    return source->bytes_known > VALUE_BYTES_MAX ? too_long(source) : CLI_OK;
}

// The whole file, as hex digits; a newline at its end is not one of them.
static int take_hex(struct value_source *source, const struct cli_args *args)
{
    int code = read_until(source, 2 * VALUE_BYTES_MAX + 2);
    if (code == CLI_OK && source->more) {
        return too_long(source);
    }
    struct text digits = source->piece;
    source->piece = (struct text){0};
    while (digits.bytes > 0 && digits.data[digits.bytes - 1] == '\n') {
        digits.bytes--;
    }
    const char *problem;
    if (code == CLI_OK && !text_append_unhex(&source->piece, text_slice(&digits), &problem)) {
        code = args_usage(args, "%s has %s, and --hex was given", source->path, problem);
    }
    text_release(&digits);
    return code;
}

int value_source_open(struct value_source *source, const struct cli_args *args)
{
    *source = (struct value_source){.descriptor = -1};
    const char *argument = args->operand_count > 2 ? args->operand[2] : NULL;
    const char *path = args->option[OPT_FILE];
    if ((argument == NULL) == (path == NULL)) {
        return args_usage(args, argument == NULL ? "the value is missing: VALUE, - or --file FILE"
                                                 : "give VALUE or --file FILE, not both");
    }
    if (path == NULL && strcmp(argument, "-") != 0) {
        return args_append(args, "value", argument, &source->piece);
    }
    int code = open_file(source, path != NULL ? path : "-");
    if (code != CLI_OK) {
        return code;
    }
    return args_has(args, OPT_HEX) ? take_hex(source, args) : read_until(source, VALUE_PIECE_BYTES);
}

int value_source_next(struct value_source *source)
{
    text_clear(&source->piece);
    return source->more ? read_until(source, VALUE_PIECE_BYTES) : CLI_OK;
}

void value_source_release(struct value_source *source)
{
    if (source->descriptor > STDIN_FILENO) {
        close(source->descriptor);
    }
    text_release(&source->piece);
}
