/* Consistent overhead byte stuffing: no byte of an encoded frame is 0, so that a 0 can end it.
 *
 * Source: S. Cheshire and M. Baker, IEEE/ACM Trans. Networking 7, 159 (1999). Frames here have at most 253 bytes, so
 * that the code 0xFF, a block of 254 bytes without a zero after it, never occurs and is refused.
 */
#ifndef CORE_COBS_H
#define CORE_COBS_H

#include <stdint.h>

/* Decode n encoded bytes, without the 0 at their end, in place. Returns how many they are, 0 where they make no sense. */
uint8_t cobs_decode(uint8_t *bytes, uint8_t n);

/* Encode n bytes (at most 253) piece by piece into `write`, the 0 at the end included. */
void cobs_encode(const uint8_t *bytes, uint8_t n, void (*write)(const uint8_t *bytes, uint8_t n));

#endif
