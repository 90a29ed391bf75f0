/* Descriptors under the scheduler: eventfds, pipes, sockets, epoll, timers. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "outcome.h"

static void run_two(ambit_schedule_fn *one, ambit_schedule_fn *two) {
    ambit_schedule_thread first = ambit_schedule_spawn(one, NULL);
    ambit_schedule_thread second = ambit_schedule_spawn(two, NULL);
    ambit_schedule_join(first);
    ambit_schedule_join(second);
}

/* Fewer schedules than elsewhere: the calls reach the kernel, which is slow. */
static void stays_clean(ambit_schedule_fn *scenario) {
    expect_clean_with(scenario, (ambit_schedule_options){.schedules = 3000});
}

int plain; /* not static: the compiler is not to know its values */
static int event, ends[2];
static _Atomic(int) flag;

/* ---- eventfd --------------------------------------------------------------------------------- */

static void read_event(void *argument) {
    (void)argument;
    uint64_t count = 0;
    ambit_schedule_assert(read(event, &count, sizeof count) == sizeof count && count == 1);
    ambit_schedule_assert(plain == 1);
}
static void write_event(void *argument) {
    (void)argument;
    uint64_t one = 1;
    plain = 1;
    ambit_schedule_assert(write(event, &one, sizeof one) == sizeof one);
}
static void hands_over_by_event(void *argument) {
    (void)argument;
    event = eventfd(0, EFD_CLOEXEC);
    run_two(read_event, write_event);
    ambit_schedule_assert(close(event) == 0);
}
static void read_waits_for_write_and_is_ordered(void **state) {
    (void)state;
    stays_clean(hands_over_by_event);
}

static void write_event_first(void *argument) {
    (void)argument;
    eventfd_write(event, 1);
    plain = 1;
}
static void writes_event_too_early(void *argument) {
    (void)argument;
    event = eventfd(0, EFD_CLOEXEC);
    run_two(read_event, write_event_first);
}
static void what_follows_a_write_is_not_ordered(void **state) {
    (void)state;
    expect_failure(writes_event_too_early, AMBIT_SCHEDULE_RACE, "race");
}

/* Who is told that something is there knows what its writer did before, read or not. */
static void poll_event(void *argument) {
    (void)argument;
    struct pollfd asked = {.fd = event, .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, -1) == 1 && asked.revents == POLLIN);
    ambit_schedule_assert(plain == 1);
}
static void select_event(void *argument) {
    (void)argument;
    fd_set asked;
    FD_ZERO(&asked);
    FD_SET(event, &asked);
    ambit_schedule_assert(select(event + 1, &asked, NULL, NULL, NULL) == 1);
    ambit_schedule_assert(FD_ISSET(event, &asked) && plain == 1);
}
static void epoll_event(void *argument) {
    (void)argument;
    struct epoll_event asked = {.events = EPOLLIN};
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    ambit_schedule_assert(epoll_ctl(epoll, EPOLL_CTL_ADD, event, &asked) == 0);
    ambit_schedule_assert(epoll_wait(epoll, &asked, 1, -1) == 1);
    ambit_schedule_assert(plain == 1);
    ambit_schedule_assert(close(epoll) == 0);
}
/* It is not there yet, or it is: nothing is known if it was not. */
static void poll_in_vain(void *argument) {
    (void)argument;
    struct pollfd asked = {.fd = event, .events = POLLIN};
    (void)poll(&asked, 1, 0);
    ambit_schedule_assert(plain <= 1);
}
static ambit_schedule_fn *asks, *writes;
static void asks_for_event(void *argument) {
    (void)argument;
    event = eventfd(0, EFD_CLOEXEC);
    run_two(asks, writes);
}
static void who_asks_learns_of_the_writer(void **state) {
    (void)state;
    static ambit_schedule_fn *const all[] = {poll_event, select_event, epoll_event};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
        asks = all[i];
        writes = write_event;
        expect_clean_with(asks_for_event, (ambit_schedule_options){.schedules = 2000});
        writes = write_event_first;
        expect_failure(asks_for_event, AMBIT_SCHEDULE_RACE, "race");
    }
    asks = poll_in_vain;
    writes = write_event;
    expect_failure(asks_for_event, AMBIT_SCHEDULE_RACE, "race");
}

static void nobody_writes(void *argument) {
    (void)argument;
    event = eventfd(0, EFD_CLOEXEC);
    eventfd_t count;
    eventfd_read(event, &count);
}
static void read_that_nobody_ends_is_a_lost_wakeup(void **state) {
    (void)state;
    expect_failure(nobody_writes, AMBIT_SCHEDULE_LOST_WAKEUP, "lost wake-up");
}

/* A full one makes its writer wait, and a semaphore counts down by ones. */
static void empty_event(void *argument) {
    (void)argument;
    eventfd_t count;
    ambit_schedule_assert(eventfd_read(event, &count) == 0 && count == UINT64_MAX - 1);
    atomic_store(&flag, 1);
}
static void fills_event(void *argument) {
    (void)argument;
    event = eventfd(0, 0);
    ambit_schedule_assert(eventfd_write(event, UINT64_MAX - 1) == 0);
    ambit_schedule_thread one = ambit_schedule_spawn(empty_event, NULL);
    ambit_schedule_assert(eventfd_write(event, 1) == 0);
    ambit_schedule_join(one);
    int semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    eventfd_t count;
    ambit_schedule_assert(eventfd_read(semaphore, &count) == 0 && count == 1);
    ambit_schedule_assert(eventfd_read(semaphore, &count) == 0 && count == 1);
    ambit_schedule_assert(eventfd_read(semaphore, &count) == -1 && errno == EAGAIN);
    ambit_schedule_assert(syscall(SYS_eventfd2, 0, 0) > semaphore);
}
static void counts_are_the_kernels(void **state) {
    (void)state;
    stays_clean(fills_event);
}

static void poll_in_a_loop(void *argument) {
    (void)argument;
    eventfd_t count;
    while (eventfd_read(event, &count) != 0) {
    }
    ambit_schedule_assert(plain == 1);
}
static void reads_without_waiting(void *argument) {
    (void)argument;
    event = eventfd(0, EFD_NONBLOCK);
    run_two(poll_in_a_loop, write_event);
}
static void loops_of_reads_let_the_writer_on(void **state) {
    (void)state;
    for (int strategy = AMBIT_SCHEDULE_MIXED; strategy <= AMBIT_SCHEDULE_PCT; strategy++)
        expect_clean_with(reads_without_waiting,
                          (ambit_schedule_options){.strategy = (ambit_schedule_strategy)strategy});
}

/* ---- From before ----------------------------------------------------------------------------- */

static void takes_what_was_there(void *argument) {
    (void)argument;
    eventfd_t count;
    ambit_schedule_assert(eventfd_read(event, &count) == 0 && count == 7);
    eventfd_write(event, 1);
    ambit_schedule_assert(close(event) == 0);
    ambit_schedule_assert(eventfd_write(event, 1) == -1 && errno == EBADF);
    ambit_schedule_assert(close(event) == -1);
}
static void make_event(void *argument) {
    (void)argument;
    event = eventfd(7, 0);
    ambit_schedule_assert(pipe(ends) == 0);
}
static void leaves_bytes_behind(void *argument) {
    (void)argument;
    char byte = 'x';
    struct pollfd asked = {.fd = ends[0], .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, 0) == 0);
    ambit_schedule_assert(write(ends[1], &byte, 1) == 1);
    takes_what_was_there(argument);
}
static void descriptors_from_before_are_put_back(void **state) {
    (void)state;
    event = eventfd(7, 0);
    int own = event;
    stays_clean(takes_what_was_there);
    eventfd_t count;
    assert_int_equal(eventfd_read(own, &count), 0);
    assert_int_equal(count, 7);
    assert_int_equal(close(own), 0);
    expect_clean_with(leaves_bytes_behind, (ambit_schedule_options){.before = make_event});
}

static void leaves_them_open(void *argument) {
    (void)argument;
    int made[2];
    int first = eventfd(0, 0);
    ambit_schedule_assert(first == *(int *)argument);
    ambit_schedule_assert(pipe2(made, O_CLOEXEC) == 0 && dup(made[0]) > first);
}
static void nothing(void *argument) { (void)argument; }
static void descriptors_are_closed_at_the_end(void **state) {
    (void)state;
    /* What `before` made in an earlier run is closed when the next one begins. */
    expect_clean_with(nothing, (ambit_schedule_options){.schedules = 1});
    int next = dup(0);
    close(next);
    expect_clean_with(leaves_them_open, (ambit_schedule_options){.argument = &next});
}

/* ---- Pipes and sockets ----------------------------------------------------------------------- */

#define LARGE 100000 /* more than a pipe holds */
static char large[LARGE], arrived[LARGE + 1];
static void write_large(void *argument) {
    (void)argument;
    large[LARGE - 1] = 'z';
    ambit_schedule_assert(write(ends[1], large, LARGE) == LARGE);
    close(ends[1]);
}
static void read_large(void *argument) {
    (void)argument;
    ssize_t got;
    size_t all = 0;
    while ((got = read(ends[0], arrived + all, LARGE - all ? LARGE - all : 1)) > 0)
        all += (size_t)got;
    ambit_schedule_assert(got == 0 && all == LARGE && arrived[LARGE - 1] == 'z');
}
static void pipes_large(void *argument) {
    (void)argument;
    ambit_schedule_assert(pipe(ends) == 0);
    run_two(write_large, read_large);
}
static void pipe_makes_both_ends_wait(void **state) {
    (void)state;
    expect_clean_with(pipes_large, (ambit_schedule_options){.schedules = 100});
}

static void serve(void *argument) {
    (void)argument;
    char text[8];
    struct iovec parts[2] = {{text, 1}, {text + 1, 1}};
    ambit_schedule_assert(recv(ends[1], text, 2, 0) == 2);
    plain++;
    ambit_schedule_assert(send(ends[1], text, 2, 0) == 2);
    ambit_schedule_assert(readv(ends[1], parts, 2) >= 1);
    ambit_schedule_assert(text[0] == 'c');
}
static void asks_a_server(void *argument) {
    (void)argument;
    char text[8] = "ab";
    ambit_schedule_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    ambit_schedule_thread server = ambit_schedule_spawn(serve, NULL);
    plain = 1;
    ambit_schedule_assert(write(ends[0], text, 2) == 2);
    ambit_schedule_assert(read(ends[0], text, 8) == 2 && text[1] == 'b' && plain == 2);
    struct iovec parts[2] = {{"c", 1}, {"d", 1}};
    ambit_schedule_assert(writev(ends[0], parts, 2) == 2);
    ambit_schedule_join(server);
}
static void sockets_order_both_ways(void **state) {
    (void)state;
    stays_clean(asks_a_server);
}

/* ---- Several at once ------------------------------------------------------------------------- */

static void write_second(void *argument) {
    (void)argument;
    plain = 1;
    eventfd_write(ends[1], 1);
}
static void select_second(void *argument) {
    (void)argument;
    fd_set in;
    FD_ZERO(&in);
    FD_SET(ends[0], &in);
    FD_SET(ends[1], &in);
    int top = ends[0] > ends[1] ? ends[0] : ends[1];
    ambit_schedule_assert(select(top + 1, &in, NULL, NULL, NULL) == 1);
    ambit_schedule_assert(!FD_ISSET(ends[0], &in) && FD_ISSET(ends[1], &in));
    eventfd_t count;
    ambit_schedule_assert(eventfd_read(ends[1], &count) == 0 && plain == 1);
}
static void epoll_second(void *argument) {
    (void)argument;
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        struct epoll_event of = {.events = EPOLLIN, .data.fd = ends[i]};
        ambit_schedule_assert(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i], &of) == 0);
    }
    struct epoll_event found[2];
    ambit_schedule_assert(epoll_wait(epoll, found, 2, -1) == 1 && found[0].data.fd == ends[1]);
    eventfd_t count;
    ambit_schedule_assert(eventfd_read(ends[1], &count) == 0 && plain == 1);
    ambit_schedule_assert(epoll_wait(epoll, found, 2, 0) == 0);
    close(epoll);
}
static void waits_for_several(void *argument) {
    ends[0] = eventfd(0, 0);
    ends[1] = eventfd(0, 0);
    run_two(argument ? epoll_second : select_second, write_second);
}
static void select_and_epoll_wait_for_one_of_several(void **state) {
    (void)state;
    stays_clean(waits_for_several);
    expect_clean_with(waits_for_several, (ambit_schedule_options){.argument = &plain});
}

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
static void waits_in_vain(void *argument) {
    (void)argument;
    int64_t begin = now_ns();
    event = eventfd(0, 0);
    struct pollfd asked = {.fd = event, .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, 3600000) == 0);
    ambit_schedule_assert(now_ns() >= begin + INT64_C(3600000000000));
    struct timespec hour = {3600, 0};
    ambit_schedule_assert(ppoll(&asked, 1, &hour, NULL) == 0);
    ambit_schedule_assert(poll(NULL, 0, 3600000) == 0); /* a sleep, to some */
    ambit_schedule_assert(now_ns() >= begin + 3 * INT64_C(3600000000000));
}
static void timeouts_are_virtual(void **state) {
    (void)state;
    stays_clean(waits_in_vain);
}

static void waits_for_a_timer(void *argument) {
    (void)argument;
    int64_t begin = now_ns();
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec hourly = {.it_value = {3600, 0}, .it_interval = {3600, 0}}, left;
    ambit_schedule_assert(timerfd_settime(timer, 0, &hourly, NULL) == 0);
    ambit_schedule_assert(timerfd_gettime(timer, &left) == 0 && left.it_value.tv_sec >= 3599);
    uint64_t times;
    ambit_schedule_assert(read(timer, &times, sizeof times) == sizeof times && times == 1);
    ambit_schedule_assert(now_ns() >= begin + INT64_C(3600000000000));
    struct timespec hours = {2 * 3600, 0};
    nanosleep(&hours, NULL);
    ambit_schedule_assert(read(timer, &times, sizeof times) == sizeof times && times == 2);
    struct pollfd asked = {.fd = timer, .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, 0) == 0 && poll(&asked, 1, -1) == 1);
    ambit_schedule_assert(timerfd_settime(timer, 0, &(struct itimerspec){0}, &left) == 0);
    ambit_schedule_assert(poll(&asked, 1, 1000) == 0);
}
/* A timer that is due meanwhile does not end another's wait. */
static void waits_beside_a_timer(void *argument) {
    (void)argument;
    int64_t begin = now_ns();
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct itimerspec hourly = {.it_value = {3600, 0}, .it_interval = {3600, 0}};
    timerfd_settime(timer, 0, &hourly, NULL);
    event = eventfd(0, 0);
    struct pollfd asked = {.fd = event, .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, 3 * 3600000) == 0);
    ambit_schedule_assert(now_ns() >= begin + 3 * INT64_C(3600000000000));
    uint64_t times;
    ambit_schedule_assert(read(timer, &times, sizeof times) == sizeof times && times == 3);
    ambit_schedule_assert(read(timer, &times, sizeof times) == -1 && errno == EAGAIN);
}
static void timers_count_in_virtual_time(void **state) {
    (void)state;
    stays_clean(waits_for_a_timer);
    stays_clean(waits_beside_a_timer);
}

/* ---- The world outside ----------------------------------------------------------------------- */

static int outside[2];
static void reads_from_outside(void *argument) {
    (void)argument;
    char byte;
    ambit_schedule_assert(read(outside[0], &byte, 1) == 1);
}
static void polls_outside(void *argument) {
    (void)argument;
    struct pollfd asked = {.fd = outside[0], .events = POLLIN};
    ambit_schedule_assert(poll(&asked, 1, 1000) == 0);
    poll(&asked, 1, -1);
}
static void reads_a_file(void *argument) {
    (void)argument;
    char bytes[16];
    int file = open("/proc/self/stat", O_RDONLY);
    ambit_schedule_assert(read(file, bytes, sizeof bytes) == sizeof bytes);
    ambit_schedule_assert(fcntl(outside[0], F_GETFL) == 0);
    ambit_schedule_assert(close(file) == 0);
}
static void waiting_for_the_world_is_named(void **state) {
    (void)state;
    assert_int_equal(pipe(outside), 0);
    char words[64];
    snprintf(words, sizeof words, "read() of descriptor %d would wait", outside[0]);
    expect_failure(reads_from_outside, AMBIT_SCHEDULE_UNSUPPORTED, words);
    expect_failure(polls_outside, AMBIT_SCHEDULE_UNSUPPORTED, "poll() would wait");
    expect_clean_with(reads_a_file, (ambit_schedule_options){.schedules = 100});
    close(outside[0]);
    close(outside[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_waits_for_write_and_is_ordered),
        cmocka_unit_test(what_follows_a_write_is_not_ordered),
        cmocka_unit_test(who_asks_learns_of_the_writer),
        cmocka_unit_test(read_that_nobody_ends_is_a_lost_wakeup),
        cmocka_unit_test(counts_are_the_kernels),
        cmocka_unit_test(loops_of_reads_let_the_writer_on),
        cmocka_unit_test(descriptors_from_before_are_put_back),
        cmocka_unit_test(descriptors_are_closed_at_the_end),
        cmocka_unit_test(pipe_makes_both_ends_wait),
        cmocka_unit_test(sockets_order_both_ways),
        cmocka_unit_test(select_and_epoll_wait_for_one_of_several),
        cmocka_unit_test(timeouts_are_virtual),
        cmocka_unit_test(timers_count_in_virtual_time),
        cmocka_unit_test(waiting_for_the_world_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
