/* liburcu's names, in its own place: a program that links the scheduler needs no liburcu, and gets
 * the model of rcu.c for each flavour. Outside of a schedule, where one thread is alone, readers
 * are not counted, grace periods are over at once, and callbacks run where they are called.
 *
 * Only the functions can be seen. liburcu's headers put read sections inline when _LGPL_SOURCE is
 * defined; those are found out: see `inlined`. Its macros for pointers and shared accesses are
 * volatile accesses to a compiler, no atomics: include/ambit/schedule_liburcu/ has others. Its
 * uatomic_...() are assembler: code under test uses C11's atomics. Its containers (liburcu-cds) are
 * not modelled. */
#define _GNU_SOURCE
#define DEBUG_RCU /* else QSBR's read sections are empty functions in its header */
#include <pthread.h>

#include <urcu/urcu-bp.h>
#include <urcu/urcu-mb.h>
#include <urcu/urcu-memb.h>
#include <urcu/urcu-qsbr.h>
#if __has_include(<urcu/urcu-signal.h>)
#include <urcu/urcu-signal.h>
#define HAVE_SIGNAL 1
#endif

#include <urcu/static/urcu-bp.h>
#include <urcu/static/urcu-common.h>
#include <urcu/static/urcu-qsbr.h>

#include <urcu/futex.h>

#include "schedule/rcu.h"

#define HERE __builtin_return_address(0)

/* ---- Calls ----------------------------------------------------------------------------------- */

static void call(ambit__model_flavour flavour, struct rcu_head *head,
                 void (*run)(struct rcu_head *head), const void *site) {
    if (ambit__self)
        ambit__model_call(
            flavour,
            &(ambit__model_work){.head = head, .head_bytes = sizeof *head, .run_head = run}, site);
    else
        run(head);
}

static void defer(ambit__model_flavour flavour, void (*run)(void *argument), void *argument,
                  const void *site) {
    if (ambit__self)
        ambit__model_call(flavour, &(ambit__model_work){.run = run, .argument = argument}, site);
    else
        run(argument);
}

/* ---- Flavours -------------------------------------------------------------------------------- */

/* All that work for a flavour are one: its worker. */
static char workers[AMBIT__RCU_FLAVOURS];
#define WORKER(flavour) ((struct call_rcu_data *)(void *)&workers[flavour])

static void no_atfork(struct urcu_atfork *handlers) { (void)handlers; }
static void do_nothing(void) {}

#define READERS(name, flavour)                                                                     \
    void urcu_##name##_read_lock(void);                                                            \
    void urcu_##name##_read_lock(void) {                                                           \
        if (ambit__self) ambit__model_read_lock(flavour, HERE);                                    \
    }                                                                                              \
    void urcu_##name##_read_unlock(void);                                                          \
    void urcu_##name##_read_unlock(void) {                                                         \
        if (ambit__self) ambit__model_read_unlock(flavour, HERE);                                  \
    }                                                                                              \
    int urcu_##name##_read_ongoing(void);                                                          \
    int urcu_##name##_read_ongoing(void) {                                                         \
        return ambit__self && ambit__model_is_inside(flavour);                                     \
    }                                                                                              \
    void urcu_##name##_register_thread(void);                                                      \
    void urcu_##name##_register_thread(void) {                                                     \
        if (ambit__self) ambit__model_register(flavour, HERE);                                     \
    }                                                                                              \
    void urcu_##name##_synchronize_rcu(void);                                                      \
    void urcu_##name##_synchronize_rcu(void) {                                                     \
        if (ambit__self) ambit__model_synchronize(flavour, HERE);                                  \
    }

/* BP's headers have one of their own. */
#define UNREGISTER(name, flavour)                                                                  \
    void urcu_##name##_unregister_thread(void);                                                    \
    void urcu_##name##_unregister_thread(void) {                                                   \
        if (ambit__self) ambit__model_unregister(flavour, HERE);                                   \
    }

#define CALLS(name, flavour)                                                                       \
    void urcu_##name##_call_rcu(struct rcu_head *head, void (*run)(struct rcu_head * head));       \
    void urcu_##name##_call_rcu(struct rcu_head *head, void (*run)(struct rcu_head * head)) {      \
        call(flavour, head, run, HERE);                                                            \
    }                                                                                              \
    void urcu_##name##_barrier(void);                                                              \
    void urcu_##name##_barrier(void) {                                                             \
        if (ambit__self) ambit__model_barrier(flavour, "rcu_barrier", HERE);                       \
    }                                                                                              \
    void urcu_##name##_defer_rcu(void (*run)(void *), void *argument);                             \
    void urcu_##name##_defer_rcu(void (*run)(void *), void *argument) {                            \
        defer(flavour, run, argument, HERE);                                                       \
    }                                                                                              \
    int urcu_##name##_defer_register_thread(void);                                                 \
    int urcu_##name##_defer_register_thread(void) { return 0; }                                    \
    void urcu_##name##_defer_barrier(void);                                                        \
    void urcu_##name##_defer_barrier(void) {                                                       \
        if (ambit__self) ambit__model_barrier(flavour, "rcu_defer_barrier", HERE);                 \
    }                                                                                              \
    void urcu_##name##_defer_barrier_thread(void);                                                 \
    void urcu_##name##_defer_barrier_thread(void) {                                                \
        if (ambit__self) ambit__model_barrier(flavour, "rcu_defer_barrier_thread", HERE);          \
    }                                                                                              \
    void urcu_##name##_defer_unregister_thread(void);                                              \
    void urcu_##name##_defer_unregister_thread(void) {                                             \
        if (ambit__self) ambit__model_barrier(flavour, "rcu_defer_unregister_thread", HERE);       \
    }                                                                                              \
    void urcu_##name##_defer_exit(void);                                                           \
    void urcu_##name##_defer_exit(void) {}

#define WORKERS(name, flavour)                                                                     \
    struct call_rcu_data *urcu_##name##_create_call_rcu_data(unsigned long flags, int cpu);        \
    struct call_rcu_data *urcu_##name##_create_call_rcu_data(unsigned long flags, int cpu) {       \
        (void)flags, (void)cpu;                                                                    \
        return WORKER(flavour);                                                                    \
    }                                                                                              \
    void urcu_##name##_call_rcu_data_free(struct call_rcu_data *data);                             \
    void urcu_##name##_call_rcu_data_free(struct call_rcu_data *data) { (void)data; }              \
    struct call_rcu_data *urcu_##name##_get_default_call_rcu_data(void);                           \
    struct call_rcu_data *urcu_##name##_get_default_call_rcu_data(void) {                          \
        return WORKER(flavour);                                                                    \
    }                                                                                              \
    struct call_rcu_data *urcu_##name##_get_cpu_call_rcu_data(int cpu);                            \
    struct call_rcu_data *urcu_##name##_get_cpu_call_rcu_data(int cpu) {                           \
        (void)cpu;                                                                                 \
        return NULL;                                                                               \
    }                                                                                              \
    struct call_rcu_data *urcu_##name##_get_thread_call_rcu_data(void);                            \
    struct call_rcu_data *urcu_##name##_get_thread_call_rcu_data(void) {                           \
        return NULL;                                                                               \
    }                                                                                              \
    struct call_rcu_data *urcu_##name##_get_call_rcu_data(void);                                   \
    struct call_rcu_data *urcu_##name##_get_call_rcu_data(void) {                                  \
        return WORKER(flavour);                                                                    \
    }                                                                                              \
    pthread_t urcu_##name##_get_call_rcu_thread(struct call_rcu_data *data);                       \
    pthread_t urcu_##name##_get_call_rcu_thread(struct call_rcu_data *data) {                      \
        (void)data;                                                                                \
        return ambit__model_worker(flavour);                                                       \
    }                                                                                              \
    void urcu_##name##_set_thread_call_rcu_data(struct call_rcu_data *data);                       \
    void urcu_##name##_set_thread_call_rcu_data(struct call_rcu_data *data) { (void)data; }        \
    int urcu_##name##_set_cpu_call_rcu_data(int cpu, struct call_rcu_data *data);                  \
    int urcu_##name##_set_cpu_call_rcu_data(int cpu, struct call_rcu_data *data) {                 \
        (void)cpu, (void)data;                                                                     \
        return 0;                                                                                  \
    }                                                                                              \
    int urcu_##name##_create_all_cpu_call_rcu_data(unsigned long flags);                           \
    int urcu_##name##_create_all_cpu_call_rcu_data(unsigned long flags) {                          \
        (void)flags;                                                                               \
        return 0;                                                                                  \
    }                                                                                              \
    void urcu_##name##_free_all_cpu_call_rcu_data(void);                                           \
    void urcu_##name##_free_all_cpu_call_rcu_data(void) {}

/* There is no fork in a schedule. */
#define FORKS(name)                                                                                \
    void urcu_##name##_call_rcu_before_fork(void);                                                 \
    void urcu_##name##_call_rcu_before_fork(void) {}                                               \
    void urcu_##name##_call_rcu_after_fork_parent(void);                                           \
    void urcu_##name##_call_rcu_after_fork_parent(void) {}                                         \
    void urcu_##name##_call_rcu_after_fork_child(void);                                            \
    void urcu_##name##_call_rcu_after_fork_child(void) {}                                          \
    void urcu_##name##_register_rculfhash_atfork(struct urcu_atfork *handlers);                    \
    void urcu_##name##_register_rculfhash_atfork(struct urcu_atfork *handlers) {                   \
        no_atfork(handlers);                                                                       \
    }                                                                                              \
    void urcu_##name##_unregister_rculfhash_atfork(struct urcu_atfork *handlers);                  \
    void urcu_##name##_unregister_rculfhash_atfork(struct urcu_atfork *handlers) {                 \
        no_atfork(handlers);                                                                       \
    }

#define TABLE(name, quiescent, offline, online)                                                    \
    extern const struct rcu_flavor_struct urcu_##name##_flavor;                                    \
    const struct rcu_flavor_struct urcu_##name##_flavor = {                                        \
        .read_lock = urcu_##name##_read_lock,                                                      \
        .read_unlock = urcu_##name##_read_unlock,                                                  \
        .read_ongoing = urcu_##name##_read_ongoing,                                                \
        .read_quiescent_state = quiescent,                                                         \
        .update_call_rcu = urcu_##name##_call_rcu,                                                 \
        .update_synchronize_rcu = urcu_##name##_synchronize_rcu,                                   \
        .update_defer_rcu = urcu_##name##_defer_rcu,                                               \
        .thread_offline = offline,                                                                 \
        .thread_online = online,                                                                   \
        .register_thread = urcu_##name##_register_thread,                                          \
        .unregister_thread = urcu_##name##_unregister_thread,                                      \
        .barrier = urcu_##name##_barrier,                                                          \
        .register_rculfhash_atfork = urcu_##name##_register_rculfhash_atfork,                      \
        .unregister_rculfhash_atfork = urcu_##name##_unregister_rculfhash_atfork,                  \
    };

#define FLAVOUR(name, flavour)                                                                     \
    READERS(name, flavour)                                                                         \
    CALLS(name, flavour)                                                                           \
    WORKERS(name, flavour)                                                                         \
    FORKS(name)

#define EARLY(name)                                                                                \
    void urcu_##name##_init(void);                                                                 \
    void urcu_##name##_init(void) {}

FLAVOUR(qsbr, AMBIT__RCU_QSBR)
UNREGISTER(qsbr, AMBIT__RCU_QSBR)
void urcu_qsbr_quiescent_state(void) {
    if (ambit__self) ambit__model_quiescent(AMBIT__RCU_QSBR, HERE);
}
void urcu_qsbr_thread_offline(void) {
    if (ambit__self) ambit__model_online(AMBIT__RCU_QSBR, false, HERE);
}
void urcu_qsbr_thread_online(void) {
    if (ambit__self) ambit__model_online(AMBIT__RCU_QSBR, true, HERE);
}
void urcu_qsbr_exit(void);
void urcu_qsbr_exit(void) {}

FLAVOUR(memb, AMBIT__RCU_MEMB)
UNREGISTER(memb, AMBIT__RCU_MEMB)
EARLY(memb)

FLAVOUR(mb, AMBIT__RCU_MB)
UNREGISTER(mb, AMBIT__RCU_MB)
EARLY(mb)

#ifdef HAVE_SIGNAL
FLAVOUR(signal, AMBIT__RCU_SIGNAL)
UNREGISTER(signal, AMBIT__RCU_SIGNAL)
EARLY(signal)
void urcu_signal_exit(void);
void urcu_signal_exit(void) {}
#endif

FLAVOUR(bp, AMBIT__RCU_BP)
void urcu_bp_before_fork(void) {}
void urcu_bp_after_fork_parent(void) {}
void urcu_bp_after_fork_child(void) {}

TABLE(memb, do_nothing, do_nothing, do_nothing)
TABLE(mb, do_nothing, do_nothing, do_nothing)
#ifdef HAVE_SIGNAL
TABLE(signal, do_nothing, do_nothing, do_nothing)
#endif
TABLE(bp, do_nothing, do_nothing, do_nothing)
TABLE(qsbr, urcu_qsbr_quiescent_state, urcu_qsbr_thread_offline, urcu_qsbr_thread_online)

/* ---- Read sections put inline ---------------------------------------------------------------- */

/* What the headers' inline functions use. An outermost lock copies the flavour's `ctr`, whose low
 * half counts nesting and is 1, and its unlock subtracts 1. Here it is 2: one section leaves 1
 * behind. */
#define INLINED_COUNT (2 * URCU_GP_COUNT)
#define WORDS(name, type)                                                                          \
    extern struct urcu_gp urcu_##name##_gp;                                                        \
    struct urcu_gp urcu_##name##_gp = {.ctr = INLINED_COUNT};                                      \
    DEFINE_URCU_TLS(type, urcu_##name##_reader);

WORDS(memb, struct urcu_reader)
WORDS(mb, struct urcu_reader)
#ifdef HAVE_SIGNAL
WORDS(signal, struct urcu_reader)
#endif
/* Reading inline is nothing in QSBR, and its words only have to be there for the linker. BP's
 * reader is a pointer that is asked for at a thread's first lock. */
struct urcu_gp urcu_qsbr_gp;
DEFINE_URCU_TLS(struct urcu_qsbr_reader, urcu_qsbr_reader);

DEFINE_URCU_TLS(struct urcu_bp_reader *, urcu_bp_reader);
struct urcu_bp_gp urcu_bp_gp;
int urcu_bp_has_sys_membarrier = 1;
void urcu_bp_register(void) {
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, HERE, NULL, "%s", ambit__model_inlined_text);
}

extern int urcu_memb_has_sys_membarrier;
int urcu_memb_has_sys_membarrier = 1;

bool ambit__model_was_inlined(void) {
    bool signal = false;
#ifdef HAVE_SIGNAL
    signal = URCU_TLS(urcu_signal_reader).ctr != 0;
#endif
    return URCU_TLS(urcu_memb_reader).ctr != 0 || URCU_TLS(urcu_mb_reader).ctr != 0 || signal;
}

/* ---- Pointers -------------------------------------------------------------------------------- */

/* The macros of <urcu/pointer.h>, as functions. What they do to memory they do atomically; but a
 * reader's rcu_dereference() reads the pointer plainly before it calls, unless it is that of
 * schedule_liburcu/. */
void *rcu_dereference_sym(void *pointer) { return pointer; }

void *rcu_set_pointer_sym(void **place, void *value) {
    if (ambit__self)
        ambit__history_store(place, sizeof *place, (uintptr_t)value, AMBIT__RELEASE, HERE);
    else
        __atomic_store_n(place, value, __ATOMIC_RELEASE);
    return value;
}

void *rcu_xchg_pointer_sym(void **place, void *value) {
    if (!ambit__self) return __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST);
    ambit__value before = ambit__history_exchange(place, sizeof *place, AMBIT__RMW_EXCHANGE,
                                                  (uintptr_t)value, AMBIT__SEQ_CST, HERE);
    return (void *)(uintptr_t)before;
}

void *rcu_cmpxchg_pointer_sym(void **place, void *expected, void *value) {
    if (!ambit__self) {
        (void)__atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_SEQ_CST,
                                          __ATOMIC_SEQ_CST);
        return expected;
    }
    ambit__value seen = (uintptr_t)expected;
    (void)ambit__history_compare_exchange(place, sizeof *place, &seen, (uintptr_t)value,
                                          AMBIT__SEQ_CST, AMBIT__SEQ_CST, false, HERE);
    return (void *)(uintptr_t)seen;
}

void *urcu_bp_dereference_sym(void *pointer) { return pointer; }
void *urcu_bp_set_pointer_sym(void **place, void *value) {
    return rcu_set_pointer_sym(place, value);
}
void *urcu_bp_xchg_pointer_sym(void **place, void *value) {
    return rcu_xchg_pointer_sym(place, value);
}
void *urcu_bp_cmpxchg_pointer_sym(void **place, void *expected, void *value) {
    return rcu_cmpxchg_pointer_sym(place, expected, value);
}

/* For kernels without futex(2): named by the headers' inline functions, and never called. */
int compat_futex_noasync(int32_t *word, int operation, int32_t value,
                         const struct timespec *timeout, int32_t *other, int32_t third) {
    (void)word, (void)operation, (void)value, (void)timeout, (void)other, (void)third;
    return -1;
}
int compat_futex_async(int32_t *word, int operation, int32_t value, const struct timespec *timeout,
                       int32_t *other, int32_t third) {
    return compat_futex_noasync(word, operation, value, timeout, other, third);
}
