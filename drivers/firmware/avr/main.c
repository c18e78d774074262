/* The board on an ATmega328P at 16 MHz (Arduino Uno and Nano): UART, SPI, chip selects, watchdog.
 *
 * SPI: MOSI D11, MISO D12, SCK D13, shared by all chips. Chip selects: a chain of 74HC595 with SER on D4, SRCLK on D5,
 * RCLK on D6 and /OE on D7; output k of the chain is the select of chip k. A resistor of 2.2 kOhm from each select to
 * the supply, and one at /OE, hold all chips released while /OE is high: at power-on, in reset, and between transfers.
 * So the chain is set up at leisure, and /OE alone selects and releases, a chip's six wipers without a new set-up.
 */
#include <avr/eeprom.h>
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <util/atomic.h>

#include "../core/board.h"
#include "config.h"

#define N_CHIPS (MCP4251_CHIPS + AD5206_CHIPS)
#if N_CHIPS < 1 || N_CHIPS > 255
#error "a board has 1 to 255 chips"
#endif

enum { SER = PD4, SRCLK = PD5, RCLK = PD6, OE = PD7 };

static const struct board_bank banks[] = {
#if MCP4251_CHIPS
    {BOARD_MCP4251, MCP4251_CHIPS, MCP4251_OHMS, MCP4251_WIPER_OHMS, MCP4251_SAFE},
#endif
#if AD5206_CHIPS
    {BOARD_AD5206, AD5206_CHIPS, AD5206_OHMS, AD5206_WIPER_OHMS, AD5206_SAFE},
#endif
};

static uint8_t shadow[6 * AD5206_CHIPS + 1];
static struct board board;
static uint8_t cause;

static volatile uint32_t ticks;
static volatile uint8_t ring[256];
static volatile uint8_t ring_head, ring_tail; /* they wrap by themselves */
static volatile bool lost;

/* Before main: a watchdog that has bitten stays on after the reset, at its shortest time. */
void early(void) __attribute__((naked, used, section(".init3")));
void early(void)
{
    GPIOR0 = MCUSR; /* not a variable: those are cleared after .init3 */
    MCUSR = 0;
    wdt_disable();
}

ISR(TIMER0_COMPA_vect)
{
    ticks++;
}

ISR(USART_RX_vect)
{
    /* It doesn't feed the watchdog: bytes come in while the main loop hangs, too. */
    if (UCSR0A & _BV(DOR0))
        lost = true;
    uint8_t byte = UDR0, next = ring_head + 1;
    if (next == ring_tail) {
        lost = true;
    } else {
        ring[ring_head] = byte;
        ring_head = next;
    }
}

static uint32_t millis(void)
{
    uint32_t now;
    ATOMIC_BLOCK(ATOMIC_RESTORESTATE)
    {
        now = ticks;
    }
    return now;
}

static void push(bool high)
{
    if (high)
        PORTD |= _BV(SER);
    else
        PORTD &= ~_BV(SER);
    PORTD |= _BV(SRCLK);
    PORTD &= ~_BV(SRCLK);
}

/* Bring the one low output of the chain to a chip. */
static void choose(uint8_t chip)
{
    static uint8_t chosen = N_CHIPS;
    if (chip == chosen)
        return;
    if (chip == chosen + 1) {
        push(true);
    } else {
        /* The whole chain anew, which also mends a bit that noise has turned. */
        for (uint8_t place = N_CHIPS; place-- > 0;)
            push(place != chip);
    }
    chosen = chip;
    PORTD |= _BV(RCLK);
    PORTD &= ~_BV(RCLK);
}

static void spi_transfer(uint8_t chip, uint8_t *bytes, uint8_t n)
{
    choose(chip);
    PORTD &= ~_BV(OE);
    for (; n; n--, bytes++) {
        SPDR = *bytes;
        while (!(SPSR & _BV(SPIF)))
            ;
        *bytes = SPDR;
    }
    PORTD |= _BV(OE);
}

static void uart_write(const uint8_t *bytes, uint8_t n)
{
    for (; n; n--) {
        while (!(UCSR0A & _BV(UDRE0)))
            ;
        UDR0 = *bytes++;
    }
}

static uint8_t reset_cause(void)
{
    return cause;
}

static uint8_t eeprom_read(uint8_t at)
{
    return eeprom_read_byte((const uint8_t *)(uint16_t)at);
}

static void eeprom_write(uint8_t at, uint8_t value)
{
    eeprom_update_byte((uint8_t *)(uint16_t)at, value);
}

static const struct board_hal hal = {spi_transfer, uart_write, millis, reset_cause, eeprom_read, eeprom_write};

static void open_pins(void)
{
    PORTD |= _BV(OE); /* high before it is an output, so that no chip is selected by the way */
    DDRD |= _BV(SER) | _BV(SRCLK) | _BV(RCLK) | _BV(OE);
    DDRB |= _BV(PB2) | _BV(PB3) | _BV(PB5); /* SS must be an output, or SPI may stop being the master */
    PORTB |= _BV(PB4);                      /* an absent chip reads as all ones */
    SPCR = _BV(SPE) | _BV(MSTR);            /* 4 MHz, mode 0; the parts take 10 */
}

static void open_clock(void)
{
    TCCR0A = _BV(WGM01);
    TCCR0B = _BV(CS01) | _BV(CS00); /* 16 MHz / 64 / 250 = 1 kHz */
    OCR0A = 249;
    TIMSK0 = _BV(OCIE0A);
}

static void open_uart(void)
{
    UCSR0A = _BV(U2X0);
    UBRR0 = (F_CPU + 4UL * BAUD_RATE) / (8UL * BAUD_RATE) - 1;
    UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
    UCSR0B = _BV(RXCIE0) | _BV(RXEN0) | _BV(TXEN0);
}

/* Sleep until an interrupt, unless a byte has come meanwhile; the instruction after sei() always runs. */
static void rest(void)
{
    cli();
    if (ring_tail == ring_head && !lost) {
        sleep_enable();
        sei();
        sleep_cpu();
        sleep_disable();
    }
    sei();
}

int main(void)
{
    cause = GPIOR0;
    wdt_enable(WDTO_250MS);
    open_pins();
    open_clock();
    board_begin(&board, &hal, banks, sizeof banks / sizeof *banks, shadow, SERIAL_NUMBER);
    open_uart();
    set_sleep_mode(SLEEP_MODE_IDLE);
    sei();
    for (;;) {
        wdt_reset(); /* here and nowhere else; so one byte a turn, not all that are there */
        if (lost) {
            lost = false;
            board_overrun(&board);
        }
        if (ring_tail != ring_head) {
            uint8_t byte = ring[ring_tail];
            ring_tail++;
            board_byte(&board, byte);
        } else {
            rest();
        }
        board_tick(&board);
    }
}
