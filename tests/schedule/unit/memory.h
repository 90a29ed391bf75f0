/* For tests of the scheduler's memory, alone: threads that are only clocks, and failures that come
 * back. */
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

/* The sources under test are included, with all that they see of the runtime under other names: the
 * library is linked too, and has its own. */
#define ambit__arena_allocate memory_arena_allocate
#define ambit__arena_block memory_arena_block
#define ambit__arena_bytes memory_arena_bytes
#define ambit__arena_find_leak memory_arena_find_leak
#define ambit__arena_free memory_arena_free
#define ambit__arena_keep memory_arena_keep
#define ambit__arena_number memory_arena_number
#define ambit__arena_owns memory_arena_owns
#define ambit__arena_pattern memory_arena_pattern
#define ambit__arena_revive memory_arena_revive
#define ambit__arena_reset memory_arena_reset
#define ambit__arena_shift memory_arena_shift
#define ambit__fail memory_fail
#define ambit__fail_bad_bytes memory_fail_bad_bytes
#define ambit__fail_bad_pointer memory_fail_bad_pointer
#define ambit__fail_blank memory_fail_blank
#define ambit__fail_free memory_fail_free
#define ambit__fail_race memory_fail_race
#define ambit__found memory_found
#define ambit__host_bounds memory_host_bounds
#define ambit__is_allocation memory_is_allocation
#define ambit__mapping_owns memory_mapping_owns
#define ambit__mappings_keep memory_mappings_keep
#define ambit__mappings_reset memory_mappings_reset
#define ambit__reading_for memory_reading_for
#define ambit__recording memory_recording
#define ambit__reserve memory_reserve
#define ambit__schedule_number memory_schedule_number
#define ambit__self memory_self
#define ambit__shadow memory_shadow
#define ambit__shadow_access memory_shadow_access
#define ambit__shadow_alike memory_shadow_alike
#define ambit__shadow_allocated memory_shadow_allocated
#define ambit__shadow_at memory_shadow_at
#define ambit__shadow_begin memory_shadow_begin
#define ambit__shadow_chunks memory_shadow_chunks
#define ambit__shadow_clear memory_shadow_clear
#define ambit__shadow_copy memory_shadow_copy
#define ambit__shadow_each memory_shadow_each
#define ambit__shadow_each_known memory_shadow_each_known
#define ambit__shadow_each_root memory_shadow_each_root
#define ambit__shadow_evictions memory_shadow_evictions
#define ambit__shadow_find memory_shadow_find
#define ambit__shadow_forget memory_shadow_forget
#define ambit__shadow_freed memory_shadow_freed
#define ambit__shadow_get memory_shadow_get
#define ambit__shadow_has_cells memory_shadow_has_cells
#define ambit__shadow_keep memory_shadow_keep
#define ambit__shadow_last_write memory_shadow_last_write
#define ambit__shadow_make memory_shadow_make
#define ambit__shadow_none_gone memory_shadow_none_gone
#define ambit__shadow_page memory_shadow_page
#define ambit__shadow_page_at memory_shadow_page_at
#define ambit__shadow_page_make memory_shadow_page_make
#define ambit__shadow_renew memory_shadow_renew
#define ambit__shadow_reset memory_shadow_reset
#define ambit__shadow_run_end memory_shadow_run_end
#define ambit__shadow_save memory_shadow_save
#define ambit__shadow_shared memory_shadow_shared
#define ambit__shadow_unchecked memory_shadow_unchecked
#define ambit__shadow_undo memory_shadow_undo
#define ambit__shadow_was_freed memory_shadow_was_freed
#define ambit__tell memory_tell
#define ambit__thread_count memory_thread_count
#define ambit__threads memory_threads
#define __wrap_mmap memory_mmap
#define __wrap_mmap64 memory_mmap64
#define __wrap_munmap memory_munmap

#include "schedule/bad_access.c"

#include "schedule/shadow.c"

#include "schedule/shadow_begin.c"

#include "schedule/shadow_range.c"

#include "schedule/shadow_table.c"

#include "schedule/shadow_undo.c"

#include "schedule/arena.c"

#include "schedule/mapping.c"

/* What step.c and host.c would have. */
ambit__schedule_thread *ambit__self;
ambit__schedule_thread ambit__threads[AMBIT__THREADS];
unsigned ambit__thread_count;
uint32_t ambit__schedule_number;
bool ambit__recording;
const void *volatile ambit__reading_for;
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
