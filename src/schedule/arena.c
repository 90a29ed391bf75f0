/* The heap of a schedule: blocks one behind the other, none used twice, all forgotten at its end.
 *
 * Each block has a red zone of at least 16 bytes before and behind it, which belongs to nobody, so
 * that shadow.c sees who runs over an end; and since no address comes again, who touches what was
 * freed. What is known of the blocks stands in a table aside, in the order of their addresses,
 * where no stray write reaches it.
 *
 * A block is filled with a pattern that no pointer looks like, a freed one with another. So what
 * the compiler's calls don't show, as a read by a library, still sees nothing that could be taken
 * for a value; and shadow.c can tell memory that nobody wrote from memory that a library wrote.
 *
 * Blocks that `before` made are there in each schedule. They may be changed and freed as others:
 * what stands in them is put back by the undo, that they are alive by the reset. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "schedule/heap.h"

#define REGION_BYTES ((size_t)1 << 30)
#define WISHED 0x6a0000000000 /* the same in each process where it can be had: seeds play alike */
#define RED_ZONE 16
#define BLOCKS (1u << 20)
/* Odd, in pages and in lines of the cache: no bit of an address above them stays. */
#define SHIFT_BYTES (37 * (size_t)4096 + 9 * 64)
#define POISONED_MOST 65536 /* of a kept block, which has to be saved before */
#define NO_BLOCK UINT32_MAX

/* Before there is an arena, no address is in it. */
static uintptr_t region = (uintptr_t)1 << 63;
static uintptr_t next_free, kept_end;
static ambit__block *blocks;
static uint32_t count, kept_count, looked_at;
static uint32_t live;   /* of this schedule */
static bool kept_freed; /* some of those that are kept */
static size_t shift;

void *ambit__reserve(size_t bytes, const char *what) {
    void *memory = __real_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) return memory;
    (void)fprintf(stderr, "ambit::schedule: no memory for %s (%zu KiB)\n", what, bytes >> 10);
    abort();
}

static void prepare(void) {
    void *memory = __real_mmap((void *)WISHED, REGION_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) memory = ambit__reserve(REGION_BYTES, "the heap of the schedules");
    blocks = ambit__reserve(BLOCKS * sizeof *blocks, "the blocks of the heap");
    region = (uintptr_t)memory;
    kept_end = region;
    next_free = region + shift;
}

/* ---- Blocks ---------------------------------------------------------------------------------- */

bool ambit__arena_owns(uintptr_t address) { return address - region < REGION_BYTES; }

const ambit__block *ambit__arena_block(uintptr_t address) {
    if (!count || address < blocks[0].address) return NULL;
    /* Accesses come in flocks. */
    if (looked_at < count && blocks[looked_at].address <= address &&
        (looked_at + 1 == count || address < blocks[looked_at + 1].address))
        return &blocks[looked_at];
    uint32_t low = 0, high = count;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (blocks[middle].address <= address)
            low = middle;
        else
            high = middle;
    }
    looked_at = low;
    return &blocks[low];
}

unsigned ambit__arena_number(const ambit__block *block) { return (unsigned)(block - blocks) + 1; }

/* The block that an address is in; of one without bytes, its beginning. */
static ambit__block *block_of(uintptr_t address) {
    if (!ambit__arena_owns(address)) return NULL;
    const ambit__block *block = ambit__arena_block(address);
    if (!ambit__block_has(block, address) && !(block && block->address == address)) return NULL;
    return &blocks[block - blocks];
}

size_t ambit__arena_bytes(const void *memory) {
    const ambit__block *block = block_of((uintptr_t)memory);
    return block ? block->bytes : 0;
}

/* ---- Patterns -------------------------------------------------------------------------------- */

/* No address begins with these; no small number, letter or boolean has a byte of 0x80 or more. */
#define BLANK UINT64_C(0xa5a5808080808080)
#define FREED UINT64_C(0xdede808080808080)
#define MIXED UINT64_C(0x00007f7f7f7f7f7f)

#define MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

static uint64_t mixed(uint64_t place, uint64_t base) { return base | (place >> 8 & MIXED); }

static uint64_t place_of(uintptr_t address) { return ((address - region) >> 3) * MULTIPLIER; }

uint64_t ambit__arena_pattern(uintptr_t address) { return mixed(place_of(address), BLANK); }

/* To the end of the last 8 bytes: the red zone has room. By sums, since vectors add sooner than
 * they multiply. */
static void fill(uintptr_t address, size_t bytes, uint64_t base) {
    uint64_t *end = (uint64_t *)address + (bytes + 7) / 8, place = place_of(address);
    for (uint64_t *at = (uint64_t *)address; at < end; at++, place += MULTIPLIER)
        *at = mixed(place, base);
}

/* ---- Giving and taking ----------------------------------------------------------------------- */

void *ambit__arena_allocate(size_t bytes, size_t alignment, bool zero, const void *site) {
    if (!blocks) prepare();
    if (alignment < 16) alignment = 16;
    uintptr_t address = (next_free + RED_ZONE + alignment - 1) & ~(uintptr_t)(alignment - 1);
    uintptr_t end = region + REGION_BYTES - 2 * RED_ZONE;
    if (address < next_free || address > end || bytes > end - address)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "%zu bytes asked for, and the schedule has %zu of %zu MiB of heap left", bytes,
                    (size_t)(end - next_free) >> 20, REGION_BYTES >> 20);
    if (count == BLOCKS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL, "more than %u blocks in one schedule",
                    BLOCKS);
    const ambit__schedule_thread *self = ambit__self;
    blocks[count++] = (ambit__block){.address = address,
                                     .bytes = bytes,
                                     .site = site,
                                     .thread = self->index,
                                     .epoch = self->happens.at[self->index],
                                     .blank = !zero};
    live++;
    next_free = address + bytes;
    if (zero)
        memset((void *)address, 0, bytes);
    else
        fill(address, bytes, BLANK);
    ambit__shadow_allocated(address, bytes);
    return (void *)address;
}

static void check_free(const ambit__block *block, uintptr_t address, const void *site) {
    if (!block)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, NULL,
                    "free of an address in the heap where no block is");
    unsigned number = ambit__arena_number(block);
    if (block->freed)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, block->freed_site,
                    "heap block %u (%zu bytes) is freed once more", number, block->bytes);
    if (block->address != address)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, block->site,
                    "free inside of heap block %u (%zu bytes), at %zu", number, block->bytes,
                    (size_t)(address - block->address));
    const ambit__schedule_thread *self = ambit__self;
    if (self && !block->kept && block->thread != self->index &&
        block->epoch > self->happens.at[block->thread])
        ambit__fail(AMBIT_SCHEDULE_RACE, site, block->site,
                    "free of heap block %u (%zu bytes) races with its allocation by thread %u",
                    number, block->bytes, block->thread);
}

void ambit__arena_free(void *memory, const void *site) {
    uintptr_t address = (uintptr_t)memory;
    ambit__block *block = block_of(address);
    check_free(block, address, site);
    if (!ambit__self) { /* between schedules: what `before` made is gone for good */
        block->freed = block->given_up = true;
        block->freed_site = site;
        return;
    }
    bool poison = !block->kept || block->bytes <= POISONED_MOST;
    if (block->kept && poison) ambit__shadow_save(address, block->bytes);
    block->freed = true;
    block->freed_site = site;
    if (block->kept) /* before that this free fails the schedule, as a race with others */
        kept_freed = true;
    else
        live--;
    ambit__shadow_freed(address, block->bytes, site);
    if (poison) fill(address, block->bytes, FREED);
}

/* ---- Schedules ------------------------------------------------------------------------------- */

void ambit__arena_reset(void) {
    ambit__mappings_reset();
    if (!blocks) return;
    count = kept_count;
    live = 0;
    next_free = kept_end + shift;
    ambit__arena_revive();
}

void ambit__arena_revive(void) {
    if (!kept_freed) return;
    kept_freed = false;
    for (uint32_t i = 0; i < kept_count; i++) blocks[i].freed = blocks[i].given_up;
}

void ambit__arena_keep(void) {
    ambit__mappings_keep();
    if (!blocks) return;
    for (uint32_t i = 0; i < count; i++) {
        blocks[i].kept = true;
        blocks[i].given_up = blocks[i].freed;
    }
    kept_count = count;
    live = 0;
    kept_freed = false;
    kept_end = next_free;
}

void ambit__arena_forget(void) {
    kept_count = 0;
    kept_end = region;
    kept_freed = false;
    ambit__arena_reset();
}

void ambit__arena_shift(unsigned by) { shift = by * SHIFT_BYTES % (REGION_BYTES / 4); }

/* ---- Leaks ----------------------------------------------------------------------------------- */

static uint32_t to_scan; /* the blocks that are reached and not yet looked into, by `next` */

/* Any address in a block is a pointer to it: a list's node may be all that is kept. */
static void __attribute__((noinline)) reach(uintptr_t value) {
    ambit__block *block = block_of(value);
    if (!block || block->freed || block->kept || block->reached) return;
    block->reached = true;
    block->next = to_scan;
    to_scan = (uint32_t)(block - blocks);
}

/* Nearly none of them is an address, and there may be very many. */
static void reach_all(const uintptr_t *values, size_t number) {
    for (size_t i = 0; i < number; i++)
        if (__builtin_expect(values[i] - region < REGION_BYTES, 0)) reach(values[i]);
}

/* The roots are what was touched outside of the heap or in kept blocks: of other memory, what
 * stands there was there before any of these blocks. And what the first thread keeps by
 * pthread_setspecific(), as the main thread of a program does to its end; what another leaves there
 * is lost with it. */
bool ambit__arena_find_leak(const void **site, size_t *bytes, unsigned *lost) {
    if (!live) return false;
    to_scan = NO_BLOCK;
    ambit__shadow_each_root(reach_all);
    for (unsigned i = 0; i < AMBIT__KEYS; i++) reach((uintptr_t)ambit__threads[0].keys[i]);
    while (to_scan != NO_BLOCK) {
        const ambit__block *block = &blocks[to_scan];
        to_scan = block->next;
        reach_all((const uintptr_t *)block->address, block->bytes / sizeof(uintptr_t));
    }
    *site = NULL;
    *bytes = *lost = 0;
    for (uint32_t i = kept_count; i < count; i++) {
        bool leaked = !blocks[i].freed && !blocks[i].reached;
        blocks[i].reached = false;
        if (!leaked) continue;
        if (!*lost) *site = blocks[i].site;
        (*lost)++;
        *bytes += blocks[i].bytes;
    }
    return *lost > 0;
}
