/* "The configuration is loaded": workers wait for it, one thread says so. Nothing here has heard of ambit.
 *
 * The flag is atomic, so no race detector has anything to say, and it works nearly always. But the worker
 * looks at the flag and then goes to sleep; if the flag is set and the signal sent between the two, it
 * sleeps for ever. */
#include "wakeup.h"

#include <pthread.h>
#include <stdatomic.h>

static atomic_bool ready;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

void wakeup_wait(void) {
    pthread_mutex_lock(&mutex);
    while (!atomic_load_explicit(&ready, memory_order_acquire)) pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

void wakeup_set(void) {
#ifndef FIXED
    atomic_store_explicit(&ready, 1, memory_order_release);
    pthread_cond_signal(&changed);
#else
    pthread_mutex_lock(&mutex); /* the worker is before its look, or asleep */
    atomic_store_explicit(&ready, 1, memory_order_release);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&mutex);
#endif
}
