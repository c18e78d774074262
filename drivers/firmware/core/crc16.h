/* CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF, not reflected, no final inversion; "123456789" gives 0x29B1. */
#ifndef CORE_CRC16_H
#define CORE_CRC16_H

#include <stdint.h>

/* The CRC of n bytes. Over bytes with their CRC appended, high byte first, it is 0. */
uint16_t crc16(const uint8_t *bytes, uint8_t n);

#endif
