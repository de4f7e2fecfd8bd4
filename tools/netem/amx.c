/*
 * Makes User-mode Linux 6.1 run on processors with AMX, whose register state is larger than it supports. Loaded by
 * LD_PRELOAD.
 *
 * User-mode Linux reads and writes the registers of its processes with ptrace, in a buffer of 2696 bytes. A host kernel
 * with a larger register state rejects the write ("ptrace set fp regs failed, errno = 14"). This library truncates the
 * state when it is read, and writes the remainder as "in its initial state". Programs in User-mode Linux cannot use AMX,
 * because its use requires a request to the host kernel.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSTATE_BV 512 /* offset of the bit map of components that are in use, in the XSAVE area */
#define AMX ((uint64_t)3 << 17)

static long (*real_ptrace)(enum __ptrace_request, ...);

/* Static, because the stacks of User-mode Linux are small. Only one of its threads calls ptrace. */
static unsigned char area[64 * 1024];

__attribute__((constructor)) static void find_real_ptrace(void)
{
    real_ptrace = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
}

static void mark_amx_unused(void)
{
    uint64_t components;
    memcpy(&components, area + XSTATE_BV, sizeof components);
    components &= ~AMX;
    memcpy(area + XSTATE_BV, &components, sizeof components);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *process = va_arg(rest, void *);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    struct iovec *requested = data;
    struct iovec complete = { area, sizeof area };
    if ((uintptr_t)address != NT_X86_XSTATE || requested->iov_len > sizeof area)
        return real_ptrace(request, process, address, data);
    if (request == PTRACE_GETREGSET) {
        long result = real_ptrace(request, process, address, &complete);
        if (result == 0) {
            mark_amx_unused();
            if (requested->iov_len > complete.iov_len)
                requested->iov_len = complete.iov_len;
            memcpy(requested->iov_base, area, requested->iov_len);
        }
        return result;
    }
    if (request == PTRACE_SETREGSET) {
        memset(area, 0, sizeof area);
        memcpy(area, requested->iov_base, requested->iov_len);
        mark_amx_unused();
        return real_ptrace(request, process, address, &complete);
    }
    return real_ptrace(request, process, address, data);
}
