/* The program's own mmap() and munmap().
 *
 * At a schedule's end what it has mapped goes, and what it has unmapped is there again. So munmap()
 * only takes note: the bytes made as freed, and who touches them is told. What was mapped in the
 * schedule is unmapped for real when the next one begins, after all memory has been put back. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/mman.h>

#include "schedule/heap.h"

#define MAPPINGS 256

typedef struct mapping {
    uintptr_t low, high;
} mapping;

static mapping mappings[MAPPINGS]; /* made in this schedule */
static unsigned made;

bool ambit__mapping_owns(uintptr_t address) {
    for (unsigned i = 0; i < made; i++)
        if (address >= mappings[i].low && address < mappings[i].high) return true;
    return false;
}

void ambit__mappings_reset(void) {
    for (unsigned i = 0; i < made; i++)
        (void)__real_munmap((void *)mappings[i].low, mappings[i].high - mappings[i].low);
    made = 0;
}

void ambit__mappings_keep(void) { made = 0; }

static void tell(ambit__operation_kind kind, const char *name, const void *address, size_t bytes,
                 const void *site) {
    if (__builtin_expect(!ambit__recording, 1)) return;
    ambit__operation row = {
        .kind = kind, .name = name, .address = address, .value = bytes, .site = site};
    ambit__tell(&row);
}

static size_t whole_pages(size_t bytes) { return (bytes + 4095) & ~(size_t)4095; }

static void *map(void *address, size_t bytes, int protection, int flags, int file, off_t offset,
                 const void *site) {
    void *memory = __real_mmap(address, bytes, protection, flags, file, offset);
    if (!ambit__self || memory == MAP_FAILED) return memory;
    if (made == MAPPINGS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "more than %d calls of mmap() in one schedule", MAPPINGS);
    uintptr_t low = (uintptr_t)memory;
    mappings[made++] = (mapping){low, low + whole_pages(bytes)};
    ambit__shadow_allocated(low, whole_pages(bytes));
    tell(AMBIT__OP_ALLOCATE, "mmap", memory, bytes, site);
    return memory;
}

void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    return map(address, bytes, protection, flags, file, offset, __builtin_return_address(0));
}

void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int file,
                    off64_t offset);
void *__wrap_mmap64(void *address, size_t bytes, int protection, int flags, int file,
                    off64_t offset) {
    return map(address, bytes, protection, flags, file, offset, __builtin_return_address(0));
}

int __wrap_munmap(void *address, size_t bytes);
int __wrap_munmap(void *address, size_t bytes) {
    if (!ambit__self) return __real_munmap(address, bytes);
    if ((uintptr_t)address % 4096 || !bytes) {
        errno = EINVAL;
        return -1;
    }
    const void *site = __builtin_return_address(0);
    tell(AMBIT__OP_FREE, "munmap", address, bytes, site);
    ambit__shadow_freed((uintptr_t)address, whole_pages(bytes), site);
    return 0;
}
