/*
 * plugin/module_load.c: one shared object into the process.
 *
 * The ELF header is looked at first: dlopen() would report a text file in words nobody understands and dies of SIGBUS
 * in a file whose end is missing. Symbols are resolved at once (RTLD_NOW) and stay private (RTLD_LOCAL); handles are
 * never closed, because threads and exit handlers of vendor libraries outlive the code that started them.
 */
#include "plugin/loader.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#elif defined(__riscv)
#define HOST_MACHINE EM_RISCV
#else
#define HOST_MACHINE EM_NONE    /* left to dlopen() */
#endif

#define MAX_STRUCT_SIZE 4096

static int check_machine(const Elf64_Ehdr *h, struct bk_error *err)
{
    if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0)
        return bk_fail(err, BK_EPLUGIN, "is not a shared object (no ELF header)");
    if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB)
        return bk_fail(err, BK_EPLUGIN, "is no 64-bit little-endian shared object");
    if (HOST_MACHINE != EM_NONE && h->e_machine != HOST_MACHINE)
        return bk_fail(err, BK_EPLUGIN, "is built for another machine (ELF machine %u, this one is %u)",
                       (unsigned)h->e_machine, (unsigned)HOST_MACHINE);
    if (h->e_type != ET_DYN || h->e_phentsize != sizeof(Elf64_Phdr))
        return bk_fail(err, BK_EPLUGIN, "is an ELF file but no shared object");
    return BK_OK;
}

/* Every loaded segment must lie within the file. */
static int check_segments(int fd, const Elf64_Ehdr *h, uint64_t size, struct bk_error *err)
{
    for (unsigned i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr p;
        off_t at = (off_t)(h->e_phoff + (uint64_t)i * sizeof p);
        bool cut = pread(fd, &p, sizeof p, at) != (ssize_t)sizeof p;
        if (!cut && p.p_type == PT_LOAD)
            cut = p.p_offset > size || p.p_filesz > size - p.p_offset;
        if (cut)
            return bk_fail(err, BK_EPLUGIN, "is truncated (%llu bytes are not all of it)",
                           (unsigned long long)size);
    }
    return BK_OK;
}

static int check_elf(const char *path, struct bk_error *err)
{
    Elf64_Ehdr h = { .e_type = 0 };
    struct stat st;
    int rc = BK_OK, fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return bk_fail_errno(err, BK_EPLUGIN, "cannot be opened");
    ssize_t n = read(fd, &h, sizeof h);
    if (n < 0 || fstat(fd, &st) != 0)
        rc = bk_fail_errno(err, BK_EPLUGIN, "cannot be read");
    else if (n < (ssize_t)sizeof h && (n < SELFMAG || memcmp(h.e_ident, ELFMAG, SELFMAG) == 0))
        rc = bk_fail(err, BK_EPLUGIN, "is truncated (%lld bytes are not all of it)",
                     (long long)st.st_size);
    else
        rc = check_machine(&h, err);
    if (rc == BK_OK)
        rc = check_segments(fd, &h, (uint64_t)st.st_size, err);
    close(fd);
    return rc;
}

static int check_module(const struct bk_module *m, struct bk_error *err)
{
    if (m->struct_size < sizeof *m || m->struct_size > MAX_STRUCT_SIZE)
        return bk_fail(err, BK_EPLUGIN, "bk_module has struct_size %u, wanted %zu..%d",
                       (unsigned)m->struct_size, sizeof *m, MAX_STRUCT_SIZE);
    if (m->abi_major != BK_ABI_MAJOR)
        return bk_fail(err, BK_EPLUGIN, "is built for ABI %u.%u, this bosskit offers %u.%u; rebuild the "
                       "plugin or use a bosskit of that ABI (built with: %s)", m->abi_major, m->abi_minor,
                       BK_ABI_MAJOR, BK_ABI_MINOR, m->built_with ? m->built_with : "unknown");
    if (!m->plugins || !m->plugins[0])
        return bk_fail(err, BK_EPLUGIN, "bk_module lists no plugin");
    return BK_OK;
}

/* dlerror() begins with the path, which the caller's sentence has already. */
static const char *loader_reason(const char *path)
{
    const char *text = dlerror();
    size_t n = strlen(path);

    if (!text)
        return "unknown reason";
    if (strncmp(text, path, n) == 0 && strncmp(text + n, ": ", 2) == 0)
        text += n + 2;
    return text;
}

int bk__module_load(const char *path, const struct bk_module **out, struct bk_error *err)
{
    BK_TRY(check_elf(path, err));
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return bk_fail(err, BK_EPLUGIN, "cannot be loaded: %s", loader_reason(path));
    const struct bk_module *m = dlsym(handle, "bk_module");
    if (!m)
        return bk_fail(err, BK_EPLUGIN, "exports no symbol bk_module, it is no bosskit plugin");
    BK_TRY(check_module(m, err));
    *out = m;
    return BK_OK;
}
