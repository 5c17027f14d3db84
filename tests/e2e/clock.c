/* A wall clock that can be set for one program: LD_PRELOAD it with SHIFT naming a file in which stand
 * the seconds that CLOCK_REALTIME is wrong by, read at each call. With NO_NETLINK there are no netlink
 * sockets, as under a sandbox. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, time);
    const char *path = getenv("SHIFT");
    if (result == 0 && clock == CLOCK_REALTIME && path) {
        char text[32] = "";
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) time->tv_sec += atoll(text);
            close(file);
        }
    }
    return result;
}

int socket(int family, int kind, int protocol) {
    static int (*real)(int, int, int);
    if (!real) real = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
    if (family == AF_NETLINK && getenv("NO_NETLINK")) {
        errno = EPERM;
        return -1;
    }
    return real(family, kind, protocol);
}
