/* The controlled scheduler's own parts, as they see each other.
 *
 * HOW IT WORKS. The compiler's -fsanitize=thread puts a call before each access to memory, and in
 * the place of each atomic one; the linker's --wrap puts ours in the place of pthread's, the
 * kernel's and the allocator's. Each call of these that others could notice is a *step*: the thread
 * says what it is about to do (an operation), the strategy picks the thread whose operation comes
 * next, and that one does it and runs on to its next step. Plain accesses are no steps: whether
 * they race is known from vector clocks, whatever their order.
 *
 *   abi_*.c                   what the compiler calls
 *   wrap_*.c                  what the linker puts in others' places: wrap.txt
 *   step.c, thread.c, reset.c, scenario.c  steps, threads, time, failing; begin and end
 *   host.c                    threads of the kernel, and going from one to another
 *   history.c, location.c     memory as C11 allows it
 *   shadow*.c, bad_access.c   who touched which byte; putting all back
 *   arena.c, mapping.c        the heap of a schedule
 *   object.c, descriptor.c    locks and the like; files and sockets
 *   rcu.c, rcu_liburcu.c      liburcu's model, under liburcu's names
 *   random.c, explore.c, explore_meet.c, follow.c  strategies
 *   run.c, again.c, shrink.c  many schedules; one that failed once more, and shorter
 *   mutant.c, survey.c        weakened orders, and which of them are noticed
 *   symbol.c, variable.c, row.c, table.c, report.c, black_box.c  what is told
 *   crash.c, watchdog.c, system_call.c  ends that nobody planned
 *   main.c, main_entry.c, command.c, alone.c  the program of tests
 *
 * Nothing here is compiled with -fsanitize=thread, calls malloc in a schedule, or is thread-safe:
 * one thread runs at a time. No choice depends on an address, on real time or on a process id. */
#ifndef AMBIT_SCHEDULE_INSIDE_H
#define AMBIT_SCHEDULE_INSIDE_H

#include <stddef.h>
#include <string.h>
#include <sys/types.h>

#include "ambit/schedule.h"

#define AMBIT__THREADS AMBIT_SCHEDULE_THREADS
#define AMBIT__FOREVER INT64_MAX

/* ---- Vector clocks --------------------------------------------------------------------------- */

/* For each thread the number of its last step that is known. */
typedef struct ambit__vector {
    uint32_t at[AMBIT__THREADS];
} ambit__vector;

static inline void ambit__vector_join(ambit__vector *into, const ambit__vector *other) {
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (other->at[i] > into->at[i]) into->at[i] = other->at[i];
}

/* ---- Operations and threads ------------------------------------------------------------------ */

typedef enum ambit__operation_kind {
    AMBIT__OP_START, /* of a thread */
    AMBIT__OP_LOAD,
    AMBIT__OP_STORE,
    AMBIT__OP_EXCHANGE, /* any read-modify-write */
    AMBIT__OP_COMPARE_EXCHANGE,
    AMBIT__OP_FENCE,
    AMBIT__OP_LIGHT_BARRIER, /* atomic_signal_fence(seq_cst): the other side of membarrier(2) */
    AMBIT__OP_HEAVY_BARRIER,
    AMBIT__OP_SPAWN,
    AMBIT__OP_JOIN,
    AMBIT__OP_EXIT,
    AMBIT__OP_LOCK, /* mutexes, rwlocks, semaphores */
    AMBIT__OP_TRY_LOCK,
    AMBIT__OP_UNLOCK,
    AMBIT__OP_WAIT, /* condition, futex, poll: whatever sleeps until somebody comes */
    AMBIT__OP_WAKE,
    AMBIT__OP_SLEEP,
    AMBIT__OP_YIELD,
    AMBIT__OP_ALLOCATE,
    AMBIT__OP_FREE,
    AMBIT__OP_GRACE, /* RCU */
    AMBIT__OP_CALL,  /* of another function that is under control: read, write, ... */
    /* for the table only; no steps */
    AMBIT__OP_READ_PLAIN,
    AMBIT__OP_WRITE_PLAIN,
    AMBIT__OP_CHOOSE,
    AMBIT__OP_NOTE,
    AMBIT__OP_KINDS
} ambit__operation_kind;

/* C's orders, by the numbers that compilers pass. */
enum {
    AMBIT__RELAXED = 0,
    AMBIT__CONSUME = 1,
    AMBIT__ACQUIRE = 2,
    AMBIT__RELEASE = 3,
    AMBIT__ACQ_REL = 4,
    AMBIT__SEQ_CST = 5
};
static inline bool ambit__order_acquires(int order) {
    return order == AMBIT__CONSUME || order == AMBIT__ACQUIRE || order >= AMBIT__ACQ_REL;
}
static inline bool ambit__order_releases(int order) { return order >= AMBIT__RELEASE; }

/* A step, as the thread announces it, and as the table shows it afterwards. */
typedef struct ambit__operation {
    ambit__operation_kind kind;
    uint8_t thread;
    uint8_t order;       /* of atomics */
    uint8_t size;        /* of atomics and plain accesses, in bytes */
    bool writes;         /* changes what other threads can notice at `address` */
    bool timed_out;      /* filled in: `ready` did not come true */
    bool failed;         /* filled in: an exchange that did not, a lock not got */
    uint8_t stale;       /* filled in: so many newer stores there were */
    const char *name;    /* the function, as "pthread_mutex_lock"; NULL where the kind says all */
    const void *address; /* what it is about; NULL if nothing */
    const void *site;    /* return address in the code under test */
    uint64_t value;      /* filled in: what was read, or stored, for the table */
    uint64_t before;     /* filled in: of an exchange */
    int64_t time_ns;     /* filled in: virtual time */
    char text[64];       /* of notes */
    size_t row;          /* step.c's: where it is written down */

    /* The step cannot be taken before this holds; NULL: at once. It is asked whenever a thread is
     * to be picked, so it must not change anything. */
    bool (*ready)(void *argument);
    void *argument;
    int64_t deadline_ns; /* from this virtual time on it may be taken all the same, as timed out */
    const char *waits_for; /* "mutex", "condition": for a dead lock; NULL if it never waits */
    bool holder_known; /* waits for a lock: then all waiting is a dead lock, else a lost wake-up */
    uint8_t holder;    /* if so, its thread's index */
    const void *holder_site; /* where that one took it; NULL if that is not known */
    bool holder_ended;       /* that thread has ended with it */
    bool spurious;           /* may be taken for no reason, as if ready */
} ambit__operation;

typedef enum ambit__thread_state {
    AMBIT__THREAD_UNUSED = 0,
    AMBIT__THREAD_LIVE,  /* announced an operation, or is running */
    AMBIT__THREAD_ENDED, /* not joined yet */
} ambit__thread_state;

#define AMBIT__CALLS 128
#define AMBIT__KEYS 64
#define AMBIT__SPIN_SEEN 16

typedef struct ambit__schedule_thread {
    ambit__thread_state state;
    uint8_t index;
    bool spinning; /* only if nobody else can: it waits in a loop for another's store */
    bool detached;
    bool daemon;          /* the schedule ends without it: RCU's worker */
    unsigned long handle; /* what pthread_t is to the program */
    ambit_schedule_fn *run;
    void *argument;
    void *(*start)(void *); /* of pthread_create(); else `run` */
    void *returned;
    ambit__operation *next; /* announced; NULL while it runs */

    /* Memory. `happens` orders all accesses; `view` only what atomic loads may still see (SC
     * fences). */
    ambit__vector happens, view;
    ambit__vector fence_release,
        fence_acquire;   /* at its last release fence; for its next acquire fence */
    ambit__vector light; /* at its last light barrier */
    uint32_t fence_time; /* of its last SC fence */

    /* Spinning: what it has read since it last changed something. */
    unsigned spin_count;
    unsigned spin_repeats;
    uint64_t spin_seen[AMBIT__SPIN_SEEN];
    bool loop_decided;    /* whether it goes on alone, since it last changed something */
    uint64_t loops_until; /* if so: until that many steps have been taken */

    /* Calls under way, for reports: the return addresses of functions entered. */
    unsigned call_count;
    const void *calls[AMBIT__CALLS];

    void *keys[AMBIT__KEYS]; /* pthread_setspecific() */
    uint32_t ended_epoch;    /* of the thread that had this place before */
    ambit__operation start_operation;
} ambit__schedule_thread;

/* ---- step.c ---------------------------------------------------------------------------------- */

/* The thread that runs; NULL outside of schedules, where every function of abi_*.c and wrap_*.c
 * does what the real one does. */
extern ambit__schedule_thread *ambit__self;
extern uint32_t
    ambit__schedule_number; /* another one for each schedule: what is of an older one is void */
extern volatile uint64_t ambit__step_total; /* of all schedules, for the watchdog */
extern ambit__schedule_thread ambit__threads[AMBIT__THREADS];
extern unsigned ambit__thread_count; /* used so far in this schedule */

/* Takes a step: announces it, lets the strategy pick, and returns when it is this thread's turn and
 * `ready` holds (or the deadline has come: `timed_out`). The caller then does it, with nobody
 * between, and fills in what the table shows. `operation` lives in the caller's frame. */
void ambit__step(ambit__operation *operation);
/* abi_plain.c: accesses to plain memory since the last step. */
extern uint32_t ambit__plain_count;
/* After the caller has filled in what the table shows: keeps it. Optional, and free unless
 * recording. */
void ambit__filled(const ambit__operation *operation);

/* Ends the schedule with a failure. `site` and `other_site` may be NULL. Does not return when a
 * schedule runs and this is one of its threads. */
void ambit__fail(ambit_schedule_failure failure, const void *site, const void *other_site,
                 const char *format, ...) __attribute__((noreturn, format(printf, 4, 5)));

/* A row for the table that is no step: kinds from AMBIT__OP_READ_PLAIN on. Cheap unless
 * recording. */
void ambit__tell(const ambit__operation *operation);
/* Rows are kept only while this is set: the failing schedule is played again for its table. */
extern bool ambit__recording;

/* One of 0 .. count - 1; `usual` is what a schedule without surprises would take. */
typedef enum ambit__decision {
    AMBIT__DECIDE_THREAD, /* which thread comes next: only the strategy and step.c use it */
    AMBIT__DECIDE_READ,   /* which store a load sees: 0 is the newest */
    AMBIT__DECIDE_PLACE,  /* how far back a store goes in modification order: 0 is last */
    AMBIT__DECIDE_WEAK,   /* whether a weak exchange fails without a reason */
    AMBIT__DECIDE_WAKE,   /* which waiter is woken */
    AMBIT__DECIDE_LOOP,   /* 1, 2: who loops for others goes on alone, for short or for long */
    AMBIT__DECIDE_EARLY,  /* 1: what waits for a time soon, or may wake for nothing, may come now */
    AMBIT__DECIDE_USER    /* ambit_schedule_choose() */
} ambit__decision;
unsigned ambit__decide(ambit__decision kind, unsigned count, unsigned usual);

/* A new thread that begins with the clocks of this one. NULL when there are too many (then the
 * schedule has failed already, if there is one). It takes its first step as AMBIT__OP_START. */
ambit__schedule_thread *ambit__spawn(void *(*start)(void *), ambit_schedule_fn *run, void *argument,
                                     const void *site);
/* Ends this thread: runs destructors of keys, then hands over. Does not return. */
void ambit__exit(void *returned) __attribute__((noreturn));
/* Hooks of the parts, called as a thread ends: before keys' destructors none may be held, as
 * RCU's. */
void ambit__rcu_thread_ends(ambit__schedule_thread *thread);
void ambit__keys_thread_ends(ambit__schedule_thread *thread);

/* This thread loops over reads (or sleeps for nothing): from now on only if nobody else can run,
 * until another thread has changed something. */
void ambit__spin(void);
/* The same of a loop that may have an end of its own: some of them count their rounds, and then do something
 * else. Now and then it is let go on alone for a while, so that this is seen too. */
void ambit__loops(void);
/* This thread reads `what` (an address, with the store it sees, or whatever the loop looks at); noticed as
 * spinning when it has read the same before, since it last changed anything. */
void ambit__spin_reads(uint64_t what);
/* It, or the world, has changed something: nobody spins any more. */
void ambit__progress(void);

/* thread.c: waits for its end and takes what it knew; false if the time came first. `name` as in
 * the operation. */
bool ambit__join(ambit__schedule_thread *thread, int64_t deadline_ns, const char *name,
                 const void *site);
/* NULL if there is none, or it was joined or has ended detached. */
ambit__schedule_thread *ambit__thread_of(unsigned long handle);
/* wrap_thread.c: what pthread_setname_np() has said of the thread with this index; NULL if
 * nothing. */
const char *ambit__thread_name(unsigned index);
ambit__schedule_thread *ambit__spawn_first(ambit_schedule_fn *scenario, void *argument);
void ambit__threads_reset(void);
void ambit__threads_keep(void);   /* after `before` */
void ambit__threads_forget(void); /* another run begins */
/* step.c for thread.c: this thread's first announced operation is done; this thread has ended. */
void ambit__take_first(void);
void ambit__go_on_without_me(void) __attribute__((noreturn));

/* Virtual time, from 1,000 s on. */
int64_t ambit__now(void);
/* Reading the clock moves it a little; more each time by a thread that does nothing else. */
int64_t ambit__read_clock(void);

/* Objects other than memory (mutexes, ...), by address and kind; zero at first use in a schedule.
 * What `before` left stands at the start of each. The kinds are those of the files that own
 * them. */
typedef enum ambit__object_kind {
    AMBIT__OBJECT_MUTEX = 1,
    AMBIT__OBJECT_CONDITION,
    AMBIT__OBJECT_RWLOCK,
    AMBIT__OBJECT_ONCE,
    AMBIT__OBJECT_SEMAPHORE,
    AMBIT__OBJECT_BARRIER,
    AMBIT__OBJECT_THREAD, /* address: the handle */
    AMBIT__OBJECT_KEY,
    AMBIT__OBJECT_SPIN,
    AMBIT__OBJECT_ANNOTATION, /* abi_annotation.c: __tsan_acquire() and the like */
    AMBIT__OBJECT_OTHER
} ambit__object_kind;
typedef struct ambit__object {
    const void *address;
    ambit__object_kind kind;
    ambit__vector released; /* by unlocks and the like: who acquires joins it */
    int owner;              /* thread index + 1, 0 for none */
    int64_t count;          /* recursion, readers, semaphore, ... */
    uint64_t state[6];      /* the kind's own */
    const void *site;       /* of the last that took it */
    bool made;              /* the kind's own: initialised */
} ambit__object;
ambit__object *ambit__object_at(const void *address, ambit__object_kind kind);
/* A small number for an address, by first use in the schedule; 0 for NULL. */
uint32_t ambit__ordinal(const void *address);
void ambit__objects_reset(void);
void ambit__objects_keep(void);   /* after `before` */
void ambit__objects_forget(void); /* another run begins */
void ambit__atfork_forget(void);  /* wrap_thread_state.c: the same */
/* This thread gives out all it did, or takes what was given. */
void ambit__release_to(ambit__vector *released);
void ambit__acquire_from(const ambit__vector *released);

/* ---- history.c: atomics ---------------------------------------------------------------------- */

typedef enum ambit__rmw {
    AMBIT__RMW_EXCHANGE,
    AMBIT__RMW_ADD,
    AMBIT__RMW_SUB,
    AMBIT__RMW_AND,
    AMBIT__RMW_OR,
    AMBIT__RMW_XOR,
    AMBIT__RMW_NAND
} ambit__rmw;

/* Of up to 16 bytes; there are no bits beyond its size. */
__extension__ typedef unsigned __int128 ambit__value;

void ambit__history_reset(void);
/* step.c: whether stores may go further back in modification order; the exhaustive strategy does
 * without, whatever plays its decisions again. */
bool ambit__stores_are_placed(void);
ambit__value ambit__history_load(const volatile void *address, unsigned size, int order,
                                 const void *site);
void ambit__history_store(volatile void *address, unsigned size, ambit__value value, int order,
                          const void *site);
ambit__value ambit__history_exchange(volatile void *address, unsigned size, ambit__rmw how,
                                     ambit__value operand, int order, const void *site);
bool ambit__history_compare_exchange(volatile void *address, unsigned size, ambit__value *expected,
                                     ambit__value desired, int order, int failure_order, bool weak,
                                     const void *site);
/* Whether a weak exchange fails for nothing, if it could succeed. */
bool ambit__history_weak_fails(void);
void ambit__history_fence(int order, const void *site);
void ambit__history_light_barrier(const void *site);
/* membarrier(2), for all threads. */
void ambit__history_heavy_barrier(const void *site);
/* A full barrier without a step of its own, as in the kernel's futex. */
void ambit__history_full_barrier(void);
/* What stands last in modification order: for the kernel. Counts as an atomic access. */
ambit__value ambit__history_newest(const volatile void *address, unsigned size, const void *site);

/* ---- abi_plain.c: what the compiler calls ---------------------------------------------------- */

/* Some of the program is compiled with -fsanitize=thread. */
extern bool ambit__instrumented;

/* ---- shadow.c: plain memory ------------------------------------------------------------------ */

/* Who has touched which byte of 8, until it can no longer race with anyone. */
typedef struct ambit__access {
    uint32_t epoch;
    uint8_t thread;
    uint8_t mask; /* of the bytes */
    bool writes;
    bool atomic;
    const void *site;
} ambit__access;

#define AMBIT__ACCESSES 12
typedef struct ambit__granule {
    uintptr_t address; /* a multiple of 8 */
    uint8_t count;     /* of accesses */
    uint8_t freed;     /* bytes that were given back, or belong to no block of the heap */
    uint8_t blank;     /* bytes of the heap that nobody wrote */
    uint8_t written;   /* bytes that the undo puts back */
    uint8_t renewed;   /* bytes written plainly since history.c last looked; it clears them */
    uint8_t place;     /* shadow.h's: what memory it is */
    const void *freed_site;
    struct ambit__location *locations; /* history.c's, in this granule */
    ambit__access accesses[AMBIT__ACCESSES];
} ambit__granule;

void ambit__shadow_reset(void); /* a new schedule: nothing is known */
/* At the end of a schedule: puts memory outside of the heap back as it was. */
void ambit__shadow_undo(void);
/* What stands now stays: after `before`. */
void ambit__shadow_keep(void);
/* Another run begins: puts back what stood before the last one's `before`. */
void ambit__shadow_forget(void);
/* These bytes are put back at once, and nobody has touched them: a thread's own, for the next
 * thread. */
void ambit__shadow_renew(uintptr_t low, uintptr_t high);
/* Calls `visit` for all 8 bytes outside of the heap and stacks that were touched: where pointers
 * may be. */
void ambit__shadow_each_root(void (*visit)(const uintptr_t *values, size_t count));
ambit__granule *ambit__shadow_at(uintptr_t address);
/* An access, checked against those before. No step. */
void ambit__shadow_access(uintptr_t address, size_t bytes, bool writes, bool atomic,
                          const void *site);
/* The same, where bytes that nobody wrote may be read: copies take what stands between members
 * along. */
void ambit__shadow_copy(uintptr_t address, size_t bytes, bool writes, const void *site);
/* A plain write that is not to be checked, but has to be known: it is undone. */
void ambit__shadow_unchecked(uintptr_t address, size_t bytes);
/* Accesses that were forgotten because a granule had too many. */
extern uint64_t ambit__shadow_evictions;
/* The heap: memory comes; memory goes, and `site` is told to who touches it again.
 * Of arena.c's memory both are only called by arena.c, which shadow.c asks what stands where. */
void ambit__shadow_allocated(uintptr_t address, size_t bytes);
void ambit__shadow_freed(uintptr_t address, size_t bytes, const void *site);
/* The last plain write of these bytes in this schedule; false if there was none. */
bool ambit__shadow_last_write(const ambit__granule *granule, uint8_t mask, unsigned *thread,
                              uint32_t *epoch);

/* ---- arena.c: the heap of a schedule --------------------------------------------------------- */

/* One stretch of addresses, given out upwards; nothing is reused within a schedule. */
void ambit__arena_reset(void);
void ambit__arena_keep(void);   /* what stands now stays: after `before` */
void ambit__arena_forget(void); /* another run begins: nothing stays */
/* The next schedules give out other addresses: to see whether the code depends on them. */
void ambit__arena_shift(unsigned by);
void *ambit__arena_allocate(size_t bytes, size_t alignment, bool zero, const void *site);
void ambit__arena_free(void *memory, const void *site);
bool ambit__arena_owns(uintptr_t address);
size_t ambit__arena_bytes(const void *memory);
/* Fails the schedule if a block is still there that nothing points to. On no thread's stack. */
bool ambit__arena_find_leak(const void **site, size_t *bytes, unsigned *blocks);

/* ---- The kernel's side: wrap_futex.c, wrap_descriptor.c, rcu.c, wrap_unsupported.c, watchdog.c ---- */

/* What gettid() says to the program. */
static inline int ambit__thread_tid(unsigned index) { return 1000 + (int)index; }

/* A schedule begins (or has ended): nobody waits, no descriptor of its own is open. */
void ambit__futex_reset(void);
void ambit__descriptors_reset(void);
void ambit__rcu_reset(void);
/* What stands now stays: after `before`. */
void ambit__descriptors_keep(void);
void ambit__rcu_keep(void);
/* Before another run. */
void ambit__rcu_forget(void);
void ambit__descriptors_forget(void);

/* crash.c. While on, a crash (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) fails the schedule. Called
 * by the thread that runs schedules. */
void ambit__crash_catch(bool on);
/* Set by who reads the program's memory for it, before it does: the line that wants it. It need not
 * be there, and the crash is the line's then. */
extern const void *volatile ambit__reading_for;
/* Where threads of the kernel run by themselves (host.c): one of them begins, and its number for the kernel; 0
 * where they do not. */
void ambit__crash_thread_begins(unsigned index);
pid_t ambit__crash_thread(unsigned index);
/* The line of the program that thread `index` is at: that of the instruction, or the innermost on its stack that
 * has called somebody else's code. NULL: none is found. Takes no lock. */
const void *ambit__site_on_stack(unsigned index, uintptr_t pc, uintptr_t stack_pointer);

/* system_call.c: "openat"; "without a name here" of one that is too new. */
const char *ambit__system_call_name(long number);
/* Ends the program, saying why, when no step is taken for some seconds. Between the two calls only. */
void ambit__watchdog_start(void);
void ambit__watchdog_stop(void);
/* Tells `text` and where the thread that runs is: at `site`, if that is known. Called on the watchdog's own
 * thread (report.c). */
void ambit__report_stuck(const char *text, const void *site);

/* ---- mutant.c -------------------------------------------------------------------------------- */

/* The order that counts at this site: `order`, unless the site is being weakened. Every atomic
 * operation, fence and barrier asks. For barriers relaxed means: not there. */
int ambit__order(const void *site, ambit__operation_kind kind, int order);

/* ---- run.c ----------------------------------------------------------------------------------- */

extern const ambit_schedule_options *ambit__options; /* of the run under way, defaults filled in */
extern ambit_schedule_result ambit__result;

/* What a schedule under way has found (step.c fills it in). */
typedef struct ambit__finding {
    ambit_schedule_failure failure;
    char message[512];
    const void *site, *other_site;
    const void *address; /* of the memory that a race or a bad access is about; NULL: none */
    uint8_t thread;
    uint64_t hash, steps;
    uint64_t picked;                          /* of them: not those of a loop that went on alone */
    ambit__operation waiting[AMBIT__THREADS]; /* what the others were about to do */
} ambit__finding;
extern ambit__finding ambit__found;

struct ambit__strategy; /* strategy.h */
/* Plays one schedule from start to end; the state is as before afterwards. False: a failure, in
 * `ambit__found`. */
bool ambit__play(const struct ambit__strategy *strategy, uint64_t seed, ambit_schedule_fn *scenario,
                 void *argument);
/* Set while `before` is played: what it leaves stays. */
extern bool ambit__keeping;
/* reset.c: all parts begin a schedule; put the program's memory back; keep what `before` left. */
void ambit__reset_all(void);
void ambit__undo_all(void);
void ambit__keep_all(void);
void ambit__forget_all(void); /* before another run's `before` */
/* Fails the schedule, which has ended, if memory is lost. */
void ambit__look_for_leaks(void);
/* Rows of the schedule that was played while recording. */
extern ambit__operation *ambit__rows;
extern size_t ambit__row_count;

/* The real ones, for the runtime itself. */
void *__real_realloc(void *memory, size_t bytes);

#include "schedule/strategy.h"

#endif
