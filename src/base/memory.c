#include "base/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"
#include "base/fault.h"

#ifdef AMBIT_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static ambit_memory_hooks hooks;
static _Atomic(uint64_t) allocations, releases, failures, live_bytes;

/* Built in: jemalloc with the size given back, or the C library. */
#ifdef AMBIT_HAVE_JEMALLOC
static void *allocate_built_in(size_t bytes, size_t alignment) {
    return mallocx(bytes ? bytes : 1, MALLOCX_ALIGN(alignment));
}
static void release_built_in(void *memory, size_t bytes, size_t alignment) {
    sdallocx(memory, bytes ? bytes : 1, MALLOCX_ALIGN(alignment));
}
#else
static void *allocate_built_in(size_t bytes, size_t alignment) {
    void *memory;
    if (alignment < sizeof(void *)) alignment = sizeof(void *);
    return posix_memalign(&memory, alignment, bytes ? bytes : 1) ? NULL : memory;
}
static void release_built_in(void *memory, size_t bytes, size_t alignment) {
    (void)bytes;
    (void)alignment;
    free(memory);
}
#endif

void *ambit__allocate(size_t bytes, size_t alignment) {
    void *memory = NULL;
    if (!ambit__fault_hit(AMBIT__FAULT_MEMORY))
        memory = hooks.allocate ? hooks.allocate(bytes, alignment, hooks.user)
                                : allocate_built_in(bytes, alignment);
    if (!memory) {
        ambit__add_relaxed(&failures, 1);
        return NULL;
    }
    ambit__add_relaxed(&allocations, 1);
    ambit__add_relaxed(&live_bytes, bytes);
    return memory;
}

void *ambit__allocate_zero(size_t bytes, size_t alignment) {
    void *memory = ambit__allocate(bytes, alignment);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

void ambit__release(void *memory, size_t bytes, size_t alignment) {
    if (!memory) return;
    ambit__add_relaxed(&releases, 1);
    atomic_fetch_sub_explicit(&live_bytes, bytes, memory_order_relaxed);
    if (hooks.allocate)
        hooks.release(memory, bytes, alignment, hooks.user);
    else
        release_built_in(memory, bytes, alignment);
}

void ambit_memory_hooks_set(const ambit_memory_hooks *given) {
    hooks = given ? *given : (ambit_memory_hooks){NULL, NULL, NULL};
}

void ambit_memory_stats_read(ambit_memory_stats *stats) {
    stats->allocations = ambit__load_relaxed(&allocations);
    stats->releases = ambit__load_relaxed(&releases);
    stats->failures = ambit__load_relaxed(&failures);
    stats->live_bytes = ambit__load_relaxed(&live_bytes);
}
