/* Crashes of the code under test, as failures of its schedule; and whose line an address stands for.
 *
 * The handler runs on a stack of its own, as the crash may be that of a full stack, and leaves it
 * as all failing does, by a switch to the runner's stack. The kernel does not mind: it looks at the
 * stack pointer to see whether the other stack is in use. No signal is blocked meanwhile
 * (SA_NODEFER), so that nothing has to be unblocked that a return would. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "schedule/host.h"
#include "schedule/inside.h"

#define STACK_BYTES (256 * 1024) /* failing formats text */
#define NEAR_THE_END 65536       /* of a stack that is full */
#define FIRST_PAGE 4096          /* nothing is there */

static const struct {
    int number;
    const char *name;
} caught[] = {{SIGSEGV, "SIGSEGV"}, {SIGBUS, "SIGBUS"},   {SIGFPE, "SIGFPE"}, {SIGILL, "SIGILL"},
              {SIGABRT, "SIGABRT"}, {SIGTRAP, "SIGTRAP"}, {SIGSYS, "SIGSYS"}, {SIGPIPE, "SIGPIPE"}};
#define CAUGHT (sizeof caught / sizeof *caught)

static struct sigaction before[CAUGHT];
static bool is_caught[CAUGHT];
static stack_t stack_before;
static void *stack_memory;
static pid_t kernel_threads[AMBIT__THREADS];

const void *volatile ambit__reading_for;

/* ---- Whose line it is ------------------------------------------------------------------------ */

/* The linker's names: the program's code, and in it this library's, which schedule_seal.cmake has put into a
 * section of its own. */
/* NOLINTBEGIN(readability-identifier-naming) */
extern const char __executable_start[] __attribute__((weak));
extern const char etext[] __attribute__((weak));
extern const char __start_ambit_schedule_text[] __attribute__((weak));
extern const char __stop_ambit_schedule_text[] __attribute__((weak));
/* NOLINTEND(readability-identifier-naming) */

static bool is_between(uintptr_t address, const char *low, const char *high) {
    return address >= (uintptr_t)low && address < (uintptr_t)high;
}

static bool is_of_program(uintptr_t address) {
    return is_between(address, __executable_start, etext) &&
           !is_between(address, __start_ambit_schedule_text, __stop_ambit_schedule_text);
}

#ifdef __x86_64__
/* A call of an address, or of what stands in a register or in memory. */
static bool follows_call(uintptr_t address) {
    const unsigned char *end = (const unsigned char *)address;
    static const unsigned lengths[] = {2, 3, 4, 6, 7};
    if (end[-5] == 0xe8) return true;
    for (unsigned i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        const unsigned char *call = end - lengths[i];
        if (call[0] == 0xff && (call[1] & 0x38) == 0x10) return true;
    }
    return false;
}
#else
static bool follows_call(uintptr_t address) { return address != 0; }
#endif

const void *ambit__site_on_stack(unsigned index, uintptr_t pc, uintptr_t stack_pointer) {
    uintptr_t low, high;
    if (is_of_program(pc)) return (const char *)pc + 1; /* one past, as return addresses are */
    ambit__host_bounds(index, &low, &high);
    /* Of one that is full it may already be below. */
    if (stack_pointer < low && low - stack_pointer < NEAR_THE_END) stack_pointer = low;
    if (stack_pointer < low || stack_pointer >= high) return NULL;
    const uintptr_t *end = (const uintptr_t *)(high & ~(uintptr_t)7);
    for (const uintptr_t *at = (const uintptr_t *)((stack_pointer + 7) & ~(uintptr_t)7); at < end;
         at++)
        if (is_of_program(*at) && follows_call(*at)) return (const void *)*at;
    return NULL;
}

/* A call of a pointer to nowhere is where it was called from; a crash in a library, where it was called. */
static const void *place_of(const void *context) {
    const ucontext_t *at = context;
#if defined(__x86_64__)
    const greg_t *registers = at->uc_mcontext.gregs;
    uintptr_t pc = (uintptr_t)registers[REG_RIP];
    if (pc < FIRST_PAGE) return *(const void **)registers[REG_RSP];
    const void *site = ambit__site_on_stack(ambit__self->index, pc, (uintptr_t)registers[REG_RSP]);
    return site ? site : (const char *)pc + 1;
#elif defined(__aarch64__)
    return (const char *)at->uc_mcontext.pc + 1;
#else
    (void)at;
    return NULL;
#endif
}

static bool is_past_stack(uintptr_t address) {
    uintptr_t low, high;
    ambit__host_bounds(ambit__self->index, &low, &high);
    return address < low + NEAR_THE_END && address + NEAR_THE_END > low;
}

/* ---- The handler ----------------------------------------------------------------------------- */

static void crashed(int number, siginfo_t *info, void *context) {
    /* Not the code under test: the signal comes again, with what was there before us. */
    if (!ambit__self) {
        ambit__crash_catch(false);
        (void)raise(number);
        return;
    }
    const char *name = "a signal";
    for (unsigned i = 0; i < CAUGHT; i++)
        if (caught[i].number == number) name = caught[i].name;
    const void *site = ambit__reading_for;
    if (!site) site = place_of(context);
    ambit__reading_for = NULL;
    if (number == SIGABRT) ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "aborted: SIGABRT");
    if (number == SIGPIPE)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL,
                    "SIGPIPE: a pipe or a socket was written to whose other end is closed");
    if (number == SIGFPE || number == SIGILL || number == SIGTRAP || number == SIGSYS)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "crashed: %s", name);
    uintptr_t address = (uintptr_t)info->si_addr;
    ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "crashed: %s at address 0x%llx%s", name,
                (unsigned long long)address, is_past_stack(address) ? ": the stack is full" : "");
}

static void *new_stack(void) {
    void *memory =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* Without one only a full stack is not caught. */
static void take_stack(void *memory, stack_t *earlier) {
    stack_t own = {.ss_sp = memory, .ss_size = STACK_BYTES};
    if (memory) (void)sigaltstack(&own, earlier);
}

void ambit__crash_thread_begins(unsigned index) {
    kernel_threads[index] = (pid_t)syscall(SYS_gettid);
    take_stack(new_stack(), NULL);
}

pid_t ambit__crash_thread(unsigned index) { return kernel_threads[index]; }

/* Of who has asked for SIGPIPE it is not taken away: he means to see that write() fails. */
static void catch_one(unsigned i) {
    struct sigaction own = {.sa_sigaction = crashed,
                            .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    is_caught[i] = !sigaction(caught[i].number, NULL, &before[i]) &&
                   !(caught[i].number == SIGPIPE && before[i].sa_handler != SIG_DFL) &&
                   !sigaction(caught[i].number, &own, NULL);
}

void ambit__crash_catch(bool on) {
    static bool is_on;
    if (on == is_on) return;
    is_on = on;
    if (on) {
        if (!stack_memory) stack_memory = new_stack();
        take_stack(stack_memory, &stack_before);
    }
    for (unsigned i = 0; i < CAUGHT; i++) {
        if (on)
            catch_one(i);
        else if (is_caught[i])
            (void)sigaction(caught[i].number, &before[i], NULL);
    }
    if (!on && stack_memory) (void)sigaltstack(&stack_before, NULL);
}
