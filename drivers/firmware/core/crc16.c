#include "crc16.h"

uint16_t crc16(const uint8_t *bytes, uint8_t n)
{
    uint16_t crc = 0xFFFF;
    while (n--) {
        /* Eight steps of the polynomial division at once, without a table: 0x1021 is x^12 + x^5 + 1 below x^16. */
        uint8_t x = (uint8_t)(crc >> 8) ^ *bytes++;
        x ^= x >> 4;
        crc = (uint16_t)((uint16_t)(crc << 8) ^ ((uint16_t)x << 12) ^ ((uint16_t)x << 5) ^ x);
    }
    return crc;
}
