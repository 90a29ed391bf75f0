/* The shim over liburcu-memb 0.13.
 *
 * THREADSANITIZER sees no order in liburcu, which it does not instrument, and would report every
 * free after a grace period. The shim tells it exactly what a grace period orders and no more:
 *   read unlock   releases `grace`
 *   synchronize   acquires `grace` when it returns
 *   call          releases the head; the callback acquires the head and `grace`
 *   callback      releases `callbacks` when it returns
 *   barrier       acquires `callbacks` when it returns, and so what they acquired
 * Read lock acquires nothing: it would hide a pointer that was published without order. liburcu's
 * functions are called, not inlined, so that its own words stay out of the instrumented code.
 *
 * FORK. liburcu's handlers pause its worker; nothing of liburcu's guards its list of readers or its
 * queue of callbacks, so every call that walks or changes them is made inside `gate`, which fork()
 * closes: the child finds them whole, takes the readers off the list that did not come along (their
 * thread-local memory is handed to new threads by the C library), and starts a new worker.
 * Order: worker paused, gate, thread registry; a callback on the worker may need the gate to end.
 */
#define _GNU_SOURCE
#include "base/rcu.h"

#include <pthread.h>
#include <signal.h>
#include <urcu/urcu-memb.h>

#include <urcu/static/urcu-memb.h>

#include "base/bug.h"
#include "base/park.h"
#include "base/thread.h"

/* Not under the controlled scheduler, whose model of liburcu knows what a grace period orders. */
#if defined(AMBIT__MODELLED_RCU)
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#endif

#ifdef UNDER_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
void __tsan_mutex_pre_lock(void *address, unsigned flags);
void __tsan_mutex_post_lock(void *address, unsigned flags, int recursion);
int __tsan_mutex_pre_unlock(void *address, unsigned flags);
void __tsan_mutex_post_unlock(void *address, unsigned flags);
#define tell_locking(address, flags) __tsan_mutex_pre_lock((address), (flags))
#define tell_locked(address, flags) __tsan_mutex_post_lock((address), (flags), 0)
#define tell_unlocking(address, flags) ((void)__tsan_mutex_pre_unlock((address), (flags)))
#define tell_unlocked(address, flags) __tsan_mutex_post_unlock((address), (flags))
#define tell_acquire(address) __tsan_acquire(address)
#define tell_release(address) __tsan_release(address)
#else
#define tell_acquire(address) ((void)(address))
#define tell_release(address) ((void)(address))
#define tell_locking(address, flags) ((void)(address))
#define tell_locked(address, flags) ((void)(address))
#define tell_unlocking(address, flags) ((void)(address))
#define tell_unlocked(address, flags) ((void)(address))
#endif
/* ThreadSanitizer's flags for a lock that needs no creating, taken by one or shared. */
#define SHARED (1u << 3 | 1u)
#define ALONE 1u

_Static_assert(sizeof(struct rcu_head) <= sizeof((ambit__rcu_head *)0)->liburcu,
               "the opaque part holds liburcu's head");

/* Only their addresses count: what the end of a read section orders, and that of a callback. */
static char grace, callbacks;

/* How many are inside, and what fork() wants. Not a pthread_rwlock_t, which knows its writer by a
 * number that the child of a fork does not have. */
#define GATE_CLOSED (1u << 31)
#define GATE_WANTED (1u << 30) /* a fork waits until it is empty */
static _Atomic(uint32_t) gate;

/* Under `starting`; `running` is also read without. */
static ambit__mutex starting = {AMBIT__RANKED(AMBIT__RANK_RCU)};
static _Atomic(bool) running;
static bool fork_handled AMBIT__GUARDED_BY(starting);

/* Owner thread only. True as well on liburcu's worker, which registers itself. */
static _Thread_local bool registered;
static _Thread_local bool in_callback;

static void expect(bool holds, const char *function, const char *message) {
    if (ambit__unlikely(!holds)) ambit__bug(function, message, NULL, NULL);
}

static bool in_section(void) { return registered && urcu_memb_read_ongoing() != 0; }

/* ---- The gate -------------------------------------------------------------------------------- */

/* `stay_out` of the bits. A short visit passes a fork that waits: it may be made by a reader for whom
 * a synchronize waits inside, or by a thread that such a reader waits for. */
static void enter_gate(uint32_t stay_out) {
    tell_locking(&gate, SHARED);
    uint32_t seen = ambit__load_relaxed(&gate);
    for (;;) {
        if (ambit__unlikely(seen & stay_out)) {
            (void)ambit__park_until(&gate, seen, AMBIT_NEVER);
            seen = ambit__load_relaxed(&gate);
        } else if (ambit__swap_acquire(&gate, &seen, seen + 1)) { /* pairs with open_gate() */
            break;
        }
    }
    tell_locked(&gate, SHARED);
}

static void leave_gate(void) {
    tell_unlocking(&gate, SHARED);
    (void)ambit__sub_release(&gate, 1); /* release pairs with the acquire in close_gate() */
    tell_unlocked(&gate, SHARED);
}

static void close_gate(void) {
    tell_locking(&gate, ALONE);
    for (unsigned attempt = 0;; attempt++) {
        (void)ambit__or_relaxed(&gate, GATE_WANTED);
        uint32_t empty = GATE_WANTED;
        /* Acquire pairs with leave_gate(): what was done inside is in the child's memory. */
        if (ambit__swap_acquire(&gate, &empty, GATE_CLOSED)) break;
        ambit__backoff(attempt);
    }
    tell_locked(&gate, ALONE);
}

static void open_gate(void) {
    tell_unlocking(&gate, ALONE);
    ambit__store_release(&gate, 0); /* pairs with enter_gate(); who wants it too asks again */
    tell_unlocked(&gate, ALONE);
    ambit__unpark(&gate, AMBIT__ALL);
}

/* ---- Fork ------------------------------------------------------------------------------------ */

static sigset_t block_signals(void) {
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    return old;
}

static void restore_signals(sigset_t old) { (void)pthread_sigmask(SIG_SETMASK, &old, NULL); }

static void before_fork(void) {
    expect(!in_section(), "fork", "expected no open RCU read section on this thread, found one");
    urcu_memb_call_rcu_before_fork();
    close_gate();
}

static void after_fork_in_parent(void) {
    open_gate();
    urcu_memb_call_rcu_after_fork_parent();
}

static void forget_lost_readers(void) {
    for (ambit__thread *at = ambit__thread_records(); at; at = at->next) {
        if (at == ambit__thread_record || !at->rcu_reader) continue;
        struct urcu_reader *reader = at->rcu_reader;
        cds_list_del(&reader->node);
        at->rcu_reader = NULL;
    }
}

static void after_fork_in_child(void) {
    open_gate();
    ambit__store_relaxed(&starting.state, 0); /* who had it is not here */
    forget_lost_readers();
    sigset_t old = block_signals();
    urcu_memb_call_rcu_after_fork_child(); /* starts the worker anew */
    restore_signals(old);
}

/* ---- Start ----------------------------------------------------------------------------------- */

static void nothing(void *argument) { (void)argument; }

/* A thread ends: before its record is handed on. */
static void thread_ends(ambit__thread *thread) {
    if (!registered) return;
    expect(!in_section(), "pthread_exit",
           "expected no open RCU read section on a thread that ends, found one");
    enter_gate(GATE_CLOSED);
    urcu_memb_unregister_thread();
    thread->rcu_reader = NULL;
    leave_gate();
    registered = false;
}

/* liburcu aborts when it cannot start its worker: ask for a thread first, where failing is an
 * answer. */
static ambit_status start_locked(void) AMBIT__REQUIRES(starting) {
    ambit__worker probe;
    if (ambit__worker_start(&probe, "ambit-probe", nothing, NULL)) return AMBIT_ETHREAD;
    ambit__worker_join(&probe);
    if (!fork_handled) {
        if (pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) != 0)
            return AMBIT_EMEMORY;
        fork_handled = true;
    }
    sigset_t old = block_signals();
    bool worker = urcu_memb_get_default_call_rcu_data() != NULL;
    restore_signals(old);
    if (!worker) return AMBIT_ETHREAD;
    ambit__thread_on_exit(thread_ends);
    /* Release pairs with the acquire in start(). */
    ambit__store_release(&running, true);
    return AMBIT_OK;
}

static ambit_status start(void) {
    /* Acquire pairs with the release in start_locked(). */
    if (ambit__likely(ambit__load_acquire(&running))) return AMBIT_OK;
    ambit__mutex_lock(&starting);
    ambit_status status = ambit__load_relaxed(&running) ? AMBIT_OK : start_locked();
    ambit__mutex_unlock(&starting);
    return status;
}

ambit_status ambit__rcu_register(void) {
    if (ambit__likely(registered)) return AMBIT_OK;
    /* The record first: its fork handler must be older than ours, so that ours runs before it. */
    ambit__thread *self = ambit__thread_self();
    if (!self) return AMBIT_EMEMORY;
    ambit_status status = start();
    if (status) return status;
    enter_gate(GATE_CLOSED);
    urcu_memb_register_thread();
    self->rcu_reader = &URCU_TLS(urcu_memb_reader);
    leave_gate();
    registered = true;
    return AMBIT_OK;
}

/* ---- Readers --------------------------------------------------------------------------------- */

void ambit__rcu_read_lock(void) {
    expect(registered, "ambit__rcu_read_lock", "expected a registered thread");
    urcu_memb_read_lock();
}

void ambit__rcu_read_unlock(void) {
    expect(in_section(), "ambit__rcu_read_unlock", "expected an open read section, found none");
    tell_release(&grace);
    urcu_memb_read_unlock();
}

/* ---- Writers --------------------------------------------------------------------------------- */

void ambit__rcu_synchronize(void) {
    expect(!in_section(), "ambit__rcu_synchronize",
           "expected no open read section on this thread: it would wait for itself");
    enter_gate(GATE_CLOSED | GATE_WANTED);
    urcu_memb_synchronize_rcu();
    leave_gate();
    tell_acquire(&grace);
}

/* On liburcu's worker. */
static void run_callback(struct rcu_head *liburcu) {
    ambit__rcu_head *head = (ambit__rcu_head *)(void *)liburcu;
    tell_acquire(head);
    tell_acquire(&grace);
    registered = true;
    in_callback = true;
    head->run(head); /* the head may be gone */
    in_callback = false;
    tell_release(&callbacks);
}

void ambit__rcu_call(ambit__rcu_head *head, void (*run)(ambit__rcu_head *head)) {
    expect(registered, "ambit__rcu_call", "expected a registered thread");
    head->run = run;
    tell_release(head);
    enter_gate(GATE_CLOSED);
    urcu_memb_call_rcu((struct rcu_head *)(void *)head->liburcu, run_callback);
    leave_gate();
}

void ambit__rcu_barrier(void) {
    expect(!in_section(), "ambit__rcu_barrier",
           "expected no open read section on this thread: it would wait for itself");
    expect(!in_callback, "ambit__rcu_barrier", "expected not to be in a callback");
    /* No call can have been made. Relaxed: one of which this thread knows has found it running, and so does
     * this load; liburcu's own locks order the rest. */
    if (!ambit__load_relaxed(&running)) return;
    urcu_memb_barrier();
    tell_acquire(&callbacks);
}
