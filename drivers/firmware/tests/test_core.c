/* The board's core on the PC, under sanitizers: known conversations, then random frames.
 *
 * test_core [frames [seed]]: the second part's number of frames. The chips are modelled from their data sheets; CRC and
 * COBS are written anew here, bit by bit, so that the core's own are held against them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/board.h"
#include "../core/cobs.h"
#include "../core/crc16.h"

enum { MCP_CHIPS = 4, AD_CHIPS = 1, N_CHIPS = MCP_CHIPS + AD_CHIPS, N_CHANNELS = 2 * MCP_CHIPS + 6 * AD_CHIPS };

static uint16_t wipers[N_CHIPS][6];
static unsigned long writes; /* to wipers */
static bool absent;          /* the first chip does not answer */
static uint32_t now;
static uint8_t eeprom[64];
static uint8_t said[1024];
static unsigned n_said;
static int failures;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                             \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static void die(const char *why)
{
    printf("not so: %s\n", why);
    exit(1);
}

/* MCP4251: 16 bits, address, command, ten bits of data. Addresses above 1 are not volatile wipers. */
static void mcp4251(uint8_t chip, uint8_t *bytes)
{
    uint8_t address = bytes[0] >> 4, command = (bytes[0] >> 2) & 3;
    uint16_t data = (uint16_t)((bytes[0] & 3) << 8 | bytes[1]);
    if (address > 1)
        die("only the volatile wipers of a MCP4251 are addressed");
    if (chip == 0 && absent) {
        bytes[0] = bytes[1] = 0xFF;
    } else if (command == 0) {
        if (data > 256)
            die("a MCP4251 gets no code above 256");
        wipers[chip][address] = data;
        writes++;
    } else if (command == 3) {
        bytes[0] = (uint8_t)(0xFE | wipers[chip][address] >> 8);
        bytes[1] = (uint8_t)wipers[chip][address];
    } else {
        die("a MCP4251 is only written and read");
    }
}

static void spi_transfer(uint8_t chip, uint8_t *bytes, uint8_t n)
{
    if (chip >= N_CHIPS || n != 2)
        die("a transfer has two bytes, to a chip that is there");
    if (chip < MCP_CHIPS) {
        mcp4251(chip, bytes);
        return;
    }
    if (bytes[0] > 5)
        die("an AD5206 has six wipers");
    wipers[chip][bytes[0]] = bytes[1];
    bytes[0] = bytes[1] = 0xFF;
    writes++;
}

static void uart_write(const uint8_t *bytes, uint8_t n)
{
    if (n_said + n > sizeof said)
        die("a reply fits into the buffer");
    memcpy(said + n_said, bytes, n);
    n_said += n;
}

static uint32_t millis(void)
{
    return now;
}

static uint8_t reset_cause(void)
{
    return 1;
}

static uint8_t eeprom_read(uint8_t at)
{
    return eeprom[at];
}

static void eeprom_write(uint8_t at, uint8_t value)
{
    eeprom[at] = value;
}

static const struct board_hal hal = {spi_transfer, uart_write, millis, reset_cause, eeprom_read, eeprom_write};
static const struct board_bank banks[] = {
    {BOARD_MCP4251, MCP_CHIPS, 10000, 75, 256},
    {BOARD_AD5206, AD_CHIPS, 100000, 50, 255},
};
static uint8_t shadow[6 * AD_CHIPS];
static struct board board;

static uint16_t code_of(unsigned channel)
{
    return channel < 2 * MCP_CHIPS ? wipers[channel / 2][channel % 2] : wipers[MCP_CHIPS][channel - 2 * MCP_CHIPS];
}

static bool all_safe(void)
{
    for (unsigned channel = 0; channel < N_CHANNELS; channel++)
        if (code_of(channel) != (channel < 2 * MCP_CHIPS ? 256 : 255))
            return false;
    return true;
}

static void boot(void)
{
    for (unsigned chip = 0; chip < N_CHIPS; chip++)
        for (unsigned wiper = 0; wiper < 6; wiper++)
            wipers[chip][wiper] = 128; /* as they power up */
    board_begin(&board, &hal, banks, 2, shadow, 0x12345678);
}

/* As the catalogues define it: one bit after the other. */
static uint16_t plain_crc(const uint8_t *bytes, unsigned n)
{
    unsigned crc = 0xFFFF;
    for (unsigned bit = 0; bit < 8 * n; bit++) {
        unsigned in = bytes[bit / 8] >> (7 - bit % 8) & 1, out = crc >> 15;
        crc = (crc << 1 ^ ((in ^ out) ? 0x1021 : 0)) & 0xFFFF;
    }
    return (uint16_t)crc;
}

/* A frame on the wire, its 0 included; returns its length. */
static unsigned wrap(const uint8_t *body, unsigned n, uint8_t *wire)
{
    uint8_t raw[256];
    memcpy(raw, body, n);
    uint16_t crc = plain_crc(body, n);
    raw[n] = (uint8_t)(crc >> 8);
    raw[n + 1] = (uint8_t)crc;
    unsigned length = 0, code_at = length++;
    for (unsigned i = 0; i < n + 2; i++) {
        if (raw[i] == 0) {
            wire[code_at] = (uint8_t)(length - code_at);
            code_at = length++;
        } else {
            wire[length++] = raw[i];
        }
    }
    wire[code_at] = (uint8_t)(length - code_at);
    wire[length++] = 0;
    return length;
}

/* The body and CRC of a frame without its 0; 0 for what is none. */
static unsigned unwrap(const uint8_t *wire, unsigned n, uint8_t *raw)
{
    unsigned at = 0, length = 0;
    if (n > 244)
        return 0;
    while (at < n) {
        unsigned code = wire[at];
        if (code == 255 || at + code > n)
            return 0;
        memcpy(raw + length, wire + at + 1, code - 1);
        length += code - 1;
        at += code;
        if (at < n)
            raw[length++] = 0;
    }
    return length >= 4 && plain_crc(raw, length) == 0 && raw[1] != 0 && raw[0] < 128 ? length : 0;
}

static void feed(const uint8_t *bytes, unsigned n)
{
    while (n--)
        board_byte(&board, *bytes++);
}

/* Ask; the reply's status, or -1 where none comes. The reply lies in `raw`, its length in n_raw. */
static uint8_t raw[512];
static unsigned n_raw;

static int ask(const void *body, unsigned n)
{
    uint8_t wire[300];
    n_said = 0;
    feed(wire, wrap(body, n, wire));
    if (n_said == 0)
        return -1;
    if (said[n_said - 1] != 0)
        die("a reply ends with a zero");
    uint8_t copy[300];
    memcpy(copy, said, n_said);
    n_raw = cobs_decode(copy, (uint8_t)(n_said - 1));
    if (n_raw < 7 || plain_crc(copy, n_raw) != 0)
        die("a reply has at least two bytes of payload, and its CRC");
    memcpy(raw, copy, n_raw);
    return raw[2];
}

#define ASK(...) ask((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static unsigned told(void)
{
    return (unsigned)raw[3] << 8 | raw[4];
}

static void crc_and_cobs_of_known_bytes(void)
{
    CHECK(crc16((const uint8_t *)"123456789", 9) == 0x29B1);
    CHECK(crc16((const uint8_t *)"", 0) == 0xFFFF);
    uint8_t known[] = {3, 0x11, 0x22, 2, 0x33};
    CHECK(cobs_decode(known, 5) == 4 && !memcmp(known, (const uint8_t[]){0x11, 0x22, 0, 0x33}, 4));
    uint8_t torn[] = {5, 1, 2, 3};
    CHECK(cobs_decode(torn, 4) == 0);
    n_said = 0;
    cobs_encode((const uint8_t[]){0x11, 0, 0, 0}, 4, uart_write);
    CHECK(n_said == 6 && !memcmp(said, (const uint8_t[]){2, 0x11, 1, 1, 1, 0}, 6));
}

static void at_boot_all_wipers_are_safe_before_a_word_is_said(void)
{
    memset(eeprom, 0xFF, sizeof eeprom);
    n_said = 0;
    boot();
    CHECK(all_safe() && n_said == 0);
    CHECK(ASK(2, 1, 0, 0, 0, 9) == (0x40 | 6) && all_safe()); /* identify first */
    CHECK(ASK(1, 2) == 0x40 && n_raw == 5 + 16 + 32);
    CHECK(raw[3] == 1 && raw[5] == N_CHANNELS && raw[6] == 0x12 && raw[12] == 1 && raw[13] == 0 && raw[14] == 0);
    CHECK(raw[18] == 2 && raw[19] == 1 && raw[20] == 1 && raw[35] == 2 && raw[36] == 0);
    CHECK(ASK(1, 3) == 0);
}

static void set_and_get(void)
{
    CHECK(ASK(2, 4, 0, 1, 0, 7) == 0 && told() == 7 && wipers[0][1] == 7);
    CHECK(ASK(2, 5, 0, 8, 0, 9) == 0 && told() == 9 && wipers[4][0] == 9);
    CHECK(ASK(4, 6, 0, 1) == 0 && told() == 7);
    CHECK(ASK(3, 7, 0, 7, 3, 1, 0, 0, 0, 0, 255) == 0 && told() == 3);
    CHECK(wipers[3][1] == 256 && wipers[4][0] == 0 && wipers[4][1] == 255);
    CHECK(ASK(5, 8, 0, 7, 3) == 0 && n_raw == 5 + 6);
    CHECK(!memcmp(raw + 3, (const uint8_t[]){1, 0, 0, 0, 0, 255}, 6));
}

static void what_is_wrong_is_refused_whole_with_its_place(void)
{
    unsigned long before = writes;
    CHECK(ASK(3, 9, 0, 6, 3, 0, 5, 0, 5, 1, 0) == 4 && told() == 8);  /* 256 is no code of an AD5206 */
    CHECK(ASK(3, 10, 0, 13, 2, 0, 5, 0, 5) == 3 && told() == N_CHANNELS);
    CHECK(ASK(2, 11, 255, 255, 0, 5) == 3 && ASK(2, 12, 0, 0, 1, 1) == 4 && told() == 0);
    CHECK(ASK(3, 13, 0, 0, 2, 0, 5) == 2 && ASK(3, 14, 0, 0, 0) == 2 && ASK(9, 15) == 1 && ASK(0, 16) == 1);
    CHECK(ASK(1, 17, 0) == 2 && ASK(4, 18, 0) == 2 && ASK(5, 19, 0, 0, 119) == 2 && ASK(6, 20, 0, 49) == 5);
    CHECK(ASK(7, 21, 0, 0) == 2 && ASK(7, 22, 1, 1, 0, 0) == 4 && ASK(8, 23, 1, 2, 3, 4) == 5);
    CHECK(ASK(0x81, 24) == -1 && ASK(1, 0) == -1);
    CHECK(writes == before);
}

static void a_chip_that_does_not_answer_is_told(void)
{
    absent = true;
    CHECK(ASK(4, 25, 0, 1) == 7 && told() == 1);
    absent = false;
    CHECK(ASK(4, 26, 0, 1) == 0);
}

static void a_repeated_request_is_answered_and_not_done(void)
{
    CHECK(ASK(2, 30, 0, 0, 0, 5) == 0);
    wipers[0][0] = 6; /* behind its back, so that doing it again would show */
    unsigned long before = writes;
    CHECK(ASK(2, 30, 0, 0, 0, 5) == 0 && told() == 5 && writes == before && wipers[0][0] == 6);
    CHECK(ASK(2, 30, 0, 0, 0, 4) == 0 && told() == 4 && wipers[0][0] == 4); /* same number, another request */
    CHECK(ASK(2, 31, 0, 0, 0, 4) == 0 && writes == before + 2);
}

static void silence_sets_all_wipers_safe_once(void)
{
    CHECK(ASK(6, 40, 0, 200) == 0 && told() == 200);
    now += 199;
    board_tick(&board);
    CHECK(!all_safe());
    CHECK(ASK(9, 41) == 1); /* any good frame is a sign of life */
    now += 199;
    board_tick(&board);
    feed((const uint8_t *)"noise\0noise\0", 12); /* and noise is none */
    CHECK(!all_safe());
    now += 1;
    board_tick(&board);
    CHECK(all_safe());
    unsigned long before = writes;
    now += 10000;
    board_tick(&board);
    CHECK(writes == before);
    CHECK(ASK(2, 42, 0, 0, 0, 5) == (0x80 | 6) && all_safe());
    CHECK(ASK(1, 43) == 0x80 && ASK(2, 44, 0, 0, 0, 5) == 0);
    now += 200;
    board_tick(&board);
    CHECK(all_safe());
    CHECK(ASK(1, 45) == 0x80 && ASK(6, 46, 0, 0) == 0 && ASK(2, 47, 0, 0, 0, 5) == 0);
    now += 1000000;
    board_tick(&board);
    CHECK(code_of(0) == 5);
}

static void the_clock_may_wrap(void)
{
    now = UINT32_MAX - 50;
    CHECK(ASK(6, 50, 0, 100) == 0);
    now += 99; /* 48 past zero */
    board_tick(&board);
    CHECK(!all_safe());
    now += 1;
    board_tick(&board);
    CHECK(all_safe() && ASK(1, 51) == 0x80 && ASK(6, 52, 0, 0) == 0);
}

static void safe_codes_are_kept_by_store_and_half_a_store_is_not_believed(void)
{
    CHECK(ASK(7, 60, 0, 0, 0, 3) == 0 && told() == N_CHANNELS && code_of(0) == 0 && code_of(13) == 3);
    boot();
    CHECK(all_safe());
    CHECK(ASK(7, 61, 0, 0, 0, 3) == 0x40 && ASK(8, 62, 'S', 'T', 'O', 'R') == 0x40 && told() == 1);
    CHECK(ASK(8, 63, 'S', 'T', 'O', 'R') == 0x40 && told() == 1); /* nothing new, no write */
    boot();
    CHECK(code_of(0) == 0 && code_of(13) == 3);
    eeprom[5] ^= 1;
    boot();
    CHECK(all_safe());
    CHECK(ASK(1, 64) == 0x40 && raw[13] == 0 && raw[14] == 3); /* the fourth boot */
    eeprom[2] = 10000 >> 8;
    eeprom[3] = 10000 & 255;
    boot();
    CHECK(ASK(8, 65, 'S', 'T', 'O', 'R') == (0x40 | 8) && told() == 10000);
}

static void bytes_lost_are_told_once(void)
{
    board_overrun(&board);
    CHECK(ASK(1, 70) == 0x40 && raw[15] == 1);
    CHECK(ASK(1, 71) == 0 && raw[15] == 0);
}

static void after_noise_of_any_length_the_next_zero_sets_it_right(void)
{
    for (int i = 0; i < 300; i++)
        board_byte(&board, 0x55);
    n_said = 0;
    board_byte(&board, 0);
    CHECK(n_said == 0 && ASK(2, 72, 0, 0, 0, 5) == 0);
}

static unsigned draw(unsigned below)
{
    static uint64_t *state;
    static uint64_t here;
    if (!state) {
        state = &here;
        here = (uint64_t)rand() << 20 | 1;
    }
    here ^= here << 13;
    here ^= here >> 7;
    here ^= here << 17;
    return (unsigned)(here >> 33) % below;
}

/* A request that is sensible more often than not. */
static unsigned draw_body(uint8_t *body)
{
    static const uint8_t lengths[] = {0, 0, 4, 0, 2, 3, 2, 0, 4};
    unsigned n;
    body[0] = (uint8_t)draw(10);
    body[1] = (uint8_t)draw(256);
    if (body[0] == 3) {
        unsigned codes = draw(10) ? 1 + draw(N_CHANNELS) : draw(119);
        body[2] = 0;
        body[3] = (uint8_t)draw(4);
        body[4] = (uint8_t)codes;
        n = 5 + 2 * codes;
        for (unsigned i = 0; i < codes; i++) {
            body[5 + 2 * i] = draw(200) == 0;
            body[6 + 2 * i] = (uint8_t)draw(256);
        }
    } else {
        n = 2 + (body[0] < sizeof lengths && draw(8) ? lengths[body[0]] : draw(20));
        for (unsigned i = 2; i < n; i++)
            body[i] = (uint8_t)(draw(2) ? 0 : draw(256));
        if (body[0] == 8)
            body[2] = 1; /* no STORE: it would move what is safe */
        if (body[0] == 6 && n == 4)
            body[2] = 1;
    }
    return n;
}

static void random_frames(unsigned long n_frames)
{
    unsigned long good = 0, bad = 0;
    for (unsigned long i = 0; i < n_frames; i++) {
        uint8_t body[300], wire[600], raw_frame[600];
        unsigned n = wrap(body, draw_body(body), wire), how = draw(4);
        if (how == 1) /* torn */
            n = 1 + draw(n);
        for (unsigned flips = how == 2 ? 1 + draw(4) : 0; flips; flips--)
            wire[draw(n)] ^= (uint8_t)(1 << draw(8));
        if (how == 3 && draw(4) == 0) {
            n = draw(300);
            for (unsigned at = 0; at < n; at++)
                wire[at] = (uint8_t)draw(256);
        }
        if (n == 0 || wire[n - 1] != 0)
            wire[n++] = 0;
        now += draw(40);
        board_tick(&board);
        for (unsigned start = 0, at = 0; at < n; at++) {
            if (wire[at] != 0)
                continue;
            bool means_something = unwrap(wire + start, at - start, raw_frame) != 0;
            unsigned long before = writes;
            n_said = 0;
            feed(wire + start, at - start + 1);
            if (!means_something && (writes != before || n_said))
                die("an invalid frame moves no wiper and gets no answer");
            if (means_something && n_said == 0)
                die("a good frame gets an answer");
            *(means_something ? &good : &bad) += at > start;
            start = at + 1;
        }
        for (unsigned channel = 0; channel < N_CHANNELS; channel++)
            if (code_of(channel) > (channel < 2 * MCP_CHIPS ? 256 : 255))
                die("every wiper holds a code that it has");
        if (draw(20) == 0)
            ask((const uint8_t[]){1, 1}, 2);
    }
    printf("%lu random frames: %lu good, %lu bad, %lu wipers written\n", n_frames, good, bad, writes);
    if (n_frames > 1000 && (good < n_frames / 5 || bad < n_frames / 5))
        die("the frames are of both sorts");
}

int main(int argc, char **argv)
{
    srand(argc > 2 ? (unsigned)atoi(argv[2]) : 1);
    crc_and_cobs_of_known_bytes();
    at_boot_all_wipers_are_safe_before_a_word_is_said();
    set_and_get();
    what_is_wrong_is_refused_whole_with_its_place();
    a_chip_that_does_not_answer_is_told();
    a_repeated_request_is_answered_and_not_done();
    silence_sets_all_wipers_safe_once();
    the_clock_may_wrap();
    safe_codes_are_kept_by_store_and_half_a_store_is_not_believed();
    bytes_lost_are_told_once();
    after_noise_of_any_length_the_next_zero_sets_it_right();
    random_frames(argc > 1 ? strtoul(argv[1], NULL, 10) : 10000);
    if (failures == 0)
        printf("all is well\n");
    return failures != 0;
}
