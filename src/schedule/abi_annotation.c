/* What code that knows the sanitizer tells it by hand: who waits for whom, which accesses to leave
 * alone.
 *
 * Orders that are claimed (acquire and release of an address, a lock that is not pthread's) become
 * edges between clocks, as of a lock that never blocks; none of them is a step. A lock's own inside
 * is not checked while it is taken or given back, as its author vouches for it. The old names by
 * which Valgrind and Chromium annotate are weak: many programs bring their own. */
#include "schedule/abi.h"

#pragma GCC diagnostic ignored "-Wunused-parameter" /* most of what is told is of no use here */

#define VISIBLE __attribute__((visibility("default")))
#define WEAK __attribute__((weak, visibility("default")))
#define SITE __builtin_return_address(0)

ambit__ignored ambit__ignoring[AMBIT__THREADS];

static void ignore(int by) {
    if (!ambit__self) return;
    ambit__ignored *ignored = &ambit__ignoring[ambit__self->index];
    if (ignored->schedule != ambit__schedule_number)
        *ignored = (ambit__ignored){ambit__schedule_number, 0};
    if (by > 0)
        ignored->depth++;
    else if (ignored->depth)
        ignored->depth--;
}

static void give(const void *address) {
    if (ambit__self)
        ambit__release_to(&ambit__object_at(address, AMBIT__OBJECT_ANNOTATION)->released);
}

static void take(const void *address) {
    if (ambit__self)
        ambit__acquire_from(&ambit__object_at(address, AMBIT__OBJECT_ANNOTATION)->released);
}

/* ---- Order ----------------------------------------------------------------------------------- */

VISIBLE void __tsan_acquire(void *address);
void __tsan_acquire(void *address) { take(address); }

VISIBLE void __tsan_release(void *address);
void __tsan_release(void *address) { give(address); }

/* ---- Locks of the program's own -------------------------------------------------------------- */

enum { READ_LOCK = 1 << 3, TRY_FAILED = 1 << 5 };

VISIBLE void __tsan_mutex_create(void *lock, unsigned flags);
void __tsan_mutex_create(void *lock, unsigned flags) {}

VISIBLE void __tsan_mutex_destroy(void *lock, unsigned flags);
void __tsan_mutex_destroy(void *lock, unsigned flags) {}

VISIBLE void __tsan_mutex_pre_lock(void *lock, unsigned flags);
void __tsan_mutex_pre_lock(void *lock, unsigned flags) { ignore(1); }

/* A reader takes what writers gave; what readers give goes to writers, and with this to later
 * readers too, which is more than is true: a race between readers, which do not write, it cannot
 * hide. */
VISIBLE void __tsan_mutex_post_lock(void *lock, unsigned flags, int recursion);
void __tsan_mutex_post_lock(void *lock, unsigned flags, int recursion) {
    ignore(-1);
    if (!(flags & TRY_FAILED)) take(lock);
}

VISIBLE int __tsan_mutex_pre_unlock(void *lock, unsigned flags);
int __tsan_mutex_pre_unlock(void *lock, unsigned flags) {
    give(lock);
    ignore(1);
    return 1; /* levels: of a recursive lock that gives all back at once, for its post_lock */
}

VISIBLE void __tsan_mutex_post_unlock(void *lock, unsigned flags);
void __tsan_mutex_post_unlock(void *lock, unsigned flags) { ignore(-1); }

VISIBLE void __tsan_mutex_pre_signal(void *lock, unsigned flags);
void __tsan_mutex_pre_signal(void *lock, unsigned flags) { ignore(1); }

VISIBLE void __tsan_mutex_post_signal(void *lock, unsigned flags);
void __tsan_mutex_post_signal(void *lock, unsigned flags) { ignore(-1); }

/* Within one of the above, but nothing of the lock's. */
VISIBLE void __tsan_mutex_pre_divert(void *lock, unsigned flags);
void __tsan_mutex_pre_divert(void *lock, unsigned flags) { ignore(-1); }

VISIBLE void __tsan_mutex_post_divert(void *lock, unsigned flags);
void __tsan_mutex_post_divert(void *lock, unsigned flags) { ignore(1); }

VISIBLE void __tsan_check_no_mutexes_held(void);
void __tsan_check_no_mutexes_held(void) {}

/* ---- What is left alone ---------------------------------------------------------------------- */

VISIBLE void __tsan_ignore_thread_begin(void);
void __tsan_ignore_thread_begin(void) { ignore(1); }

VISIBLE void __tsan_ignore_thread_end(void);
void __tsan_ignore_thread_end(void) { ignore(-1); }

/* ---- Fibers, reports, tags: nothing of these is here ----------------------------------------- */

VISIBLE void *__tsan_get_current_fiber(void);
void *__tsan_get_current_fiber(void) { return ambit__self; }

VISIBLE void *__tsan_create_fiber(unsigned flags);
void *__tsan_create_fiber(unsigned flags) {
    static char fiber; /* something to pass back */
    return &fiber;
}

VISIBLE void __tsan_destroy_fiber(void *fiber);
void __tsan_destroy_fiber(void *fiber) {}

VISIBLE void __tsan_set_fiber_name(void *fiber, const char *name);
void __tsan_set_fiber_name(void *fiber, const char *name) {}

/* Going to where one is already is harmless. */
VISIBLE void __tsan_switch_to_fiber(void *fiber, unsigned flags);
void __tsan_switch_to_fiber(void *fiber, unsigned flags) {
    if (ambit__self && fiber != ambit__self)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, SITE, NULL,
                    "__tsan_switch_to_fiber(): switching stacks is not supported");
}

VISIBLE void *__tsan_external_register_tag(const char *type);
void *__tsan_external_register_tag(const char *type) { return (void *)(uintptr_t)type; }

VISIBLE void __tsan_external_register_header(void *tag, const char *header);
void __tsan_external_register_header(void *tag, const char *header) {}

VISIBLE void __tsan_external_assign_tag(void *address, void *tag);
void __tsan_external_assign_tag(void *address, void *tag) {}

VISIBLE void __tsan_flush_memory(void);
void __tsan_flush_memory(void) {}

VISIBLE void __tsan_on_thread_idle(void);
void __tsan_on_thread_idle(void) {}

VISIBLE void *__tsan_get_current_report(void);
void *__tsan_get_current_report(void) { return NULL; }

/* ---- The older names ------------------------------------------------------------------------- */

#define ANNOTATION(name, ...)                                                                      \
    WEAK void name(const char *file, int line, ##__VA_ARGS__);                                     \
    void name(const char *file, int line, ##__VA_ARGS__)

ANNOTATION(AnnotateHappensBefore, void *object) { give(object); }
ANNOTATION(WTFAnnotateHappensBefore, void *object) { give(object); }
ANNOTATION(AnnotatePCQPut, void *object) { give(object); }
ANNOTATION(AnnotateHappensAfter, void *object) { take(object); }
ANNOTATION(WTFAnnotateHappensAfter, void *object) { take(object); }
ANNOTATION(AnnotatePCQGet, void *object) { take(object); }
ANNOTATION(AnnotateRWLockAcquired, void *lock, uintptr_t writes) { take(lock); }
ANNOTATION(AnnotateRWLockReleased, void *lock, uintptr_t writes) { give(lock); }
ANNOTATION(AnnotateIgnoreReadsBegin) { ignore(1); }
ANNOTATION(AnnotateIgnoreReadsEnd) { ignore(-1); }
ANNOTATION(AnnotateIgnoreWritesBegin) { ignore(1); }
ANNOTATION(AnnotateIgnoreWritesEnd) { ignore(-1); }

/* Told in vain. "Benign" races are among them: they are undefined behaviour like all others. */
ANNOTATION(AnnotateRWLockCreate, void *lock) {}
ANNOTATION(AnnotateRWLockCreateStatic, void *lock) {}
ANNOTATION(AnnotateRWLockDestroy, void *lock) {}
ANNOTATION(AnnotateIgnoreSyncBegin) {}
ANNOTATION(AnnotateIgnoreSyncEnd) {}
ANNOTATION(AnnotateCondVarSignal, void *object) {}
ANNOTATION(AnnotateCondVarSignalAll, void *object) {}
ANNOTATION(AnnotateCondVarWait, void *object, void *lock) {}
ANNOTATION(AnnotateMutexIsNotPHB, void *lock) {}
ANNOTATION(AnnotateMutexIsUsedAsCondVar, void *lock) {}
ANNOTATION(AnnotatePCQCreate, void *queue) {}
ANNOTATION(AnnotatePCQDestroy, void *queue) {}
ANNOTATION(AnnotatePublishMemoryRange, void *memory, uintptr_t bytes) {}
ANNOTATION(AnnotateUnpublishMemoryRange, void *memory, uintptr_t bytes) {}
ANNOTATION(AnnotateNewMemory, void *memory, uintptr_t bytes) {}
ANNOTATION(AnnotateMemoryIsInitialized, void *memory, uintptr_t bytes) {}
ANNOTATION(AnnotateMemoryIsUninitialized, void *memory, uintptr_t bytes) {}
ANNOTATION(AnnotateTraceMemory, void *memory) {}
ANNOTATION(AnnotateFlushState) {}
ANNOTATION(AnnotateNoOp, void *memory) {}
ANNOTATION(AnnotateFlushExpectedRaces) {}
ANNOTATION(AnnotateEnableRaceDetection, int enable) {}
ANNOTATION(AnnotateThreadName, const char *name) {}
ANNOTATION(AnnotateExpectRace, void *memory, const char *why) {}
ANNOTATION(AnnotateBenignRace, void *memory, const char *why) {}
ANNOTATION(AnnotateBenignRaceSized, void *memory, uintptr_t bytes, const char *why) {}
ANNOTATION(WTFAnnotateBenignRaceSized, void *memory, uintptr_t bytes, const char *why) {}

WEAK int RunningOnValgrind(void);
int RunningOnValgrind(void) { return 0; }

WEAK double ValgrindSlowdown(void);
double ValgrindSlowdown(void) { return 1; }

WEAK const char *ThreadSanitizerQuery(const char *query);
const char *ThreadSanitizerQuery(const char *query) {
    return strcmp(query, "pure_happens_before") ? "0" : "1";
}
