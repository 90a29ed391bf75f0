/* The allocator shim: all memory of ambit's comes and goes here. */
#ifndef AMBIT_BASE_MEMORY_H
#define AMBIT_BASE_MEMORY_H

#include <stddef.h>

#include "ambit/memory.h"

/* `alignment` is a power of two. NULL when there is none. Not cleared. */
void *ambit__allocate(size_t bytes, size_t alignment);
/* The same, cleared. */
void *ambit__allocate_zero(size_t bytes, size_t alignment);
/* With the size and alignment it was allocated with. NULL is fine. */
void ambit__release(void *memory, size_t bytes, size_t alignment);

#endif
