/* What the compiler calls for plain memory: before each access, and where functions begin and end.
 *
 * The list is that of clang 14 to 19 and of gcc 12 and later, with the options that change it
 * (volatile accesses apart, reads before writes as one), and what code that knows the sanitizer
 * calls by hand. In a schedule an access is checked, outside of one nothing happens: these calls
 * only tell.
 *
 * What a clang does not tell: a read that a write of the same follows in the same basic block;
 * accesses wider than 16 bytes; locals whose address goes nowhere. What a gcc does not tell:
 * memcpy() and its like where it makes them code of its own, unless it is given -fno-builtin-memcpy
 * and the like. */
#include "schedule/abi.h"
#include "schedule/header.h"
#include "schedule/host.h"

#define SITE __builtin_return_address(0)

/* The library is linked statically, and its own symbols are hidden; these are for a shared library
 * of the program's that was instrumented as well. */
#define VISIBLE __attribute__((visibility("default")))

/* ---- In a schedule --------------------------------------------------------------------------- */

/* Rows for all but the thread's own stack, on which it tells nothing of others. */
static void __attribute__((cold))
tell(const void *address, size_t bytes, bool writes, const void *site) {
    uintptr_t low, high, at = (uintptr_t)address;
    ambit__host_bounds(ambit__self->index, &low, &high);
    if (at >= low && at < high) return;
    ambit__operation row = {.kind = writes ? AMBIT__OP_WRITE_PLAIN : AMBIT__OP_READ_PLAIN,
                            .address = address,
                            .size = (uint8_t)(bytes < 255 ? bytes : 255),
                            .site = site};
    /* What a write stores is not known yet. */
    if (!writes && bytes <= sizeof row.value && at >= 4096 && !(at >> 47)) {
        ambit__reading_for = site;
        memcpy(&row.value, address, bytes);
        ambit__reading_for = NULL;
    }
    ambit__tell(&row);
}

/* A loop over plain memory takes no steps, and whoever could end it would never come: that it waits
 * in this way is a race mostly, and seen as one as soon as the other has come. So many accesses
 * without a step, which is more than work is between two of them, make one. It spins if all it did
 * was to look, or if nobody came at such steps before. Who comes then is not there; the rest is for
 * the watchdog. */
#define PLAIN_MOST 20000
#define PATIENT_ROUNDS 8
#define ROUNDS 64
uint32_t ambit__plain_count;
static bool plain_wrote;
static unsigned rounds; /* such steps one after the other */
static uint64_t round_end;

static void __attribute__((cold)) step_in_between(const void *site) {
    rounds = round_end == ambit__step_total ? rounds + 1 : 0;
    bool spins = !plain_wrote || rounds >= PATIENT_ROUNDS;
    if (rounds < ROUNDS) {
        ambit__operation operation = {.kind = AMBIT__OP_YIELD, .name = "goes on", .site = site};
        if (spins) ambit__spin();
        ambit__step(&operation);
    }
    ambit__plain_count = 0;
    round_end = ambit__step_total;
}

static inline void count(bool writes, const void *site) {
    if (++ambit__plain_count == 1) plain_wrote = false;
    plain_wrote |= writes;
    if (__builtin_expect(ambit__plain_count > PLAIN_MOST, 0)) step_in_between(site);
}

static inline void plain(const void *address, size_t bytes, bool writes, const void *site) {
    if (!ambit__self || address == ambit__host_error) return;
    count(writes, site);
    if (__builtin_expect(ambit__ignoring[ambit__self->index].schedule == ambit__schedule_number,
                         0) &&
        ambit__ignores()) {
        if (writes) ambit__shadow_unchecked((uintptr_t)address, bytes);
        return;
    }
    if (__builtin_expect(ambit__recording, 0)) tell(address, bytes, writes, site);
    ambit__shadow_access((uintptr_t)address, bytes, writes, false, site);
}

static void copy(void *to, const void *from, size_t bytes, const void *site) {
    if (!ambit__self || !bytes) return;
    if (ambit__recording) tell(from, bytes, false, site);
    ambit__shadow_copy((uintptr_t)from, bytes, false, site);
    plain(to, bytes, true, site);
}

/* ---- Accesses -------------------------------------------------------------------------------- */

#define ACCESS(name, bytes, writes)                                                                \
    VISIBLE void __tsan_##name(const void *address);                                               \
    void __tsan_##name(const void *address) { plain(address, bytes, writes, SITE); }

#define ACCESS_OF(bytes)                                                                           \
    ACCESS(read##bytes, bytes, false)                                                              \
    ACCESS(write##bytes, bytes, true)                                                              \
    ACCESS(read_write##bytes, bytes, true)                                                         \
    ACCESS(volatile_read##bytes, bytes, false)                                                     \
    ACCESS(volatile_write##bytes, bytes, true)                                                     \
    ACCESS(unaligned_read##bytes, bytes, false)                                                    \
    ACCESS(unaligned_write##bytes, bytes, true)                                                    \
    ACCESS(unaligned_read_write##bytes, bytes, true)                                               \
    ACCESS(unaligned_volatile_read##bytes, bytes, false)                                           \
    ACCESS(unaligned_volatile_write##bytes, bytes, true)                                           \
    VISIBLE void __tsan_read##bytes##_pc(const void *address, const void *site);                   \
    void __tsan_read##bytes##_pc(const void *address, const void *site) {                          \
        plain(address, bytes, false, site);                                                        \
    }                                                                                              \
    VISIBLE void __tsan_write##bytes##_pc(void *address, const void *site);                        \
    void __tsan_write##bytes##_pc(void *address, const void *site) {                               \
        plain(address, bytes, true, site);                                                         \
    }

ACCESS_OF(1)
ACCESS_OF(2)
ACCESS_OF(4)
ACCESS_OF(8)
ACCESS_OF(16)

VISIBLE void __tsan_read_range(const void *address, unsigned long bytes);
void __tsan_read_range(const void *address, unsigned long bytes) {
    plain(address, bytes, false, SITE);
}

VISIBLE void __tsan_write_range(void *address, unsigned long bytes);
void __tsan_write_range(void *address, unsigned long bytes) { plain(address, bytes, true, SITE); }

VISIBLE void __tsan_read_range_pc(const void *address, unsigned long bytes, const void *site);
void __tsan_read_range_pc(const void *address, unsigned long bytes, const void *site) {
    plain(address, bytes, false, site);
}

VISIBLE void __tsan_write_range_pc(void *address, unsigned long bytes, const void *site);
void __tsan_write_range_pc(void *address, unsigned long bytes, const void *site) {
    plain(address, bytes, true, site);
}

/* C++'s tables of virtual functions: constructors and destructors write the pointer again and
 * again, mostly what stands there already. */
VISIBLE void __tsan_vptr_read(void **pointer);
void __tsan_vptr_read(void **pointer) { plain(pointer, sizeof *pointer, false, SITE); }

VISIBLE void __tsan_vptr_update(void **pointer, const void *value);
void __tsan_vptr_update(void **pointer, const void *value) {
    if (*pointer != value) plain(pointer, sizeof *pointer, true, SITE);
}

/* By hand, and by a library that is not instrumented, of an object as a whole. */
VISIBLE void __tsan_external_read(void *address, const void *site, void *tag);
void __tsan_external_read(void *address, const void *site, void *tag) {
    (void)tag;
    plain(address, 1, false, site);
}

VISIBLE void __tsan_external_write(void *address, const void *site, void *tag);
void __tsan_external_write(void *address, const void *site, void *tag) {
    (void)tag;
    plain(address, 1, true, site);
}

#define UNALIGNED(bits)                                                                            \
    VISIBLE uint##bits##_t __sanitizer_unaligned_load##bits(const void *address);                  \
    uint##bits##_t __sanitizer_unaligned_load##bits(const void *address) {                         \
        uint##bits##_t value;                                                                      \
        plain(address, sizeof value, false, SITE);                                                 \
        memcpy(&value, address, sizeof value);                                                     \
        return value;                                                                              \
    }                                                                                              \
    VISIBLE void __sanitizer_unaligned_store##bits(void *address, uint##bits##_t value);           \
    void __sanitizer_unaligned_store##bits(void *address, uint##bits##_t value) {                  \
        plain(address, sizeof value, true, SITE);                                                  \
        memcpy(address, &value, sizeof value);                                                     \
    }

UNALIGNED(16)
UNALIGNED(32)
UNALIGNED(64)

/* ---- Memory as a whole: clang from 15 on ----------------------------------------------------- */

VISIBLE void *__tsan_memcpy(void *to, const void *from, unsigned long bytes);
void *__tsan_memcpy(void *to, const void *from, unsigned long bytes) {
    copy(to, from, bytes, SITE);
    return memcpy(to, from, bytes);
}

VISIBLE void *__tsan_memmove(void *to, const void *from, unsigned long bytes);
void *__tsan_memmove(void *to, const void *from, unsigned long bytes) {
    copy(to, from, bytes, SITE);
    return memmove(to, from, bytes);
}

VISIBLE void *__tsan_memset(void *memory, int byte, unsigned long bytes);
void *__tsan_memset(void *memory, int byte, unsigned long bytes) {
    plain(memory, bytes, true, SITE);
    return memset(memory, byte, bytes);
}

/* ---- Functions ------------------------------------------------------------------------------- */

/* Of what is deeper than the array, only the depth is known. */
VISIBLE void __tsan_func_entry(const void *return_address);
void __tsan_func_entry(const void *return_address) {
    ambit__schedule_thread *self = ambit__self;
    if (!self) return;
    if (self->call_count < AMBIT__CALLS) self->calls[self->call_count] = return_address;
    self->call_count++;
}

VISIBLE void __tsan_func_exit(void);
void __tsan_func_exit(void) {
    ambit__schedule_thread *self = ambit__self;
    if (self && self->call_count) self->call_count--;
}

/* -finstrument-functions: only that they are called matters; see AmbitSchedule.cmake. A program may
 *   have its own. */
#define CALLED_BY_ALL VISIBLE __attribute__((weak))
CALLED_BY_ALL void __cyg_profile_func_enter(void *function, void *site);
void __cyg_profile_func_enter(void *function, void *site) { (void)function, (void)site; }
CALLED_BY_ALL void __cyg_profile_func_exit(void *function, void *site);
void __cyg_profile_func_exit(void *function, void *site) { (void)function, (void)site; }

/* Each instrumented object calls it before main(). */
bool ambit__instrumented;
VISIBLE void __tsan_init(void);
void __tsan_init(void) { ambit__instrumented = true; }
