#include "board.h"

#include <string.h>

#include "cobs.h"
#include "crc16.h"

enum op {
    OP_IDENT = 1,
    OP_SET = 2,
    OP_SETN = 3,
    OP_GET = 4,
    OP_GETN = 5,
    OP_ALIVE = 6,
    OP_SAFE = 7,
    OP_STORE = 8,
};

enum status {
    OK = 0,
    UNKNOWN_OP = 1,
    BAD_LENGTH = 2,
    BAD_CHANNEL = 3,
    BAD_CODE = 4,
    BAD_VALUE = 5,
    IDENT_FIRST = 6,
    CHIP = 7,
    WORN = 8,
    STATUS_BOOTED = 0x40,
    STATUS_FALLEN = 0x80,
};

enum { REPLY = 0x80, HEAD = 3, CRC = 2, SHORTEST_ALIVE = 50, LONGEST_ALIVE = 60000 };

/* Where things lie in the EEPROM. The safe codes have a CRC: half a STORE must not become the safe state. */
enum { AT_BOOTS = 0, AT_STORES = 2, AT_SAFE = 4, AT_SAFE_CRC = AT_SAFE + 2 * BOARD_MAX_BANKS };

/* A channel's place: its bank, chip (counted through all banks), wiper of the chip, byte of the shadow, and how many
 * channels of its bank are left, itself included. */
struct place {
    uint8_t bank, chip, wiper;
    uint16_t shadow, left;
};

static uint16_t get16(const uint8_t *bytes)
{
    return (uint16_t)((uint16_t)bytes[0] << 8 | bytes[1]);
}

static void put16(uint8_t *bytes, uint16_t value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    put16(bytes, (uint16_t)(value >> 16));
    put16(bytes + 2, (uint16_t)value);
}

static uint16_t stored16(const struct board *board, uint8_t at)
{
    return (uint16_t)((uint16_t)board->hal->eeprom_read(at) << 8 | board->hal->eeprom_read(at + 1));
}

static void store16(const struct board *board, uint8_t at, uint16_t value)
{
    board->hal->eeprom_write(at, (uint8_t)(value >> 8));
    board->hal->eeprom_write(at + 1, (uint8_t)value);
}

static uint8_t wipers_of(const struct board_bank *bank)
{
    return bank->part == BOARD_MCP4251 ? 2 : 6;
}

static bool reads_back(const struct board_bank *bank)
{
    return bank->part == BOARD_MCP4251; /* the AD5206 has no SDO */
}

static uint16_t taps_of(const struct board_bank *bank)
{
    return bank->part == BOARD_MCP4251 ? 257 : 256;
}

static uint16_t channels_of(const struct board_bank *bank)
{
    return (uint16_t)bank->chips * wipers_of(bank);
}

static struct place place_of(const struct board *board, uint16_t channel)
{
    struct place place = {0, 0, 0, 0, 0};
    for (;;) {
        const struct board_bank *bank = &board->banks[place.bank];
        uint16_t inside = channels_of(bank);
        if (channel < inside) {
            place.chip += (uint8_t)(channel / wipers_of(bank));
            place.wiper = (uint8_t)(channel % wipers_of(bank));
            place.shadow += reads_back(bank) ? 0 : channel;
            place.left = inside - channel;
            return place;
        }
        channel -= inside;
        place.chip += bank->chips;
        place.shadow += reads_back(bank) ? 0 : inside;
        place.bank++;
    }
}

/* Go on to the next channel without a division, which costs this processor 13 us. After the last one the place is
 * none. */
static void step(const struct board *board, struct place *place)
{
    const struct board_bank *bank = &board->banks[place->bank];
    place->shadow += reads_back(bank) ? 0 : 1;
    if (++place->wiper == wipers_of(bank)) {
        place->wiper = 0;
        place->chip++;
    }
    if (--place->left == 0 && ++place->bank < board->n_banks)
        place->left = channels_of(&board->banks[place->bank]);
}

static void set_wiper(struct board *board, const struct place *place, uint16_t code)
{
    uint8_t bytes[2];
    if (board->banks[place->bank].part == BOARD_MCP4251) {
        /* Address, command 00 (write), the code's ninth bit. Addresses 0 and 1 are the volatile wipers. */
        bytes[0] = (uint8_t)(place->wiper << 4 | code >> 8);
    } else {
        /* Eleven bits count, the last ones that came: a wiper's address and its code. */
        bytes[0] = place->wiper;
        board->shadow[place->shadow] = (uint8_t)code;
    }
    bytes[1] = (uint8_t)code;
    board->hal->spi_transfer(place->chip, bytes, 2);
}

/* The code that a wiper holds, as far as its chip can tell; false where the chip does not answer. */
static bool get_wiper(struct board *board, const struct place *place, uint16_t *code)
{
    if (!reads_back(&board->banks[place->bank])) {
        *code = board->shadow[place->shadow];
        return true;
    }
    uint8_t bytes[2] = {(uint8_t)(place->wiper << 4 | 0x0C), 0xFF};
    board->hal->spi_transfer(place->chip, bytes, 2);
    *code = get16(bytes) & 0x1FF;
    /* CMDERR is high for a command that it took. An absent chip leaves all bits high, and 0x1FF is no code. */
    return (bytes[0] & 0x02) && *code < taps_of(&board->banks[place->bank]);
}

static void go_safe(struct board *board)
{
    struct place place = place_of(board, 0);
    for (uint16_t channel = 0; channel < board->n_channels; channel++, step(board, &place))
        set_wiper(board, &place, board->safe[place.bank]);
}

static uint16_t safe_crc(const uint16_t *safe)
{
    uint8_t bytes[2 * BOARD_MAX_BANKS];
    for (uint8_t bank = 0; bank < BOARD_MAX_BANKS; bank++)
        put16(bytes + 2 * bank, safe[bank]);
    return crc16(bytes, sizeof bytes);
}

/* Take the stored safe codes where they are whole and fit the banks, the built-in ones otherwise. */
static void load_safe(struct board *board)
{
    uint16_t safe[BOARD_MAX_BANKS];
    for (uint8_t bank = 0; bank < BOARD_MAX_BANKS; bank++)
        safe[bank] = stored16(board, AT_SAFE + 2 * bank);
    bool whole = stored16(board, AT_SAFE_CRC) == safe_crc(safe);
    for (uint8_t bank = 0; bank < board->n_banks; bank++)
        whole = whole && safe[bank] < taps_of(&board->banks[bank]);
    for (uint8_t bank = 0; bank < board->n_banks; bank++)
        board->safe[bank] = whole ? safe[bank] : board->banks[bank].safe;
}

void board_begin(struct board *board, const struct board_hal *hal, const struct board_bank *banks, uint8_t n_banks,
                 uint8_t *shadow, uint32_t serial)
{
    memset(board, 0, sizeof *board);
    board->hal = hal;
    board->banks = banks;
    board->n_banks = n_banks;
    board->shadow = shadow;
    board->serial = serial;
    for (uint8_t bank = 0; bank < n_banks; bank++)
        board->n_channels += channels_of(&banks[bank]);
    load_safe(board);
    go_safe(board);
    /* An erased EEPROM reads 0xFFFF, so the first boot is number 0. */
    board->boots = stored16(board, AT_BOOTS) + 1;
    store16(board, AT_BOOTS, board->boots);
    board->stores = stored16(board, AT_STORES);
    if (board->stores == 0xFFFF)
        board->stores = 0;
    board->booted = true;
}

/* Each request below gets its payload and puts its answer at `out`, *n bytes of it. Where the status is not OK the
 * answer is two bytes that say what was wrong; *n comes in as 2. */

static enum status ident(struct board *board, uint8_t *out, uint8_t *n)
{
    out[0] = BOARD_PROTOCOL;
    put16(out + 1, board->n_channels);
    put32(out + 3, board->serial);
    out[7] = BOARD_FIRMWARE_MAJOR;
    out[8] = BOARD_FIRMWARE_MINOR;
    out[9] = board->hal->reset_cause();
    put16(out + 10, board->boots);
    out[12] = board->overrun;
    put16(out + 13, board->stores);
    out[15] = board->n_banks;
    out += 16;
    for (uint8_t bank = 0; bank < board->n_banks; bank++, out += 16) {
        const struct board_bank *told = &board->banks[bank];
        out[0] = (uint8_t)told->part;
        out[1] = reads_back(told);
        put16(out + 2, channels_of(told));
        put16(out + 4, taps_of(told));
        put16(out + 6, 256); /* steps from end to end, of either part */
        put32(out + 8, told->end_to_end);
        put16(out + 12, told->wiper);
        put16(out + 14, board->safe[bank]);
    }
    *n = (uint8_t)(16 + 16 * board->n_banks);
    board->overrun = false;
    return OK;
}

/* Set n channels from `base` on, all or none. The answer is the number set, or the first channel refused. */
static enum status set_batch(struct board *board, uint16_t base, const uint8_t *codes, uint8_t n, uint8_t *out)
{
    put16(out, board->n_channels);
    if (base >= board->n_channels || n > board->n_channels - base)
        return BAD_CHANNEL;
    const struct place first = place_of(board, base);
    struct place place = first;
    for (uint8_t i = 0; i < n; i++, step(board, &place)) {
        if (get16(codes + 2 * i) >= taps_of(&board->banks[place.bank])) {
            put16(out, base + i);
            return BAD_CODE;
        }
    }
    place = first;
    for (uint8_t i = 0; i < n; i++, step(board, &place))
        set_wiper(board, &place, get16(codes + 2 * i));
    put16(out, n);
    return OK;
}

static enum status get_batch(struct board *board, uint16_t base, uint8_t n, uint8_t *out, uint8_t *n_out)
{
    put16(out, board->n_channels);
    if (base >= board->n_channels || n > board->n_channels - base)
        return BAD_CHANNEL;
    struct place place = place_of(board, base);
    for (uint8_t i = 0; i < n; i++, step(board, &place)) {
        uint16_t code;
        if (!get_wiper(board, &place, &code)) {
            put16(out, base + i);
            return CHIP;
        }
        put16(out + 2 * i, code);
    }
    *n_out = 2 * n;
    return OK;
}

static enum status alive(struct board *board, uint16_t ms, uint8_t *out)
{
    put16(out, ms);
    if (ms != 0 && (ms < SHORTEST_ALIVE || ms > LONGEST_ALIVE))
        return BAD_VALUE;
    board->alive_ms = ms;
    return OK;
}

/* All wipers to the safe codes; those of the payload become the safe ones first, if there are any. */
static enum status safe(struct board *board, const uint8_t *codes, uint8_t n, uint8_t *out)
{
    for (uint8_t bank = 0; bank < n; bank++) {
        put16(out, bank);
        if (get16(codes + 2 * bank) >= taps_of(&board->banks[bank]))
            return BAD_CODE;
    }
    for (uint8_t bank = 0; bank < n; bank++)
        board->safe[bank] = get16(codes + 2 * bank);
    go_safe(board);
    put16(out, board->n_channels);
    return OK;
}

/* Keep the safe codes for the next boot. Costs a write of the EEPROM's life only where they differ. */
static enum status store(struct board *board, const uint8_t *magic, uint8_t *out)
{
    uint16_t codes[BOARD_MAX_BANKS] = {0};
    bool same = true;
    memcpy(codes, board->safe, sizeof(uint16_t) * board->n_banks);
    put16(out, board->stores);
    if (get16(magic) != (uint16_t)(BOARD_STORE_MAGIC >> 16) || get16(magic + 2) != (uint16_t)BOARD_STORE_MAGIC)
        return BAD_VALUE;
    for (uint8_t bank = 0; bank < BOARD_MAX_BANKS; bank++)
        same = same && stored16(board, AT_SAFE + 2 * bank) == codes[bank];
    if (same && stored16(board, AT_SAFE_CRC) == safe_crc(codes))
        return OK;
    if (board->stores >= BOARD_MAX_STORES)
        return WORN;
    store16(board, AT_STORES, ++board->stores);
    for (uint8_t bank = 0; bank < BOARD_MAX_BANKS; bank++)
        store16(board, AT_SAFE + 2 * bank, codes[bank]);
    store16(board, AT_SAFE_CRC, safe_crc(codes));
    put16(out, board->stores);
    return OK;
}

static enum status set_or_refuse(struct board *board, uint16_t base, const uint8_t *codes, uint8_t n, uint8_t *out)
{
    /* A host that has not noticed that the wipers went to their safe codes must not move some of them away again. */
    if (board->booted || board->fallen)
        return IDENT_FIRST;
    return set_batch(board, base, codes, n, out);
}

static enum status execute(struct board *board, uint8_t op, const uint8_t *payload, uint8_t n, uint8_t *out,
                           uint8_t *n_out)
{
    enum status status;
    *n_out = 2;
    put16(out, 0);
    switch (op) {
    case OP_IDENT:
        return n != 0 ? BAD_LENGTH : ident(board, out, n_out);
    case OP_SET:
        if (n != 4)
            return BAD_LENGTH;
        status = set_or_refuse(board, get16(payload), payload + 2, 1, out);
        return status != OK ? status : get_batch(board, get16(payload), 1, out, n_out);
    case OP_SETN:
        if (n < 5 || payload[2] < 1 || payload[2] > BOARD_MAX_BATCH || n != 3 + 2 * payload[2])
            return BAD_LENGTH;
        return set_or_refuse(board, get16(payload), payload + 3, payload[2], out);
    case OP_GET:
        return n != 2 ? BAD_LENGTH : get_batch(board, get16(payload), 1, out, n_out);
    case OP_GETN:
        if (n != 3 || payload[2] < 1 || payload[2] > BOARD_MAX_BATCH)
            return BAD_LENGTH;
        return get_batch(board, get16(payload), payload[2], out, n_out);
    case OP_ALIVE:
        return n != 2 ? BAD_LENGTH : alive(board, get16(payload), out);
    case OP_SAFE:
        if (n != 0 && n != 2 * board->n_banks)
            return BAD_LENGTH;
        return safe(board, payload, n / 2, out);
    case OP_STORE:
        return n != 4 ? BAD_LENGTH : store(board, payload, out);
    default:
        return UNKNOWN_OP;
    }
}

static void answer(struct board *board)
{
    cobs_encode(board->reply, board->reply_length, board->hal->uart_write);
}

static void take_frame(struct board *board)
{
    uint8_t *frame = board->frame;
    uint8_t n = cobs_decode(frame, board->length), n_out, status;
    if (n < 2 + CRC || crc16(frame, n) != 0 || frame[1] == 0 || frame[0] & REPLY)
        return; /* noise, or an echo: not answered, not counted as a sign of life */
    board->fed_at = board->hal->millis();
    uint16_t crc = get16(frame + n - CRC);
    if (board->reply_length && frame[1] == board->last_seq && crc == board->last_crc) {
        answer(board); /* the reply got lost: say it again, do nothing */
        return;
    }
    status = (board->booted ? STATUS_BOOTED : 0) | (board->fallen ? STATUS_FALLEN : 0);
    enum status told = execute(board, frame[0], frame + 2, n - 2 - CRC, board->reply + HEAD, &n_out);
    if (frame[0] == OP_IDENT && told == OK)
        board->booted = board->fallen = false;
    board->alive_runs = board->alive_ms != 0;
    board->reply[0] = frame[0] | REPLY;
    board->reply[1] = board->last_seq = frame[1];
    board->reply[2] = status | (uint8_t)told;
    put16(board->reply + HEAD + n_out, crc16(board->reply, HEAD + n_out));
    board->reply_length = HEAD + n_out + CRC;
    board->last_crc = crc;
    answer(board);
}

void board_byte(struct board *board, uint8_t byte)
{
    if (byte == 0) {
        if (!board->too_long)
            take_frame(board);
        board->length = 0;
        board->too_long = false;
    } else if (board->length < sizeof board->frame) {
        board->frame[board->length++] = byte;
    } else {
        board->too_long = true;
    }
}

void board_tick(struct board *board)
{
    if (!board->alive_runs || board->hal->millis() - board->fed_at < board->alive_ms)
        return;
    go_safe(board);
    board->fallen = true;
    board->alive_runs = false; /* once; the next good frame starts it again */
    board->reply_length = 0;   /* what was true before is no answer any more */
}

void board_overrun(struct board *board)
{
    board->overrun = true;
}
