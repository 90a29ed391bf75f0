/* malloc() and its family, as the program calls them.
 *
 * In a schedule they take from the arena. A pointer that is not of the arena is from before: the C
 * library's, or from a call of the library that allocates by itself (getline(), fopen()). Its block
 * is taken as freed, and is not, since the schedule's end puts everything back; what the library
 * allocated within the schedule is lost by this, a few bytes each time. Outside of schedules all is
 * as ever, and a pointer of the arena is one that `before` has left.
 *
 * None of these is a step: what they race with is known from clocks, whatever the order. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "schedule/heap.h"
#include "schedule/host.h"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void __real_free(void *memory);
void *__real_reallocarray(void *memory, size_t count, size_t bytes);
int __real_posix_memalign(void **memory, size_t alignment, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__real_memalign(size_t alignment, size_t bytes);
void *__real_valloc(size_t bytes);
void *__real_pvalloc(size_t bytes);
size_t __real_malloc_usable_size(void *memory);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t most);
int __real_vasprintf(char **text, const char *format, va_list arguments);

#define SITE __builtin_return_address(0)

static void tell(ambit__operation_kind kind, const char *name, const void *memory, size_t bytes,
                 const void *site) {
    if (__builtin_expect(!ambit__recording, 1)) return;
    ambit__operation row = {
        .kind = kind, .name = name, .address = memory, .value = bytes, .site = site};
    ambit__tell(&row);
}

static void *allocate(const char *name, size_t bytes, size_t alignment, bool zero,
                      const void *site) {
    void *memory = ambit__arena_allocate(bytes, alignment, zero, site);
    tell(AMBIT__OP_ALLOCATE, name, memory, bytes, site);
    return memory;
}

/* ---- What is from before --------------------------------------------------------------------- */

/* Of a variable: the addresses of programs and libraries, and of stacks. */
static bool is_no_heap(uintptr_t address) {
    for (unsigned i = 0; i < ambit__thread_count; i++) {
        uintptr_t low, high;
        ambit__host_bounds(i, &low, &high);
        if (address >= low && address < high) return true;
    }
    Dl_info info;
    return dladdr((const void *)address, &info) != 0;
}

static void free_older(void *memory, const void *site) {
    const void *first_site = NULL;
    if (ambit__shadow_was_freed((uintptr_t)memory, &first_site))
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, first_site, "memory is freed once more");
    ambit__found.address = memory;
    if ((uintptr_t)memory % 16 || is_no_heap((uintptr_t)memory))
        ambit__fail(AMBIT_SCHEDULE_MISUSE, site, NULL, "free of what malloc() has not given");
    ambit__found.address = NULL;
    ambit__shadow_freed((uintptr_t)memory, __real_malloc_usable_size(memory), site);
}

static void release(const char *name, void *memory, const void *site) {
    if (!memory) return;
    if (!ambit__self && !ambit__arena_owns((uintptr_t)memory)) {
        __real_free(memory);
        return;
    }
    if (ambit__self) tell(AMBIT__OP_FREE, name, memory, ambit__arena_bytes(memory), site);
    if (ambit__arena_owns((uintptr_t)memory))
        ambit__arena_free(memory, site);
    else
        free_older(memory, site);
}

static size_t bytes_of(void *memory) {
    return ambit__arena_owns((uintptr_t)memory) ? ambit__arena_bytes(memory)
                                                : __real_malloc_usable_size(memory);
}

/* ---- The calls ------------------------------------------------------------------------------- */

void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes) {
    return ambit__self ? allocate("malloc", bytes, 0, false, SITE) : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes) {
    size_t all;
    if (!ambit__self || __builtin_mul_overflow(count, bytes, &all))
        return __real_calloc(count, bytes);
    return allocate("calloc", all, 0, true, SITE);
}

void __wrap_free(void *memory);
void __wrap_free(void *memory) { release("free", memory, SITE); }

/* Always to another place: who keeps the old pointer is found. */
static void *resize(const char *name, void *memory, size_t bytes, const void *site) {
    if (!ambit__self && !ambit__arena_owns((uintptr_t)memory)) return __real_realloc(memory, bytes);
    if (!memory) return allocate(name, bytes, 0, false, site);
    if (!bytes) {
        release(name, memory, site);
        return NULL;
    }
    size_t old = bytes_of(memory), kept = old < bytes ? old : bytes;
    void *moved = ambit__self ? ambit__arena_allocate(bytes, 0, false, site) : __real_malloc(bytes);
    if (!moved) return NULL;
    if (ambit__self) {
        ambit__shadow_copy((uintptr_t)memory, kept, false, site);
        ambit__shadow_copy((uintptr_t)moved, kept, true, site);
        tell(AMBIT__OP_ALLOCATE, name, moved, bytes, site);
    }
    memcpy(moved, memory, kept);
    release(name, memory, site);
    return moved;
}

void *__wrap_realloc(void *memory, size_t bytes);
void *__wrap_realloc(void *memory, size_t bytes) { return resize("realloc", memory, bytes, SITE); }

void *__wrap_reallocarray(void *memory, size_t count, size_t bytes);
void *__wrap_reallocarray(void *memory, size_t count, size_t bytes) {
    size_t all;
    if (__builtin_mul_overflow(count, bytes, &all)) {
        errno = ENOMEM;
        return NULL;
    }
    return resize("reallocarray", memory, all, SITE);
}

static bool is_power_of_two(size_t number) { return number && !(number & (number - 1)); }

int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t bytes) {
    if (!ambit__self) return __real_posix_memalign(memory, alignment, bytes);
    if (!is_power_of_two(alignment) || alignment % sizeof(void *)) return EINVAL;
    void *given = allocate("posix_memalign", bytes, alignment, false, SITE);
    ambit__shadow_access((uintptr_t)memory, sizeof *memory, true, false, SITE);
    *memory = given;
    return 0;
}

static void *aligned(const char *name, size_t alignment, size_t bytes, const void *site) {
    if (is_power_of_two(alignment)) return allocate(name, bytes, alignment, false, site);
    errno = EINVAL;
    return NULL;
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return ambit__self ? aligned("aligned_alloc", alignment, bytes, SITE)
                       : __real_aligned_alloc(alignment, bytes);
}

void *__wrap_memalign(size_t alignment, size_t bytes);
void *__wrap_memalign(size_t alignment, size_t bytes) {
    return ambit__self ? aligned("memalign", alignment, bytes, SITE)
                       : __real_memalign(alignment, bytes);
}

void *__wrap_valloc(size_t bytes);
void *__wrap_valloc(size_t bytes) {
    return ambit__self ? aligned("valloc", 4096, bytes, SITE) : __real_valloc(bytes);
}

void *__wrap_pvalloc(size_t bytes);
void *__wrap_pvalloc(size_t bytes) {
    return ambit__self ? aligned("pvalloc", 4096, (bytes + 4095) & ~(size_t)4095, SITE)
                       : __real_pvalloc(bytes);
}

size_t __wrap_malloc_usable_size(void *memory);
size_t __wrap_malloc_usable_size(void *memory) { return memory ? bytes_of(memory) : 0; }

/* ---- Strings --------------------------------------------------------------------------------- */

static char *duplicate(const char *name, const char *text, size_t length, const void *site) {
    char *copy = allocate(name, length + 1, 0, false, site);
    ambit__shadow_access((uintptr_t)copy, length + 1, true, false, site);
    memcpy(copy, text, length);
    copy[length] = 0;
    return copy;
}

char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text) {
    if (!ambit__self) return __real_strdup(text);
    size_t length = strlen(text);
    ambit__shadow_access((uintptr_t)text, length + 1, false, false, SITE);
    return duplicate("strdup", text, length, SITE);
}

char *__wrap_strndup(const char *text, size_t most);
char *__wrap_strndup(const char *text, size_t most) {
    if (!ambit__self) return __real_strndup(text, most);
    size_t length = strnlen(text, most);
    ambit__shadow_access((uintptr_t)text, length + (length < most), false, false, SITE);
    return duplicate("strndup", text, length, SITE);
}

static int print(const char *name, char **text, const char *format, va_list arguments,
                 const void *site) {
    if (!ambit__self) return __real_vasprintf(text, format, arguments);
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (length < 0) return length;
    size_t bytes = (size_t)length + 1;
    char *made = allocate(name, bytes, 0, false, site);
    ambit__shadow_access((uintptr_t)made, bytes, true, false, site);
    (void)vsnprintf(made, bytes, format, arguments);
    ambit__shadow_access((uintptr_t)text, sizeof *text, true, false, site);
    *text = made;
    return length;
}

int __wrap_vasprintf(char **text, const char *format, va_list arguments);
int __wrap_vasprintf(char **text, const char *format, va_list arguments) {
    return print("vasprintf", text, format, arguments, SITE);
}

int __wrap_asprintf(char **text, const char *format, ...);
int __wrap_asprintf(char **text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = print("asprintf", text, format, arguments, SITE);
    va_end(arguments);
    return length;
}
