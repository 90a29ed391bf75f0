/* Thread records. The registry's mutex is taken when a thread comes and when it goes, never
 * between. */
#define _GNU_SOURCE
#include "base/thread.h"

#include <linux/membarrier.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"
#include "base/park.h"

enum { HOOKS = 8, EXIT_ROUNDS = 2 };

_Thread_local ambit__thread *ambit__thread_record;
static _Thread_local unsigned exit_rounds;
static _Thread_local uint32_t thread_id;

static ambit__mutex registry;
static _Atomic(ambit__thread *) records; /* newest first; only ever added to */
static ambit__thread *free_records;      /* under `registry` */
static uint32_t record_count;            /* under `registry` */
static void (*exit_hooks[HOOKS])(ambit__thread *);
static unsigned exit_hook_count;
static void (*fork_hooks[HOOKS])(void);
static unsigned fork_hook_count;
static pthread_key_t exit_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool key_made;

static void give_back(ambit__thread *thread) {
    for (unsigned i = exit_hook_count; i-- > 0;) exit_hooks[i](thread);
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
    give_back(record);
}

static void run_fork_hooks(void) {
    for (unsigned i = 0; i < fork_hook_count; i++) fork_hooks[i]();
}

static void start(void) {
    key_made = !pthread_key_create(&exit_key, thread_ends);
    (void)pthread_atfork(NULL, NULL, run_fork_hooks);
}

static ambit__thread *take_record(void) {
    ambit__mutex_lock(&registry);
    ambit__thread *thread = free_records;
    if (thread) {
        free_records = thread->next_free;
    } else if ((thread = ambit__allocate_zero(sizeof *thread, 64))) {
        thread->index = record_count++;
        thread->next = ambit__load_relaxed(&records);
        /* Release pairs with the acquire in ambit__thread_records(). */
        ambit__store_release(&records, thread);
    }
    if (thread) ambit__store_relaxed(&thread->alive, 1);
    ambit__mutex_unlock(&registry);
    return thread;
}

ambit__thread *ambit__thread_register(void) {
    (void)pthread_once(&once, start);
    if (!key_made) return NULL;
    ambit__thread *thread = take_record();
    if (!thread) return NULL;
    if (pthread_setspecific(exit_key, thread)) {
        give_back(thread);
        return NULL;
    }
    ambit__thread_record = thread;
    return thread;
}

uint32_t ambit__thread_id(void) {
    if (ambit__unlikely(!thread_id)) thread_id = (uint32_t)syscall(SYS_gettid);
    return thread_id;
}

ambit__thread *ambit__thread_records(void) { return ambit__load_acquire(&records); }

void ambit__thread_on_exit(void (*hook)(ambit__thread *thread)) {
    if (exit_hook_count == HOOKS) abort();
    exit_hooks[exit_hook_count++] = hook;
}

void ambit__on_fork(void (*child)(void)) {
    (void)pthread_once(&once, start);
    if (fork_hook_count == HOOKS) abort();
    fork_hooks[fork_hook_count++] = child;
}

/* ---- Threads of ambit's own ---------------------------------------------------------------------
 */

typedef struct start_arguments {
    void (*run)(void *);
    void *argument;
} start_arguments;

static void *run_worker(void *given) {
    start_arguments start_with = *(start_arguments *)given;
    ambit__release(given, sizeof start_with, _Alignof(start_arguments));
    start_with.run(start_with.argument);
    return NULL;
}

ambit_status ambit__worker_start(ambit__worker *worker, const char *name, void (*run)(void *),
                                 void *argument) {
    sigset_t all, before;
    pthread_t thread;
    if (ambit__fault_hit(AMBIT__FAULT_THREAD)) return AMBIT_ETHREAD;
    start_arguments *given = ambit__allocate(sizeof *given, _Alignof(start_arguments));
    if (!given) return AMBIT_EMEMORY;
    *given = (start_arguments){run, argument};
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, NULL, run_worker, given);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        ambit__release(given, sizeof *given, _Alignof(start_arguments));
        return AMBIT_ETHREAD;
    }
    (void)pthread_setname_np(thread, name);
    worker->handle = thread;
    return AMBIT_OK;
}

void ambit__worker_join(ambit__worker *worker) { (void)pthread_join(worker->handle, NULL); }
void ambit__worker_detach(ambit__worker *worker) { (void)pthread_detach(worker->handle); }

/* ---- Barriers -----------------------------------------------------------------------------------
 */

bool ambit__heavy_barrier_works(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
}

bool ambit__heavy_barrier(void) {
    return syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0;
}
