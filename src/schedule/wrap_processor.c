/* Where threads run and with what right to do so: no difference to what a schedule shows, but for
 * the processor's number, which programs use to spread what they write: it may be another at each
 * call. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "schedule/host.h"
#include "schedule/sync.h"

#define PROCESSORS 2

/* As many as a program can expect to be there, at most. */
static unsigned any_processor(void) {
    long there = sysconf(_SC_NPROCESSORS_CONF);
    unsigned count = there < PROCESSORS ? 1 : PROCESSORS;
    return ambit__decide(AMBIT__DECIDE_USER, count, ambit__self->index % count);
}

int __real_sched_getcpu(void);
int __wrap_sched_getcpu(void);
int __wrap_sched_getcpu(void) { return ambit__self ? (int)any_processor() : __real_sched_getcpu(); }

int __real_getcpu(unsigned *, unsigned *);
int __wrap_getcpu(unsigned *, unsigned *);
int __wrap_getcpu(unsigned *processor, unsigned *node) {
    if (!ambit__self) return __real_getcpu(processor, node);
    ambit__call call = AMBIT__CALL("getcpu");
    if (processor) {
        ambit__sync_result(processor, sizeof *processor, call);
        *processor = any_processor();
    }
    if (node) {
        ambit__sync_result(node, sizeof *node, call);
        *node = 0;
    }
    return 0;
}

pid_t __real_gettid(void);
pid_t __wrap_gettid(void);
pid_t __wrap_gettid(void) {
    /* As syscall(SYS_gettid) has it; the same in each run. */
    return ambit__self ? ambit__thread_tid(ambit__self->index) : __real_gettid();
}

int __real_pthread_setaffinity_np(pthread_t, size_t, const cpu_set_t *);
int __wrap_pthread_setaffinity_np(pthread_t, size_t, const cpu_set_t *);
int __wrap_pthread_setaffinity_np(pthread_t handle, size_t bytes, const cpu_set_t *set) {
    return ambit__self ? 0 : __real_pthread_setaffinity_np(handle, bytes, set);
}

int __real_pthread_getaffinity_np(pthread_t, size_t, cpu_set_t *);
int __wrap_pthread_getaffinity_np(pthread_t, size_t, cpu_set_t *);
int __wrap_pthread_getaffinity_np(pthread_t handle, size_t bytes, cpu_set_t *set) {
    if (!ambit__self) return __real_pthread_getaffinity_np(handle, bytes, set);
    ambit__sync_result(set, bytes, AMBIT__CALL("pthread_getaffinity_np"));
    memset(set, 0, bytes);
    for (unsigned i = 0; i < PROCESSORS; i++) CPU_SET_S(i, bytes, set);
    return 0;
}

/* These would be about the one thread of the kernel, and stay. */
int __real_sched_setaffinity(pid_t, size_t, const cpu_set_t *);
int __wrap_sched_setaffinity(pid_t, size_t, const cpu_set_t *);
int __wrap_sched_setaffinity(pid_t process, size_t bytes, const cpu_set_t *set) {
    return ambit__self ? 0 : __real_sched_setaffinity(process, bytes, set);
}

int __real_sched_setscheduler(pid_t, int, const struct sched_param *);
int __wrap_sched_setscheduler(pid_t, int, const struct sched_param *);
int __wrap_sched_setscheduler(pid_t process, int policy, const struct sched_param *parameters) {
    return ambit__self ? 0 : __real_sched_setscheduler(process, policy, parameters);
}

int __real_sched_setparam(pid_t, const struct sched_param *);
int __wrap_sched_setparam(pid_t, const struct sched_param *);
int __wrap_sched_setparam(pid_t process, const struct sched_param *parameters) {
    return ambit__self ? 0 : __real_sched_setparam(process, parameters);
}

int __real_pthread_setschedparam(pthread_t, int, const struct sched_param *);
int __wrap_pthread_setschedparam(pthread_t, int, const struct sched_param *);
int __wrap_pthread_setschedparam(pthread_t handle, int policy,
                                 const struct sched_param *parameters) {
    return ambit__self ? 0 : __real_pthread_setschedparam(handle, policy, parameters);
}

int __real_pthread_setschedprio(pthread_t, int);
int __wrap_pthread_setschedprio(pthread_t, int);
int __wrap_pthread_setschedprio(pthread_t handle, int priority) {
    return ambit__self ? 0 : __real_pthread_setschedprio(handle, priority);
}

int __real_pthread_getschedparam(pthread_t, int *, struct sched_param *);
int __wrap_pthread_getschedparam(pthread_t, int *, struct sched_param *);
int __wrap_pthread_getschedparam(pthread_t handle, int *policy, struct sched_param *parameters) {
    if (!ambit__self) return __real_pthread_getschedparam(handle, policy, parameters);
    ambit__call call = AMBIT__CALL("pthread_getschedparam");
    ambit__sync_result(policy, sizeof *policy, call);
    ambit__sync_result(parameters, sizeof *parameters, call);
    *policy = SCHED_OTHER;
    *parameters = (struct sched_param){0};
    return 0;
}

int __real_pthread_getattr_np(pthread_t, pthread_attr_t *);
int __wrap_pthread_getattr_np(pthread_t, pthread_attr_t *);
int __wrap_pthread_getattr_np(pthread_t handle, pthread_attr_t *attributes) {
    if (!ambit__self) return __real_pthread_getattr_np(handle, attributes);
    ambit__call call = AMBIT__CALL("pthread_getattr_np");
    if (handle != ambit__self->handle)
        ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, call.site, NULL,
                    "%s: in a schedule a thread can only ask for its own attributes", call.name);
    ambit__sync_result(attributes, sizeof *attributes, call);
    uintptr_t low, high;
    ambit__host_bounds(ambit__self->index, &low, &high);
    int error = pthread_attr_init(attributes);
    if (error) return error;
    (void)pthread_attr_setdetachstate(attributes, ambit__self->detached ? PTHREAD_CREATE_DETACHED
                                                                        : PTHREAD_CREATE_JOINABLE);
    return pthread_attr_setstack(attributes, (void *)low, high - low);
}

int __real_pthread_getcpuclockid(pthread_t, clockid_t *);
int __wrap_pthread_getcpuclockid(pthread_t, clockid_t *);
int __wrap_pthread_getcpuclockid(pthread_t handle, clockid_t *clock) {
    if (!ambit__self) return __real_pthread_getcpuclockid(handle, clock);
    ambit__call call = AMBIT__CALL("pthread_getcpuclockid");
    ambit__fail(AMBIT_SCHEDULE_UNSUPPORTED, call.site, NULL,
                "%s: the time that a thread takes is not known to a schedule", call.name);
}
