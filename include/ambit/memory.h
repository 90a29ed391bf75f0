/* Where ambit's memory comes from: jemalloc if built with it, otherwise the C library, or the hooks
 * set here. */
#ifndef AMBIT_MEMORY_H
#define AMBIT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ambit_memory_hooks {
    /* `alignment` is a power of two. NULL means none is left, and becomes AMBIT_EMEMORY. */
    void *(*allocate)(size_t bytes, size_t alignment, void *user);
    void (*release)(void *memory, size_t bytes, size_t alignment, void *user);
    void *user;
} ambit_memory_hooks;

typedef struct ambit_memory_stats {
    uint64_t allocations; /* since the start */
    uint64_t releases;    /* since the start */
    uint64_t failures;    /* allocations that got nothing */
    uint64_t live_bytes;  /* asked for and not yet released, slabs included */
} ambit_memory_stats;

/* Puts the hooks in place; NULL puts the built-in allocator back. The struct is copied.
 * Thread: any, but only before the first other call into ambit, since memory is released through
 * the hooks that are set at that time. Blocks: no. Cannot fail. */
void ambit_memory_hooks_set(const ambit_memory_hooks *hooks);

/* Thread: any. Blocks: no. Cannot fail. The four figures are read one after the other. */
void ambit_memory_stats_read(ambit_memory_stats *stats);

#ifdef __cplusplus
}
#endif
#endif
