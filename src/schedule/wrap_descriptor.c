/* Descriptors: read, write and their like. See descriptor.c for what is known of them.
 *
 * A call that would wait for the world outside fails the schedule, by name: nobody in it could end
 * that. One that does not wait goes through. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "schedule/descriptor.h"
#include "schedule/inside.h"
#include "schedule/wraps.h"

#define HERE __builtin_return_address(0)

/* ---- Waiting --------------------------------------------------------------------------------- */

typedef struct wanted {
    int descriptor;
    short events;
} wanted;

static bool is_there(void *argument) {
    const wanted *of = argument;
    struct pollfd asked = {.fd = of->descriptor, .events = of->events};
    int error = errno; /* of whichever thread picks */
    (void)ambit__timers_tick();
    bool there = poll(&asked, 1, 0) != 0; /* an error as well: the call will say which */
    errno = error;
    return there;
}

bool ambit__descriptor_waits(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    return flags >= 0 && !(flags & O_NONBLOCK);
}

static void refuse_to_wait(int descriptor, const char *name, const void *site) {
    ambit__fail(
        AMBIT_SCHEDULE_UNSUPPORTED, site, NULL,
        "%s() of descriptor %d would wait, and nobody in the schedule could end that: use an "
        "eventfd() or a pipe() of the scenario",
        name, descriptor);
}

bool ambit__descriptor_step(int descriptor, short events, bool waits, const char *name,
                            const void *site) {
    wanted asked = {descriptor, events};
    if (ambit__descriptor_at(descriptor)->kind == AMBIT__OUTSIDE) {
        if (is_there(&asked)) return true;
        if (waits) refuse_to_wait(descriptor, name, site);
        return false;
    }
    do {
        ambit__operation operation = {
            .kind = waits ? AMBIT__OP_WAIT : AMBIT__OP_CALL,
            .name = name,
            .address = ambit__descriptor_at(descriptor),
            .writes = true,
            .site = site,
            .ready = waits ? is_there : NULL,
            .argument = &asked,
            .deadline_ns = ambit__timers_tick(),
            .waits_for = events & POLLIN ? "something to read" : "room to write",
        };
        ambit__step(&operation);
        if (!operation.timed_out) break;
    } while (!is_there(&asked)); /* a timer that it may wait for is due */
    bool there = is_there(&asked);
    ambit__found_nothing(!there);
    return there;
}

/* ---- Reading --------------------------------------------------------------------------------- */

/* How much of a buffer a read will fill. */
static size_t bytes_to_come(int descriptor, size_t bytes) {
    int there;
    if (ambit__descriptor_at(descriptor)->kind != AMBIT__PIPE ||
        ioctl(descriptor, FIONREAD, &there))
        return bytes;
    return (size_t)there < bytes ? (size_t)there : bytes;
}

static bool begin_read(int descriptor, bool waits, const char *name, const void *site) {
    if (ambit__descriptor_is_closed(descriptor)) return false;
    (void)ambit__descriptor_step(descriptor, POLLIN, waits, name, site);
    return true;
}

static ssize_t end_read(int descriptor, ssize_t got) {
    if (got >= 0) ambit__channel_acquire(ambit__descriptor_at(descriptor)->in);
    return got;
}

static ssize_t read_as(int descriptor, void *memory, size_t bytes, const char *name,
                       const void *site) {
    if (!begin_read(descriptor, ambit__descriptor_waits(descriptor), name, site)) return -1;
    ambit__will_write(memory, bytes_to_come(descriptor, bytes), site);
    return end_read(descriptor, read(descriptor, memory, bytes));
}

ssize_t ambit__read_at(int descriptor, void *memory, size_t bytes, const void *site) {
    return read_as(descriptor, memory, bytes, "read", site);
}

/* ---- Writing --------------------------------------------------------------------------------- */

/* There may be room, but not for all of it: the real call must not wait. */
static ssize_t write_now(int descriptor, const void *memory, size_t bytes) {
    int flags = fcntl(descriptor, F_GETFL);
    if (flags < 0 || flags & O_NONBLOCK) return write(descriptor, memory, bytes);
    (void)fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
    ssize_t done = write(descriptor, memory, bytes);
    int error = errno;
    (void)fcntl(descriptor, F_SETFL, flags);
    errno = error;
    return done;
}

static ssize_t write_as(int descriptor, const void *memory, size_t bytes, const char *name,
                        const void *site) {
    if (ambit__descriptor_is_closed(descriptor)) return -1;
    ambit__will_read(memory, bytes, site);
    bool waits = ambit__descriptor_waits(descriptor);
    for (size_t done = 0;;) {
        (void)ambit__descriptor_step(descriptor, POLLOUT, waits, name, site);
        ambit__channel_release(ambit__descriptor_at(descriptor)->out);
        ssize_t more = write_now(descriptor, (const char *)memory + done, bytes - done);
        if (more > 0) done += (size_t)more;
        if (more < 0 && !(waits && errno == EAGAIN)) return done ? (ssize_t)done : -1;
        if (more < 0) ambit__found_nothing(true); /* an eventfd that is nearly full */
        if (done == bytes || !waits) return (ssize_t)done;
    }
}

ssize_t ambit__write_at(int descriptor, const void *memory, size_t bytes, const void *site) {
    return write_as(descriptor, memory, bytes, "write", site);
}

/* ---- read, write ----------------------------------------------------------------------------- */

ssize_t __wrap_read(int descriptor, void *memory, size_t bytes);
ssize_t __wrap_read(int descriptor, void *memory, size_t bytes) {
    if (!ambit__self) return read(descriptor, memory, bytes);
    return ambit__read_at(descriptor, memory, bytes, HERE);
}

ssize_t __wrap___read_chk(int descriptor, void *memory, size_t bytes, size_t room);
ssize_t __wrap___read_chk(int descriptor, void *memory, size_t bytes, size_t room) {
    if (bytes > room) abort();
    if (!ambit__self) return read(descriptor, memory, bytes);
    return ambit__read_at(descriptor, memory, bytes, HERE);
}

ssize_t __wrap_write(int descriptor, const void *memory, size_t bytes);
ssize_t __wrap_write(int descriptor, const void *memory, size_t bytes) {
    if (!ambit__self) return write(descriptor, memory, bytes);
    return ambit__write_at(descriptor, memory, bytes, HERE);
}

ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_readv(int descriptor, const struct iovec *parts, int count) {
    if (!ambit__self) return readv(descriptor, parts, count);
    if (!begin_read(descriptor, ambit__descriptor_waits(descriptor), "readv", HERE)) return -1;
    for (int i = 0; i < count; i++) ambit__will_write(parts[i].iov_base, parts[i].iov_len, HERE);
    return end_read(descriptor, readv(descriptor, parts, count));
}

/* A part at a time: others' bytes may come between, which POSIX allows. */
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count);
ssize_t __wrap_writev(int descriptor, const struct iovec *parts, int count) {
    if (!ambit__self) return writev(descriptor, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        if (!parts[i].iov_len) continue;
        ssize_t done = write_as(descriptor, parts[i].iov_base, parts[i].iov_len, "writev", HERE);
        if (done < 0) return all ? all : -1;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}

ssize_t __wrap_recv(int descriptor, void *memory, size_t bytes, int flags);
ssize_t __wrap_recv(int descriptor, void *memory, size_t bytes, int flags) {
    if (!ambit__self) return recv(descriptor, memory, bytes, flags);
    bool waits = !(flags & MSG_DONTWAIT) && ambit__descriptor_waits(descriptor);
    if (!begin_read(descriptor, waits, "recv", HERE)) return -1;
    ambit__will_write(memory, bytes, HERE);
    return end_read(descriptor, recv(descriptor, memory, bytes, flags & ~MSG_WAITALL));
}

ssize_t __wrap_send(int descriptor, const void *memory, size_t bytes, int flags);
ssize_t __wrap_send(int descriptor, const void *memory, size_t bytes, int flags) {
    if (!ambit__self) return send(descriptor, memory, bytes, flags);
    bool waits = !(flags & MSG_DONTWAIT) && ambit__descriptor_waits(descriptor);
    if (ambit__descriptor_is_closed(descriptor)) return -1;
    ambit__will_read(memory, bytes, HERE);
    (void)ambit__descriptor_step(descriptor, POLLOUT, waits, "send", HERE);
    ambit__channel_release(ambit__descriptor_at(descriptor)->out);
    return send(descriptor, memory, bytes, flags | MSG_DONTWAIT);
}

/* ---- eventfd --------------------------------------------------------------------------------- */

int ambit__eventfd_at(unsigned count, int flags, const void *site) {
    int made = eventfd(count, flags);
    if (made < 0) return made;
    uint8_t channel = ambit__channel_new(site);
    ambit__descriptor_made(made, AMBIT__EVENT, channel, channel);
    return made;
}

int __wrap_eventfd(unsigned count, int flags);
int __wrap_eventfd(unsigned count, int flags) {
    return ambit__self ? ambit__eventfd_at(count, flags, HERE) : eventfd(count, flags);
}

int __wrap_eventfd_read(int descriptor, eventfd_t *value);
int __wrap_eventfd_read(int descriptor, eventfd_t *value) {
    if (!ambit__self) return eventfd_read(descriptor, value);
    ssize_t got = read_as(descriptor, value, sizeof *value, "eventfd_read", HERE);
    return got == (ssize_t)sizeof *value ? 0 : -1;
}

int __wrap_eventfd_write(int descriptor, eventfd_t value);
int __wrap_eventfd_write(int descriptor, eventfd_t value) {
    if (!ambit__self) return eventfd_write(descriptor, value);
    ssize_t done = write_as(descriptor, &value, sizeof value, "eventfd_write", HERE);
    return done == (ssize_t)sizeof value ? 0 : -1;
}

/* ---- pipes, pairs of sockets ----------------------------------------------------------------- */

static int pipe_at(int ends[2], int flags, const void *site) {
    ambit__will_write(ends, 2 * sizeof *ends, site);
    if (pipe2(ends, flags) != 0) return -1;
    uint8_t channel = ambit__channel_new(site);
    ambit__descriptor_made(ends[0], AMBIT__PIPE, channel, 0);
    ambit__descriptor_made(ends[1], AMBIT__PIPE, 0, channel);
    return 0;
}

int __wrap_pipe(int ends[2]);
int __wrap_pipe(int ends[2]) { return ambit__self ? pipe_at(ends, 0, HERE) : pipe(ends); }

int __wrap_pipe2(int ends[2], int flags);
int __wrap_pipe2(int ends[2], int flags) {
    return ambit__self ? pipe_at(ends, flags, HERE) : pipe2(ends, flags);
}

int __wrap_socketpair(int domain, int type, int protocol, int ends[2]);
int __wrap_socketpair(int domain, int type, int protocol, int ends[2]) {
    if (!ambit__self) return socketpair(domain, type, protocol, ends);
    ambit__will_write(ends, 2 * sizeof *ends, HERE);
    if (socketpair(domain, type, protocol, ends) != 0) return -1;
    uint8_t there = ambit__channel_new(HERE), back = ambit__channel_new(HERE);
    ambit__descriptor_made(ends[0], AMBIT__SOCKET, back, there);
    ambit__descriptor_made(ends[1], AMBIT__SOCKET, there, back);
    return 0;
}

/* ---- Numbers come and go --------------------------------------------------------------------- */

static void step_on(int descriptor, const char *name, const void *site) {
    if (ambit__descriptor_at(descriptor)->kind == AMBIT__OUTSIDE) return;
    ambit__operation operation = {.kind = AMBIT__OP_CALL,
                                  .name = name,
                                  .address = ambit__descriptor_at(descriptor),
                                  .writes = true,
                                  .site = site,
                                  .deadline_ns = AMBIT__FOREVER};
    ambit__step(&operation);
}

int ambit__close_at(int descriptor, const void *site) {
    if (ambit__descriptor_is_closed(descriptor)) return -1;
    step_on(descriptor, "close", site);
    return ambit__descriptor_close(descriptor);
}

int __wrap_close(int descriptor);
int __wrap_close(int descriptor) {
    return ambit__self ? ambit__close_at(descriptor, HERE) : close(descriptor);
}

static int copied(int from, int to) {
    if (to >= 0) ambit__descriptor_copied(from, to);
    return to;
}

int __wrap_dup(int descriptor);
int __wrap_dup(int descriptor) {
    if (!ambit__self) return dup(descriptor);
    return ambit__descriptor_is_closed(descriptor) ? -1 : copied(descriptor, dup(descriptor));
}

int __wrap_dup2(int descriptor, int other);
int __wrap_dup2(int descriptor, int other) {
    if (!ambit__self) return dup2(descriptor, other);
    step_on(other, "dup2", HERE);
    return copied(descriptor, dup2(descriptor, other));
}

int __wrap_dup3(int descriptor, int other, int flags);
int __wrap_dup3(int descriptor, int other, int flags) {
    if (!ambit__self) return dup3(descriptor, other, flags);
    step_on(other, "dup3", HERE);
    return copied(descriptor, dup3(descriptor, other, flags));
}

static int fcntl_at(int descriptor, int command, void *argument, const void *site) {
    if (command == F_SETLKW || command == F_OFD_SETLKW) refuse_to_wait(descriptor, "fcntl", site);
    int answer = fcntl(descriptor, command, argument);
    bool copies = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
    return copies ? copied(descriptor, answer) : answer;
}

int __wrap_fcntl(int descriptor, int command, ...);
int __wrap_fcntl(int descriptor, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *); /* noise where the command has none */
    va_end(list);
    if (!ambit__self) return fcntl(descriptor, command, argument);
    return fcntl_at(descriptor, command, argument, HERE);
}

int __wrap_fcntl64(int descriptor, int command, ...);
int __wrap_fcntl64(int descriptor, int command, ...) {
    va_list list;
    va_start(list, command);
    void *argument = va_arg(list, void *);
    va_end(list);
    if (!ambit__self) return fcntl(descriptor, command, argument);
    return fcntl_at(descriptor, command, argument, HERE);
}

/* ---- Servers --------------------------------------------------------------------------------- */

int __wrap_accept4(int descriptor, struct sockaddr *peer, socklen_t *bytes, int flags);
int __wrap_accept4(int descriptor, struct sockaddr *peer, socklen_t *bytes, int flags) {
    if (ambit__self)
        (void)ambit__descriptor_step(descriptor, POLLIN, ambit__descriptor_waits(descriptor),
                                     "accept4", HERE);
    return accept4(descriptor, peer, bytes, flags);
}

int __wrap_accept(int descriptor, struct sockaddr *peer, socklen_t *bytes);
int __wrap_accept(int descriptor, struct sockaddr *peer, socklen_t *bytes) {
    if (ambit__self)
        (void)ambit__descriptor_step(descriptor, POLLIN, ambit__descriptor_waits(descriptor),
                                     "accept", HERE);
    return accept(descriptor, peer, bytes);
}

int __wrap_connect(int descriptor, const struct sockaddr *peer, socklen_t bytes);
int __wrap_connect(int descriptor, const struct sockaddr *peer, socklen_t bytes) {
    if (ambit__self && ambit__descriptor_waits(descriptor))
        refuse_to_wait(descriptor, "connect", HERE);
    return connect(descriptor, peer, bytes);
}

ssize_t __wrap_recvmsg(int descriptor, struct msghdr *message, int flags);
ssize_t __wrap_recvmsg(int descriptor, struct msghdr *message, int flags) {
    if (!ambit__self) return recvmsg(descriptor, message, flags);
    bool waits = !(flags & MSG_DONTWAIT) && ambit__descriptor_waits(descriptor);
    if (!begin_read(descriptor, waits, "recvmsg", HERE)) return -1;
    for (size_t i = 0; i < message->msg_iovlen; i++)
        ambit__will_write(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len, HERE);
    return end_read(descriptor, recvmsg(descriptor, message, flags & ~MSG_WAITALL));
}

ssize_t __wrap_sendmsg(int descriptor, const struct msghdr *message, int flags);
ssize_t __wrap_sendmsg(int descriptor, const struct msghdr *message, int flags) {
    if (!ambit__self) return sendmsg(descriptor, message, flags);
    bool waits = !(flags & MSG_DONTWAIT) && ambit__descriptor_waits(descriptor);
    (void)ambit__descriptor_step(descriptor, POLLOUT, waits, "sendmsg", HERE);
    ambit__channel_release(ambit__descriptor_at(descriptor)->out);
    return sendmsg(descriptor, message, flags | MSG_DONTWAIT);
}
