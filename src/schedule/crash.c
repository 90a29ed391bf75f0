/* Crashes of the code under test, as failures of its schedule.
 *
 * The handler runs on a stack of its own, as the crash may be that of a full stack, and leaves it
 * as all failing does, by a switch to the runner's stack. The kernel does not mind: it looks at the
 * stack pointer to see whether the other stack is in use. No signal is blocked meanwhile
 * (SA_NODEFER), so that nothing has to be unblocked that a return would. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "schedule/inside.h"

#define STACK_BYTES (256 * 1024) /* failing formats text */
#define NEAR_THE_END 65536       /* of a stack that is full */
#define FIRST_PAGE 4096          /* nothing is there */

static const struct {
    int number;
    const char *name;
} caught[] = {{SIGSEGV, "SIGSEGV"},
              {SIGBUS, "SIGBUS"},
              {SIGFPE, "SIGFPE"},
              {SIGILL, "SIGILL"},
              {SIGABRT, "SIGABRT"}};
#define CAUGHT (sizeof caught / sizeof *caught)

static struct sigaction before[CAUGHT];
static stack_t stack_before;
static void *stack_memory;

const void *volatile ambit__reading_for;

/* A call of a pointer to nowhere is where it was called from. */
static const void *place_of(const void *context) {
    const ucontext_t *at = context;
#if defined(__x86_64__)
    const greg_t *registers = at->uc_mcontext.gregs;
    if (registers[REG_RIP] < FIRST_PAGE) return *(const void **)registers[REG_RSP];
    /* One past it, as all sites are: return addresses. */
    return (const char *)registers[REG_RIP] + 1;
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
    if (number == SIGFPE || number == SIGILL)
        ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "crashed: %s", name);
    uintptr_t address = (uintptr_t)info->si_addr;
    ambit__fail(AMBIT_SCHEDULE_ASSERTION, site, NULL, "crashed: %s at address 0x%llx%s", name,
                (unsigned long long)address, is_past_stack(address) ? ": the stack is full" : "");
}

static void give_stack(void) {
    if (!stack_memory) {
        stack_memory =
            mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (stack_memory == MAP_FAILED) stack_memory = NULL;
    }
    stack_t own = {.ss_sp = stack_memory, .ss_size = STACK_BYTES};
    /* Without one only a full stack is not caught. */
    if (stack_memory) (void)sigaltstack(&own, &stack_before);
}

void ambit__crash_catch(bool on) {
    static bool is_on;
    if (on == is_on) return;
    is_on = on;
    if (on) give_stack();
    for (unsigned i = 0; i < CAUGHT; i++) {
        struct sigaction own = {.sa_sigaction = crashed,
                                .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
        (void)sigaction(caught[i].number, on ? &own : &before[i], on ? &before[i] : NULL);
    }
    if (!on && stack_memory) (void)sigaltstack(&stack_before, NULL);
}
