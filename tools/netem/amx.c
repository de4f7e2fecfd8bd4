/*
 * Lets a 6.1 User-mode Linux run on processors whose register file is larger than it knows (those with AMX): loaded
 * before it with LD_PRELOAD.
 *
 * It reads and writes its processes' registers with ptrace, in a buffer of 2696 bytes. A host kernel with more
 * registers than that refuses the write ("ptrace set fp regs failed, errno = 14"). So the rest is cut off when
 * reading, and given as "in its initial state" when writing; nothing inside can use AMX, as it has to be asked for.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSTATE_BV 512 /* where the XSAVE area says which of its parts hold something */
#define AMX ((uint64_t)3 << 17)

static long (*real_ptrace)(enum __ptrace_request, ...);

/* Static: the stacks of User-mode Linux are small, and only one of its threads traces. */
static unsigned char area[64 * 1024];

__attribute__((constructor)) static void find_real_ptrace(void)
{
    real_ptrace = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
}

static void forget_amx(void)
{
    uint64_t parts;
    memcpy(&parts, area + XSTATE_BV, sizeof parts);
    parts &= ~AMX;
    memcpy(area + XSTATE_BV, &parts, sizeof parts);
}

long ptrace(enum __ptrace_request request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *process = va_arg(rest, void *);
    void *address = va_arg(rest, void *);
    void *data = va_arg(rest, void *);
    va_end(rest);

    struct iovec *given = data;
    struct iovec whole = { area, sizeof area };
    if ((uintptr_t)address != NT_X86_XSTATE || given->iov_len > sizeof area)
        return real_ptrace(request, process, address, data);
    if (request == PTRACE_GETREGSET) {
        long result = real_ptrace(request, process, address, &whole);
        if (result == 0) {
            forget_amx();
            if (given->iov_len > whole.iov_len)
                given->iov_len = whole.iov_len;
            memcpy(given->iov_base, area, given->iov_len);
        }
        return result;
    }
    if (request == PTRACE_SETREGSET) {
        memset(area, 0, sizeof area);
        memcpy(area, given->iov_base, given->iov_len);
        forget_amx();
        return real_ptrace(request, process, address, &whole);
    }
    return real_ptrace(request, process, address, data);
}
