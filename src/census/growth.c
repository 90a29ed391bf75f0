/* What has changed between two snapshots, by kind and site over all ages. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/memory.h"
#include "census/output.h"
#include "census/snapshot.h"

typedef struct change {
    ambit_kind kind;
    const ambit_site *site;
    uint64_t count_before, count_after;
    uint64_t bytes_before, bytes_after;
} change;

typedef struct changes {
    change *items;
    size_t used, capacity;
} changes;

static int64_t count_growth(const change *at) {
    return (int64_t)(at->count_after - at->count_before);
}
static int64_t bytes_growth(const change *at) {
    return (int64_t)(at->bytes_after - at->bytes_before);
}

static int by_site(const void *left, const void *right) {
    const change *a = left, *b = right;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    return (a->site > b->site) - (a->site < b->site);
}

/* Most growth first, so what shrank most comes last. */
static int by_growth(const void *left, const void *right) {
    const change *a = left, *b = right;
    if (bytes_growth(a) != bytes_growth(b)) return bytes_growth(a) < bytes_growth(b) ? 1 : -1;
    if (count_growth(a) != count_growth(b)) return count_growth(a) < count_growth(b) ? 1 : -1;
    return by_site(a, b);
}

static void merge_equal_sites(changes *all) {
    size_t used = 0;
    qsort(all->items, all->used, sizeof *all->items, by_site);
    for (size_t i = 0; i < all->used; i++) {
        const change *one = &all->items[i];
        change *last = used ? &all->items[used - 1] : NULL;
        if (!last || by_site(last, one)) {
            all->items[used++] = *one;
            continue;
        }
        last->count_before += one->count_before;
        last->count_after += one->count_after;
        last->bytes_before += one->bytes_before;
        last->bytes_after += one->bytes_after;
    }
    all->used = used;
}

static void keep_what_changed(changes *all) {
    size_t used = 0;
    for (size_t i = 0; i < all->used; i++)
        if (count_growth(&all->items[i]) || bytes_growth(&all->items[i]))
            all->items[used++] = all->items[i];
    all->used = used;
    qsort(all->items, all->used, sizeof *all->items, by_growth);
}

/* False when there is no memory. */
static bool compare(changes *all, const ambit_census *before, const ambit_census *after) {
    *all = (changes){NULL, 0, before->used + after->used};
    all->items = ambit__allocate(all->capacity * sizeof *all->items, _Alignof(change));
    if (!all->items) return false;
    for (size_t i = 0; i < before->used; i++) {
        const ambit_census_row *row = &before->rows[i];
        all->items[all->used++] = (change){.kind = row->kind,
                                           .site = row->site,
                                           .count_before = row->count,
                                           .bytes_before = row->bytes};
    }
    for (size_t i = 0; i < after->used; i++) {
        const ambit_census_row *row = &after->rows[i];
        all->items[all->used++] = (change){.kind = row->kind,
                                           .site = row->site,
                                           .count_after = row->count,
                                           .bytes_after = row->bytes};
    }
    merge_equal_sites(all);
    keep_what_changed(all);
    return true;
}

static void discard(changes *all) {
    ambit__release(all->items, all->capacity * sizeof *all->items, _Alignof(change));
}

ambit_status ambit_census_write_growth(const ambit_census *before, const ambit_census *after,
                                       ambit_writer *write, void *user) {
    ambit__output output = {write, user, AMBIT_OK};
    changes all;
    if (!compare(&all, before, after)) return AMBIT_EMEMORY;
    ambit__put(&output, "%-8s %10s %13s %9s %12s  %s\n", "kind", "count", "bytes", "now",
               "bytes now", "opened at");
    for (size_t i = 0; i < all.used && !output.status; i++) {
        const change *at = &all.items[i];
        ambit__put(&output, "%-8s %+10" PRId64 " %+13" PRId64 " %9" PRIu64 " %12" PRIu64 "  ",
                   ambit_kind_name(at->kind), count_growth(at), bytes_growth(at), at->count_after,
                   at->bytes_after);
        ambit__put_site(&output, at->site);
    }
    discard(&all);
    return output.status;
}

ambit_status ambit_census_write_growth_json(const ambit_census *before, const ambit_census *after,
                                            ambit_writer *write, void *user) {
    ambit__output output = {write, user, AMBIT_OK};
    changes all;
    if (!compare(&all, before, after)) return AMBIT_EMEMORY;
    ambit__put_text(&output, "{\"version\":1,\"growth\":[");
    for (size_t i = 0; i < all.used && !output.status; i++) {
        const change *at = &all.items[i];
        ambit__put_text(&output, i ? ",\n{" : "\n{");
        ambit__put_json_field(&output, "kind", ambit_kind_name(at->kind));
        ambit__put_json_field(&output, "file", at->site->file);
        ambit__put_json_field(&output, "function", at->site->function);
        ambit__put(&output,
                   "\"line\":%" PRIu32 ",\"count_before\":%" PRIu64 ",\"count_after\":%" PRIu64
                   ",\"bytes_before\":%" PRIu64 ",\"bytes_after\":%" PRIu64 "}",
                   at->site->line, at->count_before, at->count_after, at->bytes_before,
                   at->bytes_after);
    }
    ambit__put_text(&output, "]}\n");
    discard(&all);
    return output.status;
}
