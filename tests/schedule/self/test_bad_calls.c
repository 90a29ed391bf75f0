/* Calls that would end the program, send it a signal or wait for input: each is told by name, at its line, and
 * nothing of it has happened. */
#define _GNU_SOURCE
#include <aio.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "outcome.h"

#pragma GCC diagnostic ignored "-Wnonnull"            /* they must not get that far */
#pragma GCC diagnostic ignored "-Winfinite-recursion" /* it fills a stack */

/* ---- Refused by name ------------------------------------------------------------------------- */

static int outside[2]; /* sockets: nobody writes to them */
static FILE *stream;   /* of the first */
static char *line;
static size_t line_bytes;
static int number;
static char letters[8];

#define CALL(name, ...)                                                                            \
    static void call_##name(void *argument) {                                                      \
        (void)argument;                                                                            \
        (void)!(__VA_ARGS__);                                                                      \
    }
CALL(execl, execl("/bin/true", "true", (char *)NULL))
CALL(execlp, execlp("true", "true", (char *)NULL))
CALL(execle, execle("/bin/true", "true", (char *)NULL, environ))
CALL(raise, raise(SIGUSR1))
CALL(raise_stop, raise(SIGSTOP))
CALL(raise_unknown, raise(1000))
CALL(kill, kill(getpid(), SIGTERM))
CALL(killpg, killpg(0, SIGTERM))
CALL(tgkill, tgkill(getpid(), getpid(), SIGKILL))
CALL(sigqueue, sigqueue(getpid(), SIGTERM, (union sigval){.sival_int = 0}))
CALL(raise_abort, raise(SIGABRT))
CALL(raise_crash, raise(SIGSEGV))
CALL(splice, (int)splice(0, NULL, 1, NULL, 1, 0))
CALL(tee, (int)tee(0, 1, 1, 0))
CALL(vmsplice, (int)vmsplice(0, NULL, 0, 0))
CALL(epoll_pwait2, epoll_pwait2(0, NULL, 0, NULL, NULL))
CALL(aio_suspend, aio_suspend(NULL, 0, NULL))
CALL(recvfrom, (int)recvfrom(outside[0], letters, 1, 0, NULL, NULL))
CALL(recvmmsg, recvmmsg(outside[0], NULL, 1, 0, NULL))
CALL(fread, (int)fread(letters, 1, 1, stream))
CALL(fread_unlocked, (int)(fread_unlocked)(letters, 1, 1, stream))
CALL(fgets_unlocked, fgets_unlocked(letters, sizeof letters, stream) == NULL)
CALL(getc_unlocked, getc_unlocked(stream))
CALL(getdelim, (int)getdelim(&line, &line_bytes, 'x', stream))
CALL(fscanf, fscanf(stream, "%d", &number))
static void call_getline(void *argument) {
    (void)argument;
    (void)!getline(&line, &line_bytes, stream);
}
static int pair[2];
static void call_recvfrom_within(void *argument) {
    (void)argument;
    (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    (void)!recvfrom(pair[0], letters, 1, 0, NULL, NULL);
}
static void call_sendto_within(void *argument) {
    (void)argument;
    (void)!socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    (void)!sendto(pair[0], letters, 1, 0, NULL, 0);
}

static void calls_name_themselves(void **state) {
    (void)state;
    static const struct {
        ambit_schedule_fn *scenario;
        ambit_schedule_failure failure;
        const char *words;
    } calls[] = {
#define REFUSED(name) {call_##name, AMBIT_SCHEDULE_UNSUPPORTED, #name "() is not controlled"}
#define WAITS(name)                                                                                \
    { call_##name, AMBIT_SCHEDULE_UNSUPPORTED, #name "() of descriptor" }
        REFUSED(execl),
        REFUSED(execlp),
        REFUSED(execle),
        {call_raise, AMBIT_SCHEDULE_UNSUPPORTED, "raise() of SIGUSR1 is not controlled"},
        {call_raise_stop, AMBIT_SCHEDULE_UNSUPPORTED, "raise() of SIGSTOP is not controlled"},
        {call_raise_unknown, AMBIT_SCHEDULE_UNSUPPORTED, "raise() of a signal is not controlled"},
        {call_kill, AMBIT_SCHEDULE_UNSUPPORTED, "kill() of SIGTERM is not controlled"},
        {call_killpg, AMBIT_SCHEDULE_UNSUPPORTED, "killpg() of SIGTERM is not controlled"},
        {call_tgkill, AMBIT_SCHEDULE_UNSUPPORTED, "tgkill() of SIGKILL is not controlled"},
        {call_sigqueue, AMBIT_SCHEDULE_UNSUPPORTED, "sigqueue() of SIGTERM is not controlled"},
        {call_raise_abort, AMBIT_SCHEDULE_ASSERTION, "raise(SIGABRT) was called"},
        {call_raise_crash, AMBIT_SCHEDULE_ASSERTION, "raise(SIGSEGV) was called"},
        REFUSED(splice),
        REFUSED(tee),
        REFUSED(vmsplice),
        REFUSED(epoll_pwait2),
        REFUSED(aio_suspend),
        {call_recvfrom_within, AMBIT_SCHEDULE_UNSUPPORTED, "recvfrom() is not controlled"},
        {call_sendto_within, AMBIT_SCHEDULE_UNSUPPORTED, "sendto() is not controlled"},
        WAITS(recvfrom),
        WAITS(recvmmsg),
        WAITS(fread),
        WAITS(fread_unlocked),
        WAITS(fgets_unlocked),
        WAITS(getc_unlocked),
        WAITS(getdelim),
        WAITS(fscanf),
        {call_getline, AMBIT_SCHEDULE_UNSUPPORTED, "() of descriptor"}, /* inline: getdelim() */
    };
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, outside), 0);
    stream = fdopen(outside[0], "r");
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        expect_failure(calls[i].scenario, calls[i].failure, calls[i].words);
        /* Of what the header makes inline, its line comes first. */
        bool is_inline = strstr(calls[i].words, "getc_unlocked") || calls[i].words[0] == '(';
        expect_failure(calls[i].scenario, calls[i].failure,
                       is_inline ? "stdio.h:" : "test_bad_calls.c:");
    }
    (void)fclose(stream);
    (void)close(outside[1]);
}

/* ---- What is there is read ------------------------------------------------------------------- */

static void reads_lines(void *argument) {
    (void)argument;
    char *first = NULL, *again, block[8];
    size_t bytes = 0;
    ambit_schedule_assert(getline(&first, &bytes, stream) == 4 && strcmp(first, "one\n") == 0);
    again = first;
    ambit_schedule_assert(getline(&first, &bytes, stream) == 4 && strcmp(first, "two\n") == 0);
    ambit_schedule_assert(first == again); /* there was room */
    ambit_schedule_assert(fread(block, 1, 4, stream) == 4 && memcmp(block, "bloc", 4) == 0);
    ambit_schedule_assert(fscanf(stream, "%d", &number) == 1 && number == 42);
    ambit_schedule_assert(fgetc(stream) == '\n');
    char *heap = malloc(8); /* what fgets() writes is no uninitialised memory */
    ambit_schedule_assert(fgets(heap, 8, stream) && heap[0] == 'e' && heap[3] == '\n');
    free(heap);
    ambit_schedule_assert(getline(&first, &bytes, stream) == -1);
    free(first);
    rewind(stream); /* the stream is not put back */
}
static void what_is_there_is_read(void **state) {
    (void)state;
    static const char text[] = "one\ntwo\nbloc42\nend\n";
    stream = tmpfile();
    assert_int_equal(fwrite(text, 1, sizeof text - 1, stream), sizeof text - 1);
    rewind(stream);
    expect_clean_with(reads_lines, (ambit_schedule_options){.schedules = 50});
    (void)fclose(stream);
}

/* ---- Outside of schedules they are themselves ------------------------------------------------ */

static volatile sig_atomic_t handled;
static void handle(int signal) { handled = signal; }

static int status_of(void (*run)(void)) {
    int status;
    (void)fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        run();
        _exit(99);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}
static void run_execl(void) { execl("/bin/sh", "sh", "-c", "exit 11", (char *)NULL); }
static void run_execlp(void) { execlp("sh", "sh", "-c", "exit 12", (char *)NULL); }
static void run_execle(void) {
    static char own[] = "CODE=13";
    char *environment[] = {own, NULL};
    execle("/bin/sh", "sh", "-c", "exit $CODE", (char *)NULL, environment);
}
static void run_kill(void) { kill(getpid(), SIGKILL); }

static void they_work_outside_of_schedules(void **state) {
    (void)state;
    char got[8] = "";
    assert_int_equal(WEXITSTATUS(status_of(run_execl)), 11);
    assert_int_equal(WEXITSTATUS(status_of(run_execlp)), 12);
    assert_int_equal(WEXITSTATUS(status_of(run_execle)), 13);
    assert_int_equal(WTERMSIG(status_of(run_kill)), SIGKILL);
    (void)signal(SIGUSR1, handle);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(handled, SIGUSR1);
    (void)signal(SIGUSR1, SIG_DFL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, outside), 0);
    assert_int_equal(sendto(outside[0], "x\n", 2, 0, NULL, 0), 2);
    assert_int_equal(recvfrom(outside[1], got, 1, 0, NULL, NULL), 1);
    assert_string_equal(got, "x");
    stream = fdopen(outside[1], "r");
    line = NULL;
    assert_int_equal(getline(&line, &line_bytes, stream), 1);
    assert_string_equal(line, "\n");
    free(line);
    line = NULL;
    (void)fclose(stream);
    (void)close(outside[0]);
}

/* ---- Ends that nobody called ----------------------------------------------------------------- */

static void asks_who_is_there(void *argument) {
    (void)argument;
    ambit_schedule_assert(kill(getpid(), 0) == 0);
}
static void writes_to_nobody(void *argument) {
    (void)argument;
    int ends[2];
    ambit_schedule_assert(pipe(ends) == 0);
    (void)close(ends[0]);
    (void)!write(ends[1], "x", 1);
    (void)close(ends[1]);
}
static void writes_to_nobody_and_sees(void *argument) {
    (void)argument;
    int ends[2];
    ambit_schedule_assert(pipe(ends) == 0);
    (void)close(ends[0]);
    ambit_schedule_assert(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    (void)close(ends[1]);
}
static void a_write_to_nobody_is_told_by_its_line(void **state) {
    (void)state;
    expect_clean_with(asks_who_is_there, (ambit_schedule_options){.schedules = 10});
    expect_failure(writes_to_nobody, AMBIT_SCHEDULE_ASSERTION, "SIGPIPE");
    expect_failure(writes_to_nobody, AMBIT_SCHEDULE_ASSERTION, "test_bad_calls.c:");
    (void)signal(SIGPIPE, SIG_IGN);
    expect_clean_with(writes_to_nobody_and_sees, (ambit_schedule_options){.schedules = 10});
    (void)signal(SIGPIPE, SIG_DFL);
}

/* A crash in a library is told with the line that called it. */
static void reads_a_number_nowhere(void *argument) {
    (void)argument;
    number = (int)strtol((const char *)(uintptr_t)0x40, NULL, 10);
}
static void traps(void *argument) {
    (void)argument;
    __asm__ volatile("int3");
}
static int fill(volatile char *before) {
    volatile char more[1000];
    more[0] = before ? before[0] : 1;
    return fill(more) + more[0];
}
static void fills_its_stack(void *argument) {
    (void)argument;
    (void)fill(NULL);
}
static void spawns_it(void *argument) {
    (void)argument;
    ambit_schedule_join(ambit_schedule_spawn(fills_its_stack, NULL));
}
static void crashes_are_told_by_the_programs_line(void **state) {
    (void)state;
    expect_failure(reads_a_number_nowhere, AMBIT_SCHEDULE_ASSERTION, "crashed: SIGSEGV");
    expect_failure(reads_a_number_nowhere, AMBIT_SCHEDULE_ASSERTION, "test_bad_calls.c:");
    expect_failure(traps, AMBIT_SCHEDULE_ASSERTION, "SIGTRAP");
    expect_failure(fills_its_stack, AMBIT_SCHEDULE_ASSERTION, "the stack is full");
    expect_failure(fills_its_stack, AMBIT_SCHEDULE_ASSERTION, "in fill()");
    expect_failure(spawns_it, AMBIT_SCHEDULE_ASSERTION, "in fill()");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_name_themselves),
        cmocka_unit_test(what_is_there_is_read),
        cmocka_unit_test(they_work_outside_of_schedules),
        cmocka_unit_test(a_write_to_nobody_is_told_by_its_line),
        cmocka_unit_test(crashes_are_told_by_the_programs_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
