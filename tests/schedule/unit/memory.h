/* For tests of the scheduler's memory, alone: threads that are only clocks, and failures that come back. */
#ifndef TESTS_SCHEDULE_UNIT_MEMORY_H
#define TESTS_SCHEDULE_UNIT_MEMORY_H

#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "schedule/heap.h"

/* The tests are linked with --wrap, as all that uses the library, and some run as a thread of a schedule: their
 * own calls, and those that the compiler makes, are no accesses of a program. To the assembler the plain
 * names mean the real ones, as they do in the library. */
#ifndef TEST_UNWRAPPED
#define REAL(name) __asm__(".set " #name ", __real_" #name)
REAL(memcmp);
REAL(memcpy);
REAL(memset);
REAL(strcmp);
REAL(strstr);
REAL(vsnprintf);
REAL(malloc);
REAL(free);
REAL(mmap);
REAL(munmap);
#endif

/* What step.c, host.c and the linker would have. */
ambit__schedule_thread *ambit__self;
ambit__schedule_thread ambit__threads[AMBIT__THREADS];
unsigned ambit__thread_count;
uint32_t ambit__schedule_number;
bool ambit__recording;
ambit__finding ambit__found;

static uintptr_t test_stack_low, test_stack_high; /* of thread 7 */
static jmp_buf test_back;
static bool test_expecting;

void ambit__tell(const ambit__operation *operation) { (void)operation; }

void ambit__host_bounds(unsigned index, uintptr_t *low, uintptr_t *high) {
    *low = index == 7 ? test_stack_low : 1;
    *high = index == 7 ? test_stack_high : 2;
}

void ambit__fail(ambit_schedule_failure failure, const void *site, const void *other_site,
                 const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    ambit__found.failure = failure;
    ambit__found.site = site;
    ambit__found.other_site = other_site;
    (void)vsnprintf(ambit__found.message, sizeof ambit__found.message, format, arguments);
    va_end(arguments);
    if (!test_expecting) fail_msg("%s", ambit__found.message);
    longjmp(test_back, 1);
}

#ifdef TEST_UNWRAPPED
void *__real_mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
    return mmap(address, bytes, protection, flags, file, offset);
}
int __real_munmap(void *address, size_t bytes) { return munmap(address, bytes); }
#endif

/* Does `what`, and says what was found. */
#define FAILURE_OF(what)                                                                           \
    (test_expecting = true, ambit__found.failure = AMBIT_SCHEDULE_CLEAN,                           \
     setjmp(test_back) ? (void)0 : (void)(what), test_expecting = false, ambit__found.failure)
#define assert_failure(what, kind) assert_int_equal(FAILURE_OF(what), kind)
#define assert_told(text)                                                                          \
    do {                                                                                           \
        if (!strstr(ambit__found.message, text))                                                   \
            fail_msg("\"%s\" does not say \"%s\"", ambit__found.message, text);                    \
    } while (0)

#define SITE(number) ((const void *)(uintptr_t)(0x1000 + (number)))

static inline void as(unsigned thread) { ambit__self = &ambit__threads[thread]; }

/* What `from` has done until now happens before what `to` does from now on. */
static inline void order(unsigned from, unsigned to) {
    ambit__vector_join(&ambit__threads[to].happens, &ambit__threads[from].happens);
    ambit__threads[from].happens.at[from]++;
}

static inline void step(void) { ambit__self->happens.at[ambit__self->index]++; }

static inline void begin(void) {
    ambit__schedule_number++;
    for (unsigned i = 0; i < AMBIT__THREADS; i++) {
        ambit__threads[i] =
            (ambit__schedule_thread){.state = AMBIT__THREAD_LIVE, .index = (uint8_t)i};
        ambit__threads[i].happens.at[i] = 1;
    }
    ambit__thread_count = AMBIT__THREADS;
    ambit__shadow_reset();
    ambit__arena_reset();
    as(0);
}

static inline void end(void) {
    ambit__self = NULL;
    ambit__shadow_undo();
}

static inline void reads(const void *at, size_t bytes, unsigned site) {
    ambit__shadow_access((uintptr_t)at, bytes, false, false, SITE(site));
}
static inline void writes(const void *at, size_t bytes, unsigned site) {
    ambit__shadow_access((uintptr_t)at, bytes, true, false, SITE(site));
}
static inline void atomic_reads(const void *at, size_t bytes, unsigned site) {
    ambit__shadow_access((uintptr_t)at, bytes, false, true, SITE(site));
}
static inline void atomic_writes(const void *at, size_t bytes, unsigned site) {
    ambit__shadow_access((uintptr_t)at, bytes, true, true, SITE(site));
}

static inline int begin_test(void **state) {
    (void)state;
    begin();
    return 0;
}
static inline int end_test(void **state) {
    (void)state;
    end();
    return 0;
}
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_test, end_test)

#endif
