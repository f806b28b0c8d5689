// Standard output, colours and the locale.
#include "tools/cli_out.h"

#include <errno.h>
#include <langinfo.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/cli.h"

static int out_error; // errno of the first write that failed

bool out_text(struct text *text)
{
    errno = 0;
    if (text->bytes > 0 && fwrite(text->data, 1, text->bytes, stdout) != text->bytes &&
        out_error == 0) {
        out_error = errno != 0 ? errno : EIO;
    }
    text_clear(text);
    return out_error == 0;
}

int out_end(int code)
{
    errno = 0;
    if (fflush(stdout) != 0 && out_error == 0) {
        out_error = errno != 0 ? errno : EIO;
    }
    if (out_error == 0 || out_error == EPIPE) {
        return code;
    }
    int error = out_error;
    return cli_problem(CLI_FAILED, "cannot write the output (%s): what was printed is incomplete",
                       strerror(error));
}

bool out_colours(int descriptor)
{
    const char *no_color = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    return (no_color == NULL || no_color[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0) && isatty(descriptor) == 1;
}

bool out_utf8(void)
{
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
