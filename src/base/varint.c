#include "base/varint.h"

const uint8_t *varint_decode_slow(const uint8_t *from, const uint8_t *end, uint64_t *v_out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; from < end && shift < 64; shift += 7) {
        uint8_t byte = *from++;
        uint64_t bits = byte & 0x7fu;
        if (shift == 63 && bits > 1) {
            return NULL;
        }
        v |= bits << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift != 0) {
                return NULL;
            }
            *v_out = v;
            return from;
        }
    }
    return NULL;
}
