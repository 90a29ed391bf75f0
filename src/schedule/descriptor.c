/* Which descriptors a schedule knows, and what goes through them.
 *
 * They are real: the kernel keeps their numbers, counts and bytes, and says what is there to be read. Only
 * waiting is the schedule's: a step that asks the kernel, without waiting, whether it may be taken, and then
 * makes the real call, which has no reason left to block.
 *
 * Those that are made in a schedule are closed at its end. An eventfd that was there before is adopted when a
 * schedule first touches it, and is given its count back; pipes and the like that `before` made are emptied.
 *
 * A write orders what comes before it with what comes after the read that gets it. POSIX does not say so, but
 * the kernel cannot do otherwise. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "schedule/descriptor.h"

#define DESCRIPTORS 1024
#define CHANNELS 255
#define IN_VAIN 4 /* calls that find nothing, one after the other, are spinning */

static ambit__descriptor table[DESCRIPTORS];
static int highest = -1; /* none of the table's is beyond */
static ambit__vector channels[CHANNELS + 1];
static unsigned channel_count, kept_channels;

/* ---- Channels -------------------------------------------------------------------------------- */

uint8_t ambit__channel_new(const void *site) {
    if (channel_count == CHANNELS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
                    "expected at most %d eventfds and pipes in a schedule", CHANNELS);
    channel_count++;
    memset(&channels[channel_count], 0, sizeof *channels);
    return (uint8_t)channel_count;
}

void ambit__channel_release(uint8_t channel) {
    if (channel) ambit__release_to(&channels[channel]);
}

void ambit__channel_acquire(uint8_t channel) {
    if (channel) ambit__acquire_from(&channels[channel]);
}

/* ---- The table ------------------------------------------------------------------------------- */

void ambit__descriptor_made(int descriptor, ambit__descriptor_kind kind, uint8_t in, uint8_t out) {
    if (descriptor >= DESCRIPTORS)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, NULL, NULL,
                    "expected descriptors below %d, found one more open", DESCRIPTORS);
    if (descriptor > highest) highest = descriptor;
    table[descriptor] =
        (ambit__descriptor){.kind = kind, .in = in, .out = out, .due_ns = AMBIT__FOREVER};
}

static uint64_t event_count(int descriptor) {
    char path[48], text[512];
    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", descriptor);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t got = read(file, text, sizeof text - 1);
    (void)close(file);
    text[got > 0 ? got : 0] = '\0';
    const char *found = strstr(text, "eventfd-count:");
    return found ? strtoull(found + strlen("eventfd-count:"), NULL, 16) : 0;
}

static bool is_event(int descriptor) {
    char path[48], text[32];
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    ssize_t got = readlink(path, text, sizeof text);
    static const char expected[] = "anon_inode:[eventfd]";
    return got == (ssize_t)strlen(expected) && memcmp(text, expected, strlen(expected)) == 0;
}

ambit__descriptor *ambit__descriptor_at(int descriptor) {
    static ambit__descriptor outside;
    if (descriptor < 0 || descriptor >= DESCRIPTORS) return &outside;
    ambit__descriptor *at = &table[descriptor];
    if (at->kind == AMBIT__OUTSIDE && is_event(descriptor)) {
        uint8_t channel = ambit__channel_new(NULL);
        ambit__descriptor_made(descriptor, AMBIT__EVENT, channel, channel);
        at->adopted = true;
        at->count = event_count(descriptor);
    }
    return at;
}

int ambit__descriptor_number(const void *address) {
    uintptr_t offset = (uintptr_t)address - (uintptr_t)table;
    return offset < sizeof table ? (int)(offset / sizeof *table) : -1;
}

bool ambit__descriptor_is_closed(int descriptor) {
    if (descriptor < 0 || descriptor >= DESCRIPTORS || !table[descriptor].closed) return false;
    errno = EBADF;
    return true;
}

void ambit__descriptor_copied(int from, int to) {
    const ambit__descriptor *of = ambit__descriptor_at(from);
    if (of->kind == AMBIT__OUTSIDE) return;
    ambit__descriptor_made(to, of->kind, of->in, of->out);
}

int ambit__descriptor_close(int descriptor) {
    ambit__descriptor *at = ambit__descriptor_at(descriptor);
    if (at->kind == AMBIT__OUTSIDE) return close(descriptor);
    ambit__channel_release(at->out); /* who reads the end of it */
    if (at->kept || at->adopted) {
        /* The next schedule needs it. */
        at->closed = true;
        return 0;
    }
    *at = (ambit__descriptor){0};
    return close(descriptor);
}

static unsigned in_vain[AMBIT__THREADS];

void ambit__found_nothing(bool nothing) {
    unsigned *count = &in_vain[ambit__self->index];
    *count = nothing ? *count + 1 : 0;
    if (*count >= IN_VAIN) ambit__spin();
}

/* ---- From schedule to schedule --------------------------------------------------------------- */

static void empty(int descriptor) {
    char bytes[4096];
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0) return;
    (void)fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
    while (read(descriptor, bytes, sizeof bytes) > 0) {
    }
    (void)fcntl(descriptor, F_SETFL, flags);
}

static void put_back(int descriptor, ambit__descriptor *at) {
    at->closed = false;
    if (at->kind != AMBIT__EPOLL) empty(descriptor);
    if (at->kind == AMBIT__EVENT && at->count) (void)eventfd_write(descriptor, at->count);
    at->due_ns = AMBIT__FOREVER;
}

void ambit__descriptors_reset(void) {
    int last = highest;
    highest = -1;
    for (int i = 0; i <= last; i++) {
        if (table[i].kind == AMBIT__OUTSIDE) continue;
        if (table[i].kept) {
            put_back(i, &table[i]);
            highest = i;
            continue;
        }
        if (table[i].adopted)
            put_back(i, &table[i]); /* the program may close it before the next one */
        else
            (void)close(i);
        table[i] = (ambit__descriptor){0};
    }
    memset(in_vain, 0, sizeof in_vain);
    channel_count = kept_channels;
    memset(channels, 0, (kept_channels + 1) * sizeof *channels);
}

void ambit__descriptors_keep(void) {
    for (int i = 0; i <= highest; i++) {
        if (table[i].kind == AMBIT__OUTSIDE || table[i].adopted) continue;
        table[i].kept = true;
        if (table[i].kind == AMBIT__EVENT) table[i].count = event_count(i);
    }
    kept_channels = channel_count;
}

/* Those that `before` made are closed: nothing that knows them is left. */
void ambit__descriptors_forget(void) {
    for (int i = 0; i <= highest; i++) table[i].kept = false;
    kept_channels = 0;
    ambit__descriptors_reset();
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void count_on(int descriptor, ambit__descriptor *timer, int64_t now) {
    uint64_t times = 1;
    if (timer->every_ns) {
        times += (uint64_t)((now - timer->due_ns) / timer->every_ns);
        timer->due_ns += (int64_t)times * timer->every_ns;
    } else {
        timer->due_ns = AMBIT__FOREVER;
    }
    (void)eventfd_write(descriptor, times);
}

int64_t ambit__timers_tick(void) {
    int64_t earliest = AMBIT__FOREVER, now = ambit__now();
    for (int i = 0; i <= highest; i++) {
        if (table[i].kind != AMBIT__TIMER) continue;
        if (table[i].due_ns <= now) count_on(i, &table[i], now);
        if (table[i].due_ns < earliest) earliest = table[i].due_ns;
    }
    return earliest;
}
