/* The descriptors of a schedule: eventfds, pipes, pairs of sockets, epolls, timers. In a schedule only. */
#ifndef AMBIT_SCHEDULE_DESCRIPTOR_H
#define AMBIT_SCHEDULE_DESCRIPTOR_H

#include <poll.h>
#include <sys/types.h>

#include "schedule/inside.h"

typedef enum ambit__descriptor_kind {
    AMBIT__OUTSIDE = 0, /* not the schedule's: a file, a terminal, another process behind it */
    AMBIT__EVENT,
    AMBIT__PIPE,
    AMBIT__SOCKET,
    AMBIT__EPOLL,
    AMBIT__TIMER /* an eventfd to the kernel */
} ambit__descriptor_kind;

typedef struct ambit__descriptor {
    ambit__descriptor_kind kind;
    bool kept;                /* `before` made it: it must be as then after each schedule */
    bool adopted;             /* it was there before the run */
    bool closed;              /* one of these: in this schedule it is */
    uint8_t in, out;          /* channels */
    uint64_t count;           /* of such an eventfd, at the beginning */
    int64_t due_ns, every_ns; /* of a timer; FOREVER: unset */
} ambit__descriptor;

/* descriptor.c */
/* An eventfd from before the schedule is adopted at first sight. */
ambit__descriptor *ambit__descriptor_at(int descriptor);
/* Of such an address the number, for reports; -1 if it is none. */
int ambit__descriptor_number(const void *address);
/* The kernel gave out a new one. */
void ambit__descriptor_made(int descriptor, ambit__descriptor_kind kind, uint8_t in, uint8_t out);
/* Another way for bytes from writers to readers. */
uint8_t ambit__channel_new(const void *site);
void ambit__channel_release(uint8_t channel);
void ambit__channel_acquire(uint8_t channel);
/* EBADF for a kept one that is closed in this schedule. */
bool ambit__descriptor_is_closed(int descriptor);
/* After a real dup(). */
void ambit__descriptor_copied(int from, int to);
/* What close() does. */
int ambit__descriptor_close(int descriptor);
/* Timers that are due count on; the earliest other's time. */
int64_t ambit__timers_tick(void);

/* wrap_descriptor.c */
/* Takes the step of `name` on it when one of the events is there, or at once if nobody waits: it does not block
 * then. False: nothing is there. */
bool ambit__descriptor_step(int descriptor, short events, bool waits, const char *name,
                            const void *site);
bool ambit__descriptor_waits(int descriptor);
/* descriptor.c: a call has found nothing to read or no room, or something: who asks now and then and finds
 * nothing is spinning at last. */
void ambit__found_nothing(bool nothing);

#endif
