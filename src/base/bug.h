/* Stops the program on a caller's bug. */
#ifndef AMBIT_BASE_BUG_H
#define AMBIT_BASE_BUG_H

#include "ambit/bug.h"

__attribute__((noreturn, cold)) void ambit__bug(const char *function, const char *message,
                                                const ambit_site *site, const ambit_site *before);

#endif
