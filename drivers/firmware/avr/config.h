/* What is soldered on the board. Each line can be given on make's command line instead: make DEFINES="-D...". */
#ifndef AVR_CONFIG_H
#define AVR_CONFIG_H

#ifndef MCP4251_CHIPS
#define MCP4251_CHIPS 4 /* two wipers each; they come first in the chain of chip selects */
#endif
#ifndef AD5206_CHIPS
#define AD5206_CHIPS 1 /* six wipers each */
#endif
#ifndef MCP4251_OHMS
#define MCP4251_OHMS 100000
#endif
#ifndef AD5206_OHMS
#define AD5206_OHMS 100000
#endif
#ifndef MCP4251_WIPER_OHMS
#define MCP4251_WIPER_OHMS 75 /* typical at 5.5 V, DS22060B */
#endif
#ifndef AD5206_WIPER_OHMS
#define AD5206_WIPER_OHMS 50 /* typical at 5 V, Rev. C */
#endif
#ifndef SERIAL_NUMBER
#define SERIAL_NUMBER 1
#endif
#ifndef BAUD_RATE
#define BAUD_RATE 500000 /* exact at 16 MHz, as 250000 and 1000000 are; 115200 is off by 2.1 % */
#endif

/* Which code is the highest resistance depends on the wiring: W-B, between wiper and B, has it at the top.
 * A board wired A-W is built with 0 here, or told once by SAFE and STORE. */
#ifndef MCP4251_SAFE
#define MCP4251_SAFE 256
#endif
#ifndef AD5206_SAFE
#define AD5206_SAFE 255
#endif

#endif
