/* Which operations meet.
 *
 * By memory: they have a byte in common, and one of them writes. That is right under weak memory
 * too: a load may see a store older than the last one executed, but never one that is executed
 * later, so that only their order by address counts; and of two loads neither changes what the
 * other may see, unless something orders them.
 *
 * By things that are no memory:
 *   ORDER     what SC fences share. An SC fence, or what acts as one in the kernel, writes it; an
 *             SC access only looks at it (history.c: `fences`, and the time of SC stores against
 *             that of fences), so that two of these meet by address only.
 *   BARRIER   what heavy and light barriers share: heavy ones write, light ones look.
 *   TIME      an operation that may end by its deadline moves time, and is moved by it. Reading
 *             the clock is no step: that what is read depends on who slept before is not seen here,
 *             so that a program which decides by the time of day wants a bound on preemptions, and
 *             so plain search.
 *   THREADS   whoever makes a thread takes a number.
 *   SPURIOUS  waits that may end for nothing: a schedule has only so many.
 *
 * RCU's model is memory of its own, one address for each flavour, and its ends of grace periods
 * order like heavy barriers. What is not known here, or names no address, meets everything: too
 * many schedules, never too few. */
#include "schedule/explore_meet.h"

enum { ORDER = 1, BARRIER = 2, TIME = 4, THREADS = 8, SPURIOUS = 16 };

static void touch_memory(const ambit__operation *operation, ambit__touch *touch, bool writes) {
    if (!operation->address) {
        touch->everything = true;
        return;
    }
    uintptr_t address = (uintptr_t)operation->address;
    touch->low = address;
    touch->high = address + (operation->size ? operation->size - 1u : 0);
    touch->writes = writes;
}

static void touch_atomic(const ambit__operation *operation, ambit__touch *touch) {
    touch_memory(operation, touch, operation->writes);
    /* An exchange that fails has an order of its own, which is not announced. */
    if (operation->order == AMBIT__SEQ_CST || operation->kind == AMBIT__OP_COMPARE_EXCHANGE)
        touch->thing_reads |= ORDER;
    if (operation->name) touch->thing_writes |= ORDER; /* the kernel's, behind a full barrier */
}

/* Those may look at many, whatever address they name. */
static bool is_of_descriptors(const ambit__operation *operation) {
    static const char *const known[] = {"condition", "futex", "barrier", "once", "semaphore"};
    if (!operation->waits_for) return false;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(operation->waits_for, known[i]) == 0) return false;
    return true;
}

/* Other calls name what they are about only if it is one of these. */
static bool is_of_lock(const ambit__operation *operation) {
    const char *name = operation->name;
    return name && (strncmp(name, "pthread_", 8) == 0 || strncmp(name, "sem_", 4) == 0);
}

static bool is_mutex(const ambit__operation *operation) {
    return operation->waits_for && strcmp(operation->waits_for, "mutex") == 0;
}

void ambit__touch_of(const ambit__operation *operation, ambit__touch *touch) {
    *touch = (ambit__touch){.low = 1, .kind = (uint8_t)operation->kind};
    switch (operation->kind) {
    case AMBIT__OP_START:
    case AMBIT__OP_YIELD:
    case AMBIT__OP_ALLOCATE:
        break;
    case AMBIT__OP_LOAD:
    case AMBIT__OP_STORE:
    case AMBIT__OP_EXCHANGE:
    case AMBIT__OP_COMPARE_EXCHANGE:
        touch_atomic(operation, touch);
        break;
    case AMBIT__OP_FENCE:
        if (operation->order == AMBIT__SEQ_CST) touch->thing_writes = ORDER;
        break;
    case AMBIT__OP_LIGHT_BARRIER:
        if (operation->order != AMBIT__RELAXED) touch->thing_reads = BARRIER;
        break;
    case AMBIT__OP_HEAVY_BARRIER:
        if (operation->order != AMBIT__RELAXED) touch->thing_writes = BARRIER | ORDER;
        break;
    case AMBIT__OP_SPAWN:
        touch->thing_writes = THREADS;
        break;
    case AMBIT__OP_LOCK:
    case AMBIT__OP_TRY_LOCK:
    case AMBIT__OP_UNLOCK:
    case AMBIT__OP_JOIN:
    case AMBIT__OP_EXIT:
    case AMBIT__OP_FREE:
        touch_memory(operation, touch, true);
        touch->exclusive = operation->kind == AMBIT__OP_LOCK && is_mutex(operation);
        break;
    case AMBIT__OP_WAIT:
        touch_memory(operation, touch, operation->writes);
        if (is_of_descriptors(operation)) touch->everything = true;
        break;
    case AMBIT__OP_GRACE:
        touch_memory(operation, touch, operation->writes);
        touch->thing_writes = ORDER | BARRIER;
        break;
    case AMBIT__OP_CALL:
        touch_memory(operation, touch, true);
        if (!is_of_lock(operation)) touch->everything = true;
        break;
    case AMBIT__OP_WAKE:
        touch_memory(operation, touch, true);
        touch->thing_writes = ORDER; /* the kernel's full barrier */
        break;
    case AMBIT__OP_SLEEP:
        touch->thing_writes = TIME;
        break;
    default:
        touch->everything = true;
    }
    if (operation->ready && operation->deadline_ns != AMBIT__FOREVER) touch->thing_writes |= TIME;
    if (operation->ready && operation->spurious) touch->thing_writes |= SPURIOUS;
}

bool ambit__never_together(const ambit__touch *taken, const ambit__touch *waiting) {
    if (taken->everything || waiting->everything) return false;
    /* While one holds a mutex, and so can unlock it, no other can lock it. */
    if (taken->kind == AMBIT__OP_UNLOCK && waiting->exclusive) return true;
    /* Who has not ended cannot be joined. */
    return taken->kind == AMBIT__OP_EXIT && waiting->kind == AMBIT__OP_JOIN;
}

bool ambit__waits_for_one(const ambit__operation *operation) {
    if (!operation->address || operation->deadline_ns != AMBIT__FOREVER) return false;
    return operation->kind == AMBIT__OP_LOCK || operation->kind == AMBIT__OP_JOIN ||
           operation->kind == AMBIT__OP_GRACE ||
           (operation->kind == AMBIT__OP_WAIT && !is_of_descriptors(operation));
}
