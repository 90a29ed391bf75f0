/* How an access that is not right is told: what it did, where in the heap, and with what it
 * collides. */
#include <stdio.h>

#include "schedule/heap.h"

static const char *word(bool writes, bool atomic) {
    if (atomic) return writes ? "atomic write" : "atomic read";
    return writes ? "write" : "read";
}

static const char *plural(size_t count) { return count == 1 ? "" : "s"; }

typedef struct text {
    char of[160];
} text;

/* "write of 4 bytes of heap block 3 (64 bytes) at 16" */
static text describe(uintptr_t address, size_t bytes, const char *what) {
    text told;
    const ambit__block *block = ambit__arena_owns(address) ? ambit__arena_block(address) : NULL;
    if (ambit__block_has(block, address))
        (void)snprintf(told.of, sizeof told.of,
                       "%s of %zu byte%s of heap block %u (%zu byte%s) at %zu", what, bytes,
                       plural(bytes), ambit__arena_number(block), block->bytes,
                       plural(block->bytes), (size_t)(address - block->address));
    else
        (void)snprintf(told.of, sizeof told.of, "%s of %zu byte%s", what, bytes, plural(bytes));
    ambit__found.address = (const void *)address;
    return told;
}

static text describe_touch(const ambit__attempt *now) {
    return describe(now->address, now->bytes, word(now->writes, now->atomic));
}

bool ambit__is_allocation(const ambit__access *earlier, uintptr_t granule) {
    const ambit__block *block = ambit__arena_owns(granule) ? ambit__arena_block(granule) : NULL;
    return ambit__block_has(block, granule) && !block->kept && earlier->site == block->site &&
           earlier->epoch == block->epoch && earlier->thread == block->thread;
}

void ambit__fail_race(const ambit__granule *granule, const ambit__access *earlier,
                      const ambit__attempt *now) {
    text told = describe_touch(now);
    if (ambit__is_allocation(earlier, granule->address))
        ambit__fail(AMBIT_SCHEDULE_RACE, now->site, earlier->site,
                    "%s races with the allocation by thread %u", told.of, earlier->thread);
    size_t bytes = (size_t)__builtin_popcount(earlier->mask);
    ambit__fail(AMBIT_SCHEDULE_RACE, now->site, earlier->site,
                "%s races with a%s %s of %zu byte%s by thread %u", told.of,
                earlier->atomic ? "n" : "", word(earlier->writes, earlier->atomic), bytes,
                plural(bytes), earlier->thread);
}

void ambit__fail_bad_bytes(const ambit__granule *granule, const ambit__attempt *now) {
    text told = describe_touch(now);
    bool heap = ambit__arena_owns(granule->address);
    const ambit__block *block = heap ? ambit__arena_block(granule->address) : NULL;
    if (heap && !block)
        ambit__fail(AMBIT_SCHEDULE_OUT_OF_BOUNDS, now->site, NULL,
                    "%s of the heap, before its first block", told.of);
    if (heap && !block->freed) {
        uintptr_t end = block->address + block->bytes;
        size_t behind = now->address > end ? now->address - end : 0;
        ambit__fail(
            AMBIT_SCHEDULE_OUT_OF_BOUNDS, now->site, block->site,
            "%s of %zu byte%s out of bounds, %zu behind the end of heap block %u (%zu byte%s)",
            word(now->writes, now->atomic), now->bytes, plural(now->bytes), behind,
            ambit__arena_number(block), block->bytes, plural(block->bytes));
    }
    ambit__fail(AMBIT_SCHEDULE_USE_AFTER_FREE, now->site, granule->freed_site,
                "%s after it was freed", told.of);
}

/* Told here, by the line that does it, and not by a crash inside of the runtime. */
void ambit__fail_bad_pointer(const ambit__attempt *now) {
    text told = describe_touch(now);
    ambit__fail(AMBIT_SCHEDULE_ASSERTION, now->site, NULL,
                now->address < 4096
                    ? "%s at a null pointer"
                    : "%s at what is no address: a pointer that nobody wrote, or that was freed",
                told.of);
}

void ambit__fail_blank(const ambit__attempt *now) {
    text told = describe_touch(now);
    const ambit__block *block = ambit__arena_block(now->address);
    ambit__fail(AMBIT_SCHEDULE_UNINITIALISED, now->site, block ? block->site : NULL,
                "%s that nobody wrote", told.of);
}

void ambit__fail_free(const ambit__granule *granule, const ambit__access *earlier,
                      const void *site) {
    size_t bytes = (size_t)__builtin_popcount(earlier->mask);
    text told = describe(granule->address + (unsigned)__builtin_ctz(earlier->mask), bytes,
                         word(earlier->writes, earlier->atomic));
    ambit__fail(AMBIT_SCHEDULE_USE_AFTER_FREE, site, earlier->site,
                "free races with a%s %s by thread %u", earlier->atomic ? "n" : "", told.of,
                earlier->thread);
}
