/* Where a call came from, as return addresses. */
#ifndef AMBIT_BASE_UNWIND_H
#define AMBIT_BASE_UNWIND_H

#include <stdint.h>

/* The first use may load the unwinder and allocate: done here, at a moment of the caller's choice. */
void ambit__unwind_prepare(void);
/* The caller's return address first; at most `max`. Returns how many. Takes no lock and allocates
 * nothing once it is prepared. Code without unwind tables ends the stack early. */
unsigned ambit__unwind(uintptr_t *frames, unsigned max);

#endif
