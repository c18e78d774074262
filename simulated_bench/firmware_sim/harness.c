/* The resistor board's firmware in simavr, with potentiometer chips on its SPI bus.
 *
 * SPDX-License-Identifier: MIT
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
 * rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
 * persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
 * Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
 * COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 *
 * It links simavr (GPL-3-or-later), so it is built on the machine that runs it and shipped as source only.
 *
 * harness FIRMWARE.elf FD MCP4251_CHIPS AD5206_CHIPS TURBO
 *
 * FD is a socket to the program that started it. It hears: 'U' n and n bytes for the UART; 'R' pull the reset line;
 * 'H' let the main loop hang; 'C' tell the counters. It says: 'U' n and n bytes from the UART; 'W' chip wiper and a
 * code of two bytes, when a wiper moves; 'C' and three numbers of eight bytes: cycles, of them asleep, SPI bytes; 'X' n
 * and n letters: something that the chips or the processor would not stand. All in the order in which it happened.
 * It ends with the other end of FD.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <avr_ioport.h>
#include <avr_spi.h>
#include <avr_uart.h>
#include <sim_avr.h>
#include <sim_elf.h>

#define CLOCK 16000000
enum {
    POLL_CYCLES = 400,   /* the socket is looked at this often by the processor's clock, not by instructions */
    AHEAD_NS = 500000,   /* the processor may be this much ahead of the wall clock */
    BEHIND_NS = 20000000, /* beyond this the lost time is given up: a keep-alive must not expire in one leap */
    DDRD = 0x2A, PORTD = 0x2B, MCUSR = 0x54,
    SER = 4, SRCLK = 5, RCLK = 6, OE = 7,
};

static avr_t *avr;
static int line;
static bool turbo;
static int64_t wall_anchor;
static uint64_t cycle_anchor, slept, spi_bytes;

/* Chips: the chain of 74HC595 is shift register and outputs; a low output selects its chip while /OE is low. */
static struct chip {
    bool is_ad;
    uint8_t first;   /* MCP4251: the command byte, once it came */
    bool has_first;
    uint16_t shift;  /* AD5206: the last sixteen bits, of which eleven count */
    bool shifted;
    uint16_t wiper[6];
} chips[255];
static unsigned n_chips;
static bool chain[255], outputs[255], enabled;
static uint8_t pins; /* levels of port D as they were last */

static uint8_t to_uart[8192];
static unsigned n_to_uart, uart_at;
static bool uart_full;
static uint8_t from_uart[255];
static unsigned n_from_uart;

static void say(const void *bytes, unsigned n)
{
    for (const uint8_t *at = bytes; n;) {
        ssize_t sent = send(line, at, n, MSG_NOSIGNAL);
        if (sent <= 0)
            exit(0);
        at += sent;
        n -= (unsigned)sent;
    }
}

static void flush_uart(void)
{
    uint8_t head[2] = {'U', (uint8_t)n_from_uart};
    if (n_from_uart) {
        say(head, 2);
        say(from_uart, n_from_uart);
        n_from_uart = 0;
    }
}

static void complain(const char *what)
{
    uint8_t head[2] = {'X', (uint8_t)strlen(what)};
    flush_uart();
    say(head, 2);
    say(what, head[1]);
}

static void move(unsigned chip, unsigned wiper, uint16_t code)
{
    uint8_t message[5] = {'W', (uint8_t)chip, (uint8_t)wiper, (uint8_t)(code >> 8), (uint8_t)code};
    chips[chip].wiper[wiper] = code;
    flush_uart();
    say(message, 5);
}

/* A byte of the MCP4251's conversation; returns what it shifts out meanwhile (DS22060B, section 7). */
static uint8_t mcp4251(unsigned number, uint8_t byte)
{
    struct chip *chip = &chips[number];
    if (!chip->has_first) {
        uint8_t address = byte >> 4, command = byte >> 2 & 3;
        chip->has_first = true;
        chip->first = byte;
        if (address > 1 || (command != 0 && command != 3)) {
            complain("a MCP4251 got a command other than write or read of a volatile wiper");
            return 0xFC;
        }
        return command == 3 ? (uint8_t)(0xFE | chip->wiper[address] >> 8) : 0xFF;
    }
    uint8_t address = chip->first >> 4 & 1;
    uint16_t data = (uint16_t)((chip->first & 3) << 8 | byte);
    chip->has_first = false;
    if ((chip->first >> 2 & 3) == 3)
        return (uint8_t)chip->wiper[address];
    move(number, address, data > 256 ? 256 : data);
    return 0xFF;
}

static void on_spi(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)unused;
    uint8_t answer = 0xFF; /* MISO is pulled up */
    unsigned selected = 0;
    spi_bytes++;
    for (unsigned chip = 0; chip < n_chips && enabled; chip++) {
        if (outputs[chip])
            continue;
        selected++;
        if (chips[chip].is_ad) {
            chips[chip].shift = (uint16_t)(chips[chip].shift << 8 | (value & 0xFF));
            chips[chip].shifted = true;
        } else {
            answer = mcp4251(chip, (uint8_t)value);
        }
    }
    if (selected != 1)
        complain(selected ? "two chips are selected at once" : "a byte on SPI, and no chip is selected");
    avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_SPI_GETIRQ(0), SPI_IRQ_INPUT), answer);
}

/* All chips are released: an AD5206 loads what it was shifted (Rev. C, table III). */
static void release(void)
{
    for (unsigned chip = 0; chip < n_chips; chip++) {
        chips[chip].has_first = false;
        if (!chips[chip].shifted)
            continue;
        chips[chip].shifted = false;
        unsigned wiper = chips[chip].shift >> 8 & 7;
        if (wiper > 5)
            complain("an AD5206 got an address that it has not");
        else
            move(chip, wiper, chips[chip].shift & 0xFF);
    }
}

/* What the outputs of port D do to the chain. A pin that is no output is low, but /OE, which has a resistor. */
static void on_port(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)value, (void)unused;
    uint8_t ddr = avr->data[DDRD];
    uint8_t now = (uint8_t)((avr->data[PORTD] & ddr) | (~ddr & 1 << OE)), rising = now & (uint8_t)~pins;
    pins = now;
    if (rising & 1 << SRCLK) {
        memmove(chain + 1, chain, sizeof chain - sizeof *chain);
        chain[0] = now >> SER & 1;
    }
    if (rising & 1 << RCLK) {
        if (enabled)
            complain("the chip selects change while a chip is selected");
        memcpy(outputs, chain, sizeof outputs);
    }
    if (enabled && now & 1 << OE)
        release();
    enabled = !(now & 1 << OE);
}

static void on_uart(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)unused;
    from_uart[n_from_uart++] = (uint8_t)value;
    if (value == 0 || n_from_uart == sizeof from_uart)
        flush_uart();
}

static void on_xon(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)value, (void)unused;
    uart_full = false;
}

static void on_xoff(struct avr_irq_t *irq, uint32_t value, void *unused)
{
    (void)irq, (void)value, (void)unused;
    uart_full = true;
}

/* simavr takes 64 bytes ahead and drops the next: it says so from inside the call, so look after every byte. */
static void feed_uart(void)
{
    avr_irq_t *input = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
    while (uart_at < n_to_uart && !uart_full)
        avr_raise_irq(input, to_uart[uart_at++]);
    if (uart_at == n_to_uart)
        uart_at = n_to_uart = 0;
}

static int64_t wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int64_t wall_of(uint64_t cycle)
{
    return wall_anchor + (int64_t)(cycle - cycle_anchor) * 1000 / (CLOCK / 1000000);
}

static void anchor(void)
{
    wall_anchor = wall();
    cycle_anchor = avr->cycle;
}

static bool wait_until(int64_t then)
{
    int64_t left = then - wall();
    struct pollfd one = {.fd = line, .events = uart_at == n_to_uart ? POLLIN : 0};
    if (left <= 0)
        return false;
    struct timespec time = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    return ppoll(&one, 1, &time, NULL) > 0;
}

/* simavr adds `cycles` after this, however long it took: where a byte woke us early, take back what did not pass. */
static void sleep_as_long(avr_t *of, avr_cycle_count_t cycles)
{
    (void)of;
    flush_uart();
    if (turbo && wall() < wall_of(avr->cycle))
        anchor(); /* it was quicker than time while busy; from here on it keeps time again */
    uint64_t passed = cycles;
    if (wait_until(wall_of(avr->cycle + cycles))) {
        int64_t now = (wall() - wall_anchor) * (CLOCK / 1000000) / 1000 - (int64_t)(avr->cycle - cycle_anchor);
        passed = now < 0 ? 0 : now > (int64_t)cycles ? cycles : (uint64_t)now;
        avr->cycle -= cycles - passed;
    }
    slept += passed;
}

static void pull_reset(void)
{
    avr_reset(avr);
    avr->data[MCUSR] = 2; /* EXTRF */
    on_port(NULL, 0, NULL);
}

/* Jump to the endless loop that every program of avr-libc ends with. Interrupts go on, as in most real hangs. */
static void hang(void)
{
    for (uint32_t at = 0; at + 1 < avr->codeend; at += 2)
        if (avr->flash[at] == 0xFF && avr->flash[at + 1] == 0xCF) { /* rjmp .-2 */
            avr->pc = at;
            avr->state = cpu_Running;
            avr->sreg[S_I] = 1;
            return;
        }
    complain("no endless loop to hang in");
}

static void tell_counters(void)
{
    uint64_t counters[3] = {avr->cycle, slept, spi_bytes};
    uint8_t message[25] = {'C'};
    for (unsigned i = 0; i < 24; i++)
        message[1 + i] = (uint8_t)(counters[i / 8] >> (56 - 8 * (i % 8)));
    flush_uart();
    say(message, sizeof message);
}

static void hear_exactly(uint8_t *bytes, unsigned n)
{
    while (n) {
        ssize_t got = recv(line, bytes, n, 0);
        if (got <= 0)
            exit(0); /* whoever started us has gone */
        bytes += got;
        n -= (unsigned)got;
    }
}

static void hear(void)
{
    struct pollfd one = {.fd = line, .events = POLLIN};
    feed_uart();
    /* While the UART is full nothing more is taken: the socket holds the rest. */
    while (uart_at == n_to_uart && poll(&one, 1, 0) > 0) {
        uint8_t tag, n;
        hear_exactly(&tag, 1);
        if (tag == 'R') {
            pull_reset();
        } else if (tag == 'H') {
            hang();
        } else if (tag == 'C') {
            tell_counters();
        } else if (tag == 'U') {
            hear_exactly(&n, 1);
            hear_exactly(to_uart, n);
            n_to_uart = n;
            feed_uart();
        }
    }
}

static void keep_time(void)
{
    int64_t ahead = wall_of(avr->cycle) - wall();
    if (ahead < -BEHIND_NS)
        anchor();
    else if (!turbo && ahead > AHEAD_NS)
        wait_until(wall() + ahead);
}

static void be_silent(avr_t *of, const int level, const char *format, va_list arguments)
{
    (void)of, (void)level, (void)format, (void)arguments;
}

static void wire_up(void)
{
    uint32_t flags = 0;
    avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
    flags &= ~(uint32_t)(AVR_UART_FLAG_POLL_SLEEP | AVR_UART_FLAG_STDIO); /* no naps of its own, no echo on stdout */
    avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
    avr_irq_t *uart = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), 0);
    avr_irq_register_notify(uart + UART_IRQ_OUTPUT, on_uart, NULL);
    avr_irq_register_notify(uart + UART_IRQ_OUT_XON, on_xon, NULL);
    avr_irq_register_notify(uart + UART_IRQ_OUT_XOFF, on_xoff, NULL);
    avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_SPI_GETIRQ(0), SPI_IRQ_OUTPUT), on_spi, NULL);
    avr_irq_t *port = avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 0);
    for (unsigned pin = SER; pin <= OE; pin++)
        avr_irq_register_notify(port + pin, on_port, NULL);
    avr->sleep = sleep_as_long;
}

int main(int argc, char **argv)
{
    elf_firmware_t firmware = {0};
    if (argc != 6)
        return 2;
    line = atoi(argv[2]);
    n_chips = (unsigned)(atoi(argv[3]) + atoi(argv[4]));
    turbo = atoi(argv[5]) != 0;
    if (n_chips > sizeof chips / sizeof *chips || elf_read_firmware(argv[1], &firmware) != 0)
        return 2;
    for (unsigned chip = 0; chip < n_chips; chip++) {
        chips[chip].is_ad = chip >= (unsigned)atoi(argv[3]);
        for (unsigned wiper = 0; wiper < 6; wiper++)
            chips[chip].wiper[wiper] = 128; /* both parts power up in the middle */
    }
    avr_global_logger_set(be_silent);
    avr = avr_make_mcu_by_name("atmega328p");
    avr_init(avr);
    avr_load_firmware(avr, &firmware);
    avr->frequency = CLOCK; /* avr_init left 1 MHz, and the firmware's file does not say */
    avr->data[MCUSR] = 1;   /* PORF */
    pins = 1 << OE;
    wire_up();
    anchor();
    for (uint64_t next = 0;;) {
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed) {
            complain("the processor stopped");
            return 1;
        }
        if (avr->cycle >= next || next > avr->cycle + POLL_CYCLES) {
            next = avr->cycle + POLL_CYCLES;
            keep_time();
            hear();
        }
    }
}
