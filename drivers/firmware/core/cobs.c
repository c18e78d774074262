#include "cobs.h"

uint8_t cobs_decode(uint8_t *bytes, uint8_t n)
{
    uint8_t from = 0, to = 0;
    while (from < n) {
        uint8_t code = bytes[from++];
        if (code == 0 || code == 0xFF || code - 1 > n - from)
            return 0;
        for (uint8_t i = 1; i < code; i++) {
            if (bytes[from] == 0)
                return 0;
            bytes[to++] = bytes[from++];
        }
        if (from < n)
            bytes[to++] = 0;
    }
    return to;
}

void cobs_encode(const uint8_t *bytes, uint8_t n, void (*write)(const uint8_t *bytes, uint8_t n))
{
    static const uint8_t end = 0;
    for (;;) {
        uint8_t run = 0;
        while (run < n && bytes[run] != 0)
            run++;
        uint8_t code = run + 1;
        write(&code, 1);
        if (run)
            write(bytes, run);
        if (run == n)
            break;
        bytes += run + 1;
        n -= run + 1;
    }
    write(&end, 1);
}
