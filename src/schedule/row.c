/* What a row of the table says: what was done, to what, with which value and order. */
#include <inttypes.h>
#include <stdarg.h>

#include "schedule/descriptor.h"
#include "schedule/report.h"

static void add(char *text, size_t bytes, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add(char *text, size_t bytes, const char *format, ...) {
    size_t length = strlen(text);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text + length, bytes - length, format, arguments);
    va_end(arguments);
}

/* Small ones as people write them, also below zero; addresses by name; the others in hexadecimal. */
static char *value_text(uint64_t value, unsigned size, char *text, size_t bytes) {
    unsigned unused = size < 8 ? 64 - 8 * size : 0;
    int64_t number = (int64_t)(value << unused) >> unused;
    if (number > -1000 && number < 100000)
        (void)snprintf(text, bytes, "%" PRId64, number);
    else if (size < 8 || !ambit__address_name(value, 0, text, bytes))
        (void)snprintf(text, bytes, "0x%" PRIx64, value);
    return text;
}

static void add_value(const ambit__operation *row, uint64_t value, char *text, size_t bytes) {
    char number[96];
    add(text, bytes, "%s", value_text(value, row->size ? row->size : 8, number, sizeof number));
}

static void add_object(const ambit__operation *row, char *text, size_t bytes) {
    char name[96];
    if (!row->address) return;
    int descriptor = ambit__descriptor_number(row->address);
    if (descriptor >= 0)
        add(text, bytes, " descriptor %d", descriptor);
    else if (ambit__address_name((uintptr_t)row->address, row->size, name, sizeof name))
        add(text, bytes, " %s", name);
    else
        add(text, bytes, " %p", row->address);
}

static const char *const order_names[] = {"relaxed", "consume", "acquire",
                                          "release", "acq_rel", "seq_cst"};
const char *ambit__order_name(int order) {
    return order >= 0 && order <= AMBIT__SEQ_CST ? order_names[order] : "?";
}

/* The verb, where the kind says all; those that come with the name of a function are told by it. */
static const char *const verbs[AMBIT__OP_KINDS] = {
    [AMBIT__OP_START] = "start",
    [AMBIT__OP_LOAD] = "load",
    [AMBIT__OP_STORE] = "store",
    [AMBIT__OP_EXCHANGE] = "update",
    [AMBIT__OP_COMPARE_EXCHANGE] = "compare-exchange",
    [AMBIT__OP_FENCE] = "fence",
    [AMBIT__OP_LIGHT_BARRIER] = "light barrier",
    [AMBIT__OP_HEAVY_BARRIER] = "heavy barrier",
    [AMBIT__OP_SPAWN] = "spawn",
    [AMBIT__OP_JOIN] = "join",
    [AMBIT__OP_EXIT] = "end",
    [AMBIT__OP_LOCK] = "lock",
    [AMBIT__OP_TRY_LOCK] = "try to lock",
    [AMBIT__OP_UNLOCK] = "unlock",
    [AMBIT__OP_WAIT] = "wait",
    [AMBIT__OP_WAKE] = "wake",
    [AMBIT__OP_SLEEP] = "sleep",
    [AMBIT__OP_YIELD] = "yield",
    [AMBIT__OP_ALLOCATE] = "allocate",
    [AMBIT__OP_FREE] = "free",
    [AMBIT__OP_GRACE] = "grace period",
    [AMBIT__OP_CALL] = "call",
    [AMBIT__OP_READ_PLAIN] = "read",
    [AMBIT__OP_WRITE_PLAIN] = "write",
    [AMBIT__OP_CHOOSE] = "choose",
    [AMBIT__OP_NOTE] = "note",
};

/* pthread's functions are known well enough without their family's name. */
static const char *verb_of(const ambit__operation *row) {
    static const char family[] = "pthread_";
    if (!row->name) return row->kind < AMBIT__OP_KINDS ? verbs[row->kind] : "?";
    if (strcmp(row->name, "pthread_mutex_lock") == 0) return "lock";
    if (strcmp(row->name, "pthread_mutex_unlock") == 0) return "unlock";
    bool known = strncmp(row->name, family, sizeof family - 1) == 0;
    return known ? row->name + sizeof family - 1 : row->name;
}

static void add_atomic(const ambit__operation *row, char *text, size_t bytes) {
    add_object(row, text, bytes);
    switch (row->kind) {
    case AMBIT__OP_LOAD:
    case AMBIT__OP_STORE:
        add(text, bytes, " = ");
        break;
    case AMBIT__OP_COMPARE_EXCHANGE:
        if (row->failed) {
            add(text, bytes, " failed, is ");
            add_value(row, row->before, text, bytes);
            return;
        }
        /* fall through */
    case AMBIT__OP_EXCHANGE:
        add(text, bytes, " ");
        add_value(row, row->before, text, bytes);
        add(text, bytes, " -> ");
        break;
    default: /* a fence has no value; the barriers have but one order */
        if (row->kind == AMBIT__OP_FENCE || row->order != AMBIT__SEQ_CST)
            add(text, bytes, " %s", ambit__order_name(row->order));
        return;
    }
    add_value(row, row->value, text, bytes);
    if (row->order != AMBIT__RELAXED) add(text, bytes, " %s", ambit__order_name(row->order));
    if (row->stale) add(text, bytes, " (%u newer)", row->stale);
}

static void add_started(const ambit__operation *row, char *text, size_t bytes) {
    const char *name = ambit__function_name((const void *)(uintptr_t)row->value);
    if (name) add(text, bytes, " %s", name);
}

void ambit__row_text(const ambit__operation *row, char *text, size_t bytes) {
    (void)snprintf(text, bytes, "%s", verb_of(row));
    switch (row->kind) {
    case AMBIT__OP_START:
        add_started(row, text, bytes);
        break;
    case AMBIT__OP_LOAD:
    case AMBIT__OP_STORE:
    case AMBIT__OP_EXCHANGE:
    case AMBIT__OP_COMPARE_EXCHANGE:
    case AMBIT__OP_FENCE:
    case AMBIT__OP_LIGHT_BARRIER:
    case AMBIT__OP_HEAVY_BARRIER:
        add_atomic(row, text, bytes);
        break;
    case AMBIT__OP_SPAWN:
        if (!row->value) break; /* there was no place for it; nobody spawns the first one */
        /* fall through */
    case AMBIT__OP_JOIN:
        add(text, bytes, " thread %" PRIu64, row->value);
        break;
    case AMBIT__OP_EXIT:
    case AMBIT__OP_YIELD:
    case AMBIT__OP_GRACE:
        break;
    case AMBIT__OP_READ_PLAIN: /* what a write stores is not known when it is told */
        add_object(row, text, bytes);
        if (row->size > 8) return;
        add(text, bytes, " = ");
        add_value(row, row->value, text, bytes);
        return;
    case AMBIT__OP_NOTE:
        (void)snprintf(text, bytes, "\"%s\"", row->text);
        return;
    case AMBIT__OP_CHOOSE:
        add(text, bytes, " %" PRIu64, row->value);
        break;
    default:
        add_object(row, text, bytes);
    }
    if (row->kind != AMBIT__OP_COMPARE_EXCHANGE && row->failed) add(text, bytes, " failed");
    if (row->timed_out && row->kind != AMBIT__OP_SLEEP) add(text, bytes, ", timed out");
}
