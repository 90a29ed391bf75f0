/* Request contexts: a scope that owns values, can be cancelled, and has a deadline.
 *
 *     AMBIT_KEY(user_key, struct user);
 *
 *     AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL;                 // closed at the end of the block
 *     if (ambit_ctx_open_timeout(ambit_background(), 2 * AMBIT_SECOND, &ctx)) return -1;
 *     if (ambit_ctx_put(ctx, &user_key, &user)) return -1;   // copied, read-only from here
 *     while (!ambit_ctx_err(ctx)) work(ambit_ctx_get(ctx, &user_key));
 *
 * INVARIANTS AND LIFETIME
 * One owner opens a context and closes it, once. Everyone else borrows it (a call made by the
 * owner, returning before the owner closes) or holds it (ambit_ctx_hold, from any thread, until the
 * drop). A child keeps its parent's memory, and a hold keeps the memory: neither keeps it alive.
 * Close cancels the context and all below it. What is closed while it is still held, or has open
 * children, is a zombie: its values stay readable, the census shows it together with those who keep
 * it. When the last of them goes, the destructors run there, last-in first-out, exactly once.
 * A context ends once (cancelled, closed, or past its deadline) and does not start again.
 *
 * CONCURRENCY: who may run beside whom, on the same context
 *                      err/cause/get  cancel  hold/drop  on/off_cancel/wait/fd  put/own/alloc/defer
 *   err/cause/get           yes        yes       yes              yes                  yes
 *   cancel                             yes       yes              yes                  yes
 *   hold/drop                                    yes              yes                  yes
 *   on/off_cancel/wait/fd                                         yes                  yes
 *   put/own/alloc/defer                                                          one at a time
 *   close: beside all of them, if each caller holds the context or is in a child of it; after it
 * the owner's pointer is gone, and only holders may go on. err, cause, deadline and get take no
 * lock and wait for nobody. Cancel, drop, off_cancel and close cannot fail, and allocate nothing (a
 * thread's first call of any kind tries to make its record, and does without).
 *
 * FORK: a child of fork() has contexts of its own from there on, and may use those that it inherits
 * like any, if at the fork no other thread of the parent was in a call of ambit's or waited in one
 * (before its threads start is the time to fork). If one was, the child may ask err, cause and get,
 * and nothing else. Timers that were armed before the fork stay with the parent; an inherited
 * descriptor does too: ask ambit_ctx_fd again.
 * SIGNALS: ambit_ctx_err and ambit_ctx_deadline_ns may be called from a signal handler; nothing
 * else. THREAD EXIT: a context belongs to no thread; what a thread leaves open stays open, and is
 * seen. */
#ifndef AMBIT_CTX_H
#define AMBIT_CTX_H

#include <stddef.h>
#include <stdint.h>

#include "ambit/clock.h"
#include "ambit/entry.h"
#include "ambit/site.h"
#include "ambit/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ambit_ctx ambit_ctx;
typedef struct ambit_hold ambit_hold;

/* ---- Keys: static objects, compared by address, that carry the type of their value ----------- */

typedef struct ambit_key {
    const char *name;
    uint32_t bytes;
    uint32_t alignment;
} ambit_key;

/* Defines a key for values of type T in this source file. To share a key between files, write
 * AMBIT_KEY_DECLARE in the header, and AMBIT_KEY_DEFINE in one source that includes it: a static
 * key in a header would be another key in each file. */
#define AMBIT_KEY(name, T)                                                                         \
    AMBIT__KEY_TYPE(name, T);                                                                      \
    static const struct ambit_key_of_##name name = AMBIT__KEY_VALUE(name, T)
#define AMBIT_KEY_DECLARE(name, T)                                                                 \
    AMBIT__KEY_TYPE(name, T);                                                                      \
    extern const struct ambit_key_of_##name name
#define AMBIT_KEY_DEFINE(name, T) const struct ambit_key_of_##name name = AMBIT__KEY_VALUE(name, T)

#define AMBIT__KEY_TYPE(name, T)                                                                   \
    struct ambit_key_of_##name {                                                                   \
        ambit_key key;                                                                             \
        T *type;                                                                                   \
    }
#define AMBIT__KEY_VALUE(name, T)                                                                  \
    { {#name, (uint32_t)sizeof(T), (uint32_t) __alignof__(T)}, NULL }

/* ---- What ended a context -------------------------------------------------------------------- */

/* A cause is copied by value and owns nothing: `text` must be static. */
typedef struct ambit_cause {
    ambit_status code;      /* AMBIT_CANCELLED or AMBIT_TIMED_OUT; AMBIT_OK while it lives */
    const char *text;       /* "cancelled", "closed", "deadline passed", or the canceller's */
    const ambit_site *site; /* where it was cancelled or closed, or opened with the deadline */
    int64_t value;          /* the canceller's own number */
} ambit_cause;

/* ---- Life cycle ------------------------------------------------------------------------------ */

/* The root of all contexts. It has no deadline, is never cancelled and takes no values.
 * Thread: any. Blocks: no. Cannot fail. */
ambit_ctx *ambit_background(void);

/* Opens a child of `parent`. Under a parent that has ended the call succeeds, and the child is born
 * ended with the parent's cause. The child inherits the parent's byte budget as its own.
 * A NULL parent is a bug of the caller. `*out` is NULL on failure.
 * Thread: any that owns, borrows or holds the parent. Blocks: no. Owns: the caller must close it.
 * Returns AMBIT_OK, AMBIT_EMEMORY; below a parent with ordered children also AMBIT_ETHREAD (a
 * deadline then needs the timer thread). */
#define ambit_ctx_open(parent, out) ambit_ctx_open_at((parent), AMBIT_NEVER, (out), AMBIT_HERE)
/* The same, ending `timeout_ns` from now, or with the parent if that is sooner. A timeout of zero
 * or less gives a context that is born past its deadline. A timeout of ten seconds or more is
 * measured by the coarse clock and rounded up by the most that this is behind as a rule: not early,
 * and at most 32 ms late. */
#define ambit_ctx_open_timeout(parent, timeout_ns, out)                                            \
    ambit_ctx_open_timeout_at((parent), (timeout_ns), (out), AMBIT_HERE)
/* The same, ending at the absolute time `deadline_ns` of ambit's clock. */
#define ambit_ctx_open_deadline(parent, deadline_ns, out)                                          \
    ambit_ctx_open_at((parent), (deadline_ns), (out), AMBIT_HERE)

AMBIT_MUST_CHECK ambit_status ambit_ctx_open_at(ambit_ctx *parent, int64_t deadline_ns,
                                                ambit_ctx **out, const ambit_site *site);
AMBIT_MUST_CHECK ambit_status ambit_ctx_open_timeout_at(ambit_ctx *parent, int64_t timeout_ns,
                                                        ambit_ctx **out, const ambit_site *site);

/* Opens a child of `parent` that also ends when `other` ends, whichever is first, and not later
 * than the earlier deadline. Values are looked up through `parent` only; `other`'s memory is kept.
 * err() then looks at both sides, so a tower of contexts merged crosswise is slow to ask.
 * Returns AMBIT_OK, AMBIT_EMEMORY, AMBIT_ETHREAD (a deadline needs the timer thread). */
#define ambit_ctx_merge(parent, other, out) ambit_ctx_merge_at((parent), (other), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_ctx_merge_at(ambit_ctx *parent, ambit_ctx *other,
                                                 ambit_ctx **out, const ambit_site *site);

/* Opens a context that sees the values of `origin` and is not cancelled with it, for work that
 * outlives a request. It must have a deadline of its own: AMBIT_NEVER is AMBIT_EINVALID. It keeps
 * the memory of `origin`, which the census shows.
 * Returns AMBIT_OK, AMBIT_EMEMORY, AMBIT_EINVALID. */
#define ambit_ctx_detach(origin, deadline_ns, out)                                                 \
    ambit_ctx_detach_at((origin), (deadline_ns), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_ctx_detach_at(ambit_ctx *origin, int64_t deadline_ns,
                                                  ambit_ctx **out, const ambit_site *site);

/* Has the children of `ctx` that are opened after this call cancelled in reverse order of opening,
 * each with all below it before the next. Without it the order is that of arming. Costs each such
 * child a lock on `ctx` at open and close.
 * Thread: the owner, before the first child. Blocks: no. Cannot fail; idempotent. */
void ambit_ctx_order_children(ambit_ctx *ctx);

/* Closes what `*ctx` points at and sets it to NULL; nothing happens if it is NULL already.
 * In this order: cancels with the cause "closed"; waits for cancel callbacks that run on other
 * threads; runs the destructors, last-in first-out, until none is left; gives the memory back. If
 * others still hold it the last two steps are theirs. Called from a cancel callback of the context
 * itself it does not wait: the last two steps follow when that callback's cancellation is through.
 * Closing through a second copy of the pointer, or while bound to this thread, is a bug.
 * Thread: any, the owner only. Blocks: for callbacks that run elsewhere. Cannot fail. */
#define ambit_ctx_close(ctx) ambit_ctx_close_at((ctx), AMBIT_HERE)
void ambit_ctx_close_at(ambit_ctx **ctx, const ambit_site *site);

/* ---- Holding --------------------------------------------------------------------------------- */

/* Keeps the memory and the values of `ctx` for the caller until the drop, and puts the caller's
 * line into the census. `*out` is NULL on failure. Thread: any that owns, borrows or holds it.
 * Blocks: no. Owns: the caller must drop it. Returns AMBIT_OK, AMBIT_EMEMORY. */
#define ambit_ctx_hold(ctx, out) ambit_ctx_hold_at((ctx), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_ctx_hold_at(ambit_ctx *ctx, ambit_hold **out,
                                                const ambit_site *site);

/* The held context. Thread: any. Blocks: no. A dropped handle is a bug. */
ambit_ctx *ambit_hold_ctx(const ambit_hold *hold);

/* Drops `*hold` and sets it to NULL; nothing happens if it is NULL already. The last drop of a
 * closed context runs its destructors on this thread. Dropping a stale copy is a bug.
 * Thread: any. Blocks: no. Cannot fail. */
#define ambit_ctx_drop(hold) ambit_ctx_drop_at((hold), AMBIT_HERE)
void ambit_ctx_drop_at(ambit_hold **hold, const ambit_site *site);

/* ---- Cancellation ---------------------------------------------------------------------------- */

/* Ends `ctx` and everything below it. The first cause wins: of two cancels, and of a cancel and a
 * deadline that had passed before it. When it returns, ambit_ctx_err is not AMBIT_OK for the
 * context and all its descendants; the callbacks have run on this thread, or are being run by the
 * thread whose cancel came first. Depth and width do not matter: no recursion, no allocation.
 * `text` is static, or NULL for "cancelled". Idempotent.
 * Thread: any that owns, borrows or holds it. Blocks: as long as the callbacks do. Cannot fail. */
#define ambit_ctx_cancel(ctx, text) ambit_ctx_cancel_at((ctx), (text), 0, AMBIT_HERE)
/* The same with a number of the caller's in the cause. */
#define ambit_ctx_cancel_value(ctx, text, value)                                                   \
    ambit_ctx_cancel_at((ctx), (text), (value), AMBIT_HERE)
void ambit_ctx_cancel_at(ambit_ctx *ctx, const char *text, int64_t value, const ambit_site *site);

/* What ended the context; code AMBIT_OK while it lives. Never torn, and once set it stays.
 * Thread: any. Blocks: no. Cannot fail. */
ambit_cause ambit_ctx_cause(const ambit_ctx *ctx);

/* The time at which it ends at the latest, AMBIT_NEVER if there is none. Never later than the
 * parent's. Thread: any. Blocks: no. Cannot fail. */
int64_t ambit_ctx_deadline_ns(const ambit_ctx *ctx);

/* AMBIT_OK while it lives, AMBIT_CANCELLED or AMBIT_TIMED_OUT once it or an ancestor has ended.
 * Reads one word for the context and one for each ancestor; with a deadline, the coarse clock, and
 * the precise one only shortly before the deadline.
 * Thread: any, also from a signal handler. Blocks: no. Cannot fail. */
static inline ambit_status ambit_ctx_err(const ambit_ctx *ctx);

/* ---- Callbacks, waiting, file descriptors ---------------------------------------------------- */

typedef void ambit_cancel_fn(ambit_ctx *ctx, void *argument);

/* A node that the caller embeds, zero at first; all fields are ambit's. It must stay in place until
 * its callback has returned or an off_cancel has; only after an off_cancel from inside itself may a
 * callback free it. Where two threads take one node back at once, one of them may free it, after
 * both have returned. */
typedef struct ambit_cancel {
    struct ambit_cancel *next, *previous;
    ambit_cancel_fn *run;
    void *argument;
    ambit_ctx *ctx;
    const ambit_site *site;
    AMBIT__ATOMIC(uint32_t) state;
    uint32_t thread;
    unsigned char *gone;
    uint32_t shard;
} ambit_cancel;

typedef enum ambit_removal {
    AMBIT_REMOVED = 0,     /* it is not registered (any more), and will not run */
    AMBIT_ALREADY_RAN = 1, /* it has run, and has returned */
    AMBIT_RUNNING_HERE = 2 /* this very call is made from inside it */
} ambit_removal;

/* Has `run(ctx, argument)` called exactly once when `ctx` ends. On a live context the node is
 * registered; on one that has ended the callback runs before this returns, on this thread, and the
 * status is the context's. Callbacks run on the cancelling thread (for a deadline: ambit's timer
 * thread), with no lock of ambit's held, of those that one thread has registered the last one
 * first. They must be short: one that takes long is a verdict of the census. A callback may close
 * the context, and free its own node after an off_cancel from inside. Thread: any that owns,
 * borrows or holds it. Blocks: no. Owns: nothing; the caller's node is used. Returns AMBIT_OK
 * (registered), AMBIT_CANCELLED or AMBIT_TIMED_OUT (it has run), AMBIT_EMEMORY, AMBIT_ETHREAD (not
 * registered, will not run). */
#define ambit_ctx_on_cancel(ctx, node, run, argument)                                              \
    ambit_ctx_on_cancel_at((ctx), (node), (run), (argument), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_ctx_on_cancel_at(ambit_ctx *ctx, ambit_cancel *node,
                                                     ambit_cancel_fn *run, void *argument,
                                                     const ambit_site *site);

/* Takes the callback back. If it is running on another thread this waits until it has returned, so
 * that the node and what it points at may be freed; it never waits for itself.
 * Thread: any that owns, borrows or holds it. Blocks: for a callback that runs elsewhere. */
ambit_removal ambit_ctx_off_cancel(ambit_ctx *ctx, ambit_cancel *node);

/* Waits until the context ends. Returns AMBIT_CANCELLED, AMBIT_TIMED_OUT; AMBIT_EMEMORY, or
 * AMBIT_ETHREAD if a deadline needs the timer thread and it can't be started: then nothing was
 * waited for. */
AMBIT_MUST_CHECK ambit_status ambit_ctx_wait(ambit_ctx *ctx);

/* Sleeps until the time or the end of the context, whichever is first. AMBIT_OK: the time has come.
 * Thread: any that owns, borrows or holds it. Blocks: until then. Otherwise as ambit_ctx_wait. */
AMBIT_MUST_CHECK ambit_status ambit_ctx_sleep_until(ambit_ctx *ctx, int64_t time_ns);
AMBIT_MUST_CHECK ambit_status ambit_ctx_sleep(ambit_ctx *ctx, int64_t duration_ns);

/* A file descriptor that becomes readable when the context ends, and stays so: for poll, epoll and
 * the loops on top of them. Every call gives the same one. Do not read from it or close it.
 * Thread: any that owns, borrows or holds it. Blocks: no. Owns: the context does, until its memory
 * goes. `*out` is -1 on failure. Returns AMBIT_OK, AMBIT_EFILES, AMBIT_EMEMORY, AMBIT_ETHREAD;
 * AMBIT_EINVALID for the background, which does not end. */
#define ambit_ctx_fd(ctx, out) ambit_ctx_fd_at((ctx), (out), AMBIT_HERE)
AMBIT_MUST_CHECK ambit_status ambit_ctx_fd_at(ambit_ctx *ctx, int *out, const ambit_site *site);

/* ---- Values ---------------------------------------------------------------------------------- */

/* Copies `*value` (of the key's type) into the context. A value is set once and read-only after; a
 * child may shadow it. Values stay readable after cancellation, until close.
 * Thread: one at a time among put, own, alloc and defer. Blocks: no. Owns: a copy.
 * Returns AMBIT_OK, AMBIT_EXISTS, AMBIT_EBUDGET, AMBIT_EMEMORY; nothing is stored but with
 * AMBIT_OK. A NULL key, or a key whose address is on a stack that is gone, is a bug. */
#define ambit_ctx_put(ctx, typed_key, value)                                                       \
    ambit__ctx_put((ctx), &(typed_key)->key,                                                       \
                   (1 ? (value) : (const __typeof__(*(typed_key)->type) *)0), /* of that type */   \
                   sizeof *(typed_key)->type, __alignof__(*(typed_key)->type))
AMBIT_MUST_CHECK ambit_status ambit_ctx_put_bytes(ambit_ctx *ctx, const ambit_key *key,
                                                  const void *value, size_t bytes);

/* Gives the context a pointer to keep, with `bytes` for its budget and the census, and `destroy`
 * (NULL for none) to be called with it at the end. On failure the caller still owns it.
 * Otherwise as put. */
#define ambit_ctx_own(ctx, typed_key, value, bytes, destroy)                                       \
    ambit__ctx_own((ctx), &(typed_key)->key,                                                       \
                   (1 ? (value) : (__typeof__(*(typed_key)->type) *)0), /* of that type */         \
                   (bytes), (destroy))
AMBIT_MUST_CHECK ambit_status ambit_ctx_own_pointer(ambit_ctx *ctx, const ambit_key *key,
                                                    void *value, size_t bytes,
                                                    void (*destroy)(void *value));

/* The nearest value for the key, in the context or above it; NULL if there is none.
 * Thread: any. Blocks: no. Owns: the context does. Cannot fail. */
#define ambit_ctx_get(ctx, typed_key)                                                              \
    ((const __typeof__(*(typed_key)->type) *)ambit__ctx_get((ctx), &(typed_key)->key))
const void *ambit_ctx_get_bytes(const ambit_ctx *ctx, const ambit_key *key, size_t *bytes);

/* Memory that lives as long as the context, aligned to 16 bytes, not cleared. NULL if there is none
 * or the budget would be exceeded. Thread: as put. Blocks: no. Owns: the context does. */
static inline void *ambit_ctx_alloc(ambit_ctx *ctx, size_t bytes);

/* Has `run(argument)` called at the end, before those deferred earlier. A destructor may defer
 * more. Thread: as put. Blocks: no. Returns AMBIT_OK, AMBIT_EBUDGET, AMBIT_EMEMORY. */
AMBIT_MUST_CHECK static inline ambit_status
ambit_ctx_defer(ambit_ctx *ctx, void (*run)(void *argument), void *argument);

/* How many bytes put, own, alloc and defer (16 each) may take together; a destructor that comes
 * with own is counted as well, but never refused. Children opened later inherit the number. The
 * background's is 1 MiB. Lowering it below what is in use only stops more. Thread: as put; any for
 * the default. Blocks: no. Cannot fail. */
void ambit_ctx_budget_set(ambit_ctx *ctx, size_t bytes);
void ambit_ctx_default_budget_set(size_t bytes);
/* In use now. Thread: any. Cannot fail. */
size_t ambit_ctx_bytes(const ambit_ctx *ctx);

/* Excepts the context from verdicts on its age; the census shows it as long-lived.
 * Thread: any. Blocks: no. Cannot fail; idempotent. */
void ambit_ctx_mark_long_lived(ambit_ctx *ctx);

/* ---- The current context of a thread --------------------------------------------------------- */

typedef struct ambit_binding {
    ambit_ctx *ctx;
    struct ambit_binding *outer;
    const ambit_site *site;
} ambit_binding;

/* The context bound to this thread by the innermost AMBIT_WITH, NULL outside of one.
 * Thread: any. Blocks: no. Cannot fail. */
ambit_ctx *ambit_ctx_current(void);

/* Binds `ctx` to this thread for the block that follows: AMBIT_WITH(ctx) { ... }. It nests, and it
 * unbinds however the block is left, but for longjmp. */
#define AMBIT_WITH(ctx) AMBIT__WITH_EXPANDED(ctx, __LINE__)
#define AMBIT__WITH_EXPANDED(ctx, line) AMBIT__WITH(ctx, line)
#define AMBIT__WITH(ctx, line) AMBIT__WITH_NAMED(ctx, ambit_binding_##line, ambit_once_##line)
#define AMBIT__WITH_NAMED(bound, binding, once)                                                    \
    for (ambit_binding binding                                                                     \
         __attribute__((cleanup(ambit_ctx_unbind))) = {(bound), NULL, AMBIT_HERE},                 \
         *once = ambit_ctx_bind(&binding);                                                         \
         once; once = NULL)
ambit_binding *ambit_ctx_bind(ambit_binding *binding);
void ambit_ctx_unbind(ambit_binding *binding);

/* ---- At the end of a block ------------------------------------------------------------------- */

static inline void ambit_ctx_close_scope(ambit_ctx **ctx) {
    if (*ctx) ambit_ctx_close(ctx);
}
static inline void ambit_ctx_drop_scope(ambit_hold **hold) {
    if (*hold) ambit_ctx_drop(hold);
}
/* AMBIT_CTX_SCOPE ambit_ctx *ctx = NULL; closes, AMBIT_HOLD_SCOPE ambit_hold *hold = NULL; drops.
 * The line that such a close or drop is known by is in this header: an attribute has none. */
#define AMBIT_CTX_SCOPE __attribute__((cleanup(ambit_ctx_close_scope), unused))
#define AMBIT_HOLD_SCOPE __attribute__((cleanup(ambit_ctx_drop_scope), unused))

#ifdef __cplusplus
}
#endif

#include "ambit/ctx_inline.h" /* IWYU pragma: keep */

#endif
