/* What a schedule cannot contain names itself, crashes are findings, and what hangs is told by the watchdog. */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "outcome.h"

/* ---- Refused by name ------------------------------------------------------------------------- */

static jmp_buf there;
static ucontext_t context, other_context;
#define CALL(name, ...)                                                                            \
    static void call_##name(void *argument) {                                                      \
        (void)argument;                                                                            \
        (void)(__VA_ARGS__);                                                                       \
    }
#define CALL_OF_VOID(name, ...)                                                                    \
    static void call_##name(void *argument) {                                                      \
        (void)argument;                                                                            \
        __VA_ARGS__;                                                                               \
    }
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* vfork */
#pragma GCC diagnostic ignored "-Wnonnull"                 /* they must not get that far */
#pragma GCC diagnostic ignored "-Winfinite-recursion"      /* it fills a stack */
CALL(fork, fork())
CALL(vfork, vfork())
CALL(posix_spawn, posix_spawn(NULL, "/bin/true", NULL, NULL, NULL, NULL))
CALL(system, system("true") == 0)
CALL(popen, popen("true", "r") == NULL)
CALL(execv, execv("/bin/true", NULL))
CALL(waitpid, waitpid(-1, NULL, 0))
CALL(wait, wait(NULL))
CALL(pause, pause())
CALL(alarm, alarm(0))
CALL(sigsuspend, sigsuspend(NULL))
CALL(sigwaitinfo, sigwaitinfo(NULL, NULL))
CALL(setitimer, setitimer(ITIMER_REAL, NULL, NULL))
CALL(swapcontext, swapcontext(&context, &other_context))
CALL(flock, flock(0, LOCK_EX))
CALL(lockf, lockf(0, F_LOCK, 0) == 0)
CALL(msgrcv, msgrcv(0, NULL, 0, 0, 0))
CALL(semop, semop(0, NULL, 0))
CALL_OF_VOID(longjmp, if (setjmp(there) == 0) longjmp(there, 1))
CALL_OF_VOID(siglongjmp, if (sigsetjmp(there, 0) == 0) siglongjmp(there, 1))

static void calls_name_themselves(void **state) {
    (void)state;
#define NAMED(name)                                                                                \
    { call_##name, #name }
    static const struct {
        ambit_schedule_fn *scenario;
        const char *name;
    } calls[] = {
        NAMED(fork),      NAMED(vfork),       NAMED(posix_spawn), NAMED(system),
        NAMED(popen),     NAMED(execv),       NAMED(waitpid),     NAMED(wait),
        NAMED(pause),     NAMED(alarm),       NAMED(sigsuspend),  NAMED(sigwaitinfo),
        NAMED(setitimer), NAMED(swapcontext), NAMED(flock),       NAMED(lockf),
        NAMED(msgrcv),    NAMED(semop),       NAMED(longjmp),     NAMED(siglongjmp),
    };
    for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++) {
        char words[64];
        snprintf(words, sizeof words, "%s() is not controlled", calls[i].name);
        if (calls[i].scenario == call_longjmp) snprintf(words, sizeof words, "longjmp() is not");
        expect_failure(calls[i].scenario, AMBIT_SCHEDULE_UNSUPPORTED, words);
    }
}

static void they_work_outside_of_schedules(void **state) {
    (void)state;
    int status;
    pid_t child = fork();
    if (child == 0) _exit(7);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 7);
    child = vfork();
    if (child == 0) _exit(8);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(WEXITSTATUS(status), 8);
    assert_int_equal(system("exit 9"), 9 << 8);
    volatile int passed = 0;
    if (setjmp(there) == 0) longjmp(there, 1);
    passed++;
    assert_int_equal(passed, 1);
    FILE *pipe = popen("echo yes", "r");
    char line[8];
    assert_non_null(fgets(line, sizeof line, pipe));
    assert_int_equal(pclose(pipe), 0);
    assert_string_equal(line, "yes\n");
}

static FILE *stream;
static void waits_for_a_line(void *argument) {
    (void)argument;
    char line[8];
    (void)!fgets(line, sizeof line, stream);
}
static void reads_what_is_there(void *argument) {
    (void)argument;
    ambit_schedule_assert(fgetc(stream) == 'b');
}
static void input_is_not_waited_for(void **state) {
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    stream = fdopen(ends[0], "r");
    expect_failure(waits_for_a_line, AMBIT_SCHEDULE_UNSUPPORTED, "fgets() of descriptor");
    static const char bytes[] = "abbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"; /* each schedule takes one */
    assert_int_equal(write(ends[1], bytes, sizeof bytes), sizeof bytes);
    assert_int_equal(fgetc(stream), 'a'); /* the rest is in the stream, and no longer in the pipe */
    expect_clean_with(reads_what_is_there,
                      (ambit_schedule_options){.schedules = 1, .strategy = AMBIT_SCHEDULE_RANDOM});
    fclose(stream);
    close(ends[1]);
}

/* ---- Ends and crashes ------------------------------------------------------------------------ */

static void asserts(void *argument) { assert(argument != NULL && "it is"); }
static void aborts(void *argument) {
    (void)argument;
    abort();
}
static void exits(void *argument) {
    (void)argument;
    exit(3);
}
static void leaves(void *argument) {
    (void)argument;
    _exit(4);
}
/* Nobody is told of the access before it is made. */
__attribute__((no_sanitize("thread"))) static void writes_to_nowhere(void *argument) {
    (void)argument;
    *(volatile int *)(uintptr_t)0x40 = 1;
}
static volatile int zero;
static void divides_by_zero(void *argument) {
    (void)argument;
    zero = 100 / zero;
}
static void traps(void *argument) {
    (void)argument;
    __builtin_trap();
}
static void raises(void *argument) {
    (void)argument;
    raise(SIGABRT); /* as the C library does when it finds its heap in pieces */
}
static int fill_stack(volatile char *before) {
    volatile char more[512];
    more[0] = before ? before[0] : 1;
    return fill_stack(more) + more[0];
}
static void fills_its_stack(void *argument) {
    (void)argument;
    zero = fill_stack(NULL);
}
static char *mapped;
static void (*volatile nowhere)(void);
static void calls_nothing(void *argument) {
    (void)argument;
    nowhere();
    zero = 1; /* so that it is a call and not a jump */
}
static char *forbidden;
static void writes_what_it_may_not(void *argument) {
    (void)argument;
    forbidden[0] = 1;
}
static void reads_beyond_a_file(void *argument) {
    (void)argument;
    zero = ((volatile char *)mapped)[0];
}
static void spawns_a_crash(void *argument) {
    (void)argument;
    ambit_schedule_join(ambit_schedule_spawn(writes_to_nowhere, NULL));
}
static void ends_of_the_program_are_failures(void **state) {
    (void)state;
    int file = memfd_create("empty", 0);
    mapped = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    forbidden = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static const struct {
        ambit_schedule_fn *scenario;
        const char *words;
    } ends[] = {
        {writes_what_it_may_not, "SIGSEGV at address"},
        {asserts, "assertion failed: argument != NULL"},
        {aborts, "abort() was called"},
        {exits, "exit(3) was called"},
        {leaves, "_exit(4) was called"},
        {writes_to_nowhere, "SIGSEGV at address 0x40"},
        {calls_nothing, "in calls_nothing()"},
        {spawns_a_crash, "SIGSEGV at address 0x40"},
        {divides_by_zero, "SIGFPE"},
        {traps, "SIGILL"},
        {raises, "SIGABRT"},
        {fills_its_stack, "the stack is full"},
        {reads_beyond_a_file, "SIGBUS at address"},
    };
    for (unsigned i = 0; i < sizeof ends / sizeof *ends; i++)
        for (unsigned times = 0; times < 3; times++)
            expect_failure(ends[i].scenario, AMBIT_SCHEDULE_ASSERTION, ends[i].words);
    munmap(forbidden, 4096);
    munmap(mapped, 4096);
    close(file);
}

static void handlers_are_given_back(void **state) {
    (void)state;
    struct sigaction own = {.sa_handler = SIG_IGN}, before, after;
    assert_int_equal(sigaction(SIGFPE, &own, &before), 0);
    expect_failure(traps, AMBIT_SCHEDULE_ASSERTION, "SIGILL");
    assert_int_equal(sigaction(SIGFPE, &before, &after), 0);
    assert_true(after.sa_handler == SIG_IGN);
}

/* ---- The watchdog ---------------------------------------------------------------------------- */

/* Nobody is told of this call: it stands for libraries that make their own. */
static long read_for_real(int descriptor, void *memory, size_t bytes) {
#ifdef __x86_64__
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "0"(0L), "D"(descriptor), "S"(memory), "d"(bytes)
                     : "rcx", "r11", "memory");
    return answer;
#else
    (void)descriptor, (void)memory, (void)bytes;
    return 0;
#endif
}
static void blocks_for_real(void *argument) {
    (void)argument;
    char byte;
    read_for_real(0, &byte, 1);
}
static void loops_alone(void *argument) {
    (void)argument;
    for (;;) __asm__ volatile("");
}
/* In the C library, which nobody sees: the line is that of who called it. */
static char fifo[64];
static void name_fifo(pid_t process) {
    (void)snprintf(fifo, sizeof fifo, "/tmp/test_unsupported.%d", (int)process);
}
static void opens_a_fifo(void *argument) {
    (void)argument;
    (void)!open(fifo, O_RDONLY);
}
static void sleeps_in_a_loop_that_ends(void *argument) {
    (void)argument;
    for (unsigned i = 0; i < 50; i++) usleep(1000000);
}
static ambit_schedule_fn *const hanging[] = {blocks_for_real, loops_alone, opens_a_fifo,
                                             sleeps_in_a_loop_that_ends};
enum { BLOCKS, LOOPS, OPENS, SLEEPS };

/* This program again, with one of these and standard input that never comes. All of them are started before
 * one is waited for, as the watchdog's patience is real time. */
typedef struct copy {
    pid_t child;
    int said, never; /* the reading end, the writing end */
} copy;
static copy start(int which, const char *host) {
    int said[2], never[2];
    char number[2] = {(char)('0' + which), '\0'};
    assert_int_equal(pipe(said), 0);
    assert_int_equal(pipe(never), 0);
    fflush(NULL);
    for (unsigned i = 0; i < 2; i++) {
        (void)fcntl(said[i], F_SETFD, FD_CLOEXEC);
        (void)fcntl(never[i], F_SETFD, FD_CLOEXEC);
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(never[0], 0);
        dup2(said[1], 2);
        setenv("AMBIT_SCHEDULE_PATIENCE", "1", 1);
        setenv("AMBIT_SCHEDULE_HOST", host, 1);
        execl("/proc/self/exe", "test_unsupported", number, NULL);
        _exit(127);
    }
    close(said[1]);
    close(never[0]);
    return (copy){child, said[0], never[1]};
}

/* It ends with this status, having said both, or nothing if there are no words. */
static void expect_end(copy of, int expected, const char *words, const char *where) {
    char text[8192];
    int status;
    size_t all = 0;
    for (ssize_t got; (got = read(of.said, text + all, sizeof text - 1 - all)) > 0;)
        all += (size_t)got;
    text[all] = '\0';
    assert_int_equal(waitpid(of.child, &status, 0), of.child);
    close(of.said);
    close(of.never);
    assert_true(WIFEXITED(status));
    status = WEXITSTATUS(status);
    if (status != expected || !strstr(text, words) || !strstr(text, where))
        print_error("%d: %s\n", status, text);
    assert_int_equal(status, expected);
    assert_non_null(strstr(text, words));
    assert_non_null(strstr(text, where));
    if (!words[0]) assert_string_equal(text, "");
}

static void what_hangs_is_told(void **state) {
    (void)state;
    /* Where the runner borrows the threads' stacks, and where each thread runs by itself. */
    static const char *const hosts[] = {"", "kernel"};
    copy blocked[2], looping[2], opening[2], sleeping[2];
    for (unsigned i = 0; i < 2; i++) {
        blocked[i] = start(BLOCKS, hosts[i]);
        looping[i] = start(LOOPS, hosts[i]);
        opening[i] = start(OPENS, hosts[i]);
        sleeping[i] = start(SLEEPS, hosts[i]);
    }
    for (unsigned i = 0; i < 2; i++) {
        expect_end(blocked[i], 1, "system call read (0), first argument 0x0",
                   " in read_for_real()");
        expect_end(looping[i], 1, "runs for ever", " in loops_alone()");
        expect_end(opening[i], 1, "system call openat (257)", " in opens_a_fifo()");
        name_fifo(opening[i].child); /* it has ended in the midst of it */
        assert_int_equal(unlink(fifo), 0);
        expect_end(sleeping[i], 0, "", "");
    }
}

int main(int argc, char **argv) {
    if (argc == 2) {
        name_fifo(getpid());
        if (argv[1][0] == '0' + OPENS && mkfifo(fifo, 0600)) return 99;
        return ambit_schedule_run(hanging[argv[1][0] - '0'],
                                  &(ambit_schedule_options){.quiet = true, .schedules = 100});
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_name_themselves),
        cmocka_unit_test(they_work_outside_of_schedules),
        cmocka_unit_test(input_is_not_waited_for),
        cmocka_unit_test(ends_of_the_program_are_failures),
        cmocka_unit_test(handlers_are_given_back),
        cmocka_unit_test(what_hangs_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
