/* Whether all code of the program goes to its thread-local variables by the word at FS:0, as what is
 * compiled with -mno-tls-direct-seg-refs does. What goes by the register is looked for in its machine code:
 * variables lie at negative offsets there, and all else that is at FS at positive ones. What only looks like
 * it costs time and nothing else: then the threads run by themselves. */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "schedule/header.h"

enum {
    FS_PREFIX = 0x64,
    REX = 0x40,
    REX_MASK = 0xf0,
    ABSOLUTE = 0x25,
    TWO_BYTES = 0x0f,
    REACH = 24
};

static bool is_negative(const unsigned char *number) {
    int32_t value;
    memcpy(&value, number, sizeof value);
    return value < 0 && value > -(1 << 24);
}

/* FS:number, with the number in the instruction. */
static bool goes_directly(const unsigned char *at) {
    if (*at++ != FS_PREFIX) return false;
    if ((*at & REX_MASK) == REX) at++;
    if (*at == TWO_BYTES) at++;
    return (at[1] & 0xc7) == 4 && at[2] == ABSOLUTE && is_negative(at + 3);
}

/* A negative number into a register (REX.W c7 /0), and soon something at FS: what the linker makes of the way
 * by a table. */
static bool goes_by_table(const unsigned char *at, const unsigned char *end) {
    if ((at[0] & 0xf8) != 0x48 || at[1] != 0xc7 || (at[2] & 0xf8) != 0xc0 || !is_negative(at + 3))
        return false;
    for (const unsigned char *next = at + 7; next < at + REACH && next + 3 < end; next++)
        if (*next == FS_PREFIX && next[2] != 0 && (next[1] & REX_MASK) == REX &&
            (next[3] & 0xc0) == 0 && (next[3] & 7) != 4)
            return true;
    return false;
}

static bool scan(const unsigned char *at, const unsigned char *end) {
    for (; at + REACH < end; at++)
        if (goes_directly(at) || goes_by_table(at, end)) return true;
    return false;
}

/* The first object is the program itself; what the scheduler sees into is linked into it. */
static int look(struct dl_phdr_info *object, size_t bytes, void *found) {
    (void)bytes;
    for (unsigned i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        const unsigned char *start = (const unsigned char *)(object->dlpi_addr + part->p_vaddr);
        if (part->p_type == PT_LOAD && part->p_flags & PF_X && part->p_flags & PF_R)
            *(bool *)found |= scan(start, start + part->p_memsz);
    }
    return 1;
}

bool ambit__host_header_works(void) {
    bool direct = false;
#ifdef __x86_64__
    (void)dl_iterate_phdr(look, &direct);
    if (direct)
        (void)fprintf(stderr,
                      "ambit::schedule: slower than it could be: this machine has no FSGSBASE, and "
                      "something here was compiled without -mno-tls-direct-seg-refs\n");
    return !direct;
#else
    (void)direct;
    return false;
#endif
}
