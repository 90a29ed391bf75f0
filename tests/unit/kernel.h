/* Stands between the library and the system, so that a suite decides what the system answers. The
 * linker does it (--wrap; CMakeLists.txt gives it to every suite that includes this): the library's
 * own calls and the suite's come here, those of shared libraries do not; a sanitizer's runtime, which
 * is linked in as well, must not be disturbed. */
#ifndef AMBIT_TESTS_KERNEL_H
#define AMBIT_TESTS_KERNEL_H

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The sanitizers' runtimes come here before they are ready for instrumented code. */
#ifdef __clang__
#define KERNEL_HIDDEN __attribute__((disable_sanitizer_instrumentation))
#else
#define KERNEL_HIDDEN
#endif

/* Looks at every system call that is made by syscall(): what it returns is the answer, a negative
 * one as errno; KERNEL_PASS lets the call through. */
#define KERNEL_PASS LONG_MIN
typedef long kernel_hook(long number, const long *arguments);
static kernel_hook *kernel_answers_now;
static inline void kernel_answers(kernel_hook *hook) {
    __atomic_store_n(&kernel_answers_now, hook, __ATOMIC_RELEASE);
}

/* The errno that these give on this thread instead of doing anything; 0 for none. */
static _Thread_local int kernel_no_key, kernel_no_specific, kernel_no_thread, kernel_no_atfork;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
int __real_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *));
int __real_pthread_setspecific(pthread_key_t key, const void *value);
int __wrap_pthread_setspecific(pthread_key_t key, const void *value);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *argument);
int __real_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));
int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

KERNEL_HIDDEN long __wrap_syscall(long number, ...) {
    long given[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++) given[i] = va_arg(list, long);
    va_end(list);
    kernel_hook *hook = __atomic_load_n(&kernel_answers_now, __ATOMIC_ACQUIRE);
    long answer = hook ? hook(number, given) : KERNEL_PASS;
    if (answer == KERNEL_PASS)
        return __real_syscall(number, given[0], given[1], given[2], given[3], given[4], given[5]);
    if (answer >= 0) return answer;
    errno = (int)-answer;
    return -1;
}

KERNEL_HIDDEN int __wrap_pthread_key_create(pthread_key_t *key, void (*destructor)(void *)) {
    int refused = kernel_no_key;
    return refused ? refused : __real_pthread_key_create(key, destructor);
}

KERNEL_HIDDEN int __wrap_pthread_setspecific(pthread_key_t key, const void *value) {
    int refused = kernel_no_specific;
    return refused ? refused : __real_pthread_setspecific(key, value);
}

KERNEL_HIDDEN int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                                        void *(*run)(void *), void *argument) {
    int refused = kernel_no_thread;
    return refused ? refused : __real_pthread_create(thread, attributes, run, argument);
}

KERNEL_HIDDEN int __wrap_pthread_atfork(void (*prepare)(void), void (*parent)(void),
                                        void (*child)(void)) {
    int refused = kernel_no_atfork;
    return refused ? refused : __real_pthread_atfork(prepare, parent, child);
}

#endif
