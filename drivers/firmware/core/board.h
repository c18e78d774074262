/* The tunable-resistor board: frames in, wiper codes out. Protocol: docs/board-protocol.md.
 *
 * A state machine that is fed with bytes and with the time. It knows neither the microcontroller nor its registers:
 * what it needs of them is in `struct board_hal`, so that the same code runs on a PC under sanitizers.
 */
#ifndef CORE_BOARD_H
#define CORE_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#define BOARD_PROTOCOL 1
#define BOARD_FIRMWARE_MAJOR 1
#define BOARD_FIRMWARE_MINOR 0
#define BOARD_MAX_BANKS 4
#define BOARD_MAX_BATCH 118                        /* codes in a SETN or GETN */
#define BOARD_MAX_FRAME (7 + 2 * BOARD_MAX_BATCH)  /* op, seq, base, n, codes, crc */
#define BOARD_MAX_STORES 10000                     /* a tenth of what the EEPROM's data sheet promises */
#define BOARD_STORE_MAGIC 0x53544F52ul             /* "STOR" */

enum board_part { BOARD_MCP4251 = 1, BOARD_AD5206 = 2 };

/* Chips of one part. end_to_end, wiper: Ohm. safe: the code of highest resistance, unless the host stored another. */
struct board_bank {
    enum board_part part;
    uint8_t chips;
    uint32_t end_to_end;
    uint16_t wiper;
    uint16_t safe;
};

struct board_hal {
    /* Select a chip (counted through all banks), exchange n bytes in place, release it. */
    void (*spi_transfer)(uint8_t chip, uint8_t *bytes, uint8_t n);
    void (*uart_write)(const uint8_t *bytes, uint8_t n);
    uint32_t (*millis)(void);
    uint8_t (*reset_cause)(void); /* MCUSR: 1 power-on, 2 external, 4 brown-out, 8 watchdog */
    uint8_t (*eeprom_read)(uint8_t at);
    void (*eeprom_write)(uint8_t at, uint8_t value); /* writes only what differs */
};

struct board {
    const struct board_hal *hal;
    const struct board_bank *banks;
    uint8_t n_banks;
    uint16_t n_channels;
    uint8_t *shadow; /* what the write-only chips were sent, one byte for each of their channels */
    uint32_t serial;
    uint16_t safe[BOARD_MAX_BANKS];
    uint16_t boots;
    uint16_t stores;
    bool booted;   /* no IDENT since the boot */
    bool fallen;   /* no IDENT since the keep-alive expired */
    bool overrun;  /* bytes were lost since the last IDENT */
    uint16_t alive_ms; /* 0: no keep-alive */
    bool alive_runs;
    uint32_t fed_at;
    uint8_t frame[BOARD_MAX_FRAME + 1]; /* as it comes, COBS and all, without its 0 */
    uint8_t length;
    bool too_long;
    uint8_t reply[BOARD_MAX_FRAME];
    uint8_t reply_length; /* 0: none is stored */
    uint8_t last_seq;
    uint16_t last_crc;
};

/* Set all wipers to their safe codes and count the boot. Call it before the UART opens.
 * shadow: a byte for each channel of a write-only part. */
void board_begin(struct board *board, const struct board_hal *hal, const struct board_bank *banks, uint8_t n_banks,
                 uint8_t *shadow, uint32_t serial);

/* Take a byte that came; at the end of a good frame it is done and answered. */
void board_byte(struct board *board, uint8_t byte);

/* Look at the clock; call it often. */
void board_tick(struct board *board);

/* Bytes were lost on the way in. */
void board_overrun(struct board *board);

#endif
