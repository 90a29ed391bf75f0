/* Memory and strings: what the C library reads and writes for the program.
 *
 * The compiler's calls do not reach into the C library, and compilers make memcpy() and memset() of
 * plain code; so these say themselves what they touch, before they do. A string's end is looked for
 * first, without being told, since how much is touched depends on it.
 *
 * These stand in the place of the runtime's own calls as well, where they would check, and write
 * down, the runtime's memory in the middle of a check; and most of those calls stand in no source,
 * since compilers make them of assignments of structs and of loops. No flag could tell them apart
 * cheaply. So the library's objects are changed when it is built: what refers to memcpy there
 * refers to __real_memcpy afterwards, which the linker makes the real one
 * (cmake/schedule_seal.cmake). For this file that makes no difference. */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>

#include "schedule/inside.h"

void *__real_memchr(const void *memory, int byte, size_t bytes);
int __real_memcmp(const void *one, const void *other, size_t bytes);
void *__real_memcpy(void *to, const void *from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);
void *__real_memset(void *memory, int byte, size_t bytes);
char *__real_stpcpy(char *to, const char *from);
char *__real_strcat(char *to, const char *from);
char *__real_strchr(const char *text, int letter);
int __real_strcmp(const char *one, const char *other);
char *__real_strcpy(char *to, const char *from);
size_t __real_strlen(const char *text);
char *__real_strncat(char *to, const char *from, size_t most);
int __real_strncmp(const char *one, const char *other, size_t most);
char *__real_strncpy(char *to, const char *from, size_t bytes);
size_t __real_strnlen(const char *text, size_t most);
char *__real_strrchr(const char *text, int letter);
char *__real_strstr(const char *text, const char *part);
int __real_vsnprintf(char *text, size_t room, const char *format, va_list arguments);

#define SITE __builtin_return_address(0)

static void tell(const void *memory, size_t bytes, bool writes, const char *name,
                 const void *site) {
    if (__builtin_expect(!ambit__recording, 1) || !bytes) return;
    ambit__operation row = {.kind = writes ? AMBIT__OP_WRITE_PLAIN : AMBIT__OP_READ_PLAIN,
                            .name = name,
                            .address = memory,
                            .size = (uint8_t)(bytes < 255 ? bytes : 255),
                            .site = site};
    ambit__tell(&row);
}

static void reads(const void *memory, size_t bytes, const char *name, const void *site) {
    tell(memory, bytes, false, name, site);
    ambit__shadow_access((uintptr_t)memory, bytes, false, false, site);
}

static void writes(const void *memory, size_t bytes, const char *name, const void *site) {
    tell(memory, bytes, true, name, site);
    ambit__shadow_access((uintptr_t)memory, bytes, true, false, site);
}

/* Bytes that nobody wrote may be among those that are copied. */
static void copies(void *to, const void *from, size_t bytes, const char *name, const void *site) {
    tell(from, bytes, false, name, site);
    ambit__shadow_copy((uintptr_t)from, bytes, false, site);
    writes(to, bytes, name, site);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

void *__wrap_memcpy(void *to, const void *from, size_t bytes);
void *__wrap_memcpy(void *to, const void *from, size_t bytes) {
    if (ambit__self) copies(to, from, bytes, "memcpy", SITE);
    return __real_memcpy(to, from, bytes);
}

void *__wrap_memmove(void *to, const void *from, size_t bytes);
void *__wrap_memmove(void *to, const void *from, size_t bytes) {
    if (ambit__self) copies(to, from, bytes, "memmove", SITE);
    return __real_memmove(to, from, bytes);
}

void *__wrap_memset(void *memory, int byte, size_t bytes);
void *__wrap_memset(void *memory, int byte, size_t bytes) {
    if (ambit__self) writes(memory, bytes, "memset", SITE);
    return __real_memset(memory, byte, bytes);
}

/* C lets it read all, whatever it finds. */
int __wrap_memcmp(const void *one, const void *other, size_t bytes);
int __wrap_memcmp(const void *one, const void *other, size_t bytes) {
    if (ambit__self) {
        reads(one, bytes, "memcmp", SITE);
        reads(other, bytes, "memcmp", SITE);
    }
    return __real_memcmp(one, other, bytes);
}

void *__wrap_memchr(const void *memory, int byte, size_t bytes);
void *__wrap_memchr(const void *memory, int byte, size_t bytes) {
    void *found = __real_memchr(memory, byte, bytes);
    if (ambit__self)
        reads(memory, found ? (size_t)((char *)found - (const char *)memory) + 1 : bytes, "memchr",
              SITE);
    return found;
}

/* ---- Strings that are read ------------------------------------------------------------------- */

size_t __wrap_strlen(const char *text);
size_t __wrap_strlen(const char *text) {
    size_t length = __real_strlen(text);
    if (ambit__self) reads(text, length + 1, "strlen", SITE);
    return length;
}

size_t __wrap_strnlen(const char *text, size_t most);
size_t __wrap_strnlen(const char *text, size_t most) {
    size_t length = __real_strnlen(text, most);
    if (ambit__self) reads(text, length + (length < most), "strnlen", SITE);
    return length;
}

static void compares(const char *one, const char *other, size_t most, const char *name,
                     const void *site) {
    size_t same = 0;
    while (same < most && one[same] == other[same] && one[same]) same++;
    if (same < most) same++;
    reads(one, same, name, site);
    reads(other, same, name, site);
}

int __wrap_strcmp(const char *one, const char *other);
int __wrap_strcmp(const char *one, const char *other) {
    if (ambit__self) compares(one, other, SIZE_MAX, "strcmp", SITE);
    return __real_strcmp(one, other);
}

int __wrap_strncmp(const char *one, const char *other, size_t most);
int __wrap_strncmp(const char *one, const char *other, size_t most) {
    if (ambit__self) compares(one, other, most, "strncmp", SITE);
    return __real_strncmp(one, other, most);
}

char *__wrap_strchr(const char *text, int letter);
char *__wrap_strchr(const char *text, int letter) {
    char *found = __real_strchr(text, letter);
    if (ambit__self)
        reads(text, (found ? (size_t)(found - text) : __real_strlen(text)) + 1, "strchr", SITE);
    return found;
}

char *__wrap_strrchr(const char *text, int letter);
char *__wrap_strrchr(const char *text, int letter) {
    if (ambit__self) reads(text, __real_strlen(text) + 1, "strrchr", SITE);
    return __real_strrchr(text, letter);
}

char *__wrap_strstr(const char *text, const char *part);
char *__wrap_strstr(const char *text, const char *part) {
    char *found = __real_strstr(text, part);
    if (!ambit__self) return found;
    size_t length = __real_strlen(part);
    reads(part, length + 1, "strstr", SITE);
    reads(text, found ? (size_t)(found - text) + length : __real_strlen(text) + 1, "strstr", SITE);
    return found;
}

/* ---- Strings that are written ---------------------------------------------------------------- */

char *__wrap_strcpy(char *to, const char *from);
char *__wrap_strcpy(char *to, const char *from) {
    if (ambit__self) copies(to, from, __real_strlen(from) + 1, "strcpy", SITE);
    return __real_strcpy(to, from);
}

char *__wrap_stpcpy(char *to, const char *from);
char *__wrap_stpcpy(char *to, const char *from) {
    if (ambit__self) copies(to, from, __real_strlen(from) + 1, "stpcpy", SITE);
    return __real_stpcpy(to, from);
}

char *__wrap_strncpy(char *to, const char *from, size_t bytes);
char *__wrap_strncpy(char *to, const char *from, size_t bytes) {
    if (ambit__self) {
        size_t length = __real_strnlen(from, bytes);
        reads(from, length + (length < bytes), "strncpy", SITE);
        writes(to, bytes, "strncpy", SITE);
    }
    return __real_strncpy(to, from, bytes);
}

static void appends(char *to, const char *from, size_t most, const char *name, const void *site) {
    size_t before = __real_strlen(to), length = __real_strnlen(from, most);
    reads(to, before + 1, name, site);
    reads(from, length + (length < most), name, site);
    writes(to + before, length + 1, name, site);
}

char *__wrap_strcat(char *to, const char *from);
char *__wrap_strcat(char *to, const char *from) {
    if (ambit__self) appends(to, from, SIZE_MAX, "strcat", SITE);
    return __real_strcat(to, from);
}

char *__wrap_strncat(char *to, const char *from, size_t most);
char *__wrap_strncat(char *to, const char *from, size_t most) {
    if (ambit__self) appends(to, from, most, "strncat", SITE);
    return __real_strncat(to, from, most);
}

/* Printed twice: what is to be written is known by its length only. */
static void prints(char *text, size_t room, const char *format, va_list arguments, const char *name,
                   const void *site) {
    if (!ambit__self || !room) return;
    int length = __real_vsnprintf(NULL, 0, format, arguments);
    if (length < 0) return;
    size_t bytes = (size_t)length + 1;
    writes(text, bytes < room ? bytes : room, name, site);
}

int __wrap_vsnprintf(char *text, size_t room, const char *format, va_list arguments);
int __wrap_vsnprintf(char *text, size_t room, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    prints(text, room, format, again, "vsnprintf", SITE);
    va_end(again);
    return __real_vsnprintf(text, room, format, arguments);
}

int __wrap_snprintf(char *text, size_t room, const char *format, ...);
int __wrap_snprintf(char *text, size_t room, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    prints(text, room, format, arguments, "snprintf", SITE);
    va_end(arguments);
    va_start(arguments, format);
    int length = __real_vsnprintf(text, room, format, arguments);
    va_end(arguments);
    return length;
}

int __wrap_vsprintf(char *text, const char *format, va_list arguments);
int __wrap_vsprintf(char *text, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    prints(text, INT32_MAX, format, again, "vsprintf", SITE);
    va_end(again);
    return __real_vsnprintf(text, INT32_MAX, format, arguments);
}

int __wrap_sprintf(char *text, const char *format, ...);
int __wrap_sprintf(char *text, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    prints(text, INT32_MAX, format, arguments, "sprintf", SITE);
    va_end(arguments);
    va_start(arguments, format);
    int length = __real_vsnprintf(text, INT32_MAX, format, arguments);
    va_end(arguments);
    return length;
}
