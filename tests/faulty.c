// Loaded into the program before the C library (LD_PRELOAD), this makes disks and clocks fail on request. It counts the
// calls that change files, and FAULT says what happens, as KIND:N:
//   kill:N    the process is killed instead of the Nth such call, after half of it if it writes
//   full:N    from the Nth such call on, nothing can be created or written: no space is left
//   sync:N    the Nth time that something is synced to the disk fails
//   clock:0   clocks jump forward and back by years with every look
// At the end the counts are printed to standard error: "faults: CALLS calls, SYNCS syncs".
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static enum { NOTHING, KILL, FULL, SYNC, CLOCK } kind;
static long when;
static atomic_long calls, syncs, looks;

__attribute__((constructor)) static void start(void) {
    const char *fault = getenv("FAULT");
    const char *colon = fault ? strchr(fault, ':') : NULL;
    if (!colon) return;
    when = atol(colon + 1);
    if (!strncmp(fault, "kill:", 5)) kind = KILL;
    if (!strncmp(fault, "full:", 5)) kind = FULL;
    if (!strncmp(fault, "sync:", 5)) kind = SYNC;
    if (!strncmp(fault, "clock:", 6)) kind = CLOCK;
}

__attribute__((destructor)) static void end(void) {
    if (getenv("FAULT")) dprintf(2, "faults: %ld calls, %ld syncs\n", calls, syncs);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void die(void) { kill(getpid(), SIGKILL); }

// Counts a call. Returns whether it must fail for lack of space.
static int count(int needs_space) {
    long n = ++calls;
    if (kind == KILL && n == when) die();
    if (kind == FULL && n >= when && needs_space) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

static int is_file(int fd) {
    struct stat found;
    return fd > 2 && !fstat(fd, &found) && S_ISREG(found.st_mode);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*real)(int, const void *, size_t) = REAL(write);
    if (!is_file(fd)) return real(fd, bytes, size);
    if (kind == KILL && calls + 1 == when) real(fd, bytes, size / 2);
    return count(1) ? -1 : real(fd, bytes, size);
}

static int sync_fails(void) {
    if (count(0)) return 1;
    if (++syncs == when && kind == SYNC) {
        errno = EIO;
        return 1;
    }
    return 0;
}

int fsync(int fd) { return sync_fails() ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return sync_fails() ? -1 : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) { return count(0) ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return count(1) ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char *path) { return count(0) ? -1 : REAL(unlink)(path); }
int rmdir(const char *path) { return count(0) ? -1 : REAL(rmdir)(path); }
int unlinkat(int at, const char *path, int flags) { return count(0) ? -1 : REAL(unlinkat)(at, path, flags); }

#define OPEN(name)                                               \
    int name(const char *path, int flags, ...) {                 \
        va_list rest;                                            \
        va_start(rest, flags);                                   \
        mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                            \
        if (flags & O_CREAT && count(1)) return -1;              \
        return REAL(name)(path, flags, mode);                    \
    }
OPEN(open)
OPEN(open64)

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = REAL(clock_gettime)(clock, now);
    if (kind == CLOCK) {
        long look = ++looks;
        now->tv_sec += (look % 2 ? 1 : -1) * (look % 7) * 31557600L * 3;
        if (now->tv_sec < 0 && clock != CLOCK_REALTIME) now->tv_sec = 0;
    }
    return result;
}
