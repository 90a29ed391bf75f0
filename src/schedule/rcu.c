/* A model of liburcu: grace periods that end as early as they may.
 *
 * THE LAW. For each grace period G and read section S, one of the two holds: all before G's
 * beginning happens before S, or all of S happens before G's end. The model takes the second for
 * the sections that are open, or over, when G begins, and the first for those that begin later:
 *   - G waits for the sections that are open as it begins, and for no other;
 *   - when it ends, its thread learns what each of these knew as it ended, and what those knew that
 *     had ended before G began;
 *   - a section that begins learns what the threads knew that have begun grace periods before.
 * Nothing else is ordered: neither lock and unlock, nor two sections. An unlock that others notice
 * is noticed at that step, with what its thread knew then and not later.
 *
 * A call's grace period begins with the call. Its callback runs on the flavour's worker, a thread
 * of the schedule that is made with the first call and that no schedule waits for unless there are
 * callbacks to run. They run in the order of the calls: who waits for a later one's readers, waits
 * for an earlier one's.
 *
 * Told as misuse: what makes the real one hang, crash or go on with memory that is gone. */
#include "schedule/rcu.h"

#define CALLS 1024 /* that wait at once, of a flavour; a power of 2 */

typedef struct reader {
    unsigned nesting; /* QSBR: 1 while online */
    bool registered;
    const void *site; /* of the outermost lock, or of the registration */
} reader;

typedef struct grace {
    uint32_t readers;    /* bits of threads whose sections must end */
    ambit__vector order; /* what who waits for it will know */
} grace;

typedef struct call {
    grace grace;
    ambit__model_work work;
    const void *site;
} call;

typedef struct model {
    reader readers[AMBIT__THREADS];
    grace *waits[AMBIT__THREADS]; /* of threads that synchronize */
    ambit__vector began;          /* what was known where grace periods began */
    ambit__vector ended;          /* where sections ended */
    ambit__vector returned;       /* where callbacks did */
    uint64_t called, done;        /* calls so far; those before `done` have returned */
    ambit__schedule_thread *worker;
    bool in_callback;
    const void *callback_site; /* of the call whose callback runs */
} model;

static model models[AMBIT__RCU_FLAVOURS];
static call queues[AMBIT__RCU_FLAVOURS][CALLS];
/* Of thread 0, which `before` ran on. */
static bool kept_registered[AMBIT__RCU_FLAVOURS];

static call *call_at(ambit__model_flavour flavour, uint64_t number) {
    return &queues[flavour][number % CALLS];
}

static reader *self_in(ambit__model_flavour flavour) {
    return &models[flavour].readers[ambit__self->index];
}

void ambit__rcu_reset(void) {
    memset(models, 0, sizeof models);
    for (unsigned i = 0; i < AMBIT__RCU_FLAVOURS; i++) {
        models[i].readers[0].registered = kept_registered[i];
        models[i].readers[0].nesting = i == AMBIT__RCU_QSBR && kept_registered[i];
    }
}

void ambit__rcu_keep(void) {
    for (unsigned i = 0; i < AMBIT__RCU_FLAVOURS; i++)
        kept_registered[i] = models[i].readers[0].registered;
}

void ambit__rcu_forget(void) { memset(kept_registered, 0, sizeof kept_registered); }

static void step(ambit__model_flavour flavour, const char *name, bool writes, const void *site) {
    ambit__operation operation = {.kind = AMBIT__OP_GRACE,
                                  .name = name,
                                  .address = &models[flavour],
                                  .writes = writes,
                                  .site = site,
                                  .deadline_ns = AMBIT__FOREVER};
    ambit__step(&operation);
}

static void misuse(const void *site, const void *other_site, const char *what) {
    ambit__fail(AMBIT_SCHEDULE_MISUSE, site, other_site, "%s", what);
}

/* ---- Sections -------------------------------------------------------------------------------- */

static void open_section(ambit__model_flavour flavour, const void *site) {
    reader *self = self_in(flavour);
    self->nesting = 1;
    self->site = site;
    ambit__acquire_from(&models[flavour].began);
}

static void leave_grace(grace *of) {
    uint32_t bit = 1u << ambit__self->index;
    if (!(of->readers & bit)) return;
    of->readers &= ~bit;
    ambit__vector_join(&of->order, &ambit__self->happens);
}

static void close_section(ambit__model_flavour flavour) {
    model *of = &models[flavour];
    self_in(flavour)->nesting = 0;
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (of->waits[i]) leave_grace(of->waits[i]);
    for (uint64_t i = of->done; i < of->called; i++) leave_grace(&call_at(flavour, i)->grace);
    ambit__release_to(&of->ended);
}

static void begin_grace(ambit__model_flavour flavour, grace *new) {
    model *of = &models[flavour];
    *new = (grace){.order = of->ended};
    for (unsigned i = 0; i < AMBIT__THREADS; i++)
        if (of->readers[i].nesting) new->readers |= 1u << i;
    ambit__vector_join(&new->order, &ambit__self->happens);
    ambit__release_to(&of->began);
}

static bool has_ended(void *argument) { return ((const grace *)argument)->readers == 0; }

/* ---- Readers --------------------------------------------------------------------------------- */

void ambit__model_register(ambit__model_flavour flavour, const void *site) {
    reader *self = self_in(flavour);
    if (flavour == AMBIT__RCU_BP) return;
    if (self->registered)
        misuse(site, self->site, "rcu_register_thread() of a thread that is registered");
    step(flavour, "rcu_register_thread", false, site);
    *self = (reader){.registered = true, .site = site};
    if (flavour == AMBIT__RCU_QSBR) open_section(flavour, site);
}

void ambit__model_unregister(ambit__model_flavour flavour, const void *site) {
    reader *self = self_in(flavour);
    if (flavour == AMBIT__RCU_BP) return;
    if (!self->registered)
        misuse(site, NULL, "rcu_unregister_thread() of a thread that is not registered");
    if (flavour != AMBIT__RCU_QSBR && self->nesting)
        misuse(site, self->site, "rcu_unregister_thread() inside a read section");
    step(flavour, "rcu_unregister_thread", false, site);
    if (self->nesting) close_section(flavour);
    *self = (reader){0};
}

void ambit__model_read_lock(ambit__model_flavour flavour, const void *site) {
    reader *self = self_in(flavour);
    if (flavour != AMBIT__RCU_BP && !self->registered)
        misuse(site, NULL, "rcu_read_lock() by a thread that is not registered");
    if (flavour == AMBIT__RCU_QSBR) {
        if (!self->nesting) misuse(site, self->site, "rcu_read_lock() by a thread that is offline");
        return;
    }
    if (self->nesting) {
        self->nesting++;
        return;
    }
    step(flavour, "rcu_read_lock", false, site);
    open_section(flavour, site);
}

void ambit__model_read_unlock(ambit__model_flavour flavour, const void *site) {
    reader *self = self_in(flavour);
    if (flavour == AMBIT__RCU_QSBR) return;
    if (!self->nesting) misuse(site, NULL, "rcu_read_unlock() outside of a read section");
    if (self->nesting > 1) {
        self->nesting--;
        return;
    }
    step(flavour, "rcu_read_unlock", false, site);
    close_section(flavour);
}

bool ambit__model_is_inside(ambit__model_flavour flavour) { return self_in(flavour)->nesting != 0; }

/* The other flavours have functions of these names that do nothing. */
void ambit__model_quiescent(ambit__model_flavour flavour, const void *site) {
    if (!self_in(flavour)->nesting)
        misuse(site, NULL, "rcu_quiescent_state() by a thread that is not online");
    step(flavour, "rcu_quiescent_state", false, site);
    close_section(flavour);
    open_section(flavour, site);
}

void ambit__model_online(ambit__model_flavour flavour, bool online, const void *site) {
    reader *self = self_in(flavour);
    if (!self->registered)
        misuse(site, NULL, "rcu_thread_online() or offline() by a thread that is not registered");
    if (online == (self->nesting != 0)) return;
    step(flavour, online ? "rcu_thread_online" : "rcu_thread_offline", false, site);
    if (online)
        open_section(flavour, site);
    else
        close_section(flavour);
}

static void expect_outside(ambit__model_flavour flavour, const char *name, const void *site) {
    const reader *self = self_in(flavour);
    if (flavour == AMBIT__RCU_QSBR || !self->nesting) return;
    ambit__fail(AMBIT_SCHEDULE_MISUSE, site, self->site,
                "%s() inside a read section of its own thread: it waits for itself", name);
}

/* ---- Writers --------------------------------------------------------------------------------- */

void ambit__model_synchronize(ambit__model_flavour flavour, const void *site) {
    expect_outside(flavour, "synchronize_rcu", site);
    /* A QSBR thread is offline while it waits. */
    bool online = self_in(flavour)->nesting != 0;
    step(flavour, "synchronize_rcu begins", true, site);
    if (online) close_section(flavour);
    grace own;
    begin_grace(flavour, &own);
    models[flavour].waits[ambit__self->index] = &own;
    ambit__operation wait = {.kind = AMBIT__OP_GRACE,
                             .name = "synchronize_rcu ends",
                             .address = &models[flavour],
                             .writes = true,
                             .site = site,
                             .ready = has_ended,
                             .argument = &own,
                             .deadline_ns = AMBIT__FOREVER,
                             .waits_for = "the end of read sections"};
    ambit__step(&wait);
    models[flavour].waits[ambit__self->index] = NULL;
    ambit__acquire_from(&own.order);
    if (online) open_section(flavour, site);
}

/* ---- The worker ------------------------------------------------------------------------------ */

static bool may_call_back(void *argument) {
    const model *of = argument;
    ambit__model_flavour flavour = (ambit__model_flavour)(of - models);
    return of->done < of->called && has_ended(&call_at(flavour, of->done)->grace);
}

static void call_back(ambit__model_flavour flavour, const call *next) {
    model *of = &models[flavour];
    ambit__acquire_from(&next->grace.order);
    /* liburcu reads the head here: it must still be there. */
    const ambit__model_work *work = &next->work;
    if (work->head)
        ambit__shadow_access((uintptr_t)work->head, work->head_bytes, false, false, next->site);
    of->in_callback = true;
    of->callback_site = next->site;
    if (flavour == AMBIT__RCU_QSBR) open_section(flavour, next->site);
    if (work->head)
        work->run_head(work->head);
    else
        work->run(work->argument);
    if (flavour == AMBIT__RCU_QSBR)
        close_section(flavour);
    else if (self_in(flavour)->nesting)
        misuse(next->site, self_in(flavour)->site, "a callback returns inside a read section");
    of->in_callback = false;
    ambit__release_to(&of->returned);
}

static void *run_worker(void *argument) {
    model *of = argument;
    ambit__model_flavour flavour = (ambit__model_flavour)(of - models);
    self_in(flavour)->registered = true;
    for (;;) {
        ambit__operation wait = {.kind = AMBIT__OP_GRACE,
                                 .name = "grace period ends",
                                 .address = of,
                                 .writes = true,
                                 .ready = may_call_back,
                                 .argument = of,
                                 .deadline_ns = AMBIT__FOREVER,
                                 .waits_for = "callbacks to run"};
        if (of->done < of->called) wait.site = call_at(flavour, of->done)->site;
        ambit__step(&wait);
        /* A copy: its place is free for another call once it counts as done. */
        const call next = *call_at(flavour, of->done);
        call_back(flavour, &next);
        of->done++;
        ambit__progress();
    }
    return NULL;
}

static void need_worker(ambit__model_flavour flavour, const void *site) {
    model *of = &models[flavour];
    if (of->worker) return;
    /* Before the step that making it takes, so that another caller does not make a second one. */
    of->worker = ambit__self;
    of->worker = ambit__spawn(run_worker, NULL, of, site);
    of->worker->daemon = true;
}

static void expect_not_lent(ambit__model_flavour flavour, const void *head, const void *site) {
    const model *of = &models[flavour];
    for (uint64_t i = of->done + of->in_callback; i < of->called; i++) {
        const call *other = call_at(flavour, i);
        if (other->work.head == head)
            misuse(site, other->site, "call_rcu() of a head whose callback has not run yet");
    }
}

void ambit__model_call(ambit__model_flavour flavour, const ambit__model_work *work,
                       const void *site) {
    model *of = &models[flavour];
    if (work->head && flavour != AMBIT__RCU_BP && !self_in(flavour)->registered)
        misuse(site, NULL, "call_rcu() by a thread that is not registered");
    step(flavour, work->head ? "call_rcu" : "defer_rcu", true, site);
    if (of->called - of->done == CALLS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "expected at most %d callbacks of RCU to wait at once", CALLS);
    if (work->head) {
        expect_not_lent(flavour, work->head, site);
        /* liburcu writes the head. */
        ambit__shadow_access((uintptr_t)work->head, work->head_bytes, true, false, site);
    }
    call *new = call_at(flavour, of->called);
    *new = (call){.work = *work, .site = site};
    begin_grace(flavour, &new->grace);
    of->called++;
    need_worker(flavour, site);
}

typedef struct barrier {
    const model *of;
    uint64_t calls;
} barrier;

static bool all_done(void *argument) {
    const barrier *self = argument;
    return self->of->done >= self->calls;
}

void ambit__model_barrier(ambit__model_flavour flavour, const char *name, const void *site) {
    model *of = &models[flavour];
    expect_outside(flavour, name, site);
    if (of->in_callback && of->worker == ambit__self)
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, of->callback_site,
                    "%s() in a callback: it waits for itself", name);
    bool online = self_in(flavour)->nesting != 0;
    step(flavour, name, true, site);
    if (online) close_section(flavour);
    barrier own = {of, of->called};
    ambit__operation wait = {.kind = AMBIT__OP_GRACE,
                             .name = name,
                             .address = of,
                             .writes = true,
                             .site = site,
                             .ready = all_done,
                             .argument = &own,
                             .deadline_ns = AMBIT__FOREVER,
                             .waits_for = "callbacks of RCU"};
    ambit__step(&wait);
    ambit__acquire_from(&of->returned);
    if (online) open_section(flavour, site);
}

unsigned long ambit__model_worker(ambit__model_flavour flavour) {
    const ambit__schedule_thread *worker = models[flavour].worker;
    return worker ? worker->handle : 0;
}

const char ambit__model_inlined_text[] =
    "read sections that liburcu's headers put inline cannot be seen: compile without _LGPL_SOURCE";

/* ---- A thread ends --------------------------------------------------------------------------- */

void ambit__rcu_thread_ends(ambit__schedule_thread *thread) {
    for (unsigned i = 0; i < AMBIT__RCU_FLAVOURS; i++) {
        reader *self = &models[i].readers[thread->index];
        if (i != AMBIT__RCU_QSBR && self->nesting)
            misuse(self->site, NULL, "thread exit inside a read section");
        /* The scenario's own is as a program's main thread, which need not unregister. */
        if (self->registered && thread->index != 0)
            misuse(self->site, NULL,
                   "thread exit while registered with RCU: grace periods would wait for it");
        if (self->nesting && thread->index == 0) close_section((ambit__model_flavour)i);
    }
    if (ambit__model_was_inlined())
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL, "%s", ambit__model_inlined_text);
}
