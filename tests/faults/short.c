/* Short transfers for the spool: every third pwrite moves one byte, every third half of what was
 * asked, and now and then one is interrupted before it moved any. Preloaded by sweep.py, since a
 * tracer can only pretend that bytes were written. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <unistd.h>

static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static unsigned calls;

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    calls++;
    if (calls % 7 == 0) { errno = EINTR; return -1; }
    if (count > 1 && calls % 3 == 0) count = 1;
    else if (count > 1 && calls % 3 == 1) count /= 2;
    return real_pwrite(fd, bytes, count, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }
