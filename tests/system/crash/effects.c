/* Counts what a process does to files below a folder, and kills it just before the n-th time.

   Preloaded, so that the calls of Python and of SQLite are seen alike; they happen unchanged. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static long fatal = -1, count;
static int journal = -1, owner;

/* From here on: kills this process before its n-th effect below `folder`, 0 for never, and
   writes the name of each to `log`. Children that it starts are left alone. */
void effects_arm(const char *folder, long n, int log)
{
    snprintf(root, sizeof root, "%s/", folder);
    fatal = n, count = 0, journal = log, owner = getpid();
}

void effects_point(const char *what, const char *name)
{
    if (fatal < 0 || getpid() != owner)
        return;
    long now = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    if (now == fatal) {
        kill(owner, SIGKILL);
        for (;;)
            pause();
    }
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "%s %s\n", what, name);
    syscall(SYS_write, journal, line, size);
}

static void at_path(const char *what, const char *name)
{
    size_t size = strlen(root);
    if (fatal < 0 || !name || strncmp(name, root, size - 1))
        return;
    if (!name[size - 1])
        effects_point(what, ".");
    else if (name[size - 1] == '/')
        effects_point(what, name + size);
}

static void at_file(const char *what, int fd)
{
    char link[64], name[PATH_MAX];
    if (fatal < 0)
        return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, name, sizeof name - 1);
    if (size < 0)
        return;
    name[size] = 0;
    at_path(what, name);
}

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define OPEN(name) \
int name(const char *path, int flags, ...) \
{ \
    REAL(int, name, const char *, int, ...); \
    va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
    if ((flags & O_TRUNC) || ((flags & O_CREAT) && access(path, F_OK))) \
        at_path("create", path); \
    return real(path, flags, mode); \
}
OPEN(open)
OPEN(open64)

#define ON_FILE(type, name, what, parameters, arguments, ...) \
type name parameters { REAL(type, name, __VA_ARGS__); at_file(what, fd); return real arguments; }
#define ON_PATH(name, what, parameters, arguments, ...) \
int name parameters { REAL(int, name, __VA_ARGS__); at_path(what, path); return real arguments; }

ON_FILE(ssize_t, write, "write", (int fd, const void *b, size_t n), (fd, b, n), int, const void *, size_t)
ON_FILE(ssize_t, writev, "write", (int fd, const struct iovec *v, int n), (fd, v, n), int, const struct iovec *, int)
ON_FILE(ssize_t, pwrite, "write", (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), int, const void *, size_t, off_t)
ON_FILE(ssize_t, pwrite64, "write", (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), int, const void *, size_t, off64_t)
ON_FILE(int, fsync, "sync", (int fd), (fd), int)
ON_FILE(int, fdatasync, "sync", (int fd), (fd), int)
ON_FILE(int, ftruncate, "cut", (int fd, off_t n), (fd, n), int, off_t)
ON_FILE(int, ftruncate64, "cut", (int fd, off64_t n), (fd, n), int, off64_t)
ON_FILE(int, fchmod, "mode", (int fd, mode_t m), (fd, m), int, mode_t)
ON_FILE(int, fchown, "owner", (int fd, uid_t u, gid_t g), (fd, u, g), int, uid_t, gid_t)
ON_PATH(unlink, "unlink", (const char *path), (path), const char *)
ON_PATH(mkdir, "mkdir", (const char *path, mode_t m), (path, m), const char *, mode_t)
ON_PATH(chmod, "mode", (const char *path, mode_t m), (path, m), const char *, mode_t)
ON_PATH(chown, "owner", (const char *path, uid_t u, gid_t g), (path, u, g), const char *, uid_t, gid_t)

int rename(const char *old, const char *path)
{
    REAL(int, rename, const char *, const char *);
    at_path("rename", path);
    return real(old, path);
}

int link(const char *old, const char *path)
{
    REAL(int, link, const char *, const char *);
    at_path("link", path);
    return real(old, path);
}

int linkat(int from, const char *old, int to, const char *path, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    at_path("link", path);
    return real(from, old, to, path, flags);
}
