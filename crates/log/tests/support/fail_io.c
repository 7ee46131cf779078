/* Fails the Nth input or output of a process on the files under one directory.
 *
 * Loaded by LD_PRELOAD, so that the real SQLite and the real standard library meet
 * the fault. What is counted: open, write, pwrite, fsync, fdatasync, ftruncate,
 * rename and unlink. From the environment:
 *
 *   HEADWATER_FAIL_UNDER  the directory
 *   HEADWATER_FAIL_AT     N, from 1; 0 fails nothing
 *   HEADWATER_FAIL_HOW    eio     this one fails
 *                         enospc  this one fails; only what needs space counts
 *                         short   a write writes half, and the next one fails with ENOSPC
 *                         dead    this one and all after it fail
 *   HEADWATER_FAIL_COUNT  a file that gets the count when the process ends
 *
 * When the fault fires, `> fault <what> <file>` is written to stderr.
 *
 * A sync that fails takes back what was written to the file since the last one
 * that succeeded, as a system does that drops the pages it could not write: who
 * goes on as if they were there finds out.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum how { EIO_ONCE, ENOSPC_ONCE, SHORT_WRITE, DEAD };

static char under[4096];
static size_t under_len;
static long fail_at;
static enum how how;
static atomic_long calls;
static atomic_int has_fired, next_write_fails;

__attribute__((constructor)) static void begin(void) {
    const char *directory = getenv("HEADWATER_FAIL_UNDER");
    const char *at = getenv("HEADWATER_FAIL_AT"), *what = getenv("HEADWATER_FAIL_HOW");
    if (!directory || !realpath(directory, under)) return;
    under_len = strlen(under);
    fail_at = at ? atol(at) : 0;
    how = !what ? EIO_ONCE
        : !strcmp(what, "enospc") ? ENOSPC_ONCE
        : !strcmp(what, "short") ? SHORT_WRITE
        : !strcmp(what, "dead") ? DEAD : EIO_ONCE;
}

__attribute__((destructor)) static void end(void) {
    const char *path = getenv("HEADWATER_FAIL_COUNT");
    /* A parent that only started the process has nothing to say. */
    FILE *file = path && atomic_load(&calls) ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%ld", atomic_load(&calls));
    fclose(file);
}

static int is_under(const char *path) {
    return under_len && !strncmp(path, under, under_len) && path[under_len] == '/';
}

/* The error to fail with, or 0. */
static int fault(const char *what, const char *path, int needs_space) {
    int is_write = !strcmp(what, "write");
    if (is_write && atomic_exchange(&next_write_fails, 0)) return ENOSPC;
    if (how == ENOSPC_ONCE && !needs_space) return 0;
    if (how == SHORT_WRITE && !is_write) return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (!fail_at || number < fail_at || (number > fail_at && how != DEAD)) return 0;
    if (!atomic_exchange(&has_fired, 1)) {
        char line[4400];
        int length = snprintf(line, sizeof line, "> fault %s %s\n", what, path + under_len + 1);
        static ssize_t (*real)(int, const void *, size_t);
        if (!real) real = dlsym(RTLD_NEXT, "write");
        if (real(2, line, length) < 0) return EIO;
    }
    return how == EIO_ONCE || how == DEAD ? EIO : ENOSPC;
}

static int fault_fd(const char *what, int fd, int needs_space) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_under(path) ? fault(what, path, needs_space) : 0;
}

static int fault_path(const char *what, const char *path, int needs_space) {
    char absolute[4096];
    if (!path) return 0;
    if (path[0] != '/') {
        char here[2048];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(absolute, sizeof absolute, "%s/%s", here, path);
        path = absolute;
    }
    return is_under(path) ? fault(what, path, needs_space) : 0;
}

/* What stood where somebody wrote since the last sync, the newest first. */
struct before {
    struct before *next;
    dev_t device;
    ino_t inode;
    off_t at, file_size;
    ssize_t count;
    char bytes[];
};
static struct before *befores;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Notes what stands at a place under the directory that is about to be written. */
static void note(int fd, size_t count, off_t at) {
    char link[64], path[4096];
    struct stat file;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    /* The shared index is not synced by anybody. */
    if (!is_under(path) || (length > 4 && !strcmp(path + length - 4, "-shm"))) return;
    if (at < 0) at = lseek(fd, 0, SEEK_CUR);
    struct before *before = malloc(sizeof *before + count);
    if (!before || fstat(fd, &file)) abort();
    before->device = file.st_dev;
    before->inode = file.st_ino;
    before->at = at;
    before->file_size = file.st_size;
    before->count = pread(fd, before->bytes, count, at);
    if (before->count < 0) before->count = 0;
    pthread_mutex_lock(&lock);
    before->next = befores;
    befores = before;
    pthread_mutex_unlock(&lock);
}

/* Forgets what was noted of a file, and puts it back if its sync has failed. */
static void settle(int fd, int has_failed) {
    static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
    static int (*real_truncate)(int, off_t);
    struct stat file;
    if (!real_pwrite) real_pwrite = dlsym(RTLD_NEXT, "pwrite");
    if (!real_truncate) real_truncate = dlsym(RTLD_NEXT, "ftruncate");
    if (fstat(fd, &file)) return;
    pthread_mutex_lock(&lock);
    for (struct before **at = &befores; *at;) {
        struct before *before = *at;
        if (before->device != file.st_dev || before->inode != file.st_ino) {
            at = &before->next;
            continue;
        }
        if (has_failed && before->at < file.st_size) {
            if (real_pwrite(fd, before->bytes, before->count, before->at) < 0) abort();
            if (real_truncate(fd, before->file_size)) abort();
        }
        *at = before->next;
        free(before);
    }
    pthread_mutex_unlock(&lock);
}

#define FAIL_IF(error) do { int code = (error); if (code) { errno = code; return -1; } } while (0)

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        static int (*real)(const char *, int, ...); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0; \
        va_end(arguments); \
        FAIL_IF(fault_path("open", path, flags & O_CREAT)); \
        return real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    int error = fault_fd("write", fd, 1);
    if (error && how == SHORT_WRITE && count > 1 && !atomic_exchange(&next_write_fails, 2)) {
        return real(fd, bytes, count / 2);
    }
    FAIL_IF(error);
    note(fd, count, -1);
    return real(fd, bytes, count);
}

#define PWRITE(name) \
    ssize_t name(int fd, const void *bytes, size_t count, off_t offset) { \
        static ssize_t (*real)(int, const void *, size_t, off_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        int error = fault_fd("write", fd, 1); \
        if (error && how == SHORT_WRITE && count > 1 && !atomic_exchange(&next_write_fails, 2)) { \
            return real(fd, bytes, count / 2, offset); \
        } \
        FAIL_IF(error); \
        note(fd, count, offset); \
        return real(fd, bytes, count, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define SYNC(name) \
    int name(int fd) { \
        static int (*real)(int); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        int error = fault_fd(#name, fd, 0); \
        if (!error && real(fd)) return -1; \
        settle(fd, error); \
        FAIL_IF(error); \
        return 0; \
    }
SYNC(fsync)
SYNC(fdatasync)

#define TRUNCATE(name) \
    int name(int fd, off_t length) { \
        static int (*real)(int, off_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        FAIL_IF(fault_fd("ftruncate", fd, 1)); \
        return real(fd, length); \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = dlsym(RTLD_NEXT, "rename");
    FAIL_IF(fault_path("rename", to, 1));
    return real(from, to);
}

int unlink(const char *path) {
    static int (*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "unlink");
    FAIL_IF(fault_path("unlink", path, 0));
    return real(path);
}
