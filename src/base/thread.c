/* Thread records. The registry's lock is taken when a thread comes and when it goes, never between.
 *
 * It is held across fork(), so that the child finds the lists whole. The records of threads that did
 * not come along are marked dead there but not handed on: such a thread may have been in the middle
 * of its caches. */
#define _GNU_SOURCE
#include "base/thread.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/fault.h"
#include "base/memory.h"
#include "base/park.h"

enum { HOOKS = 8, EXIT_ROUNDS = 2 };

_Thread_local ambit__thread *ambit__thread_record;
static _Thread_local unsigned exit_rounds;
static _Thread_local uint32_t thread_id;

static ambit__mutex registry = {AMBIT__RANKED(AMBIT__RANK_REGISTRY)};
static _Atomic(ambit__thread *) records; /* newest first; only ever added to */
static ambit__thread *free_records AMBIT__GUARDED_BY(registry);
static uint32_t record_count AMBIT__GUARDED_BY(registry);
/* Added to under `registry`; what stands below the count does not change. */
static void (*exit_hooks[HOOKS])(ambit__thread *);
static _Atomic(uint32_t) exit_hook_count;
static void (*fork_hooks[HOOKS])(void);
static _Atomic(uint32_t) fork_hook_count;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool key_made;
static uint32_t epoch;
/* Fixed since the last fork: the number that the forking thread keeps, and its new one. */
static uint32_t kept_id, spare_id;

static void run_exit_hooks(ambit__thread *thread) {
    /* Acquire pairs with the release in ambit__thread_on_exit(). */
    for (uint32_t i = ambit__load_acquire(&exit_hook_count); i-- > 0;) exit_hooks[i](thread);
}

static void give_back(ambit__thread *thread) {
    ambit__thread_record = NULL;
    ambit__mutex_lock(&registry);
    ambit__store_relaxed(&thread->alive, 0);
    thread->next_free = free_records;
    free_records = thread;
    ambit__mutex_unlock(&registry);
}

/* Lets two rounds of destructors pass first, so that those of the program, which may still close
 * contexts, find the record in place. What comes later registers again. */
static void thread_ends(void *record) {
    if (exit_rounds++ < EXIT_ROUNDS && !pthread_setspecific(exit_key, record)) return;
    run_exit_hooks(record);
    give_back(record);
}

AMBIT__UNCHECKED static void before_fork(void) { ambit__mutex_lock(&registry); }
AMBIT__UNCHECKED static void after_fork_in_parent(void) { ambit__mutex_unlock(&registry); }

AMBIT__UNCHECKED static void after_fork_in_child(void) {
    /* Alone: nobody else reads or writes any of this. */
    epoch++;
    kept_id = thread_id;
    spare_id = (uint32_t)syscall(SYS_gettid);
    for (ambit__thread *at = ambit__load_relaxed(&records); at; at = at->next)
        if (at != ambit__thread_record) ambit__store_relaxed(&at->alive, 0);
    ambit__mutex_unlock(&registry);
    uint32_t count = ambit__load_relaxed(&fork_hook_count);
    for (uint32_t i = 0; i < count; i++) fork_hooks[i]();
    ambit__rank_forget();
}

/* glibc allocates for the 49th handler only; without handlers fork() is as unsafe as without us. */
static void start(void) {
    key_made = !pthread_key_create(&exit_key, thread_ends);
    (void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static ambit__thread *take_free_record(void) {
    ambit__mutex_lock(&registry);
    ambit__thread *thread = free_records;
    if (thread) {
        free_records = thread->next_free;
        ambit__store_relaxed(&thread->alive, 1);
    }
    ambit__mutex_unlock(&registry);
    return thread;
}

/* The memory comes first, and without the lock: it may come from a hook of the program's. */
static ambit__thread *make_record(void) {
    ambit__thread *thread = ambit__allocate_zero(sizeof *thread, 64);
    if (!thread) return NULL;
    ambit__store_relaxed(&thread->alive, 1);
    ambit__mutex_lock(&registry);
    thread->index = record_count++;
    thread->next = ambit__load_relaxed(&records);
    /* Release pairs with the acquire in ambit__thread_records(). */
    ambit__store_release(&records, thread);
    ambit__mutex_unlock(&registry);
    return thread;
}

ambit__thread *ambit__thread_register(void) {
    (void)pthread_once(&once, start);
    if (!key_made) return NULL;
    ambit__thread *thread = take_free_record();
    if (!thread) thread = make_record();
    if (!thread) return NULL;
    if (pthread_setspecific(exit_key, thread)) {
        give_back(thread);
        return NULL;
    }
    ambit__thread_record = thread;
    return thread;
}

uint32_t ambit__thread_id(void) {
    if (ambit__unlikely(!thread_id)) {
        (void)pthread_once(&once, start); /* for the fork handler */
        thread_id = (uint32_t)syscall(SYS_gettid);
        /* After a fork the forking thread goes on under its old number, by which others may know
         * it. Should the kernel give that to a new thread, there is the one it does not use. */
        if (thread_id == kept_id) thread_id = spare_id;
    }
    return thread_id;
}

/* Acquire pairs with the release in make_record(). */
ambit__thread *ambit__thread_records(void) { return ambit__load_acquire(&records); }

bool ambit__thread_is_alive(uint32_t index) {
    /* As in give_back(), so that all that a thread did which is not alive comes before. */
    ambit__mutex_lock(&registry);
    const ambit__thread *at = ambit__load_relaxed(&records);
    while (at && at->index != index) at = at->next;
    bool alive = at && ambit__load_relaxed(&at->alive);
    ambit__mutex_unlock(&registry);
    return alive;
}

void ambit__thread_on_exit(void (*hook)(ambit__thread *thread)) {
    ambit__mutex_lock(&registry);
    uint32_t count = ambit__load_relaxed(&exit_hook_count);
    if (count < HOOKS) {
        exit_hooks[count] = hook;
        /* Release pairs with the acquire in run_exit_hooks(). */
        ambit__store_release(&exit_hook_count, count + 1);
    }
    ambit__mutex_unlock(&registry);
    if (count == HOOKS) ambit__bug(__func__, "expected at most 8 hooks", NULL, NULL);
}

uint32_t ambit__process_epoch(void) {
    (void)pthread_once(&once, start); /* for the fork handler */
    return epoch;
}

void ambit__on_fork(void (*child)(void)) {
    (void)pthread_once(&once, start);
    ambit__mutex_lock(&registry); /* held by a fork, which therefore sees the hook whole */
    uint32_t count = ambit__load_relaxed(&fork_hook_count);
    if (count < HOOKS) {
        fork_hooks[count] = child;
        ambit__store_relaxed(&fork_hook_count, count + 1);
    }
    ambit__mutex_unlock(&registry);
    if (count == HOOKS) ambit__bug(__func__, "expected at most 8 hooks", NULL, NULL);
}

/* ---- Threads of ambit's own ------------------------------------------------------------------ */

static void *run_worker(void *given) {
    ambit__worker *worker = given;
    worker->run(worker->argument);
    return NULL;
}

ambit_status ambit__worker_start(ambit__worker *worker, const char *name, void (*run)(void *),
                                 void *argument) {
    sigset_t all, before;
    pthread_t thread;
    if (ambit__fault_hit(AMBIT__FAULT_THREAD)) return AMBIT_ETHREAD;
    worker->run = run;
    worker->argument = argument;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, run_worker, worker);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) return AMBIT_ETHREAD;
    (void)pthread_setname_np(thread,
                             name); /* it can be joined, so it is there; for debuggers only */
    worker->handle = thread;
    return AMBIT_OK;
}

void ambit__worker_join(ambit__worker *worker) {
    if (pthread_join(worker->handle, NULL))
        ambit__bug(__func__, "expected another thread, not joined yet", NULL, NULL);
}

void ambit__worker_detach(ambit__worker *worker) { (void)pthread_detach(worker->handle); }

/* ---- Barriers -------------------------------------------------------------------------------- */

bool ambit__heavy_barrier_works(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

void ambit__heavy_barrier(void) {
    if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0)
        ambit__bug("membarrier", "expected the system call to work as before, found it refused",
                   NULL, NULL);
}
