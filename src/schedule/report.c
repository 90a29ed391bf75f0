/* The text of a failure: what, where, who waits for whom, and the way there as a table. */
#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "schedule/descriptor.h"
#include "schedule/report.h"

static const char *const failure_names[] = {
    [AMBIT_SCHEDULE_CLEAN] = "clean",
    [AMBIT_SCHEDULE_ASSERTION] = "assertion failed",
    [AMBIT_SCHEDULE_RACE] = "data race",
    [AMBIT_SCHEDULE_USE_AFTER_FREE] = "use after free",
    [AMBIT_SCHEDULE_UNINITIALISED] = "uninitialised read",
    [AMBIT_SCHEDULE_DEADLOCK] = "dead lock",
    [AMBIT_SCHEDULE_LOST_WAKEUP] = "lost wake-up",
    [AMBIT_SCHEDULE_LIVELOCK] = "livelock",
    [AMBIT_SCHEDULE_LEAK] = "leak",
    [AMBIT_SCHEDULE_MISUSE] = "misuse",
    [AMBIT_SCHEDULE_UNSUPPORTED] = "not supported",
    [AMBIT_SCHEDULE_DIVERGED] = "diverged",
    [AMBIT_SCHEDULE_OUT_OF_BOUNDS] = "out of bounds",
};

const char *ambit__failure_name(ambit_schedule_failure failure) {
    size_t index = (size_t)failure;
    return index < sizeof failure_names / sizeof failure_names[0] ? failure_names[index] : "?";
}

/* What was said, without the failure's name where it begins with that. */
static const char *without_name(const ambit__finding *found) {
    const char *name = ambit__failure_name(found->failure);
    size_t length = strlen(name);
    if (strncmp(found->message, name, length) != 0 || found->message[length] != ':')
        return found->message;
    return found->message + length + (found->message[length + 1] == ' ' ? 2 : 1);
}

void ambit__report_message(const ambit__finding *found, char *text, size_t bytes) {
    char site[256], other[256], where[128] = "";
    if (found->address) {
        memcpy(where, " on ", 5);
        if (!ambit__address_name((uintptr_t)found->address, 1, where + 4, sizeof where - 4))
            where[0] = '\0';
    }
    int length = snprintf(text, bytes, "%s: %s%s", ambit__failure_name(found->failure),
                          without_name(found), where);
    if (!found->site || length < 0 || (size_t)length >= bytes) return;
    (void)snprintf(
        text + length, bytes - (size_t)length, "\nat %s%s%s",
        ambit__site_text(found->site, site, sizeof site), found->other_site ? ", and " : "",
        found->other_site ? ambit__site_text(found->other_site, other, sizeof other) : "");
}

/* ---- Calls ----------------------------------------------------------------------------------- */

static void print_place(FILE *out, const ambit__place *place, const void *site) {
    char text[256];
    if (place->file)
        (void)fprintf(out, "        %s:%d in %s()\n", place->file, place->line, place->function);
    else
        (void)fprintf(out, "        %s\n", ambit__site_text(site, text, sizeof text));
}

static void print_site(FILE *out, const void *site) {
    const ambit__place *places;
    unsigned count = ambit__places(site, &places);
    for (unsigned i = 0; i < count; i++) print_place(out, &places[i], site);
}

/* The lowest call is the runtime's own: where it starts a thread. */
static bool is_runtime(const void *site) {
    const ambit__place *places;
    unsigned count = ambit__places(site, &places);
    const char *name = places[count - 1].function;
    return strcmp(name, "entry") == 0 || strncmp(name, "ambit__", 7) == 0;
}

#define CALLS_TOLD 24 /* the innermost: of a function that calls itself for ever nobody reads all */

static void print_calls(FILE *out, const void *site, const ambit__schedule_thread *thread) {
    if (site) print_site(out, site);
    unsigned count = thread->call_count < AMBIT__CALLS ? thread->call_count : AMBIT__CALLS;
    for (unsigned told = 0; count-- > 0; told++) {
        if (count == 0 && is_runtime(thread->calls[0])) return;
        if (told == CALLS_TOLD) {
            (void)fprintf(out, "        ... %u more calls\n", thread->call_count - told);
            return;
        }
        print_site(out, thread->calls[count]);
    }
}

/* ---- Who waits ------------------------------------------------------------------------------- */

/* Where the holder took what is waited for: the last lock of it in the rows. */
static const void *taken_at(const ambit__operation *waiting) {
    for (size_t i = ambit__row_count; i-- > 0;) {
        const ambit__operation *row = &ambit__rows[i];
        bool takes = row->kind == AMBIT__OP_LOCK || row->kind == AMBIT__OP_TRY_LOCK;
        if (takes && row->address == waiting->address && row->thread == waiting->holder &&
            !row->failed && !row->timed_out)
            return row->site;
    }
    return NULL;
}

/* "thread 1", or "thread 1 (writer)" where the program has named it. */
static void print_thread(FILE *out, unsigned index) {
    const char *name = ambit__thread_name(index);
    (void)fprintf(out, name ? "thread %u (%s)" : "thread %u", index, name);
}

static void print_waiting(FILE *out, unsigned index, const ambit__operation *waiting) {
    char name[256];
    (void)fputs("    ", out);
    print_thread(out, index);
    (void)fputs(" waits for ", out);
    if (waiting->kind == AMBIT__OP_JOIN) {
        (void)fputs("the end of ", out);
        print_thread(out, (unsigned)waiting->value);
    } else {
        (void)fputs(waiting->waits_for, out);
    }
    bool own = waiting->kind == AMBIT__OP_JOIN || waiting->kind == AMBIT__OP_GRACE;
    int descriptor = ambit__descriptor_number(waiting->address);
    if (descriptor >= 0)
        (void)fprintf(out, ", descriptor %d", descriptor);
    else if (!own && waiting->address)
        (void)fprintf(out, " %s",
                      ambit__address_text((uintptr_t)waiting->address, 0, name, sizeof name));
    if (waiting->holder_known) {
        const void *taken = waiting->holder_site ? waiting->holder_site : taken_at(waiting);
        (void)fputs(", held by ", out);
        print_thread(out, waiting->holder);
        if (taken) (void)fprintf(out, " since %s", ambit__site_text(taken, name, sizeof name));
        if (waiting->holder_ended) (void)fputs(", which has ended", out);
    }
    (void)fputs(":\n", out);
    print_calls(out, waiting->site, &ambit__threads[index]);
}

static bool all_wait(ambit_schedule_failure failure) {
    return failure == AMBIT_SCHEDULE_DEADLOCK || failure == AMBIT_SCHEDULE_LOST_WAKEUP ||
           failure == AMBIT_SCHEDULE_LIVELOCK;
}

/* ---- What and where -------------------------------------------------------------------------- */

static const char *other_word(const ambit__finding *found) {
    switch (found->failure) {
    case AMBIT_SCHEDULE_USE_AFTER_FREE:
        return strstr(found->message, "freed") ? "it was freed" : "the earlier access was";
    case AMBIT_SCHEDULE_UNINITIALISED:
    case AMBIT_SCHEDULE_OUT_OF_BOUNDS:
        return "the block was allocated";
    case AMBIT_SCHEDULE_RACE:
        return "the earlier one was";
    default:
        return "and";
    }
}

static void print_what(FILE *out, const ambit__story *story) {
    const ambit__finding *found = &ambit__found;
    char name[256];
    (void)fprintf(out, "\nambit::schedule: %s: %s%s\n    %s\n", story->name,
                  ambit__failure_name(found->failure),
                  story->before ? ", before the first schedule" : "", without_name(found));
    if (found->address)
        (void)fprintf(out, "    on %s\n",
                      ambit__address_text((uintptr_t)found->address, 1, name, sizeof name));
    if (all_wait(found->failure)) {
        for (unsigned i = 0; i < AMBIT__THREADS; i++)
            if (found->waiting[i].kind != AMBIT__OP_KINDS && found->waiting[i].waits_for)
                print_waiting(out, i, &found->waiting[i]);
    }
    if (found->failure == AMBIT_SCHEDULE_LEAK && found->site) {
        (void)fputs("    allocated at:\n", out);
        print_site(out, found->site);
    } else if (found->site && found->failure != AMBIT_SCHEDULE_DEADLOCK &&
               found->failure != AMBIT_SCHEDULE_LOST_WAKEUP) {
        (void)fputs("    ", out);
        print_thread(out, found->thread);
        (void)fputs(" here:\n", out);
        print_calls(out, found->site, &ambit__threads[found->thread]);
    }
    if (found->other_site) {
        (void)fprintf(out, "    %s here:\n", other_word(found));
        print_site(out, found->other_site);
    }
}

/* The row that failed: the last of that thread, if it is the thread's fault at all. */
static size_t failing_row(void) {
    ambit_schedule_failure failure = ambit__found.failure;
    if (failure == AMBIT_SCHEDULE_DEADLOCK || failure == AMBIT_SCHEDULE_LOST_WAKEUP ||
        failure == AMBIT_SCHEDULE_LEAK || failure == AMBIT_SCHEDULE_DIVERGED)
        return SIZE_MAX;
    for (size_t i = ambit__row_count; i-- > 0;)
        if (ambit__rows[i].thread == ambit__found.thread) return i;
    return SIZE_MAX;
}

/* ---- To play it again ------------------------------------------------------------------------ */

static void print_again(FILE *out, const ambit__story *story) {
    (void)fputs("\n", out);
    if (story->before) return; /* it has no choice */
    if (!story->by_choices)
        (void)fprintf(out,
                      "    play it again:   --only=%s --strategy=%s%s --seed=0x%" PRIx64
                      " --trace-hash=0x%016" PRIx64 "\n",
                      story->name, story->strategy, story->settings, story->seed, story->hash);
    if (ambit__found.failure == AMBIT_SCHEDULE_DIVERGED)
        return; /* nothing plays that again for sure */
    (void)fprintf(out, "    as in the table: --only=%s --strategy=%s --choices=", story->name,
                  story->asked);
    ambit__choices_print(out, story->choices, story->choice_count);
    (void)fputs("\n", out);
    if (story->diverged)
        (void)fputs(
            "    WARNING: the same seed took another way when it was played again. The code "
            "depends on\n    addresses, on real time, or on state that is not put back.\n",
            out);
}

void ambit__report_failure(FILE *out, const ambit__story *story) {
    print_what(out, story);
    (void)fputs("\n    schedule: ", out);
    if (!story->by_choices)
        (void)fprintf(out, "strategy %s, seed 0x%" PRIx64 ", ", story->strategy, story->seed);
    (void)fprintf(out, "%" PRIu64 " step%s, trace hash 0x%016" PRIx64 "\n", story->steps,
                  story->steps == 1 ? "" : "s", story->hash);
    if (ambit__found.hash != story->hash && ambit__found.failure != AMBIT_SCHEDULE_DIVERGED)
        (void)fprintf(out, "    shortened: %" PRIu64 " steps, trace hash 0x%016" PRIx64 "\n",
                      ambit__found.steps, ambit__found.hash);
    (void)fputs("\n", out);
    ambit__table table = {ambit__rows, ambit__row_count, failing_row(),
                          all_wait(ambit__found.failure) ? ambit__found.waiting : NULL};
    ambit__table_print(out, &table);
    ambit__black_boxes_print(out);
    print_again(out, story);
    (void)fflush(out);
}

/* ---- Stuck ----------------------------------------------------------------------------------- */

void ambit__report_stuck(const char *text, const void *site) {
    /* The call that hangs may hold a lock that we need for the names: then the alarm ends it. */
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(5);
    const ambit__schedule_thread *self = ambit__self;
    const char *test = ambit__options && ambit__options->name ? ambit__options->name : "?";
    (void)fprintf(stderr, "\nambit::schedule: %s: %s\n", test, text);
    if (ambit__playing.strategy)
        (void)fprintf(stderr, "    play it again:   --only=%s --strategy=%s --seed=0x%" PRIx64 "\n",
                      test, ambit__playing.strategy->name, ambit__playing.seed);
    (void)fflush(stderr);
    if (self) {
        const char *name = ambit__function_name(self->start ? (const void *)(uintptr_t)self->start
                                                            : (const void *)(uintptr_t)self->run);
        bool known = site || self->call_count > 1;
        (void)fprintf(stderr, "    thread %u, which began with %s()%s\n", self->index,
                      name ? name : "?", known ? ", is here:" : "");
        if (known) print_calls(stderr, site, self);
    }
    (void)fflush(stderr);
    (void)alarm(0);
}
