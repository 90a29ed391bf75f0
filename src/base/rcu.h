/* Read-copy-update, over liburcu's membarrier flavour, made legible to ThreadSanitizer.
 *
 * A reader brackets its use of shared pointers with read lock and unlock: two stores and no shared
 * write. A writer publishes a new version, then frees the old one once every reader that may have
 * seen it has left: ambit__rcu_synchronize() waits for that, ambit__rcu_call() is told of it.
 *
 *     static _Atomic(struct table *) table;
 *     ambit__rcu_read_lock();
 *     look(ambit__rcu_read(&table));                 // good until the unlock
 *     ambit__rcu_read_unlock();
 *
 *     struct table *old = ambit__rcu_read(&table);   // one writer at a time, by the caller's lock
 *     ambit__rcu_publish(&table, new);
 *     ambit__rcu_call(&old->head, free_table);
 *
 * WHO MAY CALL WHAT
 *                 unregistered   registered   in a read section   in a callback
 *   register           yes          yes             yes                yes
 *   read_lock         stops         yes             yes (nests)        yes
 *   call              stops         yes             yes                yes
 *   synchronize        yes          yes            stops               yes
 *   barrier            yes          yes            stops              stops
 * "Stops" is a bug of the caller: the alternative is a deadlock or a use after free.
 *
 * ORDER. What is written before a publish is seen by who reads the pointer. What a reader did in
 * its section happens before the return of a synchronize, and before the callback of a call, that
 * began after the pointer was replaced. There is no order between a read lock and anything.
 *
 * LIMITS
 * - liburcu's worker thread is started by the first registration, where failing is an answer; if
 * the C library has no memory inside liburcu later (in a child of fork(), which starts it anew),
 *   liburcu aborts the process.
 * - A thread that ends inside a read section is stopped with a message: waiting for it would hang.
 * - fork() waits for grace periods under way, so it must not be called in a read section (stopped
 * with a message) or in a callback (hangs). The child may use everything: readers that did not come
 *   along are forgotten, and callbacks not run before the fork run in the parent and in the child.
 * - Callbacks run on liburcu's thread, in order, all signals blocked; they should be short.
 * - A library that holds callbacks must not be unloaded: barrier first, or link with -z nodelete.
 * - Exit hooks that use it must be added after ambit__rcu_register() was first called, so that they
 * run before the thread is unregistered.
 * - ThreadSanitizer: link liburcu dynamically and suppress called_from_lib:liburcu-memb.so. */
#ifndef AMBIT_BASE_RCU_H
#define AMBIT_BASE_RCU_H

#include "ambit/status.h"
#include "base/atomic.h"

/* To be embedded in what is freed. Opaque; not to be touched between call and callback. */
typedef struct ambit__rcu_head {
    void *liburcu[2];
    void (*run)(struct ambit__rcu_head *head);
} ambit__rcu_head;

/* Makes this thread a reader until it ends. Idempotent. Blocks: while another thread forks.
 * Returns AMBIT_OK, AMBIT_EMEMORY, AMBIT_ETHREAD; on failure it may be tried again. */
AMBIT_MUST_CHECK ambit_status ambit__rcu_register(void);

/* Thread: registered. Blocks: no. Cannot fail. */
void ambit__rcu_read_lock(void);
void ambit__rcu_read_unlock(void);

/* `pointer` is an _Atomic(T *). Release pairs with the acquire in ambit__rcu_read(), so that the
 * object is whole before it can be found; no consume, which compilers do not implement. */
#define ambit__rcu_publish(pointer, value) ambit__store_release((pointer), (value))
#define ambit__rcu_read(pointer) ambit__load_acquire(pointer)

/* Waits until every read section that is open now has been closed. Thread: any, outside of a read
 * section. Blocks: for the readers. Cannot fail. */
void ambit__rcu_synchronize(void);

/* Has `run(head)` called after the same. Thread: registered. Blocks: while another thread forks.
 * Cannot fail. */
void ambit__rcu_call(ambit__rcu_head *head, void (*run)(ambit__rcu_head *head));

/* Waits until the callbacks of all calls made before have returned. Thread: any, outside of read
 * sections and callbacks. Blocks: for readers and callbacks. Cannot fail. */
void ambit__rcu_barrier(void);

#endif
