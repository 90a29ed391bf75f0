/* The threads of a schedule: how they come and go. */
#include <errno.h>
#include <stdlib.h>

#include "schedule/host.h"
#include "schedule/inside.h"

/* Of pthread_t's: the scenario's thread is the first, whose memory is that of `before`'s too. */
#define FIRST_HANDLE 1
static unsigned handles;                     /* given out in this schedule: the same ones in each */
static unsigned kept_handles = FIRST_HANDLE; /* given out by `before`, and not again */

void ambit__threads_reset(void) {
    memset(ambit__threads, 0, sizeof ambit__threads);
    ambit__thread_count = 0;
    handles = kept_handles;
}

void ambit__threads_keep(void) { kept_handles = handles; }
void ambit__threads_forget(void) { kept_handles = FIRST_HANDLE; }

/* The thread-local memory of the one that was there before is put back. */
static ambit__schedule_thread *use_again(unsigned place) {
    uintptr_t low, high;
    ambit__host_bounds(place, &low, &high);
    ambit__shadow_renew(high, ambit__host_thread_pointer(place));
    return &ambit__threads[place];
}

/* A place for a new thread of `parent`. One whose thread was joined is used again if the parent
 * knows all that thread did: then the same number may count on, and no clock confuses the two. Of a
 * detached one nobody may ever know; its place is used when there is no other, and a race with it
 * may be missed. */
static ambit__schedule_thread *find_place(const ambit__schedule_thread *parent) {
    unsigned unknown = 0;
    for (unsigned i = 1; i < ambit__thread_count; i++) {
        if (ambit__threads[i].state != AMBIT__THREAD_UNUSED) continue;
        if (parent->happens.at[i] >= ambit__threads[i].ended_epoch) return use_again(i);
        unknown = i;
    }
    if (ambit__thread_count < AMBIT__THREADS) return &ambit__threads[ambit__thread_count++];
    return unknown ? use_again(unknown) : NULL;
}

/* First on its own stack. */
static void entry(void) {
    ambit__schedule_thread *self = ambit__self;
    errno = 0; /* the thread of another schedule may have left its own */
    ambit__take_first();
    if (self->start) ambit__exit(self->start(self->argument));
    self->run(self->argument);
    ambit__exit(NULL);
}

static void set_up(ambit__schedule_thread *thread, unsigned handle, void *(*start)(void *),
                   ambit_schedule_fn *run, void *argument, const void *site) {
    thread->state = AMBIT__THREAD_LIVE;
    thread->index = (uint8_t)(thread - ambit__threads);
    thread->handle = handle * 0x1000ul;
    thread->start = start;
    thread->run = run;
    thread->argument = argument;
    thread->start_operation =
        (ambit__operation){.kind = AMBIT__OP_START,
                           .thread = thread->index,
                           .site = site,
                           .value = start ? (uint64_t)(uintptr_t)start : (uint64_t)(uintptr_t)run,
                           .deadline_ns = AMBIT__FOREVER};
    thread->next = &thread->start_operation;
    ambit__host_begin(thread->index, entry);
}

ambit__schedule_thread *ambit__spawn_first(ambit_schedule_fn *scenario, void *argument) {
    ambit__schedule_thread *thread = &ambit__threads[ambit__thread_count++];
    set_up(thread, FIRST_HANDLE, NULL, scenario, argument, NULL);
    return thread;
}

ambit__schedule_thread *ambit__spawn(void *(*start)(void *), ambit_schedule_fn *run, void *argument,
                                     const void *site) {
    ambit__schedule_thread *parent = ambit__self;
    ambit__operation operation = {.kind = AMBIT__OP_SPAWN, .site = site, .writes = true};
    ambit__step(&operation);
    ambit__schedule_thread *thread = find_place(parent);
    if (!thread)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "too many threads: expected at most %d at once, found one more wanted",
                    AMBIT__THREADS);
    uint32_t epoch = thread->ended_epoch;
    memset(thread, 0, sizeof *thread);
    set_up(thread, ++handles, start, run, argument, site);
    thread->happens = parent->happens;
    thread->view = parent->view;
    thread->happens.at[thread->index] = epoch;
    parent->happens.at[parent->index]++; /* what it does from here on, the child does not know */
    operation.value = thread->index;
    ambit__filled(&operation);
    return thread;
}

void ambit__exit(void *returned) {
    ambit__schedule_thread *self = ambit__self;
    self->returned = returned;
    ambit__keys_thread_ends(self);
    ambit__rcu_thread_ends(self);
    ambit__operation operation = {.kind = AMBIT__OP_EXIT, .address = self, .writes = true};
    ambit__step(&operation);
    self->state = self->detached ? AMBIT__THREAD_UNUSED : AMBIT__THREAD_ENDED;
    self->ended_epoch = self->happens.at[self->index];
    ambit__go_on_without_me();
}

static bool has_ended(void *thread) {
    return ((const ambit__schedule_thread *)thread)->state == AMBIT__THREAD_ENDED;
}

bool ambit__join(ambit__schedule_thread *thread, int64_t deadline_ns, const char *name,
                 const void *site) {
    ambit__operation operation = {.kind = AMBIT__OP_JOIN,
                                  .name = name,
                                  .site = site,
                                  .address = thread,
                                  .writes = true,
                                  .ready = has_ended,
                                  .argument = thread,
                                  .deadline_ns = deadline_ns,
                                  .waits_for = "the end of a thread",
                                  .value = thread->index};
    ambit__step(&operation);
    if (operation.timed_out) return false;
    ambit__vector_join(&ambit__self->happens, &thread->happens);
    ambit__vector_join(&ambit__self->view, &thread->view);
    thread->state = AMBIT__THREAD_UNUSED;
    return true;
}

ambit__schedule_thread *ambit__thread_of(unsigned long handle) {
    for (unsigned i = 0; i < ambit__thread_count; i++)
        if (ambit__threads[i].handle == handle && ambit__threads[i].state != AMBIT__THREAD_UNUSED)
            return &ambit__threads[i];
    return NULL;
}
