/* GLib: GCancellable for contexts, timeout sources for timers. */
#include "contestant.h"

#include <gio/gio.h>

static GCancellable *shared_root(void) {
    static gsize root;
    if (g_once_init_enter(&root)) g_once_init_leave(&root, (gsize)g_cancellable_new());
    return (GCancellable *)root;
}

static void set_up_root(bench_thread *thread) { thread->own = shared_root(); }

static void cancel_child(GCancellable *parent, gpointer child) {
    (void)parent;
    g_cancellable_cancel(child);
}

/* GCancellable knows no children: one is chained to its parent by a handler that passes on. */
static gulong open_child(GCancellable *parent, GCancellable **child) {
    *child = g_cancellable_new();
    return g_cancellable_connect(parent, G_CALLBACK(cancel_child), *child, NULL);
}

static void open_close(bench_thread *thread, uint64_t iterations) {
    GCancellable *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        GCancellable *child;
        gulong handler = open_child(root, &child);
        g_cancellable_cancel(child);
        g_cancellable_disconnect(root, handler);
        g_object_unref(child);
    }
}

static void err(bench_thread *thread, uint64_t iterations) {
    GCancellable *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        gboolean cancelled = g_cancellable_is_cancelled(root);
        BENCH_KEEP(cancelled);
    }
}

static void set_up_depth_5(bench_thread *thread) {
    GCancellable *ctx = shared_root();
    for (unsigned depth = 1; depth < 5; depth++) open_child(ctx, &ctx);
    thread->own = ctx;
}

static void never(GCancellable *root, gpointer data) {
    (void)root, (void)data;
    BENCH_REQUIRE(!"the root is cancelled");
}

static void on_off_cancel(bench_thread *thread, uint64_t iterations) {
    GCancellable *root = thread->own;
    for (uint64_t i = 0; i < iterations; i++) {
        gulong handler = g_cancellable_connect(root, G_CALLBACK(never), NULL, NULL);
        BENCH_KEEP(handler);
        g_cancellable_disconnect(root, handler);
    }
}

enum { FEW = 1000, MANY = 100000 };

static void cancel_children(uint64_t iterations, unsigned count) {
    static GCancellable *children[MANY];
    static gulong handlers[MANY];
    for (uint64_t i = 0; i < iterations; i++) {
        GCancellable *root = g_cancellable_new();
        for (unsigned k = 0; k < count; k++) handlers[k] = open_child(root, &children[k]);
        g_cancellable_cancel(root);
        BENCH_REQUIRE(g_cancellable_is_cancelled(children[count - 1]));
        for (unsigned k = 0; k < count; k++) {
            g_cancellable_disconnect(root, handlers[k]);
            g_object_unref(children[k]);
        }
        g_object_unref(root);
    }
}

static void cancel_few(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    cancel_children(iterations, FEW);
}

static void cancel_many(bench_thread *thread, uint64_t iterations) {
    (void)thread;
    cancel_children(iterations, MANY);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static gboolean fire(gpointer data) {
    (void)data;
    BENCH_REQUIRE(!"a timer of a bench fires");
}

static GSource *arm(GMainContext *context, uint64_t milliseconds) {
    GSource *source = g_timeout_source_new((guint)milliseconds);
    g_source_set_callback(source, fire, NULL, NULL);
    g_source_attach(source, context);
    return source;
}

static void fill(GMainContext *context, bench_thread *thread) {
    for (unsigned k = 0; k < BENCH_PENDING; k++)
        g_source_unref(arm(context, bench_random_ms(thread)));
}

static void set_up_own_context(bench_thread *thread) {
    thread->own = g_main_context_new();
    fill(thread->own, thread);
}

static void set_up_shared_context(bench_thread *thread) {
    static gsize shared;
    if (g_once_init_enter(&shared)) {
        GMainContext *context = g_main_context_new();
        fill(context, thread);
        g_once_init_leave(&shared, (gsize)context);
    }
    thread->own = (GMainContext *)shared;
}

static void arm_disarm(bench_thread *thread, uint64_t iterations) {
    for (uint64_t i = 0; i < iterations; i++) {
        GSource *source = arm(thread->own, BENCH_TIMEOUT_MS);
        g_source_destroy(source);
        g_source_unref(source);
    }
}

static const bench_row rows[] = {{"open-close", open_close, set_up_root, 1},
                                 {"err-depth-1", err, set_up_root, 1},
                                 {"err-depth-5", err, set_up_depth_5, 1},
                                 {"on-off-cancel", on_off_cancel, set_up_root, 1},
                                 {"cancel-1k", cancel_few, NULL, FEW},
                                 {"cancel-100k", cancel_many, NULL, MANY},
                                 {"timer-arm-disarm", arm_disarm, set_up_own_context, 1},
                                 {"timer-arm-disarm/shared", arm_disarm, set_up_shared_context, 1},
                                 {NULL, NULL, NULL, 0}};

int main(int argc, char **argv) {
    char about[64];
    snprintf(about, sizeof about, "GLib %u.%u.%u", glib_major_version, glib_minor_version,
             glib_micro_version);
    return bench_main(argc, argv, about, rows);
}
