#define _GNU_SOURCE
#include "census/mapping.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum { PAGE_BYTES = 4096, SPARE = 16 }; /* for what is loaded between counting and taking */

static bool is_code(const ElfW(Phdr) * header) {
    return header->p_type == PT_LOAD && header->p_flags & PF_X;
}

static int count_code(struct dl_phdr_info *info, size_t size, void *argument) {
    size_t *count = argument;
    (void)size;
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++)
        if (is_code(&info->dlpi_phdr[i])) ++*count;
    return 0;
}

/* In a segment of notes, by the ELF specification: name and descriptor padded to four bytes each. */
static void find_build_id(const unsigned char *notes, size_t bytes, char *out, size_t out_bytes) {
    while (bytes >= sizeof(ElfW(Nhdr))) {
        ElfW(Nhdr) note;
        memcpy(&note, notes, sizeof note);
        size_t name = sizeof note, id = name + ((note.n_namesz + 3u) & ~3u);
        size_t end = id + ((note.n_descsz + 3u) & ~3u);
        if (end > bytes) return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 &&
            !memcmp(notes + name, "GNU", 4) && note.n_descsz <= (out_bytes - 1) / 2) {
            for (size_t i = 0; i < note.n_descsz; i++)
                (void)snprintf(out + 2 * i, 3, "%02x", notes[id + i]);
            return;
        }
        notes += end;
        bytes -= end;
    }
}

static bool is_loaded(const struct dl_phdr_info *info, const ElfW(Phdr) * part) {
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && header->p_flags & PF_R &&
            part->p_vaddr >= header->p_vaddr &&
            part->p_vaddr + part->p_memsz <= header->p_vaddr + header->p_filesz)
            return true;
    }
    return false;
}

static void describe(const struct dl_phdr_info *info, bool is_program, ambit__mapping *out) {
    out->path[0] = out->build_id[0] = 0;
    if (is_program) {
        ssize_t length = readlink("/proc/self/exe", out->path, sizeof out->path - 1);
        out->path[length > 0 ? length : 0] = 0;
    } else {
        (void)snprintf(out->path, sizeof out->path, "%s", info->dlpi_name);
    }
    for (ElfW(Half) i = 0; i < info->dlpi_phnum && !out->build_id[0]; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t at = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_NOTE && is_loaded(info, header))
            find_build_id((const unsigned char *)at, header->p_memsz, out->build_id,
                          sizeof out->build_id);
    }
}

/* Under the dynamic linker's lock, so nothing is allocated here. */
static int take_code(struct dl_phdr_info *info, size_t size, void *argument) {
    ambit__mappings *mappings = argument;
    bool is_program = !mappings->used; /* it is the first */
    (void)size;
    for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (!is_code(header) || mappings->used == mappings->capacity) continue;
        ambit__mapping *out = &mappings->items[mappings->used++];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        out->bias = info->dlpi_addr;
        out->start = start & ~(uintptr_t)(PAGE_BYTES - 1);
        out->limit = (start + header->p_memsz + PAGE_BYTES - 1) & ~(uintptr_t)(PAGE_BYTES - 1);
        out->offset = header->p_offset & ~(uintptr_t)(PAGE_BYTES - 1);
        describe(info, is_program, out);
    }
    return 0;
}

bool ambit__mappings_take(ambit__mappings *out) {
    size_t count = SPARE;
    (void)dl_iterate_phdr(count_code, &count);
    *out = (ambit__mappings){NULL, 0, count};
    out->items = ambit__allocate(count * sizeof *out->items, _Alignof(ambit__mapping));
    if (out->items) (void)dl_iterate_phdr(take_code, out);
    return out->items != NULL;
}

void ambit__mappings_discard(ambit__mappings *mappings) {
    ambit__release(mappings->items, mappings->capacity * sizeof *mappings->items,
                   _Alignof(ambit__mapping));
}

const ambit__mapping *ambit__mapping_of(const ambit__mappings *mappings, uintptr_t address) {
    for (size_t i = 0; i < mappings->used; i++)
        if (address >= mappings->items[i].start && address < mappings->items[i].limit)
            return &mappings->items[i];
    return NULL;
}

const char *ambit__symbol_of(uintptr_t address) {
    Dl_info info;
    return dladdr((void *)address, &info) ? info.dli_sname : NULL;
}
